"""`glob`: paths of the project that fit a shell pattern; hidden names only where the pattern names them."""

from pathlib import Path


class cairn_glob:
    def glob(pathname, *, recursive=False, include_hidden=False):
        pattern = pathname.removeprefix("./")
        lead = "./" if pattern != pathname else ""
        if not recursive:
            pattern = pattern.replace("**", "*")
        if not any(letter in pattern for letter in "*?["):
            return [pathname] if Path(pattern).exists() else []
        found = [str(path).removeprefix("/project/") for path in Path(".").glob(pattern)]
        if not include_hidden:
            wanted = [part for part in pattern.split("/") if part.startswith(".")]
            found = [path for path in found if wanted or not any(part.startswith(".") for part in path.split("/"))]
        return sorted([lead + path for path in found])

    def iglob(pathname, *, recursive=False, include_hidden=False):
        return cairn_glob.glob(pathname, recursive=recursive, include_hidden=include_hidden)

    def escape(pathname):
        return "".join(["[" + letter + "]" if letter in "*?[" else letter for letter in pathname])

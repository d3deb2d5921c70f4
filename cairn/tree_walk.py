"""Which names the project has on disk, ignore rules applied: .gitignore files, git's own excludes, .cairnignore.

Rules are read as git reads them (each folder's file, the deeper one wins), also where there is no repository. Files
that git tracks although a rule ignores them count as ignored. Names that are not valid UTF-8, special files, `.git`
and the project's `.cairn` are never shown.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from cairn.ignore_rules import IgnoreRules
from cairn.project_disk import refused

RULE_FILES = (".gitignore", ".cairnignore")  # the later one wins within a folder


def walk_files(root: Path, under: str = ".", *, include_ignored: bool = False) -> Iterator[str]:
    """Files and symlinks below a folder, as sorted posix paths relative to the root; links are not entered.

    Naming an ignored folder as `under` asks for what is in it.
    """
    everything = include_ignored or is_ignored(root, under, folder=True)
    rules = () if everything else _rules_above(root, under)
    return iter(sorted(_below(root, under, rules, everything=everything)))


def list_names(root: Path, folder: str = ".", *, include_ignored: bool = False) -> list[str]:
    """The names in one folder, sorted, without reading any other folder but for its rules.

    PermissionError for a folder that may not be listed; none for what is no folder.
    """
    everything = include_ignored or is_ignored(root, folder, folder=True)
    rules = () if everything else _rules_in(root, folder, _rules_above(root, folder))
    try:
        shown = _shown(root, folder)
    except PermissionError as error:
        raise refused(folder, error) from error
    return sorted(e.name for e in shown if everything or not _entry_ignored(e, folder, rules))


def is_ignored(root: Path, path: str, *, folder: bool | None = None) -> bool:
    """True when a rule ignores the path or a folder above it; the path need not exist. `folder` None: ask the disk."""
    if path == ".":
        return False
    if folder is None:
        folder = (root / path).is_dir() and not (root / path).is_symlink()
    parts = path.split("/")
    rules = _rules_in(root, ".", _rules_above(root, "."))
    for count in range(1, len(parts) + 1):
        prefix = "/".join(parts[:count])
        if _ignored(prefix, rules, folder=folder or count < len(parts)):
            return True
        if count < len(parts):
            rules = _rules_in(root, prefix, rules)
    return False


def is_shown_name(name: str, folder: str = ".") -> bool:
    """False for what no program may see: `.git` anywhere, the project's `.cairn`, names that are not valid text."""
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError:
            return False
    lowered = name.lower()
    return lowered != ".git" and not (folder == "." and lowered == ".cairn")


# ── walking ──


def _below(root: Path, top: str, rules: tuple[IgnoreRules, ...], *, everything: bool) -> Iterator[str]:
    waiting = [(top, rules)]
    while waiting:
        folder, above = waiting.pop()
        here = above if everything else _rules_in(root, folder, above)
        try:
            shown = _shown(root, folder)
        except PermissionError:
            continue  # one folder that may not be read must not hide all others
        for entry in shown:
            path = entry.name if folder == "." else f"{folder}/{entry.name}"
            is_folder = entry.is_dir(follow_symlinks=False)
            if not everything and _ignored(path, here, folder=is_folder):
                continue
            if is_folder:
                waiting.append((path, here))
            else:
                yield path


def _shown(root: Path, folder: str) -> list[os.DirEntry[str]]:
    """A folder's entries a program may see; none where it is no folder or went away meanwhile."""
    try:
        with os.scandir(root if folder == "." else root / folder) as entries:
            return [entry for entry in entries if is_shown_name(entry.name, folder) and _is_plain(entry)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_plain(entry: os.DirEntry[str]) -> bool:
    """False for pipes, sockets and devices: opening one can block for ever."""
    return entry.is_symlink() or entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)


# ── rules ──


def _ignored(path: str, rules: tuple[IgnoreRules, ...], *, folder: bool) -> bool:
    encoded = path.encode()
    for one in reversed(rules):
        verdict = one.verdict(encoded, folder=folder)
        if verdict is not None:
            return verdict
    return False


def _entry_ignored(entry: os.DirEntry[str], folder: str, rules: tuple[IgnoreRules, ...]) -> bool:
    path = entry.name if folder == "." else f"{folder}/{entry.name}"
    return _ignored(path, rules, folder=entry.is_dir(follow_symlinks=False))


def _rules_in(root: Path, folder: str, above: tuple[IgnoreRules, ...]) -> tuple[IgnoreRules, ...]:
    """The rules that hold inside a folder: those above it, and its own."""
    place = os.fspath(root) if folder == "." else f"{os.fspath(root)}/{folder}"
    own = _rules_of(tuple(f"{place}/{name}" for name in RULE_FILES), "" if folder == "." else folder)
    return above if own is None else (*above, own)


def _rules_above(root: Path, folder: str) -> tuple[IgnoreRules, ...]:
    """The rules that hold for a folder without its own: git's excludes, the repository's, each folder's on the way."""
    rules = _rules_outside(root)
    if folder == ".":
        return rules
    rules = _rules_in(root, ".", rules)
    parts = folder.split("/")
    for count in range(1, len(parts)):
        rules = _rules_in(root, "/".join(parts[:count]), rules)
    return rules


def _rules_outside(root: Path) -> tuple[IgnoreRules, ...]:
    """Rules from outside the project's folder: the user's, the repository's excludes, folders between it and here."""
    repository = next((place for place in (root, *root.parents) if (place / ".git").exists()), None)
    files: list[tuple[str, str]] = []
    prefix = "" if repository in {None, root} else f"{root.relative_to(str(repository)).as_posix()}/"
    users = _users_excludes()
    if users is not None:
        files.append((users, prefix))
    if repository is not None:
        files.append((f"{_common_git_folder(repository)}/info/exclude", prefix))
        between = [place for place in reversed(root.parents) if place.is_relative_to(repository)]
        files += [(f"{place}/.gitignore", f"{root.relative_to(place).as_posix()}/") for place in between]
    found = (_rules_of((file,), "", before) for file, before in files)
    return tuple(rules for rules in found if rules is not None)


def _rules_of(files: tuple[str, ...], base: str, prefix: str = "") -> IgnoreRules | None:
    stamps = tuple(stamp for stamp in map(_rule_stamp, files) if stamp is not None)
    if not stamps:
        return None
    rules = _compiled(stamps, base, prefix)
    return None if rules.is_empty else rules


def _rule_stamp(file: str) -> tuple[str, int, int, int] | None:
    return _stamp(file, follow=not file.endswith(RULE_FILES))


def _stamp(file: str, *, follow: bool = False) -> tuple[str, int, int, int] | None:
    """What tells one version of a rule file from the next; None where there is no such regular file.

    A .gitignore that is a symlink does not count, as in git; a person's own files often are links and do.
    """
    try:
        found = Path(file).stat(follow_symlinks=follow)
    except OSError:
        return None
    return (file, found.st_mtime_ns, found.st_size, found.st_ino) if stat.S_ISREG(found.st_mode) else None


@lru_cache(maxsize=4096)
def _compiled(stamps: tuple[tuple[str, int, int, int], ...], base: str, prefix: str) -> IgnoreRules:
    text = b""
    for file, *_ in stamps:
        try:
            text += Path(file).read_bytes().removeprefix(b"\xef\xbb\xbf") + b"\n"
        except OSError:
            continue
    return IgnoreRules(text, base, prefix)


def _common_git_folder(repository: Path) -> str:
    """Where info/exclude is: `.git`, or for a worktree the folder its `.git` file leads to."""
    git = repository / ".git"
    if git.is_dir():
        return str(git)
    try:
        named = git.read_text(encoding="utf-8", errors="replace").removeprefix("gitdir:").strip()
        private = repository / named
        common = private / "commondir"
        return str(private / common.read_text(encoding="utf-8").strip()) if common.exists() else str(private)
    except OSError:
        return str(git)


def _users_excludes() -> str | None:
    """The file git's core.excludesFile names, or its default; read without starting git."""
    home = os.environ.get("HOME", "")
    settings = os.environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    chosen: str | None = f"{settings}/git/ignore" if settings else None
    config = os.environ.get("GIT_CONFIG_GLOBAL")
    for file in [config] if config is not None else [f"{settings}/git/config", f"{home}/.gitconfig"]:
        stamp = _stamp(file, follow=True)
        named = _excludes_file(stamp) if stamp is not None else None
        if named:
            chosen = named.replace("~", home, 1) if named.startswith("~/") else named
    return chosen


@lru_cache(maxsize=16)
def _excludes_file(stamp: tuple[str, int, int, int]) -> str | None:
    section, named = "", None
    for raw in Path(stamp[0]).read_text(encoding="utf-8", errors="replace").splitlines():
        line = raw.strip()
        if line.startswith("["):
            section = line.lower()
        key, equals, value = line.partition("=")
        if section == "[core]" and equals and key.strip().lower() == "excludesfile":
            named = value.strip().strip('"')
    return named

"""Trees as values for tests: written to disk, read back, and made up by hypothesis."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hypothesis import strategies as st

from cairn.changes import ChangeSet, Content, EntryKind
from cairn.compare_trees import compare

Tree = dict[str, Content]


def text(data: bytes | str, mode: int = 0o644) -> Content:
    return Content(EntryKind.FILE, mode, data.encode() if isinstance(data, str) else data)


def link(target: str) -> Content:
    return Content(EntryKind.SYMLINK, 0o777, os.fsencode(target))


def folder(mode: int = 0o755) -> Content:
    return Content(EntryKind.DIRECTORY, mode)


def write(root: Path, tree: Tree) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for path, content in sorted(tree.items()):
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if content.kind is EntryKind.DIRECTORY:
            target.mkdir(exist_ok=True)
            target.chmod(content.mode)
        elif content.kind is EntryKind.SYMLINK:
            target.symlink_to(os.fsdecode(content.data))
        else:
            target.write_bytes(content.data)
            target.chmod(content.mode)
    return root


def snapshot(root: Path, *, folders: bool = False) -> Tree:
    """Every file and symlink below `root`, and with `folders` every folder, `.git` and `.cairn` left out."""
    found: Tree = {}
    for at, names, files in os.walk(root):
        if at == str(root):
            names[:] = [name for name in names if name not in {".git", ".cairn"}]
        for name in [*names, *files]:
            full = Path(at, name)
            state = full.lstat()
            path = str(full.relative_to(root))
            if stat.S_ISLNK(state.st_mode):
                found[path] = link(os.fspath(full.readlink()))
            elif stat.S_ISDIR(state.st_mode):
                if folders:
                    found[path] = folder(stat.S_IMODE(state.st_mode))
            else:
                found[path] = text(full.read_bytes(), stat.S_IMODE(state.st_mode))
    return found


def between(before: Tree, after: Tree, moves: dict[str, str] | None = None) -> ChangeSet:
    """The change set that a task's overlay would hand over."""
    return compare(before, after, moves or {})


# -- made up by hypothesis ----------------------------------------------------------------------------------------------

NAMES = (
    "a",
    "b",
    "c.py",
    "with space",
    'qu"ote',
    "tab\tname",
    "line\nbreak",
    "café",
    "ünïcode",
    "back\\slash",
    "-dash",
    " ",
)
_LINES = st.sampled_from(
    (
        b"",
        b"one",
        b"two",
        b"three",
        b"\tindented",
        b"--- a/x",
        b"+++ b/x",
        b"@@ -1 +1 @@",
        b"\\ No newline",
        b"cr\r",
        b"caf\xe9",
    )
)
_TEXT = st.builds(
    lambda lines, ending, last: ending.join(lines) + (ending if last else b""),
    st.lists(_LINES, max_size=12), st.sampled_from((b"\n", b"\r\n")), st.booleans(),
)  # fmt: skip
_BINARY = st.binary(max_size=200).map(lambda data: b"\0" + data)
FILES = st.builds(text, _TEXT | _BINARY | st.binary(max_size=40), st.sampled_from((0o644, 0o755)))
LINKS = st.builds(link, st.sampled_from(("nowhere", "no/where", "../out", "no where\n")))
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)


def _without_clashes(tree: Tree) -> Tree:
    """No path has a file or a symlink above it."""
    return {
        path: content
        for path, content in tree.items()
        if not any(path.startswith(f"{other}/") and tree[other].kind is not EntryKind.DIRECTORY for other in tree)
    }


TREES = st.dictionaries(PATHS, FILES | LINKS, max_size=6).map(_without_clashes)


@st.composite
def edited(draw: st.DrawFn, before: Tree) -> tuple[Tree, dict[str, str]]:
    """A later state of a tree, and where files were moved from."""
    after: Tree = {}
    moves: dict[str, str] = {}
    for path, content in before.items():
        what = draw(st.sampled_from(("keep", "keep", "edit", "grow", "mode", "delete", "move", "replace")))
        if what == "move":
            target = draw(PATHS)
            if target not in before and target not in after:
                moves[target] = path
                after[target] = draw(st.sampled_from((content, _grown(content, 2))))
        elif what == "replace":
            after[path] = draw(FILES | LINKS)
        elif what != "delete":
            after[path] = _changed(draw, content, what)
    for path, content in draw(TREES).items():
        after.setdefault(path, content)
    after = _without_clashes(after)
    return after, {new: old for new, old in moves.items() if new in after}


def _changed(draw: st.DrawFn, content: Content, what: str) -> Content:
    if content.kind is not EntryKind.FILE:
        return content
    if what == "edit":
        return text(draw(_TEXT), content.mode)
    if what == "mode":
        return text(content.data, draw(st.sampled_from((0o644, 0o755))))
    return _grown(content, draw(st.integers(0, 3))) if what == "grow" else content


def _grown(content: Content, where: int) -> Content:
    if content.kind is not EntryKind.FILE:
        return content
    lines = content.data.split(b"\n")
    return text(b"\n".join([*lines[:where], b"grown", *lines[where:]]), content.mode)

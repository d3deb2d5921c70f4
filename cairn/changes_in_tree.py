"""A task's changes of a git commit, as the same changes of the files in somebody's working tree.

A commit knows less of a file than a disk: of its modes one bit, and its content as git keeps it, which line ends and
filters may make another one in the tree. Without this, a tree with CRLF would differ from what the task saw in each
line. A tree that has the commit's very bytes gets the changes as they are.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeGuard

from cairn.changes import Change, ChangeSet, Content, EntryKind
from cairn.git_process import GitRefused, git, line, problem
from cairn.project_files import ProjectFiles, Unusual

_EXECUTE = 0o111
_READ = 0o444
_Key = tuple[str, bytes]  # a path and a content that git keeps for it


def changes_in_tree(changes: ChangeSet, root: Path) -> ChangeSet:
    """Ready to be planned there: both sides of a change as git would check them out. Raises CairnError."""
    with ProjectFiles(root) as files:
        now = {change.path: _file_at(files, change.renamed_from or change.path) for change in changes}
    wanted = dict.fromkeys(key for change in changes for key in _in_doubt(change, now[change.path]))
    known = _checked_out(root, tuple(wanted)) if wanted else {}
    return ChangeSet(tuple(_in_tree(change, now[change.path], known) for change in changes))


def _file_at(files: ProjectFiles, path: str) -> Content | None:
    try:
        found = files.look(path)
    except Unusual:
        return None
    return found.content if found is not None and found.content.kind is EntryKind.FILE else None


def _in_doubt(change: Change, now: Content | None) -> Iterator[_Key]:
    """What git has to be asked about: the sides of a change whose file is not what the task saw."""
    if now is None or not _is_file(change.before) or now.data == change.before.data:
        return
    yield change.renamed_from or change.path, change.before.data
    if _is_file(change.after):
        yield change.path, change.after.data


def _in_tree(change: Change, now: Content | None, known: Mapping[_Key, bytes]) -> Change:
    before, after = change.before, change.after
    if now is None or not _is_file(before):
        return change
    seen = known.get((change.renamed_from or change.path, before.data), before.data)
    mode = now.mode if now.executable == before.executable else before.mode
    if _is_file(after):
        made = known.get((change.path, after.data), after.data) if seen != before.data else after.data
        # Moved and not changed: the bytes on the disk move, whatever the new name's rules are.
        made = seen if after.data == before.data else made
        after = replace(after, mode=_mode(before.mode, after.mode, mode), data=made)
    return replace(change, before=replace(before, mode=mode, data=seen), after=after)


def _mode(before: int, after: int, tree: int) -> int:
    """The mode that a task left or made, over the one that the tree has."""
    if after & ~_EXECUTE != before & ~_EXECUTE:
        return after
    if bool(after & 0o100) == bool(before & 0o100):
        return tree
    return tree | (tree & _READ) >> 2 if after & 0o100 else tree & ~_EXECUTE


def _is_file(content: Content | None) -> TypeGuard[Content]:
    return content is not None and content.kind is EntryKind.FILE


# -- what git would write ----------------------------------------------------------------------------------------------


def _checked_out(root: Path, wanted: Sequence[_Key]) -> dict[_Key, bytes]:
    """Each content as a checkout would have it at its path, by the user's own settings and filters."""
    try:
        prefix = line(git(root, "rev-parse", "--show-prefix"))
        top = Path(line(git(root, "rev-parse", "--show-toplevel")))
    except GitRefused:
        return {}  # no repository, so nothing converts
    try:
        with TemporaryDirectory(prefix="cairn-contents-") as folder:
            names = _stored(top, Path(folder), [data for _, data in wanted])
        plain = [each for each in zip(wanted, names, strict=True) if "\n" not in each[0][0]]
        return dict(zip((key for key, _ in plain), _converted(top, prefix, plain), strict=True))
    except GitRefused as refused:
        what = f"git cannot tell what files of a commit are in {root}."
        raise problem(what, refused, "Mend that, then try again.") from None


def _stored(top: Path, folder: Path, contents: Sequence[bytes]) -> list[str]:
    """Their names in git, which can only convert what it has."""
    paths = []
    for number, data in enumerate(contents):
        path = folder / str(number)
        path.write_bytes(data)
        paths.append(f"{path}\n")
    given = "".join(paths).encode()
    return line(git(top, "hash-object", "-w", "--no-filters", "--stdin-paths", given=given)).split("\n")


def _converted(top: Path, prefix: str, wanted: Sequence[tuple[_Key, str]]) -> list[bytes]:
    """All in one process. The sizes that git tells are those before, so a word that no file holds ends each."""
    end = secrets.token_hex(16)
    asked = "".join(f"{name} {prefix}{key[0]}\n{end} -\n" for key, name in wanted)
    told = git(top, "cat-file", "--batch=%(objecttype)", "--filters", given=os.fsencode(asked))
    parts = told.split(f"\n{end} missing\n".encode())[:-1]
    return [part.removeprefix(b"blob\n") for part in parts]

"""Which names the project has on disk that a program is shown; `ignore_scope` decides on those that rules ignore.

Names that are not valid UTF-8, special files, `.git` and `.cairn` are never shown, at any depth.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from cairn.changes import EntryKind
from cairn.git_repository import Tracked
from cairn.ignore_scope import DECIDING, Scope, Verdict, scope_of_root
from cairn.project_disk import listed, look, refused
from cairn.project_path import is_reserved


def walk_files(root: Path, under: str = ".", *, include_ignored: bool = False) -> Iterator[str]:
    """Files and symlinks below a folder, as sorted posix paths relative to the root; links are not entered.

    Naming an ignored folder as `under` asks for what is in it.
    """
    return iter(sorted(_below(root, under, None if include_ignored else _scope_in(root, under))))


def list_names(root: Path, folder: str = ".", *, include_ignored: bool = False) -> list[str]:
    """The names in one folder, sorted, without reading any other folder but for its rules.

    PermissionError for a folder that may not be listed; none for what is no folder.
    """
    scope = None if include_ignored else _scope_in(root, folder)
    try:
        names, _ = _names_in(root, folder, scope)
    except PermissionError as error:
        raise refused(folder, error) from error
    return sorted(
        name
        for name, is_folder in names
        if scope is None or not _is_hidden(root, _under(folder, name), scope, folder=is_folder)
    )


def is_ignored(root: Path, path: str, *, folder: bool | None = None) -> bool:
    """True for a path that is not shown unless it is asked for; it need not exist. `folder` None: ask the disk."""
    if path == ".":
        return False
    if folder is None:
        folder = (root / path).is_dir() and not (root / path).is_symlink()
    *above, last = _prefixes(path)
    scope = scope_of_root(root)
    for prefix in above:
        verdict = scope.verdict(prefix, folder=True)
        if verdict is Verdict.HIDDEN or scope.hides_repository(root, prefix, _git_in(root, prefix)):
            return True
        scope = scope.entered(verdict).inside(root, prefix, DECIDING)
    return _is_hidden(root, last, scope, folder=folder)


def is_shown_name(name: str) -> bool:
    """False for what no program may see: `.git`, `.cairn`, and names that are not valid text."""
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError:
            return False
    return not is_reserved(name)


# ── walking ──


def _below(root: Path, top: str, scope: Scope | None) -> Iterator[str]:
    """Without a scope everything is shown."""
    waiting = [(top, scope)]
    while waiting:
        folder, here = waiting.pop()
        try:
            names, deciding = _names_in(root, folder, here)
        except PermissionError:
            continue  # one folder that may not be read must not hide all others
        if here is not None and folder != top:
            if here.hides_repository(root, folder, deciding):
                continue
            here = here.inside(root, folder, deciding)
        for name, is_folder in names:
            path = name if folder == "." else f"{folder}/{name}"
            verdict = Verdict.SHOWN if here is None else here.verdict(path, folder=is_folder)
            if verdict is Verdict.HIDDEN:
                continue
            if is_folder:
                waiting.append((path, None if here is None else here.entered(verdict)))
            else:
                yield path


def _names_in(root: Path, folder: str, scope: Scope | None) -> tuple[list[tuple[str, bool]], frozenset[str]]:
    """What a program may see in a folder, each with whether it is a folder; and which names there decide on others.

    In an ignored folder only git's index is asked, however much else lies in it.
    """
    if scope is not None and scope.only_tracked and scope.tracked is not None:
        return list(_tracked_names(root, folder, scope.tracked)), DECIDING
    try:
        with listed(root, folder) as found:
            entries = list(found)
            shown = [
                (e.name, e.is_dir(follow_symlinks=False)) for e in entries if is_shown_name(e.name) and _is_plain(e)
            ]
    except PermissionError:
        raise
    except OSError:  # no folder, or a link by now
        return [], frozenset()
    return shown, DECIDING.intersection(entry.name for entry in entries)


def _tracked_names(root: Path, folder: str, tracked: Tracked) -> Iterator[tuple[str, bool]]:
    for encoded in tracked.names_in(folder.encode()):
        name = os.fsdecode(encoded)
        there = look(root, _under(folder, name)) if is_shown_name(name) else None
        if there is not None:
            yield name, there.kind is EntryKind.DIRECTORY


def _is_plain(entry: os.DirEntry[str]) -> bool:
    """False for pipes, sockets and devices: opening one can block for ever."""
    return entry.is_symlink() or entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)


# ── deciding ──


def _scope_in(root: Path, folder: str) -> Scope | None:
    """What holds in a folder; None in an ignored one, for who names it wants to see all of it."""
    scope = scope_of_root(root)
    for prefix in _prefixes(folder) if folder != "." else ():
        verdict = scope.verdict(prefix, folder=True)
        if verdict is Verdict.HIDDEN:
            return None
        scope = scope.entered(verdict).inside(root, prefix, DECIDING)
    return scope


def _is_hidden(root: Path, path: str, scope: Scope, *, folder: bool) -> bool:
    if scope.verdict(path, folder=folder) is Verdict.HIDDEN:
        return True
    return folder and scope.tracked is not None and scope.hides_repository(root, path, _git_in(root, path))


def _git_in(root: Path, folder: str) -> frozenset[str]:
    return frozenset({".git"}) if os.path.lexists(f"{root}/{folder}/.git") else frozenset()


def _prefixes(path: str) -> list[str]:
    """Each folder on the way, and the path itself."""
    return list(accumulate(path.split("/"), "{}/{}".format))


def _under(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"

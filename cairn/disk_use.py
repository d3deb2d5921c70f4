"""What `.cairn` holds by part, and what killed commands left there and in the project.

A file counts as left over only when its name is one that Cairn gives, it lies where Cairn puts it, and nothing that
still runs can need it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from cairn.operation_log import Operation, OperationState
from cairn.project_files import NO_SUCH, ProjectFiles, Unusual, folders_above
from cairn.project_place import OPERATIONS
from cairn.queue import LEDGER
from cairn.sqlite_file import COMPANIONS
from cairn.task import ID_LENGTH, ID_LETTERS
from cairn.waiting_files import TEMPORARY

SHARED = "shared"
SURELY_OVER = 3600.0  # seconds; a task's file is made in milliseconds, and its companions go with it

_TEN, _THOUSAND = 10, 1000
_ID = f"[{ID_LETTERS}]{{{ID_LENGTH}}}"
_TASK = re.compile(rf"({_ID})\.db")
_HALF_MADE = re.compile(rf"\.{_ID}\.db\.\d+\.\d+")
_SET_ASIDE = re.compile(r".+\.damaged-\d{8}-\d{6}(-\d+)?(-wal|-shm)?")


class Part(StrEnum):
    """What a file is for, in the words that `doctor` shows."""

    TASKS = "tasks"
    OPERATIONS = "accepts and undos"
    LEDGER = "ledger"
    KEPT = "kept for you"
    SET_ASIDE = "set aside"
    LEFT_OVER = "left over"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file below the project's root; `path` is relative to it. `changed_at` is when it came to its name, at least."""

    path: str
    part: Part
    size: int
    changed_at: float = field(default=0.0, compare=False)


def state_files(state: Path, *, now: float) -> tuple[StoredFile, ...]:
    """Every file in `.cairn`, sorted by path from the folder above; one that vanishes meanwhile is left out."""
    return tuple(sorted(_walk(state, now), key=lambda each: each.path))


def _walk(state: Path, now: float) -> Iterator[StoredFile]:
    for folder, _, names in os.walk(state):
        inside = Path(folder).relative_to(state).as_posix()
        for name in names:
            try:
                found = os.lstat(os.path.join(folder, name))  # noqa: PTH118 - of many names, none needs a Path
            except OSError:
                continue
            part = _part(inside, name, frozenset(names))
            if part is Part.LEFT_OVER and not (stat.S_ISREG(found.st_mode) and now - found.st_mtime > SURELY_OVER):
                part = Part.TASKS
            path = Path(state.name, inside, name).as_posix()
            # A file that was moved here keeps its old time of writing; the move shows in the other one.
            yield StoredFile(path, part, found.st_size, max(found.st_mtime, found.st_ctime))


def _part(folder: str, name: str, beside: frozenset[str]) -> Part:
    main = next((name.removesuffix(end) for end in COMPANIONS if name.endswith(end)), name)
    if folder == "kept" or folder.startswith("kept/"):
        return Part.KEPT
    if folder == SHARED:  # copies of what is with a server
        return Part.TASKS
    if folder not in {".", "tasks"}:
        return Part.OTHER
    if _SET_ASIDE.fullmatch(name):
        return Part.SET_ASIDE
    if folder == ".":
        return {LEDGER: Part.LEDGER, OPERATIONS: Part.OPERATIONS}.get(main, Part.OTHER)
    if _TASK.fullmatch(main):
        return Part.TASKS if main in beside else Part.LEFT_OVER
    return Part.LEFT_OVER if _HALF_MADE.fullmatch(name) else Part.OTHER


def temporary_files(files: ProjectFiles, operations: Sequence[Operation]) -> Iterator[StoredFile]:
    """Files beside the project's own that an ended operation wrote for a moment; known by the token in their names."""
    tokens = {each.token for each in operations if each.state is not OperationState.APPLYING}
    folders = {"."} | {above for each in operations for path in each.paths for above in folders_above(path)}
    for where in sorted(folders):
        for name in sorted(_names(files, where)):
            found = TEMPORARY.fullmatch(name)
            if found and found[1] in tokens:
                path = name if where == "." else f"{where}/{name}"
                size = _in_folder(files, path, _size)
                if size is not None:
                    yield StoredFile(path, Part.LEFT_OVER, size)


def remove(files: ProjectFiles, path: str) -> bool:
    """Deletes a file or link below the root, no link on the way followed; False when it was gone."""
    return _in_folder(files, path, _unlink) is not None


def remove_empty_folders(folder: Path) -> None:
    """Those below it, and itself; one that holds anything stays, and so does what a link leads to."""
    for each, _, _ in () if folder.is_symlink() else os.walk(folder, topdown=False):
        with suppress(OSError):
            os.rmdir(each)  # noqa: PTH106 - of many folders, none needs a Path


def size_in_words(size: int) -> str:
    """Bytes with three figures at most: 412 bytes, 1.2 KB, 34 MB."""
    value, units = float(size), ["KB", "MB", "GB", "TB"]
    if size < _THOUSAND:
        return f"{size} byte{'' if size == 1 else 's'}"
    while round(value / _THOUSAND) >= _THOUSAND and len(units) > 1:
        value /= _THOUSAND
        del units[0]
    value /= _THOUSAND
    return f"{value:.1f} {units[0]}" if round(value, 1) < _TEN else f"{value:.0f} {units[0]}"


def _names(files: ProjectFiles, where: str) -> frozenset[str]:
    try:
        return files.names(where)
    except Unusual:
        return frozenset()  # a folder that may not be read now


def _in_folder(files: ProjectFiles, path: str, act: Callable[[str, int], int]) -> int | None:
    try:
        with files.folder(path.rpartition("/")[0] or ".") as folder:
            return act(path.rpartition("/")[2], folder)
    except OSError as error:
        if error.errno in NO_SUCH:
            return None
        raise


def _size(name: str, folder: int) -> int:
    return os.stat(name, dir_fd=folder, follow_symlinks=False).st_size


def _unlink(name: str, folder: int) -> int:
    size = _size(name, folder)
    os.unlink(name, dir_fd=folder)
    return size

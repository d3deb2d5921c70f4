"""A folder of task files on disk: what holds still there, and the result that is written beside each.

No symlink is followed and nothing but plain files is read: whoever may write to the folder may name anything in it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cairn.atomic_rename import take_free_name
from cairn.task_files import TaskFileSeen, digest, is_task_file, result_name
from cairn.task_text import FILE_BYTES, BadTaskText, parse_task_text

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Stamp:
    """What changes when a file is written: its inode, size and times."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True)
class Look:
    """The task files at one moment. `unsettled` ones changed since the look before, or are new: ask again soon.

    `empty` are those of them that hold still without a word in them; they say nothing until somebody writes.
    """

    files: Mapping[str, TaskFileSeen]
    unsettled: frozenset[str]
    empty: frozenset[str] = frozenset()


class WatchedFolder:
    """Looked at again and again; what did not change is not read again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamps: dict[str, Stamp] = {}
        self._read: dict[str, tuple[Stamp, TaskFileSeen]] = {}

    def look(self) -> Look:
        """A file counts as settled when it is the same as in the look before. OSError when the folder is gone."""
        stamps = self._now()
        # An editor that saves by a rename, or empties the file first, leaves nothing at the name for a moment.
        gone = self._stamps.keys() - stamps.keys()
        new = {name for name, stamp in stamps.items() if self._stamps.get(name) != stamp or not stamp.size}
        unsettled = frozenset(gone | new)
        empty = frozenset(name for name in new if not stamps[name].size and self._stamps.get(name) == stamps[name])
        self._stamps = stamps
        self._read = {name: kept for name, kept in self._read.items() if stamps.get(name) == kept[0]}
        changed: set[str] = set()
        for name in stamps.keys() - unsettled - self._read.keys():
            seen = self._file(name, stamps[name])
            if seen is None:
                changed.add(name)
            else:
                self._read[name] = (stamps[name], seen)
        return Look({name: seen for name, (_, seen) in self._read.items()}, unsettled | changed, empty)

    def _now(self) -> dict[str, Stamp]:
        found: dict[str, Stamp] = {}
        with os.scandir(self.path) as entries:
            for entry in entries:
                if not is_task_file(entry.name) or not _is_text(entry.name):
                    continue
                with suppress(FileNotFoundError):
                    state = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(state.st_mode):
                        found[entry.name] = _stamp(state)
        return found

    def _file(self, name: str, expected: Stamp) -> TaskFileSeen | None:
        """None for a file that changed meanwhile."""
        try:
            handle = os.open(self.path / name, _READ)
        except FileNotFoundError:
            return None
        except OSError as error:
            return TaskFileSeen(name, digest(b""), BadTaskText(f"It cannot be read: {os.strerror(error.errno or 0)}."))
        try:
            with os.fdopen(handle, "rb") as file:
                data = file.read(FILE_BYTES + 1)
                if _stamp(os.fstat(file.fileno())) != expected:
                    return None
        except OSError as error:
            return TaskFileSeen(name, digest(b""), BadTaskText(f"It cannot be read: {os.strerror(error.errno or 0)}."))
        try:
            return TaskFileSeen(name, digest(data), parse_task_text(data))
        except BadTaskText as bad:
            return TaskFileSeen(name, digest(data), bad)

    def result(self, name: str) -> str | None:
        """What stands in the file's result, None for none."""
        try:
            with os.fdopen(os.open(self.path / result_name(name), _READ), "rb") as file:
                return file.read(4 * FILE_BYTES).decode("utf-8", "replace")
        except OSError:
            return None

    def write_result(self, name: str, text: str) -> bool:
        """Replaces the result as a whole; False when it said so already. OSError as the system gives it."""
        if self.result(name) == text:
            return False
        final = self.path / result_name(name)
        waiting = self.path / f".{final.name}.{os.getpid()}.tmp"
        with suppress(FileNotFoundError):
            waiting.unlink()
        with os.fdopen(os.open(waiting, _WRITE, 0o644), "w", encoding="utf-8") as file:
            file.write(text)
        waiting.replace(final)
        return True

    def drop_result(self, name: str) -> None:
        """Takes away the result of a file that is gone."""
        with suppress(FileNotFoundError):
            (self.path / result_name(name)).unlink()

    def move(self, name: str, folder: str) -> str:
        """Puts a task file and its result into a folder below; the name it has there, with a number if it was taken."""
        goal = self.path / folder
        goal.mkdir(exist_ok=True)
        stem, dot, suffix = name.rpartition(".")
        here, there = os.open(self.path, _FOLDER), os.open(goal, _FOLDER | os.O_NOFOLLOW)
        try:
            number, new = 1, name
            while True:
                try:
                    take_free_name(name, here, new, there)
                    break
                except FileExistsError:
                    number += 1
                    new = f"{stem}.{number}{dot}{suffix}"
            with suppress(FileNotFoundError):
                os.replace(result_name(name), result_name(new), src_dir_fd=here, dst_dir_fd=there)
        finally:
            os.close(here)
            os.close(there)
        return new


def _stamp(state: os.stat_result) -> Stamp:
    return Stamp(state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\n" not in name

"""What the project held when the task first touched a path: captured once, then the truth for the task.

The merge's ancestor at accept, the content of every later read, and the yardstick for "changed since the task saw it".
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from cairn import project_disk
from cairn.changes import Content, EntryKind
from cairn.task_file import Cell, TaskFile

_ABSENT = "absent"
_COLUMNS = "path, kind, mode, digest, mtime_ns, size, inode, reason"
_SETTLED_NS = 2_000_000_000  # coarser than any file system's clock that Cairn is likely to meet


class Reason(StrEnum):
    """Why a path is pinned."""

    READ = "read"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Pin:
    """One captured path. `kind` None: nothing stood there."""

    path: str
    kind: EntryKind | None
    mode: int
    digest: str | None
    mtime_ns: int
    size: int
    inode: int
    reason: Reason

    @property
    def entry(self) -> project_disk.DiskEntry | None:
        """The same as an entry of the project; None where nothing stood."""
        if self.kind is None:
            return None
        return project_disk.DiskEntry(self.kind, self.mode, self.size, self.mtime_ns, self.inode)

    def same_stat(self, found: project_disk.DiskEntry | None) -> bool:
        """True only when the file on disk cannot have changed; False when its content has to be compared."""
        if found is None or self.kind is None:
            return found is None and self.kind is None
        seen = (self.kind, self.mode, self.size, self.mtime_ns, self.inode)
        return seen == (found.kind, found.mode, found.size, found.mtime_ns, found.inode)


class PinnedBase:
    """The table `cairn_base` of one task file, filled from the project on disk."""

    def __init__(self, file: TaskFile, root: Path, *, file_bytes: int) -> None:
        self._file = file
        self._root = root
        self._limit = file_bytes

    def among(self, paths: Iterable[str]) -> dict[str, Pin]:
        """The pins of these very paths."""
        wanted = list(paths)
        marks = ", ".join("?" * len(wanted))
        rows = self._file.rows(f"SELECT {_COLUMNS} FROM cairn_base WHERE path IN ({marks})", *wanted)  # noqa: S608
        return {pin.path: pin for pin in map(_pin, rows)}

    def below(self, folder: str) -> list[Pin]:
        """All pins under a folder, sorted by path."""
        _, low, high = _range(folder)
        rows = self._file.rows(
            f"SELECT {_COLUMNS} FROM cairn_base WHERE path > ? AND path < ? ORDER BY path",  # noqa: S608
            low,
            high,
        )
        return [_pin(row) for row in rows]

    def directly_in(self, folder: str) -> list[Pin]:
        """The pins of the names in one folder."""
        start, low, high = _range(folder)
        rows = self._file.rows(
            f"SELECT {_COLUMNS} FROM cairn_base WHERE path > ? AND path < ? AND instr(substr(path, ?), '/') = 0",  # noqa: S608
            low,
            high,
            start,
        )
        return [_pin(row) for row in rows]

    def implied_folders_in(self, folder: str) -> set[str]:
        """The names in one folder below which something was seen."""
        start, low, high = _range(folder)
        rows = self._file.rows(
            "SELECT DISTINCT substr(path, ?1, instr(substr(path, ?1), '/') - 1) FROM cairn_base"
            " WHERE path > ?2 AND path < ?3 AND kind != 'absent' AND instr(substr(path, ?1), '/') > 0",
            start,
            low,
            high,
        )
        return {str(name) for (name,) in rows}

    def implies_folder(self, path: str) -> bool:
        """True when something was seen below the path, which makes it a folder for the task also if it is gone now."""
        return bool(
            self._file.rows(
                "SELECT 1 FROM cairn_base WHERE path > ? AND path < ? AND kind != 'absent' LIMIT 1",
                *_range(path)[1:],
            )
        )

    @property
    def read_only(self) -> bool:
        """True when nothing can be captured any more."""
        return self._file.read_only

    def pinned(self, path: str, known: Pin | None, reason: Reason, *, hidden: bool) -> Pin:
        """The pin of a path, captured now unless it is known already."""
        if known is None:
            return self.capture(path, reason, hidden=hidden)[0]
        if reason is Reason.CHANGED:
            self._mark_changed(known)
        return known

    def captured(self, path: str, known: Pin | None, reason: Reason, *, hidden: bool) -> tuple[Pin, bytes]:
        """The same with its content."""
        if known is None:
            return self.capture(path, reason, hidden=hidden)
        return self.pinned(path, known, reason, hidden=hidden), self.data(known)

    def capture(self, path: str, reason: Reason, *, hidden: bool = False) -> tuple[Pin, bytes]:
        """Pins what stands at a path on disk now and says it with its content. `hidden`: nothing of it shows."""
        found = None if hidden else project_disk.read(self._root, path, limit=self._limit)
        if found is None or found[0].kind is not EntryKind.DIRECTORY:
            is_folder = not hidden and self.implies_folder(path)
            if is_folder or found is None:
                return self._store(_without_content(path, reason, is_folder=is_folder)), b""
        entry, data = found
        # A file touched just now may change again within one tick of the disk's clock, to the same size: an inode of 0
        # never matches, so its content will be compared.
        inode = entry.inode if time.time_ns() - entry.mtime_ns > _SETTLED_NS else 0
        size = entry.size if entry.kind is EntryKind.DIRECTORY else len(data)
        pin = Pin(path, entry.kind, entry.mode, None, entry.mtime_ns, size, inode, reason)
        return self._store(pin, data), data

    def data(self, pin: Pin) -> bytes:
        """The captured bytes of a file, or a symlink's target as bytes."""
        return b"" if pin.digest is None else self._file.blob(pin.digest)

    def content(self, pin: Pin) -> Content | None:
        """The captured side of a change."""
        return None if pin.kind is None else Content(pin.kind, pin.mode, self.data(pin))

    def changed(self) -> dict[str, Content | None]:
        """What stood at every path that is pinned as changed, before: in one question, for there may be thousands."""
        rows = self._file.rows(
            "SELECT path, kind, mode, b.digest, c.size, c.data FROM cairn_base b"
            " LEFT JOIN cairn_blob c ON c.digest = b.digest WHERE reason = ? ORDER BY path",
            Reason.CHANGED,
        )
        found: dict[str, Content | None] = {}
        for path, kind, mode, digest, size, data in rows:
            whole = b"" if digest is None else self._file.checked_blob(str(digest), size, data)
            found[str(path)] = None if kind == _ABSENT else Content(EntryKind(str(kind)), _number(mode), whole)
        return found

    def content_now(self, path: str) -> Content | None:
        """What stands on disk now, whole; a file too large or not readable counts as one of no known content."""
        try:
            found = project_disk.read(self._root, path, limit=self._limit)
        except (ValueError, PermissionError):
            return Content(EntryKind.FILE, -1)
        return None if found is None else Content(found[0].kind, found[0].mode, found[1])

    def is_stale(self, pin: Pin, *, wants_folder: bool = False) -> bool:
        """True when the disk now differs from the pin.

        A captured folder differs only by being something else now; where the task made a folder (`wants_folder`),
        one that appeared on disk meanwhile is no difference.
        """
        now = project_disk.look(self._root, pin.path)
        if pin.same_stat(now):
            return False
        is_folder = now is not None and now.kind is EntryKind.DIRECTORY
        if pin.kind is EntryKind.DIRECTORY:
            return now is not None and not is_folder
        if pin.kind is None:
            return not (is_folder and wants_folder)
        return self.content_now(pin.path) != self.content(pin)

    def _mark_changed(self, pin: Pin) -> None:
        if pin.reason is not Reason.CHANGED:
            self._file.run("UPDATE cairn_base SET reason = ? WHERE path = ?", Reason.CHANGED, pin.path)

    def _store(self, pin: Pin, data: bytes | None = None) -> Pin:
        if self._file.read_only:
            return pin
        with nullcontext() if self._file.connection.in_transaction else self._file.transaction():
            if data is not None and pin.kind is not EntryKind.DIRECTORY:
                pin = replace(pin, digest=self._file.put_blob(data))
            self._file.run(
                f"INSERT OR IGNORE INTO cairn_base ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                pin.path,
                pin.kind or _ABSENT,
                pin.mode,
                pin.digest,
                pin.mtime_ns,
                pin.size,
                pin.inode,
                pin.reason,
            )
        return pin


def copy_pins(source: TaskFile, target: TaskFile) -> None:
    """Everything that one task captured is captured for another one too, as only read so far."""
    with target.transaction():
        for row in source.rows(f"SELECT {_COLUMNS} FROM cairn_base"):  # noqa: S608
            pin = _pin(row)
            if pin.digest is not None:
                target.put_blob(source.blob(pin.digest))
            values = (*row[:-1], Reason.READ)
            target.run(f"INSERT INTO cairn_base ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *values)  # noqa: S608


def _range(folder: str) -> tuple[int, str, str]:
    """Where names start in the paths below a folder (from 1), and the bounds of those paths: "0" follows "/"."""
    return (1, "", "\U0010ffff") if folder == "." else (len(folder) + 2, f"{folder}/", f"{folder}0")


def _without_content(path: str, reason: Reason, *, is_folder: bool) -> Pin:
    return Pin(path, EntryKind.DIRECTORY if is_folder else None, 0o755 if is_folder else 0, None, 0, 0, 0, reason)


def _pin(row: tuple[Cell, ...]) -> Pin:
    path, kind, mode, digest, mtime_ns, size, inode, reason = row
    return Pin(
        str(path),
        None if kind == _ABSENT else EntryKind(str(kind)),
        _number(mode),
        None if digest is None else str(digest),
        _number(mtime_ns),
        _number(size),
        _number(inode),
        Reason(str(reason)),
    )


def _number(cell: Cell) -> int:
    return cell if isinstance(cell, int) else 0

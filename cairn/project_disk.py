"""Looks at the project's files on disk and never through a symlink: what is opened is what stands at that very path.

Resolving links is the overlay's business; each path given here has only real folders above its last name.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cairn.changes import EntryKind
from cairn.exact_names import is_spelled_so
from cairn.project_path import parent

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe must not block the opening
_PASS = getattr(os, "O_PATH", os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_DIRECTORY  # needs no right to list
_TRIES = 3


@dataclass(frozen=True, slots=True)
class DiskEntry:
    """What lstat says about a file, symlink or folder; pipes, sockets and devices have none."""

    kind: EntryKind
    mode: int
    size: int
    mtime_ns: int
    inode: int


def look(root: Path, path: str) -> DiskEntry | None:
    """What stands there now, the last name not followed; None also where a folder above it is a link or missing."""
    folder, _, name = path.rpartition("/")
    return look_in(root, folder or ".", [name]).get(name)


def look_in(root: Path, folder: str, names: Iterable[str]) -> dict[str, DiskEntry]:
    """What stands in one folder under these names, as `look` sees it; without those that are not there."""
    found: dict[str, DiskEntry] = {}
    path = folder
    try:
        with _passed(root, folder) as descriptor:
            for name in names:
                path = name if folder == "." else f"{folder}/{name}"
                entry = _look(descriptor, name)
                if entry is not None and is_spelled_so(root, path):
                    found[name] = entry
    except OSError as error:
        if error.errno not in _ABSENT:
            raise refused(path, error) from error
    return found


def _look(folder: int, name: str) -> DiskEntry | None:
    try:
        return _entry(os.lstat(name, dir_fd=folder))
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise


@contextmanager
def listed(root: Path, folder: str) -> Iterator[Iterator[os.DirEntry[str]]]:
    """A folder's entries, to be asked inside only. OSError where it, or one above it, is no folder or a link."""
    with _passed(root, parent(folder)) as above:
        name = "." if folder == "." else folder.rpartition("/")[2]
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        with os.scandir(descriptor) as entries:
            yield entries
    finally:
        os.close(descriptor)


@contextmanager
def _passed(root: Path, folder: str) -> Iterator[int]:
    """A descriptor of the folder to look in, each one on the way opened without following links."""
    current = os.open(root, _PASS & ~os.O_NOFOLLOW)
    try:
        for name in folder.split("/") if folder != "." else ():
            below = os.open(name, _PASS, dir_fd=current)
            os.close(current)
            current = below
        yield current
    finally:
        os.close(current)


def all_names(root: Path, folder: str) -> list[tuple[str, bool]]:
    """Everything in a folder, also what programs do not see, each with whether it is a folder; none if it is none."""
    try:
        with listed(root, folder) as entries:
            return sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except OSError:
        return []


def read(root: Path, path: str, *, limit: int) -> tuple[DiskEntry, bytes] | None:
    """An entry and its content from one moment; None where nothing stands. ValueError for more bytes than `limit`.

    A file that another process is writing meanwhile is read again until it holds still.
    """
    if not is_spelled_so(root, path):
        return None
    above, _, name = path.rpartition("/")
    try:
        with _passed(root, above or ".") as folder:
            for _ in range(_TRIES - 1):
                found = _read_at(folder, name, path, limit=limit)
                if found is None or _entry(os.lstat(name, dir_fd=folder)) == found[0]:
                    return found
            return _read_at(folder, name, path, limit=limit)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise refused(path, error) from error


def too_large(path: str, size: int, limit: int) -> ValueError:
    """The error for a file that is refused for its size, with both figures."""
    return ValueError(
        f"'{path}' has {size:,} bytes, more than the {limit:,} a program may read or write;"
        " leave it as it is, or work on smaller files"
    )


def refused(path: str, error: OSError) -> OSError:
    """The same error in words for the program's author, without the machine's own paths."""
    if error.errno in {errno.EACCES, errno.EPERM}:
        return PermissionError(f"'{path}' cannot be read: its permissions on disk forbid it; leave it out")
    return OSError(error.errno, f"'{path}' cannot be read: {os.strerror(error.errno or 0)}")


def _entry(found: os.stat_result) -> DiskEntry | None:
    if stat.S_ISREG(found.st_mode):
        kind, mode = EntryKind.FILE, stat.S_IMODE(found.st_mode)
    elif stat.S_ISDIR(found.st_mode):
        kind, mode = EntryKind.DIRECTORY, stat.S_IMODE(found.st_mode)
    elif stat.S_ISLNK(found.st_mode):
        kind, mode = EntryKind.SYMLINK, 0o777
    else:
        return None
    return DiskEntry(kind, mode, found.st_size, found.st_mtime_ns, found.st_ino)


def _read_at(folder: int, name: str, path: str, *, limit: int) -> tuple[DiskEntry, bytes] | None:
    try:
        handle = os.open(name, _OPEN, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return _read_link(folder, name)
        if error.errno in {errno.ENXIO, errno.ENOENT, errno.ENAMETOOLONG}:  # ENXIO: a socket
            return None
        raise
    try:
        entry = _entry(os.fstat(handle))
        if entry is None or entry.kind is EntryKind.DIRECTORY:
            return None if entry is None else (entry, b"")
        if entry.size > limit:
            raise too_large(path, entry.size, limit)
        return entry, _all_bytes(handle, path, entry.size, limit)
    finally:
        os.close(handle)


def _all_bytes(handle: int, path: str, expected: int, limit: int) -> bytes:
    data = os.read(handle, expected + 1)
    while len(data) != expected:
        more = os.read(handle, 1 << 20)
        if not more:
            break
        data += more
        if len(data) > limit:
            raise too_large(path, len(data), limit)
    return data


def _read_link(folder: int, name: str) -> tuple[DiskEntry, bytes] | None:
    entry = _entry(os.lstat(name, dir_fd=folder))
    if entry is None or entry.kind is not EntryKind.SYMLINK:
        return None
    return entry, os.readlink(os.fsencode(name), dir_fd=folder)

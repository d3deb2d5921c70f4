"""Looks at the project's files on disk and never through a symlink: what is opened is what stands at that very path.

Resolving links is the overlay's business; each path given here has only real folders above its last name.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cairn.changes import EntryKind
from cairn.exact_names import is_spelled_so

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe must not block the opening
_TRIES = 3


@dataclass(frozen=True, slots=True)
class DiskEntry:
    """What lstat says about a file, symlink or folder; pipes, sockets and devices have none."""

    kind: EntryKind
    mode: int
    size: int
    mtime_ns: int
    inode: int


def look_at(root: Path, path: str) -> DiskEntry | None:
    """What stands there now, the last name not followed; the caller has just looked at every folder above it."""
    try:
        found = os.lstat(f"{root}/{path}" if path != "." else root)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise refused(path, error) from error
    return _entry(found) if is_spelled_so(root, path) else None


def look(root: Path, path: str) -> DiskEntry | None:
    """What stands there now; None also where a folder above it is a link or missing."""
    parts = path.split("/")
    for count in range(1, len(parts)):
        above = look_at(root, "/".join(parts[:count]))
        if above is None or above.kind is not EntryKind.DIRECTORY:
            return None
    return look_at(root, path)


def all_names(root: Path, folder: str) -> list[tuple[str, bool]]:
    """Everything in a folder, also what programs do not see, each with whether it is a folder; none if it is none."""
    found = look(root, folder)
    if found is None or found.kind is not EntryKind.DIRECTORY:
        return []
    try:
        with os.scandir(root / folder) as entries:
            return sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except OSError:
        return []


def read(root: Path, path: str, *, limit: int) -> tuple[DiskEntry, bytes] | None:
    """An entry and its content from one moment; None where nothing stands. ValueError for more bytes than `limit`.

    A file that another process is writing meanwhile is read again until it holds still.
    """
    if not is_spelled_so(root, path):
        return None
    try:
        folder, name = _open_folder_of(root, path)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise refused(path, error) from error
    try:
        for _ in range(_TRIES - 1):
            found = _read_at(folder, name, path, limit=limit)
            if found is None or _entry(os.lstat(name, dir_fd=folder)) == found[0]:
                return found
        return _read_at(folder, name, path, limit=limit)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise refused(path, error) from error
    finally:
        os.close(folder)


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


def _open_folder_of(root: Path, path: str) -> tuple[int, str]:
    """A descriptor of the folder above, each one on the way opened without following links."""
    *folders, name = path.split("/")
    current = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for folder in folders:
        try:
            below = os.open(folder, _OPEN | os.O_DIRECTORY, dir_fd=current)
        finally:
            os.close(current)
        current = below
    return current, name


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

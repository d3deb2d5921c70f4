"""The project's files as accept and undo see them: reached folder by folder, so that no symlink is ever followed.

Each folder on the way is opened below the one before it. What is looked at, and later replaced, is therefore what
stands in the project at that very path, whatever anybody does to the folders meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Self

from cairn.changes import Content, EntryKind
from cairn.errors import DiskFull, StorageProblem
from cairn.exact_names import ignores_case, listed_as
from cairn.file_attributes import Attributes, attributes_of
from cairn.project_path import parent
from cairn.project_place import STATE

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe put in a file's place must not block us
WRITE_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
NO_SUCH = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
_MOST_HELD = 16  # folders; more than are ever in use at once
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a file is: a user's and a group's number, and the attributes and access lists it has beside its mode."""

    user: int
    group: int
    attributes: Attributes = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What stands at a path now, and whose it is."""

    content: Content
    owner: Owner


@dataclass(frozen=True, slots=True)
class Edit:
    """One path of an operation: what stands there before it and after it.

    `owner` is who shall own what it writes; None for whoever runs the command. `moved_from` is the path that this
    content had before; that path has an edit of its own.
    """

    path: str
    before: Content | None
    after: Content | None
    owner: Owner | None = None
    moved_from: str | None = None

    @property
    def only_mode(self) -> bool:
        """True when the permission bits are all that changes."""
        return (
            self.before is not None
            and self.after is not None
            and (self.before.kind, self.before.data) == (self.after.kind, self.after.data)
        )


class Unusual(Exception):
    """What stands at a path is nothing that Cairn replaces, or cannot be read; `reason` says which."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


class ProjectFiles:
    """Looks at files below one folder. Also a context manager that closes."""

    def __init__(self, root: Path) -> None:
        with naming(str(root)):
            self._root = os.open(root, FOLDER & ~os.O_NOFOLLOW)
        self._ignores_case = ignores_case(root)
        self._path = root
        self._held: dict[str, int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Releases the root's descriptor."""
        os.close(self._root)

    @contextmanager
    def folder(self, path: str, *, make: bool = False) -> Iterator[int]:
        """A descriptor of a folder of the project. OSError in `NO_SUCH` when it, or one above it, is none.

        With `make` those that are missing are made.
        """
        if self._held is not None and not make:
            yield self._from_held(self._held, path)
            return
        handle = self._opened(path, make=make)
        try:
            yield handle
        finally:
            os.close(handle)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Within it the last few folders stay open: of many files in one folder, one pays for the way down to it.

        For one pass over the files. A folder that is moved away meanwhile stays the one that was looked into; what is
        removed is missing there as well.
        """
        if self._held is not None:
            yield
            return
        self._held = {}
        try:
            yield
        finally:
            held, self._held = self._held, None
            for handle in held.values():
                os.close(handle)

    def _from_held(self, held: dict[str, int], path: str) -> int:
        if path not in held:
            handle = self._opened(path)
            if len(held) >= _MOST_HELD:
                os.close(held.pop(next(iter(held))))
            held[path] = handle
        return held[path]

    def _opened(self, path: str, *, make: bool = False) -> int:
        if path == ".":
            return os.dup(self._root)
        above = self._root
        for name in path.split("/"):
            try:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(name, dir_fd=above)
                elif self._ignores_case and listed_as(above, name) != name:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
                below = os.open(name, FOLDER, dir_fd=above)
            finally:
                if above != self._root:
                    os.close(above)
            above = below
        return above

    def look(self, path: str) -> Found | None:
        """Raises Unusual for what is no file, symlink or folder, and for what may not be read."""
        above, name = parent(path), path.rpartition("/")[2]
        try:
            with self.folder(above) as folder:
                if self._ignores_case and listed_as(folder, name) != name:
                    return None
                return look_in(folder, name, path)
        except OSError as error:
            if error.errno in NO_SUCH:
                return None
            raise Unusual(path, f"cannot be read: {os.strerror(error.errno or 0)}") from error

    def taken_for(self, path: str) -> str | None:
        """The path that the disk takes for this one, spelled in another case; None where it tells case apart."""
        if not self._ignores_case:
            return None
        spelled = "."
        for name in path.split("/"):
            try:
                with self.folder(spelled) as folder:
                    found = listed_as(folder, name)
            except OSError:
                return None
            if found is None:
                return None
            spelled = found if spelled == "." else f"{spelled}/{found}"
        return None if spelled == path else spelled

    def only_mode(self) -> int | None:
        """The mode that each file has on a disk that keeps none, tried on a file of Cairn's own; None where it does."""
        return only_mode(self._path)

    def names(self, path: str) -> frozenset[str]:
        """Everything in a folder, hidden and ignored files included; empty where there is no such folder."""
        try:
            with self.folder(path) as folder, os.scandir(folder) as entries:
                return frozenset(entry.name for entry in entries)
        except OSError as error:
            if error.errno in NO_SUCH:
                return frozenset()
            raise Unusual(path, f"cannot be read: {os.strerror(error.errno or 0)}") from error

    def write_new(self, path: str, data: bytes) -> None:
        """Makes a file with the folders above it, synced. Replaces a file of that name, follows no link."""
        above, _, name = path.rpartition("/")
        with self.folder(above or ".", make=True) as folder:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            with opened_in(folder, name, WRITE_NEW) as handle:
                write_all(handle, data)
                os.fsync(handle)

    def written_at(self, paths: Iterable[str]) -> dict[str, int]:
        """When each content was last written, in nanoseconds; without those where nothing is or nobody may look."""
        found: dict[str, int] = {}
        for above, together in groupby(sorted(paths, key=parent), parent):
            with suppress(OSError), self.folder(above) as folder:
                for path in together:
                    with suppress(OSError):
                        state = os.stat(path.rpartition("/")[2], dir_fd=folder, follow_symlinks=False)
                        found[path] = state.st_mtime_ns
        return found

    @contextmanager
    def nearest_folder(self, path: str) -> Iterator[tuple[str, int]]:
        """The lowest folder above the path that exists, with a descriptor of it."""
        above = parent(path)
        with ExitStack() as opened:
            while True:
                try:
                    handle = opened.enter_context(self.folder(above))
                    break
                except OSError as error:
                    if above == "." or error.errno not in NO_SUCH:
                        raise
                above = parent(above)
            yield above, handle


@lru_cache(maxsize=16)
def only_mode(root: Path) -> int | None:
    """See `ProjectFiles.only_mode`. Some disks without modes refuse to change one, others do as if they had."""
    trial = root / STATE / f"modes-{os.getpid()}.tmp"
    try:
        handle = os.open(trial, WRITE_NEW, 0o600)
    except OSError:
        return None
    try:
        trial.unlink()
        wanted = stat.S_IMODE(os.fstat(handle).st_mode) ^ stat.S_IXUSR
        with suppress(PermissionError):
            os.fchmod(handle, wanted)
        now = stat.S_IMODE(os.fstat(handle).st_mode)
    except OSError:
        return None
    finally:
        os.close(handle)
    return None if now == wanted else now


def look_in(folder: int, name: str, path: str, *, attributes: bool = True) -> Found | None:
    """What stands under a name in an opened folder. OSError as the system gives it; Unusual as `look` does.

    Without `attributes` the owner has none: who only compares contents need not ask for them.
    """
    try:
        state = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(state.st_mode):
        owner = Owner(state.st_uid, state.st_gid, _folder_attributes(folder, name) if attributes else ())
        return Found(Content(EntryKind.DIRECTORY, stat.S_IMODE(state.st_mode)), owner)
    if stat.S_ISLNK(state.st_mode):
        target = os.readlink(name, dir_fd=folder)
        return Found(Content(EntryKind.SYMLINK, 0o777, os.fsencode(target)), Owner(state.st_uid, state.st_gid))
    if not stat.S_ISREG(state.st_mode):
        raise Unusual(path, "is a pipe, socket or device in the project now")
    return _read(folder, name, path, attributes=attributes)


def _read(folder: int, name: str, path: str, *, attributes: bool) -> Found:
    handle = os.open(name, READ, dir_fd=folder)
    try:
        return found_at(handle, path, attributes=attributes)
    finally:
        os.close(handle)


@contextmanager
def opened_file(folder: int, name: str, path: str) -> Iterator[int]:
    """A descriptor of the file under a name, to read. Unusual for anything but a file, OSError as `look_in`."""
    if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        raise Unusual(path, "is no file")
    with opened_in(folder, name, READ) as handle:
        yield handle


def found_at(handle: int, path: str, *, attributes: bool = False) -> Found:
    """What an opened file holds from where it is read, at first all; Unusual for anything but a file."""
    state = os.fstat(handle)
    if not stat.S_ISREG(state.st_mode):
        raise Unusual(path, "changed while it was read")
    data = _all_bytes(handle, state.st_size)
    owner = Owner(state.st_uid, state.st_gid, attributes_of(handle) if attributes else ())
    return Found(Content(EntryKind.FILE, stat.S_IMODE(state.st_mode), data), owner)


def _all_bytes(handle: int, size: int) -> bytes:
    """In one call, unless the file has another size by now or is too large for one."""
    data = os.read(handle, size + 1)
    while len(data) != size:
        more = os.read(handle, 1 << 20)
        if not more:
            break
        data += more
    return data


def _folder_attributes(folder: int, name: str) -> Attributes:
    try:
        with opened_in(folder, name, FOLDER) as handle:
            return attributes_of(handle)
    except OSError:  # it may not be read, or is no folder any more
        return ()


@contextmanager
def opened_in(folder: int, name: str, flags: int) -> Iterator[int]:
    """A descriptor of what stands under a name in an opened folder; what it makes is for nobody else yet."""
    handle = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        yield handle
    finally:
        os.close(handle)


def write_all(handle: int, data: bytes) -> None:
    """However little the system takes at once."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def same(one: Content | None, other: Content | None) -> bool:
    """Equal as far as Cairn keeps it: a symlink has no mode of its own, and of two folders only the mode can differ."""
    if one is None or other is None:
        return one is other
    if one.kind is EntryKind.SYMLINK:
        return other.kind is EntryKind.SYMLINK and one.data == other.data
    return one == other


def new_folder() -> Content:
    """A folder as mkdir makes it."""
    mask = os.umask(0o077)  # it can only be read by setting it
    os.umask(mask)
    return Content(EntryKind.DIRECTORY, 0o777 & ~mask)


def folders_above(path: str) -> Iterator[str]:
    """Every folder above a path, the highest first; the root left out."""
    parts = path.split("/")[:-1]
    return ("/".join(parts[:count]) for count in range(1, len(parts) + 1))


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Turns the system's errors into DiskFull or StorageProblem that name the path."""
    try:
        yield
    except OSError as error:
        raise _problem(path, error) from error


def _problem(path: str, error: OSError) -> StorageProblem:
    if error.errno in _FULL:
        return DiskFull(f"The disk is full; {path} could not be written.", fix="Free some space and try again.")
    told = f"The system says: {os.strerror(error.errno or 0)}."
    if error.errno in _REFUSED:
        return StorageProblem(f"{path} cannot be written.", told, "Check the permissions of the file and its folder.")
    return StorageProblem(f"{path} cannot be read or written.", told, "Check the disk, then try again.")

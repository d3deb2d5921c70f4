"""A task's files over the project's: as a layer that overlayfs takes, or as a copy; and what commands wrote, read back.

The project is only ever read here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cairn.changes import Content, EntryKind
from cairn.runtime import Layer, TooLargeToKeep

HIDDEN = ".cairn"  # of the project: a command has no business with other tasks
GIT_CONFIG = ".git/config"
_OWN_SECTIONS = ("[core", "[extensions", "[init")
_CLONE = 0x40049409  # FICLONE: share a file's blocks until one of both is written
_OPAQUE = "user.overlay.opaque"
_NO_CLONE = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS)
_CHUNK = 1 << 30
COPIERS = 4


def write_layer(layer: Layer, project: Path, folder: Path) -> None:
    """The task's files as a folder that overlayfs lays over the project."""
    shutil.copystat(project, folder)
    files = _with_own(layer, project)
    for path in sorted(files):
        content = files[path]
        target = folder / path
        if content is not None:
            _folders_above(path, project, folder)
            _write(target, content)
        elif _is_gone(path, project, files) and not _is_covered(path, folder):
            _folders_above(path, project, folder)
            if not os.path.lexists(target):
                os.mknod(target, stat.S_IFCHR, os.makedev(0, 0))  # how overlayfs says that nothing is here


def copy_files(layer: Layer, project: Path, folder: Path) -> str:
    """The project's files with the task's over them; says whether the disk shares them until one is written."""
    copier = _Copier()
    copier.tree(project, folder, without=HIDDEN)
    files = _with_own(layer, project)
    for path in sorted(files, reverse=True):
        if files[path] is None:
            _delete(folder / path)
    for path in sorted(files):
        if (content := files[path]) is not None:
            target = folder / path
            if content.kind is not EntryKind.DIRECTORY or target.is_symlink() or not target.is_dir():
                _delete(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(target, content)
    return "reflink" if copier.clones else "copy"


def _with_own(layer: Layer, project: Path) -> dict[str, Content | None]:
    """With what no command sees: Cairn's folder, and git's remotes, whose addresses may hold a password."""
    files = {**layer.files, HIDDEN: None}
    try:
        lines = (project / GIT_CONFIG).read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    except OSError:
        return files
    kept, keeping = [], False
    for line in lines:
        if line.lstrip().startswith("["):
            keeping = line.lstrip().lower().startswith(_OWN_SECTIONS)
        kept += [line] if keeping else []
    return {**files, GIT_CONFIG: Content(EntryKind.FILE, 0o644, "".join(kept).encode())}


def _is_gone(path: str, project: Path, files: Mapping[str, Content | None]) -> bool:
    """True where the project has something, and nothing below it stays."""
    there = project / path
    if path not in files or files[path] is not None or not os.path.lexists(there):
        return False
    if there.is_symlink() or not there.is_dir() or path == HIDDEN:
        return True
    return all(_is_gone(f"{path}/{name}", project, files) for name in os.listdir(there))


def _is_covered(path: str, folder: Path) -> bool:
    """True below a place where the layer has a file, a link or nothing."""
    above = [folder.joinpath(*path.split("/")[:count]) for count in range(1, path.count("/") + 1)]
    return any(os.path.lexists(each) and (each.is_symlink() or not each.is_dir()) for each in above)


def _folders_above(path: str, project: Path, folder: Path) -> None:
    """Folders of the layer look as the project's do: overlayfs takes mode and time from the uppermost."""
    above = path.rpartition("/")[0]
    if not above or (folder / above).is_dir():
        return
    _folders_above(above, project, folder)
    made, theirs = folder / above, project / above
    made.mkdir()
    if theirs.is_dir() and not theirs.is_symlink():
        shutil.copystat(theirs, made)


def _write(target: Path, content: Content) -> None:
    if content.kind is EntryKind.DIRECTORY:
        target.mkdir(exist_ok=True)
        target.chmod(content.mode)
    elif content.kind is EntryKind.SYMLINK:
        target.symlink_to(os.fsdecode(content.data))
    else:
        target.write_bytes(content.data)
        target.chmod(content.mode)


def _delete(target: Path) -> None:
    """A file or link, or a folder with nothing in it; what stays in a folder keeps the folder."""
    with suppress(FileNotFoundError, NotADirectoryError):
        if target.is_dir() and not target.is_symlink():
            with suppress(OSError):
                target.rmdir()
        else:
            target.unlink()


class _Copier:
    """Copies trees; `clones` is true while the disk shares the files' blocks."""

    def __init__(self) -> None:
        self.clones = True
        self._masked = _umask()

    def tree(self, source: Path, target: Path, *, without: str) -> None:
        """A folder with all below it: modes, times and links as they are; pipes and sockets are left out.

        Several at a time: the kernel makes files in two folders at once.
        """
        from concurrent.futures import Future, ThreadPoolExecutor

        made: list[tuple[str, str]] = []
        copying: list[Future[None]] = []
        with ThreadPoolExecutor(COPIERS) as pool:
            waiting = [(str(source), str(target))]
            while waiting:
                folder = waiting.pop()
                made.append(folder)
                files, below = self._listed(*folder, without=without if len(made) == 1 else "")
                waiting += below
                copying.append(pool.submit(self._files, files))
        for each in copying:
            each.result()
        for there, here in reversed(made):  # times last: they change with each name that is made
            with suppress(FileNotFoundError):
                shutil.copystat(there, here)

    def _listed(self, source: str, target: str, *, without: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """The files to copy and the folders to enter, which are made; links are made at once."""
        files, folders = [], []
        with suppress(FileNotFoundError, PermissionError), os.scandir(source) as entries:
            for entry in entries:
                if entry.name == without:
                    continue
                made = f"{target}/{entry.name}"
                with suppress(FileNotFoundError):  # deleted this instant
                    if entry.is_symlink():
                        os.symlink(os.readlink(entry.path), made)
                    elif entry.is_dir():
                        os.mkdir(made)
                        folders.append((entry.path, made))
                    elif entry.is_file():
                        files.append((entry.path, made))
        return files, folders

    def _files(self, files: list[tuple[str, str]]) -> None:
        for source, target in files:
            with suppress(FileNotFoundError, PermissionError):  # deleted this instant, or nobody may read it
                self._file(source, target)

    def _file(self, source: str, target: str) -> None:
        reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(reading)
            writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, found.st_mode & 0o777)
            try:
                self._content(reading, writing)
                if found.st_mode & self._masked:
                    os.fchmod(writing, found.st_mode & 0o777)
                os.utime(writing, ns=(found.st_atime_ns, found.st_mtime_ns))
            finally:
                os.close(writing)
        finally:
            os.close(reading)

    def _content(self, reading: int, writing: int) -> None:
        if self.clones:
            try:
                fcntl.ioctl(writing, _CLONE, reading)
            except OSError as error:
                if error.errno not in _NO_CLONE:
                    raise
                self.clones = False
            else:
                return
        while os.sendfile(writing, reading, None, _CHUNK):
            pass


def _umask() -> int:
    """Read without setting it, which other threads would notice."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("Umask:")).split()[1], 8)
    return 0o777


# ── what commands wrote ──


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells a file of a copy from what it was; times alone can be set."""

    changed: int
    size: int
    inode: int


def stamps(tree: Path) -> dict[str, Stamp]:
    """Every path of a copy."""
    return {path: _stamp(found) for path, found in _below(tree, "")}


def written_in_copy(tree: Path, before: Mapping[str, Stamp]) -> tuple[str, ...]:
    """The paths that are not what they were; folders only where they are new or gone."""
    now = dict(_below(tree, ""))
    differing = {
        path
        for path, found in now.items()
        if path not in before or (not stat.S_ISDIR(found.st_mode) and before[path] != _stamp(found))
    }
    return tuple(sorted(differing | (before.keys() - now.keys())))


def written_in_upper(upper: Path, seen: Path, changes: Path) -> tuple[str, ...]:
    """The paths that overlayfs keeps in its upper folder: written, made or deleted over the two layers below it."""
    found = []
    for path, entry in _below(upper, ""):
        if stat.S_ISDIR(entry.st_mode):
            lower = [layer / path for layer in (changes, seen)]
            if any(each.is_dir() and not each.is_symlink() for each in lower) and not _is_opaque(upper / path):
                continue
        found.append(path)
    return tuple(sorted(found))


def content_at(folder: Path, path: str, most: int) -> Content | None:
    """What stands there as a change has it; None for nothing, a whiteout or a device.

    Raises TooLargeToKeep for a file over `most` bytes.
    """
    target = folder / path
    try:
        found = os.lstat(target)
        mode = found.st_mode & 0o777
        if stat.S_ISLNK(found.st_mode):
            return Content(EntryKind.SYMLINK, 0o777, os.fsencode(os.readlink(target)))
        if stat.S_ISDIR(found.st_mode):
            return Content(EntryKind.DIRECTORY, mode)
        if stat.S_ISREG(found.st_mode):
            if found.st_size > most:
                raise TooLargeToKeep(path, found.st_size)
            with open(os.open(target, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                return Content(EntryKind.FILE, mode, file.read(most))
    except OSError:
        return None
    return None


def is_deleted(folder: Path, path: str) -> bool:
    """True for nothing at all, and for what overlayfs puts where something was deleted."""
    try:
        found = os.lstat(folder / path)
    except OSError:
        return True
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _below(folder: Path, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            path = prefix + entry.name
            found = entry.stat(follow_symlinks=False)
            yield path, found
            if stat.S_ISDIR(found.st_mode):
                yield from _below(folder / entry.name, f"{path}/")


def _stamp(found: os.stat_result) -> Stamp:
    return Stamp(found.st_ctime_ns, found.st_size, found.st_ino)


def _is_opaque(folder: Path) -> bool:
    try:
        return os.getxattr(folder, _OPAQUE) == b"y"
    except OSError:
        return False

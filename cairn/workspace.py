"""The folders in which a command runs over a task's files: made, deleted, and cleaned up after a kill.

They lie in the user's cache, never in the project, which is the lower layer of an overlayfs. A lock tells whether
whoever made one still lives.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cairn.errors import StorageProblem

_LOCK = "lock"
_PREFIX = "workspace-"
_FOLDERS = ("changes", "upper", "work", "tree", "scratch", "root")


def homes(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where workspaces may lie, the best first."""
    cache = Path(environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or "~").expanduser() / ".cache")
    spare = Path(tempfile.gettempdir()) / f"cairn-{os.getuid()}"
    return (cache / "cairn" / "workspaces", spare / "workspaces")


@dataclass(slots=True)
class Workspace:
    """One of them. `changes` is the task's layer, `upper` and `work` are where overlayfs writes, `tree` is where the
    files are put together, `scratch` is the command's temporary folder, `root` where a sandbox builds its root.
    """

    folder: Path
    _lock: int | None

    @classmethod
    def make(cls, project: Path, environ: Mapping[str, str]) -> Self:
        """A new empty one. Raises StorageProblem where none can be made outside of the project."""
        trouble = "every place for it lies inside the project"
        for home in homes(environ):
            if home.resolve().is_relative_to(project.resolve()):
                continue
            try:
                _private_folder(home)
                folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=home))
                made = cls(folder, _held_lock(folder))
            except OSError as error:
                trouble = str(error)
                continue
            for name in _FOLDERS:
                (folder / name).mkdir()
            made.scratch.chmod(0o777 | stat.S_ISVTX)
            shutil.copystat(project, made.upper)
            return made
        raise StorageProblem("There is no place to run the project's commands in.", f"{trouble}.")

    @property
    def changes(self) -> Path:
        """The task's own files, as overlayfs reads a layer."""
        return self.folder / "changes"

    @property
    def upper(self) -> Path:
        """What commands write, as overlayfs keeps it."""
        return self.folder / "upper"

    @property
    def work(self) -> Path:
        """A folder that overlayfs wants for itself."""
        return self.folder / "work"

    @property
    def tree(self) -> Path:
        """The project with the task's files: a mount point, or a copy."""
        return self.folder / "tree"

    @property
    def scratch(self) -> Path:
        """The temporary folder of commands."""
        return self.folder / "scratch"

    @property
    def root(self) -> Path:
        """An empty folder."""
        return self.folder / "root"

    def renew_work(self) -> None:
        """Empties `work`: overlayfs takes no folder of a mount that did not wait for the disk."""
        remove_tree(self.work)
        self.work.mkdir()

    def remove(self) -> None:
        """Deletes all of it; twice does no harm."""
        remove_tree(self.folder)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def left_over(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Workspaces whose maker is gone, sorted."""
    return tuple(sorted(folder for folder in _all(environ) if not _is_used(folder)))


def size_of(folder: Path) -> int:
    """The bytes of all files below it, as far as it may be entered."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(where, name)).st_size
    return total


def remove_left_over(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Deletes what killed commands left, and says which."""
    found = left_over(environ)
    for folder in found:
        remove_tree(folder)
    return found


def remove_tree(folder: Path) -> None:
    """Deletes a folder with all below it, also what its maker may not enter, and follows no link."""
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.lexists(folder):  # overlayfs leaves folders without any rights, and so may a command
        _open_up(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _open_up(folder: Path) -> None:
    """Folders from above to below become their owner's to empty."""
    with suppress(OSError):
        if not folder.is_symlink():
            folder.chmod(0o700)
            for entry in os.scandir(folder):
                if entry.is_dir(follow_symlinks=False):
                    _open_up(folder / entry.name)


def _all(environ: Mapping[str, str]) -> Iterator[Path]:
    for home in homes(environ):
        with suppress(OSError):
            if os.lstat(home).st_uid == os.getuid():
                yield from (home / name for name in os.listdir(home) if name.startswith(_PREFIX))


def _is_used(folder: Path) -> bool:
    """Held by a living process; one that is just being made has no lock yet, and is young."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        with suppress(OSError):
            import time

            return time.time() - os.lstat(folder).st_ctime < 60  # noqa: PLR2004 - seconds
        return False
    except OSError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def _held_lock(folder: Path) -> int:
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def _private_folder(home: Path) -> None:
    """Made for this user alone; a folder of somebody else's there is refused."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in (home, home.parent):
        found = os.lstat(each)
        if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
            raise PermissionError(errno.EPERM, f"{each} belongs to somebody else")

"""Checkouts of the commits that tasks work on, on a machine without the user's clone: one for each commit, shared.

A folder of this machine holds one bare mirror and beside it a tree for each commit, all for one project. Tasks only
read a tree. It is made whole or not at all: its mark comes last, and whoever makes, removes or uses it holds its lock,
which the system lets go of when the last process with it is dead, git's own included.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from cairn.base_remote import fetch
from cairn.errors import CairnError, NotFound, StorageProblem
from cairn.git_process import ALONE, GitRefused, Halt, git, line, problem
from cairn.task_base import Base

KEEP = 8  # trees that stay although nobody uses them
WAIT_SECONDS = 900.0  # for another process that makes the same tree
_POLL_SECONDS = 0.05
_MIRROR = "mirror.git"
_LOCK, _MARK = ".lock", ".done"
_MASK = 0o022  # the same modes on every machine: programs see them
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAME_LENGTHS = {40, 64}


def cache_folder(given: str | None, environ: Mapping[str, str], project: str) -> Path:
    """Where a project's checkouts are: in the setting `engine.cache`, else in the user's cache folder."""
    home = Path(environ.get("HOME") or "~").expanduser()
    if given:
        return Path(given).expanduser().absolute() / project
    return Path(environ.get("XDG_CACHE_HOME") or home / ".cache") / "cairn" / "bases" / project


class BaseCheckouts:
    """The checkouts of one project, for all threads and processes of a machine; `address` is the remote's.

    The folder must be on a disk of this machine. Everything here may wait for the disk or the remote.
    """

    def __init__(self, folder: Path, address: str, *, keep: int = KEEP, wait_seconds: float = WAIT_SECONDS) -> None:
        self._folder = folder
        self._mirror = folder / _MIRROR
        self._address = address
        self._keep = keep
        self._wait_seconds = wait_seconds
        self._looked_at: set[str] = set()

    @contextmanager
    def held(self, base: Base, halt: Halt | None = None) -> Iterator[Path]:
        """The project's root in a tree of the commit, which stays as long as it is held; made when it is missing.

        Once `halt` is called it is not waited for. Raises NotFound where remote or commit have no such thing,
        CairnError where it cannot be made.
        """
        lock = self._taken(base, halt or Halt())
        try:
            yield self._root(base)
        finally:
            with suppress(OSError):
                os.utime(lock)  # the last use counts, not the first
            os.close(lock)

    def prune(self) -> int:
        """Removes the trees that were not used for the longest time, but for `keep`; those that are held stay."""
        removed = 0
        for commit in self._by_use()[self._keep :]:
            lock = _locked(self._path(commit, _LOCK), fcntl.LOCK_EX, 0.0)
            if lock is None:
                continue
            try:
                self._remove(commit)
                self._path(commit, _LOCK).unlink(missing_ok=True)
                removed += 1
            finally:
                os.close(lock)
        if removed:
            self._tidy_mirror()
        return removed

    # -- taking --------------------------------------------------------------------------------------------------------

    def _taken(self, base: Base, halt: Halt) -> int:
        """A shared lock on a tree that is whole."""
        path, commit = self._path(base.commit, _LOCK), base.commit
        self._make_folder()
        deadline = time.monotonic() + self._wait_seconds
        while True:
            lock = _locked(path, fcntl.LOCK_SH, 0.0)
            if lock is not None:
                if self._is_whole(commit) and self._is_unchanged(commit):
                    with suppress(OSError):
                        os.utime(lock)
                    return lock
                os.close(lock)
            # Never waited for: once another process has made the tree, those who hold it may hold it for hours.
            lock = _locked(path, fcntl.LOCK_EX, 0.0)
            if lock is None:
                if time.monotonic() >= deadline:
                    raise self._too_long(path)
                halt.heed()
                time.sleep(_POLL_SECONDS)
                continue
            try:
                if not self._is_whole(commit):
                    self._make(base, lock, halt)
            finally:
                os.close(lock)
            self.prune()

    def _too_long(self, path: Path) -> CairnError:
        return CairnError(
            f"{path.stem[:12]} is being made or fetched by another process since {self._wait_seconds:g} s.",
            fix=f"Wait for it, or end that process; it holds {path}.",
        )

    def _is_whole(self, commit: str) -> bool:
        """A tree from before the machine's last start does not count: its end may not have reached the disk."""
        try:
            return self._path(commit, _MARK).read_text(encoding="ascii") == _this_boot() and self._path(commit).is_dir()
        except (OSError, ValueError):
            return False

    def _is_unchanged(self, commit: str) -> bool:
        """Looked at once in a process: what a task reads is the commit, whatever ran beside it without a sandbox."""
        if commit not in self._looked_at:
            try:
                git(self._path(commit), "diff-files", "--quiet", "--ignore-submodules=all", variables=ALONE)
            except GitRefused:
                # Its users go on with it; whoever comes next makes it anew as soon as they have gone.
                self._path(commit, _MARK).unlink(missing_ok=True)
                return False
            self._looked_at.add(commit)
        return True

    def _root(self, base: Base) -> Path:
        """Through folders only: a link in a commit could lead anywhere."""
        at = self._path(base.commit)
        for name in base.subfolder.split("/") if base.subfolder else ():
            at /= name
            with suppress(OSError):
                if stat.S_ISDIR(at.lstat().st_mode):
                    continue
            raise NotFound(
                f"The commit {base.commit[:12]} has no folder {base.subfolder}, which is the task's project."
            )
        return at

    # -- making and removing -------------------------------------------------------------------------------------------

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            what = f"The folder for checkouts, {self._folder}, cannot be made."
            raise StorageProblem(what, f"{error.strerror}.", "CAIRN_ENGINE_CACHE names another one.") from error

    def _make(self, base: Base, lock: int, halt: Halt) -> None:
        commit, tree = base.commit, self._path(base.commit)
        try:
            self._clear(commit)
            with self._mirror_locked(halt) as mirror_lock:
                self._bring(base, mirror_lock, halt)
            options = ("--quiet", "--force", "--detach")
            with_all_cores = ("checkout.workers=0",)
            added = ("worktree", "add", *options, "--", str(tree), commit)
            self._own(*added, settings=with_all_cores, holding=lock, halt=halt)
            self._mark_settled(self._mirror / "worktrees" / commit / "index")
            self._path(commit, _MARK).write_text(_this_boot(), encoding="ascii")
        except GitRefused as refused:
            self._clear_quietly(commit)
            raise problem(f"The commit {commit[:12]} could not be checked out in {self._folder}.", refused) from None
        except OSError as error:
            self._clear_quietly(commit)
            raise StorageProblem(f"{self._folder} cannot be written.", f"{error.strerror}.") from error
        self._looked_at.add(commit)

    @staticmethod
    def _mark_settled(index: Path) -> None:
        """Nobody writes here any more. Else git, which counts in seconds, would read every file again each time."""
        written = index.stat().st_mtime_ns + 2_000_000_000
        os.utime(index, ns=(written, written))

    def _bring(self, base: Base, lock: int, halt: Halt) -> None:
        """Has the mirror hold the commit, under a ref that keeps it; the caller holds the mirror's lock."""
        if not self._mirror.is_dir():
            self._make_mirror(base, lock)
        if self._has(base):
            return
        fetch(self._mirror, base, self._address, halt=halt)
        # What a killed git left; its processes are gone, or they would hold the lock.
        (self._mirror / f"{_ref(base.commit)}.lock").unlink(missing_ok=True)
        (self._mirror / "packed-refs.lock").unlink(missing_ok=True)
        self._own("update-ref", "--no-deref", _ref(base.commit), f"{base.commit}^{{commit}}", holding=lock)

    def _make_mirror(self, base: Base, lock: int) -> None:
        begun = self._folder / "mirror.tmp"
        shutil.rmtree(begun, ignore_errors=True)
        kind = ("--object-format=sha256",) if len(base.commit) > min(_NAME_LENGTHS) else ()
        options = ("--quiet", "--bare", "--template=", *kind)
        git(self._folder, "init", *options, str(begun), variables=ALONE, holding=[lock])
        begun.rename(self._mirror)

    def _has(self, base: Base) -> bool:
        try:
            return line(self._own("rev-parse", "--verify", "--quiet", f"{_ref(base.commit)}^{{commit}}")) == base.commit
        except GitRefused:
            return False

    def _remove(self, commit: str) -> None:
        self._clear(commit)
        if self._mirror.is_dir():
            with self._mirror_locked() as mirror_lock, suppress(GitRefused):
                (self._mirror / "packed-refs.lock").unlink(missing_ok=True)
                self._own("update-ref", "--no-deref", "-d", _ref(commit), holding=mirror_lock)

    def _clear(self, commit: str) -> None:
        """The mark goes first, so that a tree which is half removed counts as none."""
        self._path(commit, _MARK).unlink(missing_ok=True)
        for folder in (self._path(commit), self._mirror / "worktrees" / commit):
            if folder.is_dir():
                shutil.rmtree(folder)

    def _clear_quietly(self, commit: str) -> None:
        with suppress(OSError):
            self._clear(commit)

    def _tidy_mirror(self) -> None:
        """Has git pack what has become much, and delete what no tree needs and is old."""
        settings = ("gc.auto=6700", "gc.autoDetach=false", "gc.worktreePruneExpire=never")
        with self._mirror_locked() as lock, suppress(GitRefused):
            self._own("gc", "--auto", "--quiet", settings=settings, holding=lock)

    def _own(
        self,
        *arguments: str,
        settings: tuple[str, ...] = (),
        holding: int | None = None,
        halt: Halt | None = None,
    ) -> bytes:
        """Runs git in the mirror: with the settings of nobody, the same everywhere."""
        held = [] if holding is None else [holding]
        return git(self._mirror, *arguments, variables=ALONE, settings=settings, holding=held, mask=_MASK, halt=halt)

    # -- names and locks -----------------------------------------------------------------------------------------------

    def _path(self, commit: str, end: str = "") -> Path:
        return self._folder / f"{commit}{end}"

    def _by_use(self) -> list[str]:
        """Commits with a lock, those used last first."""
        found = []
        for path in self._folder.glob(f"*{_LOCK}"):
            with suppress(OSError):
                if len(path.stem) in _NAME_LENGTHS:
                    found.append((path.stat().st_mtime_ns, path.stem))
        return [commit for _, commit in sorted(found, reverse=True)]

    @contextmanager
    def _mirror_locked(self, halt: Halt | None = None) -> Iterator[int]:
        path = self._folder / f"{_MIRROR}{_LOCK}"
        lock = _locked(path, fcntl.LOCK_EX, self._wait_seconds, halt)
        if lock is None:
            raise self._too_long(path)
        try:
            yield lock
        finally:
            os.close(lock)


def _ref(commit: str) -> str:
    """What keeps it in the mirror, which is one project's."""
    return Base(commit).ref


@cache
def _this_boot() -> str:
    """Differs after each start of the machine; the same always where the system does not tell."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return "unknown"


def _locked(path: Path, how: int, seconds: float, halt: Halt | None = None) -> int | None:
    """A descriptor with the lock on a file that stands at its name; None when others hold it for longer."""
    deadline = time.monotonic() + seconds
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, how | fcntl.LOCK_NB)
            if _stands_at(lock, path):
                return lock
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(lock)
                return None
            if halt is not None:
                halt.heed()
            time.sleep(_POLL_SECONDS)
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _stands_at(lock: int, path: Path) -> bool:
    """False when somebody removed the file after it was opened."""
    try:
        now = path.stat()
    except FileNotFoundError:
        return False
    found = os.fstat(lock)
    return (found.st_dev, found.st_ino) == (now.st_dev, now.st_ino)

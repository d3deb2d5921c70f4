"""The lock by which one command at a time changes a project: a file's, which dies with its process."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cairn.errors import StorageProblem
from cairn.project_files import naming

LOCK_SECONDS = 10.0
_POLL_SECONDS = 0.05


class Busy(StorageProblem):
    """Another process holds the project's lock."""


class ProjectLock:
    """Held by one thread, as often as it likes, and by no other process then."""

    def __init__(self, path: Path, seconds: float = LOCK_SECONDS) -> None:
        self._path = path
        self._seconds = seconds
        self._mutex = threading.RLock()
        self._is_held = False

    @contextmanager
    def held(self, prepare: Callable[[], None], *, wait: bool = True) -> Iterator[None]:
        """`prepare` makes the folder that it is in. Raises Busy when it took too long, or at once unless `wait`."""
        seconds = self._seconds if wait else 0.0
        if not self._mutex.acquire(timeout=seconds):
            raise _busy("another part of this process")
        try:
            if self._is_held:
                yield
                return
            prepare()
            with _file_lock(self._path, seconds):
                self._is_held = True
                try:
                    yield
                finally:
                    self._is_held = False
        finally:
            self._mutex.release()


def _busy(holder: str) -> Busy:
    return Busy(
        "Another cairn command is changing this project.",
        f"It is {holder}.",
        "Wait for it to end, then try again.",
    )


@contextmanager
def _file_lock(path: Path, seconds: float) -> Iterator[None]:
    with naming(str(path)):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        _lock(handle, seconds)
        with suppress(OSError):  # for the message of whoever waits
            os.ftruncate(handle, 0)
            os.pwrite(handle, b"process %d" % os.getpid(), 0)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise _busy(os.pread(handle, 100, 0).decode(errors="replace") or "another process") from None
            time.sleep(_POLL_SECONDS)
        else:
            return

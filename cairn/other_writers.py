"""Whether another process is about to write a file: it has it open for writing, or holds a lock on it.

A file that is replaced lives on for whoever has it open, and what is written there is seen by nobody. A lease tells
who has: the kernel grants one for reading only while nobody has the file open for writing, and lets whoever opens it
so wait until the lease is given back.
"""

from __future__ import annotations

import errno
import fcntl
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

PATIENCE = 1.0  # seconds; an editor that writes a file in place takes milliseconds
_POLL_SECONDS = 0.01
_HELD = {errno.EAGAIN, errno.EACCES}


class InUse(Exception):
    """Another process is using the file; `how` says in which way, for "The file is ..."."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


def require_unlocked(handle: int, *, patience: float | None = None) -> None:
    """Waits until nobody holds an exclusive lock on the opened file, of either kind. Raises InUse."""
    _patiently(lambda: _require_unlocked(handle), patience)


@contextmanager
def unwritten(handle: int, *, patience: float | None = None) -> Iterator[Callable[[], None]]:
    """Within it no process has the file, opened for reading here, open for writing. Waits; raises InUse.

    Gives a check that raises InUse when a process waits to open it so. Where the system grants no leases (a file of
    somebody else's, a network's file system) nothing is known, and nothing raised.
    """
    leased = _patiently(lambda: _lease(handle), patience)
    try:
        yield lambda: _require_undisturbed(handle) if leased else None
    finally:
        if leased:
            with suppress(OSError):
                fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def _patiently(attempt: Callable[[], bool], patience: float | None) -> bool:
    deadline = time.monotonic() + (PATIENCE if patience is None else patience)
    while True:
        try:
            return attempt()
        except InUse:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_POLL_SECONDS)


def _require_unlocked(handle: int) -> bool:
    for lock, unlock in ((fcntl.flock, fcntl.LOCK_UN), (fcntl.lockf, fcntl.LOCK_UN)):
        try:
            lock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                raise InUse("locked by another program") from None
            continue  # a file system without locks
        lock(handle, unlock)
    return True


def _lease(handle: int) -> bool:
    """False where the system grants none."""
    if sys.platform != "linux":
        return False
    try:
        # Whoever wants to write makes the kernel signal us; the usual signal would end the process.
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise InUse("open for writing in another program") from None
        return False
    return True


def _require_undisturbed(handle: int) -> None:
    if fcntl.fcntl(handle, fcntl.F_GETLEASE) != fcntl.F_RDLCK:
        raise InUse("being opened for writing by another program")

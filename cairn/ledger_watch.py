"""Notices within a millisecond that another process wrote to the ledger, at next to no cost while none does.

A server tells of it. Of a file Linux does (inotify(7)): whoever commits writes to the file beside the ledger that holds
SQLite's log. On other systems SQLite is asked a hundred times a second whether the ledger is another one.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import sqlite3
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol, Self

from cairn.ledger_place import LedgerFile, LedgerPlace, place_of
from cairn.sqlite_file import connect, translate_errors

POLL_SECONDS = 0.01
SETTLED_SECONDS = 0.002  # between the write of a log and the moment at which others see it as committed
_IN_MODIFY = 0x2
_EVENT_BYTES = 65_536


class _Commits(Protocol):
    """Hears of the commits to one ledger."""

    def ready(self, seconds: float) -> list[selectors.SelectorKey]:
        """Waits for a commit, or for something else: that is given back."""
        ...

    def changed(self) -> bool:
        """True when somebody committed since it was asked last."""
        ...

    def close(self) -> None:
        """Releases everything."""
        ...


class LedgerWatch:
    """Waits for commits of others to one ledger, and for whatever else `selector` knows of."""

    def __init__(self, ledger: Path | LedgerPlace, *, told: bool = sys.platform == "linux") -> None:
        self.selector = selectors.DefaultSelector()
        try:
            self._commits = _commits(place_of(ledger), self.selector, told=told)
        except BaseException:
            self.selector.close()
            raise

    def close(self) -> None:
        """Releases everything."""
        self.selector.close()
        self._commits.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def wait(self, seconds: float) -> list[selectors.SelectorKey]:
        """Returns when the ledger changed, something else is ready (these are returned), or the time has passed."""
        end = time.monotonic() + seconds
        while True:
            left = max(0.0, end - time.monotonic())
            ready = self._commits.ready(left)
            if ready or self._commits.changed() or left == 0.0:
                return ready


def _commits(place: LedgerPlace, selector: selectors.BaseSelector, *, told: bool) -> _Commits:
    if isinstance(place, LedgerFile):
        return _FileCommits(place.path, selector, told=told)
    from cairn.postgres_commits import ServerCommits

    return ServerCommits(place, selector)


class _FileCommits:
    def __init__(self, ledger: Path, selector: selectors.BaseSelector, *, told: bool) -> None:
        self._selector = selector
        self._path = ledger
        with translate_errors(ledger):
            self._db: sqlite3.Connection = connect(ledger, create=False)
            self._db.execute("SELECT 1 FROM task LIMIT 1").fetchone()  # from now on the log is there, and stays
        self._seen = self._version()
        self._inotify = _watched(Path(f"{ledger}-wal")) if told else None
        if self._inotify is not None:
            selector.register(self._inotify, selectors.EVENT_READ)

    def close(self) -> None:
        if self._inotify is not None:
            os.close(self._inotify)
        self._db.close()

    def ready(self, seconds: float) -> list[selectors.SelectorKey]:
        left = seconds if self._inotify is not None else min(seconds, POLL_SECONDS)
        keys = [key for key, _ in self._selector.select(left)]
        told = [key for key in keys if key.fd == self._inotify]
        if told and self._inotify is not None:
            with suppress(BlockingIOError):
                os.read(self._inotify, _EVENT_BYTES)
            if self._seen == self._version():
                time.sleep(SETTLED_SECONDS)
        return [key for key in keys if key not in told]

    def changed(self) -> bool:
        before, self._seen = self._seen, self._version()
        return before != self._seen

    def _version(self) -> int:
        """Another number after each commit of another connection."""
        with translate_errors(self._path):
            return int(self._db.execute("PRAGMA data_version").fetchone()[0])


def _watched(path: Path) -> int | None:
    """A descriptor that is readable after a write to the file; None where the system has no room for one."""
    system = ctypes.CDLL(None, use_errno=True)
    inotify = int(system.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if inotify < 0:
        return None
    if system.inotify_add_watch(inotify, os.fsencode(path), _IN_MODIFY) < 0:
        os.close(inotify)
        return None
    return inotify

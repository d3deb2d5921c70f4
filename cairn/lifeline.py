"""Ties a child process's life to this one: when this process dies, however it dies, the system kills the child.

No second process and nothing the child must do. This process alone holds one end of a pipe; the child inherits the
other. When the first end closes, Linux signals the owner of the second, and the owner is the child, the signal SIGKILL.
The owner is the process itself, not its number, so that another one under the same number is never hit.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from contextlib import suppress
from typing import Self

KNOWN_HERE = sys.platform == "linux"  # no other system lets a descriptor choose its signal


class Lifeline:
    """Made before the child is started, tied to it after, let go of when it has ended."""

    def __init__(self) -> None:
        self._held: int | None = None
        self._inherited: int | None = None
        if KNOWN_HERE:
            self._inherited, self._held = os.pipe2(os.O_CLOEXEC)
            os.set_inheritable(self._inherited, True)

    @property
    def inherited(self) -> tuple[int, ...]:
        """The descriptor that the child must have; for whoever starts it without all the others."""
        return () if self._inherited is None else (self._inherited,)

    def tie(self, pid: int) -> None:
        """From now on the child does not outlive this process. Until now it ends by itself, since nobody feeds it."""
        end, self._inherited = self._inherited, None
        if end is None:
            return
        try:
            fcntl.fcntl(end, fcntl.F_SETOWN, pid)
            fcntl.fcntl(end, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(end, fcntl.F_SETFL, fcntl.fcntl(end, fcntl.F_GETFL) | os.O_ASYNC)
        finally:
            os.close(end)

    def let_go(self) -> None:
        """Closes what is held; a child that still runs is killed by it."""
        ends, self._held, self._inherited = (self._held, self._inherited), None, None
        for end in ends:
            if end is not None:
                with suppress(OSError):
                    os.close(end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.let_go()

"""Work that SIGTERM and SIGHUP end as Ctrl-C does: a closed terminal or a CI's time-out leaves no worker behind."""

from __future__ import annotations

import signal
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


def run_interruptibly(work: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`. Raises KeyboardInterrupt after any of the three signals, once the work has ended cleanly.

    A signal that is ignored from outside stays ignored: SIGHUP under nohup, SIGINT in a shell's background.
    """
    import asyncio

    try:
        return asyncio.run(_cancelled_by_signals(work))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt within, so that what was begun is taken back before the end."""
    in_main = threading.current_thread() is threading.main_thread()
    heeded = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is signal.SIG_DFL and in_main]
    for each in heeded:
        signal.signal(each, _end)
    try:
        yield
    finally:
        for each in heeded:
            signal.signal(each, signal.SIG_DFL)


def _end(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


async def _cancelled_by_signals(work: Coroutine[Any, Any, T]) -> T:
    import asyncio

    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if task is not None and signal.getsignal(ending) is not signal.SIG_IGN:
            loop.add_signal_handler(ending, task.cancel)
    return await work

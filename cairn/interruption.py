"""Work that SIGTERM and SIGHUP end as Ctrl-C does: a closed terminal or a CI's time-out leaves no worker behind."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_interruptibly(work: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`. Raises KeyboardInterrupt after any of the three signals, once the work has ended cleanly.

    A signal that is ignored from outside stays ignored: SIGHUP under nohup, SIGINT in a shell's background.
    """
    try:
        return asyncio.run(_cancelled_by_signals(work))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _cancelled_by_signals(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if task is not None and signal.getsignal(ending) is not signal.SIG_IGN:
            loop.add_signal_handler(ending, task.cancel)
    return await work

"""Waiting for work that must have ended before anything else may happen, also when one is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

SETTLE_SECONDS = 10.0  # how long a stopped program's last call, which cannot be interrupted, may take to return


async def settled_or_cancelled(
    work: asyncio.Future[Any], stop: Callable[[], None], seconds: float | None = None
) -> None:
    """Waits; after `seconds` calls `stop` and waits for what it does. A cancellation stops it likewise, and goes on."""
    try:
        await asyncio.wait({work}, timeout=seconds)
    except asyncio.CancelledError:
        stop()
        await settled(work)
        raise
    if not work.done():
        stop()
        await settled(work)


async def settled(work: asyncio.Future[Any]) -> None:
    """Waits, since what runs in a thread must end first, but not for ever. A cancellation is raised after that."""
    deadline = time.monotonic() + SETTLE_SECONDS
    cancelled: asyncio.CancelledError | None = None
    while not work.done() and time.monotonic() < deadline:
        try:
            await asyncio.wait({work}, timeout=deadline - time.monotonic())
        except asyncio.CancelledError as error:
            cancelled = error
    if work.done() and not work.cancelled():
        work.exception()  # looked at, so that asyncio does not complain about an error nobody asked for
    if cancelled is not None:
        raise cancelled

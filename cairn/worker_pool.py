"""How many sandbox workers a process has at once, and which session gives its own back when another needs one.

A session that computes keeps its seat. One that rests, because it waits for a call or for its next program, keeps it
too, until somebody else needs it: then the one that has rested longest is parked. So a task alone is never parked.
"""

from __future__ import annotations

import asyncio
import weakref
from contextlib import suppress
from typing import Protocol

WORKERS = 8  # each takes 10 to 20 MB and, while it computes, a core
LINGER_SECONDS = 0.01  # what rests for less is likely to go on sooner than it could be parked and taken up again


class Tenant(Protocol):
    """Who may sit: a session with a worker process."""

    async def park(self) -> None:
        """Ends its worker such that it can go on with another one. Called only while it rests; never raises."""
        ...


class WorkerPool:
    """Seats for workers, of one event loop. Everyone waits their turn; nobody computes without a seat."""

    def __init__(self, size: int = WORKERS) -> None:
        if size < 1:
            raise ValueError("without a worker nothing can run")
        self.size = size
        self._busy: set[Tenant] = set()
        self._resting: dict[Tenant, float] = {}  # since when, the longest first
        self._parking: dict[Tenant, asyncio.Task[None]] = {}
        self._queue: dict[Tenant, asyncio.Future[None]] = {}
        self._looking = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def seated(self) -> int:
        """How many have a worker, or are about to have one or to lose it."""
        return len(self._busy) + len(self._resting) + len(self._parking)

    # ── what a session does ──

    def take_free(self, tenant: Tenant) -> bool:
        """Takes a seat if one is free and nobody waits for it."""
        if self._queue or self.seated >= self.size:
            return False
        self._busy.add(tenant)
        return True

    async def take(self, tenant: Tenant) -> None:
        """From now on the tenant computes. Waits for a seat if it has none, for its own parking to end if it has."""
        parking = self._parking.get(tenant)
        if parking is not None:
            await asyncio.wait({parking})
        if tenant in self._busy:
            return
        if self._resting.pop(tenant, None) is not None:
            self._busy.add(tenant)
        elif not self.take_free(tenant):
            await self._wait(tenant)

    def rest(self, tenant: Tenant) -> None:
        """The tenant's worker does nothing until the next `take`; the pool may have it parked."""
        if tenant in self._busy:
            self._busy.remove(tenant)
            self._resting[tenant] = asyncio.get_running_loop().time()
            self._look_soon()

    async def leave(self, tenant: Tenant) -> None:
        """The tenant has no worker any more. If it is just being parked, that ends first."""
        parking = self._parking.get(tenant)
        while parking is not None and not parking.done():
            await asyncio.wait({parking})
        self.give_up(tenant)

    def give_up(self, tenant: Tenant) -> None:
        """As `leave`, for one that is surely not being parked."""
        self._busy.discard(tenant)
        self._resting.pop(tenant, None)
        self._look_soon()

    async def park(self, tenant: Tenant) -> None:
        """Has a resting tenant parked now, although nobody needs its seat; one without a seat is parked already."""
        if tenant in self._busy:
            raise RuntimeError("a session that computes cannot be parked")
        if self._resting.pop(tenant, None) is not None:
            self._start_parking(tenant)
        parking = self._parking.get(tenant)
        if parking is not None:
            await asyncio.wait({parking})

    # ── who is next ──

    async def _wait(self, tenant: Tenant) -> None:
        seat: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue[tenant] = seat
        self._look_soon()
        try:
            await seat
        except asyncio.CancelledError:
            self._queue.pop(tenant, None)
            if seat.done() and not seat.cancelled():  # it got the seat at the very moment it was cancelled
                self.give_up(tenant)
            raise

    def _look_soon(self) -> None:
        """Not at once: who rests now and goes on in the same breath must not be parked in between."""
        if self._queue and not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._looking = False
        while self._queue and self.seated < self.size:
            tenant = next(iter(self._queue))
            seat = self._queue.pop(tenant)
            if not seat.done():  # cancelled, and not yet told
                self._busy.add(tenant)
                seat.set_result(None)
        self._park_for(len(self._queue) - len(self._parking))

    def _park_for(self, missing: int) -> None:
        loop = asyncio.get_running_loop()
        for tenant, since in list(self._resting.items())[: max(missing, 0)]:
            ripe = since + LINGER_SECONDS
            if loop.time() < ripe:
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = loop.call_at(ripe, self._look)
                return
            del self._resting[tenant]
            self._start_parking(tenant)

    def _start_parking(self, tenant: Tenant) -> None:
        self._parking[tenant] = asyncio.get_running_loop().create_task(self._parked(tenant))

    async def _parked(self, tenant: Tenant) -> None:
        try:
            await tenant.park()
        finally:
            del self._parking[tenant]
            with suppress(RuntimeError):  # the loop was closed meanwhile
                self._look_soon()


_POOLS: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, WorkerPool] = weakref.WeakKeyDictionary()


def shared_pool() -> WorkerPool:
    """The one pool of the running event loop, and so of the process: Cairn has one loop."""
    return _POOLS.setdefault(asyncio.get_running_loop(), WorkerPool())

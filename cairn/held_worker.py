"""One session's worker: started when it is needed, given back while it rests, and taken up again from its dump."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from cairn.dump_key import dump_key
from cairn.errors import CairnError, StorageProblem
from cairn.sandbox_worker import SandboxWorker, in_thread
from cairn.session_dump import Conditions, DumpRefused, DumpStore, KeptSession, SealedDump, seal, unseal
from cairn.settling import settled, settled_or_cancelled
from cairn.worker_pool import WorkerPool

Load = Callable[[SandboxWorker, bytes], None]  # gives a new worker the state that a dump holds


class StateLost(Exception):
    """The state that the worker held is gone: it died, or its dump cannot be used. The cause says which."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class WorkerDied(Exception):
    """The process ended while it had nothing to do."""


class HeldWorker:
    """At most one worker at a time, and either it or its dump has the session's state."""

    def __init__(
        self, pool: WorkerPool, start: Callable[[], SandboxWorker], conditions: Conditions, dumps: DumpStore
    ) -> None:
        self._pool = pool
        self._start = start
        self._conditions = conditions
        self._dumps = dumps
        self.worker: SandboxWorker | None = None
        self._has_state = False
        self._opening: asyncio.Future[SandboxWorker] | None = None
        self._kept: Callable[[], KeptSession] | None = None
        self._image: Callable[[], bytes] | None = None
        self._died: asyncio.Future[None] | None = None
        self._lost: Exception | None = None
        self._key: int | None = None
        self._spare: SealedDump | None = None
        self._outlives = False
        self._rests = asyncio.Event()

    # ── taking it up ──

    def warm(self, *, check_soon: bool = True) -> None:
        """Starts it in the background if a seat is free, so that it is ready before a model has written a program.

        `check_soon`: with its type checker loaded, which takes longer than the start.
        """
        if not self._pool.take_free(self):
            return

        def start() -> SandboxWorker:
            worker = self._start()
            if check_soon:
                worker.warm()
            return worker

        self._opening = in_thread(start)
        self._opening.add_done_callback(self._opened)

    def _opened(self, opening: asyncio.Future[SandboxWorker]) -> None:
        self._opening = None
        with suppress(Exception):  # whoever needs it starts it again, and is told then why it does not start
            self.worker = opening.result()
        if self.worker is None:
            self._pool.give_up(self)
        else:
            self._pool.rest(self)

    async def take(self, load: Load) -> SandboxWorker:
        """The live worker with the session's state, or a new one if there is none. It is not parked until it rests.

        Raises StateLost once, when there was a state and it cannot be had; the next one is new.
        """
        if self._opening is not None:
            await settled_or_cancelled(self._opening, lambda: None)
        await self._pool.take(self)
        self._rests.clear()
        self._unwatch()
        worker = self.worker
        if worker is not None and not worker.alive:
            self._lost = self._lost or (self._cause_of_death() if self._has_state else None)
            worker.close()
            worker = self.worker = None
        if self._lost is not None:
            cause = self._lost
            await self.end()
            raise StateLost(cause)
        if worker is None:
            worker = self.worker = await self._started(load)
        self._has_state = True
        return worker

    async def _started(self, load: Load) -> SandboxWorker:
        opening: asyncio.Future[SandboxWorker] | None = None
        try:
            sealed = self._sealed() if self._has_state else None
            opening = in_thread(self._start if sealed is None else lambda: self._loaded(sealed, load))
            await settled_or_cancelled(opening, lambda: None)
            worker = opening.result()
        except BaseException as error:
            if opening is not None:
                opening.add_done_callback(_close_late)
            await self.end()
            if isinstance(error, CairnError) or not isinstance(error, Exception):
                raise
            raise StateLost(error) from error
        self._outlives = False
        self._forget_dump()
        return worker

    def _loaded(self, sealed: SealedDump, load: Load) -> SandboxWorker:
        """In a thread. Raises DumpRefused, and MontyCrashedError for a worker that died of it."""
        from pydantic_monty import MontyCrashedError

        _, image = unseal(sealed, self._conditions, dump_key())
        worker = self._start()
        try:
            load(worker, image)
        except MontyCrashedError:
            worker.close()
            raise
        except Exception as error:
            worker.close()
            raise DumpRefused(f"the sandbox does not take it: {error}") from error
        return worker

    def _sealed(self) -> SealedDump:
        sealed = self._spare
        if sealed is None and self._key is not None:
            sealed = self._dumps.get(self._key)
        if sealed is None:
            raise DumpRefused("it is not there any more")
        return sealed

    def _cause_of_death(self) -> Exception:
        """Monty's own words, which name the signal; a dead worker answers at once."""
        try:
            if self._image is not None:
                self._image()
        except Exception as error:  # noqa: BLE001 - it is what is asked for
            return error
        return WorkerDied("the sandbox's process ended")

    # ── letting it rest ──

    def rest(self, kept: Callable[[], KeptSession], image: Callable[[], bytes]) -> None:
        """The pool may park it from now on, by what `kept` says and `image` dumps."""
        self._kept, self._image = kept, image
        self._pool.rest(self)
        self._rests.set()

    def watched(self) -> asyncio.Future[None]:
        """Done as soon as the resting worker has died, in whatever way but by parking."""
        died: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._died = died
        if self.worker is not None:
            self.worker.watch(self._tell)
        return died

    def _tell(self) -> None:
        if self.worker is not None:
            self.worker.unwatch()
        if self._died is not None and not self._died.done():
            self._died.set_result(None)

    def _unwatch(self) -> None:
        self._died = None
        if self.worker is not None:
            self.worker.unwatch()

    async def park(self) -> None:
        """For the pool: dumps the state if there is any, and ends the worker. The next `take` tells what went wrong."""
        worker = self.worker
        if worker is None:
            return
        worker.unwatch()
        try:
            if self._has_state:
                await self._dump()
        except Exception as error:  # noqa: BLE001 - whatever it was, the state is lost with the worker
            self._lost = error
            self._tell()
        finally:
            self.worker = None
            worker.close()

    async def _dump(self) -> None:
        if self._kept is None or self._image is None:
            raise RuntimeError("nobody said what to keep")
        kept, image, conditions = self._kept(), self._image, self._conditions
        step = kept.run.step if kept.run else kept.sources[-1].step if kept.sources else 0
        call = self._dumps.last_call()
        work = in_thread(lambda: seal(kept, image(), conditions, dump_key(), step=step, call=call))
        await settled(work)
        try:
            self._key = self._dumps.put(work.result())
        except CairnError:  # the disk is full, or the task is another process's now: it lasts as long as this process
            self._spare = work.result()

    async def keep(self) -> int:
        """Parks the worker, as soon as it rests, such that its dump outlives the session; the key finds it again."""
        await self._rests.wait()
        await self._pool.park(self)
        if self._lost is not None or self._key is None:
            raise StorageProblem("The waiting program could not be kept.", f"{self._lost or 'It has no dump'}.")
        self._outlives = True
        return self._key

    def adopt(self, key: int) -> None:
        """The state is in a dump that another session stored."""
        self._has_state, self._key, self._outlives = True, key, True

    # ── ending it ──

    async def end(self) -> None:
        """No worker, no seat and no dump is left, whatever it was doing; a dump that is to outlive it stays."""
        opening = self._opening
        try:
            if opening is not None:
                await settled(opening)
            if self.worker is not None:
                self.worker.kill()
            await self._pool.leave(self)
        finally:
            if self.worker is not None:
                self._unwatch()
                self.worker.close()
                self.worker = None
            self._pool.give_up(self)
            self._forget_dump()
            self._lost, self._has_state = None, False

    def _forget_dump(self) -> None:
        key, self._key, self._spare = self._key, None, None
        if key is not None and not self._outlives:
            with suppress(CairnError):  # one that stays fits no journal that went on, so nobody uses it
                self._dumps.delete(key)
        self._outlives = False


def _close_late(opening: asyncio.Future[SandboxWorker]) -> None:
    """A start that nobody waits for any more leaves no worker."""
    with suppress(Exception):
        opening.result().close()

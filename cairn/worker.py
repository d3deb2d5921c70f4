"""A worker claims a task, keeps its lease alive while it runs, and lets go of it."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from cairn.errors import BudgetReached, CairnError, IllegalMove
from cairn.journal import TakenOver
from cairn.progress import HeldBack, Observer, unobserved
from cairn.queue import LEASE_SECONDS
from cairn.task import Task, TaskStatus
from cairn.task_owner import Owner

if TYPE_CHECKING:
    from cairn.orchestrator import Orchestrator
    from cairn.review import Review

CLAIM_SECONDS = 0.2  # how often a task that is held back tries to start
CANCEL_SECONDS = 0.2  # how often somebody looks whether a running task is to end
ASKED = "cancelled by cairn cancel"


def _full(task_id: str, running: tuple[str, ...], at_once: int) -> BudgetReached:
    return BudgetReached(
        f"Task {task_id} was not started: {', '.join(running)} {_run(running)}, and {at_once} may at once.",
        "It stays queued. The setting budget.tasks_at_once says how many may run.",
        f"cairn resume {task_id}   starts it, or waits until it may.",
    )


def _run(running: tuple[str, ...]) -> str:
    return "runs" if len(running) == 1 else "run"


class _Holding:
    """A running task stays this process's, and ends when another one asks for it.

    By a thread of its own: the task's may wait for minutes, for a large upload or a server that is away, and would lose
    its lease. What the ledger cannot answer now is asked again.
    """

    def __init__(self, orchestrator: Orchestrator, task: Task, owner: Owner, work: asyncio.Future[Review]) -> None:
        self._orchestrator = orchestrator
        self._queue = orchestrator.queue
        self._task = task
        self._owner = owner
        self._work = work
        self._loop = asyncio.get_running_loop()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._hold, daemon=True)  # it may wait for a server that is away
        self.is_asked = False

    def __enter__(self) -> Self:
        self._heed()
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self._thread.join(CANCEL_SECONDS)

    def _hold(self) -> None:
        """By the clock that may jump when a laptop wakes up: the lease is renewed a moment later."""
        beat = time.time()
        while not self._over.wait(CANCEL_SECONDS):
            if not 0 <= time.time() - beat < LEASE_SECONDS / 3:
                with suppress(CairnError):
                    self._queue.heartbeat(self._task, self._owner)
                    beat = time.time()
            self._heed()

    def _heed(self) -> None:
        with suppress(CairnError):
            if not self.is_asked and self._queue.is_to_be_cancelled(self._task):
                why = self._orchestrator.variants.accepted_instead_of(self._task) or ASKED
                self.is_asked = True
                with suppress(RuntimeError):  # the loop ended with the task
                    self._loop.call_soon_threadsafe(self._work.cancel, why)


class Worker:
    """Runs tasks of one orchestrator in this process."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator
        self._owner = Owner.this_process()

    async def run_task(self, task_id: str, observe: Observer = unobserved, *, wait: bool = True) -> Review:
        """The review of the named task, once the project's budget lets it run.

        Raises IllegalMove when another process took it first, BudgetReached when it may not `wait`.
        """
        return await self.run_claimed(await self._claimed(task_id, observe, wait=wait), observe)

    async def run_to_its_end(self, task_id: str, observe: Observer = unobserved, *, wait: bool = True) -> Review:
        """As `run_task`; while another process has the task, its end there is waited for.

        A machine that slept for longer than its lease, or lost its server, finds its task taken over. One that was let
        go of there is claimed here again.
        """
        while True:
            claimed = None
            try:
                claimed = await self._claimed(task_id, observe, wait=wait)
                return await self.run_claimed(claimed, observe)
            except (TakenOver, IllegalMove):
                task = self._orchestrator.task(task_id)
                if claimed is None and task.status is not TaskStatus.RUNNING:
                    raise
                if claimed is not None and (task.attempt, task.status) == (claimed.attempt, TaskStatus.RUNNING):
                    raise
            task = await self._ended_elsewhere(task_id, observe)
            if task.status is not TaskStatus.QUEUED:
                return self._orchestrator.reviews.of(task)

    async def _ended_elsewhere(self, task_id: str, observe: Observer) -> Task:
        told = None
        while (task := self._orchestrator.task(task_id)).status is TaskStatus.RUNNING:
            holder = self._orchestrator.queue.holders().get(task_id)
            if holder is not None and holder != told:
                observe(HeldBack(f"process {holder.pid} on {holder.machine} has taken the task over"))
                told = holder
            await asyncio.sleep(CLAIM_SECONDS)
            self._orchestrator.recovery.recover_abandoned()
        return task

    async def run_claimed(self, task: Task, observe: Observer = unobserved, *, patient: bool = False) -> Review:
        """The review of a task that this process holds. `patient`: what may pass puts it off instead of failing it."""
        work = asyncio.ensure_future(self._orchestrator.runs.run(task, observe, patient=patient))
        with _Holding(self._orchestrator, task, self._owner, work) as holding:
            try:
                return await work
            except asyncio.CancelledError:
                if not work.cancelled() or not holding.is_asked:
                    work.cancel()
                    with suppress(asyncio.CancelledError):
                        await work
                    raise
        return self._orchestrator.reviews.of(self._orchestrator.task(task.id))

    async def _claimed(self, task_id: str, observe: Observer, *, wait: bool) -> Task:
        queue, at_once = self._orchestrator.queue, self._orchestrator.settings.budget.tasks_at_once
        told: tuple[str, ...] = ()
        while (task := queue.claim(self._owner, task_id, at_once=at_once)) is None:
            running = tuple(sorted(each.id for each in queue.tasks([TaskStatus.RUNNING])))
            if at_once is None or queue.get(task_id).status is not TaskStatus.QUEUED:
                raise IllegalMove(f"Task {task_id} is not waiting to be run.", fix=f"cairn show {task_id}")
            if not wait:
                raise _full(task_id, running, at_once)
            if running != told:
                observe(HeldBack(f"{', '.join(running)} {_run(running)}, and budget.tasks_at_once is {at_once}"))
                told = running
            await asyncio.sleep(CLAIM_SECONDS)
            self._orchestrator.recovery.recover_abandoned()
        return task

"""A worker claims a task, keeps its lease alive while it runs, and lets go of it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cairn.errors import BudgetReached, IllegalMove
from cairn.progress import HeldBack, Observer, unobserved
from cairn.queue import LEASE_SECONDS, Owner
from cairn.task import Task, TaskStatus

if TYPE_CHECKING:
    from cairn.orchestrator import Orchestrator
    from cairn.review import Review

BEAT_SECONDS = 1.0  # how often it looks whether the lease must be renewed
CLAIM_SECONDS = 0.2  # how often a task that is held back tries to start
CANCEL_SECONDS = 0.2  # how often a running task looks whether it is to end
ASKED = "cancelled by cairn cancel"


def _full(task_id: str, running: tuple[str, ...], at_once: int) -> BudgetReached:
    return BudgetReached(
        f"Task {task_id} was not started: {', '.join(running)} {_run(running)}, and {at_once} may at once.",
        "It stays queued. The setting budget.tasks_at_once says how many may run.",
        f"cairn resume {task_id}   starts it, or waits until it may.",
    )


def _run(running: tuple[str, ...]) -> str:
    return "runs" if len(running) == 1 else "run"


async def _ended(work: asyncio.Future[Any]) -> None:
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work


class Worker:
    """Runs tasks of one orchestrator in this process."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator
        self._owner = Owner.this_process()
        self._cancelled: set[str] = set()

    async def run_task(self, task_id: str, observe: Observer = unobserved, *, wait: bool = True) -> Review:
        """The review of the named task, once the project's budget lets it run.

        Raises IllegalMove when another process took it first, BudgetReached when it may not `wait`.
        """
        return await self.run_claimed(await self._claimed(task_id, observe, wait=wait), observe)

    async def run_claimed(self, task: Task, observe: Observer = unobserved, *, patient: bool = False) -> Review:
        """The review of a task that this process holds. `patient`: what may pass puts it off instead of failing it."""
        work = asyncio.ensure_future(self._orchestrator.run(task, observe, patient=patient))
        beside = [asyncio.create_task(self._keep_lease(task)), asyncio.create_task(self._heed_cancel(task, work))]
        try:
            return await work
        except asyncio.CancelledError:
            if not work.cancelled() or not self._is_asked(task):
                await _ended(work)
                raise
            return self._orchestrator.review(self._orchestrator.task(task.id))
        finally:
            for each in beside:
                await _ended(each)

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
            self._orchestrator.recover_abandoned()
        return task

    async def _heed_cancel(self, task: Task, work: asyncio.Future[Review]) -> None:
        """Ends the task when another process asks for it."""
        while not self._orchestrator.queue.is_to_be_cancelled(task):  # noqa: ASYNC110 - the sign is in a file
            await asyncio.sleep(CANCEL_SECONDS)
        self._cancelled.add(task.id)
        work.cancel(self._orchestrator.accepted_instead_of(task) or ASKED)

    def _is_asked(self, task: Task) -> bool:
        return task.id in self._cancelled

    async def _keep_lease(self, task: Task) -> None:
        """By the clock that leases go by: it jumps when a laptop wakes up, and the lease is renewed a moment later."""
        beat = time.time()
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            if not 0 <= time.time() - beat < LEASE_SECONDS / 3:
                beat = time.time()
                self._orchestrator.queue.heartbeat(task, self._owner)

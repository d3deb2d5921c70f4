"""A worker claims a task, keeps its lease alive while it runs, and lets go of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from cairn.errors import IllegalMove
from cairn.progress import Observer, unobserved
from cairn.queue import LEASE_SECONDS, Owner
from cairn.task import Task

if TYPE_CHECKING:
    from cairn.orchestrator import Orchestrator
    from cairn.review import Review


class Worker:
    """Runs tasks of one orchestrator in this process."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator
        self._owner = Owner.this_process()

    async def run_task(self, task_id: str, observe: Observer = unobserved) -> Review:
        """The review of the named task. Raises IllegalMove when another process took it first."""
        task = self._orchestrator.queue.claim(self._owner, task_id)
        if task is None:
            raise IllegalMove(f"Task {task_id} is not waiting to be run.", fix=f"cairn show {task_id}")
        beating = asyncio.create_task(self._keep_lease(task))
        try:
            return await self._orchestrator.run(task, observe)
        finally:
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating

    async def _keep_lease(self, task: Task) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            self._orchestrator.queue.heartbeat(task, self._owner)

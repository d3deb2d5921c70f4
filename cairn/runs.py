"""A claimed task runs to its end: what it works on is fetched, its programs run, and how it ended is kept."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from cairn.postponing import Postponing
from cairn.progress import Observer, unobserved
from cairn.project import Project
from cairn.queue import TaskQueue
from cairn.review import Review
from cairn.reviews import Reviews
from cairn.run_endings import RunEndings
from cairn.settings import Settings
from cairn.shared_bases import Bases
from cairn.task import Task
from cairn.task_conversation import TaskConversations
from cairn.task_moves import TaskMoves

if TYPE_CHECKING:
    import asyncio


class Runs:
    """Of tasks over one project's files; `over` makes the runs of the same tasks over other files."""

    def __init__(
        self,
        queue: TaskQueue,
        bases: Bases,
        conversations: TaskConversations,
        reviews: Reviews,
        endings: RunEndings,
        postponing: Postponing,
        moves: TaskMoves,
        over: Callable[[Project, Settings], Runs],
    ) -> None:
        self._queue = queue
        self._bases = bases
        self._conversations = conversations
        self._reviews = reviews
        self._endings = endings
        self._postponing = postponing
        self._moves = moves
        self._over = over

    async def run(self, task: Task, observe: Observer = unobserved, *, patient: bool = False) -> Review:
        """A claimed task runs to its end: in review with a submission, else failed or cancelled, its work kept.

        `patient`: what may pass without the task's doing puts it off instead; it is queued again then.
        """
        if not task.base:
            return await self.run_here(task, observe, patient=patient)
        async with self._placed(task, patient=patient) as placed:
            if placed is not None:
                await placed.run_here(task, observe, patient=patient)
        return self._reviews.of(self._queue.get(task.id))

    @asynccontextmanager
    async def _placed(self, task: Task, *, patient: bool) -> AsyncIterator[Runs | None]:
        """The same ledger and files over the task's base, fetched in a thread; None when that was put off."""
        import asyncio

        from cairn.git_process import Halt

        halt = Halt()
        placing = self._bases.placed(task.base, halt)
        entering = asyncio.ensure_future(asyncio.to_thread(placing.__enter__))
        try:
            project, settings = await asyncio.shield(entering)
        except asyncio.CancelledError as stop:
            halt.call()
            entering.add_done_callback(lambda done: _failed(done) or placing.__exit__(None, None, None))
            self._endings.stopped(task, stop, 0.0)
            raise
        except Exception as error:
            until = self._postponing.after_placing_failed(task, error) if patient else None
            if until is None:
                self._endings.fail(task, error, 0.0)
                raise
            self._moves.put_off(task, until)
            yield None
            return
        try:
            yield self._over(project, settings)
        finally:
            placing.__exit__(None, None, None)

    async def run_here(self, task: Task, observe: Observer, *, patient: bool) -> Review:
        """As `run`, over the project's own files, whatever the task's base is."""
        with self._conversations.file_stays_open(task):
            return await self._run_together(task, observe, patient=patient)

    async def _run_together(self, task: Task, observe: Observer, *, patient: bool) -> Review:
        import asyncio

        started = time.monotonic()
        try:
            result = await self._conversations.converse(task, observe, patient=patient)
        except asyncio.CancelledError as stop:
            self._endings.stopped(task, stop, time.monotonic() - started)
            raise
        except Exception as error:
            if patient and (until := self._postponing.after_error(task, error, observe)) is not None:
                return self._reviews.of(self._moves.put_off(task, until))
            self._endings.fail(task, error, time.monotonic() - started)
            raise
        if patient and (until := self._postponing.after_limit(task, result)) is not None:
            return self._reviews.of(self._moves.put_off(task, until))
        return self._endings.judge(task, result, time.monotonic() - started)


def _failed(entering: asyncio.Future[tuple[Project, Settings]]) -> bool:
    return entering.cancelled() or entering.exception() is not None

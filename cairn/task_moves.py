"""Moves of tasks that their own files learn of too, so that a lost ledger can be built anew from them."""

from __future__ import annotations

from cairn.errors import IllegalMove
from cairn.queue import TaskQueue
from cairn.task import PutOff, Task, TaskStatus
from cairn.task_store import TaskStore


class TaskMoves:
    """First the ledger moves a task, then its file notes that."""

    def __init__(self, queue: TaskQueue, store: TaskStore) -> None:
        self._queue = queue
        self._store = store

    def put_off(self, task: Task, until: PutOff) -> Task:
        """It is queued again, and waits for what it is put off to."""
        queued = self._queue.put_off(task, until)
        self._store.note(queued)
        return queued

    def cancel(self, task: Task, *, reason: str = "cancelled") -> bool:
        """A task that waits is cancelled at once, one that runs is asked to end; True when it has ended.

        Raises IllegalMove for a task that has ended already.
        """
        if task.status is TaskStatus.RUNNING and self._queue.ask_to_cancel(task):
            return False
        self._move(self._queue.get(task.id), TaskStatus.CANCELLED, reason)
        return True

    def reject(self, task: Task, reason: str = "") -> Task:
        """Its changes are dropped from review; its file is kept. Raises IllegalMove, HeldElsewhere."""
        return self._move(task, TaskStatus.REJECTED, reason)

    def take_back_rejection(self, task: Task) -> Task:
        """A rejected task is in review again. Raises IllegalMove for any other."""
        if task.status is not TaskStatus.REJECTED:
            raise IllegalMove(f"Task {task.id} is {task.status}, not rejected.", fix=f"cairn show {task.id}")
        return self._move(task, TaskStatus.IN_REVIEW, "its rejection was taken back")

    def fail(self, task: Task, reason: str) -> Task:
        """A task that is not to go on, though it did not run when that was decided."""
        return self._move(task, TaskStatus.FAILED, reason)

    def _move(self, task: Task, status: TaskStatus, reason: str) -> Task:
        moved = self._queue.move(task, status, reason=reason)
        self._store.note(moved)
        return moved

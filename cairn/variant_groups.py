"""Variants of one request: when one is accepted the others end, and come back when it is taken back."""

from __future__ import annotations

from contextlib import suppress

from cairn.acceptances import HeldElsewhere
from cairn.errors import IllegalMove
from cairn.queue import TaskQueue
from cairn.task import Task, TaskStatus
from cairn.task_moves import TaskMoves
from cairn.task_store import TaskStore
from cairn.variants import instead_of


class VariantGroups:
    """The ledger knows which tasks are variants of each other."""

    def __init__(self, queue: TaskQueue, store: TaskStore, moves: TaskMoves) -> None:
        self._queue = queue
        self._store = store
        self._moves = moves

    def reject_others(self, task: Task) -> None:
        """Inside the transaction of its accept, so that no other clone can accept one of them in between."""
        for other in self._queue.group(task.terms.group) if task.terms.group is not None else ():
            if other.id != task.id and other.status is TaskStatus.IN_REVIEW:
                with suppress(IllegalMove, HeldElsewhere):
                    self._queue.move(other, TaskStatus.REJECTED, reason=instead_of(task))

    def settle(self, task: Task) -> None:
        """Those of an accepted task's group are rejected for it, or ended; when it is taken back, they come back."""
        others = [each for each in self._queue.group(task.terms.group or "") if each.id != task.id]
        for other in others:
            with suppress(IllegalMove, HeldElsewhere):  # it moved meanwhile, and whoever moved it knew of it
                if task.status is not TaskStatus.ACCEPTED:
                    if other.status is TaskStatus.REJECTED and other.reason == instead_of(task):
                        self._moves.take_back_rejection(other)
                elif other.status is TaskStatus.REJECTED and other.reason == instead_of(task):
                    self._store.note(other)
                elif other.status in {TaskStatus.QUEUED, TaskStatus.WAITING}:
                    self._moves.cancel(other, reason=instead_of(task))
                elif other.status is TaskStatus.IN_REVIEW or (
                    other.status is TaskStatus.RUNNING and not self._queue.ask_to_cancel(other)  # it ended just now
                ):
                    self._moves.reject(self._queue.get(other.id), instead_of(task))

    def accepted_instead_of(self, task: Task) -> str:
        """The reason of a variant that was ended because another one was accepted while it ran; else ""."""
        group = self._queue.group(task.terms.group) if task.terms.group is not None else ()
        accepted = [each for each in group if each.status is TaskStatus.ACCEPTED and each.id != task.id]
        began = max((move.at for move in self._queue.events(task.id) if move.became is TaskStatus.RUNNING), default=0.0)
        for other in accepted:
            moves = self._queue.events(other.id)
            if any(move.became is TaskStatus.ACCEPTED and not move.reason and move.at >= began for move in moves):
                return instead_of(other)
        return ""

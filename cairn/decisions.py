"""What a person decides on a task: accept, reject, and undo, each carried out whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cairn.acceptable_changes import AcceptableChanges
from cairn.acceptances import ACCEPT, UNDO
from cairn.dangerous_paths import require_allowed
from cairn.errors import IllegalMove
from cairn.hunks import Selection, clash
from cairn.operations import Numbered, Operations
from cairn.project import Applied, Project, Undone
from cairn.queue import TaskQueue
from cairn.recording import Recording
from cairn.settings import Settings
from cairn.task import Task, TaskStatus, require_move
from cairn.task_checks import TaskChecks
from cairn.task_moves import TaskMoves
from cairn.undo_plan import undoable


class Decisions:
    """The only ways in which a task's changes reach the project, or leave it."""

    def __init__(
        self,
        project: Project,
        queue: TaskQueue,
        settings: Settings,
        operations: Operations,
        recording: Recording,
        acceptable: AcceptableChanges,
        checks: TaskChecks,
        moves: TaskMoves,
    ) -> None:
        self._project = project
        self._queue = queue
        self._settings = settings
        self._operations = operations
        self._recording = recording
        self._acceptable = acceptable
        self._checks = checks
        self._moves = moves

    def accept(
        self,
        task: Task,
        selection: Selection | None = None,
        *,
        allow: Sequence[str] = (),
        force: bool = False,
        overrule: bool = False,
    ) -> tuple[Task, Applied]:
        """The task's changes reach the project, all or none; or those selected, and the others stay in review.

        `allow` names dangerous paths, beside the settings; `force` takes what a required check failed on; `overrule`
        takes the task from another clone that is accepting it, and is gone for good.
        Raises Conflict, HeldElsewhere, NotAllowed, CheckNotPassed, IllegalMove, StorageProblem.
        """
        require_move(task.id, task.status, TaskStatus.ACCEPTED)
        with self._project.locked():
            self._recording.record_all()
            require_move(task.id, self._queue.get(task.id).status, TaskStatus.ACCEPTED)
            changes, part = self._acceptable.accepting(task, selection)
            require_allowed(task.id, changes, self._settings.accept.allow, allow)
            if not force:
                self._checks.require_passed(task)
            with self._operations.taking(task.id, ACCEPT, overrule=overrule) as token:
                applied = self._project.apply(task.id, self._acceptable.in_tree(task, changes), part=part, token=token)
            recorded = self._recording.recorded(applied.operation)
            return recorded, replace(applied, operation=self._operations.numbered(applied.operation))

    def reject(self, task: Task, reason: str = "", *, overrule: bool = False) -> Task:
        """The task's changes are dropped from review; its file is kept, so that it can be looked at.

        `overrule` as for `accept`. Raises IllegalMove, HeldElsewhere.
        """
        if overrule:
            self._operations.acceptances.take_from_others(task.id)
        return self._moves.reject(task, reason)

    def take_back_rejection(self, task: Task) -> Task:
        """A rejected task is in review again. Raises IllegalMove for any other."""
        return self._moves.take_back_rejection(task)

    def undo(
        self, task: Task | None = None, *, operation: int | None = None, overrule: bool = False
    ) -> tuple[Task, Undone]:
        """Takes back the last accept of the task, or of this clone, or any operation by its number, an undo too.

        Later edits of the user survive. With a shared ledger any clone's can be taken back where its change has come;
        `overrule` is as for `accept`. Raises NotFound, IllegalMove, Conflict, HeldElsewhere.
        """
        with self._project.locked():
            self._recording.record_all()
            if operation is not None:
                self._require_not_accepted_since(operation)
            which = operation if operation is not None else task.id if task else None
            target = undoable(self._operations.every() if which is not None else self._operations.own(), which)
            with self._operations.taking(target.task_id, UNDO, overrule=overrule) as token:
                undone = self._operations.undo(target, token)
            behind = Numbered(self._project.operations()).accept_behind(undone.operation)
            # Of a shared ledger people know its own numbers.
            return self._recording.recorded(behind), replace(undone, operation=replace(undone.operation, id=target.id))

    def _require_not_accepted_since(self, number: int) -> None:
        """Two accepts of the same change in effect at once could never be told apart again."""
        known = Numbered(self._operations.every())
        target = next((each for each in known.every if each.id == number), None)
        if target is None or not target.in_effect or (accept := known.accept_behind(target)).in_effect:
            return
        mine = self._operations.part(accept.id)
        for since in known.every:
            again = since.undoes is None and since.in_effect and since.task_id == accept.task_id
            if again and clash(mine, self._operations.part(since.id)):
                raise IllegalMove(
                    f"Operation {number} is out of date: task {accept.task_id} was accepted again since.",
                    f"Operation {since.id} did that.",
                    f"cairn undo --op {since.id}   takes that back first.",
                )

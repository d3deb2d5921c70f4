"""Which of a task's changes can be accepted now: all that is left of them, or what a person picks of that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cairn.changes import Change, ChangeSet
from cairn.errors import Conflict, NotFound
from cairn.hunks import Selection, Undecided, fits, remaining, rest, under, with_what_they_need
from cairn.operations import Operations
from cairn.task import Task, TaskStatus, require_move
from cairn.task_work import KeptWork


class AcceptableChanges:
    """What a task made, without what accepts in effect have taken of it."""

    def __init__(self, root: Path, operations: Operations, work: KeptWork) -> None:
        self._root = root
        self._operations = operations
        self._work = work

    def changes(self, task: Task) -> ChangeSet:
        """What the task changed and nobody accepted apart; of an accepted task all of it."""
        self._work.require_kept(task)
        return rest(self._work.changes(task), self.taken(task))

    def picked(self, task: Task, names: Sequence[str]) -> Selection:
        """What is left of the task's changes at these paths and in these folders. Raises NotFound for one without."""
        left = self.changes(task)
        found: dict[str, Change] = {}
        for name in names:
            at = under(left, name)
            if not at:
                fix = f"cairn diff {task.id} --name-only   shows what is left to accept."
                raise NotFound(f"Task {task.id} has no change to accept at {name}.", fix=fix)
            found |= {change.path: change for change in at}
        wanted = {change.path for change in with_what_they_need(ChangeSet(tuple(found.values())), left)}
        every = remaining(self._work.changes(task), self.taken(task))
        return Selection(tuple(part for part in every.parts if part.path in wanted))

    def undecided(self, task: Task, selection: Selection | None = None) -> Undecided:
        """What an accept of the selection is about, or of all that is left. Raises IllegalMove when nothing can be."""
        require_move(task.id, task.status, TaskStatus.ACCEPTED)
        self._work.require_kept(task)
        whole, taken = self._work.changes(task), self.taken(task)
        return Undecided(whole, taken, remaining(whole, taken) if selection is None else selection)

    def to_accept(self, task: Task, selection: Selection | None = None) -> ChangeSet:
        """The changes that an accept of the selection would bring, or of all that is left."""
        return self.in_tree(task, self.accepting(task, selection)[0])

    def accepting(self, task: Task, selection: Selection | None) -> tuple[ChangeSet, Selection | None]:
        """The changes, and which part of the task's they are; None for all of them."""
        undecided = self.undecided(task, selection)
        whole, taken, selection = undecided.changes, undecided.taken, undecided.asked
        left = remaining(whole, taken)
        if not fits(whole, taken, selection) or (left and not selection):
            raise Conflict(
                f"Some of this was accepted meanwhile, or task {task.id} never had it. Nothing was written.",
                fix=f"cairn diff {task.id}   shows what is left.",
            )
        all_of_it = not taken and selection == left
        return undecided.accepting(), None if all_of_it else selection

    def taken(self, task: Task) -> Selection:
        """What was accepted apart; of a task that is accepted, whose changes are shown whole, nothing."""
        return Selection() if task.status is TaskStatus.ACCEPTED else self._operations.accepted(task.id)

    def in_tree(self, task: Task, changes: ChangeSet) -> ChangeSet:
        """Changes of a commit, as the files of this clone have them."""
        if not task.base:
            return changes
        from cairn.changes_in_tree import changes_in_tree

        return changes_in_tree(changes, self._root)

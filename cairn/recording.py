"""The ledger follows what accepts and undos did to the project's files; done twice, it does no harm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cairn.acceptances import Overruled
from cairn.changes import ChangeSet
from cairn.errors import CairnError, Conflict, NotFound, StorageProblem, in_one_line
from cairn.hunks import rest
from cairn.operations import Operations
from cairn.project import Operation, Project
from cairn.queue import TaskQueue
from cairn.shared_bases import Bases
from cairn.task import CodeOrigin, Task, TaskStatus
from cairn.task_store import TaskStore
from cairn.task_work import KeptWork
from cairn.variant_groups import VariantGroups


class Recording:
    """Of what this clone did. The files come first: killed in between, the next command records it."""

    def __init__(
        self,
        project: Project,
        queue: TaskQueue,
        store: TaskStore,
        operations: Operations,
        work: KeptWork,
        variants: VariantGroups,
        bases: Bases,
    ) -> None:
        self._project = project
        self._queue = queue
        self._store = store
        self._operations = operations
        self._work = work
        self._variants = variants
        self._bases = bases

    def record_all(self) -> None:
        """Before anything else is done to the files, so that it is done once. Raises what keeps the ledger from it."""
        for operation in self._project.unrecorded():
            self._record(operation)

    def told_of_unrecorded(self) -> Iterator[str]:
        """Has the ledger follow what killed commands did here. What it cannot follow yet keeps no other command."""
        for operation in self._project.unrecorded():
            try:
                self._record(operation)
            except StorageProblem:
                raise
            except CairnError as error:  # what comes after the task cannot be given its commit
                what = (
                    f"Operation {operation.id} on task {operation.task_id} is in your files and not in the ledger yet."
                )
                yield f"{what} {in_one_line(error)}"

    def recorded(self, accept: Operation) -> Task:
        """As `_record`. Raises Conflict when the task was taken from this clone meanwhile."""
        task, overruled = self._record(accept)
        if overruled is not None:
            self._operations.acceptances.told(overruled)
            raise Conflict(self.said_of_overruled(overruled), fix=f"cairn show {task.id}   shows what is so now.")
        return task

    def _record(self, operation: Operation) -> tuple[Task, Overruled | None]:
        """The ledger follows what the project's files already are; running it twice does no harm.

        It does not follow what another clone took from this one.
        """
        task = self._known(operation.task_id)
        family = self._operations.family(operation)
        in_parts = operation.partial or self._operations.accepted(task.id).parts
        whole = self._work.changes(task) if in_parts else ChangeSet()
        self._operations.publish_contents(family)
        if task.base and operation.in_effect and self._operations.overruled(family) is None:  # before any may start
            self._queue.work_after(task, self._bases.now)
        task, overruled = self._queue.database.write(lambda: self._followed(operation, family, whole))
        if overruled is None:
            self._store.note(task)
            if task.terms.group is not None:
                self._variants.settle(task)
        self._project.mark_recorded(operation.id)
        return task, overruled

    def _followed(
        self, operation: Operation, family: Sequence[Operation], whole: ChangeSet
    ) -> tuple[Task, Overruled | None]:
        """Inside a transaction: the operation is the ledger's, and the task where that puts it."""
        task = self._queue.get(operation.task_id)
        if (overruled := self._operations.overruled(family)) is not None:
            return task, overruled
        self._operations.settle(family)
        wanted = self._status_after(task, operation, whole)
        if task.status is not wanted:
            if wanted is TaskStatus.ACCEPTED and task.status is TaskStatus.REJECTED:
                task = self._queue.move(task, TaskStatus.IN_REVIEW, reason="its accept is in effect again")
            reason = "" if operation.in_effect else "its accept was taken back"
            task = self._queue.move(task, wanted, reason=reason)
            if wanted is TaskStatus.ACCEPTED:
                self._variants.reject_others(task)
        return task, None

    def _status_after(self, task: Task, operation: Operation, whole: ChangeSet) -> TaskStatus:
        """Accepted when the accepts in effect have every piece of the task's changes."""
        if operation.in_effect and not operation.partial:
            return TaskStatus.ACCEPTED
        taken = self._operations.accepted(task.id)
        nothing_left = taken.everything or (bool(taken) and not rest(whole, taken))
        return TaskStatus.ACCEPTED if nothing_left else TaskStatus.IN_REVIEW

    def _known(self, task_id: str) -> Task:
        """The ledger's task; one that the ledger lost is put back, as its file or at least the operation tells it."""
        try:
            return self._queue.get(task_id)
        except NotFound:
            lost = Task(task_id, "(what was asked is lost)", CodeOrigin("file", "lost"), TaskStatus.ACCEPTED)
            self._queue.restore(self._store.remembered(task_id) or lost)
            return self._queue.get(task_id)

    def said_of_overruled(self, overruled: Overruled) -> str:
        """What became of an accept or undo here whose task another clone took meanwhile."""
        what = f"The {overruled.kind} of task {overruled.task_id} that was being written here was overruled from"
        here = next((each for each in self._project.operations() if each.token == overruled.token), None)
        if here is None or not here.in_effect:
            return f"{what} {overruled.by}. Nothing of it is in your files."
        return f"{what} {overruled.by}. Your files here have it, the ledger does not count it."

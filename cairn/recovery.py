"""What killed commands left is finished or taken back: accepts and undos, running tasks, the ledger itself."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from cairn.errors import IllegalMove
from cairn.operations import Operations
from cairn.project import Project
from cairn.queue import TaskQueue
from cairn.recording import Recording
from cairn.task import PutOff, Task, TaskStatus
from cairn.task_store import TaskStore
from cairn.task_work import KeptWork

INTERRUPTED = "interrupted: its process ended; cairn resume goes on"


class Recovery:
    """Each command begins with it; where nothing was left it does nothing."""

    def __init__(
        self,
        project: Project,
        queue: TaskQueue,
        store: TaskStore,
        operations: Operations,
        recording: Recording,
        work: KeptWork,
        *,
        ledger_is_new: bool,
    ) -> None:
        self._project = project
        self._queue = queue
        self._store = store
        self._operations = operations
        self._recording = recording
        self._work = work
        self._ledger_is_new = ledger_is_new

    def recover(self) -> tuple[str, ...]:
        """Finishes or takes back what a killed command left; each sentence returned says what was done."""
        said = []
        if self._ledger_is_new and (restored := self.rebuild_ledger()):
            said.append(f"The ledger was gone; what the tasks' own files know was put back ({len(restored)}).")
        recovered = self._project.recover()
        if recovered is not None:
            said.append(recovered.message)
        said += self._recording.told_of_unrecorded()
        self._operations.give_back_what_came_to_nothing()
        for overruled in self._operations.acceptances.to_tell():
            said.append(self._recording.said_of_overruled(overruled))
            self._operations.acceptances.told(overruled)
        said += [_said_of_interrupted(task) for task in self.recover_abandoned()]
        return tuple(said)

    def recover_abandoned(self, *, by_lease: bool = True) -> tuple[Task, ...]:
        """Running tasks whose process is gone are queued again, to go on from their journals.

        `by_lease`: a process that gave no sign of life for that long is as good as gone. One whose process ended as
        often as its terms allow is failed, so that it ends no further one.
        """
        self._queue.let_go()
        moved = []
        for task in self._queue.abandoned(by_lease=by_lease):
            with suppress(IllegalMove):  # another command was faster
                moved.append(self.take_from_the_dead(task))
        return tuple(moved)

    def take_from_the_dead(self, task: Task, how: str = "") -> Task:
        """The task of a process that ended, `how` as far as anybody knows. IllegalMove when it moved meanwhile."""
        in_vain = task.in_vain + 1
        if in_vain < task.terms.max_attempts:
            reason = f"interrupted: {how}, {self._work.last_sign(task)}" if how else INTERRUPTED
            moved = self._queue.put_off(task, PutOff(reason, in_vain=in_vain))
        else:
            last = f"{how}, {self._work.last_sign(task)}" if how else self._work.last_sign(task)
            reason = f"given up: it ended its worker {in_vain} times; the last time {last}"
            moved = self._queue.finish(task, TaskStatus.FAILED, reason=reason, outcome=task.outcome)
        self._store.note(moved)
        return moved

    def rebuild_ledger(self) -> tuple[Task, ...]:
        """Tasks that only their own files remember are in the ledger again; what was running then is failed now."""
        restored = []
        for task_id in self._store.every():
            task = self._store.remembered(task_id)
            if task is None:
                continue
            if task.status in {TaskStatus.QUEUED, TaskStatus.RUNNING}:
                task = replace(task, status=TaskStatus.FAILED, reason="the ledger was lost while it ran")
            if self._queue.restore(task):
                restored.append(task)
        return tuple(restored)


def _said_of_interrupted(task: Task) -> str:
    if task.status is TaskStatus.QUEUED:
        return f"Task {task.id} was interrupted: cairn resume {task.id}   goes on where it stopped."
    return f"Task {task.id} was {task.reason}; cairn resume {task.id}   tries it all the same."

"""A task again: retried as a new one, forked at one of its steps, or only replayed from its journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cairn.errors import IllegalMove, UsageProblem
from cairn.journal import Journal, copy_first_steps
from cairn.new_tasks import NewTasks
from cairn.progress import Observer, unobserved
from cairn.queue import TaskQueue
from cairn.settings import Settings
from cairn.task import CodeOrigin, Task, TaskStatus
from cairn.task_context import Asked, kept_asked
from cairn.task_moves import TaskMoves
from cairn.task_owner import Owner
from cairn.task_questions import copy_questions
from cairn.task_record import keep_surroundings, keep_task, surroundings
from cairn.task_run import ended
from cairn.task_store import TaskStore
from cairn.task_work import KeptWork
from cairn.variants import INSTEAD

if TYPE_CHECKING:
    from cairn.replay import Replay

RETRIED = "retried as"


class TasksAgain:
    """The old task stays what it was, but that a retry rejects one that was in review."""

    def __init__(
        self,
        root: Path,
        queue: TaskQueue,
        store: TaskStore,
        settings: Settings,
        work: KeptWork,
        moves: TaskMoves,
        new_tasks: NewTasks,
    ) -> None:
        self._root = root
        self._queue = queue
        self._store = store
        self._settings = settings
        self._work = work
        self._moves = moves
        self._new_tasks = new_tasks

    def retry(
        self,
        task: Task,
        *,
        because: str = "",
        options: Mapping[str, str] | None = None,
        held_by: Owner | None = None,
    ) -> Task:
        """A new task with the same request and origin; an old one that was in review is rejected in its favour.

        A model is told why the old one was rejected, or `because`. `options` replace those of the old one.
        """
        if task.status in {TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.WAITING}:
            raise IllegalMove(f"Task {task.id} is {task.status}; it has not ended yet.", fix=f"cairn show {task.id}")
        asked = replace(self._asked(task), feedback=because or self._rejection(task))
        again = self._new_tasks.submit(
            task.request,
            task.origin,
            retry_of=task.id,
            options={**task.options, **(options or {})},
            asked=asked,
            terms=task.terms.again(),
            held_by=held_by,
        )
        if task.status is TaskStatus.IN_REVIEW:
            self._moves.reject(task, f"{RETRIED} {again.id}")
        return again

    def _asked(self, task: Task) -> Asked:
        if not self._work.exists(task):
            return Asked()
        with self._store.reading(task.id) as file:
            return kept_asked(file)

    def _rejection(self, task: Task) -> str:
        reasons = [event.reason for event in self._queue.events(task.id) if event.became is TaskStatus.REJECTED]
        last = reasons[-1] if reasons else ""
        return "" if last.startswith(RETRIED) or last.endswith(INSTEAD) else last

    async def fork(
        self,
        task: Task,
        step: int,
        *,
        then: str = "",
        origin: CodeOrigin | None = None,
        held_by: Owner | None = None,
        observe: Observer = unobserved,
    ) -> Task:
        """A new queued task that begins with the first `step` steps of this one, and with its overlay as it was then.

        `then` is added to the request, `origin` replaces who writes the programs.
        """
        from cairn.replay import rebuild

        origin = origin or task.origin
        request = f"{task.request}\n\nFrom here on: {then}" if then else task.request
        settings = self._settings.with_options(task.options)
        self._work.require(task)
        with self._store.reading(task.id) as original:
            _require_open_end(Journal(original), step)
            model = self._new_tasks.model_of(origin, settings)
            terms = task.terms.again()
            self._new_tasks.keep(task.base)
            new = self._queue.draft(
                request, origin, retry_of=task.id, options=task.options, terms=terms, model=model, base=task.base
            )
            try:
                with self._store.creating(new, base=self._root) as file:
                    await rebuild(task, original, file, settings.limits.limits(), until=step, observe=observe)
                    copy_first_steps(original, file, step)
                    copy_questions(original, file, step)
                    keep_surroundings(file, surroundings(original, task))
                    keep_task(file, new)
                self._queue.put([new], held_by=held_by)
            except BaseException:
                self._store.remove(new.id)
                raise
        return new

    async def replay(self, task: Task, *, until: int | None = None, observe: Observer = unobserved) -> Replay:
        """The task's programs run again, offline, against its journal; see `cairn.replay`."""
        from cairn.replay import replay

        limits = self._settings.with_options(task.options).limits.limits()
        self._work.require(task)
        with self._store.reading(task.id) as file:
            return await replay(task, file, limits, until=until, observe=observe)


def _require_open_end(journal: Journal, step: int) -> None:
    """Raises UsageProblem unless something can follow the step."""
    steps = journal.steps()
    done, _ = ended(steps)
    last = len(done) - (1 if journal.submission() is not None else 0)
    if not 0 <= step <= last:
        why = f"Its first {last} steps came to an end without submitting." if last else "Its first step ended it."
        raise UsageProblem(f"The task cannot be forked at step {step}.", why, f"--fork N   with N from 0 to {last}")

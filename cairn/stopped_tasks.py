"""Tasks that stopped before their end go on: resumed, or answered what they ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from cairn.errors import IllegalMove, NotFound
from cairn.queue import TaskQueue
from cairn.run_parts import Parts
from cairn.settings import Settings
from cairn.task import CodeOrigin, Task, TaskStatus
from cairn.task_moves import TaskMoves
from cairn.task_owner import Owner
from cairn.task_questions import PersonAnswer, PersonQuestion, keep_answer, open_question
from cairn.task_run import ended
from cairn.task_store import TaskStore
from cairn.task_work import KeptWork, unless_it_moved


class StoppedTasks:
    """They are queued again under their own ids, and go on from their journals."""

    def __init__(
        self,
        queue: TaskQueue,
        store: TaskStore,
        settings: Settings,
        parts: Parts,
        work: KeptWork,
        moves: TaskMoves,
        clock: Callable[[], float],
    ) -> None:
        self._queue = queue
        self._store = store
        self._settings = settings
        self._parts = parts
        self._work = work
        self._moves = moves
        self._clock = clock

    def resume(self, task: Task, options: Mapping[str, str] | None = None, *, held_by: Owner | None = None) -> Task:
        """A stopped task is queued again under its own id; it goes on from its journal. `options` replace those it has.

        Raises IllegalMove for one that runs, is in review, or whose last program came to an end of its own.
        """
        if task.status is TaskStatus.QUEUED:
            return self._queue.give_options(task, options or {}, held_by=held_by)
        self._settings.with_options({**task.options, **(options or {})})
        if task.status in {TaskStatus.FAILED, TaskStatus.CANCELLED} and not self._has_more_to_do(task):
            raise IllegalMove(
                f"Task {task.id} came to its end, so there is nothing to go on with.",
                f"It is {task.status}: {task.reason}.",
                f"cairn retry {task.id}   does it again from today's files.",
            )
        queued = self._queue.requeue(task, reason="resumed", options=options, held_by=held_by)
        self._store.note(queued)
        return queued

    def interrupted(self, request: str, origin: CodeOrigin) -> Task | None:
        """The newest task for just this that waits to go on, after its process ended or with a question."""
        return self._queue.begun(request, origin)

    def answer(
        self,
        task: Task,
        answer: PersonAnswer,
        options: Mapping[str, str] | None = None,
        *,
        held_by: Owner | None = None,
    ) -> Task:
        """The task's open question is answered, and it is queued to go on; or failed, where it may not pass a limit.

        Raises NotFound when nothing is asked, IllegalMove when somebody else answered first.
        """
        if task.status not in {TaskStatus.WAITING, TaskStatus.QUEUED}:
            raise IllegalMove(f"Task {task.id} is {task.status}; it asks nothing.", fix=f"cairn show {task.id}")
        self._settings.with_options({**task.options, **(options or {})})
        self._work.require(task)
        with unless_it_moved(task):
            question = self._answered(task, answer)
        if question.is_of_limit and not answer.yes:
            reason = f"limit reached: {question.name} = {question.arguments}"
            return self._moves.fail(task, reason)
        return self.resume(task, options, held_by=held_by)

    def _answered(self, task: Task, answer: PersonAnswer) -> PersonQuestion:
        with self._store.writing(task) as file:
            question = open_question(file)
            if question is None:
                raise NotFound(f"Task {task.id} asks nothing.", fix=f"cairn resume {task.id}   goes on with it.")
            keep_answer(file, question.call, replace(answer, at=self._clock()))
        return question

    def _has_more_to_do(self, task: Task) -> bool:
        """True unless a program that nobody answers came to its end: run again, it would end the same way."""
        if not self._work.exists(task):
            return True
        with self._work.opened(task) as work:
            done, open_program = ended(work.journal.steps())
        if open_program is not None or not done:
            return True
        return self._parts.source(task.origin, self._settings.with_options(task.options)).answers

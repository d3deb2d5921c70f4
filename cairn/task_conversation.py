"""One run's conversation: what it talks with is put together, and whoever writes its programs has a session of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from cairn.first_prompt import opening_of
from cairn.journal import TakenOver
from cairn.lacks import asked_as
from cairn.model_use import ModelUse
from cairn.program import ExecutionResult
from cairn.progress import Observer
from cairn.project import Project
from cairn.reviews import DRAFTS
from cairn.run_parts import Parts
from cairn.settings import Settings
from cairn.task import Task
from cairn.task_checks import TaskChecks
from cairn.task_questions import OF_LIMIT, drop_question
from cairn.task_record import keep_task, surroundings
from cairn.task_run import Conversation
from cairn.task_work import KeptWork, Work

if TYPE_CHECKING:
    from cairn.code_generator import CodeSource, GenerationContext
    from cairn.executor import ExecutionSession
    from cairn.external_functions import BoundFunctions
    from cairn.language_model import TextModel
    from cairn.metered_model import Account


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of a task while it lasts."""

    task: Task
    settings: Settings
    source: CodeSource
    work: Work
    account: Account
    observe: Observer

    @property
    def has_steps(self) -> bool:
        """True while whoever writes the programs may write another one."""
        return self.source.answers and self.work.journal.step < self.settings.limits.limits().steps


class TaskConversations:
    """Each holds its task's file while it lasts, and what it spends is kept as it is spent."""

    def __init__(
        self,
        project: Project,
        settings: Settings,
        parts: Parts,
        work: KeptWork,
        checks: TaskChecks,
        model_use: ModelUse,
        clock: Callable[[], float],
    ) -> None:
        self._project = project
        self._settings = settings
        self._parts = parts
        self._work = work
        self._checks = checks
        self._model_use = model_use
        self._clock = clock

    def file_stays_open(self, task: Task) -> AbstractContextManager[None]:
        """For a conversation and what is made of it at once: its file is opened once for all of that."""
        return self._work.together(task)

    async def converse(self, task: Task, observe: Observer, *, patient: bool) -> ExecutionResult:
        """From the task's first program, or where its journal ends, until one submits or a limit ends it."""
        from cairn.metered_model import PausedModels

        settings = self._settings.with_options(task.options)
        source = self._parts.source(task.origin, settings)
        model = self._parts.text_model(task.origin, settings)
        with (
            self._work.opened(task, to_write=True, create=True) as work,
            self._model_use.day_budget(settings) as day,
            self._model_use.pauses(settings) as pauses,
        ):
            work.journal.hold(task.attempt)
            keep_task(work.file, task)
            drop_question(work.file, OF_LIMIT)
            paused = PausedModels(pauses, patient, asked_as(task, settings.text_model), observe)
            account = self._model_use.account(task, work, (day, paused), settings, observe)
            run = _Run(task, settings, source, work, account, observe)
            return await self._talk(run, self._functions(run, model))

    async def _talk(self, run: _Run, functions: BoundFunctions) -> ExecutionResult:
        """In a session of its own. How many answers were drafts is kept however it ends."""
        from cairn.executor import AgentExecutor
        from cairn.session_dump import MemoryDumps
        from cairn.task_dumps import TaskDumps

        work, limits = run.work, run.settings.limits.limits()
        seen = surroundings(work.file, run.task)
        # A dump is of no use elsewhere: its seal is of this user.
        dumps = MemoryDumps() if work.file.is_published else TaskDumps(work.file, work.journal)
        talks: list[Conversation] = []  # the session is made before its conversation, which can rebuild it
        async with AgentExecutor(limits).session(
            functions,
            now=seen.now,
            seed=seen.seed,
            dumps=dumps,
            rebuild=lambda _session: talks[0].rebuild(),
            will_be_new=run.source.answers,
        ) as session:
            context = self._context(run, session)
            talk = Conversation(run.task, run.source, session, work.journal, context, run.observe, self._clock)
            talks.append(talk)
            try:
                return await talk.converse(limits, used_seconds=run.task.outcome.seconds)
            finally:
                with suppress(TakenOver), work.file.transaction():
                    work.journal.require_held()
                    work.file.kv_set(DRAFTS, functions.drafts)

    def _functions(self, run: _Run, model: TextModel | None) -> BoundFunctions:
        """What the run's programs may call."""
        from cairn.external_functions import create_external_functions
        from cairn.language_model import watched
        from cairn.recipe_library import library

        work, settings, observe = run.work, run.settings, run.observe
        return create_external_functions(
            work.overlay,
            work.journal,
            None if model is None else run.account.metered(watched(model, observe), "question"),
            settings.limits.limits(),
            observe,
            lambda name: library(self._project.state).text_of(name),
            settings.policy.policy(),
            self._checks.for_programs(work, settings, observe, may_refuse=lambda: run.has_steps),
        )

    def _context(self, run: _Run, session: ExecutionSession) -> GenerationContext:
        """What whoever writes the run's programs is given."""
        from cairn.code_generator import GenerationContext

        work, settings = run.work, run.settings
        begin = partial(opening_of, run.task, work, settings.policy.policy(), self._project.state)
        return GenerationContext(
            check=session.check,
            observe=run.observe,
            limits=settings.limits.limits(),
            record=work.journal.record_message,
            changed=lambda: work.overlay.changes().paths,
            answered=work.journal.answers,
            opening=begin() if run.source.answers else (),
            metered=lambda model: run.account.metered(model, "program"),
        )

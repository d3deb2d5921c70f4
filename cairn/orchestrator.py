"""The use cases of Cairn, one method each: submit, run, review, accept, reject, undo, retry."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cairn import prompts
from cairn.acceptances import ACCEPT, UNDO, HeldElsewhere, Overruled
from cairn.changes import Change, ChangeSet
from cairn.check_ground import today
from cairn.check_record import check_results
from cairn.checks import CheckResult, Evidence, Verdict, standings, summary
from cairn.dangerous_paths import dangers, require_allowed
from cairn.day_budget import day_of
from cairn.errors import (
    CairnError,
    CheckNotPassed,
    Conflict,
    IllegalMove,
    KeyMissing,
    NotFound,
    StorageProblem,
    UsageProblem,
)
from cairn.git_diff import stat
from cairn.hunks import Selection, Undecided, clash, fits, remaining, rest, under, with_what_they_need
from cairn.journal import Journal, TakenOver, copy_first_steps
from cairn.ledger_place import LedgerServer
from cairn.model_pauses import ModelPauses, concerns_all_tasks
from cairn.operations import Numbered, Operations
from cairn.overlay import AgentFSOverlay, Overlay
from cairn.permission import is_hidden
from cairn.pinned_base import PinnedBase
from cairn.policy import AtLimitSetting, Policy, in_words
from cairn.program import ExecutionResult, LimitReached
from cairn.progress import Observer, unobserved
from cairn.project import Applied, Decision, Operation, Plan, Project, Undone, undoable
from cairn.putting_off import after_failure, after_limit, after_placing_failed
from cairn.queue import LEDGER, Owner, TaskQueue
from cairn.review import Review, StepCost
from cairn.shared_bases import Bases, LiveTree
from cairn.task import CodeOrigin, Outcome, PutOff, Task, TaskStatus, Terms, require_move
from cairn.task_context import Asked, keep_asked, kept_asked, opening, sections
from cairn.task_file import TaskFile
from cairn.task_questions import (
    OF_LIMIT,
    PersonAnswer,
    PersonQuestion,
    copy_questions,
    drop_question,
    keep_answer,
    keep_question,
    open_question,
)
from cairn.task_record import keep_surroundings, keep_task, surroundings
from cairn.task_run import Conversation, can_be_raised, ended, figure, verdict
from cairn.task_spending import ModelCall, keep_model_call, spending_by_step, task_spending
from cairn.task_store import LocalTasks, TaskStore
from cairn.variants import INSTEAD, instead_of, share_limits
from cairn.weakened_checks import weakenings

if TYPE_CHECKING:
    from cairn.check_runs import CheckRuns, ProgramChecks
    from cairn.code_generator import CodeSource
    from cairn.day_budget import DayBudget
    from cairn.language_model import TextModel
    from cairn.metered_model import Account, PausedModels
    from cairn.metering import Spent
    from cairn.object_store import ObjectStore
    from cairn.program import Limits
    from cairn.recipe_library import Library
    from cairn.replay import Replay
    from cairn.runtime import Runtime
    from cairn.settings import Settings

DRAFTS = "cairn.drafts"  # how many answers of ask_llm were a draft model's
RETRIED = "retried as"
_MAY_ASK = frozenset({TaskStatus.WAITING, TaskStatus.QUEUED, TaskStatus.CANCELLED})
INTERRUPTED = "interrupted: its process ended; cairn resume goes on"
RELEASED = "its worker was stopped"  # why a run is cancelled whose task is to go on elsewhere


def chosen_runtime(root: Path, settings: Settings, unsandboxed: bool) -> Runtime:
    """The runtime that the settings name."""
    from cairn.plugins import runtime

    return runtime(root, settings.runtime, unsandboxed=unsandboxed)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run is made of, chosen by name; tests hand in their own."""

    source: Callable[[CodeOrigin, Settings], CodeSource]
    text_model: Callable[[CodeOrigin, Settings], TextModel | None]
    runtime: Callable[[Path, Settings, bool], Runtime] = chosen_runtime


@dataclass(frozen=True, slots=True)
class Workspace:
    """One task's file, opened: its overlay and its journal share one database and one transaction."""

    file: TaskFile
    overlay: Overlay
    journal: Journal


class Orchestrator:
    """All that can be done with the tasks of one project. `Orchestrator.open` picks the parts."""

    def __init__(
        self,
        project: Project,
        queue: TaskQueue,
        settings: Settings,
        parts: Parts,
        *,
        store: TaskStore | None = None,
        clock: Callable[[], float] = time.time,
        ledger_is_new: bool = False,
        shared: bool | None = None,
    ) -> None:
        """`shared`: other clones have the same ledger. Not given, they have if it is a server's."""
        self.project = project
        self.queue = queue
        self.store: TaskStore = LocalTasks(project.state / "tasks") if store is None else store
        self.settings = settings
        self._parts = parts
        self._clock = clock
        self._ledger_is_new = ledger_is_new
        is_shared = isinstance(queue.place, LedgerServer) if shared is None else shared
        self._is_shared = is_shared
        self.operations = Operations(project, queue.database, shared=is_shared, objects=self._objects)
        self._bases: Bases = LiveTree(project, settings)
        self._closing = queue.close

    def _objects(self) -> ObjectStore | None:
        from cairn.object_store import open_objects

        return open_objects(self.settings.engine.objects)

    @classmethod
    def open(cls, project: Project, settings: Settings) -> Self:
        """Makes `.cairn/` on first use."""
        from cairn.plugins import code_source, text_model

        project.prepare()
        if settings.engine.url is not None:
            return cls._shared(project, settings)
        ledger = project.state / LEDGER
        new = not ledger.exists()
        return cls(project, TaskQueue(ledger), settings, Parts(code_source, text_model), ledger_is_new=new)

    @classmethod
    def _shared(cls, project: Project, settings: Settings) -> Self:
        """On a server's ledger, and by its clock."""
        from cairn.plugins import code_source, text_model
        from cairn.shared_project import SharedProject

        shared = SharedProject.open(project, settings)
        found = cls(
            project,
            shared.queue,
            settings,
            Parts(code_source, text_model),
            store=shared.store,
            clock=shared.queue.clock,
        )
        found._bases, found._closing = shared.bases, shared.close
        return found

    @classmethod
    def open_as_it_is(cls, project: Project, settings: Settings) -> Self:
        """For a look that writes nothing. Raises NotFound without a ledger, StorageProblem before a recovery."""
        from cairn.plugins import code_source, text_model

        shared = settings.engine.url is not None
        ledger = project.state / LEDGER
        if not shared and not ledger.exists() and not any((project.state / "tasks").glob("*.db")):
            raise NotFound("There is no task here.", fix='cairn run "..."   starts one.')
        if not (shared or ledger.exists()) or project.unsettled():
            raise StorageProblem(
                "A killed command left something here that has to be put right first. Nothing was written.",
                fix="cairn list   does that, as any other command; then try again.",
            )
        if shared:
            return cls._shared(project, settings)
        return cls(project, TaskQueue(ledger), settings, Parts(code_source, text_model))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Releases the ledger."""
        self._closing()

    # -- finding tasks ----------------------------------------------------------------------------------------------

    def task(self, prefix: str) -> Task:
        """The one task whose id starts with `prefix`. Raises NotFound or UsageProblem."""
        return self.queue.get(prefix)

    def only_task(self, statuses: Sequence[TaskStatus], verb: str) -> Task:
        """The one task in these statuses, so that its id may be left out."""
        found = self.queue.tasks(statuses, limit=6)
        if len(found) == 1:
            return found[0]
        if not found:
            raise NotFound(f"There is no task to {verb}.", fix='cairn run "..."   starts one; cairn list   shows all.')
        names = ", ".join(task.id for task in found)
        raise UsageProblem(f"More than one task could be meant: {names}.", fix=f"cairn {verb} {found[0].id}")

    # -- asking and running -----------------------------------------------------------------------------------------

    def submit(
        self,
        request: str,
        origin: CodeOrigin,
        *,
        retry_of: str | None = None,
        options: Mapping[str, str] | None = None,
        asked: Asked | None = None,
        terms: Terms | None = None,
        held_by: Owner | None = None,
        for_workers: bool = False,
    ) -> Task:
        """A queued task, or the unfinished one that has its key. `held_by`: no other process may claim it.

        Its code source is made once now, so that a wrong one fails before anything is kept. `asked` is what belongs to
        the request beside its sentence. `for_workers`: whoever runs it may have keys that are not here.
        """
        model = self._model_of(origin, self.settings.with_options(options or {}), for_workers=for_workers)
        task = self.queue.draft(
            request, origin, retry_of=retry_of, options=options, terms=terms, model=model, base=self._base(terms)
        )
        if not asked:
            return self.queue.put([task], held_by=held_by)[0]
        with self.store.creating(task, base=self.project.root) as file:
            keep_asked(file, asked)
        put = self.queue.put([task], held_by=held_by)[0]
        if put.id != task.id:
            self.store.remove(task.id)
        return put

    def submit_all(
        self, wishes: Sequence[tuple[str, CodeOrigin]], *, options: Mapping[str, str], terms: Terms
    ) -> tuple[Task, ...]:
        """As `submit`, for many at once: all are queued, or none."""
        settings = self.settings.with_options(options)
        models: dict[str, str] = {}
        drafts = []
        base = self._base(terms)
        for request, origin in wishes:
            if origin.source != "model" or origin.name not in models:
                models[origin.name] = self._model_of(origin, settings, for_workers=True)
            model = models[origin.name]
            drafts.append(self.queue.draft(request, origin, options=options, terms=terms, model=model, base=base))
        return self.queue.put(drafts)

    def submit_variants(
        self,
        request: str,
        origins: Sequence[CodeOrigin],
        *,
        options: Mapping[str, str],
        asked: Asked,
        terms: Terms,
        held_by: Owner | None = None,
    ) -> tuple[Task, ...]:
        """One task for each of the origins, as variants of each other: all are queued, or none.

        Limits among `options` of what models cost are those of all together; each variant has its part.
        """
        shared = share_limits(options, len(origins))
        settings = self.settings.with_options(shared)
        elsewhere = held_by is None
        models = {origin.name: self._model_of(origin, settings, for_workers=elsewhere) for origin in origins}
        drafts: list[Task] = []
        base = self._base(terms)
        for origin in origins:
            group, model = replace(terms, group=drafts[0].id if drafts else None), models[origin.name]
            draft = self.queue.draft(request, origin, options=shared, terms=group, model=model, base=base)
            drafts.append(draft if drafts else replace(draft, terms=replace(terms, group=draft.id)))
        for draft in drafts if asked else ():
            with self.store.creating(draft, base=self.project.root) as file:
                keep_asked(file, asked)
        tasks = self.queue.put(drafts, held_by=held_by)
        for unused in {draft.id for draft in drafts if asked} - {task.id for task in tasks}:
            self.store.remove(unused)
        return tasks

    def _base(self, terms: Terms | None) -> str:
        """What a task that is asked for now works on. Raises UsageProblem for one that no worker could accept."""
        base = self._bases.now()
        if base and terms is not None and terms.accepts:
            raise UsageProblem(
                "A task that other machines run cannot be accepted by itself.",
                "Its worker has a commit of the project, not your files.",
                "Leave --accept out; cairn accept ID   takes it into the clone that you are in.",
            )
        return base

    def _model_of(self, origin: CodeOrigin, settings: Settings, *, for_workers: bool = False) -> str:
        """The exact name of the model that writes such a task's programs; nothing for a recipe or a file.

        Its key has to be here, unless workers of other machines run the task: they have keys, people need none.
        """
        try:
            source = self._parts.source(origin, settings)
        except KeyMissing:
            if not (for_workers and self._is_shared):
                raise
            from cairn.language_model import exact_name

            return exact_name(origin.name)
        return source.label if origin.source == "model" else ""

    def first_prompt(self, request: str, asked: Asked, options: Mapping[str, str] | None = None) -> tuple[str, str]:
        """The system prompt and the first message that a model would get; nothing is kept, nobody is asked."""
        from cairn.external_functions import function_reference

        with (
            tempfile.TemporaryDirectory(prefix="cairn-prompt-") as folder,
            TaskFile.create(Path(folder, "task.db"), base=self.project.root) as file,
        ):
            overlay = AgentFSOverlay(file, self.project.root, file_bytes=self.settings.limits.file_bytes)
            policy = self.settings.with_options(options or {}).policy.policy()
            hides = partial(is_hidden, policy, overlay, "read_file")
            found = sections(overlay, request, asked, self._recipes().offered, hides=hides)
            told = [*in_words(policy), *((each.heading, each.text) for each in found)]
        limits = self.settings.limits.limits()
        return prompts.system_prompt(function_reference(tuple(self.settings.checks)), limits), prompts.task_message(
            request, told
        )

    def resume(self, task: Task, options: Mapping[str, str] | None = None, *, held_by: Owner | None = None) -> Task:
        """A stopped task is queued again under its own id; it goes on from its journal. `options` replace those it has.

        Raises IllegalMove for one that runs, is in review, or whose last program came to an end of its own.
        """
        if task.status is TaskStatus.QUEUED:
            return self.queue.give_options(task, options or {}, held_by=held_by)
        self.settings.with_options({**task.options, **(options or {})})
        if task.status in {TaskStatus.FAILED, TaskStatus.CANCELLED} and not self._has_more_to_do(task):
            raise IllegalMove(
                f"Task {task.id} came to its end, so there is nothing to go on with.",
                f"It is {task.status}: {task.reason}.",
                f"cairn retry {task.id}   does it again from today's files.",
            )
        queued = self.queue.requeue(task, reason="resumed", options=options, held_by=held_by)
        self.store.note(queued)
        return queued

    def rewrite(
        self, task: Task, request: str, origin: CodeOrigin, *, options: Mapping[str, str], asked: Asked, terms: Terms
    ) -> Task:
        """A queued task that never began asks for something else now. IllegalMove when it has begun."""
        model = self._model_of(origin, self.settings.with_options(options))
        base = self._base(terms)
        draft = self.queue.draft(request, origin, options=options, terms=terms, model=model, base=base)
        again = self.queue.rewrite(task, draft)
        if asked or self.store.exists(task.id):
            with _unless_it_moved(task), self.store.writing(again, base=self.project.root) as file:
                keep_asked(file, asked)
        return again

    def seen_by(self, task: Task) -> tuple[str, ...]:
        """The paths that the task read or changed: those whose edits make it stale."""
        if not self.store.exists(task.id):
            return ()
        with self._workspace(task) as work:
            base = PinnedBase(work.file, self.project.root, file_bytes=self.settings.limits.file_bytes)
            return tuple(pin.path for pin in base.below("."))

    def base_of(self, task: Task) -> Mapping[str, str]:
        """What the task saw of the project at each path that it looked at, as short texts that can be compared."""
        if not self.store.exists(task.id):
            return {}
        with self._workspace(task) as work:
            base = PinnedBase(work.file, self.project.root, file_bytes=self.settings.limits.file_bytes)
            return {pin.path: f"{pin.kind} {pin.mode:o} {pin.digest}" for pin in base.below(".")}

    def cancel(self, task: Task, *, reason: str = "cancelled") -> bool:
        """A task that waits is cancelled at once, one that runs is asked to end; True when it has ended.

        Raises IllegalMove for a task that has ended already.
        """
        if task.status is TaskStatus.RUNNING and self.queue.ask_to_cancel(task):
            return False
        self.store.note(self.queue.move(self.queue.get(task.id), TaskStatus.CANCELLED, reason=reason))
        return True

    def _has_more_to_do(self, task: Task) -> bool:
        """True unless a program that nobody answers came to its end: run again, it would end the same way."""
        if not self.store.exists(task.id):
            return True
        with self._workspace(task) as work:
            done, open_program = ended(work.journal.steps())
        if open_program is not None or not done:
            return True
        return self._parts.source(task.origin, self.settings.with_options(task.options)).answers

    def interrupted(self, request: str, origin: CodeOrigin) -> Task | None:
        """The newest task for just this that waits to go on, after its process ended or with a question."""
        return self.queue.begun(request, origin)

    async def run(self, task: Task, observe: Observer = unobserved, *, patient: bool = False) -> Review:
        """A claimed task runs to its end: in review with a submission, else failed or cancelled, its work kept.

        `patient`: what may pass without the task's doing puts it off instead; it is queued again then.
        """
        if not task.base:
            return await self._run_here(task, observe, patient=patient)
        async with self._placed(task, patient=patient) as placed:
            if placed is not None:
                await placed._run_here(task, observe, patient=patient)  # noqa: SLF001 - the same class
        return self.review(self.queue.get(task.id))

    @asynccontextmanager
    async def _placed(self, task: Task, *, patient: bool) -> AsyncIterator[Orchestrator | None]:
        """The same ledger and files over the task's base, fetched in a thread; None when that was put off."""
        import asyncio

        placing = self._bases.placed(task.base)
        entering = asyncio.ensure_future(asyncio.to_thread(placing.__enter__))
        try:
            project, settings = await asyncio.shield(entering)
        except asyncio.CancelledError as stop:
            entering.add_done_callback(lambda done: done.exception() or placing.__exit__(None, None, None))
            self._stopped(task, stop, 0.0)
            raise
        except Exception as error:
            until = None
            if patient and isinstance(error, CairnError):
                until = after_placing_failed(task, error, self._clock())
            if until is None:
                self._finish(task, TaskStatus.FAILED, _why(error), 0.0)
                raise
            self._put_off(task, until)
            yield None
            return
        try:
            yield Orchestrator(project, self.queue, settings, self._parts, store=self.store, clock=self._clock)
        finally:
            placing.__exit__(None, None, None)

    async def _run_here(self, task: Task, observe: Observer, *, patient: bool) -> Review:
        """As `run`, over this orchestrator's own project."""
        import asyncio

        started = time.monotonic()
        try:
            result = await self._converse(task, observe, patient=patient)
        except asyncio.CancelledError as stop:
            self._stopped(task, stop, time.monotonic() - started)
            raise
        except Exception as error:
            if patient and (until := self._later(task, error)) is not None:
                return self.review(self._put_off(task, until))
            self._finish(task, TaskStatus.FAILED, _why(error), time.monotonic() - started)
            raise
        if patient and (until := after_limit(task, result, day_of(self._clock())[1])) is not None:
            return self.review(self._put_off(task, until))
        status, reason = self._asking_at_limit(task, result) or verdict(result)
        return self.review(self._finish(task, status, reason, time.monotonic() - started))

    def _stopped(self, task: Task, stop: BaseException, seconds: float) -> None:
        """It is cancelled, or queued again where only its worker was to stop."""
        reason = str(stop.args[0]) if stop.args else "stopped by the person who ran it"
        if reason == RELEASED:
            self._put_off(task, PutOff(RELEASED, in_vain=task.in_vain))
        else:
            self._finish(task, TaskStatus.CANCELLED, reason, seconds)

    def _asking_at_limit(self, task: Task, result: ExecutionResult) -> tuple[TaskStatus, str] | None:
        """Where the task is to ask at limits, one that can be raised is a question; None for anything else."""
        asks = self.settings.with_options(task.options).policy.at_limit is AtLimitSetting.ASK
        if not isinstance(result, LimitReached) or not asks or not can_be_raised(result.limit):
            return None
        with self._workspace(task, to_write=True) as work, work.file.transaction():
            work.journal.require_held()
            step = work.journal.step
            allowed = figure(result.allowed)
            keep_question(work.file, PersonQuestion(OF_LIMIT, step, result.limit, allowed, asked_at=self._clock()))
        return TaskStatus.WAITING, f"asks: go on beyond {result.limit} = {allowed}?"

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
        self.settings.with_options({**task.options, **(options or {})})
        self._require_file(task)
        with _unless_it_moved(task):
            question = self._answered(task, answer)
        if question.is_of_limit and not answer.yes:
            reason = f"limit reached: {question.name} = {question.arguments}"
            failed = self.queue.move(task, TaskStatus.FAILED, reason=reason)
            self.store.note(failed)
            return failed
        return self.resume(task, options, held_by=held_by)

    def _answered(self, task: Task, answer: PersonAnswer) -> PersonQuestion:
        with self.store.writing(task) as file:
            question = open_question(file)
            if question is None:
                raise NotFound(f"Task {task.id} asks nothing.", fix=f"cairn resume {task.id}   goes on with it.")
            keep_answer(file, question.call, replace(answer, at=self._clock()))
        return question

    def _later(self, task: Task, error: Exception) -> PutOff | None:
        """When to try again after an error; a model that no task can use now is paused."""
        settings = self.settings.with_options(task.options)
        if isinstance(error, CairnError) and concerns_all_tasks(error):
            model = self._missing_model(task, settings)
            with self.model_pauses(settings) as pauses:
                pauses.begin(model, error)
            return PutOff(_why(error), in_vain=task.in_vain, waits_for=model)
        return after_failure(task, error, self._clock())

    def _missing_model(self, task: Task, settings: Settings) -> str:
        """The model that kept the task from starting: the one that writes its programs, else the one for ask_llm."""
        try:
            self._parts.source(task.origin, settings)
        except CairnError:
            return task.model or task.origin.name
        return settings.text_model or task.model or "the model behind ask_llm"

    def _put_off(self, task: Task, until: PutOff) -> Task:
        queued = self.queue.put_off(task, until)
        self.store.note(queued)
        return queued

    async def _converse(self, task: Task, observe: Observer, *, patient: bool) -> ExecutionResult:
        from cairn.code_generator import GenerationContext
        from cairn.executor import AgentExecutor
        from cairn.external_functions import create_external_functions
        from cairn.language_model import watched
        from cairn.metered_model import PausedModels
        from cairn.session_dump import MemoryDumps
        from cairn.task_dumps import TaskDumps

        settings = self.settings.with_options(task.options)
        limits = settings.limits.limits()
        source = self._parts.source(task.origin, settings)
        model = self._parts.text_model(task.origin, settings)
        with (
            self._workspace(task, to_write=True, create=True) as work,
            self.day_budget(settings) as day,
            self.model_pauses(settings) as pauses,
        ):
            work.journal.hold(task.attempt)
            keep_task(work.file, task)
            drop_question(work.file, OF_LIMIT)
            paused = PausedModels(pauses, patient=patient)
            account = self._account(task, work, (day, paused), settings, observe)
            answering = None if model is None else account.metered(watched(model, observe), "question")
            policy = settings.policy.policy()
            functions = create_external_functions(
                work.overlay,
                work.journal,
                answering,
                limits,
                observe,
                lambda name: self._recipes().text_of(name),
                policy,
                self._program_checks(work, settings, observe, may_refuse=lambda: self._has_steps(source, work, limits)),
            )
            seen = surroundings(work.file, task)
            # A dump is of no use elsewhere: its seal is of this user.
            dumps = MemoryDumps() if work.file.is_published else TaskDumps(work.file, work.journal)
            talks: list[Conversation] = []  # the session is made before its conversation, which can rebuild it
            async with AgentExecutor(limits).session(
                functions,
                now=seen.now,
                seed=seen.seed,
                dumps=dumps,
                rebuild=lambda _session: talks[0].rebuild(),
                will_be_new=source.answers,
            ) as session:
                context = GenerationContext(
                    check=session.check,
                    observe=observe,
                    limits=limits,
                    record=work.journal.record_message,
                    changed=lambda: work.overlay.changes().paths,
                    answered=work.journal.answers,
                    opening=self._opening(work, task, policy) if source.answers else (),
                    metered=lambda model: account.metered(model, "program"),
                )
                talk = Conversation(task, source, session, work.journal, context, observe, self._clock)
                talks.append(talk)
                try:
                    return await talk.converse(limits, used_seconds=task.outcome.seconds)
                finally:
                    with suppress(TakenOver), work.file.transaction():
                        work.journal.require_held()
                        work.file.kv_set(DRAFTS, functions.drafts)

    # -- checks -----------------------------------------------------------------------------------------------------

    def checks(
        self,
        work: Workspace,
        settings: Settings,
        observe: Observer = unobserved,
        *,
        unsandboxed: bool = False,
        deciding: bool = False,
    ) -> CheckRuns:
        """The project's checks over a task's files. No program's command sees what its policy hides."""
        from cairn.base_verdicts import FOLDER, BaseVerdicts
        from cairn.check_runs import CheckRuns
        from cairn.permission import is_hidden

        policy = settings.policy.policy()
        return CheckRuns(
            work.overlay,
            work.file,
            settings.checks,
            lambda: self._parts.runtime(self.project.root, settings, unsandboxed),
            self._clock,
            observe,
            partial(is_hidden, policy, work.overlay, "read_file") if policy.hides_some else None,
            settings.limits.limits(),
            BaseVerdicts(self.project.state / FOLDER),
            deciding,
        )

    def _program_checks(
        self, work: Workspace, settings: Settings, observe: Observer, *, may_refuse: Callable[[], bool]
    ) -> ProgramChecks | None:
        from cairn.check_runs import ProgramChecks

        if not settings.checks:
            return None
        used = work.journal.completed("run_check")
        return ProgramChecks(self.checks(work, settings, observe), settings.runtime.runs, may_refuse, used=used)

    def _has_steps(self, source: CodeSource, work: Workspace, limits: Limits) -> bool:
        """True while whoever writes the programs may write another one."""
        return source.answers and work.journal.step < limits.steps

    async def check(
        self, task: Task, names: Sequence[str] = (), observe: Observer = unobserved, *, unsandboxed: bool = False
    ) -> tuple[CheckResult, ...]:
        """Runs these checks, or all that are about the task's changes, over its files as they are now.

        Raises NotFound for an unknown check, IllegalMove for a task that runs, CairnError where nothing can run.
        """
        settings = self.settings.with_options(task.options)
        _require_checks(settings, names)
        if task.status in {TaskStatus.RUNNING, TaskStatus.QUEUED, TaskStatus.WAITING}:
            raise IllegalMove(f"Task {task.id} is {task.status}; it has not ended yet.", fix=f"cairn show {task.id}")
        self._require_file(task)
        with _unless_it_moved(task), self._workspace(task, to_write=True) as work:
            deciding = task.status is TaskStatus.IN_REVIEW
            runs = self.checks(work, settings, observe, unsandboxed=unsandboxed, deciding=deciding)
            found = sorted(runs.standings(), key=lambda each: not each.check.keep_writes)
            wanted = [each.check.name for each in found if names or each.verdict is not Verdict.NOT_NEEDED]
            results = [await runs.run(name) for name in wanted if not names or name in names]
            task = self.queue.note_checks(task, summary(runs.standings()))
            keep_task(work.file, task)
        return tuple(results)

    def evidence(self, task: Task) -> Evidence:
        """What the checks say of the task's changes, and what of them weakens checks."""
        if not self.store.exists(task.id):
            return Evidence()
        with self._workspace(task) as work:
            return self._evidence(work, task, work.overlay.changes())

    def _evidence(self, work: Workspace, task: Task, changes: ChangeSet) -> Evidence:
        checks, results = self.settings.with_options(task.options).checks, check_results(work.file)
        deciding = task.status is TaskStatus.IN_REVIEW and any(name in checks for name in results)
        project = today(self.project.root, changes) if deciding else ""
        found = standings(checks, results, changes.digest, changes.paths, project)
        return Evidence(found, weakenings(changes))

    def day_budget(self, settings: Settings) -> DayBudget:
        """What the project's tasks may spend on models today, and have spent."""
        from cairn.day_budget import DayBudget
        from cairn.metered_model import ceilings_of_day

        ceilings = ceilings_of_day(settings.budget.tokens_per_day, settings.budget.money_per_day)
        owner = str(Owner.this_process())
        return DayBudget(self.queue.place, ceilings, owner, rates=settings.rates, clock=self._clock)

    def model_pauses(self, settings: Settings | None = None) -> ModelPauses:
        """Which models the project's tasks do not ask now."""
        first = (settings or self.settings).retry.pause_seconds
        return ModelPauses(self.queue.place, first, clock=self._clock)

    def _account(
        self,
        task: Task,
        work: Workspace,
        project: tuple[DayBudget, PausedModels],
        settings: Settings,
        observe: Observer,
    ) -> Account:
        from cairn.metered_model import Account

        def keep(model: str, purpose: str, spent: Spent) -> None:
            step = work.journal.step + (purpose == "program")  # the program that is asked for belongs to the next one
            with work.file.transaction():
                work.journal.require_held()
                keep_model_call(work.file, ModelCall(step, purpose, model, spent, self._clock()))

        before = task_spending(work.file)
        limits = settings.limits.limits()
        day, paused = project
        return Account(
            limits, settings.prices, keep, spent=before, day=day, paused=paused, task=task.id, observe=observe
        )

    def _opening(self, work: Workspace, task: Task, policy: Policy) -> list[tuple[str, str]]:
        hides = partial(is_hidden, policy, work.overlay, "read_file")
        found = opening(work.file, work.overlay, task.request, self._recipes().offered, hides=hides)
        return [*in_words(policy), *((each.heading, each.text) for each in found)]

    def _recipes(self) -> Library:
        from cairn.recipe_library import library

        return library(self.project.state)

    def _finish(self, task: Task, status: TaskStatus, reason: str, seconds: float) -> Task:
        """The ledger gets the status and the figures a list shows; a task that changed nothing is closed at once."""
        review = self.review(task)
        figures = stat(review.changes)
        outcome = Outcome(
            summary=review.submission.summary if review.submission else "",
            files_changed=len(review.changes),
            lines_added=figures.added,
            lines_removed=figures.removed,
            steps=len(review.steps),
            calls=len(review.calls),
            input_tokens=review.input_tokens,
            output_tokens=review.output_tokens,
            seconds=task.outcome.seconds + seconds,
            money=review.spent.money,
            estimated=review.spent.estimated,
            checks=summary(review.evidence.standings),
        )
        finished = self.queue.finish(task, status, reason=reason, outcome=outcome)
        if status is TaskStatus.IN_REVIEW and not review.changes and review.claims.agree:
            finished = self.queue.move(finished, TaskStatus.ACCEPTED, reason="nothing to change")
        elif status is TaskStatus.IN_REVIEW and self.queue.was_to_be_cancelled(task):
            instead = self.accepted_instead_of(task)  # it ended before it heard of that
            finished = self.queue.move(finished, TaskStatus.REJECTED, reason=instead) if instead else finished
        self.store.note(finished)
        return finished

    # -- judging ----------------------------------------------------------------------------------------------------

    def review(self, task: Task) -> Review:
        """Reads the task's file and compares it with the project as it is now; writes nothing."""
        if not self.store.exists(task.id):
            return Review(task, None, ChangeSet())
        settings = self.settings.with_options(task.options)
        with self._workspace(task) as work:
            whole = work.overlay.changes()
            taken = self._taken(task)
            changes = rest(whole, taken)
            in_review = task.status is TaskStatus.IN_REVIEW
            planned = self.project.preview(self._in_tree(task, changes)) if in_review else Plan()
            return Review(
                task=task,
                submission=work.journal.submission(),
                changes=changes,
                steps=work.journal.steps(),
                calls=work.journal.calls(),
                stale=_stale(work.overlay.stale(), whole, taken, planned),
                conflicts=planned.conflicts,
                left_behind=work.overlay.left_behind() if task.status is TaskStatus.IN_REVIEW else (),
                dangers=dangers(changes, self.settings.accept.allow),
                whole=whole,
                accepted=taken.paths,
                drafts=_count(work.file.kv_get(DRAFTS)),
                limits=settings.limits.limits(),
                policy=settings.policy.policy(),
                question=open_question(work.file) if task.status in _MAY_ASK else None,
                spent=task_spending(work.file),
                costs=_costs(work),
                evidence=self._evidence(work, task, whole),
            )

    def changes(self, task: Task) -> ChangeSet:
        """What the task changed and nobody accepted apart; of an accepted task all of it."""
        self.require_kept(task)
        return rest(self._whole(task), self._taken(task))

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
        every = remaining(self._whole(task), self._taken(task))
        return Selection(tuple(part for part in every.parts if part.path in wanted))

    def to_accept(self, task: Task, selection: Selection | None = None) -> ChangeSet:
        """The changes that an accept of the selection would bring, or of all that is left."""
        return self._in_tree(task, self._accepting(task, selection)[0])

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
        with self.project.locked():
            self._record_what_is_done()
            require_move(task.id, self.queue.get(task.id).status, TaskStatus.ACCEPTED)
            changes, part = self._accepting(task, selection)
            require_allowed(task.id, changes, self.settings.accept.allow, allow)
            if not force:
                self.require_checks_passed(task)
            with self.operations.taking(task.id, ACCEPT, overrule=overrule) as token:
                applied = self.project.apply(task.id, self._in_tree(task, changes), part=part, token=token)
            recorded = self._recorded(applied.operation)
            return recorded, replace(applied, operation=self.operations.numbered(applied.operation))

    def _in_tree(self, task: Task, changes: ChangeSet) -> ChangeSet:
        """Changes of a commit, as the files of this clone have them."""
        if not task.base:
            return changes
        from cairn.changes_in_tree import changes_in_tree

        return changes_in_tree(changes, self.project.root)

    def require_checks_passed(self, task: Task) -> None:
        """Raises CheckNotPassed for a required check that failed on the task's files as they are."""
        failed = self.evidence(task).failed if self.settings.with_options(task.options).checks else ()
        if failed:
            told = "; ".join(f"{each.check.name} {each.result.in_words}" for each in failed if each.result)
            raise CheckNotPassed(
                f"Task {task.id} did not pass a required check; nothing was written.",
                f"{told}.",
                (
                    f"cairn check {task.id}   runs its checks again.",
                    f"cairn accept {task.id} --force   takes it all the same.",
                ),
            )

    def undecided(self, task: Task, selection: Selection | None = None) -> Undecided:
        """What an accept of the selection is about, or of all that is left. Raises IllegalMove when nothing can be."""
        require_move(task.id, task.status, TaskStatus.ACCEPTED)
        self.require_kept(task)
        whole, taken = self._whole(task), self._taken(task)
        return Undecided(whole, taken, remaining(whole, taken) if selection is None else selection)

    def _accepting(self, task: Task, selection: Selection | None) -> tuple[ChangeSet, Selection | None]:
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

    def _whole(self, task: Task) -> ChangeSet:
        """Everything the task changed, whatever became of it."""
        if not self.store.exists(task.id):
            return ChangeSet()
        with self._workspace(task) as work:
            return work.overlay.changes()

    def _taken(self, task: Task) -> Selection:
        """What was accepted apart; of a task that is accepted, whose changes are shown whole, nothing."""
        return Selection() if task.status is TaskStatus.ACCEPTED else self.operations.accepted(task.id)

    def reject(self, task: Task, reason: str = "", *, overrule: bool = False) -> Task:
        """The task's changes are dropped from review; its file is kept, so that it can be looked at.

        `overrule` as for `accept`. Raises IllegalMove, HeldElsewhere.
        """
        if overrule:
            self.operations.acceptances.take_from_others(task.id)
        rejected = self.queue.move(task, TaskStatus.REJECTED, reason=reason)
        self.store.note(rejected)
        return rejected

    def take_back_rejection(self, task: Task) -> Task:
        """A rejected task is in review again. Raises IllegalMove for any other."""
        if task.status is not TaskStatus.REJECTED:
            raise IllegalMove(f"Task {task.id} is {task.status}, not rejected.", fix=f"cairn show {task.id}")
        again = self.queue.move(task, TaskStatus.IN_REVIEW, reason="its rejection was taken back")
        self.store.note(again)
        return again

    def _reject_variants(self, task: Task) -> None:
        """Inside the transaction of its accept, so that no other clone can accept one of them in between."""
        for other in self.queue.group(task.terms.group) if task.terms.group is not None else ():
            if other.id != task.id and other.status is TaskStatus.IN_REVIEW:
                with suppress(IllegalMove, HeldElsewhere):
                    self.queue.move(other, TaskStatus.REJECTED, reason=instead_of(task))

    def _settle_variants(self, task: Task) -> None:
        """Those of an accepted task's group are rejected for it, or ended; when it is taken back, they come back."""
        others = [each for each in self.queue.group(task.terms.group or "") if each.id != task.id]
        for other in others:
            with suppress(IllegalMove, HeldElsewhere):  # it moved meanwhile, and whoever moved it knew of it
                if task.status is not TaskStatus.ACCEPTED:
                    if other.status is TaskStatus.REJECTED and other.reason == instead_of(task):
                        self.take_back_rejection(other)
                elif other.status is TaskStatus.REJECTED and other.reason == instead_of(task):
                    self.store.note(other)
                elif other.status in {TaskStatus.QUEUED, TaskStatus.WAITING}:
                    self.cancel(other, reason=instead_of(task))
                elif other.status is TaskStatus.IN_REVIEW or (
                    other.status is TaskStatus.RUNNING and not self.queue.ask_to_cancel(other)  # it ended just now
                ):
                    self.reject(self.queue.get(other.id), instead_of(task))

    def accepted_instead_of(self, task: Task) -> str:
        """The reason of a variant that was ended because another one was accepted while it ran; else ""."""
        group = self.queue.group(task.terms.group) if task.terms.group is not None else ()
        accepted = [each for each in group if each.status is TaskStatus.ACCEPTED and each.id != task.id]
        began = max((move.at for move in self.queue.events(task.id) if move.became is TaskStatus.RUNNING), default=0.0)
        for other in accepted:
            moves = self.queue.events(other.id)
            if any(move.became is TaskStatus.ACCEPTED and not move.reason and move.at >= began for move in moves):
                return instead_of(other)
        return ""

    def undo(
        self, task: Task | None = None, *, operation: int | None = None, overrule: bool = False
    ) -> tuple[Task, Undone]:
        """Takes back the last accept of the task, or of this clone, or any operation by its number, an undo too.

        Later edits of the user survive. With a shared ledger any clone's can be taken back where its change has come;
        `overrule` is as for `accept`. Raises NotFound, IllegalMove, Conflict, HeldElsewhere.
        """
        with self.project.locked():
            self._record_what_is_done()
            if operation is not None:
                self._require_not_accepted_since(operation)
            which = operation if operation is not None else task.id if task else None
            target = undoable(self.operations.every() if which is not None else self.operations.own(), which)
            with self.operations.taking(target.task_id, UNDO, overrule=overrule) as token:
                undone = self.operations.undo(target, token)
            behind = Numbered(self.project.operations()).accept_behind(undone.operation)
            # Of a shared ledger people know its own numbers.
            return self._recorded(behind), replace(undone, operation=replace(undone.operation, id=target.id))

    def _require_not_accepted_since(self, number: int) -> None:
        """Two accepts of the same change in effect at once could never be told apart again."""
        known = Numbered(self.operations.every())
        target = next((each for each in known.every if each.id == number), None)
        if target is None or not target.in_effect or (accept := known.accept_behind(target)).in_effect:
            return
        mine = self.operations.part(accept.id)
        for since in known.every:
            again = since.undoes is None and since.in_effect and since.task_id == accept.task_id
            if again and clash(mine, self.operations.part(since.id)):
                raise IllegalMove(
                    f"Operation {number} is out of date: task {accept.task_id} was accepted again since.",
                    f"Operation {since.id} did that.",
                    f"cairn undo --op {since.id}   takes that back first.",
                )

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
        again = self.submit(
            task.request,
            task.origin,
            retry_of=task.id,
            options={**task.options, **(options or {})},
            asked=asked,
            terms=task.terms.again(),
            held_by=held_by,
        )
        if task.status is TaskStatus.IN_REVIEW:
            self.reject(task, f"{RETRIED} {again.id}")
        return again

    def _asked(self, task: Task) -> Asked:
        if not self.store.exists(task.id):
            return Asked()
        with self.store.reading(task.id) as file:
            return kept_asked(file)

    def _rejection(self, task: Task) -> str:
        reasons = [event.reason for event in self.queue.events(task.id) if event.became is TaskStatus.REJECTED]
        last = reasons[-1] if reasons else ""
        return "" if last.startswith(RETRIED) or last.endswith(INSTEAD) else last

    # -- again, and another way -------------------------------------------------------------------------------------

    async def replay(self, task: Task, *, until: int | None = None, observe: Observer = unobserved) -> Replay:
        """The task's programs run again, offline, against its journal; see `cairn.replay`."""
        from cairn.replay import replay

        limits = self.settings.with_options(task.options).limits.limits()
        self._require_file(task)
        with self.store.reading(task.id) as file:
            return await replay(task, file, limits, until=until, observe=observe)

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
        settings = self.settings.with_options(task.options)
        self._require_file(task)
        with self.store.reading(task.id) as original:
            _require_open_end(Journal(original), step)
            model = self._model_of(origin, settings)
            terms = task.terms.again()
            new = self.queue.draft(
                request, origin, retry_of=task.id, options=task.options, terms=terms, model=model, base=task.base
            )
            try:
                with self.store.creating(new, base=self.project.root) as file:
                    await rebuild(task, original, file, settings.limits.limits(), until=step, observe=observe)
                    copy_first_steps(original, file, step)
                    copy_questions(original, file, step)
                    keep_surroundings(file, surroundings(original, task))
                    keep_task(file, new)
                self.queue.put([new], held_by=held_by)
            except BaseException:
                self.store.remove(new.id)
                raise
        return new

    def file_of(self, task: Task) -> Path:
        """The task's own file, to be read. Raises NotFound for a task that never ran."""
        self._require_file(task)
        return self.store.path(task.id)

    def require_kept(self, task: Task) -> None:
        """Raises NotFound for a task that changed or asked something, and whose file is not there any more."""
        ran = task.status in {TaskStatus.IN_REVIEW, TaskStatus.WAITING} or task.outcome.files_changed
        if ran and not self.store.exists(task.id):
            raise NotFound(
                f"The file of task {task.id} is gone, and with it what the task did.",
                f"It was {self.store.path(task.id)}.",
                (f"cairn retry {task.id}   does it again; cairn reject {task.id}   lets it be.",),
            )

    def _require_file(self, task: Task) -> None:
        self.require_kept(task)
        if not self.store.exists(task.id):
            raise NotFound(f"Task {task.id} never ran, so there is nothing of it yet.", fix=f"cairn show {task.id}")

    # -- after a crash ----------------------------------------------------------------------------------------------

    def recover(self) -> tuple[str, ...]:
        """Finishes or takes back what a killed command left; each sentence returned says what was done."""
        said = []
        if self._ledger_is_new and (restored := self.rebuild_ledger()):
            said.append(f"The ledger was gone; what the tasks' own files know was put back ({len(restored)}).")
        recovered = self.project.recover()
        if recovered is not None:
            said.append(recovered.message)
        said += self._said_of_unrecorded()
        self.operations.give_back_what_came_to_nothing()
        for overruled in self.operations.acceptances.to_tell():
            said.append(self._said_of_overruled(overruled))
            self.operations.acceptances.told(overruled)
        said += [_said_of_interrupted(task) for task in self.recover_abandoned()]
        return tuple(said)

    def _said_of_unrecorded(self) -> Iterator[str]:
        """Has the ledger follow what killed commands did here. What it cannot follow yet keeps no other command."""
        for operation in self.project.unrecorded():
            try:
                self._record(operation)
            except StorageProblem:
                raise
            except CairnError as error:  # what comes after the task cannot be given its commit
                what = (
                    f"Operation {operation.id} on task {operation.task_id} is in your files and not in the ledger yet."
                )
                yield f"{what} {_why(error)}"

    def recover_abandoned(self, *, by_lease: bool = True) -> tuple[Task, ...]:
        """Running tasks whose process is gone are queued again, to go on from their journals.

        `by_lease`: a process that gave no sign of life for that long is as good as gone. One whose process ended as
        often as its terms allow is failed, so that it ends no further one.
        """
        self.queue.let_go()
        moved = []
        for task in self.queue.abandoned(by_lease=by_lease):
            with suppress(IllegalMove):  # another command was faster
                moved.append(self.take_from_the_dead(task))
        return tuple(moved)

    def take_from_the_dead(self, task: Task, how: str = "") -> Task:
        """The task of a process that ended, `how` as far as anybody knows. IllegalMove when it moved meanwhile."""
        in_vain = task.in_vain + 1
        if in_vain < task.terms.max_attempts:
            reason = f"interrupted: {how}, {self._last_sign(task)}" if how else INTERRUPTED
            moved = self.queue.put_off(task, PutOff(reason, in_vain=in_vain))
        else:
            last = f"{how}, {self._last_sign(task)}" if how else self._last_sign(task)
            reason = f"given up: it ended its worker {in_vain} times; the last time {last}"
            moved = self.queue.finish(task, TaskStatus.FAILED, reason=reason, outcome=task.outcome)
        self.store.note(moved)
        return moved

    def _last_sign(self, task: Task) -> str:
        """How far its journal came: what it did then may be what ends its workers."""
        with suppress(CairnError):
            if self.store.exists(task.id):
                with self._workspace(task) as work:
                    step, calls = work.journal.step, work.journal.calls()
                last = f"after call {calls[-1].number} ({calls[-1].name})" if calls else "before its first call"
                return f"in step {step} {last}" if step else "before its first program"
        return "before it began"

    def _record_what_is_done(self) -> None:
        """Before anything else is done to the files, so that it is done once. Raises what keeps the ledger from it."""
        for operation in self.project.unrecorded():
            self._record(operation)

    def _recorded(self, accept: Operation) -> Task:
        """As `_record`. Raises Conflict when the task was taken from this clone meanwhile."""
        task, overruled = self._record(accept)
        if overruled is not None:
            self.operations.acceptances.told(overruled)
            raise Conflict(self._said_of_overruled(overruled), fix=f"cairn show {task.id}   shows what is so now.")
        return task

    def _record(self, operation: Operation) -> tuple[Task, Overruled | None]:
        """The ledger follows what the project's files already are; running it twice does no harm.

        It does not follow what another clone took from this one.
        """
        task = self._known(operation.task_id)
        family = self.operations.family(operation)
        in_parts = operation.partial or self.operations.accepted(task.id).parts
        whole = self._whole(task) if in_parts else ChangeSet()
        self.operations.publish_contents(family)
        if task.base and operation.in_effect and self.operations.overruled(family) is None:  # before any may start
            self.queue.work_after(task, self._bases.now)
        task, overruled = self.queue.database.write(lambda: self._followed(operation, family, whole))
        if overruled is None:
            self.store.note(task)
            if task.terms.group is not None:
                self._settle_variants(task)
        self.project.mark_recorded(operation.id)
        return task, overruled

    def _followed(
        self, operation: Operation, family: Sequence[Operation], whole: ChangeSet
    ) -> tuple[Task, Overruled | None]:
        """Inside a transaction: the operation is the ledger's, and the task where that puts it."""
        task = self.queue.get(operation.task_id)
        if (overruled := self.operations.overruled(family)) is not None:
            return task, overruled
        self.operations.settle(family)
        wanted = self._status_after(task, operation, whole)
        if task.status is not wanted:
            if wanted is TaskStatus.ACCEPTED and task.status is TaskStatus.REJECTED:
                task = self.queue.move(task, TaskStatus.IN_REVIEW, reason="its accept is in effect again")
            reason = "" if operation.in_effect else "its accept was taken back"
            task = self.queue.move(task, wanted, reason=reason)
            if wanted is TaskStatus.ACCEPTED:
                self._reject_variants(task)
        return task, None

    def _status_after(self, task: Task, operation: Operation, whole: ChangeSet) -> TaskStatus:
        """Accepted when the accepts in effect have every piece of the task's changes."""
        if operation.in_effect and not operation.partial:
            return TaskStatus.ACCEPTED
        taken = self.operations.accepted(task.id)
        nothing_left = taken.everything or (bool(taken) and not rest(whole, taken))
        return TaskStatus.ACCEPTED if nothing_left else TaskStatus.IN_REVIEW

    def _said_of_overruled(self, overruled: Overruled) -> str:
        """What became of an accept or undo here whose task another clone took meanwhile."""
        what = f"The {overruled.kind} of task {overruled.task_id} that was being written here was overruled from"
        here = next((each for each in self.project.operations() if each.token == overruled.token), None)
        if here is None or not here.in_effect:
            return f"{what} {overruled.by}. Nothing of it is in your files."
        return f"{what} {overruled.by}. Your files here have it, the ledger does not count it."

    def rebuild_ledger(self) -> tuple[Task, ...]:
        """Tasks that only their own files remember are in the ledger again; what was running then is failed now."""
        restored = []
        for task_id in self.store.every():
            task = self.store.remembered(task_id)
            if task is None:
                continue
            if task.status in {TaskStatus.QUEUED, TaskStatus.RUNNING}:
                task = replace(task, status=TaskStatus.FAILED, reason="the ledger was lost while it ran")
            if self.queue.restore(task):
                restored.append(task)
        return tuple(restored)

    def _known(self, task_id: str) -> Task:
        """The ledger's task; one that the ledger lost is put back, as its file or at least the operation tells it."""
        try:
            return self.queue.get(task_id)
        except NotFound:
            lost = Task(task_id, "(what was asked is lost)", CodeOrigin("file", "lost"), TaskStatus.ACCEPTED)
            self.queue.restore(self.store.remembered(task_id) or lost)
            return self.queue.get(task_id)

    # -- the task's file --------------------------------------------------------------------------------------------

    @contextmanager
    def _workspace(self, task: Task, *, to_write: bool = False, create: bool = False) -> Iterator[Workspace]:
        base = self.project.root if create else None
        with self.store.writing(task, base=base) if to_write else self.store.reading(task.id) as file:
            limit = self.settings.with_options(task.options).limits.file_bytes
            overlay = AgentFSOverlay(file, self.project.root, file_bytes=limit)
            yield Workspace(file, overlay, Journal(file, self._clock))


@contextmanager
def _unless_it_moved(task: Task) -> Iterator[None]:
    """For commands about a task that others may move: what they would have kept in its file is not kept then."""
    try:
        yield
    except TakenOver:
        raise IllegalMove(f"Task {task.id} moved meanwhile; nothing was kept.", fix=f"cairn show {task.id}") from None


def _costs(work: Workspace) -> dict[int, StepCost]:
    spent, seconds = spending_by_step(work.file), work.journal.writing_seconds()
    return {step: StepCost(each, seconds.get(step, 0.0)) for step, each in spent.items()}


def _stale(changed: tuple[str, ...], whole: ChangeSet, taken: Selection, planned: Plan) -> tuple[str, ...]:
    """Without the paths that differ from what the task saw only because part of them was accepted."""
    accepted = {path for change in whole if change.path in taken.paths for path in change.paths}
    edited = set(planned.decided(Decision.MERGE, Decision.CONFLICT))
    return tuple(path for path in changed if path not in accepted or path in edited)


def _require_open_end(journal: Journal, step: int) -> None:
    """Raises UsageProblem unless something can follow the step."""
    steps = journal.steps()
    done, _ = ended(steps)
    last = len(done) - (1 if journal.submission() is not None else 0)
    if not 0 <= step <= last:
        why = f"Its first {last} steps came to an end without submitting." if last else "Its first step ended it."
        raise UsageProblem(f"The task cannot be forked at step {step}.", why, f"--fork N   with N from 0 to {last}")


def _require_checks(settings: Settings, names: Sequence[str]) -> None:
    if not settings.checks:
        raise NotFound(
            "The project has no checks.",
            "None stands in cairn.toml under [checks].",
            ("[checks]", 'tests = "pytest -q"   in cairn.toml adds one; cairn init   proposes some.'),
        )
    for name in names:
        if name not in settings.checks:
            known = ", ".join(settings.checks)
            raise NotFound(f"There is no check '{name}'.", f"The project has: {known}.", "Name one of these.")


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _said_of_interrupted(task: Task) -> str:
    if task.status is TaskStatus.QUEUED:
        return f"Task {task.id} was interrupted: cairn resume {task.id}   goes on where it stopped."
    return f"Task {task.id} was {task.reason}; cairn resume {task.id}   tries it all the same."


def _why(error: Exception) -> str:
    """The line that `cairn list` shows for a task that an error ended."""
    if isinstance(error, CairnError):
        return " ".join([error.what, *error.why.splitlines()[:1]])
    return f"a bug in Cairn: {type(error).__name__}: {error}"

"""Runs programs in the sandbox: checks them without running anything, answers their calls, and ends them for certain.

A program runs in a worker process of its own; a thread of ours drives it from one call to the next, so that the event
loop stays free. The host's own clocks and counters judge every limit.
"""

from __future__ import annotations

import ast
import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from cairn.checked_programs import CheckedPrograms, CheckOf, shared_verdicts
from cairn.dump_key import dump_key
from cairn.held_worker import HeldWorker, StateLost
from cairn.open_files import make_room
from cairn.parsed_program import parse
from cairn.program import (
    Cancelled,
    CodeFailed,
    Crashed,
    ExecutionResult,
    Finished,
    LimitReached,
    Limits,
    Problem,
    ProgramStopped,
    Run,
    Submission,
)
from cairn.program_check import UNCHECKABLE, Conversation
from cairn.program_errors import FOR_PROGRAMS
from cairn.program_lint import beyond_limits, lint, refusal
from cairn.program_rewrite import Rewritten, rewritten
from cairn.program_run import Allowance, AwaitedCall, ProgramRun
from cairn.sandbox_failure import GONE
from cairn.sandbox_worker import SandboxWorker, in_thread
from cairn.session_dump import Conditions, DumpRefused, DumpStore, KeptRun, KeptSession, MemoryDumps, unseal
from cairn.settling import settled, settled_or_cancelled
from cairn.worker_pool import WorkerPool, shared_pool

if TYPE_CHECKING:
    from cairn.external_functions import ExternalFunctions

Rebuild = Callable[["ExecutionSession"], Awaitable[None]]  # runs a task's earlier programs again, from its journal

CHECK_SECONDS = 10.0  # compiling and checking takes milliseconds; one that takes this long never ends
INTERRUPT_SECONDS = 0.5  # Ctrl-C kills the worker at once; our own cancellation follows within this time


class AgentExecutor:
    """Opens conversations with the sandbox under one set of limits. It holds nothing between them.

    All of a process share one pool of workers and what is known of checked programs, unless others are given.
    """

    def __init__(
        self, limits: Limits | None = None, *, pool: WorkerPool | None = None, verdicts: CheckedPrograms | None = None
    ) -> None:
        self.limits = limits or Limits()
        self._pool = pool
        self._verdicts = shared_verdicts() if verdicts is None else verdicts

    @asynccontextmanager
    async def session(
        self,
        functions: ExternalFunctions,
        *,
        now: datetime | None = None,
        seed: int = 0,
        dumps: DumpStore | None = None,
        rebuild: Rebuild | None = None,
        will_be_new: bool = True,
    ) -> AsyncIterator[ExecutionSession]:
        """Variables live from program to program inside. `now` and `seed` are the clock and chance programs see.

        `dumps` keeps the state while another session has the worker; without it this process does. Should it get
        lost, `rebuild` runs the earlier programs again. `will_be_new`: the programs are yet to be written, so the type
        checker is loaded meanwhile.
        """
        make_room()
        conditions = Conditions(functions.stubs, self.limits, now or datetime.now(UTC), seed)
        parts = self._pool or shared_pool(), dumps or MemoryDumps(), self._verdicts
        session = ExecutionSession(self.limits, functions, conditions, *parts, rebuild)
        session.open(check_soon=will_be_new or not self._verdicts)
        try:
            yield session
        finally:
            await session.close()

    async def validate(self, code: str, stubs: str = "") -> tuple[Problem, ...]:
        """Compiles and type-checks one program by itself; nothing runs. `stubs` declare what it may call."""
        async with self.session(_Declared(stubs)) as session:
            return await session.check(code)


@dataclass(frozen=True, slots=True)
class _Declared:
    """Functions that exist only for the checker."""

    stubs: str
    submission: Submission | None = None

    @property
    def files(self) -> NoReturn:
        """Never reached: nothing runs."""
        raise RuntimeError("files were opened while only checking")

    @property
    def names(self) -> frozenset[str]:
        """The functions that the stubs declare."""
        tree = parse(self.stubs) or ast.Module([], [])
        return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))

    def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:  # noqa: ARG002
        """Never reached: nothing runs."""
        raise RuntimeError(f"{name} was called while only checking")


class ExecutionSession:
    """One task's conversation with the sandbox: programs one after the other, whose variables stay.

    While it waits for a call or for its next program its worker may be given to another session; it goes on with
    another one. After a limit, a crash or a cancellation the next program gets a worker without variables.
    """

    def __init__(
        self,
        limits: Limits,
        functions: ExternalFunctions,
        conditions: Conditions,
        pool: WorkerPool,
        dumps: DumpStore,
        verdicts: CheckedPrograms,
        rebuild: Rebuild | None = None,
    ) -> None:
        self.limits = limits
        self._functions = functions
        self._conditions = conditions
        self._deadline = time.monotonic() + limits.wall_seconds
        self._allowance = Allowance(limits)
        self._held = HeldWorker(pool, self._start_worker, conditions, dumps)
        self._dumps = dumps
        self._verdicts = verdicts
        self._conversation = Conversation()
        self._gone: frozenset[str] = frozenset()
        self._rebuild = rebuild
        self._rebuilding: asyncio.Task[Any] | None = None
        self._refused: DumpRefused | None = None
        self._stuck = False
        self._turn = asyncio.Lock()

    # ── opening and closing ──

    def open(self, *, check_soon: bool = True) -> None:
        """Starts a worker in the background if one may be: it is ready before a model has written a program."""
        self._held.warm(check_soon=check_soon)

    def _start_worker(self) -> SandboxWorker:
        stubs = self._conversation.stubs(self._functions.stubs)
        return SandboxWorker.start(self.limits, stubs, now=self._conditions.now, seed=self._conditions.seed)

    async def close(self) -> None:
        """Ends the worker, whatever it is doing."""
        await self._held.end()

    async def keep(self) -> int:
        """Stores the waiting program such that `resume_from` of a later session, or process, goes on with it.

        Called by the very call that the program waits for, which then raises what is not the program's to catch.
        """
        return await self._held.keep()

    async def _ready(self) -> SandboxWorker:
        """The worker between programs. Variables that were lost are made anew by `rebuild`, or are gone."""
        while True:
            try:
                return await self._held.take(_load_between)
            except StateLost as lost:
                self._forget()
                if isinstance(lost.cause, DumpRefused):
                    self._refused = lost.cause
                await self._make_anew()

    async def _make_anew(self) -> None:
        if self._rebuild is None or self._rebuilding is not None:
            return
        self._refused = None
        self._rebuilding = asyncio.current_task()
        try:
            await self._rebuild(self)
        finally:
            self._rebuilding = None

    def _forget(self) -> None:
        self._gone |= self._conversation.names
        self._conversation = Conversation()

    async def _let_rest(self, worker: SandboxWorker, *, keep: bool = True) -> None:
        """Between programs the worker rests; one that died, or is not to be kept, is ended."""
        if keep and worker.alive:
            self._held.rest(self._kept, worker.session.dump)
            return
        self._forget()
        await self._held.end()

    def _kept(self, run: KeptRun | None = None) -> KeptSession:
        talk, left = self._conversation, self._allowance
        names, sources = tuple(sorted(talk.names)), talk.texts
        return KeptSession(
            talk.gate,
            talk.checked,
            names,
            sources,
            talk.feeds,
            left.calls_left,
            left.suspensions_left,
            left.seconds_left,
            run,
        )

    @asynccontextmanager
    async def _taking_turns(self) -> AsyncIterator[None]:
        if self._rebuilding is not None and self._rebuilding is asyncio.current_task():
            yield  # a program that runs again, for one that waits for it
            return
        async with self._turn:
            yield

    # ── checking ──

    async def check(self, code: str) -> tuple[Problem, ...]:
        """Every reason why the program would not run as it is written; nothing of it runs."""
        async with self._taking_turns():
            said = self._known(code)
            beyond = beyond_limits(code, self.limits) if said is None else ()
            return beyond or await self._check(code, said or self._rewritten(code))

    def _rewritten(self, code: str) -> Rewritten:
        return rewritten(code, self._functions.names)

    def _known(self, code: str) -> Rewritten | None:
        """The program as it runs, if this very check was made before, in a fresh sandbox, and found nothing."""
        return self._verdicts.find(self._check_of(code))

    def _check_of(self, code: str) -> CheckOf:
        return CheckOf.of(code, self._functions.names, self._functions.stubs, self.limits)

    async def _check(self, written: str, said: Rewritten) -> tuple[Problem, ...]:
        if said.text == self._conversation.checked:
            return ()
        problems = await self._found(said, known=self._known(written) == said)
        if not problems:
            self._conversation.checked = said.text
            if self._conversation.is_new:  # nothing fed before had a part in it
                self._verdicts.keep(self._check_of(written), said)
        return problems

    async def _found(self, said: Rewritten, *, known: bool) -> tuple[Problem, ...]:
        """What is wrong with it. One that is `known` to pass in a fresh sandbox is only compiled in such a one."""
        refused = () if known else refusal(said.text)
        if refused:
            return refused
        found = () if known else lint(said.text, self._functions.names)
        began = time.monotonic()
        told = await self._checked(said, known=known)
        if told == UNCHECKABLE and time.monotonic() - began < CHECK_SECONDS:  # its worker was ended by somebody else
            told = await self._checked(said, known=known)
        return _merged(found, tuple(self._explained(problem) for problem in told))

    async def _checked(self, said: Rewritten, *, known: bool) -> tuple[Problem, ...]:
        worker = await self._ready()
        known = known and self._conversation.is_new  # making it ready may have run earlier programs again
        try:
            work = in_thread(lambda: self._conversation.check(worker, said, self._functions.names, known=known))
            await settled_or_cancelled(work, worker.kill, CHECK_SECONDS)
            return work.result()
        finally:
            await self._let_rest(worker)

    def _explained(self, problem: Problem) -> Problem:
        unknown = re.search(r"Name '(\w+)' used when not defined", problem.message)
        if unknown and unknown[1] in self._gone and not problem.hint:
            return replace(problem, hint="earlier programs' variables are gone: the sandbox was started anew.")
        return problem

    # ── running ──

    async def execute(self, code: str, *, step: int = 1) -> ExecutionResult:
        """Runs the program to its end, its submission, or the host's. Raises only what is not the program's doing."""
        async with self._taking_turns():
            said = self._known(code)
            if said is None and (beyond := beyond_limits(code, self.limits)):
                return _refused(beyond)
            said = said or self._rewritten(code)
            problems = await self._check(code, said)
            worker = await self._ready()
            if not problems and said.text != self._conversation.checked:  # the checked worker died meanwhile
                problems = await self._check(code, said)
                worker = await self._ready()
            if self._refused is not None:
                refused, self._refused = self._refused, None
                await self._let_rest(worker)
                return Crashed(Run(), f"the earlier programs' variables could not be brought back: {refused}. {GONE}")
            if problems:
                await self._let_rest(worker)
                return _refused(problems)
            return _with_notes(await self._run(worker, said.text, step), said)

    async def _run(self, worker: SandboxWorker, code: str, step: int) -> ExecutionResult:
        run = ProgramRun(self.limits, self._allowance, worker, self._functions, self._conversation, step)
        return await self._driven(run, self._to_the_end(run, lambda: run.begin(code)))

    async def resume_from(self, key: int, answer: Callable[[], object]) -> ExecutionResult:
        """Goes on with a program that another session kept, with what `answer` returns or raises for its call.

        The result is Crashed when the dump cannot be used; the journal can then answer the program from its start.
        """
        async with self._taking_turns():
            try:
                state = await self._adopted(key)
                run = ProgramRun(self.limits, self._allowance, None, self._functions, self._conversation, state.step)
                run.restore(state)
            except DumpRefused as refused:
                return Crashed(Run(), f"the waiting program could not be taken up again: {refused}. {GONE}")
            return await self._driven(run, self._from_there(run, answer))

    async def _adopted(self, key: int) -> KeptRun:
        """This session is the one of the dump from now on."""
        dump = self._dumps.get(key)
        if dump is None:
            raise DumpRefused("it is not there any more")
        work = in_thread(lambda: unseal(dump, self._conditions, dump_key()))
        await settled_or_cancelled(work, lambda: None)
        kept, _ = work.result()
        if kept.run is None:
            raise DumpRefused("no program waits in it")
        await self._held.end()
        self._held.adopt(key)
        self._conversation = Conversation.restored(kept)
        self._allowance.restore(kept.calls_left, kept.suspensions_left, kept.seconds_left)
        return kept.run

    async def _driven(self, run: ProgramRun, way: Coroutine[Any, Any, ExecutionResult]) -> ExecutionResult:
        keep = False
        clock = asyncio.create_task(self._watch_total_seconds(run))
        scope = asyncio.timeout(max(self._deadline - time.monotonic(), 0.0))
        try:
            async with scope:
                result = await way
            keep = isinstance(result, Finished | CodeFailed) and self._functions.submission is None
        except TimeoutError:
            if not scope.expired():
                raise
            result = self._out_of_time(run)
        except ProgramStopped as stop:
            result = stop.reached(run.figures())
        finally:
            if not clock.get_loop().is_closed():  # a loop that was left may end with the process, this in it
                clock.cancel()
            worker = self._held.worker
            if worker is None or not keep:
                self._forget()
                await self._held.end()
            else:
                await self._let_rest(worker)
        if isinstance(result, Cancelled):
            await asyncio.sleep(INTERRUPT_SECONDS)  # Ctrl-C: our own cancellation is on its way
        return result

    async def _watch_total_seconds(self, run: ProgramRun) -> None:
        """The sandbox's own clock knows one program; this one ends it in mid-turn when all of them took too long."""
        while (left := run.total_seconds_left()) > 0:  # noqa: ASYNC110 - time passes, nothing happens
            await asyncio.sleep(left)
        run.stop_at_total_seconds()

    def forget_used(self) -> None:
        """The task's programs run again from the first one on, so what they use is not used twice."""
        self._allowance = Allowance(self.limits)

    def _out_of_time(self, run: ProgramRun) -> ExecutionResult:
        if self._stuck:
            return Crashed(run.figures(), f"an external function did not return. {GONE}", repeatable=False)
        allowed = self.limits.wall_seconds
        return LimitReached(run.figures(), "wall_seconds", allowed, f"the task's time is up. {GONE}")

    async def _to_the_end(self, run: ProgramRun, turn: Callable[[], ExecutionResult | AwaitedCall]) -> ExecutionResult:
        """Turns of a thread, and between them calls that are awaited here, while the worker rests."""
        outcome = await self._turned(run, turn)
        while isinstance(outcome, AwaitedCall):
            await self._answered(run, outcome)
            try:
                await self._held.take(run.move)
            except StateLost as lost:
                return run.lost(lost.cause, repeatable=not self._stuck)
            outcome = await self._turned(run, partial(run.go_on, outcome.result))
        return outcome

    async def _from_there(self, run: ProgramRun, answer: Callable[[], object]) -> ExecutionResult:
        try:
            await self._held.take(run.move)
        except StateLost as lost:
            return run.lost(lost.cause)
        return await self._to_the_end(run, lambda: run.go_on(answer))

    async def _turned(
        self, run: ProgramRun, turn: Callable[[], ExecutionResult | AwaitedCall]
    ) -> ExecutionResult | AwaitedCall:
        work = in_thread(turn)
        try:
            await settled_or_cancelled(work, lambda: run.stop(_stopped))
        except asyncio.CancelledError:
            if work.done() and not work.cancelled() and not work.exception():
                await self._give_up(work.result())
            raise
        finally:
            self._stuck = self._stuck or not work.done()
        return work.result()

    async def _give_up(self, outcome: ExecutionResult | AwaitedCall) -> None:
        """No call goes on for a program that does not."""
        if isinstance(outcome, AwaitedCall) and not outcome.task.done():
            outcome.task.cancel()
            await settled(outcome.task)
            self._stuck = not outcome.task.done()

    async def _answered(self, run: ProgramRun, call: AwaitedCall) -> None:
        """Waits for what the call comes to. Meanwhile the worker rests; should it die, the call is cancelled."""
        self._held.rest(lambda: self._kept(run.kept()), run.image)
        try:
            either: set[asyncio.Future[Any]] = {call.task, self._held.watched()}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._give_up(call)
        if call.task.done() and not call.task.cancelled():
            error = call.task.exception()
            if error is not None and not isinstance(error, FOR_PROGRAMS):
                raise error  # no program's to catch, so it need not be taken up again


def _load_between(worker: SandboxWorker, image: bytes) -> None:
    worker.session.load_session(image)


def _stopped(run: Run) -> Cancelled:
    return Cancelled(run, "the program was stopped")


def _merged(found: tuple[Problem, ...], checked: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """Where both have something to say about a line, the lint says it better."""
    lines = {problem.line for problem in found}
    kept = [*found, *(problem for problem in checked if problem.line not in lines)]
    return tuple(sorted(dict.fromkeys(kept), key=lambda problem: (problem.line, problem.column)))


def _with_notes(result: ExecutionResult, said: Rewritten) -> ExecutionResult:
    notes = tuple(map(str, said.rewrites))
    return replace(result, run=replace(result.run, notes=notes)) if notes else result


def _refused(problems: tuple[Problem, ...]) -> CodeFailed:
    text = "\n".join(map(str, problems))
    return CodeFailed(Run(), "CheckFailed", problems[0].message, problems[0].line, text, problems[0].hint)

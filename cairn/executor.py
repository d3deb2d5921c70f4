"""Runs programs in the sandbox: checks them without running anything, answers their calls, and ends them for certain.

A program runs in a worker process of its own; a thread of ours drives it from one call to the next, so that the event
loop stays free. The host's own clocks and counters judge every limit.
"""

from __future__ import annotations

import ast
import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from cairn.program import (
    Cancelled,
    CodeFailed,
    Crashed,
    ExecutionResult,
    Finished,
    LimitReached,
    Limits,
    Problem,
    Run,
    Submission,
)
from cairn.program_check import Conversation
from cairn.program_lint import lint, parse, refusal
from cairn.program_run import Allowance, ProgramRun
from cairn.sandbox_failure import GONE
from cairn.sandbox_worker import SandboxWorker, in_thread

if TYPE_CHECKING:
    from cairn.external_functions import ExternalFunctions

CHECK_SECONDS = 10.0  # compiling and checking takes milliseconds; one that takes this long never ends
SETTLE_SECONDS = 10.0  # how long a stopped program's last call, which cannot be interrupted, may take to return
INTERRUPT_SECONDS = 0.5  # Ctrl-C kills the worker at once; our own cancellation follows within this time


class AgentExecutor:
    """Opens conversations with the sandbox under one set of limits. It holds nothing between them."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()

    @asynccontextmanager
    async def session(
        self, functions: ExternalFunctions, *, now: datetime | None = None, seed: int = 0
    ) -> AsyncIterator[ExecutionSession]:
        """Variables live from program to program inside. `now` and `seed` are the clock and chance programs see."""
        session = ExecutionSession(self.limits, functions, now=now or datetime.now(UTC), seed=seed)
        session.open()
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

    After a limit, a crash or a cancellation the worker is ended and the next program gets a new one, without variables.
    """

    def __init__(self, limits: Limits, functions: ExternalFunctions, *, now: datetime, seed: int) -> None:
        self.limits = limits
        self._functions = functions
        self._now, self._seed = now, seed
        self._deadline = time.monotonic() + limits.wall_seconds
        self._allowance = Allowance(limits)
        self._worker: SandboxWorker | None = None
        self._opening: asyncio.Future[SandboxWorker] | None = None
        self._conversation = Conversation()
        self._gone: frozenset[str] = frozenset()
        self._turn = asyncio.Lock()

    # ── opening and closing ──

    def open(self) -> None:
        """Starts the worker in the background: it is ready before a model has written the first program."""
        self._conversation = Conversation()
        stubs = self._conversation.stubs(self._functions.stubs)

        def start() -> SandboxWorker:
            worker = SandboxWorker.start(self.limits, stubs, now=self._now, seed=self._seed)
            worker.warm()
            return worker

        self._opening = in_thread(start)

    async def close(self) -> None:
        """Ends the worker, whatever it is doing."""
        opening, self._opening = self._opening, None
        try:
            if opening is not None:
                await _settled(opening)
        finally:
            if opening is not None:
                with suppress(Exception):  # one that did not start needs no ending
                    self._worker = opening.result()
            self._discard()

    def _discard(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None
            self._gone |= self._conversation.names

    async def _ready(self) -> SandboxWorker:
        if self._opening is not None:
            await _settled_or_cancelled(self._opening, lambda: None)
            opening, self._opening = self._opening, None
            self._worker = opening.result()
        if self._worker is not None and not self._worker.alive:
            self._discard()
        if self._worker is None:
            self.open()
            return await self._ready()
        return self._worker

    # ── checking ──

    async def check(self, code: str) -> tuple[Problem, ...]:
        """Every reason why the program would not run as it is written; nothing of it runs."""
        async with self._turn:
            return await self._check(code)

    async def _check(self, code: str) -> tuple[Problem, ...]:
        if code == self._conversation.checked:
            return ()
        refused = refusal(code)
        if refused:
            return refused
        found = lint(code, self._functions.names)
        worker = await self._ready()
        work = in_thread(lambda: self._conversation.check(worker, code, self._functions.names))
        await _settled_or_cancelled(work, worker.kill, CHECK_SECONDS)
        if not worker.alive:
            self._discard()
        problems = _merged(found, tuple(self._explained(problem) for problem in work.result()))
        if not problems:
            self._conversation.checked = code
        return problems

    def _explained(self, problem: Problem) -> Problem:
        unknown = re.search(r"Name '(\w+)' used when not defined", problem.message)
        if unknown and unknown[1] in self._gone and not problem.hint:
            return replace(problem, hint="earlier programs' variables are gone: the sandbox was started anew.")
        return problem

    # ── running ──

    async def execute(self, code: str, *, step: int = 1) -> ExecutionResult:
        """Runs the program to its end, its submission, or the host's. Raises only what is not the program's doing."""
        async with self._turn:
            problems = await self._check(code)
            worker = await self._ready()
            if not problems and code != self._conversation.checked:  # the checked worker died meanwhile
                problems = await self._check(code)
            return _refused(problems) if problems else await self._run(worker, code, step)

    async def _run(self, worker: SandboxWorker, code: str, step: int) -> ExecutionResult:
        run = ProgramRun(self.limits, self._allowance, worker, self._functions, asyncio.get_running_loop())
        work = in_thread(lambda: run.drive(code, self._conversation, step))
        keep = False
        try:
            result = await self._watched(run, work)
            keep = isinstance(result, Finished | CodeFailed) and self._functions.submission is None
        finally:
            if not keep:
                self._discard()
        if isinstance(result, Cancelled):
            await asyncio.sleep(INTERRUPT_SECONDS)  # Ctrl-C: our own cancellation is on its way
        return result

    async def _watched(self, run: ProgramRun, work: asyncio.Future[ExecutionResult]) -> ExecutionResult:
        def out_of_time() -> None:
            allowed = self.limits.wall_seconds
            run.stop(lambda figures: LimitReached(figures, "wall_seconds", allowed, f"the task's time is up. {GONE}"))

        await _settled_or_cancelled(work, out_of_time, max(self._deadline - time.monotonic(), 0.0))
        if not work.done():
            return Crashed(run.figures(), f"an external function did not return. {GONE}", repeatable=False)
        return work.result()


async def _settled_or_cancelled(
    work: asyncio.Future[Any], stop: Callable[[], None], seconds: float | None = None
) -> None:
    """Waits; after `seconds` calls `stop` and waits for what it does. A cancellation stops it likewise, and goes on."""
    try:
        await asyncio.wait({work}, timeout=seconds)
    except asyncio.CancelledError:
        stop()
        await _settled(work)
        raise
    if not work.done():
        stop()
        await _settled(work)


async def _settled(work: asyncio.Future[Any]) -> None:
    """Waits, since what runs in a thread must end first, but not for ever. A cancellation is raised after that."""
    deadline = time.monotonic() + SETTLE_SECONDS
    cancelled: asyncio.CancelledError | None = None
    while not work.done() and time.monotonic() < deadline:
        try:
            await asyncio.wait({work}, timeout=deadline - time.monotonic())
        except asyncio.CancelledError as error:
            cancelled = error
    if work.done() and not work.cancelled():
        work.exception()  # looked at, so that asyncio does not complain about an error nobody asked for
    if cancelled is not None:
        raise cancelled


def _merged(found: tuple[Problem, ...], checked: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """Where both have something to say about a line, the lint says it better."""
    lines = {problem.line for problem in found}
    kept = [*found, *(problem for problem in checked if problem.line not in lines)]
    return tuple(sorted(dict.fromkeys(kept), key=lambda problem: (problem.line, problem.column)))


def _refused(problems: tuple[Problem, ...]) -> CodeFailed:
    text = "\n".join(map(str, problems))
    return CodeFailed(Run(), "CheckFailed", problems[0].message, problems[0].line, text, problems[0].hint)

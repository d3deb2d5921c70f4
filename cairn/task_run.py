"""One task's conversation: a program, what came of it, the next program, until one submits or a limit ends it.

A conversation that was interrupted goes on from its journal: what came to an end is known, and only rebuilds the
sandbox's variables; the step that had no end runs again, its completed calls answered from the journal.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

from cairn.program import (
    AtLimit,
    Cancelled,
    CodeFailed,
    Crashed,
    ExecutionResult,
    Finished,
    LimitReached,
    Limits,
    Program,
    Run,
    Step,
    Unanswered,
)
from cairn.progress import Observer, Recalling, Running, StepEnded, StepStarted
from cairn.recalled_calls import Divergence
from cairn.repetition import REPEATS, repetition
from cairn.task import Task, TaskStatus

if TYPE_CHECKING:
    from cairn.code_generator import CodeSource, GenerationContext
    from cairn.executor import ExecutionSession
    from cairn.journal import Journal

SHOWN_CHARS = 400


@dataclass(frozen=True, slots=True)
class Conversation:
    """The parts of one task's run; `converse` makes them talk."""

    task: Task
    source: CodeSource
    session: ExecutionSession
    journal: Journal
    context: GenerationContext
    observe: Observer
    clock: Callable[[], float] = time.time
    done: list[Step] = field(default_factory=list)

    async def converse(self, limits: Limits, *, used_seconds: float = 0.0) -> ExecutionResult:
        """The result of the last program, or LimitReached for the steps or the wall clock, of which some is used."""
        import asyncio

        seconds, until = limits.wall_seconds - used_seconds, self.task.terms.deadline
        late = until is not None and until - self.clock() < seconds
        if until is not None and late:
            seconds = until - self.clock()
        deadline = asyncio.timeout(max(0.0, seconds))
        try:
            async with deadline:
                return await self._steps(limits)
        except TimeoutError:
            if not deadline.expired():
                raise
            if late:
                return LimitReached(Run(), "deadline", 0, "its deadline passed while it ran")
            return LimitReached(Run(), "wall_seconds", limits.wall_seconds)

    async def _steps(self, limits: Limits) -> ExecutionResult:
        known, open_program = ended(self.journal.steps())
        done = self.done
        done += known
        if done and _submitted(done[-1].result):
            return done[-1].result
        if done or open_program:
            self.observe(Recalling(len(done) + (open_program is not None)))
            await self.rebuild()
        most = limits.steps if self.source.answers else 1
        for number in range(len(done) + 1, most + 1):
            self.observe(StepStarted(number, most))
            try:
                program = open_program or await self.source.code_for(self.task.request, tuple(done), self.context)
            except AtLimit as limit:  # a call of the model that writes programs
                return limit.reached(Run())
            open_program = None
            if program is None:
                break
            result = await self._run(number, program)
            if isinstance(result, LimitReached | Crashed | Cancelled | Unanswered) or _submitted(result):
                return result
            if self.source.answers and (why := repetition(done, self.journal.calls(number))):
                return LimitReached(Run(), REPEATS, 0, f"it repeats itself: {why}")
        else:
            if self.source.answers:
                return LimitReached(Run(), "steps", limits.steps)
        return done[-1].result if done else Finished(Run())

    async def rebuild(self) -> None:
        """The sandbox gets the variables that the ended programs left. Raises Divergence if they end otherwise now."""
        self.session.forget_used()
        current = self.journal.step
        for step in self.done:
            self.journal.recall(step.number)
            result = await self.session.execute(step.program.text, step=step.number)
            if not same_end(result, step.result):
                last = self.journal.calls(step.number)
                number = last[-1].number if last else 0
                raise Divergence(step.number, number, shown_end(step.result), shown_end(result))
            self.journal.require_all_recalled()
        self.journal.recall(current)

    async def _run(self, number: int, program: Program) -> ExecutionResult:
        import asyncio

        started = self.clock()
        self.journal.begin_step(number, program, started)
        self.observe(Running(number))
        try:
            result = await self.session.execute(program.text, step=number)
            if isinstance(result, Crashed) and result.repeatable:  # once more: what it had done is in the journal
                self.observe(Recalling(number))
                await self.rebuild()
                result = await self.session.execute(program.text, step=number)
        except asyncio.CancelledError:
            self.journal.end_step(number, Cancelled(Run(seconds=self.clock() - started), "stopped while it ran"))
            raise
        if isinstance(result, Finished | CodeFailed):
            self.journal.require_all_recalled()
        step = Step(number, program, result, started)
        self.journal.end_step(number, result)
        self.observe(StepEnded(step))
        self.done.append(step)
        return result


def ended(steps: tuple[Step, ...]) -> tuple[list[Step], Program | None]:
    """The steps whose programs came to an end of their own; and the program of the one that something else ended."""
    done = list(steps)
    if done and not isinstance(done[-1].result, Finished | CodeFailed):
        return done[:-1], done[-1].program
    return done, None


def same_end(one: ExecutionResult, other: ExecutionResult) -> bool:
    """True when nothing but the time they took tells two runs of a program apart."""
    return _timeless(one) == _timeless(other)


def _timeless(result: ExecutionResult) -> ExecutionResult:
    return replace(result, run=replace(result.run, seconds=0.0))


def shown_end(result: ExecutionResult) -> str:
    """A program's end with all that must be the same whenever it runs, on one line."""
    return repr(_timeless(result))[:SHOWN_CHARS]


def _submitted(result: ExecutionResult) -> bool:
    return isinstance(result, Finished) and result.submission is not None


def figure(number: float) -> str:
    """A limit as people write it: 0.5, 60, 5,000,000."""
    return f"{number:,.0f}" if number == int(number) else f"{number:g}"


def can_be_raised(limit: str) -> bool:
    """True for a limit of the task's own that its options can raise."""
    own = {each.name for each in fields(Limits)} - {"calls_of", "output_chars"}
    return limit in own or limit.startswith("calls_of.")


def verdict(result: ExecutionResult) -> tuple[TaskStatus, str]:
    """The status a task ends in and the reason shown for it; only a submission leads to a review."""
    match result:
        case Finished(submission=None):
            return TaskStatus.FAILED, "the last program ended without calling submit_result"
        case Finished():
            return TaskStatus.IN_REVIEW, ""
        case CodeFailed(error_type=kind, message=message, line=line):
            where = f" in line {line}" if line else ""
            return TaskStatus.FAILED, f"the program failed{where}: {kind}: {message}"
        case LimitReached(limit="repeats" | "deadline", detail=detail):
            return TaskStatus.FAILED, detail
        case LimitReached(limit=limit, allowed=allowed):
            return TaskStatus.FAILED, f"limit reached: {limit} = {figure(allowed)}"
        case Crashed(detail=detail):
            return TaskStatus.FAILED, f"the sandbox died: {detail}"
        case Cancelled(detail=detail):
            return TaskStatus.CANCELLED, detail
        case Unanswered(detail=detail):
            return TaskStatus.WAITING, f"asks: {detail}"

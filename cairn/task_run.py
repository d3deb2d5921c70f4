"""One task's conversation: a program, what came of it, the next program, until one submits or a limit ends it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cairn.program import (
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
)
from cairn.progress import Observer, Running, StepEnded, StepStarted
from cairn.task import Task, TaskStatus

if TYPE_CHECKING:
    from cairn.code_generator import CodeSource, GenerationContext
    from cairn.executor import ExecutionSession
    from cairn.journal import Journal


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

    async def converse(self, limits: Limits) -> ExecutionResult:
        """The result of the last program, or LimitReached for the steps or the wall clock."""
        deadline = asyncio.timeout(limits.wall_seconds)
        try:
            async with deadline:
                return await self._steps(limits)
        except TimeoutError:
            if not deadline.expired():
                raise
            return LimitReached(Run(), "wall_seconds", limits.wall_seconds)

    async def _steps(self, limits: Limits) -> ExecutionResult:
        done: list[Step] = []
        most = limits.steps if self.source.answers else 1
        for number in range(1, most + 1):
            self.observe(StepStarted(number, most))
            program = await self.source.code_for(self.task.request, tuple(done), self.context)
            if program is None:
                break
            result = await self._run(number, program, done)
            if isinstance(result, LimitReached | Crashed | Cancelled) or _submitted(result):
                return result
        else:
            if self.source.answers:
                return LimitReached(Run(), "steps", limits.steps)
        return done[-1].result if done else Finished(Run())

    async def _run(self, number: int, program: Program, done: list[Step]) -> ExecutionResult:
        started = self.clock()
        self.journal.begin_step(number, program, started)
        self.observe(Running(number))
        try:
            result = await self.session.execute(program.text, step=number)
        except asyncio.CancelledError:
            self.journal.end_step(number, Cancelled(Run(seconds=self.clock() - started), "stopped while it ran"))
            raise
        step = Step(number, program, result, started)
        self.journal.end_step(number, result)
        self.observe(StepEnded(step))
        done.append(step)
        return result


def _submitted(result: ExecutionResult) -> bool:
    return isinstance(result, Finished) and result.submission is not None


def figure(number: float) -> str:
    """A limit as people write it: 0.5, 60, 5,000,000."""
    return f"{number:,.0f}" if number == int(number) else f"{number:g}"


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
        case LimitReached(limit=limit, allowed=allowed):
            return TaskStatus.FAILED, f"limit reached: {limit} = {figure(allowed)}"
        case Crashed(detail=detail):
            return TaskStatus.FAILED, f"the sandbox died: {detail}"
        case Cancelled(detail=detail):
            return TaskStatus.CANCELLED, detail

"""A running task, drawn on stderr: one line that moves on a terminal, a line for each event elsewhere."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from cairn.console import one_line, printable, wants_colour
from cairn.program import (
    CallRecord,
    Cancelled,
    CodeFailed,
    Crashed,
    ExecutionResult,
    Finished,
    LimitReached,
    Unanswered,
)
from cairn.progress import (
    Answered,
    Asking,
    CallMade,
    CheckEnded,
    CheckFailed,
    Checking,
    CheckStarted,
    Event,
    HeldBack,
    Prompted,
    Recalling,
    Running,
    Shortened,
    StepEnded,
    StepStarted,
    Waiting,
    Writing,
)
from cairn.task_run import figure

if TYPE_CHECKING:
    from rich.progress import Progress


SPINNER_AND_CLOCK = 14  # columns beside the moving text


class ProgressLines:
    """Draws a task's events on stderr: a line that moves on a terminal, a line for each elsewhere.

    Events come from the thread that drives the sandbox as well as from the event loop.
    """

    def __init__(self, *, verbose: bool = False, write: Callable[[str], None] | None = None) -> None:
        """`write` gets each line instead of stderr; then what moves on is told only if `verbose`."""
        self._write = write
        self._live = write is None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._colour = wants_colour(sys.stderr, os.environ)
        self._verbose = verbose or (write is None and not self._live)
        self._shows_prompts = verbose
        self._bar: Progress | None = None
        self._lock = threading.Lock()
        self._step = ""
        self._calls = 0

    def __enter__(self) -> Self:
        if self._live:
            from rich.console import Console as Terminal
            from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            terminal = Terminal(stderr=True, highlight=False, markup=False, no_color=not self._colour)
            text = TextColumn("{task.description}", markup=False)
            self._bar = Progress(SpinnerColumn(), text, TimeElapsedColumn(), console=terminal, transient=True)
            self._bar.add_task("starting", total=None)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Takes one event; never raises because of what an event holds, or because nobody reads the lines."""
        with self._lock, suppress(OSError):  # `cairn run ... 2>&1 | head`, a full disk: the task goes on
            if isinstance(event, Prompted):
                self._prompt(event)
            else:
                self._draw(event)

    def _draw(self, event: Event) -> None:
        match event:
            case StepStarted(number, of):
                self._step, self._calls = f"step {number} of {of}" if of > 1 else "program", 0
                self._line(self._step)
            case Asking(model, repair):
                self._moving(f"asking {model}" + (f" to mend its program (repair {repair})" if repair else ""))
            case Writing(characters):
                self._moving(f"the model is writing: {characters:,} characters", quiet=True)
            case Answered(model, seconds, tokens_in, tokens_out):
                tokens = f", {tokens_in:,} tokens in, {tokens_out:,} out" if tokens_in or tokens_out else ""
                self._line(f"  {model} answered in {seconds:.1f} s{tokens}")
            case CheckFailed(problems):
                self._line(f"  check failed: {one_line(str(problems[0]) if problems else '', 160)}")
            case Recalling(steps):
                self._moving(f"going on from the journal: {steps} step{'' if steps == 1 else 's'} so far")
            case Checking() | Running():
                self._moving("running" if isinstance(event, Running) else "checking the program")
            case CallMade(record):
                self._call(record)
            case Waiting() | HeldBack() | Shortened():
                self._line(f"  {_obstacle(event)}")
            case StepEnded(step):
                self._line(f"  {describe_result(step.result)}")
            case CheckStarted() | CheckEnded():
                self._check(event)

    def _check(self, event: CheckStarted | CheckEnded) -> None:
        if isinstance(event, CheckStarted):
            self._moving(f"running the check {event.name}: {event.command}")
        else:
            self._line(f"  check {event.result.name} {event.result.in_words} after {duration(event.result.seconds)}")

    def _prompt(self, told: Prompted) -> None:
        if self._shows_prompts:
            head = f"  told ({told.role}, {len(told.text):,} characters):"
            self._line("\n".join([head, *(f"  | {line}" for line in told.text.splitlines())]))

    def _call(self, record: CallRecord) -> None:
        self._calls += 1
        ending = f"failed: {record.error}" if record.error else record.result
        text = one_line(f"{record.name}({record.arguments}) {ending}", 110)
        if self._verbose:
            self._line(f"  {text}  {duration(record.seconds)}")
        else:
            self._moving(f"running, {self._calls} call{'' if self._calls == 1 else 's'}: {text}")

    def _line(self, text: str) -> None:
        if self._write is not None:
            self._write(text)
        elif self._bar is not None:
            self._bar.console.print(printable(text), soft_wrap=True)
        else:
            print(printable(text), file=sys.stderr, flush=True)

    def _moving(self, text: str, *, quiet: bool = False) -> None:
        if self._bar is not None:
            room = self._bar.console.width - len(self._step) - SPINNER_AND_CLOCK
            self._bar.update(self._bar.task_ids[0], description=f"{self._step}: {one_line(text, max(room, 20))}")
        elif self._write is not None:
            if self._verbose and not quiet:
                self._write(f"  {text}")
        elif not quiet:
            print(f"  {printable(text)}", file=sys.stderr, flush=True)


def _obstacle(event: Waiting | HeldBack | Shortened) -> str:
    if isinstance(event, Shortened):
        return f"too long for {event.model}: {event.characters:,} characters of earlier steps and files are left out"
    seconds = f" {event.seconds:.1f} s" if isinstance(event, Waiting) else ""
    return f"waiting{seconds}: {one_line(event.reason, 160)}"


def duration(seconds: float) -> str:
    """Milliseconds below a second, seconds above."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def describe_result(result: ExecutionResult) -> str:
    """How a program ended, in one line."""
    run = result.run
    used = f"{run.calls} call{'' if run.calls == 1 else 's'}, {duration(run.seconds)}"
    match result:
        case Finished(submission=None):
            return f"ended without submitting ({used})"
        case Finished():
            return f"submitted ({used})"
        case CodeFailed(error_type=kind, message=message, line=line):
            return f"failed: {one_line(message, 140) or kind} ({kind}, line {line}; {used})"
        case LimitReached(limit=limit, allowed=allowed):
            return f"stopped at the limit {limit} = {figure(allowed)} ({used})"
        case Crashed(detail=detail):
            return f"the sandbox died: {one_line(detail, 140)} ({used})"
        case Unanswered(detail=detail):
            return f"waits for an answer: {one_line(detail, 140)} ({used})"
        case Cancelled(detail=detail):
            return f"cancelled: {one_line(detail, 140)} ({used})"

"""What an error from the sandbox means: the program's own fault, a limit, or the end of the worker.

A program can raise errors that look exactly like the sandbox's limits. So a limit counts only when the host's own
evidence says so: its clock, the memory the worker really used, and whether a `raise` in the program made the error.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from cairn.program import Cancelled, CodeFailed, Crashed, ExecutionResult, Finished, LimitReached, Limits, Run
from cairn.program_hints import hint_for

if TYPE_CHECKING:
    from pydantic_monty import Frame, MontyError, MontyRuntimeError, MontySyntaxError

GONE = "The variables of the task's programs are gone; the next program starts afresh."
SHOWN_FRAMES = 12
SHOWN_MESSAGE = 4_000
MEMORY_SHARE = 0.5  # of the limit: a worker that grew by less did not reach its limit bit by bit


@dataclass(frozen=True, slots=True)
class Source:
    """A program as it was fed: the sandbox names it by a number, people by its step."""

    step: int
    tree: ast.Module | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the host itself knows about a program's run."""

    limits: Limits
    seconds: float = 0.0  # spent in the sandbox, by the host's clock
    memory_growth: int = 0  # of the worker during the run, in bytes; 0 where the system does not say
    step: int = 0
    sources: Mapping[str, Source] = field(default_factory=dict)
    functions: frozenset[str] = frozenset()


def outcome(error: Exception, run: Run, evidence: Evidence) -> ExecutionResult:
    """The result of a program that ended with this error of the sandbox."""
    if isinstance(error, ValueError):  # a value that no Python of ours can hold, such as a number of 5,000 digits
        return CodeFailed(run, "ValueError", f"a value cannot be handed over: {_line(str(error))}", hint=GONE)
    translate = _TRANSLATIONS.get(type(error).__name__)
    if translate is None:
        return Crashed(run, f"an unknown failure: {type(error).__name__}: {_line(str(error))}. {GONE}")
    return translate(error, run, evidence)


def _of_runtime(error: MontyRuntimeError, run: Run, evidence: Evidence) -> ExecutionResult:
    # error.exception() is the nearest class of this Python, which may be a base of the one the program saw
    kind, message = error.display("type-msg").partition(":")[0], error.display("msg")
    limits = evidence.limits
    if kind == "TimeoutError" and message.startswith("feed time limit") and evidence.seconds >= limits.seconds:
        return time_limit(run, limits)
    if kind == "MemoryError" and _is_memory_limit(error, message, evidence):
        detail = f"{_line(message)}. {hint_for('memory limit exceeded').capitalize()} {GONE}"
        return LimitReached(run, "memory_mb", limits.memory_mb, detail)
    if kind == "SystemExit" and not message:
        return Finished(run)
    return _failed(error, run, evidence, kind, message)


def _failed(
    error: MontyRuntimeError | MontySyntaxError, run: Run, evidence: Evidence, kind: str, message: str
) -> CodeFailed:
    frames = error.traceback()
    own = [frame.line for frame in frames if _step_of(frame, evidence) == evidence.step]
    message = message[:SHOWN_MESSAGE]
    hint = hint_for(f"{kind}: {message}", evidence.functions)
    return CodeFailed(run, kind, message, own[-1] if own else 0, _traceback(frames, evidence, kind, message), hint)


def _of_syntax(error: MontySyntaxError, run: Run, evidence: Evidence) -> ExecutionResult:
    return _failed(error, run, evidence, "SyntaxError", error.display("msg"))


def _of_crash(error: MontyError, run: Run, evidence: Evidence) -> ExecutionResult:
    limits = evidence.limits
    if getattr(error, "timed_out", False) and evidence.seconds >= limits.seconds:
        return time_limit(run, limits)
    if "signal: 2 " in str(error):  # Ctrl-C reaches every process of the terminal, the worker first
        return Cancelled(run, "the sandbox was interrupted")
    return Crashed(run, f"{_line(str(error))}. {GONE}")


def _of_host(error: MontyError, run: Run, _evidence: Evidence) -> ExecutionResult:
    return Crashed(run, f"{type(error).__name__}: {_line(str(error))}. {GONE}")


def _of_typing(error: MontyError, run: Run, _evidence: Evidence) -> ExecutionResult:
    return CodeFailed(run, "CheckFailed", _line(str(error)))


_TRANSLATIONS: Mapping[str, Callable[..., ExecutionResult]] = MappingProxyType(
    {
        "MontySyntaxError": _of_syntax,
        "MontyRuntimeError": _of_runtime,
        "MontyTypingError": _of_typing,
        "MontyCrashedError": _of_crash,
        "MontyConversionError": _of_host,  # the host hands over plain values only; anything else is its own fault
        "MontyDisconnectError": _of_host,  # these two come from remote workers, which Cairn does not use
        "MontyShutdown": _of_host,
    }
)
"""By name, so that looking at it does not load the sandbox; a test compares it with Monty's own classes."""


def time_limit(run: Run, limits: Limits) -> LimitReached:
    """The program used up its sandbox time."""
    detail = f"the program ran for more than {limits.seconds:g} s in the sandbox. {GONE}"
    return LimitReached(run, "seconds", limits.seconds, detail)


def _is_memory_limit(error: MontyRuntimeError, message: str, evidence: Evidence) -> bool:
    if not re.match(r"memory limit exceeded|the worker exceeded its memory limit", message):
        return False
    frames = error.traceback()
    if not frames:  # no line of the program made it: the worker itself, or the pool, did
        return True
    last = frames[-1]
    source = evidence.sources.get(last.filename)
    if source is None or source.tree is None:  # text given to exec(): only the memory really used tells
        return evidence.memory_growth > MEMORY_SHARE * evidence.limits.memory_mb * 2**20
    return not _raised_there(source.tree, last)


def _raised_there(tree: ast.Module, frame: Frame) -> bool:
    """True when the frame points at what a `raise` raises, or at a handler that raises again.

    A real limit cannot be caught, and points at the expression that ran out of memory.
    """
    for node in ast.walk(tree):
        place = node.type if isinstance(node, ast.ExceptHandler) else None
        if isinstance(node, ast.Raise):
            place = node.exc
        if place is not None and (place.lineno, place.end_lineno) == (frame.line, frame.end_line):
            return True
    return False


# ── the traceback, as the program's author reads it ─────────────────────────────────────────────────────────────────


def _step_of(frame: Frame, evidence: Evidence) -> int:
    source = evidence.sources.get(frame.filename)
    return source.step if source else 0


def _traceback(frames: list[Frame], evidence: Evidence, kind: str, message: str) -> str:
    shown = [_frame_text(frame, evidence) for frame in frames]
    if len(shown) > SHOWN_FRAMES:
        left_out = f"  ... {len(shown) - SHOWN_FRAMES:,} more calls ..."
        shown = [*shown[: SHOWN_FRAMES // 2], left_out, *shown[-SHOWN_FRAMES // 2 :]]
    head = ["Traceback (most recent call last):"] if shown else []
    return "\n".join([*head, *shown, f"{kind}: {message}" if message else kind])


def _frame_text(frame: Frame, evidence: Evidence) -> str:
    step = _step_of(frame, evidence)
    place = "program" if step == evidence.step else f"program of step {step}"
    if not step:
        place = "text given to exec or eval"
    text = f'  File "{place}", line {frame.line}, in {frame.function_name or "<module>"}'
    return f"{text}\n    {frame.source_line.strip()}" if frame.source_line else text


def _line(text: str) -> str:
    return " ".join(text.split())[:SHOWN_MESSAGE].rstrip(".")

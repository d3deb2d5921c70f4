"""Programs and what running one can come to: pure values, no sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limits:
    """What one task may use. The host's own clocks and counters judge each of them; docs/limits.md says how.

    `seconds` is sandbox time per program (time in external functions does not count) and `total_seconds` that of all
    of a task's programs, `wall_seconds` the whole task's real time, `memory_mb` and `recursion` the sandbox's, `calls`
    all external calls of a task, `calls_of` those of single functions, `llm_calls` the questions of ask_llm,
    `bytes_written` what goes into the overlay in all, `files_changed` how many files that may be, `steps` the
    programs a model may write, `repairs` how often one program may be sent back because its check failed,
    `program_chars` and `nesting` how long and how deep a program may be, `output_chars` what one step's printed output
    is cut to before the model sees it, `file_bytes` the largest file read or written. `model_calls`, `input_tokens`,
    `output_tokens` and `money` bound all calls of models together; `money` None means no limit.
    """

    seconds: float = 60.0
    total_seconds: float = 600.0
    wall_seconds: float = 1800.0
    memory_mb: int = 100
    recursion: int = 1000
    calls: int = 20_000
    calls_of: Mapping[str, int] = field(default_factory=dict)
    llm_calls: int = 500
    bytes_written: int = 200_000_000
    files_changed: int = 10_000
    steps: int = 12
    repairs: int = 3
    program_chars: int = 65_536
    nesting: int = 30
    output_chars: int = 8_000
    file_bytes: int = 10_000_000
    model_calls: int = 1_000
    input_tokens: int = 10_000_000
    output_tokens: int = 1_000_000
    money: float | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """Restricted Python for the sandbox, and who wrote it.

    `label` is how people see its origin: a model's id, a file's name, or
    "built-in recipe add_docstrings (no model planned this)". `repairs` counts the answers that were
    sent back before this one passed its check.
    """

    text: str
    label: str
    repairs: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps a program from running, at a line and column counted from 1 (0: unknown).

    `hint` tells a model or a person what to write instead.
    """

    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.message}" + (f". Hint: {self.hint}" if self.hint else "")


@dataclass(frozen=True, slots=True)
class Submission:
    """What a program says it did; never taken as what it did."""

    summary: str
    changed_files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """What every outcome has: how long, how much output, how many calls.

    `output` is the printed text, bounded; `output_dropped` counts the characters that did not fit.
    `seconds` is sandbox plus host time of this program. `notes` say what of it was run in other words.
    """

    output: str = ""
    output_dropped: int = 0
    seconds: float = 0.0
    calls: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """The program ended by itself or at `submit_result`; `submission` is None when it did not submit.

    `value` is the repr of a final expression, or "" for none.
    """

    run: Run
    submission: Submission | None = None
    value: str = ""


@dataclass(frozen=True, slots=True)
class CodeFailed:
    """The program raised, or did not compile. `traceback` is as the program's author should read it."""

    run: Run
    error_type: str
    message: str
    line: int = 0
    traceback: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class LimitReached:
    """The host stopped the program at a limit: a field of `Limits`, "calls_of.NAME", or one of the project's budget."""

    run: Run
    limit: str
    allowed: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The program made a call that a person is asked about; it goes on when there is an answer.

    `call` is its number in the journal, under which the question is kept.
    """

    run: Run
    call: int
    detail: str = ""


class ProgramStopped(Exception):
    """The host ends the program, which cannot catch it, instead of answering its call."""

    def reached(self, run: Run) -> LimitReached | Unanswered:
        """The outcome of the program that asked for it."""
        raise NotImplementedError


class MustAsk(ProgramStopped):
    """A call was not made, because a person has to be asked first."""

    def __init__(self, call: int, detail: str) -> None:
        super().__init__(call, detail)
        self.call = call
        self.detail = detail

    def reached(self, run: Run) -> Unanswered:
        """It waits for the answer."""
        return Unanswered(run, self.call, self.detail)


class AtLimit(ProgramStopped):
    """Something was not done because it would have passed a limit."""

    def __init__(self, limit: str, allowed: float, detail: str = "") -> None:
        super().__init__(limit, allowed, detail)
        self.limit = limit
        self.allowed = allowed
        self.detail = detail

    def reached(self, run: Run) -> LimitReached:
        """The outcome of the program that asked for it."""
        return LimitReached(run, self.limit, self.allowed, self.detail)


@dataclass(frozen=True, slots=True)
class Crashed:
    """The sandbox's worker died; the fault is not known to be the program's.

    `repeatable` is False when a call of it may still be under way, so that the program must not run again now.
    """

    run: Run
    detail: str = ""
    repeatable: bool = True


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A person or a deadline ended the program."""

    run: Run
    detail: str = ""


ExecutionResult = Finished | CodeFailed | LimitReached | Crashed | Cancelled | Unanswered


@dataclass(frozen=True, slots=True)
class Step:
    """One program of a task and what came of it; steps are counted from 1."""

    number: int
    program: Program
    result: ExecutionResult
    started_at: float = 0.0


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One external call as the journal has it. `step` and `number` count from 1; `number` runs over the
    whole task. `arguments` and `result` are short texts for people; `error` is "" when the call returned.
    """

    number: int
    step: int
    name: str
    arguments: str
    result: str = ""
    error: str = ""
    started_at: float = 0.0
    seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0

"""What a running task tells whoever watches: plain events, drawn elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cairn.checks import CheckResult
from cairn.lacks import Lack
from cairn.program import CallRecord, Problem, Step


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A new program is wanted; `of` is the step limit."""

    number: int
    of: int


@dataclass(frozen=True, slots=True)
class Asking:
    """A model is asked for a program. `repair` counts the answers already sent back."""

    model: str
    repair: int


@dataclass(frozen=True, slots=True)
class Prompted:
    """What a model is told next; `role` is "system" or "user"."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Writing:
    """The model is writing; `characters` so far."""

    characters: int


@dataclass(frozen=True, slots=True)
class Answered:
    """A model answered; tokens are 0 where the provider sent none."""

    model: str
    seconds: float
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Shortened:
    """A conversation was too long for its model; it is told so many characters less of it from now on."""

    model: str
    characters: int


@dataclass(frozen=True, slots=True)
class Checking:
    """A program is compiled and type-checked; nothing runs."""


@dataclass(frozen=True, slots=True)
class CheckFailed:
    """The check found problems; they go back to the model while its repair budget lasts."""

    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Recalling:
    """A task goes on: what its first `steps` programs came to is known, and rebuilt from the journal."""

    steps: int


@dataclass(frozen=True, slots=True)
class Running:
    """A program runs."""

    step: int


@dataclass(frozen=True, slots=True)
class CallMade:
    """An external call returned or failed, and is in the journal."""

    record: CallRecord


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing happens for `seconds`, and why."""

    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Nothing happens until other tasks have ended or given back what they reserved; `reason` says what."""

    reason: str


@dataclass(frozen=True, slots=True)
class CheckStarted:
    """A command of the project runs over the task's files."""

    name: str
    command: str


@dataclass(frozen=True, slots=True)
class CheckEnded:
    """It ended, and what it came to is kept."""

    result: CheckResult


@dataclass(frozen=True, slots=True)
class StepEnded:
    """A program ended, one way or another."""

    step: Step


@dataclass(frozen=True, slots=True)
class CannotAsk:
    """The task needs a model that cannot be asked where it runs; it goes back to the queue, for other workers."""

    lack: Lack


@dataclass(frozen=True, slots=True)
class CanAsk:
    """A model answered; `model` is the name under which tasks would wait for it."""

    model: str


Event = (
    StepStarted
    | Asking
    | Prompted
    | Writing
    | Answered
    | Shortened
    | Checking
    | CheckFailed
    | Recalling
    | Running
    | CallMade
    | Waiting
    | HeldBack
    | CheckStarted
    | CheckEnded
    | StepEnded
    | CannotAsk
    | CanAsk
)
Observer = Callable[[Event], None]


def unobserved(_event: Event) -> None:
    """An observer that watches nothing."""

"""What `cairn work` and its worker processes say to each other: a line of JSON each, made and parsed here alone."""

from __future__ import annotations

from dataclasses import dataclass

from cairn.message_lines import parts_of


@dataclass(frozen=True, slots=True)
class RunTask:
    """To a worker: this task is yours, under this attempt. `tries` are models that were lacking when last asked."""

    task: str
    attempt: int
    tries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StopNow:
    """To a worker: give your task back as it is, and end."""


@dataclass(frozen=True, slots=True)
class Ready:
    """From a worker, which tells its process number: everything is loaded; the first task would start at once."""

    pid: int


@dataclass(frozen=True, slots=True)
class Told:
    """From a worker: a line of progress for people."""

    task: str
    text: str


@dataclass(frozen=True, slots=True)
class Lacks:
    """From a worker, before its task ends: that needs a model that cannot be asked here. As `Lack` has it."""

    model: str
    wants: str
    why: str
    fix: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Has:
    """From a worker: a model that was lacking has answered."""

    model: str


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """From a worker: it has nothing to do any more. `status` is what the ledger says of the task then.

    `lost`: another process took the task over meanwhile, and has it.
    """

    task: str
    status: str
    reason: str
    changes: str = ""
    seconds: float = 0.0
    lost: bool = False


Message = RunTask | StopNow | Ready | Told | Lacks | Has | TaskEnded
_KINDS: dict[str, type[Message]] = {
    each.__name__: each for each in (RunTask, StopNow, Ready, Told, Lacks, Has, TaskEnded)
}


def from_line(line: bytes) -> Message:
    """The message that `to_line` made it of."""
    kind, values = parts_of(line)
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return _KINDS[kind](**values)

"""What the DBOS engine and its process say to each other: a line of JSON each, made and parsed here alone."""

from __future__ import annotations

from dataclasses import dataclass

from cairn.message_lines import parts_of

SCHEMA = "cairn_engine"  # where DBOS keeps its tables, in the ledger's database


@dataclass(frozen=True, slots=True)
class Setup:
    """To the process, first: where to dispatch. Not among its arguments, which anybody on the machine can read."""

    url: str
    queue: str
    executor: str
    at_once: int | None
    starts_per_minute: int | None


@dataclass(frozen=True, slots=True)
class Ready:
    """To the process: a task that may start, as it is dispatched; the smaller `rank` comes first.

    `models` are those that whoever runs it has to have.
    """

    task: str
    attempt: int
    rank: int
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """To the process: these should be dispatched, `room` of any may run here, and these executors live.

    Tasks of the models `without` are for other processes.
    """

    ready: tuple[Ready, ...]
    room: int
    executors: tuple[str, ...]
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """To the process: nothing runs under this dispatch any more, or ever did."""

    task: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Up:
    """From the process: it is connected, and takes what it is told to."""


@dataclass(frozen=True, slots=True)
class Offered:
    """From the process: this task is this crew's, if the ledger agrees. It waits for `Done`."""

    task: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """From the process: it cannot go on, and ends."""

    why: str


Message = Setup | Wanted | Done | Up | Offered | Trouble
_KINDS: dict[str, type[Message]] = {each.__name__: each for each in (Setup, Wanted, Done, Up, Offered, Trouble)}


def from_line(line: bytes) -> Message:
    """The message that `to_line` made it of."""
    kind, values = parts_of(line)
    if kind == Wanted.__name__:
        ready = tuple(Ready(**{**each, "models": tuple(each["models"])}) for each in values["ready"])
        return Wanted(ready, values["room"], tuple(values["executors"]), tuple(values["without"]))
    return _KINDS[kind](**values)

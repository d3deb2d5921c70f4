"""A task, its statuses, and the legal moves between them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from cairn.errors import IllegalMove

ID_LETTERS = "bcdfghjklmnpqrstvwxz"  # no vowels: an id never spells a word, and never looks like a number
ID_LENGTH = 6
MAX_ATTEMPTS = 3


class TaskStatus(StrEnum):
    """Where a task stands; the value is the word shown to people and kept in the ledger."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    IN_REVIEW = "in review"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"


_S = TaskStatus
MOVES: Mapping[TaskStatus, frozenset[TaskStatus]] = MappingProxyType(
    {
        _S.QUEUED: frozenset({_S.RUNNING, _S.CANCELLED, _S.FAILED}),
        _S.RUNNING: frozenset({_S.IN_REVIEW, _S.FAILED, _S.CANCELLED, _S.QUEUED, _S.WAITING}),
        _S.WAITING: frozenset({_S.QUEUED, _S.CANCELLED, _S.FAILED}),
        _S.IN_REVIEW: frozenset({_S.ACCEPTED, _S.REJECTED}),
        _S.ACCEPTED: frozenset({_S.IN_REVIEW}),  # undo
        _S.REJECTED: frozenset({_S.IN_REVIEW}),  # a rejection taken back
        _S.FAILED: frozenset({_S.QUEUED}),  # resumed
        _S.CANCELLED: frozenset({_S.QUEUED}),
    }
)

OPEN: frozenset[TaskStatus] = frozenset({_S.QUEUED, _S.RUNNING, _S.WAITING, _S.IN_REVIEW})


@dataclass(frozen=True, slots=True)
class CodeOrigin:
    """Where a task's programs come from, fixed when the task is submitted.

    `source` names a code source ("model", "file" or "recipe"). `name` is the model's id, the file's
    name or the recipe's name. `program` is the text of a given file, kept with the task so that a retry
    needs no file. `parameters` are a recipe's.
    """

    source: str
    name: str
    program: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished task left, in the few figures a list shows.

    `money` is what calls of models cost, None when a price is not known; `estimated` counts the calls whose tokens are
    an estimate.
    """

    summary: str = ""
    files_changed: int = 0
    lines_added: int = 0
    lines_removed: int = 0
    steps: int = 0
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    money: float | None = 0.0
    estimated: int = 0
    checks: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """When a queued task may run, before which others, and what becomes of it then. Times are seconds since the epoch.

    Higher `priority` first. `key` names the same thing to do: while a task of it is unfinished, no other is added. It
    is started in vain `max_attempts` times at most. It comes `after` others, by their ids, once those are accepted.
    `accepts`: its changes are accepted at once, if nothing conflicts or is dangerous. `group` names the variants it is
    one of, by the id of the first.
    """

    priority: int = 0
    not_before: float = 0.0
    deadline: float | None = None
    key: str | None = None
    max_attempts: int = MAX_ATTEMPTS
    tags: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    accepts: bool = False
    group: str | None = None

    def again(self) -> Terms:
        """Those of the same task done anew: now, for nobody's key, and no variant of others."""
        return replace(self, not_before=0.0, deadline=None, key=None, after=(), group=None)


@dataclass(frozen=True, slots=True)
class PutOff:
    """Why and until when a task that ran is queued again. `in_vain` is what it counts from now on."""

    reason: str
    not_before: float = 0.0
    in_vain: int = 0
    waits_for: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """What a person asked for. Times are seconds since the epoch, UTC.

    `reason` says why a task is failed, rejected, cancelled or waiting, in one line. `options` are the settings given
    for this task alone, by their dotted names ("limits.seconds"); they hold when it is resumed too. `model` writes its
    programs; "" for none. It was started `in_vain` so often since a person last looked: its worker died, or what it
    needed was not there. Then it `waits_for` a model, if it is one that was missing.
    `base` is the git commit it works on, COMMIT or COMMIT:FOLDER; "" for the files as they are on disk.
    """

    id: str
    request: str
    origin: CodeOrigin
    status: TaskStatus = TaskStatus.QUEUED
    reason: str = ""
    attempt: int = 0
    created_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    retry_of: str | None = None
    outcome: Outcome = field(default_factory=Outcome)
    options: Mapping[str, str] = field(default_factory=dict)
    terms: Terms = field(default_factory=Terms)
    model: str = ""
    in_vain: int = 0
    waits_for: str = ""
    base: str = ""

    @property
    def models(self) -> tuple[str, ...]:
        """Those that whoever runs it has to have, as far as that is known before it runs."""
        return tuple(dict.fromkeys(name for name in (self.model, self.waits_for) if name))

    def moved_to(self, status: TaskStatus, *, reason: str = "") -> Task:
        """The same task in another status. Raises IllegalMove where `MOVES` has no such move."""
        require_move(self.id, self.status, status)
        return replace(self, status=status, reason=reason)


def require_move(task_id: str, now: TaskStatus, wanted: TaskStatus) -> None:
    """Raises IllegalMove, with the way out, unless `MOVES` allows `now` to become `wanted`."""
    if wanted in MOVES[now]:
        return
    what = f"{now} already" if now is wanted else f"{now}, so it cannot become {wanted}"
    raise IllegalMove(
        f"Task {task_id} is {what}.",
        fix=_WAY_OUT[now].format(id=task_id),
    )


_WAY_OUT: Mapping[TaskStatus, str] = MappingProxyType(
    {
        _S.QUEUED: "cairn list   shows when it has run.",
        _S.RUNNING: "cairn show {id}   shows how far it is.",
        _S.WAITING: "cairn answer {id}   answers what it asks.",
        _S.IN_REVIEW: "cairn diff {id}   then accept or reject it.",
        _S.ACCEPTED: "cairn undo {id}   takes it back first.",
        _S.REJECTED: "cairn undo {id}   brings it back; cairn retry {id}   runs it again from today's files.",
        _S.FAILED: "cairn show {id}   says why; cairn resume {id}   goes on, cairn retry {id}   starts anew.",
        _S.CANCELLED: "cairn resume {id}   goes on where it stopped; cairn retry {id}   starts anew.",
    }
)


def new_id(rng: random.Random) -> str:
    """A task id of six consonants: 64 million of them, typed without a shift key."""
    return "".join(rng.choice(ID_LETTERS) for _ in range(ID_LENGTH))

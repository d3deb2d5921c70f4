"""Models that a crew cannot ask where it runs, for want of a key or a plug-in: it leaves their tasks to others.

A key, and what `llm` knows, are one machine's, so that such a failure says nothing of the other machines. After a while
one task tries the model again, for a key may have been set meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from cairn.errors import KeyMissing, KeyRefused, ModelUnavailable
from cairn.task import Task

LONGEST_SECONDS = 3600.0
UNNAMED = "the model behind ask_llm"  # where nobody named one, each worker has its own


class Wants(StrEnum):
    """What a worker would need."""

    KEY = "a worker with a key for"
    MODEL = "a worker that can ask"


@dataclass(frozen=True, slots=True)
class Lack:
    """A model that cannot be asked here, and what a person can do about it, as lines of a `CairnError`."""

    model: str
    wants: Wants
    why: str
    fix: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: str, problem: ModelUnavailable) -> Lack:
        """`model` is the name by which tasks wait for it."""
        whole = " ".join([problem.what, *problem.why.splitlines()[:1]])
        match problem:
            case KeyMissing():
                return cls(model, Wants.KEY, problem.why, problem.fix)
            case KeyRefused():
                return cls(model, Wants.KEY, whole, problem.fix)
        return cls(model, Wants.MODEL, whole, problem.fix)

    def in_words(self) -> str:
        """What keeps a task from starting while no worker is without this lack."""
        return f"needs {self.wants} {self.model}: {self.why.rstrip('.')}"

    def of_its_tasks(self) -> str:
        """The same of all that need it, for a list of what is wrong."""
        return f"tasks of {self.model} wait for {self.wants} it: {self.why.rstrip('.')}"

    @property
    def ways_out(self) -> tuple[str, ...]:
        """For a person, who need not be where the worker is."""
        first, *more = self.fix or ("Start a worker that has what it takes:  cairn work",)
        where = f"{first}   where a worker runs." if self.wants is Wants.KEY and "   " not in first else first
        return (where, *more, f"cairn resume --model '{self.model}'   has running workers try it at once.")


def asked_as(task: Task, text_model: str | None) -> Mapping[str, str]:
    """Under which name a task waits for what writes its programs, and for what answers its questions.

    The same on every worker, whatever each has of its own: else a task would go from one to another and back.
    """
    return {
        "program": task.model or task.origin.name,
        "question": text_model or task.model or UNNAMED,
    }


@dataclass(slots=True)
class _Closed:
    until: float
    failures: int


class Lacks:
    """What one crew lacks: which models' tasks it leaves alone at a moment. Times are those of the ledger's clock."""

    def __init__(self, first_seconds: float) -> None:
        self._first = first_seconds
        self._closed: dict[str, _Closed] = {}

    def __bool__(self) -> bool:
        return bool(self._closed)

    def begin(self, model: str, now: float) -> float:
        """Until when its tasks are left alone: longer each time in a row."""
        closed = self._closed.get(model)
        if closed is None:
            closed = self._closed[model] = _Closed(now, 0)
        if closed.until <= now:  # else another task of it was under way
            closed.failures += 1
            closed.until = now + min(self._first * 2 ** min(closed.failures - 1, 30), LONGEST_SECONDS)
        return closed.until

    def end(self, model: str) -> bool:
        """It can be asked; False if it was not lacking."""
        return self._closed.pop(model, None) is not None

    def retry(self, now: float) -> None:
        """Each of them is tried by the next task that needs it."""
        for closed in self._closed.values():
            closed.until = min(closed.until, now)

    def keep(self, models: Collection[str]) -> None:
        """Those that are not among these are forgotten."""
        self._closed = {model: closed for model, closed in self._closed.items() if model in models}

    def shut(self, now: float, running: Collection[str]) -> tuple[str, ...]:
        """The models whose tasks the crew does not take now. `running` are those of the tasks that it runs.

        Of a model that it tries again one task runs at first.
        """
        return tuple(sorted(model for model, closed in self._closed.items() if closed.until > now or model in running))

    def tries(self, model: str) -> bool:
        """True where a task of that model, started now, would find out."""
        return model in self._closed

"""When a run that could not go on is tried again, by the ledger's clock; what only this machine lacks is told."""

from __future__ import annotations

from collections.abc import Callable

from cairn.day_budget import day_of
from cairn.errors import CairnError, ModelUnavailable, in_one_line
from cairn.lacks import Lack, asked_as
from cairn.program import ExecutionResult
from cairn.progress import CannotAsk, Observer
from cairn.putting_off import after_failure, after_limit, after_placing_failed
from cairn.run_parts import Parts
from cairn.settings import Settings
from cairn.task import PutOff, Task


class Postponing:
    """For tasks of which nobody waits for the end; None where trying again would not help."""

    def __init__(self, settings: Settings, parts: Parts, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._parts = parts
        self._clock = clock

    def after_placing_failed(self, task: Task, error: Exception) -> PutOff | None:
        """When to fetch again what the task works on."""
        return after_placing_failed(task, error, self._clock()) if isinstance(error, CairnError) else None

    def after_limit(self, task: Task, result: ExecutionResult) -> PutOff | None:
        """When a limit that the task ran into is another one: the day's budget begins anew at midnight."""
        return after_limit(task, result, day_of(self._clock())[1])

    def after_error(self, task: Task, error: Exception, observe: Observer) -> PutOff | None:
        """When to try again after an error; at once, by another worker, where a model cannot be asked here."""
        if isinstance(error, ModelUnavailable):
            lack = Lack.of(self._missing_model(task, self._settings.with_options(task.options)), error)
            observe(CannotAsk(lack))
            return PutOff(in_one_line(error), in_vain=task.in_vain, waits_for=lack.model)
        return after_failure(task, error, self._clock())

    def _missing_model(self, task: Task, settings: Settings) -> str:
        """The model that kept the task from starting: the one that writes its programs, else the one for ask_llm."""
        names = asked_as(task, settings.text_model)
        try:
            self._parts.source(task.origin, settings)
        except CairnError:
            return names["program"]
        return names["question"]

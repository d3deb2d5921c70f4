"""When a run that could not go on is tried again, by the ledger's clock; a model that no task can use is paused."""

from __future__ import annotations

from collections.abc import Callable

from cairn.day_budget import day_of
from cairn.errors import CairnError, in_one_line
from cairn.model_pauses import concerns_all_tasks
from cairn.model_use import ModelUse
from cairn.program import ExecutionResult
from cairn.putting_off import after_failure, after_limit, after_placing_failed
from cairn.run_parts import Parts
from cairn.settings import Settings
from cairn.task import PutOff, Task


class Postponing:
    """For tasks of which nobody waits for the end; None where trying again would not help."""

    def __init__(self, settings: Settings, parts: Parts, model_use: ModelUse, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._parts = parts
        self._model_use = model_use
        self._clock = clock

    def after_placing_failed(self, task: Task, error: Exception) -> PutOff | None:
        """When to fetch again what the task works on."""
        return after_placing_failed(task, error, self._clock()) if isinstance(error, CairnError) else None

    def after_limit(self, task: Task, result: ExecutionResult) -> PutOff | None:
        """When a limit that the task ran into is another one: the day's budget begins anew at midnight."""
        return after_limit(task, result, day_of(self._clock())[1])

    def after_error(self, task: Task, error: Exception) -> PutOff | None:
        """When to try again after an error; a model that no task can use now is paused."""
        settings = self._settings.with_options(task.options)
        if isinstance(error, CairnError) and concerns_all_tasks(error):
            model = self._missing_model(task, settings)
            with self._model_use.pauses(settings) as pauses:
                pauses.begin(model, error)
            return PutOff(in_one_line(error), in_vain=task.in_vain, waits_for=model)
        return after_failure(task, error, self._clock())

    def _missing_model(self, task: Task, settings: Settings) -> str:
        """The model that kept the task from starting: the one that writes its programs, else the one for ask_llm."""
        try:
            self._parts.source(task.origin, settings)
        except CairnError:
            return task.model or task.origin.name
        return settings.text_model or task.model or "the model behind ask_llm"

"""What the tasks of a project may ask of models: the day's budget, which models are paused, and each task's account."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cairn.ledger_place import LedgerPlace
from cairn.model_pauses import ModelPauses
from cairn.progress import Observer
from cairn.task import Task
from cairn.task_owner import Owner
from cairn.task_spending import ModelCall, keep_model_call, task_spending
from cairn.task_work import Work

if TYPE_CHECKING:
    from cairn.day_budget import DayBudget
    from cairn.metered_model import Account, PausedModels
    from cairn.metering import Spent
    from cairn.settings import Settings


class ModelUse:
    """What holds for all tasks is in the ledger, and what one spent in its file."""

    def __init__(self, place: LedgerPlace, settings: Settings, clock: Callable[[], float]) -> None:
        self._place = place
        self._settings = settings
        self._clock = clock

    def day_budget(self, settings: Settings) -> DayBudget:
        """What the project's tasks may spend on models today, and have spent."""
        from cairn.day_budget import DayBudget
        from cairn.metered_model import ceilings_of_day

        ceilings = ceilings_of_day(settings.budget.tokens_per_day, settings.budget.money_per_day)
        owner = str(Owner.this_process())
        return DayBudget(self._place, ceilings, owner, rates=settings.rates, clock=self._clock)

    def pauses(self, settings: Settings | None = None) -> ModelPauses:
        """Which models the project's tasks do not ask now."""
        first = (settings or self._settings).retry.pause_seconds
        return ModelPauses(self._place, first, clock=self._clock)

    def account(
        self,
        task: Task,
        work: Work,
        of_all: tuple[DayBudget, PausedModels],
        settings: Settings,
        observe: Observer,
    ) -> Account:
        """What the task's calls of models are counted on: each is kept in its file, by whoever holds it."""
        from cairn.metered_model import Account

        def keep(model: str, purpose: str, spent: Spent) -> None:
            step = work.journal.step + (purpose == "program")  # the program that is asked for belongs to the next one
            with work.file.transaction():
                work.journal.require_held()
                keep_model_call(work.file, ModelCall(step, purpose, model, spent, self._clock()))

        before = task_spending(work.file)
        limits = settings.limits.limits()
        day, paused = of_all
        return Account(
            limits, settings.prices, keep, spent=before, day=day, paused=paused, task=task.id, observe=observe
        )

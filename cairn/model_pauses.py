"""Which models are not asked now, and why: kept in the ledger, for all processes of a project.

A model whose account has no quota fails every task that needs it, wherever that runs. So the first failure pauses it,
and its tasks stay queued. After the pause one task tries it; an answer ends the pause, another failure makes it twice
as long. What only one machine lacks, as a key, pauses nothing: see `cairn.lacks`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from cairn.errors import CairnError, ModelCallFailed
from cairn.ledger_database import LedgerTables
from cairn.ledger_place import LedgerPlace
from cairn.task_holds import PAUSES, Pause

LONGEST_SECONDS = 3600.0


def concerns_all_tasks(error: BaseException) -> bool:
    """True for what no other task of the same model would be spared, on whatever machine: no quota."""
    return isinstance(error, ModelCallFailed) and error.no_quota


class ModelPauses(LedgerTables):
    """The pauses of one project; safe for many processes at once. Raises StorageProblem as the ledger does."""

    def __init__(
        self, ledger: Path | LedgerPlace, first_seconds: float, *, clock: Callable[[], float] | None = None
    ) -> None:
        super().__init__(ledger, clock=clock)
        self._first = first_seconds

    def begin(self, model: str, error: CairnError) -> Pause:
        """The model is asked no more for a while, longer each time in a row."""
        return self._db.write(partial(self._begin, model, error))

    def _begin(self, model: str, error: CairnError) -> Pause:
        now = self.clock()
        row = self._db.execute("SELECT until, failures, reason FROM pause WHERE model = ?", (model,)).first()
        if row is not None and row[0] > now:  # a call that was under way when another one failed
            return Pause(model, row[0], row[2], row[1])
        failures = 1 if row is None else row[1] + 1
        asked = getattr(error, "retry_after", None) or 0.0
        seconds = max(min(self._first * 2 ** min(failures - 1, 30), LONGEST_SECONDS), asked)
        reason = " ".join([error.what, *error.why.splitlines()[:1]])
        self._db.execute(
            "INSERT INTO pause (model, until, reason, failures, since) VALUES (?, ?, ?, ?, ?) ON CONFLICT (model)"
            " DO UPDATE SET until = excluded.until, reason = excluded.reason, failures = excluded.failures",
            (model, now + seconds, reason, failures, now),
        )
        return Pause(model, now + seconds, reason, failures)

    def end(self, model: str) -> bool:
        """The model is asked again; False when it was not paused."""
        if self._db.execute("SELECT 1 FROM pause WHERE model = ?", (model,)).first() is None:
            return False
        return self._db.execute("DELETE FROM pause WHERE model = ?", (model,)).count == 1

    def of(self, model: str) -> Pause | None:
        """The model's pause while it lasts; None for a model that may be asked."""
        found = next((pause for pause in self.every() if pause.model == model), None)
        return found if found is not None and found.until > self.clock() else None

    def every(self) -> tuple[Pause, ...]:
        """All of them, those too that one task is about to end."""
        return tuple(Pause(*row) for row in self._db.execute(PAUSES).rows)

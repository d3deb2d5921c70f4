"""What each crew lacks, kept in the ledger for people; and one crew's own account of it, by which it takes tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from cairn.lacks import Lack, Lacks, Wants
from cairn.ledger_database import LedgerDatabase

_COLUMNS = "crew, model, wants, why, fix, since, until"


@dataclass(frozen=True, slots=True)
class CrewLack:
    """One crew and a model that it cannot ask, and until when it takes none of its tasks."""

    crew: str
    lack: Lack
    until: float


def every_lack(database: LedgerDatabase) -> tuple[CrewLack, ...]:
    """Of all crews, those that ended too, until a further one begins."""
    rows = database.execute(f"SELECT {_COLUMNS} FROM lack ORDER BY crew, model").rows  # noqa: S608 - words of the code
    return tuple(
        CrewLack(crew, Lack(model, Wants(wants), why, tuple(fix.splitlines())), until)
        for crew, model, wants, why, fix, _since, until in rows
    )


def ask_again(database: LedgerDatabase, model: str) -> bool:
    """Every crew tries the model with its next task, if it lacked it; False if none did."""
    return database.execute("DELETE FROM lack WHERE model = ?", (model,)).count > 0


class CrewLacks:
    """What one crew lacks. `settings` tells when what `llm` finds on this machine may have changed.

    Only where something is lacking does it cost anything.
    """

    def __init__(
        self,
        crew: str,
        database: LedgerDatabase,
        clock: Callable[[], float],
        first_seconds: float,
        settings: Callable[[], object],
    ) -> None:
        self._crew = crew
        self._db = database
        self._clock = clock
        self._lacks = Lacks(first_seconds)
        self._settings = settings
        self._seen: object = None

    def open(self, living: Collection[str]) -> None:
        """The crew begins: what crews lacked that are gone says nothing any more."""
        for crew in {each.crew for each in every_lack(self._db)} - set(living):
            self._db.execute("DELETE FROM lack WHERE crew = ?", (crew,))

    def begin(self, lack: Lack, carried: str = "") -> float:
        """Until when the crew takes no task of that model. `carried`: what the task had been put off for before.

        Where workers have models of their own for questions, a task could else go from one to the other for ever.
        """
        now = self._clock()
        if not self._lacks:
            self._seen = self._settings()
        if carried and carried != lack.model:
            why = f"its questions go to {lack.model} here: {lack.why}"
            self._keep(Lack(carried, Wants.MODEL, why, lack.fix), now, self._lacks.begin(carried, now))
        until = self._lacks.begin(lack.model, now)
        self._keep(lack, now, until)
        return until

    def _keep(self, lack: Lack, now: float, until: float) -> None:
        self._db.execute(
            f"INSERT INTO lack ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (crew, model) DO UPDATE SET"  # noqa: S608
            " wants = excluded.wants, why = excluded.why, fix = excluded.fix, until = excluded.until",
            (self._crew, lack.model, str(lack.wants), lack.why, "\n".join(lack.fix), now, until),
        )

    def end(self, model: str) -> None:
        """It was asked here and answered."""
        if self._lacks.end(model):
            self._db.execute("DELETE FROM lack WHERE crew = ? AND model = ?", (self._crew, model))

    def look(self) -> None:
        """Tries again at once what a person said should be, and everything when `llm` finds other settings here."""
        if not self._lacks:
            return
        found = self._settings()
        if found != self._seen:
            self._seen = found
            self._lacks.retry(self._clock())
        rows = self._db.execute("SELECT model FROM lack WHERE crew = ?", (self._crew,)).rows
        self._lacks.keep({model for (model,) in rows})

    def shut(self, running: Collection[str] = (), *, ahead: float = 0.0) -> tuple[str, ...]:
        """The models whose tasks are left to others now, or so many seconds `ahead`."""
        return self._lacks.shut(self._clock() + ahead, running) if self._lacks else ()

    def tries(self, models: Collection[str]) -> tuple[str, ...]:
        """Those of them that a task which starts now tries."""
        return tuple(model for model in models if self._lacks.tries(model))

    def __bool__(self) -> bool:
        return bool(self._lacks)

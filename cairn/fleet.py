"""Which crews work on a project: each says every few seconds in the ledger that it is there, and with whom.

So a team sees its fleet, and an engine knows whose dispatches nobody will end any more.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cairn.errors import StorageProblem
from cairn.ledger_answer import Order
from cairn.ledger_database import LedgerTables
from cairn.ledger_place import LedgerPlace
from cairn.task_holds import SILENT_SECONDS
from cairn.task_owner import Owner

BEAT_SECONDS = 5.0
_FORGOTTEN_SECONDS = 86_400.0
_COLUMNS = "id, owner, version, engine, executor, size, members, stopping, started_at, beat_at"


@dataclass(frozen=True, slots=True)
class SeenCrew:
    """One `cairn work` as it last spoke. `members` are its worker processes, `executor` its name to its engine."""

    id: str
    owner: Owner
    version: str
    engine: str
    executor: str
    size: int
    members: tuple[Owner, ...]
    stopping: bool
    started_at: float
    beat_at: float = 0.0

    def is_there(self, now: float) -> bool:
        """False once it is silent, and when this machine can tell that its process ended."""
        return now - self.beat_at < SILENT_SECONDS and not self.owner.is_gone()


class Fleet(LedgerTables):
    """The crews of one project; safe for many processes at once. Raises StorageProblem as the ledger does."""

    def __init__(self, ledger: Path | LedgerPlace, *, clock: Callable[[], float] | None = None) -> None:
        super().__init__(ledger, clock=clock)

    def now(self) -> float:
        """By the clock that beats are written with."""
        return self.clock()

    def beat(self, crew: SeenCrew) -> None:
        """The crew is there, and is as it says. Those that fell silent long ago are forgotten."""
        now = self.clock()
        members = json.dumps([str(each) for each in crew.members])

        def say() -> None:
            self._db.execute("DELETE FROM worker WHERE beat_at < ?", (now - _FORGOTTEN_SECONDS,))
            self._db.execute(
                f"INSERT INTO worker ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"  # noqa: S608
                " executor = excluded.executor, size = excluded.size, members = excluded.members,"
                " stopping = excluded.stopping, beat_at = excluded.beat_at",
                (
                    crew.id, str(crew.owner), crew.version, crew.engine, crew.executor, crew.size, members,
                    int(crew.stopping), crew.started_at, now,
                ),
            )  # fmt: skip

        self._db.write(say, order=Order.NONE_AND_MAY_BE_LOST)  # it is said again in a few seconds

    def leave(self, crew: str) -> None:
        """The crew ended as it should. A ledger that does not answer hears of it by its silence."""
        with suppress(StorageProblem):
            self._db.execute("DELETE FROM worker WHERE id = ?", (crew,))

    def crews(self) -> tuple[SeenCrew, ...]:
        """All that spoke within a day and did not say goodbye, the oldest first."""
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM worker ORDER BY started_at, id").rows  # noqa: S608
        return tuple(_crew(*row) for row in rows)

    def living(self) -> frozenset[str]:
        """The ids of the crews that are there."""
        now = self.clock()
        return frozenset(crew.id for crew in self.crews() if crew.is_there(now))

    def executors(self) -> tuple[str, ...]:
        """The names that crews who are there have to their engines."""
        now = self.clock()
        return tuple(crew.executor for crew in self.crews() if crew.executor and crew.is_there(now))


def _crew(crew_id: str, owner: str, version: str, engine: str, executor: str, *rest: Any) -> SeenCrew:
    size, members, stopping, started_at, beat_at = rest
    team = tuple(Owner.parse(each) for each in json.loads(members))
    return SeenCrew(
        crew_id, Owner.parse(owner), version, engine, executor, size, team, bool(stopping), started_at, beat_at
    )

"""Which commits the git remote keeps for tasks, in the ledger: so that none goes while somebody is about to use it.

A command that asks for a task says here which commit it wants, before it pushes it and long before the task is in the
ledger. `cairn gc` takes a commit that no task has and nobody wanted lately, says so here, and only then deletes it.
Whoever wants that one meanwhile takes another commit with the same files instead: nobody waits, and a gc that was
killed or stopped at any point, and goes on at any time, deletes nothing that a task has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from cairn.errors import Conflict
from cairn.ledger_database import LedgerDatabase
from cairn.queue import DRAFT_SECONDS
from cairn.task_base import Base
from cairn.task_owner import Owner

WANTED_SECONDS = 2 * DRAFT_SECONDS  # how long one that is wanted is kept for a task that does not come
_DROPPING_SECONDS = 86_400.0  # after so long another gc takes over from one whose end nobody can see
TABLE = """
CREATE TABLE IF NOT EXISTS kept_base (base TEXT PRIMARY KEY, at REAL NOT NULL, dropper TEXT) WITHOUT ROWID;
"""
_UNNEEDED = (
    "SELECT base, at, dropper FROM kept_base WHERE NOT EXISTS (SELECT 1 FROM task WHERE task.base = kept_base.base)"
)


class KeptBases:
    """Those of one ledger. Raises StorageProblem as the ledger does."""

    def __init__(self, database: LedgerDatabase) -> None:
        self._db = database
        self._me = str(Owner.this_process())
        database.ensure(TABLE)

    def want(self, base: Base) -> bool:
        """From now on no gc takes it, for as long as a draft may wait; False when one has taken it already."""

        def want() -> bool:
            row = self._db.execute("SELECT dropper FROM kept_base WHERE base = ?", (str(base),)).first()
            if row is not None and row[0] is not None:
                return False
            self._db.execute(
                "INSERT INTO kept_base (base, at) VALUES (?, ?) ON CONFLICT (base) DO UPDATE SET at = excluded.at",
                (str(base), self._db.now()),
            )
            return True

        return self._db.write(want)

    def require(self, base: Base) -> None:
        """As `want`, for one that a task has. Raises Conflict when a gc has taken it."""
        if not self.want(base):
            raise Conflict(
                f"The commit {base.commit[:12]} that the task works on is being deleted.",
                "No task that is kept has it any more: cairn gc has begun to let go of it.",
                "cairn retry ID   has the task done again from the files as they are now.",
            )

    def remember(self) -> None:
        """Before tasks are deleted: nobody else knows of their commits."""
        self._db.execute(
            "INSERT INTO kept_base (base, at) SELECT DISTINCT base, 0 FROM task WHERE base <> '' ON CONFLICT DO NOTHING"
        )

    def unneeded(self, now: float) -> tuple[Base, ...]:
        """Those that a gc may delete."""
        rows = self._db.execute(_UNNEEDED).rows
        return tuple(_parsed(base for base, at, dropper in rows if self._is_free(dropper, now - at)))

    def take(self, now: float) -> tuple[Base, ...]:
        """Those of `unneeded` are this process's, to be deleted: nobody begins to use them until it says `gone`."""

        def take() -> tuple[Base, ...]:
            taken = self.unneeded(now)
            rows = [(self._me, self._db.now(), str(base)) for base in taken]
            self._db.executemany("UPDATE kept_base SET dropper = ?, at = ? WHERE base = ?", rows)
            return taken

        return self._db.write(take)

    def _is_free(self, dropper: str | None, age: float) -> bool:
        if dropper is None:
            return age > WANTED_SECONDS
        return dropper == self._me or Owner.parse(dropper).is_gone() or age > _DROPPING_SECONDS

    def gone(self, bases: tuple[Base, ...]) -> None:
        """They are deleted; whoever wants one pushes it again."""
        rows = [(str(base), self._me) for base in bases]
        self._db.write(lambda: self._db.executemany("DELETE FROM kept_base WHERE base = ? AND dropper = ?", rows))

    def every(self) -> tuple[Base, ...]:
        """All that are kept, or to be deleted by others."""
        return tuple(_parsed(base for (base,) in self._db.execute("SELECT base FROM kept_base").rows))


def _parsed(texts: Iterable[str]) -> Iterator[Base]:
    """Without what is no base: a ledger may hold anything."""
    for text in texts:
        with suppress(ValueError):
            yield Base.parse(text)

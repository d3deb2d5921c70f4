"""What a project's tasks spend on models from one midnight to the next, and what is left of it: kept in the ledger.

A reservation and the sum it is judged by are one transaction, so that any number of processes together never reserve
more than there is. It counts as long as its task runs under the process that made it, by the task's own lease.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from cairn.ledger_answer import Order
from cairn.ledger_database import LedgerTables, over_before
from cairn.ledger_place import LedgerFile, LedgerPlace
from cairn.metering import Ceilings, Meter, Price, Rate, Rates, Short, Spent

T = TypeVar("T")

KEPT_DAYS = 7
MINUTE = 60.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS spending (
    id INTEGER PRIMARY KEY, task TEXT NOT NULL, owner TEXT NOT NULL, model TEXT NOT NULL, at REAL NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, picos INTEGER,
    estimated INTEGER NOT NULL DEFAULT 0, settled INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS spending_by_time ON spending (at);
"""
_SUMS = (
    "SELECT settled, count(*), CAST(sum(input_tokens) AS BIGINT), CAST(sum(output_tokens) AS BIGINT),"
    " CAST(coalesce(sum(picos), 0) AS BIGINT), count(*) - count(picos), CAST(sum(estimated) AS BIGINT)"
    " FROM spending WHERE at >= ? GROUP BY settled"
)
_DEAD = (
    "DELETE FROM spending WHERE settled = 0 AND NOT EXISTS (SELECT 1 FROM task WHERE task.id = spending.task"
    " AND task.status = 'running' AND task.owner = spending.owner AND task.lease_until >= ?)"
)


@dataclass(frozen=True, slots=True)
class Held:
    """One reservation in the ledger."""

    key: int
    task: str
    model: str
    spent: Spent


@dataclass(frozen=True, slots=True)
class NoRoom:
    """Nothing was reserved below this ceiling, or at this rate.

    `for_now`: room may come before midnight, because others give back what they reserved or a minute passes.
    """

    of: str
    used: Spent
    for_now: bool


def day_of(now: float) -> tuple[float, float]:
    """The midnights around a moment, in this machine's time zone."""
    there = time.localtime(now)
    date = (there.tm_year, there.tm_mon, there.tm_mday)
    start = time.mktime((*date, 0, 0, 0, 0, 0, -1))
    end = time.mktime((date[0], date[1], date[2] + 1, 0, 0, 0, 0, 0, -1))
    return start, end


class DayBudget(LedgerTables):
    """The day's spending of one project; safe for many processes at once. Raises StorageProblem as the ledger does."""

    def __init__(
        self,
        ledger: Path | LedgerPlace,
        ceilings: Ceilings,
        owner: str = "",
        *,
        rates: Rates | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(ledger, script=SCHEMA, clock=clock)
        self.ceilings = ceilings
        self._rates = rates or Rates()
        self._owner = owner

    def reserve(self, task: str, model: str, price: Price | None, wanted: Spent) -> Held | NoRoom:
        """Room for one call, its answer as long as wanted or as there is room for."""
        return self._in_turn(partial(self._reserve, task, model, price, wanted))

    def _reserve(self, task: str, model: str, price: Price | None, wanted: Spent) -> Held | NoRoom:
        self._forget()
        meter = self._meter()
        if (rate := self._rates.rate(model)) and (reached := self._reached(model, rate, wanted.tokens)):
            return NoRoom(reached, meter.spent, for_now=True)
        got = meter.reserve(wanted.input_tokens, price, wanted.output_tokens)
        if isinstance(got, Short):
            return self._no_room(meter, got, wanted.input_tokens, price)
        spent = got[1]
        key = self._db.execute(
            "INSERT INTO spending (task, owner, model, at, input_tokens, output_tokens, picos)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (task, self._owner, model, self.clock(), spent.input_tokens, spent.output_tokens, _price(spent)),
        ).rows[0][0]
        return Held(key, task, model, spent)

    def grow(self, held: Held, price: Price | None, wanted: int) -> Held | NoRoom:
        """The same call with room for an answer of up to `wanted` tokens."""
        return self._in_turn(partial(self._grow, held, price, wanted))

    def _grow(self, held: Held, price: Price | None, wanted: int) -> Held | NoRoom:
        meter = self._meter()
        got = meter.grow(held.spent, price, wanted)
        if isinstance(got, Short):
            return NoRoom(got.of, meter.spent, for_now=False)
        spent = got[1]
        self._db.execute(
            "UPDATE spending SET output_tokens = ?, picos = ? WHERE id = ?",
            (spent.output_tokens, _price(spent), held.key),
        )
        return Held(held.key, held.task, held.model, spent)

    def settle(self, held: Held, used: Spent) -> None:
        """The call ended, and took this; kept also when the reservation was given up meanwhile."""
        figures = (used.input_tokens, used.output_tokens, _price(used), used.estimated)
        self._change(
            "INSERT INTO spending (id, task, owner, model, at, input_tokens, output_tokens, picos, estimated,"
            " settled) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1) ON CONFLICT (id) DO UPDATE SET"
            " input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens,"
            " picos = excluded.picos, estimated = excluded.estimated, settled = 1",
            (held.key, held.task, self._owner, held.model, self.clock(), *figures),
        )

    def release(self, held: Held) -> None:
        """The call took nothing."""
        self._change("DELETE FROM spending WHERE id = ? AND settled = 0", (held.key,))

    def _change(self, statement: str, values: tuple[object, ...]) -> None:
        """Of one row, which makes room and takes none."""
        self._db.write(lambda: self._db.execute(statement, values), order=Order.BESIDE)

    def today(self) -> Meter:
        """What was spent since midnight, and what is reserved now."""

        def look() -> Meter:
            self._forget()
            return self._meter()

        place = self._db.place
        if isinstance(place, LedgerFile) and place.as_it_is:
            return self._meter()
        return self._in_turn(look)

    def _in_turn(self, work: Callable[[], T]) -> T:
        """What adds to the sums and is judged by them is done one after the other; tasks may move meanwhile."""

        def judged() -> T:
            self._db.turn("spending")
            return work()

        return self._db.write(judged, order=Order.BESIDE)

    def _forget(self) -> None:
        now = self.clock()
        self._db.execute(_DEAD, (over_before(self._db, now),))
        self._db.execute("DELETE FROM spending WHERE at < ?", (now - KEPT_DAYS * 86_400,))

    def _meter(self) -> Meter:
        sums = {
            bool(settled): Spent(*figures) for settled, *figures in self._db.execute(_SUMS, (self._midnight(),)).rows
        }
        return Meter(self.ceilings, sums.get(True, Spent()), sums.get(False, Spent()))

    def _reached(self, model: str, rate: Rate, tokens: int) -> str:
        """Which figure of the model's rate a further call would pass; a call alone in its minute passes none."""
        recent = (
            "SELECT count(*), CAST(coalesce(sum(input_tokens + output_tokens), 0) AS BIGINT)"
            " FROM spending WHERE model = ?"
        )
        under_way = self._db.execute(f"{recent} AND settled = 0", (model,)).rows[0][0]
        calls, used = self._db.execute(f"{recent} AND at > ?", (model, self.clock() - MINUTE)).rows[0]
        figures = (
            ("calls_at_once", rate.calls_at_once, under_way + 1),
            ("requests_per_minute", rate.requests_per_minute, calls + 1),
            ("tokens_per_minute", rate.tokens_per_minute, used + tokens if calls else 0),
        )
        return next((name for name, allowed, wanted in figures if allowed is not None and wanted > allowed), "")

    def _midnight(self) -> float:
        return day_of(self.clock())[0]

    @staticmethod
    def _no_room(meter: Meter, short: Short, input_tokens: int, price: Price | None) -> NoRoom:
        alone = Meter(meter.ceilings, meter.spent).reserve(input_tokens, price)
        return NoRoom(short.of, meter.spent, for_now=not isinstance(alone, Short))


def _price(spent: Spent) -> int | None:
    return None if spent.unpriced else spent.picos

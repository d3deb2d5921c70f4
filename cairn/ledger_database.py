"""A connection to a ledger, the same whether a file or a server holds it. Here is the file's.

The server's is in cairn/postgres.py. Whoever keeps something in the ledger writes SQL that both know (see
ledger_dialect.py), and each change as a function that `write` may call again: a server may go away in the middle of it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, Self, TypeVar

from cairn.errors import StorageProblem, UsageProblem
from cairn.ledger_answer import Answer, Order, Values
from cairn.ledger_dialect import SQLITE, Dialect
from cairn.ledger_place import LedgerFile, LedgerPlace, place_of
from cairn.ledger_schema import VERSION, require_known, scripts, statements
from cairn.sqlite_file import connect, copy_in_memory, transaction, translate_errors

PAGE_BYTES = 1024
RETURN_SECONDS = 10.0  # after a server's return, for those whose leases ran out while it was away
T = TypeVar("T")


class LedgerDatabase(Protocol):
    """One connection, which threads take turns at: a change of one is whole. Everything raises StorageProblem."""

    @property
    def place(self) -> LedgerPlace:
        """Where it is."""
        ...

    @property
    def dialect(self) -> Dialect:
        """How it says what the two databases say differently."""
        ...

    def execute(self, statement: str, values: Values = ()) -> Answer:
        """Marks are `?` or `:name`. What changes something outside of `write` is a transaction of its own."""
        ...

    def executemany(self, statement: str, rows: Iterable[Values]) -> None:
        """The statement for each row, inside of `write`."""
        ...

    def write(self, work: Callable[[], T], *, order: Order = Order.ALONE) -> T:
        """All that `work` does is committed, or nothing; it may be called again when the connection was lost.

        Inside another one it is a part of that, in its order, and taken back by itself when it raises.
        """
        ...

    def turn(self, of: str) -> None:
        """Inside of a change that is not alone: those that ask for the same turn come one after the other."""
        ...

    def ensure(self, script: str) -> None:
        """The script's tables and indexes are there. It is as SQLite has it, each statement with IF NOT EXISTS."""
        ...

    def now(self) -> float:
        """Seconds since the epoch by the clock that all who use this ledger share."""
        ...

    def serves_since(self) -> float:
        """Since when it answers, by its clock, as far as this connection knows. 0 where it always does.

        Perhaps nobody could renew a lease before.
        """
        ...

    def close(self) -> None:
        """Further calls fail."""
        ...


def opened(ledger: Path | LedgerPlace, *, create: bool = True) -> LedgerDatabase:
    """A ledger that has today's tables. Raises UsageProblem for a newer Cairn's; a file is made only if `create`."""
    place = place_of(ledger)
    if isinstance(place, LedgerFile):
        return SqliteLedger(place, create=create)
    try:
        from cairn.postgres import PostgresLedger
    except ImportError:
        raise UsageProblem(
            "engine.url names a server, and what Cairn needs to work with one is not installed here.",
            fix="pip install 'cairn[scale]'",
        ) from None
    return PostgresLedger(place)


def over_before(database: LedgerDatabase, now: float) -> float:
    """Leases that ended before then are over. None is when a server has just come back and holders renew theirs."""
    return 0.0 if abs(now - database.serves_since()) < RETURN_SECONDS else now


class SqliteLedger:
    """The ledger in one file."""

    dialect = SQLITE

    def __init__(self, place: LedgerFile, *, create: bool = True) -> None:
        self.place = place
        self._path = place.path
        self._turn = threading.RLock()
        self._made = place.as_it_is or not create or place.prepare is None or self._path.exists()
        if not self._made:
            self._db = _up_to_date(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False), place)
        elif place.as_it_is:
            self._db = _up_to_date(_copy(self._path), place)
            self._db.execute("PRAGMA query_only = ON")
        else:
            self._db = connect(self._path, create=create, page_bytes=PAGE_BYTES)
            self._db = _up_to_date(self._db, place) if create else self._db

    def _make(self) -> None:
        """Before the first write, where none was there."""
        if not self._made and self.place.prepare is not None:
            self.place.prepare()
            made = _up_to_date(connect(self._path, page_bytes=PAGE_BYTES), self.place)
            self._db.close()
            self._db, self._made = made, True

    def execute(self, statement: str, values: Values = ()) -> Answer:
        """As SQLite runs it."""
        with self._turn, translate_errors(self._path):
            if not self._made and not statement.lstrip().startswith(("SELECT", "WITH", "PRAGMA")):
                self._make()
            done = self._db.execute(statement, values)
            return Answer(done.fetchall(), done.rowcount)

    def executemany(self, statement: str, rows: Iterable[Values]) -> None:
        """As SQLite runs it."""
        with self._turn, translate_errors(self._path):
            self._db.executemany(statement, rows)

    def write(self, work: Callable[[], T], *, order: Order = Order.ALONE) -> T:  # noqa: ARG002 - one at a time, always
        """BEGIN IMMEDIATE; `work` is called once."""
        with self._turn, translate_errors(self._path):
            self._make()
            with transaction(self._db):
                return work()

    def turn(self, of: str) -> None:
        """A change has it already."""

    def ensure(self, script: str) -> None:
        """Writes only when something is missing."""
        with self._turn, translate_errors(self._path):
            if self.place.as_it_is:
                self._db.execute("PRAGMA query_only = OFF")  # it is a copy in memory
            for statement in statements(script):
                self._db.execute(statement)
            if self.place.as_it_is:
                self._db.execute("PRAGMA query_only = ON")

    def now(self) -> float:
        """This machine's clock."""
        return time.time()

    def serves_since(self) -> float:
        """A file is always there."""
        return 0.0

    def close(self) -> None:
        """Releases the file."""
        self._db.close()


def _copy(path: Path) -> sqlite3.Connection:
    """Of none at all, an empty one."""
    if not path.exists():
        return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    copy = copy_in_memory(path)
    if copy is None:
        raise StorageProblem(f"{path} cannot be read.", fix=f"Check that {path} is a file that you may read.")
    return copy


def _up_to_date(db: sqlite3.Connection, place: LedgerFile) -> sqlite3.Connection:
    """The same with today's tables; closed where it cannot have them."""
    try:
        with translate_errors(place.path):
            _bring_up_to_date(db, place.path)
    except BaseException:
        db.close()
        raise
    return db


def _bring_up_to_date(db: sqlite3.Connection, path: Path) -> None:
    """A new or an earlier ledger gets today's tables, in one transaction."""
    if _version(db) == VERSION:
        return
    with transaction(db):
        version = _version(db)
        require_known(str(path), version)
        if version == VERSION:  # another process was faster
            return
        for statement in scripts(SQLITE, version):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {VERSION}")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


class LedgerTables:
    """What is kept in a ledger beside its tasks, over a connection of its own: the base of whatever keeps some.

    It is opened when it is first used: most tasks ask no model, and need none of it. `script` has the tables that it
    brings itself. Without a `clock` it goes by the one that all users share.
    """

    def __init__(
        self, ledger: Path | LedgerPlace, *, script: str = "", clock: Callable[[], float] | None = None
    ) -> None:
        self._ledger = ledger
        self._script = script
        self._turn = threading.Lock()
        self._opened: LedgerDatabase | None = None
        self._is_closed = False
        self.clock = clock or self._now

    def _now(self) -> float:
        return self._db.now()

    @property
    def _db(self) -> LedgerDatabase:
        with self._turn:
            if self._is_closed:
                raise RuntimeError("the ledger was released")
            if self._opened is None:
                self._opened = self._with_tables(opened(self._ledger, create=False))
            return self._opened

    def _with_tables(self, database: LedgerDatabase) -> LedgerDatabase:
        try:
            if self._script:
                database.ensure(self._script)
        except BaseException:
            database.close()
            raise
        return database

    def close(self) -> None:
        """Releases the ledger, if it was used; it cannot be used any more."""
        with self._turn:
            self._is_closed = True
            if self._opened is not None:
                self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

"""A ledger on a Postgres server that many machines share, a schema for each project.

A server may be restarted, and a network end, at any instant. What is read is read again and a change is made again, for
as long as `PATIENCE_SECONDS`; a change whose commit was under way is first looked up by its number at the server, so
that nothing is done twice or taken for done. Only this file and the two named after it know psycopg.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import psycopg
from psycopg import errors

from cairn.errors import StorageProblem
from cairn.ledger_answer import Answer, Order, Values
from cairn.ledger_dialect import POSTGRES
from cairn.ledger_place import LedgerServer
from cairn.ledger_schema import VERSION, require_known, scripts, statements
from cairn.postgres_connection import (
    Explained,
    LostConnection,
    Patience,
    connection_to,
    first_connection,
    gone,
    problem_of,
    said,
    unknown,
)

T = TypeVar("T")

PATIENCE_SECONDS = 60.0  # for a server that was there
_CLOCK = "extract(epoch FROM clock_timestamp())::float8"
CLOCK_SECONDS = 10.0  # how old the comparison of the clocks may be
_LOCKS = {Order.ALONE: "pg_advisory_xact_lock({})", Order.BESIDE: "pg_advisory_xact_lock_shared({})"}
# Behind the commit: a transaction that has a notice in it holds a lock of the whole server until the disk has it, and
# so no two would ever share a write to the disk. This one has nothing for the disk.
TELL = (
    "SELECT pg_notify('{}', ''), set_config('cairn.changed', '', false)"
    " WHERE current_setting('cairn.changed', true) = 'yes'"
)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Of the ledger there is. A Cairn that knows the `oldest` layout may use it."""

    version: int
    oldest: int


class PostgresLedger:
    """One connection to a project's schema, made again when it is lost."""

    dialect = POSTGRES

    def __init__(self, place: LedgerServer) -> None:
        self.place = place
        self._lock = _key(place.schema)
        self._turn = threading.RLock()  # a lease is renewed in another thread than its task runs in
        self._open_in: int | None = None  # the thread that is in a change
        self._order = Order.ALONE  # of that change
        self._is_closed = False
        self._was_there = False  # the ledger: before, it is no loss
        self._since: float | None = None
        self._was_lost = False
        self._parts = 0
        self._tell = TELL.format(place.schema)
        self._ahead, self._compared = 0.0, float("-inf")  # the server's clock, as seen by this machine's monotonic one
        self._connection = first_connection(place)
        try:
            self._bring_up_to_date()
        except BaseException:
            self._connection.close()
            raise
        self._was_there = True

    def execute(self, statement: str, values: Values = ()) -> Answer:
        """Outside of `write`, what only reads is read again after a loss, and everything else is a `write`."""
        if self._is_open:
            return self._sent(statement, values)
        if statement.lstrip()[:6].upper() != "SELECT":
            return self.write(lambda: self._sent(statement, values))
        return self._patiently(lambda: self._sent(statement, values))

    def executemany(self, statement: str, rows: Iterable[Values]) -> None:
        """All of them in one journey."""
        many = list(rows)
        if not many:
            return

        def send() -> None:
            with self._explained(), self._connection.cursor() as cursor:
                cursor.executemany(POSTGRES.marks(statement).encode(), many)

        if self._is_open:
            send()
        else:
            self.write(send)

    def write(self, work: Callable[[], T], *, order: Order = Order.ALONE) -> T:
        """By a lock of the schema's own that ends with the transaction: shared by those that go side by side."""
        if not self._is_open:
            return self._patiently(lambda: self._written(work, order))
        if order is Order.ALONE and self._order is not Order.ALONE:
            raise RuntimeError("a change that is to be alone cannot be a part of one that is not")
        return self._part(work)

    def turn(self, of: str) -> None:
        """By another lock that ends with the transaction."""
        if self._order is not Order.ALONE:
            self._run(f"SELECT pg_advisory_xact_lock({_key(f'{self.place.schema} {of}')})")

    def ensure(self, script: str) -> None:
        """Looks first, for whoever may use tables need not be allowed to make them."""
        parts = list(statements(script))
        if self.execute("SELECT to_regclass(?) IS NULL", (_name(parts[0]),)).rows[0][0]:

            def make() -> None:
                for part in parts:
                    self._run(POSTGRES.tables(part))

            self._as_owner(lambda: self.write(make))

    def now(self) -> float:
        """The server's clock; this machine's may be wrong."""
        if time.monotonic() - self._compared > CLOCK_SECONDS:
            before = time.monotonic()
            (there,) = self.execute(f"SELECT {_CLOCK}").rows[0]
            self._compare(float(there), (before + time.monotonic()) / 2)
        return self._ahead + time.monotonic()

    def serves_since(self) -> float:
        """When the server was started, or was found again after this connection was lost; asked once for each."""
        if self._since is None:
            start, there = self.execute(
                "SELECT extract(epoch FROM pg_postmaster_start_time())::float8,"
                " extract(epoch FROM clock_timestamp())::float8"
            ).rows[0]
            self._since = float(there if self._was_lost else start)
        return self._since

    def close(self) -> None:
        """Leaves the server."""
        self._is_closed = True
        self._connection.close()

    @property
    def _is_open(self) -> bool:
        """True inside of a change of this thread."""
        return self._open_in == threading.get_ident()

    # ── statements ──

    def _sent(self, statement: str, values: Values) -> Answer:
        with self._explained():
            query = POSTGRES.marks(statement) if values else statement
            done = self._connection.execute(query.encode(), values or None)
            return Answer(done.fetchall() if done.description else [], done.rowcount)

    def _run(self, statement: str) -> None:
        with self._explained():
            self._connection.execute(statement.encode())

    def _explained(self) -> Explained:
        return Explained(self.place, self._connection)

    def _patiently(self, work: Callable[[], T]) -> T:
        patience = Patience(self.place, PATIENCE_SECONDS)
        while True:
            try:
                with self._turn:
                    self._reconnect()
                    return work()
            except LostConnection as lost:
                patience.wait(str(lost))

    def _reconnect(self) -> None:
        if self._is_closed:
            raise StorageProblem(f"The ledger of {self.place} was closed.")
        if not self._connection.closed:
            return
        self._connection = connection_to(self.place)
        self._compared, self._since, self._was_lost = float("-inf"), None, True
        try:
            self._require_ours()
        except BaseException:
            self._connection.close()  # so that the next call looks again, and is refused as well
            raise

    def _require_ours(self) -> None:
        """It may have been upgraded or deleted since the connection before this one."""
        found = self._layout()
        if found is not None:
            require_known(str(self.place), found.oldest)
        elif self._was_there:
            raise gone(self.place)

    # ── changes ──

    def _written(self, work: Callable[[], T], order: Order) -> T:
        number = self._begin(order)
        try:
            result = work()
        except BaseException:
            self._take_back()
            raise
        self._commit(number, order)
        return result

    def _begin(self, order: Order) -> str:
        """The transaction's number, by which its end can be asked for."""
        lock = _LOCKS.get(order, "0").format(self._lock)
        begin = "BEGIN ISOLATION LEVEL READ COMMITTED"
        if order is Order.NONE_AND_MAY_BE_LOST:
            begin += "; SET LOCAL synchronous_commit TO off"
        ask = f"{begin}; SELECT {lock}, pg_current_xact_id()::text, {_CLOCK}"
        with self._explained():
            try:
                done = self._connection.execute(ask.encode())
                while done.nextset():
                    pass
                _, number, there = done.fetchall()[0]
            except BaseException:
                self._take_back()
                raise
        self._compare(float(there), time.monotonic())
        self._open_in, self._order = threading.get_ident(), order
        return str(number)

    def _take_back(self) -> None:
        self._open_in = None
        try:
            if not self._connection.closed:
                self._connection.execute(b"ROLLBACK")
        except psycopg.Error:
            self._connection.close()

    def _commit(self, number: str, order: Order) -> None:
        self._open_in = None
        tells = f"; {self._tell}" if order in _LOCKS else ""
        try:
            done = self._connection.execute(f"COMMIT{tells}".encode())
        except psycopg.Error as error:
            ended = self._connection.closed
            if order is Order.NONE_AND_MAY_BE_LOST or not self._was_committed(number):
                raise (LostConnection(said(self.place, error)) if ended else problem_of(self.place, error)) from error
        except BaseException:
            self._connection.close()
            raise
        else:
            if done.statusmessage != "COMMIT":  # a statement had failed, and `work` went on as if it had not
                raise StorageProblem(f"A change to the ledger of {self.place} was refused.", "Nothing of it is stored.")

    def _was_committed(self, number: str) -> bool:
        """What became of a transaction whose commit was sent and not answered."""
        patience = Patience(self.place, PATIENCE_SECONDS)
        while True:
            try:
                self._reconnect()
                found = self._sent("SELECT pg_xact_status(CAST(? AS xid8))", (number,)).rows[0][0]
            except LostConnection as lost:
                why = str(lost)
            except StorageProblem as problem:  # another server answers, one that does not know so much
                raise unknown(self.place, problem.why) from problem
            else:
                if found in {"committed", "aborted"}:
                    return bool(found == "committed")
                if found is None:
                    raise unknown(self.place, "The server has forgotten that transaction.")
                why = "The transaction is still under way there."
            try:
                patience.wait(why)
            except StorageProblem as problem:
                raise unknown(self.place, problem.why) from problem

    def _part(self, work: Callable[[], T]) -> T:
        self._parts += 1
        name = f"part_{self._parts}"
        try:
            self._run(f"SAVEPOINT {name}")
            result = work()
            self._run(f"RELEASE {name}")
        except BaseException:
            if not self._connection.closed:
                with suppress(psycopg.Error):
                    self._connection.execute(f"ROLLBACK TO {name}; RELEASE {name}".encode())
            raise
        finally:
            self._parts -= 1
        return result

    def _compare(self, there: float, here: float) -> None:
        self._ahead, self._compared = there - here, here

    # ── tables ──

    def _layout(self) -> _Layout | None:
        """None for no ledger."""
        # A regclass of a schema that may not be looked into is an error; it has its own words. It is looked up in what
        # the session remembers, which hears of a ledger that others made meanwhile when a table is opened.
        query = "SELECT to_regclass(?) IS NULL FROM pg_catalog.pg_namespace LIMIT 1"
        if self._sent(query, (f'"{self.place.schema}".layout',)).rows[0][0]:
            return None
        return _Layout(*self._sent("SELECT version, oldest FROM layout", ()).rows[0])

    def _bring_up_to_date(self) -> None:
        found = self._patiently(self._layout)
        if found is not None and found.version >= VERSION:
            require_known(str(self.place), found.oldest)
            return
        self._as_owner(lambda: self.write(self._upgrade), found)

    def _upgrade(self) -> None:
        found = self._layout()
        if found is not None and found.version >= VERSION:  # another process was faster
            require_known(str(self.place), found.oldest)
            return
        schema = f'"{self.place.schema}"'
        if found is None:
            self._run(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            self._run("CREATE TABLE layout (version BIGINT NOT NULL, oldest BIGINT NOT NULL)")
            self._run("INSERT INTO layout VALUES (0, 0)")
        for statement in scripts(POSTGRES, found.version if found else 0, schema):
            self._run(statement)
        self._run(f"UPDATE layout SET version = {VERSION}, oldest = {VERSION}")  # noqa: S608 - a number of the code

    def _as_owner(self, work: Callable[[], object], found: _Layout | None = None) -> None:
        """Raises StorageProblem that says who may do it, where this role may not."""
        try:
            work()
        except StorageProblem as problem:
            if isinstance(problem.__cause__, errors.InsufficientPrivilege):
                raise self._not_allowed(found) from problem
            raise

    def _not_allowed(self, found: _Layout | None) -> StorageProblem:
        role, database, owner = self.execute(
            "SELECT current_user, current_database(), (SELECT pg_get_userbyid(nspowner) FROM pg_namespace"
            " WHERE nspname = ?)",
            (self.place.schema,),
        ).rows[0]
        if owner is None:
            return StorageProblem(
                f"There is no ledger of {self.place} yet, and the role '{role}' may not make one.",
                "Each project has a schema of its own in the database.",
                f'GRANT CREATE ON DATABASE "{database}" TO "{role}"   said there by its owner allows it.',
            )
        stands = f"in format {found.version}, and this Cairn needs {VERSION}" if found else "not complete"
        return StorageProblem(
            f"The ledger of {self.place} is {stands}.",
            f"The role '{role}' may not change its tables; they belong to '{owner}'.",
            f"cairn list   run once as '{owner}' with this version of Cairn brings it up to date.",
        )


def _key(name: str) -> int:
    """Of an advisory lock."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


def _name(statement: str) -> str:
    """What a CREATE TABLE IF NOT EXISTS makes."""
    return statement.partition("IF NOT EXISTS")[2].split("(")[0].split()[0]

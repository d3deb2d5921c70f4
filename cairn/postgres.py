"""A ledger on a Postgres server that many machines share, a schema for each project. Only this file knows psycopg.

A server may be restarted, and a network end, at any instant. What is read is read again and a change is made again, for
as long as `PATIENCE_SECONDS`; a change whose commit was under way is first looked up by its number at the server, so
that nothing is done twice or taken for done.
"""

from __future__ import annotations

import hashlib
import selectors
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict

from cairn.errors import DiskFull, StorageProblem, UsageProblem
from cairn.ledger_answer import Answer, Order, Values
from cairn.ledger_dialect import POSTGRES
from cairn.ledger_place import LedgerServer
from cairn.ledger_schema import VERSION, require_known, scripts, statements

T = TypeVar("T")

PATIENCE_SECONDS = 60.0  # for a server that was there
FIRST_SECONDS = 3.0  # for one that was not: a wrong address is more likely than a restart
STARTING_SECONDS = 60.0
_CLOCK = "extract(epoch FROM clock_timestamp())::float8"
CLOCK_SECONDS = 10.0  # how old the comparison of the clocks may be
OLDEST_SERVER = 130_000
# Whoever is stopped in the middle of a change loses it to the others, and makes it again when it goes on.
SESSION = {"idle_in_transaction_session_timeout": "30s", "lock_timeout": "60s", "statement_timeout": "0"}
_CONNECTION = {
    "connect_timeout": "10", "application_name": "cairn", "keepalives_idle": "15", "keepalives_interval": "5",
    "keepalives_count": "3", "tcp_user_timeout": "30000", "client_encoding": "utf8",
}  # fmt: skip
_LOCKS = {Order.ALONE: "pg_advisory_xact_lock({})", Order.BESIDE: "pg_advisory_xact_lock_shared({})"}
# Behind the commit: a transaction that has a notice in it holds a lock of the whole server until the disk has it, and
# so no two would ever share a write to the disk. This one has nothing for the disk.
TELL = (
    "SELECT pg_notify('{}', ''), set_config('cairn.changed', '', false)"
    " WHERE current_setting('cairn.changed', true) = 'yes'"
)
_LATER = ("starting up", "shutting down", "not yet accepting", "in recovery", "too many clients", "connection slots")
_NOBODY = ("refused", "No such file", "closed the connection", "timeout", "reset", "unreachable", "terminat")
_REPEATED = {"40001", "40P01"}


class _LostConnection(Exception):
    """Nothing of the statement, or of the change it is a part of, is there; it may be made again."""


class _Patience:
    """Pauses that grow to a second, until the time is over."""

    def __init__(self, place: LedgerServer, seconds: float) -> None:
        self._place = place
        self._end = time.monotonic() + seconds
        self._pause = 0.02

    def wait(self, why: str) -> None:
        """Raises StorageProblem when it has been long enough."""
        if time.monotonic() >= self._end:
            raise _unreachable(self._place, why)
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, 1.0)


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
        self._connection = _first_connection(place)
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

    def _explained(self) -> _Explained:
        return _Explained(self)

    def _patiently(self, work: Callable[[], T]) -> T:
        patience = _Patience(self.place, PATIENCE_SECONDS)
        while True:
            try:
                with self._turn:
                    self._reconnect()
                    return work()
            except _LostConnection as lost:
                patience.wait(str(lost))

    def _reconnect(self) -> None:
        if self._is_closed:
            raise StorageProblem(f"The ledger of {self.place} was closed.")
        if not self._connection.closed:
            return
        self._connection = _connection(self.place)
        self._compared, self._since, self._was_lost = float("-inf"), None, True
        found = self._layout()
        if found is not None:
            require_known(str(self.place), found.oldest)
        elif self._was_there:
            raise _gone(self.place)

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
                raise (_LostConnection(_said(self.place, error)) if ended else _problem(self.place, error)) from error
        except BaseException:
            self._connection.close()
            raise
        else:
            if done.statusmessage != "COMMIT":  # a statement had failed, and `work` went on as if it had not
                raise StorageProblem(f"A change to the ledger of {self.place} was refused.", "Nothing of it is stored.")

    def _was_committed(self, number: str) -> bool:
        """What became of a transaction whose commit was sent and not answered."""
        patience = _Patience(self.place, PATIENCE_SECONDS)
        while True:
            try:
                self._reconnect()
                found = self._sent("SELECT pg_xact_status(CAST(? AS xid8))", (number,)).rows[0][0]
            except _LostConnection as lost:
                why = str(lost)
            except StorageProblem as problem:  # another server answers, one that does not know so much
                raise _unknown(self.place, problem.why) from problem
            else:
                if found in {"committed", "aborted"}:
                    return bool(found == "committed")
                if found is None:
                    raise _unknown(self.place, "The server has forgotten that transaction.")
                why = "The transaction is still under way there."
            try:
                patience.wait(why)
            except StorageProblem as problem:
                raise _unknown(self.place, problem.why) from problem

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


class _Explained:
    """Turns what psycopg says into `_LostConnection`, StorageProblem or UsageProblem."""

    def __init__(self, ledger: PostgresLedger) -> None:
        self._ledger = ledger

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, psycopg.Error):
            return
        place = self._ledger.place
        if self._ledger._connection.closed or error.sqlstate in _REPEATED:  # noqa: SLF001 - a part of it
            raise _LostConnection(_said(place, error)) from error
        raise _problem(place, error) from error


class ServerCommits:
    """Hears of each commit to a project's tasks, in a selector. After a loss of the connection it counts as one."""

    def __init__(self, place: LedgerServer, selector: selectors.BaseSelector) -> None:
        self._place = place
        self._selector = selector
        self._changed = False
        self._connection: psycopg.Connection | None = None
        self._socket = -1
        patience = _Patience(place, FIRST_SECONDS)
        while self._connection is None:
            try:
                self._begin(_first_connection(place))
            except _LostConnection as lost:  # between its two messages
                patience.wait(str(lost))

    def close(self) -> None:
        """Leaves the server."""
        if self._connection is not None:
            self._connection.close()

    def ready(self, seconds: float) -> list[selectors.SelectorKey]:
        """What else became ready meanwhile. Waits no longer than a second for a server that is not there."""
        if self._connection is None:
            with suppress(_LostConnection, StorageProblem):
                self._begin(_connection(self._place, connect_timeout="2"))
                self._changed = True
        if self._changed:
            seconds = 0.0
        found = [key for key, _ in self._selector.select(seconds if self._connection else min(seconds, 1.0))]
        others = [key for key in found if key.fd != self._socket]
        if len(others) < len(found):
            self._read()
        return others

    def changed(self) -> bool:
        """True once after each commit that was told of."""
        before, self._changed = self._changed, False
        return before

    def _begin(self, connection: psycopg.Connection) -> None:
        try:
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._place.schema)))
            self._socket = connection.fileno()
        except psycopg.Error as error:
            connection.close()
            raise _LostConnection(_said(self._place, error)) from error
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._connection = connection

    def _read(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            for _ in connection.notifies(timeout=0):
                self._changed = True
        except psycopg.Error:
            self._selector.unregister(self._socket)
            connection.close()
            self._connection, self._socket = None, -1


# ── connections ──


def _first_connection(place: LedgerServer) -> psycopg.Connection:
    """A little patience with one that is not there, more with one that says it comes."""
    first, starting = _Patience(place, FIRST_SECONDS), _Patience(place, STARTING_SECONDS)
    while True:
        try:
            return _connection(place)
        except _LostConnection as lost:
            why = str(lost)
            if any(sign in why for sign in _LATER):
                starting.wait(why)
            elif any(sign in why for sign in _NOBODY):
                first.wait(why)
            else:
                raise _unreachable(place, why) from lost


def _connection(place: LedgerServer, **more: str) -> psycopg.Connection:
    """A session in the project's schema. `_LostConnection` says why there is none."""
    try:
        given = conninfo_to_dict(place.url)
    except psycopg.ProgrammingError as error:
        raise UsageProblem(
            "engine.url is no address of a Postgres server.", _said(place, error), "Set engine.url anew."
        ) from None
    connection: psycopg.Connection | None = None
    try:
        connection = psycopg.connect(place.url, autocommit=True, **{**_CONNECTION, **given, **more})  # type: ignore[arg-type]
        _require_usable(place, connection)
        settings = {**SESSION, "search_path": f'"{place.schema}", pg_temp'}
        parts = sql.SQL(", ").join(sql.SQL("set_config({}, {}, false)").format(*pair) for pair in settings.items())
        connection.execute(sql.SQL("SELECT {}").format(parts))
    except psycopg.Error as error:
        if connection is not None:
            connection.close()
        raise _LostConnection(_said(place, error)) from None  # its text may hold what nobody should see
    except BaseException:
        if connection is not None:
            connection.close()
        raise
    return connection


def _require_usable(place: LedgerServer, connection: psycopg.Connection) -> None:
    if connection.info.server_version < OLDEST_SERVER:
        raise StorageProblem(
            f"The server of {place} is Postgres {connection.info.server_version // 10_000}.",
            "Cairn needs 13 or newer.",
        )
    if connection.info.parameter_status("server_encoding") != "UTF8":
        raise StorageProblem(
            f"The database of {place} does not keep its texts in UTF-8.",
            fix="CREATE DATABASE cairn ENCODING 'UTF8' TEMPLATE template0   makes one that does.",
        )


def _key(name: str) -> int:
    """Of an advisory lock."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


def _name(statement: str) -> str:
    """What a CREATE TABLE IF NOT EXISTS makes."""
    return statement.partition("IF NOT EXISTS")[2].split("(")[0].split()[0]


# ── words ──


def _said(place: LedgerServer, error: psycopg.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines()]  # libpq's own advice is said better in `fix`
    text = " ".join(line for line in lines if line and not line.startswith("Is the server")) or type(error).__name__
    return place.without_secrets(text if text.endswith(".") else f"{text}.")


def _problem(place: LedgerServer, error: psycopg.Error) -> StorageProblem | UsageProblem:
    if isinstance(error, errors.DiskFull):
        return DiskFull(
            f"The disk of the server is full ({place}).",
            "What was stored before is still there; the last step was not stored.",
            "Free some space there and try again.",
        )
    if isinstance(error, errors.LockNotAvailable):
        return StorageProblem(
            f"The ledger of {place} is in use by another process.",
            f"It stayed locked for {SESSION['lock_timeout']}.",
            "Wait for the other cairn command to end, then try again.",
        )
    if isinstance(error, errors.InsufficientPrivilege):
        grants = "USAGE ON SCHEMA, SELECT, INSERT, UPDATE, DELETE ON ALL TABLES and USAGE ON ALL SEQUENCES"
        return StorageProblem(
            f"This role may not use the ledger of {place}.",
            _said(place, error),
            f'GRANT {grants} IN SCHEMA "{place.schema}"   is what its owner has to give.',
        )
    if isinstance(error, errors.UndefinedTable | errors.UndefinedColumn | errors.InvalidSchemaName):
        return _gone(place, _said(place, error))
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return StorageProblem(
            f"The server of {place} only lets itself be read.",
            "It may be the copy of another one.",
            "Set engine.url to the one that is written to.",
        )
    if isinstance(error, psycopg.DataError) and "NUL" in str(error):
        return UsageProblem("A text holds the character NUL, which the ledger's server cannot keep.")
    return StorageProblem(f"The server refused a statement of Cairn's ({place}).", _said(place, error))


def _gone(place: LedgerServer, why: str = "") -> StorageProblem:
    return StorageProblem(
        f"The ledger of {place} is not there any more, or not whole.",
        why or f'The database has no schema "{place.schema}" with the ledger\'s tables.',
        "Restore it from a backup. If nobody needs it any more, the next cairn command begins a new one.",
    )


def _unreachable(place: LedgerServer, why: str) -> StorageProblem:
    return StorageProblem(
        f"The ledger's server cannot be used ({place}).",
        why,
        "Check engine.url, and that the server runs; then try again.",
    )


def _unknown(place: LedgerServer, why: str) -> StorageProblem:
    return StorageProblem(
        f"The connection to {place} ended while a change was stored; whether it was is not known.",
        why,
        "cairn list   shows what the ledger has.",
    )

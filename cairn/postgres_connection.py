"""A session with a Postgres server: how it is begun and waited for, what counts as its loss, and the words for both."""

from __future__ import annotations

import time

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict

from cairn.errors import DiskFull, StorageProblem, UsageProblem
from cairn.ledger_place import LedgerServer

FIRST_SECONDS = 3.0  # for one that was not: a wrong address is more likely than a restart
STARTING_SECONDS = 60.0
OLDEST_SERVER = 130_000
# Whoever is stopped in the middle of a change loses it to the others, and makes it again when it goes on.
SESSION = {"idle_in_transaction_session_timeout": "30s", "lock_timeout": "60s", "statement_timeout": "0"}
_CONNECTION = {
    "connect_timeout": "10", "application_name": "cairn", "keepalives_idle": "15", "keepalives_interval": "5",
    "keepalives_count": "3", "tcp_user_timeout": "30000", "client_encoding": "utf8",
}  # fmt: skip
_LATER = ("starting up", "shutting down", "not yet accepting", "in recovery", "too many clients", "connection slots")
_NOBODY = ("refused", "No such file", "closed the connection", "timeout", "reset", "unreachable", "terminat")
_REPEATED = {"40001", "40P01"}


class LostConnection(Exception):
    """Nothing of the statement, or of the change it is a part of, is there; it may be made again."""


class Patience:
    """Pauses that grow to a second, until the time is over."""

    def __init__(self, place: LedgerServer, seconds: float) -> None:
        self._place = place
        self._end = time.monotonic() + seconds
        self._pause = 0.02

    def wait(self, why: str) -> None:
        """Raises StorageProblem when it has been long enough."""
        if time.monotonic() >= self._end:
            raise unreachable(self._place, why)
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, 1.0)


def first_patience(place: LedgerServer) -> Patience:
    """With a server that nobody has reached yet."""
    return Patience(place, FIRST_SECONDS)


class Explained:
    """Turns what psycopg says into `LostConnection`, StorageProblem or UsageProblem."""

    def __init__(self, place: LedgerServer, connection: psycopg.Connection) -> None:
        self._place = place
        self._connection = connection

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, psycopg.Error):
            return
        if self._connection.closed or error.sqlstate in _REPEATED:
            raise LostConnection(said(self._place, error)) from error
        raise problem_of(self._place, error) from error


def first_connection(place: LedgerServer) -> psycopg.Connection:
    """A little patience with one that is not there, more with one that says it comes."""
    first, starting = first_patience(place), Patience(place, STARTING_SECONDS)
    while True:
        try:
            return connection_to(place)
        except LostConnection as lost:
            why = str(lost)
            if any(sign in why for sign in _LATER):
                starting.wait(why)
            elif any(sign in why for sign in _NOBODY):
                first.wait(why)
            else:
                raise unreachable(place, why) from lost


def connection_to(place: LedgerServer, **more: str) -> psycopg.Connection:
    """A session in the project's schema. `LostConnection` says why there is none."""
    try:
        given = conninfo_to_dict(place.url)
    except psycopg.ProgrammingError as error:
        raise UsageProblem(
            "engine.url is no address of a Postgres server.", said(place, error), "Set engine.url anew."
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
        raise LostConnection(said(place, error)) from None  # its text may hold what nobody should see
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


# ── words ──


def said(place: LedgerServer, error: psycopg.Error) -> str:
    """The server's own words, in one line and without a password."""
    lines = [line.strip() for line in str(error).splitlines()]  # libpq's own advice is said better in `fix`
    text = " ".join(line for line in lines if line and not line.startswith("Is the server")) or type(error).__name__
    return place.without_secrets(text if text.endswith(".") else f"{text}.")


def problem_of(place: LedgerServer, error: psycopg.Error) -> StorageProblem | UsageProblem:
    """What a person reads of an error that is no loss of the connection."""
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
            said(place, error),
            f'GRANT {grants} IN SCHEMA "{place.schema}"   is what its owner has to give.',
        )
    if isinstance(error, errors.UndefinedTable | errors.UndefinedColumn | errors.InvalidSchemaName):
        return gone(place, said(place, error))
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return StorageProblem(
            f"The server of {place} only lets itself be read.",
            "It may be the copy of another one.",
            "Set engine.url to the one that is written to.",
        )
    if isinstance(error, psycopg.DataError) and "NUL" in str(error):
        return UsageProblem("A text holds the character NUL, which the ledger's server cannot keep.")
    return StorageProblem(f"The server refused a statement of Cairn's ({place}).", said(place, error))


def gone(place: LedgerServer, why: str = "") -> StorageProblem:
    """Of a ledger that was there."""
    return StorageProblem(
        f"The ledger of {place} is not there any more, or not whole.",
        why or f'The database has no schema "{place.schema}" with the ledger\'s tables.',
        "Restore it from a backup. If nobody needs it any more, the next cairn command begins a new one.",
    )


def unreachable(place: LedgerServer, why: str) -> StorageProblem:
    """Of a server that does not answer, or lets nobody in."""
    return StorageProblem(
        f"The ledger's server cannot be used ({place}).",
        why,
        "Check engine.url, and that the server runs; then try again.",
    )


def unknown(place: LedgerServer, why: str) -> StorageProblem:
    """Of a change whose commit was sent and not answered."""
    return StorageProblem(
        f"The connection to {place} ended while a change was stored; whether it was is not known.",
        why,
        "cairn list   shows what the ledger has.",
    )

"""What a server's ledger looks like to this role, for `cairn doctor`: nothing is made or changed there."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass

import psycopg

from cairn.ledger_place import LedgerServer
from cairn.postgres_connection import first_connection, problem_of

_WHO = """SELECT current_user, current_database(), has_database_privilege(current_database(), 'CREATE'),
    extract(epoch FROM clock_timestamp())::float8,
    (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = %(schema)s),
    (SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = %(schema)s),
    (SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = %(schema)s)"""
_LACKING = """SELECT relname FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = %s)
    AND CASE relkind WHEN 'S' THEN NOT has_sequence_privilege(oid, 'USAGE')
        WHEN 'r' THEN NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
            AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))
        ELSE false END ORDER BY relname"""


@dataclass(frozen=True, slots=True)
class ServerLook:
    """`owner` is None without a ledger; `layout` and `oldest` are where this role may not read them.

    `clock_ahead` is how far this machine's clock is ahead of the server's, in seconds. `lacking` are the tables that
    the role may not use.
    """

    major: int
    role: str
    database: str
    may_make: bool
    clock_ahead: float
    owner: str | None
    owns: bool = False
    layout: int | None = None
    oldest: int | None = None
    lacking: tuple[str, ...] = ()


def look(place: LedgerServer) -> ServerLook:
    """Raises StorageProblem when the server does not answer, UsageProblem for no address of one."""
    with closing(first_connection(place)) as connection:
        try:
            return _looked(place, connection)
        except psycopg.Error as error:
            raise problem_of(place, error) from error


def _looked(place: LedgerServer, connection: psycopg.Connection) -> ServerLook:
    before = time.time()
    row = connection.execute(_WHO.encode(), {"schema": place.schema}).fetchone()
    here = (before + time.time()) / 2
    assert row is not None  # noqa: S101 - a SELECT without FROM
    role, database, may_make, there, owner, owns, may_look = row
    found = ServerLook(connection.info.server_version // 10_000, role, database, may_make, here - there, owner)
    if owner is None:
        return found
    lacking = tuple(name for (name,) in connection.execute(_LACKING.encode(), (place.schema,)).fetchall())
    layout = None
    if may_look and "layout" not in lacking:
        layout = connection.execute("SELECT version, oldest FROM layout").fetchone()
    version, oldest = layout or (None, None)
    lacking = lacking if may_look else ("the schema", *lacking)
    return ServerLook(
        found.major, role, database, may_make, found.clock_ahead, owner, bool(owns), version, oldest, lacking
    )

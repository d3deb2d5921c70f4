"""A project's ledger on a real server, for tests that need no more of it than which task is in which state."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import NamedTuple

import psycopg

from cairn.errors import StorageProblem

PATIENCE = 10.0


class Answer(NamedTuple):
    rows: list
    count: int

    def first(self):
        return self.rows[0] if self.rows else None


class Connection:
    """`ServerRows` over one connection, made again after the server was away."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection | None = None

    def _alive(self) -> psycopg.Connection:
        if self._connection is not None and not self._connection.closed:
            with suppress(psycopg.OperationalError):
                self._connection.execute("SELECT 1")
                return self._connection
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self._connection = psycopg.connect(self._url, autocommit=True)
            except psycopg.OperationalError as error:
                if time.monotonic() > until:
                    raise StorageProblem("The server is not there.") from error
            else:
                return self._connection

    def execute(self, statement, values=()):
        inside = self._connection is not None and self._connection.info.transaction_status != 0
        connection = self._connection if inside else self._alive()
        done = connection.execute(statement.replace("?", "%s"), values)
        return Answer(done.fetchall() if done.description else [], done.rowcount)

    def write(self, work, *, alone=True):
        try:
            with self._alive().transaction():
                if alone:
                    self.execute("SELECT pg_advisory_xact_lock(1)")
                return work()
        except psycopg.OperationalError as error:
            raise StorageProblem("The server went away.") from error

    def ensure(self, script):
        script = script.replace("BLOB", "BYTEA").replace("INTEGER", "BIGINT").replace("REAL", "DOUBLE PRECISION")
        self.write(lambda: self._connection.execute(script))

    def now(self):
        return time.time()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class SharedLedger:
    """The ledger's table of tasks. `has` puts a task there as it is, whatever was before."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._open: list[Connection] = []
        table = "CREATE TABLE IF NOT EXISTS task (id TEXT PRIMARY KEY, status TEXT, attempt BIGINT)"
        self.database().execute(table)

    def database(self) -> Connection:
        """A connection of its own, as another machine has it."""
        self._open.append(Connection(self._url))
        return self._open[-1]

    def has(self, task):
        """The task as it was given."""
        self._open[0].execute(
            "INSERT INTO task VALUES (?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET status = excluded.status, attempt = excluded.attempt",
            (task.id, str(task.status), task.attempt),
        )
        return task

    def close(self) -> None:
        for each in self._open:
            each.close()

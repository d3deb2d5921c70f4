"""Hears of each commit to the ledger of a project on a Postgres server, by the notice that follows it."""

from __future__ import annotations

import selectors
from contextlib import suppress

import psycopg
from psycopg import sql

from cairn.errors import StorageProblem
from cairn.ledger_place import LedgerServer
from cairn.postgres_connection import LostConnection, connection_to, first_connection, first_patience, said


class ServerCommits:
    """Hears of each commit to a project's tasks, in a selector. After a loss of the connection it counts as one."""

    def __init__(self, place: LedgerServer, selector: selectors.BaseSelector) -> None:
        self._place = place
        self._selector = selector
        self._changed = False
        self._connection: psycopg.Connection | None = None
        self._socket = -1
        patience = first_patience(place)
        while self._connection is None:
            try:
                self._begin(first_connection(place))
            except LostConnection as lost:  # between its two messages
                patience.wait(str(lost))

    def close(self) -> None:
        """Leaves the server."""
        if self._connection is not None:
            self._connection.close()

    def ready(self, seconds: float) -> list[selectors.SelectorKey]:
        """What else became ready meanwhile. Waits no longer than a second for a server that is not there."""
        if self._connection is None:
            with suppress(LostConnection, StorageProblem):
                self._begin(connection_to(self._place, connect_timeout="2"))
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
            raise LostConnection(said(self._place, error)) from error
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

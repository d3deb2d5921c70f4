"""A project's ledger on a real server, for tests that need no more of it than which task is in which state."""

from __future__ import annotations

from cairn.ledger_database import opened
from cairn.ledger_place import LedgerServer
from cairn.queue import TaskQueue


class SharedLedger:
    """`has` puts a task there as it is, whatever was before."""

    def __init__(self, url):
        self._place = LedgerServer(url, "sample")
        self._queue = TaskQueue(self._place)
        self._open = []
        self._own = self.database()

    def database(self):
        """A connection of its own, as another machine has it."""
        self._open.append(opened(self._place))
        return self._open[-1]

    def has(self, task):
        """The task as it was given."""
        self._own.execute("DELETE FROM task WHERE id = ?", (task.id,))
        assert self._queue.restore(task)
        return task

    def close(self):
        for each in (self._queue, *self._open):
            each.close()

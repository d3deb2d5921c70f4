"""One project of many machines: its ledger and its tasks' files on a server, its files in git."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cairn.base_checkouts import cache_folder
from cairn.errors import UsageProblem
from cairn.kept_bases import KeptBases
from cairn.ledger_database import LedgerDatabase
from cairn.ledger_database import opened as opened_ledger
from cairn.ledger_place import LedgerServer
from cairn.project import Project
from cairn.project_name import project_name
from cairn.queue import TaskQueue
from cairn.shared_bases import SharedBases
from cairn.shared_tasks import SharedTasks

if TYPE_CHECKING:
    from cairn.settings import Settings


@dataclass(frozen=True, slots=True)
class SharedProject:
    """What an orchestrator works with instead of the project's own ledger and folder of tasks."""

    queue: TaskQueue
    store: SharedTasks
    bases: SharedBases
    beside: _Beside

    @classmethod
    def open(cls, project: Project, settings: Settings) -> SharedProject:
        """Raises UsageProblem for what cannot be shared, StorageProblem when the server does not answer."""
        from cairn.object_store import open_objects

        engine = settings.engine
        if engine.url is None:
            raise UsageProblem("No server is named.", fix="CAIRN_ENGINE_URL=postgresql://...   names one.")
        name = project_name(project.root, project.state, engine.project)
        place = LedgerServer(engine.url, name)
        cache = cache_folder(engine.cache, os.environ, name)
        objects = open_objects(engine.objects)
        with ExitStack() as opened:
            queue = opened.enter_context(TaskQueue(place))
            beside = _Beside(place)
            store = SharedTasks(queue.database, project.state / "shared", objects, beside=beside)
            bases = SharedBases(project, engine.remote or "origin", cache, KeptBases(queue.database))
            opened.pop_all()
        return cls(queue, store, bases, beside)

    def close(self) -> None:
        """Releases the server's connections."""
        self.queue.close()
        self.beside.close()


class _Beside:
    """A second connection, for what takes long; made when it is first needed."""

    def __init__(self, place: LedgerServer) -> None:
        self._place = place
        self._database: LedgerDatabase | None = None

    def __call__(self) -> LedgerDatabase:
        if self._database is None:
            self._database = opened_ledger(self._place)
        return self._database

    def close(self) -> None:
        """Leaves the server."""
        if self._database is not None:
            self._database.close()

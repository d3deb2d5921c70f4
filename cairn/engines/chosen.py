"""Which engine serves a crew: the one that the settings name, loaded only then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cairn.engines import Engine
from cairn.engines.embedded import EmbeddedEngine
from cairn.errors import UsageProblem
from cairn.fleet import Fleet
from cairn.ledger_place import LedgerFile
from cairn.queue import TaskQueue
from cairn.wanted_tasks import Variants

if TYPE_CHECKING:
    from cairn.engines.dbos import Dispatch
    from cairn.settings import Settings


def chosen_engine(
    queue: TaskQueue, settings: Settings, size: int, fleet: Fleet, variants: Variants | None = None
) -> Engine:
    """The server's where the ledger is on one; variants are run by whoever asked for them.

    Raises UsageProblem without DBOS.
    """
    place = queue.place
    if isinstance(place, LedgerFile) or variants is not None:
        return EmbeddedEngine(queue, at_once=settings.budget.tasks_at_once, variants=variants)
    from cairn.engines.dbos import DbosEngine

    require_dbos()
    return DbosEngine(queue, dispatch_of(settings, place.url, place.schema), size, fleet.executors)


def dispatch_of(settings: Settings, url: str, queue: str) -> Dispatch:
    """Where and how fast tasks are dispatched."""
    from cairn.engines.dbos import Dispatch

    return Dispatch(url, queue, settings.budget.tasks_at_once, settings.engine.starts_per_minute)


def require_dbos() -> None:
    """Raises UsageProblem where what a server needs is not installed; looks without loading it."""
    from importlib.util import find_spec

    if find_spec("dbos") is None:
        raise UsageProblem(
            "engine.url names a server, and what Cairn needs to work with one is not installed here.",
            fix="pip install 'cairn[scale]'",
        )

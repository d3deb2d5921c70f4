"""Who works on a project's tasks now, with what, and what waits: the fleet as `cairn engine status` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cairn import __version__
from cairn.fleet import Fleet, SeenCrew
from cairn.lacks import Lack
from cairn.model_lacks import CrewLack, every_lack
from cairn.queue import TaskQueue
from cairn.task import Task, TaskStatus
from cairn.task_holds import Pause
from cairn.task_owner import Owner


@dataclass(frozen=True, slots=True)
class CrewStatus:
    """One `cairn work`: whether it is heard of, how its version looks from here, its tasks, and what it lacks."""

    crew: SeenCrew
    is_there: bool
    silent_seconds: float
    age: str
    tasks: tuple[Task, ...]
    lacks: tuple[CrewLack, ...] = ()


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """All crews, the running tasks that no crew has (those of `cairn run`), and what waits.

    `missing` are the models that no crew which is there can ask.
    """

    now: float
    crews: tuple[CrewStatus, ...]
    others: tuple[tuple[Task, Owner], ...]
    queued: int
    running: int
    pauses: tuple[Pause, ...]
    missing: tuple[Lack, ...] = ()


def fleet_status(queue: TaskQueue, fleet: Fleet) -> FleetStatus:
    """As the ledger has it at this moment."""
    counts, now = queue.counts(), fleet.now()
    running = {task.id: task for task in queue.tasks([TaskStatus.RUNNING])}
    holders = {task_id: owner for task_id, owner in queue.holders().items() if task_id in running}
    lacks = every_lack(queue.database)
    crews = tuple(
        replace(_crew_status(crew, running, holders, now), lacks=tuple(each for each in lacks if each.crew == crew.id))
        for crew in fleet.crews()
    )
    of_crews = {task.id for each in crews for task in each.tasks}
    others = tuple((running[task_id], owner) for task_id, owner in holders.items() if task_id not in of_crews)
    return FleetStatus(
        now, crews, others, counts.get(TaskStatus.QUEUED, 0), counts.get(TaskStatus.RUNNING, 0), queue.pauses(),
        tuple(queue.missing().values()),
    )  # fmt: skip


def _crew_status(crew: SeenCrew, running: Mapping[str, Task], holders: Mapping[str, Owner], now: float) -> CrewStatus:
    mine = tuple(running[task_id] for task_id, owner in holders.items() if owner in crew.members)
    return CrewStatus(crew, crew.is_there(now), max(0.0, now - crew.beat_at), version_age(crew.version), mine)


def version_age(version: str) -> str:
    """The word for a version that is not this Cairn's: old or new; none for the same."""
    if version == __version__:
        return ""
    return "new" if _parts(version) > _parts(__version__) else "old"


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int("".join(filter(str.isdigit, part)) or 0) for part in version.split("."))

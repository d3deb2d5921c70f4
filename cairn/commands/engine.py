"""`cairn engine`: what hands tasks to workers, and which workers there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from cairn.commands import Chosen, as_json, opened
from cairn.console import Console, Styled, printable

if TYPE_CHECKING:
    from cairn.engine_status import CrewStatus, FleetStatus
    from cairn.lacks import Lack
    from cairn.settings import EngineSettings

SHOWN = 8


@click.group("engine")
def command() -> None:
    """Show which workers there are, and what they do.

    The engine hands tasks to workers: on one machine the ledger itself does, with the setting engine.url a server that
    many machines share.
    """


@command.command("status")
@as_json
@click.pass_obj
def status(chosen: Chosen, as_json: bool) -> None:
    """List the crews that work on this project: each `cairn work` with its machine, its version and its tasks.

    A crew of another version of Cairn is marked. One that died without a word is listed for a day, so that somebody
    sees it.
    """
    from cairn.engine_status import fleet_status
    from cairn.fleet import Fleet

    console = Console(as_json=as_json)
    with opened(chosen, console, showing=True) as orchestrator:
        settings = orchestrator.settings.engine
        with Fleet(orchestrator.queue.place) as fleet:
            found = fleet_status(orchestrator.queue, fleet)
    if as_json:
        console.json(_json(found, settings))
    console.write(f"{_engine(settings)}: {found.queued:,} queued, {found.running:,} running")
    if found.crews:
        header = ["MACHINE", "PID", "VERSION", "SINCE", "HEARD", "WORKERS", "TASKS"]
        console.table(header, [_row(each, found.now) for each in found.crews])
    else:
        console.note("cairn: nobody works here. Start one:  cairn work --forever")
    for task, owner in found.others:
        console.write(f"{task.id} is run by process {owner.pid} on {owner.machine}")
    for pause in found.pauses:
        console.note(f"cairn: {printable(pause.in_words(found.now))}")
    for line in _lacks(found):
        console.note(f"cairn: {printable(line)}")


def _engine(settings: EngineSettings) -> str:
    from cairn.ledger_place import shown_address

    return "embedded engine" if settings.url is None else f"dbos engine at {shown_address(settings.url)}"


def _row(each: CrewStatus, now: float) -> list[str | Styled]:
    from cairn.commands.list import age

    crew = each.crew
    shown = ", ".join(task.id for task in each.tasks[:SHOWN])
    more = f" and {len(each.tasks) - SHOWN} more" if len(each.tasks) > SHOWN else ""
    heard = f"{age(each.silent_seconds)} ago"
    return [
        crew.owner.machine,
        str(crew.owner.pid),
        Styled(f"{crew.version} ({each.age})", "yellow") if each.age else crew.version,
        age(now - crew.started_at),
        heard if each.is_there else Styled(f"gone, {heard}", "red"),
        f"{crew.size}, stopping" if crew.stopping else str(crew.size),
        shown + more or "-",
    ]


def _lacks(found: FleetStatus) -> Iterator[str]:
    """What nobody can ask, with the ways out; else who leaves which model to the others."""
    for lack in found.missing:
        yield lack.of_its_tasks()
        yield from (f"  {way}" for way in lack.ways_out)
    nobodys = {lack.model for lack in found.missing}
    for each in found.crews:
        for one in each.lacks if each.is_there else ():
            if one.lack.model not in nobodys:
                who = f"process {each.crew.owner.pid} on {each.crew.owner.machine}"
                yield f"{who} leaves tasks of {one.lack.model} to other workers: {one.lack.why.rstrip('.')}"


def _json(found: FleetStatus, settings: EngineSettings) -> dict[str, Any]:
    from cairn.ledger_place import shown_address

    return {
        "engine": "embedded" if settings.url is None else "dbos",
        "url": None if settings.url is None else shown_address(settings.url),
        "queued": found.queued,
        "running": found.running,
        "crews": [_crew_json(each) for each in found.crews],
        "others": [{"task": task.id, "host": owner.machine, "pid": owner.pid} for task, owner in found.others],
        "paused": [
            {"model": pause.model, "until": pause.until, "reason": pause.reason, "failures": pause.failures}
            for pause in found.pauses
        ],
        "missing": [_lack_json(lack) for lack in found.missing],
    }


def _lack_json(lack: Lack) -> dict[str, Any]:
    return {"model": lack.model, "wants": str(lack.wants), "why": lack.why, "fix": list(lack.ways_out)}


def _crew_json(each: CrewStatus) -> dict[str, Any]:
    crew = each.crew
    return {
        "host": crew.owner.machine,
        "pid": crew.owner.pid,
        "version": crew.version,
        "age": each.age,
        "engine": crew.engine,
        "workers": crew.size,
        "stopping": crew.stopping,
        "started_at": crew.started_at,
        "heard_at": crew.beat_at,
        "is_there": each.is_there,
        "lacks": [{**_lack_json(one.lack), "until": one.until} for one in each.lacks],
        "tasks": [{"id": task.id, "request": task.request, "started_at": task.started_at} for task in each.tasks],
    }

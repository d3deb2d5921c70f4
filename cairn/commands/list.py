"""`cairn list`: the tasks of a project, newest first."""

from __future__ import annotations

import time

import click

from cairn.commands import Chosen, as_json, tasks_of
from cairn.console import Console, Styled
from cairn.task import Task, TaskStatus

_COLOURS = {
    TaskStatus.IN_REVIEW: "yellow",
    TaskStatus.ACCEPTED: "green",
    TaskStatus.FAILED: "red",
    TaskStatus.RUNNING: "cyan",
}


@click.command("list")
@click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="How many at most.")
@click.option("--status", type=click.Choice([str(status) for status in TaskStatus]), help="Only tasks in this status.")
@as_json
@click.pass_obj
def command(chosen: Chosen, limit: int, status: str | None, as_json: bool) -> None:
    """List the tasks of the project."""
    console = Console(as_json=as_json)
    with tasks_of(chosen, console) as queue:
        tasks = queue.tasks([TaskStatus(status)] if status else [], limit=limit)
    if as_json:
        from cairn.json_output import task_json

        console.json({"tasks": [task_json(task) for task in tasks]})
    elif not tasks:
        console.note('cairn: no tasks yet. Start one:  cairn run "add docstrings"')
    else:
        console.table(["ID", "STATUS", "CHANGES", "AGE", "TASK"], [_row(task) for task in tasks])


def _row(task: Task) -> list[str | Styled]:
    outcome = task.outcome
    files = f"{outcome.files_changed} file{'' if outcome.files_changed == 1 else 's'}"
    changes = f"{files} +{outcome.lines_added} -{outcome.lines_removed}"
    return [
        task.id,
        Styled(str(task.status), _COLOURS.get(task.status, "")),
        changes if outcome.files_changed else "-",
        age(time.time() - task.created_at),
        task.request + (f": {task.reason}" if task.reason else ""),
    ]


def age(seconds: float) -> str:
    """A rough age in one unit: 12 s, 5 min, 3 h, 9 d."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"

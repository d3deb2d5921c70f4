"""`cairn cancel ID`: a task that waits or runs is ended."""

from __future__ import annotations

import time

import click

from cairn.commands import Chosen, as_json, opened
from cairn.console import Console
from cairn.errors import TaskFailed
from cairn.task import TaskStatus

PATIENCE_SECONDS = 20.0


@click.command("cancel")
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@as_json
@click.pass_obj
def command(chosen: Chosen, task_ids: tuple[str, ...], as_json: bool) -> None:
    """End a task that waits or runs; its work is kept.

    Also one that another process runs: its model call in flight is ended, and no process of it stays. `cairn resume ID`
    goes on with it later.
    """
    from cairn.json_output import task_json

    console = Console(as_json=as_json)
    with opened(chosen, console) as orchestrator:
        tasks = [orchestrator.task(task_id) for task_id in task_ids]
        ended = []
        for task in tasks:
            if not orchestrator.moves.cancel(task):
                deadline = time.monotonic() + PATIENCE_SECONDS
                while orchestrator.task(task.id).status is TaskStatus.RUNNING:
                    if time.monotonic() > deadline:
                        raise TaskFailed(
                            f"Task {task.id} was asked to end and has not ended after {PATIENCE_SECONDS:.0f} s.",
                            "The process that runs it may be stopped, or on another machine.",
                            f"cairn show {task.id}   shows how far it is.",
                        )
                    time.sleep(0.05)
            ended.append(orchestrator.task(task.id))
    if as_json:
        console.json({"tasks": [task_json(task) for task in ended]})
    for task in ended:
        console.write(f"Task {task.id} is {task.status}.")
    console.note(f"cairn resume {ended[0].id}   goes on where it stopped.")

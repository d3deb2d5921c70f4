"""`cairn accept`: a task's changes reach the project, all or none."""

from __future__ import annotations

import click

from cairn.commands import Chosen, as_json, named_task, opened, task_argument
from cairn.console import Console
from cairn.task import TaskStatus


@click.command("accept")
@task_argument
@as_json
@click.pass_obj
def command(chosen: Chosen, task_id: str | None, as_json: bool) -> None:
    """Take a task's changes into the project.

    Your own edits since then are kept: each file is merged three ways. On a conflict nothing is written.
    """
    console = Console(as_json=as_json)
    with opened(chosen, console) as orchestrator:
        task = named_task(orchestrator, task_id, (TaskStatus.IN_REVIEW,), "accept")
        task, applied = orchestrator.accept(task)
    if as_json:
        from cairn.json_output import applied_json

        console.json(applied_json(task, applied))
    console.write(f"Accepted {task.id}: {applied.in_words()}.")
    console.note(f"cairn undo {task.id}   takes it back.")

"""`cairn reject`: a task's changes are dropped from review."""

from __future__ import annotations

import click

from cairn.commands import Chosen, as_json, named_task, opened, overrule_option, task_argument
from cairn.console import Console
from cairn.task import TaskStatus


@click.command("reject")
@task_argument
@click.option("-r", "--reason", default="", help="Why, kept with the task.")
@overrule_option
@as_json
@click.pass_obj
def command(chosen: Chosen, task_id: str | None, reason: str, overrule: bool, as_json: bool) -> None:
    """Drop a task's changes.

    The project was never touched by them; the task and its diff can still be looked at. `cairn undo ID` takes the
    rejection back.
    """
    console = Console(as_json=as_json)
    with opened(chosen, console) as orchestrator:
        named = named_task(orchestrator, task_id, (TaskStatus.IN_REVIEW,), "reject")
        task = orchestrator.decisions.reject(named, reason, overrule=overrule)
        partly = bool(orchestrator.operations.accepted(task.id))
    if as_json:
        from cairn.json_output import task_json

        console.json({"task": task_json(task)})
    console.write(f"Rejected {task.id}. Nothing in your project changed.")
    if not partly:  # of a task that was accepted in part, undo takes back that
        console.note(f"cairn undo {task.id}   puts it back in review.")
    console.note(f"cairn retry {task.id}   runs it again from today's files.")

"""`cairn undo`: the files as they were before an accept."""

from __future__ import annotations

import click

from cairn.commands import Chosen, as_json, opened, task_argument
from cairn.console import Console


@click.command("undo")
@task_argument
@as_json
@click.pass_obj
def command(chosen: Chosen, task_id: str | None, as_json: bool) -> None:
    """Take back an accept.

    It is the last one, or with an ID the one of that task.

    What you edited since stays: undo merges three ways too. On a conflict nothing is written.
    """
    console = Console(as_json=as_json)
    with opened(chosen, console) as orchestrator:
        task, undone = orchestrator.undo(orchestrator.task(task_id) if task_id else None)
    if as_json:
        from cairn.json_output import undone_json

        console.json(undone_json(task, undone))
    console.write(f"Took back {task.id}: {undone.in_words()}.")
    console.note(f"It is in review again:  cairn accept {task.id}   or   cairn reject {task.id}")

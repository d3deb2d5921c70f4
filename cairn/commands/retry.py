"""`cairn retry`: a task again, from today's files."""

from __future__ import annotations

import click

from cairn.commands import Chosen, as_json, ask_at_limits, named_task, only_paths, opened, task_argument
from cairn.commands.run import carry_out, options_of
from cairn.console import Console
from cairn.task import TaskStatus
from cairn.task_owner import Owner


@click.command("retry")
@task_argument
@click.option("--because", metavar="TEXT", default="", help="What was wrong; the model that tries again is told.")
@only_paths
@ask_at_limits
@click.option("--accept", "accept", is_flag=True, help="Accept at once when nothing conflicts.")
@click.option("-v", "--verbose", is_flag=True, help="Show each external call, and what a model is told.")
@as_json
@click.pass_obj
def command(
    chosen: Chosen,
    task_id: str | None,
    because: str,
    only: tuple[str, ...],
    ask: bool,
    accept: bool,
    verbose: bool,
    as_json: bool,
) -> int:
    """Run a task again from today's files.

    It gets a new id. A task that was in review is rejected in its favour. The reason of an earlier rejection is told to
    the model that tries again.
    """
    console = Console(as_json=as_json)
    open_to_retry = (TaskStatus.IN_REVIEW, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.REJECTED)
    with opened(chosen, console) as orchestrator:
        old = named_task(orchestrator, task_id, open_to_retry, "retry")
        own = options_of(None, (), only, ask=ask)
        task = orchestrator.again.retry(old, because=because, options=own, held_by=Owner.this_process())
        return carry_out(orchestrator, task, console, accept=accept, verbose=verbose)

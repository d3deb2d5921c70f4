"""`cairn resume`: a stopped task goes on from its journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cairn.commands import Chosen, as_json, ask_at_limits, opened
from cairn.commands.run import carry_out, options_of
from cairn.console import Console
from cairn.errors import NotFound, UsageProblem
from cairn.model_lacks import ask_again, every_lack
from cairn.task import TaskStatus
from cairn.task_owner import Owner

if TYPE_CHECKING:
    from cairn.orchestrator import Orchestrator
    from cairn.task import Task


@click.command("resume")
@click.argument("task_id", metavar="[ID]", required=False)
@click.option("--limit", "limits", multiple=True, metavar="NAME=VALUE", help="Raise the limit it stopped at.")
@ask_at_limits
@click.option("--accept", "accept", is_flag=True, help="Accept at once if nothing conflicts or is dangerous.")
@click.option("--no-wait", "no_wait", is_flag=True, help="Stop if budget.tasks_at_once tasks run already.")
@click.option("-v", "--verbose", is_flag=True, help="Show each external call, and what a model is told.")
@click.option(
    "-m",
    "--model",
    metavar="MODEL",
    help="Let this model be asked again that was paused or had no key; run none here.",
)
@as_json
@click.pass_obj
def command(
    chosen: Chosen,
    task_id: str | None,
    limits: tuple[str, ...],
    ask: bool,
    accept: bool,
    no_wait: bool,
    verbose: bool,
    model: str | None,
    as_json: bool,
) -> int:
    """Go on with a task that was interrupted, cancelled, or stopped at a limit.

    Nothing that it did is done again: calls that had ended, answers of models too, come from its journal. Without an
    ID: the only task that was interrupted.

    \b
      cairn resume
      cairn resume ID --limit steps=24
    """
    console = Console(as_json=as_json)
    with opened(chosen, console) as orchestrator:
        if model is not None:
            return _let_be_asked(orchestrator, console, model)
        task = _interrupted(orchestrator) if task_id is None else orchestrator.task(task_id)
        task = orchestrator.stopped_tasks.resume(task, options_of(None, limits, ask=ask), held_by=Owner.this_process())
        return carry_out(orchestrator, task, console, accept=accept, verbose=verbose, wait=not no_wait)


def _interrupted(orchestrator: Orchestrator) -> Task:
    """The only queued task that had begun. Others wait for their turn, or for another task."""
    found = [task for task in orchestrator.queue.tasks([TaskStatus.QUEUED]) if task.attempt]
    if not found:
        raise NotFound(
            "No task was interrupted.",
            fix=(
                "cairn resume ID   goes on with one that was cancelled or stopped at a limit (cairn list shows them).",
                "cairn work   runs those that are queued.",
            ),
        )
    if len(found) > 1:
        names = ", ".join(task.id for task in found[:6])
        raise UsageProblem(f"More than one task could be meant: {names}.", fix=f"cairn resume {found[0].id}")
    return found[0]


def _let_be_asked(orchestrator: Orchestrator, console: Console, model: str) -> int:
    with orchestrator.model_use.pauses() as pauses:
        lacking = (each.lack.model for each in every_lack(orchestrator.queue.database))
        names = dict.fromkeys([*(pause.model for pause in pauses.every()), *lacking])
        ended = pauses.end(model)
    ended = ask_again(orchestrator.queue.database, model) or ended
    if not ended:
        known = f"Paused: {', '.join(names)}." if names else "No model is."
        raise NotFound(f"The model {model} is not paused.", known, "cairn list --status queued   says what waits.")
    if console.as_json:
        console.json({"model": model, "paused": False})
    console.write(f"{model} is asked again; cairn work   runs its tasks.")
    return 0

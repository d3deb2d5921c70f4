"""`cairn replay`: a task's programs again, offline, against its journal; or from one of its steps another way."""

from __future__ import annotations

import asyncio

import click

from cairn.commands import Chosen, as_json, looked_at, opened, task_argument
from cairn.commands.run import carry_out
from cairn.console import Console
from cairn.errors import UsageProblem
from cairn.task_owner import Owner


@click.command("replay")
@task_argument
@click.option("--until", metavar="N", type=click.IntRange(min=0), help="Stop after step N; show variables and files.")
@click.option("--fork", metavar="N", type=click.IntRange(min=0), help="Keep the first N steps; go on as a new task.")
@click.option("--then", metavar="TEXT", default="", help="With --fork: what to do from there on.")
@click.option("-m", "--model", metavar="MODEL", help="With --fork: the model that writes the programs from there on.")
@click.option("-v", "--verbose", is_flag=True, help="Show each external call, and what a model is told.")
@as_json
@click.pass_obj
def command(
    chosen: Chosen,
    task_id: str | None,
    until: int | None,
    fork: int | None,
    then: str,
    model: str | None,
    verbose: bool,
    as_json: bool,
) -> int:
    """Run a task's programs again, offline, and prove that the same changes come out.

    Every call is compared with the journal and answered from it or from the files that the task captured. No model is
    asked, nothing of the project is read or written.

    \b
      cairn replay ID --until 2
      cairn replay ID --fork 2 --then "but leave the tests alone"
    """
    from cairn.progress_lines import ProgressLines
    from cairn.review_text import replayed

    if fork is None and (then or model):
        raise UsageProblem("--then and -m need --fork N.", fix='cairn replay ID --fork 1 --then "..."')
    if fork is not None and until is not None:
        raise UsageProblem("--until looks, --fork goes on: both at once cannot be.", fix="Leave one of them out.")
    console = Console(as_json=as_json)
    options: dict[str, object] = {"model": model} if model else {}
    with opened(chosen, console, options) as orchestrator:
        task = looked_at(orchestrator, task_id, "replay")
        if fork is not None:
            origin = None
            if then and model is None and task.origin.source != "model":
                raise UsageProblem(
                    f"No model writes the programs of task {task.id}, so nobody would heed --then.",
                    fix=f'cairn replay {task.id} --fork {fork} --then "..." -m MODEL',
                )
            if model is not None:
                from cairn.plugins import model_origin

                origin = model_origin(orchestrator.settings)
            forking = orchestrator.again.fork(task, fork, then=then, origin=origin, held_by=Owner.this_process())
            forked = asyncio.run(forking)
            console.note(f"cairn: forked from {task.id} after step {fork}")
            return carry_out(orchestrator, forked, console, accept=False, verbose=verbose)
        with ProgressLines(verbose=verbose) as progress:
            found = asyncio.run(orchestrator.again.replay(task, until=until, observe=progress))
    if as_json:
        from cairn.json_output import replay_json

        console.json(replay_json(found))
    for line in replayed(found, console):
        console.write(line)
    return 0

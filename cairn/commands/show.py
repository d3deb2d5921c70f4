"""`cairn show`: everything a reviewer wants."""

from __future__ import annotations

import click

from cairn.commands import Chosen, as_json, looked_at, opened, task_argument
from cairn.console import Console


@click.command("show")
@task_argument
@click.option("--no-code", is_flag=True, help="Leave the programs out.")
@as_json
@click.pass_obj
def command(chosen: Chosen, task_id: str | None, no_code: bool, as_json: bool) -> None:
    """Show a task as a reviewer wants it.

    Status, who planned it, each step's program with its calls, output and errors, what was used, what changed, and
    whether the submission's claims hold.
    """
    from cairn import review_text
    from cairn.json_output import review_json

    console = Console(as_json=as_json)
    with opened(chosen, console, showing=True) as orchestrator:
        task = looked_at(orchestrator, task_id, "show")
        orchestrator.work.require_kept(task)
        review = orchestrator.reviews.of(task)
        hold = orchestrator.queue.holds([review.task]).get(review.task.id, "")
        missing = orchestrator.queue.missing() if hold else {}
    if as_json:
        console.json(review_json(review) | {"waits": hold})
        return
    lack = next((missing[model] for model in review.task.models if model in missing), None)
    ways_out = lack.ways_out if lack is not None and hold == lack.in_words() else ()
    for line in review_text.full(review, console, hold, ways_out):
        console.write(line)
    for step in review.steps:
        console.write()
        console.write(console.style(review_text.step_headline(review, step), "bold"))
        if not no_code:
            console.python(step.program.text)
        for line in review_text.step_calls(review, step):
            console.write(line)
        for line in review_text.step_outcome(step):
            console.write(line)
    console.write()
    console.write(review_text.verdict(review, console))

"""`cairn answer`: a task that asks something gets its answer, and goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cairn.commands import Chosen, as_json, named_task, opened
from cairn.commands.run import carry_out, conclude, options_of
from cairn.console import Console
from cairn.errors import NotFound, UsageProblem
from cairn.task import Task, TaskStatus
from cairn.task_owner import Owner

if TYPE_CHECKING:
    from cairn.orchestrator import Orchestrator
    from cairn.question_dialog import Said
    from cairn.review import Review


@click.command("answer")
@click.argument("task_id", metavar="[ID]", required=False)
@click.option("-y", "--yes", "yes", is_flag=True, help="The call is made, this once; a limit is doubled.")
@click.option("-n", "--no", "no", is_flag=True, help="It is refused; at a limit the task stops there.")
@click.option("--always", "always", is_flag=True, help="Yes, and the same rule asks no more in this task.")
@click.option("--because", metavar="TEXT", default="", help="With --no: the program is told why.")
@click.option("--limit", "limits", multiple=True, metavar="NAME=VALUE", help="With --yes: change this limit.")
@click.option("-d", "--detach", is_flag=True, help="Leave the task in the queue for `cairn work`.")
@click.option("--accept", "accept", is_flag=True, help="Accept at once if nothing conflicts or is dangerous.")
@click.option("-v", "--verbose", is_flag=True, help="Show each external call, and what a model is told.")
@as_json
@click.pass_obj
def command(
    chosen: Chosen,
    task_id: str | None,
    yes: bool,
    no: bool,
    always: bool,
    because: str,
    limits: tuple[str, ...],
    detach: bool,
    accept: bool,
    verbose: bool,
    as_json: bool,
) -> int:
    """Answer what a task asks, so that it goes on.

    A task asks where the policy says so, or at a limit with --ask. It waits for days, in the project or where it was
    imported. Nothing that it did is done again. Without an ID: the only task that waits.

    \b
      cairn answer ID                       show the question, and ask on the terminal
      cairn answer ID --yes
      cairn answer ID --no --because "that file is generated"
    """
    if yes + no + always > 1 or (because and not no) or (limits and not (yes or always)):
        fix = 'cairn answer ID --yes, or --always, or --no --because "..."'
        raise UsageProblem("These options do not go together.", fix=fix)
    console = Console(as_json=as_json)
    with opened(chosen, console) as orchestrator:
        task = named_task(orchestrator, task_id, (TaskStatus.WAITING,), "answer")
        review = orchestrator.reviews.of(task)
        if not (yes or no or always):
            return _asked_here(orchestrator, review, console, accept=accept, verbose=verbose)
        said = _said(review, limits, yes=not no, always=always, because=because)
        held_by = None if detach else Owner.this_process()
        if said is None:
            task = orchestrator.stopped_tasks.resume(task, options_of(None, limits), held_by=held_by)
        else:
            task = orchestrator.stopped_tasks.answer(task, said.answer, said.options, held_by=held_by)
        if detach or task.status is not TaskStatus.QUEUED:
            return _told(orchestrator, task, console)
        return carry_out(orchestrator, task, console, accept=accept, verbose=verbose)


def _said(review: Review, limits: Sequence[str], *, yes: bool, always: bool, because: str) -> Said | None:
    """None when the question has its answer already, and only the task has not gone on: its process was killed."""
    from cairn.question_dialog import Said, said_to
    from cairn.task_questions import PersonAnswer

    if review.question is None:
        if review.task.status is TaskStatus.WAITING:
            return None
        raise NotFound(f"Task {review.task.id} asks nothing.", fix=f"cairn show {review.task.id}")
    answer = PersonAnswer(yes=yes, always=always, because=because)
    options = options_of(None, limits)
    return Said(answer, options) if options else said_to(review.question, answer)


def _asked_here(orchestrator: Orchestrator, review: Review, console: Console, *, accept: bool, verbose: bool) -> int:
    from cairn.question_dialog import somebody_is_there

    if review.question is None:
        if review.task.status is not TaskStatus.WAITING:
            raise NotFound(f"Task {review.task.id} asks nothing.", fix=f"cairn show {review.task.id}")
        # It was answered, and killed before it went on.
        task = orchestrator.stopped_tasks.resume(review.task, held_by=Owner.this_process())
        return carry_out(orchestrator, task, console, accept=accept, verbose=verbose)
    if somebody_is_there(console):
        return conclude(orchestrator, review, console, accept=accept, verbose=verbose)
    from cairn.review_text import question

    console.write(question(review, console, lines=None))
    task_id = review.task.id
    fix = (f"cairn answer {task_id} --yes", f'cairn answer {task_id} --no --because "..."')
    raise UsageProblem("Nobody can be asked here: this is no terminal, or --json was given.", fix=fix)


def _told(orchestrator: Orchestrator, task: Task, console: Console) -> int:
    from cairn.json_output import review_json
    from cairn.review_text import ending

    review = orchestrator.reviews.of(task)
    if console.as_json:
        console.json(review_json(review))
    console.write(ending(review, console))
    return 0

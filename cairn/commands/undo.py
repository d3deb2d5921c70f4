"""`cairn undo`: the files as they were before an accept, or before another undo."""

from __future__ import annotations

import click

from cairn.commands import Chosen, as_json, opened, overrule_option, task_argument, tell_of_kept
from cairn.console import Console
from cairn.errors import NotFound, UsageProblem
from cairn.interruption import ended_as_by_ctrl_c
from cairn.task import Task, TaskStatus

_AGAIN = "It is in review again:  cairn accept {id}   or   cairn reject {id}"


@click.command("undo")
@task_argument
@click.option(
    "--op",
    "operation",
    type=click.IntRange(1),
    metavar="N",
    help="Take back operation N of `cairn op log`, undo or not.",
)
@overrule_option
@as_json
@click.pass_obj
def command(chosen: Chosen, task_id: str | None, operation: int | None, overrule: bool, as_json: bool) -> None:
    """Take back an accept, or a rejection.

    It is the last one, or with an ID the one of that task, or with --op any one by its number; an undo can be taken
    back in that way too. Variants that an accept rejected come back with it. A rejected task that is named by its ID
    is in review again.

    What you edited since stays: undo merges three ways too. On a conflict nothing is written.

    Where several clones share a server, an ID or --op takes back what any of them did, in this one's files, which must
    have it. Without either it is the last accept of this clone.
    """
    console = Console(as_json=as_json)
    if task_id is not None and operation is not None:
        raise UsageProblem("An ID and --op name two things to take back.", fix=f"cairn undo --op {operation}")
    with opened(chosen, console) as orchestrator, ended_as_by_ctrl_c():
        named = None if task_id is None else orchestrator.task(task_id)
        if named is not None and named.status is TaskStatus.REJECTED and not orchestrator.operations.accepted(named.id):
            _tell_not_rejected(orchestrator.decisions.take_back_rejection(named), console)
            return
        if orchestrator.project.state.parent != orchestrator.project.root:  # a folder without tasks, only looked at
            raise NotFound("There is no accept to take back.", fix="cairn list   shows which tasks are accepted.")
        task, undone = orchestrator.decisions.undo(named, operation=operation, overrule=overrule)
    if as_json:
        from cairn.json_output import undone_json

        console.json(undone_json(task, undone))
    what = "" if undone.operation.undoes is None else f"operation {undone.operation.id}, an undo of "
    console.write(f"Took back {what}{task.id}: {undone.in_words()}.")
    tell_of_kept(undone.kept, console)
    if task.status is TaskStatus.ACCEPTED:
        console.note(f"It is accepted again:  cairn undo {task.id}   takes it back.")
    else:
        console.note(_AGAIN.format(id=task.id))


def _tell_not_rejected(task: Task, console: Console) -> None:
    if console.as_json:
        from cairn.json_output import task_json

        console.json({"task": task_json(task)})
    console.write(f"Took back the rejection of {task.id}; nothing in your project changed.")
    console.note(_AGAIN.format(id=task.id))

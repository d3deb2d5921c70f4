"""`cairn accept`: a task's changes reach the project, all or none."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from cairn.commands import Chosen, as_json, named_task, opened, task_argument
from cairn.console import Console, printable
from cairn.dangerous_paths import require_patterns
from cairn.errors import UsageProblem
from cairn.task import TaskStatus

if TYPE_CHECKING:
    from cairn.git_commit import Commit

_ALREADY = "No commit was made: git has these files so already."


@click.command("accept")
@task_argument
@click.option("--commit", "commit", is_flag=True, help="Make one git commit of exactly these files.")
@click.option("-m", "--message", metavar="TEXT", help="The commit's message; else the task's summary and request.")
@click.option("--allow", "allow", metavar="PATH", multiple=True, help="Take this dangerous path too; a glob will do.")
@as_json
@click.pass_obj
def command(
    chosen: Chosen, task_id: str | None, commit: bool, message: str | None, allow: tuple[str, ...], as_json: bool
) -> None:
    """Take a task's changes into the project.

    Your own edits since then are kept: each file is merged three ways. On a conflict nothing is written.

    Paths that could run something by themselves (hooks, CI, editor and agent settings, conftest.py, new executables,
    links) must be named with --allow, or in the settings; else nothing is written, and they are listed.

    With --commit your hooks run, and what else you have staged stays staged. `cairn undo` takes the files back, not the
    commit.
    """
    if message is not None and not commit:
        raise UsageProblem("-m is the message of a commit, and there is none without --commit.", fix="Add --commit.")
    require_patterns(allow)
    made: Commit | None = None
    console = Console(as_json=as_json)
    with opened(chosen, console) as orchestrator:
        task = named_task(orchestrator, task_id, (TaskStatus.IN_REVIEW,), "accept")
        accept = partial(orchestrator.accept, task, allow=allow)
        if commit:
            from cairn.committing import accept_and_commit

            task, applied, made = accept_and_commit(orchestrator, task, message, accept)
        else:
            task, applied = accept()
    if as_json:
        from cairn.json_output import applied_json

        console.json(applied_json(task, applied) | ({"commit": made.sha if made else None} if commit else {}))
    console.write(f"Accepted {task.id}: {applied.in_words()}.")
    if commit:
        console.write(f"Committed {made.sha[:10]}: {printable(made.subject)}" if made else _ALREADY)
    console.note(f"cairn undo {task.id}   takes it back.")

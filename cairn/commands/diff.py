"""`cairn diff`: a task's changes as a patch."""

from __future__ import annotations

import sys

import click

from cairn import git_diff
from cairn.commands import Chosen, as_json, looked_at, opened, task_argument
from cairn.console import Console, printable


@click.command("diff")
@task_argument
@click.option("--stat", is_flag=True, help="Only the files and how many lines changed.")
@click.option("--name-only", is_flag=True, help="Only the names of the changed files.")
@as_json
@click.pass_obj
def command(chosen: Chosen, task_id: str | None, stat: bool, name_only: bool, as_json: bool) -> None:
    """Print a task's changes as a patch that `git apply` takes.

    \b
      cairn diff | git apply        the same by hand, without Cairn's merge and undo
    """
    console = Console(as_json=as_json)
    with opened(chosen, console, showing=True) as orchestrator:
        task = looked_at(orchestrator, task_id, "diff")
        changes = orchestrator.acceptable.changes(task)
        evidence = orchestrator.checks.evidence(task)
    if as_json:
        from cairn.json_output import changes_json

        console.json({"id": task.id, **changes_json(changes)})
    elif name_only:
        for name in git_diff.names(changes):
            console.write(printable(name) if sys.stdout.isatty() else name)
    elif stat:
        console.write(printable(git_diff.render_stat(git_diff.stat(changes)).rstrip("\n")))
    elif changes:
        console.patch(git_diff.render(changes))
    else:
        console.note(f"cairn: task {task.id} changed nothing.")
    if evidence.standings and not as_json:
        told = ", ".join(f"{each.check.name} {each.in_words}" for each in evidence.standings)
        console.note(f"cairn: checks: {told}")
    for each in () if as_json else evidence.weakened:
        console.note(f"cairn: weakens a test or check: {printable(each.path)}: {printable(each.why)}")

"""`cairn gc`: old tasks and operations are deleted, and what killed commands left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cairn.commands import Chosen, as_json, opened
from cairn.console import Console, one_line, printable

if TYPE_CHECKING:
    from cairn.clean_up import CleanedUp

LINE = 100


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("--days", type=click.IntRange(0), metavar="N", help="Keep what is younger than N days, this once.")
@as_json
@click.pass_obj
def command(chosen: Chosen, dry_run: bool, days: int | None, as_json: bool) -> None:
    """Delete old tasks and what is past undoing.

    Deleted are: tasks that ended more than 30 days ago (rejected, failed, cancelled, or accepted and past undoing); the
    record of accepts and undos as old, which can then not be taken back any more; copies as old of your files that were
    kept when you saved during an accept or undo; temporary files that a killed command left, and workspaces that a
    killed check left in your cache. The setting `keep.days` changes the 30.

    Kept are: every task that is queued, runs or is in review; the newest 20 accepts and undos (`keep.operations`), with
    all that belongs to the same accept; files that were set aside as damaged.
    """
    from cairn.clean_up import clean_up
    from cairn.disk_use import size_in_words

    console = Console(as_json=as_json)
    with opened(chosen, console, {} if days is None else {"keep.days": days}) as orchestrator:
        done = clean_up(orchestrator, dry_run=dry_run)
        kept_days = orchestrator.settings.keep.days
    if as_json:
        from cairn.json_output import cleaned_up_json

        console.json({"dry_run": dry_run, **cleaned_up_json(done)})
    _list(done, console)
    if done:
        amount = f"about {size_in_words(done.freed)}" if dry_run else f"{size_in_words(done.freed)} freed"
        console.write(f"{'Would delete' if dry_run else 'Deleted'} {_counts(done)}: {amount}.")
    else:
        console.write(f"Nothing to delete: nothing that ended is older than {kept_days} days and past undoing.")
    for each in done.kept:
        console.note(
            f"cairn: kept {printable(each.path)} ({size_in_words(each.size)}); delete it when you need it no more"
        )


def _list(done: CleanedUp, console: Console) -> None:
    for task in done.tasks:
        console.write(f"task       {task.id}  {task.status}  {one_line(task.request, LINE)}")
    for operation in done.operations:
        console.write(f"operation  {operation.id}  {operation.kind}  {operation.task_id}")
    for each in done.left_over:
        console.write(f"left over  {printable(each.path)}")
    for folder in done.workspaces:
        console.write(f"workspace  {printable(str(folder))}")
    for each in done.copies:
        console.write(f"kept file  {printable(each.path)}")


def _counts(done: CleanedUp) -> str:
    counts = [
        (len(done.tasks), "task"),
        (len(done.operations), "operation"),
        (len(done.left_over), "leftover file"),
        (len(done.workspaces), "leftover workspace"),
        (len(done.copies), "kept file"),
    ]
    words = [f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts if count]
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]

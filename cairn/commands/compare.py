"""`cairn compare`: the variants of a task, ranked, and where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cairn.commands import Chosen, as_json, opened
from cairn.console import Console
from cairn.errors import NotFound

if TYPE_CHECKING:
    from cairn.orchestrator import Orchestrator
    from cairn.task import Task


@click.command("compare")
@click.argument("names", metavar="[ID]...", nargs=-1)
@click.option("--diff", "diff", is_flag=True, help="Show which variant changes which file; of two, what differs.")
@as_json
@click.pass_obj
def command(chosen: Chosen, names: tuple[str, ...], diff: bool, as_json: bool) -> None:
    """Rank the variants of a task, and show where they differ.

    The best first: required checks, then the smaller diff, then what it cost. One ID stands for its whole group,
    several for just these tasks, and none for the newest group. Nothing runs.

    \b
      cairn run --variants 3 "add docstrings"
      cairn compare
      cairn compare ID ID --diff
    """
    from cairn.variants_text import show

    console = Console(as_json=as_json)
    with opened(chosen, console, showing=True) as orchestrator:
        tasks = compared(orchestrator, names)
        show(orchestrator, tasks, console, diff=diff)


def compared(orchestrator: Orchestrator, names: Sequence[str]) -> tuple[Task, ...]:
    """The tasks that the names mean. Raises NotFound for none, and for a single task that has no variants."""
    queue = orchestrator.queue
    if len(names) > 1:
        return tuple({task.id: task for task in map(orchestrator.task, names)}.values())
    group = queue.group_of(names[0]) if names else queue.newest_group()
    if group is None:
        raise NotFound("There are no variants to compare.", fix='cairn run --variants 3 "..."   makes three.')
    return queue.group(group)

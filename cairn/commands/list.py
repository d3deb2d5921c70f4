"""`cairn list`: the tasks of a project, newest first."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from cairn.commands import Chosen, as_json, tasks_of
from cairn.console import Console, Styled, one_line
from cairn.moments import moment_of
from cairn.queue import TaskQueue
from cairn.task import Task, TaskStatus
from cairn.wanted_tasks import Wanted

if TYPE_CHECKING:
    from cairn.ledger_watch import LedgerWatch

CLEAR = "\x1b[H\x1b[2J"
REDRAW_SECONDS = 1.0  # ages grow although nothing moves
CALM_SECONDS = 0.1

_COLOURS = {
    TaskStatus.IN_REVIEW: "yellow",
    TaskStatus.WAITING: "yellow",
    TaskStatus.ACCEPTED: "green",
    TaskStatus.FAILED: "red",
    TaskStatus.RUNNING: "cyan",
}


@click.command("list")
@click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="How many at most.")
@click.option(
    "--status", "statuses", type=click.Choice([str(status) for status in TaskStatus]), multiple=True,
    help="Only tasks in this status; may be given again.",
)  # fmt: skip
@click.option("--tag", metavar="TAG", help="Only tasks with this tag.")
@click.option("--group", metavar="ID", help="Only the variants of that group.")
@click.option("--model", metavar="MODEL", help="Only tasks whose programs this model writes; a glob works.")
@click.option("--since", metavar="TIME", help="Only tasks asked for since then: 2h, 09:00, 2026-01-31.")
@click.option("--before", metavar="ID", help="Only tasks older than this one: the next page.")
@click.option("--watch", is_flag=True, help="Stay, and show what changes, until Ctrl-C.")
@as_json
@click.pass_obj
def command(
    chosen: Chosen,
    limit: int,
    statuses: tuple[str, ...],
    tag: str | None,
    group: str | None,
    model: str | None,
    since: str | None,
    before: str | None,
    watch: bool,
    as_json: bool,
) -> None:
    """List the tasks of the project, newest first.

    A queued task shows what keeps it from starting, if anything does.
    """
    console = Console(as_json=as_json)
    with tasks_of(chosen, console, founding=watch) as queue:
        now = queue.clock()
        wanted = Wanted(
            tuple(TaskStatus(status) for status in statuses),
            tag,
            model,
            None if since is None else moment_of(since, "--since", now, past=True),
            None if before is None else queue.get(before),
            None if group is None else queue.group_of(group),
        )
        if watch:
            queue.found()
            watch_tasks(queue, wanted, limit, console)
            return
        tasks, more = queue.listed(wanted, limit=limit)
        holds = queue.holds(tasks)
        tasks = _with_later_edits(chosen, tasks)
    _show(console, wanted, tasks, more, holds, now)


def _with_later_edits(chosen: Chosen, tasks: Sequence[Task]) -> tuple[Task, ...]:
    """What checks said of those in review, and whether the project was edited since; looked up only where they did."""
    if not any(task.status is TaskStatus.IN_REVIEW and task.outcome.checks for task in tasks):
        return tuple(tasks)
    from cairn.check_ground import outdated_tasks
    from cairn.project_place import STATE, find_root

    root = find_root(chosen.path, exact=chosen.here)
    files = root / STATE / "tasks"  # those of another machine are not looked for
    found = outdated_tasks(root, tasks, lambda task_id: files / f"{task_id}.db")
    return tuple(_marked(task) if task.id in found else task for task in tasks)


def _marked(task: Task) -> Task:
    from cairn.checks import OUTDATED

    return replace(task, outcome=replace(task.outcome, checks=task.outcome.checks + OUTDATED))


def _show(
    console: Console, wanted: Wanted, tasks: Sequence[Task], more: int, holds: Mapping[str, str], now: float
) -> None:
    if console.as_json:
        from cairn.json_output import task_json

        console.json({"tasks": [task_json(task) | {"waits": holds.get(task.id, "")} for task in tasks], "more": more})
    elif not tasks:
        anything = wanted != Wanted()
        console.note(
            "cairn: no such task." if anything else 'cairn: no tasks yet. Start one:  cairn run "add docstrings"'
        )
    else:
        rows = [row(task, now, holds.get(task.id, "")) for task in tasks]
        console.table(["ID", "STATUS", "CHANGES", "AGE", "TASK"], rows)
    if more:
        console.note(f"cairn: {more:,} more; --before {tasks[-1].id}   shows them.")


def watch_tasks(queue: TaskQueue, wanted: Wanted, limit: int, console: Console) -> None:
    """A table that is drawn anew on a terminal; a line for each move elsewhere."""
    from cairn.ledger_watch import LedgerWatch

    with LedgerWatch(queue.place) as changes, suppress(KeyboardInterrupt):
        if sys.stdout.isatty() and not console.as_json:
            _redraw(queue, wanted, limit, console, changes)
        else:
            _follow(queue, wanted, console, changes)


def _redraw(queue: TaskQueue, wanted: Wanted, limit: int, console: Console, changes: LedgerWatch) -> None:
    while True:
        room = max(1, min(limit, shutil.get_terminal_size().lines - 3))
        tasks, more = queue.listed(wanted, limit=room)
        sys.stdout.write(CLEAR)
        _show(console, wanted, tasks, more, queue.holds(tasks), queue.clock())
        sys.stdout.flush()
        changes.wait(REDRAW_SECONDS)
        time.sleep(CALM_SECONDS)  # a burst of moves is one picture


def _follow(queue: TaskQueue, wanted: Wanted, console: Console, changes: LedgerWatch) -> None:
    seen = queue.last_move()
    while True:
        for number, task, move in queue.moves_since(seen, wanted):
            seen = number
            if console.as_json:
                console.json_line(
                    {"id": task.id, "at": move.at, "was": move.was, "status": move.became, "reason": move.reason}
                )
            else:
                reason = f": {one_line(move.reason, 200)}" if move.reason else ""
                console.write(f"{task.id}  {move.became}  {one_line(task.request, 80)}{reason}")
            sys.stdout.flush()
        changes.wait(REDRAW_SECONDS)


def row(task: Task, now: float, hold: str = "") -> list[str | Styled]:
    """One line of the table; `hold` says why a queued task does not start. `now` is by the ledger's clock."""
    outcome = task.outcome
    files = f"{outcome.files_changed} file{'' if outcome.files_changed == 1 else 's'}"
    changes = f"{files} +{outcome.lines_added} -{outcome.lines_removed}"
    changes += f", checks {outcome.checks}" if outcome.checks else ""
    why = hold or task.reason
    request = task.request if task.terms.group is None else f"[{task.terms.group}] {task.request}"
    return [
        task.id,
        Styled(str(task.status), _COLOURS.get(task.status, "")),
        changes if outcome.files_changed else "-",
        age(now - task.created_at),
        request + (f": {why}" if why else ""),
    ]


def age(seconds: float) -> str:
    """A rough age in one unit: 12 s, 5 min, 3 h, 9 d."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"

"""`cairn work`: queued tasks run, several at once, until there are none."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cairn.commands import Chosen, as_json, opened
from cairn.console import Console, one_line, printable
from cairn.errors import CairnError, Interrupted, TaskFailed
from cairn.task import Task, TaskStatus

if TYPE_CHECKING:
    from cairn.crew import Tally

SHOWN = 5
_WIDTH = 200


@click.command("work")
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 256), default=None, metavar="N",
    help="Tasks at once; as many as this machine has cores, 4 at most, if not said.",
)  # fmt: skip
@click.option("--forever", "forever", is_flag=True, help="Wait for new tasks instead of ending.")
@click.option("-v", "--verbose", is_flag=True, help="Show each external call.")
@as_json
@click.pass_obj
def command(chosen: Chosen, jobs: int | None, forever: bool, verbose: bool, as_json: bool) -> int:
    """Run queued tasks until there are none.

    Each runs in a process of its own. What passes by itself, a model without quota or a provider that is down, fails no
    task: it is queued again. SIGTERM or Ctrl-C finishes what runs and claims nothing more; a second one stops now, and
    the tasks go on from there later.

    \b
      cairn add "add docstrings" "remove unused imports"
      cairn work -j 4
    """
    from cairn.crew import Crew, left_over

    console = Console(as_json=as_json)

    def tell(task: str, text: str) -> None:
        for line in printable(text).splitlines():
            console.note(f"{task or 'cairn:'}  {line}" if task else f"cairn: {line}")
        sys.stderr.flush()

    with opened(chosen, console, founding=forever) as orchestrator:
        if forever:
            orchestrator.queue.found()
        crew = Crew(orchestrator, jobs or min(4, os.cpu_count() or 1), tell, verbose=verbose)
        tally = crew.work(forever=forever)
        waiting, more = left_over(orchestrator, shown=SHOWN)
    failure = _failure(tally, forever=forever)
    if as_json:
        console.json(_json(tally, waiting, more, failure))
    console.write(_summary(tally) or ("No task could start." if waiting else "Nothing is queued."))
    for task, hold in waiting:
        console.note(f"cairn: {task.id} waits: {one_line(hold or 'its turn', _WIDTH)}")
    if more:
        console.note(f"cairn: {more:,} more wait:  cairn list --status queued")
    if failure is None:
        return 0
    console.error(failure)
    return failure.exit_code


def _failure(tally: Tally, *, forever: bool) -> CairnError | None:
    if tally.stopped:
        return Interrupted("Stopped; what ran is queued again.", fix="cairn work   goes on where it stopped.")
    failed = tally.count(TaskStatus.FAILED)
    if not failed or forever:
        return None
    tasks = "1 task" if failed == 1 else f"{failed:,} tasks"
    return TaskFailed(f"{tasks} failed.", fix="cairn list --status failed   says why.")


def _summary(tally: Tally) -> str:
    ended = sum(not end.lost for end in tally.ended.values())
    counts = ", ".join(f"{count:,} {status}" for status in TaskStatus if (count := tally.count(status)))
    return f"{ended:,} task{'' if ended == 1 else 's'}: {counts}" if ended else ""


def _json(
    tally: Tally, waiting: Sequence[tuple[Task, str]], more: int, failure: CairnError | None
) -> dict[str, object]:
    from cairn.json_output import error_json

    ended = [end for end in tally.ended.values() if not end.lost]
    told: dict[str, object] = {
        "tasks": [
            {"id": end.task, "status": end.status, "reason": end.reason, "seconds": end.seconds} for end in ended
        ],
        "waiting": [{"id": task.id, "waits": hold} for task, hold in waiting],
        "more": more,
        "stopped": tally.stopped,
    }
    return told | ({"error": error_json(failure)} if failure is not None else {})

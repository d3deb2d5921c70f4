"""`cairn log`: the journal of a task."""

from __future__ import annotations

import time

import click

from cairn.commands import Chosen, as_json, looked_at, opened, task_argument
from cairn.console import Console, one_line


@click.command("log")
@task_argument
@as_json
@click.pass_obj
def command(chosen: Chosen, task_id: str | None, as_json: bool) -> None:
    """Print the journal of a task: every external call in order.

    The task's own moves stand before its calls, each with its reason.
    """
    from cairn.json_output import call_json
    from cairn.progress_lines import duration

    console = Console(as_json=as_json)
    with opened(chosen, console, showing=True) as orchestrator:
        task = looked_at(orchestrator, task_id, "log")
        events = orchestrator.queue.events(task.id)
        calls = orchestrator.reviews.of(task).calls
    if as_json:
        moves = [{"at": event.at, "status": str(event.became), "reason": event.reason} for event in events]
        console.json({"id": task.id, "moves": moves, "calls": [call_json(call) for call in calls]})
        return
    for event in events:
        reason = f": {event.reason}" if event.reason else ""
        console.write(f"{_clock(event.at)}  {event.became}{one_line(reason, 160)}")
    for call in calls:
        ending = (
            console.style(f"failed: {one_line(call.error, 90)}", "red") if call.error else one_line(call.result, 90)
        )
        said = one_line(f"{call.name}({call.arguments})", 90)
        console.write(
            f"{_clock(call.started_at)}  {call.step}.{call.number:<4} {said}  {ending}  {duration(call.seconds)}"
        )


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))

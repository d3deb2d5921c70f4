"""What `run` and `add` share for `--variants`: how many, by which models, and running them side by side."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from cairn.console import Console, printable
from cairn.errors import IllegalMove, Interrupted, TaskFailed, UsageProblem
from cairn.task import CodeOrigin, TaskStatus
from cairn.task_owner import Owner
from cairn.wanted_tasks import Variants

if TYPE_CHECKING:
    from cairn.orchestrator import Orchestrator
    from cairn.task import Task

MOST = 16
FEWEST = 2
STOPPED = "stopped by the person who ran it"


def names_of(models: str | None) -> tuple[str, ...]:
    """The models of a comma-separated list. Raises UsageProblem for an empty one."""
    names = tuple(name.strip() for name in (models or "").split(","))
    if models is not None and not all(names):
        raise UsageProblem(f"--models {models!r} names no model somewhere.", fix="--models a,b,c")
    return names if models is not None else ()


def count_of(count: int | None, models: Sequence[str]) -> int | None:
    """How many attempts; None for the one of a task without variants."""
    if count is None:
        count = len(models) or None
    if count is None:
        return None
    if not FEWEST <= count <= MOST:
        raise UsageProblem(f"{count} is no number of variants.", fix=f"--variants N   with N from {FEWEST} to {MOST}")
    if len(models) > count:
        raise UsageProblem(f"{len(models)} models cannot write {count} variants.", fix=f"--variants {len(models)}")
    return count


def origins_of(origin: CodeOrigin, count: int, models: Sequence[str]) -> list[CodeOrigin]:
    """Who writes each attempt, the models in turn. Raises UsageProblem where no model does: all would be the same."""
    if origin.source != "model":
        raise UsageProblem(
            f"Variants of the {'recipe' if origin.source == 'recipe' else 'program'} {origin.name} would all be alike.",
            "Only a model writes another program each time.",
            "-m MODEL   or   --models A,B   names who writes them.",
        )
    return [replace(origin, name=models[at % len(models)]) if models else origin for at in range(count)]


def refuse_with_variants(*, two_writers: bool, **flags: bool) -> None:
    """Raises UsageProblem for the first option that is set and makes no sense for several attempts."""
    if two_writers:
        raise UsageProblem("-m and --models both name who writes the programs.", fix="Leave one of them out.")
    for name, is_set in flags.items():
        if is_set:
            raise UsageProblem(
                f"--{name} is for one task, and --variants makes several.", fix=f"Leave --{name} or --variants out."
            )


def carry_out_variants(
    orchestrator: Orchestrator, tasks: Sequence[Task], console: Console, *, verbose: bool = False
) -> int:
    """Runs the queued ones side by side to their ends and ranks them. 0 when one can be accepted, 1 when none can."""
    from cairn.crew import Crew
    from cairn.variants_text import show

    def tell(task: str, text: str) -> None:
        for line in printable(text).splitlines():
            console.note(f"{task}  {line}" if task else f"cairn: {line}")
        sys.stderr.flush()

    group = tasks[0].terms.group or tasks[0].id
    console.note(f"cairn: {len(tasks)} variants, group {group}: {printable(tasks[0].request)}")
    variants = Variants(group, Owner.this_process())
    tally = Crew(orchestrator, len(tasks), tell, verbose=verbose, variants=variants).work()
    if tally.stopped:
        _end(orchestrator, group)
        raise Interrupted(
            f"The variants of {group} were stopped; nothing in your project changed.",
            fix=(f"cairn compare {group}   shows how far they came.", "cairn resume ID   goes on with one of them."),
        )
    now = orchestrator.queue.group(group)
    show(orchestrator, now, console)
    return _said(now, console)


def _end(orchestrator: Orchestrator, group: str) -> None:
    """Those that a signal stopped do not go on by themselves."""
    for task in orchestrator.queue.group(group):
        if task.status is TaskStatus.QUEUED:
            with suppress(IllegalMove):  # another process claimed it
                orchestrator.moves.cancel(task, reason=STOPPED)


def _said(tasks: Sequence[Task], console: Console) -> int:
    waiting = [task for task in tasks if task.status in {TaskStatus.QUEUED, TaskStatus.WAITING, TaskStatus.RUNNING}]
    for task in waiting:
        way = f"cairn answer {task.id}" if task.status is TaskStatus.WAITING else f"cairn resume {task.id}"
        console.note(f"cairn: {task.id} is {task.status}:  {way}   goes on with it.")
    if waiting or any(task.status in {TaskStatus.IN_REVIEW, TaskStatus.ACCEPTED} for task in tasks):
        return 0
    failure = TaskFailed(
        "No variant came to a result.", fix=f"cairn show {tasks[0].id}   shows its programs and errors."
    )
    console.error(failure)
    return failure.exit_code

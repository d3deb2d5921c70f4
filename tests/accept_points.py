"""Kills an accept or undo that holds its task in the ledger at every point, and asks the clones what they make of it.

Run as a process of its own, `python -m tests.accept_points SCENE FOLDER LEDGER STEP`, for it forks: one child for each
STEP-th point. Prints a JSON line for each: what another clone was told, and what is so when the killed one came back.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from cairn.acceptances import HeldElsewhere
from cairn.errors import CairnError
from cairn.task import Task, TaskStatus
from tests.clones import accepts, at, files, held, made, place_of
from tests.crash_points import Points, in_child

_numbers = count(1)


def main(scene: str, folder: Path, ledger: str, step: int) -> None:
    """Until an accept passes fewer points than the next one would kill it at."""
    watch_server()
    fatal = 1
    while True:
        task = fresh(folder, ledger, scene)
        ended = in_child(lambda task=task: act(scene, folder, ledger, task), fatal)  # type: ignore[misc]
        if ended is not None:
            break
        print(json.dumps({"point": fatal, **found(scene, folder, ledger, task)}), flush=True)
        fatal += step


def fresh(folder: Path, ledger: str, scene: str) -> Task:
    """Two clones as they were before any task, and a task in review that has the same changes as the first one's."""
    for name in ("one", "two"):
        shutil.rmtree(folder / name, ignore_errors=True)
        made(folder / name)
    with at(folder / "one", place_of(ledger), folder / "tasks") as one:
        first = min(one.queue.tasks(), key=lambda each: each.created_at)
        number = next(_numbers)
        task = replace(
            first, id="".join("bcdfghjkmn"[int(digit)] for digit in f"{number:06}"), status=TaskStatus.IN_REVIEW
        )
        shutil.copyfile(folder / "tasks" / f"{first.id}.db", folder / "tasks" / f"{task.id}.db")
        one.queue.restore(task)
        if scene == "undo":
            task, _ = one.decisions.accept(task)
            shutil.rmtree(folder / "two")
            shutil.copytree(folder / "one", folder / "two", ignore=shutil.ignore_patterns(".cairn"))
    return task


def act(scene: str, folder: Path, ledger: str, task: Task) -> None:
    with at(folder / "one", place_of(ledger), folder / "tasks") as one:
        if scene == "undo":
            one.decisions.undo(task)
        else:
            one.decisions.accept(task)


def found(scene: str, folder: Path, ledger: str, task: Task) -> dict[str, object]:
    """The other clone tries the same, or overrules; then the killed one comes back, and tries again."""
    told: dict[str, object] = {}
    overrules = scene == "overruled"
    with at(folder / "two", place_of(ledger), folder / "tasks") as two:
        there = two.task(task.id)
        told["took"] = held(two) == 1
        told["other"] = outcome(
            lambda: two.decisions.undo(there) if scene == "undo" else two.decisions.accept(there, overrule=overrules)
        )
        told["two"] = files(folder / "two")
    with at(folder / "one", place_of(ledger), folder / "tasks") as one:
        told["said"] = list(one.recovery.recover())
        told["again"] = list(one.recovery.recover())
        told["one"] = files(folder / "one")
        told["held"] = held(one)
        told["status"] = one.task(task.id).status
        told["accepts"] = accepts(one, task)
        mine = [each for each in one.operations.every() if each.task_id == task.id]
        told["operations"] = [(each.kind, str(each.state)) for each in mine]
    return told


def outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except HeldElsewhere as held:
        return "held" if "/one#" in held.held.holder else f"held by {held.held.holder}"
    except CairnError as error:
        return type(error).__name__
    return "done"


def watch_server() -> None:
    """What is sent to a server is a point, too."""
    import psycopg

    watch = Points.watch

    def watched(self: Points) -> None:
        watch(self)
        psycopg.Connection.execute = self._watched("server", psycopg.Connection.execute)  # type: ignore[method-assign]

    Points.watch = watched  # type: ignore[method-assign]


def arguments() -> tuple[Any, ...]:
    scene, folder, ledger, step = sys.argv[1:]
    return scene, Path(folder), ledger, int(step)


if __name__ == "__main__":
    main(*arguments())

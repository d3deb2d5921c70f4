"""A task is accepted once: whoever is killed at it, and however many want it at the same time, in several clones."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from cairn.task import TaskStatus
from tests.clones import AFTER, BEFORE, accepts, at, files, held, in_review, made, told

ROOT = Path(__file__).parents[2]
B, A, IN, DONE = "before", "after", "in review", "accepted"
ACCEPTED, TAKEN_BACK = (("accept", "applied"),), (("accept", "undone"), ("undo", "applied"))

# What the other clone was told, its files, the killed one's files, the task's status, how often it was accepted, the
# operations: in the end, after the killed clone's next command.
ALLOWED = {
    "accept": {
        ("done", A, B, DONE, 1, ACCEPTED),  # killed before it took the task
        ("held", B, B, IN, 0, ()),
        ("held", B, A, DONE, 1, ACCEPTED),
        ("IllegalMove", B, A, DONE, 1, ACCEPTED),  # killed when all was done
    },
    "overruled": {
        ("done", A, B, DONE, 1, ACCEPTED),
        ("done", A, A, DONE, 1, ACCEPTED),  # killed when its files were written: they are merged, it counts once
        ("IllegalMove", B, A, DONE, 1, ACCEPTED),
    },
    "undo": {
        ("done", B, A, IN, 1, TAKEN_BACK),
        ("held", A, A, DONE, 1, ACCEPTED),
        ("held", A, B, IN, 1, TAKEN_BACK),
        ("NotFound", A, B, IN, 1, TAKEN_BACK),
    },
}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("scene", ALLOWED)
def test_killed_at_any_point_it_is_settled_by_its_own_clone_and_by_no_other(scene, ledger_place, tmp_path):
    with at(made(tmp_path / "zero"), ledger_place, tmp_path / "tasks") as zero:
        in_review(zero)
    step = "1" if ledger_place.__class__.__name__ == "LedgerFile" else "3"
    done = subprocess.run(
        [sys.executable, "-m", "tests.accept_points", scene, str(tmp_path), told(ledger_place), step],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    points = [json.loads(line) for line in done.stdout.splitlines()]

    seen = set()
    for each in points:
        which = [B if tree == BEFORE else A if tree == AFTER else tree for tree in (each["two"], each["one"])]
        operations = tuple(map(tuple, each["operations"]))
        seen.add((each["other"], *which, each["status"], each["accepts"], operations))
        assert (each["held"], each["again"]) == (0, []), each
        was_overruled = any("was overruled from" in sentence for sentence in each["said"])
        assert was_overruled is (scene == "overruled" and each["other"] == "done" and each["took"]), each
    assert seen == ALLOWED[scene]
    assert len(points) > 35


RACE = """
import json, random, sys
from pathlib import Path
from cairn.errors import CairnError
from tests.clones import at, place_of
root, ledger, tasks, verb, seed = sys.argv[1:]
with at(Path(root), place_of(ledger), Path(tasks)) as clone:
    ids = [task.id for task in clone.queue.tasks()]
    random.Random(seed).shuffle(ids)
    print("ready", flush=True)
    sys.stdin.readline()
    told = {}
    for task_id in ids:
        try:
            getattr(clone.decisions, verb)(clone.task(task_id))
            told[task_id] = "won"
        except CairnError as error:
            told[task_id] = type(error).__name__
print(json.dumps(told))
"""


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_of_180_accepts_and_rejects_of_30_tasks_from_three_clones_one_each_wins(ledger_place, tmp_path):
    roots = [made(tmp_path / name) for name in ("one", "two", "three")]
    tasks = []
    with at(roots[0], ledger_place, tmp_path / "tasks") as one:
        for number in range(30):
            program = f'write_file("made{number}.txt", "x")\nsubmit_result("Made.", ["made{number}.txt"])\n'
            tasks.append(in_review(one, program))
    children = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(root), told(ledger_place), str(tmp_path / "tasks"), verb, f"{root}{verb}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for root in roots for verb in ("accept", "reject")
    ]  # fmt: skip
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    outcomes = [json.loads(child.communicate(timeout=150)[0]) for child in children]

    assert sum(map(len, outcomes)) == 180
    assert {outcome for each in outcomes for outcome in each.values()} <= {"won", "IllegalMove", "HeldElsewhere"}
    wins = Counter(task_id for each in outcomes for task_id, outcome in each.items() if outcome == "won")
    assert wins == {task.id: 1 for task in tasks}
    with at(roots[0], ledger_place, tmp_path / "tasks") as one:
        for number, task in enumerate(tasks):
            now = one.task(task.id)
            where = [root for root in roots if f"made{number}.txt" in files(root)]
            assert (accepts(one, task), len(where)) == ((1, 1) if now.status is TaskStatus.ACCEPTED else (0, 0))
        assert held(one) == 0

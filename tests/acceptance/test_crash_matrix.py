"""A task is killed at every commit of its journal and goes on: nothing is called twice, and the same comes out."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.length import LONG


@pytest.fixture
def source(tmp_path):
    """The project that the task of `tests.journal_kills` works on."""
    folder = tmp_path / "source"
    folder.mkdir()
    for name in ("one", "two", "three", "four", "five"):
        (folder / f"{name}.txt").write_text("".join(f"{name} line {number}\n" for number in (1, 2, 3)))
    (folder / "code.py").write_text("def f():\n    return 1\n")
    return folder


def killed(source, every):
    command = [sys.executable, "-m", "tests.journal_kills", str(source), str(every)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_task_killed_at_some_commits_goes_on_as_if_nothing_had_been(source):
    told = killed(source, 31)  # odd: before and after a commit in turns

    assert (told["status"], told["calls"], told["asked"], told["different"]) == ("in review", 39, 7, [])
    assert told["tried"] == len(range(1, told["points"] + 1, 31))


@pytest.mark.slow
def test_a_task_killed_before_and_after_commits_everywhere_goes_on_as_if_nothing_had_been(source):
    every = 1 if LONG else 3  # odd, so that points before and after a commit take turns
    told = killed(source, every)

    assert (told["status"], told["calls"], told["asked"], told["different"]) == ("in review", 39, 7, [])
    assert told["points"] > 100
    assert told["tried"] == len(range(1, told["points"] + 1, every))

"""`budget.tasks_at_once` with real processes: who is too much waits, and goes on when a killed one has made room."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.acceptance.test_interruption import SPIN, SUBMIT, listed, started


@pytest.mark.slow
def test_a_task_too_many_waits_until_a_killed_one_has_made_room(project, cairn):
    (project / "cairn.toml").write_text("[budget]\ntasks_at_once = 1\n")
    (project / "p.py").write_text(SUBMIT)
    first = started(program=SPIN)

    refused = cairn("run", "--code", "p.py", "--no-wait", "--new")
    waiting = subprocess.Popen(
        [sys.executable, "-m", "cairn", "run", "--code", "p.py", "--new"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    told = next(line for line in waiting.stderr if "waiting" in line)
    statuses = sorted(str(task["status"]) for task in listed())
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate(timeout=20)
    waiting.communicate(timeout=40)

    assert (refused.code, "may at once" in refused.err) == (1, True)
    assert "budget.tasks_at_once is 1" in told
    assert statuses == ["queued", "queued", "running"]
    assert waiting.returncode == 0
    assert sorted(str(task["status"]) for task in listed()) == ["in review", "queued", "queued"]

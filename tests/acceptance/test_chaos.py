"""Workers and whole crews killed at random while they work: no task lost, none in review twice, no call repeated.

python -m tests.acceptance.test_chaos 400   runs it for long, in a folder of its own, and prints what happened.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

from cairn.task_owner import Owner

FILES = 6
PROGRAM = (
    "".join(f"write_file('f{n}', '{n}')\nx = 0\nfor i in range(60_000):\n    x += i\n" for n in range(FILES))
    + f"submit_result('x', {[f'f{n}' for n in range(FILES)]})\n"
)
LONGEST_SECONDS = 240


def chaos(folder: Path, tasks: int, seed: int) -> Counter[str]:
    """Runs them with two crews of two, killing one process or another all the while; what was killed how often."""
    here = [sys.executable, "-m", "cairn", "-C", str(folder), "--here"]
    add = [*here, "add", "--code", "-", "--max-attempts", "100", *(f"task {n}" for n in range(tasks))]
    subprocess.run(add, input=PROGRAM, text=True, check=True, capture_output=True)

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([*here, "work", "-j", "2"], stdout=subprocess.DEVNULL, stderr=errors)

    rng, killed, ends = random.Random(seed), Counter[str](), time.monotonic() + LONGEST_SECONDS
    with (folder / "errors.txt").open("wb") as errors, contextlib.closing(opened(folder)) as ledger:
        crews = [start(), start()]
        while ledger.execute("SELECT 1 FROM task WHERE status IN ('queued', 'running')").fetchone():
            assert time.monotonic() < ends, "it never came to an end"
            time.sleep(rng.uniform(0.2, 0.8))
            crews = [start() if crew.poll() is not None else crew for crew in crews]
            owners = [
                Owner.parse(owner) for (owner,) in ledger.execute("SELECT owner FROM task WHERE status = 'running'")
            ]
            if rng.random() < 0.2:
                crews[0].kill()
                killed["crew"] += 1
            elif owners:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(owners).pid, signal.SIGKILL)
                    killed["worker"] += 1
        for crew in crews:
            crew.terminate()
            crew.wait(60)
    return killed


def opened(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / ".cairn/cairn.db", timeout=10)


def require_whole(folder: Path, tasks: int) -> int:
    """How often tasks were started in all. Fails unless each came to review once, with each call once."""
    with contextlib.closing(opened(folder)) as ledger:
        assert ledger.execute("SELECT status, count(*) FROM task GROUP BY status").fetchall() == [("in review", tasks)]
        reviews = ledger.execute("SELECT count(*) FROM event WHERE became = 'in review'").fetchone()
        (started,) = ledger.execute("SELECT sum(attempt) FROM task").fetchone()
    assert reviews == (tasks,)
    for file in (folder / ".cairn/tasks").glob("*.db"):
        with contextlib.closing(sqlite3.connect(file)) as task:
            calls = task.execute("SELECT name, parameters, status FROM tool_calls ORDER BY id").fetchall()
        assert [name for name, *_ in calls] == ["write_file"] * FILES + ["submit_result"]
        assert len({parameters for _, parameters, _ in calls}) == FILES + 1
        assert {status for *_, status in calls} == {"success"}
    assert b"Traceback" not in (folder / "errors.txt").read_bytes()
    return int(started)


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_nothing_is_lost_or_done_twice_while_workers_and_crews_are_killed(tmp_path):
    killed = chaos(tmp_path, 40, seed=3)

    assert require_whole(tmp_path, 40) > 40
    assert killed["worker"] >= 2


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    with tempfile.TemporaryDirectory(prefix="cairn-chaos-") as name:
        begun = time.monotonic()
        deaths = chaos(Path(name), count, seed=random.randrange(1000))
        total = require_whole(Path(name), count)
    print(f"{count} tasks in {time.monotonic() - begun:.0f} s, started {total} times; killed: {dict(deaths)}")

"""`cairn work` with real processes: killed, stopped, told to end; and nothing is lost, done twice, or left running."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cairn.queue import TaskQueue
from cairn.task import PutOff
from cairn.task_owner import Owner
from cairn.testing import ModelServer, Plain, Silence, Streamed

NOTHING = "submit_result('nothing', [])\n"
SPIN = "write_file('kept.txt', 'work')\nwhile True:\n    pass\nsubmit_result('never', [])\n"
A_WHILE = """write_file('first.txt', '1')
n = 0
for i in range(6_000_000):
    n += i
write_file('second.txt', '2')
submit_result('two files', ['first.txt', 'second.txt'])
"""
ASKS = """a = ask_llm('first')
write_file('a.txt', a)
b = ask_llm('second')
write_file('b.txt', b)
submit_result('asked', ['a.txt', 'b.txt'])
"""
QUOTA = Plain.error(429, "You exceeded your current quota, please check your plan and billing details.")


class Crew:
    """A running `cairn work` and what it has said so far."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cairn", "work", *arguments],
            env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        self.said: list[str] = []

    def until(self, words: str) -> str:
        """The next line that has these words."""
        for line in self.process.stderr:
            self.said.append(line)
            if words in line:
                return line
        raise AssertionError(f"never said {words!r}: {''.join(self.said)}")

    def ended(self, code: int) -> str:
        """Everything it said; it has ended with this code."""
        out, err = self.process.communicate(timeout=40)
        self.said.append(err)
        assert self.process.returncode == code, "".join(self.said)
        assert "Traceback" not in "".join(self.said)
        return "".join([*self.said, out])


@pytest.fixture
def crew():
    """Starts one; none outlives the test."""
    started: list[Crew] = []

    def start(*arguments: str, env: dict[str, str] | None = None) -> Crew:
        started.append(Crew(*arguments, env=env))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            os.killpg(each.process.pid, signal.SIGKILL)
        each.process.wait(timeout=20)
        each.process.stdout.close()
        each.process.stderr.close()


@pytest.fixture
def add(cairn):
    def add(program: str, *arguments: str) -> None:
        assert cairn("add", "--code", "-", *arguments, stdin=program).code == 0

    return add


def tasks(**wanted) -> list[dict]:
    told = subprocess.run([sys.executable, "-m", "cairn", "list", "--json"], capture_output=True, text=True, check=True)
    return json.loads(told.stdout)["tasks"]


def ledger() -> sqlite3.Connection:
    return contextlib.closing(sqlite3.connect(Path(".cairn/cairn.db").absolute()))


def holder() -> int:
    """The process that runs the one running task."""
    for _ in range(2000):
        with ledger() as db:
            found = db.execute("SELECT owner FROM task WHERE status = 'running'").fetchone()
        if found:
            return Owner.parse(found[0]).pid
        time.sleep(0.005)
    raise AssertionError("no task runs")


def family(pid: int) -> set[int]:
    """A process and all that came of it."""
    told = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    parents = [tuple(map(int, line.split())) for line in told.stdout.splitlines()]
    found = {pid}
    while more := {child for child, parent in parents if parent in found} - found:
        found |= more
    return found


def all_gone(pids: set[int]) -> bool:
    """Within ten seconds; a zombie has ended."""
    for _ in range(1000):
        told = subprocess.run(["ps", "-o", "stat=", "-p", ",".join(map(str, pids))], capture_output=True, text=True)
        if not [state for state in told.stdout.split() if not state.startswith("Z")]:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.slow
def test_queued_tasks_run_several_at_once_and_a_summary_tells_what_became_of_them(project, cairn, add):
    for name in ("one", "two", "three"):
        add(f"write_file('{name}.txt', 'x')\n{NOTHING}".replace("[]", f"['{name}.txt']"), name)
    add("print(1 / 0)\n" + NOTHING, "bad")

    screen = cairn("work", "-j", "2")

    assert (screen.code, screen.out) == (1, "4 tasks: 3 in review, 1 failed\n")
    assert "TASK1  in review: 1 file +1 -0" in screen.err
    assert "cairn: 1 task failed." in screen.err
    again = cairn("work")
    assert (again.code, again.out, again.err) == (0, "Nothing is queued.\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["the worker", "the crew", "both at once"])
def test_a_task_whose_worker_was_killed_goes_on_elsewhere_and_repeats_nothing(
    project, cairn, crew, add, killed, tmp_path
):
    with ModelServer(Streamed("one"), Silence(), Streamed("two")) as server:
        env = server.settings(tmp_path / "llm")
        env["CAIRN_TEXT_MODEL"] = env.pop("CAIRN_MODEL")
        add(ASKS)
        first = crew("-j", "1", env=env)
        worker = holder()
        while len(server.requests) < 2:
            time.sleep(0.01)
        pids = family(first.process.pid)
        if killed == "both at once":
            os.kill(first.process.pid, signal.SIGSTOP)
            os.kill(worker, signal.SIGKILL)
        os.kill(worker if killed == "the worker" else first.process.pid, signal.SIGKILL)
        if killed == "the worker":
            said = first.ended(0)
            assert "interrupted: its worker was ended by SIGKILL, in step 1 after call " in said
        else:
            assert all_gone(pids)
            crew("-j", "1", env=env).ended(0)
        questions = [request["messages"][-1]["content"] for request in server.requests]

    assert [re.sub(r"\W.*", "", each, flags=re.DOTALL) for each in questions] == ["first", "second", "second"]
    (task,) = tasks()
    assert (task["status"], task["attempt"], task["calls"]) == ("in review", 2, 5)
    assert cairn("accept").code == 0
    assert ((project / "a.txt").read_text(), (project / "b.txt").read_text()) == ("one", "two")


@pytest.mark.slow
def test_a_task_that_ends_its_worker_three_times_is_given_up_with_evidence_and_others_are_not(
    project, cairn, crew, add
):
    add(SPIN, "spins")
    add(NOTHING, "harmless")
    work = crew("-j", "1")
    for attempt in (1, 2, 3):
        while True:
            (found,) = [task for task in tasks() if task["request"] == "spins"]
            if (found["status"], found["attempt"]) == ("running", attempt) and list(project.glob(".cairn/tasks/*")):
                break
        if attempt == 1:
            while not cairn("log", found["id"]).out:
                time.sleep(0.01)
        os.kill(holder(), signal.SIGKILL)

    said = work.ended(1)

    given_up = next(task for task in tasks() if task["request"] == "spins")
    assert (given_up["status"], given_up["in_vain"]) == ("failed", 2)
    assert given_up["reason"] == (
        "given up: it ended its worker 3 times; the last time its worker was ended by SIGKILL, in step 1 after call 1"
        " (write_file)"
    )
    assert given_up["reason"] in said
    assert "2 tasks: 1 accepted, 1 failed" in said
    resumed = cairn("resume", given_up["id"], "--limit", "seconds=0.2")
    assert "limit reached: seconds = 0.2" in resumed.err


@pytest.mark.slow
def test_sigterm_finishes_what_runs_and_claims_nothing_more(project, crew, add):
    add(A_WHILE, "first")
    add(NOTHING, "second")
    work = crew("-j", "1", "-v")
    work.until("write_file")
    pids = family(work.process.pid)

    work.process.send_signal(signal.SIGTERM)

    said = work.ended(0)
    assert "cairn: finishing 1 task, claiming no other; once more stops now\n" in said
    assert {task["request"]: task["status"] for task in tasks()} == {"first": "in review", "second": "queued"}
    assert all_gone(pids)


@pytest.mark.slow
def test_a_second_signal_stops_now_and_the_task_goes_on_later(project, cairn, crew, add):
    add(SPIN)
    work = crew("-j", "1", "-v")
    work.until("write_file")
    pids = family(work.process.pid)

    for _ in range(2):
        work.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(AssertionError):
            work.until("finishing")

    assert "Stopped; what ran is queued again." in work.ended(130)
    assert all_gone(pids)
    (task,) = tasks()
    assert (task["status"], task["reason"], task["in_vain"]) == ("queued", "its worker was stopped", 0)
    assert cairn("diff", "--name-only", task["id"]).out == "kept.txt\n"


@pytest.mark.slow
def test_what_a_stopped_worker_still_writes_after_it_woke_is_refused(project, cairn, crew, add):
    add(A_WHILE)
    sleepy = crew("-j", "1", "-v")
    sleepy.until("write_file")
    worker = holder()
    os.kill(worker, signal.SIGSTOP)
    with TaskQueue(project / ".cairn/cairn.db") as queue:
        queue.put_off(queue.tasks()[0], PutOff("it gave no sign of life"))
    try:
        assert "in review: 2 files" in crew("-j", "1").ended(0)
    finally:
        os.kill(worker, signal.SIGCONT)

    said = sleepy.ended(0)

    assert "another worker has it now" in said
    (task,) = tasks()
    assert (task["status"], task["attempt"], task["calls"]) == ("in review", 2, 3)
    assert cairn("replay", task["id"]).code == 0


@pytest.mark.slow
def test_a_model_without_quota_pauses_its_tasks_and_the_others_go_on(project, cairn, add, tmp_path):
    with ModelServer(QUOTA, *[Streamed(f"```python\n{NOTHING}```")] * 3) as server:
        env = server.settings(tmp_path / "llm") | {"CAIRN_RETRY_FIRST_DELAY": "0"}
        assert cairn("add", "one", "two", "three", "-m", "served", env=env).code == 0
        add(NOTHING, "four")
        screen = cairn("work", "-j", "1", env=env)
        assert (screen.code, screen.out) == (0, "2 tasks: 1 queued, 1 accepted\n")
        assert len(server.requests) == 1
        listed = cairn("list", "--status", "queued").out
        assert listed.count("served is paused until CLOCK: The account has no quota left for served") == 3
        assert "served is paused until" in cairn("doctor", env=env).out
        assert [task["status"] for task in tasks()].count("failed") == 0

        assert cairn("resume", "--model", "served").out == "served is asked again; cairn work   runs its tasks.\n"
        again = cairn("work", "-j", "2", env=env)

    assert (again.code, again.out) == (0, "3 tasks: 3 accepted\n")
    assert cairn("resume", "--model", "served").code == 3


def test_no_module_of_the_project_is_imported(project, cairn):
    """Whoever writes a `bisect.py` into a repository would run it with the user's rights, outside the sandbox."""
    for name in ("bisect", "click", "llm", "sqlite3", "cairn"):
        (project / f"{name}.py").write_text(f"open({str(project / 'ran')!r}, 'a').write({name!r})\n")
    cairn("add", "--code", "-", stdin="write_file('made.txt', 'x')\nsubmit_result('made', ['made.txt'])\n")

    command = [sys.executable, "-P", "-m", "cairn", "work", "-j", "1"]
    worked = subprocess.run(command, capture_output=True, text=True, check=False)

    (task,) = json.loads(cairn("list", "--json").out)["tasks"]
    assert (worked.returncode, task["status"]) == (0, "in review"), worked.stderr
    assert not (project / "ran").exists()


def test_a_task_added_to_accept_is_accepted_at_once_and_the_one_after_it_sees_its_files(project, cairn, add):
    add("write_file('a.txt', 'one')\nsubmit_result('a', ['a.txt'])\n", "--accept", "first")
    (first,) = tasks()
    add("assert read_file('a.txt') == 'one'\n" + NOTHING, "--after", first["id"], "second")

    screen = cairn("work", "-j", "2")

    assert (screen.code, screen.out) == (0, "2 tasks: 2 accepted\n")
    assert (project / "a.txt").read_text() == "one"


@pytest.mark.slow
@pytest.mark.parametrize("as_json", [False, True])
def test_a_watched_list_tells_each_move_until_ctrl_c(project, cairn, add, as_json):
    add(NOTHING, "one")
    watching = subprocess.Popen(
        [sys.executable, "-m", "cairn", "list", "--watch", *["--json"] * as_json],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    lines: list[str] = []
    while not lines:  # what moved before it watched is not told
        add(NOTHING, "two")
        if select.select([watching.stdout], [], [], 0.2)[0]:
            lines.append(watching.stdout.readline())
    assert cairn("work", "-j", "1").code == 0
    while "one" not in "".join(lines) and not (as_json and len(lines) > 4):
        lines.append(watching.stdout.readline())
    watching.send_signal(signal.SIGINT)
    _out, err = watching.communicate(timeout=20)

    assert (watching.returncode, err) == (0, "")
    if as_json:
        assert {"queued", "running"} <= {json.loads(line)["status"] for line in lines}
    else:
        assert re.fullmatch(r"\w{6}  queued  two\n", lines[0])
        assert re.fullmatch(r"\w{6}  running  one\n", lines[-1])

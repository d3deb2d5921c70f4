"""`cairn add` and `cairn list` as screens."""

from __future__ import annotations

import time

import pytest
from inline_snapshot import snapshot

from cairn.ledger_database import SqliteLedger
from cairn.queue import TaskQueue
from tests.cli.here import Here

NOTHING = "submit_result('nothing', [])\n"


@pytest.fixture
def here(project, capfd, monkeypatch):
    return Here(capfd, monkeypatch)


def test_several_tasks_are_queued_and_nothing_runs(here):
    added = here("add", "add docstrings", "remove unused imports", "--tag", "nightly", "--priority", "2")

    assert (added.code, added.out, added.err) == snapshot(
        (
            0,
            """\
TASK1  add docstrings
TASK2  remove unused imports
""",
            "cairn: 2 queued; cairn work   runs them.\n",
        )
    )
    assert here("list").out == snapshot("""\
ID      STATUS  CHANGES  AGE  TASK
TASK2  queued  -        N s  remove unused imports
TASK1  queued  -        N s  add docstrings
""")


def test_a_delay_is_counted_by_the_ledgers_clock(here, project, monkeypatch):
    """A server's; this machine's may be an hour ahead, and the task would wait for that too."""
    monkeypatch.setattr(SqliteLedger, "now", lambda _ledger: time.time() - 3600)
    assert here("add", "--delay", "10min", "add docstrings").code == 0

    with TaskQueue(project / ".cairn/cairn.db") as queue:
        (task,) = queue.tasks()
        assert task.terms.not_before == pytest.approx(queue.clock() + 600, abs=30)


def test_a_task_a_line_from_stdin_and_from_a_file(here, project):
    lines = "add docstrings\n\n  # not this one\nremove unused imports  \n"
    (project / "tasks.txt").write_text(lines)

    assert here("add", "-", stdin=lines).out == snapshot("""\
TASK1  add docstrings
TASK2  remove unused imports
""")
    assert here("add", "--from", "tasks.txt").out == snapshot("""\
TASK3  add docstrings
TASK4  remove unused imports
""")


def test_one_line_that_nobody_can_do_adds_none(here):
    refused = here("add", "-", stdin="add docstrings\nwrite me an operating system\n")

    assert refused.code == 1
    assert 'do not cover: "write me an operating system"' in refused.err
    assert here("list").err == 'cairn: no tasks yet. Start one:  cairn run "add docstrings"\n'


def test_a_key_gives_back_the_unfinished_task_and_says_so(here):
    here("add", "add docstrings", "--key", "docs")

    again = here("add", "add docstrings", "--key", "docs")

    assert (again.code, again.out, again.err) == snapshot((0, "TASK1  add docstrings  (there already, queued)\n", ""))
    assert [task["added"] for task in here.json("add", "add docstrings", "--key", "docs")["tasks"]] == [False]


def test_what_keeps_a_task_from_starting_is_listed(here):
    (first,) = here.json("add", "add docstrings")["tasks"]
    here("add", "--code", "-", "--after", first["id"], "second", stdin=NOTHING)
    here("add", "--code", "-", "--at", "2099-01-31T08:00", "third", stdin=NOTHING)
    assert here("list").out == snapshot("""\
ID      STATUS  CHANGES  AGE  TASK
TASK3  queued  -        N s  third: starts at DATE 08:00
TASK1  queued  -        N s  second: after TASK2 (queued)
TASK2  queued  -        N s  add docstrings
""")

    here("cancel", first["id"])

    assert here("list", "--status", "queued", "-n", "2").out == snapshot("""\
ID      STATUS  CHANGES  AGE  TASK
TASK3  queued  -        N s  third: starts at DATE 08:00
TASK1  queued  -        N s  second: blocked: TASK2 is cancelled
""")
    (blocked,) = [task for task in here.json("list")["tasks"] if task["request"] == "second"]
    assert here("show", blocked["id"]).out == snapshot("""\
TASK1  queued  program from standard input
Task:     second
Created:  DATE CLOCK
Terms:    after TASK2
Waits:    blocked: TASK2 is cancelled
Used:     0 of 12 steps, 0 of 20,000 calls, N ms of 1,N s

No files changed.

Next:
  cairn resume TASK1   run it here and now
  cairn cancel TASK1   end it; cairn work   would run it
""")


def test_pages_of_a_list(here):
    here("add", *["add docstrings"] * 5, "--tag", "a")
    here("add", "remove unused imports")

    page = here("list", "--tag", "a", "-n", "2")
    assert (page.out, page.err) == snapshot(
        (
            """\
ID      STATUS  CHANGES  AGE  TASK
TASK5  queued  -        N s  add docstrings
TASK4  queued  -        N s  add docstrings
""",
            "cairn: 3 more; --before TASK4   shows them.\n",
        )
    )
    _code, out, _err = here.plain("list", "--tag", "a", "-n", "2")
    following = here("list", "--tag", "a", "-n", "3", "--before", out.splitlines()[-1].split()[0])
    assert (following.out, following.err) == snapshot(
        (
            """\
ID      STATUS  CHANGES  AGE  TASK
TASK3  queued  -        N s  add docstrings
TASK2  queued  -        N s  add docstrings
TASK1  queued  -        N s  add docstrings
""",
            "",
        )
    )
    assert here("list", "--model", "gpt*").err == "cairn: no such task.\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["add"], "There is no task to add."),
        (["add", "add docstrings", ""], "One of the tasks is empty."),
        (["add", "--from", "missing.txt"], "Cannot read missing.txt."),
        (["add", "--delay", "1h", "--at", "9:00", "add docstrings"], "--delay and --at are two times for one start."),
        (["add", "--deadline", "2001-01-01", "add docstrings"], "--deadline DATE has passed already."),
        (["add", "--key", "k", "add docstrings", "remove unused imports"], "A key names one task"),
        (["add", "--key", " ", "add docstrings"], "--key cannot be ' '."),
        (["add", "--max-attempts", "0", "add docstrings"], "Invalid value for '--max-attempts'"),
        (["list", "--since", "never"], "--since cannot be 'never'."),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_added(here, arguments, says):
    refused = here(*arguments)

    assert (refused.code, refused.out) == (2, "")
    assert says in refused.err
    assert here.json("list")["tasks"] == []


def test_run_detach_queues_instead_of_running(here):
    queued = here("run", "--code", "-", "--detach", "--accept", stdin=NOTHING)

    assert (queued.code, queued.out, queued.err) == snapshot(
        (
            0,
            "TASK1  run the program from standard input\n",
            "cairn: 1 queued; cairn work   runs them.\n",
        )
    )
    (task,) = here.json("list")["tasks"]
    assert (task["status"], task["accepts"]) == ("queued", True)

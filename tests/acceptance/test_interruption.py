"""Ctrl-C, kill -9, two commands at once, a damaged file, a full disk: told, and nothing lost."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from cairn.testing import ModelServer, Silence
from tests.conftest import tree

SPIN = "write_file('kept.txt', 'work')\nprint('spinning')\nwhile True:\n    pass\nsubmit_result('never', [])\n"
SUBMIT = "write_file('new.txt', 'x\\n')\nsubmit_result('Added new.txt.', ['new.txt'])\n"


def started(*arguments: str, program: str) -> subprocess.Popen[str]:
    """`cairn run` on a program, in a process group of its own, once its first write is in the journal."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cairn", "run", "--code", "-", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    process.stdin.write(program)
    process.stdin.close()
    process.stdin = None
    for line in process.stderr:
        if "write_file" in line:
            return process
    raise AssertionError("the program never wrote")


def workers_of(group: int) -> list[str]:
    """The sandbox processes that are still in the group."""
    told = subprocess.run(["ps", "-o", "args=", "-g", str(group)], capture_output=True, text=True, check=False)
    return [line for line in told.stdout.splitlines() if "monty" in line and "defunct" not in line]


def listed() -> list[dict[str, object]]:
    told = subprocess.run([sys.executable, "-m", "cairn", "list", "--json"], capture_output=True, text=True, check=True)
    return json.loads(told.stdout)["tasks"]


def test_ctrl_c_stops_a_spinning_program_and_keeps_its_work(project, cairn):
    before = tree(project)
    process = started(program=SPIN)

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)

    assert process.returncode == 130, err
    assert re.search(r"cairn: Task \w{6} was stopped; nothing in your project changed\.", err)
    assert "Traceback" not in out + err
    assert workers_of(process.pid) == []
    (task,) = listed()
    assert (task["status"], task["reason"]) == ("cancelled", "stopped by the person who ran it")
    assert cairn("diff", str(task["id"]), "--name-only").out == "kept.txt\n"
    assert tree(project) == before


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_a_closed_terminal_or_a_timeout_ends_the_task_and_its_worker(project, cairn, ending):
    process = started(program=SPIN)

    process.send_signal(ending)
    _out, err = process.communicate(timeout=20)

    assert process.returncode == 130, err
    assert workers_of(process.pid) == []
    assert [task["status"] for task in listed()] == ["cancelled"]


def test_a_second_ctrl_c_ends_the_command_at_once(project, cairn):
    process = started(program=SPIN)

    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=20)

    assert process.returncode in {130, -signal.SIGINT}
    assert "Traceback" not in err
    cairn("list")
    (task,) = listed()
    assert task["status"] in {"cancelled", "failed"}
    assert workers_of(process.pid) == []


def test_after_kill_9_the_next_command_says_what_became_of_the_task(project, cairn):
    process = started(program=SPIN)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)

    screen = cairn("list")

    assert screen.err == "cairn: Task TASK1 was interrupted: cairn resume TASK1   goes on where it stopped.\n"
    (task,) = listed()
    assert (task["status"], task["reason"]) == ("queued", "interrupted: its process ended; cairn resume goes on")
    assert cairn("diff", str(task["id"]), "--name-only").out == "kept.txt\n"


def test_two_commands_in_one_project_do_not_disturb_each_other(project, cairn):
    running = [started("--accept", program=SUBMIT.replace("new", f"new{n}")) for n in range(3)]
    assert [process.wait(timeout=60) for process in running] == [0, 0, 0]
    for process in running:
        process.communicate()

    assert sorted(path.name for path in project.glob("new*")) == ["new0.txt", "new1.txt", "new2.txt"]
    assert [task["status"] for task in listed()] == ["accepted"] * 3


def test_a_damaged_ledger_is_named_kept_and_rebuilt_from_the_tasks(project, cairn):
    assert cairn("run", "--code", "-", stdin=SUBMIT).code == 0
    ledger = project / ".cairn/cairn.db"
    for companion in ledger.parent.glob("cairn.db-*"):
        companion.unlink()
    ledger.write_bytes(b"\0" * 4096)

    refused = cairn("list")
    assert refused.code == 1
    assert "cairn.db" in refused.err
    assert "cairn doctor --repair" in refused.err
    assert ledger.read_bytes() == b"\0" * 4096

    assert cairn("doctor", "--repair").code == 0
    assert [path.read_bytes() for path in ledger.parent.glob("cairn.db.damaged-*")] == [b"\0" * 4096]
    assert [task["status"] for task in listed()] == ["in review"]
    assert cairn("accept").code == 0
    assert (project / "new.txt").read_text() == "x\n"


def test_a_ledger_that_is_gone_is_built_from_the_tasks_files_and_said_so(project, cairn):
    cairn("run", "--code", "-", "--accept", stdin=SUBMIT)
    for path in project.glob(".cairn/cairn.db*"):
        path.unlink()

    assert cairn("undo").err.startswith(
        "cairn: The ledger was gone; what the tasks' own files know was put back (1).\n"
    )
    assert [task["status"] for task in listed()] == ["in review"]
    assert not (project / "new.txt").exists()


def test_a_task_whose_file_and_ledger_are_gone_can_still_be_undone(project, cairn):
    cairn("run", "--code", "-", "--accept", stdin=SUBMIT)
    for path in [*project.glob(".cairn/cairn.db*"), *project.glob(".cairn/tasks/*")]:
        path.unlink()

    assert cairn("undo").code == 0
    assert not (project / "new.txt").exists()
    assert cairn("list").code == 0


def test_an_operation_log_that_came_with_a_repository_cannot_reach_git(repository, cairn):
    cairn("run", "--code", "-", "--accept", stdin=SUBMIT)
    with sqlite3.connect(repository / ".cairn/operations.db") as log:
        log.execute("UPDATE edit SET path = '.git/hooks/post-checkout'")
        log.execute("UPDATE operation SET state = 'applying'")
    log.close()

    refused = cairn("list")

    assert (refused.code, refused.out) == (1, "")
    assert "It names a path that no operation can have: '.git/hooks/post-checkout'." in refused.err
    assert not (repository / ".git/hooks/post-checkout").exists()
    assert cairn("doctor", "--repair").code == 0
    assert cairn("list").code == 0


def test_a_damaged_task_file_is_named_and_the_others_stay_usable(project, cairn):
    cairn("run", "--code", "-", stdin=SUBMIT)
    cairn("run", "--code", "-", stdin=SUBMIT.replace("new", "other"))
    other, first = (str(task["id"]) for task in listed())
    damaged = project / f".cairn/tasks/{first}.db"
    damaged.write_bytes(damaged.read_bytes()[:3000])

    refused = cairn("diff", first)

    assert refused.code == 1
    assert "is damaged" in refused.err
    assert "Traceback" not in refused.err
    assert damaged.stat().st_size == 3000
    assert cairn("accept", other).code == 0


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="a small disk is mounted, which takes root")
@pytest.mark.slow
def test_a_full_disk_loses_nothing(tmp_path, cairn):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        (disk / "mine.txt").write_text("mine\n")
        program = "write_file('big.txt', 'x' * 4_000_000)\nsubmit_result('big', ['big.txt'])\n"

        screen = cairn("-C", str(disk), "run", "--code", "-", stdin=program)

        assert screen.code == 1
        assert "Traceback" not in screen.err
        assert "full" in screen.err.lower() or "no space" in screen.err.lower()
        assert (disk / "mine.txt").read_text() == "mine\n"
        assert not (disk / "big.txt").exists()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_closed_pipe_is_no_error(project, cairn):
    text = "".join(f"line {n}\\n" for n in range(5000))
    cairn("run", "--code", "-", stdin=f"write_file('long.txt', '{text}')\nsubmit_result('x', ['long.txt'])\n")

    pipe = f"{sys.executable} -m cairn diff | head -n 1"
    piped = subprocess.run(["sh", "-c", pipe], capture_output=True, text=True, check=True)

    assert piped.stdout == "diff --git a/long.txt b/long.txt\n"
    assert piped.stderr == ""


def test_a_run_whose_progress_nobody_reads_goes_on_to_its_review(project):
    unread, stderr = os.pipe()
    os.close(unread)
    try:
        command = [sys.executable, "-m", "cairn", "run", "--code", "-"]
        ran = subprocess.run(command, input=SUBMIT, stdout=subprocess.PIPE, stderr=stderr, text=True, check=False)
    finally:
        os.close(stderr)

    assert (ran.returncode, [task["status"] for task in listed()]) == (0, ["in review"]), ran.stdout
    assert "Added new.txt." in ran.stdout


def test_nothing_of_sqlite_is_left_open_beside_a_finished_task(project, cairn):
    cairn("run", "--code", "-", stdin=SUBMIT)
    (task,) = listed()

    with sqlite3.connect(project / f".cairn/tasks/{task['id']}.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    assert [path.name for path in Path(project, ".cairn/tasks").iterdir()] == [f"{task['id']}.db"]


def test_another_command_cancels_a_running_task_and_nothing_of_it_stays(project, cairn):
    process = started(program=SPIN)
    (task,) = listed()

    screen = cairn("cancel", str(task["id"]))
    _out, err = process.communicate(timeout=20)

    assert (screen.code, screen.out) == (0, "Task TASK1 is cancelled.\n")
    assert process.returncode == 1, err
    assert "Traceback" not in err
    assert workers_of(process.pid) == []
    (ended,) = listed()
    assert (ended["status"], ended["reason"]) == ("cancelled", "cancelled by cairn cancel")
    assert cairn("diff", str(task["id"]), "--name-only").out == "kept.txt\n"


def test_a_cancelled_task_asks_its_model_no_more(project, cairn, tmp_path):
    with ModelServer(Silence()) as server:
        environ = {**os.environ, **server.settings(tmp_path / "llm")}
        process = subprocess.Popen(
            [sys.executable, "-m", "cairn", "run", "mend it", "-m", "served"],
            env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        for line in process.stderr:
            if "asking served" in line:
                break
        (task,) = listed()
        assert cairn("cancel", str(task["id"])).code == 0
        process.communicate(timeout=20)

    assert process.returncode == 1
    assert len(server.requests) <= 1
    assert [each["status"] for each in listed()] == ["cancelled"]


def test_a_task_that_waits_is_cancelled_at_once_and_one_that_ended_is_not(project, cairn):
    process = started(program=SPIN)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)
    (task,) = listed()

    assert cairn("cancel", str(task["id"])).code == 0
    again = cairn("cancel", str(task["id"]))

    assert again.code == 1
    assert "Task TASK1 is cancelled already." in again.err


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminal_closed_in_the_middle_of_an_accept_leaves_no_half_of_it(project, cairn, ending):
    many = "for n in range(1500): write_file(f'many/{n}.txt', 'x' * 2000)\nsubmit_result('Many.', [])\n"
    assert cairn("run", "--code", "-", stdin=many).code == 0
    before = tree(project)
    accept = subprocess.Popen([sys.executable, "-m", "cairn", "accept"], stderr=subprocess.PIPE, text=True)
    while not (any(project.glob(".cairn-*.tmp")) or (project / "many").exists()):
        assert accept.poll() is None

    accept.send_signal(ending)
    _out, err = accept.communicate(timeout=60)

    assert (accept.returncode, tree(project)) == (130, before), err
    assert err.startswith("cairn: The accept of task ")
    assert [task["status"] for task in listed()] == ["in review"]

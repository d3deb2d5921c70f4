"""Workers that a prepared process forks, and those started anew: killed in any order, and nothing shared or left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from cairn.prepared_process import FORKS_HERE
from tests.acceptance.test_workers import A_WHILE, NOTHING, SPIN, Crew, add, all_gone, crew, family, holder, tasks  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]
only_where_it_forks = pytest.mark.skipif(not FORKS_HERE, reason="a fork that runs no program is unsafe here")
ANEW = "import cairn.prepared_process as p; p.FORKS_HERE = False; from cairn.cli import main; main()"


@pytest.fixture(params=[pytest.param("forked", marks=only_where_it_forks), "started anew"])
def start(request, crew, monkeypatch):  # noqa: F811
    """Starts a crew whose workers come in one of the two ways."""

    def begin(*arguments: str, env: dict[str, str] | None = None) -> Crew:
        if request.param == "started anew":
            real = subprocess.Popen

            def anew(command, **how):
                return real([sys.executable, "-c", ANEW, *command[3:]], **how)

            with monkeypatch.context() as patched:
                patched.setattr("tests.acceptance.test_workers.subprocess.Popen", anew)
                return crew(*arguments, env=env)
        return crew(*arguments, env=env)

    return begin


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def prepared_of(crew_pid: int) -> int:
    (found,) = (
        pid for pid in family(crew_pid) if b"cairn.crew_member\0" in command(pid) and b"\0prepared\0" in command(pid)
    )
    return found


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def workers_of(crew_pid: int) -> list[int]:
    return sorted(pid for pid in family(crew_pid) if b"\0forked" in command(pid))


def links(pid: int) -> set[str]:
    """The pipes and sockets that it holds beside its standard output and error."""
    found = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            if each.name not in {"1", "2"}:
                found.add(str(each.readlink()))
    return {each for each in found if each.startswith(("pipe:", "socket:"))}


def wait_until(condition) -> None:
    ends = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def attempts() -> list[tuple[str, str, int]]:
    return sorted((task["request"], task["status"], task["attempt"]) for task in tasks())


def test_a_killed_worker_is_replaced_and_a_stopped_crew_leaves_no_process(project, start, add):  # noqa: F811
    add(SPIN)
    work = start("-j", "1", "-v")
    work.until("write_file")
    os.kill(holder(), signal.SIGKILL)
    said = work.until("interrupted")
    work.until("running")
    pids = family(work.process.pid)
    for _ in range(2):
        work.process.send_signal(signal.SIGTERM)
        with suppress(AssertionError):
            work.until("finishing")

    assert "its worker was ended by SIGKILL, in step 1 after call 1 (write_file)" in said
    assert "Stopped; what ran is queued again." in work.ended(130)
    assert all_gone(pids)


def test_when_the_crew_is_killed_none_of_its_processes_is_left(project, start, add):  # noqa: F811
    add(SPIN, "spins")
    add(NOTHING, *(f"task {number}" for number in range(3)))
    work = start("-j", "3", "--forever", "-v")
    work.until("write_file")
    pids = family(work.process.pid)
    work.process.kill()

    assert len(pids) > 3
    assert all_gone(pids)
    wait_until(lambda: ("spins", "queued", 1) in attempts())


def test_a_crew_whose_workers_cannot_start_ends_and_says_so(project, start, add, tmp_path):  # noqa: F811
    add(NOTHING, "one", "two", "three", "four")
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'cairn.crew_member' in sys.orig_argv:\n    os._exit(5)\n"
    )
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    work = start("-j", "4", env={"PYTHONPATH": path})

    assert "The worker processes do not start: its worker ended with exit code 5." in work.ended(1)


@only_where_it_forks
def test_without_their_prepared_process_workers_go_on_and_the_crew_has_another_made_when_one_dies(
    project,
    crew,  # noqa: F811
    add,  # noqa: F811
):
    add(A_WHILE, "goes on")
    work = crew("-j", "1", "-v")
    work.until("write_file")
    first = prepared_of(work.process.pid)
    os.kill(first, signal.SIGKILL)
    add(SPIN, "spins")
    work.until("in review")
    work.until("write_file")
    os.kill(holder(), signal.SIGKILL)
    said = work.until("interrupted")
    work.until("running")

    assert "its worker ended, and nobody saw how, in step 1 after call 1 (write_file)" in said
    assert prepared_of(work.process.pid) != first
    assert attempts() == [("goes on", "in review", 1), ("spins", "running", 2)]


@only_where_it_forks
def test_workers_share_no_pipe_with_each_other_and_nothing_is_left_of_those_that_died(project, crew, add):  # noqa: F811
    add(NOTHING, "one")
    work = crew("-j", "3", "--forever")
    work.until("accepted")
    wait_until(lambda: len(workers_of(work.process.pid)) == 3)
    prepared = prepared_of(work.process.pid)
    held = len(list(Path(f"/proc/{work.process.pid}/fd").iterdir()))
    for _ in range(4):
        before = workers_of(work.process.pid)
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: len(set(workers_of(work.process.pid)) - {before[0]}) == 3)  # noqa: B023

    pids = workers_of(work.process.pid)
    for each in pids:
        assert parent(each) == prepared
        assert os.getsid(each) == each
        others = [links(other) for other in (*pids, prepared) if other != each]
        assert not links(each) & set().union(*others)
    wait_until(lambda: len(list(Path(f"/proc/{work.process.pid}/fd").iterdir())) == held)
    # its three streams and its link; of each worker a descriptor, and where its end is told
    wait_until(lambda: len(list(Path(f"/proc/{prepared}/fd").iterdir())) == 4 + 2 * 3)
    assert len(list(Path(f"/proc/{prepared}/task").iterdir())) == 1
    assert family(work.process.pid) == {work.process.pid, prepared, *pids}
    work.process.send_signal(signal.SIGTERM)
    work.ended(0)


@only_where_it_forks
@pytest.mark.parametrize("module", ["cairn.crew_member", "cairn.engines.dbos_process"])
def test_what_is_loaded_before_a_fork_has_no_thread_no_connection_no_file_and_no_seed(project, module):
    looks = f"""
import asyncio, gc, importlib, os, pathlib, random, sqlite3, sys, threading
before = set(os.listdir("/proc/self/fd"))
sys.argv = ["x", "{project}", "0"]
loaded = importlib.import_module("{module}")
if hasattr(loaded, "_load_what_tasks_need"):
    loaded._load_what_tasks_need(pathlib.Path("{project}"))
    import psycopg
    kinds = (sqlite3.Connection, psycopg.Connection, asyncio.AbstractEventLoop)
else:
    kinds = (sqlite3.Connection, asyncio.AbstractEventLoop)
seeded = [each for each in gc.get_objects() if type(each) is random.Random and each is not random._inst]
found = [each for each in gc.get_objects() if isinstance(each, kinds)]
print(len(os.listdir("/proc/self/task")), set(os.listdir("/proc/self/fd")) - before, seeded, found)
"""
    env = {**os.environ, "CAIRN_ENGINE_URL": "postgresql://127.0.0.1:1/x", "CAIRN_ENGINE_PROJECT": "app"}
    told = subprocess.run([sys.executable, "-c", looks], capture_output=True, text=True, check=True, env=env)

    assert told.stdout == "1 set() [] []\n"

"""Processes forked from a prepared one, and those started anew: the same from outside, and nothing shared or left."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from cairn.prepared_process import FORKS_HERE, PipedProcess, PipedProcesses
from tests.answering_process import CHANCE

ROOT = Path(__file__).parents[2]
only_where_it_forks = pytest.mark.skipif(not FORKS_HERE, reason="a fork that runs no program is unsafe here")


class Recorded(PipedProcesses):
    """Knows those that the test has not buried."""

    def __init__(self, module: str, *, forks: bool) -> None:
        super().__init__(module, forks=forks)
        self.left: list[PipedProcess] = []

    def start(self) -> PipedProcess:
        process = super().start()
        self.left.append(process)
        bury = process.bury
        process.bury = lambda: (self.left.remove(process), bury())[1]
        return process

    def end(self) -> None:
        for each in [*self.left]:
            each.kill()
            each.bury()
        self.close()


@pytest.fixture
def start(monkeypatch):
    """Starts them, from one prepared process or without one; none outlives the test."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    made = []

    def processes(*, forks: bool, module: str = "tests.answering_process") -> Recorded:
        made.append(Recorded(module, forks=forks))
        return made[-1]

    yield processes
    for each in made:
        each.end()


@pytest.fixture
def forked(start):
    return start(forks=True)


@pytest.fixture(params=[pytest.param(True, marks=only_where_it_forks), False], ids=["forked", "started anew"])
def processes(request, start):
    return start(forks=request.param)


def told(process, expression: str):
    process.say(f"{expression}\n".encode())
    return ast.literal_eval(process.hear_line(30).decode())


def descriptors(pid: int) -> list[str]:
    """What they lead to, as pipe, socket or a file's name."""
    found = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that reads the folder
            found.append(str(each.readlink()).partition(":")[0])
    return sorted(found)


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition) -> None:
    ends = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_each_is_a_process_of_its_own_in_a_session_of_its_own_and_answers_what_it_is_told(processes):
    first, second = processes.start(), processes.start()

    pids = [told(each, "os.getpid()") for each in (first, second)]
    assert len({*pids, os.getpid()}) == 3
    assert [told(each, "os.getsid(0)") for each in (first, second)] == pids
    assert [each.blamed for each in (first, second)] == pids
    assert told(first, "os.getcwd()") == str(Path.cwd())
    first.hang_up()
    assert first.ends_within(20)
    assert first.bury() == 0
    assert told(second, "1 + 1") == 2
    second.hang_up()
    assert second.ends_within(20)
    assert second.bury() == 0


@pytest.mark.parametrize(
    ("last_words", "code"),
    [
        ("os.kill(os.getpid(), 9)", -9),
        ("os.kill(os.getpid(), 15)", -15),
        ("os._exit(7)", 7),
        ("sys.exit(3)", 3),
        ("os.abort()", -6),
    ],
)
def test_how_it_ended_is_heard(processes, last_words, code):
    process = processes.start()
    process.say(f"{last_words}\n".encode())

    assert process.ends_within(20)
    assert process.bury() == code


def test_one_that_is_killed_or_never_listens_is_buried(processes):
    process = processes.start()
    pid = told(process, "os.getpid()")
    process.kill()

    assert process.bury() == -9
    assert not is_there(pid)


def test_chance_is_each_ones_own(processes):
    drawn = [told(processes.start(), CHANCE) for _ in range(3)]

    assert [len(set(column)) for column in zip(*drawn, strict=True)] == [3, 3, 3, 3]


def test_nobody_holds_what_belongs_to_another(processes):
    three = [processes.start() for _ in range(3)]
    pids = [told(each, "os.getpid()") for each in three]

    for pid in pids:  # commands, standard output and error, answers
        assert len(descriptors(pid)) == 4, descriptors(pid)
    before = descriptors(os.getpid())
    for each in three:
        each.kill()
        assert each.bury() == -9
    assert len(before) - len(descriptors(os.getpid())) in {6, 9}  # two pipes each, and where a fork's end is told


@only_where_it_forks
def test_the_prepared_process_has_one_thread_and_keeps_nothing_of_those_that_ended(forked):
    kept = forked.start()
    prepared = told(kept, "os.getppid()")
    for _ in range(5):
        each = forked.start()
        assert told(each, "os.getppid()") == prepared
        each.kill()
        assert each.bury() == -9

    # its three streams and its link; of the one that is left a descriptor, and where its end is told
    wait_until(lambda: len(descriptors(prepared)) == 6)
    assert len(list(Path(f"/proc/{prepared}/task").iterdir())) == 1
    assert Path(f"/proc/{prepared}/task/{prepared}/children").read_text().split() == [str(told(kept, "os.getpid()"))]


@only_where_it_forks
def test_what_runs_goes_on_without_the_prepared_process_and_the_next_one_has_another(forked):
    first = forked.start()
    prepared = told(first, "os.getppid()")
    os.kill(prepared, signal.SIGKILL)
    second = forked.start()
    wait_until(lambda: not is_there(prepared))
    third = forked.start() if second.ends_within(20) else second  # asked before or after its death was known

    assert told(first, "2 + 2") == 4
    assert told(third, "os.getppid()") != prepared
    first.kill()
    assert first.ends_within(20)
    assert first.bury() is None
    third.kill()
    assert third.bury() == -9


@only_where_it_forks
def test_who_waits_for_a_prepared_process_that_dies_loading_is_told_once_whose_fault_it_is(
    start, tmp_path, monkeypatch
):
    (tmp_path / "loads_for_ever.py").write_text("import signal\nsignal.pause()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    processes = start(forks=True, module="loads_for_ever")
    waiting = [processes.start() for _ in range(3)]
    (prepared,) = {each.blamed for each in waiting}
    os.kill(prepared, signal.SIGKILL)

    assert [each.ends_within(20) for each in waiting] == [True] * 3
    assert [each.bury() for each in waiting] == [-9] * 3
    assert {each.blamed for each in waiting} == {prepared}
    assert processes.start().blamed != prepared


ASKS = """
import signal, sys
from cairn.prepared_process import PipedProcesses
processes = PipedProcesses("tests.answering_process", forks=sys.argv[1] == "True")
three = [processes.start() for _ in range(3)]
for each in three:
    each.say(b"os.getpid(), os.getppid()\\n")
    print(each.hear_line(30).decode(), end="", flush=True)
signal.pause()
"""


@pytest.mark.parametrize("forks", [pytest.param(True, marks=only_where_it_forks), False])
def test_when_whoever_asked_is_killed_all_end(start, forks):
    start(forks=forks)
    asking = subprocess.Popen([sys.executable, "-c", ASKS, str(forks)], stdout=subprocess.PIPE, text=True)
    with asking:
        pids = {pid for _ in range(3) for pid in ast.literal_eval(asking.stdout.readline())}
        asking.kill()

    wait_until(lambda: not any(map(is_there, pids)))


@only_where_it_forks
def test_a_stopped_prepared_process_holds_nobody_up_for_long_and_what_it_did_not_tell_nobody_knows(forked, monkeypatch):
    monkeypatch.setattr("cairn.prepared_process._TOLD_SECONDS", 0.1)
    process = forked.start()
    prepared = told(process, "os.getppid()")
    os.kill(prepared, signal.SIGSTOP)
    try:
        process.kill()
        assert process.ends_within(20)
        assert process.bury() is None
    finally:
        os.kill(prepared, signal.SIGCONT)


@only_where_it_forks
def test_ps_tells_the_prepared_process_from_those_it_forked(forked):
    process = forked.start()
    pid, prepared = told(process, "os.getpid()"), told(process, "os.getppid()")
    wait_until(lambda: b"forked" in Path(f"/proc/{pid}/cmdline").read_bytes())
    shown = [
        Path(f"/proc/{each}/cmdline").read_bytes().rstrip(b"\0").decode().split("\0")[1:] for each in (pid, prepared)
    ]

    assert shown[0] == ["-P", "-m", "tests.answering_process", "forked"]
    assert shown[1][:4] == ["-P", "-m", "tests.answering_process", "prepared"]

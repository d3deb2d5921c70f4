"""`cairn work` with the server's engine: real processes, a real Postgres, kills; and clients that load nothing of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.acceptance.test_workers import A_WHILE, NOTHING, SPIN, all_gone, crew, family, tasks  # noqa: F401

LOADED = "print(sorted({'dbos', 'sqlalchemy'} & {name.partition('.')[0] for name in sys.modules}))"


def statuses():
    return sorted(task["status"] for task in tasks())


@pytest.fixture
def add(cairn):
    def add(program: str, *requests: str) -> None:
        for request in requests:
            assert cairn("add", "--code", "-", request, stdin=program).code == 0

    return add


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["add", "add docstrings"], ["list"], ["engine", "status"]]
)
def test_no_client_loads_the_engine(project, database_url, arguments):
    code = (
        f"import sys; sys.argv = ['cairn', *{arguments!r}]\nfrom cairn.cli import main\n"
        f"try:\n    main()\nfinally:\n    {LOADED}"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "CAIRN_ENGINE_URL": database_url}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_two_crews_do_every_task_once_though_one_of_them_is_killed(project, cairn, add, crew, database_url):  # noqa: F811
    env = {"CAIRN_ENGINE_URL": database_url}
    add(NOTHING, *(f"task {number}" for number in range(10)))
    crews = [crew("-j", "2", "--forever", env=env) for _ in range(2)]
    crews[0].until("started")
    processes = family(crews[0].process.pid)
    crews[0].process.send_signal(signal.SIGKILL)
    end = time.monotonic() + 40
    while statuses() != ["accepted"] * 10 and time.monotonic() < end:
        time.sleep(0.2)

    assert statuses() == ["accepted"] * 10
    crews[1].process.send_signal(signal.SIGTERM)
    crews[1].ended(0)
    assert all_gone(processes)
    told = json.loads(cairn("engine", "status", "--json", env=env).out)
    assert [each["is_there"] for each in told["crews"]] == [False]


@pytest.mark.slow
def test_a_first_signal_drains_and_a_second_one_stops_at_once(project, cairn, add, crew, database_url):  # noqa: F811
    env = {"CAIRN_ENGINE_URL": database_url}
    add(A_WHILE, "a while")
    add(SPIN, "spins")
    add(NOTHING, "left")
    drained = crew("-j", "1", env=env)
    drained.until("started")
    drained.process.send_signal(signal.SIGTERM)
    drained.until("finishing 1 task")
    said = drained.ended(0)

    assert "1 task: 1 in review" in said
    stopped = crew("-j", "1", env=env)
    stopped.until("started: spins")
    processes = family(stopped.process.pid)
    stopped.process.send_signal(signal.SIGTERM)
    stopped.until("finishing 1 task")
    stopped.process.send_signal(signal.SIGTERM)
    stopped.ended(130)
    assert all_gone(processes)
    assert statuses() == ["in review", "queued", "queued"]


@pytest.mark.slow
def test_an_engine_that_never_starts_ends_the_crew_with_its_own_words(project, cairn, add, crew):  # noqa: F811
    add(NOTHING, "nothing")
    said = crew("-j", "1", env={"CAIRN_ENGINE_URL": "postgresql://me:secret@127.0.0.1:1/x"}).ended(1)

    assert "The engine does not run" in said
    assert "Connection refused" in said
    assert "secret" not in said

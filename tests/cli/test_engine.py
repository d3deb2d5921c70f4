"""`cairn engine status`: the fleet as a person sees it, and as JSON."""

from __future__ import annotations

import json
import os
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from inline_snapshot import snapshot

from cairn.errors import ModelCallFailed
from cairn.fleet import Fleet, SeenCrew
from cairn.model_pauses import ModelPauses
from cairn.queue import TaskQueue
from cairn.task_owner import Owner
from tests.cli.here import Here
from tests.cli.test_screens import cairn_json
from tests.conftest import Screen

LEDGER = Path(".cairn/cairn.db")
HERE = Owner("builder", 4000, 7)


@pytest.fixture
def fleet(project, cairn):
    """Three crews on other machines, one of them silent, and a task that none of them runs."""
    for name in ("first", "second", "third"):
        assert cairn("add", "--code", "-", name, stdin="submit_result('x', [])").code == 0
    member = replace(HERE, pid=4001)
    crew = SeenCrew("a", HERE, "0.1.0", "dbos", "", 4, (member,), stopping=False, started_at=0.0)
    with TaskQueue(LEDGER) as queue, Fleet(LEDGER) as fleet:
        now = fleet.now()
        with closing(Fleet(LEDGER, clock=lambda: now - 300)) as before:
            before.beat(replace(crew, id="c", owner=Owner("laptop", 9, 1), members=(), started_at=now - 400))
        fleet.beat(replace(crew, started_at=now - 7300))
        old = replace(crew, id="b", owner=Owner("attic", 12, 3), version="0.0.9", members=(), stopping=True)
        fleet.beat(replace(old, started_at=now - 86_400 * 3))
        queue.claim(member)
        queue.claim(Owner("desk", 5, 5))
    return fleet


def test_nobody_works_in_a_new_project(project, cairn):
    assert cairn("engine", "status") == snapshot(
        Screen(
            code=0,
            out="embedded engine: 0 queued, 0 running\n",
            err="cairn: nobody works here. Start one:  cairn work --forever\n",
        )
    )


def test_the_fleet_with_what_each_runs_and_an_old_version_marked(fleet, cairn):
    with ModelPauses(LEDGER, 60.0) as pauses:
        pauses.begin("gpt-x", ModelCallFailed("No quota.", no_quota=True))

    assert cairn("engine", "status") == snapshot(
        Screen(
            code=0,
            out="""\
embedded engine: 1 queued, 2 running
MACHINE  PID   VERSION      SINCE  HEARD            WORKERS      TASKS
attic    12    0.0.9 (old)  3 d    N s ago          4, stopping  -
builder  4000  0.1.0        2 h    N s ago          4            TASK1
laptop   9     0.1.0        6 min  gone, 5 min ago  4            -
TASK2 is run by process 5 on desk
""",
            err="cairn: gpt-x is paused until CLOCK: No quota\n",
        )
    )


def test_the_fleet_as_json(fleet, cairn):
    told = json.loads(cairn_json("engine", "status"))

    assert {key: told[key] for key in ("engine", "url", "queued", "running", "paused")} == {
        "engine": "embedded", "url": None, "queued": 1, "running": 2, "paused": [],
    }  # fmt: skip
    assert [(each["host"], each["age"], each["is_there"], len(each["tasks"])) for each in told["crews"]] == [
        ("attic", "old", True, 0), ("builder", "", True, 1), ("laptop", "", False, 0),
    ]  # fmt: skip
    assert [(each["host"], each["pid"]) for each in told["others"]] == [("desk", 5)]


def test_without_what_a_server_needs_the_doctor_says_how_to_get_it(project, cairn, tmp_path):
    blocker = tmp_path / "blocked"
    blocker.mkdir()
    (blocker / "sitecustomize.py").write_text(
        "import importlib.util as util\n"
        "found = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'dbos' else found(name, *more)\n"
    )

    path = os.pathsep.join(filter(None, [str(blocker), os.environ.get("PYTHONPATH", "")]))
    screen = cairn("doctor", env={"PYTHONPATH": path, "CAIRN_ENGINE_URL": "postgresql://me:secret@127.0.0.1:1/x"})

    assert screen.code == 1
    assert "broken  engine    engine.url names a server" in screen.out
    assert "pip install 'cairn[scale]'" in screen.out


@pytest.mark.slow
def test_the_doctor_starts_the_servers_engine_once(project, cairn, database_url):
    there = cairn("doctor", env={"CAIRN_ENGINE_URL": database_url})
    gone = cairn("doctor", env={"CAIRN_ENGINE_URL": "postgresql://me:secret@127.0.0.1:1/x"})

    assert "ok      engine    DBOS at postgresql://postgres@/" in there.out
    assert "broken  engine    DBOS at postgresql://me@127.0.0.1:1/x: connection failed" in gone.out
    assert "secret" not in gone.out + gone.err


def test_ages_on_a_servers_ledger_are_by_its_clock(repository, database_url, capfd, monkeypatch):
    """A machine whose clock is a day ahead sees tasks as old as they are, and finds them with --since."""
    from cairn.ledger_place import LedgerServer
    from cairn.task import CodeOrigin

    with TaskQueue(LedgerServer(database_url, "acme")) as queue:
        queue.add("look around", CodeOrigin("file", "p.py", ""))
    monkeypatch.setenv("CAIRN_ENGINE_URL", database_url)
    monkeypatch.setenv("CAIRN_ENGINE_PROJECT", "acme")
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + 86_400)

    assert Here(capfd, monkeypatch)("list", "--since", "1h") == snapshot(
        Screen(
            code=0,
            out="""\
ID      STATUS  CHANGES  AGE  TASK
TASK1  queued  -        N s  look around
""",
            err="",
        )
    )

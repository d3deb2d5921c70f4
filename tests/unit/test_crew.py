"""When a crew looks, and whom it takes for dead: by the ledger's clock, and not after it could not look itself."""

from __future__ import annotations

import time

import pytest

from cairn.crew import SETTLE_SECONDS, Crew
from cairn.orchestrator import Orchestrator
from cairn.project import Project
from cairn.queue import TaskQueue
from cairn.run_parts import Parts
from cairn.settings import Settings
from cairn.task import CodeOrigin, Terms
from cairn.task_owner import Owner

FILE = CodeOrigin("file", "p.py", "submit_result('x', [])")


@pytest.fixture
def orchestrator(project, ledger_place):
    here = Project.find(project)
    here.prepare()
    parts = Parts(lambda *_: None, lambda *_: None)
    with Orchestrator(here, TaskQueue(ledger_place), Settings(), parts, shared=False) as orchestrator:
        yield orchestrator


@pytest.fixture
def crew(orchestrator):
    crew = Crew(orchestrator, 1, lambda _task, _text: None)
    yield crew
    crew._fleet.close()


@pytest.mark.parametrize("ledger_place", ["postgres"], indirect=True)
@pytest.mark.parametrize("wrong", [3600.0, -3600.0])
def test_a_crew_whose_machines_clock_is_wrong_waits_as_long_as_others(crew, orchestrator, monkeypatch, wrong):
    queue, right = orchestrator.queue, time.time
    monkeypatch.setattr(time, "time", lambda: right() + wrong)
    queue.add("in a minute", FILE, terms=Terms(not_before=queue.clock() + 60))

    assert crew._patience() == 1.0
    assert not crew._starts_soon()
    queue.add("soon", FILE, terms=Terms(not_before=queue.clock() + 10))
    assert crew._starts_soon()


def test_a_crew_that_could_not_look_for_long_takes_nobody_for_dead_who_was_cut_off_as_well(crew, orchestrator):
    queue = orchestrator.queue
    queue.add("x", FILE)
    task = queue.claim(Owner("elsewhere", 1, 1))
    queue._db.execute("UPDATE task SET lease_until = 1 WHERE id = ?", (task.id,))
    queue._db.serves_since = lambda: 0.0

    crew._looked -= 40  # it waited for a server that was away
    crew._clock -= 40
    crew._look_after_the_ledger()
    assert queue.get(task.id).status == "running"

    crew._jumped -= SETTLE_SECONDS + 1
    crew._looked -= 2
    crew._clock -= 2
    crew._look_after_the_ledger()
    assert queue.get(task.id).status == "queued"

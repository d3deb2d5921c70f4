"""The crews of a project: heard of, silent, gone, forgotten."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from cairn.fleet import SILENT_SECONDS, Fleet, SeenCrew
from cairn.queue import TaskQueue
from cairn.task_owner import Owner

AWAY = Owner("elsewhere", 12, 34)
CREW = SeenCrew("a", AWAY, "0.1.0", "dbos", "x:1", 4, (Owner("elsewhere", 13, 35),), stopping=False, started_at=1000.0)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def fleet(ledger_place, clock):
    with TaskQueue(ledger_place), Fleet(ledger_place, clock=clock) as fleet:
        yield fleet


def test_a_crew_comes_back_as_it_last_spoke(fleet, clock):
    fleet.beat(CREW)
    clock.now += 5
    later = replace(CREW, executor="x:2", members=(), stopping=True)
    fleet.beat(later)

    assert fleet.crews() == (replace(later, beat_at=1005.0),)
    assert fleet.executors() == ("x:2",)


def test_a_silent_crew_is_gone_and_its_executor_with_it(fleet, clock):
    fleet.beat(CREW)
    fleet.beat(replace(CREW, id="b", executor="y:1", started_at=1001.0))
    clock.now += SILENT_SECONDS
    fleet.beat(replace(CREW, id="b", executor="y:1", started_at=1001.0))

    assert [(crew.id, crew.is_there(clock.now)) for crew in fleet.crews()] == [("a", False), ("b", True)]
    assert fleet.executors() == ("y:1",)


def test_a_crew_of_this_machine_is_gone_as_soon_as_its_process_is(fleet, clock):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    fleet.beat(replace(CREW, owner=Owner.of(process.pid)))
    assert fleet.executors() == ("x:1",)
    process.kill()
    process.communicate()

    assert fleet.executors() == ()
    fleet.beat(replace(CREW, id="b", owner=Owner.of(os.getpid())))
    assert fleet.executors() == ("x:1",)


def test_a_crew_that_leaves_is_not_seen_and_one_silent_for_a_day_is_forgotten(fleet, clock):
    fleet.beat(CREW)
    fleet.beat(replace(CREW, id="b"))
    fleet.leave("b")
    fleet.leave("b")
    assert [crew.id for crew in fleet.crews()] == ["a"]
    clock.now += 86_401
    fleet.beat(replace(CREW, id="c"))

    assert [crew.id for crew in fleet.crews()] == ["c"]

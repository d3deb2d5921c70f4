"""A model that no task can use is asked no more, by any process; and is asked again when it may work."""

from __future__ import annotations

import pytest

from cairn.errors import ModelCallFailed, ModelUnavailable
from cairn.model_pauses import ModelPauses, concerns_all_tasks
from cairn.provider_errors import Provider, translate
from cairn.queue import TaskQueue
from cairn.task import CodeOrigin, PutOff, TaskStatus
from cairn.task_holds import Pause
from cairn.task_owner import Owner

NO_QUOTA = ModelCallFailed("The account has no quota left for m.", "Pay first.", status=429, no_quota=True)
NO_KEY = ModelUnavailable("m needs a key.")


class Http(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status_code = status


class Shop:
    """A ledger, its pauses, and a clock that stands where it is put."""

    def __init__(self, place):
        self.now = 1000.0
        self.queue = TaskQueue(place, clock=lambda: self.now)
        self.pauses = ModelPauses(place, 60.0, clock=lambda: self.now)
        self.me = Owner.this_process()

    def add(self, model):
        return self.queue.add("x", CodeOrigin("model", model))

    def started(self):
        return [task.model for task in iter(lambda: self.queue.claim(self.me), None)]


@pytest.fixture
def shop(ledger_place):
    shop = Shop(ledger_place)
    yield shop
    shop.pauses.close()
    shop.queue.close()


@pytest.mark.parametrize(
    ("status", "message", "pauses"),
    [
        (401, "bad key", False),
        (403, "not yours", False),
        (404, "no such model", False),
        (402, "pay", True),
        (429, "You exceeded your current quota", True),
        (429, "slow down", False),
        (500, "down", False),
        (400, "bad request", False),
    ],
)
def test_quota_concerns_all_tasks_and_what_passes_or_is_one_machines_does_not(status, message, pauses):
    assert concerns_all_tasks(translate(Http(status, message), Provider("m", 10))) is pauses


def test_a_paused_model_keeps_its_tasks_from_starting_and_the_others_go_on(shop):
    tasks = [shop.add(model) for model in ("m", "other", "m")]

    pause = shop.pauses.begin("m", NO_QUOTA)

    assert pause == Pause("m", 1060.0, "The account has no quota left for m. Pay first.")
    assert shop.started() == ["other"]
    assert set(shop.queue.holds(tasks)) == {tasks[0].id, tasks[2].id}
    assert "m is paused until" in shop.queue.holds(tasks)[tasks[0].id]
    assert shop.queue.due_at() == 1060.0


def test_after_the_pause_one_task_tries_it_and_an_answer_frees_the_others(shop):
    for _ in range(3):
        shop.add("m")
    shop.pauses.begin("m", NO_KEY)
    shop.now = 1061.0
    assert shop.pauses.of("m") is None
    assert shop.started() == ["m"]

    assert shop.pauses.end("m")

    assert shop.started() == ["m", "m"]
    assert not shop.pauses.end("m")


def test_another_failure_pauses_it_twice_as_long_and_never_for_more_than_an_hour(shop):
    lengths = []
    for _ in range(8):
        pause = shop.pauses.begin("m", NO_KEY)
        lengths.append(pause.until - shop.now)
        shop.now = pause.until

    assert lengths == [60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_calls_that_were_under_way_do_not_make_it_longer(shop):
    first = shop.pauses.begin("m", NO_QUOTA)
    shop.now += 5

    assert shop.pauses.begin("m", NO_KEY) == first


def test_a_task_that_needs_a_model_for_its_questions_waits_for_that_one(shop):
    task = shop.queue.add("x", CodeOrigin("recipe", "add_docstrings"))
    shop.pauses.begin("m", NO_KEY)
    shop.queue.put_off(shop.queue.claim(shop.me), PutOff("m is paused", waits_for="m"))
    assert shop.started() == []

    shop.pauses.end("m")

    again = shop.queue.claim(shop.me, task.id)
    assert shop.queue.put_off(again, PutOff("later")).status is TaskStatus.QUEUED

"""Of a queue that nobody watches no task fails for a reason that passes."""

from __future__ import annotations

import pytest

from cairn.errors import ModelCallFailed, TaskFailed
from cairn.program import Finished, LimitReached, Run
from cairn.putting_off import PAUSED, after_failure, after_limit
from cairn.task import CodeOrigin, PutOff, Task, Terms

BUSY = ModelCallFailed("m is rate-limited.", retryable=True)


def task(in_vain=0, most=3):
    return Task("bcdfgh", "x", CodeOrigin("model", "m"), terms=Terms(max_attempts=most), in_vain=in_vain)


def test_a_failure_that_may_pass_is_tried_again_later_and_later():
    assert after_failure(task(), BUSY, 1000.0) == PutOff("m is rate-limited (1 of 3 attempts)", 1030.0, 1)
    assert after_failure(task(1), BUSY, 1000.0) == PutOff("m is rate-limited (2 of 3 attempts)", 1060.0, 2)
    assert after_failure(task(9, most=50), BUSY, 1000.0).not_before == 1900.0


def test_what_the_provider_asks_to_wait_is_waited():
    error = ModelCallFailed("m is rate-limited.", retryable=True, retry_after=4000.0)

    assert after_failure(task(), error, 1000.0).not_before == 5000.0


@pytest.mark.parametrize(
    ("one", "error"),
    [
        (task(2), BUSY),
        (task(0, most=1), BUSY),
        (task(), ModelCallFailed("m refused the request (400).")),
        (task(), TaskFailed("m did not answer with a program.")),
        (task(), RuntimeError("a bug")),
    ],
)
def test_what_does_not_pass_or_was_tried_often_enough_fails(one, error):
    assert after_failure(one, error, 1000.0) is None


def test_a_limit_of_all_tasks_puts_off_and_one_of_the_task_does_not():
    assert after_limit(task(1), LimitReached(Run(), PAUSED, 0, "m"), 5000.0) == PutOff("m is paused", 0.0, 1, "m")
    assert after_limit(task(1), LimitReached(Run(), "tokens_per_day", 9, "used"), 5000.0) == PutOff(
        "budget.tokens_per_day is used up", 5000.0, 1
    )
    assert after_limit(task(), LimitReached(Run(), "steps", 12), 5000.0) is None
    assert after_limit(task(), Finished(Run()), 5000.0) is None

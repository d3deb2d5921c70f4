from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.errors import ModelCallFailed, ModelUnavailable
from cairn.retry import Failure, GiveUp, Retry, RetryStrategy, says_retryable


def busy(retry_after: float | None = None) -> ModelCallFailed:
    return ModelCallFailed("busy", retryable=True, retry_after=retry_after, status=429)


STEADY = RetryStrategy(jitter=0.0)


def test_delays_double_from_the_first_until_the_longest() -> None:
    strategy = RetryStrategy(attempts=9, first_delay=1.0, max_delay=10.0, jitter=0.0)

    assert [strategy.next(n, busy()) for n in range(1, 7)] == [Retry(d) for d in (1.0, 2.0, 4.0, 8.0, 10.0, 10.0)]


def test_it_gives_up_at_the_last_attempt_and_says_how_many_there_were() -> None:
    assert RetryStrategy(attempts=3).next(3, busy()) == GiveUp("3 attempts were made")


def test_one_attempt_means_no_retry() -> None:
    assert RetryStrategy(attempts=1).next(1, busy()) == GiveUp("one attempt was made")


def test_an_error_that_would_come_again_is_not_retried() -> None:
    assert STEADY.next(1, ModelCallFailed("bad request", status=400)) == GiveUp("the same attempt would fail again")


def test_other_errors_are_not_retried_by_default() -> None:
    assert [says_retryable(e) for e in (ModelUnavailable("no key"), ValueError("x"), KeyboardInterrupt())] == [
        False
    ] * 3


def test_which_errors_retry_can_be_chosen() -> None:
    strategy = RetryStrategy(jitter=0.0, retries=lambda error: isinstance(error, OSError))

    assert strategy.next(1, OSError("disk")) == Retry(1.0)


def test_retry_after_is_honoured_when_it_is_longer_than_the_back_off() -> None:
    assert STEADY.next(1, busy(retry_after=7.5)) == Retry(7.5)


def test_retry_after_does_not_shorten_the_back_off() -> None:
    assert STEADY.next(3, busy(retry_after=0.1)) == Retry(4.0)


def test_a_wait_nobody_would_sit_through_is_given_up_at_once() -> None:
    assert STEADY.next(1, busy(retry_after=3600)) == GiveUp("it asks to wait 3,600 s, longer than 300 s")


def test_each_failure_is_told_with_its_decision() -> None:
    heard: list[Failure] = []
    error = busy()
    strategy = RetryStrategy(attempts=2, jitter=0.0, on_failure=heard.append)

    strategy.next(1, error)
    strategy.next(2, error)

    assert heard == [Failure(1, error, Retry(1.0)), Failure(2, error, GiveUp("2 attempts were made"))]


def test_the_same_seed_gives_the_same_delays() -> None:
    first, second = (RetryStrategy(rng=random.Random(7)) for _ in range(2))

    assert [first.next(n, busy()) for n in (1, 2, 3)] == [second.next(n, busy()) for n in (1, 2, 3)]


@given(st.integers(1, 10_000), st.floats(0, 300), st.integers())
def test_a_delay_is_never_earlier_than_asked_and_never_unbounded(attempt: int, asked: float, seed: int) -> None:
    strategy = RetryStrategy(attempts=20_000, rng=random.Random(seed))

    decision = strategy.next(attempt, busy(retry_after=asked))

    assert isinstance(decision, Retry)
    assert max(asked, min(2.0 ** min(attempt - 1, 100), 30)) <= decision.after <= max(asked, 30) * 1.25


def test_at_once_waits_for_nothing() -> None:
    budget = RetryStrategy.at_once(3, retries=lambda _error: True)

    assert [budget.next(n, ValueError()) for n in (1, 2, 3)] == [Retry(0.0), Retry(0.0), GiveUp("3 attempts were made")]


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"first_delay": -1.0}, {"jitter": -0.1}, {"factor": 0.5}])
def test_impossible_strategies_cannot_be_made(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        RetryStrategy(**wrong)  # type: ignore[arg-type]

"""Times as people type them."""

from __future__ import annotations

import time

import pytest

from cairn.errors import UsageProblem
from cairn.moments import moment_of, seconds_of

NOON = time.mktime((2026, 1, 31, 12, 0, 0, 0, 0, -1))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("0.5s", 0.5), ("5min", 300), ("5m", 300), ("1h30min", 5400), ("1H 30m", 5400), ("2d", 172_800)],
)
def test_a_length_of_time(text, seconds):
    assert seconds_of(text, "--delay") == seconds
    assert moment_of(text, "--at", NOON) == NOON + seconds
    assert moment_of(text, "--since", NOON, past=True) == NOON - seconds


@pytest.mark.parametrize("text", ["", "h", "-5", "5 years", "nan", "1e9", "99999999999", "5min later"])
def test_what_is_no_length_of_time(text):
    with pytest.raises(UsageProblem, match="--delay cannot be"):
        seconds_of(text, "--delay")


def test_a_clock_names_the_next_time_or_the_last_one():
    assert moment_of("14:30", "--at", NOON) == NOON + 9_000
    assert moment_of("11:00", "--at", NOON) == NOON + 23 * 3600
    assert moment_of("11:00", "--since", NOON, past=True) == NOON - 3600
    assert moment_of("14:30:05", "--since", NOON, past=True) == NOON + 9_005 - 86_400


def test_a_date_with_or_without_a_time_and_a_zone():
    assert moment_of("2026-02-01T12:00", "--at", NOON) == NOON + 86_400
    assert moment_of("2026-01-31", "--at", NOON) == NOON - 43_200
    assert moment_of("2026-01-31T12:00+00:00", "--at", NOON) == 1_769_860_800


@pytest.mark.parametrize("text", ["25:00", "12:99", "tomorrow", "2026-13-01", "0000-01-01"])
def test_what_is_no_time(text):
    with pytest.raises(UsageProblem, match="--at cannot be"):
        moment_of(text, "--at", NOON)

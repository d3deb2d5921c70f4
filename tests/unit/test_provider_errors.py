from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any

import pytest

from cairn.errors import KeyRefused, ModelCallFailed, ModelUnavailable
from cairn.provider_errors import CUT, Provider, finish_reason, translate

PROVIDER = Provider("m", 30.0)


class HttpError(Exception):
    """What client libraries raise, as far as it matters: a response with a status and headers."""

    def __init__(self, status: int, headers: dict[str, str] | None = None, message: str = "no") -> None:
        super().__init__(message)
        self.response = type("Response", (), {"status_code": status, "headers": headers or {}})


def failed(error: Exception) -> ModelCallFailed:
    problem = translate(error, PROVIDER)
    assert isinstance(problem, ModelCallFailed)
    return problem


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_these_statuses_may_pass(status: int) -> None:
    assert (failed(HttpError(status)).retryable, failed(HttpError(status)).status) == (True, status)


@pytest.mark.parametrize("status", [400, 402, 413, 422, 451])
def test_these_statuses_would_come_again(status: int) -> None:
    assert (failed(HttpError(status)).retryable, failed(HttpError(status)).status) == (False, status)


@pytest.mark.parametrize(("status", "kind"), [(401, KeyRefused), (403, KeyRefused), (404, ModelUnavailable)])
def test_these_statuses_mean_that_the_model_cannot_be_used(status: int, kind: type) -> None:
    assert type(translate(HttpError(status), PROVIDER)) is kind


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_its_spellings(headers: dict[str, str], seconds: float | None) -> None:
    assert failed(HttpError(429, headers)).retry_after == seconds


def test_retry_after_may_be_a_date() -> None:
    waited = failed(HttpError(503, {"retry-after": formatdate(time.time() + 60, usegmt=True)})).retry_after

    assert waited is not None
    assert 55 < waited <= 60


def test_a_missing_key_names_only_what_exists() -> None:
    assert Provider("m", 1.0, key_name="acme").missing_key.args == ("m needs a key.",)
    assert Provider("m", 1.0, key_name="acme").missing_key.why == 'llm has no stored "acme" key.'
    assert Provider("m", 1.0, key_name="acme").missing_key.fix == ("llm keys set acme",)


def test_a_long_message_is_cut_and_a_page_is_not_shown() -> None:
    assert len(failed(HttpError(400, message="x" * 1000)).why) == 300
    assert failed(HttpError(500, message="<html>\n<body>gateway</body>")).why == "A web page came instead of an answer."


@pytest.mark.parametrize(
    ("raw", "always_given", "reason"),
    [
        ({"finish_reason": "stop"}, True, "stop"),
        ({"content": "half"}, True, CUT),
        (None, True, CUT),
        (None, False, None),
        ({"done": True}, False, None),
        ({"choices": [{"finish_reason": "length"}]}, True, "length"),
        ({"choices": []}, True, CUT),
        ({"stop_reason": "end_turn"}, False, "end_turn"),
        ({"stop_reason": None}, False, CUT),
        ({"candidates": [{"finishReason": "MAX_TOKENS"}]}, False, "max_tokens"),
        ({"candidates": [{}]}, False, CUT),
        ({"done_reason": "stop"}, False, "stop"),
        ({"status": "completed"}, True, "completed"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, True, "max_output_tokens"),
    ],
)
def test_why_an_answer_ended_is_read_from_each_providers_shape(
    raw: dict[str, Any] | None, always_given: bool, reason: str | None
) -> None:
    assert finish_reason(raw, always_given=always_given) == reason

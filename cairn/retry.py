"""Whether and when to try again after a failure: pure decisions; whoever asks does the waiting."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from cairn.errors import ModelCallFailed


@dataclass(frozen=True, slots=True)
class Retry:
    """Try once more, `after` this many seconds."""

    after: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not try again; `reason` is a clause for people, such as "5 attempts were made"."""

    reason: str


Decision = Retry | GiveUp


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt and what was decided about it. Attempts count from 1."""

    attempt: int
    error: BaseException
    decision: Decision


def says_retryable(error: BaseException) -> bool:
    """True for a model call that failed for a reason that may pass: rate limit, timeout, 5xx, connection."""
    return isinstance(error, ModelCallFailed) and error.retryable


def _ignored(_failure: Failure) -> None:
    """A callback that wants to know nothing."""


@dataclass(frozen=True, slots=True)
class RetryStrategy:
    """Delays of 1, 2, 4, ... seconds, each longer by up to a quarter at random, so that waiting tasks spread out.

    An error's own `retry_after` is a floor: the next attempt never comes earlier. Beyond `longest_wait` the answer is
    GiveUp, since a person would rather know than wait. `on_failure` hears of each failure and its decision.
    """

    attempts: int = 4
    first_delay: float = 1.0
    factor: float = 2.0
    max_delay: float = 30.0
    jitter: float = 0.25
    longest_wait: float = 300.0
    retries: Callable[[BaseException], bool] = says_retryable
    on_failure: Callable[[Failure], None] = _ignored
    rng: random.Random = field(default_factory=random.Random, compare=False)

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, not {self.attempts}")
        if min(self.first_delay, self.max_delay, self.jitter, self.longest_wait) < 0 or self.factor < 1:
            raise ValueError("delays and jitter must not be negative, and factor must be at least 1")

    @classmethod
    def at_once(cls, attempts: int, retries: Callable[[BaseException], bool]) -> RetryStrategy:
        """A budget without waiting, for work that is mended rather than waited out."""
        return cls(attempts=attempts, first_delay=0.0, max_delay=0.0, jitter=0.0, retries=retries)

    def next(self, attempt: int, error: BaseException) -> Decision:
        """What to do after attempt number `attempt` (from 1) ended in `error`."""
        decision = self._decide(attempt, error)
        self.on_failure(Failure(attempt, error, decision))
        return decision

    def _decide(self, attempt: int, error: BaseException) -> Decision:
        if not self.retries(error):
            return GiveUp("the same attempt would fail again")
        if attempt >= self.attempts:
            return GiveUp(f"{attempt} attempts were made" if attempt > 1 else "one attempt was made")
        asked = getattr(error, "retry_after", None) or 0.0
        if asked > self.longest_wait:
            return GiveUp(f"it asks to wait {asked:,.0f} s, longer than {self.longest_wait:,.0f} s")
        return Retry(self._spread(max(self._backed_off(attempt), asked)))

    def _backed_off(self, attempt: int) -> float:
        try:
            return min(self.first_delay * self.factor ** (attempt - 1), self.max_delay)
        except OverflowError:
            return self.max_delay

    def _spread(self, delay: float) -> float:
        return delay * (1 + self.jitter * self.rng.random())

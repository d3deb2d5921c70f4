"""Checks: a project's own commands that judge a task, what came of them, and what that means for an accept."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

TIMEOUT = 300.0


@dataclass(frozen=True, slots=True)
class Check:
    """A command of the settings. `paths` are globs: the check is about changes there, and about every change if empty.

    `keep_writes`: what it writes, as a formatter does, becomes part of the task.
    """

    name: str
    command: str
    timeout: float = TIMEOUT
    paths: tuple[str, ...] = ()
    required: bool = True
    keep_writes: bool = False


class Verdict(StrEnum):
    """What is known of a check for a task as it is now."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not run"
    NOT_NEEDED = "not needed"

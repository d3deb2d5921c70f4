"""Checks: a project's own commands that judge a task, what came of them, and what that means for an accept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from cairn.glob_pattern import glob_pattern

TIMEOUT = 300.0
OUTPUT_CHARS = 20_000  # of one check that are kept with a task
OUTDATED = ", before later edits"


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

    def is_about(self, changed: Iterable[str]) -> bool:
        """True when one of the changed paths is one of its own."""
        patterns = [glob_pattern(path) for path in self.paths]
        return any(not patterns or any(each.matches(path) for each in patterns) for path in changed)


class Verdict(StrEnum):
    """What is known of a check for a task as it is now."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not run"
    NOT_NEEDED = "not needed"  # the task changed nothing that it is about


class Before(StrEnum):
    """What the same check comes to without the task's changes; asked only of one that failed."""

    UNKNOWN = ""
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One run of a check. `content` is the digest of the task's changes it ran over, `command` what was run.

    `project` is what it found of the project beside them, as `check_ground` tells it; "" in what an older version kept.
    `ground` says in words what the command ran in. `output` is both streams, cut in its middle. `wrote` are paths that
    it wrote, `kept` whether they became part of the task.
    """

    name: str
    command: str
    content: str
    exit_code: int
    seconds: float
    at: float
    ground: str
    sandboxed: bool = True
    timed_out: bool = False
    stopped: str = ""
    output: str = ""
    before: Before = Before.UNKNOWN
    wrote: tuple[str, ...] = ()
    kept: bool = False
    refused: str = ""
    project: str = ""

    @property
    def passed(self) -> bool:
        """True for a command that ended by itself with 0."""
        return self.exit_code == 0 and not self.timed_out

    @property
    def in_words(self) -> str:
        """How it ended, and for a failure whether the task is to blame."""
        if self.passed:
            return "passed"
        ending = "timed out" if self.timed_out else self.stopped or f"exit code {self.exit_code}"
        blame = {Before.PASSED: ": the task broke it", Before.FAILED: ": it failed before the task too"}
        return f"failed ({ending}){blame.get(self.before, '')}"


@dataclass(frozen=True, slots=True)
class Standing:
    """A check of the settings, and what is known of it for a task as it is now; `result` may be of other content.

    `outdated`: it ran over just these changes, but the project was edited since.
    """

    check: Check
    verdict: Verdict
    result: CheckResult | None = None
    outdated: bool = False

    @property
    def in_words(self) -> str:
        """The verdict, and whether it is from before later edits."""
        return f"{self.verdict}{OUTDATED if self.outdated else ''}"


class CheckRunner(Protocol):
    """Runs a task's checks while its programs run. Errors are builtin ones, for the program."""

    async def run(self, name: str) -> CheckResult:
        """One check over the task's files as they are. ValueError: an unknown one; RuntimeError: used up."""
        ...

    async def refusal(self) -> str:
        """Runs the required checks; what a program is told whose submission breaks them, else ""."""
        ...


def standings(
    checks: Mapping[str, Check],
    results: Mapping[str, CheckResult],
    content: str,
    changed: Iterable[str],
    project: str = "",
) -> tuple[Standing, ...]:
    """What each check says of this content; a result for another content or command says nothing.

    `project` is what a command would find beside it today; "" where nobody asks.
    """
    paths = tuple(changed)
    return tuple(_standing(check, results.get(name), content, paths, project) for name, check in checks.items())


def _standing(
    check: Check, result: CheckResult | None, content: str, changed: tuple[str, ...], project: str
) -> Standing:
    if result is not None and (result.content, result.command) == (content, check.command):
        outdated = "" not in {project, result.project} and project != result.project
        return Standing(check, Verdict.PASSED if result.passed else Verdict.FAILED, result, outdated)
    needed = check.is_about(changed)
    return Standing(check, Verdict.NOT_RUN if needed else Verdict.NOT_NEEDED, result)


def summary(found: Iterable[Standing]) -> str:
    """One word for a list: the worst of what the required checks, or without one all, say; "" without checks."""
    counted = [each for each in found if each.verdict is not Verdict.NOT_NEEDED]
    judged = [each for each in counted if each.check.required] or counted
    for verdict in (Verdict.FAILED, Verdict.NOT_RUN, Verdict.PASSED):
        found = [each for each in judged if each.verdict is verdict]
        if found:
            return str(verdict) + (OUTDATED if any(each.outdated for each in found) else "")
    return ""


@dataclass(frozen=True, slots=True)
class Weakening:
    """A change that makes a check say less than it did: where, and how."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a review knows beside the diff: each check, and what of the changes weakens them."""

    standings: tuple[Standing, ...] = ()
    weakened: tuple[Weakening, ...] = field(default=())

    @property
    def failed(self) -> tuple[Standing, ...]:
        """The required checks that failed on just this content."""
        return tuple(each for each in self.standings if each.check.required and each.verdict is Verdict.FAILED)

    @property
    def missing(self) -> tuple[Standing, ...]:
        """The required checks that nobody ran on this content."""
        return tuple(each for each in self.standings if each.check.required and each.verdict is Verdict.NOT_RUN)

    @property
    def outdated(self) -> tuple[Standing, ...]:
        """The required checks that passed on just this content, but over a project that was edited since."""
        passed = (each for each in self.standings if each.check.required and each.verdict is Verdict.PASSED)
        return tuple(each for each in passed if each.outdated)


def middle_cut(text: str, most: int = OUTPUT_CHARS) -> str:
    """The text, or its head and its longer tail, where results stand."""
    if len(text) <= most:
        return text
    head, tail = most // 4, most - most // 4
    return f"{text[:head]}\n[... {len(text) - most:,} characters left out ...]\n{text[-tail:]}"

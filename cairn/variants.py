"""Variants: attempts at one task, ranked against each other, the same results folded into one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import inf
from typing import TYPE_CHECKING

from cairn.changes import Change, ChangeSet, Content
from cairn.checks import Evidence, Verdict
from cairn.git_diff import stat
from cairn.task import Task, TaskStatus

if TYPE_CHECKING:
    from cairn.review import Review

INSTEAD = "was accepted instead"
SHARED_LIMITS = ("model_calls", "input_tokens", "output_tokens", "money")


class Standing(IntEnum):
    """How far an attempt came; the better, the smaller."""

    FINISHED = 0
    UNFINISHED = 1
    FAILED = 2


_STANDINGS: Mapping[TaskStatus, Standing] = {
    TaskStatus.IN_REVIEW: Standing.FINISHED,
    TaskStatus.ACCEPTED: Standing.FINISHED,
    TaskStatus.REJECTED: Standing.FINISHED,
    TaskStatus.FAILED: Standing.FAILED,
    TaskStatus.CANCELLED: Standing.FAILED,
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt in the figures that a comparison shows. `digest` is that of all its changes.

    `failed` and `not_run` count required checks that its changes are about. `money` is None for an unknown price.
    """

    id: str
    status: TaskStatus
    model: str = ""
    reason: str = ""
    checks: str = ""
    failed: int = 0
    not_run: int = 0
    files: int = 0
    added: int = 0
    removed: int = 0
    tokens: int = 0
    money: float | None = 0.0
    seconds: float = 0.0
    digest: str = ""
    asked_at: float = 0.0

    @property
    def standing(self) -> Standing:
        """Finished, not yet, or failed."""
        return _STANDINGS.get(self.status, Standing.UNFINISHED)


@dataclass(frozen=True, slots=True)
class Ranked:
    """An attempt and its place: None for one that did not finish. `same_as` is the better one with the same changes."""

    rank: int | None
    attempt: Attempt
    same_as: str | None = None


def rank(attempts: Iterable[Attempt]) -> tuple[Ranked, ...]:
    """The best first: required checks, then the smaller diff, then the cost, then the older; what failed is last.

    One that changed nothing comes behind those that did, with the same checks. The same changes have one place, the
    cheapest of them first.
    """
    found: dict[str, list[Attempt]] = {}
    rest: list[Attempt] = []
    for each in sorted(attempts, key=_order):
        if each.standing is Standing.FINISHED:
            found.setdefault(each.digest, []).append(each)
        else:
            rest.append(each)
    places = [
        Ranked(place, each, None if each is same[0] else same[0].id)
        for place, same in enumerate(found.values(), start=1)
        for each in same
    ]
    return (*places, *(Ranked(None, each) for each in rest))


def _order(attempt: Attempt) -> tuple[object, ...]:
    money = inf if attempt.money is None else attempt.money
    return (
        attempt.standing, attempt.failed, attempt.not_run, attempt.files == 0, attempt.added + attempt.removed,
        attempt.files, money, attempt.tokens, attempt.asked_at, attempt.id,
    )  # fmt: skip


def attempt_of(review: Review) -> Attempt:
    """The figures of a task's review; its changes are counted whole, whatever was accepted of them."""
    task, changes = review.task, whole(review)
    figures = stat(changes)
    failed, not_run, words = _checks(review.evidence)
    return Attempt(
        task.id, task.status, task.model or task.origin.name, task.reason, words, failed, not_run,
        len(changes), figures.added, figures.removed,
        task.outcome.input_tokens + task.outcome.output_tokens, task.outcome.money, task.outcome.seconds,
        changes.digest, task.created_at,
    )  # fmt: skip


def whole(review: Review) -> ChangeSet:
    """Everything the task changed, whatever was accepted of it."""
    return review.changes if review.whole is None else review.whole


def _checks(evidence: Evidence) -> tuple[int, int, str]:
    """Required checks that failed, that did not run, and in words how many passed."""
    required = [each for each in evidence.standings if each.check.required and each.verdict is not Verdict.NOT_NEEDED]
    if not required:
        return 0, 0, ""
    failed, missing = len(evidence.failed), len(evidence.missing)
    return failed, missing, f"{len(required) - failed - missing} of {len(required)}"


def share_limits(options: Mapping[str, str], count: int) -> dict[str, str]:
    """Limits of what models cost that were given for the group, as those of each of `count` attempts."""
    shared = {f"limits.{name}" for name in SHARED_LIMITS}
    return {name: _part(name, value, count) if name in shared else value for name, value in options.items()}


def _part(name: str, value: str, count: int) -> str:
    """A value that is no number is left for the settings to refuse."""
    try:
        return str(float(value) / count if name == "limits.money" else int(value) // count)
    except ValueError:
        return value


# -- what differs ------------------------------------------------------------------------------------------------------


def instead_of(task: Task) -> str:
    """Why the other variants are rejected when this one is accepted."""
    return f"{task.id} {INSTEAD}"


def unlike(bases: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """The paths of which not all attempts saw the same; each base has a path's content as a text."""
    seen: dict[str, set[str]] = {}
    for base in bases:
        for path, content in base.items():
            seen.setdefault(path, set()).add(content)
    return tuple(sorted(path for path, contents in seen.items() if len(contents) > 1))


@dataclass(frozen=True, slots=True)
class FileRow:
    """One path across the attempts: for each the version it made of it, 0 for none, and its lines."""

    path: str
    versions: tuple[int, ...]
    lines: tuple[tuple[int, int], ...]


def by_file(every: Sequence[ChangeSet]) -> tuple[FileRow, ...]:
    """Which attempt changes which file; equal versions of a file have equal numbers, from 1."""
    found = [{change.path: change for change in changes} for changes in every]
    figures = [{file.path: (file.added, file.removed) for file in stat(changes).files} for changes in every]
    rows = []
    for path in sorted({path for changes in found for path in changes}):
        numbers: dict[tuple[Content | None, str | None], int] = {}
        versions = tuple(_version(changes.get(path), numbers) for changes in found)
        rows.append(FileRow(path, versions, tuple(each.get(path, (0, 0)) for each in figures)))
    return tuple(rows)


def _version(change: Change | None, numbers: dict[tuple[Content | None, str | None], int]) -> int:
    if change is None:
        return 0
    return numbers.setdefault((change.after, change.renamed_from), len(numbers) + 1)


def between(one: ChangeSet, other: ChangeSet) -> ChangeSet:
    """What leads from the project as the first leaves it to the project as the other does."""
    before, after = _after(one), _after(other)
    base = _before(other) | _before(one)
    changes = []
    for path in sorted({*before, *after}):
        old, new = before.get(path, base.get(path)), after.get(path, base.get(path))
        if old != new:
            changes.append(Change(path, old, new))
    return ChangeSet(tuple(changes))


def _after(changes: ChangeSet) -> dict[str, Content | None]:
    gone: dict[str, Content | None] = {each.renamed_from: None for each in changes if each.renamed_from is not None}
    return gone | {change.path: change.after for change in changes}


def _before(changes: ChangeSet) -> dict[str, Content | None]:
    """What stood at each path before; at a rename's new path nothing did."""
    found: dict[str, Content | None] = {}
    for change in changes:
        if change.renamed_from is None:
            found[change.path] = change.before
        else:
            found |= {change.renamed_from: change.before, change.path: None}
    return found

"""The results of a task's checks, kept in the task's own file: the newest of each check."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cairn.checks import Before, CheckResult
from cairn.task_file import TaskFile

_RESULTS = "cairn.checks"
_KEPT_WRITES = "cairn.kept_writes"


def check_results(file: TaskFile) -> dict[str, CheckResult]:
    """By the check's name."""
    stored = file.kv_get(_RESULTS)
    return {name: _parsed(value) for name, value in stored.items()} if isinstance(stored, dict) else {}


def keep_check_result(file: TaskFile, result: CheckResult) -> None:
    """Takes the place of an older one of the same check."""
    with file.transaction():
        stored = file.kv_get(_RESULTS)
        others = stored if isinstance(stored, dict) else {}
        file.kv_set(_RESULTS, {**others, result.name: {**asdict(result), "wrote": list(result.wrote)}})


def kept_writes(file: TaskFile) -> frozenset[str]:
    """The paths in the task's files that a check wrote, and no program."""
    stored = file.kv_get(_KEPT_WRITES)
    return frozenset(str(path) for path in stored) if isinstance(stored, list) else frozenset()


def add_kept_writes(file: TaskFile, paths: tuple[str, ...]) -> None:
    """Remembers that a check wrote there."""
    file.kv_set(_KEPT_WRITES, [*sorted(kept_writes(file).union(paths))])


def _parsed(stored: Any) -> CheckResult:
    return CheckResult(**{**stored, "before": Before(stored["before"]), "wrote": tuple(stored["wrote"])})

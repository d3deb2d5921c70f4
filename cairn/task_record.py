"""A task, kept in its own file too, so that a lost ledger can be built anew from the tasks' files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from cairn.task import CodeOrigin, Outcome, Task, TaskStatus, Terms
from cairn.task_file import TaskFile

KEY = "cairn.task"
SURROUNDINGS_KEY = "cairn.surroundings"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The clock and the chance that a task's programs see, the same whenever they run."""

    now: datetime
    seed: int


def surroundings(file: TaskFile, task: Task) -> Surroundings:
    """Those the file keeps, because it was forked from another task's; else the task's own."""
    kept = file.kv_get(SURROUNDINGS_KEY)
    now, seed = kept if isinstance(kept, list) else (task.created_at, int.from_bytes(task.id.encode()))
    return Surroundings(datetime.fromtimestamp(float(str(now)), UTC), int(str(seed)))


def keep_surroundings(file: TaskFile, found: Surroundings) -> None:
    """The file's programs see these from now on, whatever its task is called."""
    file.kv_set(SURROUNDINGS_KEY, [found.now.timestamp(), found.seed])


def keep_task(file: TaskFile, task: Task) -> None:
    """The file knows whose it is; the last call counts."""
    origin = {**_plain(task.origin), "parameters": dict(task.origin.parameters)}
    parts = {"origin": origin, "outcome": _plain(task.outcome), "terms": _plain(task.terms)}
    file.kv_set(KEY, {**_plain(task), **parts, "options": dict(task.options)})


def _plain(value: CodeOrigin | Outcome | Terms | Task) -> dict[str, Any]:
    """As `asdict`, but no copy of each text in it."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def kept_task(file: TaskFile) -> Task | None:
    """The task as it was last kept; None for a file that knows none, or holds nonsense under the key."""
    found = file.kv_get(KEY)
    if not isinstance(found, dict):
        return None
    values: dict[str, Any] = {**found}
    try:
        origin = CodeOrigin(**values.pop("origin"))
        outcome = Outcome(**values.pop("outcome"))
        status = TaskStatus(values.pop("status"))
        values["terms"] = _terms(values.get("terms", {}))
        known = {field.name for field in fields(Task)}
        return Task(origin=origin, outcome=outcome, status=status, **{k: v for k, v in values.items() if k in known})
    except (TypeError, ValueError, KeyError):
        return None


def _terms(kept: Mapping[str, Any]) -> Terms:
    """JSON has lists where the value has tuples."""
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()}
    return Terms(**values)

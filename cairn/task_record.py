"""A task, kept in its own file too, so that a lost ledger can be built anew from the tasks' files."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from typing import Any

from cairn.task import CodeOrigin, Outcome, Task, TaskStatus
from cairn.task_file import TaskFile

KEY = "cairn.task"


def keep_task(file: TaskFile, task: Task) -> None:
    """The file knows whose it is; the last call counts."""
    origin = replace(task.origin, parameters=dict(task.origin.parameters))
    file.kv_set(KEY, asdict(replace(task, origin=origin, options=dict(task.options))))


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
        known = {field.name for field in fields(Task)}
        return Task(origin=origin, outcome=outcome, status=status, **{k: v for k, v in values.items() if k in known})
    except (TypeError, ValueError, KeyError):
        return None

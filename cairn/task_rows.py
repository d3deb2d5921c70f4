"""Tasks as rows of the ledger: each value in its column, lists and figures as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from cairn.task import CodeOrigin, Outcome, Task, TaskStatus, Terms

COLUMNS = (
    "id, request, source, name, program, parameters, status, reason, attempt, "
    "created_at, started_at, finished_at, retry_of, outcome, options, "
    "priority, not_before, deadline, key, max_attempts, tags, accepts, model, in_vain, waits_for, variant_group, base"
)
OF_ITS_LIFE = frozenset(
    ("id", "status", "reason", "attempt", "created_at", "started_at", "finished_at", "retry_of", "outcome")
)


def row_of(task: Task) -> tuple[object, ...]:
    """Its values, in the order of `COLUMNS`."""
    origin, terms = task.origin, task.terms
    return (
        task.id, task.request, origin.source, origin.name, origin.program, json.dumps(dict(origin.parameters)),
        task.status, task.reason, task.attempt, task.created_at, task.started_at, task.finished_at, task.retry_of,
        figures_of(task.outcome), json.dumps(dict(task.options)),
        terms.priority, terms.not_before, terms.deadline, terms.key, terms.max_attempts, json.dumps(terms.tags),
        int(terms.accepts), task.model, task.in_vain, task.waits_for, terms.group, task.base,
    )  # fmt: skip


def task_of(row: Sequence[Any]) -> Task:
    """The task of a row with `COLUMNS`, and behind them what it comes after."""
    task_id, request, source, name, program, parameters, status, reason, attempt, *rest = row
    created_at, started_at, finished_at, retry_of, outcome, options, *rest = rest
    priority, not_before, deadline, key, max_attempts, tags, accepts, model, in_vain, waits_for, group, *rest = rest
    base, after = rest
    return Task(
        task_id, request,
        CodeOrigin(source, name, program, {} if parameters == "{}" else json.loads(parameters)),
        _STATUSES[status], reason, attempt, created_at, started_at, finished_at, retry_of,
        _NOTHING_YET if outcome == _NOTHING_YET_TEXT else _outcome(json.loads(outcome)),
        {} if options == "{}" else json.loads(options),
        Terms(priority, not_before, deadline, key, max_attempts, _texts(tags), _texts(after), bool(accepts), group),
        model, in_vain, waits_for, base,
    )  # fmt: skip


def figures_of(outcome: Outcome) -> str:
    """What the column of its name has; without the copies that `asdict` makes of each figure."""
    return json.dumps({name: getattr(outcome, name) for name in _FIGURES})


def _outcome(kept: Mapping[str, Any]) -> Outcome:
    return Outcome(**{key: value for key, value in kept.items() if key in _FIGURES})


def _texts(kept: str) -> tuple[str, ...]:
    return () if kept == "[]" else tuple(json.loads(kept))


_STATUSES: Mapping[str, TaskStatus] = {str(status): status for status in TaskStatus}
_NOTHING_YET = Outcome()  # of ten thousand queued tasks each has this one, so it is parsed once
_FIGURES = tuple(each.name for each in fields(Outcome))
_NOTHING_YET_TEXT = figures_of(_NOTHING_YET)

"""What a queued task that could not go on is put off to: pure decisions, for workers that nobody watches.

A person who runs a task sees its failure and decides. Of a queue of tasks none is to fail for a reason that passes.
"""

from __future__ import annotations

from cairn.errors import CairnError, ModelCallFailed
from cairn.program import ExecutionResult, LimitReached
from cairn.task import PutOff, Task

PAUSED = "model_paused"  # the limit at which a task stops when a model that it needs is not asked now
LACKING = "model_lacking"  # the same for one that cannot be asked on this machine
OF_THE_DAY = frozenset({"tokens_per_day", "money_per_day"})
FIRST_SECONDS = 30.0
LONGEST_SECONDS = 900.0


def after_failure(task: Task, error: Exception, now: float) -> PutOff | None:
    """A later time for what may pass, longer each time; None when it will not, or was tried as often as it may be."""
    if not (isinstance(error, ModelCallFailed) and error.retryable):
        return None
    return _once_more(task, error, now, at_least=error.retry_after or 0.0)


def after_placing_failed(task: Task, error: CairnError, now: float) -> PutOff | None:
    """As `after_failure`, when a worker could not get the files that the task works on."""
    return _once_more(task, error, now)


def _once_more(task: Task, error: CairnError, now: float, *, at_least: float = 0.0) -> PutOff | None:
    in_vain = task.in_vain + 1
    if in_vain >= task.terms.max_attempts:
        return None
    seconds = max(min(FIRST_SECONDS * 2 ** min(task.in_vain, 30), LONGEST_SECONDS), at_least)
    why = error.what.rstrip(".")
    return PutOff(f"{why} ({in_vain} of {task.terms.max_attempts} attempts)", now + seconds, in_vain)


def after_limit(task: Task, result: ExecutionResult, midnight: float) -> PutOff | None:
    """For limits that are not the task's own: a model that is paused or lacking, what all tasks may use in a day."""
    match result:
        case LimitReached(limit=limit, detail=model) if limit == PAUSED:
            return PutOff(f"{model} is paused", in_vain=task.in_vain, waits_for=model)
        case LimitReached(limit=limit, detail=detail) if limit == LACKING:
            model, _, why = detail.partition("\n")
            return PutOff(why, in_vain=task.in_vain, waits_for=model)
        case LimitReached(limit=limit) if limit in OF_THE_DAY:
            return PutOff(f"budget.{limit} is used up", midnight, task.in_vain)
    return None

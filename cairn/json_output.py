"""What `--json` prints: plain values for other programs, with the same words as the model layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cairn import git_diff
from cairn.changes import ChangeSet
from cairn.checks import CheckResult, Standing
from cairn.errors import CairnError, Conflict
from cairn.policy import Policy
from cairn.program import CallRecord, Finished, LimitReached, Step
from cairn.review import Review, StepCost
from cairn.task import Task, TaskStatus

if TYPE_CHECKING:
    from cairn.clean_up import CleanedUp
    from cairn.forecast import Forecast, ForeseenPath
    from cairn.merge_plan import PathPlan
    from cairn.project import Applied, Operation, Undone
    from cairn.replay import Replay
    from cairn.saved_meanwhile import KeptCopy
    from cairn.text_merge import Region


def replay_json(replay: Replay) -> dict[str, Any]:
    """What a replay compared, and where it got to."""
    return {
        "id": replay.task.id,
        "complete": replay.complete,
        "steps": len(replay.steps),
        "calls": replay.calls,
        "variables": {variable.name: variable.value for variable in replay.variables},
        **changes_json(replay.changes),
    }


def error_json(error: CairnError) -> dict[str, Any]:
    """An error with its exit code; a conflict names its paths, and what cannot be merged with its kind and lines."""
    told: dict[str, Any] = {
        "what": error.what,
        "why": error.why,
        "fix": list(error.fix),
        "exit_code": error.exit_code,
    }
    told |= {"paths": list(error.paths)} if isinstance(error, Conflict) else {}
    return told | ({"conflicts": [_conflict_json(each) for each in _plans(error)]} if _plans(error) else {})


def _plans(error: CairnError) -> tuple[PathPlan, ...]:
    from cairn.merge_plan import PathsInConflict

    return error.plans if isinstance(error, PathsInConflict) else ()


def _conflict_json(path: PathPlan) -> dict[str, Any]:
    """One path in conflict; without regions where it is not about lines."""
    told = {"path": path.path, "kind": None if path.kind is None else str(path.kind), "reason": path.reason}
    return told | {"renamed_from": path.renamed_from, "regions": [_region_json(region) for region in path.regions]}


def task_json(task: Task) -> dict[str, Any]:
    """A task without its program's text."""
    return {
        "id": task.id,
        "request": task.request,
        "status": str(task.status),
        "reason": task.reason,
        "source": task.origin.source,
        "name": task.origin.name,
        "parameters": dict(task.origin.parameters),
        "attempt": task.attempt,
        "created_at": task.created_at,
        "started_at": task.started_at,
        "finished_at": task.finished_at,
        "retry_of": task.retry_of,
        "model": task.model,
        "in_vain": task.in_vain,
        **asdict(task.terms),
        **asdict(task.outcome),
        **({"base": task.base} if task.base else {}),
    }


def changes_json(changes: ChangeSet) -> dict[str, Any]:
    """Each change with its kind and its line counts."""
    figures = {file.path: file for file in git_diff.stat(changes).files}
    return {
        "digest": changes.digest,
        "changes": [
            {
                "path": change.path,
                "kind": str(change.kind),
                "renamed_from": change.renamed_from,
                "added": figures[change.path].added,
                "removed": figures[change.path].removed,
                "binary": figures[change.path].binary,
            }
            for change in changes
        ],
    }


def review_json(review: Review) -> dict[str, Any]:
    """Everything `show` tells, programs included."""
    submission = review.submission
    return {
        "task": task_json(review.task),
        "submission": None if submission is None else asdict(submission),
        "accepted": list(review.accepted),
        "dangers": [asdict(danger) for danger in review.dangers],
        "claims": asdict(review.claims) | {"agree": review.claims.agree},
        **changes_json(review.changes),
        "stale": list(review.stale),
        "left_behind": list(review.left_behind),
        "conflicts": [{"path": path, "reason": reason} for path, reason in review.conflicts],
        "steps": [step_json(step) | _cost_json(review.costs.get(step.number)) for step in review.steps],
        "calls": len(review.calls),
        "drafts": review.drafts,
        "checks": [standing_json(each) for each in review.evidence.standings],
        "weakened": [asdict(each) for each in review.evidence.weakened],
        "policy": policy_json(review.policy),
        "question": None if review.question is None else asdict(review.question),
        "spent": asdict(review.spent) | {"money": review.spent.money},
    }


def policy_json(policy: Policy) -> dict[str, Any]:
    """What a task may do, its rules as they stand in settings; `only` is null where all paths may be changed."""
    return {
        "deny": [str(rule) for rule in policy.deny],
        "ask": [str(rule) for rule in policy.ask],
        "allow": [str(rule) for rule in policy.allow],
        "default": str(policy.default),
        "only": None if policy.only is None else list(policy.only),
    }


def standing_json(found: Standing) -> dict[str, Any]:
    """A check, what is known of it for the task's files as they are, and its newest run."""
    result = None if found.result is None else check_json(found.result)
    told = {
        "name": found.check.name,
        "required": found.check.required,
        "verdict": str(found.verdict),
        "outdated": found.outdated,
    }
    return {**told, "result": result}


def check_json(result: CheckResult) -> dict[str, Any]:
    """One run of a check; `content` is the `digest` of the changes it ran over."""
    return {**asdict(result), "passed": result.passed, "before": str(result.before)}


def step_json(step: Step) -> dict[str, Any]:
    """One program and how it ended; `outcome` is the name of the result's class."""
    result = step.result
    told = {key: value for key, value in asdict(result).items() if key not in {"run", "submission"}}
    submitted = isinstance(result, Finished) and result.submission is not None
    return {
        "number": step.number,
        "program": step.program.text,
        "label": step.program.label,
        "repairs": step.program.repairs,
        "input_tokens": step.program.input_tokens,
        "output_tokens": step.program.output_tokens,
        "started_at": step.started_at,
        "outcome": type(result).__name__,
        "submitted": submitted,
        "limit_reached": isinstance(result, LimitReached),
        **told,
        **asdict(result.run),
    }


def _cost_json(cost: StepCost | None) -> dict[str, Any]:
    if cost is None:
        return {"spent": None}
    return {"spent": asdict(cost.spent) | {"money": cost.spent.money, "seconds": cost.seconds}}


def call_json(call: CallRecord) -> dict[str, Any]:
    """One external call."""
    return asdict(call)


def applied_json(task: Task, applied: Applied, left: ChangeSet) -> dict[str, Any]:
    """What an accept wrote, and what it left in review."""
    told = {"id": task.id, "status": str(task.status), "operation": applied.operation.id, "paths": list(applied.paths)}
    return told | {"left": list(git_diff.names(left)), "kept": _kept_json(applied.kept)}


def _kept_json(copies: Sequence[KeptCopy]) -> list[dict[str, str]]:
    """Earlier versions of files that were saved meanwhile, and where they are."""
    return [{"path": each.path, "copy": str(each.copy)} for each in copies]


def nothing_applied_json(task: Task, left: ChangeSet) -> dict[str, Any]:
    """An accept of which every hunk was left in review."""
    return {
        "id": task.id,
        "status": str(task.status),
        "operation": None,
        "paths": [],
        "left": list(git_diff.names(left)),
        "kept": [],
    }


def forecast_json(task: Task, forecast: Forecast) -> dict[str, Any]:
    """What an accept would do; `exit_code` is what it would end with, `error` why it would stop."""
    told: dict[str, Any] = {
        "id": task.id,
        "status": str(task.status if forecast.refusal or forecast.left else TaskStatus.ACCEPTED),
        "dry_run": True,
        "would": [_foreseen_json(path) for path in forecast.paths],
        "dangers": [asdict(danger) for danger in forecast.dangers],
        "left": list(git_diff.names(forecast.left)),
        "exit_code": forecast.exit_code,
    }
    told |= {"commit": asdict(forecast.commit)} if forecast.commit is not None else {}
    return told | ({"error": error_json(forecast.refusal)} if forecast.refusal is not None else {})


def _foreseen_json(path: ForeseenPath) -> dict[str, Any]:
    told: dict[str, Any] = {"path": path.path, "do": str(path.doing), "merged": path.merged, "folder": path.folder}
    told |= {"renamed_from": path.renamed_from, "changed": path.changed} if path.renamed_from is not None else {}
    told |= {"mode_before": path.modes[0], "mode_after": path.modes[1]} if path.modes else {}
    told |= {"reason": path.reason} if path.reason else {}
    told |= {"kind": str(path.kind)} if path.kind is not None else {}
    return told | ({"regions": [_region_json(region) for region in path.regions]} if path.regions else {})


def _region_json(region: Region) -> dict[str, Any]:
    sides = {"yours": region.project, "seen": region.base, "made": region.task}
    lines = {"first_line": region.first_line, "yours_lines": region.project_lines, "made_lines": region.task_lines}
    return lines | {name: data.decode("utf-8", "replace") for name, data in sides.items()}


def undone_json(task: Task, undone: Undone) -> dict[str, Any]:
    """What an undo wrote."""
    told = {"id": task.id, "status": str(task.status), "operation": undone.operation.id, "paths": list(undone.paths)}
    return told | {"kept": _kept_json(undone.kept)}


def operation_json(operation: Operation) -> dict[str, Any]:
    """One accept or undo; `undoes` is the number of the operation that an undo took back.

    `where` is the clone that did it, where several share a ledger.
    """
    return {
        "number": operation.id,
        "at": operation.started_at,
        "kind": operation.kind,
        "undoes": operation.undoes,
        "task": operation.task_id,
        "state": str(operation.state),
        "in_effect": operation.in_effect,
        "paths": list(operation.paths),
        **({"where": operation.where} if operation.where else {}),
    }


def cleaned_up_json(done: CleanedUp) -> dict[str, Any]:
    """What `gc` deleted, or would; `kept` names files that stay until they are older, or a person deletes them."""
    return {
        "tasks": [task.id for task in done.tasks],
        "operations": [operation.id for operation in done.operations],
        "left_over": [each.path for each in done.left_over],
        "workspaces": [str(each) for each in done.workspaces],
        "copies": [each.path for each in done.copies],
        "bytes": done.freed,
        "kept": [each.path for each in done.kept],
    }

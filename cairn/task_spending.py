"""What a task spent on models, kept in its own file: one row for each call, also for those that were stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cairn.metering import Spent
from cairn.task_file import TaskFile

_SUMS = (
    "count(*), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), coalesce(sum(picos), 0),"
    " coalesce(sum(picos IS NULL), 0), coalesce(sum(estimated), 0)"
)


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call of a model: for the program of a step, or for a question that the step's program asked."""

    step: int
    purpose: str
    model: str
    spent: Spent
    at: float


def keep_model_call(file: TaskFile, call: ModelCall) -> None:
    """Adds a row; it joins the file's open transaction, if there is one."""
    spent = call.spent
    file.run(
        "INSERT INTO cairn_spending (step, purpose, model, input_tokens, output_tokens, picos, estimated, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        call.step,
        call.purpose,
        call.model,
        spent.input_tokens,
        spent.output_tokens,
        None if spent.unpriced else spent.picos,
        spent.estimated,
        call.at,
    )


def task_spending(file: TaskFile) -> Spent:
    """The sum of all calls."""
    ((*figures,),) = file.rows(f"SELECT {_SUMS} FROM cairn_spending")  # noqa: S608 - our own words
    return _spent(figures)


def spending_by_step(file: TaskFile) -> dict[int, Spent]:
    """The sum of the calls for each step that made any: for its program, and for what that asked."""
    rows = file.rows(f"SELECT step, {_SUMS} FROM cairn_spending GROUP BY step ORDER BY step")  # noqa: S608
    return {int(str(step)): _spent(figures) for step, *figures in rows}


def _spent(figures: Sequence[object]) -> Spent:
    return Spent(*(figure if isinstance(figure, int) else 0 for figure in figures))

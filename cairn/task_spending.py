"""What a task spent on models, kept in its own file: one row for each call, also for those that were stopped."""

from __future__ import annotations

from dataclasses import dataclass

from cairn.metering import Spent
from cairn.task_file import TaskFile

_OF_ALL = (
    "SELECT count(*), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), coalesce(sum(picos), 0),"
    " coalesce(sum(picos IS NULL), 0), coalesce(sum(estimated), 0) FROM cairn_spending"
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
    ((*figures,),) = file.rows(_OF_ALL)
    return Spent(*(figure if isinstance(figure, int) else 0 for figure in figures))

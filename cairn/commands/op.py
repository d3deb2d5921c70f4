"""`cairn op`: the operations that changed the project, each accept and each undo."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from cairn.commands import Chosen, as_json, opened
from cairn.console import Console, Styled, printable

if TYPE_CHECKING:
    from cairn.project import Operation

NAMES_SHOWN = 8


@click.group("op")
def command() -> None:
    """List what changed the project: accepts and undos.

    Each has a number, by which `cairn undo --op N` takes it back.
    """


@command.command("log")
@click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="How many at most.")
@as_json
@click.pass_obj
def log(chosen: Chosen, limit: int, as_json: bool) -> None:
    """List the accepts and undos of the project, newest first.

    One that is in effect can be taken back by its number. That goes for an undo too: then what it took back is in
    effect again. Where several clones share a server, those of all of them are listed, and where each was done.
    """
    console = Console(as_json=as_json)
    with opened(chosen, console, showing=True) as orchestrator:
        operations = orchestrator.operations.every()[::-1][:limit]
    if as_json:
        from cairn.json_output import operation_json

        console.json({"operations": [operation_json(operation) for operation in operations]})
    elif not operations:
        console.note("cairn: nothing was accepted yet.")
    else:
        where = ["WHERE"] if any(each.where for each in operations) else []
        header = ["OP", "WHEN", "WHAT", "TASK", "STATE", *where, "PATHS"]
        console.table(header, [_row(each, where=bool(where)) for each in operations])


def _row(operation: Operation, *, where: bool) -> list[str | Styled]:
    return [
        str(operation.id),
        time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(operation.started_at)),
        operation.kind if operation.undoes is None else f"undo of {operation.undoes}",
        operation.task_id,
        _state(operation),
        *([printable(operation.where)] if where else []),
        _paths(operation.paths),
    ]


def _state(operation: Operation) -> Styled:
    from cairn.project import OperationState

    if operation.state is OperationState.APPLYING:
        return Styled("being written", "yellow")
    return Styled("in effect", "green") if operation.in_effect else Styled("undone")


def _paths(paths: tuple[str, ...]) -> str:
    shown = ", ".join(paths[:NAMES_SHOWN])
    return shown + (f" and {len(paths) - NAMES_SHOWN} more" if len(paths) > NAMES_SHOWN else "") or "-"

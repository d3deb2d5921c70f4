"""A step's completed calls, given back in their order to a program that runs again.

The sandbox is deterministic: under the same clock and seed, and with the same answers, a program makes the same calls.
So what it asks is compared with what the journal holds, and answered from there; nothing is done a second time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cairn import program_errors
from cairn.call_values import arguments_text, pack, shortened_arguments, unpack
from cairn.errors import TaskFailed
from cairn.task_file import TaskFile, blob_digest

UNFINISHED = "did not finish"
BATCH = 256  # calls read at once: few enough to hold, enough to be fast


@dataclass(frozen=True, slots=True)
class ExactCall:
    """A call with the very values that crossed. `error` is "" when it returned, `UNFINISHED` when it did neither."""

    number: int
    step: int
    name: str
    arguments: Mapping[str, object]
    result: object = None
    error: str = ""


class Divergence(TaskFailed):
    """A program that runs again asks for something else than the journal holds. Nothing was done; nothing is lost."""

    def __init__(self, step: int, number: int, held: str, asked: str) -> None:
        super().__init__(
            f"Step {step} went another way than its journal, so it was stopped.",
            f"Call {number} in the journal: {held}\nNow asked for: {asked}",
            "cairn retry   runs the task anew; what it had done until then stays readable.",
        )
        self.number = number
        self.held = held
        self.asked = asked


@dataclass(frozen=True, slots=True)
class Recalled:
    """A completed call's outcome: what it returned, or the error it raised."""

    number: int
    result: Any = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    name: str
    arguments: str
    result: str | None
    error: str | None
    status: str
    shown: str


class RecalledCalls:
    """The calls of one step from its first one on; `pending` is the number of the one that had not ended."""

    def __init__(self, file: TaskFile, step: int) -> None:
        self._file = file
        self._step = step
        self._rows = self._read()
        self._next = next(self._rows, None)
        self.pending: int | None = None

    @property
    def is_empty(self) -> bool:
        """True when the next call is a new one."""
        return self._next is None

    def take(self, name: str, arguments: Mapping[str, object]) -> Recalled | None:
        """The outcome of this call; None when it has none yet, and has to be made. Raises Divergence."""
        row = self._next
        if row is None:
            return None
        packed = pack(dict(arguments), blob_digest)
        if (row.name, row.arguments) != (name, packed):
            raise Divergence(self._step, row.number, self._shown(row), _shown(name, arguments))
        self._next = next(self._rows, None)
        if row.status == "pending":
            self.pending = row.number
            return None
        if row.status == "error":
            return Recalled(row.number, error=_error(row.error))
        return Recalled(row.number, unpack(row.result or "null", self._file.blob))

    def require_none_left(self) -> None:
        """The program ended. Raises Divergence when the journal holds a completed call that it did not make."""
        if self._next is not None and self._next.status != "pending":
            raise Divergence(self._step, self._next.number, self._shown(self._next), "nothing: the program ended")

    def _shown(self, row: _Row) -> str:
        return f"{row.name}({arguments_text(json.loads(row.shown))})"

    def _read(self) -> Iterator[_Row]:
        last = 0
        while True:
            rows: list[tuple[Any, ...]] = self._file.rows(
                "SELECT cairn_call.number, name, arguments, cairn_call.result,"
                " coalesce(cairn_call.error, tool_calls.error), status, parameters"
                " FROM cairn_call JOIN tool_calls ON tool_calls.id = cairn_call.number"
                " WHERE step = ? AND cairn_call.number > ? ORDER BY cairn_call.number LIMIT ?",
                self._step,
                last,
                BATCH,
            )
            for row in rows:
                yield _Row(*row)
            if len(rows) < BATCH:
                return
            last = rows[-1][0]


def _error(text: str | None) -> Exception:
    """From the exact form, or from the readable one that files of the first layout have."""
    try:
        return program_errors.read(text or "")
    except (ValueError, TypeError):
        kind, _, message = (text or "RuntimeError: ").partition(": ")
        return program_errors.made(kind, message)


def _shown(name: str, arguments: Mapping[str, object]) -> str:
    return f"{name}({arguments_text(json.loads(json.dumps(shortened_arguments(arguments))))})"

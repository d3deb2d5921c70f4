"""The ordered record of a task: its programs, the messages that led to them, its external calls, its submission.

Calls are kept twice. `tool_calls` holds them as AgentFS tools show them, shortened for people. `cairn_call` holds the
exact arguments and results, so that a call can be answered from the journal (`call_values.py` says how).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cairn.call_values import arguments_text, pack, result_text, shortened, shortened_arguments, unpack
from cairn.program import (
    CallRecord,
    Cancelled,
    CodeFailed,
    Crashed,
    ExecutionResult,
    Finished,
    LimitReached,
    Program,
    Run,
    Step,
    Submission,
)
from cairn.task_file import TaskFile

SUBMISSION_KEY = "cairn.submission"
UNFINISHED = "did not finish"


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """One message to or from the model that writes programs; `role` is "system", "user" or "assistant"."""

    step: int
    role: str
    text: str
    model: str = ""
    seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ExactCall:
    """A call with the very values that crossed. `error` is "" when it returned, `UNFINISHED` when it did neither."""

    number: int
    step: int
    name: str
    arguments: Mapping[str, object]
    result: object = None
    error: str = ""


class Journal:
    """One task's record. Whatever it writes joins the file's open transaction, so it commits with a call's effect."""

    def __init__(self, file: TaskFile, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self.clock = clock
        self.step = self._count("SELECT max(number) FROM cairn_step")

    # ── steps ──

    def begin_step(self, number: int, program: Program, started_at: float | None = None) -> None:
        """Calls made from now on belong to this step. A step begun again replaces the one that never ended."""
        self.step = number
        self._file.run(
            "INSERT OR REPLACE INTO cairn_step"
            " (number, program, label, repairs, started_at, result, input_tokens, output_tokens)"
            " VALUES (?, ?, ?, ?, ?, NULL, ?, ?)",
            number,
            _storable(program.text),
            program.label,
            program.repairs,
            self.clock() if started_at is None else started_at,
            program.input_tokens,
            program.output_tokens,
        )

    def end_step(self, number: int, result: ExecutionResult) -> None:
        """Keeps what came of the program."""
        self._file.run("UPDATE cairn_step SET result = ? WHERE number = ?", result_to_json(result), number)

    def steps(self) -> tuple[Step, ...]:
        """Every program in order; one that has no end yet is shown as Crashed with the reason."""
        rows = self._file.rows(
            "SELECT number, program, label, repairs, input_tokens, output_tokens, result, started_at"
            " FROM cairn_step ORDER BY number"
        )
        return tuple(self._step(*row) for row in rows)

    def _step(
        self, number: Any, text: Any, label: Any, repairs: Any, read: Any, written: Any, result: Any, at: Any
    ) -> Step:
        program = Program(text, label, repairs, read, written)
        return Step(number, program, result_from_json(result) if result else _NO_END, at)

    # ── messages ──

    def record_message(self, message: MessageRecord) -> None:
        """Keeps one prompt or answer of the conversation."""
        self._file.run(
            "INSERT INTO cairn_message (step, role, text, model, seconds, input_tokens, output_tokens)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            message.step,
            message.role,
            _storable(message.text),
            message.model,
            message.seconds,
            message.input_tokens,
            message.output_tokens,
        )

    def messages(self) -> tuple[MessageRecord, ...]:
        """The conversation in order."""
        rows: list[tuple[Any, ...]] = self._file.rows(
            "SELECT step, role, text, model, seconds, input_tokens, output_tokens FROM cairn_message ORDER BY id"
        )
        return tuple(MessageRecord(step, role, text, *rest) for step, role, text, *rest in rows)

    # ── external calls ──

    def begin_call(self, name: str, arguments: Mapping[str, object], started_at: float) -> int:
        """The number of a call that is not answered yet; it stays marked as unfinished until `end_call`."""
        number = self._file.run(
            "INSERT INTO tool_calls (name, parameters, status, started_at) VALUES (?, ?, 'pending', ?)",
            name,
            _shown_json(shortened_arguments(arguments)),
            int(started_at),
        )
        self._file.run(
            "INSERT INTO cairn_call (number, step, arguments, started_at) VALUES (?, ?, ?, ?)",
            number,
            self.step,
            self._pack(dict(arguments)),
            started_at,
        )
        return number

    def end_call(
        self,
        number: int,
        result: object = None,
        error: BaseException | None = None,
        *,
        input_tokens: int = 0,
        output_tokens: int = 0,
    ) -> CallRecord:
        """Completes a call that `begin_call` opened."""
        (row,) = self._file.rows("SELECT started_at FROM cairn_call WHERE number = ?", number)
        now = self.clock()
        seconds = max(0.0, now - float(row[0] or 0.0))
        self._file.run(
            "UPDATE tool_calls SET result = ?, error = ?, status = ?, completed_at = ?, duration_ms = ? WHERE id = ?",
            None if error else _shown_json(shortened(result)),
            _error_text(error) if error else None,
            "error" if error else "success",
            int(now),
            round(seconds * 1000),
            number,
        )
        self._file.run(
            "UPDATE cairn_call SET result = ?, seconds = ?, input_tokens = ?, output_tokens = ? WHERE number = ?",
            None if error else self._pack(result),
            seconds,
            input_tokens,
            output_tokens,
            number,
        )
        return self._record(number)

    def record_call(
        self,
        name: str,
        arguments: Mapping[str, object],
        result: object = None,
        error: BaseException | None = None,
        *,
        started_at: float,
    ) -> CallRecord:
        """A whole call at once: two rows, the fast way for what needs no waiting."""
        now = self.clock()
        seconds = max(0.0, now - started_at)
        shown = shortened_arguments(arguments)
        outcome = None if error else shortened(result)
        message = _error_text(error) if error else None
        number = self._file.run(
            "INSERT INTO tool_calls (name, parameters, result, error, status, started_at, completed_at, duration_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            name,
            _shown_json(shown),
            None if error else _shown_json(outcome),
            message,
            "error" if error else "success",
            int(started_at),
            int(now),
            round(seconds * 1000),
        )
        self._file.run(
            "INSERT INTO cairn_call (number, step, arguments, result, started_at, seconds) VALUES (?, ?, ?, ?, ?, ?)",
            number,
            self.step,
            self._pack(dict(arguments)),
            None if error else self._pack(result),
            started_at,
            seconds,
        )
        return CallRecord(
            number, self.step, name, arguments_text(shown), result_text(outcome), message or "", started_at, seconds
        )

    def calls(self, step: int | None = None) -> tuple[CallRecord, ...]:
        """Every call in order, or those of one step; one that never ended has the error `UNFINISHED`."""
        if step is None:
            return self._records("")
        return self._records("WHERE cairn_call.step = ?", step)

    def _record(self, number: int) -> CallRecord:
        return self._records("WHERE cairn_call.number = ?", number)[0]

    def _records(self, where: str, *values: int) -> tuple[CallRecord, ...]:
        rows: list[tuple[Any, ...]] = self._file.rows(
            "SELECT cairn_call.number, step, name, parameters, tool_calls.result, error, status, cairn_call.started_at,"  # noqa: S608 - the clause is one of three of this class
            " seconds, input_tokens, output_tokens"
            f" FROM cairn_call JOIN tool_calls ON tool_calls.id = cairn_call.number {where} ORDER BY cairn_call.number",
            *values,
        )
        return tuple(_call_record(*row) for row in rows)

    def exact_calls(self, name: str | None = None) -> tuple[ExactCall, ...]:
        """Every call, or those of one function, with the very values that crossed."""
        rows: list[tuple[Any, ...]] = self._file.rows(
            "SELECT cairn_call.number, step, name, arguments, cairn_call.result, error, status"
            " FROM cairn_call JOIN tool_calls ON tool_calls.id = cairn_call.number"
            " WHERE ?1 IS NULL OR name = ?1 ORDER BY cairn_call.number",
            name,
        )
        return tuple(
            ExactCall(
                number,
                step,
                name,
                self._unpack(arguments),
                None if result is None else self._unpack(result),
                UNFINISHED if status == "pending" else error or "",
            )
            for number, step, name, arguments, result, error, status in rows
        )

    # ── submission ──

    def submit(self, submission: Submission) -> None:
        """Keeps what the program says it did, where AgentFS tools find it too; a later one replaces it."""
        self._file.kv_set(
            SUBMISSION_KEY, {"summary": submission.summary, "changed_files": list(submission.changed_files)}
        )

    def submission(self) -> Submission | None:
        """None while no program has submitted."""
        kept: Any = self._file.kv_get(SUBMISSION_KEY)
        return None if kept is None else Submission(kept["summary"], tuple(kept["changed_files"]))

    def _pack(self, value: object) -> str:
        return pack(value, self._file.put_blob)

    def _unpack(self, text: str) -> Any:
        return unpack(text, self._file.blob)

    def _count(self, statement: str) -> int:
        ((number,),) = self._file.rows(statement)
        return number if isinstance(number, int) else 0


# ── what came of a program, as JSON and back ──

_OUTCOMES: Mapping[str, type[Finished | CodeFailed | LimitReached | Crashed | Cancelled]] = {
    "finished": Finished,
    "code failed": CodeFailed,
    "limit reached": LimitReached,
    "crashed": Crashed,
    "cancelled": Cancelled,
}
_NO_END = Crashed(Run(), "no end was recorded: it still runs, or its process died")


def result_to_json(result: ExecutionResult) -> str:
    """One object that names the outcome."""
    outcome = next(name for name, kind in _OUTCOMES.items() if type(result) is kind)
    return json.dumps({"outcome": outcome, **asdict(result)})


def result_from_json(text: str) -> ExecutionResult:
    """The value that `result_to_json` was given."""
    fields: dict[str, Any] = json.loads(text)
    kind = _OUTCOMES[fields.pop("outcome")]
    fields["run"] = Run(**fields["run"])
    submitted = fields.get("submission")
    if submitted is not None:
        fields["submission"] = Submission(submitted["summary"], tuple(submitted["changed_files"]))
    return kind(**fields)


def _call_record(
    number: int,
    step: int,
    name: str,
    parameters: str,
    result: str | None,
    error: str | None,
    status: str,
    *figures: Any,
) -> CallRecord:
    return CallRecord(
        number,
        step,
        name,
        arguments_text(json.loads(parameters)),
        result_text(json.loads(result)) if result else "",
        UNFINISHED if status == "pending" else error or "",
        *figures,
    )


def _shown_json(value: object) -> str:
    return _storable(json.dumps(value, ensure_ascii=False))


def _error_text(error: BaseException) -> str:
    return _storable(f"{type(error).__name__}: {error}")


def _storable(text: str) -> str:
    """SQLite takes no lone surrogates."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()

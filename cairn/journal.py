"""The ordered record of a task: its programs, the messages that led to them, its external calls, its submission.

Calls are kept twice. `tool_calls` holds them as AgentFS tools show them, shortened for people. `cairn_call` holds the
exact arguments and results (`call_values.py` says how), so that a program that runs again is answered from them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cairn import program_errors
from cairn.call_values import arguments_text, pack, result_text, shortened, shortened_arguments, unpack
from cairn.errors import CairnError
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
    Unanswered,
)
from cairn.recalled_calls import UNFINISHED, ExactCall, Recalled, RecalledCalls
from cairn.task_file import TaskFile, blob_digest
from cairn.task_questions import PersonQuestion, grants, keep_question, question_of

SUBMISSION_KEY = "cairn.submission"
ATTEMPT_KEY = "cairn.attempt"
NOT_KEPT = "(not kept)"  # stands for a long text that a failed call was given
CUT = "cut"  # the role of a message that stands for an answer that was cut off


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
class KeptAnswer:
    """One answer of a model to a program's question; `question` is a digest of prompt and context."""

    question: str
    text: str
    draft: bool = False
    input_tokens: int = 0
    output_tokens: int = 0


class TakenOver(CairnError):
    """Another process runs this task now; what this one still does is refused."""

    def __init__(self) -> None:
        super().__init__(
            "The task was taken over by another process, so this one stopped.",
            "It had given no sign of life for longer than its lease.",
            "cairn list   shows where it runs now.",
        )


def attempt_of(file: TaskFile) -> int:
    """The attempt that writes the file's journal now; 0 before the first one."""
    attempt = file.kv_get(ATTEMPT_KEY)
    return attempt if isinstance(attempt, int) else 0


class Journal:
    """One task's record. Whatever it writes joins the file's open transaction, so it commits with a call's effect."""

    def __init__(self, file: TaskFile, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self.clock = clock
        self.step = self._count("SELECT max(number) FROM cairn_step")
        self._recalled: RecalledCalls | None = None
        self._attempt: int | None = None

    def hold(self, attempt: int) -> None:
        """From now on this process writes the journal, and whoever held it before is refused."""
        with self._file.transaction():  # for other processes, which a power cut ends too
            self._file.kv_set(ATTEMPT_KEY, attempt)
        self._attempt = attempt

    def require_held(self) -> None:
        """Raises TakenOver inside a transaction whose writes another process's `hold` forbids."""
        if self._attempt is not None and self._file.kv_get(ATTEMPT_KEY) != self._attempt:
            raise TakenOver

    # ── steps ──

    def begin_step(self, number: int, program: Program, started_at: float | None = None) -> None:
        """Calls made from now on belong to this step. Begun again, a step has the calls it had, to answer them from."""
        self.step = number
        with self._file.transaction():
            self.require_held()
            self._file.run(
                "INSERT INTO cairn_step"
                " (number, program, label, repairs, started_at, result, input_tokens, output_tokens)"
                " VALUES (?, ?, ?, ?, ?, NULL, ?, ?)"
                " ON CONFLICT (number) DO UPDATE SET program = excluded.program, label = excluded.label, result = NULL",
                number,
                _storable(program.text),
                program.label,
                program.repairs,
                self.clock() if started_at is None else started_at,
                program.input_tokens,
                program.output_tokens,
            )
        self.recall(number)

    def recall(self, number: int) -> None:
        """The step's program runs again: its completed calls are answered by `recalled` from the first one on."""
        self.step = number
        found = RecalledCalls(self._file, number)
        self._recalled = None if found.is_empty else found

    def recalled(self, name: str, arguments: Mapping[str, object]) -> Recalled | None:
        """The journal's outcome of this very call; None when it is to be made. Raises Divergence."""
        return None if self._recalled is None else self._recalled.take(name, arguments)

    def require_all_recalled(self) -> None:
        """A program came to its end. Raises Divergence when the journal has more of it."""
        if self._recalled is not None:
            self._recalled.require_none_left()

    def end_step(self, number: int, result: ExecutionResult) -> None:
        """Keeps what came of the program."""
        with self._file.transaction():
            self.require_held()
            self._file.run("UPDATE cairn_step SET result = ? WHERE number = ?", result_to_json(result), number)
        self._file.publish()

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
        """Keeps one prompt or answer of the conversation; an answer is on the disk when this returns."""
        with self._file.durably() if message.role == "assistant" else self._file.transaction():
            self.require_held()
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

    def answers(self, step: int) -> tuple[MessageRecord, ...]:
        """What a model answered for this step, cut answers included; a question without an answer is forgotten."""
        answered = [each for each in self.messages() if each.step == step and each.role in {"assistant", CUT}]
        with self._file.transaction():
            self._file.run(
                "DELETE FROM cairn_message WHERE step = ?1 AND role = 'user' AND id >"
                " (SELECT coalesce(max(id), 0) FROM cairn_message WHERE step = ?1 AND role IN ('assistant', 'cut'))",
                step,
            )
        return tuple(answered)

    def messages(self) -> tuple[MessageRecord, ...]:
        """The conversation in order."""
        rows: list[tuple[Any, ...]] = self._file.rows(
            "SELECT step, role, text, model, seconds, input_tokens, output_tokens FROM cairn_message ORDER BY id"
        )
        return tuple(MessageRecord(step, role, text, *rest) for step, role, text, *rest in rows)

    def writing_seconds(self) -> dict[int, float]:
        """How long models took to answer with programs, by step."""
        rows = self._file.rows("SELECT step, sum(seconds) FROM cairn_message WHERE role = 'assistant' GROUP BY step")
        return {int(str(step)): float(str(seconds)) for step, seconds in rows}

    # ── external calls ──

    @property
    def pending(self) -> int | None:
        """The number of the call that the program makes again now, and that had not ended; None for a new one."""
        return None if self._recalled is None else self._recalled.pending

    def begin_call(self, name: str, arguments: Mapping[str, object], started_at: float) -> int:
        """The number of a call that is not answered yet; it stays marked as unfinished until `end_call`."""
        if self._recalled is not None and self._recalled.pending is not None:
            number, self._recalled.pending = self._recalled.pending, None
            self._file.run("UPDATE cairn_call SET started_at = ? WHERE number = ?", started_at, number)
            self._file.run("UPDATE tool_calls SET started_at = ? WHERE id = ?", int(started_at), number)
            return number
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
            pack(dict(arguments), blob_digest),
            started_at,
        )
        return number

    def end_call(
        self,
        number: int,
        result: object = None,
        error: BaseException | None = None,
        arguments: Mapping[str, object] | None = None,
    ) -> CallRecord:
        """Completes a call that `begin_call` opened; its tokens are those of the answers kept for it.

        Of a call that returned, the long texts among its `arguments` are kept now.
        """
        if error is None and arguments is not None:
            self._pack(dict(arguments))
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
            "UPDATE cairn_call SET result = ?, error = ?, seconds = ?,"
            " input_tokens = (SELECT coalesce(sum(input_tokens), 0) FROM cairn_answer WHERE call = number),"
            " output_tokens = (SELECT coalesce(sum(output_tokens), 0) FROM cairn_answer WHERE call = number)"
            " WHERE number = ?",
            None if error else self._pack(result),
            program_errors.written(error) if error else None,
            seconds,
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
            "INSERT INTO cairn_call (number, step, arguments, result, error, started_at, seconds)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            number,
            self.step,
            # Of a failed call the digests are enough to know it again; its texts would fill the disk for nothing.
            pack(dict(arguments), blob_digest) if error else self._pack(dict(arguments)),
            None if error else self._pack(result),
            program_errors.written(error) if error else None,
            started_at,
            seconds,
        )
        return CallRecord(
            number, self.step, name, arguments_text(shown), result_text(outcome), message or "", started_at, seconds
        )

    def completed(self, name: str) -> int:
        """How many calls of one function have returned or failed."""
        ((count,),) = self._file.rows("SELECT count(*) FROM tool_calls WHERE name = ? AND status != 'pending'", name)
        return count if isinstance(count, int) else 0

    def calls(self, step: int | None = None) -> tuple[CallRecord, ...]:
        """Every call in order, or those of one step; one that never ended has the error `UNFINISHED`."""
        if step is None:
            return self._records("")
        return self._records("WHERE cairn_call.step = ?", step)

    def _record(self, number: int) -> CallRecord:
        return self._records("WHERE cairn_call.number = ?", number)[0]

    def _records(self, where: str, *values: int) -> tuple[CallRecord, ...]:
        rows: list[tuple[Any, ...]] = self._file.rows(
            "SELECT cairn_call.number, step, name, parameters, tool_calls.result, tool_calls.error, status,"  # noqa: S608 - the clause is one of three of this class
            " cairn_call.started_at, seconds, input_tokens, output_tokens"
            f" FROM cairn_call JOIN tool_calls ON tool_calls.id = cairn_call.number {where} ORDER BY cairn_call.number",
            *values,
        )
        return tuple(_call_record(*row) for row in rows)

    def exact_calls(self, name: str | None = None) -> tuple[ExactCall, ...]:
        """Every call, or those of one function, with the very values that crossed.

        Of a call that failed or did not finish, long texts may be `NOT_KEPT`.
        """
        rows: list[tuple[Any, ...]] = self._file.rows(
            "SELECT cairn_call.number, step, name, arguments, cairn_call.result, tool_calls.error, status"
            " FROM cairn_call JOIN tool_calls ON tool_calls.id = cairn_call.number"
            " WHERE ?1 IS NULL OR name = ?1 ORDER BY cairn_call.number",
            name,
        )
        return tuple(
            ExactCall(
                number,
                step,
                name,
                self._arguments(arguments, whole=status == "success"),
                None if result is None else self._unpack(result),
                UNFINISHED if status == "pending" else error or "",
            )
            for number, step, name, arguments, result, error, status in rows
        )

    # ── answers of models to programs ──

    def keep_answer(self, answer: KeptAnswer) -> None:
        """Keeps what was paid for, on the disk, before the call that asked has ended."""
        with self._file.durably():
            self.require_held()
            self._file.run(
                "INSERT INTO cairn_answer (call, question, text, draft, input_tokens, output_tokens)"
                " VALUES ((SELECT coalesce(max(number), 0) FROM cairn_call), ?, ?, ?, ?, ?)",
                answer.question,
                _storable(answer.text),
                answer.draft,
                answer.input_tokens,
                answer.output_tokens,
            )

    def use_answers(self, questions: Iterable[str]) -> None:
        """A call gave these answers to the program: when it is asked again, it wants new ones."""
        for question in questions:
            self._file.run("UPDATE cairn_answer SET used = 1 WHERE question = ?", question)

    def kept_answers(self, *, unused: bool = False) -> tuple[KeptAnswer, ...]:
        """Every answer in the order it came, or those that no call gave to a program yet."""
        rows: list[tuple[Any, ...]] = self._file.rows(
            "SELECT question, text, draft, input_tokens, output_tokens FROM cairn_answer"
            " WHERE used = 0 OR NOT ? ORDER BY id",
            unused,
        )
        return tuple(KeptAnswer(question, text, bool(draft), *tokens) for question, text, draft, *tokens in rows)

    # ── questions to a person ──

    def ask_person(self, question: PersonQuestion) -> None:
        """Keeps what a person is asked about a call that has begun."""
        keep_question(self._file, question)

    def asked_person(self, call: int) -> PersonQuestion | None:
        """What a person was asked about a call, answered or not."""
        return question_of(self._file, call)

    def grants(self) -> frozenset[str]:
        """The rules that are not to ask any more in this task."""
        return grants(self._file)

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

    def _arguments(self, text: str, *, whole: bool) -> Mapping[str, object]:
        if whole:
            found: dict[str, object] = self._unpack(text)
            return found
        try:
            found = unpack(text, self._blob_or_not_kept)
        except ValueError:  # all of them together were long
            return {NOT_KEPT: NOT_KEPT}
        return found

    def _blob_or_not_kept(self, digest: str) -> bytes:
        found = self._file.rows("SELECT size, data FROM cairn_blob WHERE digest = ?", digest)
        return self._file.checked_blob(digest, *found[0]) if found else NOT_KEPT.encode()

    def _unpack(self, text: str) -> Any:
        return unpack(text, self._file.blob)

    def _count(self, statement: str) -> int:
        ((number,),) = self._file.rows(statement)
        return number if isinstance(number, int) else 0


# ── from one file to another ──

_OF_FIRST_STEPS = (  # table, and the rows that belong to the steps up to the one in `?`
    ("cairn_step", "number <= ?"),
    ("cairn_message", "step <= ?"),
    ("cairn_call", "step <= ?"),
    ("tool_calls", "id IN (SELECT number FROM cairn_call WHERE step <= ?)"),
    ("cairn_answer", "call IN (SELECT number FROM cairn_call WHERE step <= ?)"),
    ("cairn_spending", "step <= ?"),
)


def copy_first_steps(source: TaskFile, target: TaskFile, last: int) -> None:
    """The target's journal, which is empty, has the steps of the source up to `last`, with all that belongs to them."""
    with target.transaction():
        for digest, size, data in source.rows("SELECT digest, size, data FROM cairn_blob"):
            statement = "INSERT OR IGNORE INTO cairn_blob (digest, size, data) VALUES (?, ?, ?)"
            target.run(statement, digest, size, data)
        for table, which in _OF_FIRST_STEPS:
            columns = [str(row[1]) for row in source.rows(f"PRAGMA table_info({table})")]
            listed, marks = ", ".join(columns), ", ".join("?" * len(columns))
            for row in source.rows(f"SELECT {listed} FROM {table} WHERE {which}", last):  # noqa: S608 - our own names
                target.run(f"INSERT INTO {table} ({listed}) VALUES ({marks})", *row)  # noqa: S608


# ── what came of a program, as JSON and back ──

_OUTCOMES: Mapping[str, type[Finished | CodeFailed | LimitReached | Crashed | Cancelled | Unanswered]] = {
    "finished": Finished,
    "code failed": CodeFailed,
    "limit reached": LimitReached,
    "crashed": Crashed,
    "cancelled": Cancelled,
    "unanswered": Unanswered,
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
    fields["run"] = Run(**{**fields["run"], "notes": tuple(fields["run"].get("notes", ()))})
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
    kind = "PermissionError" if isinstance(error, program_errors.Denied) else type(error).__name__
    return _storable(f"{kind}: {error}")


def _storable(text: str) -> str:
    """SQLite takes no lone surrogates."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()

"""What a task asks its person before it goes on, and what was answered: kept in the task's own file, so that it waits
for days, and moves with the task.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from cairn.errors import IllegalMove
from cairn.task_file import JSON, TaskFile

KEY = "cairn.question."  # followed by the number of the call that it is about
OF_LIMIT = 0  # the number of a question that is about no call


@dataclass(frozen=True, slots=True)
class PersonAnswer:
    """`because` is told to the program that is refused. `always`: the same rule asks no more in this task."""

    yes: bool
    because: str = ""
    always: bool = False
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class PersonQuestion:
    """May this call be made? `call` is its number in the journal, `arguments` a short text of what it was given.

    `rule` is the policy's that asks, "" for its default. `diff` is what the call would change, `more_files` how many
    files that leaves out. Of a limit that was reached `name` is the limit's, `arguments` how high it is.
    """

    call: int
    step: int
    name: str
    arguments: str = ""
    paths: tuple[str, ...] = ()
    rule: str = ""
    diff: str = ""
    more_files: int = 0
    asked_at: float = 0.0
    answer: PersonAnswer | None = None

    @property
    def is_of_limit(self) -> bool:
        """True when it is about going on beyond a limit."""
        return self.call == OF_LIMIT

    @property
    def grant(self) -> str:
        """What an answer for always is about: the rule, or where none asks, the function."""
        return self.rule or self.name


def keep_question(file: TaskFile, question: PersonQuestion) -> None:
    """The file asks this from now on; asked again under the same number, it replaces the first."""
    value: dict[str, Any] = asdict(question)
    file.kv_set(f"{KEY}{question.call}", value)


def question_of(file: TaskFile, call: int) -> PersonQuestion | None:
    """What was asked about a call, answered or not."""
    kept = file.kv_get(f"{KEY}{call}")
    try:
        return _question(kept) if isinstance(kept, dict) else None
    except (TypeError, ValueError, KeyError):
        return None  # somebody wrote nonsense there; the call that it is about is asked about again


def open_question(file: TaskFile) -> PersonQuestion | None:
    """The one that has no answer yet."""
    return next((question for question in questions(file) if question.answer is None), None)


def questions(file: TaskFile) -> Iterator[PersonQuestion]:
    """All that were ever asked, by their calls' numbers."""
    keys = [str(key).removeprefix(KEY) for (key,) in file.rows("SELECT key FROM kv_store WHERE key GLOB ?", f"{KEY}*")]
    for call in sorted(int(key) for key in keys if key.isdecimal()):
        if (found := question_of(file, call)) is not None:
            yield found


def keep_answer(file: TaskFile, call: int, answer: PersonAnswer) -> None:
    """On the disk when this returns. Raises IllegalMove for a question that has an answer already: the first counts."""
    with file.durably():
        question = question_of(file, call)
        if question is None or question.answer is not None:
            raise IllegalMove("That was answered already; the first answer counts.", fix="cairn show   shows the task.")
        keep_question(file, replace(question, answer=answer))


def drop_question(file: TaskFile, call: int) -> None:
    """It is not asked any more."""
    file.run("DELETE FROM kv_store WHERE key = ?", f"{KEY}{call}")


def grants(file: TaskFile) -> frozenset[str]:
    """What was allowed for always, as `PersonQuestion.grant` names it."""
    return frozenset(each.grant for each in questions(file) if each.answer and each.answer.yes and each.answer.always)


def distrust_answers(file: TaskFile) -> None:
    """For a file that came from elsewhere: nothing is allowed for always here, and what was not done is asked again."""
    for question in list(questions(file)):
        if question.answer is not None:
            done = file.rows("SELECT 1 FROM tool_calls WHERE id = ? AND status != 'pending'", question.call)
            answer = replace(question.answer, always=False) if done else None
            keep_question(file, replace(question, answer=answer))


def copy_questions(source: TaskFile, target: TaskFile, last_step: int) -> None:
    """The target, a task forked from the source, knows what was answered up to that step."""
    for question in questions(source):
        if question.answer is not None and not question.is_of_limit and question.step <= last_step:
            keep_question(target, question)


def _question(kept: dict[str, JSON]) -> PersonQuestion:
    values: dict[str, Any] = {**kept}
    answer = values["answer"]
    return PersonQuestion(
        *(int(values["call"]), int(values["step"]), str(values["name"]), str(values["arguments"])),
        paths=tuple(map(str, values["paths"])),
        rule=str(values["rule"]),
        diff=str(values["diff"]),
        more_files=int(values["more_files"]),
        asked_at=float(values["asked_at"]),
        answer=None if answer is None else _answer(answer),
    )


def _answer(kept: dict[str, Any]) -> PersonAnswer:
    yes, always = kept["yes"] is True, kept["always"] is True
    return PersonAnswer(yes, str(kept["because"]), always, float(kept["at"]))

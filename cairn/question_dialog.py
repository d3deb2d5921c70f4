"""What a task asks, asked on the terminal: shows the call and what it would change, and reads the answer."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from cairn import review_text
from cairn.console import Console, printable
from cairn.review import Review
from cairn.task_questions import PersonAnswer, PersonQuestion

_HELP = {
    "y": "yes, this once",
    "n": "no; the program is told, and why if you say so",
    "a": "always: yes, and this rule asks no more in this task",
    "s": "show the program and all that the call would change",
    "q": "quit; the task waits for `cairn answer`",
    "?": "print this help",
}
_ENDS = {"y": PersonAnswer(yes=True), "a": PersonAnswer(yes=True, always=True)}


@dataclass(frozen=True, slots=True)
class Said:
    """An answer, and the settings that come with it."""

    answer: PersonAnswer
    options: Mapping[str, str] = field(default_factory=dict)


def somebody_is_there(console: Console) -> bool:
    """True where a person sees a question and can type an answer."""
    streams = (sys.stdin, sys.stderr)
    return not console.as_json and all(stream is not None and stream.isatty() for stream in streams)


def said_to(question: PersonQuestion, answer: PersonAnswer) -> Said:
    """The answer; a yes at a limit doubles it."""
    if question.is_of_limit and answer.yes:
        return Said(answer, {f"limits.{question.name}": review_text.raised(question)})
    return Said(answer)


class QuestionDialog:
    """Asks until there is an answer."""

    def __init__(self, console: Console, review: Review) -> None:
        self._console = console
        self._review = review

    def ask(self) -> Said | None:
        """None when the person leaves it: by `q`, Ctrl-C, or the end of what they type."""
        question = self._review.question
        if question is None:
            return None
        self._console.note(f"\n{review_text.question(self._review, self._console)}")
        keys = [key for key in _HELP if not (question.is_of_limit and key in "as")]
        try:
            return self._answer(question, keys)
        except (KeyboardInterrupt, EOFError):
            self._console.note("")
            return None

    def _answer(self, question: PersonQuestion, keys: list[str]) -> Said | None:
        while True:
            key = self._read(f"May it? [{','.join(keys)}]").lower()[:1]
            if key not in keys or key == "?":
                self._console.note("\n".join(f"{each} - {_HELP[each]}" for each in keys))
            elif key == "s":
                self._show(question)
            elif key == "q":
                return None
            elif key == "n":
                why = "" if question.is_of_limit else self._read("Why? (Enter: no reason)")
                return Said(PersonAnswer(yes=False, because=why))
            else:
                return said_to(question, _ENDS[key])

    def _show(self, question: PersonQuestion) -> None:
        program = next((each.program.text for each in self._review.steps if each.number == question.step), "")
        self._console.note(printable(program.rstrip("\n")))
        self._console.note(review_text.question(self._review, self._console, lines=None))

    def _read(self, prompt: str) -> str:
        self._console.ask(prompt)
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.strip()

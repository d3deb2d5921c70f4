"""`accept --hunks` as a conversation: shows each question as `git add -p` does, and carries out what is answered."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from cairn import text_editor
from cairn.console import Console, printable
from cairn.dangerous_paths import Danger
from cairn.errors import CairnError, Interrupted
from cairn.hunk_questions import Answers
from cairn.hunks import Part, Selection

_HELP = {
    "y": "take it",
    "n": "leave it in review",
    "q": "quit; leave it and all that is not decided yet in review",
    "a": "take it and everything later in the same file",
    "d": "leave it and everything later in the same file in review",
    "k": "leave it undecided, go to the last undecided one",
    "K": "leave it undecided, go to the last one",
    "j": "leave it undecided, go to the next undecided one",
    "J": "leave it undecided, go to the next one",
    "g": "go to one by its number",
    "/": "go to one that has a text, given as a regular expression",
    "s": "split the hunk into smaller ones",
    "e": "edit the hunk by hand; it is taken as you leave it",
    "?": "print this help",
}
_GUIDE = b"""# Edit the hunk, save, and end the editor.
# ---
# To remove '-' lines, make them ' ' lines (context).
# To remove '+' lines, delete them.
# Lines that begin with # are left out.
# The hunk is taken as you leave it here: what you remove from it does not stay in review.
# If it does not fit the file, you can edit it again. If all its lines are removed, nothing happens.
"""
_SUMMARY = 60


class HunkDialog:
    """Asks until everything is decided. `notes` says what a person should know of a path before its first question.

    `unnamed` gives the dangerous paths that nobody allowed in a selection, beside those in the given tuple.
    """

    def __init__(
        self,
        console: Console,
        answers: Answers,
        folder: Path,
        notes: Mapping[str, str],
        unnamed: Callable[[Selection, tuple[str, ...]], Iterable[Danger]],
    ) -> None:
        self.allowed: tuple[str, ...] = ()
        self._console = console
        self._answers = answers
        self._folder = folder
        self._notes = notes
        self._unnamed = unnamed
        self._headed = ""
        self._keys: Mapping[str, Callable[[str], None]] = {
            "y": self._take,
            "n": lambda _: answers.leave(),
            "q": lambda _: answers.stop(),
            "a": self._take_file,
            "d": lambda _: answers.leave_file(),
            "j": lambda _: answers.move(+1, to_open=True),
            "J": lambda _: answers.move(+1, to_open=False),
            "k": lambda _: answers.move(-1, to_open=True),
            "K": lambda _: answers.move(-1, to_open=False),
            "g": self._go,
            "/": self._search,
            "s": self._split,
            "e": self._edit,
        }

    def ask(self) -> Selection:
        """What is to be taken. Raises Interrupted on Ctrl-C, and CairnError when the answers end too soon."""
        try:
            shown: object = None
            while not self._answers.done:
                if self._answers.current is not shown:
                    self._show()
                shown = self._answers.current
                self._answer(self._read(self._prompt()))
        except KeyboardInterrupt:
            self._console.note("")
            raise Interrupted("Stopped before all was answered. Nothing was written.") from None
        return self._answers.selection()

    # -- one question --------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        question = self._answers.current
        head = b""
        if question.path != self._headed:
            self._headed = question.path
            head = question.head
            for change in question.changes:
                if note := self._notes.get(change.path):
                    self._console.note(self._console.style(note, "yellow", on_stderr=True))
        self._console.shown_patch(head, question.patch)

    def _prompt(self) -> str:
        answers = self._answers
        keys = ",".join(answers.keys)
        answered = {None: "", True: " (taken so far)", False: " (left so far)"}[answers.taken(answers.at)]
        return f"({answers.at + 1}/{len(answers.questions)}) Take {answers.current.what}{answered} [{keys}]?"

    def _read(self, prompt: str) -> str:
        """A line of the answer. Where nobody types, it is repeated, so that the record of it can be read."""
        self._console.ask(prompt)
        line = sys.stdin.buffer.readline() if sys.stdin is not None else b""
        if not line:
            self._console.note("")
            raise CairnError(
                f"The answers ended at question {self._answers.at + 1} of {len(self._answers.questions)}."
                " Nothing was written.",
                fix="q   as the last answer takes what was answered with y before it.",
            )
        text = line.decode("utf-8", "replace").strip()
        if not sys.stdin.isatty():
            self._console.note(printable(text))
        return text

    def _answer(self, text: str) -> None:
        key = text[:1] if text[:1] in self._keys else text[:1].lower()
        if len(text) > 1 and key not in {"g", "/"}:
            self._say(f"Only one letter is an answer, and this is '{text}'.")
        elif key == "?":
            self._help()
        elif key not in self._answers.keys:
            self._say(self._why_not(key))
        elif key:
            self._keys[key](text[1:].strip())

    def _why_not(self, key: str) -> str:
        match key:
            case "s":
                return "This cannot be split."
            case "e":
                return "This has no lines to edit."
            case _ if key in self._keys:
                return "There is no other one to go to."
        return f"There is no answer '{key}'; ? explains those there are."

    def _help(self) -> None:
        for key in self._answers.keys:
            self._say(f"{key} - {_HELP[key]}")

    def _say(self, text: str) -> None:
        self._console.note(self._console.style(printable(text), "blue", on_stderr=True))

    # -- answers that need more than a letter --------------------------------------------------------------------------

    def _take(self, _: str) -> None:
        if self._all_named(self._answers.current.parts):
            self._answers.take()

    def _take_file(self, _: str) -> None:
        numbers = self._answers.of_file()
        if self._all_named([part for number in numbers for part in self._answers.questions[number].parts]):
            self._answers.take_file()

    def _all_named(self, parts: Sequence[Part]) -> bool:
        """True when every dangerous path among these was named, here or in the command."""
        for danger in self._unnamed(self._answers.with_them(parts), self.allowed):
            self._say(f"{danger.path}: {danger.why}.")
            if danger.never:
                self._say("It cannot be taken.")
                return False
            if self._read("Type its path to take it all the same:") != printable(danger.path):
                self._say("Not taken.")
                return False
            self.allowed = (*self.allowed, danger.path)
        return True

    def _go(self, number: str) -> None:
        if not number:
            self._list()
            number = self._read("Which one?")
        if number.isdecimal() and 1 <= int(number) <= len(self._answers.questions):
            self._answers.at = int(number) - 1
        else:
            self._say(f"There are the numbers 1 to {len(self._answers.questions)}.")

    def _list(self) -> None:
        for number, question in enumerate(self._answers.questions):
            mark = {None: " ", True: "+", False: "-"}[self._answers.taken(number)]
            changed = [line for line in question.patch.split(b"\n") if line[:1] in {b"+", b"-"}]
            line = (changed[0] if changed else question.what.encode()).decode("utf-8", "replace")
            self._console.note(printable(f"{mark} {number + 1:>3}: {question.path}: {line}"[:_SUMMARY]))

    def _search(self, pattern: str) -> None:
        pattern = pattern or self._read("Search for which regular expression?")
        try:
            expression = re.compile(pattern.encode())
        except re.error as error:
            self._say(f"That is no regular expression: {error}.")
            return
        questions, at = self._answers.questions, self._answers.at
        for number in [*range(at + 1, len(questions)), *range(at + 1)]:
            if expression.search(questions[number].patch):
                self._answers.at = number
                return
        self._say("Nothing has that.")

    def _split(self, _: str) -> None:
        self._say(f"Split into {self._answers.split()} hunks.")

    def _edit(self, _: str) -> None:
        text = self._answers.current.patch + _GUIDE
        while True:
            try:
                text = text_editor.edited(text, self._folder)
            except (OSError, ValueError) as error:
                self._say(f"{error}" if isinstance(error, ValueError) else f"The editor cannot be run: {error}.")
                return
            try:
                pieces = self._answers.edited(text)
                break
            except ValueError as reason:
                self._say(f"Your edited hunk does not fit: {reason}.")
                if self._read("Edit it again (n forgets the edit) [y/n]?").lower()[:1] == "n":
                    return
        if pieces is None:
            self._say("All lines were removed; the hunk is as it was.")
            return
        if self._all_named([Part(self._answers.current.path, pieces)]):
            self._answers.take(pieces)

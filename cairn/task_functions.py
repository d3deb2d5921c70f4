"""What a program may do in one task: each public method of `TaskFunctions` is an external function.

Signatures and docstrings here are the only source: the type checker's stubs, the model's reference and the binding are
made from them. So a docstring speaks to whoever writes a program, and says what is left out, what is bounded and what
is raised.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from cairn import text_search
from cairn.asking import Questions
from cairn.changes import EntryKind
from cairn.checks import CheckRunner, middle_cut
from cairn.file_text import decoded, encoded, lines_of
from cairn.git_diff import render
from cairn.git_history import history
from cairn.glob_pattern import glob_pattern
from cairn.hunks import under
from cairn.overlay import Overlay
from cairn.parser_process import TooCostly, commented, outlined, require_python
from cairn.program import Submission
from cairn.project_path import project_path
from cairn.text_edit import (
    renames_safely,
    replaced_everywhere,
    replaced_once,
    require_replaceable,
    search_pattern,
)

TEXT_CHARS = 1_000_000
NAMES = 10_000
OUTLINE_BYTES = 2_000_000
SUMMARY_CHARS = 10_000
CLAIMS = 20_000
LOG_CHARS = 10_000
SHOWN_CHARS = 200  # of a line in an error
PROMPTS = 1_000
PARSED_BYTES = 5_000_000  # of Python in one call, which takes some seconds
CHECK_CHARS = 12_000
REPLACED = text_search.SearchLimits(hits=100_000, characters=100_000_000)

T = TypeVar("T")


def no_recipe(name: str) -> str:
    """What there is where no recipes are."""
    raise ValueError(f"no recipe is called '{name}'; there are none")


@dataclass(frozen=True, slots=True)
class _Edit:
    """One file's content before and after, and how many places differ.

    `keeps_syntax`: it needs no parser to tell that Python stays Python.
    """

    name: str
    before: bytes
    after: bytes
    count: int
    keeps_syntax: bool


class TaskFunctions:
    """Bound to one task's overlay, its questions, a receiver of its submission, and whoever has the recipes' texts."""

    def __init__(
        self,
        overlay: Overlay,
        questions: Questions,
        submit: Callable[[Submission], None],
        recipe: Callable[[str], str] = no_recipe,
        checks: CheckRunner | None = None,
    ) -> None:
        self._overlay = overlay
        self._checks = checks
        self._questions = questions
        self._submit = submit
        self._recipe = recipe

    # ── files ──

    def read_file(self, path: str, start_line: int | None = None, end_line: int | None = None) -> str:
        """The file's text, or its lines from start_line to end_line, counted from 1, end_line included.

        Lines beyond the end are "". A byte order mark and the CR of CRLF are not shown; writing puts them back. Raises
        FileNotFoundError, and ValueError for a binary or non-UTF-8 file, and for more than 1,000,000 characters.
        """
        name = project_path(path)
        text = decoded(name, self._overlay.read(name))
        if start_line is not None or end_line is not None:
            text = _slice(text, start_line, end_line)
        if len(text) > TEXT_CHARS:
            count = text.count("\n") + 1
            raise ValueError(
                f"this is {len(text):,} characters in {count:,} lines, and at most {TEXT_CHARS:,} can be read at once; "
                f"read '{name}' in parts with start_line and end_line"
            )
        return text

    def write_file(self, path: str, content: str) -> None:
        """Creates the file, with the folders above it, or replaces its whole text; an old one's mode stays.

        Raises ValueError, and writes nothing, if a .py file that parsed before would no longer parse.
        """
        name = project_path(path)
        self._write(name, content, self._content(name))

    def edit_file(self, path: str, old: str, new: str) -> None:
        """Replaces the only place where `old` stands.

        Raises ValueError, and writes nothing, if it stands nowhere (the message says what is nearest) or more than once
        (it says in which lines), or if a .py file would no longer parse.
        """
        name = project_path(path)
        before = self._overlay.read(name)
        self._write(name, replaced_once(name, decoded(name, before), old, new), before)

    def replace_all(self, old: str, new: str, glob: str, word: bool = True) -> list[dict[str, Any]]:
        """Replaces a text, not a pattern, in all files that fit a glob: [{"file": str, "count": int}], [] if none.

        Case counts. `word`: not within a longer name. Ignored, binary and non-UTF-8 files and symlinks are left alone.
        Raises ValueError, and writes nothing at all, if a .py file would no longer parse.
        """
        require_replaceable(old, new)
        edits = [edit for name in self._with_text(old, glob) if (edit := self._replacing(name, old, new, word=word))]
        _require_still_parsing([edit for edit in edits if not edit.keeps_syntax])
        with self._overlay.transaction():
            for edit in edits:
                self._overlay.write(edit.name, edit.after)
        return [{"file": edit.name, "count": edit.count} for edit in edits]

    def delete_file(self, path: str) -> None:
        """Deletes a file, or a folder with what is in it; ignored files in it stay.

        Raises FileNotFoundError, and PermissionError for a folder with a git repository in it.
        """
        self._overlay.delete(project_path(path))

    def move_file(self, source: str, target: str) -> None:
        """Renames a file or folder: `target` is its whole new path; folders above are made, ignored files stay.

        Raises FileExistsError if something is there, and PermissionError as delete_file does.
        """
        self._overlay.move(project_path(source), project_path(target))

    def list_dir(self, path: str = ".", include_ignored: bool = False) -> list[str]:
        """The names in one folder, sorted; folders end in "/". Ignored ones (.gitignore) only on request."""
        entries = self._overlay.list_folder(project_path(path), include_ignored=include_ignored)
        if len(entries) > NAMES:
            raise ValueError(f"'{path}' has over {NAMES:,} names; search_files('{path}/a*') lists a part of them")
        return [_last_part(entry.path) + ("/" if entry.kind is EntryKind.DIRECTORY else "") for entry in entries]

    def file_exists(self, path: str) -> bool:
        """True if there is a file or folder at the path."""
        return self._overlay.entry(project_path(path)) is not None

    # ── searching ──

    def search_files(self, pattern: str, include_ignored: bool = False) -> list[str]:
        """The paths of the files that fit a glob, sorted.

        "*.py" fits in the root only, "**/*.py" everywhere, "src/**/*.{js,ts}" below src. Hidden files too, folders
        never; ignored ones only on request. Raises ValueError for more than 10,000.
        """
        made = glob_pattern(pattern)
        if made.literal is not None:
            return self._one_file(project_path(made.literal))
        folder = project_path(made.folder)
        there = self._overlay.entry(folder)
        if there is None or there.kind is EntryKind.FILE:
            return []
        names = self._overlay.walk(folder, include_ignored=include_ignored)
        found = [name for name in names if made.matches(name)]
        if len(found) > NAMES:
            raise ValueError(f"{len(found):,} files fit '{pattern}', more than {NAMES:,}; name a folder, or an ending")
        return found

    def search_content(self, pattern: str, path: str = ".", include_ignored: bool = False) -> list[dict[str, Any]]:
        """The lines that a regular expression matches: [{"file": str, "line": int, "text": str}], sorted.

        `path`: a folder or one file. Rust's syntax, with look-around; line by line; case counts, (?i) ignores it.
        Binary files, symlinks and files over 10 MB are skipped. `text` is cut after 1,000 characters. Raises ValueError
        for a pattern that does not compile, and for more than 10,000 lines.
        """
        hits = text_search.search(self._overlay, pattern, project_path(path), include_ignored=include_ignored)
        return [{"file": hit.file, "line": hit.line, "text": hit.text} for hit in hits]

    def outline(self, path: str) -> list[dict[str, Any]]:
        """The functions and classes of a source file, nested ones too, in their order.

        "name" ("Shop.open"), "kind" ("function", "method", "class", ...), "signature", "start" (decorators included),
        "end", "signature_end" (the header's last line: a Python docstring goes below it, indented by "indent"),
        "body_line" (the body's first), "one_line" (the body stands on the header's line), "has_docstring",
        "docstring_start", "docstring_end" (0 if none; outside Python the comment right above). Knows Python,
        JavaScript, TypeScript, Go, Rust, Java, C, C++, Ruby, shell; ValueError for others, and for Python that does not
        parse.
        """
        name = project_path(path)
        return [asdict(item) for item in self._parsed(name, outlined)]

    def comments(self, path: str) -> list[dict[str, Any]]:
        """A source file's comments, each # line by itself: [{"line": int, "end": int, "text": str, "alone": bool}].

        `text` has the comment's marks; `alone`: no code before it on its line. Languages and errors as outline.
        """
        name = project_path(path)
        return [asdict(comment) for comment in self._parsed(name, commented)]

    def diff(self, path: str | None = None) -> str:
        """What this task has changed so far, as a patch: all of it, or one file or folder; "" for nothing.

        Raises ValueError for more than 1,000,000 characters.
        """
        changes = self._overlay.changes()
        patch = render(changes if path is None else under(changes, project_path(path))).decode(errors="replace")
        if len(patch) > TEXT_CHARS:
            raise ValueError(
                f"the patch has {len(patch):,} characters, over {TEXT_CHARS:,}; ask for one file or folder"
            )
        return patch

    def history(self, path: str | None = None, n: int = 10) -> str:
        """The n newest git commits of a path, one a line, then what the newest of them changed there.

        n is 1 to 100; a patch is cut after 20,000 characters. Raises RuntimeError without git, repository or commit.
        """
        return history(self._overlay.root, "." if path is None else project_path(path), n)

    def read_recipe(self, name: str) -> str:
        """The program of a recipe that you are told of. Set PARAMETERS, then exec(read_recipe(name)): it
        does all and submits. Raises ValueError for another name.
        """
        return self._recipe(name)

    # ── asking, telling ──

    async def ask_llm(self, prompt: str, context: str = "") -> str:
        """Text written by a language model that sees only this prompt and context. Slow and paid.

        Raises RuntimeError if there is no model, it fails, or no question is left.
        """
        (answer,) = await self._questions.ask([prompt], context)
        return _bounded(answer)

    async def ask_llm_many(self, prompts: list[str], context: str = "") -> list[str]:
        """The answers in the order of the prompts, several at a time; much faster than a loop of ask_llm.

        Raises RuntimeError if any failed, after all are done; called again with the same prompts it sends only those.
        """
        if len(prompts) > PROMPTS:
            raise ValueError(f"{len(prompts):,} prompts at once; at most {PROMPTS:,} are taken, so ask in parts")
        return [_bounded(answer) for answer in await self._questions.ask(prompts, context)]

    async def run_check(self, name: str) -> dict[str, Any]:
        """Runs a check of the project, such as its tests, over the files as they are now.

        {"passed": bool, "exit_code": int, "output": str, "before": "passed" or "failed" without your changes, "" if
        not tried}. Slow. Raises ValueError for an unknown name (it says which there are), and RuntimeError if none can
        run or they are used up.
        """
        if self._checks is None:
            raise ValueError("the project has no checks; do without, and say so when you submit")
        result = await self._checks.run(name)
        output = middle_cut(result.output, CHECK_CHARS)
        exact = {"passed": result.passed, "exit_code": result.exit_code, "output": output}
        return {**exact, "before": str(result.before)}

    def submit_result(self, summary: str, changed_files: list[str]) -> None:
        """Ends the task: 1 to 5 lines on what was done and what was not; the paths of all changed files.

        Nothing after it runs. With nothing to do, or nothing that can be done, say that with an empty list.
        """
        self._submit(submission(summary, changed_files))

    def log(self, message: str) -> None:
        """Leaves a line for the person who reviews; print() is for yourself."""
        if len(message) > LOG_CHARS:
            raise ValueError(f"the message has {len(message):,} characters; log at most {LOG_CHARS:,}")

    # ── inside ──

    def _content(self, name: str) -> bytes | None:
        """What a write would replace; None where there is no file yet."""
        there = self._overlay.entry(name)
        if there is None or there.kind is EntryKind.DIRECTORY:
            return None
        try:
            return self._overlay.read(name)
        except FileNotFoundError:  # a link to a file that is still to be made
            return None

    def _write(self, name: str, text: str, before: bytes | None) -> None:
        data = encoded(text, before)
        require_still_python(name, data, before)
        self._overlay.write(name, data)

    def _parsed(self, name: str, parse: Callable[[str, bytes], list[T]]) -> list[T]:
        data = self._overlay.read(name)
        if len(data) > OUTLINE_BYTES:
            raise ValueError(f"'{name}' has {len(data):,} bytes; files are parsed up to {OUTLINE_BYTES:,}")
        try:
            found = parse(name, data)
        except TooCostly as costly:
            raise ValueError(str(costly)) from None
        if len(found) > NAMES:
            raise ValueError(f"'{name}' has {len(found):,} entries, more than {NAMES:,}; search its text instead")
        return found

    def _with_text(self, text: str, glob: str) -> list[str]:
        """The files that fit a glob and have the text, as far as a search of lines can tell."""
        made = glob_pattern(glob)
        if made.literal is not None:
            return self._one_file(project_path(made.literal))
        folder = project_path(made.folder)
        there = self._overlay.entry(folder)
        if there is None or there.kind is EntryKind.FILE:
            return []
        hits = text_search.search(self._overlay, search_pattern(text), folder, limits=REPLACED)
        return [name for name in dict.fromkeys(hit.file for hit in hits) if made.matches(name)]

    def _replacing(self, name: str, old: str, new: str, *, word: bool) -> _Edit | None:
        there = self._overlay.entry(name)
        if there is None or there.kind is EntryKind.SYMLINK:
            return None
        try:
            before = self._overlay.read(name)
            text = decoded(name, before)
        except ValueError:  # too large, or no text in UTF-8
            return None
        replaced, count = replaced_everywhere(text, old, new, word=word)
        if not count:
            return None
        return _Edit(name, before, encoded(replaced, before), count, word and renames_safely(text, old, new))

    def _one_file(self, name: str) -> list[str]:
        there = self._overlay.entry(name)
        if there is not None and there.kind is EntryKind.DIRECTORY:
            raise ValueError(f"'{name}' is a folder; '{name}/**' fits the files below it")
        return [] if there is None else [name]


def require_still_python(name: str, data: bytes, before: bytes | None) -> None:
    """Raises ValueError for a Python file that parsed and would not any more; nobody means to write that."""
    if spoiled := _spoiled(name, data, before):
        raise ValueError(f"not written, because {spoiled}. Mend the text and write it again")


def _require_still_parsing(edits: Sequence[_Edit]) -> None:
    """Raises ValueError for the first file that would be spoiled, and for more than can be parsed in one call."""
    size = sum(len(edit.after) for edit in edits if edit.name.endswith((".py", ".pyi")))
    if size > PARSED_BYTES:
        raise ValueError(
            f"nothing was replaced: {size:,} bytes of Python would have to be parsed, and at most {PARSED_BYTES:,} are "
            "in one call; replace in one folder after the other"
        )
    for edit in edits:
        if spoiled := _spoiled(edit.name, edit.after, edit.before):
            raise ValueError(f"nothing was replaced, because {spoiled}. Edit that file by itself, or leave it out")


def _spoiled(name: str, data: bytes, before: bytes | None) -> str:
    """Says that a Python file parsed and would not any more; "" where that is not so, and where nobody can tell."""
    if before is None or not name.endswith((".py", ".pyi")):
        return ""
    try:
        problem = _syntax_problem(name, data)
        spoils = problem and not _syntax_problem(name, before)
    except TooCostly:
        return ""
    version = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    return f"'{name}' parsed before and would not any more ({version}): {problem}" if spoils else ""


def _syntax_problem(name: str, data: bytes) -> str:
    """What keeps the bytes from being Python, with the line it stands in; "" for nothing."""
    try:
        text = data.decode("utf-8-sig")
        require_python(name, text)
    except UnicodeDecodeError:
        return "it is not UTF-8 text"
    except TooCostly:
        raise
    except ValueError as error:
        told = str(error).removeprefix(f"'{name}' ")
        number = re.match(r"line (\d+)", told)
        line = text.split("\n")[int(number[1]) - 1 : int(number[1])] if number else []
        return told + "".join(f" in {shown[:SHOWN_CHARS]!r}" for shown in line)
    return ""


def _slice(text: str, start_line: int | None, end_line: int | None) -> str:
    start = 1 if start_line is None else start_line
    if start < 1:
        raise ValueError(f"start_line is {start}, but lines count from 1")
    if end_line is not None and end_line < start - 1:
        raise ValueError(f"end_line {end_line} is before start_line {start}")
    return "".join(lines_of(text)[start - 1 : end_line])


def _bounded(answer: str) -> str:
    if len(answer) > TEXT_CHARS:
        raise RuntimeError(f"the answer has {len(answer):,} characters; ask for a shorter one")
    return answer


def _last_part(path: str) -> str:
    return path.rpartition("/")[2]


def submission(summary: str, changed_files: list[str]) -> Submission:
    """What a program says it did, fit to be kept. Raises ValueError, and PermissionError for a path outside."""
    if not summary.strip():
        raise ValueError("the summary is empty; say in 1 to 5 lines what was done and what was left")
    if len(summary) > SUMMARY_CHARS:
        raise ValueError(f"the summary has {len(summary):,} characters; say it in less than {SUMMARY_CHARS:,}")
    if len(changed_files) > CLAIMS:
        raise ValueError(f"{len(changed_files):,} changed files; at most {CLAIMS:,} can be named")
    claimed = dict.fromkeys(project_path(path) for path in changed_files)
    return Submission(summary.strip(), tuple(claimed))

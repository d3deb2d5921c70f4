"""The functions a program may call, its only authority: bound to a task, checked, journaled, and described for models.

`TaskFunctions` says what they do. Here each call is fitted to its signature and run in one transaction of the task's
file together with its record, so that neither is ever without the other. A call that the journal has completed already,
because its program runs again, is answered from there.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from cairn.asking import Questions, question_digest
from cairn.call_values import arguments_text, shortened_arguments
from cairn.changes import EntryKind
from cairn.checks import CheckRunner
from cairn.function_signatures import declared, fitted, reference, stubs
from cairn.journal import Journal
from cairn.overlay import Entry, Overlay
from cairn.permission import NeedsAnswer, Permission
from cairn.policy import Policy
from cairn.program import AtLimit, CallRecord, Limits, MustAsk, Submission
from cairn.program_errors import FOR_PROGRAMS, Denied
from cairn.progress import CallMade, Observer, unobserved
from cairn.recalled_calls import Recalled
from cairn.task_functions import TaskFunctions, no_recipe, require_still_python, submission
from cairn.task_questions import PersonAnswer, PersonQuestion

if TYPE_CHECKING:
    from cairn.language_model import TextModel

T = TypeVar("T")


ONE_FILE = frozenset({"write_file", "edit_file", "Path.write_text", "Path.write_bytes", "open().write"})
LEAVES_FILES = frozenset(
    {"read_file", "outline", "comments", "diff", "log", "submit_result", "open"}
    | {"Path.read_bytes", "Path.read_text", "Path.stat", "Path.exists", "Path.is_file", "Path.is_dir"}
    | {"Path.is_symlink", "Path.iterdir", "os.scandir", "os.walk"}
)
QUESTIONS = frozenset({"ask_llm", "ask_llm_many"})
LOOK_AROUND = frozenset({"list_dir", "search_files", "search_content", "file_exists", "history", "read_recipe"})


class ProgramFiles(Protocol):
    """Whole files and folders for ordinary file code in programs; each call is journaled under `as_name`.

    Paths are normalised by `project_path`. Errors are builtin ones, as the overlay's.
    """

    def read_bytes(self, path: str, *, as_name: str = ...) -> bytes:
        """A file's content; links inside the project are followed."""
        ...

    def write_bytes(self, path: str, data: bytes, *, as_name: str = ...) -> None:
        """A file's whole new content; ValueError for a .py file that would no longer parse."""
        ...

    def entry(self, path: str, *, as_name: str = ..., to_write: bool = ...) -> Entry | None:
        """What stands at a path; a link is not followed. `to_write`: PermissionError if it may not be written."""
        ...

    def list_folder(self, path: str, *, as_name: str = ...) -> list[Entry]:
        """A folder's entries without ignored ones, sorted."""
        ...

    def make_folder(self, path: str, *, as_name: str = ...) -> None:
        """A folder, with those above it."""
        ...

    def delete(self, path: str, *, as_name: str = ...) -> None:
        """A file, a link, or a folder with all below it."""
        ...

    def move(self, source: str, target: str, *, as_name: str = ...) -> None:
        """Another name; FileExistsError if something has it."""
        ...

    def walk(self, path: str, *, as_name: str = ...) -> list[str]:
        """All files and links below a folder, sorted, without ignored ones."""
        ...


class ExternalFunctions(Protocol):
    """What a program may call. Replaced as a whole by whoever wants other functions.

    `call` raises builtin exceptions for the program, and CairnError when Cairn's own files fail, which is not for it.
    What it returns may be awaitable.
    """

    @property
    def stubs(self) -> str:
        """The signatures for the sandbox's type checker."""
        ...

    @property
    def names(self) -> frozenset[str]:
        """All that `call` answers to."""
        ...

    @property
    def submission(self) -> Submission | None:
        """What the program submitted; None until then."""
        ...

    @property
    def files(self) -> ProgramFiles:
        """The same files for `open()` and `pathlib`."""
        ...

    def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object | Awaitable[object]:
        """One call as the program wrote it."""
        ...


def create_external_functions(
    overlay: Overlay,
    journal: Journal,
    model: TextModel | None,
    limits: Limits,
    observe: Observer = unobserved,
    recipe: Callable[[str], str] = no_recipe,
    policy: Policy | None = None,
    checks: CheckRunner | None = None,
) -> BoundFunctions:
    """The functions of one task. A task that goes on counts the questions that its journal has answers to.

    `recipe` gives a recipe's text by its name, or raises ValueError. With `checks` a submission has to pass them.
    """
    answers = journal.kept_answers()
    questions = Questions(
        model,
        limits.llm_calls,
        asked=len(answers),
        drafts=sum(answer.draft for answer in answers),
        kept=journal.kept_answers(unused=True),
        keep=journal.keep_answer,
    )
    return BoundFunctions(overlay, journal, questions, observe, limits, recipe, policy, checks)


class BoundFunctions:
    """The functions of one task; `submission`, `drafts` and `questions_used_up` say what has come of them so far."""

    def __init__(
        self,
        overlay: Overlay,
        journal: Journal,
        questions: Questions,
        observe: Observer,
        limits: Limits | None = None,
        recipe: Callable[[str], str] = no_recipe,
        policy: Policy | None = None,
        checks: CheckRunner | None = None,
    ) -> None:
        self.stubs = type_stubs()
        self.names = frozenset(_functions())
        self.submission: Submission | None = None
        self._permission = Permission(policy or Policy(), overlay, journal.grants())
        judged = self._permission.overlay
        self.files: ProgramFiles = _JournaledFiles(judged, self.run, self._permission.require_writable)
        self._overlay = overlay
        self._journal = journal
        self._questions = questions
        self._observe = observe
        self._limits = limits
        self._files_at_most: int | None = None
        self._checks = checks
        self._functions = TaskFunctions(judged, questions, self._submit, recipe, checks)

    @property
    def drafts(self) -> int:
        """How many texts a model wrote whose sentences must be marked as drafts."""
        return self._questions.drafts

    @property
    def questions_used_up(self) -> bool:
        """True once `Limits.llm_calls` refused a question: the host's own sign, which no program can forge."""
        return self._questions.refused

    def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object | Awaitable[object]:
        """Journaled whether it succeeds or fails; a question comes back as an awaitable."""
        function = _functions().get(name)
        if function is None:
            raise NameError(f"there is no function '{name}'; there are {', '.join(_functions())}")
        try:
            arguments = fitted(function, args, kwargs)
        except TypeError as misfit:
            return self.run(name, _as_given(args, kwargs), _raiser(misfit))
        bound: Callable[..., Any] = getattr(self._functions, name)
        if inspect.iscoroutinefunction(function):
            return self._ask(name, arguments, bound)
        if name == "submit_result" and self._checks is not None:
            return self._submit_checked(self._checks, arguments)
        result: object = self.run(name, arguments, lambda: bound(**arguments), looks_around=name in LOOK_AROUND)
        return result

    def run(
        self,
        name: str,
        arguments: Mapping[str, object],
        effect: Callable[[], T],
        in_journal: Callable[[T], object] = lambda result: result,
        from_journal: Callable[[Any], T] = lambda plain: plain,
        *,
        looks_around: bool = False,  # noqa: ARG002 - for a replay, which has only the captured files
    ) -> T:
        """The effect and its record, in one transaction. `in_journal` gives the result in plain values, and
        `from_journal` makes it of them again. `looks_around`: it depends on more of the project than what it captures.

        A function changes the overlay at most once, as its last act, and the overlay does that whole or not at all.
        So a failed call leaves only what it has seen, which counts, and its record.
        """
        recalled = self._journal.recalled(name, arguments)
        if recalled is not None:
            return from_journal(self._again(name, recalled))
        started = self._journal.clock()
        failure: Exception | None = None
        answer = self._answer()
        try:
            with self._overlay.transaction():
                self._journal.require_held()
                self._require_call_left(name)
                try:
                    result = self._permission.carried_out(name, arguments, effect, answer)
                    self._require_room(name)
                except FOR_PROGRAMS as error:
                    failure = error
                    record = self._recorded(name, arguments, None, error, started)
                else:
                    record = self._recorded(name, arguments, in_journal(result), None, started)
        except NeedsAnswer as needs:  # what was tried is taken back
            raise self._paused(name, arguments, needs, started) from None
        self._observe(CallMade(record))
        if failure is not None:
            raise failure
        return result

    def _recorded(
        self, name: str, arguments: Mapping[str, object], result: object, error: Exception | None, started: float
    ) -> CallRecord:
        if self._journal.pending is None:
            return self._journal.record_call(name, arguments, result, error, started_at=started)
        number = self._journal.begin_call(name, arguments, started)  # a person was asked about it
        return self._journal.end_call(number, result, error, arguments)

    def _answer(self) -> PersonAnswer | None:
        """What a person said about the call that is made again now. Raises MustAsk when that is still open."""
        asked = None if self._journal.pending is None else self._journal.asked_person(self._journal.pending)
        if asked is not None and asked.answer is None:  # whatever today's policy says: this was to be asked
            raise MustAsk(asked.call, f"{asked.name}({asked.arguments})")
        return None if asked is None else asked.answer

    def _paused(self, name: str, arguments: Mapping[str, object], needs: NeedsAnswer, started: float) -> MustAsk:
        """The call has begun, and its question is in the task's file, both or neither."""
        shown = arguments_text(shortened_arguments(arguments))
        with self._overlay.transaction():
            self._journal.require_held()
            number = self._journal.begin_call(name, arguments, started)
            self._journal.ask_person(
                PersonQuestion(
                    *(number, self._journal.step, name, shown),
                    paths=needs.paths,
                    rule=needs.rule,
                    diff=needs.diff,
                    more_files=needs.more_files,
                    asked_at=started,
                )
            )
        return MustAsk(number, f"{name}({shown})")

    def _require_call_left(self, name: str) -> None:
        """Raises AtLimit. The journal counts, so that a task that goes on has used what it used before."""
        allowed = None if self._limits is None else self._limits.calls_of.get(name)
        if allowed is not None and self._journal.completed(name) >= allowed:
            raise AtLimit(f"calls_of.{name}", allowed, f"{name} was called as often as it may be")

    def _require_room(self, name: str) -> None:
        """Raises AtLimit after a change that is one too many; the transaction it is in takes the change back."""
        limits = self._limits
        if limits is None or name in LEAVES_FILES or name in LOOK_AROUND:
            return
        if self._files_at_most is None or name not in ONE_FILE:
            self._files_at_most = self._overlay.files_touched()
        else:
            self._files_at_most += 1
        if self._files_at_most > limits.files_changed:  # the same file may have been counted more than once
            self._files_at_most = self._overlay.files_touched()
        if self._files_at_most > limits.files_changed:
            self._files_at_most = None
            raise AtLimit("files_changed", limits.files_changed, f"{name} would have changed one more; it was not done")
        written = self._overlay.bytes_written()
        if written > limits.bytes_written:
            self._files_at_most = None
            detail = f"{name} would have made it {written:,} in all; it was not done"
            raise AtLimit("bytes_written", limits.bytes_written, detail)

    def _again(self, name: str, recalled: Recalled) -> Any:
        """What a completed call came to; its effect on the overlay is there already."""
        if recalled.error is not None:
            raise recalled.error
        if name == "submit_result":
            self.submission = self._journal.submission()
        return recalled.result

    async def _ask(self, name: str, arguments: dict[str, Any], function: Callable[..., Awaitable[object]]) -> object:
        """Recorded before it is sent, so that one that never ended shows; a cancelled one stays like that."""
        recalled = self._journal.recalled(name, arguments)
        if recalled is not None:
            return self._again(name, recalled)
        started = self._journal.clock()
        failure: Exception | None = None
        result: object = None
        try:
            self._permission.require_call(name, self._answer())
        except NeedsAnswer as needs:
            raise self._paused(name, arguments, needs, started) from None
        except Denied as denial:
            failure = denial
        with self._overlay.transaction():
            self._journal.require_held()
            self._require_call_left(name)
            number = self._journal.begin_call(name, arguments, started)
        try:
            if failure is None:
                result = await function(**arguments)
        except FOR_PROGRAMS as error:
            failure = error
        with self._overlay.transaction():
            self._journal.require_held()
            if failure is None and name == "submit_result":
                self._submit(submission(**arguments))
            record = self._journal.end_call(number, result, failure, arguments)
            if failure is None and name in QUESTIONS:
                self._journal.use_answers(_digests(arguments))
        self._observe(CallMade(record))
        if failure is not None:
            raise failure
        return result

    def _submit_checked(self, checks: CheckRunner, arguments: dict[str, Any]) -> object | Awaitable[object]:
        """A submission counts once the required checks have run; one that broke them is an error for the program."""

        async def judged(**given: Any) -> None:
            submission(**given)
            refusal = await checks.refusal()
            self._files_at_most = None  # a check may have become part of them
            if refusal:
                raise ValueError(refusal)

        return self._ask("submit_result", arguments, judged)

    def _submit(self, made: Submission) -> None:
        self._journal.submit(made)
        self.submission = made


class _JournaledFiles:
    """`ProgramFiles` over an overlay, through the same records as the functions."""

    def __init__(self, overlay: Overlay, run: Callable[..., Any], require_writable: Callable[[str], None]) -> None:
        self._overlay = overlay
        self._run = run
        self._require_writable = require_writable

    def read_bytes(self, path: str, *, as_name: str = "Path.read_bytes") -> bytes:
        return self._result(as_name, path, lambda: self._overlay.read(path))

    def write_bytes(self, path: str, data: bytes, *, as_name: str = "Path.write_bytes") -> None:
        def write() -> None:
            require_still_python(path, data, self._before(path))
            self._overlay.write(path, data)

        self._run(as_name, {"path": path, "data": data}, write)

    def entry(self, path: str, *, as_name: str = "Path.stat", to_write: bool = False) -> Entry | None:
        def look() -> Entry | None:
            if to_write:
                self._require_writable(path)
            return self._overlay.entry(path)

        return self._result(as_name, path, look, _plain_entry, _entry, looks_around=True)

    def list_folder(self, path: str, *, as_name: str = "Path.iterdir") -> list[Entry]:
        look = partial(self._overlay.list_folder, path)
        return self._result(as_name, path, look, _plain_entries, _entries, looks_around=True)

    def make_folder(self, path: str, *, as_name: str = "Path.mkdir") -> None:
        self._result(as_name, path, lambda: self._overlay.make_folder(path))

    def delete(self, path: str, *, as_name: str = "Path.unlink") -> None:
        self._result(as_name, path, lambda: self._overlay.delete(path))

    def move(self, source: str, target: str, *, as_name: str = "Path.rename") -> None:
        self._run(as_name, {"source": source, "target": target}, lambda: self._overlay.move(source, target))

    def walk(self, path: str, *, as_name: str = "Path.walk") -> list[str]:
        return self._result(as_name, path, lambda: list(self._overlay.walk(path)), looks_around=True)

    def _result(
        self,
        name: str,
        path: str,
        effect: Callable[[], T],
        in_journal: Callable[[T], object] = lambda result: result,
        from_journal: Callable[[Any], T] = lambda plain: plain,
        *,
        looks_around: bool = False,
    ) -> T:
        result: T = self._run(name, {"path": path}, effect, in_journal, from_journal, looks_around=looks_around)
        return result

    def _before(self, path: str) -> bytes | None:
        if not path.endswith((".py", ".pyi")):
            return None
        try:
            return self._overlay.read(path)
        except (OSError, ValueError):
            return None


def _plain_entry(entry: Entry | None) -> object:
    return None if entry is None else [entry.path, str(entry.kind), entry.mode, entry.size, entry.mtime]


def _plain_entries(entries: Iterable[Entry]) -> object:
    return [_plain_entry(entry) for entry in entries]


def _entry(plain: Any) -> Entry | None:
    if plain is None:
        return None
    path, kind, mode, size, mtime = plain
    return Entry(path, EntryKind(kind), mode, size, mtime)


def _entries(plain: Any) -> list[Entry]:
    return [entry for each in plain if (entry := _entry(each)) is not None]


def _digests(arguments: Mapping[str, Any]) -> list[str]:
    """The names of all that one call of ask_llm or ask_llm_many asks."""
    prompts = arguments["prompts"] if "prompts" in arguments else [arguments["prompt"]]
    return [question_digest(prompt, arguments.get("context", "")) for prompt in prompts]


@cache
def _functions() -> Mapping[str, Callable[..., Any]]:
    return declared(TaskFunctions)


@cache
def type_stubs() -> str:
    """The functions as declarations for the sandbox's type checker."""
    return stubs(_functions().values())


@cache
def function_reference(checks: tuple[str, ...] = ()) -> str:
    """The functions for a model that writes programs; run_check only where there are checks, with their names."""
    wanted = {name: function for name, function in _functions().items() if checks or name != "run_check"}
    told = {name: reference([function]) for name, function in wanted.items()}
    if checks:
        told["run_check"] = f"{told['run_check'].rstrip()}\n  The checks here: {', '.join(checks)}.\n"
    return "\n".join(text.strip("\n") for text in told.values())


def _as_given(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {**{f"argument {place + 1}": value for place, value in enumerate(args)}, **kwargs}


def _raiser(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail

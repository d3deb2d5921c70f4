"""Runs a task's programs again, offline, and proves that its journal leads to its changes.

Every call is compared with the journal. Those that see only what the task captured are carried out on a fresh overlay
over the captured files, and must come to the same; the others (listings, searches, questions to models) are answered
from the journal. Neither the project nor a model is looked at.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cairn.asking import Questions
from cairn.call_values import pack
from cairn.changes import ChangeSet
from cairn.check_record import kept_writes
from cairn.errors import TaskFailed, UsageProblem
from cairn.external_functions import BoundFunctions
from cairn.journal import Journal
from cairn.overlay import AgentFSOverlay
from cairn.parsed_program import bound_names, parse
from cairn.pinned_base import copy_pins
from cairn.program import CodeFailed, ExecutionResult, Finished, Limits, Program, Step, Submission
from cairn.program_errors import FOR_PROGRAMS, Denied, crossing
from cairn.progress import Observer, StepEnded, StepStarted, unobserved
from cairn.recalled_calls import Divergence, Recalled
from cairn.task import Task
from cairn.task_file import TaskFile, blob_digest
from cairn.task_record import surroundings
from cairn.task_run import same_end, shown_end

if TYPE_CHECKING:
    from cairn.executor import ExecutionSession

T = TypeVar("T")

VALUE_CHARS = 300  # of one variable
VARIABLES_SHOWN = 200


class NotReproduced(TaskFailed):
    """A call, or the whole task, came to something else than the first time."""

    def __init__(self, what: str, first: str, now: str) -> None:
        super().__init__(
            what,
            f"The first time: {first}\nNow: {now}",
            "Was the task's file changed by hand, or by a version of Cairn that works otherwise?",
        )


@dataclass(frozen=True, slots=True)
class Variable:
    """One name that programs bound, and its value's repr, shortened."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Replay:
    """What came out. `complete` is False when only the first steps ran; then `variables` shows where they got to."""

    task: Task
    steps: tuple[Step, ...]
    calls: int
    changes: ChangeSet
    complete: bool
    variables: tuple[Variable, ...] = ()


async def replay(
    task: Task, original: TaskFile, limits: Limits, *, until: int | None = None, observe: Observer = unobserved
) -> Replay:
    """The task's programs from the first one on, or up to step `until`, whose variables are shown then.

    Raises Divergence or NotReproduced where something comes out otherwise, UsageProblem for a step there is not.
    """
    with (
        tempfile.TemporaryDirectory(prefix="cairn-replay-") as folder,
        TaskFile.create(Path(folder, "replay.db"), base=Path(folder)) as scratch,
    ):
        return await rebuild(task, original, scratch, limits, until=until, observe=observe)


async def rebuild(
    task: Task,
    original: TaskFile,
    scratch: TaskFile,
    limits: Limits,
    *,
    until: int | None = None,
    observe: Observer = unobserved,
) -> Replay:
    """As `replay`; the overlay that comes out is kept in `scratch`, a new file."""
    with tempfile.TemporaryDirectory(prefix="cairn-nothing-") as nowhere:  # what was never captured is not there
        return await _rebuilt(task, original, scratch, Path(nowhere), limits, until, observe)


async def _rebuilt(
    task: Task,
    original: TaskFile,
    scratch: TaskFile,
    root: Path,
    limits: Limits,
    until: int | None,
    observe: Observer,
) -> Replay:
    from cairn.executor import AgentExecutor

    journal = Journal(original)
    every = journal.steps()
    steps = _first(every, until)
    copy_pins(original, scratch)
    overlay = AgentFSOverlay(scratch, root, file_bytes=limits.file_bytes)
    functions = ReplayedFunctions(overlay, journal, observe)
    seen = surroundings(original, task)
    async with AgentExecutor(limits).session(functions, now=seen.now, seed=seen.seed) as session:
        for step in steps:
            observe(StepStarted(step.number, len(steps)))
            observe(StepEnded(Step(step.number, step.program, await _again(session, journal, step))))
        variables = await _variables(session, steps) if until is not None else ()
    complete = len(steps) == len(every)
    changes = overlay.changes()
    if complete:
        by_checks = kept_writes(original)
        first = AgentFSOverlay(original, root, file_bytes=limits.file_bytes).changes()
        _require_same(_without(first, by_checks), _without(changes, by_checks))
    return Replay(task, steps, sum(step.result.run.calls for step in steps), changes, complete, variables)


def _first(steps: tuple[Step, ...], until: int | None) -> tuple[Step, ...]:
    if until is None:
        return steps
    if not 0 <= until <= len(steps):
        count = "one step" if len(steps) == 1 else f"{len(steps)} steps"
        raise UsageProblem(f"There is no step {until}.", f"The task has {count}.", "cairn log   shows them.")
    return steps[:until]


async def _again(session: ExecutionSession, journal: Journal, step: Step) -> ExecutionResult:
    """One program. One that the host or a kill ended is followed as far as the journal goes."""
    journal.recall(step.number)
    try:
        result = await session.execute(step.program.text, step=step.number)
    except EndOfJournal:
        if isinstance(step.result, Finished | CodeFailed):
            last = journal.calls(step.number)
            raise Divergence(step.number, len(last), shown_end(step.result), "one more call") from None
        return step.result
    if isinstance(step.result, Finished | CodeFailed):
        journal.require_all_recalled()
        if not same_end(result, step.result):
            what = f"Step {step.number} ended in another way."
            raise NotReproduced(what, shown_end(step.result), shown_end(result))
    return result


def _without(changes: ChangeSet, paths: frozenset[str]) -> ChangeSet:
    """What programs alone can make again."""
    return ChangeSet(tuple(each for each in changes if each.path not in paths)) if paths else changes


def _require_same(first: ChangeSet, now: ChangeSet) -> None:
    if first == now:
        return
    before, after = ({change.path: change for change in changes} for changes in (first, now))
    differing = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    raise NotReproduced(
        "The programs do not lead to the task's changes.",
        f"{len(first)} changed paths",
        f"{len(now)} changed paths; different: {', '.join(differing[:10])}",
    )


class EndOfJournal(Exception):
    """The program asks for a call that the journal does not have."""


class ReplayedFunctions(BoundFunctions):
    """The functions of a replay: each call must be the journal's next one."""

    def __init__(self, overlay: AgentFSOverlay, journal: Journal, observe: Observer = unobserved) -> None:
        super().__init__(overlay, journal, Questions(None, 0), observe)

    def run(
        self,
        name: str,
        arguments: Mapping[str, object],
        effect: Callable[[], T],
        in_journal: Callable[[T], object] = lambda result: result,
        from_journal: Callable[[Any], T] = lambda plain: plain,
        *,
        looks_around: bool = False,
    ) -> T:
        """The journal's outcome, after the same came out again. Raises Divergence, NotReproduced, EndOfJournal."""
        recalled = self._next(name, arguments)
        if not looks_around and name != "submit_result":  # what checks said of it then is not asked again
            self._perform(name, recalled, lambda: in_journal(effect()))
        return from_journal(self._again(name, recalled))

    async def _ask(self, name: str, arguments: dict[str, Any], function: Callable[..., Any]) -> object:  # noqa: ARG002
        return self._again(name, self._next(name, arguments))

    def _submit(self, submission: Submission) -> None:
        """`_again` reads it from the journal."""

    def _next(self, name: str, arguments: Mapping[str, object]) -> Recalled:
        recalled = self._journal.recalled(name, arguments)
        if recalled is None:
            raise EndOfJournal
        return recalled

    def _perform(self, name: str, recalled: Recalled, effect: Callable[[], object]) -> None:
        if isinstance(recalled.error, Denied):
            return
        try:
            with self._overlay.transaction():
                now = pack(effect(), blob_digest)
        except FOR_PROGRAMS as error:
            now = crossing(error)[0]
        first = crossing(recalled.error)[0] if recalled.error else pack(recalled.result, blob_digest)
        if first != now:
            raise NotReproduced(f"Call {recalled.number}, {name}, came to something else.", first[:200], now[:200])


# ── variables ──


async def _variables(session: ExecutionSession, steps: tuple[Step, ...]) -> tuple[Variable, ...]:
    """What the programs left in the sandbox, sorted; functions, classes and modules left out."""
    names = _names(step.program for step in steps)
    shown = [await session.execute(_SHOW.format(name=name, chars=VALUE_CHARS)) for name in names]
    found = [Variable(name, each.run.output.rstrip("\n")) for name, each in zip(names, shown, strict=True)]
    return tuple(each for each in found if each.value and not each.value.startswith(_NO_VALUES))


def _names(programs: Any) -> list[str]:
    trees = [tree for program in programs if isinstance(program, Program) and (tree := parse(program.text))]
    return list(dict.fromkeys(name for tree in trees for name in bound_names(tree)))[:VARIABLES_SHOWN]


_NO_VALUES = ("<function", "<class", "<module")
_SHOW = "try:\n    print(repr({name})[:{chars}])\nexcept Exception:\n    pass\n"

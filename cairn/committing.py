"""An accept that ends in a git commit: refused before anything is written if git would refuse it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cairn.changes import Change, ChangeSet, EntryKind
from cairn.errors import CairnError
from cairn.git_commit import Commit, PreparedCommit, message_for, prepare_commit
from cairn.hunks import Selection
from cairn.merge_plan import Plan
from cairn.orchestrator import Orchestrator
from cairn.project import Applied, Decision
from cairn.project_files import ProjectFiles
from cairn.task import Task

NAMES_SHOWN = 4


def accept_and_commit(
    orchestrator: Orchestrator,
    task: Task,
    message: str | None,
    accept: Callable[[], tuple[Task, Applied]],
    selection: Selection | None = None,
) -> tuple[Task, Applied, Commit | None]:
    """Commits the files of the task that `accept` took, as they are then; None when git has them all so already.

    `selection` is what it takes, None for all.

    Raises what `accept` raises, and UsageProblem or Conflict before it. When the commit itself fails, the accept stays.
    """
    with orchestrator.project.locked():
        changes = orchestrator.acceptable.to_accept(task, selection)
        prepared = _prepared(orchestrator, task, message, changes)
        task, applied = accept()
        taken = {*applied.operation.paths, *applied.already}
        paths = _files(change for change in changes if taken.intersection(change.paths))
        try:
            return task, applied, prepared.make(paths)
        except CairnError as error:
            what = f"Task {task.id} is accepted, but {error.what}"
            raise CairnError(what, error.why, _ways_out(task, paths)) from None


@dataclass(frozen=True, slots=True)
class ForeseenCommit:
    """The commit that an accept would make; without paths it would make none."""

    subject: str
    paths: tuple[str, ...]


def foresee_commit(
    orchestrator: Orchestrator, task: Task, message: str | None, changes: ChangeSet, planned: Plan
) -> ForeseenCommit:
    """Raises what `accept_and_commit` would raise before it accepts; writes nothing. A hook can still refuse."""
    prepared = _prepared(orchestrator, task, message, changes)
    if planned.conflicts:
        return ForeseenCommit(prepared.subject, ())
    after = {edit.path: edit.after for edit in planned.edits}
    taken = {*after, *planned.decided(Decision.ALREADY)}
    paths = _files(change for change in changes if taken.intersection(change.paths))
    with ProjectFiles(orchestrator.project.root) as files:
        now = {path: found.content if (found := files.look(path)) else None for path in paths if path not in after}
    contents = {path: after[path] if path in after else now[path] for path in paths}
    return ForeseenCommit(prepared.subject, prepared.would_hold(contents))


def _prepared(orchestrator: Orchestrator, task: Task, message: str | None, changes: ChangeSet) -> PreparedCommit:
    review = orchestrator.reviews.of(task)
    summary = review.submission.summary if review.submission else ""
    text = message_for(task.id, task.request, summary, message)
    return prepare_commit(orchestrator.project.root, _files(changes), text)


def _files(changes: ChangeSet | Iterable[Change]) -> tuple[str, ...]:
    """Git keeps files and links, no folders."""
    sides = ((change, {side.kind for side in (change.before, change.after) if side}) for change in changes)
    return tuple(sorted({path for change, kinds in sides if kinds - {EntryKind.DIRECTORY} for path in change.paths}))


def _ways_out(task: Task, paths: tuple[str, ...]) -> tuple[str, ...]:
    undo = f"cairn undo {task.id}   takes the changes back out of your files."
    if len(paths) > NAMES_SHOWN:
        return (undo, f"git add PATH... && git commit   commits them; cairn diff {task.id} --name-only   names them.")
    # Only names that git would take for patterns are marked, for the line is for people to read.
    names = shlex.join(f":(literal){path}" if set(path) & set("*?[\\:") else path for path in paths)
    return (undo, f"git add -- {names} && git commit -- {names}   commits them by hand.")

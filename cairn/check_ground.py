"""What a check's command finds: the task's changes over the project, and in one short text whether it is so today.

The text leaves out what the task's own changes cover: their digest stands beside it in a result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cairn.changes import ChangeSet, Content
from cairn.check_record import check_results
from cairn.checks import Verdict
from cairn.errors import CairnError
from cairn.merge_plan import plan
from cairn.overlay import AgentFSOverlay
from cairn.project_files import ProjectFiles, Unusual, same
from cairn.project_state import ProjectState, project_state
from cairn.task import Task, TaskStatus
from cairn.task_file import TaskFile

_CONFLICT = b"a conflict"


@dataclass(frozen=True, slots=True)
class Met:
    """Paths where an accept would not leave what the task made: merged with the user's edits, or in conflict."""

    merged: Mapping[str, Content | None] = field(default_factory=dict)
    conflicts: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.merged or self.conflicts)


def met(root: Path, changes: ChangeSet) -> Met:
    """By the plan that an accept would carry out now; folders do not count."""
    with ProjectFiles(root) as files:
        planned = plan(changes, files)
        edits = {edit.path: edit.after for edit in planned.edits}
        judged = {each.path for each in planned.paths if not each.folder}
        conflicts = frozenset(path for path, _ in planned.conflicts)
        merged: dict[str, Content | None] = {}
        for change in changes:
            if change.path in judged - conflicts:
                content = edits[change.path] if change.path in edits else _now(files, change.path)
                if not same(content, change.after):
                    merged[change.path] = content
    return Met(merged, conflicts)


def _now(files: ProjectFiles, path: str) -> Content | None:
    try:
        found = files.look(path)
    except Unusual:
        return None
    return found.content if found else None


def as_accepted(state: ProjectState, changes: ChangeSet, found: Met) -> str:
    """What a command finds in the project as an accept would leave it now."""
    instead = {path: _told(content) for path, content in found.merged.items()}
    return state.fingerprint(changes.paths, {**instead, **dict.fromkeys(found.conflicts, _CONFLICT)})


def as_seen(state: ProjectState, changes: ChangeSet, shadowed: Mapping[str, bytes | None]) -> str:
    """What it finds in the project as the task saw it; `shadowed` is what the task sees otherwise than the disk."""
    covered = set(changes.paths)
    return state.fingerprint(covered, {path: data for path, data in shadowed.items() if path not in covered})


def today(root: Path, changes: ChangeSet) -> str:
    """`as_accepted` of the project as it is now."""
    return as_accepted(project_state(root), changes, met(root, changes))


def _told(content: Content | None) -> bytes:
    return b"nothing" if content is None else b"%o " % content.mode + content.data


def outdated_tasks(root: Path, tasks: Iterable[Task], path_of: Callable[[str], Path]) -> frozenset[str]:
    """The ids of those in review whose checks' results are from before later edits; nothing is run."""
    judged = [task for task in tasks if task.status is TaskStatus.IN_REVIEW and task.outcome.checks in _JUDGED]
    state = project_state(root) if judged else ProjectState({})
    found = set()
    for task in judged:
        with suppress(CairnError), TaskFile.open(path_of(task.id)) as file:
            changes = AgentFSOverlay(file, root).changes()
            ran = [each for each in check_results(file).values() if each.content == changes.digest and each.project]
            now = as_accepted(state, changes, met(root, changes))
            if any(each.project != now for each in ran):
                found.add(task.id)
    return frozenset(found)


_JUDGED = frozenset({str(Verdict.PASSED), str(Verdict.FAILED)})

"""What an accept would do, said before it does it: path by path, from the same plan that the accept would carry out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from cairn.changes import ChangeSet, Content, EntryKind
from cairn.dangerous_paths import Danger, dangers, require_allowed
from cairn.errors import CairnError
from cairn.merge_plan import Decision, PathPlan, Plan
from cairn.project import require_acceptable
from cairn.project_files import Edit
from cairn.text_merge import ClashKind, Region

if TYPE_CHECKING:
    from cairn.committing import ForeseenCommit
    from cairn.hunks import Selection
    from cairn.orchestrator import Orchestrator
    from cairn.task import Task


IN_A_FOLDERS_PLACE = "in place of the folder there"
A_FOLDER_STAYS = "the old name becomes a folder"
IS_THERE_ALREADY = "the same is there already"


class Doing(StrEnum):
    """What an accept does at a path, in the words shown to people."""

    CREATE = "create"
    OVERWRITE = "overwrite"
    MERGE = "merge"
    REPLACE = "replace"  # by another kind of entry
    DELETE = "delete"
    RENAME = "rename"
    MODE = "mode"
    ALREADY = "already so"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class ForeseenPath:
    """One path. `merged` says that the user's own edits are kept beside the task's.

    `changed` says that a renamed file's content changes too. `modes` are the permission bits before and after, where
    they differ. `folder` is True where a folder comes or goes.
    """

    path: str
    doing: Doing
    merged: bool = False
    changed: bool = False
    folder: bool = False
    renamed_from: str | None = None
    modes: tuple[int, int] | None = None
    reason: str = ""
    regions: tuple[Region, ...] = ()
    kind: ClashKind | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """Everything an accept would do. `refusal` is the error that it would end with, before writing anything.

    `paths` are those that it is about and the folders that come and go with them; `left` would stay in review.
    """

    paths: tuple[ForeseenPath, ...]
    plan: Plan
    dangers: tuple[Danger, ...]
    left: ChangeSet
    commit: ForeseenCommit | None = None
    refusal: CairnError | None = None

    @property
    def exit_code(self) -> int:
        """The accept's own."""
        return 0 if self.refusal is None else self.refusal.exit_code


def foresee(
    orchestrator: Orchestrator,
    task: Task,
    selection: Selection | None,
    *,
    allow: Sequence[str] = (),
    commit: bool = False,
    message: str | None = None,
    force: bool = False,
) -> Forecast:
    """Writes nothing. Raises only what keeps everything from being foreseen, such as a task that is not in review."""
    undecided = orchestrator.acceptable.undecided(task, selection)
    changes = orchestrator.acceptable.to_accept(task, selection)
    planned = orchestrator.project.preview(changes)
    standing = orchestrator.settings.accept.allow
    made: ForeseenCommit | None = None
    refusal: CairnError | None = None
    try:
        if commit:
            from cairn.committing import foresee_commit

            made = foresee_commit(orchestrator, task, message, changes, planned)
        require_allowed(task.id, changes, standing, allow)
        if not force:
            orchestrator.checks.require_passed(task)
        require_acceptable(task.id, planned)
    except CairnError as error:
        refusal = error
    found = dangers(changes, (*standing, *allow))
    return Forecast(foreseen_paths(planned), planned, found, undecided.left_afterwards(), made, refusal)


def foreseen_paths(planned: Plan) -> tuple[ForeseenPath, ...]:
    """The plan's decisions and edits, one word for each path; sorted."""
    found = {path.path: path for path in _all(planned)}
    return tuple(path for _, path in sorted(found.items()))


def _all(planned: Plan) -> Iterator[ForeseenPath]:
    edits = {edit.path: edit for edit in planned.edits}
    spoken = {path for each in planned.paths for path in (each.path, each.renamed_from)}
    if not planned.conflicts:
        yield from (_of_edit(edit) for edit in planned.edits if edit.path not in spoken)
    for each in planned.paths:
        yield _of_plan(each, edits)


def _of_plan(path: PathPlan, edits: dict[str, Edit]) -> ForeseenPath:
    if path.decision in {Decision.CONFLICT, Decision.ALREADY}:
        doing = Doing(path.decision.value) if path.decision is Decision.CONFLICT else Doing.ALREADY
        return ForeseenPath(
            path.path,
            doing,
            folder=path.folder,
            renamed_from=path.renamed_from,
            reason=path.reason,
            regions=path.regions,
            kind=path.kind,
        )
    merged = path.decision is Decision.MERGE
    if path.renamed_from is not None:
        return _of_rename(path, edits, path.renamed_from)
    edit = edits.get(path.path)
    if edit is None:  # merged to what stands there already
        return ForeseenPath(path.path, Doing.ALREADY, merged=merged, folder=path.folder)
    return _of_edit(edit, merged=merged)


def _of_rename(path: PathPlan, edits: dict[str, Edit], source: str) -> ForeseenPath:
    leaving, coming = edits[source], edits.get(path.path)
    before, after = leaving.before, coming.after if coming is not None else leaving.before
    changed = before is not None and after is not None and before.data != after.data
    reasons = [IS_THERE_ALREADY] if coming is None else [IN_A_FOLDERS_PLACE] if coming.before is not None else []
    reasons += [A_FOLDER_STAYS] if leaving.after is not None else []
    return ForeseenPath(
        path.path,
        Doing.RENAME,
        merged=path.decision is Decision.MERGE,
        changed=changed,
        renamed_from=source,
        modes=_modes(before, after),
        reason=", ".join(reasons),
    )


def _of_edit(edit: Edit, *, merged: bool = False) -> ForeseenPath:
    before, after = edit.before, edit.after
    folder = any(side is not None and side.kind is EntryKind.DIRECTORY for side in (before, after))
    modes = _modes(before, after)
    return ForeseenPath(edit.path, _doing(edit, merged=merged), merged=merged, folder=folder, modes=modes)


def _doing(edit: Edit, *, merged: bool) -> Doing:
    if edit.before is None:
        return Doing.CREATE
    if edit.after is None:
        return Doing.DELETE
    if edit.before.kind is not edit.after.kind:
        return Doing.REPLACE
    if edit.only_mode:
        return Doing.MODE
    return Doing.MERGE if merged else Doing.OVERWRITE


def _modes(before: Content | None, after: Content | None) -> tuple[int, int] | None:
    if before is None or after is None or before.kind is not after.kind or before.mode == after.mode:
        return None
    return before.mode, after.mode

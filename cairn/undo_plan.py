"""What an undo is about: which operation it takes back, and the changes that lead from today's files back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from cairn.changes import Change, EntryKind
from cairn.errors import Conflict, IllegalMove, NotFound
from cairn.merge_plan import Plan
from cairn.operation_log import Operation
from cairn.project_files import Edit, ProjectFiles, Unusual


def where_they_are_now(
    edits: Sequence[Edit], moves: Sequence[Mapping[str, str]], files: ProjectFiles
) -> tuple[Edit, ...]:
    """The edits with the names that later operations gave to files which are not under their own any more."""
    return tuple(
        replace(edit, path=path)
        if (path := _name_now(edit, moves)) != edit.path and _is_gone(edit.path, files)
        else edit
        for edit in edits
    )


def _name_now(edit: Edit, moves: Sequence[Mapping[str, str]]) -> str:
    path = edit.path
    # What the operation renamed itself has to be where that left it, or its old name and the new ones make a knot.
    if edit.moved_from is None and edit.after is not None and edit.after.kind is not EntryKind.DIRECTORY:
        for each in moves:
            path = each.get(path, path)
    return path


def _is_gone(path: str, files: ProjectFiles) -> bool:
    try:
        return files.look(path) is None
    except Unusual:
        return False


def inverse(edits: Sequence[Edit]) -> Iterator[Change]:
    """The changes that lead back; what was moved is moved back, so that later edits move with it."""
    by_path = {edit.path: edit for edit in edits}
    moved = {edit.path: edit.moved_from for edit in edits if edit.moved_from and edit.before is None}
    moved = {new: old for new, old in moved.items() if old in by_path and by_path[old].after is None}
    for edit in edits:
        if edit.path in moved:
            old = by_path[moved[edit.path]]
            yield Change(old.path, edit.after, old.before, renamed_from=edit.path)
        elif edit.path not in moved.values():
            yield Change(edit.path, edit.after, edit.before)


def undoable(every: Sequence[Operation], which: int | str | None) -> Operation:
    """The operation of that number, or the last accept of a task or of all. Raises NotFound, IllegalMove."""
    if isinstance(which, int):
        target = next((each for each in every if each.id == which), None)
        if target is None:
            raise NotFound(f"There is no operation {which}.", fix="cairn op log   shows which there are.")
        if not target.in_effect:
            raise IllegalMove(
                f"Operation {which} is taken back already.", fix="cairn op log   shows which are in effect."
            )
        return target
    target = last_applied(every, which)
    if target is None:
        what = "There is no accept to take back." if which is None else f"Task {which} has no accept to take back."
        raise NotFound(what, fix="cairn list   shows which tasks are accepted.")
    return target


def require_here(foreign: Operation, planned: Plan) -> None:
    """Raises Conflict where nothing is to be taken back: then the change never came to this folder."""
    if foreign.paths and not planned.edits:
        raise Conflict(
            f"This folder does not have what operation {foreign.id}, an {foreign.kind} of task {foreign.task_id}, did.",
            f"It was done in {foreign.where}. Nothing was written here.",
            (
                "git pull   brings it, once it is committed and pushed there.",
                f"cairn undo --op {foreign.id}   then works.",
            ),
            paths=foreign.paths,
        )


def last_applied(every: Sequence[Operation], task_id: str | None) -> Operation | None:
    """The latest accept in effect, of one task or of all."""
    accepts = [each for each in every if each.undoes is None and each.in_effect and task_id in {None, each.task_id}]
    return max(accepts, key=lambda each: each.id, default=None)

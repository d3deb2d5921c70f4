"""What applying a change set would do to the project as it is now: decided for each path before anything is written.

Three versions meet at a path: what the task saw (base), what stands there now (project), what the task made (task).
Where only one side changed, that side wins; where both did, texts are merged and everything else is a conflict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol, TypeVar

from cairn.changes import Change, Content, EntryKind
from cairn.errors import Conflict
from cairn.project_files import Edit, Found, Owner, Unusual, folders_above, new_folder, same
from cairn.project_path import project_path
from cairn.text_merge import Clash, ClashKind, Region, merge

_NAMES_SHOWN = 3
T = TypeVar("T", int, bytes)


class Decision(StrEnum):
    """What applying does at one path."""

    TAKE = "take"
    ALREADY = "already"
    MERGE = "merge"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class PathPlan:
    """One changed path's decision. `reason` says why a conflict is one, `kind` its sort; `regions` are its lines.

    `folder` is True where only a folder comes, goes or gets another mode.
    """

    path: str
    decision: Decision
    reason: str = ""
    regions: tuple[Region, ...] = ()
    renamed_from: str | None = None
    folder: bool = False
    kind: ClashKind | None = None


class PathsInConflict(Conflict):
    """What cannot be merged; nothing was written. `plans` says of each path what is the matter, and in which lines."""

    def __init__(self, what: str, fix: tuple[str, ...], plans: tuple[PathPlan, ...]) -> None:
        why = "\n".join(f"{each.path}: {each.reason}." for each in plans)
        super().__init__(what, why, fix, paths=tuple(each.path for each in plans))
        self.plans = plans


@dataclass(frozen=True, slots=True)
class Plan:
    """Every decision, sorted by path, and the edits that carry them out; with a conflict the edits mean nothing."""

    paths: tuple[PathPlan, ...] = ()
    edits: tuple[Edit, ...] = ()

    @property
    def conflicts(self) -> tuple[tuple[str, str], ...]:
        """Each path that keeps everything from being applied, and why."""
        return tuple((path.path, path.reason) for path in self.paths if path.decision is Decision.CONFLICT)

    def without_folders(self) -> Plan:
        """The same for files and symlinks alone."""
        return Plan(tuple(path for path in self.paths if not path.folder), self.edits)

    def decided(self, *decisions: Decision) -> tuple[str, ...]:
        """The paths with one of these decisions."""
        return tuple(path.path for path in self.paths if path.decision in decisions)


class Files(Protocol):
    """The project as it is now."""

    def look(self, path: str) -> Found | None:
        """Raises Unusual for what can be neither kept nor replaced."""
        ...

    def names(self, path: str) -> frozenset[str]:
        """Everything in a folder; empty where there is none."""
        ...

    def taken_for(self, path: str) -> str | None:
        """The path that the disk takes for this one, spelled in another case; None where it tells case apart."""
        ...

    def only_mode(self) -> int | None:
        """The mode that each file has on a disk that keeps none, as on FAT; None where modes are kept."""
        ...


def plan(
    changes: Iterable[Change], files: Files, *, tidy: bool = True, owners: Mapping[str, Owner] | None = None
) -> Plan:
    """Writes nothing. With `tidy`, folders that the changes empty go too; `owners` says whose a restored file was."""
    every = _as_kept(untangled(changes), files.only_mode())
    planner = _Planner(every, files, owners or {})
    for change in every:
        planner.decide(change)
    return planner.plan(tidy=tidy)


def _as_kept(changes: list[Change], only_mode: int | None) -> list[Change]:
    """The changes as the disk can keep them: without modes of their own where it has one for all files."""
    if only_mode is None:
        return changes
    return [
        replace(change, before=_with_mode(change.before, only_mode), after=_with_mode(change.after, only_mode))
        for change in changes
    ]


def _with_mode(content: Content | None, mode: int) -> Content | None:
    return replace(content, mode=mode) if content is not None and content.kind is EntryKind.FILE else content


def untangled(changes: Iterable[Change]) -> list[Change]:
    """Renames whose old or new name another change uses too become changes of the single paths."""
    every = list(changes)
    uses = Counter(path for change in every for path in change.paths)
    tangled = [change for change in every if any(uses[path] > 1 for path in change.paths)]
    sides: dict[str, tuple[Content | None, Content | None]] = {}
    for change in tangled:
        source = change.renamed_from or change.path
        before, after = sides.get(source, (None, None))
        sides[source] = (change.before if change.before is not None else before, after)
        before, after = sides.get(change.path, (None, None))
        sides[change.path] = (before, change.after if change.after is not None else after)
    apart = [change for change in every if all(uses[path] == 1 for path in change.paths)]
    return [*apart, *(Change(path, before, after) for path, (before, after) in sides.items())]


# -- one path ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Settled:
    """What shall stand at a path, and which decision led there."""

    decision: Decision
    content: Content | None


def settle(base: Content | None, project: Content | None, task: Content | None) -> Settled | Clash:
    """The three-way rule for one path; folders come and go by their kind alone."""
    if same(project, task) or same(base, task):
        return Settled(Decision.ALREADY, project)
    if same(base, project) or (_is_folder(base) and _is_folder(project) and task is None):
        return Settled(Decision.TAKE, task)
    if project is None and _is_folder(task) and not _is_folder(base):
        return Settled(Decision.TAKE, task)
    if (_is_folder(base) and task is None) or (_is_folder(project) and _is_folder(task) and not _is_folder(base)):
        return Settled(Decision.ALREADY, project)
    return _both_changed(base, project, task)


def _both_changed(base: Content | None, project: Content | None, task: Content | None) -> Settled | Clash:
    if base is None and project is not None and task is not None:
        return _both_added(project, task)
    if project is None:
        return Clash("deleted or moved away in the project, changed by the task", kind=ClashKind.DELETED)
    if task is None:
        return Clash("changed in the project, deleted or moved away by the task", kind=ClashKind.CHANGED)
    if base is None or not base.kind is project.kind is task.kind:
        reason = f"a {_word(project)} in the project now, which the task made a {_word(task)}"
        return Clash(reason, kind=ClashKind.TYPE)
    if base.kind is EntryKind.SYMLINK:
        return Clash("both sides changed where the symlink leads", kind=ClashKind.SYMLINK)
    return _merged(base, project, task)


def _both_added(project: Content, task: Content) -> Settled | Clash:
    if project.kind is not task.kind:
        reason = f"the task made a {_word(task)} where the project has a {_word(project)} now"
        return Clash(reason, kind=ClashKind.TYPE)
    if project.data == task.data and project.executable == task.executable:
        return Settled(Decision.ALREADY, project)
    return Clash("made on both sides, differently", kind=ClashKind.ADDED)


def _merged(base: Content, project: Content, task: Content) -> Settled | Clash:
    """Content and permission bits merge apart from each other."""
    mode = _one_sided(base.mode, project.mode, task.mode)
    if mode is None:
        return Clash("both sides changed the permissions, differently", kind=ClashKind.MODE)
    data = _one_sided(base.data, project.data, task.data)
    if data is None:
        merged = merge(base.data, project.data, task.data)
        if isinstance(merged, Clash):
            return merged
        data = merged.data
    content = Content(project.kind, mode, data)
    return Settled(Decision.ALREADY if same(content, project) else Decision.MERGE, content)


def _one_sided(base: T, project: T, task: T) -> T | None:
    """The one value that differs from the base, if there is no other."""
    if project in {base, task}:
        return task
    return project if task == base else None


def _is_folder(content: Content | None) -> bool:
    return content is not None and content.kind is EntryKind.DIRECTORY


def _is_plain(content: Content | None) -> bool:
    return content is not None and content.kind is not EntryKind.DIRECTORY


def _word(content: Content) -> str:
    return "folder" if content.kind is EntryKind.DIRECTORY else content.kind.value


# -- all paths ---------------------------------------------------------------------------------------------------------


class _Planner:
    """Collects decisions and edits; folders are judged last, when it is known what goes and what comes."""

    def __init__(self, changes: Iterable[Change], files: Files, owners: Mapping[str, Owner]) -> None:
        self._files = files
        self._owners = owners
        self._paths: dict[str, PathPlan] = {}
        self._edits: dict[str, Edit] = {}
        # Folders below which the task saw something, and folders that shall stand even when they are empty.
        self._seen = {
            above for each in changes if each.before for above in folders_above(each.renamed_from or each.path)
        }
        self._wanted = {each.path for each in changes if _is_folder(each.after)}
        self._above_new = {above for each in changes if each.after for above in folders_above(each.path)}

    def decide(self, change: Change) -> None:
        """One change's decision, as far as it does not depend on others."""
        try:
            if any(project_path(path) != path or path == "." for path in change.paths):
                raise Unusual(change.path, "is no path inside the project")  # noqa: TRY301 - told like what disk says
            if change.renamed_from is None:
                self._decide_in_place(change)
            else:
                self._decide_rename(change, change.renamed_from)
        except (PermissionError, ValueError):
            self._conflict(change, Clash("is no path that a task may change", kind=ClashKind.UNUSABLE))
        except Unusual as unusual:
            self._conflict(change, Clash(unusual.reason, kind=ClashKind.UNUSABLE))

    def plan(self, *, tidy: bool) -> Plan:
        """Everything decided; the folders' part is decided now."""
        self._make_room_for_new_files()
        self._remove_folders(tidy=tidy)
        self._require_names_of_their_own()
        edits = tuple(edit for _, edit in sorted(self._edits.items()) if not same(edit.before, edit.after))
        return Plan(tuple(path for _, path in sorted(self._paths.items())), edits)

    def _decide_in_place(self, change: Change) -> None:
        found = self._files.look(change.path)
        now = found.content if found else None
        after = new_folder() if change.after is None and change.path in self._above_new else change.after
        if change.before is None and after is not None and self._may_be_emptied(change.path, now):
            settled: Settled | Clash = Settled(Decision.TAKE, after)
        else:
            settled = settle(change.before, now, after)
        if isinstance(settled, Clash):
            self._conflict(change, settled)
            return
        folder = not _is_plain(change.before) and not _is_plain(change.after)
        self._paths[change.path] = PathPlan(change.path, settled.decision, folder=folder)
        if not same(now, settled.content):
            owner = found.owner if found else self._owners.get(change.path)
            self._edits[change.path] = Edit(change.path, now, settled.content, owner)

    def _may_be_emptied(self, path: str, now: Content | None) -> bool:
        """True for a folder that the task knew: its files may all go. `_remove_folder` has the last word."""
        return _is_folder(now) and path in self._seen and path not in self._wanted

    def _decide_rename(self, change: Change, source: str) -> None:
        old, new = self._files.look(source), self._files.look(change.path)
        occupant = new.content if new else None
        if old is None and same(occupant, change.after):
            self._paths[change.path] = PathPlan(change.path, Decision.ALREADY, renamed_from=source)
            return
        if old is None:
            gone = "deleted or moved away in the project, renamed by the task"
            self._conflict(change, Clash(gone, kind=ClashKind.DELETED))
            return
        # A pure rename wants whatever the project has now under the new name.
        settled = settle(change.before, old.content, change.after)
        if isinstance(settled, Clash):
            self._conflict(change, settled)
            return
        free = occupant is None or self._may_be_emptied(change.path, occupant)
        if not free and not same(occupant, settled.content):
            self._conflict(change, Clash("the new name is taken in the project", kind=ClashKind.NAME_TAKEN))
            return
        decision = Decision.TAKE if same(change.before, old.content) else Decision.MERGE
        self._paths[change.path] = PathPlan(change.path, decision, renamed_from=source)
        self._edits[source] = Edit(source, old.content, None, old.owner)
        if free:
            self._edits[change.path] = Edit(change.path, occupant, settled.content, old.owner, moved_from=source)

    def _conflict(self, change: Change, clash: Clash) -> None:
        self._paths[change.path] = PathPlan(
            change.path,
            Decision.CONFLICT,
            clash.reason,
            clash.regions,
            renamed_from=change.renamed_from,
            kind=clash.kind,
        )

    # -- folders -------------------------------------------------------------------------------------------------------

    def _make_room_for_new_files(self) -> None:
        """Folders that are missing come; a file that goes, and has new files below it, becomes a folder."""
        obstacles: dict[str, str | None] = {}
        for path in [path for path, edit in self._edits.items() if edit.after is not None]:
            for above in folders_above(path):
                if above not in obstacles:
                    obstacles[above] = self._make_folder(above)
                obstacle = obstacles[above]
                if obstacle is not None:
                    self._clash(path, f"'{above}' is a {obstacle} in the project now, not a folder")
                    break

    def _make_folder(self, path: str) -> str | None:
        """None when there is or will be a folder; else the word for what stands in the way."""
        edit = self._edits.get(path)
        if edit is not None and edit.after is None:
            after = edit.before if _is_folder(edit.before) else new_folder()
            self._edits[path] = replace(edit, after=after)
            return None
        try:
            found = self._files.look(path)
        except Unusual:
            return "special file"
        now = edit.after if edit is not None else found.content if found else None
        if now is None:
            self._edits[path] = Edit(path, None, new_folder())
            return None
        return None if _is_folder(now) else _word(now)

    def _remove_folders(self, *, tidy: bool) -> None:
        """Deepest first. A folder that holds anything else stays, or is a conflict where a file shall stand."""
        going = {path for path, edit in self._edits.items() if _is_folder(edit.before) and not _is_folder(edit.after)}
        if tidy:
            gone = [path for path, edit in self._edits.items() if edit.after is None]
            coming = {
                above for path, edit in self._edits.items() if edit.after is not None for above in folders_above(path)
            }
            going |= {above for path in gone for above in folders_above(path)} - coming - self._wanted
        for path in sorted(going, key=lambda each: (-each.count("/"), each)):
            self._remove_folder(path)

    def _require_names_of_their_own(self) -> None:
        """On a disk that ignores case a new name must not be another spelling of one that stays."""
        for path in [path for path, edit in self._edits.items() if edit.before is None and edit.after is not None]:
            other = self._files.taken_for(path)
            if other is not None and not self._goes(other):
                taken = f"this disk takes it for '{other}', which differs only in the case of letters and stays"
                self._clash(path, taken, ClashKind.NAME_TAKEN)

    def _remove_folder(self, path: str) -> None:
        edit = self._edits.get(path)
        if edit is not None and edit.after is not None and not _is_folder(edit.before):
            return
        staying = self._staying(path)
        if edit is None:
            with suppress(Unusual):  # one that cannot be looked at stays, as one that is not empty does
                found = self._files.look(path) if not staying else None
                if found is not None and _is_folder(found.content):
                    self._edits[path] = Edit(path, found.content, None, found.owner)
        elif staying and edit.after is None:
            del self._edits[path]
            reason = "the folder holds other files and stays"
            self._paths[path] = PathPlan(path, Decision.ALREADY, reason, folder=True)
        elif staying:
            names = ", ".join(staying[:_NAMES_SHOWN]) + (", ..." if len(staying) > _NAMES_SHOWN else "")
            self._clash(path, f"a folder in the project now, with files that the task did not see: {names}")

    def _staying(self, path: str) -> list[str]:
        try:
            return sorted(name for name in self._files.names(path) if not self._goes(f"{path}/{name}"))
        except Unusual as unusual:
            return [unusual.reason]

    def _goes(self, path: str) -> bool:
        edit = self._edits.get(path)
        return edit is not None and edit.after is None

    def _clash(self, path: str, reason: str, kind: ClashKind = ClashKind.TYPE) -> None:
        known = self._paths.get(path, PathPlan(path, Decision.CONFLICT))
        self._paths[path] = replace(known, decision=Decision.CONFLICT, reason=reason, kind=kind)

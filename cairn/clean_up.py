"""What `cairn gc` deletes: ended tasks and operations past their time, and what killed commands left.

It never touches a task that waits, runs or is in review, an operation that is to stay undoable, or what was set aside
as damaged. What was kept for a person to look at goes when it is as old as tasks that go. Killed at any point, it
leaves nothing that the next one does not finish.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cairn.base_remote import prune_remote
from cairn.disk_use import Part, StoredFile, remove, remove_empty_folders, state_files, temporary_files
from cairn.errors import StorageProblem
from cairn.git_snapshot import prune
from cairn.kept_bases import KeptBases
from cairn.operation_log import Operation, OperationLog, expired
from cairn.orchestrator import Orchestrator
from cairn.project import Project
from cairn.project_files import ProjectFiles, naming
from cairn.project_place import OPERATIONS
from cairn.sqlite_file import COMPANIONS
from cairn.task import OPEN, Task
from cairn.task_base import Base
from cairn.task_store import LeftOver
from cairn.workspace import left_over, remove_left_over, size_of

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class CleanedUp:
    """What was deleted, or would be; `kept` stays: it is too young, or only a person deletes it.

    `copies` are versions of the user's files that an accept, an undo or a recovery had kept. `workspaces` are the
    folders of killed checks, in the user's cache; they may be of another project.
    """

    tasks: tuple[Task, ...]
    operations: tuple[Operation, ...]
    left_over: tuple[StoredFile, ...]
    freed: int
    kept: tuple[StoredFile, ...]
    workspaces: tuple[Path, ...] = ()
    copies: tuple[StoredFile, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tasks or self.operations or self.left_over or self.workspaces or self.copies)


@dataclass(frozen=True, slots=True)
class _Past:
    """Operations that go, and the bytes they take; those that stay."""

    operations: tuple[Operation, ...]
    freed: int
    staying: tuple[Operation, ...]


def clean_up(orchestrator: Orchestrator, *, dry_run: bool = False, now: float | None = None) -> CleanedUp:
    """Deletes what is older than the settings under `keep` say, and reports it; with `dry_run` only reports.

    What lies here is as old as this machine's clock says, a task as the ledger's; an operation as the younger of both.
    """
    theirs = orchestrator.queue.clock() if now is None else now
    now = time.time() if now is None else now
    keep = orchestrator.settings.keep
    before, theirs = now - keep.days * DAY, theirs - keep.days * DAY
    project = orchestrator.project
    workspaces = left_over(os.environ)
    of_workspaces = sum(map(size_of, workspaces))
    if not dry_run:
        workspaces = remove_left_over(os.environ)
    with project.locked():
        stored = state_files(project.state, now=now)
        files_left = _files_left(project, stored, dry_run=dry_run)
        files_left += _left_in_store(orchestrator, now, dry_run=dry_run)
        old = [each for each in stored if each.part is Part.KEPT and each.changed_at < before]
        copies = _copies(project, old, dry_run=dry_run)
        past = _operations(orchestrator, before=min(before, theirs), newest=keep.operations, dry_run=dry_run)
        going = _tasks(orchestrator, theirs, past.staying, dry_run=True)
        tasks, freed = going if dry_run else _deleted(orchestrator, theirs, past.staying, going[0])
        return CleanedUp(
            tasks=tasks,
            operations=past.operations,
            left_over=files_left,
            freed=freed + past.freed + sum(each.size for each in (*files_left, *copies)) + of_workspaces,
            kept=tuple(each for each in stored if each.part in {Part.SET_ASIDE, Part.KEPT} and each not in old),
            workspaces=workspaces,
            copies=copies,
        )


def _files_left(project: Project, stored: Iterable[StoredFile], *, dry_run: bool) -> tuple[StoredFile, ...]:
    left = [each for each in stored if each.part is Part.LEFT_OVER]
    with ProjectFiles(project.root) as files, ProjectFiles(project.state.parent) as around_state:
        beside = temporary_files(files, project.operations())
        return _removed(around_state, left, dry_run=dry_run) + _removed(files, beside, dry_run=dry_run)


def _copies(project: Project, old: Iterable[StoredFile], *, dry_run: bool) -> tuple[StoredFile, ...]:
    with ProjectFiles(project.state.parent) as files:
        removed = _removed(files, old, dry_run=dry_run)
    if not dry_run:
        remove_empty_folders(project.state / "kept")
    return removed


def _removed(files: ProjectFiles, found: Iterable[StoredFile], *, dry_run: bool) -> tuple[StoredFile, ...]:
    """Those that were there to be deleted, or that are to be."""
    if dry_run:
        return tuple(found)
    removed = []
    for each in found:
        with naming(each.path):
            removed += [each] if remove(files, each.path) else []
    return tuple(removed)


def _left_in_store(orchestrator: Orchestrator, now: float, *, dry_run: bool) -> tuple[StoredFile, ...]:
    found = orchestrator.store.left_over(now)
    for each in () if dry_run else found:
        each.remove()
    return tuple(StoredFile(each.name, Part.LEFT_OVER, each.size) for each in found)


def _operations(orchestrator: Orchestrator, *, before: float, newest: int, dry_run: bool) -> _Past:
    path = orchestrator.project.state / OPERATIONS
    open_tasks = {task.id for task in orchestrator.queue.tasks(OPEN)}
    shared = orchestrator.operations.shared
    theirs = () if shared is None else shared.every()
    old = expired(theirs, before=before, newest=newest, open_tasks=open_tasks)
    if shared is not None and old and not dry_run:
        shared.drop(old)
    others = tuple(each for each in theirs if each not in old)
    if not path.exists():
        return _Past(old, 0, others)
    with OperationLog.opened(path) as log:
        every = log.every()
        going = expired(every, before=before, newest=newest, open_tasks=open_tasks)
        freed = sum(log.stored_bytes(each.id) for each in going)
        if going and not dry_run:
            size = _size(path)
            log.drop([each.id for each in going])
            log.compact()
            freed = max(0, size - _size(path))
    staying = tuple(each for each in every if each not in going)
    return _Past(going, freed, staying) if shared is None else _Past(old, freed, (*others, *staying))


def _deleted(
    orchestrator: Orchestrator, before: float, staying: tuple[Operation, ...], going: Iterable[Task]
) -> tuple[tuple[Task, ...], int]:
    """The tasks, and then the commits that only they worked on: no task that moves meanwhile loses its own."""
    bases, engine = orchestrator.queue.bases(), orchestrator.settings.engine
    if engine.url is None:
        found = _tasks(orchestrator, before, staying, dry_run=False)
        if bases:
            prune(orchestrator.project.root, [Base.parse(base) for base in orchestrator.queue.bases().values()])
        return found
    kept, remote, root = KeptBases(orchestrator.queue.database), engine.remote or "origin", orchestrator.project.root
    kept.remember()
    now = before + orchestrator.settings.keep.days * DAY
    if kept.unneeded(now) or any(task.base for task in going):
        prune_remote(root, remote, ())  # one that is not reached keeps its tasks for the next time
    found = _tasks(orchestrator, before, staying, dry_run=False)
    unneeded = kept.take(now)
    if unneeded:
        prune_remote(root, remote, unneeded)
        kept.gone(unneeded)
    if bases or unneeded:
        prune(root, kept.every())
    return found


def _tasks(
    orchestrator: Orchestrator, before: float, staying: tuple[Operation, ...], *, dry_run: bool
) -> tuple[tuple[Task, ...], int]:
    needed = {each.task_id for each in staying}
    gone, freed = [], 0
    for task in orchestrator.queue.ended(before):
        size = orchestrator.store.stored_bytes(task.id)
        if task.id in needed or not (dry_run or _forget(orchestrator, task)):
            continue
        gone.append(task)
        freed += size
    return tuple(gone), freed


def _forget(orchestrator: Orchestrator, task: Task) -> bool:
    """The file goes before the ledger's row is gone for certain: a file without a row could never be told from work."""
    apart: list[LeftOver | None] = []
    gone = orchestrator.queue.forget(task, lambda: apart.append(orchestrator.store.remove(task.id)))
    if gone and (last := apart[-1]) is not None:
        with suppress(StorageProblem):  # the next gc finds it
            last.remove()
    return gone


def _size(path: Path) -> int:
    total = 0
    for each in (path, *(path.with_name(path.name + end) for end in COMPANIONS)):
        with suppress(OSError):
            total += each.stat().st_size
    return total

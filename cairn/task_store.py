"""Where the tasks' files are: in the project's own folder here, or with a server that many machines share.

A task's file is read by whoever looks at the task, and written by one at a time: a run of it, or a command about it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cairn.errors import CairnError, DamagedFile, StorageProblem
from cairn.journal import attempt_of
from cairn.sqlite_file import COMPANIONS, translate_errors
from cairn.task import Task
from cairn.task_file import TaskFile, remove_task_file
from cairn.task_record import keep_task, kept_task


@dataclass(frozen=True, slots=True)
class LeftOver:
    """Something that no task needs any more, and how it is deleted."""

    name: str
    size: int
    delete: Callable[[str], None]
    key: str

    def remove(self) -> None:
        """Nothing happens if it is gone."""
        self.delete(self.key)


class TaskStore(Protocol):
    """What every place of tasks' files does; `task_store_contract.py` is what each must pass."""

    def exists(self, task_id: str) -> bool:
        """True when the task has a file: one that never ran may have none."""
        ...

    def path(self, task_id: str) -> Path:
        """A local file with the task's newest content, only to be read; there is no such file for a task without."""
        ...

    def reading(self, task_id: str) -> AbstractContextManager[TaskFile]:
        """The file of `path`, open. Raises NotFound, DamagedFile, StorageProblem."""
        ...

    def writing(self, task: Task, *, base: Path | None = None) -> AbstractContextManager[TaskFile]:
        """The task's file, open to be changed by whoever the ledger let do that: `task` is what it answered.

        Made if there is none and a `base` is given. Everybody sees the changes at the latest when it is closed. Raises
        TakenOver, and nothing is changed, once the ledger has another status or attempt of the task.
        """
        ...

    def together(self, task_id: str) -> AbstractContextManager[None]:
        """What opens the task's file inside, once after the other, may get the same open file each time."""
        ...

    def creating(self, task: Task, *, base: Path) -> AbstractContextManager[TaskFile]:
        """A new file for a task that the ledger does not have yet. Raises StorageProblem if there is one."""
        ...

    def adopt(self, task: Task, draft: Path) -> None:
        """The content of a closed file is a new task's from now on. FileExistsError if it has a file; `draft` stays."""
        ...

    def note(self, task: Task) -> None:
        """The ledger moved the task, or will; its file remembers that, as far as it has to, and is on the disk then.

        Nothing is written where a later attempt has the file. Raises nothing.
        """
        ...

    def remembered(self, task_id: str) -> Task | None:
        """The task that its file remembers; None where that is damaged, missing, or does not have to."""
        ...

    def every(self) -> tuple[str, ...]:
        """The ids of all tasks whose files remember them, so that a lost ledger can be built anew."""
        ...

    def remove(self, task_id: str) -> LeftOver | None:
        """Deletes the task's file; nothing happens if there is none.

        Inside a transaction of the ledger it may be a part of that; what is given back is to be deleted afterwards.
        """
        ...

    def stored_bytes(self, task_id: str) -> int:
        """What it takes on the disk here, or with the server."""
        ...

    def left_over(self, now: float) -> tuple[LeftOver, ...]:
        """What killed commands left, and what nobody used for long, beside the files of `state_files`."""
        ...


class _SharedFile:
    """One open file for those who use it by turns. Who comes while it is used opens another one."""

    def __init__(self) -> None:
        self._file: TaskFile | None = None
        self._turn = threading.Lock()
        self._over = False

    @contextmanager
    def used(self, opened: Callable[[], TaskFile]) -> Iterator[TaskFile]:
        """The file; `opened` now if it is not open yet."""
        if not self._turn.acquire(blocking=False):
            with opened() as another:
                yield another
            return
        try:
            if self._file is not None and self._file.read_only:
                self._close()
            file = self._file = self._file or opened()
            yield file
        finally:
            if self._over or (self._file is not None and self._file.is_in_transaction):
                self._close()
            self._turn.release()

    def end(self) -> None:
        """Closed now, or by whoever uses it yet."""
        self._over = True
        if self._turn.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._turn.release()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


class LocalTasks:
    """One file per task in a folder of this machine, `ID.db`, which every process opens as it is."""

    def __init__(self, folder: Path, *, prepare: Callable[[], None] = lambda: None) -> None:
        """`prepare` makes the folder, before the first file is made in it."""
        self._folder = folder
        self._prepare = prepare
        self._together: dict[str, _SharedFile] = {}

    def exists(self, task_id: str) -> bool:
        """A look at the folder."""
        return self.path(task_id).exists()

    def path(self, task_id: str) -> Path:
        """The file itself."""
        return self._folder / f"{task_id}.db"

    def reading(self, task_id: str) -> AbstractContextManager[TaskFile]:
        """It shows what a run writes meanwhile; where nothing can be written, what was there when it was opened."""
        return self._opened(task_id, lambda: self._read(task_id))

    def _read(self, task_id: str) -> TaskFile:
        path = self.path(task_id)
        try:
            return TaskFile.open(path)
        except DamagedFile:
            raise
        except StorageProblem:
            return TaskFile.open(path, read_only=True)

    def writing(self, task: Task, *, base: Path | None = None) -> AbstractContextManager[TaskFile]:
        """The journal in the file itself tells who may still write it (`Journal.hold`)."""

        def made_or_opened() -> TaskFile:
            path = self.path(task.id)
            if base is not None and not path.exists():
                return TaskFile.create(path, base=base)
            return TaskFile.open(path)

        return self._opened(task.id, made_or_opened)

    def _opened(self, task_id: str, opened: Callable[[], TaskFile]) -> AbstractContextManager[TaskFile]:
        shared = self._together.get(task_id)
        return opened() if shared is None else shared.used(opened)

    @contextmanager
    def together(self, task_id: str) -> Iterator[None]:
        """Opening and closing a file takes longer than most of what is done with it."""
        if task_id in self._together:
            yield
            return
        shared = self._together[task_id] = _SharedFile()
        try:
            yield
        finally:
            del self._together[task_id]
            shared.end()

    def creating(self, task: Task, *, base: Path) -> TaskFile:
        """It is there at once."""
        self._prepare()
        return TaskFile.create(self.path(task.id), base=base)

    def adopt(self, task: Task, draft: Path) -> None:
        """By a second name for the same bytes."""
        os.link(draft, self.path(task.id))

    def note(self, task: Task) -> None:
        """A file that cannot be written now is no reason to lose a move that the ledger has."""
        with suppress(CairnError):
            if self.exists(task.id):
                with self.writing(task) as file:
                    with file.transaction():
                        if attempt_of(file) <= task.attempt:
                            keep_task(file, task)
                    file.to_disk()

    def remembered(self, task_id: str) -> Task | None:
        """None too for a file that was renamed."""
        with suppress(CairnError), TaskFile.open(self.path(task_id)) as file:
            task = kept_task(file)
            return task if task is not None and task.id == task_id else None
        return None

    def every(self) -> tuple[str, ...]:
        """In the order of their names."""
        return tuple(path.stem for path in sorted(self._folder.glob("*.db")))

    def remove(self, task_id: str) -> None:
        """With what SQLite keeps beside it."""
        path = self.path(task_id)
        with translate_errors(path):
            remove_task_file(path)

    def stored_bytes(self, task_id: str) -> int:
        """With what SQLite keeps beside it."""
        path, total = self.path(task_id), 0
        for each in (path, *(path.with_name(path.name + end) for end in COMPANIONS)):
            with suppress(OSError):
                total += each.stat().st_size
        return total

    def left_over(self, now: float) -> tuple[LeftOver, ...]:  # noqa: ARG002 - `state_files` has them
        """Nothing beside the files."""
        return ()

"""What tasks did, as their files keep it: each opened as an overlay over the project and the journal of its steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cairn.changes import ChangeSet
from cairn.errors import CairnError, IllegalMove, NotFound
from cairn.journal import Journal, TakenOver
from cairn.overlay import AgentFSOverlay, Overlay
from cairn.pinned_base import PinnedBase
from cairn.task import Task, TaskStatus
from cairn.task_file import TaskFile
from cairn.task_store import TaskStore

if TYPE_CHECKING:
    from cairn.settings import Settings


@dataclass(frozen=True, slots=True)
class Work:
    """One task's file, opened: its overlay and its journal share one database and one transaction."""

    file: TaskFile
    overlay: Overlay
    journal: Journal


class KeptWork:
    """The work of all tasks over one project's files."""

    def __init__(self, root: Path, store: TaskStore, settings: Settings, clock: Callable[[], float]) -> None:
        self._root = root
        self._store = store
        self._settings = settings
        self._clock = clock

    @contextmanager
    def opened(self, task: Task, *, to_write: bool = False, create: bool = False) -> Iterator[Work]:
        """The task's file, to be read or written; with `create` made if there is none. Raises what its store raises."""
        base = self._root if create else None
        with self._store.writing(task, base=base) if to_write else self._store.reading(task.id) as file:
            limit = self._settings.with_options(task.options).limits.file_bytes
            overlay = AgentFSOverlay(file, self._root, file_bytes=limit)
            yield Work(file, overlay, Journal(file, self._clock))

    def together(self, task: Task) -> AbstractContextManager[None]:
        """What opens the task's file inside, once after the other, may get the same open file each time."""
        return self._store.together(task.id)

    def exists(self, task: Task) -> bool:
        """True when the task has a file: one that never ran may have none."""
        return self._store.exists(task.id)

    def changes(self, task: Task) -> ChangeSet:
        """Everything the task changed, whatever became of it."""
        if not self.exists(task):
            return ChangeSet()
        with self.opened(task) as work:
            return work.overlay.changes()

    def seen_by(self, task: Task) -> tuple[str, ...]:
        """The paths that the task read or changed: those whose edits make it stale."""
        if not self.exists(task):
            return ()
        with self.opened(task) as work:
            base = PinnedBase(work.file, self._root, file_bytes=self._settings.limits.file_bytes)
            return tuple(pin.path for pin in base.below("."))

    def base_of(self, task: Task) -> Mapping[str, str]:
        """What the task saw of the project at each path that it looked at, as short texts that can be compared."""
        if not self.exists(task):
            return {}
        with self.opened(task) as work:
            base = PinnedBase(work.file, self._root, file_bytes=self._settings.limits.file_bytes)
            return {pin.path: f"{pin.kind} {pin.mode:o} {pin.digest}" for pin in base.below(".")}

    def file_of(self, task: Task) -> Path:
        """The task's own file, to be read. Raises NotFound for a task that never ran."""
        self.require(task)
        return self._store.path(task.id)

    def require_kept(self, task: Task) -> None:
        """Raises NotFound for a task that changed or asked something, and whose file is not there any more."""
        ran = task.status in {TaskStatus.IN_REVIEW, TaskStatus.WAITING} or task.outcome.files_changed
        if ran and not self.exists(task):
            raise NotFound(
                f"The file of task {task.id} is gone, and with it what the task did.",
                f"It was {self._store.path(task.id)}.",
                (f"cairn retry {task.id}   does it again; cairn reject {task.id}   lets it be.",),
            )

    def require(self, task: Task) -> None:
        """Raises NotFound for a task without a file, whether it never ran or its file is gone."""
        self.require_kept(task)
        if not self.exists(task):
            raise NotFound(f"Task {task.id} never ran, so there is nothing of it yet.", fix=f"cairn show {task.id}")

    def last_sign(self, task: Task) -> str:
        """How far its journal came: what it did then may be what ends its workers."""
        with suppress(CairnError):
            if self.exists(task):
                with self.opened(task) as work:
                    step, calls = work.journal.step, work.journal.calls()
                last = f"after call {calls[-1].number} ({calls[-1].name})" if calls else "before its first call"
                return f"in step {step} {last}" if step else "before its first program"
        return "before it began"


@contextmanager
def unless_it_moved(task: Task) -> Iterator[None]:
    """For commands about a task that others may move: what they would have kept in its file is not kept then."""
    try:
        yield
    except TakenOver:
        raise IllegalMove(f"Task {task.id} moved meanwhile; nothing was kept.", fix=f"cairn show {task.id}") from None

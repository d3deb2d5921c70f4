"""Tasks' files that many machines share: copies here of what is published, and one's own that are published as they go.

A copy's name says which content it has, and no copy is changed once it has that name; so any may be read without a
lock, and deleted at any time.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from itertools import count
from pathlib import Path

from cairn.errors import CairnError, NotFound, StorageProblem
from cairn.foreign_task_file import opened_as_data, require_own_schema, require_plain_paths
from cairn.journal import TakenOver
from cairn.ledger_database import LedgerDatabase
from cairn.object_store import ObjectStore
from cairn.sqlite_file import damaged, translate_errors
from cairn.task import ID_LENGTH, ID_LETTERS, Task
from cairn.task_content import DAY, Head, TaskContents, image_digest
from cairn.task_file import TaskFile, remove_task_file, sync
from cairn.task_owner import Owner
from cairn.task_store import LeftOver

UNUSED = 3600.0  # seconds after which a copy that is not the newest goes
_COPY = re.compile(rf"[{ID_LETTERS}]{{{ID_LENGTH}}}\.\d+\.[0-9a-f]{{16}}\.db")
_WORK = re.compile(rf"[{ID_LETTERS}]{{{ID_LENGTH}}}\.work-(\d+)-(\d+)-\d+\.db")
_KEPT = re.compile(rf"([{ID_LETTERS}]{{{ID_LENGTH}}})\.(?:new|\d+\.[0-9a-f]{{16}})\.kept\.db")


class SharedTasks:
    """`TaskStore` over a ledger's own server. `cache` is a folder of this project and machine for the copies.

    What is published can be fetched by every machine; what its last user's end left unpublished is done again.
    """

    def __init__(
        self,
        database: LedgerDatabase,
        cache: Path,
        objects: ObjectStore | None = None,
        *,
        beside: Callable[[], LedgerDatabase] | None = None,
    ) -> None:
        """`beside` gives the connection for what takes long, where a lease is renewed over `database`."""
        self.contents = TaskContents(database, objects, beside)
        self._cache = cache
        self._me = Owner.this_process()
        self._numbers = count(1)
        cache.mkdir(parents=True, exist_ok=True)

    # ── reading ──

    def exists(self, task_id: str) -> bool:
        """Asks the server; nothing is fetched."""
        return self.contents.head(task_id) is not None

    def path(self, task_id: str) -> Path:
        """A copy that nobody changes; fetched when the newest content is not here yet."""
        head = self.contents.head(task_id)
        return self._cache / f"{task_id}.db" if head is None else self._copy(task_id, head)

    def reading(self, task_id: str) -> TaskFile:
        """It stays as it was published when it was opened."""
        return TaskFile.open(self.path(task_id))

    def _copy(self, task_id: str, head: Head) -> Path:
        path = self._named(task_id, head)
        with suppress(OSError):
            if path.stat().st_size >= head.size:  # more, where this Cairn brought an earlier one's tables up to date
                os.utime(path)
                return path
        head, image = self.contents.fetched(task_id, head)
        self._place(self._named(task_id, head), self._working(task_id), image)
        return self._named(task_id, head)

    def _place(self, path: Path, draft: Path, image: bytes) -> None:
        """Whole or not at all, and judged before it gets its name: what came from elsewhere may be no task's file."""
        try:
            with translate_errors(draft):
                draft.write_bytes(image)
                _require_own(draft)
                sync(draft)
                draft.replace(path)
        finally:
            remove_task_file(draft)
        self._forget_older(path)

    def _forget_older(self, newest: Path) -> None:
        """Copies that nobody opened for a while; whoever has one open still reads it."""
        for path in self._cache.glob(f"{newest.name.partition('.')[0]}.*.db"):
            if path != newest and _COPY.fullmatch(path.name) and _age(path) > UNUSED:
                remove_task_file(path)

    # ── writing ──

    @contextmanager
    def writing(self, task: Task, *, base: Path | None = None) -> Iterator[TaskFile]:
        """A copy of one's own, published as it goes. What could not be published stays here, to be gone on with."""
        head = self.contents.head(task.id)
        if head is None and base is None:
            raise NotFound(f"Task {task.id} has no file.", "It never ran.")
        image = b"" if head is None else self._image(task.id, head)
        work, kept = self._working(task.id), self._kept(task.id, head)
        with translate_errors(work):
            if kept.exists():
                kept.replace(work)
            elif head is not None:
                work.write_bytes(image)
        file = TaskFile.create(work, base=base or Path()) if not work.exists() else TaskFile.open(work)
        publisher = _Publisher(self.contents, task, file, head, image)
        file.published_by(publisher.publish)
        try:
            with _published_at_its_end(publisher):
                yield file
        finally:
            file.close()
            self._put_away(work, publisher)

    def together(self, task_id: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """Each use is published, so each has a file of its own."""
        return nullcontext()

    @contextmanager
    def creating(self, task: Task, *, base: Path) -> Iterator[TaskFile]:
        """Published at the end, and only if nothing went wrong."""
        work = self._working(task.id)
        try:
            with TaskFile.create(work, base=base) as file:
                yield file
                self._publish_draft(task, file)
        finally:
            remove_task_file(work)

    def adopt(self, task: Task, draft: Path) -> None:
        """It is published as it is."""
        if self.exists(task.id):
            raise FileExistsError(f"task {task.id} has a file")
        with TaskFile.open(draft) as file:
            self._publish_draft(task, file)

    def _publish_draft(self, task: Task, file: TaskFile) -> None:
        try:
            self.contents.publish(task, None, b"", file.image(), is_draft=True)
        except TakenOver:
            raise StorageProblem(f"There is a task {task.id} already.", "A task's file is made once.") from None

    def _image(self, task_id: str, head: Head) -> bytes:
        """From the copy here, if it is still what was published."""
        with suppress(OSError):
            image = self._named(task_id, head).read_bytes()
            if image_digest(image) == head.digest:
                return image
            remove_task_file(self._named(task_id, head))
        return self._copy(task_id, head).read_bytes()

    def _put_away(self, work: Path, publisher: _Publisher) -> None:
        """A copy that is as published serves whoever reads next; what is not published yet is kept; else it goes."""
        task_id, head = publisher.task.id, publisher.head
        try:
            if publisher.failed is not None:
                work.replace(self._kept(task_id, head))
            elif head is not None and not publisher.is_refused and _is_content(work, head):
                sync(work)
                work.replace(self._named(task_id, head))
                self._forget_older(self._named(task_id, head))
        finally:
            remove_task_file(work)

    # ── what the ledger has anyway ──

    def note(self, task: Task) -> None:
        """The ledger is on the same server, and is not lost without the file."""

    def remembered(self, task_id: str) -> Task | None:  # noqa: ARG002 - no file has to
        """The ledger is on the same server, and is not lost without the file."""
        return None

    def every(self) -> tuple[str, ...]:
        """None has to remember its task."""
        return ()

    # ── deleting ──

    def remove(self, task_id: str) -> LeftOver | None:
        """There, and the copies here; its object is left over."""
        apart = self.contents.remove(task_id)
        for path in self._cache.glob(f"{task_id}.*.db"):
            if not _WORK.fullmatch(path.name):
                remove_task_file(path)
        return None if apart is None else LeftOver(apart.key, apart.size, self.contents.delete_object, apart.key)

    def _remove_draft(self, task_id: str) -> None:
        apart = self.remove(task_id)
        if apart is not None:
            apart.remove()

    def stored_bytes(self, task_id: str) -> int:
        """On the server."""
        head = self.contents.head(task_id)
        return 0 if head is None else head.whole_bytes + head.delta_bytes

    def left_over(self, now: float) -> tuple[LeftOver, ...]:
        """Of commands that were killed, here and on the server; and copies that nobody used for a while."""
        contents = self.contents
        drafts = contents.without_task(contents.now() - DAY)
        found = [LeftOver(f"drafted task {each}", self.stored_bytes(each), self._remove_draft, each) for each in drafts]
        objects = contents.unreferenced(contents.now() - DAY)
        found += [LeftOver(f"object {each.key}", each.size, contents.delete_object, each.key) for each in objects]
        return (*found, *(LeftOver(path.name, _size(path), _remove_named, str(path)) for path in self._unused(now)))

    def _unused(self, now: float) -> Iterator[Path]:
        for path in sorted(self._cache.glob("*.db")):
            worker, kept = _WORK.fullmatch(path.name), _KEPT.fullmatch(path.name)
            if worker and Owner(self._me.host, int(worker[1]), int(worker[2])).is_gone():
                yield path
            elif kept and path != self._kept(kept[1], self.contents.head(kept[1])):
                yield path  # the task went on without it
            elif _COPY.fullmatch(path.name) and now - path.stat().st_mtime > DAY:
                yield path

    # ── names ──

    def _named(self, task_id: str, head: Head) -> Path:
        return self._cache / f"{task_id}.{head.name}.db"

    def _working(self, task_id: str) -> Path:
        return self._cache / f"{task_id}.work-{self._me.pid}-{self._me.born}-{next(self._numbers)}.db"

    def _kept(self, task_id: str, head: Head | None) -> Path:
        """Where what follows that content is kept: it is of no use to whoever begins from another one."""
        return self._cache / f"{task_id}.{head.name if head else 'new'}.kept.db"


class _Publisher:
    """Publishes one open file again and again; once it is refused, it always is."""

    def __init__(self, contents: TaskContents, task: Task, file: TaskFile, head: Head | None, image: bytes) -> None:
        self.task = task
        self.head = head
        self.failed: CairnError | None = None
        self.is_refused = False
        self._contents = contents
        self._file = file
        self._image = image
        self._seen: tuple[sqlite3.Connection, int] | None = None

    def publish(self) -> None:
        """Nothing is sent when nothing changed. Raises TakenOver; StorageProblem when it could not be sent."""
        if self.is_refused:
            raise TakenOver
        connection = self._file.connection
        now = (connection, connection.total_changes)
        if self._seen == now and self.failed is None:
            return
        image = self._file.image()
        try:
            if image != self._image:
                self.head = self._contents.publish(self.task, self.head, self._image, image)
        except TakenOver:
            self.is_refused, self.failed = True, None
            raise
        except CairnError as error:
            self.failed = error
            raise
        self._image, self._seen, self.failed = image, now, None


@contextmanager
def _published_at_its_end(publisher: _Publisher) -> Iterator[None]:
    """Whatever ends the block, what was done so far is published; the block's own error counts more than that one's."""
    try:
        yield
    except TakenOver:
        raise
    except BaseException:
        with suppress(CairnError):
            publisher.publish()
        raise
    publisher.publish()


def _require_own(path: Path) -> None:
    """Raises DamagedFile for what Cairn would not have written: the server's word is not taken for it."""
    try:
        with closing(opened_as_data(path)) as connection:
            require_own_schema(connection)
            require_plain_paths(connection)
    except (sqlite3.Error, TypeError, ValueError, PermissionError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error


def _is_content(path: Path, head: Head) -> bool:
    """Once its log is written back, which closing did unless the disk is full."""
    return _size(path) == head.size and not path.with_name(f"{path.name}-wal").exists()


def _remove_named(name: str) -> None:
    remove_task_file(Path(name))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0

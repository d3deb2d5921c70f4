"""The contents of tasks' files in a Postgres that many machines share, and the one way to replace one.

A file is sent whole once and then by the pages that changed, so that publishing after each paid answer is cheap. What
is too large for the database lies in an object store, and only its name in the database.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from cairn.errors import CairnError, DamagedFile, NotFound, StorageProblem
from cairn.journal import TakenOver
from cairn.object_store import ObjectMissing, ObjectStore, StoredObject
from cairn.page_delta import packed_image, page_delta, restored
from cairn.task import Task

LARGEST_ROW = 10_000_000  # bytes; what is larger goes to the object store
MOST_DELTAS = 200  # that are fetched beside the whole
DAY = 86_400.0
MB = 1_000_000

TABLES = (
    """CREATE TABLE IF NOT EXISTS task_data (
    task TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    digest TEXT NOT NULL,
    size BIGINT NOT NULL,
    whole_bytes BIGINT NOT NULL,
    delta_bytes BIGINT NOT NULL,
    deltas BIGINT NOT NULL,
    object TEXT,
    attempt BIGINT NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    data BYTEA
)""",
    """CREATE TABLE IF NOT EXISTS task_delta (
    task TEXT NOT NULL,
    version BIGINT NOT NULL,
    data BYTEA NOT NULL,
    PRIMARY KEY (task, version)
)""",
    "ALTER TABLE task_data ALTER COLUMN data SET STORAGE EXTERNAL",  # it is deflated already
    "ALTER TABLE task_delta ALTER COLUMN data SET STORAGE EXTERNAL",
)
_HEAD = "version, digest, size, whole_bytes, delta_bytes, deltas, object"
_CONTENT = (  # one statement, so that all of it is of one moment
    f"SELECT 0 AS part, {_HEAD}, data FROM task_data WHERE task = ?"  # noqa: S608 - our own names
    " UNION ALL SELECT 1, version, '', 0, 0, 0, 0, NULL, data FROM task_delta WHERE task = ? ORDER BY 1, 2"
)


class ServerRows(Protocol):
    """What is needed of the ledger's server: statements with `?` for values, alone or in a transaction."""

    def execute(self, statement: str, values: Sequence[object] = ()) -> Any:
        """A cursor with `fetchone`, `fetchall` and `rowcount`."""
        ...

    def transaction(self, *, exclusive: bool = True) -> AbstractContextManager[ServerRows]:
        """`exclusive`: no other one of the project writes meanwhile. Raises StorageProblem when it cannot be had."""
        ...


class TooLargeToPublish(StorageProblem):
    """The file does not fit into the database, and there is no object store; nothing of it was lost."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest published content of a task's file: its version, its digest, and what it takes to fetch it."""

    version: int
    digest: str
    size: int
    whole_bytes: int
    delta_bytes: int = 0
    deltas: int = 0
    object: str | None = None

    @property
    def name(self) -> str:
        """Only this content of this version has it."""
        return f"{self.version}.{self.digest[:16]}"


@dataclass(frozen=True, slots=True)
class _Load:
    """What is sent for a new head: the whole (in the database, or as `head.object`), or else what changed."""

    head: Head
    data: bytes
    is_whole: bool


class TaskContents:
    """All of one project. Every method raises StorageProblem when the server cannot serve it."""

    def __init__(self, database: ServerRows, objects: ObjectStore | None, project: str) -> None:
        self._database = database
        self._objects = objects
        self._project = project
        with database.transaction() as db:
            for statement in TABLES:
                db.execute(statement)

    # ── fetching ──

    def head(self, task_id: str) -> Head | None:
        """None for a task that nothing was published of."""
        found = self._database.execute(f"SELECT {_HEAD} FROM task_data WHERE task = ?", (task_id,)).fetchone()  # noqa: S608
        return None if found is None else Head(*found)

    def fetched(self, task_id: str) -> tuple[Head, bytes]:
        """The newest content, compared with its digest. Raises NotFound, DamagedFile."""
        missing = ""
        while True:
            rows = self._database.execute(_CONTENT, (task_id, task_id)).fetchall()
            if not rows or rows[0][0] != 0:
                raise NotFound(f"Task {task_id} has no file any more.", "It was deleted meanwhile.")
            head = Head(*rows[0][1:-1])
            try:
                whole = rows[0][-1] if head.object is None else self._object(head.object)
            except ObjectMissing as error:
                if head.name == missing:
                    raise _damaged(task_id, error.what) from error
                missing = head.name  # a newer version may have taken its place between the two looks
                continue
            return head, _image(task_id, head, whole or b"", [row[-1] for row in rows[1:]])

    def _object(self, key: str) -> bytes:
        if self._objects is None:
            raise StorageProblem(
                f"The task's file is the object {key}, and this machine has no object store set.",
                fix="Set engine.objects to the same address as on the machine that wrote it.",
            )
        return self._objects.get(key)

    # ── publishing ──

    def publish(self, task: Task, head: Head | None, old: bytes, new: bytes, *, is_draft: bool = False) -> Head:
        """The new head, after the one whose content is `old`. Raises TakenOver, and nothing is changed, unless that
        is the newest and the ledger has the task as it is given; a draft is one that the ledger does not have yet.
        """
        load = self._load(task, head, old, new)
        if load.head.object is not None:
            self._require_objects(task, load).put(load.head.object, load.data)
        try:
            self._send(task, head, load, is_draft=is_draft)
        except CairnError as error:
            if not self._arrived(task.id, load.head, error):
                raise
        if head is not None and head.object is not None and load.is_whole and self._objects is not None:
            with suppress(StorageProblem):  # gc deletes it then
                self._objects.delete(head.object)
        return load.head

    def _load(self, task: Task, head: Head | None, old: bytes, new: bytes) -> _Load:
        version, digest = (head.version if head else 0) + 1, image_digest(new)
        if head is not None and head.deltas < MOST_DELTAS:
            delta = page_delta(old, new)
            after = head.delta_bytes + len(delta)
            if after <= max(head.whole_bytes // 2, 65_536) and len(delta) <= LARGEST_ROW:
                grown = replace(head, version=version, digest=digest, size=len(new))
                return _Load(replace(grown, delta_bytes=after, deltas=head.deltas + 1), delta, is_whole=False)
        whole = packed_image(new)
        key = f"{self._project}/{task.id}/{version}-{digest}" if len(whole) > LARGEST_ROW else None
        return _Load(Head(version, digest, len(new), len(whole), object=key), whole, is_whole=True)

    def _require_objects(self, task: Task, load: _Load) -> ObjectStore:
        if self._objects is None:
            size, most = len(load.data) / MB, LARGEST_ROW // MB
            raise TooLargeToPublish(
                f"What task {task.id} made is too large for the database: {size:.0f} MB, and {most} MB are the most.",
                "There is no object store for it. It is kept on the machine that ran the task.",
                (
                    "Set engine.objects there, to an address such as s3://bucket/cairn or file:///srv/cairn;",
                    f"then   cairn resume {task.id}   there goes on with it.",
                ),
            )
        return self._objects

    def _send(self, task: Task, head: Head | None, load: _Load, *, is_draft: bool) -> None:
        """By one transaction, in which the ledger's row cannot move."""
        with self._database.transaction(exclusive=False) as db:
            if is_draft:
                taken = db.execute("SELECT 1 FROM task WHERE id = ?", (task.id,)).fetchone() is not None
            else:
                held = "SELECT 1 FROM task WHERE id = ? AND status = ? AND attempt = ? FOR SHARE"
                taken = db.execute(held, (task.id, str(task.status), task.attempt)).fetchone() is None
            if taken or not _replaced(db, task, head, load):
                raise TakenOver

    def _arrived(self, task_id: str, head: Head, error: CairnError) -> bool:
        """True when it is there after all: a server may end between the commit and its answer."""
        if isinstance(error, TakenOver | StorageProblem):
            with suppress(CairnError):
                now = self.head(task_id)
                return now is not None and (now.version, now.digest) == (head.version, head.digest)
        return False

    # ── deleting ──

    def remove(self, task_id: str) -> None:
        """Nothing happens if there is none."""
        head = self.head(task_id)
        with self._database.transaction(exclusive=False) as db:
            db.execute("DELETE FROM task_delta WHERE task = ?", (task_id,))
            db.execute("DELETE FROM task_data WHERE task = ?", (task_id,))
        if head is not None and head.object is not None and self._objects is not None:
            with suppress(StorageProblem):
                self._objects.delete(head.object)

    def without_task(self, before: float) -> tuple[str, ...]:
        """Tasks that were never put into the ledger, because the command that drafted them was killed."""
        unknown = "SELECT task FROM task_data WHERE at < ? AND task NOT IN (SELECT id FROM task) ORDER BY task"
        return tuple(str(task) for (task,) in self._database.execute(unknown, (before,)).fetchall())

    def unreferenced(self, before: float) -> Iterator[StoredObject]:
        """Objects of this project, older than that, which are no task's newest content."""
        if self._objects is None:
            return
        old = [each for each in self._objects.every(self._project) if each.modified < before]
        rows = self._database.execute("SELECT object FROM task_data WHERE object IS NOT NULL").fetchall()
        used = {str(key) for (key,) in rows}
        yield from (each for each in old if each.key not in used)

    def delete_object(self, key: str) -> None:
        """Nothing happens if it is not there."""
        if self._objects is not None:
            self._objects.delete(key)


def _replaced(db: ServerRows, task: Task, head: Head | None, load: _Load) -> bool:
    """True when it was the newest content that was replaced."""
    made, data = load.head, load.data if load.is_whole and load.head.object is None else None
    figures = (made.version, made.digest, made.size, made.whole_bytes, made.delta_bytes, made.deltas, made.object)
    values = (*figures, task.attempt, time.time())
    if head is None:
        into = f"INSERT INTO task_data (task, {_HEAD}, attempt, at, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
        return bool(db.execute(f"{into} ON CONFLICT (task) DO NOTHING", (task.id, *values, data)).rowcount)
    columns = [*_HEAD.split(", "), "attempt", "at", *(["data"] if load.is_whole else [])]
    changes = ", ".join(f"{column} = ?" for column in columns)
    moved = db.execute(
        f"UPDATE task_data SET {changes} WHERE task = ? AND version = ? AND digest = ?",  # noqa: S608
        (*values, *([data] if load.is_whole else []), task.id, head.version, head.digest),
    )
    if moved.rowcount != 1:
        return False
    if load.is_whole:
        db.execute("DELETE FROM task_delta WHERE task = ?", (task.id,))
    else:
        into = "INSERT INTO task_delta (task, version, data) VALUES (?, ?, ?)"
        db.execute(into, (task.id, made.version, load.data))
    return True


def _image(task_id: str, head: Head, whole: bytes, deltas: Sequence[bytes]) -> bytes:
    try:
        image = restored(whole, deltas)
    except ValueError as error:
        raise _damaged(task_id, f"It cannot be unpacked: {error}.") from error
    if len(image) != head.size or image_digest(image) != head.digest:
        raise _damaged(task_id, f"It is not what was published as version {head.version}.")
    return image


def _damaged(task_id: str, why: str) -> DamagedFile:
    return DamagedFile(
        f"The file of task {task_id} on the server is damaged.",
        why,
        f"Restore it from a backup of the server, or   cairn retry {task_id}   does the task again.",
    )


def image_digest(image: bytes) -> str:
    """SHA-256 in hexadecimal: processors have it built in, so 10 MB take 5 ms."""
    return hashlib.sha256(image).hexdigest()

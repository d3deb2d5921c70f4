"""The contents of tasks' files in a Postgres that many machines share, and the one way to replace one.

A file is sent whole once and then by the pages that changed, so that publishing after each paid answer is cheap. What
is too large for the database lies in an object store, and only its name in the database.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from cairn.errors import DamagedFile, NotFound, StorageProblem
from cairn.journal import TakenOver
from cairn.ledger_answer import Order
from cairn.ledger_database import LedgerDatabase
from cairn.ledger_place import LedgerServer
from cairn.object_store import ObjectMissing, ObjectStore, StoredObject
from cairn.page_delta import packed_image, page_delta, restored
from cairn.task import Task

LARGEST_ROW = 10_000_000  # bytes; what is larger goes to the object store
SHORT = 256_000  # bytes that are sent while everybody else waits
MOST_DELTAS = 200  # that are fetched beside the whole
DAY = 86_400.0
MB = 1_000_000
LONG = MB  # bytes that on a slow line take as long as a lease may stay without a word

TABLES = """
CREATE TABLE IF NOT EXISTS task_data (
    task TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    whole_bytes INTEGER NOT NULL,
    delta_bytes INTEGER NOT NULL,
    deltas INTEGER NOT NULL,
    object TEXT,
    attempt INTEGER NOT NULL,
    at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS task_part (
    task TEXT NOT NULL,
    version INTEGER NOT NULL,
    digest TEXT NOT NULL,
    live INTEGER NOT NULL,
    at REAL NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (task, version, digest)
);
"""
_HEAD = "version, digest, size, whole_bytes, delta_bytes, deltas, object"
_CONTENT = (  # one statement, so that all of it is of one moment
    f"SELECT 0 AS kind, {_HEAD}, NULL AS data FROM task_data WHERE task = ?"  # noqa: S608 - our own names
    " UNION ALL SELECT 1, version, digest, 0, 0, 0, 0, NULL, data FROM task_part WHERE task = ? AND live = 1"
    " ORDER BY 1, 2"
)
_PART = (
    "INSERT INTO task_part (task, version, digest, live, at, data) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (task, version, digest) DO UPDATE SET at = excluded.at"
)


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

    @property
    def key(self) -> str | None:
        """The object that the data is to be; None for a part in the database."""
        return self.head.object if self.is_whole else None


class TaskContents:
    """All of one project. Every method raises StorageProblem when the server cannot serve it."""

    def __init__(
        self,
        database: LedgerDatabase,
        objects: ObjectStore | None,
        beside: Callable[[], LedgerDatabase] | None = None,
    ) -> None:
        """`beside`: another connection for what takes long, so that a lease can be renewed over the first meanwhile."""
        self._database = database
        self._beside = beside or (lambda: database)
        self._objects = objects
        place = database.place
        self._folder = f"tasks/{place.project if isinstance(place, LedgerServer) else 'project'}"
        database.ensure(TABLES)

    def now(self) -> float:
        """The clock that all machines share: what is old by one machine's own may be seconds old."""
        return self._database.now()

    # ── fetching ──

    def head(self, task_id: str) -> Head | None:
        """None for a task that nothing was published of."""
        found = self._database.execute(f"SELECT {_HEAD} FROM task_data WHERE task = ?", (task_id,)).first()  # noqa: S608
        return None if found is None else Head(*found)

    def fetched(self, task_id: str, seen: Head | None = None) -> tuple[Head, bytes]:
        """The newest content, which may be newer than what was `seen`, compared with its digest.

        Raises NotFound, DamagedFile.
        """
        missing = ""
        is_long = seen is not None and seen.whole_bytes + seen.delta_bytes > LONG
        database = self._beside() if is_long else self._database
        while True:
            rows = database.execute(_CONTENT, (task_id, task_id)).rows
            if not rows or rows[0][0] != 0:
                raise NotFound(f"Task {task_id} has no file any more.", "It was deleted meanwhile.")
            head, parts = Head(*rows[0][1:-1]), [row[-1] for row in rows[1:]]
            try:
                whole = self._object(head.object) if head.object is not None else parts.pop(0) if parts else b""
            except ObjectMissing as error:
                if head.name == missing:
                    raise _damaged(task_id, error.what) from error
                missing = head.name  # a newer version may have taken its place between the two looks
                continue
            return head, _image(task_id, head, whole, parts)

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
        if load.key is not None:
            self._require_objects(task, load).put(load.key, load.data)
        elif len(load.data) > SHORT:
            beside = self._beside() if len(load.data) > LONG else self._database
            beside.write(lambda: self._put_part(task, load, live=False, over=beside), order=Order.NONE)
        self._database.write(lambda: self._switch(task, head, load, is_draft=is_draft), order=Order.BESIDE)
        if head is not None and head.object is not None and load.is_whole and self._objects is not None:
            with suppress(StorageProblem):  # gc deletes it then
                self._objects.delete(head.object)
        return load.head

    def _put_part(self, task: Task, load: _Load, *, live: bool, over: LedgerDatabase | None = None) -> None:
        made, database = load.head, over or self._database
        values = (task.id, made.version, made.digest, int(live), database.now(), load.data)
        database.execute(_PART, values)

    def _switch(self, task: Task, head: Head | None, load: _Load, *, is_draft: bool) -> None:
        """While nobody moves the task: the new content takes the old one's place, or TakenOver is raised."""
        db, made = self._database, load.head
        # Locked: whoever would give the task to another attempt waits, and then that one finds this content.
        look = f"SELECT status, attempt FROM task WHERE id = ? {db.dialect.held('FOR SHARE')}"  # noqa: S608 - our words
        known = db.execute(look, (task.id,)).first()
        held = known is None if is_draft else known is not None and tuple(known) == (str(task.status), task.attempt)
        if not held or not self._replaced(task, head, made):
            raise TakenOver
        if load.is_whole:
            others = "DELETE FROM task_part WHERE task = ? AND NOT (version = ? AND digest = ?)"
            db.execute(others, (task.id, made.version, made.digest))
        if load.key is None and len(load.data) <= SHORT:
            self._put_part(task, load, live=True)
        elif load.key is None:
            put = "UPDATE task_part SET live = 1 WHERE task = ? AND version = ? AND digest = ?"
            if db.execute(put, (task.id, made.version, made.digest)).count != 1:
                raise TakenOver  # a newer whole swept it away

    def _replaced(self, task: Task, head: Head | None, made: Head) -> bool:
        """True when it was the newest content that was replaced."""
        columns = [*_HEAD.split(", "), "attempt", "at"]
        figures = (made.version, made.digest, made.size, made.whole_bytes, made.delta_bytes, made.deltas, made.object)
        values = (*figures, task.attempt, self._database.now())
        if head is None:
            into = f"INSERT INTO task_data ({', '.join(columns)}, task) VALUES ({', '.join('?' * 10)})"  # noqa: S608
            return bool(self._database.execute(f"{into} ON CONFLICT DO NOTHING", (*values, task.id)).count)
        changes = ", ".join(f"{column} = ?" for column in columns)
        newest = (task.id, head.version, head.digest)
        update = f"UPDATE task_data SET {changes} WHERE task = ? AND version = ? AND digest = ?"  # noqa: S608
        return bool(self._database.execute(update, (*values, *newest)).count)

    def _load(self, task: Task, head: Head | None, old: bytes, new: bytes) -> _Load:
        version, digest = (head.version if head else 0) + 1, image_digest(new)
        if head is not None and head.deltas < MOST_DELTAS:
            delta = page_delta(old, new)
            after = head.delta_bytes + len(delta)
            if after <= max(head.whole_bytes // 2, 65_536) and len(delta) <= LARGEST_ROW:
                grown = replace(head, version=version, digest=digest, size=len(new))
                return _Load(replace(grown, delta_bytes=after, deltas=head.deltas + 1), delta, is_whole=False)
        whole = packed_image(new)
        key = f"{self._folder}/{task.id}/{version}-{digest}" if len(whole) > LARGEST_ROW else None
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

    # ── deleting ──

    def remove(self, task_id: str) -> StoredObject | None:
        """Nothing happens if there is none. A transaction that is open has a part of it.

        What is given back is to be deleted once that is committed; else `unreferenced` finds it.
        """
        head = self.head(task_id)

        def delete() -> None:
            self._database.execute("DELETE FROM task_part WHERE task = ?", (task_id,))
            self._database.execute("DELETE FROM task_data WHERE task = ?", (task_id,))

        self._database.write(delete, order=Order.NONE)
        if head is None or head.object is None:
            return None
        return StoredObject(head.object, head.whole_bytes, 0.0)

    def without_task(self, before: float) -> tuple[str, ...]:
        """Tasks that were never put into the ledger, because the command that drafted them was killed."""
        unknown = (
            "SELECT task FROM task_data WHERE at < ? AND task NOT IN (SELECT id FROM task)"
            " UNION SELECT task FROM task_part WHERE at < ? AND task NOT IN (SELECT id FROM task) ORDER BY task"
        )
        return tuple(str(task) for (task,) in self._database.execute(unknown, (before, before)).rows)

    def unreferenced(self, before: float) -> Iterator[StoredObject]:
        """Objects of this project, older than that, which are no task's newest content."""
        if self._objects is None:
            return
        old = [each for each in self._objects.every(self._folder) if each.modified < before]
        rows = self._database.execute("SELECT object FROM task_data WHERE object IS NOT NULL").rows
        used = {str(key) for (key,) in rows}
        yield from (each for each in old if each.key not in used)

    def delete_object(self, key: str) -> None:
        """Nothing happens if it is not there."""
        if self._objects is not None:
            self._objects.delete(key)


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

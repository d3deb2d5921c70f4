"""One task's file: an AgentFS database (SPEC 0.4) that also holds Cairn's record of the task.

docs/storage.md describes each table. Kept out on purpose, because AgentFS's own engine cannot open a database that has
them: triggers, CHECK, generated columns and full-text tables.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from cairn.errors import NotFound, StorageProblem
from cairn.packed_bytes import LARGEST, packed, unpacked
from cairn.sqlite_file import connect, copy_in_memory, damaged, transaction, translate_errors

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]
Cell = None | int | float | str | bytes

LAYOUT = 4  # PRAGMA user_version; raised when Cairn's own tables, or what is in them, change
OPEN_FILES = 64  # at once; the others are closed until they are used again
PAGE_BYTES = 1024  # 36 tables and indexes: with SQLite's usual 4 KB an empty task takes 140 KB
CHUNK_BYTES = 65_536  # AgentFS's default of 4 KB makes 2,442 rows of a 10 MB file

_AGENTFS = """
CREATE TABLE fs_config (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE fs_inode (
    ino INTEGER PRIMARY KEY AUTOINCREMENT,
    mode INTEGER NOT NULL,
    nlink INTEGER NOT NULL DEFAULT 0,
    uid INTEGER NOT NULL DEFAULT 0,
    gid INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL DEFAULT 0,
    atime INTEGER NOT NULL,
    mtime INTEGER NOT NULL,
    ctime INTEGER NOT NULL,
    rdev INTEGER NOT NULL DEFAULT 0,
    atime_nsec INTEGER NOT NULL DEFAULT 0,
    mtime_nsec INTEGER NOT NULL DEFAULT 0,
    ctime_nsec INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE fs_dentry (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    parent_ino INTEGER NOT NULL,
    ino INTEGER NOT NULL,
    UNIQUE(parent_ino, name)
);
CREATE INDEX idx_fs_dentry_parent ON fs_dentry(parent_ino, name);
-- Cairn removes and renames entries by inode.
CREATE INDEX cairn_dentry_ino ON fs_dentry(ino);
CREATE TABLE fs_data (
    ino INTEGER NOT NULL,
    chunk_index INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (ino, chunk_index)
);
CREATE TABLE fs_symlink (ino INTEGER PRIMARY KEY, target TEXT NOT NULL);
-- The default lets tools insert that know no parent_path (AgentFS's own Rust code) beside those that do.
CREATE TABLE fs_whiteout (path TEXT PRIMARY KEY, parent_path TEXT NOT NULL DEFAULT '', created_at INTEGER NOT NULL);
CREATE INDEX idx_fs_whiteout_parent ON fs_whiteout(parent_path);
-- Stays empty: a wrong base_ino makes other tools show one file as another. cairn_base holds the base's identity.
CREATE TABLE fs_origin (delta_ino INTEGER PRIMARY KEY, base_ino INTEGER NOT NULL);
CREATE TABLE fs_overlay_config (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE kv_store (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    created_at INTEGER DEFAULT (unixepoch()),
    updated_at INTEGER DEFAULT (unixepoch())
);
CREATE INDEX idx_kv_store_created_at ON kv_store(created_at);
CREATE TABLE tool_calls (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    parameters TEXT,
    result TEXT,
    error TEXT,
    status TEXT NOT NULL DEFAULT 'pending',
    started_at INTEGER NOT NULL,
    completed_at INTEGER,
    duration_ms INTEGER
);
CREATE INDEX idx_tool_calls_name ON tool_calls(name);
CREATE INDEX idx_tool_calls_started_at ON tool_calls(started_at);
"""

_CAIRN = """
CREATE TABLE cairn_blob (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE cairn_base (
    path TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    mode INTEGER NOT NULL,
    digest TEXT,
    mtime_ns INTEGER NOT NULL,
    size INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    reason TEXT NOT NULL
);
CREATE TABLE cairn_move (target TEXT PRIMARY KEY, source TEXT NOT NULL);
CREATE TABLE cairn_step (
    number INTEGER PRIMARY KEY,
    program TEXT NOT NULL,
    label TEXT NOT NULL,
    repairs INTEGER NOT NULL DEFAULT 0,
    started_at REAL NOT NULL DEFAULT 0,
    result TEXT,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE cairn_call (
    number INTEGER PRIMARY KEY,
    step INTEGER NOT NULL,
    arguments TEXT NOT NULL,
    result TEXT,
    started_at REAL NOT NULL DEFAULT 0,
    seconds REAL NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    error TEXT
);
CREATE TABLE cairn_message (
    id INTEGER PRIMARY KEY,
    step INTEGER NOT NULL,
    role TEXT NOT NULL,
    text TEXT NOT NULL,
    model TEXT NOT NULL DEFAULT '',
    seconds REAL NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0
);
"""

# 2: each answer of a model is kept as it comes, a call's error exactly, a waiting program's variables.
_SINCE_2 = """
CREATE TABLE cairn_answer (
    id INTEGER PRIMARY KEY,
    call INTEGER NOT NULL,
    question TEXT NOT NULL,
    text TEXT NOT NULL,
    draft INTEGER NOT NULL DEFAULT 0,
    used INTEGER NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE cairn_dump (
    id INTEGER PRIMARY KEY,
    step INTEGER NOT NULL,
    call INTEGER NOT NULL,
    version TEXT NOT NULL,
    mac TEXT NOT NULL,
    data BLOB NOT NULL,
    created_at REAL NOT NULL
);
"""

# 3: each call of a model with what it cost.
_SINCE_3 = """
CREATE TABLE cairn_spending (
    id INTEGER PRIMARY KEY,
    step INTEGER NOT NULL,
    purpose TEXT NOT NULL,
    model TEXT NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    picos INTEGER,
    estimated INTEGER NOT NULL DEFAULT 0,
    at REAL NOT NULL
);
"""
_SPENT_BEFORE_3 = (  # prices are not known any more; models of answers never were
    "SELECT step, 'program', model, input_tokens, output_tokens, 0 FROM cairn_message WHERE role = 'assistant'",
    (
        "SELECT coalesce((SELECT step FROM cairn_call WHERE number = call), 0), 'question', '',"
        " input_tokens, output_tokens, 0 FROM cairn_answer"
    ),
)


def blob_digest(data: bytes) -> str:
    """The name under which a blob is kept: BLAKE2b (RFC 7693), 160 bits, in hexadecimal."""
    return hashlib.blake2b(data, digest_size=20).hexdigest()


class TaskFile:
    """An open task file. One thread uses it at a time, not always the same one.

    A process that has very many of them keeps only the last used ones open with SQLite, unnoticed: each takes 300 KB
    and three descriptors, and a task that waits for a model or a person uses none of it.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, *, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self._connection: sqlite3.Connection | None = connection
        self._used = time.monotonic()
        self._using = threading.Lock()
        self._stays_open = False
        self._is_on_disk = False  # as far as this object knows
        self._publish: Callable[[], None] | None = None
        self._closed = False
        _make_way(self)

    @classmethod
    def create(cls, path: Path, *, base: Path) -> TaskFile:
        """A new file that appears whole or not at all; StorageProblem if one is there already."""
        with translate_errors(path):
            # For AgentFS's tools alone; a folder's name that is no text is not text here either.
            _place_whole(path, _template(os.fsencode(base).decode("utf-8", "replace")))
        file = cls(path, connect(path, create=False))
        file._begin_log()
        return file

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> TaskFile:
        """An existing file; NotFound if there is none, DamagedFile if it is not one of Cairn's."""
        if not path.exists():
            raise NotFound(f"There is no task file {path}.", "The task never started, or its file was removed.")
        file = cls(path, connect(path, create=False, read_only=read_only), read_only=read_only)
        try:
            file._require_own_layout()
        except BaseException:
            file.close()
            raise
        return file

    def _begin_log(self) -> None:
        """Writes something at once and unsynced: the first write makes the log and would wait for the disk.

        SQLite syncs a log's header so that what an older log left is never taken for this one's; here there is none.
        """
        now = int(time.time())
        self.rows("PRAGMA synchronous = OFF")
        self.run("UPDATE fs_inode SET atime = ?, mtime = ?, ctime = ? WHERE ino = 1", now, now, now)
        self.rows("PRAGMA synchronous = NORMAL")

    @property
    def connection(self) -> sqlite3.Connection:
        """SQLite's own, for one statement or, once that has begun one, a transaction."""
        if self._closed:
            raise sqlite3.ProgrammingError(f"{self.path} was closed")
        self._used = time.monotonic()
        if self._connection is None:
            self._connection = connect(self.path, create=False, read_only=self.read_only)
            _make_way(self)
        return self._connection

    def rest(self) -> bool:
        """Closes it until its next use. False when it is used at this moment, or holds a transaction."""
        if not self._using.acquire(blocking=False):
            return False
        try:
            if self._stays_open or (self._connection is not None and self._connection.in_transaction):
                return False
            if self._connection is not None:
                self._connection.close()
                self._connection = None
                _is_closed(self)
            return True
        finally:
            self._using.release()

    @property
    def last_used(self) -> float:
        """When, by the monotonic clock."""
        return self._used

    def transaction(self) -> _Transaction:
        """Everything inside commits at once or not at all; an inner one that raises takes back its own part only."""
        return _Transaction(self)

    @contextmanager
    def durably(self) -> Iterator[None]:
        """A transaction for what was paid for: when it ends, that is on the disk, or published where others share it.

        It cannot be inside another one.
        """
        if self.is_published:  # the file here is a copy, which no power cut has to leave whole
            with self.transaction():
                yield
            self.publish()
            return
        self._stays_open = True  # the setting goes with the connection
        try:
            self.rows("PRAGMA synchronous = FULL")
            if not self._is_on_disk:  # what it was made of, which the log only changes
                with translate_errors(self.path):
                    sync(self.path)
                    sync(self.path.parent)
                self._is_on_disk = True
            with self.transaction():
                yield
        finally:
            self.rows("PRAGMA synchronous = NORMAL")
            self._stays_open = False

    def to_disk(self) -> None:
        """What was committed is in the file itself, and outlasts a power cut as far as the disk is honest.

        Waits for nobody: where somebody else just reads it, some may stay in its log. Not inside a transaction.
        """
        self.rows("PRAGMA wal_checkpoint(PASSIVE)")

    @property
    def is_in_transaction(self) -> bool:
        """True between the begin of a transaction and its end."""
        return self._connection is not None and self._connection.in_transaction

    @property
    def is_published(self) -> bool:
        """True for a copy that counts only as far as it was published."""
        return self._publish is not None

    def published_by(self, publish: Callable[[], None]) -> None:
        """From now on `publish` is called wherever the file has something that must not be lost."""
        self._publish = publish
        self.rows("PRAGMA synchronous = OFF")

    def publish(self) -> None:
        """All who share the task see it as it is now; of a file that all of them open themselves, they do already."""
        if self._publish is not None:
            self._publish()

    def image(self) -> bytes:
        """The database as one file's bytes, with all that was committed."""
        try:
            with self._using:
                if self.connection.in_transaction:
                    raise sqlite3.ProgrammingError(f"{self.path} has an open transaction")
                return self.connection.serialize()
        except sqlite3.Error:
            with translate_errors(self.path):
                raise

    def rows(self, statement: str, *values: Cell) -> list[tuple[Cell, ...]]:
        """Every row at once, so that no statement stays open; storage errors come as Cairn's."""
        try:
            with self._using:
                return self.connection.execute(statement, values).fetchall()
        except sqlite3.Error:
            with translate_errors(self.path):
                raise

    def run(self, statement: str, *values: Cell) -> int:
        """Executes a statement that changes something and says the row id of an insert."""
        try:
            with self._using:
                return self.connection.execute(statement, values).lastrowid or 0
        except sqlite3.Error:
            with translate_errors(self.path):
                raise

    def put_blob(self, data: bytes) -> str:
        """Stores bytes once, under a digest of them, in little room."""
        digest, kept = blob_digest(data), packed(data)
        statement = "INSERT OR IGNORE INTO cairn_blob (digest, size, data) VALUES (?, ?, ?)"
        self.run(statement, digest, len(data), data if kept is None else kept)
        return digest

    def blob(self, digest: str) -> bytes:
        """What `put_blob` stored; DamagedFile when it is missing or differs from its digest."""
        found = self.rows("SELECT size, data FROM cairn_blob WHERE digest = ?", digest)
        return self.checked_blob(digest, *(found[0] if found else (None, None)))

    def blobs(self) -> Iterator[tuple[str, bytes]]:
        """Everything that `put_blob` stored, with its digest. DamagedFile as `blob`."""
        for digest, size, data in self.rows("SELECT digest, size, data FROM cairn_blob"):
            yield str(digest), self.checked_blob(str(digest), size, data)

    def checked_blob(self, digest: str, size: Cell, data: Cell) -> bytes:
        """The content in a row of `cairn_blob`; None where there is no such row. DamagedFile as `blob`."""
        whole = data
        if isinstance(data, bytes) and isinstance(size, int) and len(data) < size <= LARGEST:
            try:
                whole = unpacked(data, size)
            except ValueError:
                whole = None
        if not isinstance(whole, bytes) or blob_digest(whole) != digest:
            raise damaged(self.path, f"Content {digest} is missing or altered.")
        return whole

    def kv_set(self, key: str, value: JSON) -> None:
        """Stores a value where AgentFS tools read it (`kv_store`)."""
        self.run(
            "INSERT INTO kv_store (key, value) VALUES (?, ?)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = unixepoch()",
            key,
            json.dumps(value, ensure_ascii=False, allow_nan=False),
        )

    def kv_get(self, key: str) -> JSON:
        """The value stored under a key; None when there is none."""
        found = self.rows("SELECT value FROM kv_store WHERE key = ?", key)
        if not found:
            return None
        try:
            value: JSON = json.loads(str(found[0][0]))
        except ValueError:
            raise damaged(self.path, f"The value of '{key}' is not JSON.") from None
        return value

    def close(self) -> None:
        """Leaves one plain file, without -wal, once the last connection to it closes."""
        with self._using:
            if self._connection is not None:
                self._connection.close()
            self._closed = True
        _is_closed(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_own_layout(self) -> None:
        layout = self.rows("PRAGMA user_version")[0][0]
        if not isinstance(layout, int) or layout < 1:
            raise damaged(self.path, "It is a database, but not one of a Cairn task.")
        if layout > LAYOUT:
            raise StorageProblem(
                f"{self.path} was written by a newer Cairn.",
                f"It has layout {layout}; this version knows {LAYOUT}.",
                "Use the newer version for this task.",
            )
        self.rows("SELECT path FROM cairn_base LIMIT 1")
        if layout < LAYOUT and self.read_only:
            self._upgrade_in_memory()
        elif layout < LAYOUT:
            self._upgrade()
        if not self.rows("SELECT ino FROM fs_inode WHERE ino = 1"):
            raise damaged(self.path, "Its file tree has no root.")

    def _upgrade_in_memory(self) -> None:
        """Today's tables in a copy, from which it is read from now on."""
        copy = copy_in_memory(self.path)
        if copy is None:
            return
        self.connection.close()
        self._connection, self._stays_open = copy, True
        self._upgrade()
        self.rows("PRAGMA query_only = ON")

    def _run_all(self, statements: str) -> None:
        for statement in statements.split(";\n"):
            self.run(statement)

    def _upgrade(self) -> None:
        with self.transaction():
            layout = self.rows("PRAGMA user_version")[0][0]
            if layout == LAYOUT:  # another process was faster
                return
            if layout == 1:
                self.run("ALTER TABLE cairn_call ADD COLUMN error TEXT")
                self._run_all(_SINCE_2)
            if layout in {1, 2}:
                self._run_all(_SINCE_3)
                for calls in _SPENT_BEFORE_3:
                    into = "cairn_spending (step, purpose, model, input_tokens, output_tokens, at)"
                    self.run(f"INSERT INTO {into} {calls}")
            self.run(f"PRAGMA user_version = {LAYOUT}")


class _Transaction:
    """`transaction()` of sqlite_file with errors in Cairn's words; a class because it runs at every call."""

    def __init__(self, file: TaskFile) -> None:
        self._file = file

    def __enter__(self) -> None:
        try:
            with self._file._using:  # noqa: SLF001 - the same thing's other half
                self._inner = transaction(self._file.connection)
                self._inner.__enter__()
        except sqlite3.Error:
            with translate_errors(self._file.path):
                raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            # While it commits SQLite says already that no transaction is open: it must not be closed then.
            with self._file._using:  # noqa: SLF001
                return self._inner.__exit__(kind, error, trace)
        except sqlite3.Error:
            with translate_errors(self._file.path):
                raise


_OPEN: weakref.WeakSet[TaskFile] = weakref.WeakSet()
_changing_open = threading.Lock()


def _make_way(newcomer: TaskFile) -> None:
    """Of more than `OPEN_FILES`, those that were not used for longest rest."""
    with _changing_open:
        _OPEN.add(newcomer)
        surplus = len(_OPEN) - OPEN_FILES
        oldest = sorted(_OPEN, key=lambda file: file.last_used) if surplus > 0 else []
    if surplus > 0:
        closing().submit(_close_oldest, [file for file in oldest if file is not newcomer], surplus)


def _close_oldest(files: list[TaskFile], count: int) -> None:
    for file in files:
        if count <= 0:
            return
        count -= file.rest()


@lru_cache(maxsize=1)
def closing() -> ThreadPoolExecutor:
    """The thread that closes files, since that waits for the disk, 1 to 10 ms each, and an event loop must not."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(1, "cairn-closing")


def _is_closed(file: TaskFile) -> None:
    with _changing_open:
        _OPEN.discard(file)


def empty_image() -> bytes:
    """A task's file with nothing in it, as a database that can be opened in memory."""
    image = bytearray(_template(""))
    image[18:20] = b"\x01\x01"  # no write-ahead log, which memory has not got
    return bytes(image)


@lru_cache(maxsize=8)
def _template(base: str) -> bytes:
    """A ready-made database: making one by statements on disk costs more than all of a task's start."""
    memory = sqlite3.connect(":memory:", isolation_level=None)
    try:
        memory.executescript(
            f"PRAGMA page_size = {PAGE_BYTES}; BEGIN; {_AGENTFS} {_CAIRN} {_SINCE_2} {_SINCE_3}"
            f" PRAGMA user_version = {LAYOUT}; COMMIT;"
        )
        now = int(time.time())
        memory.execute(
            "INSERT INTO fs_inode (ino, mode, nlink, atime, mtime, ctime) VALUES (1, ?, 1, ?, ?, ?)",
            (0o040755, now, now, now),
        )
        memory.executemany(
            "INSERT INTO fs_config (key, value) VALUES (?, ?)",
            [("schema_version", "0.4"), ("chunk_size", str(CHUNK_BYTES))],
        )
        memory.execute("INSERT INTO fs_overlay_config (key, value) VALUES ('base_path', ?)", (base,))
        image = bytearray(memory.serialize())
    finally:
        memory.close()
    image[18:20] = b"\x02\x02"  # file format: write-ahead log from the first open on, without a write to say so
    return bytes(image)


def remove_task_file(path: Path) -> None:
    """Deletes the file with what SQLite keeps beside it; nothing happens if it is not there."""
    for each in (path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))):
        each.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """What the file or folder holds outlasts a power cut from now on."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _place_whole(path: Path, content: bytes) -> None:
    """Writes beside and links into place, so that a killed process leaves no half file and none is overwritten."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    try:
        draft.write_bytes(content)
        _link(draft, path)
    except FileExistsError:
        raise StorageProblem(f"{path} exists already.", "A task file is made once and never overwritten.") from None
    except FileNotFoundError:
        raise StorageProblem(f"{path} cannot be made.", f"There is no folder {path.parent}.") from None
    finally:
        draft.unlink(missing_ok=True)


def _link(draft: Path, path: Path) -> None:
    try:
        os.link(draft, path)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}:
            raise
        # Some file systems have no hard links; there, only a kill within this write can leave a half file.
        with path.open("xb") as target:
            target.write(draft.read_bytes())

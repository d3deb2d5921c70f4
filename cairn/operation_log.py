"""Every accept and undo of a project with the contents before and after, in `.cairn/operations.db`.

An operation is written here, synced, before the first file of the project changes, and marked once the last one has.
What is still marked as being carried out when nobody holds the project's lock was interrupted.
"""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from cairn.changes import Content, EntryKind
from cairn.errors import StorageProblem
from cairn.file_attributes import Attributes, is_kept
from cairn.hunks import Aspect, Edited, Part, Piece, Selection
from cairn.line_diff import Span
from cairn.packed_bytes import packed, unpacked
from cairn.project_files import Edit, Owner
from cairn.project_path import project_path
from cairn.sqlite_file import connect, damaged, or_copy_in_memory, transaction, translate_errors

VERSION = 5
PAGE_BYTES = 2048  # seven tables and indexes are in it from the start
SMALL = 1_000_000  # bytes of contents up to which an operation's are packed one by one

# 2: which pieces of a task's changes an accept took; without a row it took all of them.
# 3: pieces may be edited by hand.
# 4: contents may be packed; their sizes tell which are.
# 5: extended attributes of what an operation replaced.
_SIZES = ("ALTER TABLE edit ADD COLUMN before_size INTEGER", "ALTER TABLE edit ADD COLUMN after_size INTEGER")
_ATTRIBUTES = "ALTER TABLE edit ADD COLUMN attributes TEXT"
_PART = """CREATE TABLE part (
        operation INTEGER NOT NULL,
        path TEXT NOT NULL,
        pieces TEXT NOT NULL,
        PRIMARY KEY (operation, path)
    )"""
_SCHEMA = (
    """CREATE TABLE operation (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        token TEXT NOT NULL,
        task_id TEXT NOT NULL,
        undoes INTEGER,
        state TEXT NOT NULL,
        recorded INTEGER NOT NULL,
        started_at REAL NOT NULL,
        finished_at REAL
    )""",
    "CREATE INDEX operation_state ON operation (state)",
    """CREATE TABLE edit (
        operation INTEGER NOT NULL,
        position INTEGER NOT NULL,
        path TEXT NOT NULL,
        moved_from TEXT,
        before_kind TEXT, before_mode INTEGER, before_data BLOB,
        after_kind TEXT, after_mode INTEGER, after_data BLOB,
        owner_user INTEGER, owner_group INTEGER,
        before_size INTEGER, after_size INTEGER, attributes TEXT,
        PRIMARY KEY (operation, position)
    )""",
    _PART,
    f"PRAGMA user_version = {VERSION}",
)


# From the version that a file has.
_UPGRADES = {
    0: _SCHEMA,
    1: (_PART, *_SIZES, _ATTRIBUTES, f"PRAGMA user_version = {VERSION}"),
    2: (*_SIZES, _ATTRIBUTES, f"PRAGMA user_version = {VERSION}"),
    3: (*_SIZES, _ATTRIBUTES, f"PRAGMA user_version = {VERSION}"),
    4: (_ATTRIBUTES, f"PRAGMA user_version = {VERSION}"),
}


class OperationState(StrEnum):
    """How far an operation is. An undo is an operation too, and can be undone."""

    APPLYING = "applying"
    APPLIED = "applied"
    UNDOING = "undoing"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class Operation:
    """One accept, or one undo of the operation `undoes`.

    `recorded` is False until the task ledger has followed an accept's present state. `paths` are what it wrote.
    `partial` says that an accept took not all of the task's changes; `where` is the clone that did it, where many can.
    """

    id: int
    token: str
    task_id: str
    undoes: int | None
    state: OperationState
    recorded: bool
    started_at: float
    finished_at: float | None
    paths: tuple[str, ...] = ()
    partial: bool = False
    where: str = ""

    @property
    def kind(self) -> str:
        """The word for people."""
        return "accept" if self.undoes is None else "undo"

    @property
    def in_effect(self) -> bool:
        """True when the project's files have what it did."""
        return self.state in {OperationState.APPLIED, OperationState.UNDOING}


_TOKEN = re.compile("[0-9a-f]{16}")  # it becomes part of file names
_Row = tuple[int, str, str, int | None, str, int, float, float | None]


class OperationLog:
    """The opened log. Every method is one durable transaction."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        self._file = path

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[OperationLog]:
        """Made on first use. Raises DamagedFile, DiskFull or StorageProblem."""
        connection = _connected(path)
        try:
            with translate_errors(path):
                yield cls(connection, path)
        finally:
            connection.close()

    @classmethod
    @contextmanager
    def reading(cls, path: Path) -> Iterator[OperationLog]:
        """As `opened`, also where nothing can be written: then it is as it was at this moment."""
        connection = or_copy_in_memory(path, lambda: _connected(path))
        try:
            with translate_errors(path):
                _prepare(connection, path)
                connection.execute("PRAGMA query_only = ON")
                yield cls(connection, path)
        finally:
            connection.close()

    def begin(
        self,
        task_id: str,
        edits: Sequence[Edit],
        *,
        undoes: int | None,
        now: float,
        part: Selection | None = None,
        token: str | None = None,
    ) -> Operation:
        """From now on `interrupted` gives this operation, until it is finished or forgotten.

        `part` is what an accept takes of the task's changes, None for all. `token` names it; made if not given.
        """
        with transaction(self._db):
            cursor = self._db.execute(
                "INSERT INTO operation (token, task_id, undoes, state, recorded, started_at) VALUES (?, ?, ?, ?, ?, ?)",
                (token or new_token(), task_id, undoes, OperationState.APPLYING, undoes is not None, now),
            )
            identifier = cursor.lastrowid or 0
            self._keep(identifier, edits, part)
            if undoes is not None:
                self._move(undoes, OperationState.UNDOING)
        return self.get(identifier)

    def _keep(self, identifier: int, edits: Sequence[Edit], part: Selection | None) -> None:
        small = sum(len(side.data) for edit in edits for side in (edit.before, edit.after) if side) <= SMALL
        self._db.executemany(
            f"INSERT INTO edit ({_EDIT_COLUMNS})"  # noqa: S608 - our own names
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (_edit_row(identifier, position, edit, small=small) for position, edit in enumerate(edits)),
        )
        self._db.executemany(
            "INSERT INTO part VALUES (?, ?, ?)",
            ((identifier, each.path, pieces_text(each)) for each in (part.parts if part else ())),
        )

    def adopt(self, foreign: Operation, edits: Sequence[Edit], *, undoes: int | None, part: Selection | None) -> int:
        """Another clone's operation is here as it is there, so that it can be taken back here; gives its number here.

        One that is here already gets the state that it has there.
        """
        with transaction(self._db):
            row = self._db.execute("SELECT id FROM operation WHERE token = ?", (foreign.token,)).fetchone()
            if row is not None:
                self._move(row[0], foreign.state)
                return int(row[0])
            cursor = self._db.execute(
                "INSERT INTO operation (token, task_id, undoes, state, recorded, started_at, finished_at)"
                " VALUES (?, ?, ?, ?, 1, ?, ?)",
                (foreign.token, foreign.task_id, undoes, foreign.state, foreign.started_at, foreign.finished_at),
            )
            identifier = cursor.lastrowid or 0
            self._keep(identifier, edits, part)
        return identifier

    def finish(self, operation: Operation, *, now: float) -> Operation:
        """It is applied; what it undid is undone, and what that had undone is in effect again."""
        with transaction(self._db):
            self._move(operation.id, OperationState.APPLIED)
            self._db.execute("UPDATE operation SET finished_at = ? WHERE id = ?", (now, operation.id))
            self._turn(operation.undoes, OperationState.UNDONE)
        return self.get(operation.id)

    def forget(self, operation: Operation) -> None:
        """It was taken back whole: as if it had never begun."""
        with transaction(self._db):
            self._delete(operation.id)
            if operation.undoes is not None:
                self._move(operation.undoes, OperationState.APPLIED)

    def get(self, identifier: int) -> Operation:
        """Raises KeyError for an id that is none."""
        row = self._db.execute("SELECT * FROM operation WHERE id = ?", (identifier,)).fetchone()
        if row is None:
            raise KeyError(identifier)
        return self._operation(row)

    def every(self) -> tuple[Operation, ...]:
        """All operations, the oldest first."""
        rows = self._db.execute("SELECT * FROM operation ORDER BY id").fetchall()
        paths: dict[int, list[str]] = {}  # of all at once: a statement for each operation made each accept slower
        for identifier, path in self._db.execute("SELECT operation, path FROM edit ORDER BY path"):
            paths.setdefault(identifier, []).append(path)
        partial = {identifier for (identifier,) in self._db.execute("SELECT DISTINCT operation FROM part")}
        return tuple(self._known(row, paths.get(row[0], ()), partial=row[0] in partial) for row in rows)

    def interrupted(self) -> Operation | None:
        """The one that is being carried out; there is never more than one."""
        row = self._db.execute(
            "SELECT * FROM operation WHERE state = ? ORDER BY id DESC LIMIT 1", (OperationState.APPLYING,)
        ).fetchone()
        return None if row is None else self._operation(row)

    def edits(self, identifier: int) -> tuple[Edit, ...]:
        """What it did, contents included."""
        rows = self._db.execute(
            f"SELECT {_EDIT_COLUMNS} FROM edit WHERE operation = ? ORDER BY position",  # noqa: S608 - our own names
            (identifier,),
        )
        return tuple(map(self._edit, rows))

    def _edit(self, row: tuple[Any, ...]) -> Edit:
        _, _, path, moved_from, kind, mode, data, new_kind, new_mode, new_data, user, group, size, new_size, noted = row
        before = self._content(kind, mode, data, size)
        return Edit(
            self._own(path),
            before,
            self._content(new_kind, new_mode, new_data, new_size, before.data if before else b""),
            None if user is None else Owner(user, group, self._attributes(noted)),
            None if moved_from is None else self._own(moved_from),
        )

    def _content(self, kind: str | None, mode: int, data: bytes, size: int | None, like: bytes = b"") -> Content | None:
        if kind is None:
            return None
        try:
            return Content(EntryKind(kind), mode, data if size is None else unpacked(data, size, like))
        except ValueError as error:
            raise damaged(self._file, f"A content in it cannot be read: {error}.") from None

    def _attributes(self, text: str | None) -> Attributes:
        try:
            every = {} if text is None else json.loads(text)
            return tuple((name, b64decode(value, validate=True)) for name, value in every.items() if is_kept(name))
        except (AttributeError, TypeError, ValueError):
            raise damaged(self._file, f"It has attributes of a file that are none: {str(text)[:80]!r}.") from None

    def moves_since(self, identifier: int) -> tuple[dict[str, str], ...]:
        """New names by old ones, for each later operation in effect that renamed something."""
        rows = self._db.execute(
            "SELECT operation, moved_from, path FROM edit JOIN operation ON operation.id = edit.operation"
            " WHERE operation > ? AND moved_from IS NOT NULL AND state IN (?, ?) ORDER BY operation",
            (identifier, OperationState.APPLIED, OperationState.UNDOING),
        )
        found: dict[int, dict[str, str]] = {}
        for operation, old, new in rows:
            found.setdefault(operation, {})[self._own(old)] = self._own(new)
        return tuple(found.values())

    def accepted(self, task_id: str) -> Selection:
        """What the accepts of a task that are in effect took of its changes."""
        rows = self._db.execute(
            "SELECT part.path, part.pieces FROM operation LEFT JOIN part ON part.operation = operation.id"
            " WHERE task_id = ? AND undoes IS NULL AND state IN (?, ?)",
            (task_id, OperationState.APPLIED, OperationState.UNDOING),
        ).fetchall()
        parts = [Part(path, frozenset(self._pieces(pieces))) for path, pieces in rows if path is not None]
        return Selection.joined(parts, everything=len(parts) < len(rows))

    def part(self, identifier: int) -> Selection:
        """What one accept took of its task's changes."""
        rows = self._db.execute("SELECT path, pieces FROM part WHERE operation = ?", (identifier,)).fetchall()
        parts = [Part(path, frozenset(self._pieces(pieces))) for path, pieces in rows]
        return Selection.joined(parts, everything=not rows)

    def _pieces(self, text: str) -> Iterator[Piece]:
        try:
            yield from pieces_from(text)
        except (TypeError, ValueError):
            raise damaged(self._file, f"It names pieces of a change that there are not: {text[:80]!r}.") from None

    def _delete(self, identifier: int) -> None:
        for table, column in (("part", "operation"), ("edit", "operation"), ("operation", "id")):
            self._db.execute(f"DELETE FROM {table} WHERE {column} = ?", (identifier,))  # noqa: S608 - our own names

    def _own(self, path: str) -> str:
        """A logged path, judged again: a log that came with somebody's repository must not reach `.git` or beyond."""
        try:
            if project_path(path) == path:
                return path
        except (TypeError, ValueError, PermissionError):
            pass
        raise damaged(self._file, f"It names a path that no operation can have: {path!r}.")

    def mark_recorded(self, identifier: int) -> None:
        """The ledger knows its present state."""
        self._db.execute("UPDATE operation SET recorded = 1 WHERE id = ?", (identifier,))

    def stored_bytes(self, identifier: int) -> int:
        """How much room its contents take, before and after."""
        query = (
            "SELECT SUM(IFNULL(LENGTH(before_data), 0) + IFNULL(LENGTH(after_data), 0)) FROM edit WHERE operation = ?"
        )
        (found,) = self._db.execute(query, (identifier,)).fetchone()
        return int(found or 0)

    def drop(self, identifiers: Sequence[int]) -> None:
        """These can never be undone again, and are listed no more; their numbers are not given anew."""
        with transaction(self._db):
            for identifier in identifiers:
                self._delete(identifier)

    def compact(self) -> None:
        """Gives the room of what was dropped back to the disk; where that is not possible, it is used again later."""
        with suppress(sqlite3.OperationalError):  # read by another process, or no room for the copy that it needs
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _turn(self, identifier: int | None, state: OperationState) -> None:
        """Undone and applied alternate along the chain of undos down to the accept, which the ledger must follow."""
        while identifier is not None:
            self._move(identifier, state)
            (undoes,) = self._db.execute("SELECT undoes FROM operation WHERE id = ?", (identifier,)).fetchone()
            if undoes is None:
                self._db.execute("UPDATE operation SET recorded = 0 WHERE id = ?", (identifier,))
            state = OperationState.APPLIED if state is OperationState.UNDONE else OperationState.UNDONE
            identifier = undoes

    def _move(self, identifier: int, state: OperationState) -> None:
        self._db.execute("UPDATE operation SET state = ? WHERE id = ?", (state, identifier))

    def _operation(self, row: _Row) -> Operation:
        paths = self._db.execute("SELECT path FROM edit WHERE operation = ? ORDER BY path", row[:1]).fetchall()
        partial = self._db.execute("SELECT 1 FROM part WHERE operation = ?", row[:1]).fetchone() is not None
        return self._known(row, [path for (path,) in paths], partial=partial)

    def _known(self, row: _Row, paths: Sequence[str], *, partial: bool) -> Operation:
        identifier, token, task_id, undoes, state, recorded, started_at, finished_at = row
        if not _TOKEN.fullmatch(token):
            raise damaged(self._file, f"Operation {identifier} has no token of ours.")
        return Operation(
            identifier,
            token,
            task_id,
            undoes,
            OperationState(state),
            bool(recorded),
            started_at,
            finished_at,
            tuple(paths),
            partial,
        )


def expired(
    every: Sequence[Operation], *, before: float, newest: int, open_tasks: Collection[str]
) -> tuple[Operation, ...]:
    """Those that need not stay undoable: all that belongs to the same accept is older than `before`.

    Accepts of parts of the same task stay or go together. None of the `newest` operations, none of a task in
    `open_tasks`, and none that is not settled or not recorded.
    """
    root: dict[int, int] = {}  # operation -> the accept that its chain of undos began with, or the task's first part
    first_part: dict[str, int] = {}
    for each in every:
        begins = first_part.setdefault(each.task_id, each.id) if each.partial else each.id
        root[each.id] = begins if each.undoes is None else root.get(each.undoes, each.undoes)
    recent = {each.id for each in sorted(every, key=lambda each: each.id)[len(every) - min(newest, len(every)) :]}
    settled = {OperationState.APPLIED, OperationState.UNDONE}
    kept = {
        root[each.id]
        for each in every
        if each.id in recent
        or each.task_id in open_tasks
        or (each.finished_at or each.started_at) >= before
        or each.state not in settled
        or not each.recorded
    }
    return tuple(each for each in every if root[each.id] not in kept)


def _connected(path: Path) -> sqlite3.Connection:
    """With today's tables."""
    connection = connect(path, durable=True, page_bytes=PAGE_BYTES)
    try:
        with translate_errors(path):
            _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise StorageProblem(f"{path} was written by a newer Cairn.", fix="Use that version in this project.")
    if version < VERSION:
        with transaction(connection):
            # Another process may have made the tables since.
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            for statement in _UPGRADES.get(version, ()):
                connection.execute(statement)


_EDIT_COLUMNS = (
    "operation, position, path, moved_from, before_kind, before_mode, before_data, after_kind, after_mode, after_data,"
    " owner_user, owner_group, before_size, after_size, attributes"
)


def _edit_row(operation: int, position: int, edit: Edit, *, small: bool) -> tuple[object, ...]:
    """A new content is kept as what makes it out of the old one, in no more time than writing it whole.

    A content by itself takes longer to pack than to write, so only few are.
    """
    like = edit.before.data if edit.before else b""
    before, before_size = _side(edit.before, packing=small)
    after, after_size = _side(edit.after, like, packing=small or bool(like))
    owner = (None, None) if edit.owner is None else (edit.owner.user, edit.owner.group)
    row = (operation, position, edit.path, edit.moved_from, *before, *after, *owner, before_size, after_size)
    return (*row, _attributes_text(edit.owner.attributes if edit.owner else ()))


def _attributes_text(attributes: Attributes) -> str | None:
    return json.dumps({name: b64encode(value).decode() for name, value in attributes}) if attributes else None


def new_token() -> str:
    """For an operation that is about to begin."""
    return secrets.token_hex(8)


def pieces_from(text: str) -> Iterator[Piece]:
    """The reverse of `pieces_text`. Raises TypeError or ValueError for what that never wrote."""
    return map(_piece, json.loads(text))


def pieces_text(part: Part) -> str:
    """The pieces of a change as they are kept."""
    return json.dumps([_written(piece) for piece in sorted(part.pieces, key=str)])


def _written(piece: Piece) -> object:
    if isinstance(piece, Edited):
        return [piece.old_start, piece.old_end, piece.text.decode("utf-8", "surrogateescape")]
    return piece


def _piece(value: object) -> Piece:
    """The reverse of `_written`. Raises TypeError or ValueError for what that never wrote."""
    match value:
        case str():
            return Aspect(value)
        case [int(start), int(end), str(text)]:
            return Edited(start, end, text.encode("utf-8", "surrogateescape"))
        case [int(), int(), int(), int()]:
            return Span(*value)
    raise ValueError(value)


def _side(
    content: Content | None, like: bytes = b"", *, packing: bool
) -> tuple[tuple[str | None, int | None, bytes | None], int | None]:
    """Its columns, and its size if it is packed."""
    if content is None:
        return (None, None, None), None
    short = packed(content.data, like) if packing else None
    if short is None:
        return (content.kind.value, content.mode, content.data), None
    return (content.kind.value, content.mode, short), len(content.data)

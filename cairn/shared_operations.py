"""Accepts and undos that many clones share, with their contents before and after, in the ledger's own database.

Each is here from the transaction in which its task moved; its contents came before it, so that none is without them.
What is too large for a row goes to the object store, by the name of its own digest.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cairn.changes import Content, EntryKind
from cairn.errors import NotFound, StorageProblem
from cairn.hunks import Part, Selection
from cairn.ledger_answer import Order
from cairn.ledger_database import LedgerDatabase
from cairn.ledger_place import LedgerServer
from cairn.object_store import ObjectStore
from cairn.operation_log import Operation, OperationState, pieces_from, pieces_text
from cairn.project_files import Edit
from cairn.project_path import project_path

LARGEST_ROW = 10_000_000
TABLES = """
CREATE TABLE IF NOT EXISTS operation (
    number INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE, task TEXT NOT NULL, undoes INTEGER, state TEXT NOT NULL,
    started_at REAL NOT NULL, finished_at REAL, holder TEXT NOT NULL, paths TEXT NOT NULL, part TEXT
);
CREATE INDEX IF NOT EXISTS operation_by_task ON operation (task);
CREATE TABLE IF NOT EXISTS operation_data (token TEXT PRIMARY KEY, data BLOB, object TEXT) WITHOUT ROWID;
"""
_EVERY = (
    "SELECT number, token, task, undoes, state, started_at, finished_at, holder, paths, part"
    " FROM operation ORDER BY number"
)


class SharedOperations:
    """The operations of a ledger. Their numbers are the same for all clones, and other ones than each clone's own."""

    def __init__(self, database: LedgerDatabase, holder: str, objects: Callable[[], ObjectStore | None]) -> None:
        self._db = database
        self._holder = holder
        self._objects = objects
        self._project = database.place.project if isinstance(database.place, LedgerServer) else "project"
        database.ensure(TABLES)

    # -- reading -------------------------------------------------------------------------------------------------------

    def every(self) -> tuple[Operation, ...]:
        """All operations, the oldest first; `where` says which clone did each."""
        return tuple(map(_operation, self._db.execute(_EVERY).rows))

    def accepted(self, task_id: str) -> Selection:
        """What the accepts of a task that are in effect took of its changes."""
        query = "SELECT part FROM operation WHERE task = ? AND undoes IS NULL AND state = ?"
        rows = self._db.execute(query, (task_id, OperationState.APPLIED)).rows
        parts = [each for (text,) in rows if text is not None for each in _parts(text)]
        return Selection.joined(parts, everything=any(text is None for (text,) in rows))

    def part(self, number: int) -> Selection:
        """What one accept took of its task's changes."""
        (text,) = self._db.execute("SELECT part FROM operation WHERE number = ?", (number,)).rows[0]
        return Selection.joined(_parts(text) if text is not None else (), everything=text is None)

    def number(self, token: str) -> int | None:
        """That of the operation with the token; None for one that was not published."""
        row = self._db.execute("SELECT number FROM operation WHERE token = ?", (token,)).first()
        return None if row is None else int(row[0])

    def edits(self, operation: Operation) -> tuple[Edit, ...]:
        """What it did, contents included. Raises NotFound where they could not be published."""
        query = "SELECT data, object FROM operation_data WHERE token = ?"
        row = self._db.execute(query, (operation.token,)).first()
        if row is None:
            raise NotFound(
                f"What operation {operation.id} wrote is not with the server.",
                "It was too large for a row, and no place for large contents was set where it was done.",
                f"cairn undo --op {operation.id}   works in {operation.where}.",
            )
        data, name = row
        return tuple(_edits(self._fetched(name) if data is None else bytes(data), operation))

    def _fetched(self, name: str) -> bytes:
        objects = self._objects()
        if objects is None:
            raise StorageProblem(
                "What the operation wrote lies in an object store, and none is set here.",
                fix="Set engine.objects to the same address as on the machine that wrote it.",
            )
        return objects.get(name)

    # -- writing -------------------------------------------------------------------------------------------------------

    def keep_contents(self, operation: Operation, edits: Sequence[Edit]) -> None:
        """Before `follow`, which is then short. Nothing happens for what is here."""
        if self._db.execute("SELECT 1 FROM operation_data WHERE token = ?", (operation.token,)).first() is not None:
            return
        data: bytes | None = _packed(edits)
        name = None
        if data is not None and len(data) > LARGEST_ROW:
            objects = self._objects()
            if objects is None:
                return  # it is accepted all the same, and can be taken back where it was
            name = f"operations/{self._project}/{operation.token}-{hashlib.sha256(data).hexdigest()}"
            objects.put(name, data)
            data = None
        statement = "INSERT INTO operation_data (token, data, object) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        self._db.write(lambda: self._db.execute(statement, (operation.token, data, name)), order=Order.NONE)

    def follow(self, chain: Sequence[tuple[Operation, Selection | None]]) -> None:
        """The clone's own operations of one accept, from it to its last undo, are here as they are there.

        With each goes what an accept took, None for all.
        """
        numbers: dict[int, int] = {}
        for operation, part in chain:
            undoes = None if operation.undoes is None else numbers[operation.undoes]
            numbers[operation.id] = self._moved(operation) or self._begun(operation, undoes, part)

    def _moved(self, operation: Operation) -> int | None:
        query = "UPDATE operation SET state = ? WHERE token = ? RETURNING number"
        row = self._db.execute(query, (operation.state, operation.token)).first()
        return None if row is None else int(row[0])

    def _begun(self, operation: Operation, undoes: int | None, part: Selection | None) -> int:
        rows = self._db.execute(
            "INSERT INTO operation (token, task, undoes, state, started_at, finished_at, holder, paths, part)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING number",
            (
                operation.token, operation.task_id, undoes, operation.state, operation.started_at,
                operation.finished_at, self._holder, json.dumps(operation.paths),
                None if part is None else _part_text(part),
            ),
        ).rows  # fmt: skip
        return int(rows[0][0])

    def drop(self, operations: Sequence[Operation]) -> None:
        """These can never be taken back again, and are listed no more. Objects go first: a row without is told so."""
        for each in operations:
            row = self._db.execute("SELECT object FROM operation_data WHERE token = ?", (each.token,)).first()
            if row is not None and row[0] is not None and (objects := self._objects()) is not None:
                objects.delete(row[0])

        def drop() -> None:
            for each in operations:
                self._db.execute("DELETE FROM operation_data WHERE token = ?", (each.token,))
                self._db.execute("DELETE FROM operation WHERE token = ?", (each.token,))

        self._db.write(drop)


def _operation(row: Sequence[Any]) -> Operation:
    number, token, task_id, undoes, state, started_at, finished_at, holder, paths, part = row
    return Operation(
        number,
        token,
        task_id,
        undoes,
        OperationState(state),
        recorded=True,
        started_at=started_at,
        finished_at=finished_at,
        paths=tuple(json.loads(paths)),
        partial=part is not None,
        where=holder,
    )


# -- as texts and bytes ------------------------------------------------------------------------------------------------


def _part_text(part: Selection) -> str:
    return json.dumps({each.path: pieces_text(each) for each in part.parts})


def _parts(text: str) -> Iterator[Part]:
    for path, pieces in json.loads(text).items():
        yield Part(path, frozenset(pieces_from(pieces)))


def _packed(edits: Sequence[Edit]) -> bytes:
    """Without owners: they are numbers of another machine's users."""
    rows = [
        {"path": edit.path, "from": edit.moved_from, "before": _side(edit.before), "after": _side(edit.after)}
        for edit in edits
    ]
    return zlib.compress(json.dumps(rows).encode(), 1)


def _side(content: Content | None) -> list[object] | None:
    return None if content is None else [content.kind, content.mode, b64encode(content.data).decode()]


def _edits(data: bytes, operation: Operation) -> Iterator[Edit]:
    """Each path is judged: what came from elsewhere must reach neither `.git` nor beyond the project."""
    try:
        for row in json.loads(zlib.decompress(data)):
            before, after = _content(row["before"]), _content(row["after"])
            moved_from = None if row["from"] is None else _own(row["from"])
            yield Edit(_own(row["path"]), before, after, None, moved_from)
    except (KeyError, TypeError, ValueError, PermissionError, zlib.error):
        raise StorageProblem(
            f"What operation {operation.id} wrote cannot be read.", "It is not what Cairn writes."
        ) from None


def _own(path: str) -> str:
    if project_path(path) != path:
        raise ValueError(path)
    return path


def _content(side: list[Any] | None) -> Content | None:
    if side is None:
        return None
    kind, mode, data = side
    return Content(EntryKind(kind), int(mode) & 0o7777, b64decode(data, validate=True))

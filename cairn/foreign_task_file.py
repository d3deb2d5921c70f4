"""What a task's file that was made elsewhere may hold: the tables of such files, and plain paths."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

from cairn.project_path import project_path
from cairn.task_file import empty_image

_PATHS = (("cairn_base", "path"), ("cairn_move", "target"), ("cairn_move", "source"))


def opened_as_data(path: Path) -> sqlite3.Connection:
    """Only for reading, with nothing of the file's own schema being carried out. Raises sqlite3.Error."""
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def require_tables(connection: sqlite3.Connection, tables: Collection[str]) -> None:
    """Raises ValueError unless it has these tables, and no triggers or views, which would run when it is used."""
    found = {str(name): str(kind) for kind, name in connection.execute("SELECT type, name FROM sqlite_schema")}
    missing = [table for table in tables if found.get(table) != "table"]
    if missing or "view" in found.values() or "trigger" in found.values():
        raise ValueError(f"It has no table {missing[0]}." if missing else "It has triggers or views.")


def require_own_schema(connection: sqlite3.Connection) -> None:
    """Raises ValueError unless each table and index is one of this or an earlier version, and plain."""
    known = _known_names()
    for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_schema"):
        words = str(sql or "").upper()
        if kind not in {"table", "index"} or name not in known or "VIRTUAL" in words or "GENERATED" in words:
            raise ValueError(f"It has a {kind} '{name}', which no task's file has.")


def require_plain_paths(connection: sqlite3.Connection) -> None:
    """Raises ValueError for a path in it that leads out of a project, or is written in another way than Cairn's."""
    for table, column in _PATHS:
        for (path,) in connection.execute(f"SELECT {column} FROM {table}"):  # noqa: S608 - our own names
            require_plain(path)
    for (name,) in connection.execute("SELECT name FROM fs_dentry"):
        if name != Path(str(name)).name:
            raise ValueError(f"it has a file with the name {name!r}")


def require_plain(path: object) -> None:
    """Raises ValueError for a text that is no path of a project."""
    if path != "." and project_path(path) != path:
        raise ValueError(f"it names the path {path!r}")


@lru_cache(maxsize=1)
def _known_names() -> frozenset[str]:
    memory = sqlite3.connect(":memory:")
    try:
        memory.deserialize(empty_image())
        return frozenset(str(name) for (name,) in memory.execute("SELECT name FROM sqlite_schema"))
    finally:
        memory.close()

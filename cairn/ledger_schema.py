"""The ledger's tables, and how a ledger of an earlier Cairn gets them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from cairn.errors import UsageProblem
from cairn.sqlite_file import transaction
from cairn.task import MOVES

# 1: the first ledger. `legal_move` is filled from `task.MOVES`, so that the database refuses what the code would; the
# trigger on a changed status also writes the event, so that no move goes unrecorded.
# 2: tasks that wait, and that go on after they ended; a task's own settings; a wish to cancel one.
# 3: the terms of queued tasks, which tasks come after which, models that are paused.
# 4: which tasks are variants of each other.
# 5: the git commit that a task works on.
_SINCE_3 = """
CREATE TABLE need (task TEXT NOT NULL, needs TEXT NOT NULL, PRIMARY KEY (task, needs)) WITHOUT ROWID;
CREATE INDEX need_by_needed ON need (needs);
CREATE TABLE pause (
    model TEXT PRIMARY KEY, until REAL NOT NULL, reason TEXT NOT NULL, failures INTEGER NOT NULL, since REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX task_to_claim ON task (priority DESC, created_at)
    WHERE status = 'queued' AND unmet = 0 AND owner IS NULL;
CREATE INDEX task_by_owner ON task (owner) WHERE owner IS NOT NULL;
CREATE INDEX task_by_key ON task (key) WHERE key IS NOT NULL;
CREATE INDEX task_by_model ON task (model, status) WHERE model <> '';
CREATE TRIGGER needed_task_is_accepted AFTER UPDATE OF status ON task
    WHEN NEW.status = 'accepted' AND OLD.status <> 'accepted' BEGIN
    UPDATE task SET unmet = unmet - 1 WHERE id IN (SELECT task FROM need WHERE needs = NEW.id); END;
CREATE TRIGGER needed_task_is_not_accepted AFTER UPDATE OF status ON task
    WHEN OLD.status = 'accepted' AND NEW.status <> 'accepted' BEGIN
    UPDATE task SET unmet = unmet + 1 WHERE id IN (SELECT task FROM need WHERE needs = NEW.id); END;
"""
_SINCE_4 = """
CREATE INDEX task_by_group ON task (variant_group) WHERE variant_group IS NOT NULL;
"""
_SCHEMA = """
CREATE TABLE task (
    id TEXT PRIMARY KEY, request TEXT NOT NULL, source TEXT NOT NULL, name TEXT NOT NULL, program TEXT,
    parameters TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL, attempt INTEGER NOT NULL,
    created_at REAL NOT NULL, started_at REAL, finished_at REAL, retry_of TEXT,
    owner TEXT, lease_until REAL, outcome TEXT NOT NULL, changed_at REAL NOT NULL,
    options TEXT NOT NULL DEFAULT '{}', cancel_asked_at REAL,
    priority INTEGER NOT NULL DEFAULT 0, not_before REAL NOT NULL DEFAULT 0, deadline REAL, key TEXT,
    max_attempts INTEGER NOT NULL DEFAULT 3, tags TEXT NOT NULL DEFAULT '[]', accepts INTEGER NOT NULL DEFAULT 0,
    model TEXT NOT NULL DEFAULT '', in_vain INTEGER NOT NULL DEFAULT 0, waits_for TEXT NOT NULL DEFAULT '',
    unmet INTEGER NOT NULL DEFAULT 0, variant_group TEXT, base TEXT NOT NULL DEFAULT ''
);
CREATE INDEX task_by_status ON task (status, created_at);
CREATE INDEX task_by_age ON task (created_at);
CREATE TABLE event (
    number INTEGER PRIMARY KEY, task TEXT NOT NULL, at REAL NOT NULL,
    was TEXT, became TEXT NOT NULL, reason TEXT NOT NULL
);
CREATE INDEX event_by_task ON event (task, number);
CREATE TABLE legal_move (was TEXT NOT NULL, became TEXT NOT NULL, PRIMARY KEY (was, became)) WITHOUT ROWID;
CREATE TRIGGER task_moves_legally BEFORE UPDATE OF status ON task WHEN NEW.status IS NOT OLD.status AND NOT EXISTS
    (SELECT 1 FROM legal_move WHERE was = OLD.status AND became = NEW.status)
    BEGIN SELECT RAISE(ABORT, 'illegal move'); END;
CREATE TRIGGER task_move_is_recorded AFTER UPDATE OF status ON task WHEN NEW.status IS NOT OLD.status BEGIN
    INSERT INTO event (task, at, was, became, reason)
    VALUES (NEW.id, NEW.changed_at, OLD.status, NEW.status, NEW.reason); END;
CREATE TRIGGER task_birth_is_recorded AFTER INSERT ON task BEGIN
    INSERT INTO event (task, at, was, became, reason)
    VALUES (NEW.id, NEW.changed_at, NULL, NEW.status, NEW.reason); END;
"""
VERSION = 5
_UPGRADES = {  # from each earlier version to the next one
    1: """
ALTER TABLE task ADD COLUMN options TEXT NOT NULL DEFAULT '{}';
ALTER TABLE task ADD COLUMN cancel_asked_at REAL;
""",
    2: """
ALTER TABLE task ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task ADD COLUMN not_before REAL NOT NULL DEFAULT 0;
ALTER TABLE task ADD COLUMN deadline REAL;
ALTER TABLE task ADD COLUMN key TEXT;
ALTER TABLE task ADD COLUMN max_attempts INTEGER NOT NULL DEFAULT 3;
ALTER TABLE task ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
ALTER TABLE task ADD COLUMN accepts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task ADD COLUMN model TEXT NOT NULL DEFAULT '';
ALTER TABLE task ADD COLUMN in_vain INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task ADD COLUMN waits_for TEXT NOT NULL DEFAULT '';
ALTER TABLE task ADD COLUMN unmet INTEGER NOT NULL DEFAULT 0;
UPDATE task SET model = name WHERE source = 'model';
"""
    + _SINCE_3,
    3: f"""
ALTER TABLE task ADD COLUMN variant_group TEXT;
{_SINCE_4}""",
    4: "ALTER TABLE task ADD COLUMN base TEXT NOT NULL DEFAULT '';",
}


def bring_up_to_date(db: sqlite3.Connection, path: Path) -> None:
    """A new or an earlier ledger gets today's tables, in one transaction. Raises UsageProblem for a newer Cairn's."""
    if _version(db) == VERSION:
        return
    with transaction(db):
        version = _version(db)
        if version > VERSION:
            raise UsageProblem(
                f"{path} was written by a newer Cairn (format {version}, this one knows {VERSION}).",
                fix="pip install --upgrade cairn",
            )
        if version == VERSION:  # another process was faster
            return
        upgrades = [_UPGRADES[each] for each in range(version, VERSION)] if version else []
        for script in upgrades or (_SCHEMA, _SINCE_3, _SINCE_4):
            for statement in _statements(script):
                db.execute(statement)
        moves = [(was, became) for was, targets in MOVES.items() for became in targets]
        db.executemany("INSERT OR IGNORE INTO legal_move VALUES (?, ?)", moves)
        db.execute(f"PRAGMA user_version = {VERSION}")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _statements(script: str) -> Iterator[str]:
    """The script's statements one by one: `executescript` would commit the transaction it runs in."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""

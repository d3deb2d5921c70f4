"""A ledger of an earlier Cairn opens, with all that it held."""

from __future__ import annotations

import sqlite3

import pytest

from cairn.queue import TaskQueue
from cairn.task import TaskStatus
from cairn.task_owner import Owner

OF_1 = """
CREATE TABLE task (
    id TEXT PRIMARY KEY, request TEXT NOT NULL, source TEXT NOT NULL, name TEXT NOT NULL, program TEXT,
    parameters TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL, attempt INTEGER NOT NULL,
    created_at REAL NOT NULL, started_at REAL, finished_at REAL, retry_of TEXT,
    owner TEXT, lease_until REAL, outcome TEXT NOT NULL, changed_at REAL NOT NULL
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
TO_2 = """
ALTER TABLE task ADD COLUMN options TEXT NOT NULL DEFAULT '{}';
ALTER TABLE task ADD COLUMN cancel_asked_at REAL;
"""
ROWS = """
INSERT INTO legal_move VALUES ('queued', 'running'), ('running', 'in review');
INSERT INTO task (id, request, source, name, parameters, status, reason, attempt, created_at, outcome, changed_at)
VALUES ('bcdfgh', 'add docstrings', 'model', 'gpt-x', '{}', 'queued', '', 0, 1.0, '{"steps": 2, "gone": 1}', 1.0),
       ('jklmnp', 'fix', 'file', 'fix.py', '{}', 'in review', '', 1, 2.0, '{}', 2.0);
"""


@pytest.mark.parametrize("layout", [1, 2])
def test_a_ledger_of_an_earlier_layout_opens_and_works(tmp_path, layout):
    with sqlite3.connect(tmp_path / "cairn.db") as old:
        old.executescript(OF_1 + (TO_2 if layout == 2 else "") + ROWS + f"PRAGMA user_version = {layout};")
    old.close()

    with TaskQueue(tmp_path / "cairn.db") as queue:
        review, waiting = queue.tasks()
        assert (review.id, review.status, review.model) == ("jklmnp", TaskStatus.IN_REVIEW, "")
        assert (waiting.id, waiting.model, waiting.outcome.steps) == ("bcdfgh", "gpt-x", 2)
        claimed = queue.claim(Owner.this_process())
        assert claimed is not None
        assert claimed.id == "bcdfgh"
        queue.requeue(claimed)  # a move that layout 1 did not know


def test_an_upgraded_ledger_has_the_tables_of_a_new_one(tmp_path):
    with sqlite3.connect(tmp_path / "old.db") as old:
        old.executescript(OF_1 + ROWS + "PRAGMA user_version = 1;")
    old.close()
    found = []
    for name in ("old.db", "new.db"):
        TaskQueue(tmp_path / name).close()
        with sqlite3.connect(tmp_path / name) as db:
            columns = db.execute("SELECT name, type, \"notnull\", dflt_value FROM pragma_table_info('task')").fetchall()
            others = db.execute("SELECT name, sql FROM sqlite_master WHERE name <> 'task' ORDER BY name").fetchall()
            moves = db.execute("SELECT * FROM legal_move ORDER BY was, became").fetchall()
        db.close()
        found.append((columns, others, moves))

    assert found[0] == found[1]


def test_two_processes_may_open_an_earlier_ledger_at_once(tmp_path):
    with sqlite3.connect(tmp_path / "cairn.db") as old:
        old.executescript(OF_1 + ROWS + "PRAGMA user_version = 1;")
    old.close()

    from concurrent.futures import ThreadPoolExecutor

    def opened(_one: int) -> int:
        with TaskQueue(tmp_path / "cairn.db") as queue:
            return len(queue.tasks())

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(opened, range(6))) == [2] * 6

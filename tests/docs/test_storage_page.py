"""docs/storage.md shows the tables as they are."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from cairn import kept_bases, shared_operations
from cairn.day_budget import DayBudget
from cairn.fleet import Fleet
from cairn.metering import Ceilings
from cairn.operation_log import OperationLog
from cairn.queue import TaskQueue
from cairn.sqlite_file import connect
from cairn.task_content import TABLES
from cairn.task_file import TaskFile

PAGE = (Path(__file__).parents[2] / "docs/storage.md").read_text(encoding="utf-8")
LEDGER, OPERATIONS = "## The ledger: cairn.db", "## The operations: operations.db"
SERVER = "## On a server: task_data, task_part, operation, operation_data"


def plain(statement):
    return " ".join(statement.split()).rstrip(";")


def statements(part):
    """A trigger's text has semicolons of its own; SQLite knows where it ends."""
    shown, one = [], ""
    for line in "".join(re.findall(r"```sql\n(.*?)```", part, re.DOTALL)).splitlines(keepends=True):
        one += line
        if sqlite3.complete_statement(one):
            shown.append(plain(one))
            one = ""
    return sorted(shown)


def made(path):
    connection = connect(path)
    found = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")
    kept = sorted(plain(sql) for (sql,) in found.fetchall())
    connection.close()
    return kept


@pytest.fixture
def files(tmp_path):
    TaskFile.create(tmp_path / "task.db", base=tmp_path).close()
    TaskQueue(tmp_path / "ledger.db").close()
    with DayBudget(tmp_path / "ledger.db", Ceilings()) as day, Fleet(tmp_path / "ledger.db") as fleet:
        day.today(), fleet.crews()  # each brings its table when it is first used
    with OperationLog.opened(tmp_path / "operations.db"):
        pass
    return tmp_path


def test_the_page_has_every_table_index_and_trigger_of_each_file_and_no_other(files):
    task, rest = PAGE.split(LEDGER)
    ledger, rest = rest.split(OPERATIONS)
    operations, server = rest.split(SERVER)

    assert statements(task) == made(files / "task.db")
    assert statements(ledger) == made(files / "ledger.db")
    assert statements(operations) == made(files / "operations.db")
    shared = f"{TABLES}\n{shared_operations.TABLES}\n{kept_bases.TABLE}".replace("IF NOT EXISTS ", "").strip()
    assert statements(server) == statements(f"```sql\n{shared}\n```")

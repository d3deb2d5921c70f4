"""The ledger's tables, and how a ledger of an earlier Cairn gets them. Each database runs it its own way."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from cairn.errors import UsageProblem
from cairn.ledger_dialect import Dialect
from cairn.task import MOVES

# 1: the first ledger. `legal_move` is filled from `task.MOVES`, so that the database refuses what the code would; the
# trigger on a changed status also writes the event, so that no move goes unrecorded.
# 2: tasks that wait, and that go on after they ended; a task's own settings; a wish to cancel one.
# 3: the terms of queued tasks, which tasks come after which, models that are paused.
# 4: which tasks are variants of each other.
# 5: the git commit that a task works on.
# 6: which clone is accepting a task, and which had to give one up.
# 7: which crews there are (before, the first crew made that table), and which models each cannot ask.
# 8: on a server whoever changed something tells of it behind the commit, no more the trigger within it.
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
"""
_SINCE_4 = """
CREATE INDEX task_by_group ON task (variant_group) WHERE variant_group IS NOT NULL;
"""
_SINCE_6 = """
CREATE TABLE acceptance (
    task TEXT PRIMARY KEY, token TEXT NOT NULL, holder TEXT NOT NULL, kind TEXT NOT NULL, at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE overruled (
    token TEXT PRIMARY KEY, task TEXT NOT NULL, holder TEXT NOT NULL, kind TEXT NOT NULL, at REAL NOT NULL,
    overruled_by TEXT NOT NULL, told INTEGER NOT NULL
) WITHOUT ROWID;
"""
_SINCE_7 = """
CREATE TABLE IF NOT EXISTS worker (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, version TEXT NOT NULL, engine TEXT NOT NULL, executor TEXT NOT NULL,
    size INTEGER NOT NULL, members TEXT NOT NULL, stopping INTEGER NOT NULL,
    started_at REAL NOT NULL, beat_at REAL NOT NULL
);
CREATE TABLE lack (
    crew TEXT NOT NULL, model TEXT NOT NULL, wants TEXT NOT NULL, why TEXT NOT NULL, fix TEXT NOT NULL,
    since REAL NOT NULL, until REAL NOT NULL, PRIMARY KEY (crew, model)
) WITHOUT ROWID;
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
"""
_TRIGGERS = """
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
_TRIGGERS_SINCE_3 = """
CREATE TRIGGER needed_task_is_accepted AFTER UPDATE OF status ON task
    WHEN NEW.status = 'accepted' AND OLD.status <> 'accepted' BEGIN
    UPDATE task SET unmet = unmet - 1 WHERE id IN (SELECT task FROM need WHERE needs = NEW.id); END;
CREATE TRIGGER needed_task_is_not_accepted AFTER UPDATE OF status ON task
    WHEN OLD.status = 'accepted' AND NEW.status <> 'accepted' BEGIN
    UPDATE task SET unmet = unmet + 1 WHERE id IN (SELECT task FROM need WHERE needs = NEW.id); END;
"""
VERSION = 8
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
    + _SINCE_3
    + _TRIGGERS_SINCE_3,
    3: f"""
ALTER TABLE task ADD COLUMN variant_group TEXT;
{_SINCE_4}""",
    4: "ALTER TABLE task ADD COLUMN base TEXT NOT NULL DEFAULT '';",
    5: _SINCE_6,
    6: _SINCE_7,
    7: "",
}


# The same in Postgres. Its functions name their schema, so that they do the same for whoever looks at it from outside.
# A commit that may let a task start, end or look different is told of; the renewal of a lease is not. For each row, for
# a claim that finds nothing must wake nobody.
_TELL = """
CREATE OR REPLACE FUNCTION {schema}.tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM set_config('cairn.changed', 'yes', false); RETURN NULL; END $$;
DROP TRIGGER IF EXISTS task_is_told ON {schema}.task;
CREATE TRIGGER task_is_told AFTER INSERT OR DELETE OR UPDATE OF status, owner, request, options, outcome, key,
    not_before, deadline, priority, cancel_asked_at ON {schema}.task
    FOR EACH ROW EXECUTE FUNCTION {schema}.tell();
DROP TRIGGER IF EXISTS pause_is_told ON {schema}.pause;
CREATE TRIGGER pause_is_told AFTER INSERT OR DELETE OR UPDATE ON {schema}.pause
    FOR EACH ROW EXECUTE FUNCTION {schema}.tell();
"""
_POSTGRES = """
CREATE FUNCTION {schema}.task_changes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO {schema}.event (task, at, was, became, reason)
        VALUES (NEW.id, NEW.changed_at, NULL, NEW.status, NEW.reason);
        RETURN NULL;
    END IF;
    IF NOT EXISTS (SELECT 1 FROM {schema}.legal_move WHERE was = OLD.status AND became = NEW.status) THEN
        RAISE EXCEPTION 'illegal move' USING ERRCODE = 'check_violation';
    END IF;
    INSERT INTO {schema}.event (task, at, was, became, reason)
    VALUES (NEW.id, NEW.changed_at, OLD.status, NEW.status, NEW.reason);
    IF NEW.status = 'accepted' THEN
        UPDATE {schema}.task SET unmet = unmet - 1
        WHERE id IN (SELECT task FROM {schema}.need WHERE needs = NEW.id);
    ELSIF OLD.status = 'accepted' THEN
        UPDATE {schema}.task SET unmet = unmet + 1
        WHERE id IN (SELECT task FROM {schema}.need WHERE needs = NEW.id);
    END IF;
    RETURN NULL; END $$;
CREATE TRIGGER task_birth AFTER INSERT ON {schema}.task
    FOR EACH ROW EXECUTE FUNCTION {schema}.task_changes();
CREATE TRIGGER task_move AFTER UPDATE OF status ON {schema}.task
    FOR EACH ROW WHEN (NEW.status IS DISTINCT FROM OLD.status) EXECUTE FUNCTION {schema}.task_changes();
"""


def scripts(dialect: Dialect, version: int, schema: str = "") -> Iterator[str]:
    """The statements that make today's ledger of one of that version, one by one; 0 is none at all."""
    for each in range(version, VERSION) if version else ():
        yield from map(dialect.tables, statements(_UPGRADES[each]))
    if not version:
        for script in (_SCHEMA, _SINCE_3, _SINCE_4, _SINCE_6, _SINCE_7):
            yield from map(dialect.tables, statements(script))
        if dialect.name == "sqlite":
            yield from statements(_TRIGGERS + _TRIGGERS_SINCE_3)
        else:
            yield _POSTGRES.format(schema=schema)
    if dialect.name != "sqlite":
        yield _TELL.format(schema=schema)  # as it is today, whatever was there
    moves = ", ".join(f"('{was}', '{became}')" for was, targets in MOVES.items() for became in sorted(targets))
    yield f"INSERT INTO legal_move VALUES {moves} ON CONFLICT DO NOTHING"  # noqa: S608 - words of the code


def require_known(ledger: str, oldest: int) -> None:
    """Raises UsageProblem when only Cairns from that layout on may use the ledger, and this is an earlier one."""
    if oldest > VERSION:
        raise UsageProblem(
            f"{ledger} was written by a newer Cairn (format {oldest}, this one knows {VERSION}).",
            fix="pip install --upgrade cairn",
        )


def statements(script: str) -> Iterator[str]:
    """The script's statements one by one: `executescript` would commit the transaction it runs in."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement

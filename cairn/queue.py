"""The ledger of tasks: one SQLite file per project, one statement per move, illegal moves refused by the database."""

from __future__ import annotations

import json
import os
import random
import socket
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

from cairn.errors import IllegalMove, NotFound, UsageProblem
from cairn.sqlite_file import connect, transaction, translate_errors
from cairn.task import MOVES, OPEN, CodeOrigin, Outcome, Task, TaskStatus, new_id, require_move

LEASE_SECONDS = 30.0
PAGE_BYTES = 1024
LEDGER = "cairn.db"  # its name in a project's .cairn folder

# 1: the first ledger. `legal_move` is filled from `task.MOVES`, so that the database refuses what the code would; the
# trigger on a changed status also writes the event, so that no move goes unrecorded.
# 2: tasks that wait, and that go on after they ended; a task's own settings; a wish to cancel one.
_SCHEMA = """
CREATE TABLE task (
    id TEXT PRIMARY KEY, request TEXT NOT NULL, source TEXT NOT NULL, name TEXT NOT NULL, program TEXT,
    parameters TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL, attempt INTEGER NOT NULL,
    created_at REAL NOT NULL, started_at REAL, finished_at REAL, retry_of TEXT,
    owner TEXT, lease_until REAL, outcome TEXT NOT NULL, changed_at REAL NOT NULL,
    options TEXT NOT NULL DEFAULT '{}', cancel_asked_at REAL
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
_VERSION = 2
_UPGRADE_1 = (
    "ALTER TABLE task ADD COLUMN options TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE task ADD COLUMN cancel_asked_at REAL",
)
_COLUMNS = (
    "id, request, source, name, program, parameters, status, reason, attempt, "
    "created_at, started_at, finished_at, retry_of, outcome, options"
)


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """One move of a task: `was` is None at its birth. `at` is seconds since the epoch."""

    at: float
    was: TaskStatus | None
    became: TaskStatus
    reason: str


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that holds a task. `born` is its start time in clock ticks, so that a reused pid is not it."""

    host: str
    pid: int
    born: int

    @classmethod
    def this_process(cls) -> Owner:
        """The process that asks."""
        return cls(socket.gethostname(), os.getpid(), _born(os.getpid()))

    @classmethod
    def parse(cls, text: str) -> Owner:
        """The reverse of `str()`."""
        host, pid, born = text.rsplit(":", 2)
        return cls(host, int(pid), int(born))

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}:{self.born}"

    def is_gone(self) -> bool:
        """True when this machine can tell that the process ended; False for another machine's."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return self.born != _born(self.pid) or _is_dead(self.pid)


def _born(pid: int) -> int:
    """Field 22 of /proc/PID/stat (proc(5)); 0 where there is no such file, as on macOS."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def _is_dead(pid: int) -> bool:
    """True for a zombie: it ended, and nobody has asked how."""
    fields = _stat(pid)
    return bool(fields) and fields[0] in {"Z", "X"}


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the process's name."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return stat.rpartition(")")[2].split()


class TaskQueue:
    """Durable tasks of one project; safe for many processes at once.

    Every method raises StorageProblem (DamagedFile, DiskFull) when the file cannot serve it.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time, rng: random.Random | None = None) -> None:
        self.path = path
        self._clock = clock
        self._rng = rng or random.Random(os.urandom(16))
        with translate_errors(path):
            self._db = connect(path, page_bytes=PAGE_BYTES)
            self._migrate()

    def close(self) -> None:
        """Releases the file; further calls fail."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _migrate(self) -> None:
        if self._version() == _VERSION:
            return
        with transaction(self._db):
            version = self._version()
            if version > _VERSION:
                raise UsageProblem(
                    f"{self.path} was written by a newer Cairn (format {version}, this one knows {_VERSION}).",
                    fix="pip install --upgrade cairn",
                )
            if version == _VERSION:  # another process was faster
                return
            for statement in _statements(_SCHEMA) if version == 0 else _UPGRADE_1:
                self._db.execute(statement)
            moves = [(was, became) for was, targets in MOVES.items() for became in targets]
            self._db.executemany("INSERT OR IGNORE INTO legal_move VALUES (?, ?)", moves)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with translate_errors(self.path), transaction(self._db):
            yield self._db

    def add(
        self,
        request: str,
        origin: CodeOrigin,
        *,
        retry_of: str | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Task:
        """A new queued task under an id that no other task of the project has."""
        with self._writing() as db:
            task = self.draft(request, origin, retry_of=retry_of, options=options)
            self._insert(db, task)
        return task

    def draft(
        self,
        request: str,
        origin: CodeOrigin,
        *,
        retry_of: str | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Task:
        """A task under a free id that the ledger does not have yet; `restore` puts it there."""
        return Task(
            self._free_id(),
            request,
            origin,
            created_at=self._clock(),
            retry_of=retry_of,
            options=dict(options or {}),
        )

    def restore(self, task: Task, events: Sequence[TaskEvent] = ()) -> bool:
        """Puts a task here as it is, with the moves it made elsewhere; False when its id is here already."""
        with self._writing() as db:
            if db.execute("SELECT 1 FROM task WHERE id = ?", (task.id,)).fetchone() is not None:
                return False
            db.executemany(
                "INSERT INTO event (task, at, was, became, reason) VALUES (?, ?, ?, ?, ?)",
                [(task.id, event.at, event.was, event.became, event.reason) for event in events],
            )
            self._insert(db, task)
        return True

    def _insert(self, db: sqlite3.Connection, task: Task) -> None:
        values = (*_row(task), self._clock())
        marks = ", ".join("?" for _ in values)
        db.execute(f"INSERT INTO task ({_COLUMNS}, changed_at) VALUES ({marks})", values)

    def _free_id(self) -> str:
        while True:
            task_id = new_id(self._rng)
            if self._db.execute("SELECT 1 FROM task WHERE id = ?", (task_id,)).fetchone() is None:
                return task_id

    def get(self, prefix: str) -> Task:
        """The one task whose id starts with `prefix`. Raises NotFound for none, UsageProblem for several."""
        wanted = prefix.strip().lower()
        # An id has letters only, so that "~" sorts behind every continuation of the prefix.
        found = self._select("WHERE id >= ? AND id < ? ORDER BY id LIMIT 6", (wanted, wanted + "~")) if wanted else []
        if len(found) == 1:
            return found[0]
        if not wanted:
            raise UsageProblem("The task's id is empty.", fix="cairn list   shows the ids there are.")
        if not found:
            raise NotFound(
                f"No task has an id that starts with '{prefix}'.", fix="cairn list   shows the tasks there are."
            )
        names = ", ".join(task.id for task in found)
        raise UsageProblem(f"'{prefix}' fits more than one task: {names}.", fix="Type more letters of the id.")

    def tasks(self, statuses: Iterable[TaskStatus] = (), *, limit: int | None = None) -> tuple[Task, ...]:
        """Newest first; all statuses when none is named."""
        wanted = tuple(statuses)
        where = f"WHERE status IN ({','.join('?' * len(wanted))}) " if wanted else ""
        size = -1 if limit is None else limit
        return tuple(self._select(f"{where}ORDER BY created_at DESC, rowid DESC LIMIT ?", (*wanted, size)))

    def events(self, task_id: str) -> tuple[TaskEvent, ...]:
        """Every move of the task, oldest first."""
        query = "SELECT at, was, became, reason FROM event WHERE task = ? ORDER BY number"
        with translate_errors(self.path):
            rows = self._db.execute(query, (task_id,)).fetchall()
        return tuple(TaskEvent(at, TaskStatus(was) if was else None, TaskStatus(to), why) for at, was, to, why in rows)

    def claim(self, owner: Owner, task_id: str | None = None, *, at_once: int | None = None) -> Task | None:
        """The oldest queued task (or the named one) is running and held by `owner`; None when there is none.

        None, too, when `at_once` tasks run already, by their leases. One statement, so that no two processes get the
        same task. The lease must be renewed by `heartbeat`.
        """
        now = self._clock()
        with self._writing() as db:
            row = db.execute(
                f"""UPDATE task SET status = ?1, reason = '', owner = ?2, lease_until = ?3, started_at = ?4,
                                    changed_at = ?5, attempt = attempt + 1, cancel_asked_at = NULL
                    WHERE id = (SELECT id FROM task WHERE status = ?6 AND (?7 IS NULL OR id = ?7)
                                ORDER BY created_at, rowid LIMIT 1)
                      AND (?8 IS NULL OR
                           (SELECT count(*) FROM task WHERE status = ?1 AND lease_until >= ?4) < ?8)
                    RETURNING {_COLUMNS}""",
                (TaskStatus.RUNNING, str(owner), now + LEASE_SECONDS, now, now, TaskStatus.QUEUED, task_id, at_once),
            ).fetchone()
        return _task(row) if row else None

    def heartbeat(self, task: Task, owner: Owner) -> bool:
        """The lease runs for another `LEASE_SECONDS`; False when the task is no longer the owner's."""
        with self._writing() as db:
            held = db.execute(
                "UPDATE task SET lease_until = ? WHERE id = ? AND attempt = ? AND owner = ? AND status = ?",
                (self._clock() + LEASE_SECONDS, task.id, task.attempt, str(owner), TaskStatus.RUNNING),
            )
        return held.rowcount == 1

    def finish(self, task: Task, status: TaskStatus, *, reason: str = "", outcome: Outcome) -> Task:
        """A running task ends in `status`; refused (IllegalMove) when the attempt is no longer the current one."""
        require_move(task.id, TaskStatus.RUNNING, status)
        now, result = self._clock(), json.dumps(asdict(outcome))
        with self._writing() as db:
            row = db.execute(
                f"""UPDATE task SET status = ?, reason = ?, finished_at = ?, changed_at = ?, outcome = ?,
                                    owner = NULL, lease_until = NULL
                    WHERE id = ? AND attempt = ? AND status = ? RETURNING {_COLUMNS}""",
                (status, reason, now, now, result, task.id, task.attempt, TaskStatus.RUNNING),
            ).fetchone()
        return self._moved(row, task.id, status)

    def move(self, task: Task, status: TaskStatus, *, reason: str = "") -> Task:
        """A compare-and-swap from the status that `task` has to another one; IllegalMove when it lost the race."""
        require_move(task.id, task.status, status)
        with self._writing() as db:
            row = db.execute(
                f"""UPDATE task SET status = ?, reason = ?, changed_at = ? WHERE id = ? AND status = ?
                    RETURNING {_COLUMNS}""",
                (status, reason, self._clock(), task.id, task.status),
            ).fetchone()
        return self._moved(row, task.id, status)

    def requeue(self, task: Task, *, reason: str = "", options: Mapping[str, str] | None = None) -> Task:
        """Waits to be run again, and goes on from its journal; `options` are added to those it has.

        A running task's holder loses it: whatever that still does is refused. IllegalMove when it moved meanwhile.
        """
        require_move(task.id, task.status, TaskStatus.QUEUED)
        merged = json.dumps({**task.options, **(options or {})})
        with self._writing() as db:
            row = db.execute(
                f"""UPDATE task SET status = ?, reason = ?, changed_at = ?, options = ?,
                                    owner = NULL, lease_until = NULL
                    WHERE id = ? AND status = ? AND attempt = ? RETURNING {_COLUMNS}""",
                (TaskStatus.QUEUED, reason, self._clock(), merged, task.id, task.status, task.attempt),
            ).fetchone()
        return self._moved(row, task.id, TaskStatus.QUEUED)

    def give_options(self, task: Task, options: Mapping[str, str]) -> Task:
        """Adds settings to a task that is queued; IllegalMove when it moved meanwhile."""
        with self._writing() as db:
            row = db.execute(
                f"UPDATE task SET options = ? WHERE id = ? AND status = ? RETURNING {_COLUMNS}",
                (json.dumps({**task.options, **options}), task.id, TaskStatus.QUEUED),
            ).fetchone()
        return self._moved(row, task.id, TaskStatus.QUEUED)

    def ask_to_cancel(self, task: Task) -> bool:
        """Whoever runs the task hears of it within moments; False when nobody runs it any more."""
        with self._writing() as db:
            asked = db.execute(
                "UPDATE task SET cancel_asked_at = ? WHERE id = ? AND attempt = ? AND status = ?",
                (self._clock(), task.id, task.attempt, TaskStatus.RUNNING),
            )
        return asked.rowcount == 1

    def is_to_be_cancelled(self, task: Task) -> bool:
        """True once somebody asked for it, and when the task is no longer this attempt's."""
        query = "SELECT 1 FROM task WHERE id = ? AND attempt = ? AND status = ? AND cancel_asked_at IS NULL"
        with translate_errors(self.path):
            row = self._db.execute(query, (task.id, task.attempt, TaskStatus.RUNNING)).fetchone()
        return row is None

    def abandoned(self) -> tuple[Task, ...]:
        """Running tasks whose process ended, or whose lease ran out."""
        query = f"SELECT {_COLUMNS}, owner, lease_until FROM task WHERE status = ?"
        with translate_errors(self.path):
            rows = self._db.execute(query, (TaskStatus.RUNNING,)).fetchall()
        now = self._clock()
        return tuple(_task(row) for *row, owner, until in rows if until < now or Owner.parse(owner).is_gone())

    def ended(self, before: float) -> tuple[Task, ...]:
        """Tasks that nobody runs, waits for or reviews, and that last moved before then; the oldest first."""
        marks = ",".join("?" * len(OPEN))
        tail = f"WHERE status NOT IN ({marks}) AND changed_at < ? ORDER BY changed_at, rowid"
        return tuple(self._select(tail, (*OPEN, before)))

    def forget(self, task: Task, remove: Callable[[], None]) -> bool:
        """Deletes the task and its moves in one transaction with whatever `remove` deletes; False if it moved since."""
        with self._writing() as db:
            gone = db.execute("DELETE FROM task WHERE id = ? AND status = ?", (task.id, task.status)).rowcount == 1
            if gone:
                db.execute("DELETE FROM event WHERE task = ?", (task.id,))
                remove()
        return gone

    def _moved(self, row: tuple[object, ...] | None, task_id: str, status: TaskStatus) -> Task:
        if row is None:
            now = self.get(task_id).status
            require_move(task_id, now, status)
            raise IllegalMove(f"Task {task_id} was taken over by another process.", fix=f"cairn show {task_id}")
        return _task(row)

    def _select(self, tail: str, values: tuple[object, ...]) -> list[Task]:
        with translate_errors(self.path):
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM task {tail}", values).fetchall()
        return [_task(row) for row in rows]


def _statements(script: str) -> Iterator[str]:
    """The script's statements one by one: `executescript` would commit the transaction it runs in."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _row(task: Task) -> tuple[object, ...]:
    origin = task.origin
    return (
        task.id, task.request, origin.source, origin.name, origin.program, json.dumps(dict(origin.parameters)),
        task.status, task.reason, task.attempt, task.created_at, task.started_at, task.finished_at, task.retry_of,
        json.dumps(asdict(task.outcome)), json.dumps(dict(task.options)),
    )  # fmt: skip


def _task(row: Iterable[object]) -> Task:
    values = dict(zip(_COLUMNS.replace(" ", "").split(","), row, strict=True))
    outcome = json.loads(str(values.pop("outcome")))
    known = {field.name for field in fields(Outcome)}
    origin = CodeOrigin(
        source=str(values.pop("source")),
        name=str(values.pop("name")),
        program=values.pop("program"),  # type: ignore[arg-type]
        parameters=json.loads(str(values.pop("parameters"))),
    )
    return Task(
        origin=origin,
        outcome=Outcome(**{key: value for key, value in outcome.items() if key in known}),
        options=json.loads(str(values.pop("options"))),
        status=TaskStatus(str(values.pop("status"))),
        **values,  # type: ignore[arg-type]
    )

"""One task in one file: written here, read anywhere, with its programs, journal, captured files and changes.

What is written holds no path of this machine and no key it knows. What is read may come from anybody: nothing of it is
opened as a task's file; its rows are copied into a new one, after every path in them was judged again.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cairn import __version__
from cairn.errors import CairnError, NotFound, StorageProblem, UsageProblem
from cairn.foreign_task_file import opened_as_data, require_plain, require_plain_paths, require_tables
from cairn.known_secrets import Secret, looks_secret, secret_in
from cairn.orchestrator import Orchestrator
from cairn.overlay import AgentFSOverlay
from cairn.queue import TaskEvent
from cairn.task import ID_LENGTH, ID_LETTERS, Task, TaskStatus
from cairn.task_file import JSON, LAYOUT, TaskFile, remove_task_file
from cairn.task_questions import distrust_answers
from cairn.task_record import keep_surroundings, keep_task, kept_task, surroundings

KEY = "cairn.export"
FORMAT = 1
BASE = "(the project it is imported into)"
PLACES_SHOWN = 5
LARGEST = 2**31  # bytes of a file that is imported

# Everything of a task's file that has a meaning elsewhere; not dumps, which only the machine that made them trusts.
_TABLES = (
    *("fs_inode", "fs_dentry", "fs_data", "fs_symlink", "fs_whiteout", "kv_store", "tool_calls"),
    *(
        "cairn_blob",
        "cairn_base",
        "cairn_move",
        "cairn_step",
        "cairn_call",
        "cairn_message",
        "cairn_answer",
        "cairn_spending",
    ),
)
# What a task is elsewhere: an accept is a matter of the project it happened in.
_STATUS_ELSEWHERE: Mapping[TaskStatus, TaskStatus] = {
    TaskStatus.ACCEPTED: TaskStatus.IN_REVIEW,
    TaskStatus.REJECTED: TaskStatus.IN_REVIEW,
    TaskStatus.QUEUED: TaskStatus.CANCELLED,
    TaskStatus.RUNNING: TaskStatus.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Exported:
    """The file that was written."""

    path: Path
    size: int


class SecretInside(UsageProblem):
    """A task's file holds what looks like a key; nothing was written."""


# ── writing ──


def export_task(
    orchestrator: Orchestrator, task: Task, target: Path, known: tuple[Secret, ...], *, even_if: bool = False
) -> Exported:
    """Writes the file whole or not at all. Raises SecretInside, NotFound, StorageProblem, UsageProblem.

    `even_if`: what only looks like a key may pass; a key that this machine knows never does.
    """
    orchestrator.work.file_of(task)
    if target.exists():
        raise UsageProblem(f"{target} exists already; it was left as it is.", fix="Name another file.")
    if not target.parent.is_dir():
        raise UsageProblem(f"There is no folder {target.parent}.", fix=f"mkdir -p {target.parent}")
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        _write(orchestrator, task, draft, known, even_if=even_if)
        os.link(draft, target)
    except FileExistsError:
        raise UsageProblem(f"{target} exists already; it was left as it is.", fix="Name another file.") from None
    finally:
        remove_task_file(draft)
    return Exported(target, target.stat().st_size)


def _write(orchestrator: Orchestrator, task: Task, draft: Path, known: tuple[Secret, ...], *, even_if: bool) -> None:
    with TaskFile.create(draft, base=Path(BASE)) as file:
        with orchestrator.store.reading(task.id) as original:
            _copy_rows(original.connection, file)
            keep_surroundings(file, surroundings(original, task))
        events = orchestrator.queue.events(task.id)
        told: list[JSON] = [[event.at, event.was, event.became, event.reason] for event in events]
        if task.origin.source == "file":  # it may have been named with a folder of this machine
            name = Path(task.origin.name).name
            file.run("UPDATE cairn_step SET label = ? WHERE label = ?", name, task.origin.name)
            task = replace(task, origin=replace(task.origin, name=name))
        keep_task(file, task)
        file.kv_set(KEY, {"format": FORMAT, "cairn": __version__, "events": told})
        _require_no_secret(file, known, even_if=even_if)
        file.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        file.rows("PRAGMA journal_mode = DELETE")


def _require_no_secret(file: TaskFile, known: tuple[Secret, ...], *, even_if: bool) -> None:
    places: dict[str, str] = {}
    for place, data in _contents(file):
        if name := secret_in(data, known):
            places[place] = name
        elif not even_if and (kind := looks_secret(data)):
            places.setdefault(place, kind)
    if not places:
        return
    shown = [f"{name}: in {place}" for place, name in list(places.items())[:PLACES_SHOWN]]
    more = [f"and {len(places) - PLACES_SHOWN} more places"] if len(places) > PLACES_SHOWN else []
    only_forms = not any(secret_in(data, known) for _, data in _contents(file))
    raise SecretInside(
        "The task holds what must not leave this machine, so nothing was written.",
        "\n".join([*shown, *more]),
        "--even-if-it-looks-secret   writes it, if these are no real keys."
        if only_forms
        else "cairn show   has it all.",
    )


def _contents(file: TaskFile) -> Iterator[tuple[str, bytes]]:
    """Each text and content of the file, with the place in words that people know."""
    captured = {str(digest): str(path) for path, digest in file.rows("SELECT path, digest FROM cairn_base")}
    for digest, data in file.blobs():
        place = captured.get(digest)
        yield f"the file {place} as the task saw it" if place else "a call's arguments or result", data
    for (ino,) in file.rows("SELECT DISTINCT ino FROM fs_data"):
        chunks = file.rows("SELECT data FROM fs_data WHERE ino = ? ORDER BY chunk_index", ino)
        names = file.rows("SELECT name FROM fs_dentry WHERE ino = ?", ino)
        own = str(names[0][0]) if names else "file"
        yield f"the task's own {own}", b"".join(_bytes(chunk) for (chunk,) in chunks)
    for table, column, words in _TEXTS:
        for number, text in file.rows(f"SELECT rowid, {column} FROM {table}"):  # noqa: S608 - our own names
            yield f"{words} {number!s}", _bytes(text)


_TEXTS = (
    ("cairn_step", "program", "the program of step"),
    ("cairn_message", "text", "message"),
    ("cairn_answer", "text", "answer"),
    ("cairn_call", "arguments", "the arguments of call"),
    ("cairn_call", "result", "the result of call"),
    ("tool_calls", "error", "the error of call"),
    ("cairn_step", "result", "the output of step"),
    ("kv_store", "value", "the record"),
)


def _bytes(cell: object) -> bytes:
    return cell if isinstance(cell, bytes) else str(cell).encode("utf-8", "surrogatepass")


# ── reading ──


def import_task(orchestrator: Orchestrator, source: Path) -> Task:
    """The task that a file holds is one of this project, under its own id if that is free. Raises UsageProblem."""
    _require_readable(source)
    folder = orchestrator.project.state / "tasks"
    if not folder.exists():  # what cannot be imported makes none
        with TemporaryDirectory(prefix="cairn-import-") as elsewhere:
            _drafted(orchestrator, source, Path(elsewhere, "task.db"))
        orchestrator.project.prepare()
    draft = folder / f".import-{os.getpid()}.db"
    try:
        task, events = _drafted(orchestrator, source, draft)
        orchestrator.store.adopt(task, draft)
    finally:
        remove_task_file(draft)
    orchestrator.queue.restore(task, events)
    return task


def _drafted(orchestrator: Orchestrator, source: Path, draft: Path) -> tuple[Task, tuple[TaskEvent, ...]]:
    """The task, in a new file. Raises UsageProblem."""
    try:
        with closing(_opened(source)) as foreign:
            file = TaskFile.create(draft, base=orchestrator.project.root)
            with file:
                _copy_rows(foreign, file)
                return _judged(file, orchestrator)
    except (sqlite3.Error, TypeError, ValueError, KeyError, AttributeError, PermissionError) as error:
        raise _not_ours(source, f"{type(error).__name__}: {error}") from error
    except StorageProblem as problem:
        raise _not_ours(source, problem.why or problem.what) from problem


def _require_readable(source: Path) -> None:
    if not source.is_file():
        what = f"{source} is not a file." if source.exists() else f"There is no file {source}."
        raise NotFound(what, fix="cairn export ID FILE   writes one.")
    if source.stat().st_size > LARGEST:
        raise UsageProblem(f"{source} is too large for a task: over {LARGEST:,} bytes.")


def _opened(source: Path) -> sqlite3.Connection:
    """Only for reading, with nothing of the file's own schema being carried out."""
    connection = opened_as_data(source)
    try:
        require_tables(connection, _TABLES)
    except ValueError as error:
        connection.close()
        raise _not_ours(source, str(error)) from None
    (layout,) = connection.execute("PRAGMA user_version").fetchone()
    if layout != LAYOUT:
        connection.close()
        raise _not_ours(source, f"It has layout {layout}; this version of Cairn knows {LAYOUT}.")
    return connection


def _copy_rows(foreign: sqlite3.Connection, file: TaskFile) -> None:
    with file.transaction():
        for table in _TABLES:
            columns = [str(row[1]) for row in file.rows(f"PRAGMA table_info({table})")]
            listed, marks = ", ".join(columns), ", ".join("?" * len(columns))
            for row in foreign.execute(f"SELECT {listed} FROM {table}"):  # noqa: S608 - our own names
                file.run(f"INSERT OR REPLACE INTO {table} ({listed}) VALUES ({marks})", *row)  # noqa: S608


def _judged(file: TaskFile, orchestrator: Orchestrator) -> tuple[Task, tuple[TaskEvent, ...]]:
    """The task, as it is in this project. Raises what is wrong with the file."""
    told: Any = file.kv_get(KEY)
    task = kept_task(file)
    if task is None or not isinstance(told, dict) or told.get("format") != FORMAT:
        raise ValueError("it was not written by cairn export")
    require_plain_paths(file.connection)
    changes = AgentFSOverlay(file, orchestrator.project.root).changes()
    for change in changes:
        for path in change.paths:
            require_plain(path)
    _require_plain_values(task)
    task = _elsewhere(task, orchestrator, file)
    distrust_answers(file)
    keep_task(file, task)
    return task, tuple(
        TaskEvent(float(at), was and TaskStatus(was), TaskStatus(to), str(why)) for at, was, to, why in told["events"]
    )


def _require_plain_values(task: Task) -> None:
    """Raises ValueError for a task whose id could be a path, or whose figures are none."""
    if len(task.id) != ID_LENGTH or not set(task.id) <= set(ID_LETTERS):
        raise ValueError(f"it names the task {task.id!r}")
    origin, outcome = task.origin, task.outcome
    texts = (
        task.request,
        task.reason,
        origin.source,
        origin.name,
        outcome.summary,
        outcome.checks,
        *origin.parameters.values(),
    )
    figures = [getattr(outcome, field.name) for field in fields(outcome) if field.type != "str"]
    figures = [figure for figure in figures if figure is not None]
    times = [time for time in (task.created_at, task.started_at, task.finished_at) if time is not None]
    if not all(isinstance(text, str) for text in (*texts, task.base, task.retry_of or "", origin.program or "")):
        raise ValueError("a text in the task's record is none")
    if not all(type(figure) in {int, float} and figure >= 0 for figure in (*figures, *times, task.attempt)):
        raise ValueError("a figure in the task's record is none")
    if not re.fullmatch(r"(([0-9a-f]{40}|[0-9a-f]{64})(:(?!.*\.\.)[^/\0][^\0]*)?)?", task.base):  # git is told it
        raise ValueError(f"it works on the commit {task.base!r}")


def _elsewhere(task: Task, orchestrator: Orchestrator, file: TaskFile) -> Task:
    status = _STATUS_ELSEWHERE.get(task.status, task.status)
    reason = task.reason if status is task.status else f"imported; it was {task.status} where it came from"
    task = replace(task, options=_binding(task.options, orchestrator))
    if _is_taken(task.id, orchestrator):
        keep_surroundings(file, surroundings(file, task))
        task = replace(task, id=orchestrator.queue.draft(task.request, task.origin).id)
    return replace(task, status=status, reason=reason)


def _is_taken(task_id: str, orchestrator: Orchestrator) -> bool:
    if orchestrator.store.exists(task_id):
        return True
    with suppress(CairnError):
        orchestrator.queue.get(task_id)
        return True
    return False


def _not_ours(source: Path, why: str) -> UsageProblem:
    return UsageProblem(
        f"{source} is not a task that can be imported.", why, "cairn export ID FILE   writes such files."
    )


def _binding(options: Mapping[str, str], orchestrator: Orchestrator) -> dict[str, str]:
    """Of a task's settings those that bind it further: whoever sent it does not choose limits or leave here."""
    names = {"policy.deny", "policy.ask"} | (set() if orchestrator.settings.policy.only else {"policy.only"})
    kept = {name: value for name, value in options.items() if name in names}
    orchestrator.settings.with_options(kept)
    return kept

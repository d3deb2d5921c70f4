"""Opens SQLite files the way Cairn wants them, and says in Cairn's words what is wrong with one.

This is the only file that knows how a damaged, locked or full database shows itself.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from cairn.errors import DamagedFile, DiskFull, StorageProblem
from cairn.sqlite_image import image_of

BUSY_MS = 5000
LITTLE_ROOM = 1_000_000  # bytes free below which an I/O error is taken for a full disk
COMPANIONS = ("-wal", "-shm")  # files SQLite keeps beside a database; they belong to it

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_REFUSED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_FULL_ERRNO = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN_ERRNO = {errno.EROFS, errno.EACCES, errno.EPERM}


def connect(
    path: Path | str,
    *,
    durable: bool = False,
    create: bool = True,
    read_only: bool = False,
    page_bytes: int = 4096,
) -> sqlite3.Connection:
    """Autocommit, WAL, usable from any thread as long as one uses it at a time.

    Without `durable` a power cut may lose the last commits, never consistency; a killed process loses nothing.
    A new file gets pages of `page_bytes`: a table takes one at least, so many small ones take less in small pages.
    A read-only connection refuses writes itself. Where nothing can be written it has what was committed when it was
    opened, in memory: SQLite needs a file for shared memory beside the database, even to read.
    """
    if read_only:
        connection = or_copy_in_memory(path, lambda: _connected(path, mode="rw", durable=durable, read_only=True))
        connection.execute("PRAGMA query_only = ON")
        return connection
    return _connected(path, mode="rwc" if create else "rw", durable=durable, page_bytes=page_bytes)


def or_copy_in_memory(path: Path | str, connected: Callable[[], sqlite3.Connection]) -> sqlite3.Connection:
    """What it connects to; where that cannot be written, what is committed there now. Raises as `connected` does."""
    try:
        return connected()
    except DamagedFile:
        raise
    except StorageProblem as problem:
        copy = copy_in_memory(path)
        if copy is None:
            raise problem from None
        return copy


def copy_in_memory(path: Path | str) -> sqlite3.Connection | None:
    """What is committed at this moment; changes to it reach no file. None where that cannot be told, or not read."""
    try:
        image = image_of(Path(path))
    except OSError:
        return None
    if image is None:
        return None
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    with translate_errors(path):
        try:
            connection.deserialize(image)
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("PRAGMA schema_version")
        except BaseException:
            connection.close()
            raise
    return connection


def _connected(
    path: Path | str, *, mode: str, durable: bool, read_only: bool = False, page_bytes: int = 4096
) -> sqlite3.Connection:
    # An existing file says itself which journal it uses; one that is not Cairn's must not be changed by looking at it.
    with translate_errors(path):
        new = mode == "rwc" and not _has_content(Path(path))
        connection = sqlite3.connect(
            f"file:{quote(os.fsencode(path))}?mode={mode}",
            uri=True,
            timeout=BUSY_MS / 1000,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            if new:
                connection.execute(f"PRAGMA page_size = {page_bytes}")
            _configure(connection, new=new, durable=durable, read_only=read_only)
        except BaseException:
            connection.close()
            raise
    return connection


def _configure(connection: sqlite3.Connection, *, new: bool, durable: bool, read_only: bool) -> None:
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    # Some builds overwrite what is deleted, which needs as much room again; a full disk has none to take back with.
    connection.execute("PRAGMA secure_delete = OFF")
    if read_only:
        connection.execute("PRAGMA temp_store = MEMORY")  # a disk may be too full to sort on
    if new:
        connection.execute("PRAGMA journal_mode = WAL")
    else:
        connection.execute("PRAGMA schema_version")  # reads the header, so that a file that is no database shows here


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Everything inside commits at once or not at all.

    An inner one joins the outer; when it raises, only its own part is taken back, so that the outer may go on.
    """
    inner = connection.in_transaction
    connection.execute("SAVEPOINT inner_part" if inner else "BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("RELEASE inner_part" if inner else "COMMIT")
    except BaseException:
        # SQLite ends the transaction by itself on some errors (a full disk); there is nothing left to take back then.
        if connection.in_transaction:
            if inner:
                connection.execute("ROLLBACK TO inner_part")
                connection.execute("RELEASE inner_part")
            else:
                connection.execute("ROLLBACK")
        raise


@contextmanager
def translate_errors(path: Path | str) -> Iterator[None]:
    """Turns what SQLite and the system say about this file into DamagedFile, DiskFull or StorageProblem."""
    try:
        yield
    except sqlite3.Error as error:
        problem = _problem(Path(path), error)
        if problem is None:
            raise
        raise problem from error
    except OSError as error:
        # FileNotFoundError and the like pass; only what the system refuses is explained here.
        if error.errno in _FULL_ERRNO:
            raise _disk_full(Path(path)) from error
        if error.errno in _FORBIDDEN_ERRNO:
            raise _refused(Path(path), str(error)) from error
        raise


def set_aside(path: Path, *, now: float | None = None) -> Path:
    """Renames a damaged file with its companions, never deletes: `tasks.db` -> `tasks.db.damaged-20260131-154500`."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    target = path.with_name(f"{path.name}.damaged-{stamp}")
    count = 1
    while target.exists():
        count += 1
        target = path.with_name(f"{path.name}.damaged-{stamp}-{count}")
    for companion in COMPANIONS:
        beside = path.with_name(path.name + companion)
        if beside.exists():
            beside.rename(target.with_name(target.name + companion))
    path.rename(target)
    return target


def damaged(path: Path, why: str) -> DamagedFile:
    """The error for a file whose content is not what Cairn wrote there."""
    return DamagedFile(
        f"{path} is damaged, or not a file of Cairn's; it was left as it is.",
        why,
        "cairn doctor --repair   moves it aside, and builds the ledger anew from the tasks' own files.",
    )


def require_whole(path: Path) -> None:
    """Raises DamagedFile unless SQLite finds every page of the file well; reads all of it and changes nothing."""
    connection = connect(path, create=False, read_only=True)
    try:
        with translate_errors(path):
            found = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
    finally:
        connection.close()
    if found != "ok":
        raise damaged(path, f"SQLite says: {found}.")


def _has_content(path: Path) -> bool:
    try:
        return path.exists() and path.stat().st_size > 0
    except OSError as error:
        if error.errno == errno.EIO:
            raise StorageProblem(f"{path} cannot be read or written.", f"{error}.", "Check the disk.") from error
        raise


def _problem(path: Path, error: sqlite3.Error) -> StorageProblem | None:
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in _DAMAGED or "no such table" in str(error) or "no such column" in str(error):
        return damaged(path, f"SQLite says: {error}.")
    if primary == sqlite3.SQLITE_FULL or (primary == sqlite3.SQLITE_IOERR and _no_room(path)):
        return _disk_full(path)
    if primary in _BUSY:
        return StorageProblem(
            f"{path} is in use by another process.",
            f"It stayed locked for {BUSY_MS // 1000} seconds.",
            "Wait for the other cairn command to end, then try again.",
        )
    if primary in _REFUSED:
        return _refused(path, str(error))
    if primary == sqlite3.SQLITE_IOERR:
        return StorageProblem(f"{path} cannot be read or written.", f"SQLite says: {error}.", "Check the disk.")
    return None


def _no_room(path: Path) -> bool:
    try:
        room = os.statvfs(path.parent)
    except OSError:
        return False
    return room.f_bavail * room.f_frsize < LITTLE_ROOM or (room.f_files > 0 and room.f_favail == 0)


def _disk_full(path: Path) -> DiskFull:
    return DiskFull(
        f"The disk is full; {path} could not be written.",
        "What was stored before is still there; the last step was not stored.",
        "Free some space and try again.",
    )


def _refused(path: Path, detail: str) -> StorageProblem:
    return StorageProblem(
        f"{path} cannot be opened for writing.",
        f"The system says: {detail}.",
        f"Check that {path.parent} exists and that you may write to it.",
    )

from __future__ import annotations

import errno
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from cairn.errors import CairnError, DamagedFile, DiskFull, StorageProblem
from cairn.sqlite_file import connect, set_aside, transaction, translate_errors


@pytest.fixture
def connection(tmp_path):
    connection = connect(tmp_path / "some.db")
    connection.execute("CREATE TABLE t (x)")
    yield connection
    connection.close()


def values(connection):
    return [x for (x,) in connection.execute("SELECT x FROM t ORDER BY x")]


def test_a_connection_is_wal_and_as_durable_as_asked(tmp_path):
    def ask(connection):
        answers = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
        connection.close()
        return answers

    assert ask(connect(tmp_path / "a.db")) == ["wal", 1]
    assert ask(connect(tmp_path / "b.db", durable=True)) == ["wal", 2]


def test_names_with_signs_of_a_url_are_plain_names(tmp_path):
    path = tmp_path / "50% ?mode=ro#x.db"
    connect(path).close()
    assert path.exists()


def test_without_create_a_missing_file_is_an_error_and_stays_missing(tmp_path):
    with pytest.raises(StorageProblem):
        connect(tmp_path / "no.db", create=False)
    assert not (tmp_path / "no.db").exists()


def test_a_read_only_connection_refuses_to_write(tmp_path, connection):
    reader = connect(tmp_path / "some.db", read_only=True)
    with pytest.raises(sqlite3.OperationalError):
        reader.execute("INSERT INTO t VALUES (1)")
    assert values(reader) == []
    reader.close()


def test_a_transaction_commits_whole(connection):
    with transaction(connection):
        connection.execute("INSERT INTO t VALUES (1)")
        assert connection.in_transaction
    assert (values(connection), connection.in_transaction) == ([1], False)


def test_a_transaction_that_raises_leaves_nothing_even_for_ctrl_c(connection):
    def stopped():
        with transaction(connection):
            connection.execute("INSERT INTO t VALUES (1)")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert (values(connection), connection.in_transaction) == ([], False)


def test_an_inner_transaction_joins_the_outer_and_fails_alone(connection):
    def fail():
        with transaction(connection):
            connection.execute("INSERT INTO t VALUES (2)")
            with transaction(connection):
                connection.execute("INSERT INTO t VALUES (3)")
            raise ValueError("inner")

    with transaction(connection):
        connection.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(ValueError, match="inner"):
            fail()
        with transaction(connection):
            connection.execute("INSERT INTO t VALUES (4)")
    assert values(connection) == [1, 4]


def test_a_killed_process_leaves_its_open_transaction_undone(tmp_path, connection):
    code = (
        "import os, sys; from cairn.sqlite_file import connect, transaction\n"
        "c = connect(sys.argv[1])\n"
        "with transaction(c): c.execute('INSERT INTO t VALUES (1)')\n"
        "with transaction(c): c.execute('INSERT INTO t VALUES (2)'); os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "some.db")])
    assert (done.returncode, values(connection)) == (-9, [1])


def test_a_file_that_is_no_database_is_damaged_and_named(tmp_path):
    path = tmp_path / "junk.db"
    path.write_bytes(b"not a database at all, but long enough to look at" * 100)
    with pytest.raises(DamagedFile) as caught:
        connect(path)
    assert str(path) in caught.value.what
    assert path.read_bytes().startswith(b"not a database")


def test_a_foreign_database_is_not_changed_by_opening_it(tmp_path):
    theirs = sqlite3.connect(tmp_path / "theirs.db")
    theirs.execute("CREATE TABLE theirs (x)")
    theirs.close()
    before = (tmp_path / "theirs.db").read_bytes()
    connect(tmp_path / "theirs.db").close()
    assert (tmp_path / "theirs.db").read_bytes() == before


def test_a_locked_file_is_told_as_such(tmp_path, connection, monkeypatch):
    monkeypatch.setattr("cairn.sqlite_file.BUSY_MS", 1)
    other = connect(tmp_path / "some.db")
    with transaction(connection), pytest.raises(StorageProblem) as caught, translate_errors(tmp_path / "some.db"):
        other.execute("BEGIN IMMEDIATE")
    other.close()
    assert "in use by another process" in caught.value.what


def test_a_full_file_is_a_full_disk(tmp_path, connection):
    connection.execute("PRAGMA max_page_count = 5")
    with pytest.raises(DiskFull), translate_errors(tmp_path / "some.db"), transaction(connection):
        connection.execute("INSERT INTO t VALUES (zeroblob(1000000))")
    assert (values(connection), connection.in_transaction) == ([], False)


def test_a_full_device_is_a_full_disk(tmp_path):
    """/dev/full answers every write with ENOSPC."""
    with pytest.raises(DiskFull), translate_errors(tmp_path / "x"), Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"x")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), DiskFull),
        (OSError(errno.EROFS, "Read-only file system"), StorageProblem),
        (PermissionError(errno.EACCES, "Permission denied"), StorageProblem),
        (FileNotFoundError(errno.ENOENT, "no"), FileNotFoundError),
        (sqlite3.OperationalError("no such table: t"), DamagedFile),
        (sqlite3.ProgrammingError("Cannot operate on a closed database."), sqlite3.ProgrammingError),
    ],
)
def test_errors_are_translated_only_when_the_file_is_what_is_wrong(tmp_path, error, kind):
    with pytest.raises(kind) as caught, translate_errors(tmp_path / "x"):
        raise error
    assert isinstance(caught.value, CairnError) == (kind not in {FileNotFoundError, sqlite3.ProgrammingError})


def test_a_damaged_file_is_set_aside_with_its_companions(tmp_path):
    for name in ("a.db", "a.db-wal", "a.db-shm"):
        (tmp_path / name).write_text(name)
    first = set_aside(tmp_path / "a.db", now=0)
    (tmp_path / "a.db").write_text("second")
    second = set_aside(tmp_path / "a.db", now=0)
    stamp = first.name.removeprefix("a.db.damaged-")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        f"a.db.damaged-{stamp}": "a.db",
        f"a.db.damaged-{stamp}-wal": "a.db-wal",
        f"a.db.damaged-{stamp}-shm": "a.db-shm",
        f"a.db.damaged-{stamp}-2": "second",
    }
    assert second.name.endswith("-2")

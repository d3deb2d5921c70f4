"""A database read without SQLite has exactly what a reader with SQLite would see."""

from __future__ import annotations

import random
import shutil
import sqlite3

import pytest

from cairn.sqlite_file import connect
from cairn.sqlite_image import image_of, with_log


def rows(image):
    memory = sqlite3.connect(":memory:")
    try:
        memory.deserialize(image)
        assert memory.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return memory.execute("SELECT * FROM note ORDER BY id").fetchall()
    finally:
        memory.close()


@pytest.fixture
def database(tmp_path):
    """Rows in the file itself, and rows in its log alone."""
    db = connect(tmp_path / "notes.db", page_bytes=1024)
    db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT)")
    db.executemany("INSERT INTO note VALUES (?, ?)", [(n, "x" * 300) for n in range(50)])
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.execute("DELETE FROM note WHERE id > 40")
    db.execute("INSERT INTO note VALUES (99, 'in the log')")
    yield db
    db.close()


def test_what_is_committed_in_the_log_is_there(tmp_path, database):
    seen = database.execute("SELECT * FROM note ORDER BY id").fetchall()

    assert rows(image_of(tmp_path / "notes.db")) == seen
    assert (99, "in the log") in seen


def test_what_is_not_committed_is_not(tmp_path, database):
    before = rows(image_of(tmp_path / "notes.db"))
    database.execute("PRAGMA cache_size = 1")  # so that pages spill into the log
    database.execute("BEGIN")
    database.executemany("INSERT INTO note VALUES (?, ?)", [(n, "y" * 900) for n in range(1000, 1200)])

    assert (tmp_path / "notes.db-wal").stat().st_size > 100_000
    assert rows(image_of(tmp_path / "notes.db")) == before


def test_a_log_of_an_earlier_round_counts_as_far_as_it_was_written_anew(tmp_path, database):
    database.executemany("INSERT INTO note VALUES (?, 'z')", [(n,) for n in range(200, 260)])
    database.execute("PRAGMA wal_checkpoint(RESTART)")
    database.execute("DELETE FROM note WHERE id < 10")

    assert rows(image_of(tmp_path / "notes.db")) == database.execute("SELECT * FROM note ORDER BY id").fetchall()


def test_a_log_that_is_cut_or_damaged_anywhere_gives_what_sqlite_makes_of_it(tmp_path, database):
    path, rng = tmp_path / "notes.db", random.Random(7)
    database.execute("UPDATE note SET text = 'later' WHERE id = 99")
    whole, log = path.read_bytes(), (tmp_path / "notes.db-wal").read_bytes()
    for number in range(40):
        spoilt = bytearray(log[: rng.randrange(len(log))] if number % 2 else log)
        if spoilt and not number % 2:
            spoilt[rng.randrange(len(spoilt))] ^= 0x40
        there = tmp_path / f"spoilt{number}"
        there.mkdir()
        (there / "notes.db").write_bytes(whole)
        (there / "notes.db-wal").write_bytes(spoilt)
        ours = rows(image_of(there / "notes.db"))
        other = sqlite3.connect(there / "notes.db")
        assert ours == other.execute("SELECT * FROM note ORDER BY id").fetchall()
        other.close()
        shutil.rmtree(there)


def test_nothing_is_made_beside_it(tmp_path, database):
    database.close()
    before = {path.name: path.stat() for path in tmp_path.iterdir()}

    assert len(rows(image_of(tmp_path / "notes.db"))) == 42
    assert {path.name for path in tmp_path.iterdir()} == set(before) == {"notes.db"}


def test_an_interrupted_change_without_a_log_is_not_guessed_at(tmp_path):
    path = tmp_path / "old.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT)")
    db.commit()
    db.close()
    assert rows(image_of(path)) == []
    (tmp_path / "old.db-journal").write_bytes(b"something to take back")

    assert image_of(path) is None


def test_what_is_no_log_changes_nothing():
    assert with_log(b"database", b"") == b"database"
    assert with_log(b"database", bytes(5000)) == b"database"

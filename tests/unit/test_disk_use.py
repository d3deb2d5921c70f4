"""What `.cairn` holds by part; a leftover only where it is certainly one."""

from __future__ import annotations

import os
import time

import pytest

from cairn.disk_use import Part, StoredFile, remove, size_in_words, state_files, temporary_files
from cairn.operation_log import Operation, OperationState
from cairn.project_files import Edit, ProjectFiles
from cairn.waiting_files import WaitingFiles

TOKEN = "0123456789abcdef"
NOW = time.time()


def put(root, path, *, age=0.0, text="four"):
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    os.utime(target, (NOW - age, NOW - age))


def operation(token=TOKEN, state=OperationState.APPLIED, paths=("deep/er/a.txt",)):
    return Operation(1, token, "bcdfgh", None, state, recorded=True, started_at=0.0, finished_at=1.0, paths=paths)


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("cairn.db", Part.LEDGER),
        ("cairn.db-wal", Part.LEDGER),
        ("operations.db", Part.OPERATIONS),
        ("operations.db-shm", Part.OPERATIONS),
        ("tasks/bcdfgh.db", Part.TASKS),
        ("tasks/bcdfgh.db-shm", Part.LEFT_OVER),
        ("tasks/.bcdfgh.db.12.345", Part.LEFT_OVER),
        ("tasks/.abcdef.db.12.345", Part.OTHER),  # no id has a vowel
        ("tasks/.bcdfgh.db.12.345.bak", Part.OTHER),
        ("tasks/notes.txt", Part.OTHER),
        (".bcdfgh.db.12.345", Part.OTHER),  # not where Cairn makes them
        ("tasks/bcdfgh.db.damaged-20260131-154500", Part.SET_ASIDE),
        ("cairn.db.damaged-20260131-154500-2-wal", Part.SET_ASIDE),
        ("kept/3/src/app.py", Part.KEPT),
        ("kept/3/cairn.db.damaged-20260131-154500", Part.KEPT),
        ("mine/cairn.db", Part.OTHER),
        ("lock", Part.OTHER),
        (".gitignore", Part.OTHER),
    ],
)
def test_each_file_has_its_part(tmp_path, path, part):
    put(tmp_path, f".cairn/{path}", age=7200)

    assert state_files(tmp_path / ".cairn", now=NOW) == (StoredFile(f".cairn/{path}", part, 4),)


def test_a_companion_of_a_task_that_is_there_is_the_tasks(tmp_path):
    put(tmp_path, ".cairn/tasks/bcdfgh.db", age=7200)
    put(tmp_path, ".cairn/tasks/bcdfgh.db-wal", age=7200)

    assert {each.part for each in state_files(tmp_path / ".cairn", now=NOW)} == {Part.TASKS}


def test_what_is_young_or_no_plain_file_is_not_left_over(tmp_path):
    put(tmp_path, ".cairn/tasks/.bcdfgh.db.12.345", age=10)
    (tmp_path / ".cairn/tasks/.bcdfgj.db.12.345").symlink_to("/etc/hostname")

    assert [each.part for each in state_files(tmp_path / ".cairn", now=NOW + 10)] == [Part.TASKS, Part.TASKS]


def test_a_temporary_file_is_known_by_the_name_that_an_operation_gives_it(tmp_path):
    with ProjectFiles(tmp_path) as files:
        written = WaitingFiles(files, TOKEN, [Edit("deep/er/a.txt", None, None)], "aside").name("deep/er/a.txt")
        for path in (written, f"deep/{written}", f"deep/er/{written}", f"elsewhere/{written}", f"deep/x{written}"):
            put(tmp_path, path)
        put(tmp_path, f"deep/{written}".replace(TOKEN, "f" * 16))

        found = tuple(temporary_files(files, [operation()]))
        assert [each.path for each in found] == [written, f"deep/{written}", f"deep/er/{written}"]
        assert tuple(temporary_files(files, [operation(state=OperationState.APPLYING)])) == ()

        assert [remove(files, each.path) for each in found] == [True] * 3
        assert remove(files, written) is False
    assert sorted(each.name for each in tmp_path.rglob(f"*{TOKEN}*")) == [written, f"x{written}"]


def test_a_folder_that_became_a_link_is_not_looked_into(tmp_path):
    put(tmp_path, f"outside/.cairn-{TOKEN}-0.tmp")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/deep").symlink_to(tmp_path / "outside")

    with ProjectFiles(tmp_path / "root") as files:
        assert tuple(temporary_files(files, [operation(paths=("deep/a.txt",))])) == ()
        assert remove(files, f"deep/.cairn-{TOKEN}-0.tmp") is False
    assert (tmp_path / f"outside/.cairn-{TOKEN}-0.tmp").exists()


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 KB"), (9949, "9.9 KB"), (9999, "10 KB"),
        (999_499, "999 KB"), (999_500, "1.0 MB"), (34_000_000, "34 MB"), (2_500_000_000, "2.5 GB"),
        (5_000_000_000_000_000, "5000 TB"),
    ],
)  # fmt: skip
def test_sizes_in_words(size, words):
    assert size_in_words(size) == words

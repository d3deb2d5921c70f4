from __future__ import annotations

import pytest

from cairn.journal import Journal, TakenOver
from cairn.program import Program
from cairn.session_dump import SealedDump
from cairn.task_dumps import TaskDumps
from cairn.task_file import TaskFile

DUMP = SealedDump(1, 2, "cairn 1, monty 1.4.0, format 14, abc", "f" * 64, b"\x00\x01", 5.5)
OTHER = SealedDump(1, 3, "cairn 1, monty 1.4.0, format 14, abc", "e" * 64, b"\x02" * 100_000, 6.5)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "task.db"


@pytest.fixture
def file(path, tmp_path):
    with TaskFile.create(path, base=tmp_path) as file:
        yield file


@pytest.fixture
def dumps(file):
    return TaskDumps(file, Journal(file))


def test_there_is_one_dump_and_the_last_one_counts(dumps):
    dumps.put(DUMP)
    key = dumps.put(OTHER)

    assert (dumps.get(key), dumps.newest()) == (OTHER, (key, OTHER))
    dumps.delete(key)
    dumps.delete(key)
    assert (dumps.get(key), dumps.newest()) == (None, None)


def test_another_process_finds_it(dumps, path):
    key = dumps.put(DUMP)
    with TaskFile.open(path) as again:
        assert TaskDumps(again, Journal(again)).newest() == (key, DUMP)


def test_it_knows_where_the_journal_stands(file, dumps):
    journal = Journal(file)
    assert dumps.last_call() == 0
    journal.begin_step(1, Program("x", "test"))
    journal.record_call("read_file", {"path": "a"}, "text", started_at=0.0)
    number = journal.begin_call("ask_llm", {"prompt": "why"}, 0.0)

    assert dumps.last_call() == number == 2


def test_who_lost_the_task_stores_nothing_over_the_new_holders(file, path):
    mine = Journal(file)
    mine.hold(1)
    dumps = TaskDumps(file, mine)
    with TaskFile.open(path) as again:
        theirs = Journal(again)
        theirs.hold(2)
        key = TaskDumps(again, theirs).put(OTHER)

    with pytest.raises(TakenOver):
        dumps.put(DUMP)
    assert dumps.newest() == (key, OTHER)


@pytest.mark.parametrize("column", ["step", "call", "data"])
def test_what_a_hand_put_there_is_no_dump(file, dumps, column):
    key = dumps.put(DUMP)
    file.run(f"UPDATE cairn_dump SET {column} = 'nonsense' WHERE id = ?", key)  # noqa: S608 - of the list above

    assert (dumps.get(key), dumps.newest()) == (None, None)

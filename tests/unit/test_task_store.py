"""Tasks' files in a folder: one open file for a whole run, and what a file remembers of its task."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cairn.journal import Journal
from cairn.task import CodeOrigin, Task, TaskStatus
from cairn.task_file import TaskFile
from cairn.task_store import LocalTasks

TASK = Task("bcdfgh", "say hello", CodeOrigin("file", "hello.py"), TaskStatus.RUNNING, attempt=1)
ENDED = replace(TASK, status=TaskStatus.IN_REVIEW)


@pytest.fixture
def store(tmp_path):
    return LocalTasks(tmp_path)


@pytest.fixture
def opened(monkeypatch):
    """Each opening of a file, by the method that did it."""
    seen = []
    for name in ("open", "create"):
        inner = getattr(TaskFile, name)
        monkeypatch.setattr(TaskFile, name, lambda *a, _n=name, _i=inner, **k: (seen.append(_n), _i(*a, **k))[1])
    return seen


def companions(path):
    return sorted(each.name for each in path.parent.iterdir() if each != path)


def test_a_file_that_is_used_together_is_opened_once_and_closed_at_the_end(store, opened, tmp_path):
    with store.together(TASK.id):
        with store.writing(TASK, base=tmp_path) as first:
            first.kv_set("x", 1)
        with store.reading(TASK.id) as second:
            assert (second is first, second.kv_get("x")) == (True, 1)
        store.note(ENDED)
        assert opened == ["create"]
    assert (store.remembered(TASK.id), opened) == (ENDED, ["create", "open"])
    assert companions(store.path(TASK.id)) == []


def test_a_file_that_is_used_at_this_moment_is_opened_once_more(store, opened, tmp_path):
    with store.together(TASK.id):
        with store.writing(TASK, base=tmp_path) as first, first.transaction():
            first.kv_set("x", 1)
            with store.reading(TASK.id) as second:
                assert second.kv_get("x") is None
        assert opened == ["create", "open"]


def test_a_file_in_use_at_the_end_is_closed_by_whoever_uses_it(store, tmp_path):
    together = store.together(TASK.id)
    together.__enter__()
    using = store.writing(TASK, base=tmp_path)
    file = using.__enter__()
    together.__exit__(None, None, None)
    file.kv_set("x", 1)
    using.__exit__(None, None, None)

    assert companions(store.path(TASK.id)) == []
    with store.reading(TASK.id) as again:
        assert again.kv_get("x") == 1


def test_a_transaction_that_somebody_left_open_is_not_the_next_ones(store, tmp_path):
    with store.together(TASK.id):
        with store.writing(TASK, base=tmp_path) as file:
            file.run("BEGIN IMMEDIATE")
            file.kv_set("x", 1)
        with store.reading(TASK.id) as file:
            assert (file.kv_get("x"), file.is_in_transaction) == (None, False)


def test_a_noted_file_is_whole_without_its_log(store, tmp_path):
    """As it is after a power cut that took what the system had not written: the log is gone."""
    with store.together(TASK.id):
        with store.writing(TASK, base=tmp_path) as file:
            file.kv_set("x", 1)
        store.note(ENDED)
        copy = tmp_path / "copy" / f"{TASK.id}.db"
        copy.parent.mkdir()
        copy.write_bytes(store.path(TASK.id).read_bytes())
    with TaskFile.open(copy) as file:
        assert file.kv_get("x") == 1
    assert LocalTasks(copy.parent).remembered(TASK.id) == ENDED


def test_an_earlier_attempt_notes_nothing_in_a_file_that_a_later_one_has(store, tmp_path):
    later = replace(TASK, attempt=2)
    with store.writing(TASK, base=tmp_path) as file:
        Journal(file).hold(2)
    store.note(later)
    store.note(ENDED)

    assert store.remembered(TASK.id) == later

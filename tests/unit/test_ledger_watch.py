"""Another process's commit is noticed at once, and nothing else is."""

from __future__ import annotations

import os
import selectors
import sys
import threading
import time

import pytest

from cairn.ledger_place import LedgerFile, LedgerServer
from cairn.ledger_watch import LedgerWatch
from cairn.queue import TaskQueue
from cairn.task import CodeOrigin

FILE = CodeOrigin("file", "x", "")


@pytest.fixture(params=["told by the system", "polled", "told by the server"])
def way(request):
    return request.param


@pytest.fixture
def ledger_place(way, tmp_path, request):
    if way != "told by the server":
        return LedgerFile(tmp_path / "cairn.db")
    return LedgerServer(request.getfixturevalue("database_url"), "watched")


@pytest.fixture
def queue(ledger_place):
    with TaskQueue(ledger_place) as queue:
        yield queue


@pytest.fixture
def watch(queue, way):
    if way == "told by the system" and sys.platform != "linux":
        pytest.skip("only Linux tells")
    with LedgerWatch(queue.place, told=way != "polled") as watch:
        yield watch


def test_a_commit_ends_the_waiting_and_is_told_once(queue, watch):
    threading.Timer(0.05, lambda: queue.add("x", FILE)).start()
    begun = time.monotonic()

    watch.wait(20)

    assert time.monotonic() - begun < 5
    begun = time.monotonic()
    assert watch.wait(0.1) == []
    assert time.monotonic() - begun >= 0.1


def test_a_commit_between_two_waits_is_not_missed(queue, watch):
    queue.add("x", FILE)
    begun = time.monotonic()

    watch.wait(20)

    assert time.monotonic() - begun < 5


def test_what_it_is_told_to_listen_to_ends_the_waiting_too(watch):
    heard, says = os.pipe()
    watch.selector.register(heard, selectors.EVENT_READ, "mine")
    os.write(says, b"x")

    (key,) = watch.wait(20)

    assert key.data == "mine"
    watch.selector.unregister(heard)
    os.close(heard)
    os.close(says)


def test_nothing_is_noticed_of_a_change_that_was_taken_back(queue, watch):
    def change_and_fail():
        queue._db.execute("DELETE FROM task")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        queue._db.write(change_and_fail)

    begun = time.monotonic()
    watch.wait(0.05)
    assert time.monotonic() - begun >= 0.05

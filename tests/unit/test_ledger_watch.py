"""Another process's commit is noticed at once, and nothing else is."""

from __future__ import annotations

import os
import selectors
import sys
import threading
import time

import pytest

from cairn.ledger_watch import LedgerWatch
from cairn.queue import TaskQueue
from cairn.task import CodeOrigin

FILE = CodeOrigin("file", "x", "")


@pytest.fixture
def queue(tmp_path):
    with TaskQueue(tmp_path / "cairn.db") as queue:
        yield queue


@pytest.fixture(params=[True, False], ids=["told by the system", "polled"])
def watch(request, queue):
    if request.param and sys.platform != "linux":
        pytest.skip("only Linux tells")
    with LedgerWatch(queue.path, told=request.param) as watch:
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
        with queue._writing() as db:
            db.execute("DELETE FROM event")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change_and_fail()

    begun = time.monotonic()
    watch.wait(0.05)
    assert time.monotonic() - begun >= 0.05

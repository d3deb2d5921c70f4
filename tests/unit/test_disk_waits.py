from __future__ import annotations

import errno
import threading

import pytest

from cairn.disk_waits import FEW, at_once


@pytest.mark.parametrize("count", [0, 1, FEW, FEW + 1, 500])
def test_every_descriptor_has_its_call_and_each_failure_stands_at_its_place(count):
    called = []

    def failing_at_three(handle):
        called.append(handle)
        if handle % 3 == 0:
            raise OSError(errno.EIO, f"number {handle}")

    found = at_once(failing_at_three, range(count))

    assert sorted(called) == list(range(count))
    assert [None if error is None else error.strerror for error in found] == [
        None if number % 3 else f"number {number}" for number in range(count)
    ]


def test_no_thread_is_left_and_an_interruption_is_not_swallowed():
    before = threading.active_count()
    everyone = threading.get_ident()

    def interrupted(_handle):
        if threading.get_ident() == everyone:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        at_once(interrupted, range(2))
    elsewhere = threading.Event()

    def interrupted_elsewhere(_handle):
        if threading.get_ident() != everyone:
            elsewhere.set()
            raise KeyboardInterrupt
        assert elsewhere.wait(10)

    with pytest.raises(KeyboardInterrupt):
        at_once(interrupted_elsewhere, range(100))
    at_once(lambda _handle: None, range(100))
    assert threading.active_count() == before

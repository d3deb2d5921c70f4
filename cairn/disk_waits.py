"""Calls that wait for the disk, several under way at a time: it does them together in the time of a few."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

FEW = 4  # as many are done one after the other: threads would cost more than they save
THREADS = 4


def at_once(call: Callable[[int], None], handles: Sequence[int]) -> list[OSError | None]:
    """The error of each call, in order, None where there was none. Each descriptor has its call whatever the others do.

    The threads that make the calls have ended when it returns, so that a process may fork after it.
    """
    outcomes: list[OSError | None] = [None] * len(handles)
    unexpected: list[BaseException] = []  # of a thread that nobody else would hear of
    waiting = iter(enumerate(handles))  # each thread takes the next one

    def work() -> None:
        for number, handle in waiting:
            try:
                call(handle)
            except OSError as error:
                outcomes[number] = error

    def work_elsewhere() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below
            unexpected.append(error)

    others = [threading.Thread(target=work_elsewhere) for _ in range(THREADS - 1 if len(handles) > FEW else 0)]
    for thread in others:
        thread.start()
    try:
        work()
    finally:
        for thread in others:
            thread.join()
    if unexpected:
        raise unexpected[0]
    return outcomes

"""The engine of one machine: the ledger itself says what comes next, in one statement, at no cost."""

from __future__ import annotations

from collections.abc import Sequence
from selectors import BaseSelector

from cairn.queue import TaskQueue
from cairn.task import Task
from cairn.task_owner import Owner
from cairn.wanted_tasks import Variants


class EmbeddedEngine:
    """Claims from the ledger; at most `at_once` tasks run, those of other processes counted."""

    name = "embedded"
    brings_later = False
    executor = ""

    def __init__(self, queue: TaskQueue, *, at_once: int | None = None, variants: Variants | None = None) -> None:
        self._queue = queue
        self._at_once = at_once
        self._variants = variants
        self._stopped = False

    def open(self, selector: BaseSelector) -> None:
        """The ledger's own watch wakes the crew."""

    def tend(self, idle: int, without: Sequence[str] = ()) -> None:
        """Nothing is to do."""

    def claim(self, owner: Owner, without: Sequence[str] = ()) -> Task | None:
        """The first that may start."""
        if self._stopped:
            return None
        return self._queue.claim(owner, at_once=self._at_once, variants=self._variants, without=without)

    def let_go(self, task: Task) -> None:
        """The ledger knows it already."""

    def stop(self) -> None:
        """From now on there is no task."""
        self._stopped = True

    def close(self) -> None:
        """The ledger is its owner's."""
        self._stopped = True

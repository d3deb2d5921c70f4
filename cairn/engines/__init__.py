"""What hands tasks to the workers of `cairn work`. The ledger stays the truth: an engine only says who runs what next.

A task may be announced twice, late, or for nothing; whoever is handed it has claimed it in the ledger, and nobody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from selectors import BaseSelector
from typing import Protocol

from cairn.task import Task
from cairn.task_owner import Owner


class Engine(Protocol):
    """Serves one crew, from its thread alone."""

    @property
    def name(self) -> str:
        """As `cairn engine status` shows it."""
        ...

    @property
    def brings_later(self) -> bool:
        """True where a task that may start is not there as soon as it is asked for, but comes by itself."""
        ...

    @property
    def executor(self) -> str:
        """Under which name its dispatches run, as long as this crew says that it is there; "" for none."""
        ...

    def open(self, selector: BaseSelector) -> None:
        """What wakes the crew is registered there, its data a function without arguments to be called then."""
        ...

    def tend(self, idle: int, without: Sequence[str] = ()) -> None:
        """Whatever is to do from time to time; `idle` workers could take a task now, of no model `without`.

        Raises CairnError.
        """
        ...

    def claim(self, owner: Owner, without: Sequence[str] = ()) -> Task | None:
        """A task that may start now and runs from now on, held by `owner`; None when there is none yet.

        None of the models `without`, which this crew lacks: those are for others.
        """
        ...

    def let_go(self, task: Task) -> None:
        """A task that was claimed runs no more, however it ended: its worker is free."""
        ...

    def stop(self) -> None:
        """Hands out nothing more; what runs goes on."""
        ...

    def close(self) -> None:
        """Leaves nothing behind: no process, no thread, no descriptor. Never fails, and may be called twice."""
        ...

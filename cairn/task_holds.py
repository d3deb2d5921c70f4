"""What keeps a queued task from starting, said in one line: others it comes after, a paused model, a missing key."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from cairn.lacks import Lack
from cairn.task import Task, TaskStatus

_BAD_ENDS = frozenset({TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.REJECTED})
_DAY = 86_400
SILENT_SECONDS = 20.0  # after so long without a word a crew is taken for gone
PAUSES = "SELECT model, until, reason, failures FROM pause ORDER BY model"
# What some crew lacks and none that is there is without, the newest first; a crew that stops takes nothing any more.
MISSING = """SELECT model, wants, why, fix FROM lack WHERE NOT EXISTS (
    SELECT 1 FROM worker WHERE stopping = 0 AND beat_at > :heard AND NOT EXISTS (
        SELECT 1 FROM lack AS own WHERE own.crew = worker.id AND own.model = lack.model)) ORDER BY since DESC, crew"""


@dataclass(frozen=True, slots=True)
class Pause:
    """A model that is not asked until then, because it failed for a reason that concerns all its tasks.

    After that one task tries it; what became of it decides for the others.
    """

    model: str
    until: float
    reason: str
    failures: int = 1

    def in_words(self, now: float) -> str:
        """For a list and for doctor."""
        why = self.reason.rstrip(".")
        if self.until > now:
            return f"{self.model} is paused until {at(self.until, now)}: {why}"
        return f"{self.model} was paused, and one task tries it: {why}"


def hold_in_words(
    task: Task,
    needs: Mapping[str, TaskStatus | None],
    pauses: Mapping[str, Pause],
    missing: Mapping[str, Lack],
    now: float,
) -> str:
    """Nothing for a task that only waits its turn. `needs` are the tasks it comes after; None for a deleted one.

    `missing` has what no worker can ask.
    """
    unmet = {needed: status for needed, status in needs.items() if status is not TaskStatus.ACCEPTED}
    for needed, status in unmet.items():
        if status is None or status in _BAD_ENDS:
            return f"blocked: {needed} is {status or 'deleted'}"
    if unmet:
        return "after " + ", ".join(f"{needed} ({status})" for needed, status in unmet.items())
    for model in dict.fromkeys((task.model, task.waits_for)):
        if model in pauses:
            return pauses[model].in_words(now)
        if model in missing:
            return missing[model].in_words()
    if task.terms.not_before > now:
        return f"starts at {at(task.terms.not_before, now)}"
    return ""


def at(moment: float, now: float) -> str:
    """A moment as a clock on this machine shows it, with the date unless it is within a day."""
    shown = "%H:%M:%S" if abs(moment - now) < _DAY else "%Y-%m-%d %H:%M"
    return time.strftime(shown, time.localtime(moment))

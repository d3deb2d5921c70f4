"""What one part of an installation was found to be, for `cairn doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a part is; only `broken` keeps tasks from running."""

    OK = "ok"
    NOTE = "note"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """One part: its state, what was found, and the line that mends it."""

    part: str
    state: State
    detail: str
    fix: str = ""

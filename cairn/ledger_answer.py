"""What a statement to a ledger is given, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Values = Sequence[object] | Mapping[str, object]


@dataclass(slots=True)
class Answer:
    """All rows of a statement, and how many it changed."""

    rows: list[Any]
    count: int

    def first(self) -> Any:
        """The first row; None when there is none."""
        return self.rows[0] if self.rows else None

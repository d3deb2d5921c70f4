"""What a statement to a ledger is given and answers, and how a change stands to those of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

Values = Sequence[object] | Mapping[str, object]


class Order(Enum):
    """Whom a change on a server keeps out until it is committed. In a file each change keeps out all others."""

    ALONE = "alone"  # all of the others but those of no order: for what is judged by more than one row
    BESIDE = "beside"  # those that are alone: for what only its own row decides, and row locks keep right
    NONE = "none"  # nobody: for what no other change looks at
    NONE_AND_MAY_BE_LOST = "may be lost"  # nobody, and it does not wait for the disk: for what is said again anyway


@dataclass(slots=True)
class Answer:
    """All rows of a statement, and how many it changed."""

    rows: list[Any]
    count: int

    def first(self) -> Any:
        """The first row; None when there is none."""
        return self.rows[0] if self.rows else None

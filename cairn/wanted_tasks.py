"""Which tasks somebody asks the ledger for: those that a list has, and those of one group of variants."""

from __future__ import annotations

from dataclasses import dataclass

from cairn.ledger_dialect import Dialect
from cairn.task import Task, TaskStatus
from cairn.task_owner import Owner


@dataclass(frozen=True, slots=True)
class Variants:
    """The tasks of one group alone, as they are claimed: also those that `holder` has reserved."""

    group: str
    holder: Owner


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which tasks a list has; what is not set wants all. `model` may be a glob, `older_than` is a task."""

    statuses: tuple[TaskStatus, ...] = ()
    tag: str | None = None
    model: str | None = None
    since: float | None = None
    older_than: Task | None = None
    group: str | None = None

    def clause(self, dialect: Dialect) -> tuple[str, tuple[object, ...]]:
        """The WHERE clause and its values."""
        parts: list[tuple[str, tuple[object, ...]]] = []
        if self.statuses:
            parts.append((f"status IN ({','.join('?' * len(self.statuses))})", self.statuses))
        if self.tag is not None:
            parts.append((f"tags <> '[]' AND {dialect.has_tag}", (self.tag,)))
        if self.model is not None:
            parts.append((dialect.fits_glob, (dialect.glob(self.model),)))
        if self.since is not None:
            parts.append(("created_at >= ?", (self.since,)))
        if self.group is not None:
            parts.append(("variant_group = ?", (self.group,)))
        if self.older_than is not None:
            older = "(created_at, rowid) < (SELECT created_at, rowid FROM task WHERE id = ?)"
            parts.append((older, (self.older_than.id,)))
        where = " AND ".join(text for text, _ in parts)
        return f"WHERE {where} " if where else "", tuple(value for _, values in parts for value in values)

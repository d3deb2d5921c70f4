"""Which tasks a claim may take, as conditions of the ledger's SQL: the next one, one of a group, or a named one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cairn.ledger_dialect import Dialect
from cairn.wanted_tasks import Variants

# What a claim without a name takes. The literals are those of the index, or SQLite could not use it.
_READY = """SELECT id FROM task AS next {index} WHERE status = 'queued' AND unmet = 0 AND {free}
    AND not_before <= :now AND (deadline IS NULL OR deadline > :now)
    AND NOT EXISTS (SELECT 1 FROM pause WHERE pause.model IN (next.model, next.waits_for) AND (until > :now
        OR EXISTS (SELECT 1 FROM task AS probe WHERE probe.status = 'running'
                   AND pause.model IN (probe.model, probe.waits_for))))"""
ORDER = "ORDER BY priority DESC, created_at, rowid"
_FREE = "owner IS NULL"
_RESERVED = "variant_group = :group AND (owner IS NULL OR owner = :holder)"
_NAMED = "SELECT id FROM task WHERE id = :id AND status = 'queued' AND (owner IS NULL OR owner = :owner)"
# A claim on a server locks the row that it takes. Two at once pass by what the other has; for a named task they wait.
_UNLESS_HELD, _ONCE_HELD = "FOR UPDATE SKIP LOCKED", "FOR UPDATE"


@dataclass(frozen=True, slots=True)
class ClaimChoice:
    """As a dialect says it. `variants`: only of these. `without`: none of these models."""

    any: str
    of_group: str
    named_if_ready: str
    held: Callable[[str], str]

    @classmethod
    def of(cls, dialect: Dialect) -> ClaimChoice:
        """Only SQLite is told the index; a task that is named is found by its id."""
        return cls(
            _READY.format(index=dialect.index("task_to_claim"), free=_FREE),
            _READY.format(index=dialect.index("task_by_group"), free=_RESERVED),
            _READY.format(index="", free=_FREE) + " AND id = :id",
            dialect.held,
        )

    def ready(self, variants: Variants | None, without: Sequence[str]) -> str:
        """All that may start now."""
        return (self.of_group if variants else self.any) + _but(without, "next")

    def next_one(self, variants: Variants | None, without: Sequence[str]) -> str:
        """The first of them, for a claim to take."""
        return f"{self.ready(variants, without)} {ORDER} LIMIT 1 {self.held(_UNLESS_HELD)}"

    def named(self, without: Sequence[str], *, if_ready: bool) -> str:
        """The task `:id`, for a claim to take: whatever its terms say, unless `if_ready`."""
        return f"{self.named_if_ready + _but(without, 'next') if if_ready else _NAMED} {self.held(_ONCE_HELD)}"


def whose(variants: Variants | None, without: Sequence[str]) -> str:
    """The part of a condition on the table `task` that tells who may claim it."""
    return (_RESERVED if variants else _FREE) + _but(without, "task")


def choice_values(variants: Variants | None, without: Sequence[str]) -> dict[str, str]:
    """What the names in these conditions stand for; `:now`, `:id` and `:owner` come with the claim."""
    of_group = {} if variants is None else {"group": variants.group, "holder": str(variants.holder)}
    return {**of_group, **_named(without)}


def _but(without: Sequence[str], table: str) -> str:
    """What a condition on tasks goes on with, so that none of these models' fits."""
    marks = ", ".join(f":{name}" for name in _named(without))
    return f" AND {table}.model NOT IN ({marks}) AND {table}.waits_for NOT IN ({marks})" if without else ""


def _named(without: Sequence[str]) -> dict[str, str]:
    return {f"without_{number}": model for number, model in enumerate(without)}

"""Programs in which a check found nothing, so that a process does not check the same one again for each task.

A check costs twenty times as much as the start of a sandbox. What decides its verdict is compared whole; only clean
verdicts are kept, and only those of a sandbox to which nothing had been fed. They go with the process.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from cairn.program import Limits
from cairn.program_rewrite import Rewritten

CHARS = 2_000_000  # of programs that are remembered, in all


@dataclass(frozen=True, slots=True)
class CheckOf:
    """All that decides what a check in a fresh sandbox says: two that are equal have the same verdict.

    Cairn's own declarations and the version of Monty are the process's.
    """

    code: str
    functions: frozenset[str]
    stubs: str
    bounds: tuple[float, ...]

    @classmethod
    def of(cls, code: str, functions: frozenset[str], stubs: str, limits: Limits) -> CheckOf:
        """Of the limits those count that the sandbox has while it checks, or that the program's form is held to."""
        bounds = (
            limits.seconds, limits.memory_mb, limits.recursion, limits.calls, limits.program_chars, limits.nesting,
        )  # fmt: skip
        return cls(code, functions, stubs, bounds)


class CheckedPrograms:
    """What was found clean, in the spelling in which it runs; those that were used last."""

    def __init__(self, chars: int = CHARS) -> None:
        self._most = chars
        self._chars = 0
        self._clean: OrderedDict[CheckOf, Rewritten] = OrderedDict()

    def __len__(self) -> int:
        return len(self._clean)

    def find(self, check: CheckOf) -> Rewritten | None:
        """The program as it runs; None for one that has to be checked."""
        found = self._clean.get(check)
        if found is not None:
            self._clean.move_to_end(check)
        return found

    def keep(self, check: CheckOf, said: Rewritten) -> None:
        """The check found nothing."""
        if check not in self._clean:
            self._chars += _size(check, said)
        self._clean[check] = said
        while self._chars > self._most:
            self._chars -= _size(*self._clean.popitem(last=False))


def _size(check: CheckOf, said: Rewritten) -> int:
    return len(check.code) + len(said.text)


_SHARED = CheckedPrograms()


def shared_verdicts() -> CheckedPrograms:
    """Those of the process."""
    return _SHARED

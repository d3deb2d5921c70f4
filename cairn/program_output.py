"""What a program prints, kept within bounds whatever it prints: the beginning and the end, and a count of the rest."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeptOutput:
    """What was printed: the beginning, the end, and how many characters in all."""

    head: str = ""
    tail: str = ""
    total: int = 0


def gap_of(dropped: int) -> str:
    """What stands where characters were left out."""
    return f"\n[... {dropped:,} characters left out ...]\n"


class BoundedOutput:
    """Keeps the first and the last half of `limit` characters. Adding never raises and costs little."""

    def __init__(self, limit: int) -> None:
        self.total = 0
        self._head_room = limit - limit // 2
        self._tail_limit = limit // 2
        self._head: list[str] = []
        self._tail: deque[str] = deque()
        self._tail_chars = 0

    def add(self, text: str) -> None:
        """The next piece, in the order it was printed."""
        self.total += len(text)
        if self._head_room:
            self._head.append(text[: self._head_room])
            text = text[self._head_room :]
            self._head_room -= len(self._head[-1])
        if not text:
            return
        self._tail.append(text[-self._tail_limit :] if self._tail_limit else "")
        self._tail_chars += len(self._tail[-1])
        while self._tail and self._tail_chars - len(self._tail[0]) >= self._tail_limit:
            self._tail_chars -= len(self._tail.popleft())

    def kept(self) -> KeptOutput:
        """All that is needed to go on elsewhere."""
        return KeptOutput("".join(self._head), self._kept_tail(), self.total)

    def restore(self, kept: KeptOutput) -> None:
        """An output that is still empty goes on from there."""
        self.add(kept.head)
        self.add(kept.tail)
        self.total = kept.total

    @property
    def dropped(self) -> int:
        """How many characters are in neither half."""
        return self.total - sum(map(len, self._head)) - len(self._kept_tail())

    @property
    def text(self) -> str:
        """Both halves; where something was dropped between them, a line says how much."""
        gap = gap_of(self.dropped) if self.dropped else ""
        return "".join(self._head) + gap + self._kept_tail()

    def _kept_tail(self) -> str:
        return "".join(self._tail)[-self._tail_limit :] if self._tail_limit else ""

"""Finds the lines that differ between two texts: few and well placed where that is cheap, always in bounded time.

The shortest edit script (Myers) is tried up to `EDITS` edits. Beyond that, lines that are unique in both texts split
them into smaller parts, each tried up to `PART_EDITS`; a part that has none counts as replaced. difflib needs minutes
for files it dislikes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count, pairwise
from typing import NamedTuple

EDITS = 256  # the cost grows with the square
PART_EDITS = 64


class Span(NamedTuple):
    """Old lines [old_start, old_end) became new lines [new_start, new_end); line numbers count from 0."""

    old_start: int
    old_end: int
    new_start: int
    new_end: int


def split_lines(data: bytes) -> list[bytes]:
    """Lines with their line feeds, as git counts them; a carriage return ends none."""
    if b"\r" not in data:
        return data.splitlines(keepends=True)
    *ended, rest = data.split(b"\n")
    lines = [line + b"\n" for line in ended]
    return [*lines, rest] if rest else lines


def differing(old: Sequence[bytes], new: Sequence[bytes]) -> list[Span]:
    """Every differing span, in order; between two spans the lines are equal."""
    head = _equal_head(old, new)
    tail = _equal_head(old[head:][::-1], new[head:][::-1])
    numbers: dict[bytes, int] = {}
    a = [numbers.setdefault(line, len(numbers)) for line in old[head : len(old) - tail]]
    b = [numbers.setdefault(line, len(numbers)) for line in new[head : len(new) - tail]]
    spans: list[Span] = []
    for part in _parts(a, b):
        span = Span(*(edge + head for edge in part))
        if spans and spans[-1].old_end == span.old_start and spans[-1].new_end == span.new_start:
            spans[-1] = Span(spans[-1].old_start, span.old_end, spans[-1].new_start, span.new_end)
        else:
            spans.append(span)
    return _well_placed(spans, old, new)


def _equal_head(old: Sequence[bytes], new: Sequence[bytes]) -> int:
    """How many lines both begin with; halving compares them by thousands at once, which a loop does one by one."""
    least, most = 0, min(len(old), len(new))
    while least < most:
        middle = (least + most + 1) // 2
        if old[least:middle] == new[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least


def _parts(a: Sequence[int], b: Sequence[int]) -> Iterator[Span]:
    """Differing spans in order, before neighbours are joined. A stack instead of recursion: texts may be long."""
    waiting = [Span(0, len(a), 0, len(b))]
    most = EDITS
    while waiting:
        part = _stripped(waiting.pop(), a, b)
        if part.old_start == part.old_end and part.new_start == part.new_end:
            continue
        if part.old_start == part.old_end or part.new_start == part.new_end:
            yield part
            continue
        inner = _shortest(a, b, part, most)
        most = PART_EDITS
        if inner is not None:
            yield from inner
            continue
        smaller = _between_unique_lines(a, b, part)
        if smaller:
            waiting.extend(reversed(smaller))
        else:
            yield part


def _stripped(part: Span, a: Sequence[int], b: Sequence[int]) -> Span:
    i, i_end, j, j_end = part
    while i < i_end and j < j_end and a[i] == b[j]:
        i, j = i + 1, j + 1
    while i < i_end and j < j_end and a[i_end - 1] == b[j_end - 1]:
        i_end, j_end = i_end - 1, j_end - 1
    return Span(i, i_end, j, j_end)


def _shortest(a: Sequence[int], b: Sequence[int], part: Span, most: int) -> list[Span] | None:
    """Myers' greedy search; None when more than `most` lines would have to go or come."""
    i0, n = part.old_start, part.old_end - part.old_start
    j0, m = part.new_start, part.new_end - part.new_start
    if abs(n - m) > most:
        return None
    reach = {1: 0}
    trace: list[dict[int, int]] = []
    for edits in range(min(most, n + m) + 1):
        trace.append(reach.copy())
        for k in range(-edits, edits + 1, 2):
            down = k == -edits or (k != edits and reach[k - 1] < reach[k + 1])
            x = reach[k + 1] if down else reach[k - 1] + 1
            while x < n and 0 <= x - k < m and a[i0 + x] == b[j0 + x - k]:
                x += 1
            reach[k] = x
            if x >= n and x - k >= m:
                return _walked_back(trace, n, m, part)
    return None


def _walked_back(trace: Sequence[dict[int, int]], x: int, y: int, part: Span) -> list[Span]:
    spans: list[Span] = []
    for edits in range(len(trace) - 1, 0, -1):
        reach, k = trace[edits], x - y
        down = k == -edits or (k != edits and reach[k - 1] < reach[k + 1])
        before_k = k + 1 if down else k - 1
        x = reach[before_k]
        y = x - before_k
        i, j = part.old_start + x, part.new_start + y
        spans.append(Span(i, i, j, j + 1) if down else Span(i, i + 1, j, j))
    return spans[::-1]


def _between_unique_lines(a: Sequence[int], b: Sequence[int], part: Span) -> list[Span]:
    """The part cut at lines that occur once on each side and in the same order; empty when there are none."""
    old, new = a[part.old_start : part.old_end], b[part.new_start : part.new_end]
    in_old, in_new = Counter(old), Counter(new)
    place = {line: j for line, j in zip(new, count(part.new_start)) if in_new[line] == 1}
    pairs = [(i, place[line]) for line, i in zip(old, count(part.old_start)) if in_old[line] == 1 and line in place]
    anchors = _longest_rising(pairs)
    if not anchors:
        return []
    starts = [(part.old_start, part.new_start), *((i + 1, j + 1) for i, j in anchors)]
    ends = [*anchors, (part.old_end, part.new_end)]
    return [Span(i, i_end, j, j_end) for (i, j), (i_end, j_end) in zip(starts, ends, strict=True)]


def _longest_rising(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The most pairs that rise on both sides (patience sorting)."""
    tops: list[int] = []
    ends: list[int] = []
    previous: list[int] = []
    for index, (_, j) in enumerate(pairs):
        pile = bisect_left(tops, j)
        previous.append(ends[pile - 1] if pile else -1)
        tops[pile : pile + 1] = [j]
        ends[pile : pile + 1] = [index]
    rising: list[tuple[int, int]] = []
    index = ends[-1] if ends else -1
    while index >= 0:
        rising.append(pairs[index])
        index = previous[index]
    return rising[::-1]


def _well_placed(spans: list[Span], old: Sequence[bytes], new: Sequence[bytes]) -> list[Span]:
    """Pure insertions and deletions slide, where equal lines allow it, to begin at the start of a block of code."""
    placed: list[Span] = []
    bounds = [*spans, Span(len(old), len(old), len(new), len(new))]
    for span, following in pairwise(bounds):
        floor = placed[-1] if placed else Span(0, 0, 0, 0)
        if span.old_start == span.old_end:
            shift = _best_shift(new, span.new_start, span.new_end, floor.new_end, following.new_start)
        elif span.new_start == span.new_end:
            shift = _best_shift(old, span.old_start, span.old_end, floor.old_end, following.old_start)
        else:
            shift = 0
        placed.append(Span(*(edge + shift for edge in span)))
    return placed


def _best_shift(lines: Sequence[bytes], start: int, end: int, floor: int, ceiling: int) -> int:
    lowest = highest = 0
    # A span keeps one equal line between itself and its neighbours, so that spans never touch.
    while start + lowest - 1 > floor and lines[start + lowest - 1] == lines[end + lowest - 1]:
        lowest -= 1
    while end + highest + 1 < ceiling and lines[start + highest] == lines[end + highest]:
        highest += 1
    if lowest == highest:
        return 0
    return min(range(lowest, highest + 1), key=lambda shift: _awkwardness(lines, start + shift, shift))


def _awkwardness(lines: Sequence[bytes], start: int, shift: int) -> tuple[bool, int, bool, int]:
    line = lines[start]
    blank = not line.strip()
    after_text = start > 0 and bool(lines[start - 1].strip())
    return blank, len(line) - len(line.lstrip()), after_text, -shift

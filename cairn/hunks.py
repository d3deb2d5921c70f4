"""The pieces of a change that can be accepted apart: spans of lines, the new name, the permission bits.

A task's changes never move: what is accepted so far is a set of pieces, and what stands at a path with these pieces
follows from the set alone. So pieces can be taken, and taken back, in any order. Spans that were edited by hand are
taken like others; what was edited stands in the set beside them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from cairn.changes import Change, ChangeSet, Content, EntryKind
from cairn.git_diff import is_binary
from cairn.line_diff import Span, differing, split_lines


class Aspect(StrEnum):
    """A piece that is no span of lines."""

    WHOLE = "whole"  # all of a change, divided or not
    NAME = "name"
    MODE = "mode"
    CONTENT = "content"  # of a binary file


@dataclass(frozen=True, slots=True)
class Edited:
    """Lines as a person wants them: `text` in place of the old lines [old_start, old_end) and of the spans in there.

    It is no piece to be left over. It stands in a set beside the spans that it is about, which are taken with it.
    """

    old_start: int
    old_end: int
    text: bytes

    def covers(self, span: Span) -> bool:
        """True for a span that it is written instead of."""
        return self.old_start <= span.old_start and span.old_end <= self.old_end


Piece = Aspect | Span | Edited
Pieces = frozenset[Piece]
NONE: Pieces = frozenset()
WHOLE: Pieces = frozenset({Aspect.WHOLE})


@dataclass(frozen=True, slots=True)
class Part:
    """Pieces of the change that leads to `path`."""

    path: str
    pieces: Pieces


@dataclass(frozen=True, slots=True)
class Selection:
    """Pieces of several changes, sorted by path; `everything` stands for all that there is."""

    parts: tuple[Part, ...] = ()
    everything: bool = False

    @classmethod
    def joined(cls, parts: Iterable[Part], *, everything: bool = False) -> Selection:
        """One part for each path."""
        found: dict[str, Pieces] = {}
        for part in parts:
            found[part.path] = found.get(part.path, NONE) | part.pieces
        return cls(tuple(Part(path, pieces) for path, pieces in sorted(found.items()) if pieces), everything)

    @classmethod
    def whole(cls, changes: Iterable[Change]) -> Selection:
        """All of these changes."""
        return cls.joined(Part(change.path, WHOLE) for change in changes)

    def __bool__(self) -> bool:
        return self.everything or bool(self.parts)

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that something is selected of."""
        return tuple(part.path for part in self.parts)

    def by_path(self) -> Mapping[str, Pieces]:
        """For looking up many."""
        return {part.path: part.pieces for part in self.parts}


# -- what a change is made of ------------------------------------------------------------------------------------------


def pieces_of(change: Change) -> tuple[Piece, ...]:
    """All pieces in the order they are shown; one for what comes, goes, changes its kind, or is no file."""
    before, after = change.before, change.after
    if before is None or after is None or not before.kind is after.kind is EntryKind.FILE:
        return (Aspect.WHOLE,)
    pieces: list[Piece] = [Aspect.NAME] if change.renamed_from is not None else []
    pieces += [Aspect.MODE] if before.mode != after.mode else []
    if before.data != after.data and is_binary(before, after):
        pieces.append(Aspect.CONTENT)
    elif before.data != after.data:
        pieces += differing(split_lines(before.data), split_lines(after.data))
    return tuple(pieces)


def left(change: Change, taken: Pieces) -> Pieces:
    """The pieces that are not taken; `WHOLE` where nothing is, so that nothing has to be compared."""
    if Aspect.WHOLE in taken:
        return NONE
    return frozenset(pieces_of(change)) - taken if taken else WHOLE


def step(change: Change, taken: Pieces, more: Pieces) -> Change | None:
    """The change that leads from where the `taken` pieces are accepted to where `more` are too; None for no change."""
    old_path, before = _state(change, taken)
    new_path, after = _state(change, taken | more)
    if (old_path, before) == (new_path, after):
        return None
    return Change(new_path, before, after, renamed_from=old_path if old_path != new_path else None)


def _state(change: Change, taken: Pieces) -> tuple[str, Content | None]:
    """Where the file is, and with what, when these pieces are accepted."""
    source = change.renamed_from or change.path
    before, after = change.before, change.after
    if Aspect.WHOLE in taken:
        edited = edits_in(taken)
        if not edited:
            return change.path, after
        taken = frozenset({*pieces_of(change), *edited})
    if not taken or before is None or after is None:
        return source, before
    mode = after.mode if Aspect.MODE in taken else before.mode
    data = after.data if Aspect.CONTENT in taken else _with_spans(before.data, after.data, taken)
    return (change.path if Aspect.NAME in taken else source), Content(before.kind, mode, data)


def _with_spans(before: bytes, after: bytes, taken: Pieces) -> bytes:
    lines: list[bytes] = []
    at = 0
    old = split_lines(before)
    for start, end, text in replacements(split_lines(after), taken):
        lines += [*old[at:start], text]
        at = end
    # A last line without an end differs from every line that has one, so that none can come to follow it here.
    return b"".join([*lines, *old[at:]])


def replacements(new: Sequence[bytes], taken: Pieces) -> list[tuple[int, int, bytes]]:
    """What the spans and edits among these pieces put in place of which old lines, in the order of the file."""
    edited = edits_in(taken)
    found = [(each.old_start, each.old_end, each.text) for each in edited]
    found += [
        (span.old_start, span.old_end, b"".join(new[span.new_start : span.new_end]))
        for span in spans_in(taken)
        if not any(each.covers(span) for each in edited)
    ]
    return sorted(found)


def spans_in(pieces: Collection[Piece]) -> list[Span]:
    """The spans among them, in the order of the file."""
    return sorted(piece for piece in pieces if isinstance(piece, Span))


def edits_in(pieces: Collection[Piece]) -> list[Edited]:
    """What was edited by hand among them, in the order of the file."""
    found = [piece for piece in pieces if isinstance(piece, Edited)]
    return sorted(found, key=lambda each: (each.old_start, each.old_end))


def apart(pieces: Collection[Piece]) -> bool:
    """True when at least one old line lies between what is edited and every span that it is not about.

    Only then can they be taken back apart, for a merge tells changes from each other by the lines between them.
    """
    edited = edits_in(pieces)
    ranges = [(each.old_start, each.old_end) for each in edited]
    ranges += [span[:2] for span in spans_in(pieces) if not any(each.covers(span) for each in edited)]
    return not edited or all(one[1] < other[0] for one, other in pairwise(sorted(ranges)))


# -- many changes ------------------------------------------------------------------------------------------------------


def rest(changes: ChangeSet, taken: Selection) -> ChangeSet:
    """What is left of the changes when these pieces are accepted."""
    if taken.everything or not taken.parts:
        return ChangeSet() if taken.everything else changes
    accepted = taken.by_path()
    steps = (step(change, pieces, WHOLE) for change in changes for pieces in [accepted.get(change.path, NONE)])
    return _sorted(each for each in steps if each is not None)


def chosen(changes: ChangeSet, taken: Selection, more: Selection) -> ChangeSet:
    """The changes that accepting `more` makes, where `taken` is accepted already."""
    accepted, wanted = taken.by_path(), more.by_path()
    steps = (
        step(change, accepted.get(change.path, NONE), wanted[change.path])
        for change in changes
        if change.path in wanted
    )
    return _sorted(each for each in steps if each is not None)


@dataclass(frozen=True, slots=True)
class Undecided:
    """A task's changes, what of them is accepted, and what an accept would be about."""

    changes: ChangeSet
    taken: Selection
    asked: Selection

    def accepting(self) -> ChangeSet:
        """The changes that the accept makes."""
        return chosen(self.changes, self.taken, self.asked)

    def left_at_its_paths(self) -> ChangeSet:
        """What is left of the changes that it is about."""
        paths = set(self.asked.paths)
        return ChangeSet(tuple(change for change in rest(self.changes, self.taken) if change.path in paths))

    def left_afterwards(self) -> ChangeSet:
        """What stays in review when it is done."""
        taken = Selection.joined([*self.taken.parts, *self.asked.parts], everything=self.taken.everything)
        return rest(self.changes, taken)


def fits(changes: ChangeSet, taken: Selection, more: Selection) -> bool:
    """True when `more` names only changes that there are, and no piece that is taken or too near to what is."""
    accepted, there = taken.by_path(), {change.path: change for change in changes}
    for part in more.parts:
        before = accepted.get(part.path, NONE)
        if part.path not in there or part.pieces & before or (before and Aspect.WHOLE in (part.pieces | before)):
            return False
        if edits_in(part.pieces) and not _edits_fit(there[part.path], before, part.pieces):
            return False
    return True


def clash(one: Selection, other: Selection) -> bool:
    """True when both cannot be accepted at once: a piece is in both, or what is edited in one is too near the other."""
    if one.everything or other.everything:
        return bool(one) and bool(other)
    theirs = other.by_path()
    for part in one.parts:
        pieces = theirs.get(part.path, NONE)
        if pieces and (part.pieces & pieces or Aspect.WHOLE in part.pieces | pieces or not apart(part.pieces | pieces)):
            return True
    return False


def _edits_fit(change: Change, taken: Pieces, more: Pieces) -> bool:
    every = frozenset(pieces_of(change))
    about = [span for span in spans_in(every) if any(each.covers(span) for each in edits_in(more))]
    return set(about) <= more and apart(every | taken | more)


def simplest(change: Change, pieces: Pieces) -> Pieces:
    """`WHOLE` for all pieces of a change as they are."""
    return WHOLE if pieces >= frozenset(pieces_of(change)) and not edits_in(pieces) else pieces


def remaining(changes: ChangeSet, taken: Selection) -> Selection:
    """Every piece that is not taken."""
    accepted = taken.by_path()
    return Selection.joined(Part(change.path, left(change, accepted.get(change.path, NONE))) for change in changes)


def under(changes: ChangeSet, name: str) -> ChangeSet:
    """The changes at a path, or in the folder of that name, "." being all; a rename is at both of its names."""
    inside = "" if name == "." else f"{name}/"
    return ChangeSet(
        tuple(change for change in changes if any(path == name or path.startswith(inside) for path in change.paths))
    )


def with_what_they_need(picked: ChangeSet, changes: ChangeSet) -> ChangeSet:
    """And the changes without which these cannot be: what goes so that a folder can come, or a file in its place."""
    found = {change.path: change for change in picked}
    vanishing = {path: change for change in changes if (path := _vanishes(change)) is not None}
    waiting = list(picked)
    while waiting:
        coming = waiting.pop()
        gone = {*_folders_above(coming.path), *(_below(coming.path, vanishing) if coming.after is not None else ())}
        for needed in [vanishing[path] for path in gone & vanishing.keys()]:
            if needed.path not in found:
                found[needed.path] = needed
                waiting.append(needed)
    return _sorted(found.values())


def bound_together(changes: ChangeSet) -> list[tuple[Change, ...]]:
    """The changes in groups that can only be taken whole, in order; most are alone.

    A file or link and what has to go so that it can come: from its own place, or from above it.
    """
    vanishing = {path: change.path for change in changes if (path := _vanishes(change)) is not None}
    coming = {change.path: change.after.kind for change in changes if change.after is not None}
    plain = {path for path, kind in coming.items() if kind is not EntryKind.DIRECTORY}
    pairs = [(path, vanishing[above]) for path in coming for above in _folders_above(path) if above in vanishing]
    pairs += [(above, path) for gone, path in vanishing.items() for above in _folders_above(gone) if above in plain]
    leader = {change.path: change.path for change in changes}
    for pair in pairs:
        one, other = (_leading(leader, path) for path in pair)
        leader[max(one, other)] = min(one, other)
    groups: dict[str, list[Change]] = {}
    for change in changes:
        groups.setdefault(_leading(leader, change.path), []).append(change)
    return [tuple(group) for group in groups.values()]


def _leading(leader: dict[str, str], path: str) -> str:
    while leader[path] != path:
        leader[path] = leader[leader[path]]
        path = leader[path]
    return path


def _vanishes(change: Change) -> str | None:
    return change.path if change.after is None else change.renamed_from


def _below(path: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(f"{path}/")]


def _folders_above(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _sorted(changes: Iterable[Change]) -> ChangeSet:
    return ChangeSet(tuple(sorted(changes, key=lambda change: change.path)))

"""The questions of `accept --hunks`: which pieces each one is about, and what was answered so far. No I/O.

A hunk is what git shows as one: neighbouring spans with the lines around them. What has no lines is asked as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from cairn import git_diff
from cairn.changes import Change, ChangeKind, Content, EntryKind
from cairn.hunks import (
    NONE,
    WHOLE,
    Aspect,
    Edited,
    Part,
    Pieces,
    Selection,
    Undecided,
    apart,
    bound_together,
    edits_in,
    pieces_of,
    replacements,
    simplest,
    spans_in,
)
from cairn.line_diff import Span, split_lines

_SIGNS = {" ", "+", "-", "\\"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A span as the task made it, and where it is in the file as that is shown, accepted pieces included."""

    piece: Span
    at: Span


@dataclass(frozen=True, slots=True)
class FileLines:
    """A changed text: the lines with what is accepted of it, the lines with everything, and the spans between them."""

    change: Change
    taken: Pieces
    old: tuple[bytes, ...]
    new: tuple[bytes, ...]
    spans: tuple[Shown, ...]

    @classmethod
    def of(cls, change: Change, taken: Pieces, asked: Pieces) -> FileLines:
        """Of a file that stays one; `asked` are the pieces that it is about, none of them taken."""
        before, after = (side.data if side is not None else b"" for side in (change.before, change.after))
        new = split_lines(after)
        every = frozenset(spans_in(pieces_of(change)))
        old_side, new_side = _Shifts(replacements(new, taken)), _Shifts(replacements(new, every | taken))
        spans = []
        for span in spans_in(asked):
            old_start, new_start = old_side.moved(span.old_start), new_side.moved(span.old_start)
            length, new_length = span.old_end - span.old_start, span.new_end - span.new_start
            spans.append(Shown(span, Span(old_start, old_start + length, new_start, new_start + new_length)))
        return cls(change, taken, _with(before, new, taken), _with(before, new, every | taken), tuple(spans))

    def hunks(self) -> list[Hunk]:
        """As git groups them; a span that is not asked about, or is accepted, divides."""
        neighbours = set(pairwise(spans_in(pieces_of(self.change))))
        ends = [
            number
            for number, (one, other) in enumerate(pairwise(self.spans), 1)
            if other.at.old_start - one.at.old_end > 2 * git_diff.CONTEXT or (one.piece, other.piece) not in neighbours
        ]
        return [Hunk(self, start, end) for start, end in pairwise([0, *ends, len(self.spans)]) if start < end]


def _with(before: bytes, new: Sequence[bytes], pieces: Pieces) -> tuple[bytes, ...]:
    old = split_lines(before)
    lines: list[bytes] = []
    at = 0
    for start, end, text in replacements(new, pieces):
        lines += [*old[at:start], *split_lines(text)]
        at = end
    return (*lines, *old[at:])


class _Shifts:
    """How far replacing moves the lines that follow, for lines that are asked about in rising order."""

    def __init__(self, replaced: Sequence[tuple[int, int, bytes]]) -> None:
        self._coming = list(reversed(replaced))
        self._by = 0

    def moved(self, line: int) -> int:
        while self._coming and self._coming[-1][0] < line:
            start, end, text = self._coming.pop()
            self._by += len(split_lines(text)) - (end - start)
        return line + self._by


@dataclass(frozen=True, slots=True)
class Hunk:
    """Spans `first` to before `end` of a file, shown and answered together."""

    file: FileLines
    first: int
    end: int

    @property
    def spans(self) -> tuple[Shown, ...]:
        """In the order of the file, none between them left out."""
        return self.file.spans[self.first : self.end]

    @property
    def pieces(self) -> Pieces:
        """What taking it takes."""
        return frozenset(span.piece for span in self.spans)

    def patch(self) -> bytes:
        """As in a patch; lines of a neighbour are not among those around it."""
        low, high = self._bounds()
        return git_diff.hunk([span.at for span in self.spans], self.file.old, self.file.new, floor=low, ceiling=high)

    def split(self) -> list[Hunk]:
        """One for each span."""
        return [Hunk(self.file, number, number + 1) for number in range(self.first, self.end)]

    def edited(self, text: bytes, others: Pieces) -> Pieces | None:
        """The pieces that an edited `patch` takes; None when all its lines were removed.

        `others` is what was edited in the file's other hunks. Raises ValueError, which says why it does not fit.
        """
        lines = _patch_lines(text)
        if not lines:
            return None
        start = self._place(tuple(line for sign, line in lines if sign in {" ", "-"}))
        wanted = self._hull(start, lines)
        at = self.spans[0]
        shift = at.at.old_start - at.piece.old_start
        edited = replace(wanted, old_start=wanted.old_start - shift, old_end=wanted.old_end - shift)
        if wanted.text == b"".join(self.file.old[wanted.old_start : wanted.old_end]):
            raise ValueError("it leaves every line as it is; answer n for that")
        if wanted.text == self._as_made(wanted):
            return self.pieces
        self._require_room(edited, others)
        return self.pieces | {edited}

    def _bounds(self) -> tuple[int, int]:
        spans = self.file.spans
        low = spans[self.first - 1].at.old_end if self.first else 0
        return low, spans[self.end].at.old_start if self.end < len(spans) else len(self.file.old)

    def _place(self, kept: tuple[bytes, ...]) -> int:
        """The first old line of the edited hunk; lines of its ends may have been left out."""
        low, high = self._bounds()
        low = max(low, self.spans[0].at.old_start - git_diff.CONTEXT)
        high = min(high, self.spans[-1].at.old_end + git_diff.CONTEXT)
        places = [at for at in range(low, high - len(kept) + 1) if self.file.old[at : at + len(kept)] == kept]
        if len(places) != 1:
            raise ValueError("its lines that begin with a space or - are not those of the file")
        return places[0]

    def _hull(self, start: int, lines: Sequence[tuple[str, bytes]]) -> Edited:
        """What changed, at least as wide as the hunk's spans, in lines of the file as it is shown."""
        signs = [sign for sign, _ in lines]
        lead = next((number for number, sign in enumerate(signs) if sign != " "), len(signs))
        trail = next((number for number, sign in enumerate(reversed(signs[lead:])) if sign != " "), 0)
        first, last = start + lead, start + sum(sign != "+" for sign in signs) - trail
        low, high = min(first, self.spans[0].at.old_start), max(last, self.spans[-1].at.old_end)
        new = [line for sign, line in lines[lead : len(lines) - trail] if sign != "-"]
        whole = [*self.file.old[low:first], *new, *self.file.old[last:high]]
        if any(not line.endswith(b"\n") for line in whole[:-1]):
            raise ValueError("a line follows the one without a line end; write that one anew, with - and +")
        return Edited(low, high, b"".join(whole))

    def _as_made(self, wanted: Edited) -> bytes:
        """The same lines as the task made them."""
        first, last = self.spans[0].at, self.spans[-1].at
        low, high = first.new_start - (first.old_start - wanted.old_start), last.new_end + wanted.old_end - last.old_end
        return b"".join(self.file.new[low:high])

    def _require_room(self, edited: Edited, others: Pieces) -> None:
        every = frozenset(spans_in(pieces_of(self.file.change)))
        about = frozenset(span for span in every if edited.covers(span))
        if about != self.pieces or not apart(every | self.file.taken | others | {edited}):
            raise ValueError("it reaches the lines of another hunk; edit both as one, before they are split")
        end = len(split_lines(self.file.change.before.data if self.file.change.before is not None else b""))
        if not edited.text.endswith(b"\n") and edited.text and edited.old_end != end:
            raise ValueError("its last line has no line end, and other lines follow")


def _patch_lines(text: bytes) -> list[tuple[str, bytes]]:
    """The lines of an edited hunk with their signs, comments and the @@ line left out. Raises ValueError."""
    found: list[tuple[str, bytes]] = []
    for number, given in enumerate(split_lines(text), 1):
        line = b" " + given if given in {b"\n", b"\r\n"} else given  # editors strip spaces at the ends of lines
        sign = line[:1].decode("latin-1")
        if sign == "#" or line.startswith(b"@@"):
            continue
        if sign not in _SIGNS:
            raise ValueError(f"line {number} begins with none of space, +, - and #")
        if sign == "\\" and found:
            found[-1] = (found[-1][0], found[-1][1].removesuffix(b"\n"))
        elif sign != "\\":
            found.append((sign, line[1:] if line.endswith(b"\n") else line[1:] + b"\n"))
    return found


# -- questions ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to take or to leave, `what` it is in words.

    `changes` are what is left of the changes that it belongs to; `hunk` and `piece` are None for all of them.
    """

    parts: tuple[Part, ...]
    what: str
    changes: tuple[Change, ...]
    hunk: Hunk | None = None
    piece: Aspect | None = None

    @property
    def path(self) -> str:
        """The change it belongs to; of several the first."""
        return self.parts[0].path

    @property
    def head(self) -> bytes:
        """What a patch says above the lines; the same for all questions of a file that can be taken in pieces."""
        if len(self.changes) > 1:
            return b""
        lines = git_diff.header(self.changes[0]).splitlines(keepends=True)
        if self.hunk is not None or self.piece is not None:
            kept = (b"diff ", b"--- ", b"+++ ") if self.hunk is not None else (b"diff ",)
            return b"".join(line for line in lines if line.startswith(kept))
        return b"".join(line for line in lines if not line.startswith(b"index ")) or _named_folder(self.path)

    @property
    def patch(self) -> bytes:
        """What is asked about, below the head."""
        if self.hunk is not None:
            return self.hunk.patch()
        if self.piece is not None:
            return _piece(self.changes[0], self.piece)
        if len(self.changes) > 1:
            return b"".join((git_diff.header(each) or _named_folder(each.path)) + _body(each) for each in self.changes)
        return _body(self.changes[0])


def questions(undecided: Undecided, first: Iterable[str] = ()) -> list[Question]:
    """All questions; those of the paths in `first` come first, else in the order of the paths."""
    urgent = set(first)
    changes = {change.path: change for change in undecided.changes}
    accepted, asked = undecided.taken.by_path(), undecided.asked.by_path()
    groups = bound_together(undecided.left_at_its_paths())
    groups.sort(key=lambda group: not urgent.intersection(path for change in group for path in change.paths))
    found: list[Question] = []
    for group in groups:
        if len(group) > 1:
            parts = tuple(Part(change.path, asked[change.path]) for change in group)
            found.append(Question(parts, f"these {len(group)} together", group))
        else:
            path = group[0].path
            found += _of_one(changes[path], accepted.get(path, NONE), asked[path], group)
    return found


def _of_one(change: Change, taken: Pieces, asked: Pieces, left: tuple[Change, ...]) -> list[Question]:
    pieces = pieces_of(change)
    if pieces == (Aspect.WHOLE,):
        return [Question((Part(change.path, WHOLE),), _whole_in_words(change), left)]
    wanted = frozenset(pieces) if Aspect.WHOLE in asked else asked
    found = [
        Question((Part(change.path, frozenset({piece})),), _PIECES[piece], left, piece=piece)
        for piece in pieces
        if isinstance(piece, Aspect) and piece in wanted
    ]
    hunks = FileLines.of(change, taken, wanted).hunks() if spans_in(wanted) else []
    return [*found, *(_of_hunk(hunk, left) for hunk in hunks)]


def _of_hunk(hunk: Hunk, left: tuple[Change, ...]) -> Question:
    return Question((Part(hunk.file.change.path, hunk.pieces),), "this hunk", left, hunk)


_PIECES = {
    Aspect.NAME: "this rename",
    Aspect.MODE: "this mode change",
    Aspect.CONTENT: "this binary change",
}
_KINDS = {
    ChangeKind.ADDED: "this new {}",
    ChangeKind.DELETED: "this deletion",
    ChangeKind.RENAMED: "this rename",
    ChangeKind.MODE: "this mode change",
    ChangeKind.TYPE: "this {} in its place",
    ChangeKind.MODIFIED: "this {}",
}


def _whole_in_words(change: Change) -> str:
    side = change.after or change.before
    return _KINDS[change.kind].format("folder" if _is_folder(side) else side.kind if side is not None else "")


def _is_folder(side: Content | None) -> bool:
    return side is not None and side.kind is EntryKind.DIRECTORY


def _named_folder(path: str) -> bytes:
    return b"folder " + git_diff.quoted(path) + b"\n"


def _body(change: Change) -> bytes:
    """What a whole change does, without the head of its patch; of bytes that are no text only how many."""
    before, after = change.before, change.after
    folders = _modes(before, after) if _is_folder(before) or _is_folder(after) else b""
    if git_diff.is_binary(before, after):
        return folders + _sizes(before, after)
    body = git_diff.render_change(change)[len(git_diff.header(change)) :]
    return folders + b"".join(line for line in split_lines(body) if not line.startswith(b"index "))


def _sizes(before: Content | None, after: Content | None) -> bytes:
    sizes = [f"{len(side.data):,} bytes" for side in (before, after) if side is not None]
    return f"Binary file, {' -> '.join(sizes)}\n".encode()


def _modes(before: Content | None, after: Content | None) -> bytes:
    sides = [(word, side) for word, side in (("old", before), ("new", after)) if side is not None]
    return b"".join(
        f"{word} {'folder' if _is_folder(side) else side.kind} {side.mode:04o}\n".encode() for word, side in sides
    )


def _piece(change: Change, piece: Aspect) -> bytes:
    if piece is Aspect.NAME:
        names = (change.renamed_from or change.path, change.path)
        return b"rename from %s\nrename to %s\n" % tuple(map(git_diff.quoted, names))
    if piece is Aspect.MODE and change.before is not None and change.after is not None:
        return f"old mode {change.before.mode:04o}\nnew mode {change.after.mode:04o}\n".encode()
    return _sizes(change.before, change.after)


# -- answers -----------------------------------------------------------------------------------------------------------


class Answers:
    """What was answered: for each question the parts taken, none of them, or nothing yet."""

    def __init__(self, undecided: Undecided, first: Iterable[str] = ()) -> None:
        self._undecided = undecided
        self.questions = questions(undecided, first)
        self._taken: list[tuple[Part, ...] | None] = [None] * len(self.questions)
        self.at = 0

    @property
    def current(self) -> Question:
        """The one that is asked."""
        return self.questions[self.at]

    @property
    def done(self) -> bool:
        """True when no question is open."""
        return None not in self._taken

    def taken(self, number: int) -> bool | None:
        """The answer to a question; None for none yet."""
        parts = self._taken[number]
        return None if parts is None else bool(parts)

    @property
    def count(self) -> int:
        """How many are taken."""
        return sum(bool(parts) for parts in self._taken)

    @property
    def keys(self) -> str:
        """What can be answered now, as git lists it."""
        later, earlier = range(self.at + 1, len(self.questions)), range(self.at)
        keys = ["ynqad"]
        keys += ["k"] if any(self._taken[number] is None for number in earlier) else []
        keys += ["K"] if earlier else []
        keys += ["j"] if any(self._taken[number] is None for number in later) else []
        keys += ["J"] if later else []
        keys += ["g/"] if len(self.questions) > 1 else []
        hunk = self.current.hunk
        keys += ["s"] * (hunk is not None and len(hunk.spans) > 1) + ["e"] * (hunk is not None)
        return "".join([*keys, "?"])

    def take(self, pieces: Pieces | None = None) -> None:
        """The current one is taken, as it is or as edited, and the next open one is asked."""
        parts = self.current.parts
        self._decide(parts if pieces is None else (replace(parts[0], pieces=pieces),))

    def leave(self) -> None:
        """The current one stays in review."""
        self._decide(())

    def take_file(self) -> None:
        """The current one and all later ones of the same file that are open."""
        for number in self.of_file():
            self._taken[number] = self.questions[number].parts
        self._go_on()

    def leave_file(self) -> None:
        """The same, left in review."""
        for number in self.of_file():
            self._taken[number] = ()
        self._go_on()

    def of_file(self) -> list[int]:
        """The numbers of the current one and all later ones of the same file that are open."""
        path, later = self.current.path, range(self.at + 1, len(self.questions))
        return [self.at, *(each for each in later if self.questions[each].path == path and self._taken[each] is None)]

    def stop(self) -> None:
        """What is open stays in review."""
        self._taken = [() if parts is None else parts for parts in self._taken]

    def move(self, by: int, *, to_open: bool) -> None:
        """Leaves the current one as it is, for the next in a direction; `keys` says whether there is one."""
        numbers = range(self.at + 1, len(self.questions)) if by > 0 else range(self.at - 1, -1, -1)
        self.at = next((each for each in numbers if not to_open or self._taken[each] is None), self.at)

    def split(self) -> int:
        """The current hunk in its smallest parts, each with a question of its own; gives their number."""
        question = self.current
        hunks = question.hunk.split() if question.hunk is not None else []
        parts = [_of_hunk(hunk, question.changes) for hunk in hunks]
        self.questions[self.at : self.at + 1] = parts
        self._taken[self.at : self.at + 1] = [None] * len(parts)
        return len(parts)

    def edited(self, text: bytes) -> Pieces | None:
        """As `Hunk.edited` for the current one, beside what was edited before."""
        hunk, path = self.current.hunk, self.current.path
        others = [
            part.pieces
            for number, parts in enumerate(self._taken)
            for part in parts or ()
            if part.path == path and number != self.at
        ]
        if hunk is None:
            raise ValueError("it has no lines")
        return hunk.edited(text, NONE.union(*(edits_in(pieces) for pieces in others)))

    def selection(self) -> Selection:
        """What is taken so far."""
        every = Selection.joined(part for parts in self._taken for part in parts or ())
        changes, accepted = {change.path: change for change in self._undecided.changes}, self._undecided.taken.by_path()
        return Selection(
            tuple(
                part if part.path in accepted else replace(part, pieces=simplest(changes[part.path], part.pieces))
                for part in every.parts
            )
        )

    def with_them(self, parts: Sequence[Part]) -> Selection:
        """These parts and what else is taken so far of the same changes."""
        paths = {part.path for part in parts}
        taken = (part for others in self._taken for part in others or () if part.path in paths)
        return Selection.joined([*taken, *parts])

    def _decide(self, parts: tuple[Part, ...]) -> None:
        self._taken[self.at] = parts
        self._go_on()

    def _go_on(self) -> None:
        """To the next open one, from the beginning again when there is none behind."""
        numbers = [*range(self.at + 1, len(self.questions)), *range(self.at)]
        self.at = next((each for each in numbers if self._taken[each] is None), self.at)

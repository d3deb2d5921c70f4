"""Lines of ignore files as git matches them: one path at a time, against its bytes, never against what is below it.

Written out here because the libraries at hand match a folder's line against everything below the folder too, and so
take `b/build` in again for the lines "build/" and "!/b/", which git does not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

_CLASSES = {
    b"alnum": b"0-9A-Za-z",
    b"alpha": b"A-Za-z",
    b"blank": b" \t",
    b"cntrl": b"\x00-\x1f\x7f",
    b"digit": b"0-9",
    b"graph": b"!-~",
    b"lower": b"a-z",
    b"print": b" -~",
    b"punct": b"!-/:-@\\[-`{-~",
    b"space": b" \t-\r",
    b"upper": b"A-Z",
    b"xdigit": b"0-9A-Fa-f",
}
_NEVER = b"(?!)"


@dataclass(frozen=True, slots=True)
class _Line:
    """One line that can match. `anchored`: against the path from the file's folder, else against the last name."""

    source: bytes
    regex: re.Pattern[bytes]
    negated: bool
    folders_only: bool
    anchored: bool


class IgnoreRules:
    """The lines of the rule files of one folder, the last matching one deciding.

    `base` is that folder relative to the project's root, "" for the root itself; for a folder above the root, `prefix`
    is what leads from it to the root instead. `by_git` is False for rules that git does not know.
    """

    def __init__(self, text: bytes, base: str = "", prefix: str = "", *, by_git: bool = True) -> None:
        lines = [line for line in map(_line, _lines(text)) if line is not None]
        self._lines = lines[::-1]
        self._cut = len(base.encode()) + 1 if base else 0
        self._prefix = os.fsencode(prefix)
        self.by_git = by_git
        # Most names match no line at all; one joined expression says so faster than each line in turn.
        self._names = _any_of(line.source for line in lines if not line.anchored)
        self._paths = _any_of(line.source for line in lines if line.anchored)

    @property
    def is_empty(self) -> bool:
        """True when nothing can ever match."""
        return not self._lines

    def verdict(self, path: bytes, *, folder: bool) -> bool | None:
        """True: ignored, False: taken in again by a "!" line, None: no line says anything."""
        name = path[path.rfind(b"/") + 1 :]
        below = self._prefix + path[self._cut :]
        if not self._names(name) and not self._paths(below):
            return None
        for line in self._lines:
            if (folder or not line.folders_only) and line.regex.fullmatch(below if line.anchored else name):
                return not line.negated
        return None


def _lines(text: bytes) -> list[bytes]:
    return [line.removesuffix(b"\r") for line in text.removeprefix(b"\xef\xbb\xbf").split(b"\n")]


def _line(line: bytes) -> _Line | None:
    if line.startswith(b"#"):
        return None
    pattern = _without_trailing_spaces(line.partition(b"\0")[0])
    negated = pattern.startswith(b"!")
    pattern = pattern[negated:]
    folders_only = pattern.endswith(b"/")
    pattern = pattern[: len(pattern) - folders_only]
    anchored = b"/" in pattern
    source = _expression(pattern.removeprefix(b"/") if anchored else pattern)
    if not pattern or _NEVER in source:
        return None
    return _Line(source, re.compile(source, re.DOTALL), negated, folders_only, anchored)


def _without_trailing_spaces(line: bytes) -> bytes:
    r"""Spaces at the end do not count, unless a backslash is before one."""
    kept = line.rstrip(b" ")
    escapes = len(kept) - len(kept.rstrip(b"\\"))
    return kept + b" " if escapes % 2 and len(kept) < len(line) else kept


def _expression(pattern: bytes) -> bytes:
    """A glob as a regular expression for a whole path; one that git can never match as `_NEVER`."""
    out: list[bytes] = []
    at = 0
    while at < len(pattern):
        sign = pattern[at : at + 1]
        if sign == b"*":
            piece, at = _stars(pattern, at)
        elif sign == b"?":
            piece, at = b"[^/]", at + 1
        elif sign == b"[":
            piece, at = _brackets(pattern, at)
        elif sign == b"\\":
            piece, at = (re.escape(pattern[at + 1 : at + 2]) or _NEVER), at + 2
        else:
            piece, at = re.escape(sign), at + 1
        out.append(piece)
    return b"".join(out)


def _stars(pattern: bytes, start: int) -> tuple[bytes, int]:
    """`*` stays within a name; `**` between slashes, or at an end, goes over any number of folders."""
    end = start
    while pattern[end : end + 1] == b"*":
        end += 1
    opens = start == 0 or pattern[start - 1 : start] == b"/"
    if end - start == 1 or not opens or pattern[end : end + 1] not in {b"", b"/"}:
        return b"[^/]*", end
    return (b".*", end) if end == len(pattern) else (b"(?:.*/)?", end + 1)


def _brackets(pattern: bytes, start: int) -> tuple[bytes, int]:
    """A set of bytes; a slash is never in it. Without its closing bracket the whole line matches nothing."""
    at = start + 1
    negated = pattern[at : at + 1] in {b"!", b"^"}
    at += negated
    chosen: set[int] = set()
    first = True
    while first or pattern[at : at + 1] != b"]":
        first = False
        named = re.compile(rb"\[:([a-z]*):\]").match(pattern, at)
        if named is not None:
            if named[1] not in _CLASSES:
                return _NEVER, len(pattern)
            chosen.update(_bytes_in(b"[" + _CLASSES[named[1]] + b"]"))
            at = named.end()
            continue
        low, at = _member(pattern, at)
        high = low
        if pattern[at : at + 1] == b"-" and pattern[at + 1 : at + 2] not in {b"]", b""}:
            high, at = _member(pattern, at + 1)
        if low is None or high is None:
            return _NEVER, len(pattern)
        chosen.update((low, *range(low, high + 1)))  # the first of a range counts also when the range is empty
    members = (set(range(256)) - chosen if negated else chosen) - {ord("/")}
    return (b"[" + b"".join(b"\\x%02x" % one for one in sorted(members)) + b"]" if members else _NEVER), at + 1


def _member(pattern: bytes, at: int) -> tuple[int | None, int]:
    at += pattern[at : at + 1] == b"\\"
    return (pattern[at] if at < len(pattern) else None), at + 1


def _bytes_in(source: bytes) -> set[int]:
    regex = re.compile(source)
    return {one for one in range(256) if regex.match(bytes((one,)))}


def _any_of(sources: Iterable[bytes]) -> Callable[[bytes], object]:
    found = list(sources)
    return re.compile(b"|".join(found), re.DOTALL).fullmatch if found else lambda _: None

"""Glob patterns for project paths: what a program may write, and a matcher whose time grows with the path only.

`*` and `?` stay within a name, `[a-z]` and `[!a-z]` are one character, `{a,b}` is either, `**` between slashes is any
number of folders. Case counts, and names that begin with a dot are like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

PATTERN_CHARS = 1_000
ALTERNATIVES = 100
_PIECE = re.compile(r"\[[!^]?\]?[^\]]*\]|.", re.DOTALL)  # a set in brackets, or one character
_MAGIC = re.compile(r"[*?\[{]")


@dataclass(frozen=True, slots=True)
class GlobPattern:
    """A pattern made ready. `folder` holds every match; `literal` is the one path that fits, if no wildcard."""

    folder: str
    literal: str | None
    expression: re.Pattern[str]
    above: re.Pattern[str]

    def matches(self, path: str) -> bool:
        """True when the whole path fits."""
        return self.expression.fullmatch(path) is not None

    def may_hold(self, folder: str) -> bool:
        """True when something below the folder could fit."""
        return folder == "." or self.above.fullmatch(folder) is not None


@lru_cache(maxsize=64)
def glob_pattern(pattern: str) -> GlobPattern:
    """Raises ValueError for what cannot be a pattern, PermissionError for one that leads out of the project."""
    if not pattern or len(pattern) > PATTERN_CHARS:
        raise ValueError(f"a pattern has 1 to {PATTERN_CHARS:,} characters, like 'src/**/*.py'")
    if pattern.startswith("/") or ".." in pattern.split("/"):
        raise PermissionError(
            f"'{pattern}' leads out of the project; patterns are relative to its root and have no '..'"
        )
    cleaned = "/".join(part for part in pattern.split("/") if part not in {"", "."}) or "**"
    if pattern.endswith("/"):
        cleaned += "/**"
    literal = None if _MAGIC.search(cleaned) else cleaned
    choices = _alternatives(cleaned)
    expressions = "|".join(_path_expression(one) for one in choices)
    above = "|".join(each for one in choices for each in _above(one))
    return GlobPattern(
        _fixed_folder(cleaned), literal, re.compile(expressions, re.DOTALL), re.compile(above or "(?!)", re.DOTALL)
    )


def _fixed_folder(pattern: str) -> str:
    """The folders before the first wildcard; the last part is never one of them, as it names the files."""
    fixed: list[str] = []
    for part in pattern.split("/")[:-1]:
        if _MAGIC.search(part):
            break
        fixed.append(part)
    return "/".join(fixed) or "."


def _alternatives(pattern: str) -> list[str]:
    """Each way to choose from the braces."""
    waiting, done = [pattern], []
    while waiting:
        one = waiting.pop()
        found = re.search(r"\{([^{}]*,[^{}]*)\}", one)
        if found is None:
            done.append(one)
        else:
            waiting += [one[: found.start()] + choice + one[found.end() :] for choice in found[1].split(",")]
        if len(waiting) + len(done) > ALTERNATIVES:
            raise ValueError(f"the braces in '{pattern}' stand for more than {ALTERNATIVES} patterns; ask in parts")
    return sorted(done)


def _path_expression(pattern: str) -> str:
    """Between two `**` the first fit is as good as any later one, so the groups are atomic: nothing is tried twice."""
    sections: list[list[str]] = [[]]
    for part in pattern.split("/"):
        if part == "**":
            sections.append([])
        elif "**" in part:
            raise ValueError(f"in '{pattern}', ** must stand alone between slashes, like 'src/**/*.py'")
        else:
            sections[-1].append(_name_expression(part))
    first, *rest = sections
    if not rest:
        return "/".join(first)
    *middle, last = rest
    head = "".join(f"{name}/" for name in first)
    body = "".join(f"(?>(?:[^/]+/)*?{'/'.join(names)}/)" for names in middle if names)
    return f"{head}{body}(?:[^/]+/)*{'/'.join(last) or '[^/]+'}"


def _above(pattern: str) -> Iterator[str]:
    """An expression for each folder that the pattern's matches are below."""
    names: list[str] = []
    *folders, last = pattern.split("/")
    for part in [*folders, *([last] if last == "**" else [])]:
        if part == "**":
            yield "/".join([*names, ".+"])
            if names:
                yield "/".join(names)
            return
        names.append(_name_expression(part))
        yield "/".join(names)


def _name_expression(part: str) -> str:
    chunks = [_chunk_expression(chunk) for chunk in _split_at_stars(part)]
    first, *rest = chunks
    if not rest:
        return first
    *middle, last = rest
    return first + "".join(f"(?>[^/]*?{chunk})" for chunk in middle if chunk) + f"[^/]*{last}"


def _split_at_stars(part: str) -> list[str]:
    """The pieces between stars; a star in brackets is an ordinary character."""
    pieces = _PIECE.findall(part)
    chunks = [""]
    for piece in pieces:
        if piece == "*":
            chunks.append("")
        else:
            chunks[-1] += piece
    return chunks


def _chunk_expression(chunk: str) -> str:
    return "".join(map(_piece_expression, _PIECE.findall(chunk)))


def _piece_expression(piece: str) -> str:
    if piece == "?":
        return "[^/]"
    if len(piece) == 1:
        return re.escape(piece)
    negated = piece[1] in "!^"
    inside = piece[2 if negated else 1 : -1]
    escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside)
    try:
        re.compile(f"[{escaped}]")
    except re.error:
        raise ValueError(f"'{piece}' is no set of characters; write one like [a-z] or [!0-9]") from None
    return f"(?!/)[{'^' if negated else ''}{escaped}]"

"""The comments of a source file with their lines: Python's by `tokenize`, others' by tree-sitter grammars."""

from __future__ import annotations

import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cairn.outline import LANGUAGES, language_of, parsed_by_grammar

if TYPE_CHECKING:
    from tree_sitter import Node


@dataclass(frozen=True, slots=True)
class Comment:
    """One comment as it stands, its marks included. Lines count from 1; `alone`: nothing else is on its first line."""

    line: int
    end: int
    text: str
    alone: bool


def comments(path: str, data: bytes) -> list[Comment]:
    """Every comment in the order they stand; docstrings are none.

    Raises ValueError for a language without a grammar here, for bytes that are not UTF-8, and for Python that cannot be
    taken apart into words.
    """
    language = language_of(path, data)
    if language is None:
        raise ValueError(f"comments knows no language for '{path}'; it knows {', '.join(sorted(LANGUAGES))}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"'{path}' is not UTF-8 text (byte {error.start}), so its comments cannot be told") from None
    if language == "python":
        return list(_of_python(path, text))
    return list(_of_grammar(path, language, text.encode()))


def _of_python(path: str, text: str) -> Iterator[Comment]:
    if "\0" in text:
        raise ValueError(f"'{path}' contains NUL characters")
    try:
        for kind, comment, (row, column), _end, line in tokenize.generate_tokens(io.StringIO(text).readline):
            if kind == tokenize.COMMENT:
                yield Comment(row, row, comment, not line[:column].strip())
    except (tokenize.TokenError, SyntaxError) as error:
        reason, place = error.args[0], getattr(error, "lineno", None) or error.args[1][0]
        raise ValueError(f"'{path}' line {place}: {reason}, so its comments cannot be told") from None


def _of_grammar(path: str, language: str, data: bytes) -> Iterator[Comment]:
    lines = data.split(b"\n")
    waiting: list[Node] = [parsed_by_grammar(path, language, data)]
    while waiting:
        node = waiting.pop()
        if "comment" not in node.type:
            waiting.extend(reversed(node.named_children))
            continue
        text = data[node.start_byte : node.end_byte].decode(errors="replace").rstrip("\r\n")
        row, column = node.start_point
        yield Comment(row + 1, row + 1 + text.count("\n"), text, not lines[row][:column].strip())

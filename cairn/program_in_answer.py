"""The program in a model's answer, however the model wrapped it: pure text work, nothing runs.

An answer may hold reasoning, a plan, several fenced blocks, a fence that never closes, or plain code. Prose alone is
no program, and a program is never put together from pieces.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

_PYTHON = {"python", "py", "python3", "py3", "python3.14", "monty"}
_REASONING = "think|thinking|reasoning|reflection|analysis|scratchpad"
_LEADING_REASONING = re.compile(rf"\s*<({_REASONING})>.*?</\1>", re.DOTALL | re.IGNORECASE)
_UNOPENED_REASONING = re.compile(rf".*?^[ \t]*</(?:{_REASONING})>[ \t]*$", re.DOTALL | re.IGNORECASE | re.MULTILINE)
_UNCLOSED_REASONING = re.compile(rf"\s*<(?:{_REASONING})>", re.IGNORECASE)
_FENCE = re.compile(r"^(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*\{?\.?(?P<tag>[^\s`}]*)[^`]*$")
_CODE_LINE = re.compile(
    r"^\s*(import |from \w+ import |def |class |for .+:|if .+:|with .+:|try:|\w+ = |\w+\(.*\)\s*$)", re.MULTILINE
)
_LEADING_PROSE = 10  # lines tried away before unfenced code


def program_in(answer: str) -> str | None:
    """The first Python block, else the first untagged block of code, else the whole answer if it is code; or None."""
    text = _without_reasoning(answer.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))
    blocks = list(_blocks(text.split("\n")))
    for block in blocks:
        if block.tag in _PYTHON and block.code.strip():
            return block.tidy()
    for block in blocks:
        if not block.tag and _CODE_LINE.search(block.code):
            return block.tidy()
    return None if blocks else _unfenced(text)


def _without_reasoning(text: str) -> str:
    while found := _LEADING_REASONING.match(text):
        text = text[found.end() :]
    if _UNCLOSED_REASONING.match(text):
        return ""
    if found := _UNOPENED_REASONING.match(text):
        text = text[found.end() :]
    return text


@dataclass(frozen=True, slots=True)
class _Block:
    tag: str
    code: str

    def tidy(self) -> str:
        return self.code.strip("\n") + "\n"


def _blocks(lines: list[str]) -> Iterator[_Block]:
    at = 0
    while at < len(lines):
        opening = _FENCE.match(lines[at])
        at += 1
        if opening is None:
            continue
        # A block in a list item is indented as its fence is; nothing else is stripped, for strings may hold blanks.
        rest = [line.removeprefix(opening["indent"]) for line in lines[at:]]
        end = _end_of_block(rest, opening["fence"])
        yield _Block(opening["tag"].lower(), "\n".join(rest[:end]))
        at += end + 1


def _end_of_block(lines: list[str], fence: str) -> int:
    """The closing fence's line: the first after which the block is whole Python, for a program may write fences itself.

    Where none is, simply the first; without any, the end of the answer.
    """
    closing = [at for at, line in enumerate(lines) if _closes(line, fence)]
    for end in closing[:20]:
        if _parsed("\n".join(lines[:end])) is not None:
            return end
    return closing[0] if closing else len(lines)


def _closes(line: str, fence: str) -> bool:
    mark = line.strip()
    return len(mark) >= len(fence) and set(mark) == {fence[0]}


def _unfenced(text: str) -> str | None:
    lines = text.strip().split("\n")
    for start in range(min(_LEADING_PROSE, len(lines))):
        code = "\n".join(lines[start:]) + "\n"
        tree = _parsed(code)
        if tree is not None and any(_does_something(statement) for statement in tree.body):
            return code
    return None


def _does_something(statement: ast.stmt) -> bool:
    """False for what a line of prose can parse as: a bare name, a number, "note: yes"."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Call)
    return not isinstance(statement, (ast.Pass, ast.Global)) and not (
        isinstance(statement, ast.AnnAssign) and statement.value is None
    )


def _parsed(code: str) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an invalid escape in the model's code is not ours to report
        try:
            return ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def mentions(name: str, code: str) -> bool:
    """True when the code uses that name; where it does not parse, when the word stands in it."""
    tree = _parsed(code)
    if tree is None:
        return re.search(rf"\b{re.escape(name)}\b", code) is not None
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree))

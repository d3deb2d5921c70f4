"""What the sandbox's type checker says about a program, and which part of it is worth a model's attention.

The checker (ty) judges annotations; the sandbox ignores them. So only what would raise when it is reached counts as a
problem: an unknown name, a missing argument, an attribute that does not exist. What may work, because one member of a
union allows it or because only an annotation is wrong, passes.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cairn import program_hints as hints
from cairn.program import Problem

UNKNOWN = "cairn_any"  # a type that fits everything, for names that earlier programs left behind

STUBS = f"""
from typing import Any
{UNKNOWN} = Any
def open(file: Any, mode: str = "r", *, encoding: str | None = None, newline: str | None = None) -> Any: ...
def map(function: Any, *iterables: Any) -> list[Any]: ...
def filter(function: Any, iterable: Any) -> list[Any]: ...
def format(value: Any, spec: str = "") -> str: ...
def getattr(value: Any, name: str, default: Any = None) -> Any: ...
def hasattr(value: Any, name: str) -> bool: ...
def setattr(value: Any, name: str, new: Any) -> None: ...
class FileNotFoundError(OSError): ...
class FileExistsError(OSError): ...
class PermissionError(OSError): ...
class IsADirectoryError(OSError): ...
class NotADirectoryError(OSError): ...
class ImportError(Exception): ...
class ModuleNotFoundError(ImportError): ...
class UnboundLocalError(NameError): ...
class UnicodeDecodeError(ValueError): ...
class UnicodeEncodeError(ValueError): ...
"""
"""Built-in names that run but that the checker does not know."""

_WORKS = frozenset({("os", "walk"), ("os", "scandir")})  # members that run but that the checker does not know

_RAISES = frozenset(
    {
        "unresolved-reference",
        "unresolved-import",
        "unresolved-attribute",
        "missing-argument",
        "unknown-argument",
        "too-many-positional-arguments",
        "parameter-already-assigned",
        "positional-only-parameter-as-kwarg",
        "invalid-argument-type",
        "invalid-assignment",
        "call-non-callable",
        "not-iterable",
        "not-subscriptable",
        "unsupported-operator",
        "invalid-await",
        "unused-awaitable",
        "invalid-syntax",
        "invalid-raise",
        "invalid-context-manager",
        "invalid-exception-caught",
        "index-out-of-bounds",
    }
)
"""The checker's rules whose findings raise when they are reached; all others are about annotations or style."""


@dataclass(frozen=True, slots=True)
class _Finding:
    rule: str
    message: str
    line: int
    column: int


def type_problems(
    report: str, tree: ast.Module | None, functions: frozenset[str], *, shift: int
) -> tuple[Problem, ...]:
    """The problems in the checker's JSON report; `shift` lines stand before the program in what was checked."""
    source = _Source(tree)
    kept = [finding for finding in _findings(report, shift) if _counts(finding, source, functions)]
    return tuple(
        Problem(each.line, each.column, _plain(each.message), hints.hint_for(each.message, functions)) for each in kept
    )


def _findings(report: str, shift: int) -> Iterator[_Finding]:
    for entry in json.loads(report):
        place: dict[str, Any] = entry.get("location") or {}
        line = max(int(place.get("row", 0)) - shift, 0)
        yield _Finding(str(entry.get("code", "")), str(entry.get("message", "")), line, int(place.get("column", 0)))


class _Source:
    """What the judgement needs from the program: its own names, and where annotations and optional imports stand."""

    def __init__(self, tree: ast.Module | None) -> None:
        nodes = tuple(ast.walk(tree)) if tree is not None else ()
        self.defined = frozenset(
            node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        )
        self.assigned = frozenset(
            node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        )
        self.annotations = frozenset(place for node in nodes for place in _annotation_places(node))
        self.guarded = tuple(
            (node.body[0].lineno, node.body[-1].end_lineno or 0)
            for node in nodes
            if isinstance(node, ast.Try) and node.handlers
        )


def _annotation_places(node: ast.AST) -> Iterator[tuple[int, int]]:
    for field in ("annotation", "returns"):
        annotation = getattr(node, field, None)
        for inner in ast.walk(annotation) if isinstance(annotation, ast.AST) else ():
            if isinstance(inner, ast.expr):
                yield inner.lineno, inner.col_offset + 1


def _counts(finding: _Finding, source: _Source, functions: frozenset[str]) -> bool:
    rule, message = finding.rule, finding.message
    if rule not in _RAISES or (finding.line, finding.column) in source.annotations or _may_work(message):
        return False
    match rule:
        case "invalid-assignment":
            return "unpack" in message  # the rest compares a value with an annotation
        case "invalid-argument-type":
            return _callee(message) not in source.defined | {""} or _callee(message) in functions
        case "unresolved-import":
            return "__future__" not in message and not _guarded(finding, source)
        case "unresolved-attribute":
            return _attribute_is_missing(message, source)
        case "invalid-syntax":
            return "`return` statement outside" not in message and "__future__ imports" not in message
    return True


def _may_work(message: str) -> bool:
    """True where the found type is a union, None or object: another member, or a later assignment, may fit."""
    found = message.rpartition("found ")[2] if "found " in message else message
    return bool(re.search(r"`[^`]* \| [^`]*`|in union|type `None`|(?:type|objects of type) `object`", found))


def _callee(message: str) -> str:
    found = re.search(r"Argument to (?:function|bound method|constructor) `([\w.]+)`", message)
    return found[1] if found else ""


def _guarded(finding: _Finding, source: _Source) -> bool:
    return any(first <= finding.line <= last for first, last in source.guarded)


def _attribute_is_missing(message: str, source: _Source) -> bool:
    if message.startswith("Unresolved attribute"):
        return False  # an attribute that is set, not read
    if found := re.search(r"Module `([\w.]+)` has no member `(\w+)`", message):
        return (found[1], found[2]) not in _WORKS
    found = re.search(r"Object of type `(\w+)` has no attribute `(\w+)`", message)
    return not (found and found[1] in source.defined and found[2] in source.assigned)


def _plain(message: str) -> str:
    return message.replace("`", "'")

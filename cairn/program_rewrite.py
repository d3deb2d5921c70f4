"""Says in the sandbox's Python what a program says in Python: each rewrite does the same, and is told.

Models write the whole language by habit. Where another spelling provably means the same, the program is given that
spelling, on the same lines; what cannot be said otherwise is left for `program_lint`, which explains it. Modules that
the sandbox lacks are supplied as shims: classes of restricted Python in `cairn/shims`, fed before the program.
Everything here is pure: the program is parsed, never run.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from cairn.parsed_program import ParsedProgram, callbacks_of, is_method_value, parse
from cairn.program_hints import MODULES_AT_HAND
from cairn.program_lint import refusal

FOLDER = Path(__file__).parent / "shims"
SHIMS = frozenset(
    {"contextlib", "difflib", "fnmatch", "glob", "heapq", "io", "operator", "pprint", "shutil", "statistics", "string"}
    | {"textwrap"}
)
"""The modules that are supplied; `import X` gives the shim's class of the name `cairn_X`."""

AT_HAND: Mapping[str, str] = MappingProxyType(
    {name: f"import {name}" for name in MODULES_AT_HAND}
    | {name: f"from collections import {name}" for name in ("Counter", "defaultdict", "deque", "namedtuple")}
    | {"Path": "from pathlib import Path", "dataclass": "from dataclasses import dataclass"}
    | {name: f"{name} = cairn_{name}" for name in SHIMS - {"io"}}
)
"""What a program may use without importing it, and the statement that brings it."""

NOTES_SHOWN = 20
ROUNDS = 8  # how deep rewrites may stand in one another


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One place that is said in another way; lines count from 1."""

    line: int
    was: str
    now: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.was} is run as {self.now}"


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The program as it is run, and what was changed. Lines keep their numbers.

    `shims` are what it needs to be fed before, `unbound` the names among `AT_HAND` that it uses and does not bind.
    """

    text: str
    shims: tuple[str, ...] = ()
    unbound: tuple[str, ...] = ()
    rewrites: tuple[Rewrite, ...] = ()


@dataclass(frozen=True, slots=True)
class _Edit:
    """New text for a place in the source. `shims` are what it needs; `told` is False for what is no news."""

    start: tuple[int, int]
    end: tuple[int, int]
    text: str
    shims: tuple[str, ...] = ()
    told: bool = True


def rewritten(code: str, functions: frozenset[str] = frozenset(), *, rounds: int = ROUNDS) -> Rewritten:
    """The program in the sandbox's spelling; the very same text where nothing has to change.

    `functions` are the names of the external functions. A program that does not parse, or must not be compiled, is
    left alone.
    """
    tree = None if refusal(code) or not rounds else parse(code)
    if tree is None:
        return Rewritten(code)
    program = ParsedProgram(tree, functions)
    unbound = _unbound(program)
    plain = Rewritten(code, tuple(name for name in unbound if name in SHIMS), unbound)
    edits = _outermost([edit for find in _FINDERS for edit in find(program, code)])
    if not edits:
        return plain
    text = _apply(code, edits)
    if parse(text) is None:  # an edit met a spelling nobody thought of: then the program stays as it is
        return plain
    again = rewritten(text, functions, rounds=rounds - 1) if _is_nested(edits) else Rewritten(text)
    shims = {*plain.shims, *again.shims, *(name for edit in edits for name in edit.shims)}
    told = tuple(
        Rewrite(edit.start[0], _one_line(_between(code, edit.start, edit.end)), _one_line(edit.text))
        for edit in edits
        if edit.told
    )
    return Rewritten(again.text, tuple(sorted(shims)), unbound, (told + again.rewrites)[:NOTES_SHOWN])


def _unbound(program: ParsedProgram) -> tuple[str, ...]:
    used = {node.id for node in program.nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return tuple(sorted((used & AT_HAND.keys()) - program.bound - program.given))


@functools.cache
def shim(name: str) -> str:
    """A shim's program."""
    return (FOLDER / f"{name}.py").read_text(encoding="utf-8")


def shim_class(name: str) -> str:
    """The name that a shim's program binds."""
    return name if name.startswith("cairn_") else f"cairn_{name}"


# ── edits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _at(node: ast.AST) -> tuple[tuple[int, int], tuple[int, int]]:
    start = (getattr(node, "lineno", 0), getattr(node, "col_offset", 0))
    return start, (getattr(node, "end_lineno", 0) or 0, getattr(node, "end_col_offset", 0) or 0)


def _replace(node: ast.AST, text: str, *shims: str, told: bool = True) -> _Edit:
    return _Edit(*_at(node), text, shims, told)


def _source(code: str, node: ast.AST) -> str:
    return _between(code, *_at(node))


def _between(code: str, start: tuple[int, int], end: tuple[int, int]) -> str:
    """The text of a place; columns count bytes, as `ast` does."""
    lines = [line.encode() for line in _lines(code)[start[0] - 1 : end[0]]]
    lines[-1] = lines[-1][: end[1]]
    lines[0] = lines[0][start[1] :]
    return b"".join(lines).decode()


@functools.lru_cache(maxsize=8)
def _lines(code: str) -> tuple[str, ...]:
    """Lines as Python's parser counts them; asked for once for each place, of which there may be thousands."""
    return tuple(re.split(r"(?<=\n)", code))


def _outermost(edits: list[_Edit]) -> list[_Edit]:
    """In order, without those inside another; these come when the result is looked at again."""
    kept: list[_Edit] = []
    for edit in sorted(edits, key=lambda each: (each.start, (-each.end[0], -each.end[1]))):
        if not kept or edit.start >= kept[-1].end:
            kept.append(edit)
    return kept


def _is_nested(edits: list[_Edit]) -> bool:
    """True when an edit holds source of the program, in which there may be more to say otherwise."""
    return any("(" in edit.text for edit in edits)


def _apply(code: str, edits: list[_Edit]) -> str:
    lines = [line.encode() for line in _lines(code)]
    for edit in reversed(edits):
        (first, column), (last, end) = edit.start, edit.end
        new = lines[first - 1][:column] + edit.text.encode() + lines[last - 1][end:]
        # Lines that vanish inside an edit are made up for behind it, so that all others keep their numbers.
        missing = (last - first) - edit.text.count("\n")
        lines[first - 1 : last] = [new, *[b"\n"] * missing] if missing > 0 else [new]
    return b"".join(lines).decode()


def _one_line(text: str) -> str:
    shown = " ".join(text.split())
    return shown if len(shown) <= 60 else f"{shown[:57]}..."  # noqa: PLR2004 - a short quote


# ── imports ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _imports(program: ParsedProgram, code: str) -> Iterator[_Edit]:  # noqa: ARG001 - one signature for all finders
    for node in program.nodes:
        if isinstance(node, ast.Import) and any(alias.name in SHIMS for alias in node.names):
            yield _import(node)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module in SHIMS:
            yield _from_shim(node, node.module)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module == "collections.abc":
            yield _for_annotations(node)


def _import(node: ast.Import) -> _Edit:
    parts, shims = [], []
    for alias in node.names:
        if alias.name in SHIMS:
            parts.append(f"{alias.asname or alias.name} = cairn_{alias.name}")
            shims.append(alias.name)
        else:
            parts.append(f"import {alias.name}" + (f" as {alias.asname}" if alias.asname else ""))
    return _replace(node, "; ".join(parts), *shims, told=False)


def _from_shim(node: ast.ImportFrom, module: str) -> _Edit:
    if any(alias.name == "*" for alias in node.names):
        return _replace(node, f"from {module} import *", told=False)
    names = [f"{alias.asname or alias.name} = cairn_{module}.{alias.name}" for alias in node.names]
    return _replace(node, "; ".join(names), module, told=False)


def _for_annotations(node: ast.ImportFrom) -> _Edit:
    """Abstract classes only serve annotations here; the sandbox looks at none."""
    in_typing = {"Callable", "Generator", "Iterable", "Iterator", "Mapping", "Sequence"}
    known = [alias for alias in node.names if alias.name in in_typing]
    other = [alias for alias in node.names if alias.name not in in_typing]
    parts = [
        *(f"from typing import {each.name}" + (f" as {each.asname}" if each.asname else "") for each in known),
        *(f"{each.asname or each.name} = object" for each in other),
    ]
    return _replace(node, "; ".join(parts), told=False)


# ── statements ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _deletions(program: ParsedProgram, code: str) -> Iterator[_Edit]:
    for node in program.nodes:
        if isinstance(node, ast.Delete):
            said = [_without_del(program, code, node, target) for target in node.targets]
            if all(said):
                yield _replace(node, "; ".join(text for text in said if text))


def _without_del(program: ParsedProgram, code: str, node: ast.Delete, target: ast.expr) -> str | None:
    """The same deletion in other words; None when there are none."""
    if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Slice):
        return f"{_source(code, target)} = []"
    if isinstance(target, ast.Subscript):
        return f"({_source(code, target.value)}).pop({_source(code, target.slice)})"
    if isinstance(target, ast.Name) and not _is_read_after(program, target.id, node):
        return f"{target.id} = None"
    return None


def _is_read_after(program: ParsedProgram, name: str, node: ast.AST) -> bool:
    """True when the name may be read once it is deleted: further down, or in the next round of a loop."""
    place: ast.AST | None = node
    first = getattr(node, "lineno", 0)
    while place is not None:
        if isinstance(place, ast.For | ast.While | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            first = min(first, getattr(place, "lineno", 0) - 1)
        place = program.parents.get(place)
    return any(
        isinstance(each, ast.Name) and each.id == name and isinstance(each.ctx, ast.Load) and each.lineno > first
        for each in program.nodes
    )


def _method_statements(program: ParsedProgram, code: str) -> Iterator[_Edit]:
    """`f.writelines(lines)` as a statement: files have no such method."""
    for call in program.calls:
        is_statement = isinstance(program.parents.get(call), ast.Expr)
        if is_statement and isinstance(call.func, ast.Attribute) and call.func.attr == "writelines" and call.args:
            owner, lines = _source(code, call.func.value), _source(code, call.args[0])
            yield _replace(call, f'{owner}.write("".join({lines}))')


# ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _lazy(program: ParsedProgram, code: str) -> Iterator[_Edit]:
    """`next(x for ...)`: generator expressions, map and filter are lists here."""
    for call in program.calls:
        if program.name_of(call) != "next" or not call.args:
            continue
        first, rest = call.args[0], "".join(f", {_source(code, each)}" for each in call.args[1:])
        if isinstance(first, ast.GeneratorExp):
            inside = _source(code, first)
            inside = inside if inside.startswith("(") and inside.endswith(")") else f"({inside})"
            if not _is_endless(program, first):
                yield _replace(call, f"next(iter({inside}){rest})")
        elif isinstance(first, ast.Call) and program.name_of(first) in {"map", "filter", "zip", "enumerate"}:
            yield _replace(call, f"next(iter({_source(code, first)}){rest})")


def _is_endless(program: ParsedProgram, node: ast.GeneratorExp) -> bool:
    calls = [each for part in node.generators for each in ast.walk(part.iter) if isinstance(each, ast.Call)]
    return any(program.name_of(call) in {"itertools.count", "itertools.cycle", "iter"} for call in calls)


def _callbacks(program: ParsedProgram, code: str) -> Iterator[_Edit]:
    for call in program.calls:
        for callback in callbacks_of(program, call):
            if program.suspends(callback):
                yield from _as_comprehension(program, code, call)
            elif is_method_value(program, callback) and isinstance(callback, ast.Attribute):
                yield _replace(callback, _as_lambda(program, code, callback))


def _as_lambda(program: ParsedProgram, code: str, value: ast.Attribute) -> str:
    owner = value.value
    is_type = isinstance(owner, ast.Name) and owner.id in {
        "str",
        "bytes",
        "list",
        "dict",
        "set",
        "tuple",
        "int",
        "float",
    }
    if is_type and isinstance(owner, ast.Name) and owner.id not in program.bound:
        return f"(lambda cairn_x: cairn_x.{value.attr}())"
    return f"(lambda cairn_x: {_source(code, owner)}.{value.attr}(cairn_x))"


def _as_comprehension(program: ParsedProgram, code: str, call: ast.Call) -> Iterator[_Edit]:
    """`map(read_file, paths)`: a function of the host cannot be called from inside one of the sandbox's own."""
    name = program.name_of(call)
    if name not in {"map", "filter"} or len(call.args) != 2 or call.keywords:  # noqa: PLR2004 - function and values
        return
    function, values = (_source(code, each) for each in call.args)
    function = f"({function})" if isinstance(call.args[0], ast.Lambda) else function
    if name == "map":
        yield _replace(call, f"[{function}(cairn_x) for cairn_x in {_as_operand(call.args[1], values)}]")
    else:
        yield _replace(call, f"[cairn_x for cairn_x in {_as_operand(call.args[1], values)} if {function}(cairn_x)]")


def _as_operand(node: ast.expr, text: str) -> str:
    return f"({text})" if isinstance(node, ast.IfExp | ast.Lambda | ast.NamedExpr) else text


def _substitutions(program: ParsedProgram, code: str) -> Iterator[_Edit]:
    for call in program.calls:
        name = program.name_of(call)
        if name == "re.subn":
            yield _replace(call.func, "cairn_re.subn", "cairn_re")
        elif name == "re.sub" and len(call.args) > 1 and _is_function(program, call.args[1]):
            yield _replace(call.func, "cairn_re.sub", "cairn_re")
        elif _is_pattern_sub(program, call) and isinstance(call.func, ast.Attribute):
            owner, given = _source(code, call.func.value), [_source(code, each) for each in call.args]
            given += [f"{each.arg}={_source(code, each.value)}" for each in call.keywords if each.arg]
            yield _replace(call, f"cairn_re.sub({', '.join([owner, *given])})", "cairn_re")


def _is_pattern_sub(program: ParsedProgram, call: ast.Call) -> bool:
    is_sub = isinstance(call.func, ast.Attribute) and call.func.attr == "sub" and not program.path_of(call.func)
    return is_sub and bool(call.args) and "sub" not in program.bound and _is_function(program, call.args[0])


def _is_function(program: ParsedProgram, node: ast.expr) -> bool:
    return isinstance(node, ast.Lambda) or (isinstance(node, ast.Name) and node.id in program.defined)


def _texts(program: ParsedProgram, code: str) -> Iterator[_Edit]:
    for call in program.calls:
        func = call.func
        if not isinstance(func, ast.Attribute) or func.attr in program.bound:
            continue
        if func.attr == "maketrans" and isinstance(func.value, ast.Name) and func.value.id == "str":
            yield _replace(func, "cairn_text.maketrans", "cairn_text")
        elif func.attr == "translate" and len(call.args) == 1 and not program.path_of(func):
            text, table = _source(code, func.value), _source(code, call.args[0])
            yield _replace(call, f"cairn_text.translate({text}, {table})", "cairn_text")


def _bytes(program: ParsedProgram, code: str) -> Iterator[_Edit]:
    """`bytes([65, 66])`: bytes are made of text only here."""
    for call in program.calls:
        one = call.args[0] if program.name_of(call) == "bytes" and len(call.args) == 1 and not call.keywords else None
        if isinstance(one, ast.List | ast.Tuple | ast.ListComp):
            yield _replace(call, f"cairn_text.bytes({_source(code, one)})", "cairn_text")


_ITERATE = frozenset(
    {"enumerate", "zip", "list", "tuple", "set", "sorted", "map", "filter", "sum", "any", "all", "max"}
)


def _iterated_files(program: ParsedProgram, code: str) -> Iterator[_Edit]:
    """`enumerate(open(path))`: only `for` and `next` read an open file line by line."""
    opened = frozenset(_opened_names(program))
    for call in program.calls:
        if program.name_of(call) not in _ITERATE:
            continue
        for given in call.args:
            is_file = isinstance(given, ast.Call) and program.name_of(given) == "open"
            if is_file or (isinstance(given, ast.Name) and given.id in opened):
                yield _replace(given, f"{_source(code, given)}.readlines()")


def _opened_names(program: ParsedProgram) -> Iterator[str]:
    """The names that stand for an open file wherever they are bound."""
    bound: dict[str, list[bool]] = {}
    for node in program.nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            above = program.parents.get(node)
            value = getattr(above, "context_expr", None) or getattr(above, "value", None)
            is_open = isinstance(value, ast.Call) and program.name_of(value) == "open"
            bound.setdefault(node.id, []).append(is_open)
    yield from (name for name, opens in bound.items() if all(opens))


def _attributes(program: ParsedProgram, code: str) -> Iterator[_Edit]:
    """`getattr(value, "name")(...)`: the methods of built-in types are no values."""
    for call in program.calls:
        inner = call.func
        if not isinstance(inner, ast.Call) or program.name_of(inner) != "getattr" or len(inner.args) != 2:  # noqa: PLR2004
            continue
        name = inner.args[1]
        if isinstance(name, ast.Constant) and isinstance(name.value, str) and name.value.isidentifier():
            yield _replace(inner, f"({_source(code, inner.args[0])}).{name.value}")


def _prints(program: ParsedProgram, code: str) -> Iterator[_Edit]:  # noqa: ARG001 - one signature for all finders
    for call in program.calls:
        if program.name_of(call) != "print":
            continue
        target = next((each.value for each in call.keywords if each.arg == "file"), None)
        is_none = isinstance(target, ast.Constant) and target.value is None
        if target is not None and not is_none and program.path_of(target) not in {"sys.stdout", "sys.stderr"}:
            yield _replace(call.func, "cairn_text.print", "cairn_text")


def _awaits(program: ParsedProgram, code: str) -> Iterator[_Edit]:
    """`await read_file(p)`: the functions a program is given answer at once."""
    for node in program.nodes:
        if isinstance(node, ast.Await) and isinstance(node.value, ast.Call) and program.is_given(node.value):
            yield _replace(node, _source(code, node.value))


def _exits(program: ParsedProgram, code: str) -> Iterator[_Edit]:  # noqa: ARG001
    for call in program.calls:
        is_statement = isinstance(program.parents.get(call), ast.Expr)
        if is_statement and program.name_of(call) in {"sys.exit", "exit", "quit"}:
            yield _replace(call, "raise SystemExit")


_Finder = Callable[[ParsedProgram, str], Iterator[_Edit]]
_FINDERS: tuple[_Finder, ...] = (
    *(
        _imports,
        _deletions,
        _method_statements,
        _lazy,
        _callbacks,
        _substitutions,
        _texts,
        _bytes,
        _iterated_files,
        _attributes,
        _prints,
        _awaits,
        _exits,
    ),
)

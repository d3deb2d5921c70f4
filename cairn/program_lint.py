"""Reads a program before the sandbox does, and says what would fail there with what to write instead.

The sandbox's compiler stops at its first complaint and its type checker knows the whole language, not the subset that
runs. These checks close that gap. Each one names something that fails whenever it is reached; what may work passes.
Everything here is pure: the program is parsed, never run.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType

from cairn import program_hints as hints
from cairn.parsed_program import Function, ParsedProgram, callbacks_of, is_method_value, parse, parsed
from cairn.program import Limits, Problem

SOURCE_BYTES = 1_000_000  # whatever the limits say: bounds parse and compile time
FUNCTION_DEPTH = 8  # the sandbox's compile time is exponential in nested functions: 8 cost 1 ms, 17 cost 3 s
TREE_DEPTH = 400  # the sandbox refuses source nested over 200 levels; a level is at most two nodes

Found = tuple[ast.AST, str, str]  # the node to point at, the message, the hint
_BLOCKS = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.If, ast.For, ast.AsyncFor, ast.While),
    *(ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match),
)


# A program is judged when it is checked, before it runs, and once more by each check around these.
_REMEMBERED = 4


@lru_cache(maxsize=_REMEMBERED)
def lint(code: str, functions: frozenset[str] = frozenset()) -> tuple[Problem, ...]:
    """Every problem found, in order of line; `functions` are the names of the functions the program is given."""
    refused = refusal(code)
    if refused:
        return refused
    tree = parse(code)
    if tree is None:  # a syntax error, or syntax newer than this Python: the sandbox's compiler decides
        return ()
    program = ParsedProgram(tree, functions)
    found = {_problem(*each) for check in _CHECKS for each in check(program)}
    return tuple(sorted(found, key=lambda problem: (problem.line, problem.column)))


def beyond_limits(code: str, limits: Limits) -> tuple[Problem, ...]:
    """Why the program, as it was written, is longer or deeper than the task's limits allow."""
    if len(code) > limits.program_chars:
        what = f"the program has {len(code):,} characters; {limits.program_chars:,} are allowed (limit program_chars)"
        return (Problem(0, 0, what, "read long texts from files instead of writing them into the program."),)
    tree = parse(code) if not refusal(code) else None
    node = None if tree is None else _nested_deeper(tree, limits.nesting)
    if node is None:
        return ()
    what = f"blocks are nested more than {limits.nesting} deep (limit nesting)"
    return (_problem(node, what, "move the inner blocks into functions at the top level."),)


def _nested_deeper(tree: ast.Module, most: int) -> ast.AST | None:
    """The first block found with more than `most` around it, itself counted; an elif is no deeper than its if."""
    stack: list[tuple[ast.AST, int]] = [(tree, 0)]
    while stack:
        node, depth = stack.pop()
        if depth > most:
            return node
        for name, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    is_elif = isinstance(node, ast.If) and name == "orelse" and isinstance(child, ast.If)
                    stack.append((child, depth + (isinstance(child, _BLOCKS) and not (is_elif and len(value) == 1))))
    return None


@lru_cache(maxsize=_REMEMBERED)
def refusal(code: str) -> tuple[Problem, ...]:
    """Why the program must not reach the compiler: too large, or nested so deep that compiling takes for ever."""
    try:
        size = len(code.encode())
    except UnicodeEncodeError:
        return (Problem(0, 0, "the program is not valid Unicode text", "remove the broken character."),)
    if size > SOURCE_BYTES:
        what = f"the program has {size:,} bytes; {SOURCE_BYTES:,} are allowed"
        return (Problem(0, 0, what, "read long texts from files instead of writing them into the program."),)
    try:
        tree = parsed(code)
    except SyntaxError:
        return ()
    except (RecursionError, MemoryError):
        return (_too_deep(Problem(0, 0, "")),)
    return _depth_problems(tree)


def _depth_problems(tree: ast.Module) -> tuple[Problem, ...]:
    stack: list[tuple[ast.AST, int, int]] = [(tree, 0, 0)]
    while stack:
        node, depth, functions = stack.pop()
        functions += isinstance(node, Function)
        if depth > TREE_DEPTH or functions > FUNCTION_DEPTH:
            return (_too_deep(_problem(node, "", "")),)
        stack.extend((child, depth + 1, functions) for child in ast.iter_child_nodes(node))
    return ()


def _too_deep(where: Problem) -> Problem:
    message = f"the program is nested too deeply (functions in functions: at most {FUNCTION_DEPTH})"
    return Problem(where.line, where.column, message, hints.hint_for("too deeply nested"))


def _problem(node: ast.AST, message: str, hint: str) -> Problem:
    return Problem(getattr(node, "lineno", 0), getattr(node, "col_offset", -1) + 1, message, hint)


# ── what the compiler refuses ───────────────────────────────────────────────────────────────────────────────────────


def _statements(program: ParsedProgram) -> Iterator[Found]:
    for node in program.nodes:
        match node:
            case ast.Yield() | ast.YieldFrom():
                yield node, "yield is not supported", hints.NO_YIELD
            case ast.Delete():
                yield node, "del is not supported", hints.NO_DEL
            case ast.AsyncWith():
                yield node, "async with is not supported", "use with, or try/finally."
            case ast.AsyncFor():
                yield node, "async for is not supported", "use a plain for loop."
            case ast.TryStar():
                yield node, "except* is not supported", "use except."
            case _ if type(node).__name__ == "TypeAlias":  # Python 3.12 and later
                yield node, "type aliases are not supported", "leave the alias out; annotations are not needed."


def _classes(program: ParsedProgram) -> Iterator[Found]:
    for node in program.nodes:
        if not isinstance(node, ast.ClassDef):
            continue
        if node.bases or node.keywords:
            yield node, f"class {node.name} inherits; inheritance is not supported", hints.NO_INHERITANCE
        for inner in node.body:
            yield from _class_body(inner)


def _class_body(inner: ast.stmt) -> Iterator[Found]:
    if isinstance(inner, ast.ClassDef):
        yield inner, "a class inside a class is not supported", "move the inner class to the top level."
    if not isinstance(inner, Function):
        return
    if inner.name in hints.IGNORED_METHODS:
        yield inner, f"{inner.name} is never called here", hints.IGNORED_METHODS[inner.name]
    for decorator in inner.decorator_list:
        name = decorator.attr if isinstance(decorator, ast.Attribute) else getattr(decorator, "id", "")
        if name in {"property", "classmethod", "staticmethod", "setter", "cached_property"}:
            yield decorator, f"@{name} is not supported", "write a plain method, or a function outside the class."


# ── imports and members ─────────────────────────────────────────────────────────────────────────────────────────────


def _imports(program: ParsedProgram) -> Iterator[Found]:
    for node in program.nodes:
        if not isinstance(node, ast.Import | ast.ImportFrom) or _optional(program, node):
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name not in hints.MODULES:
                    yield node, f"there is no module {alias.name}", hints.module_hint(alias.name)
        else:
            yield from _from_import(node)


def _from_import(node: ast.ImportFrom) -> Iterator[Found]:
    module = "." * node.level + (node.module or "")
    if module not in hints.MODULES:
        yield node, f"there is no module {module}", hints.module_hint(module)
        return
    for alias in node.names:
        if alias.name == "*":
            yield node, "import * is not supported", "import the names you need."
        elif hint := hints.MISSING_MEMBERS.get(module, {}).get(alias.name):
            yield node, f"module {module} has no {alias.name}", hint


def _optional(program: ParsedProgram, node: ast.AST) -> bool:
    """True where the program expects the import to fail, or never runs it."""
    place: ast.AST | None = node
    while place is not None and place not in program.may_fail:
        place = program.parents.get(place)
    return place is not None


def _members(program: ParsedProgram) -> Iterator[Found]:
    for node in program.nodes:
        if not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Load):
            continue
        owner = program.path_of(node.value)
        if hint := hints.MISSING_MEMBERS.get(owner, {}).get(node.attr):
            yield node, f"module {owner} has no {node.attr}", hint
        elif owner:
            continue
        elif isinstance(node.value, ast.Name) and node.value.id.startswith("cairn_"):
            continue  # a shim, which has what the sandbox lacks
        elif node.attr in hints.MISSING_METHODS and node.attr not in program.bound:
            yield node, f"there is no method {node.attr}", hints.MISSING_METHODS[node.attr]
        else:
            yield from _attributes(program, node)


_NO_ATTRIBUTE = frozenset(
    {"__class__", "__dict__", "__doc__", "__cause__", "__context__", "__traceback__", "__module__"}
)
_ERROR_ATTRIBUTES = frozenset({"errno", "strerror", "filename", "msg", "pos", "lineno", "add_note", "with_traceback"})


def _attributes(program: ParsedProgram, node: ast.Attribute) -> Iterator[Found]:
    name = node.value.id if isinstance(node.value, ast.Name) else ""
    if node.attr in _NO_ATTRIBUTE and node.attr not in program.bound:
        yield (
            node,
            f"values have no {node.attr} here",
            hints.NO_ATTRIBUTE,
        )
    elif node.attr in {"__name__", "__qualname__"} and name in program.defined:
        yield node, f"functions have no {node.attr} here", "write the name as text."
    elif name in program.handled and node.attr in _ERROR_ATTRIBUTES:
        yield node, f"errors have no {node.attr} here", f"use str({name})."


def _names(program: ParsedProgram) -> Iterator[Found]:
    missing = hints.MISSING_BUILTINS.keys() - program.bound - program.given
    for node in program.nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in missing:
            yield node, f"there is no {node.id}", hints.MISSING_BUILTINS[node.id]


# ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _callbacks(program: ParsedProgram) -> Iterator[Found]:
    for call in program.calls:
        for callback in callbacks_of(program, call):
            if program.suspends(callback):
                what = f"{_shown(callback)} cannot be called from inside {_shown(call.func)}"
                yield callback, what, hints.NO_CALLBACKS
            elif is_method_value(program, callback):
                yield callback, f"{_shown(callback)} is not a value", hints.METHOD_VALUE
    for node in program.nodes:
        if isinstance(node, ast.ClassDef):
            yield from _special_methods(program, node)


def _special_methods(program: ParsedProgram, node: ast.ClassDef) -> Iterator[Found]:
    for inner in node.body:
        if not isinstance(inner, Function) or inner.name not in {"__str__", "__repr__", "__next__", "__hash__"}:
            continue
        if inner in program.reaching:
            what = f"a function you are given cannot be called from inside {inner.name}"
            yield inner, what, hints.NO_CALLBACKS


def _awaits(program: ParsedProgram) -> Iterator[Found]:
    for node in program.nodes:
        if isinstance(node, ast.Await) and program.is_given(node.value):
            yield node, "this call needs no await", hints.ANSWERS_AT_ONCE
    for call in program.calls:
        if program.name_of(call) in {"asyncio.gather", "asyncio.run"} and any(program.is_given(a) for a in call.args):
            yield call, f"{_shown(call.func)} takes no function you are given", hints.ANSWERS_AT_ONCE


_EXCEPTIONS = frozenset(
    name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)
)


def _exceptions(program: ParsedProgram) -> Iterator[Found]:
    for call in program.calls:
        if program.name_of(call) not in _EXCEPTIONS:
            continue
        first = call.args[0] if call.args else None
        wrong = len(call.args) > 1 or bool(call.keywords)
        wrong = wrong or (isinstance(first, ast.Constant) and not isinstance(first.value, str))
        wrong = wrong or (isinstance(first, ast.Name) and first.id in program.handled)
        if wrong or isinstance(first, ast.Tuple | ast.List | ast.Dict):
            yield call, f"{_shown(call.func)} is given something that is not one string", hints.ONE_STRING


def _library_calls(program: ParsedProgram) -> Iterator[Found]:
    for call in program.calls:
        check = _CALL_CHECKS.get(program.name_of(call))
        if check is not None:
            yield from check(program, call)
        elif isinstance(call.func, ast.Attribute) and call.func.attr not in program.bound:
            yield from _method_call(program, call, call.func.attr)


def _next_call(_program: ParsedProgram, call: ast.Call) -> Iterator[Found]:
    first = call.args[0] if call.args else None
    lists = {"map", "filter", "zip", "enumerate"}
    eager = isinstance(first, ast.GeneratorExp | ast.ListComp) or (
        isinstance(first, ast.Call) and isinstance(first.func, ast.Name) and first.func.id in lists
    )
    if eager:
        yield call, "next() of a list; generator expressions, map and filter make lists here", hints.NEXT_OF_LIST


def _json_call(_program: ParsedProgram, call: ast.Call) -> Iterator[Found]:
    for keyword in call.keywords:
        if keyword.arg in {"default", "cls", "object_hook", "object_pairs_hook", "parse_float", "parse_int"}:
            yield call, f"{_shown(call.func)} has no argument {keyword.arg}", hints.NO_DEFAULT


def _sub_call(program: ParsedProgram, call: ast.Call) -> Iterator[Found]:
    yield from _replacement(program, call, _argument(call, 1, "repl"))


def _replacement(program: ParsedProgram, call: ast.Call, value: ast.expr | None) -> Iterator[Found]:
    if isinstance(value, ast.Lambda) or (isinstance(value, ast.Name) and value.id in program.defined):
        yield call, "re.sub takes no function as its replacement", hints.SUB_CALLABLE


def _open_call(_program: ParsedProgram, call: ast.Call) -> Iterator[Found]:
    for keyword in call.keywords:
        if keyword.arg not in {None, "file", "mode", "encoding", "newline"}:
            yield call, f"open() has not the argument {keyword.arg}", hints.OPEN_ARGUMENTS
    if len(call.args) > 2 and isinstance(call.args[2], ast.Constant):  # noqa: PLR2004 - after file and mode
        yield call, "open() has not a third argument", hints.OPEN_ARGUMENTS
    mode = _argument(call, 1, "mode")
    if isinstance(mode, ast.Constant) and isinstance(mode.value, str):
        if "x" in mode.value:
            yield call, "open() has no mode 'x'", hints.hint_for("exclusive creation mode")
        elif "+" in mode.value:
            yield call, "open() cannot read and write at once", hints.hint_for("update modes")


def _print_call(program: ParsedProgram, call: ast.Call) -> Iterator[Found]:
    target = _argument(call, len(call.args), "file")
    nowhere = target is None or (isinstance(target, ast.Constant) and target.value is None)
    if not nowhere and target is not None and program.path_of(target) not in {"sys.stdout", "sys.stderr"}:
        yield call, "print() cannot write to a file", "use f.write(text + '\\n')."


def _dataclass_call(_program: ParsedProgram, call: ast.Call) -> Iterator[Found]:
    for keyword in call.keywords:
        if keyword.arg in {"order", "slots", "kw_only", "unsafe_hash", "weakref_slot", "match_args"}:
            yield call, f"@dataclass has no option {keyword.arg}", "leave that option of @dataclass out."


def _method_call(program: ParsedProgram, call: ast.Call, method: str) -> Iterator[Found]:
    if method in {"read_text", "write_text"} and (call.keywords or len(call.args) > (method == "write_text")):
        yield call, f"{method}() has no argument for encoding or errors", hints.PATH_TEXT_KEYWORDS
    elif method == "sub" and call.args:
        yield from _replacement(program, call, call.args[0])


def _argument(call: ast.Call, position: int, name: str) -> ast.expr | None:
    if position < len(call.args):
        return call.args[position]
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def _shown(node: ast.expr) -> str:
    """The expression as text, shortened; a long one is not even written down: it may hold thousands of others."""
    if node.end_lineno != node.lineno or (node.end_col_offset or 0) - node.col_offset > 200:  # noqa: PLR2004
        return "this expression"
    text = ast.unparse(node)
    return text if len(text) <= 40 else f"{text[:37]}..."  # noqa: PLR2004 - a short quote


_CallCheck = Callable[[ParsedProgram, ast.Call], Iterator[Found]]
_CALL_CHECKS: Mapping[str, _CallCheck] = MappingProxyType(
    {
        "next": _next_call,
        "open": _open_call,
        "print": _print_call,
        "re.sub": _sub_call,
        "dataclasses.dataclass": _dataclass_call,
        **{f"json.{name}": _json_call for name in ("dump", "dumps", "load", "loads")},
    }
)

_CHECKS: tuple[Callable[[ParsedProgram], Iterator[Found]], ...] = (
    _statements,
    _classes,
    _imports,
    _members,
    _names,
    _callbacks,
    _awaits,
    _exceptions,
    _library_calls,
)

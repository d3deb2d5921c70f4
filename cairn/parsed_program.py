"""A program as its tree, and what is asked about it in several places: the names it binds, what its calls reach."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Mapping

from cairn import program_hints as hints

Function = ast.FunctionDef | ast.AsyncFunctionDef


def parse(code: str) -> ast.Module | None:
    """The program's tree; None where this Python's own parser cannot read it."""
    try:
        return parsed(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def parsed(code: str) -> ast.Module:
    """As `parse`. Raises SyntaxError, ValueError, RecursionError, MemoryError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "\d" in a plain string works; a warning would land on the user's screen
        return ast.parse(code)


def bound_names(tree: ast.Module) -> tuple[str, ...]:
    """Every name the program binds at its top level, also inside its loops and branches; sorted."""
    names: set[str] = set()
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, Function | ast.ClassDef):
            names.add(node.name)
            continue
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.MatchAs | ast.MatchStar) and node.name:
            names.add(node.name)
        stack.extend(ast.iter_child_nodes(node))
    return tuple(sorted(names - {"*"}))


class ParsedProgram:
    """A parsed program with what several checks ask about it, found once."""

    def __init__(self, tree: ast.Module, functions: frozenset[str]) -> None:
        self.nodes = tuple(ast.walk(tree))
        self.parents = {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}
        self.given = functions
        self.defined = {node.name: node for node in self.nodes if isinstance(node, Function)}
        self.bound = frozenset(_all_bound(self.nodes))
        self.handled = frozenset(node.name for node in self.nodes if isinstance(node, ast.ExceptHandler) and node.name)
        at_hand = {name: name for name in hints.MODULES_AT_HAND if name not in self.bound}
        self.modules = {**at_hand, **_module_aliases(self.nodes)}
        self.calls = tuple(node for node in self.nodes if isinstance(node, ast.Call))
        self.suspending = _suspending(functions | {"open"}, self.defined)
        self.reaching = self._reaching()
        self.may_fail = frozenset(_expected_to_fail(self.nodes))

    def path_of(self, node: ast.AST) -> str:
        """`os.path.join` for an attribute of an imported module, however it was imported; "" for all else."""
        if isinstance(node, ast.Name):
            return self.modules.get(node.id, "")
        if isinstance(node, ast.Attribute):
            owner = self.path_of(node.value)
            return f"{owner}.{node.attr}" if owner else ""
        return ""

    def name_of(self, call: ast.Call) -> str:
        """The built-in or imported function that is called by its name, unless the program defines it itself."""
        if isinstance(call.func, ast.Name) and call.func.id not in self.modules:
            return "" if call.func.id in self.bound else call.func.id
        return self.path_of(call.func)

    def is_given(self, node: ast.AST) -> bool:
        """True for a call of an external function."""
        return isinstance(node, ast.Call) and self.name_of(node) in self.given

    def suspends(self, node: ast.AST) -> bool:
        """True for an expression that, called, calls a function of the host."""
        if isinstance(node, ast.Lambda):
            return node.body in self.reaching
        if isinstance(node, ast.Name):
            return node.id in self.suspending
        return self.path_of(node) in _SUSPENDING_PATHS

    def _reaching(self) -> frozenset[ast.AST]:
        """Every node with a call of a suspending function in it; marked from below, so that depth costs nothing."""
        found: set[ast.AST] = set()
        for call in self.calls:
            node: ast.AST | None = call if _calls_one(call, self.suspending) else None
            while node is not None and node not in found:
                found.add(node)
                node = self.parents.get(node)
        return frozenset(found)


def _all_bound(nodes: tuple[ast.AST, ...]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, Function | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]


def _module_aliases(nodes: tuple[ast.AST, ...]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                found[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return found


def _expected_to_fail(nodes: tuple[ast.AST, ...]) -> Iterator[ast.AST]:
    for node in nodes:
        if isinstance(node, ast.Try) and any(map(_catches_imports, node.handlers)):
            yield from node.body
        elif isinstance(node, ast.If) and any(map(_is_type_checking, ast.walk(node.test))):
            yield node


def _is_type_checking(node: ast.AST) -> bool:
    return "TYPE_CHECKING" in {getattr(node, "id", ""), getattr(node, "attr", "")}


def _catches_imports(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    caught = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
    return bool(caught & {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


_SUSPENDING_PATHS = frozenset(
    ("os.path.exists", "os.path.isfile", "os.path.isdir", "os.path.getsize", "os.path.getmtime", "os.path.islink")
)
_SUSPENDING_METHODS = frozenset({"read_text", "write_text", "read_bytes", "write_bytes"})


def _suspending(given: frozenset[str], defined: Mapping[str, Function]) -> frozenset[str]:
    """The given functions and every function of the program that reaches one of them.

    Each function is looked at once, however long the chain of calls is: a program must not hold up the host here.
    """
    found = set(given - defined.keys())
    callers: dict[str, list[str]] = {}
    waiting = list(found)
    for name, node in defined.items():
        calls = [call for call in ast.walk(node) if isinstance(call, ast.Call)]
        if name not in found and any(map(_calls_file_method, calls)):
            found.add(name)
            waiting.append(name)
        for called in {call.func.id for call in calls if isinstance(call.func, ast.Name)}:
            callers.setdefault(called, []).append(name)
    while waiting:
        more = [name for name in callers.get(waiting.pop(), ()) if name not in found]
        found.update(more)
        waiting.extend(more)
    return frozenset(found)


def _calls_one(call: ast.Call, names: frozenset[str]) -> bool:
    return (isinstance(call.func, ast.Name) and call.func.id in names) or _calls_file_method(call)


def _calls_file_method(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr in _SUSPENDING_METHODS


_FIRST_IS_CALLBACK = frozenset(
    {"map", "filter", "collections.defaultdict", "itertools.takewhile", "itertools.dropwhile", "itertools.filterfalse"}
)


def callbacks_of(program: ParsedProgram, call: ast.Call) -> Iterator[ast.expr]:
    """What the sandbox's own functions call in this call, and where nothing of the host can be called."""
    name = program.name_of(call)
    if name in _FIRST_IS_CALLBACK and call.args:
        yield call.args[0]
    if name == "itertools.groupby" and len(call.args) > 1:
        yield call.args[1]
    keyed = name in {"sorted", "min", "max", "itertools.groupby"} or getattr(call.func, "attr", "") == "sort"
    for keyword in call.keywords:
        if (keyed and keyword.arg == "key") or keyword.arg == "default_factory":
            yield keyword.value


_BUILTIN_TYPES: tuple[type, ...] = (str, bytes, list, dict, set, tuple, int, float)
_TYPE_NAMES = frozenset(each.__name__ for each in _BUILTIN_TYPES)
_METHODS = frozenset(name for each in _BUILTIN_TYPES for name in dir(each) if not name.startswith("_"))


def is_method_value(program: ParsedProgram, node: ast.expr) -> bool:
    """True for `str.lower` or `counts.get` without brackets: methods of built-in types are no values here."""
    if not isinstance(node, ast.Attribute) or program.path_of(node):
        return False
    if isinstance(node.value, ast.Name) and node.value.id in _TYPE_NAMES - program.bound:
        return True
    return node.attr in _METHODS and node.attr not in program.bound

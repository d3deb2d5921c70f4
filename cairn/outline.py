"""Functions and classes of a source file with their line ranges: Python by `ast`, others by tree-sitter grammars."""

from __future__ import annotations

import ast
import importlib
import io
import re
import time
import tokenize
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

SIGNATURE_CHARS = 1_000
PARSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class OutlineItem:
    """One definition. Lines count from 1 and are inclusive; 0 stands for "there is none".

    `name` is qualified ("Store.add"). `start` is the first line, decorators and attributes included. `signature_end`
    is the line the header ends on (its ":" or "{"), so a docstring of a Python definition goes below that line,
    indented by `indent`, unless `one_line` says that the body stands on it. `body_line` is the body's first line.
    A docstring is Python's own, elsewhere the comment right above; `docstring_start` and `docstring_end` are its lines.
    """

    name: str
    kind: str
    start: int
    end: int
    signature: str
    has_docstring: bool
    signature_end: int
    body_line: int
    docstring_start: int
    docstring_end: int
    indent: str
    one_line: bool


def outline(path: str, data: bytes) -> list[OutlineItem]:
    """Every function, method and class in the order they stand, nested ones too.

    Raises ValueError for a language without a grammar here, for bytes that are not UTF-8, and for Python that does not
    parse. In other languages the parts that do not parse are left out.
    """
    language = language_of(path, data)
    if language is None:
        raise ValueError(f"outline knows no language for '{path}'; it knows {', '.join(sorted(LANGUAGES))}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"'{path}' is not UTF-8 text (byte {error.start}), so it has no outline") from None
    if language == "python":
        return list(_python_items(parse_python(path, text), text.split("\n")))
    return list(_grammar_items(path, language, text.encode()))


LANGUAGES: Mapping[str, str] = {
    ".py": "python", ".pyi": "python", ".js": "javascript", ".jsx": "javascript", ".mjs": "javascript",
    ".cjs": "javascript", ".ts": "typescript", ".mts": "typescript", ".cts": "typescript", ".tsx": "tsx",
    ".go": "go", ".rs": "rust", ".java": "java", ".c": "c", ".h": "cpp", ".cc": "cpp", ".cpp": "cpp", ".cxx": "cpp",
    ".hh": "cpp", ".hpp": "cpp", ".hxx": "cpp", ".rb": "ruby", ".sh": "bash", ".bash": "bash",
}  # fmt: skip

_SHEBANG = re.compile(rb"#![^\n]*\b(python|bash|sh|ruby|node)[\d.]*\b")
_INTERPRETERS = {b"python": "python", b"bash": "bash", b"sh": "bash", b"ruby": "ruby", b"node": "javascript"}


def language_of(path: str, data: bytes) -> str | None:
    """The language by the name's ending, else by a "#!" line; None where there is no grammar."""
    name = path.rpartition("/")[2]
    ending = name[name.rfind(".") :].lower() if "." in name[1:] else ""
    if ending:
        return LANGUAGES.get(ending)
    shebang = _SHEBANG.match(data)
    return _INTERPRETERS[shebang[1]] if shebang else None


# --- Python ---


class NestedTooDeeply(ValueError):
    """CPython's parser gave up; it says so also when the memory was used up."""


def parse_python(path: str, text: str) -> ast.Module:
    """The syntax tree. Raises ValueError naming the line for text that is not Python of the running version."""
    if "\0" in text:
        raise ValueError(f"'{path}' contains NUL characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in a program's file is no business of ours
            return ast.parse(text)
    except SyntaxError as error:
        raise ValueError(f"'{path}' line {error.lineno or 1}: {error.msg}") from None
    except (RecursionError, MemoryError):  # what CPython's parser raises on absurd nesting
        raise NestedTooDeeply(f"'{path}' is nested too deeply to be parsed") from None


_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _python_items(tree: ast.Module, lines: list[str]) -> Iterator[OutlineItem]:
    waiting: list[tuple[ast.AST, str, bool]] = [(node, "", False) for node in reversed(tree.body)]
    while waiting:
        node, prefix, in_class = waiting.pop()
        inside = in_class
        if isinstance(node, _Definition):
            yield _python_item(node, prefix, in_class, lines)
            prefix, inside = f"{prefix}{node.name}.", isinstance(node, ast.ClassDef)
        waiting.extend((child, prefix, inside) for child in reversed(_statements(node)))


def _statements(node: ast.AST) -> list[ast.AST]:
    """The statements right inside a node; definitions hide in `if`, `try`, `with` and `match` too."""
    found: list[ast.AST] = []
    for part in ("body", "handlers", "cases", "orelse", "finalbody"):
        inner = getattr(node, part, None)
        if isinstance(inner, list):
            found.extend(inner)
    return found


def _python_item(node: _Definition, prefix: str, in_class: bool, lines: list[str]) -> OutlineItem:
    first = node.body[0]
    signature, signature_end = _header(node, lines)
    body_line = _first_line(first)
    one_line = body_line <= signature_end
    documented = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and type(first.value.value) is str
    )
    kind = "class" if isinstance(node, ast.ClassDef) else "method" if in_class else "function"
    return OutlineItem(
        name=prefix + node.name,
        kind=kind,
        start=_first_line(node),
        end=node.end_lineno or node.lineno,
        signature=signature,
        has_docstring=documented,
        signature_end=signature_end,
        body_line=body_line,
        docstring_start=first.lineno if documented else 0,
        docstring_end=(first.end_lineno or first.lineno) if documented else 0,
        indent=_indent_of(lines[node.lineno - 1]) + "    " if one_line else _indent_of(lines[first.lineno - 1]),
        one_line=one_line,
    )


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _indent_of(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t\f"))]


def _header(node: _Definition, lines: list[str]) -> tuple[str, int]:
    """The signature in one line, comments left out, and the line its colon stands on."""
    header = lines[node.lineno - 1 : max(node.body[0].lineno, node.lineno)]
    if len(header) > 1 and _whole_header(header[0]):
        return header[0].strip()[:-1].rstrip()[:SIGNATURE_CHARS], node.lineno
    cuts: dict[int, int] = {}  # where a line of the header stops being header, by its row
    depth = 0
    for kind, mark, (row, column), _end, _line in _tokens(header):
        if kind == tokenize.COMMENT:
            cuts[row] = column
        elif kind == tokenize.OP and mark in "([{":
            depth += 1
        elif kind == tokenize.OP and mark in ")]}":
            depth -= 1
        elif kind == tokenize.OP and mark == ":" and depth == 0:
            cuts[row] = column
            return _joined(header[:row], cuts), node.lineno + row - 1
    return _joined(header[:1], cuts), node.lineno


def _whole_header(line: str) -> bool:
    """True for the common header, whole on its line and free of anything that could mislead a count of brackets."""
    text = line.rstrip()
    plain = text.endswith(":") and not any(mark in text for mark in "'\"#\\")
    return plain and text.count("(") == text.count(")") and text.count("[") == text.count("]")


def _tokens(header: list[str]) -> Iterator[tokenize.TokenInfo]:
    try:
        yield from tokenize.generate_tokens(io.StringIO("\n".join(header)).readline)
    except (tokenize.TokenError, IndentationError):
        return  # the header is a fragment, so it may end in the middle of its body


def _joined(header: list[str], cuts: Mapping[int, int]) -> str:
    pieces = (line[: cuts.get(row)].rstrip("\\\r \t") for row, line in enumerate(header, start=1))
    text = " ".join(" ".join(pieces).split()) if len(header) > 1 else header[0][: cuts.get(1)].strip()
    if len(header) > 1:
        text = re.sub(r",? ([)\]])", r"\1", re.sub(r"([(\[]) ", r"\1", text))
    return text[:SIGNATURE_CHARS]


# --- other languages ---

# Which nodes are definitions, and what an outline calls them; "" only lends its name to what is inside.
_JAVASCRIPT = {
    "function_declaration": "function", "generator_function_declaration": "function", "class_declaration": "class",
    "method_definition": "method", "function_expression": "function", "class": "class",
    "variable_declarator": "function", "field_definition": "method", "pair": "function",
    "assignment_expression": "function",
}  # fmt: skip
_TYPESCRIPT = {
    **_JAVASCRIPT, "public_field_definition": "method", "abstract_class_declaration": "class",
    "interface_declaration": "interface", "enum_declaration": "enum", "type_alias_declaration": "type",
    "internal_module": "module", "module": "module", "function_signature": "function",
    "abstract_method_signature": "method", "method_signature": "method",
}  # fmt: skip
_C = {
    "function_definition": "function", "declaration": "function", "struct_specifier": "struct",
    "union_specifier": "union", "enum_specifier": "enum", "type_definition": "type",
}  # fmt: skip
_DEFINITIONS: Mapping[str, Mapping[str, str]] = {
    "javascript": _JAVASCRIPT,
    "typescript": _TYPESCRIPT,
    "tsx": _TYPESCRIPT,
    "go": {"function_declaration": "function", "method_declaration": "method", "type_spec": "type",
           "type_alias": "type", "method_elem": "method"},
    "rust": {"function_item": "function", "function_signature_item": "function", "struct_item": "struct",
             "enum_item": "enum", "union_item": "union", "trait_item": "trait", "type_item": "type",
             "mod_item": "module", "macro_definition": "macro", "impl_item": ""},
    "java": {"class_declaration": "class", "interface_declaration": "interface", "enum_declaration": "enum",
             "record_declaration": "record", "annotation_type_declaration": "annotation",
             "method_declaration": "method", "constructor_declaration": "method",
             "compact_constructor_declaration": "method"},
    "c": _C,
    "cpp": {**_C, "class_specifier": "class", "namespace_definition": "namespace", "alias_declaration": "type",
            "field_declaration": "method"},
    "ruby": {"module": "module", "class": "class", "method": "method", "singleton_method": "method"},
    "bash": {"function_definition": "function"},
}  # fmt: skip
_GRAMMARS: Mapping[str, tuple[str, str]] = {
    "typescript": ("tree_sitter_typescript", "language_typescript"),
    "tsx": ("tree_sitter_typescript", "language_tsx"),
}
_SEPARATORS = {"rust": "::", "cpp": "::"}
_HOLDERS = {"", "class", "interface", "trait", "struct", "enum", "record", "union"}
# These define something only when a function stands on their right side, a block follows, or a parameter list does.
_NEEDS_FUNCTION = {
    "variable_declarator", "field_definition", "public_field_definition", "pair", "assignment_expression",
}  # fmt: skip
_NEEDS_BODY = {"struct_specifier", "union_specifier", "enum_specifier", "class_specifier"}
_NEEDS_PARAMETERS = {"declaration", "field_declaration"}
_FUNCTION_VALUES = {"arrow_function", "function_expression", "generator_function"}
# Nodes that only wrap a definition: its first line, and the comment above it, are theirs.
_WRAPPERS = {
    "export_statement", "lexical_declaration", "variable_declaration", "template_declaration", "type_declaration",
    "ambient_declaration", "expression_statement",
}  # fmt: skip
_ATTRIBUTES = {"attribute_item", "decorator"}


@cache
def _parser(language: str) -> Parser:
    from tree_sitter import Language, Parser

    module, function = _GRAMMARS.get(language, (f"tree_sitter_{language}", "language"))
    return Parser(Language(getattr(importlib.import_module(module), function)()))


def parsed_by_grammar(path: str, language: str, data: bytes) -> Node:
    """The root of the syntax tree. Stopped at a deadline: some grammars need minutes for a page of brackets."""
    parser = _parser(language)
    deadline = time.monotonic() + PARSE_SECONDS
    try:
        tree = parser.parse(
            lambda offset, _point: data[offset : offset + 65_536],
            progress_callback=lambda _offset, _error: time.monotonic() > deadline,
        )
    except ValueError:
        parser.reset()
        raise ValueError(f"'{path}' took longer than {PARSE_SECONDS:g} s to parse, so it has no outline") from None
    return tree.root_node


def _grammar_items(path: str, language: str, data: bytes) -> Iterator[OutlineItem]:
    root = parsed_by_grammar(path, language, data)
    source = _Source(data, data.split(b"\n"))
    definitions, separator = _DEFINITIONS[language], _SEPARATORS.get(language, ".")
    waiting: list[tuple[Node, str, bool]] = [(root, "", False)]
    found = False
    while waiting:
        node, prefix, held = waiting.pop()
        kind = definitions.get(node.type)
        name = _name(node) if kind is not None and _defines(node) else ""
        if name and kind:
            found = True
            yield source.item(node, prefix + name, "method" if held and kind == "function" else kind)
            if language in {"c", "cpp"} and kind not in _HOLDERS | {"namespace"}:
                continue  # inside a C function `T x(y);` looks like a declaration of a function
        if name:
            prefix, held = f"{prefix}{name}{separator}", kind in _HOLDERS
        waiting.extend((child, prefix, held) for child in reversed(node.named_children))
    if root.has_error and not found:
        raise ValueError(f"'{path}' does not parse as {language} (line {_first_error(root)}), so it has no outline")


def _first_error(root: Node) -> int:
    node = root
    while not (node.is_error or node.is_missing):
        node = next((child for child in node.children if child.has_error or child.is_missing), root)
        if node is root:
            break
    return node.start_point.row + 1


def _defines(node: Node) -> bool:
    if node.type in _NEEDS_FUNCTION:
        value = node.child_by_field_name("value") or node.child_by_field_name("right")
        return value is not None and value.type in _FUNCTION_VALUES
    if node.type in _NEEDS_BODY:
        return node.child_by_field_name("body") is not None  # `struct s x;` names a type, it does not define one
    if node.type in _NEEDS_PARAMETERS:
        return any(declarator.type == "function_declarator" for declarator in _declarators(node))
    return True


def _declarators(node: Node) -> Iterator[Node]:
    """C writes a name at the end of a chain: pointer to function returning pointer to name."""
    inner = node.child_by_field_name("declarator")
    while inner is not None:
        yield inner
        deeper = inner.child_by_field_name("declarator")
        if deeper is None:
            deeper = next((child for child in inner.named_children if child.type.endswith("declarator")), None)
        inner = deeper


_NAME_FIELDS = ("name", "property", "key", "left")


def _name(node: Node) -> str:
    """The name, with its owner where the definition itself states one; "" for what has no name."""
    if node.type == "impl_item":
        return _text(node.child_by_field_name("type")).partition("<")[0]
    named = next((inner for field in _NAME_FIELDS if (inner := node.child_by_field_name(field)) is not None), None)
    if named is None:
        *_, named = (None, *_declarators(node))
    text = _text(named).strip("\"'()*&")
    if not text and node.parent is not None and node.parent.type == "export_statement":
        return "default"
    owner = node.child_by_field_name("receiver" if node.type == "method_declaration" else "object")
    if owner is None or not text:
        return text
    return f"{_text(owner).strip('()').partition('[')[0].split()[-1].lstrip('*')}.{text}"


def _text(node: Node | None) -> str:
    return "" if node is None or node.text is None else " ".join(node.text.decode(errors="replace").split())


@dataclass(frozen=True, slots=True)
class _Source:
    """The bytes that the nodes point into."""

    data: bytes
    lines: list[bytes]

    def item(self, node: Node, name: str, kind: str) -> OutlineItem:
        outer, body = _wrapped(node), _body(node)
        start, comment_start, comment_end = self._above(outer)
        inner = next((child for child in body.named_children if "comment" not in child.type), None) if body else None
        header_end, header_row = _header_end(node, body)
        signature = " ".join(self.data[outer.start_byte : header_end].decode(errors="replace").split())
        return OutlineItem(
            name=name,
            kind=kind,
            start=start,
            end=_last_row(outer) + 1,
            signature=signature.rstrip(" ;{=")[:SIGNATURE_CHARS],
            has_docstring=comment_start > 0,
            signature_end=header_row + 1,
            body_line=inner.start_point.row + 1 if inner else 0,
            docstring_start=comment_start,
            docstring_end=comment_end,
            indent=_indent_of(self.lines[inner.start_point.row].decode(errors="replace")) if inner else "",
            one_line=body is not None and header_row == _last_row(node),
        )

    def _above(self, node: Node) -> tuple[int, int, int]:
        """The first line with attributes, and the lines of the comment that touches it from above."""
        start = row = node.start_point.row
        comment_start = comment_end = 0
        above = _sibling_above(node)
        while above is not None and row - _last_row(above) <= 1:
            if above.type in _ATTRIBUTES:
                start = above.start_point.row
            elif "comment" in above.type and self._alone(above):
                comment_start, comment_end = above.start_point.row + 1, comment_end or _last_row(above) + 1
            else:
                break
            row, above = above.start_point.row, _sibling_above(above)
        return start + 1, comment_start, comment_end

    def _alone(self, comment: Node) -> bool:
        line = self.lines[comment.start_point.row]
        return not line[: comment.start_point.column].strip() and not line.startswith(b"#!")


def _sibling_above(node: Node) -> Node | None:
    above = node.prev_named_sibling
    if above is None and node.parent is not None and node.parent.type == "body_statement":
        return node.parent.prev_named_sibling  # Ruby's body starts at its first statement, below the comment
    return above


def _header_end(node: Node, body: Node | None) -> tuple[int, int]:
    """Where the header ends, as a byte and as a row: at the block's "{", in Ruby before the body."""
    if body is None:
        return node.end_byte, node.end_point.row
    if body.type != "body_statement":
        return body.start_byte, body.start_point.row
    last = body.prev_sibling
    while last is not None and "comment" in last.type:
        last = last.prev_sibling
    return (body.start_byte, body.start_point.row) if last is None else (last.end_byte, last.end_point.row)


def _last_row(node: Node) -> int:
    """A Rust `///` comment ends at the start of the next line, which is not its own."""
    end = node.end_point
    return end.row - 1 if end.column == 0 and end.row > node.start_point.row else end.row


def _wrapped(node: Node) -> Node:
    """The outermost node that holds this definition and no other."""
    outer = node
    while (parent := outer.parent) is not None and parent.type in _WRAPPERS:
        if sum(child.type == outer.type for child in parent.named_children) > 1:
            break
        outer = parent
    return outer


def _body(node: Node) -> Node | None:
    """The block, also where it belongs to a value (`const f = () => {}`) or a type (`type A struct {}`)."""
    for part in ("body", "value", "right", "type"):
        inner = node.child_by_field_name(part)
        if inner is not None and part == "body":
            return inner
        if inner is not None and inner.type in {"struct_type", "interface_type"}:
            return next((child for child in inner.named_children if child.type.endswith("list")), None)
        if inner is not None and (deeper := inner.child_by_field_name("body")) is not None:
            return deeper
    return None

from __future__ import annotations

import ast
import contextlib
import sysconfig
import time
from pathlib import Path

import click
import pytest

from cairn.outline import OutlineItem, language_of, outline

SHOP = b'''\
import functools


@functools.cache
def price(
    item: str,  # "apple (red):" or so
    tax: float = 0.2,
) -> float:
    # no docstring here
    return 1.0


class Shop:
    """Sells.

    Things.
    """

    def open(self): return True

    if True:
        async def close(self, *, when="#") -> None:
            def lock(): ...
            lock()
'''


def test_python_items_carry_lines_signatures_and_docstrings() -> None:
    assert outline("shop.py", SHOP) == [
        OutlineItem(
            name="price", kind="function", start=4, end=10, signature="def price(item: str, tax: float = 0.2) -> float",
            has_docstring=False, signature_end=8, body_line=10, docstring_start=0, docstring_end=0, indent="    ",
            one_line=False,
        ),
        OutlineItem(
            name="Shop", kind="class", start=13, end=24, signature="class Shop", has_docstring=True, signature_end=13,
            body_line=14, docstring_start=14, docstring_end=17, indent="    ", one_line=False,
        ),
        OutlineItem(
            name="Shop.open", kind="method", start=19, end=19, signature="def open(self)", has_docstring=False,
            signature_end=19, body_line=19, docstring_start=0, docstring_end=0, indent="        ", one_line=True,
        ),
        OutlineItem(
            name="Shop.close", kind="method", start=22, end=24, signature='async def close(self, *, when="#") -> None',
            has_docstring=False, signature_end=22, body_line=23, docstring_start=0, docstring_end=0,
            indent="            ", one_line=False,
        ),
        OutlineItem(
            name="Shop.close.lock", kind="function", start=23, end=23, signature="def lock()", has_docstring=False,
            signature_end=23, body_line=23, docstring_start=0, docstring_end=0, indent=" " * 16, one_line=True,
        ),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "signature", "signature_end"),
    [
        ("def f(a, b: 'x:y' = ':'): return a\n", "def f(a, b: 'x:y' = ':')", 1),
        ("def f(a=lambda: 1):\n    pass\n", "def f(a=lambda: 1)", 1),
        ("def f(\n    a: dict[str, int],\n    *,\n    b,\n):\n    pass\n", "def f(a: dict[str, int], *, b)", 5),
        ("def f() -> (\n    int  # why: because\n):\n    pass\n", "def f() -> (int)", 3),
        ("class A(B,\n        metaclass=M): # note:\n    pass\n", "class A(B, metaclass=M)", 2),
        ("def f(a, \\\n      b):\n    pass\n", "def f(a, b)", 2),
        ("def f(a):  # note (see: below\n    pass\n", "def f(a)", 1),
    ],
)
def test_a_header_is_read_to_its_colon(source: str, signature: str, signature_end: int) -> None:
    (item,) = outline("a.py", source.encode())

    assert (item.signature, item.signature_end) == (signature, signature_end)


def _with_docstrings(text: str, items: list[OutlineItem]) -> str:
    lines = text.split("\n")
    for item in sorted(items, key=lambda item: item.signature_end, reverse=True):
        if not item.has_docstring and not item.one_line:
            lines.insert(item.signature_end, f'{item.indent}"""Documented."""')
    return "\n".join(lines)


def _every_undocumented_definition_takes_a_docstring(source: Path) -> None:
    text = source.read_text(encoding="utf-8")
    items = outline(source.name, text.encode())

    after = ast.walk(ast.parse(_with_docstrings(text, items)))
    definitions = [node for node in after if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    bare = [node.name for node in definitions if ast.get_docstring(node) is None]

    assert len(definitions) == len(items)
    assert sorted(bare) == sorted(
        item.name.rpartition(".")[2] for item in items if item.one_line and not item.has_docstring
    )


@pytest.mark.parametrize("source", sorted(Path(click.__file__).parent.glob("*.py")), ids=lambda source: source.name)
def test_real_code_still_parses_with_a_docstring_put_below_each_header(source: Path) -> None:
    _every_undocumented_definition_takes_a_docstring(source)


@pytest.mark.slow
def test_the_standard_library_still_parses_with_a_docstring_put_below_each_header() -> None:
    for source in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        _every_undocumented_definition_takes_a_docstring(source)


def test_lines_of_a_file_with_a_mark_and_windows_line_ends_are_the_same() -> None:
    assert outline("shop.py", b"\xef\xbb\xbf" + SHOP.replace(b"\n", b"\r\n")) == outline("shop.py", SHOP)


def _short(path: str, source: str) -> list[tuple[str, str, int, int, str, bool, int]]:
    return [
        (item.kind, item.name, item.start, item.end, item.signature, item.has_docstring, item.body_line)
        for item in outline(path, source.encode())
    ]


def test_javascript() -> None:
    source = """\
/** Adds. */
export async function add(a, b) {
  return a + b;
}
const sub = (a, b) => {
  return a - b;
};
class Store extends Base {
  #x = 1;
  get size() { return 1; }
  load = async () => { return 1 };
}
exports.mul = function (a, b) { return a * b; };
module.exports = { foo() { return 1 }, bar: function () {} };
export default function () {}
"""
    assert _short("a.js", source) == [
        ("function", "add", 2, 4, "export async function add(a, b)", True, 3),
        ("function", "sub", 5, 7, "const sub = (a, b) =>", False, 6),
        ("class", "Store", 8, 12, "class Store extends Base", False, 9),
        ("method", "Store.size", 10, 10, "get size()", False, 10),
        ("method", "Store.load", 11, 11, "load = async () =>", False, 11),
        ("function", "exports.mul", 13, 13, "exports.mul = function (a, b)", False, 13),
        ("method", "foo", 14, 14, "foo()", False, 14),
        ("function", "bar", 14, 14, "bar: function ()", False, 0),
        ("function", "default", 15, 15, "export default function ()", False, 0),
    ]


@pytest.mark.parametrize("path", ["a.ts", "a.tsx"])
def test_typescript(path: str) -> None:
    source = """\
interface A { b: string; c(): void }
type X = string;
enum E { A }
@Component({})
export abstract class S<T> implements A {
  private x: number = 1;
  abstract foo(): void;
  bar(a: string): Promise<void> {
    return;
  }
}
namespace N { export function q(): void {} }
declare function d(): void;
"""
    assert _short(path, source) == [
        ("interface", "A", 1, 1, "interface A", False, 1),
        ("method", "A.c", 1, 1, "c(): void", False, 0),
        ("type", "X", 2, 2, "type X = string", False, 0),
        ("enum", "E", 3, 3, "enum E", False, 3),
        ("class", "S", 4, 11, "@Component({}) export abstract class S<T> implements A", False, 6),
        ("method", "S.foo", 7, 7, "abstract foo(): void", False, 0),
        ("method", "S.bar", 8, 10, "bar(a: string): Promise<void>", False, 9),
        ("module", "N", 12, 12, "namespace N", False, 12),
        ("function", "N.q", 12, 12, "export function q(): void", False, 0),
        ("function", "d", 13, 13, "declare function d(): void", False, 0),
    ]


def test_go() -> None:
    source = """\
package main

// Add adds.
func Add(a, b int) int {
\treturn a + b
}

type Store struct {
\tX int
}

type (
\tA interface{ Foo() }
\tB int
)

func (s *Store[K, V]) Load(x int) (err error) { return nil }
"""
    assert _short("a.go", source) == [
        ("function", "Add", 4, 6, "func Add(a, b int) int", True, 5),
        ("type", "Store", 8, 10, "type Store struct", False, 9),
        ("type", "A", 13, 13, "A interface{ Foo() }", False, 0),
        ("method", "A.Foo", 13, 13, "Foo()", False, 0),
        ("type", "B", 14, 14, "B int", False, 0),
        ("method", "Store.Load", 17, 17, "func (s *Store[K, V]) Load(x int) (err error)", False, 17),
    ]


def test_rust() -> None:
    source = """\
/// Adds.
/// Well.
#[inline]
pub fn add(a: i32) -> i32 {
    a
}
trait T { fn foo(&self); }
impl<K> T for Store<K> {
    fn foo(&self) {}
}
mod m { pub fn q() {} }
"""
    assert _short("a.rs", source) == [
        ("function", "add", 3, 6, "pub fn add(a: i32) -> i32", True, 5),
        ("trait", "T", 7, 7, "trait T", False, 7),
        ("method", "T::foo", 7, 7, "fn foo(&self)", False, 0),
        ("method", "Store::foo", 9, 9, "fn foo(&self)", False, 0),
        ("module", "m", 11, 11, "mod m", False, 11),
        ("function", "m::q", 11, 11, "pub fn q()", False, 0),
    ]
    add = outline("a.rs", source.encode())[0]
    assert (add.docstring_start, add.docstring_end) == (1, 2)


def test_java() -> None:
    source = """\
/** Doc. */
@X
public class A extends B {
  public A() {}
  int f(int x) throws E {
    return 1;
  }
  interface I { void g(); }
  record R(int x) {}
}
"""
    assert _short("A.java", source) == [
        ("class", "A", 2, 10, "@X public class A extends B", True, 4),
        ("method", "A.A", 4, 4, "public A()", False, 0),
        ("method", "A.f", 5, 7, "int f(int x) throws E", False, 6),
        ("interface", "A.I", 8, 8, "interface I", False, 8),
        ("method", "A.I.g", 8, 8, "void g()", False, 0),
        ("record", "A.R", 9, 9, "record R(int x)", False, 0),
    ]


def test_c() -> None:
    source = """\
/* adds */
static int *add(int a, int b)
{
  int c(1);
  return a + b;
}
struct s { int x; };
typedef struct { int y; } t;
int proto(int a);
struct s later;
"""
    assert _short("a.c", source) == [
        ("function", "add", 2, 6, "static int *add(int a, int b)", True, 4),
        ("struct", "s", 7, 7, "struct s", False, 7),
        ("type", "t", 8, 8, "typedef struct", False, 8),
        ("function", "proto", 9, 9, "int proto(int a)", False, 0),
    ]


@pytest.mark.parametrize("path", ["a.cpp", "a.h"])
def test_c_plus_plus(path: str) -> None:
    source = """\
namespace n {
class A : public B {
public:
  A();
  int f() const { return 1; }
};
int &A::g(int x) { return 1; }
template <typename T>
T h(T t) { return t; }
}
"""
    assert _short(path, source) == [
        ("namespace", "n", 1, 10, "namespace n", False, 2),
        ("class", "n::A", 2, 6, "class A : public B", False, 3),
        ("method", "n::A::A", 4, 4, "A()", False, 0),
        ("method", "n::A::f", 5, 5, "int f() const", False, 5),
        ("function", "n::A::g", 7, 7, "int &A::g(int x)", False, 7),
        ("function", "n::h", 8, 9, "template <typename T> T h(T t)", False, 9),
    ]


def test_ruby() -> None:
    source = """\
module M
  # Doc
  class A < B
    # Makes it.
    def initialize(x)
      @x = x
    end

    def self.make; end
  end
end
"""
    assert _short("a.rb", source) == [
        ("module", "M", 1, 11, "module M", False, 3),
        ("class", "M.A", 3, 10, "class A < B", True, 5),
        ("method", "M.A.initialize", 5, 7, "def initialize(x)", True, 6),
        ("method", "M.A.self.make", 9, 9, "def self.make; end", False, 0),
    ]


def test_bash() -> None:
    assert _short("a.sh", "#!/bin/bash\nfoo() {\n  echo 1\n}\n# Doc\nfunction bar { echo; }\n") == [
        ("function", "foo", 2, 4, "foo()", False, 3),
        ("function", "bar", 6, 6, "function bar", True, 6),
    ]


def test_a_file_without_an_ending_is_known_by_its_first_line() -> None:
    names = [
        language_of("run", line) for line in (b"#!/usr/bin/env python3\n", b"#! /bin/sh -e\n", b"#!/bin/awk\n", b"x")
    ]

    assert names == ["python", "bash", None, None]


def test_a_part_that_does_not_parse_is_left_out_where_the_grammar_forgives() -> None:
    assert [item.name for item in outline("a.js", b"function f() {}\nfunction (((\nfunction g() {}\n")][:1] == ["f"]


@pytest.mark.parametrize(
    ("path", "data", "message"),
    [
        ("a.py", b"def f(:\n", "'a.py' line 1: invalid syntax"),
        ("a.py", b"x = 1\n" + b"-" * 100_000 + b"1", "'a.py' is nested too deeply to be parsed"),
        ("a.py", b"x = '\0'", "'a.py' contains NUL characters"),
        ("a.py", b"x = '\xff'", "'a.py' is not UTF-8 text (byte 5), so it has no outline"),
        ("a.go", b"((((\n", "'a.go' does not parse as go (line 1), so it has no outline"),
        (
            "notes.txt",
            b"x",
            (
                "outline knows no language for 'notes.txt'; it knows .bash, .c, .cc, .cjs, .cpp, .cts, .cxx, .go, .h, "
                ".hh, .hpp, .hxx, .java, .js, .jsx, .mjs, .mts, .py, .pyi, .rb, .rs, .sh, .ts, .tsx"
            ),
        ),
    ],
)
def test_what_has_no_outline_says_why(path: str, data: bytes, message: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the whole message is compared
        outline(path, data)

    assert str(raised.value) == message


@pytest.mark.parametrize("ending", ["js", "ts", "go", "rs", "java", "c", "cpp", "rb", "sh"])
def test_absurd_nesting_neither_exhausts_the_stack_nor_takes_for_ever(
    ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cairn.outline.PARSE_SECONDS", 0.2)
    started = time.monotonic()

    with contextlib.suppress(ValueError):
        outline(f"a.{ending}", b"(" * 50_000 + b"\n" + b"{" * 50_000)

    assert time.monotonic() - started < 5
    assert [item.name for item in outline("a.sh", b"f() { :; }\n")] == ["f"]


def test_a_parse_past_its_deadline_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cairn.outline.PARSE_SECONDS", 0.1)

    with pytest.raises(ValueError, match=r"^'a\.sh' took longer than 0\.1 s to parse, so it has no outline$"):
        outline("a.sh", b"(" * 50_000 + b"\n" + b"{" * 50_000)

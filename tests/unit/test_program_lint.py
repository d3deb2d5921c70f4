from __future__ import annotations

import builtins
import importlib

import pydantic_monty
import pytest

from cairn.parsed_program import bound_names, parse
from cairn.program import Problem
from cairn.program_hints import IGNORED_METHODS, MISSING_BUILTINS, MISSING_MEMBERS, MISSING_METHODS, MODULES, hint_for
from cairn.program_lint import SOURCE_BYTES, lint, refusal

GIVEN = frozenset({"read_file", "ask_llm"})

FAILS = {
    "class A(B):\n    pass": "class A inherits",
    "class A(Exception):\n    pass": "class A inherits",
    "class A(metaclass=B):\n    pass": "class A inherits",
    "class A:\n    class B:\n        pass": "a class inside a class",
    "class A:\n    @property\n    def x(self):\n        return 1": "@property is not supported",
    "class A:\n    @classmethod\n    def x(cls):\n        return 1": "@classmethod is not supported",
    "class A:\n    def __len__(self):\n        return 3\nlen(A())": "__len__ is never called",
    "class A:\n    def __lt__(self, other):\n        return True\nsorted([A(), A()])": "__lt__ is never called",
    "class A:\n    def __getattr__(self, name):\n        return 1\nA().x": "__getattr__ is never called",
    "class A:\n    def __bool__(self):\n        return False\nassert not A()": "__bool__ is never called",
    "class A:\n    def __str__(self):\n        return read_file('a')\nstr(A())": "cannot be called from inside __str__",
    "def f():\n    yield 1": "yield is not supported",
    "def f():\n    yield from [1]": "yield is not supported",
    "d = {'a': 1}\ndel d['a']": "del is not supported",
    "async def f():\n    async with x:\n        pass": "async with is not supported",
    "async def f():\n    async for x in y:\n        pass": "async for is not supported",
    "try:\n    pass\nexcept* ValueError:\n    pass": "except* is not supported",
    "import subprocess": "there is no module subprocess",
    "import collections.abc": "there is no module collections.abc",
    "from contextlib import contextmanager": "there is no module contextlib",
    "from typing import TypedDict": "module typing has no TypedDict",
    "from os import *": "import * is not supported",
    "import re\nre.compile('a', re.VERBOSE)": "module re has no VERBOSE",
    "import re as r\nr.subn('a', 'b', 'a')": "module re has no subn",
    "from dataclasses import asdict": "module dataclasses has no asdict",
    "import datetime\ndatetime.UTC": "module datetime has no UTC",
    "'a'.translate({})": "there is no method translate",
    "(5).bit_length()": "there is no method bit_length",
    "a = {1}\na.difference_update({1})": "there is no method difference_update",
    "from pathlib import Path\nPath('a/b').relative_to('a')": "there is no method relative_to",
    "from pathlib import Path\nPath('a').touch()": "there is no method touch",
    "from pathlib import Path\nPath('a').read_text(encoding='utf-8')": "read_text() has no argument",
    "from pathlib import Path\nPath('a').write_text('x', encoding='utf-8')": "write_text() has no argument",
    "open('a', errors='replace')": "open() has not the argument errors",
    "open('a', 'r', 1)": "open() has not a third argument",
    "open('a', 'x')": "open() has no mode 'x'",
    "open('a', 'r+')": "open() cannot read and write at once",
    "f = open('a', 'w')\nprint('x', file=f)": "print() cannot write to a file",
    "open('a', 'w').writelines(['a'])": "there is no method writelines",
    "(1).__class__": "values have no __class__ here",
    "def f():\n    pass\nf.__name__": "functions have no __name__ here",
    "try:\n    1 / 0\nexcept Exception as e:\n    e.add_note('x')": "errors have no add_note here",
    "exit()": "there is no exit",
    "callable(3)": "there is no callable",
    "try:\n    raise ValueError('x')\nexcept IOError:\n    pass": "there is no IOError",
    "list(map(read_file, ['a']))": "read_file cannot be called from inside map",
    "list(map(lambda p: read_file(p), ['a']))": "cannot be called from inside map",
    "def get(p):\n    return read_file(p)\ndef go(p):\n    return get(p)\nlist(filter(go, ['a']))": "go cannot be called",
    "sorted(['a'], key=read_file)": "read_file cannot be called from inside sorted",
    "xs = ['a', 'b']\nxs.sort(key=lambda x: ask_llm(x))": "cannot be called from inside xs.sort",
    "max(['a'], key=lambda p: open(p).read())": "cannot be called from inside max",
    "import os\nsorted(['a'], key=os.path.getsize)": "os.path.getsize cannot be called from inside sorted",
    "import itertools\nlist(itertools.takewhile(read_file, ['a']))": "read_file cannot be called",
    "import collections\nd = collections.defaultdict(lambda: ask_llm('a'))\nd['x']": "cannot be called",
    "sorted(['B', 'a'], key=str.lower)": "str.lower is not a value",
    "list(map(str.strip, ['a']))": "str.strip is not a value",
    "d = {'a': 1}\nmax(d, key=d.get)": "d.get is not a value",
    "await ask_llm('a')": "this call needs no await",
    "import asyncio\nawait asyncio.gather(ask_llm('a'))": "asyncio.gather takes no function you are given",
    "raise ValueError('a', 1)": "ValueError is given something that is not one string",
    "raise KeyError(5)": "KeyError is given something",
    "try:\n    1 / 0\nexcept Exception as e:\n    raise RuntimeError(e)": "RuntimeError is given something",
    "next(x for x in [1])": "next() of a list",
    "next(filter(None, [1]), None)": "next() of a list",
    "import json\njson.dumps({}, default=str)": "json.dumps has no argument default",
    "import json\njson.loads('{}', object_hook=dict)": "json.loads has no argument object_hook",
    "import re\nre.sub('a', lambda m: 'b', 'a')": "re.sub takes no function",
    "import re\ndef up(m):\n    return 'b'\nre.compile('a').sub(up, 'a')": "re.sub takes no function",
    "from dataclasses import dataclass\n@dataclass(order=True)\nclass A:\n    x: int": "@dataclass has no option order",
    "import sys\nsys.exit()": "module sys has no exit",
}

WORKS = [
    "from __future__ import annotations\nimport os, re, json",
    "try:\n    import numpy\nexcept ImportError:\n    numpy = None",
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from collections.abc import Iterable",
    "texts = [read_file(p) for p in ['a', 'b']]\nsorted(texts, key=len)",
    "sorted(['B', 'a'], key=lambda s: s.lower())",
    (
        "class Item:\n    def __init__(self, name):\n        self.name = name\n    def get(self):\n        return 1\n"
        "item = Item('a')\nlist(map(item.get, []))"
    ),
    "class Table:\n    def translate(self):\n        return 1\nTable().translate()",
    "import sys\nprint('x', file=sys.stderr)",
    "import sys\nprint('x', file=None)",
    "def callable(x):\n    return True\ncallable(3)",
    "next(iter([1]))",
    "raise_it = False\nif raise_it:\n    raise ValueError(f'no {raise_it}')",
    "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    message = str(e)\n    type(e).__name__",
    "import re\nre.sub('a', 'b', 'abc')",
    "import json\njson.dumps({'a': 1}, indent=2, sort_keys=True)",
    "import os\nsorted(['b/a', 'a/b'], key=os.path.basename)",
    "open('a', 'w', encoding='utf-8', newline='')",
    "open('a', 'r', -1, 'utf-8')",
    "pattern = '\\d+'",
]


@pytest.fixture(scope="module")
def monty():
    with pydantic_monty.Monty(max_processes=1) as pool:
        yield pool


def run_unchecked(pool, code):
    """The error the sandbox itself ends with, or None; given functions answer "text", files exist and are empty."""
    with pool.checkout(limits={"max_feed_duration_secs": 2.0}) as session:
        try:
            snapshot = session.feed_start(code, print_callback=lambda *_: None)
            while not isinstance(snapshot, pydantic_monty.MontyComplete):
                snapshot = answer(snapshot)
        except pydantic_monty.MontyError as error:
            return error
    return None


def answer(snapshot):
    if isinstance(snapshot, pydantic_monty.NameLookupSnapshot):
        function = importlib.import_module("types").FunctionType(compile("0", "f", "eval"), {}, snapshot.variable_name)
        return snapshot.resume(value=function) if snapshot.variable_name in GIVEN else snapshot.resume()
    name = snapshot.function_name
    if name == "import":
        return snapshot.resume({"exc_type": "ModuleNotFoundError", "message": f"No module named {snapshot.args[0]!r}"})
    if name == "open":
        return snapshot.resume(
            {"return_value": pydantic_monty.MontyFileHandle(str(snapshot.args[0]), snapshot.args[1])}
        )
    if snapshot.is_os_function:
        return snapshot.resume({"return_value": "" if name.endswith("text") else None})
    if name in GIVEN:
        return snapshot.resume({"return_value": "text"})
    return snapshot.resume({"exc_type": "NameError", "message": f"name {name!r} is not defined"})


@pytest.mark.parametrize("code", FAILS)
def test_each_trap_is_named_with_what_to_do_instead(code):
    found = [problem for problem in lint(code, GIVEN) if FAILS[code] in problem.message]

    assert found, lint(code, GIVEN)
    assert found[0].hint
    assert 1 <= found[0].line <= code.count("\n") + 1
    assert found[0].column >= 1


@pytest.mark.parametrize("code", FAILS)
def test_each_trap_really_fails_in_the_sandbox(monty, code):
    assert run_unchecked(monty, code) is not None


@pytest.mark.parametrize("code", WORKS)
def test_what_works_in_the_sandbox_passes(monty, code):
    assert (lint(code, GIVEN), run_unchecked(monty, code)) == ((), None)


def test_a_problem_points_at_its_line_and_column():
    assert lint("x = 1\nif x:\n    del x\n") == (
        Problem(3, 5, "del is not supported", "use items.pop(key), items.remove(value), or set the name to None."),
    )


def test_all_problems_are_found_at_once_in_order():
    found = lint("import enum\ndef f():\n    yield 1\nclass A(B):\n    pass\n")

    assert [(problem.line, problem.message) for problem in found] == [
        (1, "there is no module enum"),
        (3, "yield is not supported"),
        (4, "class A inherits; inheritance is not supported"),
    ]


def test_a_program_too_large_is_refused():
    assert [problem.message for problem in refusal("x = 1\n" * 200_000)] == [
        f"the program has 1,200,000 bytes; {SOURCE_BYTES:,} are allowed"
    ]


def test_text_that_is_not_unicode_is_refused():
    assert [problem.message for problem in refusal("x = '\ud800'")] == ["the program is not valid Unicode text"]


def nested_functions(depth):
    return "".join("  " * level + f"def f{level}():\n" for level in range(depth)) + "  " * depth + "pass\n"


def test_functions_nested_to_make_the_compiler_run_for_ever_are_refused():
    assert refusal(nested_functions(8)) == ()
    assert [problem.line for problem in refusal(nested_functions(20))] == [9]


@pytest.mark.parametrize(
    "code",
    ["-" * 60_000 + "1", "a" + ".b" * 30_000, "(" * 150 + "1" + ")" * 150, "lambda: " * 7_000 + "1", "x" + "()" * 500],
)
def test_any_nesting_is_either_refused_or_harmless(monty, code):
    assert refusal(code) or lint(code) == ()


def test_source_this_python_cannot_parse_is_left_to_the_sandbox():
    assert (lint("def f(:"), parse("def f(:")) == ((), None)


def test_an_odd_escape_does_not_warn_on_the_users_screen():
    assert parse("x = '\\d'") is not None  # warnings are errors in these tests


def test_bound_names_are_those_of_the_top_level():
    code = (
        "import os.path as p, json\nfrom re import sub as s\nx: int = 1\nfor i in []:\n    y = 2\n"
        "def f(a):\n    inner = 1\nclass C:\n    field = 1\nif (w := 3):\n    pass\nwith open('a') as handle:\n    pass\n"
        "a, *b = 1, 2\nz = lambda q: q\nmatch x:\n    case [first, *rest]:\n        pass\n"
    )

    assert bound_names(parse(code)) == (
        *("C", "a", "b", "f", "first", "handle", "i", "json", "p", "rest", "s", "w", "x", "y", "z"),
    )


# ── the tables say what is true of the sandbox ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("module", sorted(MODULES - {"__future__"}))
def test_every_module_of_the_table_can_be_imported(monty, module):
    assert run_unchecked(monty, f"import {module}") is None


@pytest.mark.parametrize(("module", "member"), [(m, name) for m, names in MISSING_MEMBERS.items() for name in names])
def test_every_missing_member_is_missing(monty, module, member):
    assert run_unchecked(monty, f"import {module}\n{module}.{member}") is not None


@pytest.mark.parametrize("name", [name for name in MISSING_BUILTINS if hasattr(builtins, name)])
def test_every_missing_builtin_is_missing(monty, name):
    assert run_unchecked(monty, f"x = {name}") is not None


@pytest.mark.parametrize("method", MISSING_METHODS)
def test_every_missing_method_is_missing(monty, method):
    values = [
        "''",
        "b''",
        "(1)",
        "(1.5)",
        "[1]",
        "{1}",
        "{'a': 1}",
        "Path('a')",
        "re.search('a', 'a')",
        "open('a', 'w')",
    ]
    for value in values:
        error = run_unchecked(monty, f"import re\nfrom pathlib import Path\nx = {value}\nx.{method}()")
        assert "no attribute" in str(error), value


def test_ignored_methods_are_special_methods():
    assert all(name.startswith("__") and name.endswith("__") for name in IGNORED_METHODS)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("NotImplementedError: external function 'x' cannot suspend in this synchronous context", "list comprehension"),
        ("ModuleNotFoundError: No module named 'yaml'", "line by line"),
        ("ModuleNotFoundError: No module named 'sklearn'", "only these modules exist"),
        ("NameError: name 'raed_file' is not defined", "did you mean read_file?"),
        ("NameError: name 'os' is not defined", "import os"),
        ("Name `globals` used when not defined", "dict of your own"),
        ("ImportError: cannot import name 'asdict' from 'dataclasses'", "build the dict yourself"),
        ("AttributeError: module 'asyncio' has no attribute 'create_task'", "only run, gather and sleep"),
        ("AttributeError: 'str' object has no attribute 'translate'", "chained .replace"),
        ("AttributeError: 'list' object has no attribute 'append'", "lambda"),
        ("TypeError: 'str' object can't be awaited", "remove `await`"),
        ("ValueError: no such recipe", ""),
    ],
)
def test_a_message_of_the_sandbox_gets_the_hint_that_fits(message, words):
    hint = hint_for(message, GIVEN)

    assert words in hint
    assert bool(hint) == bool(words)

"""What is said in another way for the sandbox: the new spelling, and that it does the same."""

from __future__ import annotations

import ast
import contextlib
import io
import re

import pydantic_monty
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.executor import AgentExecutor
from cairn.program_lint import lint
from cairn.program_rewrite import SHIMS, Rewrite, rewritten, shim
from tests.unit.local_functions import LocalFunctions

FUNCTIONS = frozenset({"read_file", "search_files", "ask_llm"})


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import textwrap", "textwrap = cairn_textwrap"),
        ("import json, string as s, re", "import json; s = cairn_string; import re"),
        ("from textwrap import dedent, indent as i", "dedent = cairn_textwrap.dedent; i = cairn_textwrap.indent"),
        ("from collections.abc import Iterable, Sized", "from typing import Iterable; Sized = object"),
        ("del d[k]", "(d).pop(k)"),
        ("del a.b[1:2], c['x']", "a.b[1:2] = []; (c).pop('x')"),
        ("x = 1\ndel x", "x = 1\nx = None"),
        ("f.writelines(lines)", 'f.write("".join(lines))'),
        ("y = next(x for x in xs if x)", "y = next(iter((x for x in xs if x)))"),
        ("y = next((x for x in xs), None)", "y = next(iter((x for x in xs)), None)"),
        ("y = next(filter(f, xs), 0)", "y = next(iter(filter(f, xs)), 0)"),
        ("sorted(xs, key=str.lower)", "sorted(xs, key=(lambda cairn_x: cairn_x.lower()))"),
        ("max(d, key=d.get)", "max(d, key=(lambda cairn_x: d.get(cairn_x)))"),
        ("list(map(str.strip, xs))", "list(map((lambda cairn_x: cairn_x.strip()), xs))"),
        ("t = list(map(read_file, ps))", "t = list([read_file(cairn_x) for cairn_x in ps])"),
        (
            "t = map(lambda p: read_file(p).upper(), ps)",
            "t = [(lambda p: read_file(p).upper())(cairn_x) for cairn_x in ps]",
        ),
        (
            "def has(p):\n    return 'x' in read_file(p)\nt = filter(has, ps)",
            "def has(p):\n    return 'x' in read_file(p)\nt = [cairn_x for cairn_x in ps if has(cairn_x)]",
        ),
        (
            "import re\nre.sub('a', lambda m: m.group(0), s, count=1)",
            "import re\ncairn_re.sub('a', lambda m: m.group(0), s, count=1)",
        ),
        ("p.sub(lambda m: 'x', text)", "cairn_re.sub(p, lambda m: 'x', text)"),
        ("import re\nre.subn('a', 'b', s)", "import re\ncairn_re.subn('a', 'b', s)"),
        ("s.translate(str.maketrans('a', 'b'))", "cairn_text.translate(s, cairn_text.maketrans('a', 'b'))"),
        ("print('a', file=out)", "cairn_text.print('a', file=out)"),
        ("x = await read_file(p)", "x = read_file(p)"),
        ("import sys\nsys.exit(0)", "import sys\nraise SystemExit"),
        (
            "with open(p) as f:\n    x = list(enumerate(f, 1))",
            "with open(p) as f:\n    x = list(enumerate(f.readlines(), 1))",
        ),
        ("sorted(open(p))", "sorted(open(p).readlines())"),
        ("getattr(s, 'upper')()", "(s).upper()"),
        ("bytes([65, 66])", "cairn_text.bytes([65, 66])"),
        ("import string; s = 'é'; del d['é']", "string = cairn_string; s = 'é'; (d).pop('é')"),
    ],
)
def test_the_same_in_other_words(code, text):
    assert rewritten(code, FUNCTIONS).text == text


@pytest.mark.parametrize(
    "code",
    [
        "x = 1\ndel x\nprint(x)",
        "for n in xs:\n    print(t)\n    t = n\n    del t",
        "del thing.attribute",
        "import itertools\nnext(n for n in itertools.count() if n > 3)",
        "sorted(ps, key=lambda p: len(read_file(p)))",
        "import re\nre.sub('a', 'b', s)",
        "import sys\nprint('a', file=sys.stderr)",
        "print('a', file=None)",
        "import json, re, os",
        "with open(p) as f:\n    pass\nf = [1]\nlist(f)",
        "getattr(s, name)()",
        "bytes(5)",
        "def translate(x):\n    return x\nthing.translate(5)",
        "from textwrap import *",
        "not Python at all (",
        "x = \udcff",
        "",
        "def sub(f):\n    return f\nclass A:\n    def sub(self, f):\n        return f\nA().sub(lambda m: 1)",
    ],
)
def test_what_would_not_be_the_same_stays(code):
    assert rewritten(code, FUNCTIONS).text == code


def test_lines_keep_their_numbers_when_an_edit_takes_several():
    code = "x = next(\n    y\n    for y in ys\n)\nraise ValueError('line 5')\n"
    text = rewritten(code).text

    assert text.splitlines()[4] == "raise ValueError('line 5')"
    assert ast.dump(ast.parse(text).body[1]) == ast.dump(ast.parse(code).body[1])


def test_rewrites_inside_one_another_are_all_made():
    code = "t = map(lambda p: sorted(read_file(p).split(), key=str.lower), map(read_file, ps))"
    assert rewritten(code, FUNCTIONS).text == (
        "t = [(lambda p: sorted(read_file(p).split(), key=(lambda cairn_x: cairn_x.lower())))(cairn_x)"
        " for cairn_x in [read_file(cairn_x) for cairn_x in ps]]"
    )


def test_what_was_changed_is_told_and_imports_are_no_news():
    found = rewritten("import textwrap, shutil\n\ndel d[k]\nsorted(xs, key=str.lower)\n")

    assert found.shims == ("shutil", "textwrap")
    assert found.rewrites == (
        Rewrite(3, "del d[k]", "(d).pop(k)"),
        Rewrite(4, "str.lower", "(lambda cairn_x: cairn_x.lower())"),
    )
    assert str(found.rewrites[0]) == "line 3: del d[k] is run as (d).pop(k)"


# ── it does the same ──

SNIPPETS = (
    "d = {'a': 1, 'b': 2}\ndel d['a']\nprint(d)",
    "xs = [1, 2, 3, 4]\ndel xs[1:3]\ndel xs[0]\nprint(xs)",
    "try:\n    d = {}\n    del d['x']\nexcept KeyError as error:\n    print('KeyError', error)",
    "print(next(x for x in [1, 2, 3] if x > 1), next((x for x in []), 'none'))",
    "print(sorted(['b', 'A', 'c'], key=str.lower), max({'a': 1, 'b': 3}, key={'a': 1, 'b': 3}.get))",
    "counts = {'a': 2, 'b': 5}\nprint(max(counts, key=counts.get), list(map(str.upper, counts)))",
    "import re\nprint(re.sub('[a-c]', lambda m: m.group(0).upper(), 'abcdef', count=2), re.subn('a', 'b', 'aaa'))",
    "import re\npattern = re.compile('(a)(b)')\nprint(pattern.sub(lambda m: m.group(2) + m.group(1), 'xabab'))",
    "print('hello'.translate(str.maketrans('el', 'ip')), 'a-b'.translate(str.maketrans('', '', '-')))",
    "import io\nout = io.StringIO()\nprint('a', 1, file=out)\nprint('b', sep='', end='', file=out)\nprint(repr(out.getvalue()))",
    "import textwrap\nprint(textwrap.fill('a b c d e f', 5), textwrap.dedent('  x\\n  y'))",
    "from string import ascii_lowercase, digits\nprint(ascii_lowercase[:3] + digits)",
    "import heapq\nh = []\nfor n in [3, 1, 2]:\n    heapq.heappush(h, n)\nprint(heapq.heappop(h), heapq.nlargest(2, [1, 5, 2]))",
    "from operator import itemgetter\nprint(sorted([{'n': 2}, {'n': 1}], key=itemgetter('n')))",
    "from contextlib import suppress\nwith suppress(KeyError):\n    {}['x']\nprint('went on')",
    "import statistics as st\nprint(st.mean([1, 2, 3, 4]), st.median([3, 1, 2]))",
    "import difflib\nprint(difflib.get_close_matches('appel', ['ape', 'apple', 'peach']))",
    "import fnmatch\nprint(fnmatch.filter(['a.py', 'b.txt'], '*.py'))",
    "def f():\n    import string\n    from textwrap import dedent\n    return dedent('  ' + string.digits)\nprint(f())",
    "x = [1]\ny = x\ndel x\nprint(y)",
    "import sys\nprint('before')\nsys.exit(0)\nprint('after')",
)


def in_the_sandbox(code):
    found, lines = rewritten(code), []
    with pydantic_monty.Monty(max_processes=1) as pool, pool.checkout() as session:
        for name in found.shims:
            session.feed_run(shim(name))
        with contextlib.suppress(pydantic_monty.MontyRuntimeError):  # SystemExit
            session.feed_run(found.text, print_callback=lambda _stream, text: lines.append(text))
    return "".join(lines)


@pytest.mark.parametrize("code", SNIPPETS)
def test_a_program_prints_in_the_sandbox_what_it_prints_in_python(code):
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit):
        exec(compile(code, "snippet", "exec"), {})  # noqa: S102 - our own snippets

    assert lint(rewritten(code).text) == ()
    assert in_the_sandbox(code) == told.getvalue()


@given(st.lists(st.sampled_from([*SNIPPETS, "del x", "next(", "(", "'''", "\\", "#", "\f", "\r"]), max_size=4))
def test_any_text_stays_a_program_of_as_many_lines(parts):
    code = "\n".join(parts)
    text = rewritten(code, FUNCTIONS).text

    assert text.count("\n") == code.count("\n")
    with contextlib.suppress(SyntaxError, ValueError):
        ast.parse(code)
        ast.parse(text)


def test_every_module_that_is_supplied_is_known_to_the_lint():
    for name in SHIMS:
        assert lint(rewritten(f"import {name}").text) == ()
        assert not re.search(rf"^import {name}$", rewritten(f"import {name}").text)


# ── in a session ──


async def test_a_session_supplies_modules_and_tells_what_was_run_in_other_words():
    async with AgentExecutor().session(LocalFunctions()) as session:
        first = await session.execute(
            "print(textwrap.dedent('  a'), json.dumps([1]), Path('x/y').name)\nd = {1: 2}\ndel d[1]\nprint(d)\n"
        )
        second = await session.execute("import string\nprint(string.digits, re.findall('[0-9]', 'a1'), d)\n", step=2)

    assert (first.run.output, first.run.notes) == ("a [1] y\n{}\n", ("line 3: del d[1] is run as (d).pop(1)",))
    assert (second.run.output, second.run.notes) == ("0123456789 ['1'] {}\n", ())


async def test_a_name_that_an_earlier_program_bound_is_not_taken_for_a_module():
    async with AgentExecutor().session(LocalFunctions()) as session:
        await session.execute("time = 'noon'\nstring = 'text'\n")
        result = await session.execute(
            "print(time, string)\nfrom string import digits\nprint(digits[:2], string)\n", step=2
        )

    assert result.run.output == "noon text\n01 text\n"


async def test_the_check_judges_the_program_as_it_is_run():
    async with AgentExecutor().session(LocalFunctions()) as session:
        fine = await session.check("import heapq\nprint(sorted(['b'], key=str.lower), next(x for x in [1]))")
        wrong = await session.check("import heapq\nprint(undefined_name)\n")

    assert fine == ()
    assert [problem.line for problem in wrong] == [2]

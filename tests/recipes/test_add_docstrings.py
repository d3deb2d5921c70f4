"""The recipe add_docstrings, on toy modules and on click as it is installed."""

from __future__ import annotations

import ast
import re

import pytest

from cairn.testing import Script
from tests.recipes.python_files import changed, click_works, sources, tree_without_docstrings

SHOP = '''\
"""A shop."""

import functools

pytestmark = pytest.mark.slow  # half a second each, and many


class Shop:
    def __init__(self, name):
        self.name = name

    def open(self, hour: int = 9, *, quietly: bool = False) -> bool:
        return hour > 8

    @property
    def size(self) -> int:
        return 3

    @size.setter
    def size(self, value: int) -> None:
        self._size = value

    @staticmethod
    def tax(price: float, *rates: float, **options) -> float:
        return price

    async def fetch(self, url: str) -> bytes | None:
        return b""

    def closed(self):
        """Say whether it is closed."""

    def abstract(self) -> None: ...

    def _private(self):
        return 1


def load(
    path: str,  # where
    sep=",",
    strict: "bool" = False,
) -> "Shop":
    # a comment comes first
    def inner():
        return 1

    return Shop(path)


@functools.cache
def one_line(): return 1


@functools.wraps(load)
def wrapped(*args, **kwargs) -> int:
    return 1


def nothing():
    pass


class _Hidden:
    def visible(self):
        return 1
'''


def docstrings(source: str) -> dict[str, str]:
    """Every function's docstring by its name, nested names joined by dots."""
    found: dict[str, str] = {}

    def look(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                if not isinstance(child, ast.ClassDef) and ast.get_docstring(child):
                    found[prefix + child.name] = ast.get_docstring(child) or ""
                look(child, f"{prefix}{child.name}.")
            else:
                look(child, prefix)

    look(ast.parse(source), "")
    return found


async def test_without_a_model_each_sentence_says_what_the_signature_says(workshop):
    workshop.write(shop_py=SHOP)
    outcome = await workshop.recipe("add_docstrings")
    after = workshop.text("shop.py")
    assert docstrings(after) == {
        "Shop.open": "Returns `hour > 8`.",
        "Shop.size": "A computed property that gives an int.",
        "Shop.tax": "Takes price and any further arguments; returns a float.",
        "Shop.fetch": "Takes url; returns bytes or None when awaited.",
        "Shop.closed": "Say whether it is closed.",
        "load": "Takes path, sep (default ',') and strict (default False); returns a Shop.",
        "wrapped": "Takes any arguments; returns an int.",
        "nothing": "Takes no arguments.",
    }
    assert tree_without_docstrings(after.encode()) == tree_without_docstrings(SHOP.encode())
    assert outcome.summary == (
        "Added 7 docstrings in 1 file, made from the code itself. No language model is set up; "
        "`cairn local install` fetches a small one that writes drafts."
    )
    assert outcome.submission.changed_files == ("shop.py",)


async def test_only_whole_lines_are_added_below_the_headers(workshop):
    workshop.write(shop_py=SHOP)
    await workshop.recipe("add_docstrings")
    added = set(workshop.text("shop.py").split("\n")) - set(SHOP.split("\n"))
    assert all(re.fullmatch(r' +"""[^"]+\."""', line) for line in added)
    assert [line for line in workshop.text("shop.py").split("\n") if line not in added] == SHOP.split("\n")


async def test_a_second_run_has_nothing_to_do(workshop):
    workshop.write(shop_py=SHOP)
    await workshop.recipe("add_docstrings")
    outcome = await workshop.recipe("add_docstrings")
    assert outcome.submission.changed_files == ()
    assert outcome.summary == "Nothing to do: every public function that can get a docstring has one."


async def test_line_ends_mark_and_indentation_are_kept(workshop):
    before = b"\xef\xbb\xbfclass A:\r\n\tdef go(self):\r\n\t\treturn 1\r\n"
    workshop.put("tabs.py", before)
    workshop.put("mixed.py", b"def a():\n    return 1\ndef b():\r\n    return 1\r\n")
    await workshop.recipe("add_docstrings")
    assert (workshop.root / "tabs.py").read_bytes() == (
        b'\xef\xbb\xbfclass A:\r\n\tdef go(self):\r\n\t\t"""Takes no arguments."""\r\n\t\treturn 1\r\n'
    )
    assert (workshop.root / "mixed.py").read_bytes() == (
        b'def a():\n    """Takes no arguments."""\n    return 1\n'
        b'def b():\r\n    """Takes no arguments."""\r\n    return 1\r\n'
    )


async def test_an_inherited_docstring_is_not_hidden(workshop):
    workshop.write(
        base_py='class Base:\n    def go(self):\n        """Go far."""\n',
        middle_py="from base import Base\nclass Middle(Base):\n    pass\n",
        leaf_py="import middle\nclass Leaf(middle.Middle):\n    def go(self):\n        return 1\n",
    )
    outcome = await workshop.recipe("add_docstrings")
    assert outcome.submission.changed_files == ()
    assert outcome.summary.endswith("Left: 1 method whose docstring is inherited.")


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ("def f(a, /, b, *, c):", "Takes a, b and c."),
        ("def f(*args: int):", "Takes any positional arguments."),
        ("def f(a, *args):", "Takes a and any further positional arguments."),
        ("def f(**kwargs):", "Takes any keyword arguments."),
        ("def f(a, **kwargs):", "Takes a and any further keyword arguments."),
        ("def f(a=b'x', b=None, c=-1.5, d=[], e={}):",
         "Takes a (optional), b (default None), c (default -1.5), d (default []) and e (default {})."),
        ("def f(a=g(1, 2), b='a,b', c='it\\'s', d=\"q\"):",
         "Takes a (optional), b (default 'a,b'), c (optional) and d (default 'q')."),
        ("def f(a: dict[str, int] = {'x': 1}) -> dict[str, int]:", "Takes a (optional); returns dict[str, int]."),
        ("def f(a: lambda: 1 = 2) -> None:", "Takes a (default 2); returns None."),
        ("def f() -> 'Literal[\"a\"]':", "Takes no arguments."),
        ("def f() -> Any:", "Takes no arguments."),
        ("def f() -> T:", "Takes no arguments."),
        ("def f() -> typing.Optional[Order]:", "Takes no arguments; returns Order or None."),
        ("def f() -> int | str | None:", "Takes no arguments; returns int, str or None."),
        ("def f() -> HTTPError:", "Takes no arguments; returns an HTTPError."),
        ("def f() -> User:", "Takes no arguments; returns a User."),
        ("async def f() -> AsyncIterator[int]:", "Takes no arguments."),
        ("@contextlib.contextmanager\ndef f() -> Iterator[int]:", "Takes no arguments; returns a context manager."),
        ("@app.route('/')\ndef f(a) -> int:", "Takes a."),
        ("def f(" + ", ".join(f"argument_{n}" for n in range(12)) + ") -> int:",
         "Takes argument_0, argument_1, argument_2, argument_3 and 8 more parameters; returns an int."),
        ("def f(" + ", ".join(f"{letter * 90}" for letter in "abc") + "):", "Takes several arguments."),
    ],
)  # fmt: skip
async def test_what_a_signature_says_in_a_sentence(workshop, header, sentence):
    workshop.write(f_py=f"{header}\n    return 1\n")
    await workshop.recipe("add_docstrings")
    assert docstrings(workshop.text("f.py")) == {"f": sentence}


@pytest.mark.parametrize(
    "text",
    [
        "import typing\n@typing.overload\ndef f(a: int) -> int:\n    pass\n",
        "class P:\n    def f(self) -> int:\n        ...\n",
        "def f(): return 1\n",
        "def _f():\n    return 1\n",
        "def __getattr__(name):\n    return 1\n",
        "class A:\n    def __len__(self):\n        return 1\n",
        "async def f():\n    'Has one.'\n",
        "x = lambda: 1\n",
        "",
    ],
)
async def test_what_needs_no_docstring_or_cannot_safely_get_one_is_left_alone(workshop, text):
    workshop.write(f_py=text)
    outcome = await workshop.recipe("add_docstrings")
    assert outcome.submission.changed_files == ()


async def test_a_decorated_first_statement_and_definitions_below_conditions_are_no_obstacle(workshop):
    text = (
        "if True:\n    def f(a):\n\n        @a\n        class C: pass\n\n        return C\n"
        "try:\n    pass\nexcept ValueError:\n    def g(a) \\\n      :\n        # why\n        return 1\n"
    )
    workshop.write(f_py=text)
    await workshop.recipe("add_docstrings")
    assert docstrings(workshop.text("f.py")) == {"f": "Takes a.", "g": "Takes a."}
    assert tree_without_docstrings(workshop.text("f.py").encode()) == tree_without_docstrings(text.encode())


async def test_tests_are_left_out_unless_their_folder_is_named(workshop):
    function = "def go():\n    return 1\n"
    workshop.write(tests__helper_py=function, test_a_py=function, conftest_py=function)
    outcome = await workshop.recipe("add_docstrings")
    assert outcome.submission.changed_files == ()
    assert outcome.summary.endswith("Left out: 3 test files; name their folder to include them.")
    outcome = await workshop.recipe("add_docstrings", path="tests")
    assert outcome.submission.changed_files == ("tests/helper.py",)


async def test_a_file_that_cannot_be_read_is_reported_and_the_others_are_done(workshop):
    workshop.put("latin.py", "def f():\n    return 'é'\n".encode("latin-1"))
    workshop.write(broken_py="def f(:\n", good_py="def f():\n    return 1\n")
    outcome = await workshop.recipe("add_docstrings")
    assert outcome.submission.changed_files == ("good.py",)
    assert "Could not change 2 files: broken.py ('broken.py' line 1: invalid syntax); latin.py (" in outcome.summary


async def test_a_path_with_no_python_has_nothing_to_do(workshop):
    for path in ("nowhere", "nowhere.py"):
        outcome = await workshop.recipe("add_docstrings", path=path)
        assert outcome.summary == f"Nothing to do: there is no {path}."
    workshop.put("texts/a.md", b"# a\n")
    assert (await workshop.recipe("add_docstrings", path="texts")).summary == (
        "Nothing to do: there is no Python file in texts."
    )


# --- with a model ---

LEAP = "def is_leap(year: int) -> bool:\n    return year % 4 == 0\n"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("Check whether a year is a leap year.", "Check whether a year is a leap year."),
        ('"""Return whether the year is a leap year."""', "Return whether the year is a leap year."),
        ("```python\nCheck if year is leap\n```", "Check if year is leap."),
        ("Check `year` by 4. It also does more.", "Check `year` by 4."),
        ("\n\nReturn True for leap years.\n\nArgs:\n    year: the year", "Return True for leap years."),
    ],
)
async def test_a_model_s_sentence_is_taken_when_it_stands_up(workshop, answer, sentence):
    workshop.write(leap_py=LEAP)
    model = Script(answer)
    outcome = await workshop.recipe("add_docstrings", model=model)
    assert docstrings(workshop.text("leap.py")) == {"is_leap": sentence}
    assert outcome.summary == (
        "Added 1 docstring in 1 file: 1 written by the language model (drafts: read each one), "
        "0 made from the code itself."
    )
    assert LEAP.rstrip() in model.asked[0].prompt
    assert "the Python function is_leap" in model.asked[0].prompt


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, as an AI I cannot see the year.",
        "def is_leap(year): return True",
        "Convert `celsius` to Fahrenheit for this year.",
        "Check whether year_of_birth is a leap year.",
        "Check whether a year after 1582 is a leap year.",
        "Leap year.",
        "leap years are checked here by the year.",
        "Return \\d of the year for leap years.",
        'Return "yes" for leap years only.',
        "Prüft, ob das Jahr ein Schaltjahr ist (year).",
        "Bake bread quickly with butter.",
        "The following docstring describes the year check.",
        "Check the year <b>now</b> please.",
        f"Return whether the year is a leap year{', and then some more' * 5}.",
        "...",
    ],
)
async def test_a_model_s_sentence_that_does_not_fit_gives_way_to_the_signature(workshop, answer):
    workshop.write(leap_py=LEAP)
    outcome = await workshop.recipe("add_docstrings", model=Script(answer))
    assert docstrings(workshop.text("leap.py")) == {"is_leap": "Returns `year % 4 == 0`."}
    assert outcome.summary == (
        "Added 1 docstring in 1 file, made from the code itself. "
        "For 1 function the model gave no sentence that fits the code."
    )


async def test_a_sentence_about_a_result_is_not_taken_for_a_function_without_one(workshop):
    workshop.write(a_py="def save(path) -> None:\n    open(path)\n")
    await workshop.recipe("add_docstrings", model=Script("Return the path that was saved."))
    assert docstrings(workshop.text("a.py")) == {"save": "Takes path; returns None."}


async def test_a_model_that_fails_three_times_in_a_row_is_not_asked_again(workshop):
    workshop.write(a_py="".join(f"def f{n}():\n    return {n}\n" for n in range(6)))
    model = Script(lambda _asked: (_ for _ in ()).throw(ValueError("the provider is down")))
    outcome = await workshop.recipe("add_docstrings", model=model)
    assert len(docstrings(workshop.text("a.py"))) == 6
    assert "The language model was not asked to the end: the language model gave no answer:" in outcome.summary


# --- a real package ---


async def test_click_gets_docstrings_and_is_the_same_code(click_copy):
    before = sources(click_copy.root)
    outcome = await click_copy.recipe("add_docstrings", path="click")
    after = sources(click_copy.root)
    assert changed(before, after) == sorted(outcome.submission.changed_files)
    assert len(outcome.submission.changed_files) >= 8
    for path in outcome.submission.changed_files:
        assert tree_without_docstrings(before[path]) == tree_without_docstrings(after[path])
    assert click_works(click_copy.root)
    again = await click_copy.recipe("add_docstrings", path="click")
    assert again.submission.changed_files == ()


async def test_click_with_a_model_takes_its_sentences(click_copy):
    model = Script(lambda asked: f"Describe {re.search(r'function ([^:]+):', asked.prompt)[1].split('.')[-1]} at once.")
    outcome = await click_copy.recipe("add_docstrings", model=model, path="click/termui.py")
    assert re.match(r"Added \d+ docstrings? in 1 file: [1-9]\d* written by the language model", outcome.summary)
    assert click_works(click_copy.root)

"""The programs in examples/, on the sample project and on packages as they are installed."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from cairn.program import Program
from cairn.recipe_source import match
from cairn.testing import Script
from tests.recipes.python_files import changed, click_works, imported, sources, tree_without_docstrings

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> Program:
    return Program((EXAMPLES / name).read_text(encoding="utf-8"), name)


@pytest.fixture
def sample(workshop):
    """A copy of the sample project."""
    ignored = shutil.ignore_patterns("__pycache__", ".cairn")
    shutil.copytree(EXAMPLES / "sample_project", workshop.root, dirs_exist_ok=True, ignore=ignored)
    return workshop


def suite_passes(root: Path) -> bool:
    command = [sys.executable, "-B", "-m", "unittest", "-q"]
    return subprocess.run(command, cwd=root, capture_output=True, check=False).returncode == 0


# --- add_docstrings.py ---


async def test_docstrings_are_written_by_the_model(sample):
    model = Script(lambda _asked: "Does what a shop needs.")
    outcome = await sample.program(example("add_docstrings.py"), model=model)
    assert outcome.summary == "Wrote 16 docstrings in 3 files; 0 functions were left without."
    assert '    def remove(self, name):\n        """Does what a shop needs."""\n' in sample.text("orders/cart.py")
    assert any("def remove(self, name):\n" in asked.prompt for asked in model.asked)
    assert suite_passes(sample.root)
    again = await sample.program(example("add_docstrings.py"), model=model)
    assert again.submission.changed_files == ()


async def test_without_a_model_or_with_unfit_answers_nothing_is_written(sample):
    outcome = await sample.program(example("add_docstrings.py"))
    assert outcome.summary == "Wrote 0 docstrings in 0 files; 16 functions were left without."
    outcome = await sample.program(example("add_docstrings.py"), model=Script(lambda _asked: 'x = """ + evil()'))
    assert outcome.submission.changed_files == ()


async def test_click_gets_docstrings_and_is_the_same_code(click_copy):
    before = sources(click_copy.root)
    await click_copy.program(example("add_docstrings.py"), model=Script(lambda _asked: "'Say it well.'"))
    after = sources(click_copy.root)
    assert len(changed(before, after)) >= 8
    for path in changed(before, after):
        assert tree_without_docstrings(before[path]) == tree_without_docstrings(after[path])
    assert click_works(click_copy.root)


# --- fix_todos.py ---


async def test_todos_become_a_table(sample):
    outcome = await sample.program(example("fix_todos.py"))
    assert sample.text("TODO.md") == (
        "# To do\n"
        "\n"
        "| mark | where | what |\n"
        "|---|---|---|\n"
        "| TODO | [orders/cart.py:25](orders/cart.py#L25) | refuse a negative price |\n"
        "| FIXME | [orders/cart.py:49](orders/cart.py#L49) | a damaged file ends in a traceback |\n"
        "| TODO | [orders/prices.py:18](orders/prices.py#L18) | other countries |\n"
    )
    assert outcome.summary == "Put 3 TODO and FIXME comments into TODO.md."
    again = await sample.program(example("fix_todos.py"))
    assert again.summary == "Nothing to do: 3 comments, and TODO.md has them all."


async def test_a_todo_file_of_one_s_own_is_not_overwritten(sample):
    sample.put("TODO.md", "Buy milk.\n")
    outcome = await sample.program(example("fix_todos.py"))
    assert outcome.submission.changed_files == ()
    assert sample.text("TODO.md") == "Buy milk.\n"


async def test_click_s_todos_become_a_table_twice_the_same(click_copy):
    click_copy.put("click/extra.py", "x = 1  # TODO: a | b\n")
    outcome = await click_copy.program(example("fix_todos.py"))
    assert outcome.submission.changed_files == ("TODO.md",)
    assert "| TODO | [click/extra.py:1](click/extra.py#L1) | a \\| b |\n" in click_copy.text("TODO.md")
    assert (await click_copy.program(example("fix_todos.py"))).submission.changed_files == ()


# --- add_type_hints.py ---


async def test_plain_results_are_annotated(sample):
    outcome = await sample.program(example("add_type_hints.py"))
    assert outcome.summary == "Annotated 10 functions in 3 files: {'None': 6, 'bool': 3, 'str': 1}."
    cart = sample.text("orders/cart.py")
    assert "def add(self, name, price, count=1) -> None:\n" in cart
    assert "def is_empty(self) -> bool:\n" in cart
    assert "def cost(self):\n" in cart
    assert "def has(self, name) -> bool:\n" in cart
    assert 'def format_price(cents: int, currency: str = "EUR") -> str:\n' in sample.text("orders/prices.py")
    assert suite_passes(sample.root)
    assert (await sample.program(example("add_type_hints.py"))).summary == "Nothing to do."


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    pass\n",
        "def f():\n    '''Doc.'''\n",
        "def f():\n    ...\n",
        "def f():\n    raise ValueError\n",
        "def f():\n    while True:\n        g()\n",
        "def f():\n    raise NotImplementedError\n",
        "def f():\n    yield\n",
        "def f(): return True\n",
        "def f():\n    if a:\n        return True\n",
        "def f():\n    return a or True\n",
        "def f():\n    return a == b\n",
        "def f():\n    return g(x in y)\n",
        "def f():\n    return\n    return 1\n",
        "def f():\n    return f'{a}' % b\n",
        "def f():\n    return b'x'\n",
        "def f():\n    return 'a'; return 1\n",
        "def f():\n    def g():\n        return 1\n    g()\n",
        "def f() -> int:\n    g()\n",
        "def f():  # see g():\n    x()\n",
        "def f():\n    return (\n        True\n    )\n",
        "def f():\n    x = '''\n    return\n    '''\n    return True\n",
    ],
)
async def test_what_is_not_plain_is_left_alone(workshop, text):
    workshop.put("a.py", text)
    outcome = await workshop.program(example("add_type_hints.py"))
    assert outcome.summary == "Nothing to do."


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def results(function: ast.AST) -> list[ast.expr | None]:
    """What the function's own return statements return; those of functions inside it left out."""
    found: list[ast.expr | None] = []
    waiting: list[ast.AST] = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Return):
            found.append(node.value)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            waiting.extend(ast.iter_child_nodes(node))
    return found


def is_truth(value: ast.expr | None) -> bool:
    if isinstance(value, ast.BoolOp):
        return all(is_truth(part) for part in value.values)
    if isinstance(value, ast.Compare):
        return all(isinstance(each, ast.Is | ast.IsNot | ast.In | ast.NotIn) for each in value.ops)
    is_call = isinstance(value, ast.Call) and isinstance(value.func, ast.Name)
    return (
        (isinstance(value, ast.Constant) and isinstance(value.value, bool))
        or (isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.Not))
        or (is_call and value.func.id in {"isinstance", "issubclass", "hasattr", "callable"})
    )


def is_text(value: ast.expr | None) -> bool:
    return isinstance(value, ast.JoinedStr) or (isinstance(value, ast.Constant) and isinstance(value.value, str))


HOLDS = {"None": lambda value: value is None, "bool": is_truth, "str": is_text}


@pytest.mark.slow
@pytest.mark.parametrize("package", ["dateutil", "yaml", "click", "sqlite_fts4"])
async def test_a_real_package_is_annotated_truly(workshop, package):
    """The program reads lines; here its every claim is checked against the syntax tree."""
    installed = Path(sysconfig.get_path("purelib")) / package
    shutil.copytree(installed, workshop.root / package, ignore=shutil.ignore_patterns("__pycache__"))
    before = sources(workshop.root)
    outcome = await workshop.program(example("add_type_hints.py"))
    after = sources(workshop.root)
    for path in changed(before, after):
        was, now = ast.parse(before[path]), ast.parse(after[path])
        for old, new in zip(functions(was), functions(now), strict=True):
            if old.returns is None and new.returns is not None:
                assert all(HOLDS[ast.unparse(new.returns)](value) for value in results(new)), new.name
                new.returns = None
        assert ast.dump(was) == ast.dump(now)
    assert changed(before, after) == sorted(outcome.submission.changed_files)
    assert imported(
        workshop.root, f"import {package}; print({package}.__file__.startswith({str(workshop.root)!r}))"
    ) == ("True")
    assert (await workshop.program(example("add_type_hints.py"))).summary == "Nothing to do."


# --- the sample project ---


@pytest.mark.parametrize(
    "sentence",
    [
        "add docstrings",
        "collect all TODOs into TODO.md",
        "rename calc_total to total_with_tax",
        "remove unused imports",
    ],
)
async def test_the_sample_project_s_suite_passes_after_each_recipe(sample, sentence):
    found = match(sentence)
    assert found is not None
    outcome = await sample.recipe(found.recipe.name, **found.parameters)
    assert outcome.submission.changed_files != ()
    assert suite_passes(sample.root)
    assert (await sample.recipe(found.recipe.name, **found.parameters)).submission.changed_files == ()

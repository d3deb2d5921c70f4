"""The recipe rename_symbol: which words are the name, and when the whole rename is refused."""

from __future__ import annotations

import ast

import pytest

from tests.recipes.python_files import changed, click_works, imported, sources

pytestmark = pytest.mark.slow  # half a second each, and many


async def renamed(workshop, before: str, old: str = "get_user", new: str = "fetch_user") -> str:
    """The file after a rename, in a project that defines the name elsewhere."""
    workshop.put("defined.py", f"def {old}(): return 1\n")
    workshop.put("a.py", before)
    await workshop.recipe("rename_symbol", old=old, new=new)
    return workshop.text("a.py")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("get_user(1)", "fetch_user(1)"),
        ("x.get_user = get_user", "x.fetch_user = fetch_user"),
        ("get_users, my_get_user, get_user2", "get_users, my_get_user, get_user2"),
        ("from a import get_user as g", "from a import fetch_user as g"),
        ("# get_user is slow", "# fetch_user is slow"),
        ('"""Calls get_user."""', '"""Calls fetch_user."""'),
        ("x = 'get_user'", "x = 'get_user'"),
        ("x = {'get_user': get_user}", "x = {'get_user': fetch_user}"),
        ("x = f'get_user {get_user(1)}'", "x = f'get_user {fetch_user(1)}'"),
        ("x = f'{get_user(1)!r:>{get_user}}' f'{{get_user}}'", "x = f'{fetch_user(1)!r:>{fetch_user}}' f'{{get_user}}'"),
        ("x = f'{d[\"get_user\"]}'", "x = f'{d[\"get_user\"]}'"),
        ("x = f'''\n{get_user}\nget_user\n'''", "x = f'''\n{fetch_user}\nget_user\n'''"),
        ("__all__ = ['a', 'get_user']", "__all__ = ['a', 'fetch_user']"),
        ("__all__ = [\n    'get_user',\n]\nx = 'get_user'", "__all__ = [\n    'fetch_user',\n]\nx = 'get_user'"),
        ("__all__ += ('get_user',)", "__all__ += ('fetch_user',)"),
        ("def f(a: 'get_user', b='get_user') -> 'get_user': pass",
         "def f(a: 'fetch_user', b='get_user') -> 'fetch_user': pass"),
        ("x: 'get_user' = 1", "x: 'fetch_user' = 1"),
        ("def f(a: Literal['get_user']): pass", "def f(a: Literal['get_user']): pass"),
        ("x = 'a\\\n# get_user' # get_user", "x = 'a\\\n# get_user' # fetch_user"),
        ("x = r'\\' + get_user + r'\\\\'", None),
        ("x = '''\"''' + get_user + \"'\"", "x = '''\"''' + fetch_user + \"'\""),
        ("x = 'é' + get_user # é get_user", "x = 'é' + fetch_user # é fetch_user"),
        ('"""\n>>> get_user(1)\n"""', '"""\n>>> fetch_user(1)\n"""'),
    ],
)  # fmt: skip
async def test_which_words_are_the_name(workshop, before, after):
    if after is not None:
        ast.parse(before)
        assert await renamed(workshop, before + "\n") == after + "\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# load the data, then load() it", "# load the data, then fetch_user() it"),
        ("# `load` is what .load does, not load", "# `fetch_user` is what .fetch_user does, not load"),
        ('"""Load or load."""', '"""Load or load."""'),
        ("load(load)", "fetch_user(fetch_user)"),
    ],
)
async def test_an_ordinary_word_is_renamed_in_prose_only_where_it_is_marked_as_code(workshop, before, after):
    assert await renamed(workshop, before + "\n", old="load") == after + "\n"


async def test_documents_follow(workshop):
    workshop.write(
        a_py="def load(path):\n    return path\n",
        README_md="We load files: `load`.\n\n```python\nx = load(load)\n```\n\n>>> load\n",
        docs__a_rst=":func:`load` and a load of text, a.load\n",
        b_toml="run = 'a:load'\n",
    )
    outcome = await workshop.recipe("rename_symbol", old="load", new="load_file")
    assert workshop.text("README.md") == (
        "We load files: `load_file`.\n\n```python\nx = load_file(load_file)\n```\n\n>>> load_file\n"
    )
    assert workshop.text("docs/a.rst") == ":func:`load_file` and a load of text, a.load_file\n"
    assert workshop.text("b.toml") == "run = 'a:load'\n"
    assert outcome.summary == (
        "Renamed load to load_file in 3 files: 1 time in code, 0 in comments and docstrings, 6 in documents. "
        "Other kinds of files that mention it were left: b.toml."
    )


async def test_strings_that_read_the_same_are_left_and_reported(workshop):
    workshop.write(a_py="def get_user():\n    return {'get_user': 1}\n\n\nx = 'call get_user'\n")
    outcome = await workshop.recipe("rename_symbol", old="get_user", new="fetch_user")
    assert outcome.summary.endswith("Strings that read get_user were left, see whether they mean it: a.py:2, a.py:5.")


@pytest.mark.parametrize(
    ("old", "new", "files", "reason"),
    [
        ("nobody", "somebody", {"a.py": "nobody()\n"}, "no Python file here defines nobody"),
        ("load", "save", {"a.py": "def load(): pass\ndef save(): pass\n"},
         "save stands in a.py already (line 2), so the two could not be told apart"),
        ("load", "save", {"a.py": "def load(): pass\n", "b.py": "x.save(load)\n"},
         "save stands in b.py already (line 1), so the two could not be told apart"),
        ("items", "entries", {"a.py": "def items(): pass\n"},
         "items is also a name of Python's own objects, so not every items is the one you mean"),
        ("tool", "device", {"tool.py": "def tool(): pass\n"},
         "a module or package is called tool too, and its imports would break"),
        ("tool", "device", {"tool/x.py": "def tool(): pass\n"},
         "a module or package is called tool too, and its imports would break"),
        ("tool", "tool", {"a.py": "def tool(): pass\n"}, "the two names are the same"),
    ],
)  # fmt: skip
async def test_a_rename_that_would_do_harm_is_refused_whole(workshop, old, new, files, reason):
    for path, text in files.items():
        workshop.put(path, text)
    outcome = await workshop.recipe("rename_symbol", old=old, new=new)
    assert outcome.summary == f"Nothing to do: {reason}."
    assert outcome.submission.changed_files == ()


async def test_the_new_name_in_a_file_without_the_old_one_is_no_obstacle(workshop):
    workshop.write(a_py="def load(): pass\n# save\n", b_py="save = 1\n")
    outcome = await workshop.recipe("rename_symbol", old="load", new="save")
    assert outcome.submission.changed_files == ("a.py",)


@pytest.mark.parametrize(
    "definition",
    ["def old_one(): pass", "async def old_one(): pass", "class old_one: pass", "old_one = 1", "old_one: int = 1",
     "class A:\n    old_one = 1", "self.old_one = 1", "x = 1; old_one = 2"],
)  # fmt: skip
async def test_what_counts_as_a_definition(workshop, definition):
    workshop.write(a_py=definition + "\n")
    outcome = await workshop.recipe("rename_symbol", old="old_one", new="new_one")
    assert outcome.submission.changed_files == ("a.py",)
    again = await workshop.recipe("rename_symbol", old="old_one", new="new_one")
    assert again.summary == "Nothing to do: no Python file here defines old_one."


async def test_line_ends_are_kept_and_an_unreadable_file_is_reported(workshop):
    workshop.put("a.py", b"\xef\xbb\xbfdef old_one(): # old_one\r\n    pass\r\n")
    workshop.put("b.py", "old_one = 'é'\n".encode("latin-1"))
    outcome = await workshop.recipe("rename_symbol", old="old_one", new="new_one")
    assert (workshop.root / "a.py").read_bytes() == b"\xef\xbb\xbfdef new_one(): # new_one\r\n    pass\r\n"
    assert "Could not change 1 file: b.py ('b.py' is not UTF-8 text" in outcome.summary


async def test_a_place_narrows_it(workshop):
    workshop.write(src__a_py="old_one = 1\n", b_py="old_one = 1\n")
    outcome = await workshop.recipe("rename_symbol", old="old_one", new="new_one", path="src")
    assert outcome.submission.changed_files == ("src/a.py",)
    outcome = await workshop.recipe("rename_symbol", old="x_y", new="z", path="nowhere")
    assert outcome.summary == "Nothing was done: there is no file or folder 'nowhere'."


async def test_click_s_decorator_gets_another_name_and_works_under_it(click_copy):
    before = sources(click_copy.root)
    outcome = await click_copy.recipe("rename_symbol", old="make_pass_decorator", new="pass_decorator_for")
    after = sources(click_copy.root)
    assert changed(before, after) == sorted(outcome.submission.changed_files) != []
    assert b"make_pass_decorator" not in b"".join(text for path, text in after.items() if path.endswith(".py"))
    assert click_works(click_copy.root)
    assert imported(click_copy.root, "import click; print(click.pass_decorator_for.__name__)") == "pass_decorator_for"
    again = await click_copy.recipe("rename_symbol", old="make_pass_decorator", new="pass_decorator_for")
    assert again.submission.changed_files == ()


async def test_click_s_largest_class_gets_another_name_and_works_under_it(click_copy):
    outcome = await click_copy.recipe("rename_symbol", old="ParamType", new="ParameterKind")
    assert len(outcome.submission.changed_files) >= 4
    assert click_works(click_copy.root)
    assert imported(click_copy.root, "import click; print(click.INT.__class__.__mro__[2].__name__)") == "ParameterKind"

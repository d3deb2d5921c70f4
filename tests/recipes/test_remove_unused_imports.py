"""The recipe remove_unused_imports: what goes, and everything that must stay."""

from __future__ import annotations

import ast

import pytest

from tests.recipes.python_files import changed, click_works, sources, tree_without_top_imports

pytestmark = pytest.mark.slow  # half a second each, and many


async def cleaned(workshop, text: str) -> str:
    workshop.put("a.py", text)
    await workshop.recipe("remove_unused_imports")
    return workshop.text("a.py")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import os\nx = 1\n", "x = 1\n"),
        ("import os, sys\nprint(sys)\n", "import sys\nprint(sys)\n"),
        ("import os.path\nimport xml.dom.minidom as dom\nx = 1\n", "x = 1\n"),
        ("from os import path, sep as s, curdir\npath(curdir)\n", "from os import path, curdir\npath(curdir)\n"),
        ("from os import (\n    path,\n    sep,\n    curdir\n)\nsep\n", "from os import (\n    sep,\n)\nsep\n"),
        ("from os import (path,\n    sep, curdir)\nsep\n", "from os import sep\nsep\n"),
        ("from os import path, \\\n    sep\nsep\n", "from os import sep\nsep\n"),
        ('"""Doc."""\n\nimport os\n\n\ndef f(): pass\n', '"""Doc."""\n\n\ndef f(): pass\n'),
        ("import os\n\n\ndef f(): pass\n", "def f(): pass\n"),
        ("import sys\nimport os\n\nprint(sys)\n", "import sys\n\nprint(sys)\n"),
        ("import os\nresponse.os = 1\nx = y.os\n", "response.os = 1\nx = y.os\n"),
        ("import os  \n\nx = '''\nimport sys\n'''\n", "x = '''\nimport sys\n'''\n"),
        ('import os\n"""os is used by nobody."""\n', '"""os is used by nobody."""\n'),
        ("import os\n# os\nx = 1\n", "# os\nx = 1\n"),
        ("from rich import (\n    Used,\n    Unused,\n)\nUsed()\n", "from rich import (\n    Used,\n)\nUsed()\n"),
        ("from .b import Used, Unused\nUsed()\n", "from .b import Used\nUsed()\n"),
        ("import os\nx.eval('a')\nvars(x)\n", "x.eval('a')\nvars(x)\n"),
        ("import os as o, re as r\nprint(r)\n", "import re as r\nprint(r)\n"),
    ],
)
async def test_what_goes(workshop, before, after):
    assert await cleaned(workshop, before) == after
    assert (await workshop.recipe("remove_unused_imports")).submission.changed_files == ()


@pytest.mark.parametrize(
    "text",
    [
        "import os\nos.x\n",
        "import os\nx: 'os.PathLike'\n",
        "import os\n__all__ = ['os']\n",
        "import os\nx = f'{os.sep}'\n",
        'import os\n\ndef f():\n    """\n    >>> os.sep\n    """\n',
        "import os\nx = []  # type: os.PathLike\n",
        "import os  # noqa\n",
        "import os  # noqa: F401\n",
        "import os  # keep\n",
        "from os import (\n    path,  # noqa\n    sep,\n)\n",
        "from __future__ import annotations\n",
        "from os import *\n",
        "import os as os\n",
        "from os import path as path\n",
        "from gettext import gettext as _\n",
        "import readline\n",
        "import antigravity\n",
        "import numpy\n",
        "from numpy import array\n",
        "from . import handlers\n",
        "from .models import User\n",
        "from rich import traceback, Used\nUsed()\n",
        "try:\n    import json\nexcept ImportError:\n    json = None\n",
        "if TYPE_CHECKING:\n    import os\n",
        "def f():\n    import os\n",
        "if True: import os\n",
        "import os; x = 1\n",
        "import os\nglobals()['o' + 's']\n",
        "import os\neval('o' + 's')\n",
        "import os, sys\ngetattr(sys.modules[__name__], 'o' + 's')\n",
        "import xml.dom\nimport xml.sax\nxml.sax\n",
        "import os\ndef f(os): pass\n",
    ],
)
async def test_what_stays(workshop, text):
    assert await cleaned(workshop, text) == text


@pytest.mark.parametrize("name", ["__init__.py", "pkg/__init__.py", "conftest.py", "a.pyi", "a.txt"])
async def test_files_whose_imports_are_for_others_stay(workshop, name):
    workshop.put(name, "import os\n")
    outcome = await workshop.recipe("remove_unused_imports")
    assert outcome.submission.changed_files == ()


@pytest.mark.parametrize(
    "user",
    [
        "from a import os\n",
        "from .a import os as system\n",
        "from pkg.a import (\n    x,\n    os,\n)\n",
        "from a import *\n",
        "import a\na.os.sep\n",
        "import pkg.a as b\nb.os\n",
        "from pkg import a as b\nb.os\n",
        "patch('pkg.a.os.path')\n",
        "import a\nmonkeypatch.setattr(a, 'os', None)\n",
        "def test():\n    from a import os\n",
    ],
)
async def test_a_name_that_another_file_takes_from_here_stays(workshop, user):
    workshop.put("test_user.py", user)
    assert await cleaned(workshop, "import os\n") == "import os\n"
    outcome = await workshop.recipe("remove_unused_imports")
    assert outcome.summary.startswith("Nothing to do: no unused import can be removed safely.")
    assert "because another file takes the name from there" in outcome.summary


async def test_a_name_that_may_be_a_submodule_stays(workshop):
    workshop.put("pkg/handlers.py", "x = 1\n")
    workshop.put("pkg/main.py", "from . import handlers, used\nused()\n")
    assert (await workshop.recipe("remove_unused_imports")).submission.changed_files == ()


async def test_line_ends_are_kept(workshop):
    workshop.put("a.py", b"\xef\xbb\xbfimport os\r\nfrom os import (\r\n    sep,\r\n    path,\r\n)\r\nsep\r\n")
    workshop.put("mixed.py", b"import os\r\nfrom os import sep, path\r\nsep\n")
    await workshop.recipe("remove_unused_imports")
    assert (workshop.root / "a.py").read_bytes() == b"\xef\xbb\xbffrom os import (\r\n    sep,\r\n)\r\nsep\r\n"
    assert (workshop.root / "mixed.py").read_bytes() == b"from os import sep\r\nsep\n"


async def test_files_that_do_not_parse_are_reported(workshop):
    workshop.put("broken.py", "import os\nprint 'hello'\n")
    workshop.put("good.py", "import os\nx = 1\n")
    outcome = await workshop.recipe("remove_unused_imports")
    assert outcome.submission.changed_files == ("good.py",)
    assert outcome.summary.startswith("Removed 1 unused import from 1 file. Could not change 1 file: broken.py (")


async def test_a_place_narrows_it_and_the_rest_of_the_project_still_counts(workshop):
    workshop.put("src/a.py", "import os\nimport re\nx = 1\n")
    workshop.put("b.py", "import sys\nfrom src.a import re\nre.x\n")
    outcome = await workshop.recipe("remove_unused_imports", path="src")
    assert workshop.text("src/a.py") == "import re\nx = 1\n"
    assert outcome.submission.changed_files == ("src/a.py",)


UNUSED = "import textwrap\nimport decimal, fractions as parts\nfrom collections import (\n    Counter,\n    deque,\n)\n"


@pytest.mark.slow
async def test_click_loses_what_was_put_in_and_nothing_else(click_copy):
    before = sources(click_copy.root)
    assert (await click_copy.recipe("remove_unused_imports")).submission.changed_files == ()
    spoiled = []
    for path, text in before.items():
        plain = path.endswith(".py") and b"globals()" not in text and b"sys.modules" not in text
        if plain and not path.endswith("__init__.py") and b"import annotations\n" in text:
            spoilt = text.replace(b"import annotations\n", b"import annotations\n" + UNUSED.encode(), 1)
            click_copy.put(path, spoilt)
            spoiled.append(path)
    assert len(spoiled) >= 10
    outcome = await click_copy.recipe("remove_unused_imports")
    after = sources(click_copy.root)
    assert sorted(outcome.submission.changed_files) == sorted(spoiled)
    for path in spoiled:
        assert tree_without_top_imports(after[path]) == tree_without_top_imports(before[path])
        missing = {ast.dump(node) for node in ast.parse(before[path]).body} - {
            ast.dump(node) for node in ast.parse(after[path]).body
        }
        assert missing == set(), path
    assert changed(before, after) == [path for path in spoiled if before[path] != after[path]]
    assert click_works(click_copy.root)
    assert (await click_copy.recipe("remove_unused_imports")).submission.changed_files == ()

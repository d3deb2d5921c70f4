"""Recipes as a library: those of the project, of packages, and built in; made of tasks, shown, run by name."""

from __future__ import annotations

import json

import pytest
from inline_snapshot import snapshot

pytestmark = pytest.mark.slow  # half a second each, and many

HEADER = """\
# /// cairn-recipe
# name = "{name}"
# description = "Writes a greeting."
# examples = ["greet the world"]
# patterns = ['greet @name(whom)']
# [[parameters]]
# name = "whom"
# description = "who is greeted"
# default = "world"
# ///
"""
GREET = HEADER + 'write_file("hello.txt", "hello " + PARAMETERS["whom"])\nsubmit_result("Greeted.", ["hello.txt"])\n'


@pytest.fixture
def recipes(project):
    folder = project / ".cairn" / "recipes"
    folder.mkdir(parents=True)
    return folder


def listed(cairn):
    return [recipe["name"] for recipe in json.loads(cairn("recipes", "--json").out)["recipes"]]


def test_a_recipe_of_the_project_is_found_by_its_sentence_and_by_its_name(recipes, project, cairn):
    (recipes / "greet.py").write_text(GREET.format(name="greet"))

    by_sentence = cairn("run", "greet everybody", "--accept")
    by_sentence_text = (project / "hello.txt").read_text()
    by_name = cairn("run", "--recipe", "greet", "whom=nobody", "--accept")

    assert (by_sentence.code, by_sentence_text) == (0, "hello everybody")
    assert "your own recipe greet (no model planned this)" in by_sentence.out
    assert (by_name.code, (project / "hello.txt").read_text()) == (0, "hello nobody")
    assert listed(cairn)[0] == "greet"


def test_the_task_keeps_its_recipe_when_the_file_is_gone(recipes, project, cairn):
    (recipes / "greet.py").write_text(GREET.format(name="greet"))
    cairn("run", "--recipe", "greet")
    (recipes / "greet.py").unlink()

    again = cairn("retry", "--accept")

    assert (again.code, (project / "hello.txt").read_text()) == (0, "hello world")


def test_a_recipe_hides_a_built_in_one_of_its_name_and_the_list_says_so(recipes, cairn):
    (recipes / "mine.py").write_text(GREET.format(name="fix_todos"))

    screen = cairn("recipes")

    assert screen.out.startswith("fix_todos  Writes a greeting.  (of this project)\n")
    assert screen.err == "cairn: the recipe fix_todos built-in is hidden by another one of that name.\n"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("print(1)\n", "it does not open with a block"),
        ('# /// cairn-recipe\n# name = "x"\n# ///\n', "missing 'description'"),
        ("# /// cairn-recipe\n# name = \n# ///\n", "Invalid value"),
        ('# /// cairn-recipe\n# name = "x"\n# description = "x"\n# patterns = ["("]\n# ///\n', "missing )"),
        (b"\xff\xfe", "can't decode"),
    ],
    ids=["no-header", "no-description", "no-toml", "no-pattern", "no-text"],
)
def test_a_file_that_is_no_recipe_is_named_and_keeps_no_other_from_being_used(recipes, cairn, content, why):
    (recipes / "broken.py").write_bytes(content if isinstance(content, bytes) else content.encode())
    (recipes / "greet.py").write_text(GREET.format(name="greet"))

    screen = cairn("recipes")

    assert "greet" in listed(cairn)
    assert ".cairn/recipes/broken.py" in screen.err
    assert why in screen.err
    assert cairn("run", "--recipe", "broken").code == 2
    assert cairn("run", "--recipe", "greet").code == 0


def test_the_recipes_of_a_package_are_found_without_running_its_code(project, cairn, tmp_path, monkeypatch):
    package = tmp_path / "site" / "greetings"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('code of the package was run')\n")
    (package / "greet.py").write_text(GREET.format(name="greet"))
    info = tmp_path / "site" / "greetings-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greetings\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[cairn.recipes]\ngreetings = greetings\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))

    screen = cairn("recipes")

    assert screen.out.startswith("greet  Writes a greeting.  (of greetings)\n")
    assert cairn("run", "greet us", "--accept").code == 0
    assert (project / "hello.txt").read_text() == "hello us"


def test_a_recipe_made_of_a_task_does_the_same_again(project, cairn, tmp_path):
    program = tmp_path / "p.py"
    program.write_text('write_file("a.txt", "a")\nsubmit_result("Wrote.", ["a.txt"])\n')
    cairn("run", "write the file a", "--code", str(program))
    (file,) = (project / ".cairn/tasks").glob("*.db")

    made = cairn("recipes", "new", "write_a", "--from", file.stem)
    again = cairn("run", "write the file a.", "--accept")

    assert made.code == 0
    assert cairn("recipes", "new", "write_a", "--from", file.stem).code == 2
    assert (again.code, (project / "a.txt").read_text()) == (0, "a")
    assert (project / ".cairn/recipes/write_a.py").read_text() == snapshot("""\
# /// cairn-recipe
# name = "write_a"
# description = "Write the file a."
# examples = ["write the file a"]
# # Sentences that lead here by themselves, as regular expressions that fit them whole:
# patterns = ["write the file a"]
# # A value that may differ from run to run; the program finds it in PARAMETERS["path"]:
# # [[parameters]]
# # name = "path"
# # description = "the file or folder to work in"
# # kind = "path"
# # default = "."
# ///
write_file("a.txt", "a")
submit_result("Wrote.", ["a.txt"])
""")


def test_show_prints_the_parameters_and_the_program(cairn):
    screen = cairn("recipes", "show", "replace_text")

    assert screen.out.startswith("# /// cairn-recipe\n")
    assert screen.err == snapshot("""\
replace_text  Replaces one text by another, exactly as written, in every text file or in those named.  (built-in)
  old=text   the text to look for, exactly as it stands
  new=text   the text to put in its place
  path=path   the file or folder to work in (default '.')
  language=text   the only kind of files to change, such as Markdown; empty for all text files (default '')
cairn run --recipe replace_text old=... new=... path=... language=...

""")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--recipe", "nope"], 3, "No recipe is called nope."),
        (["--recipe", "replace_text"], 2, "Recipe replace_text needs old."),
        (["--recipe", "replace_text", "old=a", "new=b", "up=1"], 2, "Recipe replace_text has no parameter up."),
        (["--recipe", "replace_text", "old"], 2, "'old' is no parameter."),
        (["--recipe", "replace_text", "--code", "x.py"], 2, "--recipe and --code are two programs for one task."),
        (["add", "docstrings"], 2, 'cairn run "add docstrings"'),
    ],
)
def test_what_cannot_be_run_is_said_before_a_task_is_made(cairn, arguments, code, says):
    screen = cairn("run", *arguments)

    assert screen.code == code
    assert says in screen.err
    assert json.loads(cairn("list", "--json").out)["tasks"] == []

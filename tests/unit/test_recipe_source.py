"""Sentences, parameters and headers: what a recipe is before its program runs."""

from __future__ import annotations

import ast
import textwrap

import pytest

from cairn.errors import NotFound, UsageProblem
from cairn.program import Finished, Program, Run, Step
from cairn.recipe_source import (
    Match,
    Parameter,
    ParameterKind,
    RecipeSource,
    built_in_recipes,
    match,
    read_recipe,
    recipe_named,
)

NAMES = ["add_docstrings", "add_header", "fix_todos", "remove_unused_imports", "rename_symbol", "replace_text"]


def recipe(patterns: str, extra: str = "") -> str:
    header = textwrap.dedent(f"""\
        name = "greet"
        description = "Says hello."
        patterns = {patterns}
        {extra}
        """)
    return "# /// cairn-recipe\n" + textwrap.indent(header, "# ", lambda _line: True) + "# ///\nsubmit_result('', [])\n"


ONE_PARAMETER = '[[parameters]]\nname = "whom"\ndescription = "whom to greet"'


def read(patterns: str, extra: str = ONE_PARAMETER):
    return read_recipe(recipe(patterns, extra.replace("\n", "\n        ")), "greet.py")


# --- the built-in ones ---


def test_the_recipes_that_come_with_cairn():
    assert [each.name for each in built_in_recipes()] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_example_of_a_recipe_is_understood_as_that_recipe(name):
    examples = recipe_named(name).examples
    assert examples
    assert [found and found.recipe.name for found in map(match, examples)] == [name] * len(examples)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_tells_what_it_does_and_what_each_parameter_is(name):
    found = recipe_named(name)
    assert found.description.endswith(".")
    assert all(parameter.description for parameter in found.parameters)
    assert found.label == f"built-in recipe {name} (no model planned this)"


def test_an_unknown_recipe_is_not_found_and_the_error_lists_them_all():
    with pytest.raises(NotFound) as caught:
        recipe_named("make_coffee")
    assert caught.value.what == "No recipe is called make_coffee."
    assert caught.value.why == f"There are: {', '.join(NAMES)}."


# --- sentences ---


@pytest.mark.parametrize(
    "sentence",
    [
        "greet Ann",
        "Greet Ann.",
        "  GREET   Ann!  ",
        "please greet Ann",
        "could you please greet Ann?",
        "greet Ann, please",
        "greet Ann. Thanks!",
    ],
)
def test_courtesies_case_and_blanks_do_not_matter(sentence):
    greet = read("['greet (?P<whom>\\w+)']")
    assert match(sentence, [greet]) == Match(greet, {"whom": "Ann"})


@pytest.mark.parametrize(
    "sentence", ["greet", "greet Ann?", "greet Ann and Bob", "do greet Ann", "please", "", "greet Ann\0", "x" * 100_000]
)
def test_a_sentence_with_more_or_less_than_a_pattern_knows_is_not_understood(sentence):
    assert match(sentence, [read("['greet (?P<whom>\\w+)']")]) is None


@pytest.mark.timeout(5)
@pytest.mark.parametrize("piece", [" x", " " * 49 + "x", "the ", "TODO, ", "a/", '"a ', "public ", "add "])
def test_an_endless_sentence_is_judged_at_once(piece):
    for beginning in ("add docstrings in ", "replace ", "collect ", "rename ", ""):
        for times in (20_000, 3_000, 49):
            match(beginning + piece * times + "x")
    assert match("add docstrings" + piece * 20_000) is None


def test_a_sentence_that_two_recipes_understand_is_not_understood():
    first = read("['greet (?P<whom>\\w+)']")
    second = read_recipe(first.text.replace('"greet"', '"welcome"'), "welcome.py")
    assert match("greet Ann", [first, second]) is None


def test_a_sentence_that_one_recipe_understands_in_two_ways_is_not_understood():
    assert match("greet Ann now", [read("['greet (?P<whom>\\w+) now', 'greet (?P<whom>\\w+ now)']")]) is None


@pytest.mark.parametrize("quotes", ['""', "''", "``", "“”", "\u2018\u2019", "«»"])
def test_a_quoted_text_is_taken_as_it_stands(quotes):
    opening, closing = quotes
    found = match(f"say {opening} a.b*  C {closing}", [read("['say @quoted(whom)']")])
    assert found is not None
    assert found.parameters == {"whom": " a.b*  C "}


def test_a_quoted_text_ends_at_its_own_quotes():
    assert match('say "a" and "b"', [read("['say @quoted(whom)']")]) is None


PLACE = '[[parameters]]\nname = "path"\ndescription = "where"\nkind = "path"\ndefault = "."'


@pytest.mark.parametrize(
    ("where", "path"),
    [
        (" everywhere", None),
        (" in the whole project", None),
        (" across the codebase", None),
        (" in this repository", None),
        (" in src/", "src"),
        (" in ./src//app/", "src/app"),
        (" in the src folder", "src"),
        (" in folder `web`", None),
        (" from docs", "docs"),
        (" in the file setup.py", "setup.py"),
        (" for 'a-b/c.d/x.py'", "a-b/c.d/x.py"),
    ],
)
def test_a_place_is_the_whole_project_or_a_path(where, path):
    found = match("look" + where, [read("['look@where']", PLACE)])
    if where == " in folder `web`":
        assert found is None  # no word of it says that it is a path
    else:
        assert found is not None
        assert found.parameters == ({} if path is None else {"path": path})


@pytest.mark.parametrize(
    "where",
    [
        " in production",
        " in uppercase",
        " in /etc/",
        " in ../other/",
        " in src/../../x/",
        " in .git/hooks",
        " in src/ and lib/",
        " in src/ except lib/",
        " only in src/",
        " in src/*.py",
        " in all of src",
    ],
)
def test_what_may_not_be_a_path_inside_the_project_is_not_understood(where):
    assert match("look" + where, [read("['look@where']", PLACE)]) is None


def test_a_word_of_the_header_stands_for_its_pattern_and_may_use_those_below_it():
    both = '[words]\ngreeting = "@hi|hello"\nhi = "hi|hey"\n' + ONE_PARAMETER
    assert match("hey Ann", [read("['@greeting (?P<whom>\\w+)']", both)]) is not None


# --- programs ---


def test_the_program_begins_with_its_parameters_defaults_filled_in():
    program = recipe_named("fix_todos").program({"path": "src"})
    assert program.label == "built-in recipe fix_todos (no model planned this)"
    first = program.text.split("\n")[0]
    assert first == ("PARAMETERS: dict[str, str] = {'path': 'src', 'output': 'TODO.md', 'marks': 'TODO, FIXME, XXX'}")
    assert program.text.endswith(recipe_named("fix_todos").text)


def test_any_text_survives_as_a_parameter():
    old = "a'b\"c\\n{x}\n\té🎉 \u2028 %s"
    with pytest.raises(UsageProblem):
        recipe_named("replace_text").program({"old": "\x00", "new": ""})
    with pytest.raises(UsageProblem):
        recipe_named("replace_text").program({"old": old, "new": ""})  # a line separator cannot be shown
    old = old.replace("\u2028", "")
    text = recipe_named("replace_text").program({"old": old, "new": ""}).text
    assignment = ast.parse(text).body[0]
    assert isinstance(assignment, ast.AnnAssign)
    assert ast.literal_eval(assignment.value)["old"] == old
    assert text.split("\n")[0].isascii()


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"old": "a"}, "Recipe rename_symbol needs new."),
        ({"old": "a", "new": "b", "colour": "c"}, "Recipe rename_symbol has no parameter colour."),
        ({"old": "a", "new": "not a name"}, "new is no Python name."),
        ({"old": "class", "new": "b"}, "old is no Python name."),
        ({"old": "a", "new": "b", "path": "../x"}, "path is no path inside the project."),
    ],
)
def test_parameters_that_do_not_fit_are_refused_before_anything_runs(given, what):
    with pytest.raises(UsageProblem) as caught:
        recipe_named("rename_symbol").program(given)
    assert caught.value.what == what


async def test_a_recipe_gives_its_program_once():
    source = RecipeSource.named("fix_todos")
    program = await source.code_for("collect todos", (), None)
    assert program == recipe_named("fix_todos").program()
    assert source.label == program.label
    done = Step(1, Program("", ""), Finished(Run()))
    assert await source.code_for("collect todos", (done,), None) is None


# --- headers ---


def test_a_header_with_everything():
    found = read("['greet (?P<whom>\\w+)']", 'examples = ["greet Ann"]\n' + ONE_PARAMETER + '\nkind = "name"')
    assert (found.name, found.description, found.examples) == ("greet", "Says hello.", ("greet Ann",))
    assert found.parameters == (Parameter("whom", "whom to greet", ParameterKind.NAME, None),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("print(1)\n", "it does not open with a block from '# /// cairn-recipe' to '# ///'"),
        ("# /// cairn-recipe\n# name = 1\n", "it does not open with a block from '# /// cairn-recipe' to '# ///'"),
        ('# /// cairn-recipe\n# name = "a"\n# ///\n', "missing 'description'"),
        (recipe("['(']"), "missing ), unterminated subpattern at position 0"),
        (recipe("['(?P<who>x)']"), "a pattern names the parameter 'who', which is not declared"),
        (recipe("['@quoted']"), "@quoted wants a parameter's name, as in @quoted(old)"),
        (recipe("[]", '[[parameters]]\n        name = "a"\n        description = ""\n        kind = "number"'),
         "'number' is not a valid ParameterKind"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_recipe_says_why(text, reason):
    with pytest.raises(UsageProblem) as caught:
        read_recipe(text, "mine.py")
    assert (caught.value.what, caught.value.why) == ("mine.py is no recipe.", f"In its header: {reason}.")

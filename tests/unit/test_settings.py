"""Settings: layers in order, and a wrong one named with its file and its key."""

from __future__ import annotations

import tomllib

import pytest

from cairn.errors import UsageProblem
from cairn.program import Limits
from cairn.setting_rules import Name, Patterns, Real, Refused, Whole
from cairn.settings import Settings, commented_file


@pytest.fixture
def environ(tmp_path):
    return {"XDG_CONFIG_HOME": str(tmp_path / "config")}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def test_the_defaults_are_the_model_layers(root, environ):
    loaded = Settings.load(root, environ)

    assert loaded.limits.limits() == Limits()
    assert (loaded.model, loaded.text_model) == (None, None)


def test_each_layer_overrules_the_one_before_key_by_key(root, environ, tmp_path):
    (tmp_path / "config/cairn").mkdir(parents=True)
    (tmp_path / "config/cairn/settings.toml").write_text(
        'model = "user"\n[limits]\nsteps = 1\ncalls = 11\nrepairs = 1\n'
    )
    (root / "pyproject.toml").write_text('[tool.cairn]\nmodel = "pyproject"\n[tool.cairn.limits]\nsteps = 2\n')
    (root / "cairn.toml").write_text('model = "project"\n[limits]\nrepairs = 2\n')
    environ |= {"CAIRN_LIMITS_SECONDS": "7.5"}

    loaded = Settings.load(root, environ, {"limits.memory_mb": "64"})

    assert loaded.model == "project"
    assert loaded.limits.limits() == Limits(steps=2, calls=11, repairs=2, seconds=7.5, memory_mb=64)
    assert Settings.load(root, environ | {"CAIRN_MODEL": "env"}, {"model": "flag"}).model == "flag"


def test_an_unknown_setting_names_its_neighbour(root, environ):
    (root / "cairn.toml").write_text("[limits]\nsecond = 5\n")

    with pytest.raises(UsageProblem) as wrong:
        Settings.load(root, environ)

    assert str(wrong.value) == (
        f"There is no setting limits.second ({root}/cairn.toml).\n"
        "Known here: seconds, wall_seconds, memory_mb, recursion, calls, llm_calls, steps, repairs, output_chars,"
        " file_bytes.\n"
        "Did you mean seconds?"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[limits]\nseconds = -1\n", "The setting limits.seconds in FILE cannot be -1."),
        ("limits = 5\n", "The setting limits in FILE cannot be 5."),
        ('[limits]\nsteps = "many"\n', "The setting limits.steps in FILE cannot be 'many'."),
        ("[limits]\nseconds = nan\n", "The setting limits.seconds in FILE cannot be nan."),
        ('[accept]\nallow = ["a", "../b"]\n', "The setting accept.allow in FILE cannot be ['a', '../b']."),
        ("[accept]\nallow = [5]\n", "The setting accept.allow.0 in FILE cannot be 5."),
        ("[accept]\nallow = 5\n", "The setting accept.allow in FILE cannot be 5."),
        ("[limits]\nsteps = true\n", "The setting limits.steps in FILE cannot be True."),
        ("[limits]\nsteps = 2.5\n", "The setting limits.steps in FILE cannot be 2.5."),
        ("[limits]\nseconds = inf\n", "The setting limits.seconds in FILE cannot be inf."),
        ("[limits]\nseconds = 0\n", "The setting limits.seconds in FILE cannot be 0."),
        ("model = 5\n", "The setting model in FILE cannot be 5."),
        ("model = [\n", "FILE is not valid TOML."),
    ],
)
def test_a_wrong_value_names_the_file_and_the_key(root, environ, text, says):
    (root / "cairn.toml").write_text(text)

    with pytest.raises(UsageProblem) as wrong:
        Settings.load(root, environ)

    assert wrong.value.what == says.replace("FILE", f"{root}/cairn.toml")
    assert wrong.value.fix


def test_allowed_paths_are_patterns_and_a_variable_names_several(root, environ):
    (root / "cairn.toml").write_text('[accept]\nallow = ["conftest.py", "tests/**"]\n')

    assert Settings.load(root, environ).accept.allow == ("conftest.py", "tests/**")
    assert Settings.load(root, environ | {"CAIRN_ACCEPT_ALLOW": "a b/"}).accept.allow == ("a", "b/")


def test_settings_that_are_no_text_are_a_usage_problem(root, environ):
    (root / "cairn.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(UsageProblem, match="Cannot read the settings"):
        Settings.load(root, environ)


def test_a_broken_pyproject_without_our_table_is_not_ours_to_judge(root, environ):
    (root / "pyproject.toml").write_text("[project\n")

    assert Settings.load(root, environ) == Settings()


def test_the_commented_file_says_every_default_and_changes_nothing(root, environ):
    text = commented_file()

    assert Settings().overruled(tomllib.loads(text), "here") == Settings()
    uncommented = "\n".join(line.removeprefix("# ") if " = " in line else line for line in text.splitlines()[1:])
    assert Settings().overruled(tomllib.loads(uncommented), "here") == Settings()


@pytest.mark.parametrize(
    ("rule", "value", "wanted"),
    [
        (Whole(1, 1000), "1001", "a whole number from 1 to 1,000"),
        (Whole(1, 1000), "1e999", "a whole number from 1 to 1,000"),
        (Real(3600, positive=True), 0, "a number above 0 and at most 3,600"),
        (Real(600), "-0.1", "a number from 0 to 600"),
        (Name(), 5, "a text, in quotes"),
        (Patterns(), None, "a list of paths or globs"),
        (
            Patterns(),
            "/a",
            (
                "a list of paths or globs: '/a' leads out of the project; patterns are relative to its root and have no"
                " '..'"
            ),
        ),
    ],
)
def test_a_rule_says_what_it_takes(rule, value, wanted):
    with pytest.raises(Refused) as refused:
        rule.parse(value)

    assert (refused.value.wanted, refused.value.value) == (wanted, value)


def test_rules_take_texts_as_variables_have_them():
    parsed = [Whole(1, 9).parse("7"), Whole(1, 9).parse(7.0), Real(9).parse("1e-1"), Name().parse("")]

    assert [(value, type(value)) for value in parsed] == [(7, int), (7, int), (0.1, float), (None, type(None))]


def test_a_table_of_ours_that_is_none_names_its_file(root, environ):
    (root / "pyproject.toml").write_text("[tool]\ncairn = 5\n")

    with pytest.raises(UsageProblem) as wrong:
        Settings.load(root, environ)

    assert str(wrong.value) == (
        f"The setting tool.cairn in {root}/pyproject.toml cannot be 5.\n"
        "It should be a table: [tool.cairn].\n"
        f"Change tool.cairn in {root}/pyproject.toml."
    )

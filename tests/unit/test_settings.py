"""Settings: layers in order, and a wrong one named with its file and its key."""

from __future__ import annotations

import tomllib

import pytest

from cairn.errors import UsageProblem
from cairn.metering import Price, Prices
from cairn.policy import Action
from cairn.program import Limits
from cairn.setting_rules import Counts, Name, OrNone, Patterns, PriceTable, Real, Refused, Whole
from cairn.settings import BudgetSettings, EngineSettings, Settings, commented_file


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
        "Known here: seconds, total_seconds, wall_seconds, memory_mb, recursion, calls, calls_of, llm_calls,"
        " bytes_written, files_changed, steps, repairs, program_chars, nesting, output_chars, file_bytes, model_calls,"
        " input_tokens, output_tokens, money.\n"
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
        ("[limits]\nmoney = -1\n", "The setting limits.money in FILE cannot be -1."),
        ("[limits]\ncalls_of = 5\n", "The setting limits.calls_of in FILE cannot be 5."),
        ("[limits.calls_of]\nwrite_file = -1\n", "The setting limits.calls_of in FILE cannot be -1."),
        ('[limits]\ncalls_of = "write_file"\n', "The setting limits.calls_of in FILE cannot be ''."),
        ("[limits.calls_of]\nwrite_fil = 1\n", "The setting limits.calls_of in FILE cannot be {'write_fil': 1}."),
        ('[policy]\ndeny = ["write_fil"]\n', "The setting policy.deny.0 in FILE cannot be 'write_fil'."),
        (
            '[policy]\nask = ["log", "ask_llm(src/**)"]\n',
            "The setting policy.ask.1 in FILE cannot be 'ask_llm(src/**)'.",
        ),
        ("[policy]\nallow = [5]\n", "The setting policy.allow.0 in FILE cannot be 5."),
        ("[policy]\ndeny = 5\n", "The setting policy.deny in FILE cannot be 5."),
        ('[policy]\ndefault = "refuse"\n', "The setting policy.default in FILE cannot be 'refuse'."),
        ('[policy]\nonly = ["../x"]\n', "The setting policy.only in FILE cannot be ['../x']."),
        ("[budget]\ntasks_at_once = 0\n", "The setting budget.tasks_at_once in FILE cannot be 0."),
        ("prices = 5\n", "The setting prices in FILE cannot be 5."),
        ("[prices]\na = {input = 1}\n", "The setting prices in FILE cannot be {'input': 1}."),
        ("[prices.a]\ninput = -1\noutput = 1\n", "The setting prices in FILE cannot be -1."),
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


def test_a_table_is_overruled_name_by_name(root, environ):
    (root / "pyproject.toml").write_text(
        "[tool.cairn.limits.calls_of]\nwrite_file = 9\ndelete_file = 0\n"
        '[tool.cairn.prices]\n"gpt-*" = {input = 1, output = 2}\n'
    )
    (root / "cairn.toml").write_text(
        "[limits]\ncalls_of = {write_file = 5}\n[prices]\nmine = {input = 0, output = 0}\n"
    )

    loaded = Settings.load(root, environ, {"limits.calls_of.read_file": "7"})

    assert loaded.limits.calls_of == {"write_file": 5, "delete_file": 0, "read_file": 7}
    assert loaded.prices == Prices({"gpt-*": Price(1, 2), "mine": Price(0, 0)})
    environ["CAIRN_LIMITS_CALLS_OF"] = "write_file=1 ask_llm=2"
    assert Settings.load(root, environ).limits.calls_of == {"write_file": 1, "delete_file": 0, "ask_llm": 2}


def test_denials_and_questions_of_all_layers_add_up_and_the_rest_is_overruled(root, environ):
    (root / "pyproject.toml").write_text('[tool.cairn.policy]\ndeny = ["ask_llm"]\nask = ["*"]\nallow = ["read"]\n')
    (root / "cairn.toml").write_text('[policy]\ndeny = ["write(.env)", "ask_llm"]\nask = []\nallow = ["look"]\n')

    loaded = Settings.load(root, environ | {"CAIRN_POLICY_DEFAULT": "deny"}, {"policy.only": "a b/**\n"}).policy

    assert [str(rule) for rule in loaded.deny] == ["ask_llm", "write(.env)"]
    assert [str(rule) for rule in (*loaded.ask, *loaded.allow)] == ["*", "look"]
    assert (loaded.default, loaded.only) == (Action.DENY, ("a b/**",))


def test_a_misspelt_function_is_offered_the_nearest_one(root, environ):
    (root / "cairn.toml").write_text('[policy]\ndeny = ["Write(x)"]\n')

    with pytest.raises(UsageProblem) as wrong:
        Settings.load(root, environ)

    assert wrong.value.why == "It should be NAME or NAME(GLOB): there is no function 'Write'; did you mean write?"


def test_no_limit_of_money_is_an_empty_text(root, environ):
    (root / "cairn.toml").write_text("[limits]\nmoney = 5\n[budget]\ntokens_per_day = 1000\n")

    assert Settings.load(root, environ).limits.money == 5.0
    assert Settings.load(root, environ, {"limits.money": ""}).limits.money is None
    assert Settings.load(root, environ).budget == BudgetSettings(tokens_per_day=1000)


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
        (OrNone(Whole(0, 9)), "many", 'a whole number from 0 to 9, or "" for no limit'),
        (Counts(9), ["write_file"], "a table of names with a number each"),
        (PriceTable(), "1.25", 'a table such as {"gpt-5*" = {input = 1.25, output = 10}}'),
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


@pytest.mark.parametrize("name", ["url", "project", "remote", "objects", "cache"])
def test_no_project_says_where_a_persons_work_goes(root, environ, name):
    (root / "cairn.toml").write_text(f'[engine]\n{name} = "postgresql://elsewhere/cairn"\n')

    with pytest.raises(UsageProblem, match=rf"engine\.{name} .* is not a project's to set") as caught:
        Settings.load(root, environ)

    assert caught.value.why == "It decides where your work goes, and a project may come from anywhere."


def test_the_server_comes_from_a_persons_own_settings_or_the_environment(root, environ, tmp_path):
    (tmp_path / "config" / "cairn").mkdir(parents=True)
    (tmp_path / "config" / "cairn" / "settings.toml").write_text('[engine]\nurl = "postgresql://team/cairn"\n')
    (root / "cairn.toml").write_text("[engine]\nstarts_per_minute = 30\n")

    assert Settings.load(root, environ).engine == EngineSettings("postgresql://team/cairn", starts_per_minute=30)
    alone = Settings.load(root, environ | {"CAIRN_ENGINE_URL": "postgres://other/x"})
    assert alone.engine.url == "postgres://other/x"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://me:hunter2@host/x", "mysql:..."),
        ("host=db password=hunter2 dbname=cairn", "host=..."),
        ("db.example.org password hunter2", "db...."),
        ("postgres", "postgres"),
    ],
)
def test_a_wrong_url_of_the_server_is_told_without_its_password(root, environ, url, told):
    with pytest.raises(UsageProblem, match=r"engine\.url") as caught:
        Settings.load(root, environ | {"CAIRN_ENGINE_URL": url})

    assert "hunter2" not in caught.value.what + caught.value.why
    assert f"cannot be '{told}'." in caught.value.what

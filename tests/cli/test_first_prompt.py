"""`cairn run --dry-run` and `-f`: what a model would be told, without asking it."""

from __future__ import annotations

import json

import pytest

from cairn.external_functions import function_reference
from cairn.prompts import version

MODEL = {"CAIRN_MODEL": "gpt-4o", "OPENAI_API_KEY": "no-key", "LLM_LOAD_PLUGINS": ""}


@pytest.fixture
def settings(tmp_path):
    return {**MODEL, "LLM_USER_PATH": str(tmp_path / "llm")}


def test_a_dry_run_prints_the_rules_and_the_first_message_and_keeps_nothing(project, cairn, settings, tmp_path):
    (tmp_path / "outside.txt").write_text("from outside\n")

    screen = cairn("run", "mend it", "--dry-run", "-f", "README.md", "-f", str(tmp_path / "outside.txt"), env=settings)

    assert screen.code == 0
    assert screen.out.startswith("You change a source repository by writing small Python programs.")
    assert "Attached by the person: README.md\n~~~~\n# Sample" in screen.out
    assert "outside.txt\n~~~~\nfrom outside" in screen.out
    assert screen.out.endswith("The task, in the person's words:\n~~~~\nmend it\n~~~~\nWrite the first program.\n")
    assert f"tokens for gpt-4o, rules {version(function_reference())}; nothing was asked or kept." in screen.err
    assert json.loads(cairn("list", "--json").out)["tasks"] == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["collect all TODOs into TODO.md", "--dry-run"],
            "No model would be asked: the recipe fix_todos does this task.",
        ),
        (["collect all TODOs into TODO.md", "-f", "README.md"], "no model writes this task's program"),
    ],
)
def test_where_no_model_is_asked_there_is_no_prompt(project, cairn, arguments, says, tmp_path):
    screen = cairn("run", *arguments, env={"LLM_USER_PATH": str(tmp_path / "llm")})

    assert screen.code == 2
    assert says in screen.err


@pytest.mark.parametrize(("name", "says"), [("nope.txt", "There is no file nope.txt."), (".", "There is no file .")])
def test_a_file_that_cannot_be_attached_is_named(project, cairn, settings, name, says):
    screen = cairn("run", "mend it", "-f", name, env=settings)

    assert (screen.code, says in screen.err) == (2, True)
    assert json.loads(cairn("list", "--json").out)["tasks"] == []

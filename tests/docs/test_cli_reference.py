"""docs/cli.md has every command and every option as they are."""

from __future__ import annotations

import importlib
import keyword
import re

import click
import pytest

from cairn import errors
from cairn.cli import VERBS
from tests.docs.cli_reference import PAGE, contexts, page
from tests.docs.generated_blocks import ROOT

CONTEXTS = list(contexts())


def section(command_path):
    """What the page says under a command's heading."""
    found = re.search(rf"^## `{command_path}`\n(.*?)(?=^## )", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def test_the_page_is_what_the_commands_say():
    """`python -m tests.docs.cli_reference` writes it anew."""
    assert PAGE.read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("verb", VERBS)
def test_the_overview_says_of_a_verb_what_the_verb_says_of_itself(verb):
    command = importlib.import_module(f"cairn.commands.{verb}{'_' * keyword.iskeyword(verb)}").command

    assert (command.name, (command.help or "").partition("\n")[0]) == (verb, VERBS[verb])


def test_every_module_of_a_verb_is_a_verb():
    """The other way round: no command is left without its line in the overview."""
    modules = {path.stem.removesuffix("_") for path in (ROOT / "cairn/commands").glob("[a-z]*.py")}

    assert modules == set(VERBS)


@pytest.mark.parametrize("context", CONTEXTS, ids=lambda context: context.command_path)
def test_a_command_is_documented_with_all_its_options(context):
    text = section(context.command_path)
    options = [each for each in context.command.params if isinstance(each, click.Option)]

    missing = [name for each in options for name in each.opts if not re.search(rf"[`\s]{name}[`,\s]", text)]

    assert (bool(text), missing) == (True, [])


@pytest.mark.parametrize("context", CONTEXTS, ids=lambda context: context.command_path)
def test_every_command_and_option_says_what_it_is_for(context):
    options = [each for each in context.command.params if isinstance(each, click.Option)]

    assert (bool(context.command.help), [each.name for each in options if not each.help]) == (True, [])


def test_the_tree_of_errors_has_every_class_and_its_exit_code():
    """The page's exit codes are read from it."""
    kinds = {name: each for name, each in vars(errors).items() if isinstance(each, type)}
    tree = errors.__doc__ or ""
    told = dict(re.findall(r"(\w+) +exit (\d+)", tree))

    assert set(re.findall(r"^(?:[│ ]*[├└]── )?(\w+)(?=  |$)", tree, re.MULTILINE)) == set(kinds)
    assert told == {name: str(kinds[name].exit_code) for name in told}
    assert {int(code) for code in told.values()} == {kind.exit_code for kind in kinds.values()}

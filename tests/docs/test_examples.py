"""What the pages show can be typed: Python parses, commands and options exist, links and files are there.

Nothing is run here; the programs of docs/programs.md are, in test_programs_page.py.
"""

from __future__ import annotations

import ast
import re
import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from cairn.cli import cli
from cairn.errors import CairnError
from tests.docs.fenced_blocks import blocks
from tests.docs.generated_blocks import DOCS, ROOT

PAGES = [ROOT / "README.md", ROOT / "ROADMAP.md", *sorted(DOCS.rglob("*.md"))]
SHELLS = {"bash", "console", "sh"}
_LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Typed:
    """One `cairn` command as a page shows it."""

    place: str
    words: tuple[str, ...]


def typed(page: Path):
    """Every command of a page's shell blocks, and every one in its text that begins with `cairn`."""
    for block in blocks(page):
        if block.language in SHELLS:
            for number, line in enumerate(block.text.splitlines(), block.line + 1):
                yield from commands(f"{page.name}:{number}", line.removeprefix("$ "))
    for number, line in enumerate(without_blocks(page).splitlines(), 1):
        for code in re.findall(r"`([^`]+)`", line):
            if code.startswith("cairn ") and not line.startswith("#"):
                yield from commands(f"{page.name}:{number}", code)


def commands(place, line):
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if not set(word) <= set("|&;"):
            words.append(word)
            continue
        if words and Path(words[0]).name == "cairn":
            yield Typed(place, tuple("1" if word == "N" else word for word in words[1:]))  # N stands for a number
        words = []


def without_blocks(page):
    """The page's text, each line still at its place."""
    page_text = page.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```$", lambda block: "\n" * block[0].count("\n"), page_text, flags=re.MULTILINE | re.DOTALL)


def parse(words):
    """Reads the words as click does when the command is called, down to the last command; runs none."""
    context, rest = cli.make_context("cairn", list(words)), list(words)
    while isinstance(context.command, click.Group):
        rest = [*context._protected_args, *context.args]
        if not rest and context.command.invoke_without_command:
            return
        name, command, rest = context.command.resolve_command(context, rest)
        assert command is not None
        context = command.make_context(name, rest, parent=context)


def slug(heading):
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


COMMANDS = [each for page in PAGES if page.name != "ROADMAP.md" for each in typed(page)]  # it tells of what is to come
PYTHON = [
    (f"{page.name}:{block.line}", block.text) for page in PAGES for block in blocks(page) if block.language == "python"
]
LINKS = [(page, target) for page in PAGES for target in _LINK.findall(without_blocks(page)) if "://" not in target]


@pytest.mark.parametrize(("_place", "code"), PYTHON, ids=[place for place, _ in PYTHON])
def test_a_python_block_is_python(_place, code):
    assert ast.parse(code).body


@pytest.mark.parametrize("command", COMMANDS, ids=[each.place for each in COMMANDS])
def test_a_command_on_a_page_can_be_typed(command):
    with suppress(click.exceptions.Exit):  # --version is answered while it is read
        parse(command.words)


@pytest.mark.parametrize(
    "words", [["rum"], ["run", "--modle", "x", "task"], ["list", "--status", "open"], ["show", "a", "b"]]
)
def test_a_command_that_does_not_exist_would_be_found(words):
    with pytest.raises((click.ClickException, CairnError)):
        parse(words)


def test_the_main_pages_show_commands():
    """So that the test above never passes for want of any."""
    pages = {each.place.partition(":")[0] for each in COMMANDS}

    assert {"README.md", "quickstart.md", "programs.md"} <= pages


@pytest.mark.parametrize("command", COMMANDS, ids=[each.place for each in COMMANDS])
def test_the_examples_that_a_command_names_are_there(command):
    named = [word for word in command.words if word.startswith("examples/")]

    assert [word for word in named if not (ROOT / word).exists()] == []


@pytest.mark.parametrize(("page", "target"), LINKS, ids=[f"{page.name}->{target}" for page, target in LINKS])
def test_a_link_leads_to_a_file_and_to_a_heading_of_it(page, target):
    name, _, anchor = target.partition("#")
    file = (page.parent / name).resolve() if name else page
    headings = re.findall(r"^#+ (.*)$", without_blocks(file), re.MULTILINE) if anchor and file.exists() else []

    assert (file.exists(), not anchor or anchor in map(slug, headings)) == (True, True)

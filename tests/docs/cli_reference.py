"""Makes docs/cli.md, whole, from the commands: usage, help, options, exit codes, settings.

`python -m tests.docs.cli_reference` writes it anew.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator

import click

from cairn import errors
from cairn.cli import cli
from cairn.settings import PROJECT_FILE, commented_file
from tests.docs.generated_blocks import DOCS, ROOT

PAGE = DOCS / "cli.md"

_HEAD = """\
# Commands

This page is made from the commands themselves: `python -m tests.docs.cli_reference` writes it anew, and a test compares
it. Each command takes `-h` or `--help` and then says the same in a terminal.

Data goes to stdout, progress and notes to stderr. With `--json` a command prints one JSON object on stdout and nothing
else there. An id may be shortened to any prefix that no other task has, and left out where only one task can be meant;
what only looks takes the newest in review then.
"""

_EXITS = """\
## Exit codes

| code | when |
|---|---|
| 0 | done |
{rows}

An error says on stderr what happened, why, and what to do; with `--json` it is also on stdout, under `error`.
"""

_SETTINGS = """\
## Settings

`cairn init` writes this file as `{file}`. Each setting is looked for, in this order, in: the command line, a variable
such as `CAIRN_MODEL` or `CAIRN_LIMITS_SECONDS`, `{file}`, `[tool.cairn]` in `pyproject.toml`,
`cairn/settings.toml` in the folder that `XDG_CONFIG_HOME` names (`~/.config`).

```toml
{text}```

Further variables: `NO_COLOR` and `FORCE_COLOR` decide on colour. `CAIRN_PAGER` names the pager of `cairn diff`; else it
is git's. `CAIRN_CACHE` names the folder for the local model's weights; else it is `cairn` in the user's cache folder.
"""


def page() -> str:
    """The whole page."""
    sections = [_HEAD, *_commands(), _EXITS.format(rows="\n".join(_exit_rows()))]
    sections.append(_SETTINGS.format(file=PROJECT_FILE, text=commented_file()))
    return "\n".join(section.rstrip("\n") + "\n" for section in sections)


def contexts(parent: click.Context | None = None) -> Iterator[click.Context]:
    """Every command as click sees it when it is called; a group before what is in it."""
    if parent is None:
        parent = click.Context(cli, info_name="cairn")
        yield parent
    group = parent.command
    assert isinstance(group, click.Group)
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        assert command is not None
        context = click.Context(command, parent=parent, info_name=name)
        yield context
        if isinstance(command, click.Group):
            yield from contexts(context)


def _commands() -> Iterator[str]:
    for context in contexts():
        parts = [f"## `{context.command_path}`", f"```text\n{_usage(context)}\n```"]
        yield "\n\n".join([*parts, *_paragraphs(context.command.help or ""), *_options(context)])


def _usage(context: click.Context) -> str:
    return " ".join(["Usage:", context.command_path, *context.command.collect_usage_pieces(context)])


def _paragraphs(text: str) -> Iterator[str]:
    """A paragraph that click would not refill (its mark is \\b) is shown as it is."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        marked = paragraph.removeprefix("\b\n")
        if marked != paragraph:
            yield f"```text\n{inspect.cleandoc(marked)}\n```"
        else:
            yield textwrap.fill(_in_markdown(" ".join(paragraph.split())), 120, break_on_hyphens=False)


def _options(context: click.Context) -> Iterator[str]:
    options = [each for each in context.command.params if isinstance(each, click.Option)]
    records = [record for each in options if (record := each.get_help_record(context))]
    rows = [f"| `{_cell(term)}` | {_cell(_in_markdown(text))} |" for term, text in records]
    if rows:
        yield "\n".join(["| option | what it does |", "|---|---|", *rows])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _in_markdown(text: str) -> str:
    """Help is plain text; what Markdown would take for a tag or an emphasis is protected."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([*<])", r"\\\1", part) for part in parts)


def _exit_rows() -> Iterator[str]:
    """As the tree that opens errors.py tells it."""
    tree = re.findall(r"── \w+ +exit (\d+) *(.*)", errors.__doc__ or "")
    for code in sorted({int(code) for code, _ in tree}):
        yield f"| {code} | {'; '.join(text for each, text in tree if int(each) == code) or 'interrupted'} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")

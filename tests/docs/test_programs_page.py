"""docs/programs.md: what it says of programs is what the sandbox does."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from cairn import git_diff
from cairn.executor import AgentExecutor
from cairn.external_functions import create_external_functions
from cairn.journal import Journal
from cairn.overlay import AgentFSOverlay
from cairn.program import ExecutionResult, Finished, Limits, Problem, Program, Submission
from cairn.task_file import TaskFile
from tests.docs.fenced_blocks import blocks
from tests.docs.function_reference import PAGE, parts
from tests.docs.generated_blocks import rewritten

BLOCKS = list(blocks(PAGE))
PROJECT = {block.title: block.text for block in BLOCKS if block.title}
EXAMPLES = sorted({block.heading for block in BLOCKS if block.heading.startswith("Example: ")})
PRELUDE = """\
import json, re
from pathlib import Path
xs, text, items, path = [3, 1, 2], "a b", {"key": 1}, "README.md"
"""
INSTEAD = re.findall(
    r"^\| `([^`]+)` \| `([^`]+)` \|$", PAGE.read_text("utf-8").split("## The language")[1], re.MULTILINE
)


def test_the_generated_parts_are_those_of_the_code():
    """`python -m tests.docs.function_reference` writes them anew."""
    page = PAGE.read_text(encoding="utf-8")

    assert page == rewritten(page, parts())


@dataclass(frozen=True)
class Ran:
    problems: tuple[Problem, ...]
    result: ExecutionResult
    patch: str
    changed: tuple[str, ...]


async def run(folder, code) -> Ran:
    """Checks and runs a program over the page's project, in the real sandbox, over a real overlay."""
    root = folder / "project"
    for name, content in PROJECT.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")
    with TaskFile.create(folder / "task.db", base=root) as file:
        overlay, journal = AgentFSOverlay(file, root), Journal(file)
        journal.begin_step(1, Program(code, "example"))
        functions = create_external_functions(overlay, journal, None, Limits())
        async with AgentExecutor().session(functions) as session:
            problems = await session.check(code)
            result = await session.execute(code)
        changes = overlay.changes()
        return Ran(problems, result, git_diff.render(changes).decode(), changes.paths)


@pytest.mark.parametrize("heading", EXAMPLES)
async def test_an_example_prints_and_changes_what_the_page_shows(tmp_path, heading):
    program, printed, patch = (block.text for block in BLOCKS if block.heading == heading)

    ran = await run(tmp_path, program)

    assert (ran.problems, ran.result.run.output, ran.patch) == ((), printed, patch)
    assert isinstance(ran.result, Finished)
    assert ran.result.submission is not None
    assert ran.result.submission.changed_files == ran.changed


async def test_the_first_program_of_the_page_runs(tmp_path):
    program = next(block.text for block in BLOCKS if block.heading == "The shape")

    ran = await run(tmp_path, program)

    assert (ran.problems, ran.patch) == ((), "")
    assert isinstance(ran.result, Finished)
    assert ran.result.submission == Submission("There is a README already; nothing was changed.")


@pytest.mark.parametrize(("refused", "_instead"), INSTEAD)
async def test_a_line_that_the_page_calls_refused_is_refused_with_a_hint(tmp_path, refused, _instead):
    ran = await run(tmp_path, PRELUDE + refused + "\n")

    assert [(problem.line, bool(problem.hint)) for problem in ran.problems] == [(4, True)]


@pytest.mark.parametrize(("_refused", "instead"), INSTEAD)
async def test_a_line_that_the_page_offers_instead_runs(tmp_path, _refused, instead):
    ran = await run(tmp_path, PRELUDE + instead + "\n")

    assert (ran.problems, type(ran.result)) == ((), Finished)

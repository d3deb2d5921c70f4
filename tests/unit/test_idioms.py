"""Idioms that models write: each runs in the sandbox, or is refused before the run with a hint that says what to write.

`idioms.txt` holds them, one a paragraph, written from experience.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cairn.executor import AgentExecutor
from cairn.external_functions import create_external_functions
from cairn.journal import Journal
from cairn.overlay import AgentFSOverlay
from cairn.program import Finished, Limits, Problem, Program
from cairn.task_file import TaskFile

IDIOMS = tuple((Path(__file__).parent / "idioms.txt").read_text(encoding="utf-8").strip().split("\n\n"))
# What cannot be known before it runs: the error itself then says what to do.
ENDS_WITH_AN_ERROR = {'try: raise ValueError("x")\nexcept ValueError as e: raise RuntimeError("y") from e'}


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    (folder / "src").mkdir(parents=True)
    (folder / "a.txt").write_text("hello\nx\n")
    (folder / "data.json").write_text('{"k": 1}\n')
    (folder / "src" / "app.py").write_text('def hello():\n    """Hello."""\n    return 1\n')
    return folder


async def outcome(project: Path, number: int, idiom: str) -> tuple[tuple[Problem, ...], object]:
    with TaskFile.create(project.parent / f"{number}.db", base=project) as file:
        journal = Journal(file)
        functions = create_external_functions(AgentFSOverlay(file, project), journal, None, Limits())
        async with AgentExecutor().session(functions) as session:
            problems = await session.check(idiom)
            if problems:
                return problems, None
            journal.begin_step(1, Program(idiom, "idiom"))
            return (), await session.execute(idiom)


@pytest.mark.slow
async def test_every_idiom_runs_or_is_refused_with_a_hint(project, capsys):
    runs, hinted, lost = [], [], {}
    for number, idiom in enumerate(IDIOMS):
        problems, result = await outcome(project, number, idiom)
        if isinstance(result, Finished):
            runs.append(idiom)
        elif problems and all(problem.hint for problem in problems):
            hinted.append(idiom)
        elif idiom not in ENDS_WITH_AN_ERROR:
            lost[idiom] = [str(problem) for problem in problems] or getattr(result, "message", repr(result))

    with capsys.disabled():
        print(f"\n{len(IDIOMS)} idioms: {len(runs)} run, {len(hinted)} get a hint before they run, {len(lost)} neither")
    assert "\n".join(f"{idiom!r}: {why}" for idiom, why in lost.items()) == ""
    assert len(IDIOMS) >= 200
    assert len(runs) / len(IDIOMS) > 0.8

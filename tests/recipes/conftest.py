"""Programs run for real on a folder: Monty, an AgentFS file, the true external functions; changes written as accepted."""

from __future__ import annotations

import itertools
import shutil
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cairn.changes import ChangeSet, EntryKind
from cairn.executor import AgentExecutor
from cairn.external_functions import create_external_functions
from cairn.journal import Journal
from cairn.overlay import AgentFSOverlay
from cairn.program import ExecutionResult, Finished, Program, Submission
from cairn.recipe_source import recipe_named
from cairn.replay import replay
from cairn.task import CodeOrigin, Task
from cairn.task_file import TaskFile
from cairn.task_record import surroundings
from cairn.testing import Script

TASK = Task("bcdfgh", "a program", CodeOrigin("file", "program"), created_at=1_700_000_000.0)


@dataclass(frozen=True)
class Outcome:
    """What a run came to, before anything is written to the folder."""

    result: ExecutionResult
    changes: ChangeSet
    problems: tuple
    logged: list[str] = field(default_factory=list)

    @property
    def submission(self) -> Submission:
        assert isinstance(self.result, Finished), self.result
        assert self.result.submission is not None, "the program ended without submit_result"
        return self.result.submission

    @property
    def summary(self) -> str:
        return self.submission.summary


_CHECKED: dict[str, tuple[str, ...]] = {}


class Workshop:
    """Runs programs over a folder and writes what they changed, so that the next run sees it."""

    def __init__(self, root: Path, tasks: Path) -> None:
        self.root = root
        self._tasks = tasks
        self._numbers = itertools.count(1)

    async def recipe(self, name: str, *, model: Script | None = None, **parameters: str) -> Outcome:
        return await self.program(recipe_named(name).program(parameters), model=model)

    async def program(self, program: Program, *, model: Script | None = None) -> Outcome:
        """One run in a task of its own. What it claims must be what it changed, and its replay must do the same."""
        executor = AgentExecutor()
        with TaskFile.create(self._tasks / f"{next(self._numbers)}.db", base=self.root) as file:
            overlay = AgentFSOverlay(file, self.root)
            journal = Journal(file)
            functions = create_external_functions(overlay, journal, model.model() if model else None, executor.limits)
            seen = surroundings(file, TASK)
            async with executor.session(functions, now=seen.now, seed=seen.seed) as session:
                if program.text not in _CHECKED:  # the same text comes to the same, and takes half a second
                    _CHECKED[program.text] = await session.check(program.text)
                problems = _CHECKED[program.text]
                journal.begin_step(1, program)
                result = await session.execute(program.text, step=1)
                journal.end_step(1, result)
            logged = [call.arguments for call in journal.calls() if call.name == "log"]
            outcome = Outcome(result, overlay.changes(), problems, logged)
            again = await replay(TASK, file, executor.limits)
            assert (again.complete, again.changes) == (True, outcome.changes)
        assert outcome.problems == ()
        assert sorted(outcome.submission.changed_files) == sorted(outcome.changes.paths)
        self._accept(outcome.changes)
        return outcome

    def _accept(self, changes: ChangeSet) -> None:
        for change in changes:
            assert change.after is not None
            assert change.after.kind is EntryKind.FILE
            target = self.root / change.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(change.after.data)
            target.chmod(change.after.mode)

    def write(self, **files: str | bytes) -> None:
        """Files by name; `__` stands for a slash and the last `_` for the dot."""
        for name, content in files.items():
            self.put(".".join(name.replace("__", "/").rsplit("_", 1)), content)

    def put(self, path: str, content: str | bytes) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())

    def text(self, path: str) -> str:
        return (self.root / path).read_bytes().decode()


@pytest.fixture
def workshop(tmp_path) -> Workshop:
    """An empty project in which recipes can be run."""
    for folder in ("project", "tasks"):
        (tmp_path / folder).mkdir()
    return Workshop(tmp_path / "project", tmp_path / "tasks")


@pytest.fixture
def click_copy(workshop) -> Workshop:
    """A project that holds the click package as it is installed here."""
    installed = Path(sysconfig.get_path("purelib")) / "click"
    shutil.copytree(installed, workshop.root / "click", ignore=shutil.ignore_patterns("__pycache__"))
    return workshop

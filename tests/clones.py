"""Clones of one project that share a ledger and their tasks' files, each with its own working tree and `.cairn`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cairn.ledger_place import LedgerFile, LedgerPlace, LedgerServer
from cairn.orchestrator import Orchestrator
from cairn.plugins import code_source, text_model
from cairn.project import Project
from cairn.queue import TaskQueue
from cairn.run_parts import Parts
from cairn.settings import Settings
from cairn.task import CodeOrigin, Task, TaskStatus
from cairn.task_store import LocalTasks
from cairn.worker import Worker

LINES = "one\ntwo\nthree\nfour\nfive\n"
FILES = {"a.txt": LINES, "gone.txt": "gone\n", "deep/b.txt": LINES}
PROGRAM = """\
edit_file("a.txt", "one", "ONE")
delete_file("gone.txt")
write_file("new/c.txt", "new\\n")
submit_result("Changed.", ["a.txt", "gone.txt", "new/c.txt"])
"""
BEFORE = dict(FILES)
AFTER = {"a.txt": LINES.replace("one", "ONE"), "deep/b.txt": LINES, "new/c.txt": "new\n"}


def made(root: Path) -> Path:
    """A clone as it is before any task."""
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def at(root: Path, place: LedgerPlace, tasks: Path, *, shared: bool = True) -> Orchestrator:
    """What a command in that clone works with."""
    tasks.mkdir(exist_ok=True)
    project = Project(root)
    project.prepare()
    return Orchestrator(
        project, TaskQueue(place), Settings(), Parts(code_source, text_model), store=LocalTasks(tasks), shared=shared
    )


def in_review(orchestrator: Orchestrator, program: str = PROGRAM) -> Task:
    """A task that a real program did."""
    task = orchestrator.new_tasks.submit("change it", CodeOrigin("file", "p.py", program))
    review = asyncio.run(Worker(orchestrator).run_task(task.id))
    assert review.task.status is TaskStatus.IN_REVIEW, review.task.reason
    return review.task


def files(root: Path) -> dict[str, str]:
    """Every file outside of `.cairn`."""
    paths = (path for path in sorted(root.rglob("*")) if path.is_file() and ".cairn" not in path.parts)
    return {str(path.relative_to(root)): path.read_text() for path in paths}


def place_of(text: str) -> LedgerPlace:
    """A path, or a server's URL with the project behind a blank, as a child process is told."""
    url, _, project = text.partition(" ")
    return LedgerServer(url, project) if project else LedgerFile(Path(url))


def told(place: LedgerPlace) -> str:
    """The reverse of `place_of`."""
    return f"{place.url} {place.project}" if isinstance(place, LedgerServer) else str(place.path)


def held(orchestrator: Orchestrator) -> int:
    """How many tasks of the ledger are being accepted or taken back now."""
    return int(orchestrator.queue.database.execute("SELECT count(*) FROM acceptance").rows[0][0])


def accepts(orchestrator: Orchestrator, task: Task) -> int:
    """How often the ledger recorded that the task is accepted."""
    return sum(event.became is TaskStatus.ACCEPTED for event in orchestrator.queue.events(task.id))

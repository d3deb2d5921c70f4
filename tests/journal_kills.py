"""Kills a running task before and after every commit of its journal, each point once, and lets it go on.

Run as a process of its own, `python -m tests.journal_kills PROJECT [EVERY]`: it has one thread, so that it can fork a
child for each point. The child runs a task of about forty calls of every kind and kills itself with SIGKILL at its
point; a second child goes on as `cairn resume` would. Each question to a model is counted in a file that survives.
Prints one JSON object: what the undisturbed run came to, and what was different at any point.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pydantic_monty  # noqa: F401 - loaded before the forks, so that each child starts at once

from cairn import executor, local_model, memory_overlay  # noqa: F401
from cairn.code_generator import CodeGenerator
from cairn.external_functions import function_reference
from cairn.language_model import Completion
from cairn.orchestrator import Orchestrator
from cairn.program import CallRecord
from cairn.project import Project
from cairn.queue import TaskQueue
from cairn.run_parts import Parts
from cairn.settings import Settings
from cairn.task import CodeOrigin, TaskStatus
from cairn.task_file import TaskFile
from cairn.worker import Worker

COUNTER = "asked.txt"

ANSWERS = (
    # step 1: looks, writes and fails, with an error that the next step reads
    ("```python\n"
    "names = list_dir()\n"
    "texts = [read_file(name) for name in search_files('*.txt')]\n"
    "hits = search_content('line')\n"
    "for number, text in enumerate(texts):\n"
    "    write_file(f'made/{number}.txt', text.upper())\n"
    "edit_file('one.txt', 'line 1', 'LINE 1')\n"
    "move_file('two.txt', 'moved/two.txt')\n"
    "delete_file('three.txt')\n"
    "shape = outline('code.py')\n"
    "log('half way')\n"
    "try:\n    read_file('nope.txt')\nexcept FileNotFoundError as error:\n    said = str(error)\n"
    "first = ask_llm('one question')\n"
    "edit_file('one.txt', 'stands nowhere', '')\n"
    "```"),
    # an answer that is sent back, because its check fails
    "```python\nimport subprocess\n```",
    # step 2: file code as models write it, several questions at once, and the end
    ("```python\n"
    "import os, random\n"
    "from pathlib import Path\n"
    "with open('opened.txt', 'w') as out:\n    out.write(first)\n    out.write(said)\n"
    "Path('touched.bin').write_bytes(str(random.randint(0, 10**12)).encode())\n"
    "os.makedirs('deep/er', exist_ok=True)\n"
    "os.rename('opened.txt', 'deep/er/renamed.txt')\n"
    "more = ask_llm_many(['two', 'three', 'four'])\n"
    "Path('answers.txt').write_text('|'.join(more))\n"
    "for name in os.listdir('made'):\n    file_exists('made/' + name)\n"
    "changed = ['one.txt', 'two.txt', 'moved/two.txt', 'three.txt', 'deep/er/renamed.txt', 'touched.bin', 'answers.txt']\n"
    "submit_result('Did all of it.', changed + ['made/' + name for name in list_dir('made')])\n"
    "```"),
)  # fmt: skip


class Counted:
    """A model that writes down each question before it answers; programs come in the order of `ANSWERS`."""

    name = "counted"
    draft = False

    def __init__(self, folder: Path) -> None:
        self._file = folder / COUNTER

    async def complete(self, prompt: str, *, system: str = "", history: Any = (), on_text: Any = None) -> Completion:
        descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(descriptor, b"program\n" if history or "do it" in prompt else b"text\n")
        os.close(descriptor)
        if "submit_result" not in system:
            return Completion(f"answer to {prompt}", 1, 2, 0.0, self.name)
        turn = sum(1 for message in history if message.role == "assistant")
        if turn >= len(ANSWERS):
            raise RuntimeError(f"one program too many: {prompt}")
        return Completion(ANSWERS[turn], 10, 20, 0.0, self.name)


class Points:
    """Counts the commits and what follows each; kills the process at number `fatal`, counted from 1."""

    def __init__(self, fatal: int) -> None:
        self.count = 0
        self._fatal = fatal
        self._after = False

    def watch(self) -> None:
        connect = sqlite3.connect

        def watched(*arguments: Any, **options: Any) -> sqlite3.Connection:
            connection = connect(*arguments, **options)
            connection.set_trace_callback(self._statement)
            return connection

        sqlite3.connect = watched  # type: ignore[assignment]

    def _statement(self, text: str) -> None:
        if self._after or text == "COMMIT":
            self.count += 1
            if self.count == self._fatal:
                os.kill(os.getpid(), signal.SIGKILL)
        self._after = text == "COMMIT"


def desk(root: Path, counter: Path) -> Orchestrator:
    project = Project.find(root, exact=True)
    project.prepare()
    model = Counted(counter)
    parts = Parts(lambda _o, _s: CodeGenerator(model, function_reference()), lambda _o, _s: model)
    return Orchestrator(project, TaskQueue(project.state / "cairn.db"), Settings(), parts)


def run(root: Path, counter: Path) -> None:
    """Starts the task, or goes on with the one there is."""
    with desk(root, counter) as orchestrator:
        orchestrator.recovery.recover()
        known = orchestrator.queue.tasks()
        task = known[0] if known else None
        if task is None:
            task = orchestrator.queue.draft("do it", CodeOrigin("model", "counted"))
            # One id and one birth for every point, so that all of them see the same clock and chance.
            task = type(task)("bcdfgh", task.request, task.origin, created_at=1_700_000_000.0)
            orchestrator.queue.restore(task)
        if task.status is TaskStatus.QUEUED:
            asyncio.run(Worker(orchestrator).run_task(task.id))


def child(root: Path, counter: Path, fatal: int = 0) -> tuple[int, int]:
    """How a forked run ended, by signal or 0, and how many points it passed."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        code = 70
        try:
            points = Points(fatal)
            points.watch()
            run(root, counter)
            os.write(writing, str(points.count).encode())
            code = 0
        except BaseException as error:  # noqa: BLE001 - the parent tells
            os.write(writing, repr(error).encode()[:4000])
        finally:
            os._exit(code)
    os.close(writing)
    _, status = os.waitpid(process, 0)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read().decode()
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError(f"point {fatal}: {told}")
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, int(told or 0)


def state(root: Path, counter: Path) -> dict[str, Any]:
    """All that must be the same whatever happened on the way; a question under way at the kill costs what it costs."""
    with desk(root, counter) as orchestrator:
        task = orchestrator.task("bcdfgh")
        review = orchestrator.reviews.of(task)
        return {
            "status": str(task.status),
            "changes": review.changes.digest,
            "summary": review.submission.summary if review.submission else "",
            "steps": [[step.program.text, type(step.result).__name__, step.result.run.output] for step in review.steps],
            "calls": [[call.step, call.name, call.arguments, _timeless(call), call.error] for call in review.calls],
        }


def _timeless(call: CallRecord) -> str:
    """What a call returned; what it says of a file's time differs from run to run."""
    return "" if call.name in {"Path.stat", "Path.iterdir"} else call.result


def questions(counter: Path) -> int:
    """How many questions were sent to the model."""
    path = counter / COUNTER
    return len(path.read_text().splitlines()) if path.exists() else 0


def recorded(root: Path) -> int:
    """How many answers the journal has."""
    path = root / ".cairn" / "tasks" / "bcdfgh.db"
    if not path.exists():
        return 0
    with TaskFile.open(path) as file:
        (programs,), (texts,) = (
            file.rows("SELECT count(*) FROM cairn_message WHERE role = 'assistant'")[0],
            file.rows("SELECT count(*) FROM cairn_answer")[0],
        )
    return int(str(programs)) + int(str(texts))


def fresh(source: Path, folder: Path) -> tuple[Path, Path]:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder / "project")
    return folder / "project", folder


def main(source: Path, every: int) -> None:
    """Prints the outcome of the undisturbed run, the number of points, and each difference."""
    root, counter = fresh(source, source.parent / "undisturbed")
    _, points = child(root, counter)
    wanted, asked = state(root, counter), questions(counter)
    different: list[str] = []
    tried = 0
    for fatal in range(1, points + 1, every):
        root, counter = fresh(source, source.parent / "killed")
        ended, _ = child(root, counter, fatal)
        if ended != signal.SIGKILL:
            different.append(f"point {fatal}: was not killed")
        in_flight = questions(counter) - recorded(root)
        child(root, counter)
        tried += 1
        found = state(root, counter)
        different += [f"point {fatal}: {key}: {found[key]!r}"[:500] for key in wanted if found[key] != wanted[key]]
        if questions(counter) != asked + in_flight or in_flight > 3:
            different.append(f"point {fatal}: {questions(counter)} questions, {asked} wanted, {in_flight} in flight")
    print(json.dumps({"points": points, "tried": tried, "asked": asked, "calls": len(wanted["calls"]),
                      "status": wanted["status"], "different": different}))  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)

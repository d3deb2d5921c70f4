"""A program that waits can go on in another process; and nothing is left of one whose process was killed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

PRELUDE = """
import asyncio, os, sys
from datetime import UTC, datetime
from pathlib import Path
from cairn.executor import AgentExecutor
from cairn.journal import Journal
from cairn.overlay import AgentFSOverlay
from cairn.external_functions import create_external_functions
from cairn.language_model import Completion
from cairn.program import Limits, Program
from cairn.task_dumps import TaskDumps
from cairn.task_file import TaskFile
from cairn.worker_pool import WorkerPool

ROOT, LIMITS, NOW = Path(sys.argv[1]), Limits(seconds=20), datetime(2026, 1, 1, tzinfo=UTC)
CODE = '''
total = sum(range(1000))
write_file("a.txt", "one")
with open("b.txt", "w") as f:
    f.write("begun ")
    f.write(ask_llm("What next?"))
print("after", total)
submit_result("done", ["a.txt", "b.txt"])
'''

class Person(BaseException):
    pass

class Model:
    name, draft = "person", False
    def __init__(self, complete):
        self.complete = complete

def opened():
    path = ROOT.parent / "task.db"
    return TaskFile.open(path) if path.exists() else TaskFile.create(path, base=ROOT)

def parts(file, complete):
    overlay, journal = AgentFSOverlay(file, ROOT), Journal(file)
    return overlay, journal, create_external_functions(overlay, journal, Model(complete), LIMITS), TaskDumps(file, journal)
"""

ASK = """
async def main():
    with opened() as file:
        async def ask(question, *, system=""):
            raise Person(await session.keep())
        overlay, journal, functions, dumps = parts(file, ask)
        async with AgentExecutor(LIMITS).session(functions, now=NOW, seed=3, dumps=dumps) as session:
            journal.begin_step(1, Program(CODE, "test"))
            try:
                await session.execute(CODE, step=1)
            except Person as person:
                print("kept", person.args[0], len(journal.calls()))
asyncio.run(main())
"""

ANSWER = """
async def main():
    with opened() as file:
        overlay, journal, functions, dumps = parts(file, None)
        journal.step = 1
        key, dump = dumps.newest()
        print(dump.step, dump.call, journal.calls()[-1].name, journal.calls()[-1].error)
        def answer():
            journal.end_call(dump.call, "and finished")
            return "and finished"
        async with AgentExecutor(LIMITS).session(functions, now=NOW, seed=3, dumps=dumps) as session:
            result = await session.resume_from(key, answer)
        print(type(result).__name__, getattr(result, "detail", ""), result.run.output, functions.submission.summary if functions.submission else "")
        print(overlay.read("a.txt"), overlay.read("b.txt"), [call.name for call in journal.calls()], dumps.newest())
asyncio.run(main())
"""

WAIT = """
async def main():
    pool = WorkerPool(1)
    with opened() as file:
        async def ask(question, *, system=""):
            print("asked", flush=True)
            await asyncio.sleep(60)
        overlay, journal, functions, dumps = parts(file, ask)
        async with (AgentExecutor(LIMITS, pool=pool).session(functions, now=NOW, seed=3, dumps=dumps) as session,
                    AgentExecutor(LIMITS, pool=pool).session(functions) as other):
            journal.begin_step(1, Program(CODE, "test"))
            running = asyncio.create_task(session.execute(CODE, step=1))
            while dumps.newest() is None:
                await asyncio.sleep(0.01)
                if journal.calls() and journal.calls()[-1].name == "ask_llm" and pool.seated == 1:
                    worker = await other._ready()
            print(worker.pid, flush=True)
            await running
asyncio.run(main())
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def start(code: str, root: Path, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
    )


def finished(code: str, root: Path, **environ: str) -> list[str]:
    process = start(code, root, **environ)
    out, err = process.communicate(timeout=30)

    assert (process.returncode, err) == (0, "")
    return out.splitlines()


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_program_that_waits_for_a_person_goes_on_in_another_process(root):
    assert finished(ASK, root) == ["kept 1 3"]
    assert finished(ANSWER, root) == [
        "1 3 ask_llm did not finish",
        f"Finished  after {sum(range(1000))}",
        " done",
        "b'one' b'begun and finished' ['write_file', 'open', 'ask_llm', 'open().write', 'submit_result'] None",
    ]


def test_a_dump_that_came_with_a_project_is_not_used(root, tmp_path):
    """Who brings a `.cairn` along has another key, wherever the dump came from."""
    finished(ASK, root, XDG_STATE_HOME=str(tmp_path / "theirs"))
    lines = finished(ANSWER.replace('overlay.read("b.txt")', "0"), root, XDG_STATE_HOME=str(tmp_path / "mine"))

    assert lines[1].startswith(
        "Crashed the waiting program could not be taken up again: it was altered, or made by somebody else."
    )


def test_a_dump_that_was_altered_in_the_file_is_not_used(root, tmp_path):
    finished(ASK, root)
    with sqlite3.connect(tmp_path / "task.db") as file:
        file.execute("UPDATE cairn_dump SET data = cast(substr(data, 1, length(data) - 1) || x'00' AS BLOB)")
    file.close()

    assert finished(ANSWER.replace('overlay.read("b.txt")', "0"), root)[1].startswith("Crashed ")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a worker that computes ends at its own limit of time")
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_a_host_that_ends_with_a_parked_program_leaves_no_worker(root, ending):
    process = start(WAIT, root)
    assert process.stdout.readline() == "asked\n"
    worker = int(process.stdout.readline())
    process.send_signal(ending)
    process.communicate(timeout=30)
    end = time.monotonic() + 2
    while running(worker) and time.monotonic() < end:
        time.sleep(0.01)

    assert not running(worker)

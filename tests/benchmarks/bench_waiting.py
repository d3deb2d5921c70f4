"""What waiting costs: dumps and their return, a call that is awaited, and a thousand tasks at once. Run it by hand:

python -m tests.benchmarks.bench_waiting [TASKS]
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from cairn import sandbox_worker
from cairn.executor import AgentExecutor
from cairn.external_functions import create_external_functions
from cairn.journal import Journal
from cairn.language_model import Completion
from cairn.overlay import AgentFSOverlay
from cairn.program import Finished, Limits, Program
from cairn.task_dumps import TaskDumps
from cairn.task_file import TaskFile
from cairn.worker_pool import WorkerPool, shared_pool

LIMITS = Limits(wall_seconds=3600, llm_calls=100_000)
MEGABYTE = 2**20
STATES = {
    "tiny": "x = 1\n",
    "1,000 dicts": "x = [{'name': f'row {i}', 'size': i, 'tags': ['a', 'b']} for i in range(1_000)]\n",
    "a text of 1 MB": "x = read_file('random.txt')\n",
}
WAITING = """
text = read_file("src/app.py")
names = [path for path in list_dir("src")]
rows = [{"name": name, "lines": text.count("\\n")} for name in names]
write_file("notes.md", f"{len(rows)} files\\n")
answer = ask_llm("What should be said about this project?", text)
write_file("notes.md", f"{len(rows)} files\\n{answer}\\n")
submit_result("wrote the notes", ["notes.md"])
"""


class Model:
    """Answers when `released` is set; says how many wait."""

    name, draft = "a model that takes its time", False

    def __init__(self, released: asyncio.Event | None = None) -> None:
        self.released = released
        self.waiting = 0

    async def complete(self, question: str, *, system: str = "") -> Completion:
        self.waiting += 1
        if self.released is not None:
            await self.released.wait()
        return Completion("It is a small one.", 100, 10, 0.0, "a model")


@dataclass(slots=True)
class Memory:
    """Resident memory of this process and of its workers, in bytes, and how many of those there are."""

    host: int = 0
    workers: int = 0
    count: int = 0

    @classmethod
    def now(cls) -> Memory:
        pids = [worker.pid for worker in list(sandbox_worker._LIVE) if worker.alive]
        return cls(_resident(os.getpid()), sum(map(_resident, pids)), len(pids))


def _resident(pid: int) -> int:
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * resource.getpagesize()


def own(what: str) -> int:
    """How many descriptors ("fd") or threads ("task") this process has."""
    return len(list(Path("/proc/self", what).iterdir()))


def row(name: str, *figures: str) -> None:
    print(f"| {name} | {' | '.join(figures)} |")


def project(folder: str) -> Path:
    root = Path(folder, "project")
    (root / "src").mkdir(parents=True)
    for n in range(50):
        (root / f"src/file{n}.py").write_text("def f():\n    return 1\n" * 50)
    (root / "random.txt").write_text(os.urandom(500_000).hex())
    (root / "src/app.py").write_text("import sys\n" + "print(sys.argv)\n" * 100)
    return root


class Task:
    """A task's parts over a real file: overlay, journal, functions, dumps."""

    def __init__(self, path: Path, root: Path, model: Model) -> None:
        self.file = TaskFile.create(path, base=root)
        self.overlay = AgentFSOverlay(self.file, root)
        self.journal = Journal(self.file)
        self.functions = create_external_functions(self.overlay, self.journal, model, LIMITS)
        self.dumps = TaskDumps(self.file, self.journal)

    def session(self, pool: WorkerPool | None = None):
        return AgentExecutor(LIMITS, pool=pool).session(self.functions, dumps=self.dumps)


# ── one session, parked and taken up again ──


async def parking(folder: str, root: Path) -> None:
    print(f"\n| between programs, milliseconds | dump stored | parked | taken up again |\n|{'---|' * 4}")
    for name, code in STATES.items():
        pool, parked, taken, size = WorkerPool(1), [], [], 0
        task = Task(Path(folder, f"parking {name}.db"), root, Model())
        async with task.session(pool) as session:
            task.journal.begin_step(1, Program(code, "benchmark"))
            await session.execute(code)
            for _ in range(30):
                worker = await session._ready()
                await session._let_rest(worker)
                began = time.perf_counter()
                await pool.park(session._held)
                parked.append(time.perf_counter() - began)
                found = task.dumps.newest()
                size = len(found[1].data) if found else 0
                began = time.perf_counter()
                await session._ready()
                taken.append(time.perf_counter() - began)
        task.file.close()
        row(
            name,
            f"{size / 1000:,.1f} KB",
            *(f"{1e3 * min(each):.1f}, median {1e3 * statistics.median(each):.1f}" for each in (parked, taken)),
        )


# ── what a task alone pays ──


async def alone(folder: str, root: Path) -> None:
    print(f"\n| a call of a task alone, milliseconds | least | median |\n|{'---|' * 3}")
    programs = {
        "read_file, journaled": ("for i in range(500):\n    read_file('src/app.py')\n", 500),
        "ask_llm, journaled, a model that answers at once": ("for i in range(200):\n    ask_llm(f'q{i}')\n", 200),
    }
    for name, (code, times) in programs.items():
        task = Task(Path(folder, f"alone {times}.db"), root, Model())
        found = []
        async with task.session() as session:
            for step in range(1, 6):
                task.journal.begin_step(step, Program(code, "benchmark"))
                result = await session.execute(code.replace("q{i}", f"q{step} {{i}}"), step=step)
                assert isinstance(result, Finished), result
                found.append(result.run.seconds / times)
        task.file.close()
        row(name, f"{1e3 * min(found):.3f}", f"{1e3 * statistics.median(found):.3f}")


# ── very many ──


async def many(folder: str, root: Path, count: int) -> None:
    released, most = asyncio.Event(), Memory()
    model, pool = Model(released), shared_pool()
    gc.collect()
    empty = Memory.now()

    async def one(number: int) -> str:
        task = Task(Path(folder, f"{number}.db"), root, model)
        try:
            async with task.session() as session:
                task.journal.begin_step(1, Program(WAITING, "benchmark"))
                result = await session.execute(WAITING)
                return "Finished" if isinstance(result, Finished) else repr(result)
        finally:
            task.file.close()

    async def watch() -> None:
        while True:
            now = Memory.now()
            most.host, most.workers = max(most.host, now.host), max(most.workers, now.workers)
            most.count = max(most.count, now.count)
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    began, busy = time.perf_counter(), time.process_time()
    tasks = [asyncio.create_task(one(number)) for number in range(count)]
    while model.waiting < count:  # noqa: ASYNC110 - of many, nobody tells
        await asyncio.sleep(0.01)
    started, started_busy = time.perf_counter() - began, time.process_time() - busy
    await asyncio.sleep(0.2)
    waiting, files, threads = Memory.now(), own("fd"), own("task")
    released.set()
    began = time.perf_counter()
    ends = await asyncio.gather(*tasks)
    ended = time.perf_counter() - began
    watching.cancel()
    assert set(ends) == {"Finished"}, set(ends)
    print(f"\n| {count:,} tasks that wait at once, at most {pool.size} workers | |\n|---|---|")
    row("all started, until the last one waits", f"{started:.1f} s, of it {started_busy:.1f} s the host's own")
    row("all ended, from the answer on", f"{ended:.1f} s")
    row("workers while all wait; at most", f"{waiting.count}; {most.count}")
    row("threads of the host while all wait", f"{threads}")
    row("open files of the host while all wait", f"{files:,}")
    row(
        "memory while all wait: host, workers", f"{waiting.host / MEGABYTE:.0f} MB, {waiting.workers / MEGABYTE:.0f} MB"
    )
    row("memory at most: host, workers", f"{most.host / MEGABYTE:.0f} MB, {most.workers / MEGABYTE:.0f} MB")
    row("of the host, before the first task", f"{empty.host / MEGABYTE:.0f} MB")
    row("of the host, for each task that waits", f"{(waiting.host - empty.host) / count / 1000:.0f} KB")


async def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        root = project(folder)
        print(f"load average {os.getloadavg()[0]:.1f}")
        await alone(folder, root)
        await parking(folder, root)
        await many(folder, root, count)
        print(f"\nload average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    asyncio.run(main())

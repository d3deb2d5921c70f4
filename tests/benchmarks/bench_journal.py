"""What durability costs: a journaled call beside a bare one of the sandbox, and answering calls from the journal.

Run it by hand, on an idle machine: python -m tests.benchmarks.bench_journal. It prints a Markdown table.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import pydantic_monty

from cairn.executor import AgentExecutor
from cairn.external_functions import create_external_functions
from cairn.journal import Journal
from cairn.overlay import AgentFSOverlay
from cairn.program import Finished, Limits, Program
from cairn.replay import replay
from cairn.task import CodeOrigin, Task
from cairn.task_file import TaskFile
from cairn.task_record import surroundings
from tests.benchmarks.bench_start import PAGE

CALLS = 1_000
ROUNDS = 7
LIMITS = Limits(calls=1_000_000)
TASK = Task("bcdfgh", "a benchmark", CodeOrigin("file", "benchmark"), created_at=1_700_000_000.0)
NAMES = [f"file{number}.txt" for number in range(100)]

LOOPS = {
    "read_file, 4 KB": f"for n in range({CALLS}):\n    read_file(f'file{{n % 100}}.txt')\n",
    "write_file, 4 KB, new": f"page = read_file('file0.txt')\nfor n in range({CALLS}):\n    write_file(f'made{{n}}.txt', page)\n",
    "file_exists": f"for n in range({CALLS}):\n    file_exists('file0.txt')\n",
}


def bare(loop: str) -> float:
    """Seconds for each call of the same loop, answered by functions that do nothing."""
    answers = {"read_file": PAGE, "write_file": None, "file_exists": True}
    with (
        pydantic_monty.Monty(max_processes=1) as pool,
        pool.checkout(limits={"max_suspensions": 10_000_000}) as session,
    ):
        began = time.perf_counter()
        snapshot = session.feed_start(loop)
        while isinstance(snapshot, pydantic_monty.FunctionSnapshot):
            snapshot = snapshot.resume({"return_value": answers[snapshot.function_name]})
        return (time.perf_counter() - began) / CALLS


async def journaled(loop: str, folder: Path) -> tuple[float, float, float]:
    """Seconds for each call: live; answered from the journal, as a resumed task is; and replayed on a fresh overlay."""
    path = folder / f"{time.monotonic_ns()}.db"
    with TaskFile.create(path, base=folder / "project") as file:
        journal = Journal(file)
        program = Program(loop, "benchmark")
        live, result = await _run(file, journal, program, folder)
        resumed, _ = await _run(file, journal, program, folder)
        journal.end_step(1, result)
        began = time.perf_counter()
        await replay(TASK, file, LIMITS)
        return live, resumed, (time.perf_counter() - began) / CALLS


async def _run(file: TaskFile, journal: Journal, program: Program, folder: Path) -> tuple[float, Finished]:
    overlay = AgentFSOverlay(file, folder / "project")
    functions = create_external_functions(overlay, journal, None, LIMITS)
    seen = surroundings(file, TASK)
    async with AgentExecutor(LIMITS).session(functions, now=seen.now, seed=seen.seed) as session:
        assert await session.check(program.text) == ()
        journal.begin_step(1, program)
        began = time.perf_counter()
        result = await session.execute(program.text)
        taken = (time.perf_counter() - began) / CALLS
    assert isinstance(result, Finished), result
    return taken, result


def main() -> None:
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, load average {os.getloadavg()[0]:.1f}; milliseconds a call, median of {ROUNDS}\n"
    )
    print("| a call | bare | journaled | overhead | times | resumed, calls a second | replayed, calls a second |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "project").mkdir()
        for each in NAMES:
            (folder / "project" / each).write_text(PAGE)
        for label, loop in LOOPS.items():
            plain, rounds = [], []
            for _ in range(ROUNDS):  # turn by turn, so that a burst of load falls on both
                plain.append(bare(loop))
                rounds.append(asyncio.run(journaled(loop, folder)))
            _row(label, median(plain), *(median(column) for column in zip(*rounds, strict=True)))


def _row(label: str, plain: float, live: float, resumed: float, replayed: float) -> None:
    over, times = (live - plain) * 1e3, live / plain
    print(
        f"| {label} | {plain * 1e3:.3f} | {live * 1e3:.3f} | {over:.3f} | {times:.1f} |"
        f" {1 / resumed:,.0f} | {1 / replayed:,.0f} |"
    )


if __name__ == "__main__":
    main()

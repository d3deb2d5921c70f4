"""Figures of the sandbox on this machine: opening, checking, calling, stopping. Run it by hand:

python -m tests.benchmarks.bench_executor
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pydantic_monty

from cairn.executor import AgentExecutor
from cairn.external_functions import create_external_functions, type_stubs
from cairn.journal import Journal
from cairn.overlay import AgentFSOverlay
from cairn.program import Limits, Program
from cairn.task_file import TaskFile
from tests.unit.local_functions import LocalFunctions

CALLS = 2_000
LONG_PROGRAM = "".join(f"def f{n}(x: int) -> int:\n    total = x + {n}\n    return total * 2\n\n\n" for n in range(60))


def show(name: str, seconds: list[float], unit: float = 1e3, label: str = "ms") -> None:
    best, median = min(seconds) * unit, statistics.median(seconds) * unit
    print(f"{name:<58} {best:9.3f} {median:9.3f} {label}")


async def timed(times: int, action: Callable[[], object]) -> list[float]:
    found = []
    for _ in range(times):
        began = time.perf_counter()
        done = action()
        if asyncio.iscoroutine(done):
            await done
        found.append(time.perf_counter() - began)
    return found


async def opening() -> None:
    opened, first, second, closed = [], [], [], []
    for _ in range(30):
        began = time.perf_counter()
        manager = AgentExecutor().session(LocalFunctions())
        session = await manager.__aenter__()
        opened.append(time.perf_counter() - began)
        await session._ready()
        first.append(time.perf_counter() - began)
        began = time.perf_counter()
        await session.check("x = read_file('a.txt')\nprint(x)\n")
        second.append(time.perf_counter() - began)
        began = time.perf_counter()
        await manager.__aexit__(None, None, None)
        closed.append(time.perf_counter() - began)
    show("session: entered (the worker starts in the background)", opened)
    show("session: entered until ready, checker warm", first)
    show("session: first check, once ready", second)
    show("session: left", closed)
    executor = AgentExecutor()
    show("validate() by itself, real stubs", await timed(10, lambda: executor.validate("print(1)\n", type_stubs())))


async def checking() -> None:
    async with AgentExecutor().session(LocalFunctions()) as session:
        await session.check("x = 0")
        numbers = iter(range(1_000))
        show("check: 2 lines", await timed(30, lambda: session.check(f"x = {next(numbers)}\nprint(x)\n")))
        show("check: 300 lines", await timed(10, lambda: session.check(f"{LONG_PROGRAM}x = {next(numbers)}\n")))
        show("check and execute: 2 lines", await timed(30, lambda: session.execute(f"y = {next(numbers)}\nprint(y)\n")))


async def calling() -> None:
    code = f"for i in range({CALLS}):\n    read_file('a.txt')\n"
    limits = Limits(calls=100 * CALLS)
    bare, own = [], []
    async with AgentExecutor(limits).session(LocalFunctions()) as session:
        for _ in range(7):
            bare.append(bare_monty(code) / CALLS)
            own.append((await session.execute(code)).run.seconds / CALLS)
    show("call: bare Monty, feed_start and resume", bare, 1e6, "us")
    show("call: executor, a function that returns a text", own, 1e6, "us")
    async with AgentExecutor(limits).session(LocalFunctions()) as session:
        asked = [
            (await session.execute(f"for i in range(500):\n    ask_llm('q{n}')\n")).run.seconds / 500 for n in range(5)
        ]
    show("call: executor, an async function", asked, 1e6, "us")


def bare_monty(code: str) -> float:
    with pydantic_monty.Monty(max_processes=1) as pool, pool.checkout(limits={"max_suspensions": 10**6}) as session:
        began = time.perf_counter()
        snapshot = session.feed_start(code)
        while not isinstance(snapshot, pydantic_monty.MontyComplete):
            snapshot = snapshot.resume({"return_value": "one\ntwo\n"})
        return time.perf_counter() - began


async def working() -> None:
    """The whole way: sandbox, functions, journal, overlay on disk."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "project"
        root.mkdir()
        for number in range(500):
            (root / f"{number}.txt").write_text("one\ntwo\nthree\n" * 40)
        programs = {
            "read_file": "for i in range(500):\n    read_file(f'{i}.txt')\n",
            "write_file": "for i in range(500):\n    write_file(f'new{i}.txt', 'x' * 500)\n",
            "open().read()": "for i in range(500):\n    open(f'{i}.txt').read()\n",
            "open('w') with 5 writes": (
                "for i in range(100):\n    with open(f'w{i}.txt', 'w') as f:\n"
                "        for j in range(5):\n            f.write('line\\n')\n"
            ),
        }
        for name, code in programs.items():
            seconds = [await one_task(root, Path(folder) / f"{abs(hash(name))}{n}.db", code) for n in range(3)]
            show(f"{name}: journaled, over an overlay on disk", seconds, 1e3, "ms")


async def one_task(root: Path, path: Path, code: str) -> float:
    with TaskFile.create(path, base=root) as file:
        journal = Journal(file)
        journal.begin_step(1, Program(code, "benchmark"))
        functions = create_external_functions(AgentFSOverlay(file, root), journal, None, Limits())
        async with AgentExecutor().session(functions) as session:
            result = await session.execute(code)
    times = 100 if "range(100)" in code else 500
    return result.run.seconds / times


async def stopping() -> None:
    found = []
    for _ in range(10):
        async with AgentExecutor().session(LocalFunctions()) as session:
            await session._ready()
            running = asyncio.create_task(session.execute("while True: pass"))
            await asyncio.sleep(0.1)
            began = time.perf_counter()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            found.append(time.perf_counter() - began)
    show("cancelling a spinning program", found)


async def main() -> None:
    print(f"{'':<58} {'best':>9} {'median':>9}")
    for part in (opening, checking, calling, working, stopping):
        await part()


if __name__ == "__main__":
    asyncio.run(main())

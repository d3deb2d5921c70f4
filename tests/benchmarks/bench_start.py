"""What a person waits for: the command, a task's start, its calls; beside what the machine needs for comparable things.

Run it by hand, on an idle machine: python -m tests.benchmarks.bench_start. It prints a Markdown table, in milliseconds.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from statistics import median

from cairn.executor import AgentExecutor
from cairn.external_functions import create_external_functions
from cairn.journal import Journal
from cairn.overlay import AgentFSOverlay
from cairn.program import Limits, Program
from cairn.task_file import TaskFile

ROOT = Path(__file__).parents[2]
LINE = "value = compute(first, second)  # forty characters\n"
PAGE = (LINE * 100)[:4096].rpartition("\n")[0] + "\n"  # 4 KB of Python
CALLS = 500
ROUNDS = 15


def row(label: str, taken: list[float], wanted: str = "") -> None:
    """One line of the table: least and median of so many rounds, and what Cairn sets itself."""
    least, middle = min(taken) * 1000, median(taken) * 1000
    print(f"| {label} | {least:,.2f} | {middle:,.2f} | {wanted} |")


# ── processes ──


def process(*command: str, cwd: Path | None = None, code: int = 0) -> float:
    """Seconds of a process that must end with this exit code."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=environment, check=False, capture_output=True)
    taken = time.perf_counter() - began
    assert done.returncode == code, done.stderr.decode(errors="replace")
    return taken


def interleaved(commands: dict[str, tuple[tuple[str, ...], str]], cwd: Path) -> None:
    """Round by round, so that a burst of load on the machine falls on all of them alike."""
    taken: dict[str, list[float]] = {label: [] for label in commands}
    for _ in range(ROUNDS):
        for label, (command, _wanted) in commands.items():
            taken[label].append(process(*command, cwd=cwd))
    for label, (_command, wanted) in commands.items():
        row(label, taken[label], wanted)


def imported() -> list[float]:
    """`import cairn` by itself, timed inside a fresh interpreter."""
    code = "import time; began = time.perf_counter(); import cairn; print(time.perf_counter() - began)"
    return [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(ROUNDS)]


# ── projects ──


def lay_out(root: Path, files: int) -> list[str]:
    """A git repository of 4 KB files, 100 in a folder; says their paths."""
    paths = [f"src/pkg{number // 100}/module{number % 100}.py" for number in range(files)]
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"# {path}\n{PAGE}", encoding="utf-8")
    identity = ("-c", "user.name=Bench", "-c", "user.email=bench@example.org", "-c", "commit.gpgsign=false")
    for command in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-q", "-m", "all")):
        process("git", *command, cwd=root)
    return paths


def worktrees(root: Path, place: Path) -> Iterator[float]:
    for number in range(3):
        yield process("git", "worktree", "add", "--detach", str(place / f"tree{number}"), cwd=root)


# ── tasks ──


async def started(root: Path, path: Path, use: Callable[[float, object], Awaitable[None]]) -> None:
    """A task made and opened as `Orchestrator` does it; `use` gets the seconds until the session is entered."""
    began = time.perf_counter()
    with TaskFile.create(path, base=root) as file:
        journal = Journal(file)
        journal.begin_step(1, Program("", "benchmark"))
        functions = create_external_functions(AgentFSOverlay(file, root), journal, None, Limits())
        async with AgentExecutor().session(functions) as session:
            await use(time.perf_counter() - began, session)


async def starts(root: Path, place: Path, files: int) -> None:
    entered: list[float] = []
    checked: list[float] = []

    async def look(seconds: float, session: object) -> None:
        entered.append(seconds)
        began = time.perf_counter()
        await session.check("print(list_dir())\n")  # type: ignore[attr-defined]
        checked.append(seconds + time.perf_counter() - began)

    for number in range(ROUNDS):
        await started(root, place / f"start{files}-{number}.db", look)
    row(f"task start, {files:,} files: overlay and session open", entered, "10")
    row(f"task start, {files:,} files: until a first program is checked", checked)


async def calls(root: Path, place: Path, paths: list[str]) -> None:
    """From within a program, so with the way through the sandbox; each round a fresh task."""
    chosen = paths[:CALLS]
    programs = {
        "read_file": (f"for path in {chosen!r}:\n    read_file(path)\n", "0.5"),
        "write_file, new": (f"for n in range({CALLS}):\n    write_file(f'new/{{n}}.py', {PAGE!r})\n", "1"),
        "write_file, over a file of the project": (f"for path in {chosen!r}:\n    write_file(path, {PAGE!r})\n", "1"),
    }
    for label, (code, wanted) in programs.items():
        taken: list[float] = []

        async def run(_seconds: float, session: object, code: str = code, taken: list[float] = taken) -> None:
            result = await session.execute(code)  # type: ignore[attr-defined]
            taken.append(result.run.seconds / result.run.calls)

        for number in range(5):
            await started(root, place / f"{label.partition(',')[0]}-{len(label)}-{number}.db", run)
        row(f"{label}, a call, journal included", taken, wanted)


def main() -> None:
    """One table; smaller is better."""
    python = sys.executable
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, load before: {load}\n")
    print("| milliseconds | least | median | wanted |\n|---|---|---|---|")
    processes = {
        "`git --version`": (("git", "--version"), ""),
        "`python -c pass`": ((python, "-c", "pass"), ""),
        "`python -c 'import cairn'`": ((python, "-c", "import cairn"), ""),
        "`cairn --help`": ((python, "-m", "cairn", "--help"), "150"),
        "`cairn list`, no tasks": ((python, "-m", "cairn", "list"), ""),
    }
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        interleaved(processes, place)
        row("`import cairn`, inside Python", imported(), "60")
        small, large, huge = place / "small", place / "large", place / "huge"
        lay_out(small, 100)
        paths = lay_out(large, 10_000)
        lay_out(huge, 100_000)
        row("`git worktree add`, 10,000 files", list(worktrees(large, place)))
        row("`git worktree add`, 100,000 files", list(worktrees(huge, place / "of huge")))
        asyncio.run(starts(small, place, 100))
        asyncio.run(starts(large, place, 10_000))
        asyncio.run(starts(huge, place, 100_000))
        asyncio.run(calls(large, place, paths))
    print(f"\nLoad after: {', '.join(f'{each:.1f}' for each in os.getloadavg())}")


if __name__ == "__main__":
    main()

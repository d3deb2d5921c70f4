"""What judging a task costs: diff, accept, undo, and its room on disk; beside git and a plain copy of the same files.

Run it by hand, on an idle machine: python -m tests.benchmarks.bench_accept [diff|accept|room|ledger]. It prints Markdown
tables. Whatever is compared is repeated in turns, so that a burst of load falls on all of it alike.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from cairn import git_diff
from cairn.orchestrator import Orchestrator
from cairn.project import Project
from cairn.settings import Settings
from cairn.task import CodeOrigin, Outcome, Task, TaskStatus
from cairn.task_file import TaskFile
from cairn.task_owner import Owner
from cairn.worker import Worker
from tests.benchmarks.bench_start import LINE, process

FILES = 1_000
ROUNDS = 9
WARM_UP = 1  # rounds that are not counted
DAY = 86_400


# ── measuring ──


def timed(action: Callable[[], object]) -> float:
    """Seconds; what others have written before goes to the disk first."""
    os.sync()
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def in_turns(actions: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Every action once in each round, in order."""
    taken: dict[str, list[float]] = {label: [] for label in actions}
    for number in range(rounds + WARM_UP):
        for label, action in actions.items():
            seconds = timed(action)
            if number >= WARM_UP:
                taken[label].append(seconds)
    return taken


def table(title: str, beside: str, taken: Mapping[str, list[float]], wanted: Mapping[str, str]) -> None:
    """Least and median in milliseconds, each with its ratio to the row `beside`."""
    print(f"\n| {title} | least | ratio | median | ratio | wanted |\n|---|---|---|---|---|---|")
    for label, found in taken.items():
        cells = []
        for pick in (min, median):
            cells += [f"{pick(found) * 1000:,.1f}", f"{pick(found) / pick(taken[beside]):.2f}"]
        print(f"| {label} | {' | '.join(cells)} | {wanted.get(label, '')} |")


# ── tasks ──


def page(number: int, changed: bool = False) -> str:
    """4 KB of Python; one line in the middle and one near the end change."""
    lines = [LINE] * 80
    if changed:
        lines[40], lines[75] = f"value = compute(second, {number})\n", LINE + LINE
    return f"# module {number}\n" + "".join(lines)


def name(number: int) -> str:
    return f"src/pkg{number // 100}/module{number % 100}.py"


def lay_out(root: Path, count: int, *, changed: bool = False) -> list[str]:
    """A folder of so many files of 4 KB, 100 in a folder."""
    for number in range(count):
        path = root / name(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(number, changed), encoding="utf-8")
    return [name(number) for number in range(count)]


def program(kind: str, count: int) -> str:
    """What a task runs to change so many files."""
    texts = {name(number): page(number, changed=True) for number in range(count)}
    verbs = {
        "overwritten": "write_file(path, text)",
        "new": "write_file('new/' + path, text)",
        "deleted": "delete_file(path)",
    }
    # A program's length is bounded, so it makes the texts itself from those it finds.
    return (
        f"LINE = {LINE!r}\nPATHS = [f'src/pkg{{n // 100}}/module{{n % 100}}.py' for n in range({len(texts)})]\n"
        "for n, path in enumerate(PATHS):\n"
        "    lines = [LINE] * 80\n"
        "    lines[40] = f'value = compute(second, {n})\\n'\n"
        "    lines[75] = LINE + LINE\n"
        "    text = f'# module {n}\\n' + ''.join(lines)\n"
        f"    {verbs[kind]}\n"
        f"submit_result('done', ['new/src'] if {kind == 'new'} else ['src'])\n"
    )


@contextmanager
def desk(root: Path):  # type: ignore[no-untyped-def]
    """An orchestrator over the project."""
    with Orchestrator.open(Project.find(root, exact=True), Settings()) as orchestrator:
        yield orchestrator


def done(orchestrator: Orchestrator, code: str) -> Task:
    """A task that a real program did, in review."""
    task = orchestrator.new_tasks.submit("benchmark", CodeOrigin("file", "benchmark.py", code))
    review = asyncio.run(Worker(orchestrator).run_task(task.id))
    assert review.task.status is TaskStatus.IN_REVIEW, review.task.reason
    return review.task


# ── diff ──


def diff(place: Path) -> None:
    """A patch of 1,000 changed files, beside git on two folders that hold just these files."""
    before, after, root = place / "before", place / "after", place / "project"
    lay_out(before, FILES)
    lay_out(after, FILES, changed=True)
    lay_out(root, FILES)
    with desk(root) as orchestrator:
        task = done(orchestrator, program("overwritten", FILES))
        compared = {
            "`git diff --no-index`, the process": lambda: process(
                "git", "diff", "--no-index", "before", "after", cwd=place, code=1
            ),
            "changes read and rendered, within Python": lambda: git_diff.render(orchestrator.acceptable.changes(task)),
            "`cairn diff`, the process": lambda: process(
                sys.executable, "-m", "cairn", "--here", "diff", task.id, cwd=root
            ),
        }
        own = {"changes read and rendered, within Python": "1", "`cairn diff`, the process": "1"}
        table(f"diff of {FILES:,} changed files, milliseconds", next(iter(compared)), in_turns(compared), own)


# ── accept and undo ──


def copied(contents: Mapping[str, bytes], folder: Path) -> None:
    """What any program does that wants its copies on the disk: each file written and synced."""
    for path, data in contents.items():
        target = folder / path
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.write(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)


def folders(root: Path, paths: Mapping[str, bytes]) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)


def accepts(place: Path, kind: str) -> None:
    """Accept and undo of one kind of change, in turns with a copy of the same files."""
    root, copy = place / "project", place / "copy"
    lay_out(root, FILES)
    contents = {name(number): page(number, changed=True).encode() for number in range(FILES)}
    folders(copy, contents)
    before = snapshot(root)
    with desk(root) as orchestrator:
        task = done(orchestrator, program(kind, FILES))
        after = {
            "overwritten": contents,
            "new": before | {f"new/{path}": data for path, data in contents.items()},
            "deleted": {},
        }[kind]

        def fresh_copy() -> float:
            for path in contents:
                if kind != "overwritten":
                    (copy / path).unlink(missing_ok=True)
            return timed(lambda: copied(contents, copy))

        taken: dict[str, list[float]] = {"copy with fsync of the same files": [], "accept": [], "undo": []}
        for number in range(ROUNDS + WARM_UP):
            found = [
                fresh_copy(),
                timed(lambda: orchestrator.decisions.accept(orchestrator.task(task.id))),
                check(snapshot(root) == after),
                timed(lambda: orchestrator.decisions.undo(orchestrator.task(task.id))),
                check(snapshot(root) == before),
            ]
            if number >= WARM_UP:
                for label, seconds in zip(taken, (found[0], found[1], found[3]), strict=True):
                    taken[label].append(seconds)
    table(
        f"{FILES:,} files {kind}, milliseconds",
        "copy with fsync of the same files",
        taken,
        {"accept": "1.5", "undo": "1.5"},
    )


def check(holds: bool) -> float:
    assert holds, "the project is not what it should be"
    return 0.0


def snapshot(root: Path) -> dict[str, bytes]:
    """Every file outside .cairn."""
    found = {}
    for folder, names, files in os.walk(root):
        names[:] = [each for each in names if each != ".cairn"]
        for each in files:
            path = Path(folder, each)
            found[str(path.relative_to(root))] = path.read_bytes()
    return found


# ── room on disk ──


def room(root: Path) -> int:
    """Bytes that `.cairn` takes on the disk, blocks counted whole."""
    return sum(path.lstat().st_blocks * 512 for path in (root / ".cairn").rglob("*"))


def rooms(place: Path) -> None:
    """What one more task takes, run and then accepted, in a project that has had others."""
    print("\n| bytes on disk | in review | accepted | of it operations.db | wanted |\n|---|---|---|---|---|")
    for count in (1, 10, 100, 1_000):
        root = place / f"room{count}"
        lay_out(root, 1_001)
        with desk(root) as orchestrator:
            other = done(orchestrator, "write_file('other', 'x')\nsubmit_result('done', ['other'])\n")
            orchestrator.decisions.accept(other)
        start, log = room(root), (root / ".cairn/operations.db").stat().st_blocks * 512
        with desk(root) as orchestrator:
            task = done(orchestrator, program("overwritten", count))
        waiting = room(root) - start
        with desk(root) as orchestrator:
            orchestrator.decisions.accept(orchestrator.task(task.id))
        accepted, log = room(root) - start, (root / ".cairn/operations.db").stat().st_blocks * 512 - log
        label = f"a task that changed {count:,} file{'s' if count > 1 else ''} of 4 KB"
        print(f"| {label} | {waiting:,} | {accepted:,} | {log:,} | {'150,000' if count == 10 else ''} |")


# ── many tasks ──


@dataclass(frozen=True)
class _Many:
    count: int
    old: int


def ledger(place: Path) -> None:
    """Commands in a project of 1,000 tasks, half of them past their time."""
    root = place / "many"
    lay_out(root, 10)
    fill(root, _Many(1_000, 500))
    cairn = (sys.executable, "-m", "cairn", "--here")
    compared = {
        "`python -c pass`": lambda: process(sys.executable, "-c", "pass", cwd=root),
        "`cairn list`, 1,000 tasks": lambda: process(*cairn, "list", cwd=root),
        "`cairn list -n 1000`": lambda: process(*cairn, "list", "-n", "1000", cwd=root),
        "`cairn gc --dry-run`, 500 of 1,000 tasks": lambda: process(*cairn, "gc", "--dry-run", cwd=root),
    }
    taken = in_turns(compared)
    taken["`cairn gc`, 500 of 1,000 tasks"] = [timed(lambda: process(*cairn, "gc", cwd=root))]
    table("commands, milliseconds", "`python -c pass`", taken, {"`cairn list`, 1,000 tasks": "120 ms"})


def fill(root: Path, many: _Many) -> None:
    """Tasks as a ledger has them after months: with their files, rejected, the first ones long ago."""
    with desk(root) as orchestrator:
        queue = orchestrator.queue
        for number in range(many.count):
            now = time.time() - (90 * DAY if number < many.old else DAY)
            queue._clock = lambda now=now: now
            task = queue.claim(Owner.this_process(), queue.add(f"task {number}", CodeOrigin("file", "x.py", "")).id)
            assert task is not None
            with TaskFile.create(root / f".cairn/tasks/{task.id}.db", base=root):
                pass
            reviewed = queue.finish(task, TaskStatus.IN_REVIEW, outcome=Outcome(files_changed=1, lines_added=2))
            queue.move(reviewed, TaskStatus.REJECTED)


def main() -> None:
    """All tables, or those that are named."""
    parts = {
        "diff": diff,
        "accept": lambda place: [accepts(place / kind, kind) for kind in ("overwritten", "new", "deleted")],
        "room": rooms,
        "ledger": ledger,
    }
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, load before: {load()}")
    for part in sys.argv[1:] or parts:
        with tempfile.TemporaryDirectory() as folder:
            parts[part](Path(folder))
    print(f"\nLoad after: {load()}")


def load() -> str:
    return ", ".join(f"{each:.1f}" for each in os.getloadavg())


if __name__ == "__main__":
    main()

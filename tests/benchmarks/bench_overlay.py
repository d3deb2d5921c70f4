"""What a task's overlay costs on small and large projects. Run by hand: python tests/benchmarks/bench_overlay.py."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from cairn.overlay import AgentFSOverlay
from cairn.task_file import TaskFile

PAGE = (b"value = compute(first, second)  # forty characters\n" * 100)[:4096]
CALLS = 500


def timed(label: str, call: Callable[[int], Any], calls: int = CALLS) -> None:
    """Prints the least, the median and the 95th percentile in milliseconds."""
    taken = []
    for number in range(calls):
        began = time.perf_counter()
        call(number)
        taken.append((time.perf_counter() - began) * 1000)
    taken.sort()
    print(f"{label:<52} {taken[0]:9.3f} {median(taken):9.3f} {taken[int(len(taken) * 0.95)]:9.3f}")


def lay_out(root: Path, folders: int, files: int) -> list[str]:
    """A project of 4 KB files three folders deep; says their paths."""
    paths = [f"src/pkg{folder}/module{number}.py" for folder in range(folders) for number in range(files)]
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(PAGE)
    (root / ".gitignore").write_text("__pycache__/\n*.py[co]\nbuild/\n/dist/\n*.egg-info/\n.venv/\n*.log\n!keep.log\n")
    return paths


def start(place: Path, root: Path) -> Callable[[int], None]:
    """Makes a task's file and opens an overlay in it, each call another one."""

    def make(number: int) -> None:
        with TaskFile.create(place / f"{root.name}-{number}.db", base=root) as file:
            AgentFSOverlay(file, root).entry("src")

    return make


def measure(place: Path, folders: int) -> None:
    """One table for a project of so many folders of 100 files."""
    root = place / f"project{folders}"
    paths = lay_out(root, folders, 100)
    print(f"\n{f'{len(paths):,} files of 4 KB; milliseconds':<52} {'least':>9} {'median':>9} {'95 %':>9}")
    timed("task start: create, open, first look", start(place, root), 50)
    with TaskFile.create(place / f"task{folders}.db", base=root) as file:
        overlay = AgentFSOverlay(file, root)
        half = len(paths) // 2
        timed("entry", lambda n: overlay.entry(paths[n]))
        timed("read, first time (captured)", lambda n: overlay.read(paths[n]))
        timed("read again", lambda n: overlay.read(paths[n]))
        timed("write over a file that was read", lambda n: overlay.write(paths[n], PAGE))
        timed("write over a file never read", lambda n: overlay.write(paths[half + n], PAGE + b"#"))
        timed("write a new file", lambda n: overlay.write(f"new/n{n}", PAGE))
        timed("read what was written", lambda n: overlay.read(paths[n]))
        timed("read a missing file", lambda n: missing(overlay, n), 100)
        timed("list a folder of 100", lambda n: overlay.list_folder(f"src/pkg{n % folders}"), 50)
        timed("walk everything", lambda _: list(overlay.walk()), 5)
        timed("changes, 1,500 paths written", lambda _: overlay.changes(), 5)
        timed("stale", lambda _: overlay.stale(), 5)
        timed("shadowed", lambda _: overlay.shadowed(), 5)
        timed("delete a folder of 100", lambda n: overlay.delete(f"src/pkg{n + 2}"), 3)
        timed("move a folder of 100", lambda n: overlay.move(f"src/pkg{n + 6}", f"lib/pkg{n}"), 3)
        timed("write 10 MB", lambda n: overlay.write(f"big{n}", b"0123456789" * 1_000_000), 3)
        timed("read 10 MB", lambda n: overlay.read(f"big{n}"), 3)


def beside_ignored_files(place: Path) -> None:
    """10,000 files that git tracks, without and with an ignored folder of 300,000 beside them."""
    root = place / "project100"
    for command in (("init", "-q"), ("add", "-A")):
        subprocess.run(["git", *command], cwd=root, check=True)
    print(f"\n{'10,000 files in git; milliseconds':<52} {'least':>9} {'median':>9} {'95 %':>9}")

    def rows(label: str) -> None:
        timed(f"task start, {label}", start(place / label[:4], root), 20)
        with TaskFile.create(place / f"{label[:4]}.db", base=root) as file:
            overlay = AgentFSOverlay(file, root)
            timed(f"walk everything, {label}", lambda _: list(overlay.walk()), 20)
            timed(f"list the root, {label}", lambda _: overlay.list_folder("."), 20)

    for label in ("none", "300,", "one "):
        (place / label).mkdir()
    rows("none ignored")
    for folder in range(300):
        (root / f"build/{folder}").mkdir(parents=True)
        for number in range(1000):
            (root / f"build/{folder}/{number}").touch()
    rows("300,000 ignored")
    subprocess.run(["git", "add", "-f", "build/7/7"], cwd=root, check=True)
    rows("one of 300,000 tracked")


def missing(overlay: AgentFSOverlay, number: int) -> None:
    """A read that fails, with its message."""
    try:
        overlay.read(f"src/pkg0/modul{number}")
    except FileNotFoundError:
        return


def main() -> None:
    """Two projects; the first lines of both tables must be the same."""
    with tempfile.TemporaryDirectory() as place:
        for folders in (10, 100):
            measure(Path(place), folders)
        beside_ignored_files(Path(place))


if __name__ == "__main__":
    main()

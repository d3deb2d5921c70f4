"""What it costs that a task works on a commit: to make it, to publish it, and to have it checked out on a worker.

Run it by hand, on an idle machine: python -m tests.benchmarks.bench_bases. It prints Markdown tables, in milliseconds,
with what git needs for the most similar thing. All rows of a table are measured in turns.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from cairn.base_checkouts import BaseCheckouts
from cairn.base_remote import publish
from cairn.git_snapshot import snapshot
from cairn.task_base import Base
from tests.benchmarks.bench_accept import in_turns
from tests.benchmarks.bench_start import LINE

FILES = 10_000
DIRTY = 20  # files changed, and as many new
ROUNDS = 9


def git(folder: Path, *arguments: str) -> None:
    """Must succeed."""
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x", *arguments], cwd=folder, check=True)


def lay_out(root: Path, files: int = FILES) -> Path:
    """A repository of so many files of 2 KB, and one remote that has its branch."""
    for number in range(files):
        path = root / f"part{number % 100}" / f"file{number}.py"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(f"# {number}\n" + LINE * 40)
        os.utime(path, (1_700_000_000, 1_700_000_000))
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "all")
    git(root.parent, "clone", "-q", "--bare", str(root), "remote.git")
    git(root, "remote", "add", "origin", "../remote.git")
    return root


def make_dirty(root: Path, turn: int) -> None:
    """Another content each time, so that every snapshot is a new commit."""
    for number in range(DIRTY):
        (root / f"part{number}" / f"file{number}.py").write_text(f"# edited {turn}\n" + LINE * 40)
        (root / f"part{number}" / f"new{number}.py").write_text(f"# new {turn}\n" + LINE * 40)


def print_table(title: str, taken: dict[str, list[float]]) -> None:
    """Least and median of each row."""
    print(f"\n| {title} | least | median |\n|---|---|---|")
    for label, seconds in taken.items():
        print(f"| {label} | {min(seconds) * 1000:,.1f} | {median(seconds) * 1000:,.1f} |")


def snapshots(root: Path) -> None:
    """On the user's machine, when a task is added."""
    clean = {
        "`git status --porcelain`": lambda: subprocess.run(
            ["git", "status", "--porcelain"], cwd=root, capture_output=True
        ),
        "`snapshot`": lambda: snapshot(root),
        "`publish`, the remote has it": lambda: publish(root, base, "origin"),
    }
    base = snapshot(root)
    publish(root, base, "origin")
    print_table(f"{FILES:,} files, nothing uncommitted", in_turns(clean, ROUNDS))
    turns = iter(range(1_000_000))

    def stash() -> None:
        subprocess.run(["git", "stash", "create", "-q"], cwd=root, capture_output=True, check=True)

    def new_snapshot() -> None:
        make_dirty(root, next(turns))
        found[:] = [snapshot(root)]

    found: list[Base] = []
    make_dirty(root, next(turns))
    dirty = {
        "`git stash create`, which leaves out new files": stash,
        "`snapshot`, files just edited (which is timed too)": new_snapshot,
        "`snapshot` again": lambda: snapshot(root),
        "`publish`, a new commit": lambda: publish(root, found[0], "origin"),
        "`publish`, the remote has it": lambda: publish(root, found[0], "origin"),
    }
    print_table(f"{FILES:,} files, {DIRTY} edited and {DIRTY} new", in_turns(dirty, ROUNDS))


def checkouts(root: Path, home: Path) -> None:
    """On a worker, when it takes a task."""
    remote = str(root.parent / "remote.git")
    bases = []
    for turn in range(ROUNDS + 2):
        make_dirty(root, 10_000 + turn)
        bases.append(snapshot(root))
        publish(root, bases[-1], "origin")
    at = BaseCheckouts(home / "cache", remote, keep=10_000)
    with at.held(bases.pop()):
        pass
    known = bases[0]
    waiting = iter(bases)
    elsewhere = iter(range(1_000_000))

    def hold(base: Base, through: BaseCheckouts = at) -> None:
        with through.held(base):
            pass

    def first_of_all() -> None:
        shutil.rmtree(home / "other", ignore_errors=True)
        hold(known, BaseCheckouts(home / "other", remote))

    rows = {
        "`git worktree add`, in a clone": lambda: git(
            root, "worktree", "add", "-q", "--detach", str(home / f"worktree{next(elsewhere)}"), known.commit
        ),
        "a machine's first commit: mirror fetched and checked out": first_of_all,
        "each further commit: the difference fetched, a tree checked out": lambda: hold(next(waiting)),
        "a commit that is checked out, first task in a process": lambda: hold(
            known, BaseCheckouts(home / "cache", remote)
        ),
        "a commit that is checked out, each further task": lambda: hold(known),
    }
    print_table(f"{FILES:,} files, on a worker", in_turns(rows, ROUNDS))


def main() -> None:
    """All tables."""
    with tempfile.TemporaryDirectory(prefix="cairn-bench-") as folder:
        root = lay_out(Path(folder, "project"))
        print(f"Load average {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
        snapshots(root)
        checkouts(root, Path(folder))
        print(f"\nLoad average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()

"""Putting a task's files together for a command: overlayfs and a copy, beside `git worktree add` and `cp -r`, in one run.

Run it by hand, on an idle machine: python -m tests.benchmarks.bench_runtime. It prints a Markdown table, in milliseconds.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from cairn.changes import Content, EntryKind
from cairn.local_runtime import LocalRuntime, Surroundings, namespaces_work
from cairn.runtime import Layer, Sandbox

FILES = 10_000
ROUNDS = 7
LAYER = Layer(
    {f"src/pack_{number % 100}/file_{number}.py": Content(EntryKind.FILE, 0o644, b"x\n") for number in range(20)}
)


def made_project(root: Path) -> None:
    """So many files of 1 to 4 KB in a hundred folders, in a git repository."""
    for number in range(FILES):
        path = root / f"src/pack_{number % 100}/file_{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"value = {number}  # a line of some length\n" * (25 + number % 75))
    git = ["git", "-c", "user.name=b", "-c", "user.email=b@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *command], cwd=root, check=True)


def row(label: str, act: Callable[[], None], undo: Callable[[], None], wanted: str = "") -> None:
    """Least and median of so many rounds; what `undo` takes is not counted."""
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        act()
        taken.append((time.perf_counter() - began) * 1000)
        undo()
    print(f"| {label} | {min(taken):,.1f} | {median(taken):,.1f} | {wanted} |", flush=True)


def runtime_rows(root: Path, environ: dict[str, str]) -> None:
    """Made, then made and one command run in it."""
    for overlayfs, wanted in ((True, "under 50"), (False, "under 1,500")):
        surroundings = Surroundings(Sandbox.NAMESPACES, overlayfs=overlayfs)
        runtime = LocalRuntime(root, surroundings, environ)
        loop = asyncio.new_event_loop()

        def make(runtime: LocalRuntime = runtime, loop: asyncio.AbstractEventLoop = loop) -> None:
            loop.run_until_complete(runtime.initialize(LAYER))

        def run(runtime: LocalRuntime = runtime, loop: asyncio.AbstractEventLoop = loop) -> None:
            loop.run_until_complete(runtime.initialize(LAYER))
            done = loop.run_until_complete(runtime.execute("cat src/pack_0/file_0.py"))
            assert done.stdout == "x\n", done

        def end(runtime: LocalRuntime = runtime, loop: asyncio.AbstractEventLoop = loop) -> None:
            loop.run_until_complete(runtime.terminate())

        make()
        name = runtime.ground.layer
        end()
        row(f"materialised by {name}", make, end, wanted)
        row(f"materialised by {name}, and `cat` run in the sandbox", run, end)
        loop.close()


def main() -> None:
    """The whole table."""
    assert namespaces_work(), "this machine has no user namespaces"
    with tempfile.TemporaryDirectory(prefix="cairn-bench-") as folder:
        root, copy = Path(folder, "project"), Path(folder, "copy")
        root.mkdir()
        made_project(root)
        environ = {**os.environ, "XDG_CACHE_HOME": str(Path(folder, "cache"))}
        print(f"| {FILES:,} files, 20 of them changed by the task; ms | least | median | wanted |\n|---|---|---|---|")
        runtime_rows(root, environ)

        def git(*command: str) -> None:
            subprocess.run(["git", *command], cwd=root, check=True, capture_output=True)

        def remove() -> None:
            subprocess.run(["rm", "-rf", str(copy)], check=True)

        row(
            "`git worktree add`",
            lambda: git("worktree", "add", "--detach", str(copy)),
            lambda: git("worktree", "remove", "--force", str(copy)),
        )
        row("`cp -r`", lambda: subprocess.run(["cp", "-r", str(root), str(copy)], check=True) and None, remove)


if __name__ == "__main__":
    main()

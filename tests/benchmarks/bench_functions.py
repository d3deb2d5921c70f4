"""What one external call costs on the host, journal included. Run by hand: python tests/benchmarks/bench_functions.py."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from cairn.external_functions import create_external_functions
from cairn.journal import Journal
from cairn.overlay import AgentFSOverlay
from cairn.program import Limits
from cairn.task_file import TaskFile

CALLS = 500
LINE = "value = compute(first, second)  # forty characters\n"
PAGE = (LINE * 100)[:4096].rpartition("\n")[0] + "\n"  # 4 KB of Python


def timed(label: str, call: Callable[[int], Any], calls: int = CALLS) -> None:
    """Prints the least, the median and the 95th percentile in milliseconds."""
    taken = []
    for number in range(calls):
        began = time.perf_counter()
        call(number)
        taken.append((time.perf_counter() - began) * 1000)
    taken.sort()
    print(f"{label:<46} {taken[0]:8.3f} {median(taken):8.3f} {taken[int(len(taken) * 0.95)]:8.3f}")


def project(root: Path, folders: int, files: int) -> Iterator[str]:
    """Makes a project of 4 KB files; says their paths."""
    for folder in range(folders):
        (root / f"pkg{folder}").mkdir(parents=True)
        for number in range(files):
            path = f"pkg{folder}/module{number}.py"
            (root / path).write_text(f"# {path}\n{PAGE}")
            yield path


def main() -> None:
    """One table; each line is a fresh kind of call on a project of 10,000 files."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place, "project")
        paths = list(project(root, 100, 100))
        with TaskFile.create(Path(place, "task.db"), base=root) as file:
            overlay = AgentFSOverlay(file, root)
            functions = create_external_functions(overlay, Journal(file), None, Limits())

            def call(name: str, *args: Any, **kwargs: Any) -> Any:
                return functions.call(name, args, kwargs)

            print(f"{'10,000 files of 4 KB, milliseconds':<46} {'least':>8} {'median':>8} {'95 %':>8}")
            timed("read_file, first time", lambda n: call("read_file", paths[n]))
            timed("read_file, again", lambda n: call("read_file", paths[n]))
            timed("read_file, one line", lambda n: call("read_file", paths[n], 1, 1))
            timed("write_file, new .txt", lambda n: call("write_file", f"new/{n}.txt", f"{n}\n{PAGE}"))
            timed("write_file, new .py", lambda n: call("write_file", f"new/{n}.py", f"# {n}\n{PAGE}"))
            timed("write_file, .py of the project, never read", lambda n: call("write_file", paths[n + CALLS], PAGE))
            timed("write_file, .py written before", lambda n: call("write_file", paths[n + CALLS], f"# {n}\n{PAGE}"))
            timed("edit_file, .py", lambda n: call("edit_file", paths[n], f"# {paths[n]}\n", "# first\n"))
            timed("move_file", lambda n: call("move_file", f"new/{n}.txt", f"moved/{n}.txt"))
            timed("delete_file", lambda n: call("delete_file", f"new/{n}.py"))
            timed("file_exists", lambda n: call("file_exists", paths[n]))
            timed("list_dir, 100 names", lambda n: call("list_dir", f"pkg{50 + n % 50}"))
            timed("outline", lambda n: call("outline", paths[n]))
            timed("log", lambda n: call("log", f"{n}"))
            timed("a call that fails", lambda n: _failing(call, n))
            timed("files.read_bytes", lambda n: functions.files.read_bytes(paths[n + 2000]))
            timed("search_files, whole project", lambda _n: call("search_files", "**/*7.py"), 10)
            timed("search_content, whole project, no hit", lambda _n: call("search_content", "nothing"), 10)
            timed("search_content, one folder, 100 hits", lambda _n: call("search_content", "^# pkg", "pkg77"), 10)


def _failing(call: Callable[..., Any], number: int) -> None:
    try:
        call("read_file", f"none/{number}")
    except FileNotFoundError:
        return


if __name__ == "__main__":
    main()

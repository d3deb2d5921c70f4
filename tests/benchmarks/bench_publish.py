"""What it costs that tasks' files are on a server: an answer that was paid for, by the size of the task's file.

Run it by hand, on an idle machine: python -m tests.benchmarks.bench_publish. It prints a Markdown table, in
milliseconds. The server is a real Postgres on this machine, reached by a socket; the content is Cairn's own code.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

from cairn.journal import Journal, KeptAnswer
from cairn.shared_tasks import SharedTasks
from cairn.task_file import TaskFile
from cairn.task_store import LocalTasks
from cairn.task_store_contract import TASK
from tests.postgres_server import PostgresServer
from tests.shared_database import SharedLedger

SIZES = {"100 KB": 100_000, "1 MB": 1_000_000, "10 MB": 10_000_000}
ANSWERS = 30
ANSWER = "An answer of a model, as long as they are. " * 40
CODE = b"".join(path.read_bytes() for path in sorted(Path(__file__).parents[2].glob("cairn/*.py")))
CHUNK = 60_000


def fill(file: TaskFile, size: int) -> None:
    """As an overlay fills it: pieces of files, which the file does not deflate."""
    pieces = random.Random(1)
    with file.transaction():
        for number in range((size - 60_000) // CHUNK + (size < CHUNK)):
            start = pieces.randrange(len(CODE) - CHUNK)
            file.run("INSERT INTO fs_data VALUES (?, 0, ?)", number + 2, CODE[start : start + CHUNK])


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def answers(file: TaskFile) -> list[float]:
    journal = Journal(file)
    return [timed(lambda n=n: journal.keep_answer(KeptAnswer(f"q{n}", f"{ANSWER}{n}"))) for n in range(ANSWERS)]


def row(label: str, size: str, taken: list[float]) -> None:
    print(f"| {label} | {size} | {min(taken) * 1000:,.1f} | {median(taken) * 1000:,.1f} |")


def local(folder: Path, name: str, size: int) -> None:
    with LocalTasks(folder).writing(TASK, base=folder) as file:
        fill(file, size)
        row("an answer is on the disk, one machine", name, answers(file))
    LocalTasks(folder).remove(TASK.id)


def whole(ledger: SharedLedger, folder: Path, name: str, size: int) -> None:
    """The plain way, to compare with: all of it, deflated, at each answer."""
    database, taken = ledger.database(), []
    database.ensure("CREATE TABLE IF NOT EXISTS plain (id INTEGER PRIMARY KEY, data BLOB)")
    with TaskFile.create(folder / "whole.db", base=folder) as file:
        fill(file, size)
        for number in range(ANSWERS // 3):

            def publish(number: int = number) -> None:
                with file.transaction():
                    file.kv_set("answer", f"{ANSWER}{number}")
                put = "INSERT INTO plain VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET data = excluded.data"
                database.execute(put, (zlib.compress(file.image(), 1),))

            taken.append(timed(publish))
    (folder / "whole.db").unlink()
    row("an answer is on the server, the whole file each time", name, taken)


def shared(ledger: SharedLedger, folder: Path, name: str, size: int) -> None:
    task = ledger.has(replace(TASK, id=f"bcdfg{'hjk'[len(name) % 3]}"))
    here, elsewhere = (SharedTasks(ledger.database(), folder / each) for each in ("here", "elsewhere"))
    with here.writing(task, base=folder) as file:
        fill(file, size)
        row("the first publish", name, [timed(file.publish)])
        row("an answer is on the server", name, answers(file))
        row("nothing changed", name, [timed(file.publish) for _ in range(ANSWERS)])
    row("another machine reads it, fetched", name, [timed(lambda: elsewhere.reading(task.id).close())])
    row("again, not fetched", name, [timed(lambda: elsewhere.reading(task.id).close()) for _ in range(ANSWERS)])
    here.remove(task.id)
    elsewhere.remove(task.id)


def main() -> None:
    """One table; smaller is better."""
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, load before: {os.getloadavg()[0]:.1f}\n")
    print("| milliseconds | file | least | median |\n|---|---|---|---|")
    server = PostgresServer()
    try:
        with tempfile.TemporaryDirectory() as place:
            ledger = SharedLedger(server.new_database())
            for name, size in SIZES.items():
                local(Path(place), name, size)
                whole(ledger, Path(place), name, size)
                shared(ledger, Path(place), name, size)
            ledger.close()
    finally:
        server.remove()
    print(f"\nLoad after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()

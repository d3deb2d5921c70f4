"""What a task costs the ledger when 100 to 100,000 are there, in a file and on a server, in one run. By hand:

python -m tests.benchmarks.bench_growth [MOST]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from cairn.ledger_place import LedgerFile, LedgerPlace, LedgerServer
from cairn.queue import TaskQueue
from cairn.task import CodeOrigin, Outcome, TaskStatus
from cairn.task_owner import Owner
from cairn.wanted_tasks import Wanted
from tests.benchmarks.bench_queue import say, timed
from tests.postgres_server import PostgresServer

SIZES = (100, 1_000, 10_000, 100_000)
SAMPLES = 100
NOTHING = CodeOrigin("file", "nothing.py", "submit_result('nothing', [])\n")


def measured(queue: TaskQueue, size: int) -> None:
    """Adds what is missing to that many in bulk, half of them accepted long ago; then one task at a time."""
    there = len(queue.tasks())
    drafts = [queue.draft(f"task {number}", NOTHING) for number in range(there, size)]
    adding = timed(lambda: queue.put(drafts))
    me = Owner.this_process()
    moves = []
    for _ in range(SAMPLES // 2):
        begun = time.perf_counter()
        task = queue.claim(me)
        assert task is not None
        done = queue.finish(task, TaskStatus.IN_REVIEW, reason="", outcome=Outcome())
        queue.move(done, TaskStatus.ACCEPTED)
        moves.append(time.perf_counter() - begun)
    page = min(timed(lambda: queue.listed(Wanted(), limit=50)) for _ in range(5))
    counts = min(timed(lambda: queue.count_ready(10)) for _ in range(5))
    say(
        f"  {size:>7,} tasks",
        add_in_bulk=f"{adding / max(1, len(drafts)) * 1e6:,.0f} us each",
        claim_end_accept=f"{sorted(moves)[len(moves) // 2] * 1000:.2f} ms",
        newest_50=f"{page * 1000:.1f} ms",
        what_could_start=f"{counts * 1000:.2f} ms",
    )


def grown(name: str, place: LedgerPlace, most: int) -> None:
    print(name, flush=True)
    with TaskQueue(place) as queue:
        for size in SIZES:
            if size <= most:
                measured(queue, size)


def main() -> None:
    """Prints both."""
    most = int(sys.argv[1]) if len(sys.argv) > 1 else SIZES[-1]
    server = PostgresServer(durable=True)
    try:
        with tempfile.TemporaryDirectory(prefix="cairn-bench-") as folder:
            grown("a file", LedgerFile(Path(folder, "cairn.db")), most)
        grown("a server, each commit on the disk", LedgerServer(server.new_database(), "bench"), most)
    finally:
        server.remove()


if __name__ == "__main__":
    main()

"""Cairn's queue beside a bare SQLite queue and huey, in one run. Run it by hand; it takes about two minutes:

python -m tests.benchmarks.bench_queue [TASKS] [--ledger]
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cairn.ledger_place import LedgerFile, LedgerPlace, LedgerServer
from cairn.ledger_watch import LedgerWatch
from cairn.orchestrator import Orchestrator
from cairn.project import Project
from cairn.queue import TaskQueue
from cairn.settings import Settings
from cairn.task import CodeOrigin, Outcome, Task, TaskStatus
from cairn.task_owner import Owner
from cairn.wanted_tasks import Wanted
from cairn.worker import Worker
from tests.postgres_server import PostgresServer

WORKERS = 4
SAMPLES = 60
NOTHING = CodeOrigin("file", "nothing.py", "submit_result('nothing', [])\n")
IDLE_SECONDS = 8.0
SETTLING_SECONDS = 4.0


def say(name: str, **figures: object) -> None:
    shown = "  ".join(f"{key.replace('_', ' ')} {value}" for key, value in figures.items())
    print(f"{name:44}{shown}", flush=True)


def percentiles(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    return f"{statistics.median(ordered) * 1000:.1f} / {ordered[int(0.95 * (len(ordered) - 1))] * 1000:.1f} ms"


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def family_of(pid: int) -> set[int]:
    """A process and all that came of it and lives."""
    told = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    parents = [tuple(map(int, line.split())) for line in told.stdout.splitlines()]
    family = {pid}
    while more := {child for child, parent in parents if parent in family} - family:
        family |= more
    return family


def spent_seconds(pid: int) -> float:
    """Of a process and all that came of it, those that ended included, in hundredths of a second (proc(5))."""
    ticks = 0
    for each in family_of(pid):
        with suppress(OSError):
            ticks += sum(map(int, Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def processor_seconds(pid: int) -> float:
    """Of a process and all that came of it and lives, as the scheduler counted them: for what takes next to nothing."""
    nanoseconds = 0
    for each in family_of(pid):
        with suppress(OSError):
            for thread in Path(f"/proc/{each}/task").iterdir():
                nanoseconds += int((thread / "schedstat").read_text().split()[0])
    return nanoseconds / 1e9


# ── a bare queue ──

BARE = (
    "CREATE TABLE job (id INTEGER PRIMARY KEY, state TEXT NOT NULL, at REAL); CREATE INDEX by_state ON job (state, id)"
)
TAKE = "UPDATE job SET state='running', at=? WHERE id=(SELECT id FROM job WHERE state='queued' LIMIT 1) RETURNING id"


def bare(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, timeout=10)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    return db


def bench_bare(folder: Path, tasks: int) -> None:
    path = folder / "bare.db"
    db = bare(path)
    db.executescript(BARE)
    enqueue = timed(lambda: [db.execute("INSERT INTO job (state) VALUES ('queued')") for _ in range(tasks)])

    def take_all() -> None:
        mine = bare(path)
        while row := mine.execute(TAKE, (time.time(),)).fetchone():
            mine.execute("UPDATE job SET state = 'done' WHERE id = ?", row)
        mine.close()

    threads = [threading.Thread(target=take_all) for _ in range(WORKERS)]
    run = timed(lambda: ([thread.start() for thread in threads], [thread.join() for thread in threads]))
    say("bare SQLite, 4 threads", enqueue_a_second=f"{tasks / enqueue:,.0f}", run_a_second=f"{tasks / run:,.0f}")
    ends = threading.Event()

    def poll() -> None:
        mine = bare(path)
        while not ends.wait(0.01):
            if row := mine.execute(TAKE, (time.time(),)).fetchone():
                mine.execute("UPDATE job SET state = 'done' WHERE id = ?", row)
        mine.close()

    poller = threading.Thread(target=poll)
    poller.start()
    waited = []
    for _ in range(SAMPLES):
        asked = time.time()
        number = db.execute("INSERT INTO job (state) VALUES ('queued')").lastrowid
        while db.execute("SELECT state FROM job WHERE id = ?", (number,)).fetchone() != ("done",):
            time.sleep(0.002)
        waited.append(db.execute("SELECT at FROM job WHERE id = ?", (number,)).fetchone()[0] - asked)
    ends.set()
    poller.join()
    db.close()
    say("bare SQLite, polled every 10 ms", start=percentiles(waited))


# ── huey ──


def bench_huey(folder: Path, tasks: int) -> None:
    from huey import SqliteHuey

    logging.getLogger("huey").setLevel(logging.ERROR)
    huey = SqliteHuey("bench", filename=str(folder / "huey.db"), results=False)
    started: list[float] = []

    @huey.task()
    def nothing() -> None:
        started.append(time.time())

    enqueue = timed(lambda: [nothing() for _ in range(tasks)])
    consumer = huey.create_consumer(workers=WORKERS, worker_type="thread", initial_delay=0.01, max_delay=0.01)
    consumer.start()

    def all_run() -> None:
        while len(started) < tasks:
            time.sleep(0.005)

    say("huey, 4 threads", enqueue_a_second=f"{tasks / enqueue:,.0f}", run_a_second=f"{tasks / timed(all_run):,.0f}")
    waited = []
    for count in range(SAMPLES):
        asked = time.time()
        nothing()
        while len(started) <= tasks + count:
            time.sleep(0.002)
        waited.append(started[-1] - asked)
    say("huey, polled every 10 ms", start=percentiles(waited))
    consumer.stop(graceful=True)


# ── Cairn ──

CLAIMS_ALL = """
import pickle, sys
from cairn.queue import TaskQueue
from cairn.task_owner import Owner
from cairn.task import Outcome, TaskStatus
with TaskQueue(pickle.loads(bytes.fromhex(sys.argv[1]))) as queue:
    print("ready", flush=True)
    sys.stdin.readline()
    while task := queue.claim(Owner.this_process()):
        queue.move(queue.finish(task, TaskStatus.IN_REVIEW, outcome=Outcome()), TaskStatus.ACCEPTED)
"""


def bench_ledger(name: str, place: LedgerPlace, tasks: int) -> None:
    """What the queue costs by itself: the same moves as a real task makes, each with its event, and no sandbox."""
    with TaskQueue(place) as queue:
        enqueue = timed(lambda: [queue.add("nothing", NOTHING) for _ in range(tasks)])
        me = Owner.this_process()
        claimed: list[Task] = []
        claim = timed(lambda: claimed.extend(task for _ in range(tasks // 2) if (task := queue.claim(me))))
        beat = timed(lambda: [queue.heartbeat(task, me) for task in claimed])
        finish = timed(lambda: [queue.finish(task, TaskStatus.IN_REVIEW, outcome=Outcome()) for task in claimed])
        figures = {"enqueue": enqueue / tasks, "claim": claim / len(claimed), "beat": beat / len(claimed)}
        figures["finish"] = finish / len(claimed)
        say(f"{name}, one process", **{f"{each}_a_second": f"{1 / took:,.0f}" for each, took in figures.items()})
        queue.put([queue.draft("nothing", NOTHING) for _ in range(tasks // 2)])
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", CLAIMS_ALL, pickle.dumps(place).hex()],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for _ in range(WORKERS)
        ]  # fmt: skip
        for process in processes:
            process.stdout.readline()
        begun = time.perf_counter()
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.close()
        for process in processes:
            process.wait()
        run = time.perf_counter() - begun
        done = len(queue.tasks([TaskStatus.ACCEPTED]))
        assert done == tasks // 2 * 2
        say(f"{name}, {WORKERS} processes", claim_finish_accept_a_second=f"{done / run:,.0f}")
        bulk = timed(lambda: queue.put([queue.draft("nothing", NOTHING) for _ in range(10_000)]))
        claim = timed(lambda: queue.claim(me))
        say(f"{name}, 10,000 more in one transaction", seconds=f"{bulk:.2f}", then_one_claim=f"{claim * 1000:.2f} ms")
        every = min(timed(lambda: queue.listed(Wanted(), limit=10_000)) for _ in range(3))
        some = min(timed(lambda: queue.listed(Wanted(), limit=50)) for _ in range(3))
        say(f"{name}, list", of_10_000=f"{every * 1000:,.0f} ms", of_the_newest_50=f"{some * 1000:.1f} ms")
    woken: list[float] = []
    with TaskQueue(place) as queue, LedgerWatch(place) as watch:
        for _ in range(SAMPLES):
            begun = time.perf_counter()
            queue.add("nothing", NOTHING)
            watch.wait(5)
            woken.append(time.perf_counter() - begun)
    say(f"{name}, an add and its notice", took=percentiles(woken))


def bench_server(tasks: int) -> None:
    """The same on a server of this machine, which waits for the disk at each commit, and does not."""
    for durable in (True, False):
        server = PostgresServer(durable=durable)
        try:
            name = "ledger, Postgres" if durable else "ledger, Postgres without fsync"
            bench_ledger(name, LedgerServer(server.new_database(), "bench"), tasks)
        finally:
            server.remove()


def project(folder: Path) -> Orchestrator:
    folder.mkdir()
    (folder / "README.md").write_text("a project\n")
    return Orchestrator.open(Project.find(folder, exact=True), Settings())


def bench_work(folder: Path, tasks: int) -> None:
    """Real tasks: a sandbox of its own for each, a task's file, a review."""
    with project(folder / "work") as orchestrator:
        command = [sys.executable, "-m", "cairn", "-C", str(folder / "work"), "work", "-j", str(WORKERS)]
        crew = subprocess.Popen([*command, "--forever"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        waited = []
        for _ in range(SAMPLES):
            asked = time.time()
            task = orchestrator.new_tasks.submit("nothing", NOTHING)
            while orchestrator.task(task.id).status is not TaskStatus.ACCEPTED:
                time.sleep(0.01)
            waited.append(orchestrator.queue.events(task.id)[1].at - asked)
        time.sleep(SETTLING_SECONDS)  # on a slow machine workers are still being started
        before = processor_seconds(crew.pid)
        time.sleep(IDLE_SECONDS)
        idle = (processor_seconds(crew.pid) - before) / IDLE_SECONDS
        say("cairn work, 4 workers", start=percentiles(waited), idle=f"{idle:.2%} of a core")
        drafts = [orchestrator.queue.draft("nothing", NOTHING) for _ in range(tasks)]
        before, begun = spent_seconds(crew.pid), time.perf_counter()
        orchestrator.queue.put(drafts)
        while orchestrator.queue.count_ready(1) or orchestrator.queue.tasks([TaskStatus.RUNNING], limit=1):
            time.sleep(0.02)
        run, spent = time.perf_counter() - begun, spent_seconds(crew.pid) - before
        figures = {"run_a_second": f"{tasks / run:,.1f}", "processor_time": f"{spent / tasks * 1000:.1f} ms a task"}
        say("cairn work, 4 workers, a sandbox each", **figures)
        crew.terminate()
        crew.wait(30)


def bench_one_process(folder: Path, tasks: int) -> None:
    """The same tasks, four at a time in one process, to compare with four processes."""
    with project(folder / "one") as orchestrator:
        waiting = iter([orchestrator.new_tasks.submit("nothing", NOTHING) for _ in range(tasks)])

        async def lane() -> None:
            for task in waiting:
                await Worker(orchestrator).run_task(task.id)

        async def lanes() -> None:
            await asyncio.gather(*(lane() for _ in range(WORKERS)))

        run = timed(lambda: asyncio.run(lanes()))
    say("one process, 4 tasks at a time", run_a_second=f"{tasks / run:,.1f}")


def bench_list(folder: Path) -> None:
    with project(folder / "list") as orchestrator:
        orchestrator.queue.put([orchestrator.queue.draft("add docstrings", NOTHING) for _ in range(10_000)])
    command = [sys.executable, "-m", "cairn", "-C", str(folder / "list"), "list"]
    for name, number in (("all", "10000"), ("50 of them", "50")):
        took = []
        for _ in range(5):
            begun = time.perf_counter()
            subprocess.run([*command, "-n", number], capture_output=True, check=True)
            took.append(time.perf_counter() - begun)
        say(f"cairn list of 10,000, {name}", median=f"{statistics.median(took):.2f} s")


def main() -> None:
    tasks = int(next((each for each in sys.argv[1:] if each.isdigit()), "2000"))
    print(
        f"{tasks:,} tasks where nothing else is said; start: enqueue to start, median / 95th percentile; {os.cpu_count()} cores"
    )
    with tempfile.TemporaryDirectory(prefix="cairn-bench-") as name:
        folder = Path(name)
        bench_bare(folder, tasks)
        bench_huey(folder, tasks)
        bench_ledger("ledger, SQLite", LedgerFile(folder / "ledger.db"), tasks)
        bench_server(tasks)
        if "--ledger" in sys.argv:
            return
        bench_work(folder, max(100, tasks // 10))
        bench_one_process(folder, max(100, tasks // 10))
        bench_list(folder)


if __name__ == "__main__":
    main()

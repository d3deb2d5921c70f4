"""Both engines with 1, 2 and 4 workers, in one run: tasks a second, enqueue to start, and what waiting costs. By hand:

python -m tests.benchmarks.bench_engine [TASKS]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cairn.fleet import Fleet
from cairn.task import TaskStatus
from tests.benchmarks.bench_queue import IDLE_SECONDS, NOTHING, percentiles, processor_seconds, project, say
from tests.postgres_server import PostgresServer

SAMPLES = 40

# What the engine costs by itself: workers that end each task at once, without a sandbox, a file or a review.
TAKES_ALL = """
import json, selectors, sys, time
from pathlib import Path
from cairn.engines.dbos import DbosEngine, Dispatch
from cairn.engines.embedded import EmbeddedEngine
from cairn.queue import Owner, TaskQueue
from cairn.task import Outcome, TaskStatus
ledger, url, size, tasks = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with TaskQueue(Path(ledger)) as queue, selectors.DefaultSelector() as selector:
    engine = (
        DbosEngine(queue, Dispatch(url, "bench"), size, lambda: (engine.executor,)) if url else EmbeddedEngine(queue)
    )
    engine.open(selector)
    while url and not engine._up:
        for key, _ in selector.select(1):
            key.data()
    owner, done, begun = Owner.this_process(), 0, time.perf_counter()
    while done < tasks:
        engine.tend(size)
        held = [task for _ in range(size) if (task := engine.claim(owner)) is not None]
        for task in held:
            queue.finish(task, TaskStatus.FAILED, outcome=Outcome())
            engine.let_go(task)
        done += len(held)
        if not held:
            for key, _ in selector.select(0.05):
                key.data()
    print(json.dumps(time.perf_counter() - begun))
    engine.close()
"""


def bench_alone(folder: Path, url: str, size: int, tasks: int) -> None:
    with project(folder) as orchestrator:
        orchestrator.queue.put([orchestrator.queue.draft("nothing", NOTHING) for _ in range(tasks)])
        ledger = str(orchestrator.queue.path)
    told = subprocess.run(
        [sys.executable, "-c", TAKES_ALL, ledger, url, str(size), str(tasks)],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    say(f"{_name(url)}, {size} workers, the engine alone", run_a_second=f"{tasks / json.loads(told.stdout):,.0f}")


def bench_work(folder: Path, url: str, size: int, tasks: int) -> None:
    """Real tasks that do nothing, by `cairn work`."""
    with project(folder) as orchestrator:
        command = [sys.executable, "-m", "cairn", "-C", str(folder), "work", "--forever", "-j", str(size)]
        environ = {**os.environ, **({"CAIRN_ENGINE_URL": url} if url else {})}
        crew = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_for(orchestrator, size, url)
        before = processor_seconds(crew.pid)
        time.sleep(IDLE_SECONDS)
        idle = (processor_seconds(crew.pid) - before) / IDLE_SECONDS
        waited = []
        for _ in range(SAMPLES):
            asked = time.time()
            task = orchestrator.submit("nothing", NOTHING)
            while orchestrator.task(task.id).status is not TaskStatus.ACCEPTED:
                time.sleep(0.01)
            waited.append(orchestrator.queue.events(task.id)[1].at - asked)
        begun = time.perf_counter()
        orchestrator.queue.put([orchestrator.queue.draft("nothing", NOTHING) for _ in range(tasks)])
        while orchestrator.queue.count_ready(1) or orchestrator.queue.count_running():
            time.sleep(0.02)
        run = time.perf_counter() - begun
        crew.terminate()
        crew.wait(30)
    figures = {"start": percentiles(waited), "idle": f"{idle:.2%} of a core", "run_a_second": f"{tasks / run:,.1f}"}
    say(f"{_name(url)}, cairn work -j {size}", **figures)


def _wait_for(orchestrator, size: int, url: str) -> None:
    with Fleet(orchestrator.queue.path) as fleet:
        while not any(len(crew.members) == size and bool(crew.executor) == bool(url) for crew in fleet.crews()):
            time.sleep(0.1)
    time.sleep(5)


def _name(url: str) -> str:
    return "dbos" if url else "embedded"


def main() -> None:
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print(f"{tasks} tasks; start: enqueue to start, median / 95th percentile; {os.cpu_count()} cores")
    server = PostgresServer()
    try:
        with tempfile.TemporaryDirectory(prefix="cairn-bench-") as name:
            for size in (1, 2, 4):
                for engine in ("embedded", "dbos"):
                    url = server.new_database() if engine == "dbos" else ""
                    bench_alone(Path(name, f"alone-{engine}-{size}"), url, size, tasks)
                    bench_work(Path(name, f"work-{engine}-{size}"), url, size, tasks)
    finally:
        server.remove()


if __name__ == "__main__":
    main()

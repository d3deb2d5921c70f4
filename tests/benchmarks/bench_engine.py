"""Both engines with 1, 2 and 4 workers, each with its ledger where it really is, and where the time goes. By hand:

python -m tests.benchmarks.bench_engine [TASKS]

In one run: tasks a second, from add to start, what waiting costs, and for each task the processor time of each process and
the commits of the server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psycopg

from cairn.fleet import Fleet
from cairn.orchestrator import Orchestrator
from cairn.project import Project
from cairn.queue import LEDGER
from cairn.settings import Settings
from cairn.task import TaskStatus
from tests.benchmarks.bench_queue import IDLE_SECONDS, NOTHING, percentiles, processor_seconds, say
from tests.postgres_server import PostgresServer

SAMPLES = 40


def environ(folder: Path, url: str) -> dict[str, str]:
    """One machine's, with a cache of its own."""
    own = {"CAIRN_ENGINE_URL": url, "CAIRN_ENGINE_PROJECT": "bench", "CAIRN_ENGINE_CACHE": f"{folder}-cache"}
    return own if url else {}


def project(folder: Path, url: str) -> Orchestrator:
    """A repository with one file and a remote beside it."""
    folder.mkdir()
    (folder / "README.md").write_text("a project\n")
    who = ["-c", "user.name=Bench", "-c", "user.email=bench@example.org"]
    for command in (
        ["init", "-q", "--bare", f"{folder}.git"], ["init", "-q"], ["remote", "add", "origin", f"{folder}.git"],
        ["add", "-A"], [*who, "commit", "-q", "-m", "first"],
    ):  # fmt: skip
        subprocess.run(["git", *command], cwd=folder, check=True)
    settings = Settings.load(folder, environ(folder, url))
    return Orchestrator.open(Project.find(folder, exact=True), settings)


# What the engine costs by itself: workers that end each task at once, without a sandbox, a file or a review.
TAKES_ALL = """
import json, selectors, sys, time
from pathlib import Path
from cairn.engines.dbos import DbosEngine, Dispatch
from cairn.engines.embedded import EmbeddedEngine
from cairn.ledger_place import LedgerServer
from cairn.queue import TaskQueue
from cairn.task_owner import Owner
from cairn.task import Outcome, TaskStatus
ledger, url, size, tasks = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
place = LedgerServer(url, "bench") if url else Path(ledger)
with TaskQueue(place) as queue, selectors.DefaultSelector() as selector:
    engine = (
        DbosEngine(queue, Dispatch(url, place.schema), size, lambda: (engine.executor,)) if url else EmbeddedEngine(queue)
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
    with project(folder, url) as orchestrator:
        orchestrator.queue.put([orchestrator.queue.draft("nothing", NOTHING) for _ in range(tasks)])
        ledger = str(orchestrator.project.state / LEDGER)
    told = subprocess.run(
        [sys.executable, "-c", TAKES_ALL, ledger, url, str(size), str(tasks)],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    say(f"{_name(url)}, {size} workers, the engine alone", run_a_second=f"{tasks / json.loads(told.stdout):,.0f}")


def is_dbos(pid: int) -> bool:
    """It is forked from the same process as the workers, and only it has loaded SQLAlchemy."""
    with suppress(OSError):
        return "/sqlalchemy/" in Path(f"/proc/{pid}/maps").read_text()
    return False


def parts_of(crew: int, workers: list[int], server: int | None) -> dict[str, float]:
    """Seconds of a processor that each part has used, its ended children counted where the kernel keeps them."""
    told = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in told.splitlines()]
    family = {crew: "crew", **dict.fromkeys(workers, "workers"), **({server: "Postgres"} if server else {})}
    names = {"workers": "sandbox", "crew": "others", "sandbox": "sandbox", "Postgres": "Postgres", "others": "others"}
    while more := {int(pid) for pid, parent in rows if int(parent) in family} - family.keys():
        for pid in more:
            parent = next(int(row[1]) for row in rows if int(row[0]) == pid)
            family[pid] = "DBOS" if is_dbos(pid) else names.get(family[parent], "others")
    found = dict.fromkeys(("crew", "workers", "sandbox", "DBOS", "Postgres", "others"), 0.0)
    for pid, name in family.items():
        with suppress(OSError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                found[name] += int((thread / "schedstat").read_text().split()[0]) / 1e9
            ended = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[13:15]
            found[names.get(name, name)] += sum(map(int, ended)) / os.sysconf("SC_CLK_TCK")
    return found


def commits(url: str) -> int:
    """Of the ledger's and of DBOS, as the server counts them."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
        return int(row[0])


def bench_work(folder: Path, url: str, size: int, tasks: int, server: PostgresServer) -> None:
    """Real tasks that do nothing, by `cairn work`."""
    with project(folder, url) as orchestrator:
        command = [sys.executable, "-m", "cairn", "-C", str(folder), "work", "--forever", "-j", str(size)]
        crew = subprocess.Popen(
            command, env={**os.environ, **environ(folder, url)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        workers = _wait_for(orchestrator, size, url)
        waited = []
        for _ in range(SAMPLES):
            task = orchestrator.new_tasks.submit("nothing", NOTHING)
            while orchestrator.task(task.id).status is not TaskStatus.ACCEPTED:
                time.sleep(0.01)
            born, started, *_ = orchestrator.queue.events(task.id)
            waited.append(started.at - born.at)
        time.sleep(5)  # what the last task left to do is done
        before = processor_seconds(crew.pid)
        time.sleep(IDLE_SECONDS)
        idle = (processor_seconds(crew.pid) - before) / IDLE_SECONDS
        postmaster = int((server.data / "postmaster.pid").read_text().split()[0]) if url else None
        parts, committed = parts_of(crew.pid, workers, postmaster), commits(url) if url else 0
        begun = time.perf_counter()
        base = orchestrator.task(task.id).base
        orchestrator.queue.put([orchestrator.queue.draft("nothing", NOTHING, base=base) for _ in range(tasks)])
        while orchestrator.queue.count_ready(1) or orchestrator.queue.count_running():
            time.sleep(0.1)
        run = time.perf_counter() - begun
        time.sleep(1.5)  # the server counts its commits a moment later
        after = parts_of(crew.pid, workers, postmaster)
        spent = {name: (after[name] - parts[name]) / tasks * 1000 for name in after}
        made = (commits(url) - committed) / tasks if url else 0.0
        crew.terminate()
        crew.wait(30)
    figures = {"start": percentiles(waited), "idle": f"{idle:.2%} of a core", "run_a_second": f"{tasks / run:,.1f}"}
    say(f"{_name(url)}, cairn work -j {size}", **figures)
    shown = {name: f"{each:.1f}" for name, each in spent.items() if each >= 0.05}
    say("  processor ms for each task", **shown, **({"commits": f"{made:.1f}"} if url else {}))


def _wait_for(orchestrator: Orchestrator, size: int, url: str) -> list[int]:
    """The workers' processes, once a first task has gone through all of it: only then everything has been loaded."""
    first = orchestrator.new_tasks.submit("first", NOTHING)
    with Fleet(orchestrator.queue.place) as fleet:
        while not any(len(crew.members) == size and bool(crew.executor) == bool(url) for crew in fleet.crews()):
            time.sleep(0.1)
        workers = [member.pid for crew in fleet.crews() for member in crew.members]
    while orchestrator.task(first.id).status is not TaskStatus.ACCEPTED:
        time.sleep(0.05)
    time.sleep(3)
    return workers


def _name(url: str) -> str:
    return "dbos" if url else "embedded"


def main() -> None:
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print(
        f"{tasks} tasks, load {os.getloadavg()[0]:.1f}; start: enqueue to start, median / 95th percentile; {os.cpu_count()} cores"
    )
    server = PostgresServer(durable=True)
    try:
        with tempfile.TemporaryDirectory(prefix="cairn-bench-") as name:
            for size in (1, 2, 4):
                for engine in ("embedded", "dbos"):
                    url = server.new_database() if engine == "dbos" else ""
                    bench_alone(Path(name, f"alone-{engine}-{size}"), url, size, tasks)
                    bench_work(Path(name, f"work-{engine}-{size}"), url, size, tasks, server)
    finally:
        server.remove()


if __name__ == "__main__":
    main()

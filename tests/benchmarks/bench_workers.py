"""What the processes of a crew cost: their start, one that is replaced after a kill, and their memory. By hand:

python -m tests.benchmarks.bench_workers [CHECKOUT ...]   several checkouts of Cairn are measured in turns.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.benchmarks.bench_queue import say
from tests.postgres_server import PostgresServer

ROUNDS = 3
KILLS = 5
NOTHING = "submit_result('nothing', [])\n"
SPIN = "n = 0\nwhile True:\n    n += 1\nsubmit_result('never', [])\n"
TICK = os.sysconf("SC_CLK_TCK")
# `cairn` that says on stdout when a worker is ready, and when the engine's process is.
TELLS = """
import sys
from cairn.crew import Crew
from cairn.engines.dbos import DbosEngine
heard, took = Crew._heard, DbosEngine._take
def hears(self, member, message):
    heard(self, member, message)
    if type(message).__name__ == "Ready":
        print("ready", flush=True)
def takes(self, message):
    took(self, message)
    if type(message).__name__ == "Up":
        print("up", flush=True)
Crew._heard, DbosEngine._take = hears, takes
from cairn.cli import main
main()
"""


def family(pid: int) -> dict[int, str]:
    """A process and all that came of it, with how each was called."""
    told = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in told.stdout.splitlines()]
    found = {pid}
    while more := {int(row[0]) for row in rows if int(row[1]) in found} - found:
        found |= more
    return {int(row[0]): row[2] for row in rows if int(row[0]) in found}


def processor(pid: int) -> float:
    """Seconds that the living of a family took, with those of their children that ended."""
    ticks = 0
    for each in family(pid):
        with suppress(OSError):
            ticks += sum(map(int, Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / TICK


def shares(pid: int, of: str) -> float:
    """Megabytes of memory of those in a family that are called so, what is shared counted once."""
    total = 0
    for each, called in family(pid).items():
        if of in called:
            told = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in told if line.startswith("Pss:"))
    return total / 1024


@contextmanager
def crew(checkout: str, folder: Path, size: int, env: dict[str, str]):
    process = subprocess.Popen(
        [sys.executable, "-c", TELLS, "-C", str(folder), "--here", "work", "--forever", "-j", str(size)],
        cwd=checkout, env={**os.environ, "PYTHONPATH": checkout, **env},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(process, word: str, times: int = 1) -> None:
    while times:
        times -= process.stdout.readline() == f"{word}\n"


def start(checkout: str, folder: Path, size: int) -> tuple[float, float]:
    begun = time.perf_counter()
    with crew(checkout, folder, size, {}) as process:
        until(process, "ready", size)
        return time.perf_counter() - begun, processor(process.pid)


def replaced(process, victims: str, word: str) -> tuple[float, float]:
    """After a kill: seconds until the next one is there, and what it took of a processor; the middle of some."""
    walls, before = [], processor(process.pid)
    for _ in range(KILLS):
        each = max(pid for pid, called in family(process.pid).items() if victims in called)
        begun = time.perf_counter()
        os.kill(each, signal.SIGKILL)
        until(process, word)
        walls.append(time.perf_counter() - begun)
    return statistics.median(walls), (processor(process.pid) - before) / KILLS


def memory(checkout: str, folder: Path) -> tuple[tuple[float, float], float, float]:
    """A replaced worker; and eight workers idle, then at work after each did some."""
    here = [sys.executable, "-m", "cairn", "-C", str(folder), "--here"]
    env = {**os.environ, "PYTHONPATH": checkout}
    with crew(checkout, folder, 8, {}) as process:
        until(process, "ready", 8)
        idle = shares(process.pid, "cairn.crew_member")
        again = replaced(process, "cairn.crew_member", "ready")
        for program, count in ((NOTHING, 40), (SPIN, 8)):
            subprocess.run(
                [*here, "add", "--code", "-", *(f"{n}" for n in range(count))],
                input=program, text=True, check=True, capture_output=True, env=env, cwd=checkout,
            )  # fmt: skip
        while sum("monty" in called for called in family(process.pid).values()) < 8:
            time.sleep(0.2)
        time.sleep(5)
        return again, idle, shares(process.pid, "cairn.crew_member")


def dbos(checkout: str, folder: Path, server: PostgresServer) -> tuple[tuple[float, float], tuple[float, float], float]:
    """The start of a crew of four with a server; its engine's process replaced; that one's memory."""
    env = {
        "CAIRN_ENGINE_URL": server.new_database(), "CAIRN_ENGINE_PROJECT": "bench",
        "CAIRN_ENGINE_CACHE": f"{folder}-cache",
    }  # fmt: skip
    for _ in range(2):  # the first one makes the tables
        begun = time.perf_counter()
        with crew(checkout, folder, 4, env) as process:
            up = ready = 0
            while not up or ready < 4:
                word = process.stdout.readline()
                up, ready = up + (word == "up\n"), ready + (word == "ready\n")
            begin = (time.perf_counter() - begun, processor(process.pid))
            share = shares(process.pid, "dbos_process")
            again = replaced(process, "dbos_process", "up")
    return begin, again, share


def main() -> None:
    checkouts = sys.argv[1:] or [str(Path(__file__).parents[2])]
    server = PostgresServer()
    try:
        for number in range(ROUNDS):
            for checkout in checkouts:
                with tempfile.TemporaryDirectory(prefix="cairn-bench-") as name:
                    for size in (1, 4, 8):
                        wall, cpu = start(checkout, Path(name), size)
                        say(f"{number} {checkout}: -j {size}", wall=f"{wall:.2f}", processor=f"{cpu:.2f}")
                    again, idle, busy = memory(checkout, Path(name))
                    say(f"{number} {checkout}: a worker", wall=f"{again[0]:.3f}", processor=f"{again[1]:.3f}")
                    say(f"{number} {checkout}: eight, MB", idle=f"{idle:.0f}", busy=f"{busy:.0f}")
                    begin, again, share = dbos(checkout, Path(name), server)
                    say(f"{number} {checkout}: server, -j 4", wall=f"{begin[0]:.2f}", processor=f"{begin[1]:.2f}")
                    say(
                        f"{number} {checkout}: dbos, again",
                        wall=f"{again[0]:.2f}",
                        processor=f"{again[1]:.2f}",
                        mb=share,
                    )
    finally:
        server.remove()


if __name__ == "__main__":
    main()

"""Workers on several machines killed at random, their clocks set wrong, Postgres restarted: nothing lost or done twice.

python -m tests.acceptance.test_scale_chaos 10000        runs it for long and prints what happened.
python -m tests.acceptance.test_scale_chaos 10000 1800   for so many seconds at most: what is queued then is cancelled.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cairn.errors import CairnError
from cairn.orchestrator import Orchestrator
from cairn.project import Project
from cairn.settings import Settings
from cairn.task import CodeOrigin, TaskStatus, Terms
from cairn.wanted_tasks import Wanted
from tests.acceptance.machines import Machine
from tests.postgres_server import PostgresServer

MACHINES = 4
FILES = 3
ENDS = (TaskStatus.ACCEPTED, TaskStatus.CANCELLED)
PROGRAM = """n = REQUEST
for i in range(3):
    write_file(f'made/{n}-{i}.txt', f'{n} {i}\\n')
    x = 0
    for k in range(40_000):
        x += k
submit_result('made', [f'made/{n}-{i}.txt' for i in range(3)])
"""
# A clock that a file moves: what a laptop's clock does that was asleep, or set by hand.
CLOCK = """import os, time
_real, _file = time.time, os.environ['CLOCK_FILE']
def _wrong():
    try:
        with open(_file) as told:
            return _real() + float(told.read() or 0)
    except (OSError, ValueError):
        return _real()
time.time = _wrong
"""
JUMPS = (-7200.0, -40.0, 0.0, 35.0, 3600.0)


@dataclass
class Fleet:
    """Some machines with a `cairn work --forever` each, started again when it ends, as a supervisor does."""

    machines: list[Machine]
    errors: Path
    rng: random.Random
    killed: Counter[str] = field(default_factory=Counter)
    crews: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def tend(self) -> None:
        for number, machine in enumerate(self.machines):
            crew = self.crews.get(number)
            if crew is None or crew.poll() is not None:
                with self.errors.open("ab") as errors:
                    self.crews[number] = subprocess.Popen(
                        [sys.executable, "-m", "cairn", "work", "-j", "1", "--forever"],
                        cwd=machine.folder, env={**os.environ, **machine.env},
                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True,
                    )  # fmt: skip

    def kill_one(self) -> None:
        """A whole crew now and then, else one process of it."""
        number = self.rng.randrange(len(self.machines))
        machine = self.machines[number]
        if self.rng.random() < 0.15:
            machine.unplug()
            self.killed["machine"] += 1
            return
        candidates = [pid for pid in machine.processes() if pid != self.crews[number].pid]
        if candidates:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.rng.choice(candidates), signal.SIGKILL)
                self.killed["process"] += 1

    def jump(self) -> None:
        machine = self.rng.choice(self.machines)
        Path(machine.env["CLOCK_FILE"]).write_text(str(self.rng.choice(JUMPS)))
        self.killed["clock"] += 1

    def end(self) -> None:
        for crew in self.crews.values():
            crew.terminate()
        for crew in self.crews.values():
            try:
                crew.wait(60)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(crew.pid, signal.SIGKILL)


def machines(folder: Path, hub: Path, url: str) -> list[Machine]:
    clock = folder / "clock"
    clock.mkdir()
    (clock / "sitecustomize.py").write_text(CLOCK)
    found = []
    for number in range(MACHINES):
        here, home = folder / f"worker{number}", folder / f"home{number}"
        here.mkdir()
        home.mkdir()
        path = os.pathsep.join(filter(None, [str(clock), os.environ.get("PYTHONPATH", "")]))
        env = {
            "HOME": str(home), "CAIRN_ENGINE_URL": url, "CAIRN_ENGINE_PROJECT": "chaos",
            "CAIRN_ENGINE_REMOTE": str(hub), "PYTHONPATH": path, "CLOCK_FILE": str(home / "clock"),
        }  # fmt: skip
        found.append(Machine(here, home, env))
    return found


def repository(folder: Path) -> tuple[Path, Path]:
    """A clone, and the bare repository that everybody reaches."""
    clone, hub = folder / "clone", folder / "hub.git"
    clone.mkdir()
    (clone / "README.md").write_text("# Chaos\n")
    git = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org", "-C", str(clone)]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    subprocess.run(["git", "clone", "-q", "--bare", clone, hub], check=True)
    subprocess.run([*git, "remote", "add", "origin", str(hub)], check=True)
    subprocess.run(["git", "clone", "-q", str(hub), str(folder / "other")], check=True)
    return clone, hub


@contextlib.contextmanager
def clone_of(root: Path, url: str):
    settings = Settings.load(root, {"CAIRN_ENGINE_URL": url, "CAIRN_ENGINE_PROJECT": "chaos", "HOME": str(root.parent)})
    with Orchestrator.open(Project.find(root, exact=True), settings) as orchestrator:
        yield orchestrator


ACCEPTS = """
import os, sys, time
from pathlib import Path
from cairn.errors import CairnError
from cairn.task import TaskStatus
from tests.acceptance.test_scale_chaos import clone_of
done = 0
while not Path(sys.argv[3]).exists():
    try:
        with clone_of(Path(sys.argv[1]), sys.argv[2]) as orchestrator:
            orchestrator.recovery.recover()
            for task in orchestrator.queue.tasks([TaskStatus.IN_REVIEW], limit=40):
                try:
                    orchestrator.decisions.accept(task)
                    done += 1
                except CairnError:
                    pass
    except CairnError:
        pass
    time.sleep(0.2)
print(done)
"""


def accepting(root: Path, url: str, stop: Path) -> subprocess.Popen[str]:
    """Accepts whatever is in review, in a process of its own, until the file `stop` is there."""
    command = [sys.executable, "-c", ACCEPTS, str(root), url, str(stop)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def chaos(folder: Path, tasks: int, seed: int, *, longest_seconds: float, may_cancel: bool = False) -> Counter[str]:
    """Runs the tasks and accepts them from two clones, while everything is killed; what happened how often.

    After `longest_seconds` the tasks that are still queued are cancelled with `may_cancel`; else that is a failure.
    """
    server = PostgresServer()
    url = server.new_database()
    rng = random.Random(seed)
    clone, hub = repository(folder)
    fleet = Fleet(machines(folder, hub, url), folder / "errors.txt", rng)
    stop = folder / "stop"
    acceptors: list[subprocess.Popen[str]] = []
    try:
        with clone_of(clone, url) as orchestrator:
            wishes = [
                (f"task {n}", CodeOrigin("file", "made.py", PROGRAM.replace("REQUEST", str(n)))) for n in range(tasks)
            ]
            orchestrator.new_tasks.submit_all(wishes, options={}, terms=Terms(max_attempts=1000))
            acceptors += [accepting(root, url, stop) for root in (clone, folder / "other")]
            ends, restart_at = time.monotonic() + longest_seconds, time.monotonic() + 15
            while orchestrator.queue.listed(
                Wanted((TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.IN_REVIEW)), limit=1
            )[0]:
                if time.monotonic() > ends:
                    assert may_cancel, f"it never came to an end: {fleet.killed}"
                    cancel_queued(orchestrator)
                fleet.tend()
                time.sleep(rng.uniform(0.5, 2.0))
                fleet.kill_one()
                if rng.random() < 0.2:
                    fleet.jump()
                if time.monotonic() > restart_at:
                    server.stop()
                    time.sleep(rng.uniform(0.1, 2.0))
                    server.start()
                    fleet.killed["server"] += 1
                    restart_at = time.monotonic() + rng.uniform(15, 40)
        stop.touch()
        for process in acceptors:
            told, _ = process.communicate(timeout=60)
            fleet.killed["accepted"] += int(told)
        fleet.end()
        fleet.killed["cancelled"] = require_whole(folder, url, tasks)
    finally:
        for process in acceptors:
            process.kill()
            process.wait()
        for machine in fleet.machines:
            machine.unplug()
        server.remove()
    return fleet.killed


def cancel_queued(orchestrator: Orchestrator) -> None:
    for task in orchestrator.queue.tasks([TaskStatus.QUEUED]):
        with contextlib.suppress(CairnError):  # it has started meanwhile, or the server is being restarted
            orchestrator.moves.cancel(task)


def require_whole(folder: Path, url: str, tasks: int) -> int:
    """Fails unless each task came to review and was accepted once, its files in one clone, with each call once.

    How many were cancelled instead.
    """
    with clone_of(folder / "clone", url) as orchestrator:
        known = orchestrator.queue.tasks()
        every = [task for task in known if task.status is TaskStatus.ACCEPTED]
        cancelled = sum(task.status is TaskStatus.CANCELLED for task in known)
        others = [(task.id, task.status, task.reason) for task in known if task.status not in ENDS]
        assert (len(known), others) == (tasks, []), (len(known), others)
        for task in every:
            became = Counter(event.became for event in orchestrator.queue.events(task.id))
            assert (became[TaskStatus.IN_REVIEW], became[TaskStatus.ACCEPTED]) == (1, 1), task
            calls = [call.name for call in orchestrator.reviews.of(task).calls]
            assert calls == ["write_file"] * FILES + ["submit_result"], task
    made = [{path.name for path in (folder / name / "made").glob("*")} for name in ("clone", "other")]
    assert made[0] & made[1] == set()
    assert made[0] | made[1] == {
        f"{task.request.removeprefix('task ')}-{i}.txt" for task in every for i in range(FILES)
    }
    assert b"Traceback" not in (folder / "errors.txt").read_bytes()
    return cancelled


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_nothing_is_lost_or_done_twice_on_several_machines(tmp_path):
    happened = chaos(tmp_path, 500, seed=5, longest_seconds=390)

    assert happened["accepted"] == 500
    assert happened["process"] >= 10
    assert happened["server"] >= 1


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    longest = float(sys.argv[2]) if len(sys.argv) > 2 else 4 * 3600
    place = Path(tempfile.mkdtemp(prefix="cairn-chaos-"))
    begun = time.monotonic()
    what = chaos(place, count, seed=random.randrange(1000), longest_seconds=longest, may_cancel=len(sys.argv) > 2)
    print(f"{count} tasks in {time.monotonic() - begun:.0f} s: {dict(what)}")
    shutil.rmtree(place)

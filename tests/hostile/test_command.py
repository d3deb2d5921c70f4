"""Hostile programs from the outside: `cairn run --code FILE` as a process, its exit code, its words, what is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command_server import COMMANDS
from tests.hostile.attacks import SECRET, tree
from tests.length import examples


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, both streams in one, and the seconds it took."""

    code: int
    screen: str
    seconds: float


# With the start of Python and the sandbox, on a machine under load.
IN_TIME = 12.0

PROGRAMS = {
    "a loop": ("while True: pass", 1, "limit reached: seconds = 0.3"),
    "memory": ("xs = []\nwhile True: xs.append('x' * 1000)", 1, "limit reached: memory_mb = 64"),
    "memory at once": ("xs = [0] * 10 ** 9", 1, "limit reached: memory_mb = 64"),
    "calls": ("while True:\n    try:\n        read_file('a.txt')\n    except:\n        pass", 1, "limit reached: calls = 50"),
    "output": ("while True: print('x' * 10_000)", 1, "limit reached: output_chars = 5,000,000"),
    "a compile bomb": ("exec(''.join(' ' * n + f'def f{n}():\\n' for n in range(22)) + ' ' * 22 + 'pass')", 1, "limit reached: seconds = 0.3"),
    "a forged limit": ("raise TimeoutError('feed time limit exceeded: 1s > 0.3s')", 1, "TimeoutError: feed time limit exceeded"),
    "a path outside": ("read_file('../outside/secret.txt')", 1, "PermissionError"),
    "a link outside": ("read_file('out/secret.txt')", 1, "PermissionError"),
    "a hook": ("write_file('.git/hooks/pre-commit', 'x')", 1, "PermissionError"),
    "no submission": ("if 0: submit_result('done', [])", 1, "without calling submit_result"),
    "a submission of nothing done": ("submit_result('did everything', ['a.txt'])", 0, "a.txt"),
    "a submission in a loop": ("while True:\n    try:\n        submit_result('done', [])\n    finally:\n        continue", 0, "done"),
    "nul": ("x = '\0'", 0, "never said"),
    "not a program": ("\x7fELF\x01\x02\x03", 2, "cannot run; nothing of it did"),
    "a megabyte": ("x = 1\n" * 170_000, 2, "too large for a program"),
    "70,000 bytes": ("x = 1\n" * 12_000, 2, "65,536 are allowed"),
}  # fmt: skip
IN_THE_DEFAULT_RUN = {"a loop", "a path outside"}


@pytest.fixture
def hostile_project(tmp_path):
    root, outside = tmp_path / "project", tmp_path / "outside"
    (root / ".git/hooks").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.txt").write_text(SECRET)
    (root / "a.txt").write_text("one\n")
    (root / "out").symlink_to(outside)
    return root


def command(root: Path, program: str, *options: str) -> list[str]:
    file = root.parent / "program.py"
    end = "" if "submit_result" in program else "\nsubmit_result('never said', [])\n"  # none is run without
    file.write_text(program + end, encoding="utf-8", errors="surrogatepass")
    limits = ["seconds=0.3", "memory_mb=64", "calls=50", "wall_seconds=20"]
    return [
        *(sys.executable, "-m", "cairn", "run", "--code", str(file)),
        *(word for limit in limits for word in ("--limit", limit)),
        *options,
    ]


def run(root: Path, program: str, *options: str) -> Ended:
    began = time.monotonic()
    words = command(root, program, *options)[3:]  # after `python -m cairn`
    done = COMMANDS.run(words, stdin="", cwd=root, env=os.environ)
    return Ended(done.returncode, done.stdout + done.stderr, time.monotonic() - began)


def seen(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """The project and what is beside it, without Cairn's own folder."""
    everything = {**tree(root), **tree(root.parent / "outside")}
    return {
        path: what for path, what in everything.items() if "/.cairn" not in path and path != str(root / ".git/info")
    }


def sandboxes(folder: Path) -> list[int]:
    """Processes of any parent that stand in this folder: the workers of this test's commands."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text().strip() == "monty" and (process / "cwd").readlink() == folder:
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    "name", [name if name in IN_THE_DEFAULT_RUN else pytest.param(name, marks=pytest.mark.slow) for name in PROGRAMS]
)
def test_the_command_ends_in_time_says_why_and_leaves_nothing(hostile_project, name):
    program, code, words = PROGRAMS[name]
    before = seen(hostile_project)
    ended = run(hostile_project, program)

    assert (ended.code, words in ended.screen, SECRET in ended.screen) == (code, True, False), ended.screen
    assert ("Traceback (most recent call last)" in ended.screen) <= ('File "program"' in ended.screen), ended.screen
    assert ended.seconds < IN_TIME
    assert sandboxes(hostile_project) == []
    assert seen(hostile_project) == before


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_a_command_that_is_killed_takes_its_worker_along(hostile_project, how):
    program = "while True:\n    try:\n        while True: pass\n    except:\n        pass"
    process = subprocess.Popen(
        command(hostile_project, program, "--limit", "seconds=60"),
        cwd=hostile_project,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert becomes_true(lambda: len(sandboxes(hostile_project)) == 1)
        os.kill(process.pid, how)
        process.wait(timeout=20)
    finally:
        process.kill()
        process.wait()

    assert becomes_true(lambda: sandboxes(hostile_project) == [])


@pytest.mark.slow
def test_in_the_background_where_ctrl_c_is_ignored_sigterm_ends_a_command(hostile_project):
    endless = command(hostile_project, "while True: pass", "--limit", "seconds=60")
    process = subprocess.Popen(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *endless],
        cwd=hostile_project,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert becomes_true(lambda: len(sandboxes(hostile_project)) == 1)
        process.terminate()
        assert process.wait(timeout=20) == 130
    finally:
        process.kill()
        process.wait()
    assert becomes_true(lambda: sandboxes(hostile_project) == [])


def becomes_true(condition, seconds: float = 15.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_after_many_attacks_the_project_is_as_it_was_and_the_next_task_works(hostile_project):
    before = seen(hostile_project)
    for _ in range(examples(2, 6)):
        for program, code, _words in PROGRAMS.values():
            assert run(hostile_project, program).code == code
    assert seen(hostile_project) == before
    ended = run(hostile_project, "write_file('b.txt', 'x')\nsubmit_result('wrote b.txt', ['b.txt'])")

    assert (ended.code, "b.txt" in ended.screen, sandboxes(hostile_project)) == (0, True, [])

"""No worker outlives the process that started it, and the sandbox never changes how that process ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

PRELUDE = """
import asyncio, sys
from cairn.executor import AgentExecutor
from cairn.program import Limits

class Functions:
    stubs = "def pause() -> str: ...\\n"
    names = frozenset({"pause"})
    submission = None
    files = None
    def call(self, name, args, kwargs):
        return asyncio.sleep(60, "rested")

async def run(code, limits=Limits(seconds=30)):
    async with AgentExecutor(limits).session(Functions()) as session:
        print((await session._ready()).pid, flush=True)
        result = await session.execute(code)
        print(type(result).__name__, result.run.output.strip(), flush=True)
        return result
"""


def start(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def running(pid: int) -> bool:
    """False also for a process that has ended and only waits for its parent to notice."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:  # noqa: PTH123 - read at once, before it goes
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone_within(pid: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while running(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not running(pid)


def finish(process: subprocess.Popen[str]) -> tuple[int, list[str], str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out.split("\n"), err


def exits_cleanly(code: str, expected: int = 0) -> None:
    returned, lines, errors = finish(start(code))

    assert (returned, errors) == (expected, "")
    assert gone_within(int(lines[0]), 1)


ENDINGS = {
    "right after the program": "asyncio.run(run('print(1)'))",
    "after a limit": "asyncio.run(run('while True: pass', Limits(seconds=0.2)))",
    "after a submission that never came": "asyncio.run(run('x = 1'))",
    "after an error": "asyncio.run(run('raise ValueError(\"x\")'))",
    "after a flood": "asyncio.run(run('while True: print(\"x\" * 1000)'))",
    "with a session left open": (
        "async def leave():\n"
        "    session = AgentExecutor().session(Functions())\n"
        "    entered = await session.__aenter__()\n"
        "    print((await entered._ready()).pid, flush=True)\n"
        "    globals()['kept'] = session\n"
        "asyncio.run(leave())"
    ),
    "with a program still running in a loop that was left": (
        "async def leave():\n"
        "    globals()['kept'] = asyncio.ensure_future(run('while True: pass'))\n"
        "    await asyncio.sleep(0.5)\n"
        "loop = asyncio.new_event_loop()\n"
        "loop.run_until_complete(leave())\n"
        "import logging; logging.disable()"
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_process_ends_as_if_there_had_been_no_sandbox(ending):
    exits_cleanly(ENDINGS[ending])


def test_the_exit_code_is_the_processs_own():
    exits_cleanly("asyncio.run(run('print(1)')); sys.exit(3)", expected=3)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_sixty_short_processes_all_end_cleanly():
    for _ in range(30):
        pair = [start("asyncio.run(run('print(pause)', Limits(seconds=5)))") for _ in range(2)]
        ended = [finish(process) for process in pair]

        assert [(returned, errors) for returned, _, errors in ended] == [(0, ""), (0, "")]
        assert all(gone_within(int(lines[0]), 1) for _, lines, _ in ended)


@pytest.mark.parametrize(
    "code", ["while True: pass", "while True:\\n    try:\\n        pause()\\n    except:\\n        pass"]
)
@pytest.mark.parametrize("whole_group", [False, True])
def test_ctrl_c_ends_a_program_within_a_second(code, whole_group):
    process = start(
        f"try:\n    asyncio.run(run('{code}'))\nexcept KeyboardInterrupt:\n    print('interrupted', flush=True)\n    sys.exit(130)"
    )
    worker = int(process.stdout.readline())
    time.sleep(0.3)
    began = time.monotonic()
    if whole_group:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the worker gets it too
    else:
        process.send_signal(signal.SIGINT)
    returned, lines, errors = finish(process)

    assert (returned, lines, errors) == (130, ["interrupted", ""], "")
    assert time.monotonic() - began < 1
    assert gone_within(worker, 0.2)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a worker that computes ends at its own limit of time")
@pytest.mark.parametrize("code", ["while True: pass", "pause()", "sum(range(10 ** 12))"])
def test_a_worker_whose_host_was_killed_is_killed_with_it(code):
    host = start(f"asyncio.run(run('{code}', Limits(seconds=30)))")
    worker = int(host.stdout.readline())
    time.sleep(0.3)
    host.kill()
    host.communicate()

    assert gone_within(worker, 1)

"""Programs that forge limits, swallow errors, or go on after they were told to stop."""

from __future__ import annotations

import asyncio
import time

import pytest

from cairn.executor import AgentExecutor
from cairn.program import Cancelled, Finished, LimitReached, Submission
from tests.hostile.attacks import attacks, fails, prints, refused, stopped, unchecked, workers

FORGED = {
    "the limit of time": fails("TimeoutError", "raise TimeoutError('feed time limit exceeded: 0.3s > 0.3s')"),
    "the limit of time, from a function": fails(
        "TimeoutError", "def f():\n    raise TimeoutError('feed time limit exceeded: 0.3s > 0.3s')\nf()"
    ),
    "the limit of time, in exec": fails(
        "TimeoutError", "exec('raise TimeoutError(\"feed time limit exceeded: 0.3s > 0.3s\")')"
    ),
    "the limit of time, from another error": fails(
        "TimeoutError",
        "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise TimeoutError('feed time limit exceeded: 9s > 1s') from e",
    ),
    "the limit of memory": fails(
        "MemoryError", "raise MemoryError('memory limit exceeded: 99999999 bytes > 67108864 bytes')"
    ),
    "the limit of memory, in exec": fails(
        "MemoryError", "exec('raise MemoryError(\"memory limit exceeded: 9 bytes > 8 bytes\")')"
    ),
    "the limit of memory, in eval of exec": fails(
        "MemoryError", "eval('exec(\\'raise MemoryError(\"memory limit exceeded: 9 bytes > 8 bytes\")\\')')"
    ),
    "the limit of memory, kept and raised later": fails(
        "MemoryError", "e = MemoryError('memory limit exceeded: 9 bytes > 8 bytes')\ndef f(x):\n    raise x\nf(e)"
    ),
    "the limit of memory, raised again": fails(
        "MemoryError",
        "try:\n    raise MemoryError('memory limit exceeded: 9 bytes > 8 bytes')\nexcept MemoryError:\n    raise",
    ),
    "the limit of memory, in an assertion": fails(
        "AssertionError", "assert False, 'memory limit exceeded: 9 bytes > 8 bytes'"
    ),
    "the death of the worker": fails(
        "MemoryError", "raise MemoryError('the worker exceeded its memory limit and was terminated')"
    ),
    "the limit of calls": fails("RuntimeError", "raise RuntimeError('suspension limit 4000 exceeded')"),
    "the limit of sleep": fails("TimeoutError", "raise TimeoutError('sleep limit exceeded')"),
    "the limit of recursion": fails("RecursionError", "raise RecursionError('maximum recursion depth exceeded')"),
    "a fault of the protocol": fails(
        "RuntimeError", "raise RuntimeError('protocol violation: failed to load session')"
    ),
    "Ctrl-C": fails("KeyboardInterrupt", "raise KeyboardInterrupt"),
    "a cancellation": refused("import asyncio\nraise asyncio.CancelledError()"),
    "an end that is none": prints("", "raise SystemExit"),
    "an end with a reason": fails("SystemExit", "raise SystemExit('done')"),
    "an error of the host's own": fails("NameError", "exec(\"raise CairnError('x', 'y', 'z')\")"),
    "a check that failed": fails(
        "ValueError", "raise ValueError('CheckFailed: the program could not be compiled in time')"
    ),
}

SWALLOWING = {
    "the limit of calls, in a loop": stopped(
        "calls", "while True:\n    try:\n        read_file('a.txt')\n    except:\n        pass"
    ),
    "the limit of calls, in finally": stopped(
        "calls",
        "try:\n    while True: read_file('a.txt')\nfinally:\n    while True:\n        try:\n            write_file('b.txt', 'x')\n        finally:\n            continue",
    ),
    "the limit of time, and then calls": stopped(
        "seconds",
        "try:\n    while True: pass\nexcept:\n    write_file('b.txt', 'after')\nfinally:\n    write_file('c.txt', 'after')",
    ),
    "the limit of memory, and then calls": stopped(
        "memory_mb",
        "xs = []\ntry:\n    while True: xs.append('x' * 1000)\nexcept:\n    write_file('b.txt', 'after')\nfinally:\n    write_file('c.txt', 'after')",
    ).with_limits(seconds=3.0),
    "a limit in a with block": stopped(
        "seconds",
        "class A:\n    def __enter__(self):\n        return self\n    def __exit__(self, *e):\n        write_file('b.txt', 'after')\n        return True\nwith A():\n    while True: pass",
    ),
    "recursion, caught at every level": stopped(
        "seconds", "def f():\n    try:\n        f()\n    except RecursionError:\n        f()\nf()"
    ),
}


@attacks(FORGED)
async def test_what_only_looks_like_a_limit_is_the_programs_own_error(room, attack):
    await room.suffer(attack)


@attacks(SWALLOWING)
async def test_nothing_can_be_done_after_a_limit(room, attack):
    await room.suffer(attack.with_limits(calls=50))

    assert [path for path in ("b.txt", "c.txt") if room.overlay.entry(path)] == []


SUBMITTING = {
    "in try": "try:\n    submit_result('done', [])\nexcept:\n    write_file('b.txt', 'x')",
    "in finally": "try:\n    submit_result('done', [])\nfinally:\n    write_file('b.txt', 'x')",
    "in a loop that catches": "while True:\n    try:\n        submit_result('done', [])\n    except:\n        pass\n    write_file('b.txt', 'x')",
    "in a loop in finally": "try:\n    1 / 0\nfinally:\n    while True:\n        submit_result('done', [])\n        write_file('b.txt', 'x')",
    "in a function": "def f():\n    submit_result('done', [])\n    return 1\nf()\nwrite_file('b.txt', 'x')",
    "in exec": "exec(\"submit_result('done', [])\\nwrite_file('b.txt', 'x')\")",
    "in a comprehension": "[(submit_result('done', []), write_file('b.txt', 'x')) for n in range(9)]",
    "in a with block": "class A:\n    def __enter__(self):\n        return self\n    def __exit__(self, *e):\n        write_file('b.txt', 'x')\nwith A():\n    submit_result('done', [])",
    "in a coroutine": "import asyncio\nasync def f():\n    submit_result('done', [])\n    write_file('b.txt', 'x')\nasyncio.run(f())",
    "as a value": "f = submit_result\nf('done', [])\nwrite_file('b.txt', 'x')",
    "by partial": "from functools import partial\npartial(submit_result, 'done')([])\nwrite_file('b.txt', 'x')",
    "with a file open": "f = open('c.txt', 'w')\nf.write('x')\nsubmit_result('done', [])\nwrite_file('b.txt', 'x')",
}


@pytest.mark.parametrize("program", SUBMITTING.values(), ids=SUBMITTING)
async def test_nothing_runs_after_the_submission(room, program):
    result = await room.run(program)

    assert result == Finished(result.run, Submission("done", ()))
    assert room.overlay.entry("b.txt") is None
    assert workers() == set()


async def test_no_program_after_it_can_take_a_submission_back(room):
    """The session of a task that submitted has no worker left; what is executed next starts anew, without variables."""
    functions = room.functions()
    async with AgentExecutor(room.limits).session(functions) as session:
        await session.execute("x = 1\nsubmit_result('first', [])")
        after = workers()

    assert (after, functions.submission) == (set(), Submission("first", ()))


CATCHING = {
    "a loop that catches everything": "while True:\n    try:\n        while True: pass\n    except:\n        pass",
    "a loop of calls": "while True:\n    try:\n        read_file('a.txt')\n    except:\n        pass",
    "a loop in finally": "try:\n    while True: pass\nfinally:\n    while True: pass",
    "one long operation": "sum(range(10 ** 12))",
    "a search that takes long": "while True:\n    try:\n        search_content('(?=a)(a+)+$')\n    except:\n        pass",
}


@pytest.mark.parametrize("program", CATCHING.values(), ids=CATCHING)
async def test_a_cancelled_program_ends_at_once_whatever_it_catches(room, program):
    limits = stopped("", "").with_limits(seconds=30.0, calls=10**6).limits
    async with AgentExecutor(limits).session(room.functions(limits)) as session:
        running = asyncio.create_task(session.execute(program))
        await asyncio.wait({running}, timeout=0.3)
        began = time.monotonic()
        running.cancel()
        ended = await asyncio.gather(running, return_exceptions=True)

        assert ([type(each) for each in ended], workers()) == ([asyncio.CancelledError], set())
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("program", [CATCHING["a loop that catches everything"], CATCHING["a loop of calls"]])
async def test_the_task_has_no_more_time_than_its_own_whatever_its_programs_catch(room, program):
    limits = stopped("", "").with_limits(seconds=30.0, wall_seconds=0.4, calls=10**6).limits
    result = await room.run(program, limits)

    assert (type(result), getattr(result, "limit", result), workers()) == (LimitReached, "wall_seconds", set())


async def test_a_forged_cancellation_cancels_nothing(room):
    result = await room.run(unchecked("import asyncio\nraise asyncio.CancelledError()"))

    assert not isinstance(result, Cancelled)

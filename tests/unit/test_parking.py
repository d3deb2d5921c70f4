"""Sessions that share fewer workers than there are of them."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cairn.errors import CairnError, DiskFull
from cairn.executor import AgentExecutor
from cairn.program import Cancelled, CodeFailed, Crashed, Finished, LimitReached, Limits, Run
from cairn.session_dump import MemoryDumps
from cairn.worker_pool import WorkerPool
from tests.unit.local_functions import LocalFunctions

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = Limits(seconds=5, memory_mb=64, calls=50, output_chars=400)


class Waiting(LocalFunctions):
    """`ask_llm` waits until it is told what to answer; `asked` says that it does."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def _ask_llm(self, prompt: str) -> str:
        self.asked.set()
        try:
            return await self.answer
        except asyncio.CancelledError:
            self.cancelled.append(prompt)
            raise


class KeptDumps(MemoryDumps):
    """Says what was put; `spoil` makes another dump of the one that is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.puts = 0
        self.spoil = lambda dump: dump
        self.failure: CairnError | None = None

    def put(self, dump):
        if self.failure is not None:
            raise self.failure
        self.puts += 1
        return super().put(dump)

    def get(self, key):
        found = super().get(key)
        return None if found is None else self.spoil(found)


@pytest.fixture
async def pool():
    return WorkerPool(1)


@pytest.fixture
async def functions():
    return Waiting()


@pytest.fixture
def dumps():
    return KeptDumps()


@asynccontextmanager
async def opened(pool, functions, dumps=None, limits=LIMITS, **options):
    async with AgentExecutor(limits, pool=pool).session(functions, now=NOW, dumps=dumps, **options) as session:
        yield session


async def taken_away(pool, _session=None):
    """Another session needs the only worker, runs, and is gone."""
    async with opened(pool, LocalFunctions()) as other:
        result = await other.execute("print('other')")

    assert result.run.output == "other\n"


def exists(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# ── one worker, many sessions ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_waiting_program_gives_its_worker_up_and_goes_on_with_another(pool, functions, dumps):
    code = (
        "import random, time\nbefore = random.random()\nkept = {'a': [1, 2]}\nprint('begun')\n"
        "def ask():\n    for n in range(1):\n        return ask_llm('why') + str(n)\n"
        "said = ask()\nprint(said, kept['a'], random.random() != before, time.time())\nread_file('a.txt')\n"
    )
    async with opened(pool, functions, dumps) as session:
        running = asyncio.create_task(session.execute(code))
        await functions.asked.wait()
        first = session._held.worker.pid
        await taken_away(pool)

        assert (session._held.worker, exists(first), dumps.puts) == (None, False, 1)
        functions.answer.set_result("because ")
        result = await running

    assert result == Finished(
        Run("begun\nbecause 0 [1, 2] True 1767225600.0\n", 0, result.run.seconds, calls=2), value="'one\\ntwo\\n'"
    )
    assert functions.called == [("ask_llm", ("why",)), ("read_file", ("a.txt",))]


async def test_a_session_alone_is_never_parked(functions, dumps, pool):
    async with opened(pool, functions, dumps) as session:
        functions.answer.set_result("x")
        await session.execute("a = ask_llm('1')", step=1)
        pid = session._held.worker.pid
        await session.execute("b = ask_llm('2') + a\nprint(b)", step=2)

        assert (session._held.worker.pid, dumps.puts) == (pid, 0)


async def test_variables_functions_and_checks_survive_between_programs(pool, dumps):
    async with opened(pool, LocalFunctions(), dumps) as session:
        await session.execute("import json\ncount = 0\ndef double(x):\n    return 2 * x\n", step=1)
        assert await session.check("count = 'five'\nprint(json.dumps(double(4)), count)\n") == ()
        await taken_away(pool)
        problems = await session.check("print(nope)\nread_file(5)\n")
        await taken_away(pool)
        second = await session.execute("count = 'five'\nprint(json.dumps(double(4)), count)\n", step=2)
        failed = await session.execute("double(None)", step=3)

    assert dumps.puts == 2
    assert [problem.message for problem in problems] == [
        "Name 'nope' used when not defined",
        "Argument to function 'read_file' is incorrect: Expected 'str', found 'Literal[5]'",
    ]
    assert second.run.output == "8 five\n"
    assert 'File "program of step 1", line 4, in double' in failed.traceback


async def test_files_open_for_writing_are_written_whole_after_the_wait(pool, functions, dumps):
    code = "with open('b.txt', 'w') as f:\n    f.write('one\\n')\n    f.write(ask_llm('why'))\n    f.write('\\nthree\\n')\n"
    async with opened(pool, functions, dumps) as session:
        running = asyncio.create_task(session.execute(code))
        await functions.asked.wait()
        await taken_away(pool)

        assert "b.txt" not in functions.files.files
        functions.answer.set_result("two")
        await running

    assert functions.files.files["b.txt"] == b"one\ntwo\nthree\n"


async def test_an_error_of_the_awaited_call_reaches_the_program_after_the_wait(pool, functions, dumps):
    async with opened(pool, functions, dumps) as session:
        running = asyncio.create_task(
            session.execute("try:\n    ask_llm('why')\nexcept ValueError as e:\n    print(e)")
        )
        await functions.asked.wait()
        await taken_away(pool)
        functions.answer.set_exception(ValueError("no"))

        assert (await running).run.output == "no\n"


async def test_sandbox_time_is_counted_on_over_the_wait(functions, dumps, pool):
    """It has 2 s in all; what it used before it waited is not given back."""
    code = "for i in range(8_000_000):\n    pass\nask_llm('why')\nwhile True:\n    pass\n"
    async with opened(pool, functions, dumps, replace(LIMITS, seconds=2.0)) as session:
        began = time.monotonic()
        running = asyncio.create_task(session.execute(code))
        await functions.asked.wait()
        before = time.monotonic() - began
        await taken_away(pool)
        functions.answer.set_result("go on")
        began = time.monotonic()
        result = await running
        after = time.monotonic() - began

    assert (type(result), result.limit, result.allowed) == (LimitReached, "seconds", 2.0)
    assert after < 2.0 - before / 3


async def test_memory_is_limited_after_the_wait_too(functions, dumps, pool):
    code = "xs = ['x' * 1000]\nask_llm('y')\nwhile True:\n    xs.append('x' * 1000)\n"
    async with opened(pool, functions, dumps) as session:
        running = asyncio.create_task(session.execute(code))
        await functions.asked.wait()
        await taken_away(pool)
        functions.answer.set_result("go on")
        result = await running

    assert (type(result), result.limit, result.allowed) == (LimitReached, "memory_mb", 64)


async def test_calls_are_counted_on_over_the_wait(pool, functions, dumps):
    code = "for i in range(30):\n    read_file('a.txt')\nask_llm('why')\nfor i in range(30):\n    read_file('a.txt')\n"
    async with opened(pool, functions, dumps) as session:
        running = asyncio.create_task(session.execute(code))
        await functions.asked.wait()
        await taken_away(pool)
        functions.answer.set_result("go on")
        result = await running

    assert (type(result), result.limit, result.run.calls) == (LimitReached, "calls", 50)


async def test_many_wait_on_two_workers_and_no_thread():
    pool, count = WorkerPool(2), 40
    every = [Waiting() for _ in range(count)]
    before = threading.active_count()
    most = 0

    async def one(number, functions):
        nonlocal most
        async with opened(pool, functions) as session:
            running = asyncio.create_task(session.execute(f"print({number}, ask_llm('q'))"))
            while not running.done():
                most = max(most, pool.seated)
                await asyncio.sleep(0.01)
            return running.result().run.output

    tasks = [asyncio.create_task(one(number, functions)) for number, functions in enumerate(every)]
    for functions in every:
        await functions.asked.wait()
    assert threading.active_count() - before <= 4
    for functions in reversed(every):
        functions.answer.set_result("a")

    assert await asyncio.gather(*tasks) == [f"{number} a\n" for number in range(count)]
    assert (most, pool.seated) == (2, 0)


async def test_the_one_that_rested_longest_is_parked_first():
    pool = WorkerPool(2)
    first, second = Waiting(), Waiting()
    async with opened(pool, first) as one, opened(pool, second) as other:
        tasks = [asyncio.create_task(one.execute("ask_llm('a')"))]
        await first.asked.wait()
        tasks.append(asyncio.create_task(other.execute("ask_llm('b')")))
        await second.asked.wait()
        await taken_away(pool)

        assert (one._held.worker is None, other._held.worker is None) == (True, False)
        for functions in (first, second):
            functions.answer.set_result("x")
        await asyncio.gather(*tasks)


async def test_a_program_that_computes_is_waited_for(pool):
    async with opened(pool, LocalFunctions()) as session:
        running = asyncio.create_task(session.execute("x = sum(range(3_000_000))\nprint(x)"))
        await asyncio.sleep(0.05)
        await taken_away(pool)

        assert (await running).run.output == "4499998500000\n"


async def test_an_answer_that_comes_while_it_is_being_parked_is_not_lost(pool, dumps):
    for _ in range(10):
        functions = Waiting()
        async with opened(pool, functions, dumps) as session:
            running = asyncio.create_task(session.execute("data = ['x' * 50] * 20_000\nprint(ask_llm('why'))"))
            await functions.asked.wait()
            other = asyncio.create_task(taken_away(pool))
            while session._held not in pool._parking:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)
            functions.answer.set_result("here")

            assert (await running).run.output == "here\n"
            await other


# ── dumps that are no good ──────────────────────────────────────────────────────────────────────────────────────────

SPOILED = {
    "missing": lambda _dump: None,
    "altered": lambda dump: replace(dump, data=dump.data[:-1] + bytes([dump.data[-1] ^ 1])),
    "of another version": lambda dump: replace(dump, version=dump.version.replace("monty ", "monty 9")),
    "sealed by another": lambda dump: replace(dump, mac="0" * 64),
    "of another place": lambda dump: replace(dump, call=dump.call + 1),
}


@pytest.mark.parametrize("spoiling", SPOILED)
async def test_a_dump_that_is_no_good_is_a_crash_that_may_be_repeated(pool, functions, dumps, spoiling):
    dumps.spoil = SPOILED[spoiling]
    async with opened(pool, functions, dumps) as session:
        running = asyncio.create_task(session.execute("print('a')\nprint(ask_llm('why'))"))
        await functions.asked.wait()
        await taken_away(pool)
        functions.answer.set_result("x")
        result = await running

        assert (type(result), result.run.output, result.repeatable) == (Crashed, "a\n", True)
        assert result.detail.startswith("the waiting program could not be taken up again: it ")
        assert (await session.execute("print('afresh')")).run.output == "afresh\n"
    assert pool.seated == 0


async def test_between_programs_it_is_a_crash_of_the_next_one(pool, dumps):
    dumps.spoil = SPOILED["altered"]
    async with opened(pool, LocalFunctions(), dumps) as session:
        await session.execute("kept = 1")
        await taken_away(pool)
        problems = await session.check("print(kept)")
        result = await session.execute("print(2)")

        assert problems[0].hint == "earlier programs' variables are gone: the sandbox was started anew."
        assert (type(result), result.repeatable, result.run) == (Crashed, True, Run())
        assert (await session.execute("print(3)")).run.output == "3\n"


@pytest.mark.parametrize("how", ["dump", "death"])
async def test_variables_that_were_lost_are_made_anew_from_the_journal(pool, dumps, how):
    async def rebuild(session):
        rebuilt.append(await session.execute("kept = 1", step=1))

    rebuilt = []
    async with opened(pool, LocalFunctions(), dumps, rebuild=rebuild) as session:
        await session.execute("kept = 1", step=1)
        if how == "dump":
            dumps.spoil = SPOILED["altered"]
            await taken_away(pool)
        else:
            os.kill(session._held.worker.pid, 9)
            while session._held.worker.alive:  # noqa: ASYNC110 - the system tells nobody
                await asyncio.sleep(0.001)

        assert await session.check("print(kept)") == ()
        assert (await session.execute("print(kept)", step=2)).run.output == "1\n"
    assert [type(result) for result in rebuilt] == [Finished]


async def test_a_store_that_takes_nothing_does_not_stop_the_task(pool, functions, dumps):
    dumps.failure = DiskFull("The disk is full.")
    async with opened(pool, functions, dumps) as session:
        running = asyncio.create_task(session.execute("print(ask_llm('why'))"))
        await functions.asked.wait()
        await taken_away(pool)
        functions.answer.set_result("kept in memory")

        assert (await running).run.output == "kept in memory\n"


# ── death ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_worker_that_is_killed_while_its_program_waits_is_a_crash_at_once(pool, functions):
    async with opened(pool, functions) as session:
        running = asyncio.create_task(session.execute("print('a')\nask_llm('why')"))
        await functions.asked.wait()
        os.kill(session._held.worker.pid, 9)
        result = await asyncio.wait_for(running, 1)

        assert (type(result), result.run.output, "SIGKILL" in result.detail) == (Crashed, "a\n", True)
        assert (functions.cancelled, pool.seated) == (["why"], 0)
        assert (await session.execute("print('alive')")).run.output == "alive\n"


async def test_ctrl_c_that_reaches_a_resting_worker_first_is_no_crash(pool, functions):
    async with opened(pool, functions) as session:
        running = asyncio.create_task(session.execute("ask_llm('why')"))
        await functions.asked.wait()
        os.kill(session._held.worker.pid, 2)

        assert isinstance(await running, Cancelled)


async def test_a_worker_that_is_killed_while_it_is_parked_is_a_crash(pool, dumps):
    for _ in range(5):
        functions = Waiting()
        async with opened(pool, functions, dumps) as session:
            running = asyncio.create_task(session.execute("data = ['x' * 50] * 100_000\nprint(ask_llm('why'))"))
            await functions.asked.wait()
            pid = session._held.worker.pid
            other = asyncio.create_task(taken_away(pool))
            while session._held not in pool._parking:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)
            os.kill(pid, 9)
            await other
            if not functions.answer.done():  # it was parked before the signal came
                functions.answer.set_result("x")
            result = await asyncio.wait_for(running, 1)

        assert isinstance(result, Crashed | Finished)
        assert pool.seated == 0


async def test_a_worker_that_is_killed_while_it_is_loaded_is_a_crash(pool, functions, dumps, monkeypatch):
    from cairn.program_run import ProgramRun

    real = ProgramRun.move

    def killed_first(self, worker, image):
        os.kill(worker.pid, 9)
        real(self, worker, image)

    monkeypatch.setattr(ProgramRun, "move", killed_first)
    async with opened(pool, functions, dumps) as session:
        running = asyncio.create_task(session.execute("print(ask_llm('why'))"))
        await functions.asked.wait()
        await taken_away(pool)
        functions.answer.set_result("x")
        result = await asyncio.wait_for(running, 1)

        assert (type(result), "SIGKILL" in result.detail, pool.seated) == (Crashed, True, 0)


# ── cancellation ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("parked", [False, True])
async def test_cancelling_a_waiting_program_cancels_its_call_and_leaves_nothing(pool, functions, dumps, parked):
    async with opened(pool, functions, dumps) as session:
        running = asyncio.create_task(session.execute("try:\n    ask_llm('why')\nexcept:\n    ask_llm('again')"))
        await functions.asked.wait()
        if parked:
            await taken_away(pool)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(running, 1)

        assert (functions.cancelled, pool.seated, dumps.get(1)) == (["why"], 0, None)
        assert (await session.execute("print('alive')")).run.output == "alive\n"


async def test_a_parked_program_is_cancelled_although_every_worker_computes(pool, functions, dumps):
    async with opened(pool, functions, dumps) as session, opened(pool, LocalFunctions()) as busy:
        running = asyncio.create_task(session.execute("ask_llm('why')"))
        await functions.asked.wait()
        computing = asyncio.create_task(busy.execute("while True: pass"))
        while session._held.worker is not None:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(running, 0.5)
        computing.cancel()
        await asyncio.gather(computing, return_exceptions=True)

    assert functions.cancelled == ["why"]


async def test_a_program_whose_answer_came_is_cancelled_while_it_waits_for_a_worker(pool, functions, dumps):
    async with opened(pool, functions, dumps) as session, opened(pool, LocalFunctions()) as busy:
        running = asyncio.create_task(session.execute("print(ask_llm('why'))"))
        await functions.asked.wait()
        computing = asyncio.create_task(busy.execute("while True: pass"))
        while session._held.worker is not None:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)
        functions.answer.set_result("x")
        while not pool._queue:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(running, 0.5)

        assert (len(pool._queue), pool.seated, dumps.get(1)) == (0, 1, None)
        computing.cancel()
        await asyncio.gather(computing, return_exceptions=True)


async def test_wall_time_ends_a_parked_program_and_its_call(pool, functions, dumps):
    limits = replace(LIMITS, wall_seconds=0.6)
    async with opened(pool, functions, dumps, limits) as session:
        running = asyncio.create_task(session.execute("print('a')\nask_llm('why')"))
        await functions.asked.wait()
        await taken_away(pool)
        result = await running

        assert (type(result), result.limit, result.run.output) == (LimitReached, "wall_seconds", "a\n")
        assert (functions.cancelled, pool.seated, dumps.get(1)) == (["why"], 0, None)


async def test_cancelling_in_every_moment_leaves_no_worker_and_no_seat(dumps):
    pool = WorkerPool(2)
    for delay in range(0, 60, 3):
        functions = [Waiting() for _ in range(4)]

        async def one(mine):
            async with opened(pool, mine, limits=LIMITS) as session:
                await session.execute("x = 1")
                return await session.execute("ask_llm('why')")

        tasks = [asyncio.create_task(one(mine)) for mine in functions]
        await asyncio.sleep(delay / 1000)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)

        assert all(isinstance(each, asyncio.CancelledError) for each in ended)
        assert (pool.seated, len(pool._queue), len(pool._parking)) == (0, 0, 0)


# ── a later session ─────────────────────────────────────────────────────────────────────────────────────────────────


class Paused(BaseException):
    """What a person's question raises, once the program is kept."""


async def paused(
    pool,
    dumps,
    code="kept = 7\nprint('before')\nwith open('b.txt', 'w') as f:\n    f.write('one ')\n    f.write(ask_llm('why'))\nread_file('a.txt')\nprint(kept)\n",
    limits=LIMITS,
):
    functions = LocalFunctions()

    async def ask(prompt):
        keys.append(await sessions[0].keep())
        raise Paused

    functions._ask_llm = ask
    keys, sessions = [], []
    async with opened(pool, functions, dumps, limits) as session:
        sessions.append(session)
        await session.execute("def shout(x):\n    return x.upper()\n", step=1)
        with pytest.raises(Paused):
            await session.execute(code, step=2)
    assert pool.seated == 0
    return keys[0]


async def test_a_later_session_goes_on_where_the_program_waited(pool, dumps):
    key = await paused(pool, dumps)
    functions = LocalFunctions()
    async with opened(pool, functions, dumps) as session:
        result = await session.resume_from(key, lambda: "two")
        after = await session.execute("print(shout(str(kept) + 'x'))", step=3)
        problems = await session.check("print(nope, shout, kept)")

    assert result == Finished(Run("before\n7\n", 0, result.run.seconds, calls=3))
    assert (functions.files.files["b.txt"], after.run.output) == (b"one two", "7X\n")
    assert [problem.message for problem in problems] == ["Name 'nope' used when not defined"]
    assert dumps.get(key) is None


async def test_a_later_session_hands_an_error_over_as_well(pool, dumps):
    key = await paused(pool, dumps, "try:\n    ask_llm('why')\nexcept PermissionError as e:\n    print('no:', e)\n")

    def refuse():
        raise PermissionError("denied by a person")

    async with opened(pool, LocalFunctions(), dumps) as session:
        result = await session.resume_from(key, refuse)

    assert result.run.output == "no: denied by a person\n"


async def test_a_later_session_under_other_limits_does_not_use_the_dump(pool, dumps):
    key = await paused(pool, dumps)
    async with opened(pool, LocalFunctions(), dumps, replace(LIMITS, seconds=50)) as session:
        result = await session.resume_from(key, lambda: "two")

        assert (type(result), result.repeatable) == (Crashed, True)
        assert "under other limits or functions" in result.detail
        assert (await session.execute("print('afresh')")).run.output == "afresh\n"


async def test_a_dump_between_programs_has_no_call_to_answer(pool, dumps):
    async with opened(pool, LocalFunctions(), dumps) as session:
        await session.execute("x = 1")
        key = await session.keep()
    async with opened(pool, LocalFunctions(), dumps) as session:
        result = await session.resume_from(key, lambda: None)

    assert (type(result), "no program waits in it" in result.detail) == (Crashed, True)


async def test_an_error_after_the_wait_is_shown_with_the_programs_own_lines(pool, dumps):
    key = await paused(pool, dumps, "def fail(x):\n    return x + 1\n\nfail(ask_llm('why'))\n")
    async with opened(pool, LocalFunctions(), dumps) as session:
        result = await session.resume_from(key, lambda: "two")

    assert (type(result), result.line) == (CodeFailed, 2)
    assert 'File "program", line 2, in fail' in result.traceback

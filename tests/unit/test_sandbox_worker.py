from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime

import pytest

from cairn import sandbox_worker
from cairn.errors import CairnError
from cairn.executor import AgentExecutor
from cairn.program import Limits
from cairn.sandbox_worker import SandboxWorker, in_thread
from tests.unit.local_functions import LocalFunctions


def start() -> SandboxWorker:
    return SandboxWorker.start(Limits(seconds=5), "", now=datetime.now(UTC), seed=1)


def test_a_worker_can_be_ended_twice_and_from_any_thread():
    worker = start()
    threads = [threading.Thread(target=worker.kill) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    worker.close()
    worker.close()

    assert (worker.alive, worker.memory_peak()) == (False, 0)


def test_a_worker_knows_its_memory():
    worker = start()
    before = worker.memory_peak()
    worker.session.feed_run("len('x' * 30_000_000)", skip_type_check=True)

    assert worker.memory_peak() - before > 20_000_000
    worker.close()


@pytest.mark.parametrize("binary", ["/no/such/file", "/etc/passwd", "/bin/true"])
async def test_a_sandbox_that_does_not_start_is_told_with_what_to_do(monkeypatch, binary):
    monkeypatch.setattr(sandbox_worker, "_binary", lambda: binary)
    with pytest.raises(CairnError) as caught:
        async with AgentExecutor(Limits(seconds=1)).session(LocalFunctions()) as session:
            await session.execute("print(1)")

    assert caught.value.what == "The sandbox cannot be started, so no program can run."
    assert "pydantic-monty==1.4.0" in caught.value.fix[0]


async def test_work_in_a_thread_gives_its_result_or_its_error():
    def fail():
        raise KeyError("k")

    def stop():
        raise StopIteration("s")

    assert await in_thread(lambda: 5) == 5
    with pytest.raises(KeyError):
        await in_thread(fail)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await in_thread(stop)


async def test_work_whose_waiter_went_away_disturbs_nobody():
    release = threading.Event()
    waiting = in_thread(release.wait)
    waiting.cancel()
    release.set()

    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_work_that_ends_after_its_loop_disturbs_nobody():
    release = threading.Event()

    async def leave() -> None:
        in_thread(release.wait)

    asyncio.run(leave())
    release.set()
    for thread in list(sandbox_worker._THREADS):
        thread.join(2)

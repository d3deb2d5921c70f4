from __future__ import annotations

import asyncio

import pytest

from cairn.worker_pool import LINGER_SECONDS, WorkerPool, shared_pool


class Guest:
    """A session's part of the pool: it says when it was parked, and may take its time for it."""

    def __init__(self, name: str, log: list[str], *, slow: bool = False) -> None:
        self.name = name
        self.log = log
        self.parking = asyncio.Event()
        self.may_end = asyncio.Event()
        if not slow:
            self.may_end.set()

    async def park(self) -> None:
        self.parking.set()
        await self.may_end.wait()
        self.log.append(f"parked {self.name}")


@pytest.fixture
def log():
    return []


def guests(log, names):
    return [Guest(name, log) for name in names]


async def test_a_free_seat_is_taken_at_once_and_a_resting_one_taken_up_again(log):
    pool = WorkerPool(2)
    (a,) = guests(log, "a")
    await pool.take(a)
    await pool.take(a)
    pool.rest(a)
    await pool.take(a)

    assert (pool.seated, log) == (1, [])
    pool.give_up(a)
    assert pool.seated == 0


async def test_who_comes_first_sits_first(log):
    pool = WorkerPool(1)
    a, b, c = guests(log, "abc")
    await pool.take(a)

    async def sit(guest):
        await pool.take(guest)
        log.append(guest.name)
        pool.give_up(guest)

    tasks = [asyncio.create_task(sit(guest)) for guest in (b, c)]
    await asyncio.sleep(0)
    assert pool.take_free(a) is False
    pool.give_up(a)
    await asyncio.gather(*tasks)

    assert (log, pool.seated) == (["b", "c"], 0)


async def test_the_longest_resting_is_parked_and_only_as_many_as_are_needed(log):
    pool = WorkerPool(3)
    a, b, c, d = guests(log, "abcd")
    for guest in (a, b, c):
        await pool.take(guest)
    for guest in (b, a, c):
        pool.rest(guest)
    await pool.take(d)

    assert (log, pool.seated) == (["parked b"], 3)


async def test_who_rests_and_goes_on_in_the_same_breath_is_not_parked(log):
    pool = WorkerPool(1)
    a, b = guests(log, "ab")
    await pool.take(a)
    waiting = asyncio.create_task(pool.take(b))
    for _ in range(5):
        pool.rest(a)
        await pool.take(a)
        await asyncio.sleep(0)

    assert log == []
    pool.rest(a)
    await waiting
    assert log == ["parked a"]


async def test_who_has_rested_for_moments_only_may_go_on_first(log):
    pool = WorkerPool(1)
    a, b = guests(log, "ab")
    await pool.take(a)
    began = asyncio.get_running_loop().time()
    pool.rest(a)
    await pool.take(b)

    assert asyncio.get_running_loop().time() - began >= LINGER_SECONDS


async def test_who_is_just_being_parked_waits_for_that_and_then_for_a_seat(log):
    pool = WorkerPool(1)
    a, b = Guest("a", log, slow=True), Guest("b", log)
    await pool.take(a)
    pool.rest(a)
    other = asyncio.create_task(pool.take(b))
    await a.parking.wait()
    again = asyncio.create_task(pool.take(a))
    await asyncio.sleep(0)
    assert (again.done(), other.done(), pool.seated) == (False, False, 1)
    a.may_end.set()
    await other
    pool.give_up(b)
    await again

    assert (log, pool.seated) == (["parked a"], 1)


async def test_leaving_waits_for_a_parking_under_way(log):
    pool = WorkerPool(1)
    a, b = Guest("a", log, slow=True), Guest("b", log)
    await pool.take(a)
    pool.rest(a)
    other = asyncio.create_task(pool.take(b))
    await a.parking.wait()
    leaving = asyncio.create_task(pool.leave(a))
    await asyncio.sleep(0)
    assert not leaving.done()
    a.may_end.set()
    await leaving
    await other

    assert log == ["parked a"]


async def test_who_is_cancelled_while_waiting_leaves_no_trace(log):
    pool = WorkerPool(1)
    a, b, c = guests(log, "abc")
    await pool.take(a)
    tasks = [asyncio.create_task(pool.take(guest)) for guest in (b, c)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    pool.give_up(a)
    await asyncio.gather(*tasks, return_exceptions=True)

    assert (tasks[0].cancelled(), pool.seated, len(pool._queue)) == (True, 1, 0)


async def test_who_is_cancelled_in_the_moment_of_getting_a_seat_gives_it_back(log):
    pool = WorkerPool(1)
    a, b = guests(log, "ab")
    await pool.take(a)
    waiting = asyncio.create_task(pool.take(b))
    await asyncio.sleep(0)
    pool.give_up(a)
    pool._look()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert (waiting.cancelled(), pool.seated) == (True, 0)


async def test_parking_on_purpose_needs_nobody_who_wants_the_seat(log):
    pool = WorkerPool(2)
    a, b = guests(log, "ab")
    await pool.take(a)
    with pytest.raises(RuntimeError):
        await pool.park(a)
    pool.rest(a)
    await pool.park(a)
    await pool.park(a)
    await pool.park(b)

    assert (log, pool.seated) == (["parked a"], 0)


async def test_one_pool_for_all_of_a_loop():
    assert shared_pool() is shared_pool()
    with pytest.raises(ValueError, match="worker"):
        WorkerPool(0)

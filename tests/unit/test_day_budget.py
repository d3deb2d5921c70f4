"""The project's day: any number of processes together never reserve more than there is, and the dead hold nothing."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time

import pytest

from cairn.day_budget import DayBudget, Held, NoRoom, day_of
from cairn.metering import FREE, Ceilings, Price, Rate, Rates, Spent, picos
from cairn.queue import TaskQueue
from cairn.task import CodeOrigin, Outcome, TaskStatus
from cairn.task_owner import Owner

NOON = time.mktime((2026, 6, 1, 12, 0, 0, 0, 0, -1))


class Ledger:
    """A ledger with running tasks, and a clock that stands where it is put."""

    def __init__(self, place):
        self.place = place
        self.now = NOON
        self.queue = TaskQueue(self.place, clock=lambda: self.now)
        self.me = Owner.this_process()

    def running(self):
        task = self.queue.add("do it", CodeOrigin("file", "p.py", ""))
        return self.queue.claim(self.me, task.id)

    def day(self, owner=None, **ceilings):
        return DayBudget(self.place, Ceilings(**ceilings), owner or str(self.me), clock=lambda: self.now)


@pytest.fixture
def ledger(ledger_place):
    ledger = Ledger(ledger_place)
    yield ledger
    ledger.queue.close()


def wanted(input_tokens, output_tokens):
    return Spent.on(None, input_tokens, output_tokens)


def test_a_reservation_is_settled_or_released_and_counts_until_then(ledger):
    task = ledger.running()
    with ledger.day(tokens=1_000) as day:
        held = day.reserve(task.id, "m", None, wanted(100, 500))
        before = day.today()
        day.settle(held, wanted(90, 60))
        other = day.reserve(task.id, "m", None, wanted(100, 500))
        day.release(other)

        assert (before.reserved.tokens, before.spent.tokens) == (600, 0)
        assert (day.today().reserved.tokens, day.today().spent.tokens) == (0, 150)


def test_an_answer_gets_what_is_left_of_the_day_and_then_nothing(ledger):
    task = ledger.running()
    with ledger.day(tokens=1_000) as day:
        first = day.reserve(task.id, "m", None, wanted(100, 700))
        second = day.reserve(task.id, "m", None, wanted(100, 700))
        third = day.reserve(task.id, "m", None, wanted(100, 700))
        day.settle(first, wanted(100, 700))
        day.settle(second, wanted(100, 100))
        last = day.reserve(task.id, "m", None, wanted(100, 700))

    assert (first.spent.output_tokens, second.spent.output_tokens) == (700, 100)
    assert third == NoRoom("tokens", Spent(), for_now=True)
    assert (last.of, last.used.tokens, last.for_now) == ("tokens", 1_000, False)


def test_money_of_the_day_is_counted_by_price(ledger):
    task = ledger.running()
    with ledger.day(picos=picos(0.01)) as day:
        held = day.reserve(task.id, "m", Price(1, 10), Spent.on(Price(1, 10), 1_000, 4_000))
        free = day.reserve(task.id, "small", FREE, Spent.on(FREE, 1_000, 4_000))

    assert (held.spent.output_tokens, held.spent.picos) == (900, picos(0.01))
    assert (free.spent.output_tokens, free.spent.picos) == (4_000, 0)


def test_a_longer_answer_takes_more_while_there_is_more(ledger):
    task = ledger.running()
    with ledger.day(tokens=1_000) as day:
        held = day.reserve(task.id, "m", None, wanted(100, 200))
        more = day.grow(held, None, 600)
        most = day.grow(more, None, 5_000)

        assert (more.spent.output_tokens, most.spent.output_tokens) == (600, 900)
        assert day.grow(most, None, 5_000).of == "tokens"
        assert day.today().reserved.tokens == 1_000


@pytest.mark.parametrize("end", ["its lease", "its task", "its process"])
def test_what_a_dead_process_reserved_is_free_again(ledger, end):
    task = ledger.running()
    with ledger.day(tokens=1_000) as day:
        day.reserve(task.id, "m", None, wanted(100, 900))
        assert isinstance(day.reserve(task.id, "m", None, wanted(100, 900)), NoRoom)
        if end == "its lease":
            ledger.now += 31
        elif end == "its task":
            ledger.queue.finish(task, TaskStatus.FAILED, outcome=Outcome())
        else:
            ledger.queue.claim(Owner("elsewhere", 1, 1), ledger.queue.requeue(task).id)

        other = ledger.running()
        assert isinstance(day.reserve(other.id, "m", None, wanted(100, 900)), Held)


def test_a_call_that_ends_after_its_reservation_was_given_up_is_counted_all_the_same(ledger):
    task = ledger.running()
    with ledger.day(tokens=1_000) as day:
        held = day.reserve(task.id, "m", None, wanted(100, 800))
        ledger.now += 31
        assert day.today().reserved.tokens == 0
        day.settle(held, wanted(100, 50))

        assert day.today().spent.tokens == 150


def test_a_new_day_is_empty_and_old_rows_go(ledger):
    task = ledger.running()
    with ledger.day(tokens=1_000) as day:
        day.settle(day.reserve(task.id, "m", None, wanted(100, 800)), wanted(100, 900))
        ledger.now += 12 * 3600
        assert day.today().spent == Spent()
        ledger.now += 8 * 86_400
        day.today()

        assert day._db.execute("SELECT count(*) FROM spending").rows == [(0,)]


def test_a_day_goes_from_midnight_to_midnight():
    start, end = day_of(NOON)

    assert (time.localtime(start)[:5], time.localtime(end)[:5]) == ((2026, 6, 1, 0, 0), (2026, 6, 2, 0, 0))


RACER = """
import pickle, sys
from cairn.day_budget import DayBudget, Held
from cairn.metering import Ceilings, Spent
from cairn.queue import TaskQueue
from cairn.task_owner import Owner
place, task = pickle.loads(bytes.fromhex(sys.argv[1])), sys.argv[2]
TaskQueue(place).claim(Owner.this_process(), task)
day = DayBudget(place, Ceilings(tokens=10_000), str(Owner.this_process()))
print("ready", flush=True)
sys.stdin.readline()
got = 0
for n in range(400):
    held = day.reserve(task, "m", None, Spent(1, 10, 30))
    if not isinstance(held, Held):
        continue
    if n % 3:
        day.settle(held, Spent(1, 10, held.spent.output_tokens))
        got += held.spent.tokens
    else:
        day.release(held)
print(got)
"""


def test_processes_that_race_for_one_day_never_overrun_it_together(ledger_place):
    with TaskQueue(ledger_place) as queue:
        tasks = [queue.add("do it", CodeOrigin("file", "p.py", "")).id for _ in range(3)]
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, pickle.dumps(ledger_place).hex(), task],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for task in tasks
    ]
    assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 3
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    got = [int(racer.communicate(timeout=50)[0]) for racer in racers]

    with DayBudget(ledger_place, Ceilings(tokens=10_000)) as day:
        assert day.today().spent.tokens == sum(got) == 10_000


# ── rates: how fast a model may be asked ──


def rated(ledger, **figures):
    owner = str(ledger.me)
    return DayBudget(ledger.place, Ceilings(), owner, rates=Rates({"m*": Rate(**figures)}), clock=lambda: ledger.now)


def test_so_many_calls_of_a_model_are_under_way_at_once_over_all_tasks(ledger):
    one, two = ledger.running(), ledger.running()
    with rated(ledger, calls_at_once=1) as day, rated(ledger, calls_at_once=1) as others:
        held = day.reserve(one.id, "m1", None, wanted(10, 10))

        assert others.reserve(two.id, "m1", None, wanted(10, 10)) == NoRoom("calls_at_once", Spent(), for_now=True)
        assert isinstance(others.reserve(two.id, "m2", None, wanted(10, 10)), Held)
        assert isinstance(others.reserve(two.id, "free", None, wanted(10, 10)), Held)
        day.settle(held, wanted(10, 10))
        assert isinstance(others.reserve(two.id, "m1", None, wanted(10, 10)), Held)


def test_so_many_requests_of_a_model_are_made_in_a_minute(ledger):
    task = ledger.running()
    with rated(ledger, requests_per_minute=2) as day:
        for _ in range(2):
            day.settle(day.reserve(task.id, "m", None, wanted(1, 1)), wanted(1, 1))
            ledger.now += 10
        refused = day.reserve(task.id, "m", None, wanted(1, 1))
        ledger.now += 41
        allowed = day.reserve(task.id, "m", None, wanted(1, 1))

    assert (refused.of, refused.for_now) == ("requests_per_minute", True)
    assert isinstance(allowed, Held)


def test_so_many_tokens_of_a_model_are_used_in_a_minute_and_a_call_larger_than_that_goes_alone(ledger):
    task = ledger.running()
    with rated(ledger, tokens_per_minute=100) as day:
        large = day.reserve(task.id, "m", None, wanted(500, 500))
        refused = day.reserve(task.id, "m", None, wanted(1, 1))
        day.settle(large, wanted(50, 30))
        fits, too_many = (day.reserve(task.id, "m", None, wanted(10, each)) for each in (5, 30))

    assert isinstance(large, Held)
    assert refused.of == "tokens_per_minute"
    assert isinstance(fits, Held)
    assert too_many.of == "tokens_per_minute"

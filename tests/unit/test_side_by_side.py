"""On a server, changes of different tasks do not wait for each other; what is judged by more than one row still holds."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import psycopg
import pytest

from cairn.day_budget import DayBudget, Held
from cairn.errors import IllegalMove, ModelUnavailable
from cairn.journal import TakenOver
from cairn.ledger_answer import Order
from cairn.ledger_database import opened
from cairn.ledger_place import LedgerServer
from cairn.metering import Ceilings, Spent
from cairn.model_pauses import ModelPauses
from cairn.queue import TaskQueue
from cairn.task import CodeOrigin, Outcome, TaskStatus, Terms
from cairn.task_content import TaskContents
from cairn.task_owner import Owner
from cairn.wanted_tasks import Wanted

FILE = CodeOrigin("file", "x", "")
HERE = Owner.this_process()
MANY = 6


@pytest.fixture
def place(database_url):
    return LedgerServer(database_url, "shop")


@pytest.fixture
def queue(place):
    with TaskQueue(place) as queue:
        yield queue


@pytest.fixture
def other(place):
    with closing(opened(place)) as other:
        yield other


@pytest.fixture
def queues(place):
    """As many processes would have: a connection each."""
    with ExitStack() as opens:
        yield [opens.enter_context(TaskQueue(place)) for _ in range(MANY)]


@pytest.fixture
def at_once(queues):
    """Does the same in each of them at the same moment, and gives back what they gave."""
    ready = threading.Barrier(MANY)

    def one(act, queue):
        ready.wait(20)
        return act(queue)

    with ThreadPoolExecutor(MANY) as pool:
        yield lambda act: [each.result() for each in [pool.submit(one, act, queue) for queue in queues]]


def wait_until_one_waits(url):
    with psycopg.connect(url, autocommit=True) as looks:
        while not looks.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchall():
            pass


def test_tasks_are_added_claimed_and_ended_while_another_change_is_under_way(queue, other):
    held, free, running = queue.put([queue.draft(each, FILE) for each in ("held", "free", "running")])
    queue._db.execute("UPDATE task SET priority = 1 WHERE id = ?", (running.id,))
    running = queue.claim(HERE)

    def change():
        other.execute("UPDATE task SET reason = 'under way' WHERE id = ?", (held.id,))
        done = queue.finish(running, TaskStatus.IN_REVIEW, outcome=Outcome())
        queue.move(done, TaskStatus.ACCEPTED)
        return queue.claim(HERE), queue.claim(HERE), queue.add("new", FILE).status

    claimed, nothing_more, added = other.write(change, order=Order.BESIDE)

    assert (claimed.id, nothing_more, added) == (free.id, None, TaskStatus.QUEUED)
    assert queue.claim(HERE).id == held.id


def test_a_change_that_is_alone_waits_for_those_under_way_and_they_for_it(queue, other, database_url):
    with ThreadPoolExecutor(1) as pool:
        for first, second in ((Order.ALONE, Order.BESIDE), (Order.BESIDE, Order.ALONE)):

            def change(second=second):
                waiting = pool.submit(lambda: queue._db.write(lambda: "done", order=second))
                wait_until_one_waits(database_url)
                assert not waiting.done()
                return waiting

            assert other.write(change, order=first).result(20) == "done"


def test_a_part_is_not_alone_in_a_change_that_is_not(other):
    with pytest.raises(RuntimeError, match="alone"):
        other.write(lambda: other.write(lambda: None), order=Order.BESIDE)
    other.write(lambda: other.write(lambda: None, order=Order.BESIDE))


def test_no_more_run_at_once_than_may(queue, at_once):
    for most in (1, 3):
        queue.put([queue.draft("x", FILE) for _ in range(MANY)])
        found = [each for each in at_once(lambda each, most=most: each.claim(HERE, at_once=most)) if each]

        assert len({task.id for task in found}) == len(found) == most
        for task in found:
            queue.finish(task, TaskStatus.FAILED, outcome=Outcome())


def test_one_task_tries_a_model_whose_pause_is_over(queue, place, at_once):
    with ModelPauses(place, 60.0) as pauses:
        pauses.begin("big", ModelUnavailable("no key"))
    queue._db.execute("UPDATE pause SET until = 1")
    queue.put([queue.draft("x", FILE, model="big") for _ in range(MANY)])

    assert len([each for each in at_once(lambda each: each.claim(HERE)) if each]) == 1


def test_many_claim_each_task_once_and_by_its_priority(queue, at_once):
    tasks = [queue.draft("x", FILE, terms=Terms(priority=number)) for number in range(2 * MANY)]
    queue.put(tasks)
    urgent = {task.id for task in tasks[MANY:]}

    assert {each.id for each in at_once(lambda each: each.claim(HERE))} == urgent


def test_one_of_many_claims_a_named_task(queue, at_once):
    task = queue.add("x", FILE)

    assert [each.attempt for each in at_once(lambda each: each.claim(HERE, task.id)) if each] == [1]


def test_one_task_comes_of_a_key_that_many_add_at_once(queue, at_once):
    added = at_once(lambda each: each.add("x", FILE, terms=Terms(key="k")))

    assert len({task.id for task in added}) == len(queue.tasks()) == 1


def test_a_task_that_is_added_while_the_one_before_it_is_accepted_does_not_wait_for_ever(queue, at_once):
    needed = queue.add("x", FILE)
    queue.claim(HERE)
    review = queue.finish(queue.get(needed.id), TaskStatus.IN_REVIEW, outcome=Outcome())
    turns = iter(range(MANY))

    def act(each):
        if next(turns) == MANY // 2:
            each.move(review, TaskStatus.ACCEPTED)
        else:
            each.add("y", FILE, terms=Terms(after=(needed.id,)))

    at_once(act)

    assert queue.count_ready(10) == MANY - 1


def test_one_of_many_ends_a_task(queue, at_once):
    queue.add("x", FILE)
    task = queue.claim(HERE)

    def end(each):
        try:
            return each.finish(task, TaskStatus.IN_REVIEW, outcome=Outcome())
        except IllegalMove:
            return None

    assert len([each for each in at_once(end) if each]) == 1
    assert [move.became for move in queue.events(task.id)].count(TaskStatus.IN_REVIEW) == 1


def test_many_together_reserve_no_more_than_there_is(place, queue, at_once):
    queue.add("x", FILE)
    task = queue.claim(HERE)
    with ExitStack() as opens:
        budgets = [opens.enter_context(DayBudget(place, Ceilings(tokens=250), str(HERE))) for _ in range(MANY)]
        free, wanted = iter(budgets), Spent(1, 50, 50)
        found = at_once(lambda _each: next(free).reserve(task.id, "m", None, wanted))

        held = [each for each in found if isinstance(each, Held)]
        assert sum(each.spent.tokens for each in held) <= 250
        assert len(held) > 1
        budgets[0].settle(held[0], Spent(1, 10, 10))
        assert budgets[0].today().spent.tokens == 20


def test_a_task_is_not_given_to_another_attempt_in_the_middle_of_its_publication(queue, other, database_url):
    queue.add("x", FILE)
    task = queue.claim(HERE)
    contents = TaskContents(other, None)
    one, two, three = (b"SQLite format 3\0\x10\0" + fill * 8174 for fill in (b"1", b"2", b"3"))
    head = contents.publish(task, None, b"", one)
    with ThreadPoolExecutor(1) as pool:

        def publish():
            switched = contents.publish(task, head, one, two)
            taken = pool.submit(queue.requeue, task)
            wait_until_one_waits(database_url)
            assert not taken.done()
            return switched, taken

        second, taken = other.write(publish, order=Order.BESIDE)
        taken.result(20)

    with pytest.raises(TakenOver):
        contents.publish(task, second, two, three)
    assert contents.fetched(task.id) == (second, two)


def test_who_follows_the_moves_misses_none_that_is_committed_later_than_its_follower(queue, other, database_url):
    first, second = queue.put([queue.draft(each, FILE) for each in "ab"])
    seen = queue.last_move()
    with ThreadPoolExecutor(1) as pool:

        def change():
            other.execute("UPDATE task SET status = 'running' WHERE id = ?", (first.id,))
            queue.claim(HERE, second.id)
            looked = pool.submit(queue.moves_since, seen, Wanted())
            wait_until_one_waits(database_url)
            return looked

        looked = other.write(change, order=Order.BESIDE).result(20)

    assert [task.id for _, task, _ in looked] == [first.id, second.id]
    assert queue.moves_since(looked[-1][0], Wanted()) == ()

"""What every engine keeps: each task that may start is handed over once, in order, to whoever is free; nothing else is."""

from __future__ import annotations

import itertools
import os
import selectors
import signal
import subprocess
import sys
import time

import psycopg
import pytest

from cairn.engines.dbos import DbosEngine, Dispatch
from cairn.engines.dbos_messages import Offered
from cairn.engines.embedded import EmbeddedEngine
from cairn.errors import ModelCallFailed
from cairn.ledger_place import LedgerFile, LedgerServer
from cairn.model_pauses import ModelPauses
from cairn.queue import TaskQueue
from cairn.task import CodeOrigin, Outcome, PutOff, TaskStatus, Terms
from cairn.task_owner import Owner

FILE = CodeOrigin("file", "fix.py", program="submit_result('x', [])")
LONG = 15.0  # for what comes; a busy machine may need it
SHORT = {"embedded": 0.2, "dbos": 1.2}  # for what must not come: longer than the engine takes to bring a task


class Crew:
    """One engine and as many workers as a test wants; a worker is a place in a list."""

    def __init__(self, queue, engine, size):
        self.queue, self.engine, self.size = queue, engine, size
        self.selector = selectors.DefaultSelector()
        self.running = {}
        self.owner = Owner.this_process()
        self.without = ()
        engine.open(self.selector)

    def comes_up(self):
        """Before it is told of any task, so that tests that wait for nothing to come do not wait for its start."""
        end = time.monotonic() + LONG
        while not getattr(self.engine, "_up", True) and time.monotonic() < end:
            for key, _ in self.selector.select(0.05):
                key.data()

    def step(self):
        """As `Crew` does: tends, and gives each idle worker a task if there is one."""
        idle = self.size - len(self.running)
        self.engine.tend(idle, self.without)
        got = []
        while len(self.running) < self.size:
            task = self.engine.claim(self.owner, self.without)
            if task is None:
                break
            self.running[task.id] = task
            got.append(task.id)
        for key, _ in self.selector.select(0.01) if self.selector.get_map() else ():
            key.data()
        return got

    def takes(self, count=None, within=None):
        """The next tasks in the order in which they were handed over; without a count all that come in a while."""
        end = time.monotonic() + (within or (LONG if count else SHORT[self.engine.name]))
        got = []
        while time.monotonic() < end and (count is None or len(got) < count):
            got += self.step()
        return got

    def ends(self, task_id, status=TaskStatus.FAILED):
        self.queue.finish(self.running[task_id], status, outcome=Outcome())
        self.engine.let_go(self.running.pop(task_id))

    def ends_all(self):
        for task_id in list(self.running):
            self.ends(task_id)

    def close(self):
        self.engine.close()
        self.selector.close()


KINDS = ["embedded, a file", "embedded, a server", pytest.param("dbos, a server", marks=pytest.mark.slow)]
_projects = itertools.count(1)


@pytest.fixture(params=KINDS)
def kind(request):
    """Which engine, over which ledger. DBOS over a file is nobody's choice."""
    return request.param


@pytest.fixture
def queue(kind, request, tmp_path):
    place = LedgerFile(tmp_path / "cairn.db")
    if "server" in kind:
        place = LedgerServer(request.getfixturevalue("shared_database_url"), f"engine-{next(_projects)}")
    with TaskQueue(place) as queue:
        yield queue


@pytest.fixture
def crew(kind, queue):
    """Starts one; those in `crew.dead` are taken for dead by the others."""
    started = []

    def living():
        return tuple(each.engine.executor for each in started if each not in start.dead)

    def start(size=1, at_once=None, starts_per_minute=None):
        if "embedded" in kind:
            engine = EmbeddedEngine(queue, at_once=at_once)
        else:
            dispatch = Dispatch(queue.place.url, queue.place.schema, at_once, starts_per_minute)
            engine = DbosEngine(queue, dispatch, size, living)
        started.append(Crew(queue, engine, size))
        started[-1].comes_up()
        return started[-1]

    start.dead = []
    yield start
    for each in started:
        each.close()


def add(queue, count=1, **terms):
    return [queue.add("x", FILE, terms=Terms(**terms)).id for _ in range(count)]


def test_each_task_that_may_start_is_handed_over_once_and_in_its_order(queue, crew):
    first = add(queue, 3)
    urgent, least = add(queue, 1, priority=9), add(queue, 1, priority=-9)
    workers = crew(1)
    order = []
    for _ in range(5):
        order += workers.takes(1)
        workers.ends_all()

    assert order == urgent + first + least
    assert workers.takes() == []


def test_no_more_run_than_there_are_workers_and_a_free_one_gets_the_next(queue, crew):
    tasks = add(queue, 5)
    workers = crew(2)

    assert sorted(workers.takes(2)) == sorted(tasks[:2])
    assert workers.takes() == []
    workers.ends(tasks[1])
    assert workers.takes(1) == [tasks[2]]


def test_a_task_that_must_wait_comes_when_it_may_start(queue, crew, tmp_path):
    workers = crew(4)
    (first,) = add(queue)
    (delayed,) = add(queue, not_before=time.time() + 3600)
    (after,) = add(queue, after=(first,))
    paused = queue.put([queue.draft("x", CodeOrigin("model", "m1"), model="m1")])[0].id
    with ModelPauses(queue.place, 2.0) as pauses:
        pauses.begin("m1", ModelCallFailed("No quota.", no_quota=True))

    assert workers.takes() == [first]
    workers.ends(first, TaskStatus.IN_REVIEW)
    queue.move(queue.get(first), TaskStatus.ACCEPTED)
    assert workers.takes(1) == [after]
    assert workers.takes(1) == [paused]
    assert workers.takes() == []
    assert queue.get(delayed).status is TaskStatus.QUEUED


def test_a_task_that_is_due_later_comes_then(queue, crew):
    workers = crew(1)
    due = time.time() + 1.0
    (task,) = add(queue, not_before=due)

    assert workers.takes(1) == [task]
    assert time.time() >= due


def test_a_cancelled_task_is_never_handed_over(queue, crew):
    workers = crew(1)
    first, second, third = add(queue, 3)
    assert workers.takes(1) == [first]
    queue.move(queue.get(second), TaskStatus.CANCELLED)
    workers.ends(first)

    assert workers.takes(1) == [third]
    workers.ends(third)
    assert workers.takes() == []


def test_no_more_run_at_once_than_the_budget_lets_whoever_runs_them(queue, crew):
    (mine,) = add(queue)
    queue.claim(Owner.this_process(), mine)  # a `cairn run`
    tasks = add(queue, 3)
    workers = crew(3, at_once=2)

    assert workers.takes(1) == [tasks[0]]
    assert workers.takes() == []
    queue.finish(queue.get(mine), TaskStatus.FAILED, outcome=Outcome())
    assert workers.takes(1) == [tasks[1]]
    workers.ends(tasks[0])
    assert workers.takes(1) == [tasks[2]]


def test_two_crews_never_get_the_same_task_and_together_they_get_all(queue, crew):
    tasks = add(queue, 24)
    crews = [crew(2), crew(3)]
    got, end = [], time.monotonic() + LONG
    while len(got) < len(tasks) and time.monotonic() < end:
        for each in crews:
            got += each.step()
            each.ends_all()

    assert sorted(got) == sorted(tasks)
    assert [each.takes() for each in crews] == [[], []]


def test_a_dead_workers_task_is_handed_over_again(queue, crew):
    (task,) = add(queue)
    workers = crew(1)
    dead = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    workers.owner = Owner.of(dead.pid)
    assert workers.takes(1) == [task]
    dead.kill()
    dead.communicate()
    (abandoned,) = queue.abandoned()
    queue.requeue(abandoned, reason="its worker died")
    workers.engine.let_go(workers.running.pop(task))
    workers.owner = Owner.this_process()

    assert workers.takes(1) == [task]
    assert workers.running[task].attempt == 2


def test_a_task_that_is_put_back_is_handed_over_again(queue, crew):
    (task,) = add(queue)
    workers = crew(1)
    for attempt in (1, 2, 3):
        assert workers.takes(1) == [task]
        assert workers.running[task].attempt == attempt
        queue.requeue(workers.running[task])
        workers.engine.let_go(workers.running.pop(task))


def test_after_a_stop_nothing_is_handed_out_and_another_crew_gets_it(queue, crew):
    running, left = add(queue, 2)
    workers = crew(2)
    assert sorted(workers.takes(2)) == sorted([running, left])
    queue.requeue(workers.running[left])
    workers.engine.let_go(workers.running.pop(left))
    workers.engine.stop()

    assert workers.takes() == []
    assert crew(1).takes(1) == [left]
    workers.ends(running)
    assert queue.get(running).status is TaskStatus.FAILED


def of_model(queue, model, count=1, **terms):
    drafts = [queue.draft("x", CodeOrigin("model", model), model=model, terms=Terms(**terms)) for _ in range(count)]
    return [task.id for task in queue.put(drafts)]


def test_a_crew_takes_no_task_of_a_model_that_it_lacks_and_those_behind_are_not_held_up(queue, crew):
    """The one that has the key is busy, so that its tasks stand at the head of the queue all the while."""
    (held,) = add(queue)
    has = crew(1)
    assert has.takes(1) == [held]
    lacks = crew(2)  # it would have taken that one as well
    left = of_model(queue, "m", 6, priority=9)
    (waits,) = add(queue, priority=8)
    queue.put_off(queue.claim(Owner.this_process(), waits), PutOff("no key", waits_for="m"))
    mine = add(queue, 3)
    lacks.without = ("m", "other")
    for _ in range(3):  # the dispatches of its own tasks are made by it, those of the others by the other crew
        has.step()

    got = []
    end = time.monotonic() + LONG
    while len(got) < len(mine) and time.monotonic() < end:
        has.step()
        got += lacks.step()
        lacks.ends_all()
    assert got == mine
    assert [queue.get(task).attempt for task in left] == [0] * 6
    assert lacks.takes() == []

    order = []
    for _ in range(7):
        has.ends_all()
        order += has.takes(1)
    assert order == [*left, waits]


def test_what_a_crew_lacked_comes_to_it_when_it_does_no_more(queue, crew):
    (task,) = of_model(queue, "m")
    workers = crew(1)
    workers.without = ("m",)
    assert workers.takes() == []

    workers.without = ()
    assert workers.takes(1) == [task]


def test_closing_twice_is_closing(queue, crew):
    workers = crew(1)
    workers.close()
    workers.close()


# ── DBOS alone ──


def dbos(test):
    """For the server's engine alone."""
    return pytest.mark.slow(pytest.mark.parametrize("kind", KINDS[2:], indirect=True)(test))


@dbos
def test_what_a_killed_crew_was_offered_is_another_ones(queue, crew):
    """It had been handed the dispatch, and died before it claimed the task."""
    dead = crew(1)
    add(queue)
    end = time.monotonic() + LONG
    while not dead.engine._offers and time.monotonic() < end:
        dead.engine.tend(1)
        for key, _ in dead.selector.select(0.01):
            key.data()
    os.kill(dead.engine._process.pid, signal.SIGKILL)
    crew.dead.append(dead)

    assert len(crew(1).takes(1)) == 1


@dbos
def test_an_attempt_that_ends_late_ends_its_own_dispatch_and_no_other(queue, crew):
    """Its worker had lost touch; meanwhile another one of the crew had got the task."""
    (task,) = add(queue)
    workers = crew(2)
    assert workers.takes(1) == [task]
    early = workers.running.pop(task)
    queue.requeue(early)
    assert workers.takes(1) == [task]
    workers.engine.let_go(early)
    workers.ends(task)

    both = add(queue, 2)
    assert workers.takes(2) == both


@dbos
def test_a_dispatch_that_waits_follows_its_task_to_another_model(queue, crew):
    (held,) = add(queue)
    has = crew(1)
    assert has.takes(1) == [held]
    (task,) = of_model(queue, "m")
    waiting = "SELECT count(*) FROM cairn_engine.workflow_status WHERE status = 'ENQUEUED' AND queue_name = %s"
    with psycopg.connect(queue.place.url, autocommit=True) as server:
        while server.execute(waiting, (queue.place.schema,)).fetchone() != (1,):
            has.step()
    queue.rewrite(queue.get(task), queue.draft("x", CodeOrigin("model", "n"), model="n"))

    lacks = crew(1)
    lacks.without = ("m",)
    assert lacks.takes(1) == [task]


@dbos
def test_a_dispatch_that_the_ledger_refused_is_made_anew(queue, crew):
    """The model was paused in the moment between the offer and the claim."""
    (task,) = queue.put([queue.draft("x", CodeOrigin("model", "m1"), model="m1")])
    workers = crew(1)
    while not workers.engine._offers:
        workers.engine.tend(1)
        for key, _ in workers.selector.select(0.01):
            key.data()
    with ModelPauses(queue.place, 0.5) as pauses:
        pauses.begin("m1", ModelCallFailed("No quota.", no_quota=True))

    assert workers.engine.claim(workers.owner) is None
    assert workers.takes(1, within=5) == [task.id]


@dbos
def test_a_dispatch_of_a_model_that_a_crew_lacks_is_not_even_offered_to_it(queue, crew):
    """It would be handed back and come again, as long as whoever could run it is busy."""
    lacks = crew(2)
    lacks.without = ("m",)
    assert lacks.takes() == []  # DBOS' first look of all is made before it is told anything
    (held,) = add(queue)
    has = crew(1)
    assert has.takes(1) == [held]
    left = of_model(queue, "m", 2)
    offered = []
    take = lacks.engine._take
    lacks.engine._take = lambda message: (offered.append(message), take(message))
    dispatched = "SELECT count(*) FROM cairn_engine.workflow_status WHERE queue_name = %s AND status = 'ENQUEUED'"
    with psycopg.connect(queue.place.url, autocommit=True) as connection:
        end = time.monotonic() + LONG
        while connection.execute(dispatched, (queue.place.schema,)).fetchone() != (len(left) - 1,):
            has.step()  # which has room for one more beside what it runs
            assert time.monotonic() < end
    end = time.monotonic() + SHORT["dbos"]
    (mine,) = add(queue, priority=-1)
    while time.monotonic() < end:
        has.step()
        lacks.step()

    assert [message.task for message in offered if isinstance(message, Offered)] == [mine]


@dbos
def test_tasks_run_though_the_engines_tables_are_lost(queue, crew):
    first, *others = add(queue, 3)
    workers = crew(1)
    assert workers.takes(1) == [first]
    with psycopg.connect(queue.place.url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA cairn_engine CASCADE")
    workers.ends(first)

    for other in others:
        assert workers.takes(1) == [other]
        workers.ends(other)


@dbos
def test_tasks_run_though_its_process_is_killed_and_though_the_server_restarts(queue, crew, postgres):
    tasks = add(queue, 3)
    workers = crew(1)
    assert workers.takes(1) == tasks[:1]
    workers.engine._process.kill()
    workers.ends_all()
    assert workers.takes(1) == tasks[1:2]
    workers.ends_all()
    postgres.stop()
    time.sleep(0.5)  # so that its process notices
    postgres.start()
    assert workers.takes(1) == tasks[2:]


@dbos
def test_no_more_start_in_a_minute_than_the_setting_lets(queue, crew):
    tasks = add(queue, 4)
    workers = crew(1, starts_per_minute=2)
    got = []
    for _ in range(3):
        got += workers.takes(1, within=3.0)
        workers.ends_all()

    assert got == tasks[:2]


@dbos
def test_nothing_is_left_of_it_when_it_is_closed_while_the_server_is_gone(queue, crew, postgres):
    tasks = add(queue, 1)
    workers = crew(1)
    assert workers.takes(1) == tasks
    pid = workers.engine._process.pid
    postgres.stop()
    try:
        for task in workers.running.values():
            workers.engine.let_go(task)
        begun = time.monotonic()
        workers.engine.close()
        assert time.monotonic() - begun < 8
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    finally:
        postgres.start()

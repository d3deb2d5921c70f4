"""The ledger: durable, one winner per claim, no illegal move, nothing forgotten."""

from __future__ import annotations

import itertools
import os
import random
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from cairn.claim_choice import ORDER
from cairn.errors import DamagedFile, IllegalMove, NotFound, StorageProblem, UsageProblem
from cairn.json_output import task_json
from cairn.ledger_database import opened
from cairn.ledger_place import LedgerFile
from cairn.queue import LEASE_SECONDS, RESERVED_SECONDS, TaskEvent, TaskQueue
from cairn.task import MOVES, CodeOrigin, Outcome, Task, TaskStatus, Terms
from cairn.task_owner import Owner
from cairn.wanted_tasks import Wanted

FILE = CodeOrigin("file", "fix.py", program="submit_result('x', [])")
RECIPE = CodeOrigin("recipe", "replace_text", parameters={"old": "a", "new": "b"})
HERE = Owner.this_process()


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(ledger_place, clock):
    with TaskQueue(ledger_place, clock=clock, rng=random.Random(1)) as queue:
        yield queue


def test_a_task_comes_back_as_it_was_put_in(queue, ledger_place, clock):
    added = queue.add("replace a", RECIPE, retry_of="zzzzzz")

    with TaskQueue(ledger_place) as again:
        assert again.get(added.id) == added
    assert added == Task(added.id, "replace a", RECIPE, created_at=1000.0, retry_of="zzzzzz")


def test_a_task_may_work_on_a_commit(queue):
    commit = "1f" * 20
    (task,) = queue.put([queue.draft("one", FILE, base=commit)])
    (live,) = queue.put([queue.draft("one", FILE)])

    assert queue.get(task.id).base == queue.claim(HERE).base == commit
    assert (task_json(task).get("base"), "base" in task_json(live)) == (commit, False)


def test_any_unique_prefix_names_a_task_in_any_case(queue):
    task = queue.add("one", FILE)

    assert queue.get(task.id[:3].upper()) == task


def test_a_prefix_of_none_is_not_found_and_a_prefix_of_two_names_both(queue):
    ids = sorted(queue.add(str(n), FILE).id for n in range(60))
    shared = next(a[0] for a, b in itertools.pairwise(ids) if a[0] == b[0])

    with pytest.raises(UsageProblem, match=f"'{shared}' fits more than one task"):
        queue.get(shared)
    for empty in ("", "  "):
        with pytest.raises(UsageProblem, match="The task's id is empty"):
            queue.get(empty)
    for missing in ("aaaa", "%", "_", "x~", "'"):
        with pytest.raises(NotFound, match="No task has an id that starts with"):
            queue.get(missing)


def test_tasks_are_listed_newest_first_and_by_status(queue, clock):
    first = queue.add("first", FILE)
    clock.now += 1
    second = queue.add("second", FILE)
    running = queue.claim(HERE, first.id)

    assert queue.tasks() == (second, running)
    assert queue.tasks([TaskStatus.QUEUED]) == (second,)
    assert queue.tasks(limit=1) == (second,)


def test_a_claim_takes_the_oldest_queued_task_once(queue, clock):
    first = queue.add("first", FILE)
    clock.now += 1
    second = queue.add("second", FILE)

    claimed = [queue.claim(HERE) for _ in range(3)]

    assert [task and task.id for task in claimed] == [first.id, second.id, None]
    assert claimed[0].status is TaskStatus.RUNNING
    assert claimed[0].attempt == 1


def test_of_many_claimants_each_task_has_exactly_one(ledger_place):
    with TaskQueue(ledger_place) as queue:
        ids = {queue.add(str(n), FILE).id for n in range(60)}

    def claim_all(_worker: int) -> list[str]:
        with TaskQueue(ledger_place) as mine:
            return [task.id for task in iter(lambda: mine.claim(HERE), None)]

    with ThreadPoolExecutor(6) as pool:
        claimed = [task_id for ids_of_one in pool.map(claim_all, range(6)) for task_id in ids_of_one]

    assert sorted(claimed) == sorted(ids)


def test_every_move_is_an_event(queue, clock):
    task = queue.add("x", FILE)
    clock.now = 1001.0
    running = queue.claim(HERE)
    clock.now = 1005.0
    review = queue.finish(running, TaskStatus.IN_REVIEW, outcome=Outcome("done", files_changed=2))
    clock.now = 1009.0
    queue.move(review, TaskStatus.REJECTED, reason="not wanted")

    assert queue.events(task.id) == (
        TaskEvent(1000.0, None, TaskStatus.QUEUED, ""),
        TaskEvent(1001.0, TaskStatus.QUEUED, TaskStatus.RUNNING, ""),
        TaskEvent(1005.0, TaskStatus.RUNNING, TaskStatus.IN_REVIEW, ""),
        TaskEvent(1009.0, TaskStatus.IN_REVIEW, TaskStatus.REJECTED, "not wanted"),
    )


@pytest.mark.parametrize("status", TaskStatus)
def test_the_database_itself_refuses_an_illegal_move(queue, ledger_place, status):
    task = queue.add("x", FILE)
    other = opened(ledger_place)

    def move():
        other.execute("UPDATE task SET status = ? WHERE id = ?", (status, task.id))

    if status is TaskStatus.QUEUED or status in MOVES[TaskStatus.QUEUED]:
        move()
    else:
        with pytest.raises((sqlite3.IntegrityError, StorageProblem), match="illegal move"):
            move()
    assert len(queue.events(task.id)) == (2 if status in MOVES[TaskStatus.QUEUED] else 1)
    other.close()


def test_a_move_that_lost_the_race_is_refused_with_the_way_out(queue):
    task = queue.add("x", FILE)
    review = queue.finish(queue.claim(HERE), TaskStatus.IN_REVIEW, outcome=Outcome())
    queue.move(review, TaskStatus.REJECTED)

    with pytest.raises(IllegalMove) as refused:
        queue.move(review, TaskStatus.ACCEPTED)

    assert str(refused.value) == (
        f"Task {task.id} is rejected, so it cannot become accepted.\n"
        f"cairn undo {task.id}   brings it back; cairn retry {task.id}   runs it again from today's files."
    )


def test_the_late_finish_of_an_earlier_attempt_is_refused(queue):
    queue.add("x", FILE)
    stale = queue.claim(HERE)
    queue.move(stale, TaskStatus.QUEUED, reason="its worker fell silent")
    current = queue.claim(HERE)

    with pytest.raises(IllegalMove, match="taken over by another process"):
        queue.finish(stale, TaskStatus.IN_REVIEW, outcome=Outcome())
    assert not queue.heartbeat(stale, HERE)
    assert queue.heartbeat(current, HERE)


def test_a_task_is_abandoned_when_its_lease_runs_out(queue, clock):
    queue.add("x", FILE)
    task = queue.claim(HERE)
    assert queue.abandoned() == ()

    clock.now += LEASE_SECONDS + 1

    assert queue.abandoned() == (task,)


def test_after_a_jump_of_the_clock_only_a_process_that_ended_is_taken_for_dead(queue, clock):
    queue.add("x", FILE)
    queue.add("y", FILE)
    queue.claim(HERE)
    gone = queue.claim(Owner(HERE.host, os.getpid(), HERE.born + 1))

    clock.now += 3600

    assert queue.abandoned(by_lease=False) == (gone,)


def test_an_interrupted_task_is_found_by_its_request_and_origin_and_one_that_never_ran_is_not(queue, clock):
    for origin in (FILE, RECIPE, FILE):
        clock.now += 1
        queue.add("same", origin)
    first = queue.claim(HERE)
    again = queue.requeue(first)

    assert queue.begun("same", FILE) == again
    assert queue.begun("same", RECIPE) is None
    assert queue.begun("other", FILE) is None


def test_a_task_is_abandoned_at_once_when_its_process_ended(queue):
    queue.add("x", FILE)
    child = subprocess.run(
        [sys.executable, "-c", "from cairn.task_owner import Owner; print(Owner.this_process())"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    gone = Owner.parse(child.stdout.strip())

    task = queue.claim(gone)

    assert queue.abandoned() == (task,)


def test_a_reused_pid_and_another_machine_are_told_apart():
    assert not HERE.is_gone()
    assert Owner(HERE.host, os.getpid(), HERE.born + 1).is_gone()
    assert not Owner("elsewhere", 1, 0).is_gone()


def test_a_machine_of_the_same_name_is_not_this_one(queue, monkeypatch):
    """Copies of one image have it; a process of one that this machine does not see is not one that ended."""
    name, _, start = HERE.host.partition("/")
    assert (HERE.machine, bool(start)) == (name, True)
    for other in (f"{name}/00000000", f"{name}/{start}-4026531999", name):
        there = Owner(other, 2**22 + 1, 1)
        assert not there.is_here()
        assert not there.is_gone()
        assert there.machine == name
        queue.add("x", FILE)
        queue.claim(there)

    assert queue.abandoned() == ()


def test_what_was_reserved_before_the_machine_was_started_anew_is_free_where_it_is_the_only_one(queue, ledger_place):
    before = Owner(f"{HERE.machine}/00000000", 1, 1)
    (task,) = queue.put([queue.draft("x", FILE)], held_by=before)
    queue.let_go()

    claimed = queue.claim(HERE)
    assert (claimed is not None and claimed.id == task.id) == isinstance(ledger_place, LedgerFile)
    assert Owner.parse("a:b:17:4") == Owner("a:b", 17, 4)


def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path):
    path = tmp_path / "cairn.db"
    path.write_bytes(b"my notes, not a database" * 100)

    with pytest.raises(DamagedFile, match=r"cairn\.db"):
        TaskQueue(path)

    assert path.read_bytes() == b"my notes, not a database" * 100


def test_a_ledger_of_a_newer_cairn_is_left_alone(tmp_path):
    TaskQueue(tmp_path / "cairn.db").close()
    with sqlite3.connect(tmp_path / "cairn.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(UsageProblem, match="written by a newer Cairn"):
        TaskQueue(tmp_path / "cairn.db")


# ── terms: what runs first, and what waits ──


def added(queue, name, **terms):
    return queue.add(name, FILE, terms=Terms(**terms))


def started(queue):
    """The requests of all tasks that may start now, in the order they are claimed."""
    return [task.request for task in iter(lambda: queue.claim(HERE), None)]


def test_a_higher_priority_is_claimed_first_and_of_equals_the_older(queue, clock):
    for name, priority in (("a", 0), ("b", 5), ("c", -1), ("d", 5)):
        clock.now += 1
        added(queue, name, priority=priority)

    assert started(queue) == ["b", "d", "a", "c"]


def test_a_delayed_task_starts_when_it_is_time_and_not_before(queue, clock):
    added(queue, "later", not_before=1010.0)
    assert (started(queue), queue.due_at()) == ([], 1010.0)

    clock.now = 1010.0

    assert (started(queue), queue.due_at()) == (["later"], None)


def test_a_deadline_that_passed_fails_a_queued_task_and_a_resume_is_not_bound_by_it(queue, clock):
    task = added(queue, "late", deadline=1005.0)
    assert queue.expire() == ()
    clock.now = 1006.0
    assert started(queue) == []

    (failed,) = queue.expire()

    assert (failed.status, failed.reason) == (TaskStatus.FAILED, "its deadline passed before it ran")
    assert queue.requeue(failed).terms.deadline is None
    assert queue.claim(HERE).id == task.id


def test_of_one_key_there_is_one_unfinished_task(queue):
    first = added(queue, "x", key="k")

    assert added(queue, "y", key="k") == first
    running = queue.claim(HERE)
    assert added(queue, "y", key="k").id == first.id
    queue.finish(running, TaskStatus.FAILED, outcome=Outcome())
    assert added(queue, "y", key="k").id != first.id


def test_many_processes_with_one_key_add_one_task(ledger_place):
    def add(_one: int) -> str:
        with TaskQueue(ledger_place) as mine:
            return added(mine, "x", key="k").id

    TaskQueue(ledger_place).close()
    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(add, range(12)))) == 1


def test_a_task_comes_after_others_once_all_are_accepted_and_an_undo_holds_it_again(queue):
    one, two = added(queue, "one"), added(queue, "two")
    last = added(queue, "last", after=(one.id, two.id))
    reviews = [queue.finish(queue.claim(HERE), TaskStatus.IN_REVIEW, outcome=Outcome()) for _ in range(2)]
    assert queue.holds([last]) == {last.id: f"after {', '.join(sorted(f'{t.id} (in review)' for t in (one, two)))}"}
    accepted = [queue.move(review, TaskStatus.ACCEPTED) for review in reviews]
    queue.move(accepted[0], TaskStatus.IN_REVIEW)
    assert started(queue) == []

    queue.move(queue.get(one.id), TaskStatus.ACCEPTED)

    assert queue.holds([last]) == {}
    assert started(queue) == ["last"]


def test_a_task_after_one_that_failed_is_blocked_and_says_by_which(queue):
    first = added(queue, "first")
    last = added(queue, "last", after=(first.id,))
    failed = queue.finish(queue.claim(HERE), TaskStatus.FAILED, outcome=Outcome())

    assert queue.holds([last]) == {last.id: f"blocked: {first.id} is failed"}
    assert started(queue) == []
    queue.forget(failed, lambda: None)
    assert queue.holds([last]) == {last.id: f"blocked: {first.id} is deleted"}


def test_a_task_comes_after_none_that_is_not_there_and_then_nothing_is_added(queue):
    with pytest.raises(NotFound, match="There is no task zzzzzz to come after"):
        queue.put([queue.draft("x", FILE), queue.draft("y", FILE, terms=Terms(after=("zzzzzz",)))])

    assert queue.tasks() == ()


def test_a_task_that_its_process_runs_itself_is_no_workers_until_that_process_is_gone(queue):
    (mine,) = queue.put([queue.draft("mine", FILE)], held_by=HERE)
    assert queue.claim(Owner("elsewhere", 1, 1)) is None
    queue.let_go()
    assert queue.claim(Owner("elsewhere", 1, 1), mine.id) is None
    assert queue.claim(HERE, mine.id).id == mine.id

    (gone,) = queue.put([queue.draft("its", FILE)], held_by=Owner(HERE.host, os.getpid(), HERE.born + 1))
    queue.let_go()

    assert queue.claim(HERE).id == gone.id


def test_what_another_machine_reserved_is_its_own_for_an_hour_from_then(queue, clock):
    """However long ago the task last moved, and whatever the same process has held for longer."""
    elsewhere = Owner("elsewhere", 1, 1)
    old, again = (added(queue, name) for name in ("old", "again"))
    clock.now += 1
    queue.give_options(old, {}, held_by=elsewhere)
    clock.now += RESERVED_SECONDS - 1
    queue.give_options(again, {}, held_by=elsewhere)

    queue.let_go()
    assert queue.ready(9) == ()
    clock.now += 2
    queue.let_go()
    assert [task.id for task in queue.ready(9)] == [old.id]
    clock.now += RESERVED_SECONDS
    queue.let_go()
    assert [task.id for task in queue.ready(9)] == [old.id, again.id]


def test_what_a_process_reserves_while_others_let_go_of_its_old_ones_is_its_own(queue, clock, monkeypatch):
    elsewhere = Owner("elsewhere", 1, 1)
    old, new = (added(queue, name) for name in ("old", "new"))
    queue.give_options(old, {}, held_by=elsewhere)
    clock.now += RESERVED_SECONDS + 1
    monkeypatch.setattr(Owner, "is_here", lambda owner: bool(queue.give_options(new, {}, held_by=owner)) and False)

    queue.let_go()

    assert [task.id for task in queue.ready(9)] == [old.id]


def test_the_terms_of_a_task_come_back_as_they_were_put_in(queue, ledger_place):
    needed = added(queue, "x")
    terms = Terms(3, 1010.0, 2000.0, "k", 5, ("a", "b"), (needed.id,), accepts=True)
    task = queue.add("y", FILE, terms=terms)

    with TaskQueue(ledger_place) as again:
        assert again.get(task.id) == task
    assert task.terms == terms


def test_a_list_has_what_is_wanted_newest_first_and_says_how_many_more(queue, clock):
    tasks = {}
    for number in range(6):
        clock.now += 10
        origin = CodeOrigin("model", "gpt-big" if number % 2 else "small")
        tasks[number] = queue.add(str(number), origin, terms=Terms(tags=("even",) if number % 2 == 0 else ("odd", "x")))
    failed = queue.finish(queue.claim(HERE, tasks[1].id), TaskStatus.FAILED, outcome=Outcome())

    def found(limit=10, **wanted):
        listed, more = queue.listed(Wanted(**wanted), limit=limit)
        return [task.request for task in listed], more

    assert found() == (["5", "4", "3", "2", "1", "0"], 0)
    assert found(limit=2) == (["5", "4"], 4)
    assert found(limit=2, older_than=tasks[4]) == (["3", "2"], 2)
    assert found(tag="odd") == (["5", "3", "1"], 0)
    assert found(tag="od") == ([], 0)
    assert found(model="gpt*") == (["5", "3", "1"], 0)
    assert found(statuses=(TaskStatus.FAILED, TaskStatus.ACCEPTED)) == ([failed.request], 0)
    assert found(since=1045.0, tag="even") == (["4"], 0)


def test_a_claim_among_ten_thousand_that_may_not_start_takes_milliseconds(tmp_path, clock):
    """Blocked tasks are not even looked at; delayed ones are, one after the other."""
    with TaskQueue(tmp_path / "cairn.db", clock=clock) as queue:
        first = added(queue, "first", not_before=2000.0)
        queue.put([queue.draft("x", FILE, terms=Terms(after=(first.id,), priority=9)) for _ in range(10_000)])
        added(queue, "last")
        begun = time.perf_counter()

        assert queue.claim(HERE).request == "last"

        assert time.perf_counter() - begun < 0.1
        plan = queue._db.execute(f"EXPLAIN QUERY PLAN {queue._choice.any} {ORDER} LIMIT 1", {"now": 0.0}).rows
        assert "USING INDEX task_to_claim" in plan[0][3]
        assert not [row for row in plan if "TEMP B-TREE" in row[3]]


class LedgerMachine(RuleBasedStateMachine):
    """Random claims and moves against a plain dict of statuses."""

    tasks = Bundle("tasks")

    def __init__(self) -> None:
        super().__init__()
        import tempfile
        from pathlib import Path

        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "cairn.db"
        self.queue = TaskQueue(self.path)
        self.expected: dict[str, TaskStatus] = {}

    def teardown(self) -> None:
        self.queue.close()
        self.folder.cleanup()

    @rule(target=tasks)
    def add(self):
        task = self.queue.add("x", FILE)
        self.expected[task.id] = TaskStatus.QUEUED
        return task

    @rule(target=tasks)
    def claim(self):
        queued = [task_id for task_id, status in self.expected.items() if status is TaskStatus.QUEUED]
        task = self.queue.claim(HERE)
        if task is None:
            assert not queued
            return multiple()
        assert task.id in queued
        self.expected[task.id] = TaskStatus.RUNNING
        return task

    @rule(task=consumes(tasks), status=st.sampled_from(TaskStatus))
    def move(self, task, status):
        now = self.queue.get(task.id)
        if status in MOVES[now.status]:
            assert self.queue.move(now, status).status is status
            self.expected[task.id] = status
        else:
            with pytest.raises(IllegalMove):
                self.queue.move(now, status)

    @rule()
    def reopen(self):
        self.queue.close()
        self.queue = TaskQueue(self.path)

    @invariant()
    def the_ledger_is_what_was_done(self):
        assert {task.id: task.status for task in self.queue.tasks()} == self.expected


LedgerMachine.TestCase.settings = hypothesis_settings(max_examples=15, stateful_step_count=20, deadline=None)
test_random_moves_agree_with_a_model = LedgerMachine.TestCase


def test_the_tasks_that_may_start_are_told_in_the_order_of_their_claims(queue, clock):
    low, high, late = (
        queue.add("x", FILE, terms=terms) for terms in (Terms(), Terms(priority=5), Terms(not_before=clock.now + 9))
    )
    queue.add("y", FILE, terms=Terms(after=(low.id,)))

    assert [task.id for task in queue.ready(9)] == [high.id, low.id]
    assert queue.ready(1) == (queue.get(high.id),)
    assert queue.claim(HERE).id == high.id
    assert [task.id for task in queue.ready(9)] == [low.id]
    clock.now += 10
    assert [task.id for task in queue.ready(9)] == [low.id, late.id]
    assert queue.count_running() == 1
    clock.now += LEASE_SECONDS
    assert queue.count_running() == 0


def test_a_named_task_may_be_claimed_only_if_its_terms_let_it(queue, clock):
    late = queue.add("x", FILE, terms=Terms(not_before=clock.now + 9))

    assert queue.claim(HERE, late.id, if_ready=True) is None
    clock.now += 10
    assert queue.claim(HERE, late.id, if_ready=True, at_once=1).id == late.id
    other = queue.add("x", FILE)
    assert queue.claim(HERE, other.id, if_ready=True, at_once=1) is None
    assert queue.claim(HERE, other.id, if_ready=True, at_once=2).id == other.id

"""Workers that come, crash, fall silent and wake again, against a plain model of what the ledger must hold."""

from __future__ import annotations

import contextlib
import itertools
import random
import sqlite3
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cairn.errors import IllegalMove, ModelUnavailable
from cairn.ledger_place import LedgerFile, LedgerServer
from cairn.model_pauses import ModelPauses
from cairn.queue import LEASE_SECONDS, TaskQueue
from cairn.task import OPEN, CodeOrigin, Outcome, PutOff, Task, TaskStatus, Terms
from cairn.task_owner import Owner
from tests.length import examples

_S = TaskStatus
MODELS = ("", "big", "small")
WORKERS = tuple(Owner("elsewhere", number, 1) for number in range(3))  # of another machine: only their leases tell


@dataclass
class Known:
    """What the model knows of one task."""

    number: int
    terms: Terms
    model: str
    status: TaskStatus = _S.QUEUED
    attempt: int = 0
    in_vain: int = 0
    not_before: float = 0.0
    waits_for: str = ""
    holder: Owner | None = None
    until: float = 0.0
    claims: list[Task] = field(default_factory=list)


class LedgerWithCrashes(RuleBasedStateMachine):
    """Every rule is what some process does; a crash is that it does nothing any more."""

    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        self.place = self.new_place()
        self.now = 1_000.0
        self.rng = random.Random(1)  # ids are drawn from: hypothesis must find the same ones again
        self.queue = TaskQueue(self.place, clock=lambda: self.now, rng=self.rng)
        self.pauses = ModelPauses(self.place, 60.0, clock=lambda: self.now)
        self.known: dict[str, Known] = {}
        self.paused: dict[str, tuple[float, int]] = {}  # until when, and how often in a row

    def new_place(self):
        return LedgerFile(Path(self.folder.name) / "cairn.db")

    @contextlib.contextmanager
    def other_process(self):
        """A connection whose transaction is under way, and never committed."""
        with contextlib.closing(sqlite3.connect(self.place.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield other

    def teardown(self):
        if hasattr(self, "queue"):
            self.pauses.close()
            self.queue.close()
            self.folder.cleanup()

    # ── what people do ──

    @rule(
        priority=st.integers(-1, 1), delay=st.sampled_from([0, 0, 20]), model=st.sampled_from(MODELS),
        deadline=st.sampled_from([None, None, 50]), key=st.sampled_from([None, None, "k"]), data=st.data(),
    )  # fmt: skip
    def add(self, priority, delay, model, deadline, key, data):
        ids = list(self.known)
        after = {ids[each] for each in data.draw(st.sets(st.integers(0, len(ids) - 1), max_size=2))} if ids else set()
        terms = Terms(
            priority, self.now + delay if delay else 0.0, self.now + deadline if deadline else None, key,
            after=tuple(sorted(after)),
        )  # fmt: skip
        there = [each for each in self.known if key and self.known[each].terms.key == key and self.open(each)]
        (task,) = self.queue.put([self.queue.draft("x", CodeOrigin("file", "f", ""), terms=terms, model=model)])
        if there:
            assert task.id == there[0]  # a person may have resumed another one of that key
        else:
            assert task.id not in self.known
            self.known[task.id] = Known(len(self.known), terms, model, not_before=terms.not_before)

    def open(self, task_id):
        return self.known[task_id].status in OPEN

    @rule(data=st.data(), to=st.sampled_from([_S.ACCEPTED, _S.REJECTED, _S.IN_REVIEW]))
    def judge(self, data, to):
        froms = {_S.ACCEPTED: {_S.IN_REVIEW}, _S.REJECTED: {_S.IN_REVIEW}, _S.IN_REVIEW: {_S.ACCEPTED, _S.REJECTED}}[to]
        if (task_id := self.one(data, froms)) is not None:
            self.queue.move(self.queue.get(task_id), to)
            self.known[task_id].status = to

    @rule(data=st.data())
    def resume(self, data):
        if (task_id := self.one(data, {_S.FAILED})) is not None:
            task = self.queue.requeue(self.queue.get(task_id))
            known = self.known[task_id]
            late = known.terms.deadline is not None and known.terms.deadline <= self.now
            known.terms = replace(known.terms, deadline=None if late else known.terms.deadline)
            known.status, known.in_vain, known.not_before, known.waits_for = _S.QUEUED, 0, 0.0, ""
            assert task.in_vain == 0

    def one(self, data, statuses):
        """One of the tasks in these statuses; None when there is none."""
        found = [task_id for task_id, known in self.known.items() if known.status in statuses]
        return found[data.draw(st.integers(0, len(found) - 1))] if found else None

    # ── what workers do ──

    def ready(self):
        """The ids of tasks that may start now, in the order in which they must."""
        running = [known for known in self.known.values() if known.status is _S.RUNNING]
        busy = {name for known in running for name in (known.model, known.waits_for)}
        shut = {model for model, (until, _) in self.paused.items() if until > self.now or model in busy}
        found = [
            (-known.terms.priority, known.number, task_id)
            for task_id, known in self.known.items()
            if known.status is _S.QUEUED
            and known.not_before <= self.now
            and (known.terms.deadline is None or known.terms.deadline > self.now)
            and all(self.known[each].status is _S.ACCEPTED for each in known.terms.after)
            and not {known.model, known.waits_for} & shut
        ]
        return [task_id for *_order, task_id in sorted(found)]

    @rule(worker=st.sampled_from(WORKERS))
    def claim(self, worker):
        wanted = self.ready()
        assert self.queue.count_ready(100) == len(wanted)
        task = self.queue.claim(worker)
        assert (task and task.id) == (wanted[0] if wanted else None)
        if task is not None:
            known = self.known[task.id]
            known.status, known.holder, known.until = _S.RUNNING, worker, self.now + LEASE_SECONDS
            known.attempt += 1
            known.claims.append(task)

    @rule(data=st.data(), end=st.sampled_from([_S.IN_REVIEW, _S.FAILED, "put off", "paused", "beat"]))
    def go_on(self, data, end):
        """A worker that holds, or once held, a task does its next write; only the holder's counts."""
        held = [(task_id, claim) for task_id, known in self.known.items() for claim in known.claims]
        if not held:
            return
        task_id, claim = held[data.draw(st.integers(0, len(held) - 1))]
        known = self.known[task_id]
        owner = known.holder if known.holder is not None else WORKERS[0]
        if known.status is _S.RUNNING and claim.attempt == known.attempt:
            self.write(claim, known, owner, end)
            return
        if end == "beat":
            assert not self.queue.heartbeat(claim, owner)
        else:
            with pytest.raises(IllegalMove):
                self.write(claim, known, owner, end, counts=False)

    def write(self, claim, known, owner, end, *, counts=True):
        if end == "beat":
            assert self.queue.heartbeat(claim, owner)
            known.until = self.now + LEASE_SECONDS
            return
        if end == "put off":
            until = PutOff("later", self.now + 10, known.in_vain)
        elif end == "paused":
            model = claim.model or "big"
            if counts:
                self.pauses.begin(model, ModelUnavailable("no key"))
                ends, failures = self.paused.get(model, (0.0, 0))
                if ends <= self.now:
                    self.paused[model] = (self.now + min(60.0 * 2**failures, 3600.0), failures + 1)
            until = PutOff("paused", 0.0, known.in_vain, model)
        if end in {"put off", "paused"}:
            self.queue.put_off(claim, until)
            known.not_before, known.waits_for = until.not_before, until.waits_for
        else:
            self.queue.finish(claim, end, outcome=Outcome())
            known.waits_for = ""
        known.status, known.holder = (end, None) if isinstance(end, TaskStatus) else (_S.QUEUED, None)

    @rule(model=st.sampled_from(MODELS[1:]))
    def answer(self, model):
        assert self.pauses.end(model) == (self.paused.pop(model, None) is not None)

    @rule()
    def crash_in_the_middle_of_a_write(self):
        """A process that dies inside its transaction leaves nothing of it."""
        with self.other_process() as other:
            other.execute("UPDATE task SET status = 'running', owner = 'x:1:1' WHERE status = 'queued'")
            other.execute("DELETE FROM need")

    # ── what time and the next command do ──

    @rule(seconds=st.sampled_from([1, 15, 40]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule()
    def reopen(self):
        self.queue.close()
        self.queue = TaskQueue(self.place, clock=lambda: self.now, rng=self.rng)

    @rule()
    def take_from_the_silent(self):
        silent = {each for each, known in self.known.items() if known.status is _S.RUNNING and known.until < self.now}
        found = self.queue.abandoned()
        assert {task.id for task in found} == silent
        for task in found:
            known = self.known[task.id]
            known.in_vain += 1
            if known.in_vain < task.terms.max_attempts:
                self.queue.put_off(task, PutOff("died", in_vain=known.in_vain))
                known.status, known.not_before, known.waits_for = _S.QUEUED, 0.0, ""
            else:
                self.queue.finish(task, _S.FAILED, outcome=Outcome())
                known.status, known.waits_for, known.in_vain = _S.FAILED, "", known.in_vain - 1
            known.holder = None

    @rule()
    def expire(self):
        late = {
            each
            for each, known in self.known.items()
            if known.status is _S.QUEUED and known.terms.deadline is not None and known.terms.deadline <= self.now
        }
        assert {task.id for task in self.queue.expire()} == late
        for task_id in late:
            self.known[task_id].status = _S.FAILED

    # ── what must hold ──

    @invariant()
    @precondition(lambda self: hasattr(self, "queue"))
    def the_ledger_is_what_was_done(self):
        found = {task.id: (task.status, task.attempt, task.in_vain, task.waits_for) for task in self.queue.tasks()}
        assert found == {
            task_id: (known.status, known.attempt, known.in_vain, known.waits_for)
            for task_id, known in self.known.items()
        }
        for task_id, known in self.known.items():
            moves = self.queue.events(task_id)
            assert sum(move.became is _S.RUNNING for move in moves) == known.attempt
            assert moves[-1].became is known.status


LedgerWithCrashes.TestCase.settings = hypothesis_settings(max_examples=12, stateful_step_count=30, deadline=None)
test_a_short_life_of_a_ledger_with_crashes = LedgerWithCrashes.TestCase


class OnServer(LedgerWithCrashes):
    """The same ledger on a server, whose connections end now and then."""

    url = ""
    numbers = itertools.count(1)

    def new_place(self):
        return LedgerServer(self.url, f"machine-{next(self.numbers)}")

    @contextlib.contextmanager
    def other_process(self):
        with contextlib.closing(psycopg.connect(self.url, autocommit=True)) as other:
            other.execute(f'SET search_path = "{self.place.schema}"; BEGIN')
            yield other

    @rule()
    def the_server_ends_all_connections(self):
        with psycopg.connect(self.url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity WHERE application_name = 'cairn'"
            )

    def teardown(self):
        super().teardown()
        with psycopg.connect(self.url, autocommit=True) as other:
            other.execute(f'DROP SCHEMA IF EXISTS "{self.place.schema}" CASCADE')


OnServer.TestCase.settings = hypothesis_settings(max_examples=5, stateful_step_count=25, deadline=None)


@pytest.fixture
def of_the_server(request, shared_database_url):
    request.cls.machine.url = shared_database_url


@pytest.mark.usefixtures("of_the_server")
class TestAShortLifeOnAServer(OnServer.TestCase):
    machine = OnServer


class LongLife(LedgerWithCrashes):
    """The same, many times and for long."""


LongLife.TestCase.settings = hypothesis_settings(max_examples=examples(60, 200), stateful_step_count=80, deadline=None)


@pytest.mark.slow
@pytest.mark.timeout(280)
class TestLongLife(LongLife.TestCase):
    pass


class LongLifeOnServer(OnServer):
    """The same on a server."""


LongLifeOnServer.TestCase.settings = hypothesis_settings(
    max_examples=examples(20, 60), stateful_step_count=80, deadline=None
)


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.usefixtures("of_the_server")
class TestLongLifeOnServer(LongLifeOnServer.TestCase):
    machine = LongLifeOnServer

"""A worker holds its task: whatever makes the task's own thread wait, and whatever the ledger answers meanwhile."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from cairn import queue as queues
from cairn import worker as workers
from cairn.code_generator import FileSource
from cairn.errors import StorageProblem
from cairn.language_model import Completion
from cairn.orchestrator import Orchestrator
from cairn.progress import HeldBack
from cairn.project import Project
from cairn.queue import TaskQueue
from cairn.run_parts import Parts
from cairn.settings import Settings
from cairn.task import CodeOrigin, PutOff, TaskStatus
from cairn.task_owner import Owner
from cairn.worker import ASKED, Worker

ASKS = 'write_file("a.txt", ask_llm("?"))\nsubmit_result("x", ["a.txt"])\n'


class Answering:
    """A text model; `meanwhile` is done before its answer comes."""

    name = "meanwhile"
    draft = False

    def __init__(self, meanwhile):
        self.meanwhile = meanwhile

    async def complete(self, prompt, *, system="", history=(), on_text=None):
        await self.meanwhile()
        return Completion("an answer", 1, 1, 0.1, self.name)


@pytest.fixture
def desk(project, ledger_place):
    """Runs the one task there is; gives its review."""
    here = Project.find(project)
    here.prepare()
    with TaskQueue(ledger_place) as queue:

        def run(meanwhile):
            parts = Parts(
                lambda origin, _settings: FileSource(origin.program or "", origin.name),
                lambda _origin, _settings: Answering(meanwhile),
            )
            with Orchestrator(here, queue, Settings(), parts, shared=False) as orchestrator:
                task = orchestrator.new_tasks.submit("ask", CodeOrigin("file", "p.py", ASKS))
                return asyncio.run(Worker(orchestrator).run_to_its_end(task.id, told.append))

        told = []
        run.queue, run.here, run.told = queue, here, told
        yield run


def test_a_lease_is_renewed_while_the_tasks_own_thread_waits(desk, ledger_place, monkeypatch):
    """As it does for a large upload, or for a server that is away."""
    for each in (queues, workers):
        monkeypatch.setattr(each, "LEASE_SECONDS", 0.6)
    monkeypatch.setattr(workers, "CANCEL_SECONDS", 0.05)
    running = []

    async def wait():
        time.sleep(1.2)  # noqa: ASYNC251 - it is to block the loop
        with TaskQueue(ledger_place) as elsewhere:
            running.append(elsewhere.count_running())

    assert desk(wait).task.status is TaskStatus.IN_REVIEW
    assert running == [1]


def test_a_ledger_that_does_not_answer_for_a_while_costs_neither_the_lease_nor_the_task(desk, monkeypatch):
    for each in (queues, workers):
        monkeypatch.setattr(each, "LEASE_SECONDS", 0.3)
    monkeypatch.setattr(workers, "CANCEL_SECONDS", 0.02)
    beat, renewed = desk.queue.heartbeat, threading.Event()
    away = [StorageProblem("away"), StorageProblem("away")]

    def heartbeat(task, owner):
        if away:
            raise away.pop()
        renewed.set()
        return beat(task, owner)

    monkeypatch.setattr(desk.queue, "heartbeat", heartbeat)

    async def wait():
        await asyncio.to_thread(renewed.wait, 5)

    assert desk(wait).task.status is TaskStatus.IN_REVIEW
    assert renewed.is_set()


def test_a_wish_to_cancel_is_heard_after_a_ledger_that_did_not_answer(desk, ledger_place, monkeypatch):
    looked = desk.queue.is_to_be_cancelled
    away = [StorageProblem("away")] * 3

    def is_to_be_cancelled(task):
        if away:
            raise away.pop()
        return looked(task)

    monkeypatch.setattr(desk.queue, "is_to_be_cancelled", is_to_be_cancelled)

    async def wait():
        with TaskQueue(ledger_place) as elsewhere:
            (task,) = elsewhere.tasks()
            assert elsewhere.ask_to_cancel(task)
        await asyncio.sleep(20)

    ended = desk(wait).task
    assert (ended.status, ended.reason) == (TaskStatus.CANCELLED, ASKED)


def test_a_task_that_was_taken_over_elsewhere_is_waited_for_and_shown(desk, ledger_place):
    """As after a machine slept for longer than its lease, and a worker of another one went on with its task."""
    others = []

    async def at_once():
        # Until the first one noticed, and waits.
        while not any(isinstance(each, HeldBack) for each in desk.told):  # noqa: ASYNC110 - another thread's list
            await asyncio.sleep(0.01)

    async def cut_off():
        parts = Parts(
            lambda origin, _settings: FileSource(origin.program or "", origin.name),
            lambda _origin, _settings: Answering(at_once),
        )
        later = TaskQueue(ledger_place, clock=lambda: time.time() + 1000)
        other = Orchestrator(desk.here, later, Settings(), parts, shared=False)
        (task,) = other.recovery.recover_abandoned()
        claimed = later.claim(Owner("other/1", 7, 7), task.id)
        others.append((other, asyncio.ensure_future(Worker(other).run_claimed(claimed))))

    review = desk(cut_off)
    ((other, work),) = others
    other.close()

    assert work.done()
    assert (review.task.status, review.task.attempt) == (TaskStatus.IN_REVIEW, 2)
    assert [each for each in desk.told if isinstance(each, HeldBack)] == [
        HeldBack("process 7 on other has taken the task over")
    ]


def test_a_task_that_was_let_go_of_elsewhere_is_claimed_again(desk, ledger_place):
    cut_offs = []

    async def cut_off():
        if not cut_offs:
            with TaskQueue(ledger_place, clock=lambda: time.time() + 1000) as later:
                (task,) = later.abandoned()
                cut_offs.append(later.put_off(task, PutOff("its worker gave no sign of life")))

    review = desk(cut_off)

    assert (review.task.status, review.task.attempt) == (TaskStatus.IN_REVIEW, 2)

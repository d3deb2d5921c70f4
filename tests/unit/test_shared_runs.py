"""One task on several machines, each with a clone, a cache and connections of its own; the ledger says who may run it.

Every test runs with the ledger in a file and on a real server.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import pytest

from cairn import task_content
from cairn.errors import CairnError, IllegalMove, NotFound
from cairn.journal import Journal, TakenOver
from cairn.kept_bases import KeptBases
from cairn.ledger_database import opened
from cairn.ledger_place import LedgerFile, LedgerServer
from cairn.object_store import open_objects
from cairn.orchestrator import Orchestrator
from cairn.project import Project
from cairn.queue import TaskQueue
from cairn.recovery import INTERRUPTED
from cairn.run_parts import Parts
from cairn.settings import Settings
from cairn.shared_bases import SharedBases
from cairn.shared_tasks import SharedTasks
from cairn.task import CodeOrigin, TaskStatus
from cairn.task_context import Asked
from cairn.task_questions import PersonAnswer
from cairn.worker import Worker
from tests.unit.test_resume import QUESTIONS, Answers, Desk

ASKS = 'said = ask_llm("one")\nwrite_file("README.md", said)\nsubmit_result("Wrote.", ["README.md"])\n'
YES = PersonAnswer(yes=True)


class Machine(Desk):
    """A clone of the project, with a person or a worker at it."""

    def __init__(self, root, place, *, text=None, settings=None, objects=None):
        project = Project.find(root, exact=True)
        project.prepare()
        self.database = opened(place)
        store = SharedTasks(self.database, project.state / "shared", open_objects(objects))
        parts = Parts(self._source, lambda _origin, _settings: text)
        self.orchestrator = Orchestrator(project, TaskQueue(place), settings or Settings(), parts, store=store)

    def task(self, task):
        return self.orchestrator.task(task.id)

    def close(self):
        self.orchestrator.close()
        self.database.close()


@pytest.fixture
def machine(project, ledger_place, tmp_path):
    machines = []

    def make(name="one", **parts):
        root = tmp_path / name
        if not root.exists():
            shutil.copytree(project, root)
        machines.append(Machine(root, ledger_place, **parts))
        return machines[-1]

    yield make
    for each in machines:
        each.close()


def asking_before(call):
    return Settings().with_options({"policy.ask": call})


# ── the commit it works on ──


def test_a_task_whose_commit_cannot_be_had_is_told_so_whatever_kept_it(machine, tmp_path):
    """Else nobody would move it, and it would end worker after worker."""
    here = machine().orchestrator
    kept = KeptBases(here.queue.database)
    here._bases = SharedBases(here.project, str(tmp_path / "nowhere"), tmp_path / "cache", kept)
    for base, reason in (
        ("nonsense", "a bug in Cairn: ValueError: 'nonsense' is no full name of a commit"),
        ("1f" * 20, f"The files of a task could not be fetched from {tmp_path}/nowhere."),
    ):
        (task,) = here.queue.put([here.queue.draft("x", CodeOrigin("file", "p.py", ASKS), base=base)])
        with pytest.raises((ValueError, CairnError)):
            asyncio.run(Worker(here).run_task(task.id))
        ended = here.task(task.id)
        assert (ended.status, ended.reason.startswith(reason)) == (TaskStatus.FAILED, True)


# ── a worker that dies ──

KILLED = """
import asyncio, os, sys
from pathlib import Path
from cairn.journal import Journal
from cairn.ledger_place import LedgerFile, LedgerServer
from cairn.worker import Worker
from tests.unit.test_resume import QUESTIONS, Answers
from tests.unit.test_shared_runs import Machine

class Deadly(Answers):
    async def complete(self, prompt, **options):
        if prompt == "four":
            while published() < 3:
                await asyncio.sleep(0.01)
            os.kill(os.getpid(), 9)
        return await super().complete(prompt, **options)

def published():
    with machine.orchestrator.store.reading(task.id) as file:
        return len(Journal(file).kept_answers())

root, *place = sys.argv[1:]
place = LedgerServer(*place) if len(place) == 2 else LedgerFile(Path(*place))
machine = Machine(Path(root), place, text=Deadly())
task = machine.add(QUESTIONS)
machine.run(task)
"""


def words(place):
    return (place.url, place.project) if isinstance(place, LedgerServer) else (str(place.path),)


def test_a_task_whose_worker_was_killed_goes_on_elsewhere_and_asks_nothing_twice(machine, ledger_place):
    there, text = machine("one"), Answers()
    command = [sys.executable, "-c", KILLED, str(there.orchestrator.project.root), *words(ledger_place)]
    died = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert died.returncode == -signal.SIGKILL, died.stderr

    here = machine("two", text=text)
    (queued,) = here.orchestrator.recovery.recover_abandoned()
    review = here.run(queued)

    assert (queued.reason, queued.attempt) == (INTERRUPTED, 1)
    assert text.asked == ["four"]
    assert [call.name for call in review.calls] == [
        *("write_file", "ask_llm", "ask_llm_many", "write_file", "submit_result")
    ]
    content = {change.path: change.after.data for change in review.changes}
    expected = b"answer to one|answer to two|answer to three|answer to four"
    assert content == {"before.txt": b"1", "after.txt": expected}
    assert review.task.status is TaskStatus.IN_REVIEW
    assert (review.input_tokens, review.output_tokens) == (12, 16)


class Overtaken(Answers):
    """While it thinks, its machine is given up, and the task comes to its end elsewhere."""

    def __init__(self, meanwhile):
        super().__init__()
        self.meanwhile = meanwhile

    async def complete(self, prompt, **options):
        await asyncio.to_thread(self.meanwhile)
        return await super().complete(prompt, **options)


def test_a_worker_that_was_given_up_and_comes_back_changes_neither_ledger_nor_file(machine):
    ends = []

    def meanwhile():
        other = machine("two", text=Answers())
        queue = other.orchestrator.queue
        queued = queue.requeue(replace(queue.get(task.id), status=TaskStatus.RUNNING), reason=INTERRUPTED)
        ends.append(other.run(queued))

    slow = machine("one", text=Overtaken(meanwhile))
    task = slow.add(ASKS)
    with pytest.raises((TakenOver, IllegalMove)):
        slow.run(task)

    (review,) = ends
    assert slow.task(task) == review.task
    assert (review.task.status, review.task.attempt) == (TaskStatus.IN_REVIEW, 2)
    with slow.orchestrator.store.reading(task.id) as file:
        journal = Journal(file)
        assert len(journal.kept_answers()) == 1
        assert [call.name for call in journal.calls()] == ["ask_llm", "write_file", "submit_result"]


# ── people in their clones ──


def test_what_one_machine_made_is_reviewed_forked_and_accepted_in_the_clone_of_another(machine):
    worker, person = machine("worker", text=Answers()), machine("person")
    task = worker.run(worker.add(ASKS)).task

    review = person.orchestrator.reviews.of(person.task(task))
    assert (review.changes.paths, review.submission.summary) == (("README.md",), "Wrote.")
    fork = asyncio.run(person.orchestrator.again.fork(task, 0))
    accepted, _ = person.orchestrator.decisions.accept(person.task(task))

    assert accepted.status is TaskStatus.ACCEPTED
    assert (person.orchestrator.project.root / "README.md").read_text() == "answer to one"
    assert (worker.orchestrator.project.root / "README.md").read_text() != "answer to one"
    assert worker.run(worker.task(fork)).changes.paths == ("README.md",)


def test_a_question_is_answered_in_any_clone_and_once(machine):
    asks = machine("one", text=Answers(), settings=asking_before("write(README.md)"))
    waiting = asks.run(asks.add(ASKS)).task
    here, late = machine("two"), machine("three")
    assert waiting.status is TaskStatus.WAITING
    assert here.orchestrator.reviews.of(waiting).question.paths == ("README.md",)

    queued = here.orchestrator.stopped_tasks.answer(here.task(waiting), YES)
    with pytest.raises((IllegalMove, NotFound)):
        late.orchestrator.stopped_tasks.answer(waiting, PersonAnswer(yes=False))

    silent = Answers()
    review = machine("four", text=silent, settings=asking_before("write(README.md)")).run(queued)
    assert (review.task.status, review.changes.paths, silent.asked) == (TaskStatus.IN_REVIEW, ("README.md",), [])


def test_two_answers_at_once_and_the_first_counts(machine, monkeypatch):
    asks = machine("one", text=Answers(), settings=asking_before("write(README.md)"))
    waiting = asks.run(asks.add(ASKS)).task
    here, late = machine("two"), machine("three")
    store = late.orchestrator.store
    writing = store.writing

    @contextmanager
    def overtaken(task, **options):
        """It has opened the file as the question stood when somebody else answers it."""
        with writing(task, **options) as file:
            here.orchestrator.stopped_tasks.answer(waiting, YES)
            yield file

    monkeypatch.setattr(store, "writing", overtaken)
    with pytest.raises(IllegalMove, match="moved meanwhile"):
        late.orchestrator.stopped_tasks.answer(waiting, PersonAnswer(yes=False))

    review = machine("four", text=Answers(), settings=asking_before("write(README.md)")).run(late.task(waiting))
    assert review.task.status is TaskStatus.IN_REVIEW
    assert review.changes.paths == ("README.md",)


def test_what_belongs_to_a_request_is_there_before_a_worker_has_the_task(machine):
    asks, works = machine("one"), machine("two")
    task = asks.orchestrator.new_tasks.submit(
        "do it", CodeOrigin("file", "p.py", ASKS), asked=Asked(feedback="shorter")
    )
    assert works.orchestrator.again._asked(task).feedback == "shorter"

    twice = asks.orchestrator.again.retry(asks.orchestrator.queue.move(task, TaskStatus.CANCELLED), because="longer")
    assert works.orchestrator.again._asked(twice).feedback == "longer"


# ── too large ──


def test_what_is_too_large_stops_the_task_and_it_goes_on_once_there_is_an_object_store(machine, monkeypatch, tmp_path):
    monkeypatch.setattr(task_content, "LARGEST_ROW", 1000)
    text = Answers()
    small = machine("one", text=text)
    with pytest.raises(task_content.TooLargeToPublish):
        small.run(small.add(QUESTIONS))
    (task,) = small.orchestrator.queue.tasks()
    assert task.status is TaskStatus.FAILED
    assert task.reason == (
        f"What task {task.id} made is too large for the database: 0 MB, and 0 MB are the most."
        " There is no object store for it. It is kept on the machine that ran the task."
    )
    asked = len(text.asked)
    assert asked >= 1

    large = machine("one", text=text, objects=(tmp_path / "objects").as_uri())
    review = large.run(large.orchestrator.stopped_tasks.resume(task))

    assert review.task.status is TaskStatus.IN_REVIEW
    assert sorted(text.asked) == ["four", "one", "three", "two"]
    assert len(text.asked) == 4


# ── dumps ──


def test_a_run_whose_file_travels_keeps_no_dump_in_it_and_heeds_none(machine):
    one = machine("one", text=Answers(), settings=asking_before("write(README.md)"))
    waiting = one.run(one.add(ASKS)).task
    with one.orchestrator.store.writing(waiting) as file:
        assert file.rows("SELECT count(*) FROM cairn_dump") == [(0,)]
        file.run(
            "INSERT INTO cairn_dump (step, call, version, mac, data, created_at) VALUES (1, 2, 'x', 'y', ?, 0)", b"z"
        )

    two = machine("two", text=Answers(), settings=asking_before("write(README.md)"))
    review = two.run(two.orchestrator.stopped_tasks.answer(two.task(waiting), YES))
    assert (review.task.status, review.changes.paths) == (TaskStatus.IN_REVIEW, ("README.md",))


def test_the_place_of_a_killed_process_is_the_same_in_words(ledger_place):
    """What the process above is started with."""
    again = LedgerServer(*words(ledger_place)) if len(words(ledger_place)) == 2 else LedgerFile(ledger_place.path)
    assert again == ledger_place

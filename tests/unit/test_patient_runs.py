"""A task that nobody watches: what is not its doing queues it again, with its work, instead of failing it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from cairn.code_generator import CodeGenerator, FileSource
from cairn.errors import KeyMissing, KeyRefused, ModelCallFailed
from cairn.external_functions import function_reference
from cairn.lacks import UNNAMED, Lack
from cairn.language_model import Completion
from cairn.orchestrator import Orchestrator
from cairn.progress import CannotAsk
from cairn.project import Project
from cairn.queue import TaskQueue
from cairn.run_endings import RELEASED
from cairn.run_parts import Parts
from cairn.settings import BudgetSettings, Settings
from cairn.task import CodeOrigin, TaskStatus, Terms
from cairn.task_owner import Owner
from cairn.worker import Worker

NO_QUOTA = ModelCallFailed("The account has no quota left for m.", status=429, no_quota=True)
BUSY = ModelCallFailed("m is rate-limited.", retryable=True)
WRITES = "write_file('a.txt', '1')\nanswer = ask_llm('what?')\nwrite_file('b.txt', answer)\nsubmit_result('x', ['a.txt', 'b.txt'])\n"


class Answers:
    """A model that gives these answers, or raises them."""

    name, draft = "m", False

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0

    async def complete(self, prompt, *, system="", history=(), on_text=None):
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return Completion(answer, 100, 10, 0.1, self.name)


class Desk:
    def __init__(self, root, model, settings=None, missing=None, no_answers=None):
        project = Project.find(root)
        project.prepare()
        self.now = 1_800_000_000.0
        self.model, self.missing, self.no_answers = model, missing, no_answers
        self.events = []
        self.queue = TaskQueue(project.state / "cairn.db", clock=lambda: self.now)
        parts = Parts(self.source, self.text_model)
        self.orchestrator = Orchestrator(project, self.queue, settings or Settings(), parts, clock=lambda: self.now)

    def source(self, origin, _settings):
        if origin.source == "file":
            return FileSource(origin.program, origin.name)
        if self.missing is not None and self.queue.tasks([TaskStatus.RUNNING]):
            raise self.missing
        return CodeGenerator(self.model, function_reference())

    def text_model(self, _origin, _settings):
        if self.no_answers is not None:
            raise self.no_answers
        return self.model

    def run(self, task, *, patient=True):
        claimed = self.queue.claim(Owner.this_process(), task.id)
        asyncio.run(Worker(self.orchestrator).run_claimed(claimed, self.events.append, patient=patient))
        return self.queue.get(task.id)

    def add(self, program=None, **terms):
        origin = CodeOrigin("file", "p.py", program) if program else CodeOrigin("model", "alias")
        return self.orchestrator.new_tasks.submit("do it", origin, terms=Terms(**terms))


@pytest.fixture
def desk(project):
    opened = []

    def make(*answers, **how):
        opened.append(Desk(project, Answers(*answers), **how))
        return opened[-1]

    yield make
    for each in opened:
        each.orchestrator.close()


def test_no_quota_queues_the_task_pauses_its_model_and_its_exact_name_is_known(desk):
    here = desk(NO_QUOTA)
    task = here.add()

    queued = here.run(task)

    assert (task.model, queued.status, queued.reason) == ("m", TaskStatus.QUEUED, "m is paused")
    assert (queued.in_vain, queued.waits_for) == (0, "m")
    assert here.queue.claim(Owner.this_process()) is None
    assert "m is paused until" in here.queue.holds([queued])[task.id]


def test_no_quota_for_a_question_keeps_the_work_and_asks_no_call_twice(desk):
    here = desk(NO_QUOTA, "the answer")
    task = here.add(WRITES)
    assert here.run(task).status is TaskStatus.QUEUED
    with here.orchestrator.model_use.pauses() as pauses:
        pauses.end("m")

    review = here.orchestrator.reviews.of(here.run(task))

    assert review.task.status is TaskStatus.IN_REVIEW
    assert [call.name for call in review.calls] == ["write_file", "ask_llm", "write_file", "submit_result"]
    assert here.model.asked == 2


def test_a_task_does_not_even_ask_a_model_that_is_paused_meanwhile(desk):
    here = desk()
    task = here.add(WRITES)
    with here.orchestrator.model_use.pauses() as pauses:
        pauses.begin("m", NO_QUOTA)

    assert here.run(task).status is TaskStatus.QUEUED
    assert here.model.asked == 0


def test_a_person_who_runs_it_asks_a_paused_model_all_the_same_and_an_answer_ends_the_pause(desk):
    here = desk("the answer")
    with here.orchestrator.model_use.pauses() as pauses:
        pauses.begin("m", NO_QUOTA)

        assert here.run(here.add(WRITES), patient=False).status is TaskStatus.IN_REVIEW

        assert pauses.every() == ()


def test_a_person_who_runs_it_sees_it_fail_and_the_model_is_paused_for_the_queue(desk):
    here = desk(NO_QUOTA)

    with pytest.raises(ModelCallFailed):
        here.run(here.add(), patient=False)

    assert [task.status for task in here.queue.tasks()] == [TaskStatus.FAILED]
    assert [pause.model for pause in here.queue.pauses()] == ["m"]


NO_KEY = KeyMissing("m needs a key.", "KEY is not set.", ("llm keys set m",))
REFUSED = KeyRefused("The key for m was refused.", "No such key.")


@pytest.mark.parametrize("asks_with", ["m", "another"])
@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"missing": NO_KEY}, "m needs a key. KEY is not set."),
        ({"no_answers": NO_KEY}, "m needs a key. KEY is not set."),
        ({"refused": REFUSED}, "The key for m was refused. No such key."),
        ({"refused_question": REFUSED}, "The key for m was refused. No such key."),
    ],
)
def test_what_only_this_machine_lacks_gives_the_task_back_at_once_and_pauses_no_model(desk, how, why, asks_with):
    settings = Settings() if asks_with == "m" else replace(Settings(), text_model=asks_with)
    refused = [error for error in (how.get("refused"), how.get("refused_question")) if error]
    here = desk(*refused, settings=settings, missing=how.get("missing"), no_answers=how.get("no_answers"))
    of_questions = not {"missing", "refused"} & set(how)
    task = here.add(WRITES) if "refused_question" in how else here.add()

    queued = here.run(task)

    wanted = asks_with if of_questions and asks_with != "m" else "m" if task.model else UNNAMED
    assert (queued.status, queued.reason, queued.waits_for, queued.in_vain) == (TaskStatus.QUEUED, why, wanted, 0)
    assert [event.lack for event in here.events if isinstance(event, CannotAsk)] == [
        Lack.of(wanted, how.get("missing") or how.get("no_answers") or REFUSED)
    ]
    assert here.queue.pauses() == ()
    assert here.queue.claim(Owner.this_process(), without=(wanted,)) is None
    assert here.queue.claim(Owner.this_process()).id == task.id


def test_a_person_who_runs_it_sees_the_refused_key_and_no_other_worker_hears_of_it(desk):
    here = desk(REFUSED)

    with pytest.raises(KeyRefused):
        here.run(here.add(), patient=False)

    assert [task.status for task in here.queue.tasks()] == [TaskStatus.FAILED]
    assert here.queue.pauses() == ()


def test_a_provider_that_is_down_is_tried_again_later_until_the_attempts_are_used_up(desk):
    here = desk(BUSY, BUSY)
    task = here.add(max_attempts=2)

    queued = here.run(task)

    assert (queued.status, queued.reason) == (TaskStatus.QUEUED, "m is rate-limited (1 of 2 attempts)")
    assert here.queue.due_at() == here.now + 30
    assert here.queue.claim(Owner.this_process()) is None
    with pytest.raises(ModelCallFailed):
        here.run(task)
    assert here.queue.get(task.id).status is TaskStatus.FAILED


def test_when_the_day_is_used_up_the_task_goes_on_after_midnight(desk):
    here = desk("```python\nprint(1)\n```", settings=replace(Settings(), budget=BudgetSettings(tokens_per_day=100)))

    queued = here.run(here.add())

    assert (queued.status, queued.reason) == (TaskStatus.QUEUED, "budget.tokens_per_day is used up")
    assert here.now < queued.terms.not_before <= here.now + 86_400


def test_a_worker_that_is_stopped_gives_its_task_back_with_its_work_and_uncounted(desk):
    here = desk()
    task = here.add("write_file('a.txt', '1')\nwhile True:\n    pass\nsubmit_result('x', [])\n")

    async def stopped() -> None:
        written = asyncio.Event()
        work = asyncio.create_task(
            Worker(here.orchestrator).run_claimed(
                here.queue.claim(Owner.this_process(), task.id),
                lambda event: loop.call_soon_threadsafe(written.set) if type(event).__name__ == "CallMade" else None,
                patient=True,
            )
        )
        loop = asyncio.get_running_loop()
        await written.wait()
        work.cancel(RELEASED)
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(stopped())

    queued = here.queue.get(task.id)
    assert (queued.status, queued.reason, queued.in_vain) == (TaskStatus.QUEUED, RELEASED, 0)
    assert here.orchestrator.reviews.of(queued).changes.paths == ("a.txt",)


def test_a_task_whose_worker_died_as_often_as_it_may_is_given_up_and_a_resume_forgives(desk):
    here = desk()
    task = here.add(WRITES, max_attempts=2)
    said = []
    for _ in range(2):
        here.queue.claim(Owner("elsewhere", 1, 1), task.id)
        here.now += 31
        said += here.orchestrator.recovery.recover()

    assert said == [
        f"Task {task.id} was interrupted: cairn resume {task.id}   goes on where it stopped.",
        (
            f"Task {task.id} was given up: it ended its worker 2 times; the last time before it began; cairn resume {task.id}"
            "   tries it all the same."
        ),
    ]
    again = here.orchestrator.stopped_tasks.resume(here.queue.get(task.id))
    assert (again.status, again.in_vain) == (TaskStatus.QUEUED, 0)


def test_a_retry_keeps_what_a_task_is_and_not_when_it_was_to_run(desk):
    here = desk()
    task = here.add(
        WRITES, priority=3, tags=("a",), key="k", deadline=here.now + 5, not_before=here.now + 1, accepts=True
    )
    failed = here.queue.move(task, TaskStatus.FAILED)

    assert here.orchestrator.again.retry(failed).terms == Terms(3, tags=("a",), accepts=True)

"""A task that was stopped goes on from its journal: nothing is asked, written or called a second time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from cairn.code_generator import CodeGenerator, FileSource
from cairn.errors import IllegalMove, ModelCallFailed
from cairn.external_functions import function_reference
from cairn.journal import Journal, TakenOver
from cairn.language_model import Completion
from cairn.orchestrator import Orchestrator
from cairn.program import Cancelled, Finished, LimitReached, Program, Run
from cairn.project import Project
from cairn.queue import LEDGER, TaskQueue
from cairn.recalled_calls import Divergence
from cairn.recovery import INTERRUPTED
from cairn.run_parts import Parts
from cairn.settings import LimitSettings, Settings
from cairn.sqlite_file import connect
from cairn.task import CodeOrigin, TaskStatus
from cairn.task_file import TaskFile
from cairn.testing import Script
from cairn.worker import Worker


class Killed(BaseException):
    """Stands for a kill -9: nothing of Cairn's catches it, and nothing is tidied up."""


class Answers:
    """A text model that counts what it is asked, and dies at one question if told so."""

    name = "counted"
    draft = False

    def __init__(self, dies_at=None):
        self.asked = []
        self.dies_at = dies_at

    async def complete(self, prompt, *, system="", history=(), on_text=None):
        self.asked.append(prompt)
        if prompt == self.dies_at:
            raise Killed
        return Completion(f"answer to {prompt}", 3, 4, 0.1, self.name)


class Desk:
    """One process's view of a project; a second one is the process after the kill."""

    def __init__(self, root, *answers, text=None, settings=None):
        self.script = Script(*answers)
        project = Project.find(root)
        project.prepare()
        parts = Parts(self._source, lambda _origin, _settings: text)
        ledger = TaskQueue(project.state / "cairn.db")
        self.orchestrator = Orchestrator(project, ledger, settings or Settings(), parts)

    def _source(self, origin, _settings):
        if origin.source == "file":
            return FileSource(origin.program or "", origin.name)
        return CodeGenerator(self.script.model(), function_reference())

    def add(self, program=None):
        origin = CodeOrigin("file", "p.py", program) if program else CodeOrigin("model", "scripted")
        return self.orchestrator.new_tasks.submit("do it", origin)

    def run(self, task):
        return asyncio.run(Worker(self.orchestrator).run_task(task.id))

    def file(self, task):
        return TaskFile.open(self.orchestrator.store.path(task.id))


@pytest.fixture
def desk(project):
    opened = []

    def make(*answers, **parts):
        opened.append(Desk(project, *answers, **parts))
        return opened[-1]

    yield make
    for each in opened:
        each.orchestrator.close()


def fenced(program):
    return f"```python\n{program}\n```"


def interrupt(desk, task):
    """What the next command does about a task whose process is gone."""
    return desk.orchestrator.queue.requeue(desk.orchestrator.task(task.id), reason=INTERRUPTED)


QUESTIONS = (
    'write_file("before.txt", "1")\n'
    'first = ask_llm("one")\n'
    'many = ask_llm_many(["two", "three", "four"])\n'
    'write_file("after.txt", first + "|" + "|".join(many))\n'
    'submit_result("Asked.", ["before.txt", "after.txt"])\n'
)


def test_a_program_goes_on_at_the_first_call_that_is_missing_and_asks_no_question_twice(desk):
    text = Answers(dies_at="four")
    before = desk(text=text)
    task = before.add(QUESTIONS)
    with pytest.raises(Killed):
        before.run(task)
    calls = desk().file(task).rows("SELECT name FROM tool_calls ORDER BY id")

    again = Answers()
    after = desk(text=again)
    review = after.run(interrupt(after, task))

    assert calls == [("write_file",), ("ask_llm",), ("ask_llm_many",)]
    assert again.asked == ["four"]
    assert sorted(text.asked) == ["four", "one", "three", "two"]
    assert [call.name for call in review.calls] == [
        *("write_file", "ask_llm", "ask_llm_many", "write_file", "submit_result")
    ]
    content = {change.path: change.after.data for change in review.changes}
    expected = b"answer to one|answer to two|answer to three|answer to four"
    assert content == {"before.txt": b"1", "after.txt": expected}
    assert (review.input_tokens, review.output_tokens) == (12, 16)


def test_variables_of_ended_steps_are_rebuilt_and_the_model_is_asked_only_for_what_is_missing(desk):
    first, second = fenced('x = read_file("README.md")\nprint(len(x))'), fenced('y = x.upper()\nwrite_file("y.txt", y)')
    before = desk(first, second, ModelCallFailed("The model is down."))
    task = before.add()
    with pytest.raises(ModelCallFailed):
        before.run(task)
    failed = before.orchestrator.task(task.id)

    after = desk(fenced('submit_result(y[:8].strip(), ["y.txt"])'))
    review = after.run(after.orchestrator.stopped_tasks.resume(failed))

    assert failed.status is TaskStatus.FAILED
    assert len(after.script.asked) == 1
    assert review.task.status is TaskStatus.IN_REVIEW
    assert review.submission.summary == "# SAMPLE"
    assert [call.name for call in review.calls] == ["read_file", "write_file", "submit_result"]


def test_an_answer_that_was_recorded_is_a_program_without_asking_again(desk, monkeypatch):
    before = desk(fenced('write_file("a.txt", "a")\nsubmit_result("Wrote.", ["a.txt"])'))
    task = before.add()

    def killed(*_anything):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "begin_step", killed)
        with pytest.raises(Killed):
            before.run(task)
    after = desk()
    review = after.run(interrupt(after, task))

    assert after.script.asked == []
    assert review.task.status is TaskStatus.IN_REVIEW
    assert [step.number for step in review.steps] == [1]


def test_a_submission_that_was_recorded_ends_the_task_without_running_anything(desk, monkeypatch):
    before = desk()
    task = before.add('write_file("a.txt", "a")\nsubmit_result("Wrote.", ["a.txt"])\n')
    original = Journal.end_step

    def ends_and_is_killed(journal, number, result):
        original(journal, number, result)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "end_step", ends_and_is_killed)
        with pytest.raises(Killed):
            before.run(task)
    after = desk()
    review = after.run(interrupt(after, task))

    assert (review.task.status, review.changes.paths) == (TaskStatus.IN_REVIEW, ("a.txt",))
    assert len(review.steps) == 1


def test_a_program_that_asks_for_something_else_than_its_journal_is_stopped_with_both_calls_shown(desk):
    before = desk(text=Answers(dies_at="why"))
    task = before.add('write_file("a.txt", "a")\nask_llm("why")\nsubmit_result("x", ["a.txt"])\n')
    with pytest.raises(Killed):
        before.run(task)
    with before.file(task) as file:
        file.run("UPDATE cairn_step SET program = replace(program, '\"a\"', '\"b\"')")
    after = desk(text=Answers())

    with pytest.raises(Divergence) as stopped:
        after.run(interrupt(after, task))

    assert str(stopped.value) == (
        "Step 1 went another way than its journal, so it was stopped.\n"
        "Call 1 in the journal: write_file('a.txt', content='a')\n"
        "Now asked for: write_file('a.txt', content='b')\n"
        "cairn retry   runs the task anew; what it had done until then stays readable."
    )
    ended = after.orchestrator.task(task.id)
    assert (ended.status, ended.reason.splitlines()[0]) == (
        TaskStatus.FAILED,
        f"{stopped.value.what} Call 1 in the journal: write_file('a.txt', content='a')",
    )
    assert {change.path: change.after.data for change in after.orchestrator.acceptable.changes(ended)} == {
        "a.txt": b"a"
    }


def test_a_limit_can_be_raised_and_the_task_goes_on_behind_it(desk):
    before = desk(settings=Settings(limits=LimitSettings(calls=2)))
    task = before.add('for n in range(4):\n    write_file(f"{n}.txt", "x")\nsubmit_result("x", ["0.txt"])\n')
    stopped = before.run(task)
    after = desk(settings=Settings(limits=LimitSettings(calls=2)))
    review = after.run(after.orchestrator.stopped_tasks.resume(stopped.task, {"limits.calls": "10"}))

    assert [type(step.result) for step in stopped.steps] == [LimitReached]
    assert len(stopped.changes) == 2
    assert review.task.status is TaskStatus.IN_REVIEW
    assert review.task.options == {"limits.calls": "10"}
    assert [call.name for call in review.calls] == ["write_file"] * 4 + ["submit_result"]
    assert [type(step.result) for step in review.steps] == [Finished]


def test_a_program_file_that_came_to_its_end_has_nothing_to_go_on_with(desk):
    made = desk()
    task = made.add('read_file("nope")\nsubmit_result("x", [])\n')
    failed = made.run(task).task

    with pytest.raises(IllegalMove) as refused:
        made.orchestrator.stopped_tasks.resume(failed)

    assert refused.value.what == f"Task {task.id} came to its end, so there is nothing to go on with."


def test_an_error_that_a_program_caught_is_raised_again_from_the_journal_just_as_it_was(desk):
    program = (
        "said = []\n"
        'for path in ["nope.txt", "../out", "cairn"]:\n'
        "    try:\n"
        "        read_file(path)\n"
        "    except Exception as error:\n"
        '        said.append(type(error).__name__ + ": " + str(error))\n'
        'try:\n    open("data.bin").read()\nexcept UnicodeDecodeError as error:\n    said.append(str(error))\n'
        'write_file("said.txt", "\\n".join(said))\n'
        'ask_llm("now")\n'
        'write_file("again.txt", "\\n".join(said))\n'
        'submit_result("x", ["said.txt", "again.txt"])\n'
    )
    before = desk(text=Answers(dies_at="now"))
    (before.orchestrator.project.root / "data.bin").write_bytes(b"\xff\xfe\x00")
    task = before.add(program)
    with pytest.raises(Killed):
        before.run(task)
    after = desk(text=Answers())
    review = after.run(interrupt(after, task))

    content = {change.path: change.after.data for change in review.changes}
    assert content["said.txt"] == content["again.txt"] != b""


def test_a_process_that_lost_its_task_can_write_nothing_more(desk):
    before = desk()
    task = before.add('write_file("a.txt", "a")\nsubmit_result("x", ["a.txt"])\n')
    claimed = before.orchestrator.queue.claim(Worker(before.orchestrator)._owner, task.id)
    after = desk()
    review = after.run(interrupt(after, claimed))

    with before.file(task) as file:
        late = Journal(file)
        late._attempt = claimed.attempt
        with pytest.raises(TakenOver):
            late.begin_step(2, Program("", ""))
    assert (len(review.calls), len(review.steps)) == (2, 1)


def test_a_cancelled_step_runs_again_from_its_journal(desk):
    before = desk()
    task = before.add('write_file("a.txt", "a")\nwrite_file("b.txt", "b")\nsubmit_result("x", ["a.txt", "b.txt"])\n')
    done = before.run(task)
    with before.file(task) as file:  # as a Ctrl-C after the first call leaves it
        file.run("DELETE FROM cairn_call WHERE number > 1")
        file.run("DELETE FROM tool_calls WHERE id > 1")
        file.run("DELETE FROM kv_store WHERE key = 'cairn.submission'")
        Journal(file).end_step(1, Cancelled(Run(), "stopped while it ran"))
    with contextlib.closing(connect(before.orchestrator.project.state / LEDGER)) as ledger:
        ledger.execute("INSERT OR IGNORE INTO legal_move VALUES ('in review', 'cancelled')")
        ledger.execute("UPDATE task SET status = 'cancelled' WHERE id = ?", (task.id,))
    stopped = replace(before.orchestrator.task(task.id))

    review = before.run(before.orchestrator.stopped_tasks.resume(stopped))

    assert [call.name for call in review.calls] == ["write_file", "write_file", "submit_result"]
    assert review.changes == done.changes


def kill_workers():
    """Every sandbox process of this one."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, fields = (
                status.read_text().rpartition(")")[0].partition("(")[2],
                status.read_text().rpartition(")")[2].split(),
            )
            if name == "monty" and int(fields[1]) == os.getpid():
                os.kill(int(status.parent.name), signal.SIGKILL)


def test_a_worker_that_dies_between_two_programs_is_replaced_with_all_variables(desk):
    second = fenced('write_file("x.txt", x.upper())\nsubmit_result("Wrote.", ["x.txt"])')

    def answer(_asked):
        kill_workers()
        return second

    made = desk(fenced('x = read_file("README.md")\nlog("read")'), answer)
    review = made.run(made.add())

    assert review.task.status is TaskStatus.IN_REVIEW
    assert [call.name for call in review.calls] == ["read_file", "log", "write_file", "submit_result"]
    assert [type(step.result) for step in review.steps] == [Finished, Finished]


def test_a_worker_that_dies_while_its_program_waits_is_replaced_and_nothing_is_called_twice(desk):
    class Deadly(Answers):
        async def complete(self, prompt, **how):
            answer = await super().complete(prompt, **how)
            if self.asked == ["one"]:
                kill_workers()
                await asyncio.sleep(0.2)
            return answer

    text = Deadly()
    made = desk(text=text)
    review = made.run(made.add(QUESTIONS))

    assert review.task.status is TaskStatus.IN_REVIEW
    assert [call.name for call in review.calls] == [
        *("write_file", "ask_llm", "ask_llm_many", "write_file", "submit_result")
    ]
    assert set(text.asked) == {"one", "two", "three", "four"}
    assert len(text.asked) <= 5  # the one in flight when the worker died may be asked again

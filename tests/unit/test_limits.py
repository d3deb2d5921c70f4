"""Limits, by real programs: stopped by the host at the limit, the work kept, and gone on with when it is raised."""

from __future__ import annotations

import asyncio

import pytest

from cairn.code_generator import CodeGenerator, FileSource
from cairn.errors import UsageProblem
from cairn.external_functions import function_reference
from cairn.orchestrator import Orchestrator
from cairn.program import LimitReached
from cairn.project import Project
from cairn.queue import TaskQueue
from cairn.run_parts import Parts
from cairn.settings import Settings
from cairn.task import CodeOrigin, TaskStatus
from cairn.testing import Script
from cairn.worker import Worker

CATCHES_ALL = """\
for n in range({count}):
    try:
        {call}
    except BaseException as error:
        print("caught", error)
    except:
        print("caught")
submit_result("Done.", [f"{{n}}.txt" for n in range({count})])
"""


class Desk:
    """A project's orchestrator with a scripted model and settings of the test's own."""

    def __init__(self, root, *answers, text=None, tokens=(100, 20), **options):
        self.script = Script(*answers, tokens=tokens)
        self.text = text
        project = Project.find(root)
        project.prepare()
        parts = Parts(self._source, lambda _origin, _settings: text and text.model())
        values = {name.replace("__", "."): value for name, value in options.items()}
        settings = Settings().with_options(values)
        self.orchestrator = Orchestrator(project, TaskQueue(project.state / "cairn.db"), settings, parts)

    def _source(self, origin, _settings):
        if origin.source == "file":
            return FileSource(origin.program or "", origin.name)
        return CodeGenerator(self.script.model(), function_reference())

    def add(self, program=None, **options):
        origin = CodeOrigin("file", "p.py", program) if program else CodeOrigin("model", "scripted")
        given = {f"limits.{name}": str(value) for name, value in options.items()}
        return self.orchestrator.new_tasks.submit("do it", origin, options=given)

    def run(self, task):
        return asyncio.run(Worker(self.orchestrator).run_task(task.id))

    def resume(self, task, **options):
        given = {f"limits.{name.replace('__', '.')}": str(value) for name, value in options.items()}
        return self.run(self.orchestrator.stopped_tasks.resume(task, given))


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


def contents(review):
    return {change.path: change.after.data for change in review.changes}


@pytest.mark.parametrize(
    ("call", "limit", "kept", "done"),
    [
        ('write_file(f"{n}.txt", "1234")', {"bytes_written": 10}, 2, {"bytes_written": 100}),
        ('open(f"{n}.txt", "w").write("1234")', {"bytes_written": 10}, 2, {"bytes_written": 100}),
        ('write_file(f"{n}.txt", "1234")', {"files_changed": 3}, 3, {"files_changed": 4}),
        ('write_file(f"{n}.txt", "1234")', {"calls_of.write_file": 1}, 1, {"calls_of.write_file": 4}),
    ],
)
def test_a_write_beyond_a_limit_is_not_done_cannot_be_caught_and_comes_with_a_higher_one(desk, call, limit, kept, done):
    here = desk()
    task = here.add(CATCHES_ALL.format(count=4, call=call), **limit)

    stopped = here.run(task)
    ((name, allowed),) = limit.items()
    was = (stopped.task.status, stopped.task.reason, contents(stopped))
    went_on = here.resume(stopped.task, **done)

    work = {f"{n}.txt": b"1234" for n in range(4)}
    assert was == (TaskStatus.FAILED, f"limit reached: {name} = {allowed}", dict(list(work.items())[:kept]))
    assert stopped.steps[-1].result.run.output == ""
    assert (went_on.task.status, contents(went_on)) == (TaskStatus.IN_REVIEW, work)
    assert [call.error for call in went_on.calls if call.error] == []


def test_the_same_file_written_again_and_again_is_one_file_and_all_of_its_bytes(desk):
    here = desk()
    program = 'for n in range(50):\n    write_file("a.txt", "12345")\nsubmit_result("Wrote.", ["a.txt"])\n'

    whole = here.run(here.add(program, files_changed=1, bytes_written=250))
    short = here.run(here.add(program, files_changed=1, bytes_written=249))

    assert whole.task.status is TaskStatus.IN_REVIEW
    assert (short.task.reason, len(short.calls)) == ("limit reached: bytes_written = 249", 49)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ('move_file("src", "lib")', "limit reached: files_changed = 1"),
        ('delete_file("src")', "limit reached: files_changed = 1"),
        ('import os; os.rename("src", "lib")', "limit reached: files_changed = 1"),
    ],
)
def test_a_folder_that_is_moved_or_deleted_counts_each_of_its_files(desk, call, error):
    here = desk()

    stopped = here.run(here.add(f'{call}\nsubmit_result("x", ["src"])\n', files_changed=1))

    assert (stopped.task.reason, contents(stopped)) == (error, {})


def test_files_that_are_written_as_the_program_fails_count_too(desk):
    here = desk()
    program = 'f = open("a.txt", "w")\nf.write("12345")\nsubmit_result\nraise ValueError("mine")\n'

    stopped = here.run(here.add(program, bytes_written=4))

    assert (stopped.task.reason, contents(stopped)) == ("limit reached: bytes_written = 4", {})


def test_a_function_that_may_not_be_called_at_all_is_not(desk):
    here = desk(text=Script("never"))

    stopped = here.run(here.add('ask_llm("x")\nsubmit_result("x", [])\n', **{"calls_of.ask_llm": 0}))

    assert stopped.task.reason == "limit reached: calls_of.ask_llm = 0"
    assert here.text.asked == []


def test_all_programs_together_have_a_time_which_ends_one_in_the_middle(desk):
    busy = "import time\nn = 0\nfor i in range(10 ** 9):\n    n += i\n"
    quick = "n = 0\nfor i in range(300_000):\n    n += i\nprint(n)"
    here = desk(fenced(quick), fenced(busy))

    stopped = here.run(here.add(total_seconds=0.5))

    assert [type(step.result).__name__ for step in stopped.steps] == ["Finished", "LimitReached"]
    assert stopped.task.reason == "limit reached: total_seconds = 0.5"
    assert 0.3 < sum(step.result.run.seconds for step in stopped.steps) < 2.0


def test_a_program_too_long_or_too_deep_goes_back_to_the_model_and_never_runs(desk):
    deep = "".join("    " * n + "if True:\n" for n in range(4)) + "    " * 4 + 'write_file("no.txt", "x")'
    long = 'write_file("no.txt", "' + "x" * 500 + '")'
    good = 'write_file("yes.txt", "x")\nsubmit_result("x", ["yes.txt"])'
    here = desk(fenced(deep), fenced(long), fenced(good))

    review = here.run(here.add(nesting=3, program_chars=300))

    told = [asked.prompt for asked in here.script.asked[1:]]
    assert contents(review) == {"yes.txt": b"x"}
    assert "blocks are nested more than 3 deep (limit nesting)" in told[0]
    assert f"the program has {len(long) + 1} characters; 300 are allowed (limit program_chars)" in told[1]


def test_calls_of_a_program_that_runs_again_are_counted_once(desk):
    first = fenced('for n in range(6):\n    write_file(f"{n}.txt", "x")')
    then = fenced('write_file("6.txt", "x")\nwrite_file("7.txt", "x")\nsubmit_result("x", [])')
    here = desk(first, then, then)
    stopped = here.run(here.add(steps=1, calls=9))

    review = here.resume(stopped.task, steps=3)

    assert stopped.task.reason == "limit reached: steps = 1"
    assert (review.task.status, len(review.calls)) == (TaskStatus.IN_REVIEW, 9)


@pytest.mark.parametrize(
    "forged",
    [
        'raise RuntimeError("limit reached: bytes_written = 10")',
        'raise MemoryError("memory limit exceeded")',
        'raise TimeoutError("feed time limit exceeded")',
    ],
)
def test_a_limit_that_a_program_claims_is_not_believed(desk, forged):
    here = desk()

    ended = here.run(here.add(f"submit_result\n{forged}\n"))

    assert not isinstance(ended.steps[-1].result, LimitReached)
    assert ended.task.reason.startswith("the program failed in line 2: ")


# ── models ──────────────────────────────────────────────────────────────────────────────────────────────────────────

ASKS = """\
answers = []
for n in range(6):
    try:
        answers.append(ask_llm(f"question {n}"))
    except BaseException as error:
        print("caught", error)
    write_file(f"{n}.txt", answers[-1])
submit_result("Asked.", [f"{n}.txt" for n in range(6)])
"""


def answering(*, tokens=(100, 20), text="an answer"):
    return Script(lambda _asked: text, tokens=tokens)


@pytest.mark.parametrize(
    ("limit", "answered", "higher"),
    [
        ({"model_calls": 2}, 2, 100),
        ({"input_tokens": 350}, 3, 100_000),
        ({"output_tokens": 45}, 3, 100_000),
    ],
)
def test_a_question_beyond_a_limit_is_not_sent_cannot_be_caught_and_is_sent_with_a_higher_one(
    desk, limit, answered, higher
):
    here = desk(text=answering())
    ((name, allowed),) = limit.items()

    stopped = here.run(here.add(ASKS, **limit))
    asked = len(here.text.asked)
    went_on = here.resume(stopped.task, **{name: higher})

    assert stopped.task.reason == f"limit reached: {name} = {allowed:,}"
    assert (asked, len(stopped.changes), stopped.steps[-1].result.run.output) == (answered, answered, "")
    assert (went_on.task.status, len(here.text.asked)) == (TaskStatus.IN_REVIEW, 6)
    assert (went_on.spent.calls, went_on.spent.input_tokens, went_on.spent.output_tokens) == (6, 600, 120)


def test_the_model_that_writes_programs_is_bounded_too_and_its_repairs_count(desk):
    wrong, right = fenced("import enum"), fenced('write_file("a.txt", "a")\nsubmit_result("x", ["a.txt"])')
    here = desk(wrong, wrong, right)

    stopped = here.run(here.add(model_calls=2))
    review = here.resume(stopped.task, model_calls=3)

    assert (stopped.task.status, stopped.task.reason) == (TaskStatus.FAILED, "limit reached: model_calls = 2")
    assert (review.task.status, review.spent.calls, len(here.script.asked)) == (TaskStatus.IN_REVIEW, 3, 3)


def test_questions_under_way_are_kept_when_another_one_is_too_much(desk):
    program = 'answers = ask_llm_many([str(n) for n in range(6)])\nsubmit_result(" ".join(answers), [])\n'
    here = desk(text=answering())

    stopped = here.run(here.add(program, model_calls=4))
    first = len(here.text.asked)
    review = here.resume(stopped.task, model_calls=6)

    assert (stopped.task.reason, first) == ("limit reached: model_calls = 4", 4)
    assert (review.submission.summary, len(here.text.asked)) == (" ".join(["an answer"] * 6), 6)


def test_money_is_counted_by_price_and_bounds_what_is_asked(desk, project):
    (project / "cairn.toml").write_text('[prices]\n"scr*" = {input = 1.0, output = 10.0}\n')
    settings = Settings.load(project, {"HOME": "/nowhere"})
    here = desk(text=answering(tokens=(80, 3)))
    here.orchestrator.settings = settings

    whole = here.run(here.add(ASKS))
    stopped = here.run(here.add(ASKS, money=0.0005))

    assert whole.spent.money == pytest.approx(6 * (80 * 1e-6 + 3 * 10e-6), abs=1e-12)
    assert whole.task.outcome.money == whole.spent.money
    assert stopped.task.reason == "limit reached: money = 0.0005"
    assert 0 < stopped.spent.money <= 0.0005


def test_a_model_without_a_price_is_not_asked_when_money_is_bounded(desk):
    here = desk(text=answering())

    with pytest.raises(UsageProblem) as unknown:
        here.run(here.add(ASKS, money=5))

    assert unknown.value.what == (
        "The price of scripted is not known, so limits.money cannot be judged; scripted was not asked."
    )
    assert here.text.asked == []


def test_figures_that_a_provider_does_not_send_are_estimated_and_marked(desk):
    here = desk(text=answering(tokens=None, text="x" * 30))

    review = here.run(here.add(ASKS))

    assert (review.spent.calls, review.spent.estimated, review.spent.output_tokens) == (6, 6, 60)
    assert review.spent.input_tokens > 6 * 10
    assert (review.spent.money, review.task.outcome.money) == (None, None)


def test_an_answer_for_which_there_is_no_room_is_stopped_on_the_way(desk):
    endless = "".join(f"line {n}\n" for n in range(5_000))
    here = desk(text=answering(text=endless, tokens=(100, 12_000)))

    stopped = here.run(here.add(ASKS, output_tokens=1_000))

    assert stopped.task.reason == "limit reached: output_tokens = 1,000"
    assert (stopped.spent.calls, stopped.spent.estimated, len(stopped.changes)) == (1, 1, 0)
    assert 1_000 <= stopped.spent.output_tokens < 1_100

"""A task that asks: it holds nothing while it waits, and goes on with the answer; nothing is done before, or twice."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cairn.errors import IllegalMove, NotFound
from cairn.journal import Journal
from cairn.policy import refused_by_person
from cairn.portable_task import export_task, import_task
from cairn.settings import Settings
from cairn.task import TaskStatus
from cairn.task_questions import PersonAnswer, keep_answer, open_question, questions
from tests.unit.test_resume import Answers, Desk, Killed

YES, NO, ALWAYS = PersonAnswer(yes=True), PersonAnswer(yes=False), PersonAnswer(yes=True, always=True)

PROGRAM = """\
said = []
def tried(what):
    try:
        said.append(str(what()))
    except Exception as error:
        said.append(f"{{type(error).__name__}}: {{error}}")

answer = ask_llm("first")
{body}
with open("said.txt", "w") as out:
    out.write("\\n".join(said))
submit_result(answer, ["said.txt"])
"""


@pytest.fixture
def desk(project):
    opened = []

    def make(root=project, text=None, **options):
        given = {f"policy.{name}": value for name, value in options.items()}
        opened.append(Desk(root, text=text or Answers(), settings=Settings().with_options(given)))
        return opened[-1]

    yield make
    for each in opened:
        each.orchestrator.close()


def asking(desk, *lines):
    """The review of a task whose program tries each of these, as far as it came."""
    body = "\n".join(f"tried(lambda: {line})" for line in lines)
    return desk.run(desk.add(PROGRAM.format(body=body)))


def answered(desk, review, answer, options=None):
    return desk.run(desk.orchestrator.stopped_tasks.answer(review.task, answer, options))


def said(review):
    (change,) = [change for change in review.changes if change.path == "said.txt"]
    return change.after.data.decode().split("\n")


def test_a_call_to_be_asked_about_waits_with_what_it_would_change_and_changes_nothing(desk):
    here = desk(ask="write(README.md)")

    review = asking(here, 'edit_file("README.md", "TODO: say more.", "Said.")')

    asked = review.question
    assert (review.task.status, review.task.reason) == (
        TaskStatus.WAITING,
        "asks: edit_file('README.md', old='TODO: say more.', new='Said.')",
    )
    assert (asked.name, asked.paths, asked.rule, asked.answer) == (
        "edit_file",
        ("README.md",),
        "write(README.md)",
        None,
    )
    assert asked.diff.splitlines()[2:] == [
        "--- a/README.md",
        "+++ b/README.md",
        "@@ -1,3 +1,3 @@",
        " # Sample",
        " ",
        "-TODO: say more.",
        "+Said.",
    ]
    assert (review.changes.paths, [call.name for call in review.calls]) == ((), ["ask_llm", "edit_file"])


def test_yes_makes_the_call_and_no_is_told_to_the_program_and_nothing_is_done_twice(desk):
    model = Answers()
    here = desk(ask="write(README.md) delete_file", text=model)
    first = asking(here, 'edit_file("README.md", "TODO", "DONE")', 'delete_file("src")', 'write_file("b", "x")')

    second = answered(here, first, YES)
    third = answered(here, second, PersonAnswer(yes=False, because="it is needed"))

    assert (second.question.name, second.question.paths) == ("delete_file", ("src", "src/app.py", "src/tool.py"))
    assert third.task.status is TaskStatus.IN_REVIEW
    assert said(third) == [
        "None",
        f"PermissionError: {refused_by_person('delete_file', 'it is needed')}",
        "None",
    ]
    assert third.changes.paths == ("README.md", "b", "said.txt")
    assert model.asked == ["first"]
    names = [call.name for call in third.calls]
    assert names == ["ask_llm", "edit_file", "delete_file", "write_file", "open", "open().write", "submit_result"]


def test_answers_are_given_again_by_a_replay_and_by_a_fork(desk):
    here = desk(ask="write(*.md) write(b)")
    first = asking(here, 'write_file("README.md", "x")', 'write_file("b", "x")')
    end = answered(here, answered(here, first, NO), YES)
    plain = desk()

    again = asyncio.run(plain.orchestrator.again.replay(end.task))
    fork = asyncio.run(plain.orchestrator.again.fork(end.task, 0))

    assert (again.complete, again.changes) == (True, end.changes)
    assert list(questions(plain.file(fork))) == []  # of no step of it


def test_always_is_for_the_rule_and_for_this_task_only(desk):
    here = desk(ask="write(*.md) write(b)")
    lines = [f'write_file("{name}", "x")' for name in ("a.md", "b", "c.md", "d.md")]
    first = asking(here, *lines)

    second = answered(here, first, ALWAYS)
    end = answered(here, second, YES)

    assert [first.question.paths, second.question.paths] == [("a.md",), ("b",)]
    assert (end.task.status, said(end)) == (TaskStatus.IN_REVIEW, ["None"] * 4)
    assert asking(here, *lines).question.paths == ("a.md",)


def test_where_the_default_asks_always_is_for_the_function(desk):
    here = desk(default="ask", allow="ask_llm look")
    first = asking(here, 'write_file("a", "1")', 'write_file("b", "2")', 'read_file("src/app.py")[:3]')

    second = answered(here, first, ALWAYS)
    third = answered(here, second, YES)

    assert [first.question.grant, second.question.grant, third.task.status] == [
        *("write_file", "read_file"),
        TaskStatus.WAITING,
    ]
    assert third.question.name == "open().write"
    end = answered(here, third, YES)
    assert said(end) == ["None", "None", "def"]


def test_a_question_to_a_model_waits_unsent_and_several_come_one_after_the_other(desk):
    model = Answers()
    here = desk(ask="ask_llm_many ask_llm", text=model)
    first = asking(here, 'ask_llm_many(["a", "b"])', 'ask_llm("c")')
    assert (model.asked, first.question.name) == ([], "ask_llm")

    second = answered(here, first, ALWAYS)
    assert (model.asked, second.question.name) == (["first"], "ask_llm_many")
    end = answered(here, second, YES)

    assert (sorted(model.asked), end.task.status) == (["a", "b", "c", "first"], TaskStatus.IN_REVIEW)


def test_what_may_not_be_read_unasked_is_neither_shown_by_an_error_nor_by_a_search(desk):
    here = desk(ask="read(README.md)")
    first = asking(
        here, 'search_content("Sample|TODO")', 'edit_file("README.md", "nowhere", "x")', 'read_file("README.md")'
    )
    assert (first.question.name, first.question.diff) == ("edit_file", "")

    second = answered(here, first, YES)
    end = answered(here, second, NO)

    assert said(end)[0] == "[{'file': 'src/tool.py', 'line': 1, 'text': '# TODO: speed'}]"
    assert said(end)[1].startswith("ValueError: ")
    assert said(end)[-1].startswith("PermissionError: the person was asked about this read_file and refused it. ")


def test_a_write_that_would_fail_anyway_is_not_asked_about(desk):
    review = asking(desk(ask="write"), 'write_file("src/app.py", "def (")', 'delete_file("nowhere")')

    assert review.question.name == "open().write"
    assert [call.error.partition(":")[0] for call in review.calls[1:3]] == ["ValueError", "FileNotFoundError"]


def test_a_rule_that_denies_wins_over_an_answer(desk):
    first = asking(desk(ask="write(b)"), 'write_file("b", "x")')

    end = answered(desk(deny="write(b)"), first, YES)

    assert said(end)[0].startswith("PermissionError: the person's policy denies write_file at 'b' (write(b))")


def test_an_open_question_stays_one_though_the_policy_asks_no_more(desk):
    first = asking(desk(ask="write(b)"), 'write_file("b", "x")')
    plain = desk()

    again = plain.run(plain.orchestrator.stopped_tasks.resume(first.task))

    assert (again.task.status, again.question.call) == (TaskStatus.WAITING, first.question.call)
    assert said(answered(plain, again, YES)) == ["None"]


def test_the_first_of_two_answers_counts(desk):
    here = desk(ask="write(b)")
    first = asking(here, 'write_file("b", "x")')
    task = here.orchestrator.stopped_tasks.answer(first.task, NO)

    with pytest.raises(NotFound):
        here.orchestrator.stopped_tasks.answer(task, YES)
    end = here.run(task)

    assert said(end)[0].startswith("PermissionError")
    with pytest.raises(IllegalMove):
        here.orchestrator.stopped_tasks.answer(end.task, YES)


def test_a_waiting_task_is_answered_where_it_was_imported(desk, tmp_path):
    model, elsewhere = Answers(), tmp_path / "elsewhere"
    first = asking(desk(ask="write(b)", text=model), 'read_file("src/app.py")[:3]', 'write_file("b", "x")')
    (elsewhere / "src").mkdir(parents=True)
    other_model = Answers()
    there = desk(elsewhere, text=other_model)
    here = desk()
    export_task(here.orchestrator, first.task, tmp_path / "task.cairn", {})
    task = import_task(there.orchestrator, tmp_path / "task.cairn")

    end = answered(there, there.orchestrator.reviews.of(task), YES)

    assert (end.task.status, said(end)) == (TaskStatus.IN_REVIEW, ["def", "None"])
    assert (model.asked, other_model.asked) == (["first"], [])


def test_a_task_from_elsewhere_brings_no_leave_along(desk, tmp_path):
    away = desk(ask="write")
    first = asking(away, 'write_file("a", "")', 'write_file("b", "")')
    options = {"policy.default": "allow", "policy.allow": "*", "policy.only": "**\n", "policy.deny": "ask_llm_many\n"}
    second = away.run(away.orchestrator.stopped_tasks.answer(first.task, ALWAYS, options))
    assert second.task.status is TaskStatus.IN_REVIEW
    waiting = asking(away, 'write_file("a", "")', 'write_file("b", "")')
    with away.file(waiting.task) as file:
        keep_answer(file, waiting.question.call, ALWAYS)  # answered, and not gone on with
    (tmp_path / "elsewhere").mkdir()
    there = desk(tmp_path / "elsewhere", ask="write", only="a\nsaid.txt\n")
    for number, task in enumerate((second.task, waiting.task)):
        export_task(away.orchestrator, task, tmp_path / f"{number}.cairn", {})

    done, open_again = (import_task(there.orchestrator, tmp_path / f"{number}.cairn") for number in (0, 1))

    assert dict(done.options) == {"policy.deny": "ask_llm_many\n"}
    with there.file(done) as file:
        assert [each.answer.always for each in questions(file)] == [False]
    assert there.orchestrator.reviews.of(open_again).question.paths == ("a",)
    end = answered(there, there.orchestrator.reviews.of(open_again), YES)
    assert end.question.name == "open().write"


def test_a_lost_ledger_remembers_that_a_task_waits(desk, project):
    here = desk(ask="write(b)")
    first = asking(here, 'write_file("b", "x")')
    here.orchestrator.close()
    (project / ".cairn/cairn.db").unlink()
    new = desk(ask="write(b)")
    new.orchestrator.recovery.rebuild_ledger()

    end = answered(new, new.orchestrator.reviews.of(new.orchestrator.task(first.task.id)), YES)

    assert end.task.status is TaskStatus.IN_REVIEW


def test_killed_between_the_question_and_the_ledger_it_is_asked_again(desk, monkeypatch):
    model = Answers()
    here = desk(ask="write(b)", text=model)
    task = here.add(PROGRAM.format(body='tried(lambda: write_file("b", "x"))'))

    def dies(*_arguments, **_options):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(here.orchestrator.queue, "finish", dies)
        with pytest.raises(Killed):
            here.run(task)
    lost = here.orchestrator.queue.get(task.id)
    with here.file(task) as file:
        kept = open_question(file)
    again = here.run(here.orchestrator.queue.requeue(lost))
    end = answered(here, again, YES)

    assert (lost.status, again.question, said(end), model.asked) == (TaskStatus.RUNNING, kept, ["None"], ["first"])


def test_killed_between_the_answer_and_the_ledger_the_answer_counts(desk, monkeypatch):
    here = desk(ask="write(b)")
    first = asking(here, 'write_file("b", "x")')

    def dies(*_arguments, **_options):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(here.orchestrator.queue, "requeue", dies)
        with pytest.raises(Killed):
            here.orchestrator.stopped_tasks.answer(first.task, PersonAnswer(yes=False, because="no"))
    waiting = here.orchestrator.reviews.of(here.orchestrator.task(first.task.id))
    with pytest.raises(NotFound):
        here.orchestrator.stopped_tasks.answer(waiting.task, YES)
    end = here.run(here.orchestrator.stopped_tasks.resume(waiting.task))

    assert (waiting.task.status, waiting.question) == (TaskStatus.WAITING, None)
    assert said(end) == [f"PermissionError: {refused_by_person('write_file', 'no')}"]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), min_size=1, max_size=5))
def test_exactly_what_was_answered_with_yes_is_done_and_each_call_is_made_once(desk, wishes):
    here = desk(ask="write(?)")
    review = asking(here, *(f'write_file("{path}", "{number}")' for number, (path, _) in enumerate(wishes)))
    for _, yes in wishes:
        review = answered(here, review, PersonAnswer(yes=yes))

    wanted = {path: str(number).encode() for number, (path, yes) in enumerate(wishes) if yes}
    made = {change.path: change.after.data for change in review.changes if change.path != "said.txt"}
    assert (review.task.status, made) == (TaskStatus.IN_REVIEW, wanted)
    assert [call.name for call in review.calls].count("write_file") == len(wishes)


def test_files_open_at_the_end_are_asked_about_before_the_program_has_failed(desk):
    here = desk(ask="write(a.txt)")
    first = here.run(here.add('out = open("a.txt", "w")\nout.write("kept")\n1 / 0\nsubmit_result("", [])\n'))
    assert (first.question.name, first.question.paths) == ("open().write", ("a.txt",))

    end = answered(here, first, YES)

    assert (end.task.status, end.changes.paths) == (TaskStatus.FAILED, ("a.txt",))


def test_a_submission_can_be_asked_about(desk):
    here = desk(ask="submit_result")
    first = asking(here)
    assert (first.task.status, first.submission) == (TaskStatus.WAITING, None)

    assert answered(here, first, YES).task.status is TaskStatus.IN_REVIEW


def test_at_a_limit_a_task_that_asks_waits_and_goes_on_with_it_raised(desk):
    model = Answers()
    here = desk(at_limit="ask", text=model)
    task = here.orchestrator.new_tasks.submit(
        "do it", here.add(PROGRAM.format(body="")).origin, options={"limits.calls": "2"}
    )
    first = here.run(task)
    assert (first.task.status, first.task.reason) == (TaskStatus.WAITING, "asks: go on beyond calls = 2?")
    assert (first.question.is_of_limit, first.question.name, first.question.arguments) == (True, "calls", "2")

    again = here.run(here.orchestrator.stopped_tasks.resume(first.task))  # without an answer it comes no further
    end = answered(here, again, YES, {"limits.calls": "4"})

    assert (again.task.status, end.task.status, model.asked) == (TaskStatus.WAITING, TaskStatus.IN_REVIEW, ["first"])
    assert here.orchestrator.reviews.of(end.task).question is None


def test_no_at_a_limit_ends_the_task_as_without_the_question(desk):
    here = desk(at_limit="ask")
    task = here.orchestrator.new_tasks.submit(
        "do it", here.add(PROGRAM.format(body="")).origin, options={"limits.calls": "2"}
    )
    first = here.run(task)

    ended = here.orchestrator.stopped_tasks.answer(first.task, NO)

    assert (ended.status, ended.reason) == (TaskStatus.FAILED, "limit reached: calls = 2")
    assert here.orchestrator.stopped_tasks.resume(ended, {"limits.calls": "9"}).status is TaskStatus.QUEUED


def test_the_question_is_in_the_tasks_file_and_the_call_is_marked_as_begun(desk):
    here = desk(ask="write(b)")
    first = asking(here, 'write_file("b", "x")')

    with here.file(first.task) as file:
        assert open_question(file) == first.question
        (call,) = Journal(file).exact_calls("write_file")
    assert (call.number, call.error) == (first.question.call, "did not finish")

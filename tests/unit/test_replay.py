"""A task's programs run again against its journal: the same comes out, or the difference is named."""

from __future__ import annotations

import asyncio
import shutil
import subprocess

import pytest

from cairn.errors import UsageProblem
from cairn.program import Finished, LimitReached
from cairn.recalled_calls import Divergence
from cairn.replay import NotReproduced, Variable
from cairn.settings import LimitSettings, Settings
from cairn.task import CodeOrigin, TaskStatus
from cairn.task_file import TaskFile
from tests.unit.test_resume import Answers, Desk, fenced

FIRST = fenced(
    'import random, time\nnames = list_dir()\ntext = read_file("README.md")\nlucky = random.randint(1, 10**9)\n'
    'when = time.time()\nwrite_file("a.txt", text.upper())\n\ndef shout(x):\n    return x + "!"\n'
)
SECOND = fenced(
    'try:\n    read_file("nope")\nexcept FileNotFoundError as error:\n    said = str(error)\n'
    'move_file("README.md", "docs/READ ME.md")\nedit_file("a.txt", "SAMPLE", "CHANGED")\n'
    'write_file("b.txt", f"{ask_llm(str(lucky))} {when} {said}")\n'
    'with open("c.txt", "w") as out:\n    out.write(shout("x"))\n'
)
THIRD = fenced('submit_result("Done.", ["a.txt", "b.txt", "c.txt", "docs/READ ME.md"])')


@pytest.fixture
def desk(project):
    opened = []

    def make(*answers, **parts):
        opened.append(Desk(project, *answers, **parts))
        return opened[-1]

    yield make
    for each in opened:
        each.orchestrator.close()


def replayed(desk, task, **how):
    return asyncio.run(desk.orchestrator.again.replay(task, **how))


def forked(desk, task, step, **how):
    return asyncio.run(desk.orchestrator.again.fork(task, step, **how))


def test_the_same_changes_come_out_without_the_project_and_without_a_model(desk, project):
    made = desk(FIRST, SECOND, THIRD, text=Answers())
    review = made.run(made.add())
    for path in project.iterdir():  # the project of today does not matter
        if path.name != ".cairn":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    alone = desk()

    again = replayed(alone, review.task)

    assert review.task.status is TaskStatus.IN_REVIEW
    assert (again.complete, len(again.steps), again.changes) == (True, 3, review.changes)
    assert alone.script.asked == []


def test_every_function_that_looks_or_replaces_comes_to_the_same_again(desk, project):
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    subprocess.run(["git", "add", "-A"], cwd=project, check=True)
    subprocess.run(["git", "commit", "-q", "-m", "first"], cwd=project, check=True)
    program = fenced(
        "print(replace_all('run', 'go', '**/*.py'), replace_all('hello', 'bye', 'src/*', word=False))\n"
        "print(comments('src/tool.py'), diff(), diff('src/app.py'), history('src', 1))\n"
        "print(len(read_recipe('fix_todos')))\n"
        "submit_result('Done.', ['src/app.py', 'src/tool.py'])"
    )
    made = desk(program)
    review = made.run(made.add())
    output = review.steps[0].result.run.output
    shutil.rmtree(project / "src")
    shutil.rmtree(project / ".git")

    again = replayed(desk(), review.task)

    assert review.task.status is TaskStatus.IN_REVIEW, review.task.reason
    assert "[{'file': 'src/tool.py', 'count': 1}] [{'file': 'src/app.py', 'count': 1}]\n" in output
    assert "Tester: first\n\nWhat " in output
    assert (again.complete, again.changes) == (True, review.changes)


def test_until_a_step_shows_the_variables_and_the_files_of_that_moment(desk):
    made = desk(FIRST, SECOND, THIRD, text=Answers())
    review = made.run(made.add())

    first = replayed(made, review.task, until=1)
    second = replayed(made, review.task, until=2)

    assert (first.complete, first.changes.paths) == (False, ("a.txt",))
    assert [variable.name for variable in first.variables] == ["lucky", "names", "text", "when"]
    assert first.variables[2] == Variable("text", repr("# Sample\n\nTODO: say more.\n"))
    assert set(second.changes.paths) == {"a.txt", "b.txt", "c.txt", "README.md", "docs/READ ME.md"}


def test_a_fork_has_the_overlay_and_the_variables_of_its_step_and_goes_another_way(desk):
    made = desk(FIRST, SECOND, THIRD, text=Answers())
    review = made.run(made.add())
    other = desk(fenced('write_file("lucky.txt", f"{lucky} {when}")\nsubmit_result("Other.", ["a.txt", "lucky.txt"])'))

    fork = forked(other, review.task, 1, then="do it in capitals")
    forked_review = other.run(fork)

    assert (fork.retry_of, fork.request) == (review.task.id, "do it\n\nFrom here on: do it in capitals")
    assert "From here on: do it in capitals" in other.script.asked[0].history[0][1]
    assert forked_review.changes.paths == ("a.txt", "lucky.txt")
    variables = {variable.name: variable.value for variable in replayed(made, review.task, until=1).variables}
    written = {change.path: change.after.data.decode() for change in forked_review.changes}
    assert written["lucky.txt"] == f"{variables['lucky']} {variables['when']}"
    assert replayed(other, forked_review.task).changes == forked_review.changes
    assert made.orchestrator.reviews.of(review.task).changes == review.changes


def test_a_step_there_is_not_is_named(desk):
    made = desk(FIRST, SECOND, THIRD, text=Answers())
    review = made.run(made.add())

    with pytest.raises(UsageProblem) as unknown:
        replayed(made, review.task, until=9)
    with pytest.raises(UsageProblem) as submitted:
        forked(made, review.task, 3)

    assert str(unknown.value) == "There is no step 9.\nThe task has 3 steps.\ncairn log   shows them."
    assert str(submitted.value) == (
        "The task cannot be forked at step 3.\nIts first 2 steps came to an end without submitting.\n"
        "--fork N   with N from 0 to 2"
    )
    assert len(made.orchestrator.queue.tasks()) == 1
    assert len(list((made.orchestrator.project.state / "tasks").glob("*.db"))) == 1


def test_a_step_that_a_limit_ended_is_followed_as_far_as_the_journal_goes(desk):
    made = desk(settings=Settings(limits=LimitSettings(calls=2)))
    task = made.add('for n in range(4):\n    write_file(f"{n}.txt", "x")\nsubmit_result("x", [])\n')
    review = made.run(task)

    again = replayed(desk(), review.task)

    assert isinstance(review.steps[0].result, LimitReached)
    assert (again.complete, again.changes) == (True, review.changes)


@pytest.mark.parametrize(
    ("tampering", "error"),
    [
        ("UPDATE cairn_step SET program = replace(program, 'upper', 'lower') WHERE number = 1", Divergence),
        ("UPDATE cairn_call SET result = json_quote('other text') WHERE number = 2", NotReproduced),
        ("UPDATE fs_data SET data = CAST('forged' AS BLOB)", NotReproduced),
        ("DELETE FROM cairn_call WHERE number = 3", Divergence),
    ],
    ids=["program", "result", "overlay", "call"],
)
def test_a_file_that_was_changed_by_hand_does_not_pass(desk, tampering, error):
    made = desk(FIRST, SECOND, THIRD, text=Answers())
    review = made.run(made.add())
    with TaskFile.open(made.orchestrator.store.path(review.task.id)) as file:
        file.run(tampering)

    with pytest.raises(error):
        replayed(made, review.task)


def test_a_task_of_one_program_forked_at_its_beginning_is_given_to_a_model(desk):
    made = desk()
    review = made.run(made.add('write_file("a.txt", read_file("README.md"))\nsubmit_result("x", ["a.txt"])\n'))
    other = desk(fenced('submit_result("Nothing.", [])'))

    fork = forked(other, review.task, 0, origin=CodeOrigin("model", "scripted"))
    ended = other.run(fork)

    assert [type(step.result) for step in ended.steps] == [Finished]
    assert not ended.changes

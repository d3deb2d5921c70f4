"""The evaluation itself: its tasks can be set up, its checkers tell done from not done, its recordings do the tasks."""

from __future__ import annotations

import pytest

from tests.evals.run import Recording, Score, release, replay, table
from tests.evals.tasks import TASKS

DONE_AS_THEY_ARE = {"nothing-to-do", "cannot-be-done"}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_tree_nobody_touched_is_not_taken_for_done(task, tmp_path):
    task.setup(tmp_path)
    before = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    assert (task.check(tmp_path, before) == "") == (task.name in DONE_AS_THEY_ARE)


def test_there_are_at_least_twenty_tasks_and_each_has_its_name():
    assert len({task.name for task in TASKS}) == len(TASKS) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_recorded_answers_of_a_model_do_the_task(task):
    recording = Recording.of(task)
    if recording is None or recording.package != release(task):
        pytest.skip("no recording for what is installed here")

    score = replay(task)

    assert (score.problem, score.steps > 0) == ("", True)


def test_the_table_counts_what_was_done():
    scores = [
        Score("one", "", "accepted", 2, 1, 0, 100, 20, 1.5),
        Score("two", "failed: x", "failed", 1, 1, 2, 50, 10, 2.0),
    ]

    assert table(scores) == (
        "| task | done | steps | failed programs | repairs | tokens in | tokens out | seconds |\n"
        "|---|---|---|---|---|---|---|---|\n"
        "| one | yes | 2 | 1 | 0 | 100 | 20 | 1.5 |\n"
        "| two | no: failed: x | 1 | 1 | 2 | 50 | 10 | 2.0 |\n"
        "\n"
        "1 of 2 done; 1 of 5 programs without an error; 1.50 steps, 75 tokens in and 15 out for each task."
    )

"""A task that goes in circles is stopped, with the reason; one that makes progress is not."""

from __future__ import annotations

import pytest

from cairn.program import CallRecord, CodeFailed, Finished, Program, Run, Step
from cairn.repetition import SAME_CALLS, repetition
from cairn.task import TaskStatus
from tests.unit.test_resume import Desk, fenced


def steps(*parts):
    return [
        Step(number, Program(program, "m"), Finished(Run(output=output, seconds=number, calls=number)))
        for number, (program, output) in enumerate(parts, 1)
    ]


A, B, C = ("a", "1"), ("b", "2"), ("c", "3")


@pytest.mark.parametrize(
    ("done", "why"),
    [
        ((), ""),
        ((A,), ""),
        ((A, A), ""),
        ((A, A, A), "step 3 is step 2 again, with the same outcome"),
        ((A, B, A, C, A), "step 5 is step 3 again, with the same outcome"),
        ((A, B, A, B), "steps 3 and 4 are the two before them again"),
        ((A, B, A, ("b", "other")), ""),
        ((A, ("a", "2"), ("a", "3")), ""),
        ((A, B, C, A), ""),
    ],
)
def test_steps_that_come_to_the_same(done, why):
    assert repetition(steps(*done), []) == why


def test_the_same_failing_call_over_and_over_and_honest_probing():
    failing = [CallRecord(n, 1, "read_file", "'x'", error="FileNotFoundError: no") for n in range(SAME_CALLS)]
    probing = [CallRecord(n, 1, "read_file", f"'{n}'", error="FileNotFoundError: no") for n in range(1_000)]
    working = [CallRecord(n, 1, "read_file", "'x'", "text") for n in range(1_000)]

    told = repetition(steps(A), failing)

    assert told == "read_file('x') failed 50 times in a row in the same way: FileNotFoundError: no"
    assert repetition(steps(A), failing[1:]) == repetition(steps(A), probing) == repetition(steps(A), working) == ""


def test_errors_count_as_outcomes():
    one = Step(1, Program("a", "m"), CodeFailed(Run(seconds=1), "ValueError", "x"))
    other = Step(2, Program("a", "m"), CodeFailed(Run(seconds=2), "ValueError", "y"))

    assert repetition([one, other, one], []) == ""
    assert repetition([one, one, one], []) != ""


def test_a_model_that_says_the_same_for_ever_is_stopped_and_its_work_kept(project):
    desk = Desk(project, *[fenced('write_file("a.txt", "a")\nprint("done")')] * 9)
    review = desk.run(desk.add())
    desk.orchestrator.close()

    assert len(desk.script.asked) == 3
    assert (review.task.status, review.changes.paths) == (TaskStatus.FAILED, ("a.txt",))
    assert review.task.reason == "it repeats itself: step 3 is step 2 again, with the same outcome"

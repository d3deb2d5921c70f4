"""The ranking of variants: a total order, the same results folded; and what differs between them."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.changes import Change, ChangeSet, Content, EntryKind
from cairn.checks import Check, Evidence, Verdict
from cairn.checks import Standing as CheckStanding
from cairn.review import Review
from cairn.task import CodeOrigin, Outcome, Task, TaskStatus
from cairn.variants import (
    Attempt,
    FileRow,
    Ranked,
    Standing,
    attempt_of,
    between,
    by_file,
    rank,
    share_limits,
    unlike,
)

IN_REVIEW, FAILED = TaskStatus.IN_REVIEW, TaskStatus.FAILED
ATTEMPTS = st.lists(
    st.builds(
        Attempt,
        id=st.text("bcdfgh", min_size=6, max_size=6),
        status=st.sampled_from(TaskStatus),
        failed=st.integers(0, 2),
        not_run=st.integers(0, 2),
        files=st.integers(0, 2),
        added=st.integers(0, 3),
        removed=st.integers(0, 3),
        tokens=st.integers(0, 2),
        money=st.none() | st.sampled_from([0.0, 0.5]),
        asked_at=st.sampled_from([1.0, 2.0]),
        digest=st.sampled_from("abc"),
    ),
    unique_by=lambda each: each.id,
    max_size=8,
)


def attempt(name, status=IN_REVIEW, digest=None, **figures):
    return Attempt(name, status, digest=digest or name, **{"files": 1, "added": 1, **figures})


def order(*attempts):
    return [each.attempt.id for each in rank(attempts)]


def file(text, mode=0o644):
    return None if text is None else Content(EntryKind.FILE, mode, text.encode())


def changes(*found):
    return ChangeSet(tuple(Change(path, file(before), file(after), *was) for path, before, after, *was in found))


@given(ATTEMPTS, st.randoms())
def test_the_ranking_is_one_total_order_of_all_attempts_however_they_come(attempts, chance: random.Random):
    ranked = rank(attempts)
    shuffled = [*attempts]
    chance.shuffle(shuffled)

    assert rank(shuffled) == ranked
    assert sorted(each.attempt.id for each in ranked) == sorted(each.id for each in attempts)
    standings = [each.attempt.standing for each in ranked]
    assert standings == sorted(standings)


@given(ATTEMPTS)
def test_the_same_results_have_one_place_and_no_place_is_left_out(attempts):
    ranked = rank(attempts)
    finished = [each for each in ranked if each.attempt.standing is Standing.FINISHED]
    firsts = {each.attempt.digest: each for each in reversed(finished)}

    assert [each.rank is None for each in ranked] == [each not in finished for each in ranked]
    assert list(dict.fromkeys(each.rank for each in finished)) == list(range(1, len(firsts) + 1))
    for each in finished:
        first = firsts[each.attempt.digest]
        assert each.rank == first.rank
        assert each.same_as == (None if each is first else first.attempt.id)
    assert all(each.same_as is None for each in ranked if each not in finished)


@given(ATTEMPTS, st.data())
def test_an_attempt_that_gets_better_never_loses_its_place(attempts, data):
    if not attempts:
        return
    at = data.draw(st.integers(0, len(attempts) - 1))
    better = replace(attempts[at], failed=0, not_run=0, digest="only")
    same = [replace(each, digest=each.id) for each in attempts]

    before = order(*same).index(better.id)
    same[at] = better
    assert order(*same).index(better.id) <= before


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"added": 90}, {"failed": 1}),  # checks before the size
        ({"added": 90}, {"not_run": 1}),
        ({"not_run": 2}, {"failed": 1}),
        ({"added": 90}, {"files": 0, "added": 0}),  # what changed nothing
        ({"files": 0, "added": 0}, {"failed": 1}),  # is better than what breaks something
        ({"added": 1, "removed": 2, "money": 9.0}, {"added": 4}),  # the size before the cost
        ({"files": 1, "tokens": 9}, {"files": 2}),  # lines, then files
        ({"money": 1.0, "tokens": 9}, {"money": 2.0}),  # money, then tokens
        ({"money": 1.0}, {"money": None}),  # a price that nobody knows
        ({"tokens": 1}, {"tokens": 2}),
        ({"asked_at": 1.0}, {"asked_at": 2.0}),
        ({"failed": 3}, {"status": TaskStatus.RUNNING}),
        ({"status": TaskStatus.QUEUED}, {"status": FAILED}),
        ({"status": TaskStatus.REJECTED}, {"status": TaskStatus.CANCELLED}),
    ],
)
def test_checks_count_first_then_the_smaller_diff_then_the_cost(better, worse):
    assert order(attempt("b", **worse), attempt("c", **better)) == ["c", "b"]


def test_of_the_same_results_the_cheapest_stands_for_all():
    dear, cheap, other = attempt("b", digest="x", tokens=9), attempt("c", digest="x"), attempt("d", added=5)
    failed = attempt("f", FAILED, digest="x", reason="limit reached: steps = 1")

    assert rank([failed, other, dear, cheap]) == (
        Ranked(1, cheap),
        Ranked(1, dear, same_as="c"),
        Ranked(2, other),
        Ranked(None, failed),
    )


def test_an_attempt_is_the_figures_of_a_review_and_counts_required_checks_that_its_changes_are_about():
    verdicts = [(True, Verdict.PASSED), (True, Verdict.FAILED), (True, Verdict.NOT_RUN), (True, Verdict.NOT_NEEDED)]
    verdicts += [(False, Verdict.FAILED)]
    found = tuple(CheckStanding(Check(str(n), "x", required=r), v) for n, (r, v) in enumerate(verdicts))
    whole = changes(("a.py", "1\n2\n", "1\n3\n4\n"), ("b.py", None, "x\n"))
    outcome = Outcome(input_tokens=100, output_tokens=20, money=0.5, seconds=2.0)
    task = Task(
        "bcdfgh", "x", CodeOrigin("model", "alias"), IN_REVIEW, "why", created_at=7.0, outcome=outcome, model="exact"
    )
    review = Review(task, None, ChangeSet(), whole=whole, evidence=Evidence(found))

    assert attempt_of(review) == Attempt(
        "bcdfgh", IN_REVIEW, "exact", "why", "1 of 3", 1, 1, 2, 3, 1, 120, 0.5, 2.0, whole.digest, 7.0
    )
    assert attempt_of(Review(task, None, whole)).digest == whole.digest
    assert attempt_of(Review(task, None, whole)).checks == ""


def test_limits_of_cost_are_those_of_the_group_and_all_others_those_of_each():
    given = {
        "limits.money": "1", "limits.input_tokens": "100", "limits.model_calls": "7", "limits.steps": "9",
        "limits.output_tokens": "many", "text_model": "m",
    }  # fmt: skip
    assert share_limits(given, 4) == {
        "limits.money": "0.25", "limits.input_tokens": "25", "limits.model_calls": "1", "limits.steps": "9",
        "limits.output_tokens": "many", "text_model": "m",
    }  # fmt: skip


def test_paths_that_not_all_saw_the_same_are_named():
    assert unlike([{"a": "1", "b": "1"}, {"a": "1", "b": "2", "c": "3"}, {"c": "4"}]) == ("b", "c")
    assert unlike([]) == ()


def test_which_variant_changes_which_file_and_which_versions_are_the_same():
    one = changes(("a.py", "1\n", "2\n"), ("b.py", None, "x\n"))
    other = changes(("a.py", "1\n", "3\n4\n"))
    third = changes(("a.py", "1\n", "2\n"), ("b.py", "x\n", None))

    assert by_file([one, other, third]) == (
        FileRow("a.py", (1, 2, 1), ((1, 1), (2, 1), (1, 1))),
        FileRow("b.py", (1, 0, 2), ((1, 0), (0, 0), (0, 1))),
    )


def test_between_two_variants_lies_what_leads_from_the_one_to_the_other():
    one = changes(
        ("a.py", "1\n", "2\n"), ("only.py", "o\n", "O\n"), ("same.py", None, "s\n"), ("new.py", "n\n", "n\n", "old.py")
    )
    other = changes(("a.py", "1\n", "3\n"), ("same.py", None, "s\n"), ("its.py", None, "i\n"))

    found = {change.path: (change.before, change.after) for change in between(one, other)}
    assert found == {
        "a.py": (file("2\n"), file("3\n")),
        "its.py": (None, file("i\n")),
        "new.py": (file("n\n"), None),
        "old.py": (None, file("n\n")),
        "only.py": (file("O\n"), file("o\n")),
    }
    assert not between(one, one)

"""Statuses, their legal moves, and ids."""

from __future__ import annotations

import random
from itertools import product

import pytest

from cairn.errors import IllegalMove
from cairn.task import ID_LETTERS, MOVES, CodeOrigin, Task, TaskStatus, new_id

S = TaskStatus
TASK = Task("bcdfgh", "x", CodeOrigin("file", "x.py"))


def test_the_moves_are_these():
    assert {(str(was), str(to)) for was, targets in MOVES.items() for to in targets} == {
        ("queued", "running"), ("queued", "cancelled"), ("queued", "failed"),
        ("running", "in review"), ("running", "failed"), ("running", "cancelled"), ("running", "queued"),
        ("running", "waiting"), ("waiting", "queued"), ("waiting", "cancelled"), ("waiting", "failed"),
        ("failed", "queued"), ("cancelled", "queued"),
        ("in review", "accepted"), ("in review", "rejected"),
        ("accepted", "in review"), ("rejected", "in review"),
    }  # fmt: skip


@pytest.mark.parametrize(("was", "wanted"), list(product(TaskStatus, TaskStatus)))
def test_a_task_moves_only_as_the_table_says(was, wanted):
    task = Task("bcdfgh", "x", CodeOrigin("file", "x.py"), status=was)
    if wanted in MOVES[was]:
        assert task.moved_to(wanted, reason="why").status is wanted
    else:
        said = f"{was} already" if was is wanted else f"{was}, so it cannot become {wanted}"
        with pytest.raises(IllegalMove, match=f"Task bcdfgh is {said}"):
            task.moved_to(wanted)


def test_an_id_is_six_letters_that_spell_nothing():
    ids = {new_id(random.Random(seed)) for seed in range(500)}

    assert len(ids) == 500
    assert {len(task_id) for task_id in ids} == {6}
    assert set("".join(ids)) <= set(ID_LETTERS)
    assert not set(ID_LETTERS) & set("aeiouy0123456789")

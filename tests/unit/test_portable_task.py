"""A task in one file: what goes out, what comes in, and what a file from anybody cannot do."""

from __future__ import annotations

import asyncio
import random
import sqlite3

import pytest

from cairn.errors import CairnError, UsageProblem
from cairn.known_secrets import Secret
from cairn.portable_task import SecretInside, export_task, import_task
from cairn.project import Project
from cairn.sqlite_file import require_whole
from cairn.task import TaskStatus
from cairn.task_file import TaskFile
from tests.unit.test_resume import Answers, Desk, fenced

ONE = fenced('write_file("new.txt", read_file("README.md") + ask_llm("why"))\nmove_file("README.md", "READ.md")')
TWO = fenced('submit_result("Wrote.", ["new.txt", "READ.md"])')


@pytest.fixture
def desks(project, tmp_path):
    """The desk of the project, and one of another project with the same README."""
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "README.md").write_bytes((project / "README.md").read_bytes())
    Project.find(other, exact=True).prepare()
    opened = [Desk(project, ONE, TWO, text=Answers()), Desk(other)]
    yield opened
    for each in opened:
        each.orchestrator.close()


@pytest.fixture
def exported(desks, tmp_path):
    review = desks[0].run(desks[0].add())
    export_task(desks[0].orchestrator, review.task, tmp_path / "task.cairn", ())
    return review, tmp_path / "task.cairn"


def test_a_task_comes_out_elsewhere_as_it_went_in_and_can_be_replayed_and_accepted(desks, exported):
    review, file = exported
    other = desks[1].orchestrator

    task = import_task(other, file)
    there = other.reviews.of(task)

    assert (task.id, task.request, task.status) == (review.task.id, "do it", TaskStatus.IN_REVIEW)
    assert (there.changes, there.submission, there.calls) == (review.changes, review.submission, review.calls)
    assert [str(event.became) for event in other.queue.events(task.id)] == [
        *("queued", "running", "in review", "in review")
    ]
    assert asyncio.run(other.again.replay(task)).changes == review.changes
    accepted, _ = other.decisions.accept(task)
    assert accepted.status is TaskStatus.ACCEPTED
    assert sorted(path.name for path in other.project.root.iterdir()) == [".cairn", "READ.md", "new.txt"]


def test_a_second_import_gets_an_id_of_its_own_and_still_replays(desks, exported):
    other = desks[1].orchestrator
    first, second = import_task(other, exported[1]), import_task(other, exported[1])

    assert first.id != second.id
    assert asyncio.run(other.again.replay(second)).complete


def test_a_file_that_a_lost_ledger_left_is_not_overwritten(desks, exported):
    other = desks[1].orchestrator
    kept = other.project.state / "tasks" / f"{exported[0].task.id}.db"
    kept.write_bytes(b"somebody's")

    task = import_task(other, exported[1])

    assert task.id != exported[0].task.id
    assert kept.read_bytes() == b"somebody's"


def test_an_accepted_task_is_in_review_elsewhere(desks, exported, tmp_path):
    here, other = desks[0].orchestrator, desks[1].orchestrator
    accepted, _ = here.decisions.accept(here.task(exported[0].task.id))
    export_task(here, accepted, tmp_path / "accepted.cairn", ())

    task = import_task(other, tmp_path / "accepted.cairn")

    assert (task.status, task.reason) == (TaskStatus.IN_REVIEW, "imported; it was accepted where it came from")


def test_the_file_is_whole_and_holds_nothing_of_this_machine(desks, exported, project):
    require_whole(exported[1])
    data = exported[1].read_bytes()

    assert str(project).encode() not in data
    assert [path.name for path in exported[1].parent.glob("*task.cairn*")] == ["task.cairn"]


def test_a_key_that_this_machine_knows_never_leaves_it(desks, exported, tmp_path):
    here, task = desks[0].orchestrator, exported[0].task
    known = (Secret("ACME_KEY", b"answer to why"),)

    with pytest.raises(SecretInside) as refused:
        export_task(here, task, tmp_path / "leak.cairn", known, even_if=True)

    assert refused.value.why.startswith("ACME_KEY: in the task's own new.txt\n")
    assert sorted(tmp_path.glob("*leak*")) == []


def test_what_only_looks_like_a_key_goes_out_when_somebody_says_so(desks, tmp_path):
    here = desks[0]
    token = "ghp_" + "a" * 36
    review = here.run(here.add(f'write_file("t.txt", "{token}")\nsubmit_result("x", ["t.txt"])\n'))

    with pytest.raises(SecretInside, match="must not leave"):
        export_task(here.orchestrator, review.task, tmp_path / "t.cairn", ())
    exported = export_task(here.orchestrator, review.task, tmp_path / "t.cairn", (), even_if=True)

    assert exported.path.exists()


def test_an_existing_file_is_not_overwritten(desks, exported):
    before = exported[1].read_bytes()
    with pytest.raises(UsageProblem, match="exists already"):
        export_task(desks[0].orchestrator, exported[0].task, exported[1], ())
    assert exported[1].read_bytes() == before


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE cairn_base SET path = '../../outside' WHERE path = 'README.md'",
        "UPDATE cairn_base SET path = '/etc/passwd' WHERE path = 'README.md'",
        "UPDATE cairn_move SET source = '.git/config'",
        "UPDATE fs_dentry SET name = '../up' WHERE name = 'new.txt'",
        "UPDATE fs_dentry SET name = '.git' WHERE name = 'new.txt'",
        "UPDATE fs_dentry SET name = 'a/b' WHERE name = 'new.txt'",
        "UPDATE kv_store SET value = '5' WHERE key = 'cairn.task'",
        "UPDATE kv_store SET value = '{\"format\": 99}' WHERE key = 'cairn.export'",
        "UPDATE kv_store SET value = replace(value, '\"id\": \"', '\"id\": \"../') WHERE key = 'cairn.task'",
        "UPDATE kv_store SET value = replace(value, '\"steps\": 2', '\"steps\": \"two\"') WHERE key = 'cairn.task'",
        "UPDATE kv_store SET value = replace(value, '\"base\": \"', '\"base\": \"--exec=') WHERE key = 'cairn.task'",
        "DROP TABLE cairn_call",
        "CREATE TRIGGER t AFTER INSERT ON cairn_step BEGIN SELECT 1; END",
        "CREATE VIEW v AS SELECT 1",
        "PRAGMA user_version = 99",
        "UPDATE cairn_base SET kind = 'device'",
        "UPDATE cairn_blob SET data = X'00'",
    ],
)
def test_a_file_that_was_made_to_do_harm_is_refused_and_leaves_nothing(desks, exported, tampering):
    other = desks[1].orchestrator
    connection = sqlite3.connect(exported[1])
    connection.execute(tampering)
    connection.commit()
    connection.close()

    with pytest.raises(UsageProblem, match="is not a task that can be imported"):
        import_task(other, exported[1])

    assert other.queue.tasks() == ()
    assert list((other.project.state / "tasks").iterdir()) == []


def test_a_damaged_file_is_refused_or_read_but_never_crashes(desks, exported):
    other = desks[1].orchestrator
    whole = exported[1].read_bytes()
    chance = random.Random(7)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 30)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        exported[1].write_bytes(data[: chance.choice([len(data), chance.randrange(len(data))])])
        try:
            other.reviews.of(import_task(other, exported[1]))
        except CairnError as error:
            assert error.what  # noqa: PT017 - either outcome is right


def test_an_exported_file_opens_as_any_task_file(exported):
    with TaskFile.open(exported[1]) as file:
        assert file.rows("SELECT count(*) FROM cairn_step") == [(2,)]

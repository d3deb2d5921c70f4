"""No commit goes from the remote while somebody is about to use it, wherever `cairn gc` and `cairn add` meet."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace

import pytest

from cairn import clean_up as module
from cairn.base_remote import prune_remote
from cairn.clean_up import DAY, clean_up
from cairn.errors import Conflict
from cairn.kept_bases import WANTED_SECONDS, KeptBases
from cairn.project import Project
from cairn.queue import DRAFT_SECONDS, TaskQueue
from cairn.settings import EngineSettings, KeepSettings, Settings
from cairn.shared_bases import SharedBases
from cairn.task import CodeOrigin, TaskStatus
from cairn.task_base import Base
from cairn.task_owner import Owner
from tests.unit.test_orchestrator import WRITES, Desk

FILE = CodeOrigin("file", "p.py", WRITES)
ELSEWHERE = "elsewhere:1:1"


def git(where, *arguments):
    return subprocess.run(["git", *arguments], cwd=where, check=True, capture_output=True, text=True).stdout.split()


class Team:
    """A clone that adds tasks, and a gc that comes when the tasks there are past their time."""

    def __init__(self, repository, remote):
        self.root, self.remote = repository, remote
        self.desk = Desk(repository)
        engine = EngineSettings(url="postgresql://not.asked/x", remote=str(remote))
        self.desk.orchestrator.settings = Settings(keep=KeepSettings(days=30), engine=engine)
        self.queue = TaskQueue(self.desk.orchestrator.queue.place)
        self.kept = KeptBases(self.queue.database)
        self.bases = SharedBases(Project(repository), str(remote), repository / ".cairn/cache", self.kept)

    def put(self, base):
        draft = self.queue.draft("x", FILE, base=base)
        return self.queue.put([draft])[0]

    def ended(self):
        """A task that was added and cancelled 31 days ago."""
        task = self.put(self.bases.now())
        self.queue.move(task, TaskStatus.CANCELLED)
        self.queue.database.execute("UPDATE task SET changed_at = changed_at - ?", (31 * DAY,))
        self.queue.database.execute("UPDATE kept_base SET at = at - ?", (31 * DAY,))
        return self.queue.get(task.id)

    def gc(self):
        return [task.id for task in clean_up(self.desk.orchestrator, now=time.time()).tasks]

    def in_remote(self):
        return git(self.remote, "for-each-ref", "--format=%(refname)", "refs/cairn/base")

    def close(self):
        self.queue.close()
        self.desk.orchestrator.close()


@pytest.fixture
def team(repository, tmp_path):
    git(tmp_path, "init", "-q", "--bare", "remote.git")
    team = Team(repository, tmp_path / "remote.git")
    yield team
    team.close()


def tree(team, base):
    """The files of a commit as the remote has them."""
    return git(team.remote, "rev-parse", f"{Base.parse(base).ref}^{{tree}}")


def test_a_commit_goes_with_its_last_task(team):
    task = team.ended()

    assert team.gc() == [task.id]
    assert (team.in_remote(), team.kept.every()) == ([], ())
    assert git(team.root, "for-each-ref", "refs/cairn") == []


def test_a_commit_that_was_pushed_for_a_task_to_come_stays(team):
    """The add has found it in the remote; its task comes after the whole gc."""
    old = team.ended()
    base = team.bases.now()
    assert base == old.base

    assert team.gc() == [old.id]
    task = team.put(base)

    assert team.in_remote() == [Base.parse(task.base).ref]


def test_an_add_while_a_commit_is_being_deleted_takes_another_one_with_the_same_files(team, monkeypatch):
    old, added = team.ended(), []

    def delete(root, remote, drop):
        if drop:
            before = tree(team, old.base)
            added.append(team.put(team.bases.now()))
            added.append(team.put(team.bases.now()))
            assert tree(team, added[0].base) == before
        return prune_remote(root, remote, drop)

    monkeypatch.setattr(module, "prune_remote", delete)
    assert team.gc() == [old.id]

    assert added[0].base == added[1].base != old.base
    assert team.in_remote() == [Base.parse(added[0].base).ref]
    assert team.bases.now() == old.base  # which is gone for good, and pushed anew
    assert len(team.in_remote()) == 2


def test_a_gc_that_was_killed_is_finished_by_the_next_and_keeps_nobody_from_adding(team, monkeypatch):
    old = team.ended()

    def die(root, remote, drop):
        if drop:
            raise KeyboardInterrupt
        return 0

    with monkeypatch.context() as patch:
        patch.setattr(module, "prune_remote", die)
        with pytest.raises(KeyboardInterrupt):
            team.gc()
    # Of another machine, nobody can tell whether it only sleeps.
    team.queue.database.execute("UPDATE kept_base SET dropper = ?", (ELSEWHERE,))
    task = team.put(team.bases.now())
    team.gc()
    assert sorted(team.in_remote()) == sorted([Base.parse(old.base).ref, Base.parse(task.base).ref])

    dead = str(replace(Owner.this_process(), born=1))
    team.queue.database.execute("UPDATE kept_base SET dropper = ? WHERE dropper IS NOT NULL", (dead,))
    team.gc()
    assert team.in_remote() == [Base.parse(task.base).ref]


def test_a_task_that_is_resumed_while_gc_works_keeps_its_commit(team, monkeypatch):
    old = team.ended()
    real = module._tasks

    def resumed_before(orchestrator, before, staying, *, dry_run):
        if not dry_run:
            team.queue.requeue(old)
        return real(orchestrator, before, staying, dry_run=dry_run)

    monkeypatch.setattr(module, "_tasks", resumed_before)

    assert team.gc() == []
    assert team.in_remote() == [Base.parse(old.base).ref]


def test_a_further_task_on_a_commit_is_refused_once_that_is_being_deleted(team):
    old = team.ended()
    team.bases.keep(old.base)
    team.queue.database.execute("UPDATE kept_base SET dropper = ?", (ELSEWHERE,))

    with pytest.raises(Conflict, match="is being deleted"):
        team.bases.keep(old.base)


def test_a_draft_that_slept_until_its_commit_may_be_gone_is_not_queued(team):
    clock = [time.time()]
    with TaskQueue(team.queue.place, clock=lambda: clock[0]) as queue:
        draft = queue.draft("x", FILE, base=team.bases.now())
        clock[0] += DRAFT_SECONDS + 1
        with pytest.raises(Conflict, match="may be gone by now"):
            queue.put([draft])
        live = queue.draft("x", FILE)
        clock[0] += DRAFT_SECONDS + 1
        queue.put([live])
    assert DRAFT_SECONDS < WANTED_SECONDS


def test_what_is_wanted_on_a_server_is_known_to_all(ledger_place):
    base = Base("1f" * 20)
    with TaskQueue(ledger_place) as one, TaskQueue(ledger_place) as other:
        here, there = KeptBases(one.database), KeptBases(other.database)
        task = one.put([one.draft("x", FILE, base=str(base))])[0]
        there.remember()
        assert (there.unneeded(time.time()), here.every()) == ((), (base,))

        assert one.forget(one.move(task, TaskStatus.CANCELLED), lambda: None)
        assert here.want(base)
        assert there.take(time.time()) == ()
        assert there.take(time.time() + WANTED_SECONDS + 5) == (base,)
        assert not here.want(base)
        there.gone((base,))
        assert here.want(base)

"""`cairn gc` over real parts: what goes, and above all what stays."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import replace

import pytest

from cairn import clean_up as module
from cairn.base_remote import publish
from cairn.clean_up import DAY, clean_up
from cairn.errors import CairnError, DiskFull
from cairn.git_snapshot import snapshot
from cairn.operation_log import OperationLog
from cairn.settings import EngineSettings, KeepSettings, Settings
from cairn.task import CodeOrigin, TaskStatus
from tests.conftest import tree
from tests.unit.test_orchestrator import EDITS, WRITES, Desk

FAILS = "read_file('missing')\nsubmit_result('x', [])\n"
LATER = 31 * DAY


@pytest.fixture
def made(project):
    desk = Desk(project)
    desk.orchestrator.settings = Settings(keep=KeepSettings(days=30, operations=0))
    yield desk
    desk.orchestrator.close()


def one_of_each(made):
    """Tasks in every status, by its word; `undone` is in review with an accept that was taken back."""
    work = made.orchestrator
    tasks = {name: made.run(WRITES).task for name in ("accepted", "rejected", "in review", "undone")}
    tasks["failed"] = made.run(FAILS).task
    tasks["undone"] = work.decisions.accept(tasks["undone"])[0]
    tasks["undone"] = work.decisions.undo(tasks["undone"])[0]
    tasks["accepted"] = work.decisions.accept(tasks["accepted"])[0]
    tasks["rejected"] = work.decisions.reject(tasks["rejected"])
    for name in ("queued", "cancelled"):
        tasks[name] = work.new_tasks.submit("later", CodeOrigin("file", "p.py", WRITES))
    tasks["cancelled"] = work.queue.move(tasks["cancelled"], TaskStatus.CANCELLED)
    return {name: work.task(task.id) for name, task in tasks.items()}


def names(tasks, found):
    return {name for name, task in tasks.items() if task.id in {each.id for each in found}}


def files(made):
    return {path.stem for path in (made.orchestrator.project.state / "tasks").glob("*.db")}


def test_nothing_goes_before_its_time(made):
    tasks = one_of_each(made)
    before = (made.orchestrator.queue.tasks(), made.orchestrator.project.operations(), files(made))

    done = clean_up(made.orchestrator, now=time.time() + 29 * DAY)

    assert not done
    assert done.freed == 0
    assert (made.orchestrator.queue.tasks(), made.orchestrator.project.operations(), files(made)) == before
    assert len(tasks) == len(before[0])


def test_how_old_a_task_is_says_the_ledgers_clock_and_not_a_machines_that_is_ahead(made, monkeypatch):
    tasks, right = one_of_each(made), time.time()
    monkeypatch.setattr(made.orchestrator.queue, "clock", lambda: right)
    monkeypatch.setattr(module.time, "time", lambda: right + LATER)

    done = clean_up(made.orchestrator)

    assert (done.tasks, done.operations) == ((), ())
    assert len(made.orchestrator.queue.tasks()) == len(tasks)


def test_past_their_time_ended_tasks_go_and_open_ones_stay_with_their_undo(made, project):
    tasks = one_of_each(made)
    content = tree(project)
    left = {tasks[name].id for name in ("in review", "undone")}

    told = clean_up(made.orchestrator, now=time.time() + LATER, dry_run=True)
    assert len(made.orchestrator.queue.tasks()) == len(tasks)
    done = clean_up(made.orchestrator, now=time.time() + LATER)

    assert names(tasks, done.tasks) == {"accepted", "rejected", "failed", "cancelled"}
    assert [each.task_id for each in done.operations] == [tasks["accepted"].id]
    assert (told.tasks, told.operations) == (done.tasks, done.operations)
    assert names(tasks, made.orchestrator.queue.tasks()) == {"in review", "undone", "queued"}
    assert files(made) == left
    assert tree(project) == content
    assert made.orchestrator.queue.events(tasks["failed"].id) == ()
    assert not clean_up(made.orchestrator, now=time.time() + LATER)


def test_what_was_kept_for_a_person_goes_when_it_is_old_and_is_listed_before(made, project):
    kept, link = project / ".cairn/kept/3/src", project / ".cairn/kept/4"
    kept.mkdir(parents=True)
    (kept / "app.py").write_text("mine\n")
    os.utime(kept / "app.py", (1, 1))  # a file that was moved there keeps its time
    outside = project.parent / "outside"
    outside.mkdir()
    link.symlink_to(outside)
    now = time.time()

    young = clean_up(made.orchestrator, now=now + 29 * DAY)
    told = clean_up(made.orchestrator, now=now + LATER, dry_run=True)
    assert (kept / "app.py").exists()
    done = clean_up(made.orchestrator, now=now + LATER)

    assert not young
    assert [each.path for each in young.kept] == [".cairn/kept/3/src/app.py"]
    assert [each.path for each in done.copies] == [".cairn/kept/3/src/app.py"]
    assert (told.copies, told.kept, done.kept, done.freed) == (done.copies, (), (), 5)
    assert (sorted(path.name for path in link.parent.iterdir()), outside.is_dir()) == (["4"], True)
    assert not clean_up(made.orchestrator, now=now + LATER)


def test_an_open_tasks_undo_still_works_after_it(made, project):
    tasks = one_of_each(made)
    (project / "new.txt").unlink()
    clean_up(made.orchestrator, now=time.time() + LATER)
    number = next(each.id for each in made.orchestrator.project.operations() if each.undoes is not None)

    task, _ = made.orchestrator.decisions.undo(operation=number)

    assert (task.id, task.status) == (tasks["undone"].id, TaskStatus.ACCEPTED)
    assert (project / "new.txt").read_text() == "x\n"


def test_the_newest_operations_stay_undoable_with_their_tasks(made, project):
    before = tree(project)
    made.orchestrator.settings = Settings(keep=KeepSettings(days=0, operations=1))
    old, new = (made.run(program).task for program in (WRITES, EDITS))
    made.orchestrator.decisions.accept(old)
    made.orchestrator.decisions.accept(new)

    done = clean_up(made.orchestrator, now=time.time() + 1)

    assert [task.id for task in done.tasks] == [old.id]
    assert made.orchestrator.decisions.undo()[0].id == new.id
    assert tree(project) == {**before, "new.txt": tree(project)["new.txt"]}


def test_what_was_freed_is_what_the_disk_has_more(made):
    one_of_each(made)
    state = made.orchestrator.project.state

    def used():
        return sum(each.stat().st_size for each in (*state.glob("tasks/*"), *state.glob("operations.db*")))

    before = used()
    done = clean_up(made.orchestrator, now=time.time() + LATER)

    assert done.freed == before - used() > 0


def test_a_task_that_runs_is_never_touched_and_one_that_moved_meanwhile_neither(made):
    work = made.orchestrator
    rejected = work.decisions.reject(made.run(WRITES).task)
    work.queue.move(rejected, TaskStatus.IN_REVIEW)

    assert work.queue.forget(rejected, lambda: pytest.fail("deleted")) is False
    assert not clean_up(work, now=time.time() + LATER)


@pytest.mark.parametrize("point", ["before the files", "after the files"])
def test_interrupted_in_the_middle_the_next_one_finishes(made, monkeypatch, point):
    task = made.orchestrator.decisions.reject(made.run(WRITES).task)
    remove = made.orchestrator.store.remove

    def stopped(task_id):
        if point == "after the files":
            remove(task_id)
        raise KeyboardInterrupt

    monkeypatch.setattr(made.orchestrator.store, "remove", stopped)
    with pytest.raises(KeyboardInterrupt):
        module._forget(made.orchestrator, task)
    assert made.orchestrator.task(task.id) == task
    assert made.orchestrator.reviews.of(task).task == task
    monkeypatch.undo()

    assert clean_up(made.orchestrator, now=time.time() + LATER).tasks == (task,)
    assert files(made) == set()


def test_a_file_that_cannot_be_deleted_keeps_its_row(made, monkeypatch):
    task = made.orchestrator.decisions.reject(made.run(WRITES).task)
    monkeypatch.setattr(type(made.orchestrator.project.root), "unlink", _full)

    with pytest.raises(DiskFull):
        clean_up(made.orchestrator, now=time.time() + LATER)

    assert made.orchestrator.task(task.id) == task


def _full(_path, missing_ok=False):
    raise OSError(28, "No space left on device")


def test_leftovers_go_and_what_is_a_persons_stays(made, project):
    work = made.orchestrator
    work.decisions.accept(made.run(EDITS).task)
    token = work.project.operations()[0].token
    mine = [
        project / ".cairn-notes.tmp", project / f".cairn-{'0' * 16}-0.tmp",
        work.project.state / "tasks/keep.txt", work.project.state / "kept/1/a.txt",
        work.project.state / "cairn.db.damaged-20260131-154500",
    ]  # fmt: skip
    ours = [project / f".cairn-{token}-0.tmp", work.project.state / "tasks/.bcdfgh.db.1.2"]
    for path in (*mine, *ours):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("four")
        os.utime(path, (1, 1))

    assert [each.path for each in clean_up(work, dry_run=True).left_over] == [
        str(path.relative_to(project)) for path in ours[::-1]
    ]
    done = clean_up(work)

    assert (len(done.left_over), done.freed) == (2, 8)
    assert [path.exists() for path in (*mine, *ours)] == [True] * 5 + [False] * 2
    assert [each.path for each in done.kept] == [
        ".cairn/cairn.db.damaged-20260131-154500",
        ".cairn/kept/1/a.txt",
    ]


def test_a_project_without_any_accept_gets_no_log(made):
    clean_up(made.orchestrator)

    assert not (made.orchestrator.project.state / "operations.db").exists()


def test_an_operation_under_way_in_another_process_is_waited_for(made):
    made.orchestrator.decisions.accept(made.run(WRITES).task)
    with OperationLog.opened(made.orchestrator.project.state / "operations.db") as log:
        log.begin("bcdfgh", [], undoes=None, now=1.0)

    done = clean_up(made.orchestrator, now=time.time() + LATER)

    assert [each.id for each in done.operations] == [1]
    assert [each.id for each in made.orchestrator.project.operations()] == [2]


def test_the_commits_of_tasks_go_with_the_last_task_here_and_in_the_remote(repository, tmp_path):
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
    desk = Desk(repository)
    engine = EngineSettings(url="postgresql://not.asked/x", remote=str(remote))
    desk.orchestrator.settings = Settings(keep=KeepSettings(days=30), engine=engine)
    queue, bases = desk.orchestrator.queue, []
    for number in range(2):
        (repository / "README.md").write_text(f"{number}\n")
        bases.append(snapshot(repository))
        publish(repository, bases[-1], str(remote))
    (repository / "README.md").write_text("never added\n")
    snapshot(repository)
    for base in (bases[0], bases[0], bases[1]):
        task = queue.put([replace(queue.draft("x", CodeOrigin("file", "p.py", WRITES)), base=str(base))])[0]
        if base is bases[0]:
            queue.move(task, TaskStatus.CANCELLED)
    queue.put([replace(queue.draft("x", CodeOrigin("file", "p.py", WRITES)), base=f"{bases[1].commit}:src")])
    listed = ["git", "for-each-ref", "--format=%(objectname)", "refs/cairn/base"]

    assert len(clean_up(desk.orchestrator, dry_run=True, now=time.time() + LATER).tasks) == 2
    assert len(subprocess.check_output(listed, cwd=repository).split()) == 3
    assert len(clean_up(desk.orchestrator, now=time.time() + LATER).tasks) == 2

    for place in (repository, remote):
        assert subprocess.check_output(listed, cwd=place, text=True).split() == [bases[1].commit]
    desk.orchestrator.close()


def test_a_remote_that_is_not_reached_keeps_its_tasks_for_the_next_time(repository):
    desk = Desk(repository)
    engine = EngineSettings(url="postgresql://not.asked/x", remote="/none")
    desk.orchestrator.settings = Settings(keep=KeepSettings(days=30), engine=engine)
    queue, base = desk.orchestrator.queue, snapshot(repository)
    task = queue.put([replace(queue.draft("x", CodeOrigin("file", "p.py", WRITES)), base=str(base))])[0]
    queue.move(task, TaskStatus.CANCELLED)

    with pytest.raises(CairnError, match="What '/none' keeps of tasks could not be deleted"):
        clean_up(desk.orchestrator, now=time.time() + LATER)

    assert [each.id for each in queue.tasks()] == [task.id]
    desk.orchestrator.close()

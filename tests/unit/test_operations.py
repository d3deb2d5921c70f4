"""Accepts and undos of several clones that share a ledger: in a file, and on a server."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cairn import acceptances, shared_operations
from cairn.acceptances import ACCEPT, HeldElsewhere, this_clone
from cairn.errors import Conflict, IllegalMove, NotFound, StorageProblem
from cairn.hunks import Selection
from cairn.object_store import ObjectStore
from cairn.task import CodeOrigin, TaskStatus, Terms
from cairn.task_context import Asked
from cairn.worker import Worker
from tests.clones import AFTER, BEFORE, LINES, PROGRAM, accepts, at, files, held, in_review, made


class Clones:
    """Two clones, `one` and `two`, of a project with a task in review."""

    def __init__(self, place, folder: Path) -> None:
        self.tasks = folder / "tasks"
        self.roots = {name: made(folder / name) for name in ("one", "two")}
        self.place = place
        self.opened = []
        self.one, self.two = self.at("one"), self.at("two")
        self.task = in_review(self.one)

    def at(self, name):
        self.opened.append(at(self.roots[name], self.place, self.tasks))
        return self.opened[-1]

    def now(self):
        return self.one.task(self.task.id)

    def pull(self):
        """What git does between clones: the files of the first come to the second."""
        for name, text in files(self.roots["one"]).items():
            (self.roots["two"] / name).parent.mkdir(parents=True, exist_ok=True)
            (self.roots["two"] / name).write_text(text)
        for name in files(self.roots["two"]).keys() - files(self.roots["one"]).keys():
            (self.roots["two"] / name).unlink()


@pytest.fixture
def clones(ledger_place, tmp_path):
    made = Clones(ledger_place, tmp_path)
    yield made
    for each in made.opened:
        each.close()


def killed_holding(clones, name="one"):
    """The clone as it is when a command of it was killed right after it took the task."""
    there = clones.at(name)
    there.operations.acceptances.take(clones.task.id, "0" * 16, ACCEPT)
    there.close()


def test_one_clone_accepts_and_the_other_finds_it_accepted(clones):
    task, _ = clones.one.decisions.accept(clones.task)
    with pytest.raises(IllegalMove):
        clones.two.decisions.accept(clones.task)

    assert task.status is TaskStatus.ACCEPTED
    assert (files(clones.roots["one"]), files(clones.roots["two"])) == (AFTER, BEFORE)
    assert (held(clones.one), accepts(clones.one, task)) == (0, 1)
    (operation,) = clones.two.operations.every()
    assert (operation.task_id, operation.where, operation.paths) == (
        task.id, clones.one.operations.acceptances.holder, ("a.txt", "gone.txt", "new", "new/c.txt"),
    )  # fmt: skip


def test_an_accept_and_an_undo_name_the_number_that_every_clone_knows(clones):
    clones.one.decisions.accept(clones.task)
    clones.one.decisions.undo(clones.task)

    task, applied = clones.two.decisions.accept(clones.now())

    assert applied.operation.id == clones.one.operations.every()[-1].id == 3  # the first one of this clone
    assert clones.two.decisions.undo(operation=3)[1].operation.id == 3
    assert clones.one.task(task.id).status is TaskStatus.IN_REVIEW


def test_while_one_is_at_it_the_others_are_told_who_and_where_and_write_nothing(clones):
    killed_holding(clones)
    for attempt in (clones.two.decisions.accept, clones.two.decisions.reject):
        with pytest.raises(HeldElsewhere) as caught:
            attempt(clones.now())
        assert caught.value.exit_code == 4
        assert (
            f"Task {clones.task.id} is being accepted in {clones.one.operations.acceptances.holder}"
            in caught.value.what
        )

    assert files(clones.roots["two"]) == BEFORE
    assert clones.now().status is TaskStatus.IN_REVIEW


def variants(clones):
    origins = [CodeOrigin("file", "p.py", PROGRAM)] * 2
    first, second = clones.one.new_tasks.submit_variants("change it", origins, options={}, asked=Asked(), terms=Terms())
    for each in (first, second):
        asyncio.run(Worker(clones.one).run_task(each.id))
    return clones.one.task(first.id), clones.one.task(second.id)


def test_while_a_variant_is_being_accepted_no_other_clone_takes_another_one(clones):
    first, second = variants(clones)
    clones.one.operations.acceptances.take(first.id, "0" * 16, ACCEPT)
    with pytest.raises(HeldElsewhere, match=f"Task {first.id} is being accepted in"):
        clones.two.decisions.accept(second)
    assert files(clones.roots["two"]) == BEFORE

    clones.two.decisions.accept(second, overrule=True)
    assert [clones.one.task(each.id).status for each in (first, second)] == [TaskStatus.REJECTED, TaskStatus.ACCEPTED]


def test_with_an_accept_its_variants_are_rejected_before_another_clone_can_accept_one(clones, monkeypatch):
    first, second = variants(clones)
    monkeypatch.setattr(clones.one.variants, "settle", lambda task: None)  # this comes later
    clones.one.decisions.accept(first)

    with pytest.raises(IllegalMove):
        clones.two.decisions.accept(second)
    assert files(clones.roots["two"]) == BEFORE
    assert clones.two.task(second.id).reason == f"{first.id} was accepted instead"


def test_what_a_killed_command_took_is_given_back_by_the_next_one_there_and_by_no_other(clones):
    killed_holding(clones)
    clones.two.recovery.recover()
    assert held(clones.one) == 1
    clones.one.recovery.recover()
    assert held(clones.one) == 0
    assert clones.two.decisions.accept(clones.now())[0].status is TaskStatus.ACCEPTED


def test_an_accept_that_fails_gives_the_task_back(clones):
    (clones.roots["one"] / "a.txt").write_text("something else\n")
    with pytest.raises(Conflict):
        clones.one.decisions.accept(clones.task)

    assert held(clones.one) == 0
    assert clones.two.decisions.accept(clones.now())[0].status is TaskStatus.ACCEPTED


def test_a_task_can_be_taken_from_a_clone_that_is_gone_and_that_one_is_told_once(clones):
    killed_holding(clones)
    task, _ = clones.two.decisions.accept(clones.now(), overrule=True)

    (said,) = clones.one.recovery.recover()
    assert said == (
        f"The accept of task {task.id} that was being written here was overruled from"
        f" {clones.two.operations.acceptances.holder}. Nothing of it is in your files."
    )
    assert clones.one.recovery.recover() == ()
    assert (files(clones.roots["one"]), files(clones.roots["two"])) == (BEFORE, AFTER)
    assert accepts(clones.one, task) == 1


@pytest.mark.parametrize("told_first", [True, False])
def test_what_was_overruled_is_forgotten_with_its_task_once_its_clone_was_told(clones, told_first):
    def rows():
        return clones.two.queue.database.execute("SELECT task, told FROM overruled").rows

    killed_holding(clones)
    task, _ = clones.two.decisions.accept(clones.now(), overrule=True)
    if told_first:
        clones.one.recovery.recover()

    assert clones.two.queue.forget(task, lambda: None)
    assert rows() == ([] if told_first else [(task.id, 0)])
    clones.one.recovery.recover()
    assert rows() == []


def test_who_was_overruled_in_the_middle_is_told_and_records_no_second_accept(clones, monkeypatch):
    apply = clones.one.project.apply

    def overruled_meanwhile(*arguments, **options):
        applied = apply(*arguments, **options)
        clones.two.decisions.accept(clones.now(), overrule=True)
        return applied

    monkeypatch.setattr(clones.one.project, "apply", overruled_meanwhile)
    with pytest.raises(Conflict) as caught:
        clones.one.decisions.accept(clones.task)

    assert caught.value.what.endswith("Your files here have it, the ledger does not count it.")
    assert [each.where for each in clones.one.operations.every()] == [clones.two.operations.acceptances.holder]
    assert (accepts(clones.one, clones.task), clones.one.recovery.recover(), held(clones.one)) == (1, (), 0)


def test_any_clone_that_has_the_change_takes_it_back_and_later_edits_survive(clones):
    clones.one.decisions.accept(clones.task)
    clones.pull()
    (clones.roots["two"] / "a.txt").write_text(LINES.replace("one", "ONE") + "mine\n")
    (clones.roots["two"] / "new/c.txt").chmod(0o664)

    task, undone = clones.two.decisions.undo(clones.now())

    assert (task.status, undone.operation.id) == (TaskStatus.IN_REVIEW, 1)
    assert files(clones.roots["two"]) == BEFORE | {"a.txt": LINES + "mine\n"}
    assert files(clones.roots["one"]) == AFTER
    assert [(each.id, each.undoes, str(each.state)) for each in clones.one.operations.every()] == [
        (1, None, "undone"), (2, 1, "applied"),
    ]  # fmt: skip
    with pytest.raises(IllegalMove, match="taken back already"):
        clones.one.decisions.undo(operation=1)
    assert held(clones.one) == 0


def test_an_undo_of_another_clone_can_be_taken_back_in_a_third_that_has_it(clones):
    clones.one.decisions.accept(clones.task)
    clones.pull()
    clones.two.decisions.undo(clones.now())
    for name, text in files(clones.roots["two"]).items():  # and the first one pulls that
        (clones.roots["one"] / name).write_text(text)
    (clones.roots["one"] / "new/c.txt").unlink()

    task, _ = clones.one.decisions.undo(operation=2)

    assert (task.status, files(clones.roots["one"])) == (TaskStatus.ACCEPTED, AFTER)
    assert [str(each.state) for each in clones.two.operations.every()] == ["applied", "undone", "applied"]


def test_a_clone_without_the_change_is_refused_with_the_reason(clones):
    task, _ = clones.one.decisions.accept(clones.task)
    with pytest.raises(Conflict) as caught:
        clones.two.decisions.undo(clones.now())

    assert str(caught.value) == (
        f"This folder does not have what operation 1, an accept of task {task.id}, did.\n"
        f"It was done in {clones.one.operations.acceptances.holder}. Nothing was written here.\n"
        "git pull   brings it, once it is committed and pushed there.\n"
        "cairn undo --op 1   then works."
    )
    assert (files(clones.roots["two"]), clones.now().status, held(clones.one)) == (BEFORE, TaskStatus.ACCEPTED, 0)
    assert clones.two.project.operations() == ()


def test_parts_are_accepted_in_two_clones_and_together_make_the_whole(clones):
    first = clones.one.acceptable.picked(clones.task, ["a.txt"])
    task, _ = clones.one.decisions.accept(clones.task, first)
    assert task.status is TaskStatus.IN_REVIEW
    assert clones.two.acceptable.changes(task).paths == ("gone.txt", "new/c.txt")

    task, applied = clones.two.decisions.accept(task)

    assert (task.status, applied.paths) == (TaskStatus.ACCEPTED, ("gone.txt", "new/c.txt"))
    with pytest.raises(Conflict, match="does not have"):
        clones.two.decisions.undo(operation=1)
    task, _ = clones.one.decisions.undo(operation=1)
    assert (task.status, clones.two.acceptable.changes(task).paths) == (TaskStatus.IN_REVIEW, ("a.txt",))
    assert isinstance(clones.two.operations.part(1), Selection)


def test_what_is_too_large_for_a_row_is_taken_back_where_it_was_done_only(clones, monkeypatch):
    monkeypatch.setattr(shared_operations, "LARGEST_ROW", 10)
    clones.one.decisions.accept(clones.task)
    clones.pull()
    with pytest.raises(NotFound, match="is not with the server"):
        clones.two.decisions.undo(clones.now())
    assert clones.one.decisions.undo()[0].status is TaskStatus.IN_REVIEW


def test_or_lies_in_the_object_store(clones, monkeypatch, tmp_path):
    monkeypatch.setattr(shared_operations, "LARGEST_ROW", 10)
    clones.one.operations.shared._objects = lambda: ObjectStore(f"file://{tmp_path}/objects")
    clones.two.operations.shared._objects = clones.one.operations.shared._objects
    clones.one.decisions.accept(clones.task)
    clones.pull()

    assert clones.two.decisions.undo(clones.now())[0].status is TaskStatus.IN_REVIEW
    assert files(clones.roots["two"]) == BEFORE


def test_a_path_beyond_the_project_is_refused_whoever_wrote_it(clones):
    clones.one.decisions.accept(clones.task)
    clones.pull()
    row = {"path": "../out", "from": None, "before": None, "after": ["file", 0o644, ""]}
    data = zlib.compress(json.dumps([row]).encode())
    clones.one.queue.database.execute("UPDATE operation_data SET data = ?", (data,))
    with pytest.raises(StorageProblem, match="cannot be read"):
        clones.two.decisions.undo(clones.now())
    assert files(clones.roots["two"]) == AFTER


def test_without_a_name_only_this_clone_s_own_accept_is_taken_back(clones):
    clones.one.decisions.accept(clones.task)
    clones.pull()
    with pytest.raises(NotFound, match="no accept to take back"):
        clones.two.decisions.undo()
    assert clones.one.decisions.undo()[0].status is TaskStatus.IN_REVIEW


def test_two_machines_of_one_name_with_one_path_are_two_clones(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()

    names = [this_clone(Path("/srv/project"), tmp_path / where) for where in ("one", "two", "one")]

    assert names[0] == names[2] != names[1]
    assert names[0].startswith(f"{socket.gethostname()}:/srv/project#")


def test_a_copied_folder_is_another_clone_and_a_moved_one_is_the_same(tmp_path, monkeypatch):
    """As two machines have them: all under one name and one path."""

    def name(where, machine="a"):
        monkeypatch.setattr(acceptances, "_MACHINE_IDS", (tmp_path / machine,))
        return this_clone(Path("/srv/project"), tmp_path / where)

    for machine in ("a", "b"):
        (tmp_path / machine).write_text(f"{machine}\n")
    (tmp_path / "one").mkdir()
    first = name("one")
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    copy = name("copy")
    (tmp_path / "one").rename(tmp_path / "moved")

    assert (name("moved"), name("copy")) == (first, copy)
    elsewhere = name("moved", "b")
    assert (name("moved"), name("moved", "b")) == (first, elsewhere)
    assert len({first, copy, elsewhere}) == 3


def test_the_mark_of_an_earlier_cairn_stays_and_what_is_no_plain_file_is_left_alone(tmp_path):
    for where in ("earlier", "link", "pipe"):
        (tmp_path / where).mkdir()
    (tmp_path / "earlier/clone").write_text("0123ab")
    (tmp_path / "notes").write_text("mine\n")
    (tmp_path / "link/clone").symlink_to(tmp_path / "notes")
    os.mkfifo(tmp_path / "pipe/clone")

    names = [this_clone(Path("/srv"), tmp_path / where) for where in ("earlier", "earlier", "link", "pipe")]

    plain = f"{socket.gethostname()}:/srv"
    assert names == [f"{plain}#0123ab", f"{plain}#0123ab", plain, plain]
    assert (tmp_path / "notes").read_text() == "mine\n"


def test_of_many_first_commands_all_have_one_mark(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(lambda _: this_clone(Path("/srv"), tmp_path), range(32)))

    assert len(names) == 1

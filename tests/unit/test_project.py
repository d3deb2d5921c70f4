from __future__ import annotations

import errno
import fcntl
import json
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cairn import atomic_rename, operation_log
from cairn.changes import Change, ChangeSet
from cairn.errors import (
    Conflict,
    DamagedFile,
    DiskFull,
    IllegalMove,
    Interrupted,
    NotFound,
    StorageProblem,
    UsageProblem,
)
from cairn.merge_plan import PathsInConflict
from cairn.project import Applied, Decision, OperationState, PathPlan, Project
from cairn.project_files import only_mode
from cairn.rewriting import Rewriting
from cairn.saved_meanwhile import KeptCopy
from cairn.text_merge import ClashKind
from cairn.waiting_files import Changed, WaitingFiles
from tests.content_trees import TREES, Tree, between, edited, folder, link, snapshot, text, write
from tests.length import examples

LINES = "1\n2\n3\n4\n5\n6\n7\n"
BEFORE: Tree = {
    "text": text(LINES),
    "crlf": text(LINES.replace("\n", "\r\n")),
    "latin": text(b"caf\xe9\nx\n"),
    "binary": text(b"\0\1\2"),
    "run": text("#!/bin/sh\n", 0o755),
    "secret": text("s\n", 0o600),
    "link": link("text"),
    "old": text("moved\n"),
    "deep/er/one": text("1\n"),
    "deep/er/two": text("2\n", 0o755),
    "file": text("becomes a folder\n"),
    "gone/last": text("the last one\n"),
    "empty": text(""),
    "name with\nnewline and é": text("n\n"),
    "untouched": text("u\n"),
}
AFTER: Tree = {
    "text": text(LINES.replace("4", "four")),
    "crlf": text(LINES.replace("4", "four").replace("\n", "\r\n")),
    "latin": text(b"th\xe9\nx\n"),
    "binary": text(b"\0\1\2\3"),
    "run": text("#!/bin/sh\n"),
    "secret": text("t\n", 0o600),
    "link": link("nowhere"),
    "new/place/old": text("moved\n"),
    "deep": text("was a folder\n"),
    "file/inside": text("f\n", 0o755),
    "empty": text("filled"),
    "name with\nnewline and é": text("N\n"),
    "n" * 255: text("long name\n"),
    "untouched": text("u\n"),
}
CHANGES = between(BEFORE, AFTER, {"new/place/old": "old"})


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "tree", BEFORE)


@pytest.fixture
def at(root):
    return Project(root)


# -- finding ------------------------------------------------------------------------------------------------------------


def test_a_folder_inside_a_repository_works_on_its_root(repository):
    assert Project.find(repository / "src").root == repository.resolve()
    assert Project.find(repository / "src", exact=True).root == (repository / "src").resolve()


def test_a_folder_that_is_no_repository_works_as_it_is(project):
    assert Project.find(project / "src").root == (project / "src").resolve()


def test_a_worktree_and_a_submodule_are_projects_of_their_own(repository, tmp_path):
    subprocess.run(["git", "worktree", "add", "-q", str(tmp_path / "tree")], cwd=repository, check=True)
    (tmp_path / "tree/deep").mkdir()

    assert Project.find(tmp_path / "tree/deep").root == (tmp_path / "tree").resolve()


def test_an_empty_git_folder_makes_no_repository(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / "sub").mkdir()

    assert Project.find(tmp_path / "sub").root == (tmp_path / "sub").resolve()


def test_the_project_has_one_name_however_it_is_reached(repository, tmp_path):
    (tmp_path / "shortcut").symlink_to(repository / "src")

    assert Project.find(tmp_path / "shortcut").root == repository.resolve()
    assert Project.find(repository / "src/../src/.").root == repository.resolve()


@pytest.mark.parametrize(
    ("name", "kind", "code", "what"),
    [
        ("missing", NotFound, 3, "There is no folder {}."),
        ("file/below", NotFound, 3, "There is no folder {}."),
        ("file", UsageProblem, 2, "{} is a file, not a folder."),
        ("loop", StorageProblem, 1, "{} cannot be read."),
    ],
)
def test_what_is_no_folder_is_refused(root, name, kind, code, what):
    (root / "loop").symlink_to("loop")
    with pytest.raises(kind) as caught:
        Project.find(root / name)

    assert (caught.value.exit_code, caught.value.what) == (code, what.format(root / name))


def test_an_unreadable_folder_is_refused(root, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StorageProblem) as caught:
        Project.find(root)

    assert (caught.value.what, caught.value.why) == (f"{root} cannot be read.", "The system says: Permission denied.")


def test_the_state_folder_is_ignored_by_git(repository):
    Project(repository).prepare()
    Project(repository).prepare()
    status = subprocess.run(["git", "status", "--porcelain"], cwd=repository, capture_output=True, check=True)

    assert ((repository / ".cairn/.gitignore").read_text(), (repository / ".cairn/tasks").is_dir()) == ("*\n", True)
    assert status.stdout == b""


@pytest.mark.parametrize("make", [lambda path: path.write_text("x"), lambda path: path.symlink_to("..")])
def test_a_state_folder_that_is_none_is_not_used(root, make):
    make(root / ".cairn")
    with pytest.raises(StorageProblem) as caught:
        Project(root).prepare()

    assert caught.value.what == f"{root / '.cairn'} is not a folder."


# -- apply and undo -----------------------------------------------------------------------------------------------------


def test_apply_makes_the_tree_that_the_task_made_and_undo_the_one_before(at, root):
    whole = snapshot(root, folders=True)

    applied = at.apply("task", CHANGES)
    made = snapshot(root)
    undone = at.undo()

    assert made == AFTER
    assert snapshot(root, folders=True) == whole
    assert (applied.operation.state, undone.operation.state) == (OperationState.APPLIED, OperationState.UNDONE)
    assert applied.in_words() == "17 files changed"
    assert undone.in_words() == "17 files restored"


def test_applying_twice_changes_nothing_more(at, root):
    at.apply("task", CHANGES)
    again = at.apply("task", CHANGES)

    assert (again.paths, again.already, snapshot(root)) == ((), tuple(change.path for change in CHANGES), AFTER)
    at.undo()
    assert snapshot(root) == AFTER


def test_no_change_is_an_operation_too(at, root):
    applied = at.apply("task", ChangeSet())
    at.undo("task")

    assert (applied.paths, applied.in_words(), snapshot(root)) == ((), "0 files changed", BEFORE)


def test_an_undo_can_be_undone_and_that_again(at, root):
    at.apply("task", CHANGES)
    undone = at.undo()
    redone = at.undo(undone.undo_id)
    states = [(each.kind, each.state) for each in at.operations()]

    assert snapshot(root) == AFTER
    assert states == [("accept", "applied"), ("undo", "undone"), ("undo", "applied")]
    assert redone.operation.id == undone.undo_id
    at.undo(redone.undo_id)
    assert snapshot(root) == BEFORE
    assert [str(each.state) for each in at.operations()] == ["undone", "applied", "undone", "applied"]


def test_the_users_edits_survive_accept_and_undo(at, root):
    (root / "text").write_text(LINES.replace("1", "one"))
    (root / "old").write_text("moved\nand more\n")
    (root / "untouched").write_text("mine\n")
    (root / "run").chmod(0o700)
    applied = at.apply(
        "task", between(BEFORE, AFTER | {"run": text("#!/bin/sh\nls\n", 0o755)}, {"new/place/old": "old"})
    )
    accepted = snapshot(root)
    (root / "text").write_text((root / "text").read_text().replace("7", "seven"))
    (root / "new/place/old").write_text("even\nmoved\nand more\n")
    undone = at.undo()
    left = snapshot(root)

    assert applied.merged == ("new/place/old", "run", "text")
    assert accepted["text"] == text("one\n2\n3\nfour\n5\n6\n7\n")
    assert accepted["new/place/old"] == text("moved\nand more\n")
    assert accepted["run"] == text("#!/bin/sh\nls\n", 0o700)
    assert undone.merged == ("old", "text")
    assert left["text"] == text("one\n2\n3\n4\n5\n6\nseven\n")
    assert left["old"] == text("even\nmoved\nand more\n")
    assert left["run"] == text("#!/bin/sh\n", 0o700)
    assert left["untouched"] == text("mine\n")


def test_a_conflict_names_every_path_and_writes_nothing(at, root):
    (root / "text").write_text(LINES.replace("4", "vier"))
    (root / "binary").write_bytes(b"\0mine")
    (root / "gone/last").write_text("changed\n")
    whole = snapshot(root, folders=True)
    with pytest.raises(Conflict) as caught:
        at.apply("abc", CHANGES)

    assert str(caught.value) == (
        "Task abc cannot be accepted: 3 paths in conflict. Nothing was written.\n"
        "binary: binary file changed on both sides.\n"
        "gone/last: changed in the project, deleted or moved away by the task.\n"
        "text: the same lines changed on both sides: line 4 (yours) against line 4 (the task's).\n"
        "cairn diff abc   shows its changes\ncairn retry abc   does it again from today's files"
    )
    assert caught.value.paths == ("binary", "gone/last", "text")
    assert (snapshot(root, folders=True), at.operations()) == (whole, ())


def test_preview_says_what_apply_will_do_and_writes_nothing(at, root):
    (root / "text").write_text(LINES.replace("1", "one"))
    (root / "latin").write_bytes(AFTER["latin"].data)
    (root / "binary").write_bytes(b"\0mine")
    whole = snapshot(root, folders=True)
    changes = ChangeSet(tuple(each for each in CHANGES if each.path in {"text", "latin", "binary", "empty"}))

    assert at.preview(changes).paths == (
        PathPlan("binary", Decision.CONFLICT, "binary file changed on both sides", kind=ClashKind.BINARY),
        PathPlan("empty", Decision.TAKE),
        PathPlan("latin", Decision.ALREADY),
        PathPlan("text", Decision.MERGE),
    )
    assert at.preview(changes).conflicts == (("binary", "binary file changed on both sides"),)
    assert (snapshot(root, folders=True), (root / ".cairn").exists()) == (whole, False)


def test_an_undo_that_would_lose_an_edit_is_refused_whole(at, root):
    at.apply("abc", CHANGES)
    (root / "text").write_text(LINES.replace("4", "quatre"))
    (root / "file/inside").write_text("mine\n")
    (root / "file/yours").write_text("mine too\n")
    whole = snapshot(root, folders=True)
    with pytest.raises(Conflict) as caught:
        at.undo()

    assert caught.value.paths == ("file", "file/inside", "text")
    assert (snapshot(root, folders=True), str(at.operations()[0].state)) == (whole, "applied")


def test_undo_keeps_a_folder_that_the_user_put_files_into(at, root):
    at.apply("abc", ChangeSet((Change("made/new", None, text("1\n")),)))
    (root / "made/yours").write_text("mine\n")
    at.undo()

    assert snapshot(root) == BEFORE | {"made/yours": text("mine\n")}


def test_undo_takes_back_the_last_accept_first(at, root):
    at.apply("one", ChangeSet((Change("text", BEFORE["text"], text(LINES + "one\n")),)))
    at.apply("two", ChangeSet((Change("text", text(LINES + "one\n"), text("two\n" + LINES + "one\n")),)))

    assert at.last_applied().task_id == "two"
    assert at.undo().operation.task_id == "two"
    assert at.undo().operation.task_id == "one"
    assert snapshot(root) == BEFORE


def test_an_earlier_accept_can_be_taken_back_alone(at, root):
    at.apply("one", ChangeSet((Change("text", BEFORE["text"], text(LINES + "one\n")),)))
    at.apply("two", ChangeSet((Change("text", text(LINES + "one\n"), text("two\n" + LINES + "one\n")),)))

    at.undo("one")

    assert (root / "text").read_text() == "two\n" + LINES


def test_what_cannot_be_undone_says_so(at):
    with pytest.raises(NotFound, match="There is no accept to take back"):
        at.undo()
    with pytest.raises(NotFound, match="Task abc has no accept to take back"):
        at.undo("abc")
    with pytest.raises(NotFound, match="There is no operation 7"):
        at.undo(7)
    operation = at.apply("abc", CHANGES).operation
    at.undo()
    with pytest.raises(IllegalMove, match=f"Operation {operation.id} is taken back already"):
        at.undo(operation.id)
    with pytest.raises(NotFound):
        at.undo("abc")


def test_the_ledger_is_told_what_it_has_not_followed_yet(at):
    operation = at.apply("abc", CHANGES).operation
    assert [(each.task_id, each.in_effect) for each in at.unrecorded()] == [("abc", True)]
    at.mark_recorded(operation.id)
    assert at.unrecorded() == ()
    undone = at.undo()
    assert [(each.id, each.in_effect) for each in at.unrecorded()] == [(operation.id, False)]
    at.mark_recorded(operation.id)
    at.undo(undone.undo_id)
    assert [(each.id, each.in_effect) for each in at.unrecorded()] == [(operation.id, True)]


def test_a_symlink_put_above_a_changed_file_is_never_followed(at, root, tmp_path):
    outside = write(tmp_path / "outside", {"er/one": text("1\n"), "er/two": text("2\n", 0o755)})
    for path in ("deep/er/one", "deep/er/two"):
        (root / path).unlink()
    (root / "deep/er").rmdir()
    (root / "deep").rmdir()
    (root / "deep").symlink_to(outside)
    changes = between({"deep/er/one": text("1\n")}, {"deep/er/one": text("evil\n"), "deep/er/new": text("evil\n")})
    with pytest.raises(Conflict) as caught:
        at.apply("abc", changes)

    assert caught.value.paths == ("deep/er/new", "deep/er/one")
    assert snapshot(outside) == {"er/one": text("1\n"), "er/two": text("2\n", 0o755)}


def test_a_symlink_is_replaced_and_its_target_left_alone(at, root):
    at.apply("abc", ChangeSet((Change("link", BEFORE["link"], text("a file now\n")),)))

    assert snapshot(root) == BEFORE | {"link": text("a file now\n")}


def test_ownership_is_kept(at, root):
    if os.geteuid() != 0:
        pytest.skip("only root may give files away")
    for path in ("text", "old", "gone/last", "gone", "link"):
        os.chown(root / path, 4711, 4712, follow_symlinks=False)
    at.apply("abc", CHANGES)
    made = [(root / path).lstat() for path in ("text", "new/place/old", "link")]
    at.undo()
    back = [(root / path).lstat() for path in ("text", "old", "gone/last", "gone", "link")]

    assert {(each.st_uid, each.st_gid) for each in [*made, *back]} == {(4711, 4712)}


def test_every_mode_bit_is_kept(at, root):
    (root / "text").chmod(0o4751)
    (root / "gone").chmod(0o2775)
    at.apply("abc", CHANGES)
    kept = (root / "text").stat().st_mode & 0o7777
    at.undo()

    assert (kept, (root / "text").stat().st_mode & 0o7777, (root / "gone").stat().st_mode & 0o7777) == (
        0o4751, 0o4751, 0o2775,
    )  # fmt: skip


def test_on_a_disk_that_keeps_no_modes_accept_and_undo_agree(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fchmod", lambda *_: None)  # what is made has 0600 there, and keeps it
    before: Tree = {"a": text("1\n", 0o600), "tool": text("#!\n", 0o600)}
    root = write(tmp_path / "tree", before)
    at = Project(root)
    at.prepare()
    at.apply("abc", between(before, {"a": text("2\n", 0o600), "tool": text("#!\n", 0o755), "new": text("3\n", 0o644)}))
    accepted = snapshot(root)
    at.undo()

    assert accepted == {"a": text("2\n", 0o600), "tool": text("#!\n", 0o600), "new": text("3\n", 0o600)}
    assert snapshot(root) == before


def test_new_folders_follow_the_umask(at, root):
    old = os.umask(0o027)
    try:
        at.apply("abc", CHANGES)
    finally:
        os.umask(old)

    assert (root / "new/place").stat().st_mode & 0o777 == 0o750


def test_a_file_of_ten_megabytes_and_a_folder_of_ten_thousand_entries(tmp_path):
    big = os.urandom(10_000_000)
    before: Tree = {"big": text(big), **{f"many/{number}": text("x\n") for number in range(10_000)}}
    root = write(tmp_path / "large", {**before})
    after = before | {"big": text(big[::-1]), "many/5000": text("y\n")}
    at = Project(root)
    at.apply("abc", between(before, after))

    assert ((root / "big").read_bytes() == big[::-1], (root / "many/5000").read_bytes()) == (True, b"y\n")
    at.undo()
    assert ((root / "big").read_bytes() == big, (root / "many/5000").read_bytes()) == (True, b"x\n")


def test_a_pipe_and_a_socket_are_conflicts(at, root):
    (root / "text").unlink()
    os.mkfifo(root / "text")
    (root / "latin").unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "latin"))
        with pytest.raises(Conflict) as caught:
            at.apply("abc", CHANGES)

    assert caught.value.paths == ("latin", "text")


def test_a_file_system_without_hard_links_will_do(at, root, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    at.apply("abc", CHANGES)
    made = snapshot(root)
    at.undo()

    assert (made, snapshot(root)) == (AFTER, BEFORE)


def test_without_git_what_needs_no_merge_is_applied(at, root, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    at.apply("abc", CHANGES)
    assert snapshot(root) == AFTER
    at.undo()
    (root / "text").write_text(LINES.replace("1", "one"))
    with pytest.raises(Conflict, match="merging needs git, which is not installed"):
        at.apply("abc", CHANGES)


def test_a_damaged_log_is_named_and_left_as_it_is(at, root):
    at.prepare()
    (root / ".cairn/operations.db").write_bytes(b"not a database at all" * 100)
    for call in (lambda: at.apply("abc", CHANGES), at.undo, at.recover, at.operations):
        with pytest.raises(DamagedFile):
            call()

    assert (root / ".cairn/operations.db").read_bytes() == b"not a database at all" * 100
    assert snapshot(root) == BEFORE


def test_a_log_of_a_newer_cairn_is_not_touched(at, root):
    at.apply("abc", CHANGES)
    subprocess.run(
        [sys.executable, "-c", "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('PRAGMA user_version = 9')",
         str(root / ".cairn/operations.db")],
        check=True,
    )  # fmt: skip
    with pytest.raises(StorageProblem, match="was written by a newer Cairn"):
        at.undo()


# -- while somebody else works ------------------------------------------------------------------------------------------


def edit_before_step(monkeypatch, number: int, edit) -> None:
    """Runs `edit` when all is staged and `number` steps are done: between the plan and the writing of that file."""
    steps = Rewriting._steps

    def watched(self, edits):
        for count, step in enumerate(steps(self, edits)):
            if count == number:
                monkeypatch.setattr(Rewriting, "_steps", steps)
                edit()
            yield step

    monkeypatch.setattr(Rewriting, "_steps", watched)


def _saved(root: Path, path: str) -> None:
    (root / path).write_text("saved by an editor this instant\n")


@pytest.mark.parametrize("number", [0, 1, 5, 10])
@pytest.mark.parametrize("path", ["text", "n" * 255, "empty", "secret"])
def test_a_file_saved_between_plan_and_write_is_never_overwritten(at, root, monkeypatch, number, path):
    edit_before_step(monkeypatch, number, lambda: _saved(root, path))
    with pytest.raises(Conflict) as caught:
        at.apply("abc", CHANGES)

    mine = text("saved by an editor this instant\n", (root / path).stat().st_mode & 0o7777)
    assert snapshot(root) == BEFORE | {path: mine}
    assert caught.value.paths == (path,)
    assert (at.operations(), at.recover()) == ((), None)


@pytest.mark.parametrize(
    ("edit", "extra"),
    [
        (lambda root: (root / "new").write_text("mine\n"), {"new": text("mine\n")}),
        (lambda root: (root / "deep/er/mine").write_text("mine\n"), {"deep/er/mine": text("mine\n")}),
        (lambda root: (root / "link").unlink(), {"link": None}),
    ],
)
def test_whatever_is_changed_between_plan_and_write_stays_so(at, root, monkeypatch, edit, extra):
    edit_before_step(monkeypatch, 0, lambda: edit(root))
    with pytest.raises(Conflict, match="Everything written until then was taken back"):
        at.apply("abc", CHANGES)

    assert snapshot(root) == {path: content for path, content in (BEFORE | extra).items() if content is not None}


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda root: (root / "text").chmod(0o640), {"text": replace(AFTER["text"], mode=0o640)}),
        (lambda root: ((root / "gone/last").unlink(), (root / "gone").rmdir()), {}),
    ],
)
def test_an_edit_between_plan_and_write_that_goes_with_the_task_s_is_merged(at, root, monkeypatch, edit, expected):
    edit_before_step(monkeypatch, 0, lambda: edit(root))
    at.apply("abc", CHANGES)

    assert snapshot(root) == AFTER | expected
    assert [str(each.state) for each in at.operations()] == ["applied"]


@pytest.mark.parametrize("act", ["apply", "undo"])
@pytest.mark.parametrize(("saves", "through"), [(4, True), (5, False)])
def test_an_editor_that_saves_again_and_again_is_planned_around_a_few_times(at, root, monkeypatch, act, saves, through):
    changes = between({"text": text(LINES)}, {"text": text(LINES.replace("1", "one"))})
    if act == "undo":
        at.apply("abc", changes)
    counted, steps = [0], Rewriting._steps

    def saved_first(self, edits):
        if edits is self.edits and counted[0] < saves:
            counted[0] += 1
            with (root / "text").open("a") as file:
                file.write(f"edit {counted[0]}\n")
        yield from steps(self, edits)

    monkeypatch.setattr(Rewriting, "_steps", saved_first)
    first = "one" if act == "undo" else "1"
    if through:
        assert (at.apply("abc", changes) if act == "apply" else at.undo()).merged == ("text",)
        first = "1" if act == "undo" else "one"
    else:
        with pytest.raises(Conflict) as caught:
            at.apply("abc", changes) if act == "apply" else at.undo()
        word = "accept" if act == "apply" else "undo"
        assert caught.value.what == f"text was changed while the {word} was being written, 5 times in a row."
        assert caught.value.fix[-1] == f"cairn {word} abc   then tries again."

    edits = "".join(f"edit {number}\n" for number in range(1, saves + 1))
    assert (root / "text").read_text() == LINES.replace("1", first) + edits
    assert not list(root.rglob(".cairn-*"))


@pytest.mark.parametrize("act", ["apply", "undo"])
def test_what_was_kept_before_another_try_is_told_when_that_comes_through(at, root, monkeypatch, act):
    """An editor saves after the swap, and the swap of the next file fails on a save too: both are taken back."""
    changes = between({"text": text(LINES)}, {"text": text(LINES.replace("1", "one"))})
    if act == "undo":
        at.apply("abc", changes)
    before, drop = (root / "text").read_bytes(), WaitingFiles.drop_displaced

    def saved_first(self):
        monkeypatch.setattr(WaitingFiles, "drop_displaced", drop)
        (root / "saving").write_bytes(before + b"edit\n")
        (root / "saving").replace(root / "text")
        raise Changed("text")

    monkeypatch.setattr(WaitingFiles, "drop_displaced", saved_first)
    done = at.apply("abc", changes) if act == "apply" else at.undo()

    copy = root / f".cairn/kept/{1 if act == 'apply' else 2}/text"
    assert done.kept == (KeptCopy("text", copy),)
    assert copy.read_bytes() == before
    assert (root / "text").read_text() == LINES.replace("1", "1" if act == "undo" else "one") + "edit\n"


def test_a_conflict_has_each_path_s_kind_and_lines_as_data(at, root):
    at.apply("abc", CHANGES)
    (root / "text").write_text(AFTER["text"].data.decode().replace("2", "deux").replace("two", "zwei") + "more\n")
    (root / "latin").unlink()
    with pytest.raises(PathsInConflict) as caught:
        at.undo()

    kinds = {each.path: each.kind for each in caught.value.plans}
    assert kinds["latin"] is ClashKind.DELETED
    assert set(caught.value.paths) == set(kinds)


def test_a_file_put_into_an_emptied_folder_keeps_the_folder(at, root, monkeypatch):
    edit_before_step(monkeypatch, 0, lambda: _saved(root, "gone/mine"))
    at.apply("abc", CHANGES)

    assert snapshot(root) == AFTER | {"gone/mine": text("saved by an editor this instant\n")}
    at.undo()
    assert snapshot(root) == BEFORE | {"gone/mine": text("saved by an editor this instant\n")}


def test_a_file_changed_while_it_is_taken_back_is_kept_and_its_old_content_saved(at, root, monkeypatch):
    put = Rewriting._put

    def failing(self, edit):
        put(self, edit)
        if edit.path == "text":
            (root / "text").write_text("typed over the task's change\n")
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Rewriting, "_put", failing)
    with pytest.raises(StorageProblem) as caught:
        at.apply("abc", CHANGES)

    saved = root / ".cairn/kept/1"
    assert snapshot(root) == BEFORE | {"text": text("typed over the task's change\n")}
    assert caught.value.why == (
        "The system says: Input/output error. Everything written until then was taken back. "
        f"Edited since and left as they are: text. Their earlier content is in {saved}."
    )
    assert (saved / "text").read_text() == LINES


APPLY_ONCE = """
import pickle, sys
from pathlib import Path
from cairn.errors import Conflict
from cairn.project import Project
root, task, changes = sys.argv[1:]
sys.stdin.readline()
try:
    print(Project(Path(root)).apply(task, pickle.loads(Path(changes).read_bytes())).in_words())
except Conflict as conflict:
    print("conflict", *conflict.paths)
"""


def two_at_once(root: Path, tmp_path: Path, changes: list[ChangeSet]) -> list[str]:
    children = []
    for number, each in enumerate(changes):
        (tmp_path / f"changes{number}").write_bytes(pickle.dumps(each))
        arguments = [sys.executable, "-c", APPLY_ONCE, str(root), f"task{number}", str(tmp_path / f"changes{number}")]
        children.append(subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    return sorted(child.communicate(timeout=50)[0].strip() for child in children)


def test_two_processes_accepting_at_once_both_get_in(at, root, tmp_path):
    changes = [between(BEFORE, BEFORE | {"text": text(LINES.replace(*pair)), pair[1]: text("new\n")})
               for pair in (("1", "one"), ("7", "seven"))]  # fmt: skip

    told = two_at_once(root, tmp_path, changes)

    assert told == ["2 files changed", "2 files changed, 1 merged with your edits"]
    assert (root / "text").read_text() == "one\n2\n3\n4\n5\n6\nseven\n"
    assert [str(each.state) for each in at.operations()] == ["applied", "applied"]


def test_of_two_processes_that_contradict_each_other_one_is_told(at, root, tmp_path):
    changes = [between(BEFORE, BEFORE | {"text": text(word), word.strip(): text("new\n")}) for word in ("x\n", "y\n")]

    told = two_at_once(root, tmp_path, changes)

    assert told == ["2 files changed", "conflict text"]
    winner = (root / "text").read_text()
    assert snapshot(root) == BEFORE | {"text": text(winner), winner.strip(): text("new\n")}


def test_a_held_lock_ends_in_an_error_that_names_its_holder(at, root):
    at.prepare()
    with (root / ".cairn/lock").open("w+b") as file:
        file.write(b"process 4711")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StorageProblem) as caught:
            Project(root, lock_seconds=0.1).apply("abc", CHANGES)
        assert at.recover() is None

    assert str(caught.value) == (
        "Another cairn command is changing this project.\nIt is process 4711.\nWait for it to end, then try again."
    )


def test_the_lock_is_for_one_thread_and_that_one_may_take_it_twice(root):
    at = Project(root, lock_seconds=0.1)
    told = []

    def other() -> None:
        try:
            with at.locked():
                told.append("got it")
        except StorageProblem as problem:
            told.append(problem.why)

    with at.locked(), at.locked():
        at.apply("abc", CHANGES)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    assert told == ["It is another part of this process."]
    with Project(root, lock_seconds=0.1).locked():
        pass


# -- when the system fails ----------------------------------------------------------------------------------------------

CALLS = ("write", "fsync", "replace", "rename", "link", "unlink", "symlink", "mkdir", "rmdir", "fchmod")
LOOKS = ("open", "stat", "lstat", "fstat", "read", "pread", "readlink", "scandir", "listdir")
KINDS = {errno.ENOSPC: DiskFull, errno.EACCES: StorageProblem, errno.EIO: StorageProblem}


class Faults:
    """Makes the system call number `fatal` of those the apply path uses fail; with `for_ever` all later ones too."""

    def __init__(self, monkeypatch, fatal: int, error: BaseException, *, for_ever: bool = False, calls=CALLS) -> None:
        self.count = 0
        self.hit = False
        for name in calls:
            monkeypatch.setattr(os, name, self.watched(getattr(os, name), fatal, error, for_ever))
        exchanging = self.watched(atomic_rename.renameat2, fatal, error, for_ever)
        monkeypatch.setattr(atomic_rename, "renameat2", exchanging)

    def watched(self, call, fatal, error, for_ever):
        def watched(*arguments, **options):
            self.count += 1
            if self.count == fatal or (for_ever and self.count > fatal):
                self.hit = True
                raise error
            return call(*arguments, **options)

        return watched


def attempted(root, point, error, act, **how):
    at = Project(root)
    only_mode(root)  # tried once for each project; a chmod refused there tells of a disk without modes
    with pytest.MonkeyPatch.context() as patch:
        faults = Faults(patch, point, error, **how)
        try:
            act(at)
        except BaseException as caught:  # noqa: BLE001 - KeyboardInterrupt is one of them
            return faults.hit, caught
    return faults.hit, None


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("code", KINDS)
def test_a_system_call_that_fails_anywhere_leaves_the_project_as_it_was(tmp_path, code):
    for point in range(1, 1000):
        root = write(tmp_path / f"tree{point}", BEFORE)
        whole = snapshot(root, folders=True)
        Project(root).prepare()
        hit, caught = attempted(root, point, OSError(code, os.strerror(code)), lambda at: at.apply("abc", CHANGES))
        if not hit:
            break
        if caught is None:  # `.cairn` was there already: nothing was lost with that call
            assert snapshot(root) == AFTER
            continue
        assert type(caught) is KINDS[code], (point, caught)
        assert "Everything written until then was taken back." in caught.why, (point, caught)
        assert snapshot(root, folders=True) == whole, point
        assert (Project(root).operations(), Project(root).recover()) == ((), None)
        assert not list(root.rglob(".cairn-*"))
        Project(root).apply("abc", CHANGES)
        assert snapshot(root) == AFTER
    assert point > 60


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("act", ["apply", "undo"])
@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ENOSPC])
def test_a_look_that_fails_anywhere_leaves_the_project_wholly_before_or_after(tmp_path, code, act):
    """Opening, stating and reading, of the project's files and of Cairn's own."""
    for point in range(1, 2000):
        root = write(tmp_path / f"tree{point}", BEFORE)
        Project(root).prepare()
        if act == "undo":
            Project(root).apply("abc", CHANGES)
        whole, done = snapshot(root, folders=True), BEFORE if act == "undo" else AFTER
        attempt = (lambda at: at.undo()) if act == "undo" else (lambda at: at.apply("abc", CHANGES))
        hit, caught = attempted(root, point, OSError(code, os.strerror(code)), attempt, calls=LOOKS)
        if not hit:
            break
        if caught is None:  # nothing was lost with that look
            assert snapshot(root) == done, point
            continue
        assert type(caught) in {KINDS[code], Conflict, PathsInConflict}, (point, caught)
        assert snapshot(root, folders=True) == whole, point
        assert Project(root).recover() is None
        assert not list(root.rglob(".cairn-*"))
        attempt(Project(root))
        assert snapshot(root) == done
    assert point > 200


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ctrl_c_at_any_point_of_an_undo_leaves_it_undone_or_not(tmp_path):
    for point in range(1, 1000):
        root = write(tmp_path / f"tree{point}", BEFORE)
        Project(root).apply("abc", CHANGES)
        hit, caught = attempted(root, point, KeyboardInterrupt(), lambda at: at.undo())
        if not hit:
            break
        assert type(caught) in {KeyboardInterrupt, Interrupted}  # the plain one before anything was written
        assert snapshot(root) == AFTER, point
        assert [str(each.state) for each in Project(root).operations()] == ["applied"]
        assert Project(root).recover() is None
    assert point > 60


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_disk_that_stays_full_is_survived(tmp_path):
    """Where taking back needs room that is not there, the error says so and the next command does it."""
    stuck = 0
    for point in range(1, 1000):
        root = write(tmp_path / f"tree{point}", BEFORE)
        whole = snapshot(root, folders=True)
        full = OSError(errno.ENOSPC, "No space left on device")
        hit, caught = attempted(root, point, full, lambda at: at.apply("abc", CHANGES), for_ever=True)
        if not hit:
            break
        assert isinstance(caught, StorageProblem), (point, caught)
        if "could not be taken back yet" in caught.why:
            stuck += 1
            recovered = Project(root).recover()
            assert recovered is not None
            assert recovered.kept == ()
            if recovered.finished:  # all was in place, and only the last sync failed
                assert snapshot(root) == AFTER
                continue
        assert snapshot(root, folders=True) == whole, point
    assert stuck > 10


def test_a_full_disk_while_journaling_writes_nothing(at, root, monkeypatch):
    def small(path, **options):
        connection = connect(path, **options)
        connection.execute("PRAGMA max_page_count = 30")
        return connection

    connect = operation_log.connect
    monkeypatch.setattr(operation_log, "connect", small)
    with pytest.raises(DiskFull):
        at.apply("abc", ChangeSet((*CHANGES, Change("zz", None, text("large" * 100_000)))))

    assert (snapshot(root), at.operations()) == (BEFORE, ())


def test_a_read_only_folder_is_told_and_nothing_stays_written(tmp_path):
    """In a process without root's powers, where permissions mean something."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        root = write(base / "tree", BEFORE)
        (base / "changes").write_bytes(pickle.dumps(CHANGES))
        for path in [base, *base.rglob("*")]:
            os.chown(path, 65534, 65534, follow_symlinks=False)
        base.chmod(0o755)
        (root / "deep/er").chmod(0o555)
        whole = snapshot(root, folders=True)
        program = f"""
import os, pickle
from pathlib import Path
from cairn.errors import CairnError
from cairn.project import Project
import cairn.operation_log, cairn.text_merge
os.setgid(65534); os.setuid(65534)
try:
    Project(Path({str(root)!r})).apply("abc", pickle.loads(Path({str(base / "changes")!r}).read_bytes()))
except CairnError as error:
    print(type(error).__name__, error, sep="|")
"""
        uncounted = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=uncounted
        )

        assert done.stderr == ""
        assert done.stdout.splitlines() == [
            "StorageProblem|deep/er/two cannot be written.",
            "The system says: Permission denied. Everything written until then was taken back.",
            "Check the permissions of the file and its folder.",
        ]
        assert snapshot(root, folders=True) == whole


# -- after a crash ------------------------------------------------------------------------------------------------------


def killed_at(monkeypatch, root: Path, path: str) -> None:
    """An accept whose process died right after it had put `path` in place, as far as another process can see."""

    class Killed(BaseException):
        pass

    put = Rewriting._put

    def dying(self, edit):
        put(self, edit)
        if edit.path == path:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Rewriting, "_put", dying)
        patch.setattr(Rewriting, "take_back", lambda *_, **__: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            Project(root).apply("abc", CHANGES)


def test_recovery_says_that_it_took_back(at, root, monkeypatch):
    killed_at(monkeypatch, root, "text")
    recovered = at.recover()

    assert recovered.message == "An accept of task abc was interrupted; it was taken back, your files are as they were."
    assert (snapshot(root), at.operations(), at.recover()) == (BEFORE, (), None)
    assert not [*root.rglob(".cairn-*")]


def test_recovery_says_that_it_finished(at, root, monkeypatch):
    killed_at(monkeypatch, root, "new/place/old")
    recovered = at.recover()

    assert recovered.message == "An accept of task abc was interrupted when all was written; it is finished now."
    assert snapshot(root) == AFTER
    assert [(each.task_id, each.in_effect) for each in at.unrecorded()] == [("abc", True)]
    at.undo()
    assert snapshot(root) == BEFORE


def test_recovery_does_not_overwrite_what_was_edited_since(at, root, monkeypatch):
    killed_at(monkeypatch, root, "text")
    (root / "text").write_text("typed after the crash\n")
    recovered = at.recover()

    assert snapshot(root) == BEFORE | {"text": text("typed after the crash\n")}
    assert (recovered.kept, recovered.saved) == (("text",), root / ".cairn/kept/1")
    assert (root / ".cairn/kept/1/text").read_text() == LINES
    assert recovered.message == (
        "An accept of task abc was interrupted; it was taken back, your files are as they were. "
        f"Edited since and left as they are: text. Their earlier content is in {root / '.cairn/kept/1'}."
    )


def test_what_a_living_process_is_doing_is_not_taken_for_a_crash(at, root, monkeypatch):
    killed_at(monkeypatch, root, "text")
    with (root / ".cairn/lock").open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert at.recover() is None

    assert at.recover().finished is False


def test_the_next_accept_recovers_first(at, root, monkeypatch):
    killed_at(monkeypatch, root, "text")
    applied = at.apply("abc", CHANGES)

    assert (applied.recovered.finished, snapshot(root)) == (False, AFTER)


def test_nothing_to_recover_costs_no_file(at, root):
    assert at.recover() is None
    assert not (root / ".cairn").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("scene", ["apply", "undo", "recover"])
def test_a_kill_at_any_point_leaves_the_project_wholly_before_or_wholly_after(tmp_path, scene):
    write(tmp_path / "base", BEFORE)
    whole = snapshot(tmp_path / "base", folders=True)
    (tmp_path / "changes").write_bytes(pickle.dumps(CHANGES))
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash_points", scene, str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")

    seen = set()
    for told in map(json.loads, done.stdout.splitlines()):
        tree = snapshot(tmp_path / told["tree"], folders=True)
        which = "before" if tree == whole else "after" if _files(tree) == AFTER else "mixed"
        seen.add((which, told["said"], told["again"], *told["states"]))

    assert (
        seen
        == {
            "apply": {
                ("before", None, False),
                ("before", False, False),
                ("after", True, False, "applied"),
                ("after", None, False, "applied"),
            },
            "undo": {
                ("after", None, False, "applied"),
                ("after", False, False, "applied"),
                ("before", True, False, "undone", "applied"),
                ("before", None, False, "undone", "applied"),
            },
            "recover": {
                ("before", False, False),
                ("after", True, False, "applied"),
                ("after", None, False, "applied"),
            },
        }[scene]
    )


def _files(tree: Tree) -> Tree:
    return {path: content for path, content in tree.items() if content.kind != "directory"}


# -- against a model ----------------------------------------------------------------------------------------------------

FOLDERS = st.dictionaries(
    st.sampled_from(("a/empty", "hollow", "b/c/d")), st.sampled_from((folder(), folder(0o700))), max_size=2
)


def check_apply_and_undo(data) -> None:
    before = data.draw(TREES)
    after, moves = data.draw(edited(before))
    extra = {
        p: c
        for p, c in data.draw(FOLDERS).items()
        if not any(o == p or o.startswith(p + "/") or p.startswith(o + "/") for o in {*before, *after})
    }
    with tempfile.TemporaryDirectory() as name:
        root = write(Path(name) / "tree", before | extra)
        whole = snapshot(root, folders=True)
        at = Project(root)
        undone_folders = data.draw(st.booleans())
        at.apply("abc", between(before | (extra if undone_folders else {}), after, moves))

        assert snapshot(root) == after
        at.undo()
        assert snapshot(root, folders=True) == whole


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_changes_are_applied_and_undone_to_the_last_bit(data):
    check_apply_and_undo(data)


@pytest.mark.slow
@pytest.mark.timeout(600)
@given(data=st.data())
@settings(max_examples=examples(200, 800), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_very_many_changes_are_applied_and_undone_to_the_last_bit(data):
    check_apply_and_undo(data)


def check_with_edits_of_the_user(data) -> None:
    """Whatever both sides do: all or nothing, no edit of the user lost, and undo leads back to the last bit."""
    base = data.draw(TREES)
    after, moves = data.draw(edited(base))
    users, _ = data.draw(edited(base))
    changes = between(base, after, moves)
    with tempfile.TemporaryDirectory() as name:
        root = write(Path(name) / "tree", users)
        whole = snapshot(root, folders=True)
        at = Project(root)
        if at.preview(changes).conflicts:
            with pytest.raises(Conflict):
                at.apply("abc", changes)
            assert snapshot(root, folders=True) == whole
            return
        applied = at.apply("abc", changes)
        check_nothing_lost(base, users, after, snapshot(root), applied, changes)
        at.undo()
        assert snapshot(root, folders=True) == whole


def check_nothing_lost(base: Tree, users: Tree, after: Tree, now: Tree, applied: Applied, changes: ChangeSet) -> None:
    moved = {path for change in changes for path in change.paths if change.renamed_from is not None}
    for path in {*base, *users, *after, *now} - set(applied.merged) - moved:
        if users.get(path) == base.get(path):
            assert now.get(path) == after.get(path), path
        else:
            assert now.get(path) == users.get(path), path


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_edit_of_the_user_is_lost(data):
    check_with_edits_of_the_user(data)


@pytest.mark.slow
@pytest.mark.timeout(600)
@given(data=st.data())
@settings(max_examples=examples(200, 800), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_in_very_many_cases_no_edit_of_the_user_is_lost(data):
    check_with_edits_of_the_user(data)


def test_a_project_with_its_state_elsewhere_has_nothing_in_its_folder_and_is_never_written(root, tmp_path):
    at = Project(root, state=tmp_path / "elsewhere/state")
    at.prepare()

    assert at.preview(CHANGES).conflicts == ()
    for attempt in (lambda: at.apply("abc", CHANGES), at.undo):
        with pytest.raises(IllegalMove) as refused:
            attempt()
        assert (
            refused.value.what == f"{root} is a commit that tasks read, not somebody's files: nothing is written there."
        )
    with at.locked():
        assert sorted(each.name for each in at.state.iterdir()) == [".gitignore", "lock", "tasks"]
    assert not (root / ".cairn").exists()

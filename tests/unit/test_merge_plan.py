from __future__ import annotations

import pytest

from cairn.changes import Change, ChangeSet, Content, EntryKind
from cairn.merge_plan import Decision, PathPlan, plan, untangled
from cairn.project_files import Edit, Found, Owner, Unusual
from tests.content_trees import Tree, between, folder, link, text

OWNER = Owner(1000, 1000)
LINES = "1\n2\n3\n4\n5\n6\n7\n"


class TreeFiles:
    """A tree that is only a value; a path in `unusual` is a pipe."""

    def __init__(self, tree: Tree, unusual: frozenset[str] = frozenset(), mode: int | None = None) -> None:
        self.tree = tree
        self.unusual = unusual
        self.mode = mode

    def only_mode(self) -> int | None:
        return self.mode

    def look(self, path: str) -> Found | None:
        if path in self.unusual:
            raise Unusual(path, "is a pipe, socket or device in the project now")
        content = self.tree.get(path)
        if content is None and any(other.startswith(f"{path}/") for other in self.tree):
            content = folder()
        return None if content is None else Found(content, OWNER)

    def taken_for(self, path: str) -> str | None:
        return next((each for each in self.tree if each != path and each.lower() == path.lower()), None)

    def names(self, path: str) -> frozenset[str]:
        below = [each[len(path) + 1 :] for each in (*self.tree, *self.unusual) if each.startswith(f"{path}/")]
        return frozenset(each.partition("/")[0] for each in below)


def outcome(base: Content | None, project: Content | None, task: Content | None) -> tuple[str, Content | str | None]:
    """The decision, and what shall stand there or why not."""
    changes = ChangeSet((Change("a", base, task),))
    planned = plan(changes, TreeFiles({} if project is None else {"a": project}))
    (path,) = planned.paths
    after = next((edit.after for edit in planned.edits if edit.path == "a"), project)
    return str(path.decision), path.reason if path.decision is Decision.CONFLICT else after


ONE, TWO, THREE = text("1\n"), text("2\n"), text("3\n")
LONG, OURS, THEIRS = text(LINES), text(LINES.replace("1", "one")), text(LINES.replace("7", "seven"))
BOTH = text(LINES.replace("1", "one").replace("7", "seven"))


@pytest.mark.parametrize(
    ("base", "project", "task", "expected"),
    [
        (ONE, ONE, TWO, ("take", TWO)),
        (ONE, ONE, None, ("take", None)),
        (None, None, ONE, ("take", ONE)),
        (ONE, TWO, TWO, ("already", TWO)),
        (ONE, None, None, ("already", None)),
        (None, ONE, ONE, ("already", ONE)),
        (None, text("1\n", 0o664), ONE, ("already", text("1\n", 0o664))),
        (ONE, TWO, ONE, ("already", TWO)),
        (LONG, OURS, THEIRS, ("merge", BOTH)),
        (LONG, text(OURS.data, 0o755), THEIRS, ("merge", text(BOTH.data, 0o755))),
        (LONG, OURS, text(LONG.data, 0o755), ("merge", text(OURS.data, 0o755))),
        (LONG, BOTH, THEIRS, ("already", BOTH)),
        (link("x"), link("x"), link("y"), ("take", link("y"))),
        (ONE, ONE, link("y"), ("take", link("y"))),
        (None, None, folder(), ("take", folder())),
        (None, folder(0o700), folder(), ("already", folder(0o700))),
        (folder(), folder(0o700), None, ("take", None)),
        (folder(), None, None, ("already", None)),
        (folder(), ONE, None, ("already", ONE)),
        (folder(), folder(), folder(0o700), ("take", folder(0o700))),
        (
            ONE,
            TWO,
            THREE,
            ("conflict", "the same lines changed on both sides: line 1 (yours) against line 1 (the task's)"),
        ),
        (ONE, TWO, None, ("conflict", "changed in the project, deleted or moved away by the task")),
        (ONE, text("1\n", 0o755), None, ("conflict", "changed in the project, deleted or moved away by the task")),
        (ONE, None, TWO, ("conflict", "deleted or moved away in the project, changed by the task")),
        (None, ONE, TWO, ("conflict", "made on both sides, differently")),
        (None, ONE, text("1\n", 0o755), ("conflict", "made on both sides, differently")),
        (None, link("x"), ONE, ("conflict", "the task made a file where the project has a symlink now")),
        (None, folder(), ONE, ("conflict", "the task made a file where the project has a folder now")),
        (ONE, link("x"), TWO, ("conflict", "a symlink in the project now, which the task made a file")),
        (ONE, folder(), TWO, ("conflict", "a folder in the project now, which the task made a file")),
        (ONE, TWO, link("x"), ("conflict", "a file in the project now, which the task made a symlink")),
        (link("x"), link("y"), link("z"), ("conflict", "both sides changed where the symlink leads")),
        (ONE, text("1\n", 0o755), text("1\n", 0o600), ("conflict", "both sides changed the permissions, differently")),
        (text(b"\0" + b"1"), text(b"\0" + b"2"), text(b"\0" + b"3"), ("conflict", "binary file changed on both sides")),
    ],
)
def test_one_path_is_decided_by_its_three_versions(base, project, task, expected):
    assert outcome(base, project, task) == expected


def planned(before: Tree, project: Tree, after: Tree, moves: dict[str, str] | None = None, *, tidy: bool = True):
    return plan(between(before, after, moves), TreeFiles(project), tidy=tidy)


def edits(made) -> dict[str, Content | None]:
    return {edit.path: edit.after for edit in made.edits}


def test_a_rename_takes_the_users_edit_along():
    made = planned({"old": LONG}, {"old": OURS}, {"new/name": THEIRS}, {"new/name": "old"})

    assert made.paths == (PathPlan("new/name", Decision.MERGE, renamed_from="old"),)
    assert made.edits == (
        Edit("new", None, folder()),
        Edit("new/name", None, BOTH, OWNER, moved_from="old"),
        Edit("old", OURS, None, OWNER),
    )


def test_a_pure_rename_takes_whatever_the_file_is_now():
    made = planned({"old": LONG}, {"old": OURS}, {"new": LONG}, {"new": "old"})

    assert edits(made) == {"old": None, "new": OURS}


@pytest.mark.parametrize(
    ("project", "reason"),
    [
        ({"old": LONG, "new": ONE}, "the new name is taken in the project"),
        ({"old": LONG, "new/x": ONE}, "the new name is taken in the project"),
        ({}, "deleted or moved away in the project, renamed by the task"),
        ({"old": link("x")}, "a symlink in the project now, which the task made a file"),
    ],
)
def test_a_rename_needs_its_source_and_a_free_name(project, reason):
    assert planned({"old": LONG}, project, {"new": THEIRS}, {"new": "old"}).conflicts == (("new", reason),)


def test_a_rename_that_the_user_made_too_is_done_already():
    made = planned({"old": LONG}, {"new": LONG}, {"new": LONG}, {"new": "old"})

    assert (made.decided(Decision.ALREADY), made.edits) == (("new",), ())


def test_folders_that_the_task_emptied_go_and_others_stay():
    before = {"a/b/one": ONE, "c/two": TWO, "d/three": THREE}

    made = planned(before, before | {"c/yours": ONE}, {"d/three": THREE})

    assert edits(made) == {"a": None, "a/b": None, "a/b/one": None, "c/two": None}


def test_without_tidying_only_what_is_named_goes():
    assert edits(planned({"a/one": ONE}, {"a/one": ONE}, {}, tidy=False)) == {"a/one": None}


def test_a_folder_becomes_a_file_when_all_in_it_goes():
    before = {"a/b/one": ONE, "a/two": TWO}

    assert edits(planned(before, before, {"a": THREE})) == {"a": THREE, "a/b": None, "a/b/one": None, "a/two": None}


def test_a_folder_with_other_files_cannot_become_a_file():
    before = {"a/one": ONE}

    made = planned(before, before | {"a/yours": TWO}, {"a": THREE})

    assert made.conflicts == (("a", "a folder in the project now, with files that the task did not see: yours"),)


def test_a_folder_with_a_pipe_in_it_stays():
    changes = between({"a/one": ONE}, {})

    made = plan(changes, TreeFiles({"a/one": ONE}, frozenset({"a/pipe"})))

    assert edits(made) == {"a/one": None}


def test_a_renamed_file_may_take_the_place_of_the_folder_it_was_in():
    before = {"a/b": LONG}

    made = planned(before, before, {"a": LONG}, {"a": "a/b"})

    assert (made.conflicts, edits(made)) == ((), {"a": LONG, "a/b": None})


def test_a_file_becomes_a_folder_when_files_come_below_it():
    before = {"a": ONE}

    assert edits(planned(before, before, {"a/b/c": TWO})) == {"a": folder(), "a/b": folder(), "a/b/c": TWO}


@pytest.mark.parametrize(("stands", "word"), [(ONE, "file"), (link("elsewhere"), "symlink")])
def test_new_files_need_a_real_folder(stands, word):
    made = planned({"a/x": ONE}, {"a": stands}, {"a/x": ONE, "a/b": TWO})

    assert made.conflicts == (("a/b", f"'a' is a {word} in the project now, not a folder"),)


def test_a_pipe_is_a_conflict():
    made = plan(between({"a": ONE, "b/c": ONE}, {"a": TWO, "b/c": TWO}), TreeFiles({"b/c": ONE}, frozenset({"a"})))

    assert made.conflicts == (("a", "is a pipe, socket or device in the project now"),)


@pytest.mark.parametrize(
    "path", [".git/config", "../out", "/etc/passwd", ".cairn/x", "a/../b", ".", "", "a//b", "sub/.git/x"]
)
def test_paths_outside_the_projects_files_are_refused(path):
    made = plan(ChangeSet((Change(path, None, ONE),)), TreeFiles({}))

    assert [path for path, _ in made.conflicts] == [path]


def test_an_explicit_empty_folder_stays_when_its_last_file_goes():
    changes = ChangeSet((Change("a", None, folder()), Change("a/one", ONE, None)))

    assert edits(plan(changes, TreeFiles({"a/one": ONE}))) == {"a/one": None}


def test_a_deleted_folder_that_holds_other_files_stays_without_a_conflict():
    made = plan(ChangeSet((Change("a", folder(), None),)), TreeFiles({"a/yours": ONE}))

    assert made.paths == (PathPlan("a", Decision.ALREADY, "the folder holds other files and stays", folder=True),)
    assert made.edits == ()


def test_names_that_change_places_are_planned_path_by_path():
    changes = (
        Change("a", TWO, THREE, renamed_from="b"),
        Change("b", ONE, ONE, renamed_from="a"),
        Change("c", ONE, TWO),
        Change("e", TWO, TWO, renamed_from="d"),
    )

    assert sorted(untangled(changes), key=lambda change: change.path) == [
        Change("a", ONE, THREE),
        Change("b", TWO, ONE),
        Change("c", ONE, TWO),
        Change("e", TWO, TWO, renamed_from="d"),
    ]


def test_a_restored_file_gets_the_owner_it_had():
    made = plan(ChangeSet((Change("a", None, ONE),)), TreeFiles({}), owners={"a": Owner(7, 8)})

    assert made.edits == (Edit("a", None, ONE, Owner(7, 8)),)


def test_folders_may_be_left_out_of_the_figures():
    made = planned({"a": ONE}, {"a": ONE, "b": folder()}, {"a": TWO, "b": folder(), "c": folder()})

    assert made.decided(Decision.TAKE, Decision.ALREADY) == ("a", "b", "c")
    assert made.without_folders().decided(Decision.TAKE, Decision.ALREADY) == ("a",)
    assert folder().kind is EntryKind.DIRECTORY


def test_on_a_disk_without_modes_no_mode_is_changed_or_missed():
    now = {"kept": text("1\n", 0o755), "changed": text("1\n", 0o755)}
    changes = ChangeSet(
        (
            Change("kept", text("1\n", 0o755), text("1\n", 0o644)),
            Change("changed", text("1\n", 0o755), text("2\n", 0o644)),
            Change("new", None, text("3\n", 0o644)),
        )
    )

    planned = plan(changes, TreeFiles(now, mode=0o755))

    assert {edit.path: edit.after for edit in planned.edits} == {
        "changed": text("2\n", 0o755),
        "new": text("3\n", 0o755),
    }

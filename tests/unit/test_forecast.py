"""A forecast's word for each path is what the accept then does, judged by the files alone."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cairn.changes import Change, ChangeSet, EntryKind
from cairn.errors import Conflict
from cairn.forecast import A_FOLDER_STAYS, IN_A_FOLDERS_PLACE, IS_THERE_ALREADY, Doing, ForeseenPath, foreseen_paths
from cairn.project import Project, foreseen_in_words, require_acceptable
from tests.content_trees import TREES, Tree, between, edited, folder, link, snapshot, text, write
from tests.length import examples
from tests.unit.test_project import AFTER, BEFORE, CHANGES


def seen(before: Tree, after: Tree) -> dict[str, str]:
    """What happened to each path, told from what stood there before and what stands there now."""
    found = {}
    for path in before.keys() | after.keys():
        old, new = before.get(path), after.get(path)
        if old is None or new is None:
            found[path] = "create" if old is None else "delete"
        elif old.kind is not new.kind:
            found[path] = "replace"
        elif old.data != new.data:
            found[path] = "content"
        elif old.mode != new.mode:
            found[path] = "mode"
    return found


def told(paths: tuple[ForeseenPath, ...]) -> dict[str, str]:
    """The same in the forecast's words; a rename is a path that goes and one that comes."""
    found = {}
    for path in paths:
        match path.doing:
            case Doing.OVERWRITE | Doing.MERGE:
                found[path.path] = "content"
            case Doing.RENAME:
                found[path.renamed_from] = "replace" if A_FOLDER_STAYS in path.reason else "delete"
                if IS_THERE_ALREADY not in path.reason:
                    found[path.path] = "replace" if IN_A_FOLDERS_PLACE in path.reason else "create"
            case Doing.ALREADY:
                pass
            case doing:
                found[path.path] = str(doing)
    return found


def compared(root: Path, changes: ChangeSet) -> None:
    """Foretells, accepts, and compares: the paths, the figures, or the refusal."""
    project = Project(root)
    project.prepare()
    before = snapshot(root, folders=True)
    planned = project.preview(changes)
    foreseen = foreseen_paths(planned)
    assert snapshot(root, folders=True) == before
    refusal = None
    try:
        require_acceptable("task", planned)
    except Conflict as conflict:
        refusal = conflict
    if refusal is not None:
        with pytest.raises(Conflict) as real:
            project.apply("task", changes)
        assert (str(real.value), real.value.paths) == (str(refusal), refusal.paths)
        assert tuple(path.path for path in foreseen if path.doing is Doing.CONFLICT) == refusal.paths
        assert snapshot(root, folders=True) == before
        return
    applied = project.apply("task", changes)
    after = snapshot(root, folders=True)
    assert told(foreseen) == {path: what for path, what in seen(before, after).items() if path != ".cairn"}
    assert applied.in_words() == foreseen_in_words(planned)
    assert tuple(path.path for path in foreseen if path.merged) == applied.merged
    for path in foreseen:
        if path.modes is not None:
            old = before[path.renamed_from or path.path]
            assert (old.mode, after[path.path].mode) == path.modes


@pytest.mark.slow
@given(st.data())
@settings(max_examples=examples(60, 1000), deadline=None)
def test_what_is_foretold_is_what_happens(data):
    before = data.draw(TREES)
    after, moves = data.draw(edited(before))
    theirs = data.draw(st.just(before) | edited(before).map(lambda made: made[0]))
    with tempfile.TemporaryDirectory() as name:
        compared(write(Path(name, "tree"), theirs), between(before, after, moves))


def test_a_rename_to_where_the_user_put_the_same_only_takes_the_old_name(tmp_path):
    before, after = {"old": text("1\n")}, {"new": text("1\n")}

    compared(write(tmp_path / "tree", before | after), between(before, after, {"new": "old"}))


def test_every_kind_of_change_in_an_untouched_project(tmp_path):
    root = write(tmp_path / "tree", BEFORE)

    words = {path.path: str(path.doing) for path in foreseen_paths(Project(root).preview(CHANGES))}

    assert words == {
        "binary": "overwrite", "crlf": "overwrite", "deep": "replace", "deep/er": "delete", "deep/er/one": "delete",
        "deep/er/two": "delete", "empty": "overwrite", "file": "replace", "file/inside": "create", "gone": "delete",
        "gone/last": "delete", "latin": "overwrite", "link": "overwrite", "n" * 255: "create",
        "name with\nnewline and é": "overwrite", "new": "create", "new/place": "create", "new/place/old": "rename",
        "run": "mode", "secret": "overwrite", "text": "overwrite",
    }  # fmt: skip
    compared(root, CHANGES)
    assert {path.doing for path in foreseen_paths(Project(root).preview(CHANGES))} == {Doing.ALREADY}


THEIRS: Tree = {
    "text": text(BEFORE["text"].data.decode().replace("1\n", "0\n1\n")),
    "run": text("#!/bin/sh\necho\n", 0o755),
    "old": text("moved\nby me\n"),
    "binary": text(AFTER["binary"].data),
    "secret": text("s\n", 0o644),
    "deep/er/three": text("3\n"),
}


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["text"], ForeseenPath("text", Doing.MERGE, merged=True)),
        (["run"], ForeseenPath("run", Doing.MODE, merged=True, modes=(0o755, 0o644))),
        (["new/place/old"], ForeseenPath("new/place/old", Doing.RENAME, merged=True, renamed_from="old")),
        (["binary"], ForeseenPath("binary", Doing.ALREADY)),
        (["secret"], ForeseenPath("secret", Doing.MERGE, merged=True)),
    ],
)
def test_beside_the_users_own_edits(tmp_path, paths, expected):
    root = write(tmp_path / "tree", {**BEFORE, **THEIRS})
    changes = ChangeSet(tuple(change for change in CHANGES if change.path in paths))

    found = {path.path: path for path in foreseen_paths(Project(root).preview(changes))}

    assert found[paths[0]] == expected
    compared(root, changes)


def test_conflicts_have_their_regions_and_stop_everything(tmp_path):
    root = write(tmp_path / "tree", {**BEFORE, "text": text(BEFORE["text"].data.replace(b"4", b"mine"))})

    found = {path.path: path for path in foreseen_paths(Project(root).preview(CHANGES))}

    conflict = found["text"]
    assert (conflict.doing, conflict.reason) == (
        Doing.CONFLICT,
        "the same lines changed on both sides: line 4 (yours) against line 4 (the task's)",
    )
    sides = [(each.first_line, each.project, each.base, each.task) for each in conflict.regions]
    assert sides == [(4, b"mine\n", b"4\n", b"four\n")]
    compared(root, CHANGES)


def test_a_rename_that_changes_the_file_says_so(tmp_path):
    root = write(tmp_path / "tree", {"a": text("1\n2\n3\n4\n")})
    changes = ChangeSet((Change("d/b", text("1\n2\n3\n4\n"), text("1\n2\n3\n4\n5\n", 0o755), renamed_from="a"),))

    assert foreseen_paths(Project(root).preview(changes)) == (
        ForeseenPath("d", Doing.CREATE, folder=True),
        ForeseenPath("d/b", Doing.RENAME, changed=True, renamed_from="a", modes=(0o644, 0o755)),
    )
    compared(root, changes)


def test_folders_and_links(tmp_path):
    before = {"full/x": text("x\n"), "empty": folder(), "l": link("x"), "f": text("f\n")}
    after = {"empty/y": text("y\n"), "l": text("l\n"), "f": link("l"), "new": folder()}
    root = write(tmp_path / "tree", before)
    changes = between(before, after, {})

    compared(root, changes)

    assert snapshot(root, folders=True)["new"].kind is EntryKind.DIRECTORY

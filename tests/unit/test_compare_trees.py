from __future__ import annotations

from cairn.changes import Change, ChangeSet, Content, EntryKind
from cairn.compare_trees import compare, folders_of

FOLDER = Content(EntryKind.DIRECTORY, 0o755)


def file(data, mode=0o644):
    return Content(EntryKind.FILE, mode, data)


def link(target):
    return Content(EntryKind.SYMLINK, 0o777, target)


def test_equal_states_are_no_change():
    state = {"a": file(b"1"), "d": FOLDER, "no": None}
    assert compare(state, state, {}) == ChangeSet()


def test_added_deleted_modified_and_mode_changes_stand_sorted_by_path():
    before = {"b": file(b"1"), "c": file(b"1"), "z": file(b"gone")}
    after = {"b": file(b"2"), "c": file(b"1", 0o755), "a": file(b"new")}
    assert compare(before, after, {}) == ChangeSet(
        (
            Change("a", None, file(b"new")),
            Change("b", file(b"1"), file(b"2")),
            Change("c", file(b"1"), file(b"1", 0o755)),
            Change("z", file(b"gone"), None),
        )
    )


def test_a_folder_counts_only_when_it_is_empty():
    before = {"full": FOLDER, "full/x": file(b"1"), "hollow": FOLDER, "kept": FOLDER, "kept/y": file(b"2")}
    after = {"made": FOLDER, "made/x": file(b"3"), "void": FOLDER, "kept": FOLDER}
    assert compare(before, after, {}) == ChangeSet(
        (
            Change("full/x", file(b"1"), None),
            Change("hollow", FOLDER, None),
            Change("kept/y", file(b"2"), None),
            Change("made/x", None, file(b"3")),
            Change("void", None, FOLDER),
        )
    )


def test_files_links_and_empty_folders_in_place_of_one_another_change_type():
    before = {"a": file(b"b"), "h": FOLDER, "l": link(b"b")}
    after = {"a": link(b"b"), "h": file(b"1"), "l": FOLDER}
    assert [change.kind.value for change in compare(before, after, {})] == ["type changed"] * 3


def test_a_recorded_move_is_a_rename_whatever_the_content():
    change = Change("b", file(b"1"), file(b"2", 0o755), renamed_from="a")
    assert compare({"a": file(b"1")}, {"b": file(b"2", 0o755)}, {"b": "a"}) == ChangeSet((change,))


def test_a_recorded_move_whose_ends_were_used_again_is_no_rename():
    before = {"a": file(b"1"), "b": file(b"2")}
    assert not [c for c in compare(before, {"b": file(b"1x")}, {"b": "a"}) if c.renamed_from]
    assert not [
        c for c in compare(before, {"a": file(b"3"), "b": file(b"2"), "c": file(b"1x")}, {"c": "a"}) if c.renamed_from
    ]
    assert not [c for c in compare({"a": file(b"1")}, {"b": link(b"x")}, {"b": "a"}) if c.renamed_from]


def test_equal_bytes_are_a_rename_with_the_same_name_preferred():
    before = {"a/x": file(b"same"), "b/y": file(b"same"), "e": file(b"")}
    after = {"c/y": file(b"same"), "d/z": file(b"same"), "f": file(b"")}
    found = {change.path: change.renamed_from for change in compare(before, after, {})}
    assert found == {"c/y": "b/y", "d/z": "a/x", "e": None, "f": None}


def test_folders_above_paths():
    assert folders_of(["a/b/c", "a/d", "e"]) == {"a", "a/b"}

from __future__ import annotations

import os

import pytest

from cairn.project_files import Edit, ProjectFiles
from cairn.waiting_files import Changed, Role, WaitingFiles, role_of
from tests.content_trees import folder, link, snapshot, text, write

TOKEN = "0123456789abcdef"
OLD, NEW, MINE = text("one\n"), text("one\ntwo\n", 0o755), text("mine\n")


@pytest.mark.parametrize(
    ("before", "after", "found", "role"),
    [
        (OLD, NEW, NEW, Role.NEW),
        (OLD, NEW, text("", 0o600), Role.NEW),
        (OLD, NEW, text("one\nt", 0o600), Role.NEW),
        (OLD, NEW, OLD, Role.BEFORE),
        (OLD, NEW, MINE, Role.EDITED),
        (OLD, NEW, link("one\n"), Role.EDITED),
        (OLD, None, OLD, Role.BEFORE),
        (OLD, None, text(""), Role.EDITED),
        (OLD, None, text("one\n", 0o600), Role.EDITED),
        (OLD, folder(), OLD, Role.BEFORE),
        (OLD, folder(), MINE, Role.EDITED),
        (None, NEW, text("one", 0o600), Role.NEW),
        (None, NEW, MINE, Role.EDITED),
        (link("a"), link("b"), link("a"), Role.BEFORE),
        (link("a"), link("b"), link("b"), Role.NEW),
        (link("a"), link("b"), link("c"), Role.EDITED),
    ],
)
def test_what_a_temporary_file_is_follows_from_its_content(before, after, found, role):
    assert role_of(found, Edit("a", before, after)) is role


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "tree", {"deep/er/a": OLD, "deep/er/b": OLD})


EDITS = (Edit("deep/er/a", OLD, NEW), Edit("deep/er/b", OLD, None))


@pytest.fixture
def waiting(root):
    with ProjectFiles(root) as files:
        yield WaitingFiles(files, TOKEN, EDITS, ".cairn/kept/7")


def put(root, name: str, content) -> None:
    write(root, {name: content})


def test_another_process_finds_what_a_killed_one_left(root, waiting):
    put(root, f"deep/er/.cairn-{TOKEN}-0.tmp", text("one\nt", 0o600))
    put(root, f".cairn-{TOKEN}-1.tmp", MINE)

    roles = waiting.roles()
    assert roles == {"deep/er/a": Role.NEW, "deep/er/b": Role.EDITED}
    assert ("deep/er/a" in waiting, "deep/er/b" in waiting) == (True, True)
    waiting.drop_new(roles)
    waiting.drop_or_set_aside()
    assert waiting.set_aside == [".cairn/kept/7/deep/er/b.edited"]
    assert (root / ".cairn/kept/7/deep/er/b.edited").read_bytes() == MINE.data
    assert snapshot(root) == {"deep/er/a": OLD, "deep/er/b": OLD}


def test_an_edit_that_is_set_aside_replaces_none_that_was_before(root, waiting):
    for _ in range(3):
        put(root, f".cairn-{TOKEN}-1.tmp", MINE)
        waiting.roles()
        waiting.drop_or_set_aside()

    names = ["b.edited", "b.edited.2", "b.edited.3"]
    assert waiting.set_aside == [f".cairn/kept/7/deep/er/{name}" for name in names]
    assert sorted(path.name for path in (root / ".cairn/kept/7/deep/er").iterdir()) == names


def test_no_link_is_followed_to_where_an_edit_is_set_aside(root, waiting, tmp_path):
    (root / ".cairn").mkdir()
    (tmp_path / "outside").mkdir()
    (root / ".cairn/kept").symlink_to(tmp_path / "outside")
    put(root, f".cairn-{TOKEN}-1.tmp", MINE)
    waiting.roles()
    with pytest.raises(Exception, match="cannot be read or written"):
        waiting.drop_or_set_aside()

    assert (list((tmp_path / "outside").iterdir()), (root / f".cairn-{TOKEN}-1.tmp").exists()) == ([], True)


def test_a_pipe_or_folder_that_was_displaced_is_somebodys(root, waiting):
    os.mkfifo(root / f"deep/er/.cairn-{TOKEN}-0.tmp")
    put(root, f".cairn-{TOKEN}-1.tmp/file", MINE)

    assert waiting.roles() == {"deep/er/a": Role.EDITED, "deep/er/b": Role.EDITED}
    waiting.drop_or_set_aside()
    assert (root / ".cairn/kept/7/deep/er/a.edited").is_fifo()
    assert (root / ".cairn/kept/7/deep/er/b.edited/file").read_bytes() == MINE.data


def test_what_is_open_for_writing_counts_as_edited(root, waiting, monkeypatch):
    monkeypatch.setattr("cairn.other_writers.PATIENCE", 0.05)
    name = f".cairn-{TOKEN}-1.tmp"
    put(root, name, OLD)
    with (root / name).open("a") as writing:
        assert waiting.roles() == {"deep/er/b": Role.EDITED}
        waiting.drop_or_set_aside()
        writing.write("and more\n")

    assert (root / ".cairn/kept/7/deep/er/b.edited").read_text() == "one\nand more\n"


def test_displaced_files_are_deleted_unless_they_changed(root, waiting):
    put(root, f".cairn-{TOKEN}-0.tmp", OLD)
    put(root, f".cairn-{TOKEN}-1.tmp", OLD)
    waiting.displaced("deep/er/a", OLD, ".")
    waiting.displaced("deep/er/b", OLD, ".")
    put(root, f".cairn-{TOKEN}-1.tmp", text("one\nand more\n"))

    with pytest.raises(Changed) as caught:
        waiting.drop_displaced()
    assert (caught.value.path, caught.value.how) == ("deep/er/b", "changed")
    assert [path.name for path in root.glob(".cairn-*")] == [f".cairn-{TOKEN}-1.tmp"]


def test_a_displaced_file_that_was_emptied_is_not_taken_for_a_new_one_half_written(root, waiting):
    put(root, f".cairn-{TOKEN}-0.tmp", text("", 0o600))
    waiting.displaced("deep/er/a", OLD, ".")

    assert waiting.roles() == {"deep/er/a": Role.EDITED}


def test_files_that_go_back_are_new_again_in_their_old_order(root, waiting):
    for number, seconds in enumerate((2_000, 1_000)):
        put(root, f".cairn-{TOKEN}-{number}.tmp", OLD)
        os.utime(root / f".cairn-{TOKEN}-{number}.tmp", (seconds, seconds))
    waiting.roles()
    waiting.renew(["deep/er/a", "deep/er/b"])
    first, second = ((root / f".cairn-{TOKEN}-{number}.tmp").stat().st_mtime_ns for number in (1, 0))

    assert 2_000 * 10**9 < first <= second

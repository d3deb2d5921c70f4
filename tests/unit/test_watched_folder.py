"""Task files on disk: when one holds still, and what is written beside it."""

from __future__ import annotations

import os

import pytest

from cairn.task_text import BadTaskText, TaskText
from cairn.watched_folder import WatchedFolder


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tasks").mkdir()
    return WatchedFolder(tmp_path / "tasks")


def requests(folder: WatchedFolder) -> tuple[dict[str, str], list[str]]:
    look = folder.look()
    texts = {name: seen.text for name, seen in look.files.items()}
    said = {name: text.request if isinstance(text, TaskText) else f"! {text.what}" for name, text in texts.items()}
    return said, sorted(look.unsettled)


def test_a_file_is_read_once_it_holds_still(folder):
    file = folder.path / "a.md"
    file.write_text("Add")
    assert requests(folder) == ({}, ["a.md"])
    file.write_text("Add docs")
    assert requests(folder) == ({}, ["a.md"])
    assert requests(folder) == ({"a.md": "Add docs"}, [])
    assert requests(folder) == ({"a.md": "Add docs"}, [])


def test_what_an_editor_does_to_save_never_looks_like_a_removal(folder):
    file = folder.path / "a.md"
    file.write_text("one")
    requests(folder), requests(folder)

    file.rename(folder.path / "a.md~")  # as vim does with backupcopy=no
    assert requests(folder) == ({}, ["a.md"])
    file.write_text("")
    assert requests(folder) == ({}, ["a.md"])
    assert requests(folder) == ({}, ["a.md"])
    (folder.path / "a.md.tmp").write_text("two")
    (folder.path / "a.md.tmp").rename(file)
    assert requests(folder) == ({}, ["a.md"])
    assert requests(folder) == ({"a.md": "two"}, [])
    file.unlink()
    assert requests(folder) == ({}, ["a.md"])
    assert requests(folder) == ({}, [])


def test_an_empty_file_that_holds_still_is_waited_for_by_nobody(folder):
    (folder.path / "a.md").write_text("")
    assert [(sorted(look.unsettled), sorted(look.empty)) for look in (folder.look(), folder.look())] == [
        (["a.md"], []),
        (["a.md"], ["a.md"]),
    ]
    (folder.path / "a.md").write_text("Add")
    assert (folder.look().empty, requests(folder)) == (frozenset(), ({"a.md": "Add"}, []))


def test_only_plain_readable_markdown_counts(folder, tmp_path):
    (tmp_path / "secret.md").write_text("secret")
    (folder.path / "link.md").symlink_to(tmp_path / "secret.md")
    (folder.path / "sub.md").mkdir()
    os.mkfifo(folder.path / "pipe.md")
    (folder.path / "bad.md").write_text("---\nmodell: x\n---\nx")
    (folder.path / os.fsdecode(b"\xff.md")).write_text("x")
    (folder.path / "two\nlines.md").write_text("x")
    (folder.path / "a.result.md").write_text("x")
    folder.look()

    assert requests(folder) == ({"bad.md": "! 'modell' is nothing that a front matter can say."}, [])
    assert isinstance(folder.look().files["bad.md"].text, BadTaskText)


def test_a_result_is_written_whole_and_only_when_it_says_something_else(folder, tmp_path):
    assert folder.write_result("a.md", "one\n")
    assert not folder.write_result("a.md", "one\n")
    (folder.path / "a.result.md").unlink()
    (tmp_path / "mine").write_text("mine")
    (folder.path / "a.result.md").symlink_to(tmp_path / "mine")
    assert folder.write_result("a.md", "two\n")

    assert (folder.result("a.md"), (tmp_path / "mine").read_text()) == ("two\n", "mine")
    assert sorted(path.name for path in folder.path.iterdir()) == ["a.result.md"]
    folder.drop_result("a.md")
    assert folder.result("a.md") is None


def test_a_processed_file_moves_with_its_result_and_replaces_none(folder):
    for text in ("one", "two"):
        (folder.path / "a.md").write_text(text)
        folder.write_result("a.md", f"did {text}")
        assert folder.move("a.md", "done") == {"one": "a.md", "two": "a.2.md"}[text]

    assert {path.name: path.read_text() for path in (folder.path / "done").iterdir()} == {
        "a.md": "one",
        "a.result.md": "did one",
        "a.2.md": "two",
        "a.2.result.md": "did two",
    }


def test_nothing_is_moved_through_a_link(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (folder.path / "done").symlink_to(tmp_path / "elsewhere")
    (folder.path / "a.md").write_text("one")

    with pytest.raises(NotADirectoryError):
        folder.move("a.md", "done")
    assert (folder.path / "a.md").read_text() == "one"

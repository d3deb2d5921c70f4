"""Renames that only change the case of letters, on a disk that tells case apart and on one that does not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cairn.errors import Conflict
from cairn.exact_names import ignores_case, is_spelled_so, listed_as
from cairn.git_commit import prepare_commit
from cairn.overlay import AgentFSOverlay
from cairn.overlay_contract import lay_out
from cairn.project import Project
from cairn.task_file import TaskFile
from tests.case_insensitive_disk import CaseInsensitiveDisk

FILES = {"Readme.md": b"# A\n", "Docs/a.md": b"a\n", "Docs/Deep/b.md": b"b\n", "other": b"o\n"}


@pytest.fixture(params=["tells case apart", "ignores case"])
def root(request, tmp_path, monkeypatch):
    root = lay_out(tmp_path / "project", FILES)
    if request.param == "ignores case":
        CaseInsensitiveDisk(root, monkeypatch)
    return root


@pytest.fixture
def overlay(tmp_path, root):
    with TaskFile.create(tmp_path / "task.db", base=root) as file:
        yield AgentFSOverlay(file, root)


def names(root: Path) -> list[str]:
    found = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    return sorted(name for name in found if not name.startswith(".cairn"))


def test_the_disk_is_what_it_says(root, request):
    is_one = "ignores case" in request.node.name
    assert (root / "README.MD").exists() is ignores_case(root) is is_one
    assert listed_as(str(root), "README.md") == "Readme.md"
    assert (is_spelled_so(root, "Docs/a.md"), is_spelled_so(root, "docs/a.md")) == (True, not is_one)


def test_a_file_renamed_in_case_only_is_renamed_by_accept_and_back_by_undo(root, overlay):
    assert overlay.entry("README.md") is None
    overlay.move("Readme.md", "README.md")
    assert (overlay.entry("Readme.md"), overlay.read("README.md")) == (None, b"# A\n")
    (change,) = overlay.changes()
    assert (change.path, change.renamed_from) == ("README.md", "Readme.md")

    Project(root).apply("task", overlay.changes())
    assert names(root) == ["Docs/Deep/b.md", "Docs/a.md", "README.md", "other"]
    assert (root / "README.md").read_bytes() == b"# A\n"
    Project(root).undo("task")
    assert names(root) == sorted(FILES)
    assert (root / "Readme.md").read_bytes() == b"# A\n"


def test_an_edit_of_the_user_moves_with_the_new_case_and_back(root, overlay):
    overlay.move("Readme.md", "README.md")
    overlay.write("README.md", b"# A\n\nmore\n")
    Project(root).apply("task", overlay.changes())
    assert (root / "README.md").read_bytes() == b"# A\n\nmore\n"
    (root / "README.md").write_bytes(b"top\n# A\n\nmore\n")
    Project(root).undo("task")
    assert names(root) == sorted(FILES)
    assert (root / "Readme.md").read_bytes() == b"top\n# A\n"


def test_a_folder_renamed_in_case_only_takes_everything_along(root, overlay):
    overlay.move("Docs", "docs")
    overlay.move("docs/Deep", "docs/deep")
    Project(root).apply("task", overlay.changes())
    assert names(root) == ["Readme.md", "docs/a.md", "docs/deep/b.md", "other"]
    Project(root).undo("task")
    assert names(root) == sorted(FILES)


def test_a_program_tells_the_spellings_apart(root, overlay):
    with pytest.raises(FileNotFoundError, match=r"no file 'README\.md', but there is 'Readme\.md'"):
        overlay.read("README.md")
    with pytest.raises(FileNotFoundError):
        overlay.list_folder("docs")
    overlay.write("README.md", b"new\n")
    assert (overlay.read("Readme.md"), overlay.read("README.md")) == (b"# A\n", b"new\n")


def test_two_spellings_of_one_name_are_a_conflict_where_the_disk_ignores_case(root, overlay):
    overlay.write("README.md", b"new\n")
    overlay.write("docs/new.md", b"new\n")
    if not ignores_case(root):
        Project(root).apply("task", overlay.changes())
        assert names(root) == sorted((*FILES, "README.md", "docs/new.md"))
        return
    with pytest.raises(Conflict) as caught:
        Project(root).apply("task", overlay.changes())
    assert caught.value.why == (
        "README.md: this disk takes it for 'Readme.md', which differs only in the case of letters and stays.\n"
        "docs: this disk takes it for 'Docs', which differs only in the case of letters and stays."
    )
    assert names(root) == sorted(FILES)


def test_git_told_to_ignore_case_cannot_commit_such_a_rename_by_name(repository):
    subprocess.run(["git", "config", "core.ignoreCase", "true"], cwd=repository, check=True)
    prepare_commit(repository, ["README.md"], "m")
    with pytest.raises(Conflict) as caught:
        prepare_commit(repository, ["Readme.md", "README.md"], "m")
    assert caught.value.what == (
        "git takes README.md and Readme.md for one name here (core.ignoreCase). Nothing was written."
    )


def test_git_that_tells_case_apart_commits_it(repository):
    made = prepare_commit(repository, ["Readme.md", "README.md"], "m")
    (repository / "README.md").rename(repository / "Readme.md")
    assert made.make(["Readme.md", "README.md"]) is not None
    done = subprocess.run(["git", "show", "--format=", "--name-status", "HEAD"], cwd=repository, capture_output=True)
    assert done.stdout == b"R100\tREADME.md\tReadme.md\n"

"""The state of a project in one text: the same for the same files, however they came to be, and never read in vain."""

from __future__ import annotations

import os
import subprocess

import pytest

from cairn.project_state import READ_MOST, project_state


def git(folder, *command):
    subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True)


@pytest.fixture(params=["a repository", "a folder in one", "no repository"])
def root(request, project):
    (project / ".gitignore").write_text("*.log\n")
    if request.param != "no repository":
        top = project.parent if request.param == "a folder in one" else project
        git(top, "init", "-q")
        git(top, "add", "-A")
        git(top, "commit", "-q", "-m", "first")
    return project


def test_each_later_edit_is_another_state_and_what_is_ignored_is_none(root):
    def edited(do):
        before = project_state(root).fingerprint()
        do()
        return project_state(root).fingerprint() != before

    assert not edited(lambda: (root / "build.log").write_text("x"))
    assert edited(lambda: (root / "src/app.py").write_text("1\n"))
    assert edited(lambda: (root / "src/app.py").chmod(0o755))
    assert edited(lambda: (root / "new.py").write_text("new\n"))
    assert edited((root / "src/tool.py").unlink)
    assert edited(lambda: (root / "src/link").symlink_to("app.py"))
    assert edited(lambda: (root / "src/app.py").rename(root / "src/moved.py"))
    assert edited(lambda: (root / "large.bin").write_bytes(b"x" * (READ_MOST + 1)))
    assert edited(lambda: os.utime(root / "large.bin", (1, 1)))


def test_in_a_repository_the_same_content_is_the_same_state(repository):
    """Whether it is committed, staged, touched or back again."""
    (repository / "src/app.py").write_text("1\n")
    (repository / "src/link").symlink_to("app.py")
    (repository / "run.sh").write_text("true\n")
    (repository / "run.sh").chmod(0o755)
    edited = project_state(repository).fingerprint()
    git(repository, "add", "-A")
    staged = project_state(repository).fingerprint()
    git(repository, "commit", "-q", "-m", "second")
    os.utime(repository / "src/app.py", (1, 1))
    committed = project_state(repository).fingerprint()
    git(repository, "checkout", "-q", "HEAD~1")
    other = project_state(repository).fingerprint()
    git(repository, "checkout", "-q", "-")
    assert {edited, staged, committed, project_state(repository).fingerprint()} == {edited}
    assert other != edited


def test_paths_can_be_left_out_or_taken_as_something_else(root):
    before = project_state(root)
    rest = before.fingerprint(["src/app.py", "src/none.py"])
    (root / "src/app.py").write_text("1\n")
    after = project_state(root)
    assert after.fingerprint(["src/app.py"]) == rest
    assert after.fingerprint(instead={"src/app.py": None}) == rest
    assert after.fingerprint(instead={"src/app.py": b"1"}) != after.fingerprint(instead={"src/app.py": b"2"})
    assert after.fingerprint() != before.fingerprint()


def test_without_git_s_answer_the_files_are_walked(repository, monkeypatch):
    by_content = project_state(repository).fingerprint()
    monkeypatch.setenv("PATH", "/nowhere")
    assert project_state(repository).fingerprint() not in {by_content, project_state(repository / "src").fingerprint()}


def test_a_repository_that_names_by_sha256(project):
    git(project, "init", "-q", "--object-format=sha256")
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "first")
    (project / "src/app.py").write_text("1\n")
    edited = project_state(project).fingerprint()
    git(project, "commit", "-q", "-a", "-m", "second")
    assert project_state(project).fingerprint() == edited

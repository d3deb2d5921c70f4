"""What git tells of a path: in real repositories, and where there is none; and that it starts nothing else."""

from __future__ import annotations

import os
import subprocess

import pytest

from cairn.git_history import PATCH_CHARS, history

DATE = {"GIT_AUTHOR_DATE": "2026-03-01T12:00:00Z", "GIT_COMMITTER_DATE": "2026-03-01T12:00:00Z"}


def git(where, *arguments):
    done = subprocess.run(["git", *arguments], cwd=where, capture_output=True, check=True, env={**os.environ, **DATE})
    return done.stdout.decode().strip()


def commit(where, message, **contents):
    for name, text in contents.items():
        (where / name.replace("__", "/")).write_text(text)
    git(where, "add", "-A")
    git(where, "commit", "-q", "-m", message)
    return git(where, "rev-parse", "--short", "HEAD")


def test_the_newest_commits_of_a_path_come_first_and_the_last_one_with_its_patch(repository):
    old = git(repository, "rev-parse", "--short", "HEAD")
    commit(repository, "not this one", README_md="x\n")
    new = commit(repository, "Greet louder", **{"src/app.py": 'def greet(name):\n    return "HELLO " + name\n'})

    told = history(repository, "src/app.py", 10)

    first, second, empty, heading, *patch = told.split("\n")
    assert first == f"{new} 2026-03-01 Tester: Greet louder"
    assert (second.startswith(f"{old} "), second.endswith(" Tester: first"), empty) == (True, True, "")
    assert heading == f"What {new} changed here:"
    assert patch == [
        "diff --git a/src/app.py b/src/app.py",
        patch[1],
        "--- a/src/app.py",
        "+++ b/src/app.py",
        "@@ -1,2 +1,2 @@",
        " def greet(name):",
        '-    return "hello " + name',
        '+    return "HELLO " + name',
        "",
    ]
    assert history(repository, ".", 1).startswith(
        f"{new} 2026-03-01 Tester: Greet louder\n\nWhat {new} changed here:\n"
    )


def test_a_project_in_a_folder_of_the_repository_sees_that_folder_only(repository):
    commit(repository, "outside", **{"README.md": "secret\n"})
    inside = commit(repository, "inside", **{"README.md": "secret 2\n", "src/app.py": "x = 1\n"})

    told = history(repository / "src", ".", 10)

    assert told.splitlines()[0].startswith(f"{inside} ")
    assert "outside" not in told
    assert "secret" not in told
    assert "diff --git a/app.py b/app.py" in told


def test_a_merge_shows_what_it_brought(repository):
    git(repository, "checkout", "-q", "-b", "side")
    commit(repository, "side", **{"src/app.py": "side = 1\n"})
    git(repository, "checkout", "-q", "main")
    commit(repository, "main", **{"README.md": "main\n"})
    git(repository, "merge", "-q", "--no-ff", "-m", "Merge side", "side")

    told = history(repository, ".", 1)

    assert "Merge side" in told.splitlines()[0]
    assert "+side = 1" in told


def test_names_are_no_patterns_and_no_options(repository):
    commit(repository, "odd", **{"*.py": "x\n", "--all": "y\n", ":(top)z": "z\n"})

    for name in ("*.py", "--all", ":(top)z"):
        listed = history(repository, name, 5).partition("\n\n")[0]
        assert [line.rpartition(" ")[2] for line in listed.splitlines()] == ["odd"]


def test_a_long_patch_is_cut_with_a_word(repository):
    new = commit(repository, "long", **{"long.txt": "line\n" * 10_000})

    told = history(repository, "long.txt", 1)

    assert len(told) < PATCH_CHARS + 200
    assert told.endswith(f"+line\n... (the patch of {new} goes on; name one file to see its part)\n")


def test_nothing_that_the_repository_s_settings_name_is_started(repository):
    trap = repository / ".git" / "trap"
    trap.write_text(f"#!/bin/sh\ntouch '{repository}/.git/sprung'\n")
    trap.chmod(0o755)
    commit(repository, "traps", **{".gitattributes": "*.py diff=trap\n", "src/app.py": "x = 2\n"})
    for name in ("diff.external", "diff.trap.command", "diff.trap.textconv", "core.fsmonitor", "core.pager", "gpg.program",
                 "core.sshCommand", "core.editor"):  # fmt: skip
        git(repository, "config", name, str(trap))
    git(repository, "config", "log.showSignature", "true")

    assert "+x = 2" in history(repository, ".", 3)
    assert not (repository / ".git" / "sprung").exists()


def test_where_there_is_nothing_to_tell_it_is_said(project, monkeypatch):
    with pytest.raises(RuntimeError, match=r"^the project is not in a git repository, so there is no history to tell$"):
        history(project, ".", 1)

    git(project, "init", "-q")
    with pytest.raises(RuntimeError, match=r"^the repository has no commit yet, so there is no history to tell$"):
        history(project, ".", 1)

    commit(project, "first")
    with pytest.raises(RuntimeError, match=r"^no commit has 'new.py'; it is new, or was never committed$"):
        history(project, "new.py", 1)
    for n in (0, 101, -1):
        with pytest.raises(ValueError, match=f"^n is {n}; 1 to 100 commits can be told$"):
            history(project, ".", n)

    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RuntimeError, match=r"^git is not installed here, so there is no history to tell$"):
        history(project, ".", 1)

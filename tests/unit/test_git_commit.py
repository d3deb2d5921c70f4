"""One commit of exactly the named paths: in every kind of repository, or a reason before anything is written."""

from __future__ import annotations

import os
import subprocess

import pytest

from cairn.errors import CairnError, Conflict, UsageProblem
from cairn.git_commit import message_for, prepare_commit
from tests.content_trees import folder, link, text

MESSAGE = "Subject\n\nCairn-Task: bcdfgh\n"
ODD = (
    "with space.txt", "quote\"'.txt", "new\nline.txt", "é.txt", "*.txt", ":(top)x", ":!a", "-n", "[a].txt", "HEAD",
    "tab\t.txt", "back\\slash", "x" * 200, os.fsdecode(b"caf\xe9.txt"),
)  # fmt: skip


def git(where, *arguments):
    done = subprocess.run(["git", *arguments], cwd=where, capture_output=True, check=True)
    return os.fsdecode(done.stdout)


def listed(where, *arguments):
    return sorted(filter(None, git(where, *arguments, "-z").split("\0")))


def status(where):
    return listed(where, "status", "--porcelain", "--no-renames")


def committed(where):
    """What the last commit changed."""
    return listed(where, "show", "--format=", "--name-only", "--no-renames")


def commit(root, *paths, message=MESSAGE):
    return prepare_commit(root, paths, message).make(paths)


def test_a_commit_has_exactly_these_paths_and_what_else_is_staged_stays_staged(repository):
    (repository / "staged.txt").write_text("s\n")
    (repository / "src/tool.py").write_text("staged\n")
    git(repository, "add", "staged.txt", "src/tool.py")
    (repository / "src/tool.py").write_text("and more\n")
    (repository / "src/app.py").write_text("new\n")
    (repository / "README.md").unlink()
    (repository / "deep/er").mkdir(parents=True)
    (repository / "deep/er/new.txt").write_text("n\n")
    (repository / "deep/er/untracked.txt").write_text("u\n")
    (repository / "run.sh").write_text("#!/bin/sh\n")
    (repository / "run.sh").chmod(0o755)
    (repository / "link").symlink_to("run.sh")

    made = commit(repository, "src/app.py", "README.md", "deep/er/new.txt", "run.sh", "link")

    assert made.sha == git(repository, "rev-parse", "HEAD").strip()
    assert made.subject == "Subject"
    assert committed(repository) == ["README.md", "deep/er/new.txt", "link", "run.sh", "src/app.py"]
    assert status(repository) == ["?? deep/er/untracked.txt", "A  staged.txt", "MM src/tool.py"]
    assert git(repository, "show", "HEAD:src/app.py") == "new\n"
    assert git(repository, "ls-tree", "HEAD", "run.sh", "link").split()[::4] == ["120000", "100755"]
    assert git(repository, "log", "-1", "--format=%an <%ae>%n%B").strip() == (
        "Tester <tester@example.org>\nSubject\n\nCairn-Task: bcdfgh"
    )
    assert git(repository, "log", "-1", "--format=%(trailers:key=Cairn-Task,valueonly)").strip() == "bcdfgh"


def test_odd_names_are_names_and_never_patterns(repository):
    (repository / "a.txt").write_text("not named\n")
    (repository / "n").write_text("not named\n")
    for name in ODD:
        (repository / name).write_text(name if name.isascii() else "x")

    commit(repository, *ODD)

    assert committed(repository) == sorted(ODD)
    assert status(repository) == ["?? a.txt", "?? n"]
    for name in ODD[:4]:
        (repository / name).unlink()
    commit(repository, *ODD[:4])
    assert committed(repository) == sorted(ODD[:4])


def test_a_file_becomes_a_folder_and_a_folder_a_file(repository):
    (repository / "README.md").unlink()
    (repository / "README.md").mkdir()
    (repository / "README.md/inside").write_text("i\n")
    (repository / "README.md/mine").write_text("m\n")
    for path in sorted((repository / "src").iterdir()):
        path.unlink()
    (repository / "src").rmdir()
    (repository / "src").write_text("now a file\n")

    commit(repository, "README.md", "README.md/inside", "src", "src/app.py", "src/tool.py")

    assert listed(repository, "ls-tree", "-r", "--name-only", "HEAD") == ["README.md/inside", "src"]
    assert status(repository) == ["?? README.md/mine"]


def test_a_file_that_became_an_empty_folder_cannot_be_committed_by_name(repository):
    (repository / "README.md").unlink()
    (repository / "README.md").mkdir()
    (repository / "new.txt").write_text("n\n")
    before = git(repository, "ls-files", "--stage")

    with pytest.raises(CairnError, match="git did not commit") as refused:
        commit(repository, "README.md", "new.txt")

    assert "README.md became a folder with no file in it" in refused.value.why
    assert git(repository, "ls-files", "--stage") == before


def test_a_folder_alone_is_nothing_to_commit_and_its_files_are_not_taken(repository):
    (repository / "new").mkdir()
    (repository / "new/mine").write_text("m\n")

    assert commit(repository, "new") is None
    assert status(repository) == ["?? new/"]


def test_what_the_last_commit_has_already_is_no_commit(repository):
    before = git(repository, "rev-parse", "HEAD")

    assert commit(repository, "README.md") is None
    assert git(repository, "rev-parse", "HEAD") == before


def test_the_first_commit_of_a_repository(project):
    git(project, "init", "-q")

    commit(project, "README.md")

    assert committed(project) == ["README.md"]
    assert status(project) == ["?? src/"]


def test_on_a_branch_to_begin_what_is_staged_otherwise_stays(project):
    git(project, "init", "-q")
    git(project, "add", "src/app.py")

    commit(project, "README.md")

    assert committed(project) == ["README.md"]
    assert status(project) == ["?? src/tool.py", "A  src/app.py"]


def test_in_a_worktree(repository, tmp_path):
    tree = tmp_path / "tree"
    git(repository, "worktree", "add", "-q", str(tree))
    (tree / "README.md").write_text("in the worktree\n")

    commit(tree, "README.md")

    assert committed(tree) == ["README.md"]
    assert git(repository, "log", "--oneline").count("\n") == 1
    assert status(repository) == []


def test_in_a_folder_of_a_repository(repository):
    (repository / "src/app.py").write_text("new\n")
    (repository / "src/README.md").write_text("the other one\n")
    (repository / "README.md").write_text("not this\n")

    commit(repository / "src", "app.py", "README.md")

    assert committed(repository) == ["src/README.md", "src/app.py"]
    assert status(repository) == [" M README.md"]


def test_beside_a_submodule_and_not_in_one(repository, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    (other / "file").write_text("f\n")
    git(other, "add", "file")
    git(other, "commit", "-q", "-m", "one")
    git(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), "sub")
    git(repository, "commit", "-q", "-m", "sub")
    (repository / "README.md").write_text("new\n")
    (repository / "sub/file").write_text("changed\n")

    commit(repository, "README.md")
    assert committed(repository) == ["README.md"]
    with pytest.raises(Conflict, match="sub/file belongs to another git repository, sub"):
        commit(repository, "sub/file")
    commit(repository / "sub", "file")
    assert committed(repository / "sub") == ["file"]


def test_in_a_hooks_environment_the_right_repository_is_meant(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    (repository / "README.md").write_text("new\n")

    commit(repository, "README.md")

    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_INDEX_FILE")
    assert committed(repository) == ["README.md"]


# -- hooks -------------------------------------------------------------------------------------------------------------


def hook(repository, name, script):
    path = repository / ".git/hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)


def test_hooks_run_and_see_the_commit_to_be(repository):
    (repository / "README.md").write_text("new\n")
    (repository / "src/app.py").write_text("staged\n")
    git(repository, "add", "src/app.py")
    hook(repository, "pre-commit", 'git diff --cached --name-only -- "*.md" "*.py" > seen\n')
    hook(repository, "commit-msg", 'echo "Checked: yes" >> "$1"\n')

    commit(repository, "README.md")

    assert (repository / "seen").read_text() == "README.md\n"
    assert git(repository, "log", "-1", "--format=%(trailers)").strip() == "Cairn-Task: bcdfgh\nChecked: yes"


@pytest.mark.parametrize("name", ["pre-commit", "commit-msg"])
def test_a_hook_that_refuses_leaves_the_index_as_it_was(repository, name):
    hook(repository, name, 'echo "no trailing spaces, please" >&2\nexit 1\n')
    (repository / "README.md").unlink()
    (repository / "README.md").mkdir()
    (repository / "README.md/new").write_text("n\n")
    (repository / "new.txt").write_text("n\n")
    (repository / "mine.txt").write_text("m\n")
    (repository / "src/app.py").write_text("changed\n")
    git(repository, "add", "mine.txt")
    paths = ("new.txt", "README.md", "README.md/new", "src/app.py")
    before = (status(repository), git(repository, "ls-files", "--stage"), git(repository, "rev-parse", "HEAD"))

    with pytest.raises(CairnError) as refused:
        commit(repository, *paths)

    assert (refused.value.what, refused.value.why) == ("git did not commit.", "no trailing spaces, please")
    assert before == (status(repository), git(repository, "ls-files", "--stage"), git(repository, "rev-parse", "HEAD"))


def test_a_hook_that_refuses_the_first_commit_leaves_nothing_staged(project):
    git(project, "init", "-q")
    hook(project, "pre-commit", "exit 1\n")

    with pytest.raises(CairnError):
        commit(project, "README.md")

    assert status(project) == ["?? README.md", "?? src/"]


# -- refused before anything is written --------------------------------------------------------------------------------


def refusal(root, *paths):
    with pytest.raises((Conflict, UsageProblem)) as refused:
        prepare_commit(root, paths, MESSAGE)
    assert "Nothing was written." in refused.value.what
    assert refused.value.fix
    return refused.value.what


def test_no_repository(project):
    assert refusal(project, "README.md").startswith(f"{project} is in no git repository")


def test_no_git(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    assert refusal(repository, "README.md").startswith("git could not be run.")


def test_an_old_git(repository, monkeypatch, tmp_path):
    (tmp_path / "git").write_text("#!/bin/sh\necho git version 2.20.1\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert refusal(repository, "README.md").startswith("git is too old")


def test_nobody_to_be_the_author(repository, nobodys_home):
    (nobodys_home / "gitconfig").write_text("[user]\n useConfigOnly = true\n")

    assert refusal(repository, "README.md").startswith("git does not know who commits.")


def diverged(repository):
    """Two branches that change README.md differently; on main."""
    git(repository, "checkout", "-q", "-b", "other")
    (repository / "README.md").write_text("theirs\n")
    git(repository, "commit", "-q", "-am", "theirs")
    git(repository, "checkout", "-q", "main")
    (repository / "README.md").write_text("ours\n")
    git(repository, "commit", "-q", "-am", "ours")


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (("merge", "-q", "other"), "a merge"),
        (("rebase", "-q", "other"), "a rebase"),
        (("cherry-pick", "other"), "a cherry-pick"),
    ],
)
def test_a_merge_a_rebase_and_a_cherry_pick_under_way(repository, command, what):
    diverged(repository)
    subprocess.run(["git", *command], cwd=repository, capture_output=True, check=False)

    assert refusal(repository, "src/app.py").startswith(f"git cannot commit only some files now: {what} is in progress")
    git(repository, "add", "README.md")
    assert f"{what} is in progress" in refusal(repository, "src/app.py")


def test_a_merge_under_way_in_the_worktree_alone(repository, tmp_path):
    diverged(repository)
    git(repository, "worktree", "add", "-q", "-b", "third", str(tmp_path / "tree"))
    subprocess.run(["git", "merge", "-q", "other"], cwd=tmp_path / "tree", capture_output=True, check=False)

    assert "a merge is in progress" in refusal(tmp_path / "tree", "src/app.py")
    prepare_commit(repository, ["src/app.py"], MESSAGE)


def test_conflicts_in_the_index(repository):
    diverged(repository)
    (repository / "README.md").write_text("mine\n")
    git(repository, "stash", "-q")
    (repository / "README.md").write_text("meanwhile\n")
    git(repository, "commit", "-q", "-am", "meanwhile")
    subprocess.run(["git", "stash", "pop"], cwd=repository, capture_output=True, check=False)

    assert "its index has conflicts in README.md" in refusal(repository / "src", "app.py")


def test_another_git_command_at_work(repository):
    (repository / ".git/index.lock").touch()

    assert "another git command is in progress" in refusal(repository, "README.md")


@pytest.mark.parametrize("how", ["changed", "added", "deleted"])
def test_staged_changes_of_one_of_the_paths(repository, how):
    path = "new.txt" if how == "added" else "README.md"
    if how == "deleted":
        git(repository, "rm", "-q", "--cached", path)
    else:
        (repository / path).write_text("staged\n")
        git(repository, "add", path)

    assert refusal(repository, "src/app.py", path).startswith(f"You have staged changes in {path}")
    prepare_commit(repository, ["src/app.py"], MESSAGE)


def test_an_ignored_path(repository):
    (repository / ".gitignore").write_text("*.log\n:x\n")

    assert ":x, a.log are ignored" in refusal(repository, "README.md", "a.log", ":x")
    (repository / "kept.log").write_text("k\n")
    git(repository, "add", "-f", "kept.log")
    git(repository, "commit", "-q", "-m", "kept")
    (repository / "kept.log").write_text("new\n")
    assert commit(repository, "kept.log") is not None


# -- the message -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "summary", "given", "message"),
    [
        (
            "greet politely",
            "Greets politely.\nIn one file.",
            None,
            "Greets politely.\n\ngreet politely\n\nCairn-Task: x\n",
        ),
        ("same", " same ", None, "same\n\nCairn-Task: x\n"),
        ("two\nlines  ", "", None, "two\n\ntwo\nlines\n\nCairn-Task: x\n"),
        ("", "\x1b[31mred\x00", None, "[31mred\n\nCairn-Task: x\n"),
        ("", "", None, "task x\n\nCairn-Task: x\n"),
        ("ask", "s", "# mine\r\n", "# mine\n\nCairn-Task: x\n"),
        ("ask", "s", "mine\n\nCloses: #3", "mine\n\nCloses: #3\nCairn-Task: x\n"),
        ("ask", "s", "fix: mine", "fix: mine\n\nCairn-Task: x\n"),
        ("ask", "long " * 60, None, ("long " * 60)[:197] + "...\n\nask\n\nCairn-Task: x\n"),
    ],
)
def test_the_message(request_, summary, given, message):
    assert message_for("x", request_, summary, given) == message


def test_a_message_is_kept_as_it_is_whatever_the_settings_say(repository):
    git(repository, "config", "commit.cleanup", "scissors")
    git(repository, "config", "commit.verbose", "true")
    git(repository, "config", "core.editor", "false")
    (repository / "README.md").write_text("new\n")

    commit(repository, "README.md", message="# heading\n\n# 3 is fixed\n\nCairn-Task: x\n")

    assert git(repository, "log", "-1", "--format=%B").strip() == "# heading\n\n# 3 is fixed\n\nCairn-Task: x"


# -- foreseen ----------------------------------------------------------------------------------------------------------


def foreseen(root, **contents):
    given = {name.replace("_", "."): content for name, content in contents.items()}
    return prepare_commit(root, given, MESSAGE).would_hold(given)


def test_what_a_commit_would_hold_is_judged_as_git_does(repository):
    files = {"same.txt": "s\n", "other.txt": "o\n", "run.sh": "r\n", "gone.txt": "g\n", "crlf.txt": "c\n"}
    for name, data in files.items():
        (repository / name).write_text(data)
    (repository / "link.txt").symlink_to("same.txt")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "more")
    given = {
        "same_txt": text("s\n"), "other_txt": text("other\n"), "run_sh": text("r\n", 0o755), "gone_txt": None,
        "crlf_txt": text("c\r\n"), "link_txt": link("same.txt"), "new_txt": text(""), "never_txt": None,
    }  # fmt: skip

    assert foreseen(repository, **given) == ("crlf.txt", "gone.txt", "new.txt", "other.txt", "run.sh")
    git(repository, "config", "core.autocrlf", "true")
    git(repository, "config", "core.fileMode", "false")
    assert foreseen(repository, **given) == ("gone.txt", "new.txt", "other.txt")
    assert foreseen(repository, link_txt=link("other"), same_txt=folder()) == ("link.txt", "same.txt")


def test_a_first_commit_would_hold_every_file(project):
    git(project, "init", "-q")

    assert foreseen(project, README_md=text("x\n"), gone_txt=None) == ("README.md",)

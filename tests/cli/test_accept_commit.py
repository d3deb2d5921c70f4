"""`cairn accept --commit` in real repositories, as a person sees it."""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest
from inline_snapshot import snapshot

from tests.cli.test_screens import GOOD, cairn_json
from tests.conftest import Screen, tree
from tests.unit.test_git_commit import committed, diverged, git, hook, status

pytestmark = pytest.mark.slow  # half a second each, and many

ODD = """\
write_file("src/app.py", "new\\n")
write_file("lib/quote's \\"é\\".txt", "q\\n")
write_file("*.txt", "star\\n")
move_file("src/tool.py", "lib/tool.py")
delete_file("README.md")
submit_result("Moves things.\\nIn detail: much.", [
    "src/app.py", "lib/quote's \\"é\\".txt", "*.txt", "src/tool.py", "lib/tool.py", "README.md"])
"""


def same(screen: Screen) -> Screen:
    return Screen(screen.code, re.sub(r"\b[0-9a-f]{10}\b", "SHA", screen.out), screen.err)


def statuses():
    return [task["status"] for task in json.loads(cairn_json("list"))["tasks"]]


def commits(root):
    return int(git(root, "rev-list", "--count", "HEAD"))


def test_one_commit_of_exactly_the_accepted_files(repository, cairn):
    (repository / "mine.txt").write_text("staged\n")
    (repository / "a.txt").write_text("untracked\n")
    git(repository, "add", "mine.txt")
    cairn("run", "--code", "-", stdin=ODD)

    assert same(cairn("accept", "--commit")) == snapshot(
        Screen(
            code=0,
            out="""\
Accepted TASK1: 5 files changed.
Committed SHA: Moves things.
""",
            err="cairn undo TASK1   takes it back.\n",
        )
    )

    assert committed(repository) == sorted(
        ["src/app.py", 'lib/quote\'s "é".txt', "*.txt", "src/tool.py", "lib/tool.py", "README.md"]
    )
    assert status(repository) == ["?? a.txt", "A  mine.txt"]
    assert cairn._same(git(repository, "log", "-1", "--format=%an%n%B")) == snapshot("""\
Tester
Moves things.

run the program from standard input

Cairn-Task: TASK1

""")
    assert cairn("undo").code == 0
    assert (repository / "README.md").exists()


def test_a_given_message_and_json(repository, cairn):
    cairn("run", "--code", "-", stdin=GOOD)

    told = json.loads(cairn("accept", "--commit", "-m", "Greet\n\nCloses: #3", "--json").out)

    assert told["commit"] == git(repository, "rev-parse", "HEAD").strip()
    assert cairn._same(git(repository, "log", "-1", "--format=%B")) == "Greet\n\nCloses: #3\nCairn-Task: TASK1\n\n"


def test_your_own_edits_of_the_same_file_go_with_it_and_of_others_do_not(repository, cairn):
    (repository / "src/app.py").write_text("# top\n\n\n" + (repository / "src/app.py").read_text())
    cairn("run", "--code", "-", stdin=GOOD)
    (repository / "README.md").write_text("mine\n")

    cairn("accept", "--commit")

    assert git(repository, "show", "HEAD:src/app.py").startswith("# top\n")
    assert (committed(repository), status(repository)) == (["src/app.py"], [" M README.md"])


def test_in_a_subfolder_that_is_the_project(repository, cairn, monkeypatch):
    monkeypatch.chdir(repository / "src")
    cairn("--here", "run", "--code", "-", stdin=GOOD.replace("src/", ""))

    assert cairn("--here", "accept", "--commit").code == 0

    assert committed(repository) == ["src/app.py"]


def test_in_a_worktree_of_a_repository_with_a_submodule(repository, cairn, monkeypatch, tmp_path):
    tree_ = tmp_path / "tree"
    git(repository, "init", "-q", str(tmp_path / "other"))
    git(tmp_path / "other", "commit", "-q", "--allow-empty", "-m", "one")
    git(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(tmp_path / "other"), "sub")
    git(repository, "commit", "-q", "-m", "sub")
    git(repository, "worktree", "add", "-q", str(tree_))
    monkeypatch.chdir(tree_)
    cairn("run", "--code", "-", stdin=GOOD)

    assert cairn("accept", "--commit").code == 0

    assert (committed(tree_), status(tree_)) == (["src/app.py"], [])


def test_what_git_has_already_makes_no_commit(repository, cairn):
    cairn("run", "--code", "-", stdin=GOOD)
    (repository / "src/app.py").write_text((repository / "src/app.py").read_text().replace("hello", "good day"))
    git(repository, "commit", "-q", "-am", "the same by hand")

    assert cairn("accept", "--commit") == snapshot(
        Screen(
            code=0,
            out="""\
Accepted TASK1: 0 files changed, 1 already so.
No commit was made: git has these files so already.
""",
            err="cairn undo TASK1   takes it back.\n",
        )
    )
    assert commits(repository) == 2


def staged(root):
    (root / "src/app.py").write_text((root / "src/app.py").read_text() + "# staged\n")
    git(root, "add", "src/app.py")


def merging(root):
    diverged(root)
    with pytest.raises(Exception, match="merge"):
        git(root, "merge", "other")


def ignoring(root):
    (root / ".gitignore").write_text("src\n")
    git(root, "rm", "-rq", "--cached", "src")
    git(root, "commit", "-qam", "ignored")


def no_repository(root):
    (root / ".git").rename(root.parent / "git")


REASONS = {
    staged: "You have staged changes in src/app.py",
    merging: "a merge is in progress",
    ignoring: "src/app.py is ignored",
    no_repository: "is in no git repository",
}


@pytest.mark.parametrize("make", REASONS, ids=lambda make: make.__name__)
def test_it_is_refused_before_anything_is_written(repository, cairn, make):
    cairn("run", "--code", "-", stdin=GOOD)
    make(repository)
    before = tree(repository)

    screen = cairn("accept", "--commit")

    assert (screen.code in {2, 4}, screen.out, REASONS[make] in screen.err) == (True, "", True)
    assert "Nothing was written." in screen.err
    assert (tree(repository), statuses()) == (before, ["in review"])
    assert cairn_json("op", "log").count("number") == 0


def test_a_conflict_makes_no_commit(repository, cairn):
    cairn("run", "--code", "-", stdin=GOOD)
    (repository / "src/app.py").write_text('def greet(name):\n    return "hi " + name\n')

    assert cairn("accept", "--commit").code == 4
    assert (commits(repository), statuses()) == (1, ["in review"])


def test_a_hook_that_refuses_keeps_the_accept_and_says_what_to_do(repository, cairn):
    hook(repository, "pre-commit", 'echo "lint: bad style" >&2\nexit 1\n')
    before = tree(repository)
    cairn("run", "--code", "-", stdin=GOOD)

    screen = cairn("accept", "--commit")

    assert screen == snapshot(
        Screen(
            code=1,
            out="",
            err="""\
cairn: Task TASK1 is accepted, but git did not commit.
  lint: bad style
  cairn undo TASK1   takes the changes back out of your files.
  git add -- src/app.py && git commit -- src/app.py   commits them by hand.
""",
        )
    )
    assert (commits(repository), status(repository), statuses()) == (1, [" M src/app.py"], ["accepted"])
    assert cairn("undo").code == 0
    assert tree(repository) == before


def test_a_refused_commit_can_be_made_by_the_line_that_the_error_gives(repository, cairn):
    (repository / "old.txt").write_text("o\n")
    program = 'write_file("it\'s [new].txt", "n")\nwrite_file("*.txt", "n")\nsubmit_result("New.", [])\n'
    cairn("run", "--code", "-", stdin=program)
    hook(repository, "pre-commit", "exit 1\n")
    line = cairn("accept", "--commit").err.splitlines()[-1].strip().partition("   ")[0]
    (repository / ".git/hooks/pre-commit").unlink()
    (repository / "other.txt").write_text("o\n")
    git(repository, "add", "other.txt")

    subprocess.run(line, shell=True, cwd=repository, check=True, env={**os.environ, "GIT_EDITOR": "echo hand >"})  # noqa: S602

    assert committed(repository) == ["*.txt", "it's [new].txt"]
    assert status(repository) == ["?? old.txt", "A  other.txt"]


def test_a_message_without_a_commit_is_refused(repository, cairn):
    assert cairn("accept", "-m", "x") == snapshot(
        Screen(
            code=2,
            out="",
            err="""\
cairn: -m is the message of a commit, and there is none without --commit.
  Add --commit.
""",
        )
    )

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cairn.overlay_contract import lay_out
from cairn.tree_walk import is_ignored, is_shown_name, list_names, walk_files

TREE = dict.fromkeys(
    [
        "a",
        "ab",
        "c-",
        "a.py",
        "a.log",
        "b/a.py",
        "b/a.log",
        "b/c/a.log",
        "b/c/keep.log",
        "b/build/x",
        "build/y",
        ".env",
        "b/ sp ",
        "doc/[x]",
        "#h",
    ],
    b"",
)


def git(root, *arguments):
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True).stdout


def as_git_sees(root):
    listed = git(root, "ls-files", "-co", "--exclude-standard", "-z").split(b"\0")
    return sorted(name.decode() for name in listed if name)


def test_everything_but_what_is_ignored_hidden_files_too(tmp_path):
    root = lay_out(tmp_path, {**TREE, ".gitignore": b"*.log\nbuild/\n!keep.log\n", "b/c/.gitignore": b"!a.log\n"})
    assert list(walk_files(root)) == [
        "#h", ".env", ".gitignore", "a", "a.py", "ab", "b/ sp ", "b/a.py", "b/c/.gitignore", "b/c/a.log", "b/c/keep.log",
        "c-", "doc/[x]",
    ]  # fmt: skip
    assert set(walk_files(root, include_ignored=True)) == {*TREE, ".gitignore", "b/c/.gitignore"}


def test_links_are_listed_and_never_entered(tmp_path):
    root = lay_out(tmp_path / "p", {"d/x": b""})
    (root / "out").symlink_to("/etc")
    (root / "self").symlink_to(".")
    (root / "nowhere").symlink_to("no")
    assert list(walk_files(root)) == ["d/x", "nowhere", "out", "self"]
    assert list_names(root) == ["d", "nowhere", "out", "self"]


def test_a_link_is_no_folder_to_a_rule_for_folders(tmp_path):
    root = lay_out(tmp_path, {"real/build/x": b"", ".gitignore": b"build/\n"})
    (root / "build").symlink_to("real")
    assert list(walk_files(root)) == [".gitignore", "build"]


def test_pipes_and_sockets_are_not_listed(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    lay_out(tmp_path, {"a": b""})
    assert (list(walk_files(tmp_path)), list_names(tmp_path)) == (["a"], ["a"])


def test_naming_an_ignored_folder_asks_for_what_is_in_it(tmp_path):
    root = lay_out(
        tmp_path, {"node_modules/x/a.js": b"", "node_modules/x/b.log": b"", ".gitignore": b"node_modules\n*.log\n"}
    )
    assert list(walk_files(root)) == [".gitignore"]
    assert list(walk_files(root, "node_modules/x")) == ["node_modules/x/a.js", "node_modules/x/b.log"]
    assert list_names(root, "node_modules/x") == ["a.js", "b.log"]


def test_a_folder_is_listed_under_the_rules_above_it(tmp_path):
    root = lay_out(tmp_path, {**TREE, ".gitignore": b"*.log\n/b/build\n", "b/.gitignore": b"c/*\n!c/keep.log\n"})
    assert list_names(root, "b") == [" sp ", ".gitignore", "a.py", "c"]
    assert list_names(root, "b/c") == ["keep.log"]
    assert list_names(root, "b/c", include_ignored=True) == ["a.log", "keep.log"]
    assert list_names(root, "missing") == list_names(root, "a.py") == []


def test_cairnignore_adds_to_gitignore_in_any_folder(tmp_path):
    root = lay_out(
        tmp_path, {**TREE, ".gitignore": b"*.log\n", ".cairnignore": b"!a.log\n.env\n", "b/.cairnignore": b"c\n"}
    )
    assert "a.log" in list(walk_files(root))
    assert is_ignored(root, ".env")
    assert list_names(root, "b") == [" sp ", ".cairnignore", "a.log", "a.py", "build"]


@pytest.mark.parametrize(
    ("path", "ignored"),
    [("b/build", True), ("b/build/deep/no", True), ("b/a.log", True), ("a.py", False), (".", False)],
)
def test_a_path_is_ignored_with_the_folder_it_is_in_whether_it_exists_or_not(tmp_path, path, ignored):
    root = lay_out(tmp_path, {**TREE, ".gitignore": b"build/\n*.log\n"})
    assert is_ignored(root, path) is ignored


def test_the_users_and_the_repositorys_excludes_count(tmp_path, nobodys_home):
    root = lay_out(tmp_path / "p", {**TREE, ".gitignore": b"!b/a.log\n"})
    git(root, "init", "-q")
    (root / ".git/info").mkdir(exist_ok=True)
    (root / ".git/info/exclude").write_text(".env\n")
    (nobodys_home / "mine").write_text("*.log\n")
    (nobodys_home / "elsewhere").symlink_to("mine")
    with (nobodys_home / "gitconfig").open("a") as config:
        config.write("[core]\n\texcludesFile = ~/elsewhere\n")
    assert list(walk_files(root)) == as_git_sees(root)
    assert "b/a.log" in list(walk_files(root))
    assert not {".env", "a.log"} & set(walk_files(root))


def test_a_worktree_has_the_excludes_of_its_repository(tmp_path):
    root = lay_out(tmp_path / "main", {"a": b""})
    git(root, "init", "-q")
    git(root, "add", "a")
    git(root, "commit", "-qm", "one")
    git(root, "worktree", "add", "-q", "../tree")
    (root / ".git/info").mkdir(exist_ok=True)
    (root / ".git/info/exclude").write_text("secret\n")
    lay_out(tmp_path / "tree", {"secret": b""})
    assert list(walk_files(tmp_path / "tree")) == as_git_sees(tmp_path / "tree") == ["a"]


def test_a_project_inside_a_repository_keeps_the_rules_above_it(tmp_path):
    root = lay_out(
        tmp_path / "repo", {"sub/p/a.log": b"", "sub/p/x": b"", "sub/.gitignore": b"/p/x\n", ".gitignore": b"*.log\n"}
    )
    git(root, "init", "-q")
    lay_out(root, {"sub/p/y": b""})
    assert list(walk_files(root / "sub/p")) == as_git_sees(root / "sub/p") == ["y"]


def test_without_a_repository_nothing_above_the_project_counts(tmp_path):
    (tmp_path / ".gitignore").write_text("*\n")
    root = lay_out(tmp_path / "p", {"a": b""})
    assert list(walk_files(root)) == ["a"]


def test_rules_changed_meanwhile_are_read_again(tmp_path):
    root = lay_out(tmp_path, {"a": b"", "b": b"", ".gitignore": b"a\n"})
    assert list(walk_files(root)) == [".gitignore", "b"]
    (root / ".gitignore").write_bytes(b"a\nb\n")
    assert list(walk_files(root)) == [".gitignore"]


def test_rule_files_of_any_bytes_are_read(tmp_path):
    root = lay_out(
        tmp_path, {"a": b"", "b": b"", "c.log": b"", ".gitignore": b"\xef\xbb\xbfa\r\n\xff\xfe\n[\n*.log\n\n# b\n\\"}
    )
    assert list(walk_files(root)) == [".gitignore", "b"]
    (root / "d").mkdir()
    (root / "d/.gitignore").mkdir()
    assert list_names(root, "d") == [".gitignore"]


@pytest.mark.parametrize(
    ("name", "folder", "shown"),
    [
        (".git", "a/b", False),
        (".GIT", ".", False),
        (".cairn", ".", False),
        (".cairn", "a", True),
        (".gitignore", ".", True),
        ("\udcff", ".", False),
    ],
)
def test_names_no_program_may_see(name, folder, shown):
    assert is_shown_name(name, folder) is shown


LINES = st.sampled_from(
    ["*.log", "!keep.log", "build/", "/build", "b/", "b/*", "!b/c", "**/c", "b/**", "b/**/a.log", "*", "!*/", "!a.py", "a.*",
     "/b/c/", "# x", "", "\\#h", "doc/\\[x\\]", "[ab].py", "?.py", "!.env", ".*", "**", "c/a.log", "b/ sp\\ ", "!/b/", "x", "*/x"],
)  # fmt: skip
ANY_LINE = st.text(alphabet="abc*?[]!-^\\./ ,:py", min_size=1, max_size=9)
RULES = st.lists(LINES | ANY_LINE, max_size=5).map("\n".join)
QUICK = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True
)


def check_same_as_git(rules):
    root = Path(tempfile.mkdtemp())
    try:
        lay_out(
            root,
            {
                **TREE,
                **{
                    f"{folder}.gitignore": text.encode() for folder, text in zip(("", "b/", "b/c/"), rules, strict=True)
                },
            },
        )
        git(root, "init", "-q")
        expected = as_git_sees(root)
        assert list(walk_files(root)) == expected
        for folder in (".", "b", "b/c"):
            if not is_ignored(root, folder, folder=True):
                prefix = "" if folder == "." else f"{folder}/"
                files = {name[len(prefix) :] for name in expected if name.startswith(prefix)}
                names = list_names(root, folder)
                assert {name for name in names if (root / folder / name).is_file()} == {
                    name for name in files if "/" not in name
                }
    finally:
        shutil.rmtree(root)


@QUICK
@given(rules=st.tuples(RULES, RULES, RULES))
def test_any_rules_give_what_git_gives(rules):
    check_same_as_git(rules)


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(QUICK, max_examples=2000, derandomize=False)
@given(rules=st.tuples(RULES, RULES, RULES))
def test_any_rules_give_what_git_gives_many_times(rules):
    check_same_as_git(rules)

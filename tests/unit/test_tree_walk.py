from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cairn import tree_walk
from cairn.overlay_contract import lay_out
from cairn.tree_walk import is_ignored, is_shown_name, list_names, walk_files
from tests.length import examples

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


# ── what git tracks ──


def test_files_that_git_tracks_are_shown_although_a_rule_ignores_them(tmp_path):
    root = lay_out(
        tmp_path / "p",
        {
            ".gitignore": b"*.log\ngen/\nout/\n",
            "a.log": b"",
            "kept.log": b"",
            "gen/deep/kept": b"",
            "gen/x": b"",
            "out/x": b"",
        },
    )
    git(root, "init", "-q")
    git(root, "add", "-f", "kept.log", "gen/deep/kept", ".gitignore")
    lay_out(root, {"gen/deep/other": b"", "gen/more/x": b""})
    assert list(walk_files(root)) == as_git_sees(root) == [".gitignore", "gen/deep/kept", "kept.log"]
    assert list_names(root) == [".gitignore", "gen", "kept.log"]
    assert (list_names(root, "gen"), list_names(root, "gen/deep")) == (["deep"], ["kept"])
    assert [is_ignored(root, path) for path in ("gen", "gen/deep/kept", "gen/deep/other", "gen/more", "a.log")] == [
        False, False, True, True, True,
    ]  # fmt: skip
    assert list(walk_files(root, "gen/deep")) == ["gen/deep/kept"]
    assert list(walk_files(root, "out")) == ["out/x"]
    git(root, "rm", "-q", "--cached", "kept.log")
    (root / "gen/deep/kept").unlink()
    assert list(walk_files(root)) == [".gitignore"]


def test_cairnignore_hides_also_what_git_tracks(tmp_path):
    root = lay_out(
        tmp_path / "p",
        {
            ".gitignore": b"*.log\n",
            ".cairnignore": b"secret*\ngen/b\n",
            "secret.txt": b"",
            "secret.log": b"",
            "gen/.gitignore": b"*",
            "gen/a": b"",
            "gen/b": b"",
        },
    )
    git(root, "init", "-q")
    git(root, "add", "-f", ".")
    assert list(walk_files(root)) == [".cairnignore", ".gitignore", "gen/.gitignore", "gen/a"]


def test_an_ignored_folder_costs_what_git_tracks_in_it_and_no_more(tmp_path, monkeypatch):
    """Neither it nor anything below it is listed, however large it is."""
    root = lay_out(tmp_path / "p", {".gitignore": b"big/\nhuge/\n", "big/kept": b"", "big/a/b": b"", "huge/a/b": b""})
    git(root, "init", "-q")
    git(root, "add", "-f", "big/kept", ".gitignore")
    scanned = []
    real = tree_walk.listed
    monkeypatch.setattr(tree_walk, "listed", lambda root, folder: scanned.append(folder) or real(root, folder))
    assert list(walk_files(root)) == [".gitignore", "big/kept"]
    assert scanned == ["."]


def test_a_project_in_a_folder_of_a_repository_sees_what_is_tracked_there(tmp_path):
    root = lay_out(tmp_path / "repo", {".gitignore": b"*.log\n", "sub/p/a.log": b"", "sub/p/b.log": b"", "c.log": b""})
    git(root, "init", "-q")
    git(root, "add", "-f", "sub/p/a.log")
    assert list(walk_files(root / "sub/p")) == ["a.log"]


def test_without_git_tracked_files_count_as_ignored(tmp_path, monkeypatch):
    root = lay_out(tmp_path / "p", {".gitignore": b"*.log\n", "a.log": b""})
    git(root, "init", "-q")
    git(root, "add", "-f", ".")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list(walk_files(root)) == [".gitignore"]


def test_settings_of_a_repository_cannot_make_a_walk_run_a_program(tmp_path):
    root = lay_out(tmp_path / "p", {".gitignore": b"*.log\n", "a.log": b""})
    git(root, "init", "-q")
    git(root, "add", "-f", ".")
    git(root, "config", "core.fsmonitor", "touch ran; false")
    assert list(walk_files(root)) == [".gitignore", "a.log"]
    assert not (root / "ran").exists()


# ── repositories below the project ──


def repository(root, files):
    lay_out(root, files)
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "one")
    return root


def test_a_submodule_is_shown_with_rules_of_its_own(tmp_path):
    library = repository(tmp_path / "library", {".gitignore": b"*.tmp\n", "a.log": b"", "src/b": b""})
    root = repository(tmp_path / "p", {".gitignore": b"*.log\nlibs/\n", "x": b"", "x.log": b""})
    git(root, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "-f", str(library), "libs/one")
    lay_out(root, {"libs/one/c.tmp": b"", "libs/one/d.log": b"", "libs/other": b""})
    inside = ["libs/one/.gitignore", "libs/one/a.log", "libs/one/d.log", "libs/one/src/b"]
    assert list(walk_files(root)) == [".gitignore", ".gitmodules", *inside, "x"]
    assert list(walk_files(root, "libs/one")) == inside
    assert list_names(root, "libs/one") == [".gitignore", "a.log", "d.log", "src"]
    assert (is_ignored(root, "libs/one/d.log"), is_ignored(root, "libs/one/c.tmp")) == (False, True)


def test_a_repository_that_is_no_submodule_is_left_out_like_an_ignored_folder(tmp_path):
    root = repository(tmp_path / "p", {"a": b"", "deep/x": b""})
    repository(root / "deep/clone", {".gitignore": b"*.log\n", "b": b"", "c/d": b""})
    git(root, "worktree", "add", "-q", str(root / "tree"))
    lay_out(root, {"deep/clone/e.log": b""})
    assert list(walk_files(root)) == ["a", "deep/x"]
    assert (list_names(root), list_names(root, "deep")) == (["a", "deep"], ["x"])
    assert [is_ignored(root, path) for path in ("deep/clone", "deep/clone/b", "tree/a", "deep")] == [
        True,
        True,
        True,
        False,
    ]
    assert list(walk_files(root, "deep/clone")) == ["deep/clone/.gitignore", "deep/clone/b", "deep/clone/c/d"]
    assert list(walk_files(root, "deep/clone/c")) == ["deep/clone/c/d"]
    assert "tree/a" in list(walk_files(root, include_ignored=True))


def test_repositories_in_a_project_that_is_none_are_its_content(tmp_path):
    repository(tmp_path / "p/one", {".gitignore": b"*.log\n", "a": b""})
    repository(tmp_path / "p/two", {"b.log": b""})
    lay_out(tmp_path, {"p/one/c.log": b"", "p/d.log": b""})
    assert list(walk_files(tmp_path / "p")) == ["d.log", "one/.gitignore", "one/a", "two/b.log"]
    assert list_names(tmp_path / "p") == ["d.log", "one", "two"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [(".git", False), (".GIT", False), (".cairn", False), (".gitignore", True), ("\udcff", False), ("\u00e9", True)],
)
def test_names_no_program_may_see(name, shown):
    assert is_shown_name(name) is shown


LINES = st.sampled_from(
    ["*.log", "!keep.log", "build/", "/build", "b/", "b/*", "!b/c", "**/c", "b/**", "b/**/a.log", "*", "!*/", "!a.py", "a.*",
     "/b/c/", "# x", "", "\\#h", "doc/\\[x\\]", "[ab].py", "?.py", "!.env", ".*", "**", "c/a.log", "b/ sp\\ ", "!/b/", "x", "*/x"],
)  # fmt: skip
ANY_LINE = st.text(alphabet="abc*?[]!-^\\./ ,:py", min_size=1, max_size=9)
RULES = st.lists(LINES | ANY_LINE, max_size=5).map("\n".join)
QUICK = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True
)


def check_same_as_git(rules, forced):
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
        git(root, "add", "--force", "--", *(f":(literal){name}" for name in forced))
        expected = as_git_sees(root)
        assert list(walk_files(root)) == expected
        assert {name for name in TREE if not is_ignored(root, name)} == TREE.keys() & set(expected)
        for folder in (".", "b", "b/c"):
            if not is_ignored(root, folder, folder=True):
                prefix = "" if folder == "." else f"{folder}/"
                files = {name[len(prefix) :] for name in expected if name.startswith(prefix)}
                names = list_names(root, folder)
                assert {name for name in names if (root / folder / name).is_file()} == {
                    name for name in files if "/" not in name
                }
                assert list(walk_files(root, folder)) == [name for name in expected if name.startswith(prefix)]
    finally:
        shutil.rmtree(root)


FORCED = st.lists(st.sampled_from(sorted(TREE)), max_size=3)


@QUICK
@given(rules=st.tuples(RULES, RULES, RULES), forced=FORCED)
def test_any_rules_give_what_git_gives(rules, forced):
    check_same_as_git(rules, forced)


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(QUICK, max_examples=examples(500, 2000), derandomize=False)
@given(rules=st.tuples(RULES, RULES, RULES), forced=FORCED)
def test_any_rules_give_what_git_gives_many_times(rules, forced):
    check_same_as_git(rules, forced)

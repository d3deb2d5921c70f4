"""Every kind of project: run, review, accept, undo with real git; the whole tree and `git status` are compared.

docs/projects.md has a row for each.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cairn.cli import run
from cairn.overlay_contract import lay_out
from tests.content_trees import Tree, snapshot

pytestmark = pytest.mark.slow  # half a second each, and many

COMMIT = ("accept", "--commit", "--allow", "**")


def git(root: Path, *arguments: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, check=True, env={**os.environ, **(env or {})}
    )
    return done.stdout.decode("utf-8", "surrogateescape")


def repository(root: Path, files: dict[str, bytes]) -> Path:
    lay_out(root, files)
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    return root


def tree(root: Path) -> Tree:
    """Every file, link and folder; what git and Cairn keep for themselves left out at every depth."""
    found = snapshot(root, folders=True)
    return {path: what for path, what in found.items() if not {".git", ".cairn"}.intersection(path.split("/"))}


def contents(root: Path) -> dict[str, bytes]:
    return {path: what.data for path, what in tree(root).items() if what.kind == "file"}


def status(root: Path) -> str:
    return git(root, "status", "--porcelain", "-z", "--untracked-files=all")


class Session:
    """A person at work in one project: each verb in this process, as fast as tests need it."""

    def __init__(self, capfdbinary, monkeypatch) -> None:
        self._capfd = capfdbinary
        self._monkeypatch = monkeypatch
        self.patch = b""
        self.out = self.err = self.task = ""

    def __call__(self, *arguments: str, program: str = "") -> int:
        self._capfd.readouterr()
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(program.encode())))
        code = run(list(arguments))
        sys.stdout.flush()
        self.patch, errors = self._capfd.readouterr()
        self.out, self.err = (each.decode("utf-8", "surrogateescape") for each in (self.patch, errors))
        return code

    def runs(self, program: str, *options: str) -> None:
        """A program comes to its review; it submits by itself."""
        code = self(*options, "run", "--code", "-", program=f"{program}\nsubmit_result('done', [])\n")
        assert code == 0, self.err
        self.task = self.err.removeprefix("cairn: task ").partition(":")[0]

    def does(self, *arguments: str) -> None:
        assert self(*arguments) == 0, self.err


@pytest.fixture
def cairn(capfdbinary, monkeypatch):
    return Session(capfdbinary, monkeypatch)


def round_trip(
    cairn: Session, root: Path, program: str, expected: dict[str, bytes | None], *options: str, applies: bool = True
) -> None:
    """Nothing changes before accept, exactly `expected` by it, and nothing is left of it after undo."""
    is_repository = subprocess.run(["git", "status"], cwd=root, capture_output=True).returncode == 0
    before, clean = tree(root), status(root) if is_repository else ""
    cairn.runs(program, *options)
    assert tree(root) == before
    cairn.does(*options, "diff")
    checked = subprocess.run(["git", "apply", "--check", "-"], input=cairn.patch, cwd=root, capture_output=True)
    assert (checked.returncode == 0) is applies, checked.stderr

    cairn.does(*options, "accept", "--allow", "**")
    after = {path: data for path, data in {**contents(root), **expected}.items() if data is not None}
    assert contents(root) == after
    changed = {path for path in before.keys() | tree(root).keys() if before.get(path) != tree(root).get(path)}
    assert {path for path in changed if path in expected} == expected.keys()

    cairn.does(*options, "undo")
    assert tree(root) == before
    assert not is_repository or status(root) == clean
    cairn.does(*options, "reject")


def committed(root: Path) -> dict[str, str]:
    """What the last commit changed: a letter for each path."""
    fields = git(root, "show", "--format=", "--name-status", "--no-renames", "-z", "HEAD").split("\0")[:-1]
    return dict(zip(fields[1::2], fields[::2], strict=True))


EDIT = """
write_file('src/app.py', read_file('src/app.py').replace('hello', 'good day'))
write_file('new/more.txt', 'more\\n')
delete_file('old.txt')
move_file('docs', 'manual')
"""
FILES = {
    "src/app.py": b"print('hello')\n",
    "old.txt": b"old\n",
    "docs/a.md": b"# A\n",
    "docs/deep/b.md": b"# B\n",
    ".gitignore": b"*.log\n",
    "kept.log": b"untracked\n",
}
EDITED: dict[str, bytes | None] = {
    "src/app.py": b"print('good day')\n",
    "new/more.txt": b"more\n",
    "old.txt": None,
    "docs/a.md": None,
    "docs/deep/b.md": None,
    "manual/a.md": b"# A\n",
    "manual/deep/b.md": b"# B\n",
}
LETTERS = {
    "src/app.py": "M", "new/more.txt": "A", "old.txt": "D", "docs/a.md": "D", "docs/deep/b.md": "D",
    "manual/a.md": "A", "manual/deep/b.md": "A",
}  # fmt: skip


# -- a repository ------------------------------------------------------------------------------------------------------


def test_a_plain_repository(cairn, tmp_path, monkeypatch):
    root = repository(tmp_path / "plain", FILES)
    monkeypatch.chdir(root)
    round_trip(cairn, root, EDIT, EDITED)

    cairn.runs(EDIT)
    cairn.does(*COMMIT)
    assert (committed(root), status(root)) == (LETTERS, "")
    cairn.does("undo")
    assert contents(root) == FILES


def test_a_linked_worktree(cairn, tmp_path, monkeypatch):
    main = repository(tmp_path / "main", FILES)
    root = tmp_path / "linked"
    git(main, "worktree", "add", "-q", "-b", "side", str(root))
    before = tree(main)
    monkeypatch.chdir(root / "src")
    round_trip(cairn, root, EDIT, EDITED)

    cairn.runs(EDIT)
    cairn.does(*COMMIT)
    assert (committed(root), status(root)) == (LETTERS, "")
    assert (tree(main), status(main), git(main, "log", "--format=%s").strip()) == (before, "", "first")


def test_a_branch_without_a_commit(cairn, tmp_path, monkeypatch):
    root = lay_out(tmp_path / "unborn", FILES)
    git(root, "init", "-q")
    monkeypatch.chdir(root)
    round_trip(cairn, root, EDIT, EDITED)

    cairn.runs("write_file('new.txt', 'n')")
    cairn.does(*COMMIT)
    assert committed(root) == {"new.txt": "A"}


def test_no_repository_at_all_is_found_again_from_below(cairn, tmp_path, monkeypatch):
    root = lay_out(tmp_path / "none", FILES)
    monkeypatch.chdir(root)
    round_trip(cairn, root, EDIT, EDITED)

    monkeypatch.chdir(root / "src")
    cairn.runs("write_file('src/app.py', '')")
    assert not (root / "src/.cairn").exists()
    assert cairn(*COMMIT) == 2
    assert f"{root} is in no git repository that can be committed to. Nothing was written." in cairn.err
    assert contents(root) == FILES


# -- a folder of a repository --------------------------------------------------------------------------------------------

MONOREPO = {
    ".gitignore": b"*.log\n/service/gen/\n",
    "other/x.py": b"x = 1\n",
    "service/api.py": b"api = 1\n",
    "service/trace.log": b"ignored by the root's rules\n",
    "service/gen/out.py": b"ignored too\n",
}


@pytest.mark.parametrize("how", ["from within", "by -C"])
def test_a_folder_of_a_repository_means_the_repository(cairn, tmp_path, monkeypatch, how):
    root = repository(tmp_path / "mono", MONOREPO)
    monkeypatch.chdir(root / "service" if how == "from within" else tmp_path)
    options = ("-C", str(root / "service")) if how == "by -C" else ()
    program = """
    print(search_files('**/*.py'))
    write_file('other/x.py', 'x = 2\\n')
    write_file('service/api.py', 'api = 2\\n')
    """.replace("\n    ", "\n")
    round_trip(cairn, root, program, {"other/x.py": b"x = 2\n", "service/api.py": b"api = 2\n"}, *options)
    assert not (root / "service/.cairn").exists()


def test_a_folder_of_a_repository_can_be_a_project_of_its_own(cairn, tmp_path, monkeypatch):
    root = repository(tmp_path / "mono", MONOREPO)
    monkeypatch.chdir(root / "service")
    cairn.does("--here", "init")
    (root / "service/cairn.toml").unlink()
    program = """
try:
    read_file('../other/x.py')
except PermissionError:
    write_file('seen.txt', ' '.join(search_files('**')))
"""
    round_trip(cairn, root, program, {"service/seen.txt": b"api.py"})
    assert status(root) == ""

    cairn.runs("write_file('api.py', 'api = 2\\n')")
    cairn.does(*COMMIT)
    assert (committed(root), status(root)) == ({"service/api.py": "M"}, "")
    monkeypatch.chdir(root)
    cairn("list")
    assert cairn.err.startswith("cairn: no tasks yet.")


# -- repositories in it --------------------------------------------------------------------------------------------------


@pytest.fixture
def with_submodule(tmp_path, monkeypatch):
    library = repository(tmp_path / "library", {"lib.py": b"lib = 1\n", ".gitignore": b"*.tmp\n"})
    root = repository(tmp_path / "super", {"app.py": b"app = 1\n", ".gitignore": b"lib.py\n"})
    git(root, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "libs/one")
    git(root, "commit", "-q", "-m", "submodule")
    lay_out(root, {"libs/one/x.tmp": b""})
    monkeypatch.chdir(root)
    return root


BOTH = """
seen = search_files('**/*')
hits = [hit['file'] for hit in search_content('= 1')]
write_file('libs/one/lib.py', read_file('libs/one/lib.py').replace('1', '2'))
write_file('libs/one/new.py', 'new = 1\\n')
write_file('app.py', 'app = 2\\n')
write_file('seen.txt', ' '.join([*seen, *hits]))
"""


def test_a_submodule_is_read_searched_and_written_as_part_of_the_project(cairn, with_submodule):
    seen = b".gitignore .gitmodules app.py libs/one/.gitignore libs/one/lib.py app.py libs/one/lib.py"
    expected = {
        "libs/one/lib.py": b"lib = 2\n",
        "libs/one/new.py": b"new = 1\n",
        "app.py": b"app = 2\n",
        "seen.txt": seen,
    }
    round_trip(cairn, with_submodule, BOTH, expected)


def test_one_commit_cannot_hold_a_submodules_files_and_says_so(cairn, with_submodule):
    root = with_submodule
    before = tree(root)
    cairn.runs(BOTH)
    assert cairn(*COMMIT) == 4
    assert cairn.err == (
        "cairn: libs/one/lib.py belongs to another git repository, libs/one. Nothing was written.\n"
        "  One commit cannot hold files of both.\n"
        "  Accept without --commit, then commit in each.\n"
    )
    assert (tree(root), status(root)) == (before, "")
    cairn.does("accept", cairn.task, "app.py", "--commit")
    assert (committed(root), status(root)) == ({"app.py": "M"}, "")
    cairn.does("accept", cairn.task, "libs/one")
    assert status(root / "libs/one") == " M lib.py\0?? new.py\0"


def test_a_submodule_can_be_neither_moved_nor_deleted(cairn, with_submodule):
    before = tree(with_submodule)
    program = """
for change in (lambda: move_file('libs', 'other'), lambda: delete_file('libs/one')):
    try:
        change()
    except PermissionError as error:
        print(error)
"""
    cairn.runs(program)
    cairn.does("show")
    assert "'libs' holds 'libs/one', a git repository of its own, which can be neither moved nor deleted" in cairn.out
    assert "'libs/one' is a git repository of its own" in cairn.out
    assert tree(with_submodule) == before


def test_within_a_submodule_the_submodule_is_the_project(cairn, with_submodule, monkeypatch):
    sub = with_submodule / "libs/one"
    monkeypatch.chdir(sub)
    round_trip(cairn, sub, "write_file('lib.py', 'lib = 3\\n')", {"lib.py": b"lib = 3\n"})
    assert status(with_submodule) == ""

    cairn.runs("write_file('lib.py', 'lib = 3\\n')")
    cairn.does(*COMMIT)
    assert (committed(sub), status(sub), status(with_submodule)) == ({"lib.py": "M"}, "", " M libs/one\0")


def test_a_repository_that_is_no_submodule_is_left_alone_unless_it_is_named(cairn, tmp_path, monkeypatch):
    root = repository(tmp_path / "outer", {"a.py": b"old = 1\n", "b/c.py": b"old = 2\n"})
    inner = repository(root / "b/clone", {"d.py": b"old = 3\n"})
    git(root, "worktree", "add", "-q", "-b", "side", str(root / "tree"))
    monkeypatch.chdir(root)
    program = """
for path in search_files('**/*.py'):
    write_file(path, read_file(path).replace('old', 'new'))
"""
    round_trip(cairn, root, program, {"a.py": b"new = 1\n", "b/c.py": b"new = 2\n"})
    round_trip(cairn, root, "write_file('b/clone/d.py', 'new = 3\\n')", {"b/clone/d.py": b"new = 3\n"})

    cairn.runs("move_file('b', 'moved')")
    assert "These stay where they are, because programs do not see them: b/clone/" in cairn.out
    cairn.does("accept")
    assert (contents(root)["moved/c.py"], status(inner)) == (b"old = 2\n", "")
    cairn.runs("write_file('b/clone/d.py', '')")
    assert cairn(*COMMIT) == 4
    assert "b/clone/d.py belongs to another git repository, b/clone. Nothing was written." in cairn.err


def test_a_folder_of_repositories_has_them_for_its_content(cairn, tmp_path, monkeypatch):
    root = tmp_path / "work"
    one, two = repository(root / "one", {"a.py": b"old = 1\n"}), repository(root / "two", {"b.py": b"old = 2\n"})
    monkeypatch.chdir(root)
    program = """
for path in search_files('**/*.py'):
    write_file(path, read_file(path).replace('old', 'new'))
"""
    round_trip(cairn, root, program, {"one/a.py": b"new = 1\n", "two/b.py": b"new = 2\n"})
    cairn.runs(program)
    assert cairn(*COMMIT) == 2
    cairn.does("accept")
    assert (status(one), status(two)) == (" M a.py\0", " M b.py\0")
    cairn.runs("try:\n    delete_file('one')\nexcept PermissionError as error:\n    print(error)")
    assert (root / "one/.git").exists()
    assert cairn("diff") == 0
    assert cairn.patch == b""


def test_the_variables_of_a_hook_lead_to_no_other_repository(cairn, tmp_path, monkeypatch):
    other = repository(tmp_path / "other", {"src/app.py": b"other\n"})
    root = repository(tmp_path / "plain", FILES)
    before = git(other, "rev-parse", "HEAD")
    monkeypatch.chdir(root)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    cairn.runs(EDIT)
    cairn.does(*COMMIT)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name)
    assert (committed(root), status(root)) == (LETTERS, "")
    assert (git(other, "rev-parse", "HEAD"), status(other)) == (before, "")


def test_the_home_folder_is_a_project_only_for_who_is_in_it(cairn, tmp_path, monkeypatch):
    home = lay_out(tmp_path / "home", {"a.txt": b"a\n", "notes/b.txt": b"b\n"})
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    round_trip(cairn, home, "write_file('a.txt', 'A\\n')", {"a.txt": b"A\n"})
    monkeypatch.chdir(home / "notes")
    cairn.runs("write_file('b.txt', ' '.join(list_dir()))")
    cairn.does("accept")
    assert (home / "notes/b.txt").read_bytes() == b"b.txt"


def test_a_bare_repository_is_refused_and_its_worktree_is_a_project(cairn, tmp_path, monkeypatch):
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(repository(tmp_path / "origin", FILES)), str(bare))
    git(bare, "worktree", "add", "-q", str(tmp_path / "tree"))
    before = snapshot(bare)
    for options in ((), ("--here",)):
        for place in (bare, bare / "refs"):
            monkeypatch.chdir(place)
            assert cairn(*options, "list") == 2
            assert cairn.err == (
                f"cairn: {bare} is git's own folder or a bare repository: there are no files to work on.\n"
                "  git worktree add DIR   or   git clone   makes a working tree; call cairn there.\n"
            )
    assert snapshot(bare) == before
    monkeypatch.chdir(tmp_path / "tree")
    round_trip(cairn, tmp_path / "tree", EDIT, EDITED)


# -- filters of git ------------------------------------------------------------------------------------------------------

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n"
OLD, NEW = POINTER % (b"a" * 64, 12), POINTER % (b"b" * 64, 34)


def test_lfs_pointers_are_text_like_any_other(cairn, tmp_path, monkeypatch):
    """As in a clone without git-lfs, or with GIT_LFS_SKIP_SMUDGE."""
    root = repository(
        tmp_path / "lfs", {".gitattributes": b"*.bin filter=lfs diff=lfs merge=lfs -text\n", "a.bin": OLD}
    )
    monkeypatch.chdir(root)
    program = f"write_file('a.bin', read_file('a.bin').replace('{'a' * 64}', '{'b' * 64}').replace('12', '34'))"
    round_trip(cairn, root, program, {"a.bin": NEW})
    cairn.runs(program)
    cairn.does(*COMMIT)
    assert (committed(root), status(root), git(root, "show", "HEAD:a.bin").encode()) == ({"a.bin": "M"}, "", NEW)

    cairn.runs("write_file('a.bin', read_file('a.bin').replace('34', '56'))")
    (root / "a.bin").write_bytes(NEW.replace(b"34", b"78"))
    assert cairn("accept") == 4
    assert "the same lines changed on both sides: line 3 (yours) against line 3 (the task's)" in cairn.err
    assert (root / "a.bin").read_bytes() == NEW.replace(b"34", b"78")


def test_what_a_filter_smudged_is_content_and_is_cleaned_by_a_commit(cairn, tmp_path, monkeypatch, nobodys_home):
    (nobodys_home / "clean").write_text("#!/bin/sh\nprintf 'version pointer '; tr a-z A-Z\n")
    (nobodys_home / "smudge").write_text("#!/bin/sh\nsed 's/^version pointer //' | tr A-Z a-z\n")
    for name in ("clean", "smudge"):
        (nobodys_home / name).chmod(0o755)
        git(tmp_path, "config", "--global", f"filter.large.{name}", str(nobodys_home / name))
    git(tmp_path, "config", "--global", "filter.large.required", "true")
    root = repository(tmp_path / "filtered", {".gitattributes": b"*.bin filter=large\n", "a.bin": b"\0content\n"})
    assert git(root, "show", "HEAD:a.bin") == "version pointer \0CONTENT\n"
    monkeypatch.chdir(root)
    program = "from pathlib import Path\nPath('a.bin').write_bytes(Path('a.bin').read_bytes() + b'more\\n')"
    # The patch is of what lies in the tree; git's own would be of what its filter makes of that.
    round_trip(cairn, root, program, {"a.bin": b"\0content\nmore\n"}, applies=False)

    cairn.runs(program)
    cairn.does(*COMMIT)
    assert git(root, "show", "HEAD:a.bin") == "version pointer \0CONTENT\nMORE\n"
    assert (committed(root), status(root)) == ({"a.bin": "M"}, "")


LF, CRLF = b"one\ntwo\nthree\nfour\nfive\n", b"one\r\ntwo\r\nthree\r\nfour\r\nfive\r\n"


@pytest.mark.parametrize(
    ("settings", "attributes", "in_tree"),
    [
        ({"core.autocrlf": "true"}, b"", CRLF),
        ({"core.autocrlf": "input"}, b"", LF),
        ({"core.eol": "lf"}, b"*.txt text eol=crlf\n", CRLF),
        ({"core.autocrlf": "true"}, b"*.txt -text\n", LF),
    ],
    ids=["autocrlf=true", "autocrlf=input", "eol=crlf", "-text"],
)
def test_line_ends_stay_in_the_tree_and_git_normalises_the_commit(
    cairn, tmp_path, monkeypatch, settings, attributes, in_tree
):
    root = repository(tmp_path / "ends", {"t.txt": LF, **({".gitattributes": attributes} if attributes else {})})
    for name, value in settings.items():
        git(root, "config", name, value)
    (root / "t.txt").unlink()
    git(root, "checkout", "-q", "t.txt")
    assert ((root / "t.txt").read_bytes(), status(root)) == (in_tree, "")
    monkeypatch.chdir(root)
    program = "write_file('t.txt', read_file('t.txt').replace('two', 'zwei'))\nwrite_file('new.txt', 'n\\n')"
    round_trip(cairn, root, program, {"t.txt": in_tree.replace(b"two", b"zwei"), "new.txt": b"n\n"})

    cairn.runs(program)
    (root / "t.txt").write_bytes(in_tree.replace(b"five", b"cinq"))
    cairn.does(*COMMIT)
    assert (root / "t.txt").read_bytes() == in_tree.replace(b"two", b"zwei").replace(b"five", b"cinq")
    assert git(root, "show", "HEAD:t.txt").encode() == LF.replace(b"two", b"zwei").replace(b"five", b"cinq")
    assert (committed(root), status(root)) == ({"t.txt": "M", "new.txt": "A"}, "")
    cairn.does("undo")
    assert (root / "t.txt").read_bytes() == in_tree.replace(b"five", b"cinq")


def test_a_sparse_checkout_is_what_is_on_disk(cairn, tmp_path, monkeypatch):
    root = repository(
        tmp_path / "sparse", {"in/a.py": b"a = 1\n", "out/b.py": b"b = 1\n", "out/c.py": b"c = 1\n", "top": b"t\n"}
    )
    git(root, "sparse-checkout", "set", "in")
    monkeypatch.chdir(root)
    assert not (root / "out").exists()
    program = """
write_file('seen.txt', ' '.join(search_files('**/*')))
write_file('in/a.py', 'a = 2\\n')
"""
    round_trip(cairn, root, program, {"seen.txt": b"in/a.py top", "in/a.py": b"a = 2\n"})
    cairn.runs(program)
    cairn.does(*COMMIT)
    assert (committed(root), status(root)) == ({"seen.txt": "A", "in/a.py": "M"}, "")


@pytest.mark.parametrize(("path", "letter"), [("out/b.py", "M"), ("out/new.py", "A")])
def test_a_file_made_outside_of_a_sparse_checkout_is_written_and_committed(cairn, tmp_path, monkeypatch, path, letter):
    root = repository(tmp_path / "sparse", {"in/a.py": b"a = 1\n", "out/b.py": b"b = 1\n"})
    git(root, "sparse-checkout", "set", "in")
    monkeypatch.chdir(root)
    program = f"write_file('{path}', 'b = 2\\n')"
    round_trip(cairn, root, program, {path: b"b = 2\n"})
    cairn.runs(program)
    cairn.does(*COMMIT)
    assert (committed(root), status(root)) == ({path: letter}, "")


# -- rules ---------------------------------------------------------------------------------------------------------------


def test_what_git_tracks_is_worked_on_although_a_rule_ignores_it(cairn, tmp_path, monkeypatch):
    root = repository(
        tmp_path / "tracked", {"gen/deep/api.py": b"old = 1\n", "gen/x.py": b"old = 2\n", "a.py": b"old = 3\n"}
    )
    lay_out(root, {".gitignore": b"gen/\n*.log\n", "gen/other.py": b"old = 4\n", "gen/more/d.py": b"old = 5\n"})
    git(root, "add", ".gitignore")
    git(root, "commit", "-q", "-m", "rules")
    monkeypatch.chdir(root)
    program = """
for hit in search_content('old'):
    write_file(hit['file'], read_file(hit['file']).replace('old', 'new'))
"""
    new = {"gen/deep/api.py": b"new = 1\n", "gen/x.py": b"new = 2\n", "a.py": b"new = 3\n"}
    round_trip(cairn, root, program, new)
    cairn.runs(program)
    cairn.does(*COMMIT)
    assert (committed(root), status(root)) == (dict.fromkeys(new, "M"), "")


def test_a_moved_folder_leaves_what_programs_do_not_see_and_the_review_says_so(cairn, tmp_path, monkeypatch):
    root = repository(
        tmp_path / "outputs", {".gitignore": b"__pycache__/\n.env\n", "src/a.py": b"a = 1\n", "src/b/c.py": b"c = 1\n"}
    )
    lay_out(root, {"src/__pycache__/a.pyc": b"\0", "src/b/__pycache__/c.pyc": b"\0", "src/b/.env": b"KEY=1\n"})
    os.mkfifo(root / "src/b/pipe")
    monkeypatch.chdir(root)
    for program in ("move_file('src', 'lib')", "delete_file('src')"):
        cairn.runs(program)
        assert (
            "These stay where they are, because programs do not see them: "
            "src/__pycache__/, src/b/.env, src/b/__pycache__/, src/b/pipe\n" in cairn.out
        )
        cairn.does("accept")
        here = {path for path in contents_without_pipes(root) if path.startswith("src/")}
        assert here == {"src/__pycache__/a.pyc", "src/b/__pycache__/c.pyc", "src/b/.env"}
        cairn.does("undo")
        assert (root / "src/b/c.py").read_bytes() == b"c = 1\n"
        assert status(root) == ""
        cairn.does("reject")


def contents_without_pipes(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]


# -- where it lies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["with space", "qu'o\"te", "line\nbreak", "日本語 é", "e\u0301", "-dash", "back\\slash", "$HOME *", "bad\udcff"],
    ids=["space", "quotes", "newline", "non-ASCII", "NFD", "dash", "backslash", "shell", "not UTF-8"],
)
def test_a_project_on_any_path(cairn, tmp_path, monkeypatch, name):
    root = repository(tmp_path / name / name, FILES)
    monkeypatch.chdir(root / "src")
    round_trip(cairn, root, EDIT, EDITED)
    cairn.runs(EDIT)
    cairn.does(*COMMIT)
    assert (committed(root), status(root)) == (LETTERS, "")


def test_a_project_reached_by_a_symlink(cairn, tmp_path, monkeypatch):
    root = repository(tmp_path / "real", FILES)
    (tmp_path / "way").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    round_trip(cairn, root, EDIT, EDITED, "-C", "way")
    monkeypatch.chdir(tmp_path / "way")
    cairn.runs(EDIT)
    cairn.does("-C", str(root), *COMMIT)
    assert (committed(root), status(root)) == (LETTERS, "")

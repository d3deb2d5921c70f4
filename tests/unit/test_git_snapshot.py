"""A commit of the files as they are: in every kind of repository, and nothing else of the repository touched."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from cairn.errors import CairnError, DiskFull, UsageProblem
from cairn.git_process import GitLate, GitRefused, git, problem
from cairn.git_snapshot import MESSAGE, prune, snapshot
from cairn.task_base import Base


def run(where, *arguments, **variables):
    done = subprocess.run(
        ["git", *arguments], cwd=where, capture_output=True, check=True, env={**os.environ, **variables}
    )
    return done.stdout.decode(errors="surrogateescape").strip()


def files_of(where, commit):
    """Mode and content of every file in a commit."""
    listed = subprocess.run(
        ["git", "ls-tree", "-r", "-z", "--full-tree", commit], cwd=where, capture_output=True, check=True
    ).stdout.split(b"\0")[:-1]
    found = {}
    for entry in listed:
        about, _, name = entry.partition(b"\t")
        mode, kind, sha = about.decode().split(" ")
        shown = ["git", "cat-file", "blob", sha]
        data = subprocess.run(shown, cwd=where, capture_output=True).stdout if kind == "blob" else sha.encode()
        found[os.fsdecode(name)] = (mode, data)
    return found


def everything_in(folder):
    """Every byte, mode and time of git's own folder but objects and Cairn's refs; links too."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.split("/")[0] == "objects" or name.startswith("refs/cairn"):
            continue
        content = path.read_bytes() if path.is_file() else b""
        found[name] = (path.lstat().st_mode, hashlib.sha256(content).hexdigest())
    return found


@pytest.fixture
def busy(repository):
    """With staged, changed, new, deleted and ignored files, a stash, a reflog, hooks and a linked worktree."""
    (repository / "gone.txt").write_text("soon gone\n")
    (repository / ".gitignore").write_text("*.log\n")
    run(repository, "add", "-A")
    run(repository, "commit", "-q", "-m", "second")
    (repository / "README.md").write_text("stashed\n")
    run(repository, "stash")
    (repository / "README.md").write_text("staged\n")
    run(repository, "add", "README.md")
    (repository / "README.md").write_text("and changed again\n")
    (repository / "gone.txt").unlink()
    (repository / "new file").write_text("new\n")
    (repository / "run.sh").write_text("#!/bin/sh\n")
    (repository / "run.sh").chmod(0o755)
    (repository / "link").symlink_to("src/app.py")
    Path(os.fsdecode(os.fsencode(repository) + b"/caf\xe9")).write_text("no UTF-8\n")
    (repository / "noise.log").write_text("ignored\n")
    (repository / ".cairn/tasks").mkdir(parents=True)
    (repository / ".cairn/tasks/abc.db").write_text("Cairn's own\n")
    return repository


def test_a_clean_tree_is_its_head(repository):
    head = run(repository, "rev-parse", "HEAD")

    assert snapshot(repository) == Base(head)
    assert run(repository, "for-each-ref", "--format=%(refname) %(objectname)", "refs/cairn") == (
        f"refs/cairn/base/{head} {head}"
    )


def test_uncommitted_work_is_a_commit_on_top_of_head_with_exactly_the_files_that_lie_there(busy):
    head = run(busy, "rev-parse", "HEAD")

    base = snapshot(busy)

    assert files_of(busy, base.commit) == {
        ".gitignore": ("100644", b"*.log\n"),
        "README.md": ("100644", b"and changed again\n"),
        "caf\udce9": ("100644", b"no UTF-8\n"),
        "link": ("120000", b"src/app.py"),
        "new file": ("100644", b"new\n"),
        "run.sh": ("100755", b"#!/bin/sh\n"),
        "src/app.py": ("100644", b'def greet(name):\n    return "hello " + name\n'),
        "src/tool.py": ("100644", b"# TODO: speed\ndef run():\n    return 1\n"),
    }
    moment = run(busy, "show", "-s", "--format=%ct", "HEAD")
    told = run(busy, "cat-file", "commit", base.commit).partition("\n")[2]
    assert told == (
        f"parent {head}\nauthor Cairn <cairn@localhost> {moment} +0000\n"
        f"committer Cairn <cairn@localhost> {moment} +0000\n\n{MESSAGE.strip()}"
    )


def test_equal_files_are_the_same_commit_however_they_came_to_be(busy):
    first = snapshot(busy)
    run(busy, "add", "-A", "--", ":!.cairn")
    os.utime(busy / "README.md", (1, 1))

    assert snapshot(busy) == first

    (busy / "README.md").write_text("something else\n")
    second = snapshot(busy)
    assert second != first
    assert prune(busy, [second]) == 1
    assert run(busy, "for-each-ref", "--format=%(objectname)", "refs/cairn") == second.commit


def test_nothing_of_the_repository_changes_but_objects_and_cairns_refs_and_none_of_its_programs_runs(busy, tmp_path):
    ran = tmp_path / "ran"
    for hook in ("pre-commit", "post-index-change", "reference-transaction", "post-commit", "post-checkout", "watcher"):
        path = busy / ".git/hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\necho {hook} >> {ran}\n")
        path.chmod(0o755)
    for name, value in {
        "core.fsmonitor": str(busy / ".git/hooks/watcher"),
        "commit.gpgSign": "true",
        "gpg.program": str(busy / ".git/hooks/watcher"),
        "core.logAllRefUpdates": "always",
        "core.splitIndex": "true",
    }.items():
        run(busy, "config", name, value)
    ran.unlink(missing_ok=True)
    before, files = everything_in(busy / ".git"), everything_in(busy)

    snapshot(busy)

    assert everything_in(busy / ".git") == before
    assert {name: found for name, found in everything_in(busy).items() if not name.startswith(".git/")} == {
        name: found for name, found in files.items() if not name.startswith(".git/")
    }
    assert not ran.exists()


def test_a_file_that_changed_in_the_instant_the_index_was_written_is_seen(repository):
    path = repository / "README.md"
    path.write_text("aaaa\n")
    run(repository, "add", "-A")
    run(repository, "commit", "-q", "-m", "of the same size")
    times = path.stat()
    path.write_text("bbbb\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    os.utime(repository / ".git/index", ns=(times.st_atime_ns, times.st_mtime_ns))

    assert files_of(repository, snapshot(repository).commit)["README.md"] == ("100644", b"bbbb\n")


def test_a_branch_without_a_commit_and_no_index_at_all(project):
    run(project, "init", "-q")

    base = snapshot(project)

    assert sorted(files_of(project, base.commit)) == ["README.md", "src/app.py", "src/tool.py"]
    assert "parent" not in run(project, "cat-file", "commit", base.commit)
    assert not (project / ".git/index").exists()
    assert snapshot(project) == base


def test_files_folders_and_links_that_took_each_others_names(repository):
    (repository / "a/b").mkdir(parents=True)
    (repository / "a/b/c").write_text("deep\n")
    (repository / "file").write_text("a file\n")
    run(repository, "add", "-A")
    run(repository, "commit", "-q", "-m", "first shape")
    (repository / "a").rename(repository / "elsewhere")
    (repository / "a").symlink_to("elsewhere")
    (repository / "file").unlink()
    (repository / "file").mkdir()
    (repository / "file/within").write_text("now a folder\n")
    (repository / "src/app.py").unlink()
    (repository / "src/tool.py").unlink()
    (repository / "src").rmdir()
    (repository / "src").write_text("now a file\n")

    assert files_of(repository, snapshot(repository).commit) == {
        "README.md": ("100644", b"# Sample\n\nTODO: say more.\n"),
        "a": ("120000", b"elsewhere"),
        "elsewhere/b/c": ("100644", b"deep\n"),
        "file/within": ("100644", b"now a folder\n"),
        "src": ("100644", b"now a file\n"),
    }


# -- a folder of a repository ------------------------------------------------------------------------------------------


def test_of_a_project_in_a_folder_only_that_folders_uncommitted_work_is_taken(busy):
    (busy / "src/new.py").write_text("new = 1\n")
    (busy / "src/app.py").unlink()

    base = snapshot(busy / "src")

    assert base.subfolder == "src"
    assert Base.parse(str(base)) == base
    found = files_of(busy, base.commit)
    assert sorted(found) == [".gitignore", "README.md", "gone.txt", "src/new.py", "src/tool.py"]
    assert found["README.md"] == ("100644", b"# Sample\n\nTODO: say more.\n")


def test_a_folder_that_is_clean_is_head_whatever_is_changed_beside_it(busy):
    assert snapshot(busy / "src") == Base(run(busy, "rev-parse", "HEAD"), "src")


def test_a_new_folder_deep_in_the_repository_and_one_that_lost_all_its_files(repository):
    (repository / "x/y/z").mkdir(parents=True)
    (repository / "x/y/z/one").write_text("1\n")
    (repository / "x/beside").write_text("not the project's\n")

    assert sorted(files_of(repository, snapshot(repository / "x/y/z").commit)) == [
        "README.md",
        "src/app.py",
        "src/tool.py",
        "x/y/z/one",
    ]

    (repository / "src/app.py").unlink()
    (repository / "src/tool.py").unlink()
    assert sorted(files_of(repository, snapshot(repository / "src").commit)) == ["README.md"]


def test_conflicts_of_a_merge_are_taken_as_they_lie_there_and_do_not_matter_elsewhere(repository):
    run(repository, "checkout", "-q", "-b", "side")
    (repository / "README.md").write_text("side\n")
    run(repository, "commit", "-q", "-a", "-m", "side")
    run(repository, "checkout", "-q", "main")
    (repository / "README.md").write_text("main\n")
    run(repository, "commit", "-q", "-a", "-m", "main")
    subprocess.run(["git", "merge", "-q", "side"], cwd=repository, capture_output=True, check=False)
    index = (repository / ".git/index").read_bytes()

    assert snapshot(repository / "src") == Base(run(repository, "rev-parse", "HEAD"), "src")
    told = files_of(repository, snapshot(repository).commit)["README.md"][1]

    assert told == b"<<<<<<< HEAD\nmain\n=======\nside\n>>>>>>> side\n"
    assert (repository / ".git/index").read_bytes() == index


# -- kinds of repositories ---------------------------------------------------------------------------------------------


def test_a_linked_worktree_has_its_own_head_and_index(busy, tmp_path):
    run(busy, "worktree", "add", "-q", str(tmp_path / "linked"), "HEAD~1")
    (tmp_path / "linked/only here").write_text("1\n")
    before = everything_in(busy / ".git")

    base = snapshot(tmp_path / "linked")

    assert sorted(files_of(busy, base.commit)) == ["README.md", "only here", "src/app.py", "src/tool.py"]
    assert everything_in(busy / ".git") == before


def test_of_a_submodule_its_commit_is_recorded_and_uncommitted_work_in_it_is_refused(repository, tmp_path):
    library = tmp_path / "library"
    library.mkdir()
    run(library, "init", "-q")
    (library / "lib.py").write_text("one = 1\n")
    run(library, "add", "-A")
    run(library, "commit", "-q", "-m", "one")
    run(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "lib")
    run(repository, "commit", "-q", "-m", "with a submodule")
    assert snapshot(repository) == Base(run(repository, "rev-parse", "HEAD"))
    (repository / "lib/lib.py").write_text("two = 2\n")

    with pytest.raises(UsageProblem) as refused:
        snapshot(repository)

    assert str(refused.value) == (
        "The submodule lib has work that is not committed, which a task elsewhere would not see.\n"
        "Commit it there, then try again: git -C lib status   shows it."
    )
    assert snapshot(repository / "src").subfolder == "src"  # that folder has nothing of it
    run(repository / "lib", "commit", "-q", "-a", "-m", "two")
    new = run(repository / "lib", "rev-parse", "HEAD")
    assert files_of(repository, snapshot(repository).commit)["lib"] == ("160000", new.encode())
    (repository / "lib/untracked").write_text("x\n")
    with pytest.raises(UsageProblem):
        snapshot(repository)


def test_a_repository_that_nobody_tracks_is_left_out_with_or_without_a_commit(repository):
    for name in ("apart", "begun"):
        (repository / name).mkdir()
        run(repository / name, "init", "-q")
        (repository / name / "file").write_text("x\n")
    run(repository / "apart", "add", "-A")
    run(repository / "apart", "commit", "-q", "-m", "its own")

    assert snapshot(repository) == Base(run(repository, "rev-parse", "HEAD"))


def test_line_ends_and_filters_are_what_git_itself_would_commit(repository, tmp_path):
    ran = tmp_path / "ran"
    run(repository, "config", "core.autocrlf", "true")
    run(repository, "config", "filter.pointer.clean", f"echo x >> {ran}; sed 's/.*/pointer/'")
    (repository / ".gitattributes").write_text("*.bin filter=pointer\n")
    (repository / "old.bin").write_text("content\n")
    os.utime(repository / "old.bin", (1, 1))
    run(repository, "add", "-A")
    run(repository, "commit", "-q", "-m", "first pointer")
    ran.unlink()
    run(repository, "config", "core.safecrlf", "true")
    (repository / "windows.txt").write_bytes(b"one\r\ntwo\r\n")

    found = files_of(repository, snapshot(repository).commit)

    assert found["windows.txt"] == ("100644", b"one\ntwo\n")
    assert found["old.bin"] == ("100644", b"pointer\n")
    assert not ran.exists()  # a file that did not change is not filtered again
    (repository / "new.bin").write_text("content\n")
    assert files_of(repository, snapshot(repository).commit)["new.bin"] == ("100644", b"pointer\n")
    expected = snapshot(repository)
    run(repository, "config", "core.safecrlf", "false")
    run(repository, "add", "-A")
    assert run(repository, "write-tree") == run(repository, "rev-parse", f"{expected.commit}^{{tree}}")


def test_a_sparse_checkout_keeps_what_is_not_on_the_disk(repository):
    run(repository, "sparse-checkout", "set", "--no-cone", "/README.md")
    (repository / "README.md").write_text("changed\n")
    (repository / "src").mkdir()
    (repository / "src/new.py").write_text("outside\n")

    found = files_of(repository, snapshot(repository).commit)

    assert sorted(found) == ["README.md", "src/app.py", "src/new.py", "src/tool.py"]
    assert found["README.md"] == ("100644", b"changed\n")


def test_a_shallow_clone_and_a_repository_with_long_names_of_commits(repository, tmp_path):
    (repository / "README.md").write_text("two\n")
    run(repository, "commit", "-q", "-a", "-m", "two")
    run(tmp_path, "clone", "-q", "--depth=1", f"file://{repository}", "shallow")
    run(tmp_path, "init", "-q", "--object-format=sha256", "long")
    for name in ("shallow", "long"):
        (tmp_path / name / "new").write_text("new\n")
        base = snapshot(tmp_path / name)
        assert files_of(tmp_path / name, base.commit)["new"] == ("100644", b"new\n")
    assert len(base.commit) == 64


def test_what_cairnignore_hides_and_git_does_not_know_stays_at_home(repository):
    (repository / ".cairnignore").write_text(".env\nREADME.md\n")
    (repository / "src/.env").write_text("TOKEN=secret\n")
    (repository / "README.md").write_text("git knows this one\n")

    found = files_of(repository, snapshot(repository).commit)

    assert sorted(found) == [".cairnignore", "README.md", "src/app.py", "src/tool.py"]
    assert found["README.md"] == ("100644", b"git knows this one\n")


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_no_repository_is_refused_in_one_sentence(project):
    with pytest.raises(UsageProblem) as refused:
        snapshot(project)

    assert str(refused.value) == (
        f"{project} is in no git repository, so its tasks cannot be run on other machines: they work on a commit.\n"
        "git init   makes one."
    )


def test_a_bare_repository_a_large_file_and_a_head_that_names_nothing_are_refused(repository, tmp_path):
    run(tmp_path, "init", "-q", "--bare", "bare")
    with pytest.raises(UsageProblem, match="there are no files to work on"):
        snapshot(tmp_path / "bare")
    with (repository / "model.bin").open("wb") as file:
        file.truncate(100_000_001)
    with pytest.raises(UsageProblem, match=r"model\.bin is not committed and larger than 100 MB"):
        snapshot(repository)
    (repository / "model.bin").unlink()
    (repository / ".git/HEAD").write_text("1" * 40 + "\n")
    with pytest.raises(CairnError, match="git cannot keep the files"):
        snapshot(repository)


def test_what_git_says_of_a_full_disk_is_a_full_disk():
    told = problem("It cannot be kept.", GitRefused("error: unable to write file: No space left on device", 128))

    assert isinstance(told, DiskFull)


@pytest.mark.parametrize(
    "text", ["", "abc", "g" * 40, "1" * 41, f"{'1' * 40}:../up", f"{'1' * 40}:/a", f"{'1' * 40}:a/"]
)
def test_what_is_no_base_is_not_parsed(text):
    with pytest.raises(ValueError, match="is no"):
        Base.parse(text)


def test_git_is_ended_when_its_time_is_over(repository):
    with pytest.raises(GitLate, match=r"git hash-object did not end within 0.2 s"):
        git(repository, "hash-object", "--no-filters", "/dev/zero", seconds=0.2)

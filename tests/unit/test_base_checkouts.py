"""From a user's clone over a remote to a tree on another machine: shared, whole or not at all, and nothing run of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from cairn.base_checkouts import BaseCheckouts, cache_folder
from cairn.base_remote import fetch, prune_remote, publish, remote_address
from cairn.errors import CairnError, NotFound, StorageProblem, UsageProblem
from cairn.git_history import history
from cairn.git_snapshot import snapshot
from cairn.project_name import project_name
from cairn.task_base import Base

ROOT = Path(__file__).parents[2]


def run(where, *arguments, **variables):
    done = subprocess.run(
        ["git", *arguments], cwd=where, capture_output=True, check=True, env={**os.environ, **variables}
    )
    return done.stdout.decode(errors="surrogateescape").strip()


def tree_of(folder):
    """Every path with its mode and content, without git's own."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.split("/")[0] != ".git" and (path.is_symlink() or not path.is_dir()):
            content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
            found[name] = (oct(path.lstat().st_mode & 0o777), content)
    return found


@pytest.fixture
def remote(tmp_path):
    run(tmp_path, "init", "-q", "--bare", "remote.git")
    return tmp_path / "remote.git"


@pytest.fixture
def cloned(repository, remote):
    """The user's repository with uncommitted work, and its remote."""
    run(repository, "remote", "add", "origin", "../remote.git")
    (repository / "run.sh").write_text("#!/bin/sh\n")
    (repository / "run.sh").chmod(0o755)
    (repository / "link").symlink_to("src")
    Path(os.fsdecode(os.fsencode(repository) + b"/caf\xe9")).write_text("no UTF-8\n")
    return repository


def published(root):
    base = snapshot(root)
    publish(root, base, "origin")
    return base


def checkouts(tmp_path, remote, **options):
    return BaseCheckouts(tmp_path / "cache" / "project", str(remote), **options)


# -- the whole way -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["path", "url"])
def test_a_tree_on_another_machine_is_what_the_user_has(cloned, remote, tmp_path, address):
    base = published(cloned)
    at = BaseCheckouts(tmp_path / "cache", str(remote) if address == "path" else f"file://{remote}")

    with at.held(base) as root:
        found = tree_of(root)
        assert history(root, "src/app.py", 1).split(" ", 3)[2:] == [
            "Tester:",
            history(cloned, "src/app.py", 1).split(" ", 3)[3],
        ]
        assert run(root, "status", "--porcelain", "--ignored") == ""

    assert found == tree_of(cloned)
    assert run(remote, "for-each-ref", "--format=%(refname)") == base.ref  # and no branch


def test_two_that_push_the_same_commit_at_once_both_have_it_there(cloned, remote, tmp_path):
    (tmp_path / "here").mkdir()
    meet = f'touch "{tmp_path}/here/$$"; until [ $(ls "{tmp_path}/here" | wc -l) -ge 2 ]; do sleep 0.01; done'
    hook = remote / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{meet}\n")
    hook.chmod(0o755)
    base = snapshot(cloned)

    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(publish, cloned, base, "origin") for _ in range(2)]:
            each.result()

    assert run(remote, "for-each-ref", "--format=%(refname)") == base.ref


def test_publishing_again_writes_nothing_and_a_remote_keeps_only_what_is_not_dropped(cloned, remote):
    first = published(cloned)
    (remote / "objects").chmod(0o500)
    publish(cloned, first, "origin")
    (remote / "objects").chmod(0o700)
    (cloned / "new").write_text("new\n")
    second = published(cloned)

    assert prune_remote(cloned, "origin", [first, Base("1" * 40)]) == 1
    assert run(remote, "for-each-ref", "--format=%(refname)") == second.ref


def test_what_one_project_of_a_repository_lets_go_of_another_one_still_has(cloned, remote, tmp_path):
    """Both work on the same commit, and each knows only its own tasks."""
    (cloned / "lib").mkdir()
    (cloned / "lib/x.py").write_text("x\n")
    run(cloned, "add", ".")
    run(cloned, "commit", "-qm", "all of it")
    bases = [snapshot(cloned / folder) for folder in ("src", "lib")]
    for base in bases:
        publish(cloned, base, "origin")
    assert bases[0].commit == bases[1].commit

    assert prune_remote(cloned, "origin", [bases[0]]) == 1
    with BaseCheckouts(tmp_path / "cache", str(remote)).held(bases[1]) as root:
        assert (root / "x.py").read_text() == "x\n"


def test_a_remote_that_hands_out_only_refs_by_name_will_do(cloned, remote, tmp_path):
    run(remote, "config", "uploadpack.allowAnySHA1InWant", "false")
    with checkouts(tmp_path, f"file://{remote}").held(published(cloned)) as root:
        assert (root / "run.sh").exists()


def test_a_folder_of_the_repository_is_the_root_and_no_link_leads_to_it(cloned, remote, tmp_path):
    base = published(cloned / "src")
    at = checkouts(tmp_path, remote)

    with at.held(base) as root:
        assert (root.name, sorted(tree_of(root))) == ("src", ["app.py", "tool.py"])
        assert "first" in history(root, "app.py", 1)

    whole = published(cloned)
    for wrong in ("link", "none", "README.md", "src/app.py"):
        publish(cloned, Base(whole.commit, wrong), "origin")
        with (
            pytest.raises(NotFound, match=f"has no folder {wrong}, which is the task's project"),
            at.held(Base(whole.commit, wrong)),
        ):
            pass


def test_a_shallow_clone_can_be_pushed_to_where_the_rest_is(cloned, remote, tmp_path):
    run(cloned, "add", "-A")
    run(cloned, "commit", "-q", "-m", "second")
    run(cloned, "push", "-q", "origin", "main")
    run(tmp_path, "clone", "-q", "--depth=1", "--branch=main", f"file://{remote}", "shallow")
    (tmp_path / "shallow/new").write_text("new\n")

    with checkouts(tmp_path, remote).held(published(tmp_path / "shallow")) as root:
        assert sorted(tree_of(root)) == ["README.md", "caf\udce9", "link", "new", "run.sh", "src/app.py", "src/tool.py"]
        assert "first" in history(root, "src", 1)


def test_commits_with_long_names_have_a_mirror_of_their_kind(project, tmp_path):
    run(project, "init", "-q", "--object-format=sha256")
    run(tmp_path, "init", "-q", "--bare", "--object-format=sha256", "long.git")
    base = snapshot(project)
    publish(project, base, str(tmp_path / "long.git"))

    with checkouts(tmp_path, tmp_path / "long.git").held(base) as root:
        assert tree_of(root) == tree_of(project)


# -- what the commit holds is hostile ----------------------------------------------------------------------------------


def test_nothing_that_a_commit_or_the_machines_settings_name_is_run_or_fetched(cloned, remote, tmp_path, nobodys_home):
    ran = tmp_path / "ran"
    (tmp_path / "hooks").mkdir()
    for hook in ("post-checkout", "reference-transaction", "post-index-change"):
        (tmp_path / "hooks" / hook).write_text(f"#!/bin/sh\necho {hook} >> {ran}\n")
        (tmp_path / "hooks" / hook).chmod(0o755)
    (cloned / ".gitattributes").write_text("*.txt filter=evil text eol=crlf\n")
    (cloned / "a.txt").write_text("version https://git-lfs.github.com/spec/v1\n")
    (cloned / ".gitmodules").write_text(
        '[submodule "m"]\n path = m\n url = ext::sh -c "touch owned"\n update = !touch owned\n'
    )
    (cloned / "m").mkdir()
    run(cloned, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},m")
    base = published(cloned)
    with (nobodys_home / "gitconfig").open("a") as settings:
        settings.write(
            f"[core]\n hooksPath = {tmp_path}/hooks\n autocrlf = true\n fsmonitor = {tmp_path}/hooks/post-checkout\n"
            f'[filter "evil"]\n smudge = "echo smudge >> {ran}"\n required = true\n[submodule]\n recurse = true\n'
        )

    with checkouts(tmp_path, remote).held(base) as root:
        assert (
            root / "a.txt"
        ).read_bytes() == b"version https://git-lfs.github.com/spec/v1\r\n"  # the commit asks for it
        assert (root / "README.md").read_bytes() == b"# Sample\n\nTODO: say more.\n"  # and the machine has no say
        assert list((root / "m").iterdir()) == []  # a submodule is an empty folder
    assert not ran.exists()


def test_a_commit_that_would_write_into_gits_own_folder_is_refused(cloned, remote, tmp_path):
    blob = run(cloned, "hash-object", "-w", "README.md")
    inner = (
        subprocess.run(
            ["git", "mktree"],
            cwd=cloned,
            input=f"100644 blob {blob}\tconfig\n".encode(),
            capture_output=True,
            check=True,
        )
        .stdout.decode()
        .strip()
    )
    tree = (
        subprocess.run(
            ["git", "mktree"],
            cwd=cloned,
            input=f"040000 tree {inner}\t.git\n".encode(),
            capture_output=True,
            check=True,
        )
        .stdout.decode()
        .strip()
    )
    base = Base(run(cloned, "commit-tree", "-m", "hostile", tree))
    publish(cloned, base, "origin")
    at = checkouts(tmp_path, remote)

    with pytest.raises(CairnError, match="could not be checked out"), at.held(base):
        pass
    assert not (tmp_path / "cache/project" / base.commit).exists()


# -- shared, and whole or not at all -----------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from cairn.base_checkouts import BaseCheckouts
from cairn.task_base import Base
with BaseCheckouts(Path(sys.argv[1]), sys.argv[2]).held(Base.parse(sys.argv[3])) as root:
    print(len(list(root.rglob("*"))), flush=True)
    sys.stdin.read()
"""


def holder(tmp_path, remote, base):
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "cache/project"), str(remote), str(base)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def test_many_processes_and_threads_at_once_make_one_tree(cloned, remote, tmp_path):
    base = published(cloned)
    at = checkouts(tmp_path, remote)
    together = [holder(tmp_path, remote, base) for _ in range(3)]
    with ThreadPoolExecutor(4) as pool:
        roots = list(pool.map(lambda _: at.held(base).__enter__(), range(4)))

    assert len(set(roots)) == 1
    assert {process.communicate(timeout=50)[0] for process in together} == {b"8\n"}
    assert sorted(each.name for each in (tmp_path / "cache/project").iterdir()) == [
        base.commit,
        f"{base.commit}.done",
        f"{base.commit}.lock",
        "mirror.git",
        "mirror.git.lock",
    ]


def test_two_commits_at_once_share_one_mirror(cloned, remote, tmp_path):
    first = published(cloned)
    (cloned / "new").write_text("new\n")
    second = published(cloned)

    together = [holder(tmp_path, remote, base) for base in (first, second)]

    assert [process.communicate(timeout=50)[0] for process in together] == [b"8\n", b"9\n"]


def test_the_tree_that_was_not_used_for_longest_goes_and_one_that_is_held_stays(cloned, remote, tmp_path):
    at = checkouts(tmp_path, remote, keep=1)
    bases = []
    for number in range(3):
        (cloned / "new").write_text(f"{number}\n")
        bases.append(published(cloned))
    with ExitStack() as stack:
        stack.enter_context(at.held(bases[0]))
        for base in bases[1:]:
            with at.held(base):
                pass

        assert [at._is_whole(base.commit) for base in bases] == [True, False, True]
        assert run(at._mirror, "for-each-ref", "--format=%(refname)").split() == sorted([bases[0].ref, bases[2].ref])
        with at.held(bases[1]) as root:
            assert (root / "new").read_text() == "1\n"
    assert (at.prune(), at.prune()) == (1, 0)


def test_a_tree_that_something_changed_or_the_machines_start_left_in_doubt_is_made_anew(cloned, remote, tmp_path):
    base = published(cloned)
    with checkouts(tmp_path, remote).held(base) as root:
        (root / "README.md").write_text("changed by a check without a sandbox\n")

    with checkouts(tmp_path, remote).held(base) as root:
        assert tree_of(root) == tree_of(cloned)
    mark = tmp_path / "cache/project" / f"{base.commit}.done"
    mark.write_text("another start of the machine")
    (root / "README.md").write_text("")
    with checkouts(tmp_path, remote).held(base) as root:
        assert tree_of(root) == tree_of(cloned)
    assert mark.read_text() != "another start of the machine"


@pytest.mark.slow
def test_killed_at_any_point_nobody_ever_sees_half_a_tree(repository, remote, tmp_path):
    run(repository, "remote", "add", "origin", str(remote))
    for number in range(2000):
        path = repository / f"d{number % 40}" / f"f{number}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"number = {number}\n" * 20)
    base = published(repository)
    whole = len(tree_of(repository))
    killed_early = 0
    began = time.monotonic()
    with checkouts(tmp_path / "measured", remote).held(base):
        span = time.monotonic() - began
    for point in range(12):
        process = holder(tmp_path, remote, base)
        time.sleep(0.1 + point * (span + 0.3) / 12)  # the moments themselves are the test
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        killed_early += not (tmp_path / "cache/project" / f"{base.commit}.done").exists()
        with checkouts(tmp_path, remote).held(base) as root:
            assert len(tree_of(root)) == whole
            assert run(root, "status", "--porcelain") == ""
        shutil.rmtree(tmp_path / "cache") if point % 2 else (
            tmp_path / "cache/project" / f"{base.commit}.done"
        ).unlink()
    assert killed_early


def test_what_a_killed_git_left_in_the_mirror_is_in_nobodys_way(cloned, remote, tmp_path):
    first = published(cloned)
    at = checkouts(tmp_path, remote)
    with at.held(first):
        pass
    (cloned / "new").write_text("new\n")
    second = published(cloned)
    (at._mirror / f"{second.ref}.lock").write_text("")
    (at._mirror / "packed-refs.lock").write_text("")
    (at._mirror / "worktrees" / second.commit).mkdir()
    (at._path(second.commit)).mkdir()
    (at._path(second.commit) / "half").write_text("x")

    with at.held(second) as root:
        assert tree_of(root) == tree_of(cloned)


def test_one_who_waits_too_long_for_another_says_for_whom(cloned, remote, tmp_path):
    base = published(cloned)
    at = checkouts(tmp_path, remote, wait_seconds=0.1)
    at._make_folder()
    entered, leave = threading.Event(), threading.Event()

    def making():
        import fcntl

        with at._path(base.commit, ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            entered.set()
            leave.wait(30)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(making)
        entered.wait(30)
        try:
            with (
                pytest.raises(CairnError, match=r"is being made or fetched by another process since 0.1 s"),
                at.held(base),
            ):
                pass
        finally:
            leave.set()


# -- remotes that are not there ----------------------------------------------------------------------------------------


def test_a_remote_that_is_not_there_is_told_with_what_to_do(cloned, tmp_path):
    base = snapshot(cloned)
    with pytest.raises(UsageProblem) as refused:
        publish(cloned, base, "upstream")
    assert str(refused.value) == (
        "This repository has no remote 'upstream', through which other machines could get its files.\n"
        "git remote add upstream URL   adds one.\n"
        'Set engine.remote to the name of a git remote, a URL or a path: CAIRN_ENGINE_REMOTE="..."'
    )
    with pytest.raises(CairnError, match="could not be pushed to '/none'") as unreachable:
        publish(cloned, base, "/none")
    assert "'/none' does not appear to be a git repository" in unreachable.value.why
    for address in ("ext::sh -c 'touch owned'", "--upload-pack=touch owned", ""):
        with pytest.raises(CairnError):
            publish(cloned, base, address)
        with pytest.raises(CairnError):
            fetch(cloned, base, address)
    assert not list(tmp_path.rglob("owned"))


def test_a_worker_says_that_a_commit_is_not_in_the_remote_or_the_remote_is_a_mere_name(cloned, remote, tmp_path):
    base = snapshot(cloned)
    with pytest.raises(NotFound, match=f"has no commit {base.commit[:12]} for tasks") as missing:
        checkouts(tmp_path, remote).held(base).__enter__()
    assert missing.value.why == f"It would be kept there as {base.ref}; it was deleted, or never pushed."
    with pytest.raises(UsageProblem, match="'origin' is no address of a git remote, only a name"):
        checkouts(tmp_path, "origin").held(base).__enter__()


@pytest.mark.parametrize("user", ["worker:s3cret@", "s3cret@"])
def test_what_an_address_says_to_the_remote_alone_is_in_no_message(cloned, tmp_path, user):
    """Messages become a task's reason, which all who have the ledger can read."""
    base, address = snapshot(cloned), f"http://{user}127.0.0.1:9/acme.git"
    for call in (
        lambda: publish(cloned, base, address),
        lambda: fetch(cloned, base, address),
        lambda: prune_remote(cloned, address, [base]),
    ):
        with pytest.raises(CairnError) as refused:
            call()
        assert "s3cret" not in f"{refused.value}{refused.value!r}{refused.value.why}"
        assert "http://***@127.0.0.1:9/acme.git" in refused.value.what


def test_a_server_that_never_answers_is_given_up(cloned, tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(CairnError) as late:
        publish(cloned, snapshot(cloned), f"git://127.0.0.1:{silent.getsockname()[1]}/x", seconds=0.5)
    assert late.value.why == "git push did not end within 0.5 s."


def test_where_checkouts_are_is_the_setting_or_the_users_cache(tmp_path):
    assert cache_folder(None, {"HOME": "/home/me"}, "app") == Path("/home/me/.cache/cairn/bases/app")
    assert cache_folder(None, {"XDG_CACHE_HOME": "/cache"}, "app") == Path("/cache/cairn/bases/app")
    assert cache_folder("/srv/cairn", {}, "app") == Path("/srv/cairn/app")


def test_a_cache_that_cannot_be_written_is_told(cloned, remote, tmp_path):
    (tmp_path / "cache").write_text("a file\n")

    with pytest.raises(StorageProblem) as refused:
        checkouts(tmp_path, remote).held(published(cloned)).__enter__()

    assert refused.value.what == f"The folder for checkouts, {tmp_path}/cache/project, cannot be made."


def test_a_remotes_address_for_processes_that_stand_elsewhere(cloned, remote, monkeypatch):
    run(cloned, "remote", "add", "web", "https://example.org/x.git")
    assert remote_address(cloned, "origin") == str(remote)
    assert remote_address(cloned, "web") == "https://example.org/x.git"
    assert remote_address(cloned, "git@example.org:x.git") == "git@example.org:x.git"
    assert remote_address(cloned, "../remote.git") == str(remote)
    assert remote_address(cloned, "~/bare.git") == f"{os.environ['HOME']}/bare.git"
    with pytest.raises(UsageProblem):
        remote_address(cloned, "nowhere")


# -- the project's name ------------------------------------------------------------------------------------------------


def test_every_clone_has_the_same_name_and_a_folder_one_of_its_own(cloned, remote, tmp_path):
    (cloned / ".cairn").mkdir()
    name = project_name(cloned, cloned / ".cairn", None)

    assert name == run(cloned, "rev-parse", "HEAD")[:12]
    assert (cloned / ".cairn/project-name").read_text() == f"{name}\n"
    run(cloned, "commit", "-q", "--allow-empty", "-m", "second")
    run(tmp_path, "clone", "-q", str(cloned), "other")
    assert project_name(tmp_path / "other", tmp_path / "none", None) == name
    inner = project_name(tmp_path / "other/src", tmp_path / "none", None)
    assert (inner != name, len(inner)) == (True, 12)
    assert project_name(cloned, cloned / ".cairn", "our-project") == "our-project"


def test_of_several_first_commits_the_oldest_gives_the_name(repository, tmp_path):
    first = run(repository, "rev-parse", "HEAD")
    old = "2001-01-01T00:00:00Z"
    run(repository, "checkout", "-q", "--orphan", "imported")
    run(repository, "commit", "-q", "-m", "imported", GIT_COMMITTER_DATE=old, GIT_AUTHOR_DATE=old)
    imported = run(repository, "rev-parse", "HEAD")
    run(repository, "checkout", "-q", "main")
    assert project_name(repository, tmp_path / "none", None) == first[:12]
    run(repository, "merge", "-q", "--allow-unrelated-histories", "-m", "both", "imported")

    assert project_name(repository, tmp_path / "none", None) == imported[:12]


def test_where_a_name_has_to_be_set_it_is_said(project, tmp_path):
    state = tmp_path / "none"
    with pytest.raises(UsageProblem, match="is in no git repository"):
        project_name(project, state, None)
    run(project, "init", "-q")
    with pytest.raises(UsageProblem, match="has no commit yet"):
        project_name(project, state, None)
    run(project, "add", "-A")
    run(project, "commit", "-q", "-m", "1")
    run(project, "commit", "-q", "--allow-empty", "-m", "2")
    run(tmp_path, "clone", "-q", "--depth=1", f"file://{project}", "shallow")
    with pytest.raises(UsageProblem, match="This clone is shallow"):
        project_name(tmp_path / "shallow", state, None)
    for wrong in ("Upper", "a b", "-x", "x" * 49):
        with pytest.raises(UsageProblem, match="cannot be a project's name"):
            project_name(project, state, wrong)

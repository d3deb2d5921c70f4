"""A task that runs in a checkout of a commit, with its state elsewhere, and is accepted in the clone it came from."""

from __future__ import annotations

import asyncio
import subprocess

import pytest

from cairn.base_checkouts import BaseCheckouts
from cairn.base_remote import publish, remote_address
from cairn.changes_in_tree import changes_in_tree
from cairn.checks import Check, Verdict
from cairn.git_snapshot import snapshot
from cairn.local_runtime import LocalRuntime, Surroundings, namespaces_work
from cairn.orchestrator import Orchestrator
from cairn.project import Project
from cairn.queue import TaskQueue
from cairn.run_parts import Parts
from cairn.runtime import Sandbox
from cairn.settings import Settings
from cairn.task import CodeOrigin, TaskStatus
from cairn.worker import Worker
from tests.conftest import tree
from tests.unit.test_orchestrator import FileSource

PROGRAM = """\
log(history("src/app.py", 1).splitlines()[0].split(" ", 2)[2])
text = read_file("README.md")
write_file("README.md", text.replace("TODO: say more.", "It says more."))
move_file("src/tool.py", "src/tools.py")
found = run_check("tests")
submit_result("done", ["README.md", "src/tool.py", "src/tools.py"])
"""


@pytest.fixture
def clone(repository, tmp_path):
    """With CRLF in its files, closed to others, edited and not committed."""
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "remote.git")], check=True)
    subprocess.run(["git", "remote", "add", "origin", "../remote.git"], cwd=repository, check=True)
    subprocess.run(["git", "config", "core.autocrlf", "true"], cwd=repository, check=True)
    (repository / "test.sh").write_text("grep -q 'It says more' README.md && test -f src/tools.py && ! ls -d .cairn\n")
    (repository / "README.md").write_bytes(b"# Sample\r\n\r\nTODO: say more.\r\n")
    (repository / "src/tool.py").chmod(0o660)
    return repository


def worked_on(root, state, tmp_path):
    """The task run by a worker that has only a checkout."""
    environ = {"PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path / "workspaces")}
    parts = Parts(
        lambda origin, _settings: FileSource(origin.program or "", origin.name),
        lambda _origin, _settings: None,
        lambda place, _settings, _unsandboxed: LocalRuntime(place, Surroundings(Sandbox.NAMESPACES), environ),
    )
    project = Project(root, state=state)
    project.prepare()
    settings = Settings(checks={"tests": Check("tests", "sh test.sh")})
    with Orchestrator(project, TaskQueue(state / "cairn.db"), settings, parts) as orchestrator:
        task = orchestrator.new_tasks.submit("say more", CodeOrigin("file", "p.py", PROGRAM))
        review = asyncio.run(Worker(orchestrator).run_task(task.id))
        return review, orchestrator.checks.evidence(review.task)


@pytest.mark.skipif(not namespaces_work(), reason="this machine has no user namespaces")
def test_a_task_of_a_commit_with_history_and_checks_is_accepted_in_a_clone_with_other_line_ends(clone, tmp_path):
    base = snapshot(clone)
    publish(clone, base, "origin")
    at = BaseCheckouts(tmp_path / "cache", remote_address(clone, "origin"))
    with at.held(base) as root:
        before = tree(root)
        review, evidence = worked_on(root, tmp_path / "state", tmp_path)
        assert tree(root) == before

    assert review.task.status is TaskStatus.IN_REVIEW
    assert [each.verdict for each in evidence.standings] == [Verdict.PASSED]
    assert review.changes.paths == ("README.md", "src/tool.py", "src/tools.py")
    (clone / "README.md").write_bytes(b"Mine.\r\n\r\n# Sample\r\n\r\nTODO: say more.\r\n")

    done = Project(clone).apply(review.task.id, changes_in_tree(review.changes, clone))

    assert (done.merged, done.already) == (("README.md",), ())
    assert (clone / "README.md").read_bytes() == b"Mine.\r\n\r\n# Sample\r\n\r\nIt says more.\r\n"
    assert (clone / "src/tools.py").stat().st_mode & 0o777 == 0o660
    Project(clone).undo()
    assert (clone / "README.md").read_bytes() == b"Mine.\r\n\r\n# Sample\r\n\r\nTODO: say more.\r\n"

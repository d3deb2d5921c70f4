"""A run over a commit that has to be fetched: stopped in the middle of that, it ends at once and harms nothing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

import pytest

from cairn.kept_bases import KeptBases
from cairn.run_endings import RELEASED
from cairn.shared_bases import SharedBases
from cairn.task import CodeOrigin, TaskStatus
from cairn.worker import Worker
from tests.unit.test_orchestrator import WRITES, Desk

# Stands for ssh, of which only the last word counts; git asks first which kind of ssh it is.
SSH = """#!/bin/sh
for last; do :; done
case "$last" in git-upload-pack*) ;; *) exit 1 ;; esac
eval "$last" %s
"""
# After part of the pack the line says nothing more.
STALLS = """| exec "{python}" -c '
import os, time
left = 100_000
while left > 0:
    left -= os.write(1, os.read(0, 10_000))
open("{reached}", "w").close()
time.sleep(60)'
"""


def script(path, then=""):
    path.write_text(SSH % then)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def stalled(repository, tmp_path, monkeypatch):
    """A project whose remote stands still in the middle of each fetch, unless ssh is the real thing."""
    (repository / "large.bin").write_bytes(os.urandom(400_000))
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
    desk = Desk(repository)
    orchestrator, reached = desk.orchestrator, tmp_path / "reached"
    kept = KeptBases(orchestrator.queue.database)
    base = SharedBases(orchestrator.project, str(remote), tmp_path / "cache", kept).now()
    monkeypatch.setenv(
        "GIT_SSH_COMMAND", script(tmp_path / "stalls", STALLS.format(python=sys.executable, reached=reached))
    )
    orchestrator._bases = SharedBases(orchestrator.project, f"host:{remote}", tmp_path / "cache", kept)
    draft = orchestrator.queue.draft("x", CodeOrigin("file", "p.py", WRITES), base=base)
    (task,) = orchestrator.queue.put([draft])
    yield orchestrator, task, reached
    orchestrator.close()


async def stalls(run, reached):
    """Returns when the fetch of a run that began stands still."""
    while not reached.exists():
        assert not run.done()
        await asyncio.wait([run], timeout=0.02)


@pytest.mark.timeout(50)
def test_a_run_that_is_stopped_while_its_commit_is_fetched_ends_at_once_and_leaves_a_mirror_that_works(
    stalled, tmp_path, monkeypatch
):
    orchestrator, task, reached = stalled

    async def stopped():
        run = asyncio.ensure_future(Worker(orchestrator).run_task(task.id))
        await stalls(run, reached)
        run.cancel(RELEASED)
        begun = time.monotonic()
        await asyncio.wait([run])
        return begun

    begun = asyncio.run(stopped())
    assert time.monotonic() - begun < 5  # the thread with git has ended too, or the loop would wait for it
    assert orchestrator.task(task.id).status is TaskStatus.QUEUED

    monkeypatch.setenv("GIT_SSH_COMMAND", script(tmp_path / "goes"))
    assert asyncio.run(Worker(orchestrator).run_task(task.id)).task.status is TaskStatus.IN_REVIEW
    mirror = tmp_path / "cache/mirror.git"
    subprocess.run(["git", "fsck", "--no-progress"], cwd=mirror, check=True, capture_output=True)


@pytest.mark.timeout(50)
def test_a_task_that_is_cancelled_while_its_commit_is_fetched_ends_at_once(stalled):
    orchestrator, task, reached = stalled

    async def cancelled():
        run = asyncio.ensure_future(Worker(orchestrator).run_task(task.id))
        await stalls(run, reached)
        orchestrator.moves.cancel(orchestrator.task(task.id))
        return time.monotonic(), (await run).task

    begun, ended = asyncio.run(cancelled())

    assert time.monotonic() - begun < 5
    assert (ended.status, ended.reason) == (TaskStatus.CANCELLED, "cancelled by cairn cancel")

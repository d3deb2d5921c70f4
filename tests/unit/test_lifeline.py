from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from cairn.lifeline import KNOWN_HERE, Lifeline

pytestmark = pytest.mark.skipif(not KNOWN_HERE, reason="Linux only")


def child() -> subprocess.Popen[bytes]:
    """As the sandbox starts its workers: what is inheritable is inherited."""
    return subprocess.Popen(["sleep", "60"], close_fds=False)


def ended(process: subprocess.Popen[bytes]) -> int:
    return process.wait(5)


def test_letting_go_kills_the_child():
    line = Lifeline()
    process = child()
    line.tie(process.pid)

    assert process.poll() is None
    line.let_go()
    assert ended(process) == -9


def test_each_child_hangs_on_its_own_line_even_if_it_inherits_anothers():
    first, second = Lifeline(), Lifeline()
    one, other = child(), child()  # both inherit both
    first.tie(one.pid)
    second.tie(other.pid)
    first.let_go()

    assert (ended(one), other.poll()) == (-9, None)
    second.let_go()
    assert ended(other) == -9


def test_a_line_that_was_never_tied_leaves_no_descriptor():
    before = sorted(Path("/proc/self/fd").iterdir())
    with Lifeline():
        pass
    Lifeline().let_go()

    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_letting_go_twice_or_after_the_child_harms_nobody():
    line = Lifeline()
    process = child()
    line.tie(process.pid)
    process.kill()
    ended(process)
    line.let_go()
    line.let_go()

    assert process.returncode == -9


def test_the_child_dies_with_a_parent_that_is_killed():
    code = (
        "import subprocess, sys\nfrom cairn.lifeline import Lifeline\nline = Lifeline()\n"
        "p = subprocess.Popen(['sleep', '60'], close_fds=False)\nline.tie(p.pid)\nprint(p.pid, flush=True)\np.wait()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pidfd = os.pidfd_open(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    gone = select.select([pidfd], [], [], 5)[0]
    os.close(pidfd)

    assert gone == [pidfd]

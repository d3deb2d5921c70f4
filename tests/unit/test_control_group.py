"""A group of processes has no more of them than it may, also where root's limits count for nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from cairn import control_group
from cairn.command_bounds import Bounds
from cairn.command_launcher import Launch
from cairn.control_group import places

SYSTEMD = """24 30 0:22 / /sys rw,nosuid - sysfs sysfs rw
35 24 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
"""
OLDER = """31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
IN_PART = "39 31 0:36 /docker/ab /sys/fs/cgroup/pids ro,relatime - cgroup cgroup rw,pids\n"
USER = "/user.slice/user-1000.slice/user@1000.service/app.slice"


@pytest.mark.parametrize(
    ("groups", "mounts", "expected"),
    [
        (f"0::{USER}/run-1.scope\n", SYSTEMD, (f"/sys/fs/cgroup{USER}", f"/sys/fs/cgroup{USER}/run-1.scope")),
        ("0::/\n", SYSTEMD, ("/sys/fs/cgroup",)),
        ("0::/../other\n", SYSTEMD, ()),
        ("8:pids:/\n4:memory:/own\n0::/\n", OLDER, ("/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified")),
        ("8:pids:/docker/ab/cd\n", IN_PART, ("/sys/fs/cgroup/pids/cd",)),
        ("8:pids:/docker/abc\n", IN_PART, ()),
        ("", OLDER, ()),
    ],
)
def test_a_group_is_made_where_the_kernel_gives_bounds(groups, mounts, expected):
    assert places(groups, mounts) == expected


SLEEPERS = "for i in $(seq 200); do (echo x >> log; exec sleep 30) & done; wait"  # never more than 200


@pytest.mark.skipif(sys.platform != "linux" or not control_group.works(), reason="no group can be made here")
@pytest.mark.parametrize("detached", ["", "setsid sh -c "])
def test_a_command_without_namespaces_has_no_more_processes_than_it_may_and_leaves_none(tmp_path, detached):
    command = f"{detached}'{SLEEPERS}'" if detached else SLEEPERS
    folders = {name: str(tmp_path / name) for name in ("tree", "scratch", "spare")}
    for folder in folders.values():
        Path(folder).mkdir()
    launch = Launch(command, folders["tree"], sandbox="none", isolated=False, bounds=Bounds(processes=40), **folders,
                    environment={"PATH": os.environ["PATH"]})  # fmt: skip
    report, reporting = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from cairn.command_launcher import main; main(int(sys.argv[1]))",
         str(reporting)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=[reporting], text=True,
    )  # fmt: skip
    os.close(reporting)
    process.stdin.write(launch.written() + "\n")
    process.stdin.flush()
    process.wait(timeout=25)
    process.stdin.close()
    ended = json.loads(os.read(report, 1000))
    os.close(report)

    assert (ended["exit"] != 0, ended["stopped"]) == (True, "it had more than 40 processes")
    assert len((tmp_path / "tree/log").read_text().splitlines()) <= 40
    assert not running_in(tmp_path / "tree")
    assert not left(process.pid)


def running_in(folder):
    found = []
    for each in Path("/proc").iterdir():
        with suppress(OSError):
            if each.name.isdigit() and (each / "cwd").readlink() == folder:
                found.append(each.name)
    return found


def left(pid):
    own = places(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text())
    return [folder for place in own for folder in Path(place).glob(f"cairn-{pid}-*")]

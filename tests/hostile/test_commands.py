"""Hostile commands: what a check's command may try, in each sandbox that this machine has, and what comes of it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cairn import landlock
from cairn.command_bounds import Bounds
from cairn.local_runtime import LocalRuntime, Surroundings, bubblewrap_version, namespaces_work
from cairn.runtime import Layer, Sandbox
from cairn.workspace import homes, left_over, remove_left_over
from tests.hostile.attacks import SECRET

pytestmark = pytest.mark.skipif(not namespaces_work(), reason="this machine has no user namespaces")

IN_TIME = 40.0  # beside other tests on two cores
SANDBOXES = [
    Sandbox.NAMESPACES,
    pytest.param(
        Sandbox.BUBBLEWRAP,
        marks=[pytest.mark.slow, pytest.mark.skipif(not bubblewrap_version(), reason="bubblewrap is not installed")],
    ),
    pytest.param(
        Sandbox.LANDLOCK,
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(not landlock.is_enough(), reason="this kernel's Landlock is too old"),
        ],
    ),
]
SMALL = Bounds(memory_mb=256, processes=64, file_mb=4, disk_mb=24)
PYTHON = f"{sys.executable} -S -c"

# Each prints what it got hold of; nothing of it may be what the test forbids.
REACHING_OUT = {
    "a file of the home": "cat $OUTSIDE/secret.txt ~/secret.txt /root/.ssh/* /home/*/.ssh/*",
    "through its processes' root": "for each in 1 2 3; do cat /proc/$each/root$OUTSIDE/secret.txt; done",
    "through their folders": "cat /proc/*/cwd/../outside/secret.txt /proc/1/fd/*/secret.txt",
    "a link out of the project": "cat out/secret.txt; ln -s $OUTSIDE mine; cat mine/secret.txt",
    "a hard link": "ln $OUTSIDE/secret.txt here; cat here",
    "up the folders": "cat ../outside/secret.txt ../../outside/secret.txt ../../../../../../$OUTSIDE/secret.txt",
    "other tasks": "cat .cairn/secret.txt; ls -a | grep cairn && echo $SECRET_IS_THERE",
    "a mount": "mkdir m; mount --bind / m; mount -t tmpfs x m; umount -l .; umount -l /tmp; cat m$OUTSIDE/secret.txt",
    "a user namespace": "unshare -Urm sh -c 'umount -l /; cat $OUTSIDE/secret.txt'; unshare -r id && echo $MADE_ONE",
    "another root": "chroot / cat $OUTSIDE/secret.txt",
    "the disk itself": "cat /dev/sda /dev/vda /dev/dm-0 | head -c 100; mknod d b 254 0; cat d | head -c 100; ls d && echo $MADE_ONE",
    "a variable": "env; cat /proc/1/environ /proc/2/environ",
    "git's remotes": "cat .git/config",
    "the host's name": "hostname | grep -x $HOST_NAME",
}
WRITING = {
    "a file outside": "echo x > $OUTSIDE/a.txt; echo x > $OUTSIDE/new; rm -rf $OUTSIDE",
    "the project through a link": "echo x > out/a.txt; rm -f out/a.txt; mkdir out/new",
    "the project's own files": "echo x > a.txt; rm -rf src; chmod 777 b.txt; echo x >> hard.txt; mv b.txt c.txt",
    "the system": "echo x > /usr/mine; echo x > /etc/passwd; echo x > /mine; mkdir /opt/mine",
    "the machine's settings": "echo x > /proc/sys/kernel/core_pattern",
    "the mount made writable": "mount -o remount,rw /usr; mount -o remount,rw /; echo x > /usr/mine",
    "cairn's own folder": "rm -rf .cairn; mkdir -p .cairn/tasks; echo x > .cairn/cairn.db",
    "a hook": "echo x > .git/hooks/pre-commit; git config core.hooksPath evil; git commit -am mine",
    "a set-user-id program": "cp /bin/sh mine; chmod 6755 mine; ./mine -p -c 'echo x > /usr/mine'",
}


@pytest.fixture
def project(tmp_path):
    root, outside = tmp_path / "project", tmp_path / "outside"
    (root / "src").mkdir(parents=True)
    (root / ".cairn").mkdir()
    outside.mkdir()
    for path in (outside / "secret.txt", root / ".cairn/secret.txt"):
        path.write_text(SECRET)
    for path in (outside / "a.txt", root / "a.txt", root / "b.txt", root / "src/x.txt"):
        path.write_text("as it was\n")
    (outside / "hard.txt").write_text("as it was\n")
    os.link(outside / "hard.txt", root / "hard.txt")
    (root / "out").symlink_to(outside)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run(["git", "config", "remote.origin.url", f"https://me:{SECRET}@127.0.0.1/x"], cwd=root, check=True)
    return root


@pytest.fixture
def environ(tmp_path):
    return {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "MY_API_KEY": SECRET}


def everything(folder):
    """All that stands there, with modes and contents; times apart, because reading may change those of access."""
    found = {}
    for place, folders, names in os.walk(folder):
        for name in folders + names:
            path = Path(place, name)
            data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            found[str(path)] = (path.lstat().st_mode, path.lstat().st_mtime_ns, data)
    return found


def ran(project, environ, sandbox, command, *, bounds=SMALL, timeout=10.0, overlayfs=True, layer=None):
    async def run():
        runtime = LocalRuntime(project, Surroundings(sandbox, bounds=bounds, overlayfs=overlayfs), environ)
        await runtime.initialize(layer or Layer())
        try:
            return await runtime.execute(command, timeout)
        finally:
            await runtime.terminate()

    started = time.monotonic()
    result = asyncio.run(run())
    assert time.monotonic() - started < IN_TIME
    assert list(homes(environ)[0].iterdir()) == []
    return result


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_nothing_outside_is_read(project, environ, sandbox):
    told = {"OUTSIDE": str(project.parent / "outside"), "SECRET_IS_THERE": SECRET, "MADE_ONE": SECRET}
    told["HOST_NAME"] = socket.gethostname()
    lines = [f"{name}='{value}'" for name, value in told.items()]
    attacks = [f'echo "== {name}"; ({command})' for name, command in REACHING_OUT.items()]
    result = ran(project, environ, sandbox, "export OUTSIDE;" + "\n".join([*lines, *attacks, "echo all done"]))
    assert result.stdout.endswith("all done\n")
    assert SECRET not in result.stdout + result.stderr, result.stdout
    assert told["HOST_NAME"] not in result.stdout.splitlines() or sandbox is Sandbox.LANDLOCK  # it hides no name


@pytest.mark.parametrize("sandbox", SANDBOXES)
@pytest.mark.parametrize("overlayfs", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["overlayfs", "copy"])
def test_nothing_outside_is_written(project, environ, sandbox, overlayfs):
    before = everything(project.parent)
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    attacks = [f'echo "== {name}"; ({command})' for name, command in WRITING.items()]
    command = f"export OUTSIDE='{project.parent}/outside'\n" + "\n".join([*attacks, "echo all done"])
    result = ran(project, environ, sandbox, command, overlayfs=overlayfs)
    assert result.stdout.endswith("all done\n")
    after = everything(project.parent)
    assert {path: found for path, found in after.items() if "/cache" not in path} == before
    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern
    assert not Path("/usr/mine").exists()
    assert not Path("/mine").exists()


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_no_network_is_reached(project, environ, sandbox):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0cairn-test-{os.getpid()}")
        abstract.listen()
        port = server.getsockname()[1]
        tries = "\n".join(
            [
                "import socket",
                "def reached(family, address, kind=socket.SOCK_STREAM):",
                "    try:",
                "        one = socket.socket(family, kind); one.settimeout(1); one.connect(address); print('REACHED', address)",
                "    except OSError as error: print(type(error).__name__)",
                f"reached(socket.AF_INET, ('127.0.0.1', {port}))",
                f"reached(socket.AF_UNIX, chr(0) + 'cairn-test-{os.getpid()}')",
                "reached(socket.AF_INET, ('192.0.2.1', 53), socket.SOCK_DGRAM)",
                "reached(socket.AF_VSOCK, (2, 1024))",
                "reached(socket.AF_UNIX, '/run/dbus/system_bus_socket')",
            ]
        )
        (project / "tries.py").write_text(tries)
        own = "s = __import__('socket').create_server(('127.0.0.1', 0)); __import__('socket').create_connection(s.getsockname()); print('own')"
        result = ran(project, environ, sandbox, f'{PYTHON} "exec(open(\'tries.py\').read())"; {PYTHON} "{own}"')
    assert "REACHED" not in result.stdout
    if sandbox is Sandbox.LANDLOCK:  # no socket at all, its own neither
        assert result.stdout.split() == ["PermissionError"] * 5
        return
    assert result.stdout.split() == ["ConnectionRefusedError", "ConnectionRefusedError", "OSError", "PermissionError", "FileNotFoundError", "own"]  # fmt: skip


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_a_fork_bomb_ends_and_leaves_nothing(project, environ, sandbox):
    bomb = "bomb() { bomb | bomb & }; bomb; sleep 100"
    if sandbox is Sandbox.LANDLOCK:  # nothing but what is tried here would end it, so it ends at 2,000 by itself
        bomb = "bomb() { [ $1 = 11 ] || bomb $(($1 + 1)) | bomb $(($1 + 1)) & }; bomb 0; sleep 100"
    result = ran(project, environ, sandbox, bomb, timeout=5.0)
    assert result.timed_out or "more than 64 processes" in result.stopped
    assert not list(processes_in(project))


@pytest.mark.parametrize("sandbox", SANDBOXES)
@pytest.mark.parametrize(
    "command",
    [
        f"{PYTHON} 'x = bytearray(10**9); print(len(x))'",
        # Many small ones: no single process breaks its own limit.
        f"for n in 1 2 3 4 5 6; do {PYTHON} 'import time; x = bytearray(100_000_000); time.sleep(100)' & done; wait",
    ],
)
def test_memory_is_bounded(project, environ, sandbox, command):
    result = ran(project, environ, sandbox, command)
    assert "MemoryError" in result.stderr or result.stopped == "it used more than 256 MB of memory"
    assert not result.timed_out


@pytest.mark.parametrize("sandbox", SANDBOXES)
@pytest.mark.parametrize("place", [".", "$TMPDIR"])
def test_the_disk_is_not_filled(project, environ, sandbox, place):
    command = f"n=0; while :; do n=$((n+1)); head -c 3000000 /dev/zero > {place}/f$n || exit 3; sleep 0.05; done"
    result = ran(project, environ, sandbox, command)
    assert result.stopped == "it wrote more than 24 MB"
    one = ran(project, environ, sandbox, "head -c 9000000 /dev/zero > big; ls -l big | cut -d' ' -f5")
    assert one.stdout.split()[-1:] == [str(4 * 1024 * 1024)]


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_processes_outside_are_neither_signalled_nor_traced(project, environ, sandbox):
    with subprocess.Popen(["sleep", "100"]) as bystander:
        try:
            pids = f"{bystander.pid} {os.getpid()} {os.getppid()}"
            trace = f"import ctypes; c = ctypes.CDLL(None); print([c.ptrace(16, p, 0, 0) for p in (1, {bystander.pid}, {os.getpid()})])"
            command = f"kill -9 {pids}; kill -9 1; kill -TERM 1; kill -INT 1; {PYTHON} '{trace}'; cat /proc/1/mem | head -c 1; sleep 0.2; echo alive; kill -9 -1"
            result = ran(project, environ, sandbox, command, timeout=3.0)
            assert "alive" in result.stdout
            assert "-1, -1]" in result.stdout  # the first process of its own namespace may be traced by bubblewrap's
            assert bystander.poll() is None
        finally:
            bystander.kill()


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_privileges_cannot_be_had(project, environ, sandbox):
    if sandbox is Sandbox.LANDLOCK:
        command = (
            f"{PYTHON} 'import os; os.setuid(12345)'; {PYTHON} 'import os; os.mknod(\"d\", 0o60644, 0)'; chroot / true"
        )
        result = ran(project, environ, sandbox, f"exec 2>&1; {command}; su nobody -c id; setpriv --reuid 12345 id")
        assert "uid=" not in result.stdout
        assert result.stdout.count("not permitted") + result.stdout.count("Permission denied") >= 3
        return
    command = "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; su nobody -c id; setpriv --reuid 12345 id; ls -l /etc/shadow"
    result = ran(project, environ, sandbox, command)
    assert (
        result.stdout
        == "CapBnd:\t0000000000000000\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n".replace(
            "CapBnd:\t0000000000000000\nCapEff:\t0000000000000000\n",
            "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n",
        )
    )


def test_a_daemon_that_ignores_signals_ends_too(project, environ):
    daemon = f"{PYTHON} 'import os, signal, time\nfor n in range(1, 65):\n try: signal.signal(n, signal.SIG_IGN)\n except (OSError, ValueError): pass\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0: time.sleep(1000)\nprint(1)'"
    assert ran(project, environ, Sandbox.NAMESPACES, daemon).stdout.replace("\n", "") == "11"  # two write at once
    assert not list(processes_in(project))


def test_what_killed_commands_left_is_ended_and_cleaned_up(project, environ, tmp_path):
    code = (
        "import asyncio, sys; from pathlib import Path; from cairn.local_runtime import *; from cairn.runtime import *\n"
        "async def main():\n"
        " r = LocalRuntime(Path(sys.argv[1]), Surroundings(Sandbox.NAMESPACES), {'XDG_CACHE_HOME': sys.argv[2], 'PATH': '/usr/bin:/bin'})\n"
        " await r.initialize(Layer()); print('began', flush=True)\n"
        " await r.execute('(setsid sleep 1000 &); touch began; sleep 1000', 1000)\n"
        "asyncio.run(main())"
    )
    cache = environ["XDG_CACHE_HOME"]
    with subprocess.Popen([sys.executable, "-c", code, project, cache], stdout=subprocess.PIPE) as cairn:
        assert cairn.stdout is not None
        cairn.stdout.readline()
        (place,) = homes(environ)[0].iterdir()
        wait_for((place / "upper/began").exists)
        assert left_over(environ) == ()
        cairn.send_signal(signal.SIGKILL)
    wait_for(lambda: not list(processes_in(project)))
    assert remove_left_over(environ) == (place,)
    assert list(homes(environ)[0].iterdir()) == []
    assert not (project / "began").exists()


def processes_in(project):
    """Processes that stand in the project or in a sandbox over it, but this one."""
    for each in Path("/proc").iterdir():
        if each.name.isdigit() and int(each.name) != os.getpid():
            try:
                if (each / "cwd").readlink() == project:
                    yield each.name
            except OSError:
                continue


def wait_for(condition):
    until = time.monotonic() + IN_TIME
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)

"""A command without namespaces: what Landlock and the filter keep it from, what it may all the same, and who picks it."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cairn import landlock
from cairn.local_runtime import LocalRuntime, Surroundings, best_sandbox
from cairn.runtime import Layer, Sandbox

held = pytest.mark.skipif(not landlock.is_enough(), reason="this kernel's Landlock is too old")
on_x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of its system calls are used")


@pytest.fixture
def run(tmp_path):
    project, outside = tmp_path / "project", tmp_path / "outside"
    project.mkdir()
    outside.mkdir()
    (project / "a.txt").write_text("a\n")
    (outside / "mine.txt").write_text("mine\n")
    (project / "out").symlink_to(outside / "mine.txt")

    def run(program, *, visible=()):
        (project / "program.py").write_text(program)

        async def ran():
            environ = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": "/usr/bin:/bin", "OUTSIDE": str(outside)}
            around = Surroundings(Sandbox.LANDLOCK, visible=tuple(map(str, visible)), environment=("OUTSIDE",))
            runtime = LocalRuntime(project, around, environ)
            await runtime.initialize(Layer())
            try:
                return await runtime.execute(f"{sys.executable} -S program.py", 20), runtime.written()
            finally:
                await runtime.terminate()

        return asyncio.run(ran())

    run.outside = outside
    return run


HEAD = """\
import os, shutil, socket, subprocess, tempfile
outside = os.environ["OUTSIDE"]
mine = outside + "/mine.txt"
def refused(act, *given, **named):
    try:
        act(*given, **named)
    except OSError as error:
        return type(error).__name__
    return "DONE"
"""


@held
def test_modes_owners_and_times_are_changed_only_in_its_own_folders(run):
    """Landlock itself knows nothing of them; what may be read but not written stays as it is too."""
    program = """
folder = os.open(".", os.O_RDONLY)
readable = os.open(outside + "/shown.txt", os.O_RDONLY)
tries = [
    refused(os.chmod, mine, 0o777), refused(os.chmod, outside, 0), refused(os.chmod, "out", 0o777),
    refused(os.chmod, "../" * 30 + mine, 0o777), refused(os.chmod, "out", 0o777, dir_fd=folder),
    refused(os.fchmod, readable, 0o777), refused(os.chown, mine, os.getuid(), os.getgid()),
    refused(os.lchown, mine, -1, -1), refused(os.fchown, readable, -1, -1), refused(os.utime, mine),
    refused(os.utime, "out", (1, 1)), refused(os.utime, readable, (1, 1)),
    refused(os.setxattr, outside + "/shown.txt", "user.x", b"x"),
    refused(os.chown, "a.txt", 12345, -1), refused(os.chmod, "none.txt", 0o600),
]
print(*tries)
os.chmod("a.txt", 0o6755); os.utime("a.txt", (1, 2)); os.chown("a.txt", os.getuid(), -1)
os.symlink("a.txt", "link"); os.utime("link", (3, 4), follow_symlinks=False); os.lchown("link", -1, os.getgid())
found = os.stat("a.txt")
print(oct(found.st_mode), found.st_atime, found.st_mtime, os.lstat("link").st_mtime)
os.utime("a.txt", ns=(5, 6), dir_fd=folder); os.utime("a.txt")
print(os.stat("a.txt").st_mtime > 1_000_000_000)
"""
    shown = run.outside / "shown.txt"
    shown.write_text("shown\n")
    before = [(path.stat().st_mode, path.stat().st_mtime_ns) for path in (run.outside, shown, run.outside / "mine.txt")]
    result, _ = run(HEAD + program, visible=[shown])
    assert (result.stdout, result.stderr) == (
        " ".join(["PermissionError"] * 12 + ["OSError", "PermissionError", "FileNotFoundError"])
        + "\n0o100755 1.0 2.0 4.0\nTrue\n",
        "",
    )
    assert [(p.stat().st_mode, p.stat().st_mtime_ns) for p in (run.outside, shown, run.outside / "mine.txt")] == before


@held
def test_what_tests_and_tools_do_with_files_works(run):
    program = """
folder = tempfile.mkdtemp()
shutil.copy("a.txt", folder); shutil.copytree(folder, "copied"); shutil.move("copied/a.txt", "b.txt")
os.chmod("b.txt", 0o755); os.rename("b.txt", folder + "/c"); os.link(folder + "/c", "c"); shutil.rmtree(folder)
one, other = socket.socketpair(); one.send(b"x"); print(other.recv(1), os.cpu_count() > 0)
print(subprocess.run(["/bin/echo", "child"], capture_output=True).stdout)
open("/dev/null", "w").write("x")
"""
    result, written = run(HEAD + program)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "b'x' True\nb'child\\n'\n", "")
    assert written == ("c", "copied")


@held
def test_no_socket_and_no_other_process_is_reached(run, tmp_path):
    """Neither a daemon that would act for it, nor what an ancestor of it or a bystander is."""
    path = str(run.outside / "socket")
    with socket.socket(socket.AF_UNIX) as server, subprocess.Popen(["sleep", "60"], env={"KEY": "secret"}) as bystander:
        server.bind(path)
        server.listen()
        program = f"""
import ctypes, signal
def reached(path):
    with socket.socket(socket.AF_UNIX) as one: one.connect(path)
print(refused(reached, {path!r}), refused(reached, chr(0) + "x"), refused(socket.create_connection, ("127.0.0.1", 9)))
print(refused(socket.socketpair, socket.AF_UNIX, socket.SOCK_DGRAM))
print(refused(os.kill, {bystander.pid}, 9), refused(os.kill, os.getppid(), 0), refused(open, "/proc/{bystander.pid}/environ"))
c = ctypes.CDLL(None, use_errno=True)
print(c.prlimit({bystander.pid}, 7, (ctypes.c_ulong * 2)(0, 0), None), c.shmget(0, 4096, 0o1600), c.syscall(425, 1, 0))
"""
        result, _ = run(HEAD + program, visible=[run.outside])
        assert bystander.poll() is None
        assert Path(f"/proc/{bystander.pid}/environ").read_bytes() == b"KEY=secret\0"
        bystander.kill()
    assert (result.stdout.splitlines(), result.stderr) == (
        [" ".join(["PermissionError"] * 3), "PermissionError", "PermissionError DONE PermissionError", "-1 -1 -1"],
        "",
    )


@held
@pytest.mark.skipif(os.getuid() != 0, reason="it is for root, whom the kernel's own limit does not bind")
def test_root_s_processes_stay_in_one_group_and_end_at_once(run):
    """A thousand that flee from each other; the bound of 512 ends them."""
    program = """
import time
for _ in range(1000):
    if os.fork() == 0:
        os.setsid()
        os.setpgid(0, 0)
        time.sleep(60)
        os._exit(0)
time.sleep(60)
"""
    before = {each.name for each in Path("/proc").iterdir() if each.name.isdigit()}
    result, _ = run(HEAD + program)
    assert result.stopped == "it had more than 512 processes"
    left = [each for each in Path("/proc").iterdir() if each.name.isdigit() and each.name not in before]
    assert len(left) < 500


# ── who picks it ──


def where_no_namespace_is_given(*words, nor_landlock=False, cwd):
    start = [sys.executable, "-m", "tests.without_namespaces", *(["--nor-landlock"] if nor_landlock else [])]
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]),
    }
    return subprocess.run([*start, *words], cwd=cwd, env=environ, capture_output=True, text=True, check=False)


@held
@pytest.mark.slow
def test_where_the_machine_gives_no_namespaces_a_check_is_held_by_landlock(project, tmp_path):
    """`run`, `doctor` and the result say so; the copy's own path is where the command stands."""
    (project / "cairn.toml").write_text(
        '[checks]\ntests = "pwd; cat src/app.py; cat $HOME/../../../../project/src/app.py"\n'
    )
    cairn = [sys.executable, "-m", "cairn"]
    program = tmp_path / "p.py"
    program.write_text('edit_file("src/app.py", "hello", "hi")\nsubmit_result("Hi.", ["src/app.py"])\n')
    told = where_no_namespace_is_given(*cairn, "run", "--code", str(program), cwd=project)
    assert "tests: failed (exit code 1): it failed before the task too" in told.stdout, told.stderr
    shown = where_no_namespace_is_given(*cairn, "show", "--json", cwd=project)
    (check,) = json.loads(shown.stdout)["checks"]
    assert check["result"]["ground"] == "in a sandbox (landlock), files by copy"
    assert check["result"]["output"].splitlines()[1:3] == ["def greet(name):", '    return "hi " + name']
    assert str(project) not in check["result"]["output"].splitlines()[0]
    doctor = where_no_namespace_is_given(*cairn, "doctor", cwd=project)
    assert "run in a sandbox (landlock), files by copy" in doctor.stdout


@on_x86_64
@pytest.mark.slow
def test_with_neither_a_check_runs_only_when_a_person_says_so(project, tmp_path):
    (project / "cairn.toml").write_text('[checks]\ntests = "(setsid sleep 1000 &); cat src/app.py"\n')
    cairn = [sys.executable, "-m", "cairn"]
    program = tmp_path / "p.py"
    program.write_text('edit_file("src/app.py", "hello", "hi")\nsubmit_result("Hi.", ["src/app.py"])\n')

    def do(*words):
        return where_no_namespace_is_given(*cairn, *words, nor_landlock=True, cwd=project)

    assert "tests: not run" in do("run", "--code", str(program)).stdout
    refused = do("check")
    assert (refused.returncode, "No sandbox can be had here" in refused.stderr) == (1, True), refused.stderr
    ran = do("check", "--unsandboxed", "-v")
    assert (ran.returncode, 'return "hi " + name' in ran.stdout, "without a sandbox" in ran.stdout) == (0, True, True)
    assert (project / "src/app.py").read_text().count("hello") == 1
    assert "without a sandbox" in do("show").stdout


@on_x86_64
def test_each_sandbox_is_picked_only_where_it_can_be_had(monkeypatch):
    from cairn import local_runtime

    found = []
    for namespaces, bubblewrap, enough in (
        (True, "1", True),
        (False, "1", True),
        (False, "", True),
        (False, "", False),
    ):
        monkeypatch.setattr(local_runtime, "namespaces_work", lambda known=namespaces: known)
        monkeypatch.setattr(local_runtime, "bubblewrap_version", lambda known=bubblewrap: known)
        monkeypatch.setattr(landlock, "is_enough", lambda known=enough: known)
        found.append(str(best_sandbox()))
    assert found == ["namespaces", "bubblewrap", "landlock", "none"]

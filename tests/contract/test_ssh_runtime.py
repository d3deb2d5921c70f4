"""The runtime over SSH keeps the contract over a real sshd, and leaves nothing on its host."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cairn.changes import Content, EntryKind
from cairn.errors import CairnError
from cairn.local_runtime import namespaces_work
from cairn.runtime import Layer, Runtime, TooLargeToKeep
from cairn.runtime_host import MOST_BASES
from cairn.ssh_runtime import Place, SshRuntime
from cairn.testing import RuntimeContract

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SSHD is None or shutil.which("ssh") is None, reason="OpenSSH's sshd and ssh are not installed"),
    pytest.mark.skipif(not namespaces_work(), reason="this machine has no user namespaces"),
]


@dataclass(frozen=True)
class Server:
    """A running sshd, and what `ssh` needs to reach it as the host `box`."""

    folder: Path
    process: subprocess.Popen[bytes]
    config: Path

    @property
    def place(self) -> Place:
        return Place("box", str(self.folder / "cache"), ssh=("ssh", "-F", str(self.config)))

    @property
    def workspaces(self) -> list[Path]:
        return sorted((self.folder / "cache/cairn/workspaces").glob("workspace-*"))

    @property
    def bases(self) -> list[str]:
        return sorted(each.name for each in (self.folder / "cache/cairn/bases").iterdir())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "mine"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "authorized").write_text((folder / "mine.pub").read_text())
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd, as root, wants to be when it has no rights
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        "StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nPasswordAuthentication no\nMaxStartups 100\n"
    )
    (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    config = folder / "config"
    config.write_text(
        f"Host box stranger\nHostName 127.0.0.1\nPort {port}\nIdentityFile {folder}/mine\nIdentitiesOnly yes\n"
        f"Host box\nUserKnownHostsFile {folder}/known\nHost stranger\nUserKnownHostsFile {folder}/unknown\n"
    )
    process = subprocess.Popen([str(SSHD), "-D", "-e", "-f", folder / "sshd_config"], stderr=subprocess.DEVNULL)
    try:
        _until(lambda: _answers(port) or process.poll() is not None)
        if process.poll() is not None:
            pytest.skip("sshd does not start here")
        yield Server(folder, process, config)
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "it never was"
        time.sleep(0.02)


class TestOverSsh(RuntimeContract):
    @pytest.fixture(autouse=True)
    def _a_server(self, server: Server) -> Iterator[None]:
        self.server = server
        yield
        assert server.workspaces == []

    def runtime(self, project: Path) -> Runtime:
        return SshRuntime(project, self.server.place)


def _project(root: Path, **files: str) -> Path:
    root.mkdir()
    for name, text in files.items():
        (root / name).write_text(text)
    return root


async def _outcome(place: Place, project: Path, command: str, layer: Layer | None = None) -> str:
    runtime = SshRuntime(project, place)
    try:
        await runtime.initialize(layer or Layer())
        return (await runtime.execute(command)).stdout
    finally:
        await runtime.terminate()


def test_what_git_ignores_and_what_the_layer_hides_is_not_sent(server: Server, tmp_path: Path) -> None:
    project = _project(tmp_path / "p", shown="1", ignored="2", secret="not to be seen")
    (project / ".gitignore").write_text("ignored\n")
    assert asyncio.run(_outcome(server.place, project, "ls -A", Layer({"secret": None}))) == ".gitignore\nshown\n"
    found = subprocess.run(["grep", "-rl", "not to be seen", server.folder], capture_output=True, check=False)
    assert found.stdout == b""


def test_the_same_files_are_sent_once_and_only_so_many_are_kept(server: Server, tmp_path: Path) -> None:
    project = _project(tmp_path / "p", a="same")
    asyncio.run(_outcome(server.place, project, "true"))
    bases = server.bases
    (project / "a").touch()
    changed = Layer({"a": Content(EntryKind.FILE, 0o644, b"the task's")})
    assert asyncio.run(_outcome(server.place, project, "cat a", changed)) == "the task's"
    assert server.bases == bases
    for number in range(MOST_BASES + 1):
        (project / "a").write_text(str(number))
        asyncio.run(_outcome(server.place, project, "true"))
    assert len(server.bases) == MOST_BASES + 1  # the newest was added after the cleaning


def test_a_killed_cairn_leaves_nothing_running_and_the_next_one_no_folder(server: Server, tmp_path: Path) -> None:
    project = _project(tmp_path / "p", a="1")
    beat = server.folder / "cache/cairn/workspaces"
    code = (
        "import asyncio, sys; from pathlib import Path; from cairn.ssh_runtime import *\n"
        "async def main():\n"
        f" runtime = SshRuntime(Path({str(project)!r}), Place('box', {server.place.folder!r}, ssh={server.place.ssh!r}))\n"
        " await runtime.initialize(Layer())\n"
        " await runtime.execute('touch began; sleep 1000')\n"
        "asyncio.run(main())"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    _until(lambda: any(beat.glob("*/upper/began")))
    process.send_signal(signal.SIGKILL)
    process.wait()
    _until(lambda: server.workspaces == [])


def test_a_lost_connection_is_an_error_and_ends_what_runs(server: Server, tmp_path: Path) -> None:
    project = _project(tmp_path / "p", a="1")

    async def lost() -> tuple[CairnError, list[Path]]:
        runtime = SshRuntime(project, server.place)
        await runtime.initialize(Layer())
        running = asyncio.ensure_future(runtime.execute("touch began; sleep 1000"))
        while "began" not in runtime.written():  # noqa: ASYNC110 - another process says so
            await asyncio.sleep(0.01)
        assert runtime._connection is not None
        runtime._connection.kill()
        with pytest.raises(CairnError) as caught:
            await running
        with pytest.raises(CairnError):
            await runtime.execute("true")
        await runtime.terminate()
        return caught.value, server.workspaces

    error, _ = asyncio.run(lost())
    assert error.what == "The connection to 'box' was lost."
    assert error.fix == ("cairn doctor   says whether 'box' answers; then run the check again.",)
    _until(lambda: server.workspaces == [])


def test_when_the_far_side_is_killed_it_is_an_error_and_the_next_check_deletes_what_it_left(
    server: Server, tmp_path: Path
) -> None:
    project = _project(tmp_path / "p", a="1")

    async def killed() -> CairnError:
        runtime = SshRuntime(project, server.place)
        await runtime.initialize(Layer())
        running = asyncio.ensure_future(runtime.execute("setsid sleep 1234 & touch began; sleep 1234"))
        while "began" not in runtime.written():  # noqa: ASYNC110 - another process says so
            await asyncio.sleep(0.01)
        (host,) = _processes(server.place.folder)
        os.kill(host, signal.SIGKILL)
        with pytest.raises(CairnError) as caught:
            await running
        await runtime.terminate()
        return caught.value

    assert asyncio.run(killed()).what == "The connection to 'box' was lost."
    _until(lambda: not _processes("sleep", "1234"))
    (left,) = server.workspaces
    assert asyncio.run(_outcome(server.place, project, "cat a")) == "1"
    assert not left.exists()


def _processes(*words: str) -> list[int]:
    """Those started with all of these words."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            given = each.read_bytes().split(b"\0")
            is_host = b"-S" in given or words[0] == "sleep"
            if is_host and all(word.encode() in given for word in words):
                found.append(int(each.parent.name))
    return found


def test_what_is_too_large_to_take_is_said_with_its_size(server: Server, tmp_path: Path) -> None:
    project = _project(tmp_path / "p", a="1")

    async def taken() -> Content | None:
        runtime = SshRuntime(project, server.place)
        try:
            await runtime.initialize(Layer())
            await runtime.execute("head -c 20000000 /dev/zero > a")
            return runtime.content("a")
        finally:
            await runtime.terminate()

    with pytest.raises(TooLargeToKeep, match="'a' has 20,000,000 bytes"):
        asyncio.run(taken())


def test_a_host_whose_key_is_not_known_is_refused(server: Server, tmp_path: Path) -> None:
    project = _project(tmp_path / "p", a="1")
    with pytest.raises(CairnError) as caught:
        asyncio.run(_outcome(replace(server.place, host="stranger"), project, "true"))
    assert (caught.value.what, caught.value.why) == (
        "The host 'stranger' does not answer as it should.",
        "Host key verification failed.",
    )
    assert not (server.folder / "unknown").exists()


def test_doctor_and_checks_use_the_host_of_the_person_s_settings_and_what_they_write_is_kept(
    server: Server, tmp_path: Path
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    ssh = programs / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {server.config} "$@"\n')
    ssh.chmod(0o755)
    neat = "echo neat >> a.txt; rm -f gone.txt; mkdir -p deep; echo true > deep/new.sh; chmod 755 deep/new.sh"
    checks = f'[checks]\nfirst = "grep -q 2 a.txt"\nneat = {{command = "{neat}", keep_writes = true}}\n'
    project = _project(tmp_path / "p", **{"a.txt": "1\n", "gone.txt": "x\n", "cairn.toml": checks})
    (project / "task.py").write_text("write_file('a.txt', '2\\n')\nsubmit_result('two', ['a.txt'])\n")
    environ = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "CAIRN_RUNTIME_NAME": "ssh",
        "CAIRN_RUNTIME_HOST": "box",
        "CAIRN_RUNTIME_FOLDER": server.place.folder,
    }

    def cairn(*arguments: str) -> str:
        command = [sys.executable, "-m", "cairn", *arguments]
        done = subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    assert "run in a sandbox (namespaces), files by overlayfs on box" in cairn("doctor")
    ran = cairn("run", "two", "--code", "task.py")
    assert "first: passed" in ran
    assert "neat: passed" in ran
    assert "became part of the task: a.txt" in cairn("check", "-v")
    assert (project / "a.txt").read_text() == "1\n"
    assert "accepted" in cairn("accept", "--allow", "deep/new.sh").lower()
    assert ((project / "a.txt").read_text(), (project / "gone.txt").exists()) == ("2\nneat\nneat\n", False)
    assert (project / "deep/new.sh").stat().st_mode & 0o777 == 0o755

"""Runs a project's commands on this machine: over the task's files, in a sandbox and never in the project.

The files are put together by overlayfs in a user namespace; where the kernel gives none, by a copy. The command sees
them at the project's own path, so that virtual environments and absolute paths in settings lead to them.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from cairn import landlock, layered_files
from cairn.changes import Content
from cairn.command_bounds import Bounds
from cairn.command_launcher import Launch, Layers
from cairn.errors import CairnError
from cairn.runtime import DEFAULT_TIMEOUT, NOT_STARTED, TIMED_OUT, BoundedText, CommandResult, Ground, Layer, Sandbox
from cairn.workspace import Workspace, remove_left_over

FILE_BYTES = 10_000_000
BUBBLEWRAP_HOLE = (0, 12)  # versions before it have CVE-2026-87766
PATIENCE = 5.0  # seconds for a kill to be carried out
_CHUNK = 65_536
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store")
_ETC = (
    "alternatives", "bash.bashrc", "ca-certificates", "ca-certificates.conf", "crypto-policies", "debian_version",
    "fonts", "gai.conf", "group", "host.conf", "hosts", "inputrc", "java-17-openjdk", "ld.so.cache", "ld.so.conf",
    "ld.so.conf.d", "locale.alias", "locale.conf", "localtime", "login.defs", "lsb-release", "machine-id", "magic",
    "magic.mime", "mailcap", "mime.types", "nsswitch.conf", "os-release", "passwd", "pki", "profile", "protocols",
    "python3", "redhat-release", "rpc", "services", "shells", "ssl", "terminfo", "timezone",
)  # fmt: skip
_TOOLCHAINS = (
    ".asdf", ".bun/bin", ".cargo/bin", ".cargo/registry", ".deno/bin", ".gem", ".ghcup", ".gradle/wrapper",
    ".juliaup", ".local/bin", ".local/lib", ".local/pipx", ".local/share/fnm", ".local/share/mise",
    ".local/share/pipx", ".local/share/pnpm", ".local/share/uv", ".local/share/virtualenvs", ".m2/repository", ".nvm",
    ".pyenv", ".rbenv", ".rustup", ".rye", ".sdkman/candidates", ".virtualenvs", ".volta", "anaconda3", "go/pkg",
    "miniconda3", "miniforge3",
)  # fmt: skip
_PASSED = ("LANG", "LANGUAGE", "TZ", "USER", "LOGNAME", "SHELL", "COLUMNS", "LINES", "SOURCE_DATE_EPOCH")
_START = "import sys; sys.path.insert(0, {path!r}); from cairn.command_launcher import main; main({report})"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What commands get of the machine. `visible` and `environment` name more of it; both are a person's choice."""

    sandbox: Sandbox
    visible: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)
    overlayfs: bool = True  # False: always a copy


class LocalRuntime:
    """`Runtime` on this machine; one command at a time."""

    def __init__(self, project: Path, surroundings: Surroundings, environ: Mapping[str, str] = os.environ) -> None:
        self._project = project.resolve()
        self._surroundings = surroundings
        self._environ = environ
        self._place: Workspace | None = None
        self._layer = Layer()
        self._layers: Layers | None = None
        self._how = ""
        self._before: dict[str, layered_files.Stamp] = {}
        self._ran = False

    @property
    def ground(self) -> Ground:
        """What commands run in."""
        return Ground(self._surroundings.sandbox, self._how)

    async def initialize(self, layer: Layer) -> None:
        """By overlayfs if this machine has it, else a copy; a layer that the kernel refuses becomes a copy too."""
        await self.terminate()
        await asyncio.to_thread(remove_left_over, self._environ)
        self._layer, self._ran = layer, False
        around = self._surroundings
        alone = around.sandbox in {Sandbox.BUBBLEWRAP, Sandbox.LANDLOCK}
        if around.overlayfs and not alone and namespaces_work():
            place = await asyncio.to_thread(self._lay)
            if place is not None:
                return
        await asyncio.to_thread(self._copy)

    def _lay(self) -> Workspace | None:
        place = self._place = Workspace.make(self._project, self._environ)
        try:
            layered_files.write_layer(self._layer, self._project, place.changes)
        except OSError:  # whiteouts need a disk and a kernel that allow them
            place.remove()
            self._place = None
            return None
        self._layers = Layers((str(place.changes), str(self._project)), str(place.upper), str(place.work))
        self._how = "overlayfs"
        return place

    def _copy(self) -> None:
        place = self._place = Workspace.make(self._project, self._environ)
        self._layers = None
        self._how = layered_files.copy_files(self._layer, self._project, place.tree)
        self._before = layered_files.stamps(place.tree)

    async def execute(self, command: str, timeout: float = DEFAULT_TIMEOUT) -> CommandResult:  # noqa: ASYNC109
        """Everything the command started is killed at its end, at the timeout, and when this is cancelled."""
        result, refused = await self._launched(command, timeout)
        if refused == "layer" and not self._ran:  # the kernel takes this disk for no layer
            await self.terminate()
            await asyncio.to_thread(self._copy)
            result, refused = await self._launched(command, timeout)
        self._ran = self._ran or not refused
        return result

    async def _launched(self, command: str, timeout: float) -> tuple[CommandResult, str]:  # noqa: ASYNC109
        """The result, and which part of the sandbox could not be made."""
        place = self._place
        if place is None:
            raise CairnError("The runtime was not initialized, so nothing can run in it.")
        place.renew_work()
        report, reporting = os.pipe()
        code = _START.format(path=str(Path(__file__).parents[1]), report=reporting)
        started = time.monotonic()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", code),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(reporting,),
                start_new_session=True,
                cwd="/",
            )
        except BaseException:
            os.close(report)
            raise
        finally:
            os.close(reporting)
        try:
            launch = self._launch(command, place, timeout)
            out, err, timed_out = await _talk(process, launch, timeout)
            told = await asyncio.to_thread(_reported, report)
        finally:
            os.close(report)
        return _result(told, out, err, time.monotonic() - started, timed_out=timed_out)

    def _launch(self, command: str, place: Workspace, timeout: float) -> Launch:
        around = self._surroundings
        sandboxed = around.sandbox is not Sandbox.NONE
        held = around.sandbox is Sandbox.LANDLOCK  # where the files stand: nothing can be mounted elsewhere
        isolated = namespaces_work() and not held and around.sandbox is not Sandbox.BUBBLEWRAP  # which makes its own
        at = str(self._project) if isolated or (sandboxed and not held) else str(place.tree)
        temporary = "/tmp" if sandboxed and not held else str(place.scratch)  # noqa: S108 - its own
        seconds = math.ceil(timeout) * (os.cpu_count() or 1)
        bounds = around.bounds
        return Launch(
            command=command,
            place=at,
            tree=str(place.tree),
            scratch=str(place.scratch),
            spare=str(place.root),
            sandbox=str(around.sandbox),
            isolated=isolated,
            layers=self._layers,
            visible=self._visible() if sandboxed else (),
            environment=self._variables(at, temporary),
            bounds=Bounds(bounds.memory_mb, bounds.processes, bounds.file_mb, bounds.disk_mb, seconds),
        )

    def _visible(self) -> tuple[str, ...]:
        """The system and its tools; of the home only where toolchains live. Links to them are followed to their end."""
        home = Path(self._environ.get("HOME") or "~").expanduser()
        tools = [str(home / name) for name in _TOOLCHAINS]
        own = [str(Path(each).resolve()) for each in (sys.prefix, sys.base_prefix)]
        if self._surroundings.sandbox is Sandbox.LANDLOCK:  # the first lines of its programs lead there
            own.append(str(self._project / ".venv"))
        extra = [str(Path(each).expanduser()) for each in self._surroundings.visible]
        wanted = [*_SYSTEM, *(f"/etc/{name}" for name in _ETC), *tools, *own, *extra]
        there = [each for each in dict.fromkeys(wanted) if os.path.lexists(each)]
        return tuple(each for each in there if not self._project.is_relative_to(each) or each in extra)

    def _variables(self, place: str, temporary: str) -> dict[str, str]:
        environ = self._environ
        names = (*_PASSED, *self._surroundings.environment, *(name for name in environ if name.startswith("LC_")))
        passed = {name: environ[name] for name in names if name in environ}
        own = [
            f"{place}/{folder}" for folder in (".venv/bin", "node_modules/.bin") if (self._project / folder).is_dir()
        ]
        path = ":".join([*own, environ.get("PATH") or os.defpath])
        home = temporary if self._surroundings.sandbox is not Sandbox.NONE else environ.get("HOME", temporary)
        fixed = {"PATH": path, "HOME": home, "TMPDIR": temporary, "PWD": place, "TERM": "dumb", "NO_COLOR": "1"}
        if self._surroundings.sandbox is Sandbox.LANDLOCK:  # git takes a file that it may not read for a fault
            fixed["GIT_CONFIG_NOSYSTEM"] = "1"
        return {**passed, **fixed, "PYTHONUNBUFFERED": "1"}

    def written(self) -> tuple[str, ...]:
        """What commands wrote or deleted, without git's and Cairn's own folders."""
        place = self._place
        if place is None:
            return ()
        if self._layers is not None:
            found = layered_files.written_in_upper(place.upper, self._project, place.changes)
        else:
            found = layered_files.written_in_copy(place.tree, self._before)
        return tuple(path for path in found if path.partition("/")[0] not in {".git", layered_files.HIDDEN})

    def content(self, path: str) -> Content | None:
        """What a command left there."""
        if self._place is None:
            return None
        return layered_files.content_at(self._kept, path, FILE_BYTES)

    @property
    def _kept(self) -> Path:
        assert self._place is not None  # noqa: S101 - asked for by methods that looked
        return self._place.tree if self._layers is None else self._place.upper

    async def terminate(self) -> None:
        """Deletes the place; a command that runs was ended when its `execute` was cancelled."""
        place, self._place = self._place, None
        if place is not None:
            await asyncio.to_thread(place.remove)


async def _talk(process: asyncio.subprocess.Process, launch: Launch, timeout: float) -> tuple[str, str, bool]:  # noqa: ASYNC109
    """Both outputs, and whether the time was over."""
    assert process.stdin is not None  # noqa: S101 - a pipe was asked for
    assert process.stdout is not None  # noqa: S101
    assert process.stderr is not None  # noqa: S101
    out, err = BoundedText(), BoundedText()
    readers = [asyncio.ensure_future(_drain(process.stdout, out)), asyncio.ensure_future(_drain(process.stderr, err))]
    timed_out = False
    try:
        process.stdin.write(launch.written().encode() + b"\n")
        try:
            await asyncio.wait_for(process.wait(), timeout)
        except TimeoutError:
            timed_out = True
    finally:
        await asyncio.shield(_ended(process, readers))
    return out.text(), err.text(), timed_out


async def _drain(stream: asyncio.StreamReader, into: BoundedText) -> None:
    while data := await stream.read(_CHUNK):
        into.add(data)


async def _ended(process: asyncio.subprocess.Process, readers: Sequence[asyncio.Future[None]]) -> None:
    """The launcher kills all when its input closes; if it does not, the kernel does when the launcher is killed."""
    assert process.stdin is not None  # noqa: S101
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), PATIENCE)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    _, hanging = await asyncio.wait(readers, timeout=PATIENCE)
    for each in hanging:
        each.cancel()


def _reported(report: int) -> dict[str, object]:
    """The first line that the launcher or the first process wrote; nothing where both were killed."""
    told = b""
    while data := os.read(report, _CHUNK):
        told += data
    lines = told.splitlines()
    return dict(json.loads(lines[0])) if lines else {}


def _result(
    told: Mapping[str, object], out: str, err: str, seconds: float, *, timed_out: bool
) -> tuple[CommandResult, str]:
    if "error" in told:
        return CommandResult(NOT_STARTED, out, err, seconds, stopped=str(told["error"])), str(told.get("part"))
    if timed_out:
        return CommandResult(TIMED_OUT, out, err, seconds, timed_out=True), ""
    stopped = "its launcher was killed" if not told else str(told["stopped"])
    code = told.get("exit", NOT_STARTED)
    return CommandResult(code if isinstance(code, int) else NOT_STARTED, out, err, seconds, stopped=stopped), ""


# ── what this machine gives ──


@cache
def namespaces_work() -> bool:
    """True where this user may make a user namespace with mounts of its own; tried once, in a process of its own."""
    return sys.platform == "linux" and _tried(
        "from cairn import kernel_calls as k; k.become_itself_in_new_users();"
        "k.unshare(k.NEW_MOUNTS | k.NEW_PIDS | k.NEW_NETWORK); k.mount('', '/', flags=k.RECURSIVE | k.PRIVATE)"
    )


@cache
def bubblewrap_version() -> str:
    """Of the `bwrap` on PATH, if it can make a sandbox here; else ""."""
    path = shutil.which("bwrap")
    if path is None:
        return ""
    with suppress(OSError, subprocess.TimeoutExpired):
        tried = [path, "--unshare-all", "--unshare-user", "--disable-userns", "--ro-bind", "/", "/", "--proc", "/proc"]
        done = subprocess.run([*tried, "true"], capture_output=True, timeout=PATIENCE, check=False)
        told = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=PATIENCE, check=False)
        return told.stdout.split()[-1] if done.returncode == 0 and told.stdout else ""
    return ""


def best_sandbox() -> Sandbox:
    """Its own where it may make one: it guards more than bubblewrap, which some systems allow while refusing others."""
    if namespaces_work():
        return Sandbox.NAMESPACES
    if bubblewrap_version():
        return Sandbox.BUBBLEWRAP
    return Sandbox.LANDLOCK if landlock.is_enough() else Sandbox.NONE


def _tried(code: str) -> bool:
    start = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r}); {code}"
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", start], capture_output=True, timeout=PATIENCE, check=False
        )
        return done.returncode == 0
    return False

"""Runs a project's commands on another machine over SSH: its files are sent there, and held in that machine's sandbox.

Nothing has to be installed there but Python 3.11: the modules that run commands here are sent along. The program `ssh`
connects, so hosts, keys and jumps are those of the person's own settings of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
import os
import shlex
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import IO, Any

from cairn import tree_walk
from cairn.changes import Content
from cairn.command_bounds import Bounds
from cairn.errors import CairnError, UsageProblem
from cairn.runtime import DEFAULT_TIMEOUT, BoundedText, CommandResult, Ground, Layer, Sandbox, TooLargeToKeep
from cairn.runtime_frames import GREETING, PART, TOO_LARGE, Frame, Kind, content_from, layer_entries, read_frame

MOST_BYTES = 1_000_000_000  # of a project that is sent
PATIENCE = 60.0  # seconds for an answer beyond those that a command may take
_CONNECTED = 30.0
_OPTIONS = (
    "BatchMode=yes", "StrictHostKeyChecking=yes", "ConnectTimeout=10", "ServerAliveInterval=15",
    "ServerAliveCountMax=3", "ClearAllForwardings=yes", "ForwardAgent=no", "PermitLocalCommand=no", "RequestTTY=no",
)  # fmt: skip
_SENT = (
    "__init__", "changes", "command_bounds", "command_launcher", "control_group", "errors", "kernel_calls", "landlock",
    "layered_files", "local_runtime", "runtime", "runtime_frames", "runtime_host", "workspace",
)  # fmt: skip
_GREETING_LINES = 200  # that a shell's own start may print
_WHEN = 1_600_000_000  # the time of every file that is sent: the same content is the same archive

# One line, for a shell of any kind: keeps the modules by their digest, and hands over to them.
_START = (
    'import sys,os,io,tarfile,tempfile;sys.version_info>=(3,11) or sys.exit("the host has Python %d.%d; Cairn needs'
    ' Python 3.11 there" % sys.version_info[:2]);d,n,f=sys.argv[1:];'
    'f=os.path.expanduser(f or os.environ.get("XDG_CACHE_HOME") or "~/.cache");b=sys.stdin.buffer.read(int(n));'
    'c=os.path.join(f,"cairn","code");os.makedirs(c,0o700,True);p=os.path.join(c,d);'
    "t=None if os.path.isdir(p) else tempfile.mkdtemp(dir=c);"
    "t and tarfile.open(fileobj=io.BytesIO(b)).extractall(t);"
    "t and (os.path.isdir(p) or os.rename(t,p));os.utime(p);sys.path.insert(0,p);"
    "from cairn.runtime_host import main;main(f)"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where commands run, and with what; `host` is what `ssh` takes, `folder` "" for the host's own cache."""

    host: str
    folder: str = ""
    unsandboxed: bool = False
    visible: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)
    ssh: tuple[str, ...] = ("ssh",)

    def __post_init__(self) -> None:
        if not self.host or self.host.startswith("-") or any(each.isspace() for each in self.host):
            raise UsageProblem(
                "The runtime 'ssh' needs a host." if not self.host else f"'{self.host}' is no host for ssh.",
                "It is what you would give to ssh: a name of your ssh settings, HOST, USER@HOST or ssh://USER@HOST:PORT.",
                "Set runtime.host in cairn/settings.toml in your own configuration folder, or CAIRN_RUNTIME_HOST.",
            )


class SshRuntime:
    """`Runtime` on another machine, over one connection."""

    def __init__(self, project: Path, place: Place) -> None:
        self._project = project.resolve()
        self._place = place
        self._connection: _Connection | None = None
        self._ground = Ground(Sandbox.NONE, f"ssh to {place.host}")

    @property
    def ground(self) -> Ground:
        """What commands run in there."""
        return self._ground

    async def initialize(self, layer: Layer) -> None:
        """Sends the project's files, unless the host has just these, and the task's over them."""
        await self.terminate()
        connection = self._connection = _Connection(self._place)
        try:
            await asyncio.to_thread(connection.open)
            with tempfile.TemporaryFile() as archive:
                digest = await asyncio.to_thread(_pack, self._project, layer, archive)
                if not (await connection.asked(Kind.HAS, digest)).told[0]:
                    await asyncio.to_thread(connection.send_archive, archive)
                    await connection.asked(Kind.BASE, digest)
            place = self._place
            entries, data = layer_entries(layer)
            told = (digest, place.unsandboxed, place.visible, place.environment, astuple(place.bounds)[:4], entries)
            self._stand_on(*(await connection.asked(Kind.LAYER, *told, data=data)).told)
        except BaseException:
            await asyncio.shield(self.terminate())
            raise

    def _stand_on(self, sandbox: object, layer: object) -> None:
        self._ground = Ground(Sandbox(str(sandbox)), f"{layer} on {self._place.host}")

    async def execute(self, command: str, timeout: float = DEFAULT_TIMEOUT) -> CommandResult:  # noqa: ASYNC109
        """The host ends the command at its time, when this is cancelled, and when the connection ends."""
        answer = await self._there.asked(Kind.EXECUTE, command, timeout, within=timeout + PATIENCE)
        result: Any
        result, *ground = answer.told
        self._stand_on(*ground)
        return CommandResult(*result)

    def written(self) -> tuple[str, ...]:
        """What commands wrote or deleted there; asked of the host, also while one runs."""
        if self._connection is None:
            return ()
        paths: Any = self._connection.asked_now(Kind.WRITTEN).told[0]
        return tuple(str(path) for path in paths)

    def content(self, path: str) -> Content | None:
        """What a command left there, fetched from the host."""
        if self._connection is None:
            return None
        answer = self._connection.asked_now(Kind.CONTENT, path)
        if answer.told[0] == TOO_LARGE:
            raise TooLargeToKeep(path, int(str(answer.told[1])))
        return content_from(answer.told[0], answer.data)

    @property
    def _there(self) -> _Connection:
        if self._connection is None:
            raise CairnError("The runtime was not initialized, so nothing can run in it.")
        return self._connection

    async def terminate(self) -> None:
        """The host deletes the folder when the connection ends; this waits for it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await asyncio.to_thread(connection.close)


class _Connection:
    """One `ssh` process; a thread reads its answers, so that they can be awaited and waited for alike."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[Frame]] = {}
        self._guard = threading.Lock()  # of what is sent, and of who waits
        self._lost = False
        self._told = BoundedText(4_000, 4_000)
        self._threads: list[threading.Thread] = []

    def open(self) -> None:
        """Connects. Raises CairnError when the host does not answer as it should."""
        code = _code()
        place = self._place
        start = ["python3", "-I", "-S", "-c", _START, hashlib.sha256(code).hexdigest(), str(len(code)), place.folder]
        options = [word for option in _OPTIONS for word in ("-o", option)]
        command = [*place.ssh, "-T", "-a", "-x", *options, "--", place.host, shlex.join(start)]
        try:
            process = self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for Cairn, which ends this in order
            )
        except OSError as error:
            raise CairnError("ssh cannot be started.", f"{error}.", "Install OpenSSH's client.") from error
        self._start(self._listen_to_errors)
        greeted: Future[bool] = Future()
        self._start(self._listen, greeted)
        with suppress(OSError):
            self._send(code)
        try:
            answered = greeted.result(_CONNECTED)
        except TimeoutError:
            answered = False
            process.kill()
        if not answered:
            raise self._no_answer()

    def _start(self, listener: Any, *arguments: object) -> None:
        thread = threading.Thread(target=listener, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen_to_errors(self) -> None:
        assert self._process is not None  # noqa: S101 - started before this
        assert self._process.stderr is not None  # noqa: S101 - a pipe was asked for
        while data := self._process.stderr.read1(65_536):  # type: ignore[attr-defined]  # a BufferedReader
            self._told.add(data)

    def _listen(self, greeted: Future[bool]) -> None:
        assert self._process is not None  # noqa: S101 - started before this
        stream = self._process.stdout
        assert stream is not None  # noqa: S101 - a pipe was asked for
        lines = (stream.readline(PART) for _ in range(_GREETING_LINES))
        found = any(line == GREETING for line in itertools.takewhile(bool, lines))
        greeted.set_result(found)
        with suppress(OSError, ValueError):
            while found and (frame := read_frame(stream)):
                with self._guard:
                    waiting = self._waiting.pop(frame.about, None)
                if waiting is not None:
                    waiting.set_result(frame)
        with self._guard:
            self._lost = True
            left, self._waiting = tuple(self._waiting.values()), {}
        for each in left:
            each.set_exception(self._gone())

    def _send(self, data: bytes) -> None:
        assert self._process is not None  # noqa: S101 - open
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        with self._guard:
            self._process.stdin.write(data)
            self._process.stdin.flush()

    # ── requests ──

    def _request(self, kind: Kind, told: Sequence[object], data: bytes) -> tuple[int, Future[Frame]]:
        number, answer = next(self._numbers), Future[Frame]()
        with self._guard:
            if self._lost:
                raise self._gone()
            self._waiting[number] = answer
        try:
            self._send(Frame(kind, number, tuple(told), data).written())
        except OSError as error:
            raise self._gone() from error
        return number, answer

    async def asked(self, kind: Kind, *told: object, data: bytes = b"", within: float = 600.0) -> Frame:
        """The answer. Raises CairnError for a refusal and a lost connection; cancelled, it ends the request there."""
        number, answer = await asyncio.to_thread(self._request, kind, told, data)
        awaited = asyncio.wrap_future(answer)
        try:
            await asyncio.wait({awaited}, timeout=within)
        except asyncio.CancelledError:
            with suppress(OSError):
                self._send(Frame(Kind.CANCEL, number).written())
            await asyncio.wait({awaited}, timeout=PATIENCE)
            if awaited.done() and not awaited.cancelled():
                awaited.exception()  # looked at: the cancellation is what counts
            raise
        if not awaited.done():
            self.kill()
            await asyncio.wait({awaited})
        return _answer(awaited.result())

    def asked_now(self, kind: Kind, *told: object) -> Frame:
        """The same without a loop."""
        _, answer = self._request(kind, told, b"")
        try:
            return _answer(answer.result(PATIENCE))
        except TimeoutError:
            self.kill()
            raise self._gone() from None

    def send_archive(self, archive: IO[bytes]) -> None:
        """In parts, as fast as the host takes them."""
        archive.seek(0)
        try:
            while data := archive.read(PART):
                self._send(Frame(Kind.PART, 0, (), data).written())
        except OSError as error:
            raise self._gone() from error

    # ── ends ──

    def kill(self) -> None:
        """Ends `ssh` at once; the host notices, and ends what runs."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Says that nothing more comes, and waits until the host has deleted what was there."""
        process = self._process
        if process is None:
            return
        assert process.stdin is not None  # noqa: S101 - pipes were asked for
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for each in self._threads:
            each.join()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()

    def _gone(self) -> CairnError:
        host = self._place.host
        return CairnError(
            f"The connection to '{host}' was lost.",
            self._last_words() or "ssh ended; what ran there is ended with it.",
            f"cairn doctor   says whether '{host}' answers; then run the check again.",
        )

    def _no_answer(self) -> CairnError:
        host = self._place.host
        with suppress(subprocess.TimeoutExpired):
            assert self._process is not None  # noqa: S101 - started before this
            self._process.wait(PATIENCE)
        self._threads[0].join(PATIENCE)
        return CairnError(
            f"The host '{host}' does not answer as it should.",
            self._last_words() or "It was silent.",
            f"ssh {shlex.quote(host)} python3 --version   must work without a question; connect once by hand if its"
            " key is not known.",
        )

    def _last_words(self) -> str:
        lines = [line.strip() for line in self._told.text().splitlines() if line.strip()]
        return lines[-1] if lines else ""


def _answer(frame: Frame) -> Frame:
    if frame.kind is Kind.DONE:
        return frame
    what, why, *fix = (str(each) for each in frame.told) if frame.told else ("The host ended the command.", "")
    raise CairnError(what, why, tuple(fix))


# ── what is sent ──


def _code() -> bytes:
    """The modules that run there, packed; the same ones are the same bytes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in _SENT:
            data = (Path(__file__).parent / f"{name}.py").read_bytes()
            archive.addfile(_member(f"cairn/{name}.py", 0o644, size=len(data)), io.BytesIO(data))
    return packed.getvalue()


def _pack(project: Path, layer: Layer, into: IO[bytes]) -> str:
    """The project's files as an archive, and its digest. What the layer says is nothing stays here."""
    gone = {path for path, content in layer.files.items() if content is None}
    folders: set[str] = set()
    with tarfile.open(fileobj=into, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in tree_walk.walk_files(project):
            for above in _folders_above(path):
                if above not in folders:
                    folders.add(above)
                    _add(archive, project, above)
            if path not in gone:
                _add(archive, project, path)
            if into.tell() > MOST_BYTES:
                raise CairnError(
                    f"The project is too large to be sent: more than {MOST_BYTES // 1_000_000:,} MB.",
                    "All files that git tracks or does not ignore are sent.",
                    "Name what checks do not need in a .cairnignore, or run them here: runtime.name = local.",
                )
    into.seek(0)
    return hashlib.file_digest(into, "sha256").hexdigest()  # type: ignore[arg-type]  # IO is enough


def _folders_above(path: str) -> Iterator[str]:
    return itertools.accumulate(path.split("/")[:-1], "{}/{}".format)


def _add(archive: tarfile.TarFile, project: Path, path: str) -> None:
    """A file, link or folder, unless it is gone this instant or may not be read."""
    target = project / path
    with suppress(FileNotFoundError, PermissionError):
        if target.is_symlink():
            archive.addfile(_member(path, 0o777, tarfile.SYMTYPE, link=str(target.readlink())))
        elif target.is_dir():
            archive.addfile(_member(path, target.stat().st_mode & 0o777 | 0o700, tarfile.DIRTYPE))
        else:
            with os.fdopen(os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                data = file.read(MOST_BYTES)
                mode = os.fstat(file.fileno()).st_mode & 0o777
            archive.addfile(_member(path, mode, size=len(data)), io.BytesIO(data))


def _member(path: str, mode: int, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.mode, member.type, member.size, member.linkname, member.mtime = mode, kind, size, link, _WHEN
    return member

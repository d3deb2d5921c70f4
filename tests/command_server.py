"""A `cairn` process for each command that a test types, without starting Python and importing Cairn each time.

One process per test worker has imported Cairn and forks for each command: a process of its own, with its own
arguments, folder, variables, streams and exit code, that ends as Python ends. What Python itself reads at its start
cannot be given so; then a new one is started.
"""

from __future__ import annotations

import atexit
import gc
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_AT_START = ("PYTHON", "LC_", "LANG")
_SIZE = 1 << 20
# Read once, when first used, by libraries; nothing of them is imported before the fork.
_NOT_BEFORE = frozenset({"llm", "dbos", "pytest", "hypothesis"})
# What `llm` imports, most of a second. Of these only the first reads variables: OPENAI_LOG and Azure's, which no test
# sets; as none sets psycopg's.
_OF_MODELS = ("openai", "sqlite_utils.db")
_LEFT_OUT = frozenset({"cairn.__main__", "cairn.testing"})


class CommandServer:
    """Runs `cairn` commands for one process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None
        self._started_with: dict[str, str] = {}

    def run(
        self, arguments: Sequence[str], *, stdin: str, cwd: Path | None, env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run` of `python -m cairn` would."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        if _of_start(env) != self._started_with:
            return subprocess.run(
                [sys.executable, "-m", "cairn", *arguments],
                input=stdin,
                capture_output=True,
                text=True,
                cwd=cwd,
                env=dict(env),
                check=False,
            )
        asked = {"arguments": list(arguments), "cwd": str(cwd or Path.cwd()), "env": dict(env)}
        return self._asked(json.dumps(asked).encode(), stdin, list(arguments))

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        self._started_with = _of_start(os.environ)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.command_server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                cwd=Path(__file__).parents[1],
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # a process that forks has one thread
            )
        self._link = ours

    def _asked(self, asked: bytes, stdin: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        assert self._link is not None
        ours, theirs = socket.socketpair()
        given, out, err = (os.pipe() for _ in range(3))
        with ours, theirs:
            socket.send_fds(self._link, [b"x"], [theirs.fileno(), given[0], out[1], err[1]])
            theirs.close()
            for each in (given[0], out[1], err[1]):
                os.close(each)
            ours.sendall(len(asked).to_bytes(8, "big") + asked)
            told = _talk(given[1], stdin.encode(), out[0], err[0])
            code = int.from_bytes(_exactly(ours, 4), "big", signed=True)
        texts = [each.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n") for each in told]
        return subprocess.CompletedProcess(arguments, code, *texts)

    def close(self) -> None:
        """The process ends when nobody can ask it any more."""
        if self._process is not None and self._link is not None:
            self._link.close()
            self._process.wait()


COMMANDS = CommandServer()  # of this process; the fixture `commands` ends it


def _of_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(_AT_START)}


def _talk(into: int, data: bytes, *outs: int) -> list[bytes]:
    """What comes out, until nobody holds the other ends; what goes in is taken as fast as it is read."""
    import selectors

    found = dict.fromkeys(outs, b"")
    with selectors.DefaultSelector() as ready:
        for each in outs:
            ready.register(each, selectors.EVENT_READ)
        if data:
            os.set_blocking(into, False)
            ready.register(into, selectors.EVENT_WRITE)
        else:
            os.close(into)
        while ready.get_map():
            for key, _ in ready.select():
                if key.fd == into:
                    try:
                        data = data[os.write(into, data[:65_536]) :]
                    except BrokenPipeError:
                        data = b""
                    if not data:
                        ready.unregister(into)
                        os.close(into)
                    continue
                more = os.read(key.fd, _SIZE)
                found[key.fd] += more
                if not more:
                    ready.unregister(key.fd)
                    os.close(key.fd)
    return [found[each] for each in outs]


def _exactly(link: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = link.recv(size - len(found))
        assert more, "the server of commands ended"
        found += more
    return found


# ── the server ──


@dataclass(frozen=True)
class _Command:
    arguments: list[str]
    cwd: str
    env: dict[str, str]


def _serve(link: socket.socket) -> _Command | None:
    """Returns in each forked process with its command; in the server itself with None, once nobody asks any more."""
    waiting: dict[int, socket.socket] = {}
    wake, ended = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(ended)
    import select

    while True:
        ready, _, _ = select.select([link, wake], [], [])
        if wake in ready:
            os.read(wake, 4096)
            _tell_ended(waiting)
        if link not in ready:
            continue
        _, given, _, _ = socket.recv_fds(link, 1, 4)
        if not given:
            return None
        answers = socket.socket(fileno=given[0])
        told = json.loads(_exactly(answers, int.from_bytes(_exactly(answers, 8), "big")))
        process = os.fork()
        if process == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for place, each in enumerate(given[1:]):
                os.dup2(each, place)
            for each in (wake, ended, *given[1:]):
                os.close(each)
            for each in (link, answers, *waiting.values()):
                each.close()
            return _Command(**told)
        waiting[process] = answers
        for each in given[1:]:
            os.close(each)


def _tell_ended(waiting: dict[int, socket.socket]) -> None:
    while waiting:
        process, status = os.waitpid(-1, os.WNOHANG)
        if not process:
            return
        with waiting.pop(process) as answers:
            answers.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))


def _prepare() -> None:
    """Imports what most commands use, and nothing that reads a variable when it is imported."""
    from importlib import import_module
    from pkgutil import iter_modules

    import cairn.commands

    for package in (cairn, cairn.commands):
        for module in iter_modules(package.__path__, f"{package.__name__}."):
            if module.name not in _LEFT_OUT and not module.ispkg:
                import_module(module.name)
    for name in ("pydantic_monty", *_OF_MODELS):
        import_module(name)
    assert not {name.partition(".")[0] for name in sys.modules}.intersection(_NOT_BEFORE)


def _open_streams() -> None:
    """As Python opens them at its start; those of the server were of other files."""
    encoding = sys.stdin.encoding
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(open(0, "rb", closefd=False), encoding, sys.stdin.errors)  # noqa: SIM115
    for name, place in (("stdout", 1), ("stderr", 2)):
        at_once = place == 2 or os.isatty(place)
        errors = "backslashreplace" if place == 2 else sys.stdout.errors
        stream = io.TextIOWrapper(open(place, "wb", closefd=False), encoding, errors, line_buffering=at_once)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def main() -> None:
    """The server, and in its children the command."""
    import cairn.cli

    _prepare()
    link = socket.socket(fileno=int(sys.argv[1]))
    link.set_inheritable(False)
    gc.freeze()
    command = _serve(link)
    if command is None:
        return
    os.environ.clear()
    os.environ.update(command.env)
    time.tzset()
    _open_streams()
    os.chdir(command.cwd)
    sys.path[0] = command.cwd  # as `python -m` has it
    sys.argv = [str(Path(cairn.cli.__file__).with_name("__main__.py")), *command.arguments]
    try:
        cairn.cli.main()
    except SystemExit as ended:
        _end(ended.code if isinstance(ended.code, int) else 0)


def _end(code: int) -> None:
    """As Python ends, but for the tearing down of all that was imported, which takes longer than most commands."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()

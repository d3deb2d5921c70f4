"""Processes of Cairn's own that one talks to over two pipes: forked within milliseconds from one that has loaded all.

The prepared process has one thread, no connection, no file of its own open and nothing seeded, so a fork shares nothing
that must not be shared. Each process holds its own ends of pipes and nobody else's: whoever ends, however it ends, is
missed at once by whom it talked to, and what still runs goes on.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, Protocol

FORKS_HERE = sys.platform == "linux"  # on macOS some of the system's own libraries break in a fork that runs no program
_TOLD_SECONDS = 5.0  # between the end of a process and word of how it ended, which takes milliseconds
_READ_BYTES = 65_536
_STARTED, _PREPARED = "started", "prepared"


class _Child(Protocol):
    @property
    def pid(self) -> int | None: ...

    def kill(self) -> None: ...

    def wait(self) -> int | None: ...


class PipedProcess:
    """A process that reads its commands from one pipe and answers on another. Its answers end when it does."""

    def __init__(self, process: _Child, prepared: subprocess.Popen[bytes] | None, commands: int, answers: int) -> None:
        self._process = process
        self._prepared = prepared
        self._commands: int | None = commands
        self.answers = answers

    @property
    def pid(self) -> int | None:
        """None as long as there is none: it was asked for of a prepared process that still loads, or died loading."""
        return self._process.pid

    @property
    def blamed(self) -> int | None:
        """Which process it was that ended: itself, or the prepared one, before this one was made."""
        return self.pid or (self._prepared.pid if self._prepared is not None else None)

    def say(self, line: bytes) -> None:
        """Nothing happens once it has ended, or nobody wants to talk to it any more."""
        with suppress(BrokenPipeError):
            while line and self._commands is not None:
                line = line[os.write(self._commands, line) :]

    def hang_up(self) -> None:
        """Its commands end, which tells it to do so."""
        commands, self._commands = self._commands, None
        if commands is not None:
            os.close(commands)

    def kill(self) -> None:
        """For one whose answers have not ended. The prepared process is killed if it has not made this one yet."""
        if self.pid is None and self._prepared is not None:
            self._prepared.kill()
        self._process.kill()

    def hear_line(self, seconds: float) -> bytes:
        """The next line that it says in time, or nothing. For whoever waits for this process alone."""
        deadline, ready, line = time.monotonic() + seconds, select.poll(), b""
        ready.register(self.answers, select.POLLIN)
        while not line.endswith(b"\n") and ready.poll(1000 * max(0.0, deadline - time.monotonic())):
            more = os.read(self.answers, 1)
            if not more:
                break
            line += more
        return line if line.endswith(b"\n") else b""

    def ends_within(self, seconds: float) -> bool:
        """Whether its answers end in time; what it says meanwhile is for nobody."""
        deadline, ready = time.monotonic() + seconds, select.poll()
        ready.register(self.answers, select.POLLIN)
        while ready.poll(1000 * max(0.0, deadline - time.monotonic())):
            if not os.read(self.answers, _READ_BYTES):
                return True
        return False

    def bury(self) -> int | None:
        """How one has ended that was killed, or whose answers ended: its exit code, negative for a signal.

        None if nobody knows: the prepared process, which alone hears it of the system, had ended before.
        """
        self.hang_up()
        os.close(self.answers)
        code = self._process.wait()
        if code is None and self.pid is None and self._prepared is not None:
            return self._prepared.wait()
        return code


class PipedProcesses:
    """Starts processes of one module, by `answering`, with the same arguments. Closed when none of them is left.

    With `forks` they come from a prepared process, started when there is need of it, and again if it died meanwhile.
    """

    def __init__(self, module: str, *arguments: str, quiet: bool = False, forks: bool | None = None) -> None:
        # -P: the current folder is often the project, and its `bisect.py` or `click.py` is not to be imported.
        self._command = [sys.executable, "-P", "-m", module, *arguments]
        self._quiet = quiet
        self._forks = FORKS_HERE if forks is None else forks
        self._prepared: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None

    def start(self) -> PipedProcess:
        """At once; the process may come later, or not at all, and then its answers end."""
        (theirs_in, commands), (answers, theirs_out) = os.pipe(), os.pipe()
        try:
            process = self._forked(theirs_in, theirs_out) if self._forks else self._started(theirs_in, theirs_out)
        except BaseException:
            os.close(commands)
            os.close(answers)
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        return PipedProcess(process, self._prepared, commands, answers)

    def close(self) -> None:
        """No prepared process is left."""
        link, self._link = self._link, None
        if link is not None:
            link.close()
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            prepared.kill()  # it has nothing to lose
            prepared.wait()

    def _started(self, commands: int, answers: int) -> subprocess.Popen[bytes]:
        return self._launched(_STARTED, answers, commands)

    def _forked(self, commands: int, answers: int) -> _Fork:
        if self._prepared is None or self._prepared.poll() is not None:
            self.close()
            self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._prepared = self._launched(_PREPARED, theirs.fileno(), subprocess.DEVNULL)
        told, tells = os.pipe()
        try:
            if self._link is not None:
                with suppress(ConnectionError):  # it has just ended; so do the pipes that were meant for it
                    socket.send_fds(self._link, [b"x"], [tells, commands, answers])
        finally:
            os.close(tells)
        return _Fork(told)

    def _launched(self, kind: str, given: int, stdin: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self._command, kind, str(given)],
            stdin=stdin,
            stdout=subprocess.DEVNULL if self._quiet else sys.stderr.fileno(),  # whatever a plug-in prints is no data
            stderr=subprocess.DEVNULL if self._quiet else None,
            pass_fds=(given,),
            start_new_session=True,  # Ctrl-C is for whoever starts it, who tells it what to do
        )


class _Fork:
    """A process that a prepared one was asked for: it tells its number itself, the prepared one how it ended."""

    def __init__(self, told: int) -> None:
        self._told: int | None = told
        self._heard = b""

    @property
    def pid(self) -> int | None:
        self._hear(0)
        return self._number(b"began")

    def kill(self) -> None:
        pid = self.pid
        if pid is not None and self._number(b"ended") is None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def wait(self) -> int | None:
        deadline = time.monotonic() + _TOLD_SECONDS
        while self._number(b"ended") is None and self._hear(deadline - time.monotonic()):
            pass
        if self._told is not None:
            os.close(self._told)
        self._told = None
        return self._number(b"ended")

    def _hear(self, seconds: float) -> bool:
        if self._told is None:
            return False
        ready = select.poll()
        ready.register(self._told, select.POLLIN)
        data = os.read(self._told, _READ_BYTES) if ready.poll(1000 * max(0.0, seconds)) else b""
        self._heard += data
        return bool(data)

    def _number(self, what: bytes) -> int | None:
        for line in self._heard.splitlines():
            number, told = line.split()
            if told == what:
                return int(number)
        return None


# ── the other side ──


def answering(load: Callable[[], None]) -> int:
    """In a module that `PipedProcesses` starts: where to answer. The commands are what standard input says.

    `load` imports what the module needs beyond itself. In a prepared process this returns once in each fork.
    """
    kind, given = sys.argv[-2], int(sys.argv[-1])
    os.set_inheritable(given, False)
    load()
    if kind == _STARTED:
        return given
    commands, answers = _serve(socket.socket(fileno=given))
    os.dup2(commands, 0)
    os.close(commands)
    _show_as([*sys.orig_argv[:-2], "forked"])
    return answers


def end_now(code: int = 0) -> NoReturn:
    """As Python ends, but for the tearing down of all that was loaded: in a fork that would copy all of it first."""
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - what Python's own end begins with
    atexit._run_exitfuncs()  # noqa: SLF001
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _serve(link: socket.socket) -> tuple[int, int]:
    """Returns in each forked process; the prepared one ends when nobody can ask it any more."""
    gc.collect()
    gc.freeze()  # what is there is never looked at again, so that its pages stay shared
    children: dict[int, tuple[int, int]] = {}  # a descriptor of each: its number, and where its end is told
    ready = select.poll()
    ready.register(link, select.POLLIN)
    while True:
        for descriptor, _ in ready.poll():
            if descriptor in children:
                ready.unregister(descriptor)
                _tell_end(descriptor, *children.pop(descriptor))
                continue
            _, given, _, _ = socket.recv_fds(link, 1, 3, socket.MSG_CMSG_CLOEXEC)
            if not given:
                os._exit(0)
            tells, *pipes = given
            child = _fork()
            if child == 0:
                _begin(link, children, tells)
                return pipes[0], pipes[1]
            for each in pipes:
                os.close(each)
            watched = os.pidfd_open(child)
            children[watched] = (child, tells)
            ready.register(watched, select.POLLIN)


def _fork() -> int:
    try:
        return os.fork()
    except OSError as error:
        sys.exit(f"cairn: no process can be started: {error.strerror}")  # whoever asked sees that it ended


def _begin(link: socket.socket, others: dict[int, tuple[int, int]], tells: int) -> None:
    """In a new process: nothing is left open of what belongs to the prepared one and to others."""
    link.close()
    for watched, (_, told) in others.items():
        os.close(watched)
        os.close(told)
    os.setsid()
    _tell(tells, os.getpid(), "began")
    os.close(tells)


def _tell_end(watched: int, child: int, tells: int) -> None:
    _, status = os.waitpid(child, 0)
    _tell(tells, os.waitstatus_to_exitcode(status), "ended")
    os.close(tells)
    os.close(watched)


def _tell(tells: int, number: int, what: str) -> None:
    with suppress(BrokenPipeError):  # nobody is there to be told
        os.write(tells, f"{number} {what}\n".encode())


def _show_as(arguments: list[str]) -> None:
    """What `ps` shows of this process: its arguments are in its own memory, where Linux looks for them."""
    told = b"".join(os.fsencode(each) + b"\0" for each in arguments)
    with suppress(OSError, ValueError):
        begin, end = map(int, Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:47])
        if 0 < begin <= end - len(told):
            ctypes.memmove(begin, told.ljust(end - begin, b"\0"), end - begin)

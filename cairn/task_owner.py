"""The process that holds a task: where it runs, and whether it still does."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")  # another one after each start of a machine
_FIRST_PID_SPACE = 0xEFFFFFFC  # the inode of a Linux machine's own; those of containers have others


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that holds a task. `born` is its start time in clock ticks, so that a reused pid is not it.

    `host` is as `this_machine` names it.
    """

    host: str
    pid: int
    born: int

    @classmethod
    def this_process(cls) -> Owner:
        """The process that asks."""
        return _this_process(os.getpid())

    @classmethod
    def of(cls, pid: int) -> Owner:
        """A process of this machine that runs now."""
        return cls(this_machine(), pid, _born(pid))

    @classmethod
    def parse(cls, text: str) -> Owner:
        """The reverse of `str()`."""
        host, pid, born = text.rsplit(":", 2)
        return cls(host, int(pid), int(born))

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}:{self.born}"

    @property
    def machine(self) -> str:
        """Its name, for people."""
        return self.host.partition("/")[0]

    def is_here(self) -> bool:
        """True for a process that this one could see."""
        return self.host == this_machine()

    def is_of_an_earlier_start(self) -> bool:
        """True when it was on a machine of this one's name, and that one has been started since if it is this one."""
        here, there = this_machine().partition("/"), self.host.partition("/")
        return here[0] == there[0] and _start_of(here[2]) != _start_of(there[2])

    def is_gone(self) -> bool:
        """True when this machine can tell that the process ended; False for another machine's."""
        if not self.is_here():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return self.born != _born(self.pid) or _is_dead(self.pid)


@cache
def _this_process(pid: int) -> Owner:
    """By its number, which another process that it forks has not got."""
    return Owner.of(pid)


@cache
def this_machine() -> str:
    """Where this process is seen: on a machine, from one start of it to the next, or in a container there.

    More than a name, which other machines and containers may have too: copies of one image often do.
    """
    name = socket.gethostname()
    try:
        start = _BOOT.read_text(encoding="ascii").partition("-")[0]
        space = Path("/proc/self/ns/pid").stat().st_ino
    except (OSError, ValueError):
        return name
    return f"{name}/{start}" if space == _FIRST_PID_SPACE else f"{name}/{start}-{space}"


def _start_of(rest: str) -> str:
    """Of what a host's name is followed by, the machine's start; not the container."""
    return rest.partition("-")[0]


def _born(pid: int) -> int:
    """Field 22 of /proc/PID/stat (proc(5)); 0 where there is no such file, as on macOS."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def _is_dead(pid: int) -> bool:
    """True for a zombie: it ended, and nobody has asked how."""
    fields = _stat(pid)
    return bool(fields) and fields[0] in {"Z", "X"}


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the process's name."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return stat.rpartition(")")[2].split()

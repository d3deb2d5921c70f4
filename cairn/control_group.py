"""A control group of a command's own: the kernel gives it no more processes than its bound, root's command too.

RLIMIT_NPROC does not bind root. Whether a group can be made depends on who may write below /sys/fs/cgroup; both kinds
are known, version 2 and the older `pids` one. Only the standard library is used here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

_PREFIX = "cairn-"
_ROUNDS = 200
_ROUND_SECONDS = 0.01


class ControlGroup:
    """One that was made here; `join` is called by the process that is to be in it, with all that it starts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def join(self) -> None:
        """Raises OSError where this process may not change its group."""
        (self._folder / "cgroup.procs").write_text("0")

    def was_full(self) -> bool:
        """True when something in it wanted one more process than it may have."""
        with contextlib.suppress(OSError, ValueError):
            told = (self._folder / "pids.events").read_text().split()
            return int(told[told.index("max") + 1]) > 0
        return False

    def kill(self) -> None:
        """Everything in it; it makes nothing new meanwhile."""
        with contextlib.suppress(OSError):
            (self._folder / "pids.max").write_text("0")
        with contextlib.suppress(OSError):
            for process in map(int, (self._folder / "cgroup.procs").read_text().split()):
                with contextlib.suppress(OSError):
                    if process > 0:  # 0 is one that this process cannot see, and would be this one's group
                        os.kill(process, signal.SIGKILL)

    def remove(self) -> None:
        """Once all of them have ended and somebody has asked how."""
        for _ in range(_ROUNDS):
            with contextlib.suppress(OSError):
                self._folder.rmdir()
            if not self._folder.exists():
                return
            self.kill()
            time.sleep(_ROUND_SECONDS)


def made(most: int) -> ControlGroup | None:
    """A group of at most so many processes and threads; None where none can be made."""
    with contextlib.suppress(OSError):
        groups, mounts = Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text()
        for place in places(groups, mounts):
            with contextlib.suppress(OSError):
                return _made_in(Path(place), most)
    return None


def works() -> bool:
    """True when a process of this user can be put into a group of its own."""
    group = made(2)
    if group is None:
        return False
    try:
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(OSError):
                group.join()
                code = 0
            os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        group.remove()


def places(groups: str, mounts: str) -> tuple[str, ...]:
    """Folders in which a group may be made, from what /proc/self/cgroup and /proc/self/mountinfo say.

    Version 2 gives bounds only beside groups that have processes, not below them, but for the first of all.
    """
    found: list[str] = []
    mounted = [line.split(" ") for line in mounts.splitlines()]
    for line in groups.splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds not in {"", "pids"} and "pids" not in kinds.split(","):
            continue
        for fields in mounted:
            tail = fields[fields.index("-") + 1 :]
            right = tail[0] == "cgroup" and "pids" in tail[2].split(",") if kinds else tail[0] == "cgroup2"
            own = _seen(path, fields[3], fields[4])
            if right and own is not None:
                beside = [] if kinds or own == fields[4] else [str(Path(own).parent)]
                found += [*beside, own]
    return tuple(found)


def _seen(path: str, root: str, point: str) -> str | None:
    """Where a group is, of a hierarchy of which the folder `root` is mounted at `point`; None outside of that."""
    root = root.rstrip("/")
    if path.startswith("/..") or (path != root and not path.startswith(f"{root}/")):
        return None
    return f"{point}{path[len(root) :]}".rstrip("/")


def _made_in(place: Path, most: int) -> ControlGroup:
    """Raises OSError where the group could not be bounded."""
    _sweep(place)
    folder = place / f"{_PREFIX}{os.getpid()}-{time.monotonic_ns()}"
    folder.mkdir()
    try:
        with (folder / "pids.max").open("r+") as bound:  # there is none where the folder gives no such bounds
            bound.write(str(most))
    except OSError:
        folder.rmdir()
        raise
    return ControlGroup(folder)


def _sweep(place: Path) -> None:
    """Groups of launchers that were killed; those with processes in them stay."""
    for folder in place.glob(f"{_PREFIX}*-*"):
        process = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if process.isdigit() and not Path("/proc", process).exists():
            with contextlib.suppress(OSError):
                folder.rmdir()

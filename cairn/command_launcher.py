"""Starts one command in its own namespaces, watches what it uses, and ends all of it: a process of its own.

Cairn starts it as `python -I -S`, writes a `Launch` as JSON into its standard input, and holds that open. When it
closes, because the time is over, somebody cancelled, or Cairn was killed, everything the command started is killed.

Three processes: this one, outside, which watches and kills; the first one of the new process namespace, with which the
kernel ends all others; the command. Only the standard library is used here.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cairn import control_group, landlock
from cairn import kernel_calls as kernel
from cairn.command_bounds import Bounds

NOT_STARTED = 125
TICK = 0.05
NICER = 5  # so that the person at this machine, and who watches the command, come first
DISK_TICK = 0.5
DISK_SHARE = 20  # of the time, one part is spent on measuring the disk
MB = 1024 * 1024
HOST_NAME = "sandbox"
SHARED_MEMORY = "size=256m,mode=1777"
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
GUARDED = ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi")  # in /proc: what the host's root may write


@dataclass(frozen=True, slots=True)
class Layers:
    """An overlayfs: folders that are only read, the upper ones first, and where it writes."""

    lower: tuple[str, ...]
    upper: str
    work: str


@dataclass(frozen=True, slots=True)
class Launch:
    """One command. `place` is where it finds the project; `tree` what it finds there, with `layers` only a mount point.

    `sandbox` is "namespaces", "bubblewrap", "landlock" or "none". `visible` are folders and files that it may read.
    `scratch` is its temporary folder on the disk, `spare` an empty folder to build its root in. `isolated`: the machine
    has user namespaces.
    """

    command: str
    place: str
    tree: str
    scratch: str
    spare: str
    sandbox: str
    isolated: bool = True
    layers: Layers | None = None
    visible: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    bounds: Bounds = field(default_factory=Bounds)

    def written(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, line: str) -> Launch:
        """The reverse of `written`."""
        told = json.loads(line)
        layers = told.pop("layers")
        made = None if layers is None else Layers(tuple(layers["lower"]), layers["upper"], layers["work"])
        bounds, visible = Bounds(**told.pop("bounds")), tuple(told.pop("visible"))
        return cls(**told, layers=made, bounds=bounds, visible=visible)


class _NoStart(Exception):
    """The command could not be started; `part` is what failed."""

    def __init__(self, part: str, error: OSError) -> None:
        super().__init__(f"{part}: {error}")
        self.part = part


def main(report_to: int) -> None:
    """Runs what the standard input says, and reports one JSON line: how it ended, or why it did not start."""
    os.set_inheritable(report_to, False)
    launch = Launch.read(_first_line())
    try:
        ended = _Watched(launch).run(report_to)
    except _NoStart as failed:
        ended = {"error": str(failed), "part": failed.part}
    _report(report_to, ended)


def _first_line() -> str:
    """Read byte by byte at the end only: what follows must stay in the pipe."""
    told = b""
    while not told.endswith(b"\n"):
        more = os.read(0, 65_536)
        if not more:
            raise SystemExit(NOT_STARTED)
        told += more
    return told.decode()


def _report(report_to: int, ended: dict[str, object]) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        os.write(report_to, json.dumps(ended).encode() + b"\n")


# ── outside: watching and ending ──


class _Watched:
    """The command's processes, seen from outside."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._first = 0
        self._stopped = ""
        written = launch.tree if launch.layers is None else launch.layers.upper
        self._folders = [launch.scratch, written]
        self._there = 0 if launch.layers else _disk_bytes([launch.tree])
        self._group = None if launch.isolated else control_group.made(launch.bounds.processes)

    def run(self, report_to: int) -> dict[str, object]:
        kernel.adopt_orphans()
        if self._launch.isolated:
            _enter_namespaces(self._launch)
        ours, theirs = socket.socketpair()
        self._first = os.fork()
        if self._first == 0:
            _in_child(self._launch, report_to, theirs, self._group)
        theirs.close()
        if self._launch.sandbox == "landlock":
            own = [os.path.realpath(folder) for folder in self._folders]
            threading.Thread(target=_answer_all, args=(ours, own), daemon=True).start()
        status = self._watch()
        code = os.waitstatus_to_exitcode(status)
        return {"exit": 128 - code if code < 0 else code, "stopped": self._stopped}

    def _watch(self) -> int:
        ended = os.pidfd_open(self._first)
        poller = select.poll()
        for descriptor in (0, ended):
            poller.register(descriptor, select.POLLIN | select.POLLHUP)
        disk_at = time.monotonic() + DISK_TICK
        while True:
            ready = [descriptor for descriptor, _ in poller.poll(TICK * 1000)]
            if ended in ready:
                break
            self._stopped = "asked" if ready else self._over_bounds()
            if not self._stopped and time.monotonic() >= disk_at:
                started = time.monotonic()
                self._stopped = self._over_disk()
                disk_at = time.monotonic() + max(DISK_TICK, DISK_SHARE * (time.monotonic() - started))
            if self._stopped:
                break
        return self._end()

    def _end(self) -> int:
        """Kills all; the first process of a namespace takes the others along, elsewhere they are looked for."""
        if self._stopped:
            os.kill(self._first, signal.SIGKILL)
        if self._launch.sandbox == "landlock":  # it leads the group that all are in, as long as nobody waited for it
            with contextlib.suppress(OSError):
                os.killpg(self._first, signal.SIGKILL)
        if self._group is not None:
            if not self._stopped and self._group.was_full():  # it ended before anybody looked
                self._stopped = f"it had more than {self._launch.bounds.processes:,} processes"
            self._group.kill()
        _, status = os.waitpid(self._first, 0)
        while left := list(_descendants(os.getpid())):
            for process in left:
                with contextlib.suppress(OSError):
                    os.kill(process, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
        if self._group is not None:
            self._group.remove()
        return status

    def _over_bounds(self) -> str:
        bounds, used, count = self._launch.bounds, 0, 0
        found = list(_descendants(self._first))
        for process in found:
            count += _threads(process)
            used += _private_bytes(process)
        if count > bounds.processes or (self._group is not None and self._group.was_full()):
            return f"it had more than {bounds.processes:,} processes"
        if used > bounds.memory_mb * MB and sum(map(_proportional_bytes, found)) > bounds.memory_mb * MB:
            return f"it used more than {bounds.memory_mb:,} MB of memory"
        return ""

    def _over_disk(self) -> str:
        most = self._launch.bounds.disk_mb * MB + self._there
        if _disk_bytes(self._folders, most) > most:
            return f"it wrote more than {self._launch.bounds.disk_mb:,} MB"
        return ""


def _answer_all(link: socket.socket, own: list[str]) -> None:
    """What the child's filter asks, from when it is in force until nobody is left who could ask."""
    with link:
        _, found, _, _ = socket.recv_fds(link, 1, 1)
    if found:
        landlock.answer_all(found[0], own)


def _descendants(process: int) -> Iterator[int]:
    """All processes below one, as this process sees them, itself too unless it is this one."""
    waiting = [process]
    while waiting:
        each = waiting.pop()
        if each != os.getpid():
            yield each
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{each}/task"):
                waiting += map(int, Path(f"/proc/{each}/task/{thread}/children").read_text().split())


def _threads(process: int) -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{process}/task"))
    return 0


def _private_bytes(process: int) -> int:
    """Memory that is not shared with a file; what a fork shares counts twice."""
    with contextlib.suppress(OSError):
        _, resident, shared, *_ = map(int, Path(f"/proc/{process}/statm").read_text().split())
        return (resident - shared) * resource.getpagesize()
    return 0


def _proportional_bytes(process: int) -> int:
    """The same with what is shared counted once; slower. Where the kernel does not say, the first figure."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss_Anon:"):
                return int(line.split()[1]) * 1024
    return _private_bytes(process)


def _disk_bytes(folders: list[str], enough: float = float("inf")) -> int:
    total, waiting = 0, list(folders)
    while waiting and total <= enough:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
    return total


# ── namespaces ──


def _enter_namespaces(launch: Launch) -> None:
    try:
        kernel.become_itself_in_new_users()
        kernel.unshare(kernel.NEW_MOUNTS | kernel.NEW_PIDS)
        kernel.mount("", "/", flags=kernel.RECURSIVE | kernel.PRIVATE)
    except OSError as error:
        raise _NoStart("namespaces", error) from error
    if launch.layers is None:
        return
    try:
        _mount_layers(launch.layers, launch.tree)
    except OSError as error:
        raise _NoStart("layer", error) from error


def _mount_layers(layers: Layers, tree: str) -> None:
    """The folders by descriptors: a colon or a comma in a name would end it in the options."""
    opened = [os.open(folder, os.O_PATH | os.O_DIRECTORY) for folder in (*layers.lower, layers.upper, layers.work)]
    names = [f"/proc/self/fd/{descriptor}" for descriptor in opened]
    options = f"lowerdir={':'.join(names[:-2])},upperdir={names[-2]},workdir={names[-1]},userxattr,volatile"
    kernel.mount("overlay", tree, "overlay", options=options)
    for descriptor in opened:
        os.close(descriptor)


def _in_child(launch: Launch, report_to: int, link: socket.socket, group: control_group.ControlGroup | None) -> None:
    """Never returns; what goes wrong before the command runs is reported."""
    try:
        if group is not None:
            with contextlib.suppress(OSError):  # not allowed here: the other bounds hold as they do without a group
                group.join()
        os.setsid()
        kernel.die_with_parent(signal.SIGKILL)
        if launch.sandbox == "bubblewrap":
            _run_in_bubblewrap(launch)
        elif launch.sandbox == "landlock":
            _run_held(launch, link)
        elif launch.isolated:
            _be_first_process(launch, report_to)
        else:
            os.chdir(launch.tree)
            _run_command(launch)
    except OSError as error:
        _report(report_to, {"error": f"sandbox: {error}", "part": "sandbox"})
    finally:
        os._exit(NOT_STARTED)


def _be_first_process(launch: Launch, report_to: int) -> None:
    """Sets up what the command sees, runs it, and ends with its exit code; all others are killed with it."""
    kernel.unshare(kernel.NEW_MOUNTS)  # a change of the root reaches every process with the same mounts
    if launch.sandbox == "namespaces":
        kernel.unshare(kernel.NEW_NETWORK | kernel.NEW_IPC | kernel.NEW_NAMES)
        kernel.raise_loopback()
        kernel.name_host(HOST_NAME)
        _build_root(launch)
        _forbid_more(launch.bounds)
        _guard_proc()
    else:
        kernel.mount("proc", "/proc", "proc")
        kernel.mount(launch.tree, launch.place, flags=kernel.BIND | kernel.RECURSIVE)
    os.chdir(launch.place)
    command = os.fork()
    if command == 0:
        try:
            kernel.drop_privileges()
            _run_command(launch, refuse=launch.sandbox == "namespaces")
        except OSError as error:
            _report(report_to, {"error": f"command: {error}", "part": "command"})
        finally:
            os._exit(NOT_STARTED)
    kernel.drop_privileges()
    kernel.hide_memory()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    while (ended := os.wait())[0] != command:
        pass
    code = os.waitstatus_to_exitcode(ended[1])
    os._exit(128 - code if code < 0 else code)


def _build_root(launch: Launch) -> None:
    """A root of its own with only what is shown; everything but the project and its temporary folder is read-only."""
    root = launch.spare
    kernel.mount("tmpfs", root, "tmpfs", kernel.NO_SETUID | kernel.NO_DEVICES, "size=16m,mode=755")
    _mount_at(launch.scratch, f"{root}/tmp")  # noqa: S108 - its own
    for shown in launch.visible:
        _show(shown, root + shown)
    _mount_at(launch.tree, root + launch.place)
    Path(f"{root}/proc").mkdir()
    kernel.mount("proc", f"{root}/proc", "proc", kernel.NO_SETUID | kernel.NO_DEVICES | kernel.NO_EXEC)
    _make_devices(f"{root}/dev")
    with contextlib.suppress(FileExistsError):
        Path(f"{root}/var").mkdir()
        Path(f"{root}/var/tmp").symlink_to("/tmp")  # noqa: S108 - the sandbox's own
    kernel.enter_root(root)
    kernel.mount("", "/", flags=0x20 | kernel.BIND | 0x1 | kernel.NO_SETUID | kernel.NO_DEVICES)


def _show(source: str, target: str) -> None:
    """A file or folder, read-only; a link stays one."""
    try:
        found = os.lstat(source)
    except OSError:
        return
    if Path(target).is_symlink() or (Path(target).exists() and not stat.S_ISDIR(found.st_mode)):
        return
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    if stat.S_ISLNK(found.st_mode):
        Path(target).symlink_to(os.readlink(source))
    elif stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode):
        if stat.S_ISDIR(found.st_mode):
            Path(target).mkdir(exist_ok=True)
        else:
            Path(target).touch()
        kernel.mount(source, target, flags=kernel.BIND | kernel.RECURSIVE)
        kernel.make_read_only(target)


def _mount_at(source: str, target: str) -> None:
    Path(target).mkdir(parents=True, exist_ok=True)
    kernel.mount(source, target, flags=kernel.BIND | kernel.RECURSIVE)
    kernel.make_read_only(target, writable=True)


def _make_devices(folder: str) -> None:
    Path(folder).mkdir()
    for name in DEVICES:
        Path(f"{folder}/{name}").touch()
        kernel.mount(f"/dev/{name}", f"{folder}/{name}", flags=kernel.BIND)
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        Path(f"{folder}/{name}").symlink_to(f"/proc/self/fd{target}")
    Path(f"{folder}/shm").mkdir()
    kernel.mount("tmpfs", f"{folder}/shm", "tmpfs", kernel.NO_SETUID | kernel.NO_DEVICES, SHARED_MEMORY)


def _forbid_more(bounds: Bounds) -> None:
    """No user namespace in this one, and, where the kernel counts it for a namespace, no more processes than these."""
    for name, value in (("user/max_user_namespaces", 0), ("kernel/pid_max", max(bounds.processes, 301))):
        with contextlib.suppress(OSError):
            if name != "kernel/pid_max" or _pid_max_is_own():
                Path(f"/proc/sys/{name}").write_text(str(value))


def _pid_max_is_own() -> bool:
    """Since Linux 6.14 each process namespace has a limit of its own; before, this would be the machine's."""
    major, minor = (int(number) for number in os.uname().release.split(".")[:2])
    return (major, minor) >= (6, 14)


def _guard_proc() -> None:
    """The machine's own settings belong to the host's root, which may be who runs this."""
    for name in GUARDED:
        path = f"/proc/{name}"
        if Path(path).exists():
            kernel.mount(path, path, flags=kernel.BIND | kernel.RECURSIVE)
            kernel.make_read_only(path)


# ── bubblewrap ──


def bubblewrap_arguments(launch: Launch, filter_from: int) -> list[str]:
    """The same sandbox, built by bubblewrap."""
    told = ["bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"]
    told += ["--hostname", HOST_NAME, "--cap-drop", "ALL", "--proc", "/proc", "--dev", "/dev"]
    told += ["--bind", launch.scratch, "/tmp", "--symlink", "/tmp", "/var/tmp"]  # noqa: S108 - the sandbox's own
    for shown in launch.visible:
        if Path(shown).is_symlink():
            told += ["--symlink", os.readlink(shown), shown]
        elif Path(shown).exists():
            told += ["--ro-bind", shown, shown]
    for name in GUARDED:  # the machine's own settings belong to the host's root, which may be who runs this
        if Path(f"/proc/{name}").exists():
            told += ["--ro-bind", f"/proc/{name}", f"/proc/{name}"]
    told += ["--bind", launch.tree, launch.place, "--remount-ro", "/", "--chdir", launch.place]
    told += ["--seccomp", str(filter_from)] if filter_from >= 0 else []
    return [*told, "--", "/bin/sh", "-c", launch.command]


def _run_in_bubblewrap(launch: Launch) -> None:
    packed, filter_from = kernel.system_call_filter(), -1
    if packed:
        filter_from = os.memfd_create("filter", 0)
        os.write(filter_from, packed)
        os.lseek(filter_from, 0, os.SEEK_SET)
    _prepare_command(launch, keep=filter_from)
    os.execvpe("bwrap", bubblewrap_arguments(launch, filter_from), launch.environment)  # noqa: S606


# ── the command ──


def _prepare_command(launch: Launch, *, keep: int = -1) -> None:
    """No input, no descriptor of ours, limits, and the signals as a program expects them."""
    empty = os.open("/dev/null", os.O_RDONLY)
    os.dup2(empty, 0)
    os.closerange(3, keep) if keep >= 3 else None  # noqa: PLR2004 - after the standard streams
    os.closerange(max(keep, 2) + 1, 65_536)
    bounds = launch.bounds
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, bounds.cpu_seconds),
        (resource.RLIMIT_FSIZE, bounds.file_mb * MB),
        (resource.RLIMIT_DATA, bounds.memory_mb * MB),
    ):
        _limit(kind, most)
    # It counts this user's processes in this user namespace, so without one those that are there already too.
    _limit(resource.RLIMIT_NPROC, bounds.processes + (0 if launch.isolated else _processes_of_user()))
    os.nice(NICER)
    os.umask(0o022)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def _processes_of_user() -> int:
    total = 0
    for each in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if each.name.isdigit() and each.stat().st_uid == os.getuid():
                total += _threads(int(each.name))
    return total


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


def _run_held(launch: Launch, link: socket.socket) -> None:
    """Becomes the command, without namespaces."""
    os.chdir(launch.tree)
    _prepare_command(launch, keep=link.fileno())
    listener = landlock.hold(launch.visible, (launch.tree, launch.scratch))
    socket.send_fds(link, [b"x"], [listener])
    os.closerange(3, max(listener, link.fileno()) + 1)
    os.execve("/bin/sh", ["/bin/sh", "-c", launch.command], launch.environment)  # noqa: S606


def _run_command(launch: Launch, *, refuse: bool = False) -> None:
    """Becomes the command."""
    if launch.isolated:
        os.setsid() if os.getpid() != os.getsid(0) else None
    _prepare_command(launch)
    kernel.take_no_new_privileges()
    if refuse:
        kernel.refuse_system_calls()
    os.execve("/bin/sh", ["/bin/sh", "-c", launch.command], launch.environment)  # noqa: S606


if __name__ == "__main__":
    main(int(sys.argv[1]))

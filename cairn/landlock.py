"""Holds a command where the kernel gives no namespaces: Landlock for files, a system call filter for all else.

Landlock asks nobody for leave, but knows nothing of changed modes, owners and times, nor of sockets. So the filter
refuses sockets, and hands calls that change a mode, an owner or a time to the launcher, which carries them out itself,
in the command's own folders only. Only the standard library is used here: a process of its own reads it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import select
import stat
import struct
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from cairn import kernel_calls as kernel

LEAST_ABI = 6  # the first that keeps a command's signals to itself: Linux 6.12
DEVICES = ("null", "zero", "full", "random", "urandom")
FIGURES = (  # of the machine as a whole; other processes' folders in /proc are not shown
    "/proc/cpuinfo", "/proc/filesystems", "/proc/loadavg", "/proc/meminfo", "/proc/stat", "/proc/uptime",
    "/proc/version", "/proc/sys/kernel", "/proc/sys/vm/overcommit_memory", "/sys/devices/system/cpu",
)  # fmt: skip

# ── files ──

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # these numbers are the same on every architecture
_VERSION = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_FOLDER, _TRUNCATE, _IOCTL = 0x1, 0x2, 0x4, 0x8, 0x4000, 0x8000
_ALL_FILES, _ALL_TCP, _ALL_SCOPES = 0xFFFF, 0x3, 0x3
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
_READ = _EXECUTE | _READ_FILE | _READ_FOLDER
_BENEATH = 1

_c = ctypes.CDLL(None, use_errno=True)


def _called(number: int, *arguments: object) -> int:
    result = int(_c.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"system call {number}: {os.strerror(code)}")
    return result


def version() -> int:
    """Of the kernel's Landlock; 0 where it has none."""
    with suppress(OSError):
        return _called(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION))
    return 0


def is_enough() -> bool:
    """True where a command can be held by it; the numbers of system calls are known for one architecture."""
    return platform.machine() == "x86_64" and version() >= LEAST_ABI


def restrict(readable: Iterable[str], writable: Iterable[str]) -> None:
    """From now on this process and all that it starts read and write only there, and signal only each other."""
    told = ctypes.create_string_buffer(struct.pack("QQQ", _ALL_FILES, _ALL_TCP, _ALL_SCOPES), 24)
    rules = _called(_CREATE, told, ctypes.c_size_t(24), ctypes.c_uint(0))
    for path in (*readable, *FIGURES):
        _allow(rules, path, _READ)
    for name in DEVICES:
        _allow(rules, f"/dev/{name}", _READ_FILE | _WRITE_FILE)
    for path in writable:
        _allow(rules, path, _ALL_FILES & ~_IOCTL)
    _called(_RESTRICT, ctypes.c_int(rules), ctypes.c_uint(0))
    os.close(rules)


def _allow(rules: int, path: str, access: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not stat.S_ISDIR(os.fstat(place).st_mode):
        access &= _OF_A_FILE
    told = ctypes.create_string_buffer(struct.pack("=Qi", access, place), 12)
    _called(_ADD, ctypes.c_int(rules), ctypes.c_int(_BENEATH), told, ctypes.c_uint(0))
    os.close(place)


# ── system calls, by their numbers on x86_64 ──

_CHMOD, _FCHMOD, _FCHMODAT, _FCHMODAT2 = 90, 91, 268, 452
_CHOWN, _FCHOWN, _LCHOWN, _FCHOWNAT = 92, 93, 94, 260
_UTIMENSAT = 280
_ASKED = (_CHMOD, _FCHMOD, _FCHMODAT, _FCHMODAT2, _CHOWN, _FCHOWN, _LCHOWN, _FCHOWNAT, _UTIMENSAT)
_UNKNOWN = (132, 235, 261, 463, 466, 469)  # older and newer ways to the same: programs try another one
_UNSUPPORTED = (188, 189, 190, 197, 198, 199)  # extended attributes
_REFUSED = (
    41, 42, 49,  # socket, connect, bind
    29, 30, 31, 64, 65, 66, 67, 68, 69, 70, 71, 220, 240, 241, 242, 243, 244, 245,  # other processes' shared memory
    312, 440, 438, 425, 426, 427,  # into other processes; io_uring
)  # fmt: skip
_NEW_GROUP = (109, 112)  # setpgid, setsid
_SOCKETPAIR, _PRLIMIT, _STREAM, _TYPE = 53, 302, 1, 0xF
_LOAD, _EQUAL, _AND, _RETURN = 0x20, 0x15, 0x54, 0x06
_ALLOW, _ERROR, _ASK = 0x7FFF0000, 0x00050000, 0x7FC00000
_NUMBER, _FIRST, _SECOND = 0, 16, 24
_HERE, _NO_FOLLOW = -100, 0x100
_SECCOMP, _SET_FILTER = 317, 1
_NEW_LISTENER, _NO_SIGNAL_WHILE_ANSWERED = 8, 32
_RECEIVE, _SEND, _IS_VALID = 0xC0502100, 0xC0182101, 0x40082102


def supervised() -> int:
    """The filter is in force; a descriptor for whoever is to `answer` what it asks."""
    rules = [(_LOAD, 0, 0, _NUMBER)]
    for numbers, verdict in (
        (_ASKED, _ASK),
        (_UNKNOWN, _ERROR | errno.ENOSYS),
        (_UNSUPPORTED, _ERROR | errno.EOPNOTSUPP),
        (_REFUSED, _ERROR | errno.EPERM),
        # Root may have any number of processes. In one group they end at once, however fast they make others; so a
        # group of its own is granted in words only.
        (_NEW_GROUP if os.getuid() == 0 else (), _ERROR),
    ):
        for number in numbers:
            rules += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, verdict)]
    pair = [(_LOAD, 0, 0, _SECOND), (_AND, 0, 0, _TYPE), (_EQUAL, 1, 0, _STREAM), (_RETURN, 0, 0, _ERROR | errno.EPERM)]
    limit = [(_LOAD, 0, 0, _FIRST), (_EQUAL, 1, 0, 0), (_RETURN, 0, 0, _ERROR | errno.EPERM)]
    rules += [(_EQUAL, 0, len(pair) + 1, _SOCKETPAIR), *pair, (_RETURN, 0, 0, _ALLOW)]
    rules += [(_EQUAL, 0, len(limit) + 1, _PRLIMIT), *limit, (_RETURN, 0, 0, _ALLOW)]
    rules += [(_RETURN, 0, 0, _ALLOW)]
    packed = b"".join(struct.pack("HBBI", *rule) for rule in rules)
    filters = ctypes.create_string_buffer(packed, len(packed))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rules), ctypes.addressof(filters)), 16)
    flags = _NEW_LISTENER | _NO_SIGNAL_WHILE_ANSWERED
    return _called(_SECCOMP, ctypes.c_uint(_SET_FILTER), ctypes.c_uint(flags), program)


def hold(readable: Sequence[str], writable: Sequence[str]) -> int:
    """All of it for this process: no privilege is left, and only `answer` changes a mode."""
    kernel.drop_privileges()
    kernel.take_no_new_privileges()
    restrict(readable, writable)
    kernel.refuse_system_calls()
    return supervised()


# ── the launcher's side ──


def answer_all(listener: int, own: Sequence[str]) -> None:
    """Until nobody is left whom the filter holds; in a thread, for one who asked may be gone before it is heard."""
    poller = select.poll()
    poller.register(listener, select.POLLIN)
    while True:
        for _, what in poller.poll():
            if not what & select.POLLIN:
                return
            answer(listener, own)


def answer(listener: int, own: Sequence[str]) -> None:
    """Carries out one call that was asked for, at what really stands there, if that is in one of the own folders."""
    asked = bytearray(80)
    try:
        fcntl.ioctl(listener, _RECEIVE, asked)
    except OSError:  # whoever asked is gone
        return
    number, process = struct.unpack_from("QI", asked)
    call, *arguments = struct.unpack_from("i4x8x6Q", asked, 16)
    try:
        _carry_out(listener, number, process, call, arguments, own)
        code = 0
    except OSError as error:
        code = -(error.errno or errno.EPERM)
    with suppress(OSError):
        fcntl.ioctl(listener, _SEND, struct.pack("QqiI", number, 0, code, 0))


def _carry_out(listener: int, number: int, process: int, call: int, given: list[int], own: Sequence[str]) -> None:
    place = _place_of(process, call, given)
    try:
        fcntl.ioctl(listener, _IS_VALID, struct.pack("Q", number))  # else another process has its number by now
        where = str(Path(f"/proc/self/fd/{place}").readlink())
        if not any(where == folder or where.startswith(f"{folder}/") for folder in own):
            raise PermissionError(errno.EPERM, "outside")
        _change(Path(f"/proc/self/fd/{place}"), process, call, given)
    finally:
        os.close(place)


def _change(there: Path, process: int, call: int, given: list[int]) -> None:
    if call in {_CHMOD, _FCHMOD}:
        there.chmod(given[1] & 0o777)
    elif call in {_FCHMODAT, _FCHMODAT2}:
        there.chmod(given[2] & 0o777)
    elif call == _UTIMENSAT:
        _set_times(there, process, given[2])
    else:
        owners = given[2:4] if call == _FCHOWNAT else given[1:3]
        same = (os.getuid(), os.getgid())
        if any(_signed(each) not in {-1, mine} for each, mine in zip(owners, same, strict=True)):
            raise PermissionError(errno.EPERM, "to somebody else")


def _set_times(there: Path, process: int, at: int) -> None:
    """Two times of seconds and nanoseconds, of which special ones mean now, and as it is."""
    if at == 0:
        os.utime(there)
        return
    now, as_it_is = (1 << 30) - 1, (1 << 30) - 2
    found = there.stat()
    words = struct.unpack("4q", _memory(process, at, 32))
    before = (found.st_atime_ns, found.st_mtime_ns)
    chosen = [
        kept if each == as_it_is else time.time_ns() if each == now else seconds * 10**9 + each
        for seconds, each, kept in zip(words[::2], words[1::2], before, strict=True)
    ]
    os.utime(there, ns=(chosen[0], chosen[1]))


def _place_of(process: int, call: int, given: list[int]) -> int:
    """A descriptor of what the call is about; what stands there cannot be exchanged any more."""
    if call in {_FCHMOD, _FCHOWN}:
        return os.open(f"/proc/{process}/fd/{_signed(given[0])}", os.O_PATH)
    if call in {_CHMOD, _CHOWN, _LCHOWN}:
        folder, at, follow = _HERE, given[0], call != _LCHOWN
    else:
        folder, at = _signed(given[0]), given[1]
        flags = {_FCHOWNAT: given[4], _FCHMODAT2: given[3], _UTIMENSAT: given[3]}.get(call, 0)
        follow = not flags & _NO_FOLLOW
    base = f"/proc/{process}/cwd" if folder == _HERE else f"/proc/{process}/fd/{folder}"
    name = _text(process, at) if at else b""
    if not name:
        return os.open(base, os.O_PATH)
    opened = os.open(base, os.O_PATH)
    try:
        return os.open(name, os.O_PATH | (0 if follow else os.O_NOFOLLOW), dir_fd=opened)
    finally:
        os.close(opened)


def _signed(word: int) -> int:
    return int(ctypes.c_int(word & 0xFFFFFFFF).value)


def _text(process: int, at: int) -> bytes:
    found = b""
    while b"\0" not in found and len(found) <= os.pathconf("/", "PC_PATH_MAX"):
        step = 4096 - (at + len(found)) % 4096  # the next page may not be there
        found += _memory(process, at + len(found), step)
    return found.partition(b"\0")[0]


def _memory(process: int, at: int, size: int) -> bytes:
    with Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:
        memory.seek(at)
        return memory.read(size)

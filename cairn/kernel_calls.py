"""What the sandbox of commands asks of the Linux kernel and Python's own library has no name for: calls through ctypes.

Read by a process of its own that does nothing else, so nothing of Cairn is imported here.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import socket
import struct
from pathlib import Path

NEW_MOUNTS, NEW_NAMES, NEW_IPC = 0x00020000, 0x04000000, 0x08000000
NEW_USERS, NEW_PIDS, NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000
BIND, RECURSIVE, PRIVATE = 0x1000, 0x4000, 0x40000
NO_SETUID, NO_DEVICES, NO_EXEC = 0x2, 0x4, 0x8
_DETACH = 2
_MOUNT_SETATTR = 442  # this number is the same on every architecture
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_READ_ONLY, _NO_SETUID_ATTRIBUTE, _NO_DEVICES_ATTRIBUTE = 0x1, 0x2, 0x4
_AT_FDCWD, _WHOLE_TREE = -100, 0x8000
_PDEATHSIG, _DUMPABLE, _SECCOMP, _CAPBSET_DROP, _SUBREAPER, _NO_NEW_PRIVILEGES, _AMBIENT = 1, 4, 22, 24, 36, 38, 47
_AMBIENT_CLEAR, _CAPABILITIES, _CAPABILITY_VERSION = 4, 64, 0x20080522
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _INTERFACE_UP = 0x8913, 0x8914, 0x1

_c = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _prctl(option: int, value: int = 0, third: int = 0) -> None:
    words = [ctypes.c_ulong(word) for word in (value, third, 0, 0)]
    _checked(_c.prctl(option, *words), f"prctl {option}")


def unshare(flags: int) -> None:
    """The calling process gets namespaces of its own."""
    _checked(_c.unshare(flags), "unshare")


def become_itself_in_new_users() -> None:
    """A user namespace in which this user has its own number, and no other user is known."""
    user, group = os.getuid(), os.getgid()
    unshare(NEW_USERS)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        Path(f"/proc/self/{name}").write_text(text)


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """One mount; paths as they are on the disk."""
    told = [os.fsencode(word) if word else None for word in (source, target, kind)]
    data = os.fsencode(options) if options else None
    _checked(_c.mount(*told, ctypes.c_ulong(flags), data), f"mount {kind or 'bind'} {target}")


def make_read_only(target: str, *, writable: bool = False) -> None:
    """A mount with all below it: no set-user-id, no devices, and no writing unless `writable`."""
    wanted = _NO_SETUID_ATTRIBUTE | _NO_DEVICES_ATTRIBUTE | (0 if writable else _READ_ONLY)
    attributes = ctypes.create_string_buffer(struct.pack("QQQQ", wanted, 0, 0, 0), 32)
    call = [ctypes.c_long(_MOUNT_SETATTR), ctypes.c_int(_AT_FDCWD), os.fsencode(target), ctypes.c_uint(_WHOLE_TREE)]
    _checked(_c.syscall(*call, attributes, ctypes.c_size_t(32)), f"mount_setattr {target}")


def enter_root(folder: str) -> None:
    """The folder, a mount, becomes the root; the old root is out of reach."""
    os.chdir(folder)
    number = _PIVOT_ROOT.get(platform.machine())
    if number is None:
        raise OSError(f"no sandbox is known for {platform.machine()}")
    _checked(_c.syscall(ctypes.c_long(number), b".", b"."), "pivot_root")
    _checked(_c.umount2(b".", _DETACH), "umount")
    os.chdir("/")


def raise_loopback() -> None:
    """The loopback interface of an empty network namespace comes up, for tests that talk to themselves."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH22x", b"lo", 0)
        flags = struct.unpack("16sH22x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _INTERFACE_UP))


def name_host(name: str) -> None:
    """The name of this machine, in this namespace."""
    socket.sethostname(name)


def die_with_parent(signal: int) -> None:
    """The kernel sends the signal when the thread that forked this process is gone."""
    _prctl(_PDEATHSIG, signal)


def adopt_orphans() -> None:
    """Descendants whose parent ended become this process's children."""
    _prctl(_SUBREAPER, 1)


def hide_memory() -> None:
    """No process of the same user may trace this one or read its memory."""
    _prctl(_DUMPABLE, 0)


def drop_privileges() -> None:
    """No capability is left, and no program that is run can give one back."""
    _prctl(_AMBIENT, _AMBIENT_CLEAR)
    for number in range(_CAPABILITIES):
        if _c.prctl(_CAPBSET_DROP, ctypes.c_ulong(number), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)):
            break  # the kernel knows no higher one
    header = ctypes.create_string_buffer(struct.pack("Ii", _CAPABILITY_VERSION, 0), 8)
    _checked(_c.capset(header, ctypes.create_string_buffer(24)), "capset")


def take_no_new_privileges() -> None:
    """Set-user-id programs run as whoever runs them, for ever."""
    _prctl(_NO_NEW_PRIVILEGES, 1)


# ── system calls ──

_NUMBERS = {  # of the calls that nothing a check runs needs, and that reach deep into the kernel
    "x86_64": {
        "architecture": 0xC000003E,
        "socket": 41,
        "denied": (
            165, 166, 155, 167, 168, 169, 175, 176, 313, 246, 320, 248, 249, 250, 298, 321, 323, 103, 304, 303,
            428, 429, 430, 431, 432, 433, 442, 425, 426, 427, 272, 308, 161, 163, 134, 172, 173, 212,
        ),
    },
    "aarch64": {
        "architecture": 0xC00000B7,
        "socket": 198,
        "denied": (
            40, 39, 41, 224, 225, 142, 105, 106, 273, 104, 294, 217, 218, 219, 241, 280, 282, 116, 265, 264,
            428, 429, 430, 431, 432, 433, 442, 425, 426, 427, 97, 268, 51, 89, 18,
        ),
    },
}  # fmt: skip
_SOCKETS = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, 16)  # 16: netlink, how programs ask for their addresses
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000
_X32 = 0x40000000
_INSTRUCTION = 8


def refuse_system_calls() -> None:
    """Mounting, keys, modules, io_uring, sockets that reach no network namespace: each is a PermissionError."""
    packed = system_call_filter()
    if packed:
        filters = ctypes.create_string_buffer(packed, len(packed))
        count = len(packed) // _INSTRUCTION
        program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", count, ctypes.addressof(filters)), 16)
        _prctl(_SECCOMP, 2, ctypes.addressof(program))


def system_call_filter() -> bytes:
    """The same as seccomp has it, for who loads it himself; b"" where the numbers of this machine are not known."""
    known = _NUMBERS.get(platform.machine())
    if known is None:
        return b""
    denied, wanted_socket = known["denied"], known["socket"]
    assert isinstance(denied, tuple)  # noqa: S101 - for the type checker
    rules = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, known["architecture"]), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    rules += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _REFUSE)]
    for number in denied:
        rules += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    rules += [(_EQUAL, 0, len(_SOCKETS) + 2, wanted_socket), (_LOAD, 0, 0, 16)]
    rules += [(_EQUAL, len(_SOCKETS) - place, 0, int(family)) for place, family in enumerate(_SOCKETS)]
    rules += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("HBBI", *rule) for rule in rules)

"""`python -m tests.without_namespaces [--nor-landlock] COMMAND...`: runs it where no process may make a namespace.

As in a container, or where a system's policy forbids it: a system call filter refuses, for this process and its children.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_CLONE, _UNSHARE, _SETNS, _CLONE3 = 56, 272, 308, 435
_NAMESPACES = 0x7E020080  # each flag that makes one
_LANDLOCK = (444, 445, 446)


def forbid_namespaces(*, landlock_too: bool = False) -> None:
    """For this process and all that it starts, for ever."""
    rules = [(_LOAD, 0, 0, 0)]
    refused = [(_UNSHARE, errno.EPERM), (_SETNS, errno.EPERM), (_CLONE3, errno.ENOSYS)]
    refused += [(number, errno.ENOSYS) for number in _LANDLOCK if landlock_too]
    for number, error in refused:
        rules += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERROR | error)]
    rules += [(_EQUAL, 0, 3, _CLONE), (_LOAD, 0, 0, 16), (_ANY_BIT, 0, 1, _NAMESPACES)]
    rules += [(_RETURN, 0, 0, _ERROR | errno.EPERM), (_RETURN, 0, 0, _ALLOW)]
    packed = b"".join(struct.pack("HBBI", *rule) for rule in rules)
    filters = ctypes.create_string_buffer(packed, len(packed))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rules), ctypes.addressof(filters)), 16)
    c = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    assert c.prctl(38, ctypes.c_ulong(1), zero, zero, zero) == 0
    assert c.prctl(22, ctypes.c_ulong(2), ctypes.c_ulong(ctypes.addressof(program)), zero, zero) == 0


if __name__ == "__main__":
    both = sys.argv[1] == "--nor-landlock"
    forbid_namespaces(landlock_too=both)
    words = sys.argv[2 if both else 1 :]
    os.execvp(words[0], words)  # noqa: S606 - as it was given

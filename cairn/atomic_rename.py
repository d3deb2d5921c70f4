"""Renames with which the kernel keeps what stood at the name: two names swapped, or a name taken only if it is free.

Linux has one call for both, renameat2. Where it is missing, or the file system does not know it, the functions say so
and change nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import cache

_NO_REPLACE, _EXCHANGE = 1, 2
# EPERM: a sandbox that does not know the call refuses it so. A folder that refuses the plain rename too says it again.
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


def exchange(name: str, folder: int, other: str, other_folder: int) -> bool:
    """Both names stand for what the other one stood for, at one instant. False, and nothing done, where it cannot be.

    The folders are descriptors. Raises OSError.
    """
    return _done(name, folder, other, other_folder, _EXCHANGE)


def take_free_name(waiting: str, stage: int, name: str, folder: int) -> None:
    """Moves a file to a name that nothing stands at. Raises FileExistsError, and leaves both, where something does."""
    if _done(waiting, stage, name, folder, _NO_REPLACE):
        return
    try:
        os.link(waiting, name, src_dir_fd=stage, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.rename(waiting, name, src_dir_fd=stage, dst_dir_fd=folder)  # a file system without hard links
    else:
        os.unlink(waiting, dir_fd=stage)


def _done(name: str, folder: int, other: str, other_folder: int, flag: int) -> bool:
    try:
        renameat2(folder, os.fsencode(name), other_folder, os.fsencode(other), flag)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return False
    return True


def renameat2(old_folder: int, old: bytes, new_folder: int, new: bytes, flags: int) -> None:
    """The system call. OSError with ENOSYS where the C library has none."""
    code = _from_library()(old_folder, old, new_folder, new, flags)
    if code:
        raise OSError(code, os.strerror(code), os.fsdecode(old), None, os.fsdecode(new))


@cache
def _from_library() -> Callable[[int, bytes, int, bytes, int], int]:
    """Gives the error's number, 0 for none."""
    import ctypes

    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return lambda *_: errno.ENOSYS
    call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    call.restype = ctypes.c_int
    return lambda *arguments: ctypes.get_errno() if call(*arguments) else 0

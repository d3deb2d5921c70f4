"""Room for the files of many tasks at once: each has three open, its database and two that SQLite keeps beside it."""

from __future__ import annotations

import os
import resource
from contextlib import suppress

MARGIN = 256  # descriptors that must be free: one task needs few, but tools are run and other files opened


def make_room() -> None:
    """Raises this process's own limit of open files, as far as the system allows, when it comes near."""
    probe = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.close(probe)  # its number is the lowest that is free, so about as many are open
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or probe + MARGIN < soft:
        return
    wanted = 2 * (probe + MARGIN)
    with suppress(OSError, ValueError):  # the next file that cannot be opened says so itself
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else max(soft, min(wanted, hard)), hard)
        )

"""Extended attributes and access control lists: read from one file, given to the one that takes its place.

Only those that are a person's own: what the system sets for itself (labels, capabilities) it sets anew. What may not
be read or set is left out; no accept fails for an attribute.
"""

from __future__ import annotations

import os
from contextlib import suppress

Attributes = tuple[tuple[str, bytes], ...]

_LISTS = frozenset({"system.posix_acl_access", "system.posix_acl_default"})


def attributes_of(handle: int) -> Attributes:
    """Names and values, sorted; empty where the file system has none. `handle` is an opened file or folder."""
    if not hasattr(os, "listxattr"):
        return ()
    found = []
    with suppress(OSError):
        for name in sorted(os.listxattr(handle)):
            if is_kept(name):
                with suppress(OSError):
                    found.append((name, os.getxattr(handle, name)))
    return tuple(found)


def give_attributes(handle: int, attributes: Attributes) -> None:
    """The opened file has these, and none that it inherited from its folder. Permission bits must be set after them."""
    if not hasattr(os, "listxattr"):
        return
    wanted = dict(attributes)
    with suppress(OSError):
        for name in os.listxattr(handle):
            if is_kept(name) and name not in wanted:
                with suppress(OSError):
                    os.removexattr(handle, name)
    for name, value in attributes:
        with suppress(OSError):
            os.setxattr(handle, name, value)


def is_kept(name: str) -> bool:
    """True for those that a person or a program of theirs sets; a log that names others is not followed."""
    return name.startswith("user.") or name in _LISTS

"""A path inside the project, as a program writes it: normalised, or refused with what to do instead.

This file is the one place that decides which paths a program may name; symlinks are judged where the disk is
read, by `overlay.py`.
"""

from __future__ import annotations

import re

NAME_BYTES = 255  # NAME_MAX of ext4, APFS (in UTF-8) and NTFS
PATH_BYTES = 4096
RESERVED = (".git", ".cairn")
# A disk that came from elsewhere may take these for the same: Windows leaves out dots and blanks at the end and what
# follows a colon, and has short names; macOS leaves out characters that nobody sees. Git refuses them too.
_OTHER_SPELLINGS = re.compile(r"(\.git|\.cairn|git~\d+|cairn~\d+)[ .]*(:.*)?", re.DOTALL)
_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]")


def project_path(path: object) -> str:
    """The path in one spelling: posix, relative, no "." parts; "." is the project's root.

    Raises TypeError for anything but a string, ValueError for an empty or impossible name, and PermissionError for a
    path that leaves the project or enters `.git` or `.cairn`. The messages are for the program's author.
    """
    if not isinstance(path, str):
        raise TypeError(f"a path is a string like 'src/app.py', not {type(path).__name__}")
    _require_writable_text(path)
    if path.startswith("/"):
        raise PermissionError(
            f"'{path}' is absolute; paths are relative to the project, like '{path.lstrip('/') or '.'}'"
        )
    parts: list[str] = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise PermissionError(f"'{path}' contains '..'; paths start at the project's root and stay inside it")
    for part in parts:
        if len(part.encode()) > NAME_BYTES:
            raise ValueError(f"a name in the path is longer than {NAME_BYTES} bytes: '{part[:40]}...'")
        if is_reserved(part):
            raise PermissionError(f"'{path}' is inside {part}/, which programs may not touch")
    return "/".join(parts) or "."


def is_reserved(name: str) -> bool:
    """True for the folders that no program may touch, in every spelling that some disk takes for theirs."""
    if name[:1] not in ".gGcC" and name.isascii():
        return False
    return _OTHER_SPELLINGS.fullmatch(_UNSEEN.sub("", name).lower()) is not None


def _require_writable_text(path: str) -> None:
    if not path:
        raise ValueError("the path is empty; the project's root is '.'")
    if "\0" in path:
        raise ValueError("the path contains a NUL character")
    if "\\" in path and ":" in path[:3]:
        raise PermissionError(f"'{path}' is absolute; paths are relative to the project and use '/'")
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        raise ValueError("the path is not valid Unicode text") from None
    if len(encoded) > PATH_BYTES:
        raise ValueError(f"the path is longer than {PATH_BYTES} bytes")


def parent(path: str) -> str:
    """The folder a normalised path is in; "." for a name at the root."""
    return path.rpartition("/")[0] or "."

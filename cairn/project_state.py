"""What all files of a project are at one moment, as one figure for each: cheap to take and to compare with a later one.

In git's working tree a file is its content: git says in one question which files differ from its index, and only those
are read. Elsewhere it is its size, times and mode. What ignore rules leave out does not count.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cairn import tree_walk
from cairn.errors import CairnError
from cairn.git_process import GitRefused, git
from cairn.project_path import is_reserved

READ_MOST = 1_000_000  # bytes of a changed file, beyond which its size and times must do
READ_IN_ALL = 50_000_000
_SECONDS = 60
_ASKED = ("-z", "-t", "-s", "-c", "-m", "-o", "--exclude-standard")
_WIDTH = 16  # bytes of a figure
_SHA256 = 64  # letters of a name in a repository that uses it


@dataclass(frozen=True, slots=True)
class ProjectState:
    """A figure for each path; they are added up, so that one can be taken out again."""

    figures: Mapping[str, int]

    def fingerprint(self, leave_out: Iterable[str] = (), instead: Mapping[str, bytes | None] | None = None) -> str:
        """A short text that is the same for the same files; `instead` has what stands at other paths, None: nothing."""
        others = instead or {}
        total = sum(self.figures.values())
        total -= sum(self.figures.get(path, 0) for path in {*leave_out, *others})
        total += sum(_figure(path, b"=" + data) for path, data in others.items() if data is not None)
        return format(total % (1 << 8 * _WIDTH), f"0{2 * _WIDTH}x")


def project_state(root: Path) -> ProjectState:
    """As the disk is now."""
    told = _git(root)
    found = _by_stat(root) if told is None else _by_content(root, told)
    return ProjectState(dict(found))


def _figure(path: str, told: bytes) -> int:
    name = os.fsencode(path)
    return int.from_bytes(hashlib.blake2b(name + b"\0" + told, digest_size=_WIDTH).digest(), "big")


# ── in git's working tree ──


def _git(root: Path) -> bytes | None:
    """Its index below a folder, with marks for what differs on the disk, and what is there besides."""
    try:
        return git(root, "ls-files", *_ASKED, seconds=_SECONDS)
    except (GitRefused, CairnError, OSError):
        return None


def _by_content(root: Path, told: bytes) -> Iterator[tuple[str, int]]:
    read = _Reader(root)
    kept: dict[str, bytes] = {}
    changed: dict[str, bytes] = {}
    for line in told.split(b"\0")[:-1]:
        tag, _, rest = line.partition(b" ")
        if tag == b"?":
            changed[os.fsdecode(rest)] = b""
            continue
        entry, _, name = rest.partition(b"\t")
        (changed if tag == b"C" else kept)[os.fsdecode(name)] = entry
    for path, entry in kept.items():
        if path not in changed:
            mode, blob, _ = entry.split(b" ")
            yield path, _figure(path, mode + b" " + blob)
    for path, entry in changed.items():
        if not any(map(is_reserved, path.split("/"))):
            now = read.told(path, wide=len(entry) > _SHA256 + 7)
            if now is not None:
                yield path, _figure(path, now)


class _Reader:
    """What stands at a path, named as git would name it once it is added; what is large, by its size and times."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._left = READ_IN_ALL

    def told(self, path: str, *, wide: bool) -> bytes | None:
        """None where nothing is."""
        whole = os.path.join(self._root, path)  # noqa: PTH118 - of many names, none needs a Path
        try:
            found = os.lstat(whole)
            if stat.S_ISLNK(found.st_mode):
                return b"120000 " + _blob(os.fsencode(os.readlink(whole)), wide=wide)  # noqa: PTH115 - a Path would tidy it
            if stat.S_ISREG(found.st_mode) and found.st_size <= min(READ_MOST, self._left):
                self._left -= found.st_size
                mode = b"100755 " if found.st_mode & stat.S_IXUSR else b"100644 "
                return mode + _blob(Path(whole).read_bytes(), wide=wide)
        except FileNotFoundError:
            return None
        except OSError:  # pragma: no cover - root reads everything
            return b"unreadable"
        return _stamp(found)


def _blob(data: bytes, *, wide: bool) -> bytes:
    head = b"blob %d\0" % len(data)
    return (hashlib.sha256 if wide else hashlib.sha1)(head + data).hexdigest().encode()


# ── elsewhere ──


def _by_stat(root: Path) -> Iterator[tuple[str, int]]:
    for path in tree_walk.walk_files(root):
        with suppress(OSError):
            yield path, _figure(path, _stamp(os.lstat(os.path.join(root, path))))  # noqa: PTH118 - of many names


def _stamp(found: os.stat_result) -> bytes:
    return b"%o %d %d" % (found.st_mode, found.st_size, found.st_mtime_ns)

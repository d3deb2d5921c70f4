"""What a task changed, as values: entries before and after, no disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class EntryKind(StrEnum):
    """What stands at a path."""

    FILE = "file"
    SYMLINK = "symlink"
    DIRECTORY = "directory"


@dataclass(frozen=True, slots=True)
class Content:
    """One side of a change: what stands at a path, whole.

    `data` is a file's bytes or a symlink's target as bytes, b"" for a directory. `mode` is the permission bits
    (for example 0o644); symlinks have 0o777.
    """

    kind: EntryKind
    mode: int
    data: bytes = b""

    @property
    def executable(self) -> bool:
        """True when the owner may execute it, the only mode bit git keeps."""
        return self.kind is EntryKind.FILE and bool(self.mode & 0o100)


class ChangeKind(StrEnum):
    """What happened to a path, in the words shown to people."""

    ADDED = "added"
    DELETED = "deleted"
    MODIFIED = "modified"
    RENAMED = "renamed"
    MODE = "mode changed"
    TYPE = "type changed"


@dataclass(frozen=True, slots=True)
class Change:
    """One path's before and after. `before` is what the task saw first, `after` what it made.

    For a rename `renamed_from` is the old path, `path` the new one, `before` the old path's content; the old path
    has no change of its own in the set.
    """

    path: str
    before: Content | None
    after: Content | None
    renamed_from: str | None = None

    @property
    def kind(self) -> ChangeKind:
        """Derived from the two sides, so that it cannot contradict them."""
        if self.renamed_from is not None:
            return ChangeKind.RENAMED
        if self.before is None:
            return ChangeKind.ADDED
        if self.after is None:
            return ChangeKind.DELETED
        if self.before.kind is not self.after.kind:
            return ChangeKind.TYPE
        if self.before.data == self.after.data:
            return ChangeKind.MODE
        return ChangeKind.MODIFIED

    @property
    def paths(self) -> tuple[str, ...]:
        """Every project path that applying this change touches."""
        return (self.path,) if self.renamed_from is None else (self.renamed_from, self.path)


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """All changes of a task, sorted by path; equal sets have equal digests."""

    changes: tuple[Change, ...] = ()

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    def __bool__(self) -> bool:
        return bool(self.changes)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path touched, old names of renames included, sorted."""
        return tuple(sorted({path for change in self.changes for path in change.paths}))

    @property
    def digest(self) -> str:
        """SHA-256 over paths, kinds, modes and contents after the task."""
        sha = hashlib.sha256()
        for change in self.changes:
            after = change.after
            side = b"-" if after is None else f"{after.kind} {after.mode:o} {len(after.data)}".encode() + after.data
            sha.update(b"\0".join((change.path.encode(), (change.renamed_from or "").encode(), side)) + b"\0")
        return sha.hexdigest()

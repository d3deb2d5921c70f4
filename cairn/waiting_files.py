"""Files under temporary names while an operation is carried out: new contents before, displaced ones after the swap.

What an operation displaces is deleted only at its end, and only when nobody changed it meanwhile: a program that had
the file open may have written to it although its name was gone.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from enum import StrEnum
from itertools import groupby

from cairn.atomic_rename import take_free_name
from cairn.changes import Content, EntryKind
from cairn.disk_waits import at_once
from cairn.file_attributes import give_attributes
from cairn.other_writers import InUse, unwritten
from cairn.project_files import (
    NO_SUCH,
    READ,
    WRITE_NEW,
    Edit,
    Found,
    Owner,
    ProjectFiles,
    Unusual,
    folders_above,
    found_at,
    look_in,
    naming,
    opened_file,
    opened_in,
    same,
    write_all,
)
from cairn.project_path import parent

SYNCED_TOGETHER = 64  # new contents; as many files are open meanwhile
TEMPORARY = re.compile(r"\.cairn-([0-9a-f]{16})-\d+\.tmp")  # the group is the operation's token


class Changed(Exception):
    """Somebody changed this path after the plan was made, or is about to; their content was not touched."""

    def __init__(self, path: str, how: str = "changed") -> None:
        super().__init__(path)
        self.path = path
        self.how = how


class Role(StrEnum):
    """What a temporary file that a killed process left holds."""

    NEW = "new"  # what the operation writes, perhaps only half of it
    BEFORE = "before"  # what stood at the path
    EDITED = "edited"  # what somebody wrote to the displaced file


class WaitingFiles:
    """At most one temporary file for each edit of an operation. `aside` is the folder for what must not be lost."""

    def __init__(self, files: ProjectFiles, token: str, edits: Sequence[Edit], aside: str) -> None:
        self._files = files
        self._prefix = f".cairn-{token}-"
        self._edits = tuple(edits)
        self._numbers = {edit.path: number for number, edit in enumerate(self._edits)}
        self._folders: dict[str, str] = {}  # path -> folder in which its temporary file is
        self._displaced: dict[str, Content | None] = {}  # what that file must still hold; None: it goes aside
        self._aside = aside
        self.set_aside: list[str] = []

    def __contains__(self, path: str) -> bool:
        return path in self._folders

    def name(self, path: str) -> str:
        """The temporary file's name, in whatever folder it is."""
        return f"{self._prefix}{self._numbers[path]}.tmp"

    @contextmanager
    def place(self, path: str, above: int | None = None) -> Iterator[tuple[int, str]]:
        """The opened folder of the temporary file, and its name there; `above` is that of the path itself."""
        where = self._folders[path]
        if above is not None and where == parent(path):
            yield above, self.name(path)
            return
        with self._files.folder(where) as folder:
            yield folder, self.name(path)

    def stage(self, *edits: Edit) -> None:
        """Writes the new contents, synced, each beside its place: in its folder, or in the nearest one there is yet."""
        with self._files.holding():
            for start in range(0, len(edits), SYNCED_TOGETHER):
                self._stage(edits[start : start + SYNCED_TOGETHER])

    def _stage(self, edits: Sequence[Edit]) -> None:
        """All are written before the first is synced: what a disk has at hand at once, it does in few turns."""
        with ExitStack() as opened:
            written: list[tuple[str, int]] = []
            for edit in edits:
                with naming(edit.path), self._files.nearest_folder(edit.path) as (where, folder):
                    handle = _written(folder, self.name(edit.path), edit)
                    if handle is not None:
                        opened.callback(os.close, handle)
                        written.append((edit.path, handle))
                    self._folders[edit.path] = where
            failures = at_once(os.fsync, [handle for _, handle in written])
            for (path, _), failure in zip(written, failures, strict=True):
                with naming(path):
                    if failure is not None:
                        raise failure

    def displaced(self, path: str, expected: Content | None, where: str | None = None) -> None:
        """From now on the temporary file is what stood at the path, and should be `expected`."""
        self._folders[path] = self._folders[path] if where is None else where
        self._displaced[path] = expected

    def moved(self, path: str) -> None:
        """The temporary file has got its name."""
        del self._folders[path]
        self._displaced.pop(path, None)

    def roles(self) -> dict[str, Role]:
        """What is there under temporary names, of this process or another, by the paths that it belongs to."""
        known = set(self._displaced)
        self._folders.clear()
        self._displaced.clear()
        found: dict[str, Role] = {}
        for edit in self._edits:
            for where in (".", *folders_above(edit.path)):
                with naming(edit.path):
                    role = self._role(where, edit)
                if role is Role.NEW and edit.path in known:  # cut short by an editor that is about to write it anew
                    role = Role.EDITED
                if role is not None:
                    found[edit.path] = role
                    self._folders[edit.path] = where
                    self._displaced[edit.path] = edit.before if role is Role.BEFORE else None
        return found

    def drop_new(self, roles: dict[str, Role]) -> None:
        """Deletes the new contents among them."""
        for path in [path for path, role in roles.items() if role is Role.NEW]:
            with naming(path), self.place(path) as (folder, name):
                os.unlink(name, dir_fd=folder)
            self.moved(path)

    def renew(self, paths: Iterable[str]) -> None:
        """Makes displaced files that go back as new as now, in the order they had, so that a build sees them change."""
        ages = []
        for path in paths:
            with self.place(path) as (folder, name), suppress(OSError):
                ages.append((os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime_ns, path))
        for _, path in sorted(ages):
            with self.place(path) as (folder, name), suppress(OSError):
                os.utime(name, dir_fd=folder, follow_symlinks=False)

    def drop_displaced(self) -> None:
        """Deletes what was displaced. Raises Changed at a file that somebody wrote since, or has open to write."""
        for _, paths in groupby([*self._displaced], self._folders.__getitem__):
            first, *others = paths
            with naming(first), self._folder_of(first) as folder, _freed_together() as freeing:
                for path in (first, *others):
                    with naming(path):
                        self._drop(path, folder, freeing)

    def drop_or_set_aside(self) -> None:
        """Nothing stays under a temporary name: what is not known to be in the operation's journal goes aside."""
        for path in [*self._displaced]:
            with naming(path):
                try:
                    with self._folder_of(path) as folder, _freed_together() as freeing:
                        self._drop(path, folder, freeing)
                except Changed:
                    self._put_aside(path)

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _role(self, where: str, edit: Edit) -> Role | None:
        try:
            with self._files.folder(where) as folder:
                found = _look_when_unwritten(folder, self.name(edit.path), edit.path)
        except (Unusual, InUse):
            return Role.EDITED
        except OSError as error:
            if error.errno in NO_SUCH:
                return None
            raise
        return None if found is None else role_of(found.content, edit)

    @contextmanager
    def _folder_of(self, path: str) -> Iterator[int]:
        """The opened folder of a temporary file. Raises Changed when somebody took it away."""
        with ExitStack() as opened:
            with _gone_is_changed(path):
                folder = opened.enter_context(self._files.folder(self._folders[path]))
            yield folder

    def _drop(self, path: str, folder: int, freeing: list[int]) -> None:
        expected = self._displaced[path]
        if expected is None:
            raise Changed(path)
        try:
            with _gone_is_changed(path):
                _delete_unchanged(folder, self.name(path), path, expected, freeing)
        except (InUse, Unusual) as unlike:
            raise Changed(path, unlike.how if isinstance(unlike, InUse) else "changed") from None
        self.moved(path)

    def _put_aside(self, path: str) -> None:
        kept = f"{self._aside}/{path}.edited"
        above, _, last = kept.rpartition("/")
        with self.place(path) as (stage, name), self._files.folder(above, make=True) as folder:
            number = 1
            while not _moved_to_free_name(stage, name, folder, last):
                number += 1
                last = f"{kept.rpartition('/')[2]}.{number}"
            os.fsync(folder)
        self.set_aside.append(f"{above}/{last}")
        self.moved(path)


def role_of(found: Content, edit: Edit) -> Role:
    """What a temporary file is by its content alone; the journal has everything that is not `EDITED`."""
    if same(found, edit.before):
        return Role.BEFORE
    after = edit.after
    if after is None or after.kind is not found.kind:
        return Role.EDITED
    # A process killed while it wrote leaves the beginning, without the mode.
    written = same(found, after) or (found.kind is EntryKind.FILE and after.data.startswith(found.data))
    return Role.NEW if written else Role.EDITED


def _look_when_unwritten(folder: int, name: str, path: str) -> Found | None:
    found = look_in(folder, name, path)
    if found is None or found.content.kind is not EntryKind.FILE:
        return found
    with opened_in(folder, name, READ) as handle, unwritten(handle):
        return look_in(folder, name, path)


def _delete_unchanged(folder: int, name: str, path: str, expected: Content, freeing: list[int]) -> None:
    """Of a file a second descriptor goes to `freeing`: it is the last to be closed."""
    if expected.kind is not EntryKind.FILE:
        _require_same(folder, name, path, expected)
        os.unlink(name, dir_fd=folder)
        return
    with opened_file(folder, name, path) as handle, unwritten(handle) as require_undisturbed:
        if not same(found_at(handle, path).content, expected):
            raise Changed(path)
        require_undisturbed()
        os.unlink(name, dir_fd=folder)
        freeing.append(os.dup(handle))
    if len(freeing) >= SYNCED_TOGETHER:
        _free(freeing)


@contextmanager
def _freed_together() -> Iterator[list[int]]:
    """Descriptors of deleted files. The last close of one gives its room back, and waits for the disk meanwhile."""
    handles: list[int] = []
    try:
        yield handles
    finally:
        _free(handles)


def _free(handles: list[int]) -> None:
    at_once(os.close, handles)
    handles.clear()


@contextmanager
def _gone_is_changed(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in {*NO_SUCH, errno.ENXIO}:
            raise
        raise Changed(path) from None


def _require_same(folder: int, name: str, path: str, expected: Content) -> None:
    found = look_in(folder, name, path, attributes=False)
    if found is None or not same(found.content, expected):
        raise Changed(path)


def _moved_to_free_name(stage: int, name: str, folder: int, last: str) -> bool:
    try:
        take_free_name(name, stage, last, folder)
    except FileExistsError:
        return False
    return True


def _written(folder: int, name: str, edit: Edit) -> int | None:
    """A descriptor of the new file, still to be synced and closed; None for a link, which lives in its folder."""
    content = edit.after
    if content is None or content.kind is EntryKind.SYMLINK:
        if content is not None:
            _write_link(folder, name, content, edit.owner)
        return None
    handle = os.open(name, WRITE_NEW, 0o600, dir_fd=folder)
    try:
        _write_file(handle, content, edit.owner)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _write_file(handle: int, content: Content, owner: Owner | None) -> None:
    write_all(handle, content.data)
    give_to(handle, owner)
    os.fchmod(handle, content.mode)  # last, for a change of owner clears the set-user-id bit
    if hasattr(os, "posix_fadvise"):
        # Linux begins to write at this; the sync, later, finds the work done or under way.
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)


def _write_link(folder: int, name: str, content: Content, owner: Owner | None) -> None:
    os.symlink(os.fsdecode(content.data), name, dir_fd=folder)
    if owner is not None:
        with suppress(OSError):
            os.chown(name, owner.user, owner.group, dir_fd=folder, follow_symlinks=False)


def give_to(handle: int, owner: Owner | None) -> None:
    """Only root may give files away; others keep at least the group where they can."""
    if owner is None:
        return
    now = os.fstat(handle)
    if (owner.user, owner.group) != (now.st_uid, now.st_gid):
        try:
            os.fchown(handle, owner.user, owner.group)
        except OSError:
            with suppress(OSError):
                os.fchown(handle, -1, owner.group)
    give_attributes(handle, owner.attributes)

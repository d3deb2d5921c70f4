"""Carries out an operation's edits in the project's files, or takes back what it did of them.

New contents are first written and synced under temporary names, so that a full disk or a read-only folder shows itself
before any file of the project is touched. Then each file is looked at once more and swapped by a rename. The journal
of the operation, written before, lets another process take back or finish what this one left.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from cairn.changes import Content, EntryKind
from cairn.project_files import (
    FOLDER,
    NO_SUCH,
    READ,
    Edit,
    Owner,
    ProjectFiles,
    Unusual,
    folders_above,
    look_in,
    naming,
    same,
)
from cairn.project_path import parent

TEMPORARY = re.compile(r"\.cairn-([0-9a-f]{16})-\d+\.tmp")  # the group is the operation's token
_NOT_EMPTY = {errno.ENOTEMPTY, errno.EEXIST}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


class Changed(Exception):
    """Somebody changed this path after the plan was made; it was not touched."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class Rewriting:
    """The edits of one operation. `token` is its own, random: temporary names are known to be ours by it."""

    def __init__(self, files: ProjectFiles, token: str, edits: Sequence[Edit]) -> None:
        self._files = files
        self._prefix = f".cairn-{token}-"
        self.edits = tuple(edits)
        self._numbers = {edit.path: number for number, edit in enumerate(self.edits)}
        self._staged: dict[str, str] = {}  # path -> folder in which its new content waits
        self._touched: set[str] = set()
        self._folders: set[str] = set()  # folders whose names changed: synced at the end

    def carry_out(self) -> None:
        """All of it, synced. On any error whatever was done stays until `take_back`."""
        for edit in self.edits:
            if _is_plain(edit.after) and not edit.only_mode:
                with naming(edit.path):
                    self._stage(edit)
        for path, step in self._steps(self.edits):
            with naming(path):
                step()
        self._sync_folders()

    def take_back(self, *, only_touched: bool) -> tuple[str, ...]:
        """Puts back what stood there before. Gives the paths that somebody changed meanwhile; those stay as they are.

        With `only_touched` just the paths that `carry_out` got to are looked at: in the process that did it.
        """
        self._sweep()
        kept: list[str] = []
        back: list[Edit] = []
        for edit in self.edits:
            if not only_touched or edit.path in self._touched:
                returning = self._way_back(edit, kept)
                back += [returning] if returning is not None else []
        for path, step in self._steps(back):
            try:
                with naming(path):
                    step()
            except (Changed, Unusual):
                kept.append(path)
        self._sync_folders()
        self._sweep()
        return tuple(sorted(set(kept)))

    def finished(self) -> bool:
        """True when nothing is left to do: the last step was done, and nothing stands as it did before."""
        order = [path for path, _ in self._steps(self.edits)]
        states = {edit.path: self._state(edit) for edit in self.edits}
        return not order or (states[order[-1]] == "after" and "before" not in states.values())

    def clean_up(self) -> None:
        """Ends what `finished` says is done: no temporary file stays, and the folders are synced."""
        self._folders = {parent(edit.path) for edit in self.edits}
        self._sync_folders()
        self._sweep()

    # -- the steps -----------------------------------------------------------------------------------------------------

    def _steps(self, edits: Sequence[Edit]) -> Iterator[tuple[str, Callable[[], None]]]:
        """What goes, goes first, the deepest before what holds it; what comes, comes the other way round."""
        downwards = sorted(edits, key=lambda edit: (edit.path.count("/"), edit.path))
        upwards = downwards[::-1]
        for edit in upwards:
            if _is_plain(edit.before) and not _is_plain(edit.after):
                yield edit.path, partial(self._remove, edit)
        for edit in upwards:
            if _is_folder(edit.before) and not _is_folder(edit.after):
                yield edit.path, partial(self._remove_folder, edit)
        for edit in downwards:
            if _is_folder(edit.after) and not _is_folder(edit.before):
                yield edit.path, partial(self._make_folder, edit)
        for edit in downwards:
            if edit.only_mode:
                yield edit.path, partial(self._set_mode, edit)
            elif _is_plain(edit.after):
                yield edit.path, partial(self._put, edit)

    def _remove(self, edit: Edit) -> None:
        with self._place(edit.path) as (folder, name):
            self._require(edit.before, folder, name, edit.path)
            os.unlink(name, dir_fd=folder)

    def _remove_folder(self, edit: Edit) -> None:
        with self._place(edit.path) as (folder, name):
            self._touched.add(edit.path)
            try:
                os.rmdir(name, dir_fd=folder)
            except OSError as error:
                # Somebody put a file there meanwhile: the folder stays, unless its name is needed.
                if error.errno not in _NOT_EMPTY:
                    raise
                if edit.after is not None:
                    raise Changed(edit.path) from None

    def _make_folder(self, edit: Edit) -> None:
        with self._place(edit.path) as (folder, name):
            self._touched.add(edit.path)
            mode = edit.after.mode if edit.after else 0o777
            try:
                os.mkdir(name, mode, dir_fd=folder)
            except FileExistsError:
                self._require_folder(folder, name, edit.path)
                return
            with _opened(name, FOLDER, folder) as handle:
                _give(handle, edit.owner)
                now = stat.S_IMODE(os.fstat(handle).st_mode)
                if now not in {mode, mode | stat.S_ISGID}:  # the bit that a folder inherits from the one above
                    os.fchmod(handle, mode)

    def _set_mode(self, edit: Edit) -> None:
        with self._place(edit.path) as (folder, name):
            self._require(edit.before, folder, name, edit.path)
            with _opened(name, READ, folder) as handle:
                os.fchmod(handle, edit.after.mode if edit.after else 0o644)
                os.fsync(handle)

    def _put(self, edit: Edit) -> None:
        if edit.path not in self._staged:
            self._stage(edit)
        waiting = self._temporary(edit)
        expected = None if _is_folder(edit.before) else edit.before
        with self._place(edit.path) as (folder, name), self._files.folder(self._staged[edit.path]) as stage:
            self._require(expected, folder, name, edit.path)
            if expected is None:
                _name_anew(stage, waiting, folder, name)
            else:
                os.replace(waiting, name, src_dir_fd=stage, dst_dir_fd=folder)
        del self._staged[edit.path]

    @contextmanager
    def _place(self, path: str) -> Iterator[tuple[int, str]]:
        """The opened folder of a path, and its name there. Whatever is suddenly missing, somebody else took away."""
        above = parent(path)
        self._folders.add(above)
        try:
            with self._files.folder(above) as folder:
                yield folder, path.rpartition("/")[2]
        except OSError as error:
            if error.errno in NO_SUCH or error.errno == errno.EEXIST:
                raise Changed(path) from None
            raise

    def _require(self, expected: Content | None, folder: int, name: str, path: str) -> None:
        """The last look before a change. Raises Changed when something else stands there than the plan saw."""
        try:
            found = look_in(folder, name, path)
        except Unusual:
            raise Changed(path) from None
        if not same(found.content if found else None, expected):
            raise Changed(path)
        self._touched.add(path)

    @staticmethod
    def _require_folder(folder: int, name: str, path: str) -> None:
        if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise Changed(path)

    # -- new contents --------------------------------------------------------------------------------------------------

    def _stage(self, edit: Edit) -> None:
        """Writes the new content beside its place: in the same folder, or in the nearest one that exists yet."""
        content = edit.after
        if content is None:
            return
        where = self._files.nearest_folder(edit.path)
        name = self._temporary(edit)
        with self._files.folder(where) as folder:
            if content.kind is EntryKind.SYMLINK:
                _write_link(folder, name, content, edit.owner)
            else:
                _write_file(folder, name, content, edit.owner)
        self._staged[edit.path] = where

    def _temporary(self, edit: Edit) -> str:
        return f"{self._prefix}{self._numbers[edit.path]}.tmp"

    def _sweep(self) -> None:
        """Removes temporary files of this operation, also those another process left."""
        self._staged.clear()
        for edit in self.edits:
            for where in (".", *folders_above(edit.path)):
                with naming(edit.path):
                    self._drop_temporary(where, self._temporary(edit))

    def _drop_temporary(self, where: str, name: str) -> None:
        try:
            with self._files.folder(where) as folder:
                os.unlink(name, dir_fd=folder)
        except OSError as error:
            if error.errno not in NO_SUCH:
                raise

    # -- the way back --------------------------------------------------------------------------------------------------

    def _way_back(self, edit: Edit, kept: list[str]) -> Edit | None:
        match self._state(edit):
            case "after":
                found = self._files.look(edit.path)
                return Edit(edit.path, found.content if found else None, edit.before, edit.owner)
            case "between":
                return Edit(edit.path, None, edit.before, edit.owner)
            case "other":
                kept.append(edit.path)
        return None

    def _state(self, edit: Edit) -> str:
        """Whether a path stands as before the operation, as after it, between the two, or as somebody else made it."""
        try:
            found = self._files.look(edit.path)
        except Unusual:
            return "other"
        now = found.content if found else None
        if _stands(now, edit.before, edit):
            return "before"
        if _stands(now, edit.after, edit):
            return "after"
        # A folder and a file change places in two steps.
        both = edit.before is not None and edit.after is not None
        return "between" if now is None and both and _is_folder(edit.before) != _is_folder(edit.after) else "other"

    def _sync_folders(self) -> None:
        for path in sorted(self._folders):
            with naming(path):
                try:
                    with self._files.folder(path) as folder:
                        os.fsync(folder)
                except OSError as error:
                    if error.errno not in NO_SUCH:
                        raise
        self._folders.clear()


def _is_folder(content: Content | None) -> bool:
    return content is not None and content.kind is EntryKind.DIRECTORY


def _is_plain(content: Content | None) -> bool:
    return content is not None and content.kind is not EntryKind.DIRECTORY


def _stands(now: Content | None, expected: Content | None, edit: Edit) -> bool:
    """Folders are the same whatever their mode, unless the mode is what the edit is about."""
    if _is_folder(now) and _is_folder(expected) and not edit.only_mode:
        return True
    return same(now, expected)


@contextmanager
def _opened(name: str, flags: int, folder: int) -> Iterator[int]:
    handle = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        yield handle
    finally:
        os.close(handle)


def _write_file(folder: int, name: str, content: Content, owner: Owner | None) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with _opened(name, flags, folder) as handle:
        rest = memoryview(content.data)
        while rest:
            rest = rest[os.write(handle, rest) :]
        _give(handle, owner)
        os.fchmod(handle, content.mode)  # last, for a change of owner clears the set-user-id bit
        os.fsync(handle)


def _write_link(folder: int, name: str, content: Content, owner: Owner | None) -> None:
    os.symlink(os.fsdecode(content.data), name, dir_fd=folder)
    if owner is not None:
        with suppress(OSError):
            os.chown(name, owner.user, owner.group, dir_fd=folder, follow_symlinks=False)


def _give(handle: int, owner: Owner | None) -> None:
    """Only root may give files away; others keep at least the group where they can."""
    now = os.fstat(handle)
    if owner is None or owner == Owner(now.st_uid, now.st_gid):
        return
    try:
        os.fchown(handle, owner.user, owner.group)
    except OSError:
        with suppress(OSError):
            os.fchown(handle, -1, owner.group)


def _name_anew(stage: int, waiting: str, folder: int, name: str) -> None:
    """Gives the new content its name without replacing what somebody may have put there this instant."""
    try:
        os.link(waiting, name, src_dir_fd=stage, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.rename(waiting, name, src_dir_fd=stage, dst_dir_fd=folder)  # a file system without hard links
    else:
        os.unlink(waiting, dir_fd=stage)

"""Carries out an operation's edits in the project's files, or takes back what it did of them.

New contents are first written and synced under temporary names, so that a full disk or a read-only folder shows itself
before any file of the project is touched. Then each file is looked at once more and swapped with the new one in one
step; what comes out is looked at again, and goes back if somebody changed it this instant. The journal of the
operation, written before, lets another process take back or finish what this one left.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from cairn.atomic_rename import exchange, take_free_name
from cairn.changes import Content, EntryKind
from cairn.other_writers import InUse, require_unlocked, unwritten
from cairn.project_files import (
    FOLDER,
    NO_SUCH,
    READ,
    Edit,
    ProjectFiles,
    Unusual,
    found_at,
    look_in,
    naming,
    opened_file,
    opened_in,
    same,
)
from cairn.project_path import parent
from cairn.waiting_files import Changed, Role, WaitingFiles, give_to

_NOT_EMPTY = {errno.ENOTEMPTY, errno.EEXIST}
_TAKEN_AWAY = {*NO_SUCH, errno.EEXIST, errno.ENXIO}
_MOST_SAVES = 100  # of one file by somebody else while it is swapped back


class Rewriting:
    """The edits of one operation. `token` is its own, random: temporary names are known to be ours by it.

    `aside` is the folder of the project for edits of the user that would be lost else; `set_aside` names them.
    """

    def __init__(self, files: ProjectFiles, token: str, edits: Sequence[Edit], aside: str) -> None:
        self._files = files
        self.edits = tuple(edits)
        self._waiting = WaitingFiles(files, token, edits, aside)
        self._touched: set[str] = set()
        self._going: set[str] = set()  # folders that the steps take away
        self._folders: set[str] = set()  # folders whose names changed: synced at the end

    @property
    def set_aside(self) -> tuple[str, ...]:
        """Files with edits that reached a displaced file, and could not go back to its name."""
        return tuple(self._waiting.set_aside)

    def carry_out(self) -> None:
        """All of it, synced. On any error whatever was done stays until `take_back`."""
        self._waiting.stage(*self._by_age())
        with self._files.holding():
            for path, step in self._steps(self.edits):
                with naming(path):
                    step()
        self._waiting.drop_displaced()
        self._sync_folders()

    def take_back(self, *, only_touched: bool) -> tuple[str, ...]:
        """Puts back what stood there before. Gives the paths that somebody changed meanwhile; those stay as they are.

        With `only_touched` just the paths that `carry_out` got to are looked at: in the process that did it.
        """
        roles = self._waiting.roles()
        self._waiting.drop_new(roles)
        kept: list[str] = []
        back: list[Edit] = []
        for edit in self.edits:
            if not only_touched or edit.path in self._touched:
                returning = self._way_back(edit, kept)
                back += [returning] if returning is not None else []
        kept += [edit.path for edit in back if roles.get(edit.path) is Role.EDITED]
        self._waiting.renew(edit.path for edit in back if edit.path in self._waiting)
        for path, step in self._steps(back):
            try:
                with naming(path):
                    step()
            except (Changed, Unusual):
                kept.append(path)
        self._waiting.drop_or_set_aside()
        self._sync_folders()
        return tuple(sorted(set(kept)))

    def finished(self) -> bool:
        """True when nothing is left to do: the last step was done, and nothing stands as it did before."""
        order = [path for path, _ in self._steps(self.edits)]
        states = {edit.path: self._state(edit) for edit in self.edits}
        done = not order or (states[order[-1]] == "after" and "before" not in states.values())
        return done and Role.EDITED not in self._waiting.roles().values()

    def clean_up(self) -> None:
        """Ends what `finished` says is done: no temporary file stays, and the folders are synced."""
        self._folders = {parent(edit.path) for edit in self.edits}
        self._waiting.drop_new(self._waiting.roles())
        self._waiting.drop_or_set_aside()
        self._sync_folders()

    def _by_age(self) -> list[Edit]:
        """New contents in the order in which the files that they replace were written, for builds go by that."""
        coming = [edit for edit in self.edits if _is_plain(edit.after) and not edit.only_mode]
        written = self._files.written_at(edit.moved_from or edit.path for edit in coming)

        def age(edit: Edit) -> tuple[bool, int, str]:
            when = written.get(edit.moved_from or edit.path)
            return when is None, when or 0, edit.path

        return sorted(coming, key=age)

    # -- the steps -----------------------------------------------------------------------------------------------------

    def _steps(self, edits: Sequence[Edit]) -> Iterator[tuple[str, Callable[[], None]]]:
        """What goes, goes first, the deepest before what holds it; what comes, comes the other way round."""
        self._going = {edit.path for edit in edits if _is_folder(edit.before) and not _is_folder(edit.after)}
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
        """Under a temporary name it is nobody's any more, and can be looked at."""
        where = self._staying_above(edit.path)
        name_there = self._waiting.name(edit.path)
        with self._place(edit.path) as (folder, name), self._files.folder(where) as stage:
            self._require(edit.before, folder, name, edit.path)
            try:
                os.rename(name, name_there, src_dir_fd=folder, dst_dir_fd=stage)
            except FileNotFoundError:
                self._touched.discard(edit.path)  # deleted this instant by somebody else: it shall not come back
                raise
            self._waiting.displaced(edit.path, edit.before, where)
            self._folders.add(where)
            if _holds(stage, name_there, edit.path, edit.before):
                return
            # Saved this instant: it goes back, unless there is a newer one already.
            with suppress(FileExistsError):
                take_free_name(name_there, stage, name, folder)
            raise Changed(edit.path)

    def _staying_above(self, path: str) -> str:
        above = parent(path)
        while above in self._going:
            above = parent(above)
        return above

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
            with opened_in(folder, name, FOLDER) as handle:
                give_to(handle, edit.owner)
                now = stat.S_IMODE(os.fstat(handle).st_mode)
                if now not in {mode, mode | stat.S_ISGID}:  # the bit that a folder inherits from the one above
                    os.fchmod(handle, mode)

    def _set_mode(self, edit: Edit) -> None:
        with self._place(edit.path) as (folder, name), opened_in(folder, name, READ) as handle:
            self._require(edit.before, folder, name, edit.path)
            os.fchmod(handle, edit.after.mode if edit.after else 0o644)
            os.fsync(handle)
            if os.fstat(handle).st_ino != _inode(folder, name):  # replaced this instant
                raise Changed(edit.path)

    def _put(self, edit: Edit) -> None:
        if edit.path not in self._waiting:
            self._waiting.stage(edit)
        expected = None if _is_folder(edit.before) else edit.before
        with self._place(edit.path) as (folder, name), self._waiting.place(edit.path, folder) as (stage, waiting):
            self._require(expected, folder, name, edit.path)
            if expected is None:
                take_free_name(waiting, stage, name, folder)
            elif self._exchange(edit.path, expected, (folder, name), (stage, waiting)):
                return
            else:
                os.replace(waiting, name, src_dir_fd=stage, dst_dir_fd=folder)
        self._waiting.moved(edit.path)

    def _exchange(self, path: str, expected: Content, place: tuple[int, str], waiting: tuple[int, str]) -> bool:
        """Swaps the waiting file with what stands at the path. False where the file system cannot."""
        put_in = _inode(*waiting)
        if not exchange(waiting[1], waiting[0], place[1], place[0]):
            return False
        self._waiting.displaced(path, expected)
        if _holds(*waiting, path, expected):
            return True
        # Saved this instant: it goes back, and so does whatever is saved while it does.
        for _ in range(_MOST_SAVES):
            came_out = _inode(*waiting)
            exchange(waiting[1], waiting[0], place[1], place[0])
            if _inode(*waiting) == put_in:
                break
            put_in = came_out
        raise Changed(path)

    @contextmanager
    def _place(self, path: str) -> Iterator[tuple[int, str]]:
        """The opened folder of a path, and its name there. Whatever is suddenly missing, somebody else took away."""
        above = parent(path)
        self._folders.add(above)
        try:
            with self._files.folder(above) as folder:
                yield folder, path.rpartition("/")[2]
        except OSError as error:
            if error.errno in _TAKEN_AWAY:
                raise Changed(path) from None
            raise

    def _require(self, expected: Content | None, folder: int, name: str, path: str) -> None:
        """The last look before a change. Raises Changed when something else stands there, or will in a moment."""
        if expected is not None and expected.kind is EntryKind.FILE:
            _require_file(expected, folder, name, path)
        elif not _holds(folder, name, path, expected):
            raise Changed(path)
        self._touched.add(path)

    @staticmethod
    def _require_folder(folder: int, name: str, path: str) -> None:
        if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise Changed(path)

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


def _require_file(expected: Content, folder: int, name: str, path: str) -> None:
    try:
        with opened_file(folder, name, path) as handle:
            if not same(found_at(handle, path).content, expected):
                raise Changed(path)
            require_unlocked(handle)
            with unwritten(handle):
                pass
    except Unusual:
        raise Changed(path) from None
    except InUse as use:
        raise Changed(path, use.how) from None


def _holds(folder: int, name: str, path: str, expected: Content | None) -> bool:
    """True when exactly that stands under the name."""
    try:
        found = look_in(folder, name, path, attributes=False)
    except Unusual:
        return False
    return same(found.content if found else None, expected)


def _inode(folder: int, name: str) -> int:
    return os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino

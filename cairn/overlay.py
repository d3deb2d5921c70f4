"""The task's copy-on-write layer over the project: reads fall through to the disk, changes stay in the task's file."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Protocol

from cairn import project_disk, tree_walk
from cairn.changes import ChangeSet, Content, EntryKind
from cairn.compare_trees import compare
from cairn.delta_tree import ROOT_INODE, DeltaTree, Inode
from cairn.git_repository import is_repository
from cairn.overlay_view import NEW_FOLDER, ROOT, Entry, OverlayView, Place, State, under
from cairn.pinned_base import Pin, PinnedBase, Reason
from cairn.project_disk import DiskEntry, too_large
from cairn.project_path import parent
from cairn.task_file import TaskFile

__all__ = ["FILE_BYTES", "AgentFSOverlay", "Entry", "Overlay"]

FILE_BYTES = 10_000_000
NEW_FILE, LINK = 0o644, 0o777
PERMISSIONS = 0o777  # a program may not set the set-user-id, set-group-id and sticky bits


class Overlay(Protocol):
    """A project as one task sees and changes it. Paths are normalised by `project_path`; "." is the root.

    Errors are builtin ones whose message tells a program's author what to do instead. Symlinks on the way to a path
    are followed inside the project; one that leads out of it is a PermissionError.
    """

    root: Path

    def entry(self, path: str) -> Entry | None:
        """What stands there; a link is not followed. None for nothing."""
        ...

    def read(self, path: str) -> bytes:
        """The content, from now on the same for this task whatever happens on disk."""
        ...

    def link_target(self, path: str) -> str:
        """What the link says, as it stands; ValueError for anything but a link."""
        ...

    def leads_to(self, path: str, *, follow: bool = True) -> str:
        """The path with the links on the way followed, and the last one too if `follow`; nothing need stand there."""
        ...

    def write(self, path: str, data: bytes, *, mode: int | None = None) -> None:
        """The whole content; makes folders above, keeps an existing file's mode, writes through a link."""
        ...

    def make_link(self, path: str, target: str) -> None:
        """A new symlink; its target need not exist, but must not lead out of the project."""
        ...

    def make_folder(self, path: str) -> None:
        """A folder with those above it; nothing happens if it is there."""
        ...

    def set_mode(self, path: str, mode: int) -> None:
        """A file's permission bits."""
        ...

    def delete(self, path: str) -> None:
        """A file, a link (not what it leads to), or a folder with all below it that is shown.

        What no program is shown stays on disk: ignored files, unless the folder is ignored itself, pipes, names that
        are not text. PermissionError for a folder with a git repository in it.
        """
        ...

    def move(self, source: str, target: str) -> None:
        """A file, link or folder under another name; FileExistsError if something is there.

        Of a folder the same goes and stays as in `delete`.
        """
        ...

    def list_folder(self, path: str, *, include_ignored: bool = False) -> list[Entry]:
        """A folder's entries, sorted; what the task made is always among them."""
        ...

    def walk(self, path: str = ".", *, include_ignored: bool = False) -> Iterator[str]:
        """All files and links below a folder, sorted; links are not entered. A file yields itself."""
        ...

    def shadowed(self) -> dict[str, bytes | None]:
        """Files whose content for this task is not what the disk has now; None: the task sees no file there."""
        ...

    def changes(self) -> ChangeSet:
        """What the task changed against what it first saw, by content; see `compare_trees` for folders and renames."""
        ...

    def files_touched(self) -> int:
        """Files that were made, changed, moved or deleted, also those that are again what they were."""
        ...

    def bytes_written(self) -> int:
        """The size of all contents that were ever written, those of the project's files that were moved too."""
        ...

    def left_behind(self) -> tuple[str, ...]:
        """What stays on disk in the folders that the task deleted or moved away, sorted; folders end with "/"."""
        ...

    def stale(self) -> tuple[str, ...]:
        """Paths the task read or changed that differ on disk now from what it saw, sorted."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Everything inside is stored at once or not at all."""
        ...

    def close(self) -> None:
        """Ends the use of the task's storage."""
        ...


class AgentFSOverlay:
    """The overlay kept in a task's AgentFS file over the live project. One thread at a time, any thread."""

    def __init__(
        self, file: TaskFile, root: Path, *, file_bytes: int = FILE_BYTES, clock: Callable[[], float] = time.time
    ) -> None:
        self.root = root
        self._file = file
        self._limit = file_bytes
        self._delta = DeltaTree(file, clock)
        self._base = PinnedBase(file, root, file_bytes=file_bytes)
        self._view = OverlayView(root, self._delta, self._base, file_bytes=file_bytes)

    # ── looking ──

    def entry(self, path: str) -> Entry | None:
        """What stands there; a link is not followed. None for nothing."""
        return self._view.resolve(path, follow=False).entry(path)

    def read(self, path: str) -> bytes:
        """The content, from now on the same for this task whatever happens on disk."""
        place = self._view.resolve(path, follow=True, pin=True)
        if place.kind is EntryKind.DIRECTORY:
            raise IsADirectoryError(f"'{path}' is a folder; list_dir('{path}') shows what is in it")
        if place.inode is not None:
            return self._delta.data(place.inode)
        if place.kind is None:
            # That nothing was there is captured too, so that it stays so for this task.
            if place.pin is None and not place.blocked:
                self._base.capture(place.path, Reason.READ, hidden=True)
            raise self._view.missing(path, place)
        pin, data = self._base.captured(place.path, place.pin, Reason.READ, hidden=place.hidden)
        if pin.kind is not EntryKind.FILE:  # it became something else between looking and opening
            return self.read(path)
        return data

    def link_target(self, path: str) -> str:
        """What the link says, as it stands; ValueError for anything but a link."""
        place = self._view.resolve(path, follow=False)
        if place.kind is None:
            raise self._view.missing(path, place)
        if place.kind is not EntryKind.SYMLINK:
            raise ValueError(f"'{path}' is a {place.kind}, not a symlink")
        return self._view.target(place)

    def leads_to(self, path: str, *, follow: bool = True) -> str:
        """The path with the links on the way followed; what they say is captured, so that it stays so."""
        place = self._view.resolve(path, follow=follow, pin=True)
        return place.path

    def list_folder(self, path: str, *, include_ignored: bool = False) -> list[Entry]:
        """A folder's entries, sorted; what the task made is always among them."""
        children = self._view.children(self._view.folder(path), include_ignored=include_ignored)
        prefix = "" if path == "." else f"{path}/"
        return [replace(children[name], path=prefix + name) for name in sorted(children)]

    def walk(self, path: str = ".", *, include_ignored: bool = False) -> Iterator[str]:
        """All files and links below a folder, sorted; links are not entered. A file yields itself."""
        if self._view.resolve(path, follow=True).kind is EntryKind.FILE:
            return iter((path,))
        place = self._view.folder(path)
        found = self._view.files_below(place.path, base=place.base_below, include_ignored=include_ignored)
        if path == place.path:
            return iter(found)
        cut = 0 if place.path == "." else len(place.path) + 1
        return iter([f"{path}/{name[cut:]}" for name in found])

    # ── changing ──

    def write(self, path: str, data: bytes, *, mode: int | None = None) -> None:
        """The whole content; makes folders above, keeps an existing file's mode, writes through a link."""
        if len(data) > self._limit:
            raise too_large(path, len(data), self._limit)
        with self.transaction():
            place = self._for_change(path, follow=True)
            if place.kind is EntryKind.DIRECTORY:
                raise IsADirectoryError(f"'{path}' is a folder; write to a file in it, or delete it first")
            if place.inode is None:
                kept = NEW_FILE if place.kind is None else place.mode
                self._make(place, EntryKind.FILE, kept if mode is None else mode & PERMISSIONS, data)
                return
            self._delta.replace(place.inode, data)
            if mode is not None:
                self._delta.set_mode(place.inode, mode & PERMISSIONS)

    def make_link(self, path: str, target: str) -> None:
        """A new symlink; its target need not exist, but must not lead out of the project."""
        if not target or "\0" in target:
            raise ValueError("a link's target is a path; it cannot be empty or contain NUL")
        with self.transaction():
            place = self._for_change(path, follow=False)
            self._require_free(path, place)
            self._view.join(path, parent(place.path), target)
            self._make(place, EntryKind.SYMLINK, LINK, target.encode())

    def make_folder(self, path: str) -> None:
        """A folder with those above it; nothing happens if it is there."""
        with self.transaction():
            place = self._view.resolve(path, follow=True, pin=True)
            if place.blocked:
                raise self._view.missing(path, place)
            if place.kind is EntryKind.FILE:
                raise FileExistsError(f"'{path}' is a file; choose another name, or delete it first")
            if place.kind is None:
                self._make_folders(place.path)

    def set_mode(self, path: str, mode: int) -> None:
        """A file's permission bits."""
        with self.transaction():
            place = self._for_change(path, follow=True)
            if place.kind is None:
                raise self._view.missing(path, place)
            if place.kind is EntryKind.DIRECTORY:
                raise IsADirectoryError(f"'{path}' is a folder; only a file's mode can be set")
            if place.inode is None:
                _, data = self._base.captured(place.path, place.pin, Reason.CHANGED, hidden=place.hidden)
                self._make(place, EntryKind.FILE, mode & PERMISSIONS, data)
            else:
                self._delta.set_mode(place.inode, mode & PERMISSIONS)

    def delete(self, path: str) -> None:
        """A file, a link (not what it leads to), or a folder with all below it that is shown."""
        with self.transaction():
            place = self._for_change(path, follow=False)
            if place.kind is None:
                raise self._view.missing(path, place)
            for below in reversed(self._touched_tree(place)):
                self._drop(below)

    def move(self, source: str, target: str) -> None:
        """A file, link or folder under another name; FileExistsError if something is there."""
        with self.transaction():
            old, new = self._for_change(source, follow=False), self._for_change(target, follow=False)
            if old.kind is None:
                raise self._view.missing(source, old)
            if new.path.startswith(f"{old.path}/"):
                raise ValueError(f"'{source}' cannot be moved into itself ('{target}')")
            self._require_free(target, new)
            self._make_folders(parent(new.path))
            moved = self._touched_tree(old)
            for place in moved:
                self._move_one(place, new.path + place.path[len(old.path) :])
            for place in reversed(moved):
                self._drop(place if place.kind is EntryKind.DIRECTORY else replace(place, inode=None))

    # ── judging ──

    def changes(self) -> ChangeSet:
        """What the task changed against what it first saw, by content; see `compare_trees` for folders and renames."""
        made, gone = self._delta.everything(), self._delta.whiteouts()
        pinned, data = self._base.changed(), self._delta.all_data()
        before: dict[str, Content | None] = {}
        after: dict[str, Content | None] = {}
        for path in pinned.keys() | made.keys() | gone:
            # Another AgentFS tool may have written to the file; what it touched was never captured.
            before[path] = pinned[path] if path in pinned else self._base.content_now(path)
            after[path] = _content(made[path], data) if path in made else None if path in gone else before[path]
        moves = self._file.rows("SELECT target, source FROM cairn_move")
        return compare(before, after, {str(target): str(source) for target, source in moves})

    def shadowed(self) -> dict[str, bytes | None]:
        """Files whose content for this task is not what the disk has now; None: the task sees no file there."""
        state = self._view.state(".")
        found: dict[str, bytes | None] = {}
        for path in sorted(state.pins.keys() | state.made.keys() | state.gone):
            now = project_disk.look(self.root, path)
            if state.is_untouched(path) and state.pins[path].same_stat(now):
                continue
            if state.hides_below(path) and now is not None and now.kind is EntryKind.DIRECTORY:
                below = tree_walk.walk_files(self.root, path, include_ignored=True)
                found.update((file, None) for file in below if file not in state.made)
            mine = self._file_content(path, state)
            if mine != self._file_now(path, now):
                found[path] = mine
        return found

    def files_touched(self) -> int:
        """Files that were made, changed, moved or deleted, also those that are again what they were."""
        return self._delta.files_touched()

    def bytes_written(self) -> int:
        """The size of all contents that were ever written, those of the project's files that were moved too."""
        return self._delta.bytes_written()

    def left_behind(self) -> tuple[str, ...]:
        """What stays on disk in the folders that the task deleted or moved away, sorted; folders end with "/"."""
        gone = self._delta.whiteouts()
        folders = (pin.path for pin in self._base.below(".") if pin.kind is EntryKind.DIRECTORY and pin.path in gone)
        found = (
            f"{under(folder, name)}{'/' if is_folder else ''}"
            for folder in folders
            for name, is_folder in project_disk.all_names(self.root, folder)
            if under(folder, name) not in gone
        )
        return tuple(sorted(found))

    def stale(self) -> tuple[str, ...]:
        """Paths the task read or changed that differ on disk now from what it saw, sorted."""
        made = self._delta.everything()
        return tuple(
            pin.path
            for pin in self._base.below(".")
            if self._base.is_stale(pin, wants_folder=_is_folder(made.get(pin.path)))
        )

    def transaction(self) -> AbstractContextManager[None]:
        """Everything inside is stored at once or not at all."""
        return self._file.transaction()

    def close(self) -> None:
        """Ends the use of the task's storage."""
        self._file.close()

    # ── parts of a change ──

    def _for_change(self, path: str, *, follow: bool) -> Place:
        place = self._view.resolve(path, follow=follow, pin=True)
        if place.path == ".":
            raise PermissionError("the project's root itself cannot be changed; name something in it")
        if place.blocked:
            raise self._view.missing(path, place)
        return place

    def _require_free(self, path: str, place: Place) -> None:
        if place.kind is not None:
            raise FileExistsError(f"'{path}' exists already; delete it first, or choose another name")

    def _make(self, place: Place, kind: EntryKind, mode: int, data: bytes = b"", mtime: float | None = None) -> None:
        """The task's own entry at a place, with folders above and the project's state captured before."""
        self._touch(place)
        above = place.above or self._make_folders(parent(place.path))
        if place.gone:
            self._delta.drop_whiteout(place.path)
        self._delta.make(above, place.path, kind, mode, data, mtime=mtime)

    def _make_folders(self, path: str) -> Inode:
        """The task's own entries for a folder and those above it, with the modes the project has."""
        if path == ".":
            return ROOT_INODE
        place, inode = ROOT, ROOT_INODE
        for prefix in accumulate(path.split("/"), "{}/{}".format):
            place = self._view.child(place, prefix)
            if place.inode is None:
                self._touch(place)
                if place.gone:
                    self._delta.drop_whiteout(prefix)
                mode = place.mode if place.kind is EntryKind.DIRECTORY else NEW_FOLDER
                place = replace(place, inode=self._delta.make(inode, prefix, EntryKind.DIRECTORY, mode))
            inode = place.inode or inode
        return inode

    def _touch(self, place: Place) -> Pin:
        """What the project has at a place, captured as about to be changed."""
        return self._base.pinned(place.path, place.pin, Reason.CHANGED, hidden=place.hidden)

    def _touched_tree(self, top: Place) -> list[Place]:
        """A place and all below it, folders before what they hold, each captured as about to be changed.

        Ignored files below are no part of it, as in git, so that nobody's build outputs are copied into the task.
        """
        everything = top.kind is EntryKind.DIRECTORY and tree_walk.is_ignored(self.root, top.path, folder=True)
        found: list[Place] = []
        staying: set[str] = set()
        waiting = [top]
        while waiting:
            place = waiting.pop()
            found.append(place)
            if place.on_disk and is_repository(self.root / place.path):
                raise repository_stays(top.path, place.path)
            if place.kind is not EntryKind.DIRECTORY:
                continue
            names: Collection[str] = self._view.children(place, include_ignored=everything)
            if not everything and place.inode and tree_walk.is_ignored(self.root, place.path, folder=True):
                names = [name for name, _ in self._delta.children(place.inode)]
                staying.add(place.path)
            waiting += [self._view.child(place, under(place.path, name)) for name in sorted(names, reverse=True)]
        # An ignored folder in which the task made something stays too, so nothing of it is touched.
        return [
            replace(place, pin=None if place.path in staying else self._touch(place))
            for place in self._without_husks(found)
        ]

    def _without_husks(self, tree: list[Place]) -> list[Place]:
        """Leaves out folders of the project in which nothing is shown, but something is: they stay with it."""
        kept: list[Place] = []
        needed: set[str] = {tree[0].path}
        for place in reversed(tree):
            is_husk = place.kind is EntryKind.DIRECTORY and place.on_disk and place.inode is None
            if is_husk and place.path not in needed and self._keeps_unshown(place.path):
                continue
            kept.append(place)
            needed.add(parent(place.path))
        return kept[::-1]

    def _keeps_unshown(self, folder: str) -> bool:
        """True when a folder of the project holds something that the task did not delete."""
        gone = self._delta.whiteouts_in(folder)
        return any(name not in gone for name, _ in project_disk.all_names(self.root, folder))

    def _drop(self, place: Place) -> None:
        """Takes one entry out of the view; a folder is empty by then."""
        if place.inode is not None:
            self._delta.remove(place.inode)
        if place.pin is not None and place.pin.kind is not None:
            self._delta.add_whiteout(place.path)
        self._file.run("DELETE FROM cairn_move WHERE target = ?", place.path)

    def _move_one(self, place: Place, path: str) -> None:
        """The same entry at another path; the old one is dropped later."""
        if place.kind is None:
            return
        target = self._view.trace(path, follow=False)
        if place.kind is EntryKind.SYMLINK:
            self._require_still_inside(place, path)
        if place.kind is EntryKind.DIRECTORY:
            self._make(target, place.kind, place.mode)
            return
        if place.inode is None:
            data = b"" if place.pin is None else self._base.data(place.pin)
            self._make(target, place.kind, place.mode, data, place.mtime)
        else:
            self._touch(target)
            self._delta.drop_whiteout(path)
            self._delta.relink(self._make_folders(parent(path)), path, place.inode)
        self._record_move(place, path)

    def _require_still_inside(self, place: Place, path: str) -> None:
        """A relative link must not come to lead outside by being moved."""
        target = self._view.target(place)
        if not target.startswith("/"):
            self._view.join(path, parent(path), target)

    def _record_move(self, place: Place, path: str) -> None:
        """Keeps which of the project's files this one was, over any number of moves; none for a file the task made."""
        rows = self._file.rows("SELECT source FROM cairn_move WHERE target = ?", place.path)
        own = place.path if place.pin is not None and place.pin.kind is place.kind else None
        origin = str(rows[0][0]) if rows else own
        if origin is not None and origin != path:
            self._file.run("INSERT OR REPLACE INTO cairn_move (target, source) VALUES (?, ?)", path, origin)

    # ── contents ──

    def _file_content(self, path: str, state: State) -> bytes | None:
        """A file's bytes in the view; None when the task sees no file there."""
        inode, pin = state.made.get(path), state.pins.get(path)
        if inode is not None:
            return self._delta.data(inode) if inode.kind is EntryKind.FILE else None
        if path in state.gone or pin is None or pin.kind is not EntryKind.FILE:
            return None
        return self._base.data(pin)

    def _file_now(self, path: str, now: DiskEntry | None) -> bytes | int | None:
        """A file's bytes on disk; None for no file, -1 for one that no program could have read."""
        if now is None or now.kind is not EntryKind.FILE:
            return None
        content = self._base.content_now(path)
        if content is None or content.kind is not EntryKind.FILE:
            return None
        return content.data if content.mode >= 0 else -1


def _content(inode: Inode, data: dict[int, bytes]) -> Content:
    mode = LINK if inode.kind is EntryKind.SYMLINK else inode.mode
    return Content(inode.kind, mode, data.get(inode.number, b""))


def repository_stays(named: str, repository: str) -> PermissionError:
    """The error for moving or deleting a folder that is a git repository, or has one in it."""
    what = f"'{named}' is" if named == repository else f"'{named}' holds '{repository}',"
    return PermissionError(
        f"{what} a git repository of its own, which can be neither moved nor deleted; "
        f"name single files in it, or leave '{named}' as it is"
    )


def _is_folder(inode: Inode | None) -> bool:
    return inode is not None and inode.kind is EntryKind.DIRECTORY

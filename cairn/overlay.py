"""The task's copy-on-write view of the project: reads fall through to the disk, changes stay in the task's file.

Each path is looked up in this order: what the task made, what it deleted, what was captured when it first touched the
path, the disk. Symlinks are resolved here, against that same view, and never beyond the project's root.
"""

from __future__ import annotations

import difflib
import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Protocol

from cairn import project_disk, tree_walk
from cairn.changes import ChangeSet, Content, EntryKind
from cairn.compare_trees import compare
from cairn.delta_tree import ROOT_INODE, DeltaTree, Inode
from cairn.pinned_base import Pin, PinnedBase, Reason
from cairn.project_disk import DiskEntry, too_large
from cairn.project_path import parent, project_path
from cairn.task_file import TaskFile

FILE_BYTES = 10_000_000
MAX_LINKS = 40  # as Linux counts, before it speaks of a loop
NEW_FILE, NEW_FOLDER, LINK = 0o644, 0o755, 0o777
NEAR = 0.75  # how alike a name must be to be offered instead of a missing one
PERMISSIONS = 0o777  # a program may not set the set-user-id, set-group-id and sticky bits


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands at a path in the task's view. `path` is spelled as it was asked for."""

    path: str
    kind: EntryKind
    mode: int
    size: int
    mtime: float


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
        """A file, a link (not what it leads to), or a folder with all below it, ignored files too."""
        ...

    def move(self, source: str, target: str) -> None:
        """A file, link or folder under another name; FileExistsError if something is there."""
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

    def stale(self) -> tuple[str, ...]:
        """Paths the task read or changed that differ on disk now from what it saw, sorted."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Everything inside is stored at once or not at all."""
        ...

    def close(self) -> None:
        """Ends the use of the task's storage."""
        ...


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a path leads and what the view has there; `kind` None: nothing.

    `inode` is the task's own entry, `pin` what was captured of the project. `hidden`: the project shows nothing at
    this path; `base_below`: it may show something below it; `on_disk`: a real folder on disk shows through. `blocked`
    is a file that stands where the path needs a folder; `link` a symlink still to be followed, `rest` what is after it.
    """

    path: str
    kind: EntryKind | None = None
    mode: int = 0
    size: int = 0
    mtime: float = 0.0
    inode: Inode | None = None
    pin: Pin | None = None
    hidden: bool = False
    base_below: bool = False
    on_disk: bool = False
    blocked: str = ""
    link: str = ""
    rest: tuple[str, ...] = ()

    def entry(self, path: str) -> Entry | None:
        """The same, under the name it was asked for."""
        return None if self.kind is None else Entry(path, self.kind, self.mode, self.size, self.mtime)


_ROOT = _Place(".", EntryKind.DIRECTORY, NEW_FOLDER, inode=ROOT_INODE, base_below=True, on_disk=True)


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

    # ── looking ──

    def entry(self, path: str) -> Entry | None:
        """What stands there; a link is not followed. None for nothing."""
        return self._resolve(path, follow=False).entry(path)

    def read(self, path: str) -> bytes:
        """The content, from now on the same for this task whatever happens on disk."""
        place = self._resolve(path, follow=True, pin=True)
        if place.kind is EntryKind.DIRECTORY:
            raise IsADirectoryError(f"'{path}' is a folder; list_dir('{path}') shows what is in it")
        if place.inode is not None:
            return self._delta.data(place.inode)
        if place.kind is None:
            # That nothing was there is captured too, so that it stays so for this task.
            if place.pin is None and not place.blocked:
                self._base.capture(place.path, Reason.READ, hidden=True)
            raise self._missing(path, place)
        pin, data = self._captured(place, Reason.READ)
        if pin.kind is not EntryKind.FILE:  # it became something else between looking and opening
            return self.read(path)
        return data

    def link_target(self, path: str) -> str:
        """What the link says, as it stands; ValueError for anything but a link."""
        place = self._resolve(path, follow=False)
        if place.kind is None:
            raise self._missing(path, place)
        if place.kind is not EntryKind.SYMLINK:
            raise ValueError(f"'{path}' is a {place.kind}, not a symlink")
        return self._target(place)

    def list_folder(self, path: str, *, include_ignored: bool = False) -> list[Entry]:
        """A folder's entries, sorted; what the task made is always among them."""
        children = self._children(self._folder(path), include_ignored=include_ignored)
        prefix = "" if path == "." else f"{path}/"
        return [replace(children[name], path=prefix + name) for name in sorted(children)]

    def walk(self, path: str = ".", *, include_ignored: bool = False) -> Iterator[str]:
        """All files and links below a folder, sorted; links are not entered. A file yields itself."""
        if self._resolve(path, follow=True).kind is EntryKind.FILE:
            return iter((path,))
        place = self._folder(path)
        found = self._files_below(place.path, base=place.base_below, include_ignored=include_ignored)
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
            self._join(path, parent(place.path), target, _hops())
            self._make(place, EntryKind.SYMLINK, LINK, target.encode())

    def make_folder(self, path: str) -> None:
        """A folder with those above it; nothing happens if it is there."""
        with self.transaction():
            place = self._resolve(path, follow=True, pin=True)
            if place.blocked:
                raise self._missing(path, place)
            if place.kind is EntryKind.FILE:
                raise FileExistsError(f"'{path}' is a file; choose another name, or delete it first")
            if place.kind is None:
                self._make_folders(place.path)

    def set_mode(self, path: str, mode: int) -> None:
        """A file's permission bits."""
        with self.transaction():
            place = self._for_change(path, follow=True)
            if place.kind is None:
                raise self._missing(path, place)
            if place.kind is EntryKind.DIRECTORY:
                raise IsADirectoryError(f"'{path}' is a folder; only a file's mode can be set")
            if place.inode is None:
                _, data = self._captured(place, Reason.CHANGED)
                self._make(place, EntryKind.FILE, mode & PERMISSIONS, data)
            else:
                self._delta.set_mode(place.inode, mode & PERMISSIONS)

    def delete(self, path: str) -> None:
        """A file, a link (not what it leads to), or a folder with all below it, ignored files too."""
        with self.transaction():
            place = self._for_change(path, follow=False)
            if place.kind is None:
                raise self._missing(path, place)
            for below in reversed(self._touched_tree(place)):
                self._drop(below)

    def move(self, source: str, target: str) -> None:
        """A file, link or folder under another name; FileExistsError if something is there."""
        with self.transaction():
            old, new = self._for_change(source, follow=False), self._for_change(target, follow=False)
            if old.kind is None:
                raise self._missing(source, old)
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
        pins = {pin.path: pin for pin in self._base.below(".") if pin.reason is Reason.CHANGED}
        before: dict[str, Content | None] = {}
        after: dict[str, Content | None] = {}
        for path in pins.keys() | made.keys() | gone:
            pin = pins.get(path)
            # Another AgentFS tool may have written to the file; what it touched was never captured.
            before[path] = self._base.content_now(path) if pin is None else self._base.content(pin)
            after[path] = self._content(made[path]) if path in made else None if path in gone else before[path]
        moves = self._file.rows("SELECT target, source FROM cairn_move")
        return compare(before, after, {str(target): str(source) for target, source in moves})

    def shadowed(self) -> dict[str, bytes | None]:
        """Files whose content for this task is not what the disk has now; None: the task sees no file there."""
        state = self._state(".")
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

    # ── where a path leads ──

    def _resolve(self, path: str, *, follow: bool, pin: bool = False, hops: Iterator[int] | None = None) -> _Place:
        """The place with every link on the way followed, the last one only on demand. `pin`: keep what links said."""
        hops = _hops() if hops is None else hops
        current = path
        while True:
            place = self._trace(current, follow=follow)
            if not place.link:
                return place
            if next(hops, None) is None:
                raise OSError(errno.ELOOP, f"'{path}' leads through too many symlinks, or round in a circle")
            if pin and not self._file.read_only:
                place = replace(place, pin=self._captured(place, Reason.READ)[0])
            led = self._join(path, parent(place.link), self._target(place), hops)
            current = project_path("/".join((led, *place.rest)))

    def _trace(self, path: str, *, follow: bool) -> _Place:
        """Goes along a path name by name, up to its end or to a link that has to be followed."""
        if path == ".":
            return _ROOT
        parts = path.split("/")
        prefixes = list(accumulate(parts, "{}/{}".format))
        chain = self._delta.chain(parts)
        gone, pins = self._delta.whiteouts_among(prefixes), self._base.among(prefixes)
        place = _ROOT
        for index, prefix in enumerate(prefixes):
            last = index == len(parts) - 1
            inode = chain[index] if index < len(chain) else None
            place = self._step(place, prefix, inode, gone=prefix in gone, pin=pins.get(prefix))
            if place.kind is EntryKind.SYMLINK and (follow or not last):
                return replace(place, link=prefix, rest=tuple(parts[index + 1 :]))
            if place.kind is EntryKind.FILE and not last:
                return _Place(path, hidden=True, blocked=prefix)
        return place

    def _child(self, above: _Place, path: str) -> _Place:
        """One name further, without going the whole way again."""
        inode = None if above.inode is None else self._delta.child(above.inode, path.rpartition("/")[2])
        gone = bool(self._delta.whiteouts_among((path,)))
        return self._step(above, path, inode, gone=gone, pin=self._base.among((path,)).get(path))

    def _step(self, above: _Place, path: str, inode: Inode | None, *, gone: bool, pin: Pin | None) -> _Place:
        hidden = not above.base_below
        shows = not hidden and not gone
        disk = project_disk.look_at(self.root, path) if shows and above.on_disk and _asks_disk(inode, pin) else None
        base = self._base_entry(path, pin, disk) if shows else None
        base_below = base is not None and base.kind is EntryKind.DIRECTORY
        place = _Place(
            path,
            inode=inode,
            pin=pin,
            hidden=hidden,
            base_below=base_below,
            on_disk=base_below and disk is not None and disk.kind is EntryKind.DIRECTORY,
        )
        if inode is not None:
            return replace(place, kind=inode.kind, mode=inode.mode, size=inode.size, mtime=inode.mtime)
        if base is not None:
            return replace(place, kind=base.kind, mode=base.mode, size=base.size, mtime=base.mtime_ns / 1e9)
        return place

    def _base_entry(self, path: str, pin: Pin | None, disk: DiskEntry | None) -> DiskEntry | None:
        """What the project shows at a path: what was captured, else the disk, else a folder that captures imply."""
        if pin is not None:
            return pin.entry
        if disk is not None and disk.kind is EntryKind.DIRECTORY:
            return disk
        if self._base.implies_folder(path):
            return DiskEntry(EntryKind.DIRECTORY, NEW_FOLDER, 0, 0, 0)
        return disk

    def _target(self, place: _Place) -> str:
        if place.inode is not None:
            return self._delta.data(place.inode).decode()
        found = None if place.pin is not None else project_disk.read(self.root, place.path, limit=self._limit)
        data = self._base.data(place.pin) if place.pin is not None else found[1] if found is not None else b""
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise ValueError(f"the symlink '{place.path}' leads to a name that is not valid UTF-8") from None

    def _join(self, path: str, folder: str, target: str, hops: Iterator[int]) -> str:
        """Where a link in a folder leads, not yet resolved itself; PermissionError if that is outside the project."""
        parts = [] if folder == "." else folder.split("/")
        if target.startswith("/"):
            inside = self._inside_root(target)
            if inside is None:
                raise _outside(path)
            parts, target = [], inside
        for name in target.split("/"):
            if name == "..":
                # What is left of ".." may be a link itself, and its parent another folder than the one it is in.
                here = self._resolve("/".join(parts) or ".", follow=True, hops=hops).path
                if here == ".":
                    raise _outside(path)
                parts = [] if parent(here) == "." else parent(here).split("/")
            elif name not in {"", "."}:
                parts.append(name)
        return project_path("/".join(parts) or ".")

    def _inside_root(self, target: str) -> str | None:
        for root in (str(self.root), os.path.realpath(self.root)):
            if target == root or target.startswith(f"{root}/"):
                return target[len(root) :]
        return None

    # ── what is in a folder ──

    def _folder(self, path: str) -> _Place:
        place = self._resolve(path, follow=True)
        if place.kind is None:
            raise self._missing(path, place)
        if place.kind is not EntryKind.DIRECTORY:
            raise NotADirectoryError(f"'{path}' is a file, not a folder; read it with read_file('{path}')")
        return place

    def _children(self, place: _Place, *, include_ignored: bool) -> dict[str, Entry]:
        """A folder's entries by name, `path` of each being its name."""
        found: dict[str, Entry] = {}
        if place.on_disk:
            for name in tree_walk.list_names(self.root, place.path, include_ignored=include_ignored):
                disk = project_disk.look_at(self.root, _under(place.path, name))
                if disk is not None:
                    found[name] = _entry(name, disk)
        if place.base_below:
            self._apply_pins(place.path, found, include_ignored=include_ignored)
            for name in self._delta.whiteouts_in(place.path):
                found.pop(name, None)
        if place.inode is not None:
            for name, inode in self._delta.children(place.inode):
                found[name] = Entry(name, inode.kind, inode.mode, inode.size, inode.mtime)
        return found

    def _apply_pins(self, folder: str, found: dict[str, Entry], *, include_ignored: bool) -> None:
        cut = 0 if folder == "." else len(folder) + 1
        implied: set[str] = set()
        for pin in self._base.below(folder):
            name, _, deeper = pin.path[cut:].partition("/")
            if deeper:
                if pin.kind is not None and not (name in found and found[name].kind is EntryKind.DIRECTORY):
                    implied.add(name)
                continue
            captured = pin.entry
            if captured is None:
                found.pop(name, None)
            elif name in found or include_ignored or not self._is_ignored(pin.path, captured.kind):
                found[name] = _entry(name, captured)
        for name in implied:
            if include_ignored or not self._is_ignored(_under(folder, name), EntryKind.DIRECTORY):
                found[name] = Entry(name, EntryKind.DIRECTORY, NEW_FOLDER, 0, 0.0)

    def _files_below(self, folder: str, *, base: bool, include_ignored: bool) -> list[str]:
        state = self._state(folder)
        found = {path for path, inode in state.made.items() if inode.kind is not EntryKind.DIRECTORY}
        if base:
            disk = tree_walk.walk_files(self.root, folder, include_ignored=include_ignored)
            found.update(disk if state.is_empty else (path for path in disk if state.shows_base(path)))
            for path, pin in state.pins.items():
                if path in found or pin.kind in {None, EntryKind.DIRECTORY} or not state.shows_base(path):
                    continue
                if include_ignored or not self._is_ignored(path, EntryKind.FILE):
                    found.add(path)
        return sorted(found)

    def _is_ignored(self, path: str, kind: EntryKind) -> bool:
        return tree_walk.is_ignored(self.root, path, folder=kind is EntryKind.DIRECTORY)

    def _state(self, folder: str) -> _State:
        prefix = "" if folder == "." else f"{folder}/"
        made = {path: inode for path, inode in self._delta.everything().items() if path.startswith(prefix)}
        gone = {path for path in self._delta.whiteouts() if path.startswith(prefix)}
        return _State(made, gone, {pin.path: pin for pin in self._base.below(folder)})

    # ── parts of a change ──

    def _for_change(self, path: str, *, follow: bool) -> _Place:
        place = self._resolve(path, follow=follow, pin=True)
        if place.path == ".":
            raise PermissionError("the project's root itself cannot be changed; name something in it")
        if place.blocked:
            raise self._missing(path, place)
        return place

    def _require_free(self, path: str, place: _Place) -> None:
        if place.kind is not None:
            raise FileExistsError(f"'{path}' exists already; delete it first, or choose another name")

    def _captured(self, place: _Place, reason: Reason) -> tuple[Pin, bytes]:
        """What the project has at a place, captured now unless it was before, with its content."""
        if place.pin is None:
            return self._base.capture(place.path, reason, hidden=place.hidden)
        return self._pinned(place, reason), self._base.data(place.pin)

    def _pinned(self, place: _Place, reason: Reason) -> Pin:
        if place.pin is None:
            return self._base.capture(place.path, reason, hidden=place.hidden)[0]
        if reason is Reason.CHANGED:
            self._base.mark_changed(place.pin)
        return place.pin

    def _make(self, place: _Place, kind: EntryKind, mode: int, data: bytes = b"", mtime: float | None = None) -> None:
        """The task's own entry at a place, with folders above and the project's state captured before."""
        self._pinned(place, Reason.CHANGED)
        above = self._make_folders(parent(place.path))
        self._delta.drop_whiteout(place.path)
        self._delta.make(above, place.path, kind, mode, data, mtime=mtime)

    def _make_folders(self, path: str) -> Inode:
        """The task's own entries for a folder and those above it, with the modes the project has."""
        if path == ".":
            return ROOT_INODE
        place, inode = _ROOT, ROOT_INODE
        for prefix in accumulate(path.split("/"), "{}/{}".format):
            place = self._child(place, prefix)
            if place.inode is None:
                self._pinned(place, Reason.CHANGED)
                self._delta.drop_whiteout(prefix)
                mode = place.mode if place.kind is EntryKind.DIRECTORY else NEW_FOLDER
                place = replace(place, inode=self._delta.make(inode, prefix, EntryKind.DIRECTORY, mode))
            inode = place.inode or inode
        return inode

    def _touched_tree(self, top: _Place) -> list[_Place]:
        """A place and all below it, folders before what they hold, each captured as about to be changed."""
        found: list[_Place] = []
        waiting = [top]
        while waiting:
            place = waiting.pop()
            place = replace(place, pin=self._pinned(place, Reason.CHANGED))
            found.append(place)
            if place.kind is EntryKind.DIRECTORY:
                names = self._children(place, include_ignored=True)
                waiting += [self._child(place, _under(place.path, name)) for name in sorted(names, reverse=True)]
        return found

    def _drop(self, place: _Place) -> None:
        """Takes one entry out of the view; a folder is empty by then."""
        if place.inode is not None:
            self._delta.remove(place.inode)
        if place.pin is not None and place.pin.kind is not None:
            self._delta.add_whiteout(place.path)
        self._file.run("DELETE FROM cairn_move WHERE target = ?", place.path)

    def _move_one(self, place: _Place, path: str) -> None:
        """The same entry at another path; the old one is dropped later."""
        if place.kind is None:
            return
        target = self._trace(path, follow=False)
        if place.kind is EntryKind.SYMLINK:
            self._require_still_inside(place, path)
        if place.kind is EntryKind.DIRECTORY:
            self._make(target, place.kind, place.mode)
            return
        if place.inode is None:
            data = b"" if place.pin is None else self._base.data(place.pin)
            self._make(target, place.kind, place.mode, data, place.mtime)
        else:
            self._pinned(target, Reason.CHANGED)
            self._delta.drop_whiteout(path)
            self._delta.relink(self._make_folders(parent(path)), path, place.inode)
        self._record_move(place, path)

    def _require_still_inside(self, place: _Place, path: str) -> None:
        """A relative link must not come to lead outside by being moved."""
        target = self._target(place)
        if not target.startswith("/"):
            self._join(path, parent(path), target, _hops())

    def _record_move(self, place: _Place, path: str) -> None:
        """Keeps which of the project's files this one was, over any number of moves; none for a file the task made."""
        rows = self._file.rows("SELECT source FROM cairn_move WHERE target = ?", place.path)
        own = place.path if place.pin is not None and place.pin.kind is place.kind else None
        origin = str(rows[0][0]) if rows else own
        if origin is not None and origin != path:
            self._file.run("INSERT OR REPLACE INTO cairn_move (target, source) VALUES (?, ?)", path, origin)

    # ── contents ──

    def _content(self, inode: Inode) -> Content:
        data = b"" if inode.kind is EntryKind.DIRECTORY else self._delta.data(inode)
        return Content(inode.kind, LINK if inode.kind is EntryKind.SYMLINK else inode.mode, data)

    def _file_content(self, path: str, state: _State) -> bytes | None:
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

    def _missing(self, path: str, place: _Place) -> OSError:
        """The error for nothing there, with what the program's author most likely meant."""
        if place.blocked:
            return NotADirectoryError(f"'{place.blocked}' is a file, so there is no '{path}'")
        folder = parent(path)
        while folder != "." and self._resolve(folder, follow=True).kind is not EntryKind.DIRECTORY:
            folder = parent(folder)
        names = [entry.path for entry in self.list_folder(folder)]
        near = difflib.get_close_matches(path, names, n=1, cutoff=NEAR)
        meant = f", but there is '{near[0]}'" if near else ""
        shows = "list_dir()" if folder == "." else f"list_dir('{folder}')"
        return FileNotFoundError(f"no file '{path}'{meant}; {shows} shows what is there")


@dataclass(frozen=True, slots=True)
class _State:
    """All that the task did below a folder, for questions about many paths at once."""

    made: dict[str, Inode]
    gone: set[str]
    pins: dict[str, Pin]

    @property
    def is_empty(self) -> bool:
        return not (self.made or self.gone or self.pins)

    def is_untouched(self, path: str) -> bool:
        """True when the view shows what was captured."""
        return path in self.pins and path not in self.made and path not in self.gone

    def hides_below(self, path: str) -> bool:
        """True when nothing of the project shows below a path."""
        inode, pin = self.made.get(path), self.pins.get(path)
        if path in self.gone or (inode is not None and inode.kind is not EntryKind.DIRECTORY):
            return True
        return pin is not None and pin.kind is not EntryKind.DIRECTORY

    def shows_base(self, path: str) -> bool:
        """True when the project's own file at a path is what the task sees."""
        pin = self.pins.get(path)
        if path in self.made or path in self.gone or (pin is not None and pin.kind is None):
            return False
        above = parent(path)
        while above != ".":
            if self.hides_below(above):
                return False
            above = parent(above)
        return True


def _asks_disk(inode: Inode | None, pin: Pin | None) -> bool:
    """False when the disk has nothing to add: a file or link was made or captured here."""
    if inode is not None and inode.kind is not EntryKind.DIRECTORY:
        return False
    return pin is None or pin.kind is EntryKind.DIRECTORY


def _entry(name: str, found: DiskEntry) -> Entry:
    return Entry(name, found.kind, found.mode, found.size, found.mtime_ns / 1e9)


def _is_folder(inode: Inode | None) -> bool:
    return inode is not None and inode.kind is EntryKind.DIRECTORY


def _under(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"


def _hops() -> Iterator[int]:
    return iter(range(MAX_LINKS))


def _outside(path: str) -> PermissionError:
    return PermissionError(f"'{path}' leads out of the project through a symlink; use only files inside the project")

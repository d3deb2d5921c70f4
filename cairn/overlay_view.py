"""What a task sees of the project: where a path leads, and what is in a folder. Nothing here changes anything but pins.

Each path is looked up in this order: what the task made, what it deleted, what was captured when it first touched the
path, the disk. Symlinks are resolved here, against that same view, and never beyond the project's root.
"""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

from cairn import project_disk, tree_walk
from cairn.changes import EntryKind
from cairn.delta_tree import ROOT_INODE, DeltaTree, Inode
from cairn.pinned_base import Pin, PinnedBase, Reason
from cairn.project_disk import DiskEntry
from cairn.project_path import parent, project_path

MAX_LINKS = 40  # as Linux counts, before it speaks of a loop
NEAR = 0.75  # how alike a name must be to be offered instead of a missing one
NEAR_PAIRS = 4_000_000  # of characters, compared to find such a name: at worst 0.5 s
NEW_FOLDER = 0o755


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands at a path in the task's view. `path` is spelled as it was asked for."""

    path: str
    kind: EntryKind
    mode: int
    size: int
    mtime: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads and what the view has there; `kind` None: nothing.

    `inode` is the task's own entry, `above` that of the folder it is in, `pin` what was captured of the project.
    `gone`: the task deleted what the project has here; `hidden`: the project shows nothing at this path;
    `base_below`: it may show something below it; `on_disk`: a real folder on disk shows through. `blocked` is a file
    that stands where the path needs a folder; `link` a symlink still to be followed, `rest` what is after it.
    """

    path: str
    kind: EntryKind | None = None
    mode: int = 0
    size: int = 0
    mtime: float = 0.0
    inode: Inode | None = None
    above: Inode | None = None
    pin: Pin | None = None
    gone: bool = False
    hidden: bool = False
    base_below: bool = False
    on_disk: bool = False
    blocked: str = ""
    link: str = ""
    rest: tuple[str, ...] = ()

    def entry(self, path: str) -> Entry | None:
        """The same, under the name it was asked for."""
        return None if self.kind is None else Entry(path, self.kind, self.mode, self.size, self.mtime)


ROOT = Place(".", EntryKind.DIRECTORY, NEW_FOLDER, inode=ROOT_INODE, base_below=True, on_disk=True)


class OverlayView:
    """The view of one task: its own entries over the project, both given."""

    def __init__(self, root: Path, delta: DeltaTree, base: PinnedBase, *, file_bytes: int) -> None:
        self._root = root
        self._delta = delta
        self._base = base
        self._limit = file_bytes

    # ── where a path leads ──

    def resolve(self, path: str, *, follow: bool, pin: bool = False, hops: Iterator[int] | None = None) -> Place:
        """The place with every link on the way followed, the last one only on demand. `pin`: keep what links said."""
        hops = _hops() if hops is None else hops
        current = path
        while True:
            place = self.trace(current, follow=follow)
            if not place.link:
                return place
            if next(hops, None) is None:
                raise OSError(errno.ELOOP, f"'{path}' leads through too many symlinks, or round in a circle")
            if pin and not self._base.read_only:
                place = replace(place, pin=self._base.pinned(place.path, place.pin, Reason.READ, hidden=place.hidden))
            led = self.join(path, parent(place.link), self.target(place), hops)
            current = project_path("/".join((led, *place.rest)))

    def trace(self, path: str, *, follow: bool) -> Place:
        """Goes along a path name by name, up to its end or to a link that has to be followed."""
        if path == ".":
            return ROOT
        parts = path.split("/")
        prefixes = list(accumulate(parts, "{}/{}".format))
        chain = self._delta.chain(parts)
        gone, pins = self._delta.whiteouts_among(prefixes), self._base.among(prefixes)
        place = ROOT
        for index, prefix in enumerate(prefixes):
            last = index == len(parts) - 1
            inode = chain[index] if index < len(chain) else None
            place = self._step(place, prefix, inode, gone=prefix in gone, pin=pins.get(prefix))
            if place.kind is EntryKind.SYMLINK and (follow or not last):
                return replace(place, link=prefix, rest=tuple(parts[index + 1 :]))
            if place.kind is EntryKind.FILE and not last:
                return Place(path, hidden=True, blocked=prefix)
        return place

    def child(self, above: Place, path: str) -> Place:
        """One name further, without going the whole way again."""
        inode = None if above.inode is None else self._delta.child(above.inode, path.rpartition("/")[2])
        gone = bool(self._delta.whiteouts_among((path,)))
        return self._step(above, path, inode, gone=gone, pin=self._base.among((path,)).get(path))

    def _step(self, above: Place, path: str, inode: Inode | None, *, gone: bool, pin: Pin | None) -> Place:
        hidden = not above.base_below
        shows = not hidden and not gone
        disk = project_disk.look(self._root, path) if shows and above.on_disk and _asks_disk(inode, pin) else None
        base = self._base_entry(path, pin, disk) if shows else None
        base_below = base is not None and base.kind is EntryKind.DIRECTORY
        on_disk = base_below and disk is not None and disk.kind is EntryKind.DIRECTORY
        shown = inode or base
        return Place(
            path,
            kind=None if shown is None else shown.kind,
            mode=0 if shown is None else shown.mode,
            size=0 if shown is None else shown.size,
            mtime=inode.mtime if inode is not None else 0.0 if base is None else base.mtime_ns / 1e9,
            inode=inode,
            above=above.inode,
            pin=pin,
            gone=gone,
            hidden=hidden,
            base_below=base_below,
            on_disk=on_disk,
        )

    def _base_entry(self, path: str, pin: Pin | None, disk: DiskEntry | None) -> DiskEntry | None:
        """What the project shows at a path: what was captured, else the disk, else a folder that captures imply."""
        if pin is not None:
            return pin.entry
        if disk is not None and disk.kind is EntryKind.DIRECTORY:
            return disk
        if self._base.implies_folder(path):
            return DiskEntry(EntryKind.DIRECTORY, NEW_FOLDER, 0, 0, 0)
        return disk

    def target(self, place: Place) -> str:
        """What a symlink says, as it stands."""
        if place.inode is not None:
            return self._delta.data(place.inode).decode()
        found = None if place.pin is not None else project_disk.read(self._root, place.path, limit=self._limit)
        data = self._base.data(place.pin) if place.pin is not None else found[1] if found is not None else b""
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise ValueError(f"the symlink '{place.path}' leads to a name that is not valid UTF-8") from None

    def join(self, path: str, folder: str, target: str, hops: Iterator[int] | None = None) -> str:
        """Where a link in a folder leads, not yet resolved itself; PermissionError if that is outside the project."""
        hops = _hops() if hops is None else hops
        parts = [] if folder == "." else folder.split("/")
        if target.startswith("/"):
            inside = self._inside_root(target)
            if inside is None:
                raise _outside(path)
            parts, target = [], inside
        for name in target.split("/"):
            if name == "..":
                # What is left of ".." may be a link itself, and its parent another folder than the one it is in.
                here = self.resolve("/".join(parts) or ".", follow=True, hops=hops).path
                if here == ".":
                    raise _outside(path)
                parts = [] if parent(here) == "." else parent(here).split("/")
            elif name not in {"", "."}:
                parts.append(name)
        return project_path("/".join(parts) or ".")

    def _inside_root(self, target: str) -> str | None:
        for root in (str(self._root), os.path.realpath(self._root)):
            if target == root or target.startswith(f"{root}/"):
                return target[len(root) :]
        return None

    # ── what is in a folder ──

    def folder(self, path: str) -> Place:
        """The place of a folder, or the error for what is none."""
        place = self.resolve(path, follow=True)
        if place.kind is None:
            raise self.missing(path, place)
        if place.kind is not EntryKind.DIRECTORY:
            raise NotADirectoryError(f"'{path}' is a file, not a folder; read it with read_file('{path}')")
        return place

    def children(self, place: Place, *, include_ignored: bool) -> dict[str, Entry]:
        """A folder's entries by name, `path` of each being its name."""
        found: dict[str, Entry] = {}
        if place.on_disk:
            names = tree_walk.list_names(self._root, place.path, include_ignored=include_ignored)
            on_disk = project_disk.look_in(self._root, place.path, names)
            found = {name: _entry(name, disk) for name, disk in on_disk.items()}
        if place.base_below:
            self._apply_pins(place.path, found, include_ignored=include_ignored)
            for name in self._delta.whiteouts_in(place.path):
                found.pop(name, None)
        if place.inode is not None:
            for name, inode in self._delta.children(place.inode):
                found[name] = Entry(name, inode.kind, inode.mode, inode.size, inode.mtime)
        return found

    def _apply_pins(self, folder: str, found: dict[str, Entry], *, include_ignored: bool) -> None:
        for pin in self._base.directly_in(folder):
            name, captured = pin.path.rpartition("/")[2], pin.entry
            if captured is None:
                found.pop(name, None)
            elif name in found or include_ignored or not self._is_ignored(pin.path, captured.kind):
                found[name] = _entry(name, captured)
        for name in self._base.implied_folders_in(folder):
            if name in found and found[name].kind is EntryKind.DIRECTORY:
                continue
            if include_ignored or not self._is_ignored(under(folder, name), EntryKind.DIRECTORY):
                found[name] = Entry(name, EntryKind.DIRECTORY, NEW_FOLDER, 0, 0.0)

    def files_below(self, folder: str, *, base: bool, include_ignored: bool) -> list[str]:
        """All files and links below a folder, sorted; `base`: the project shows something there."""
        state = self.state(folder)
        found = {path for path, inode in state.made.items() if inode.kind is not EntryKind.DIRECTORY}
        if base:
            disk = tree_walk.walk_files(self._root, folder, include_ignored=include_ignored)
            found.update(disk if state.is_empty else (path for path in disk if state.shows_base(path)))
            for path, pin in state.pins.items():
                if path in found or pin.kind in {None, EntryKind.DIRECTORY} or not state.shows_base(path):
                    continue
                if include_ignored or not self._is_ignored(path, EntryKind.FILE):
                    found.add(path)
        return sorted(found)

    def _is_ignored(self, path: str, kind: EntryKind) -> bool:
        return tree_walk.is_ignored(self._root, path, folder=kind is EntryKind.DIRECTORY)

    def state(self, folder: str) -> State:
        """All that the task did and saw below a folder."""
        prefix = "" if folder == "." else f"{folder}/"
        made = {path: inode for path, inode in self._delta.everything().items() if path.startswith(prefix)}
        gone = {path for path in self._delta.whiteouts() if path.startswith(prefix)}
        return State(made, gone, {pin.path: pin for pin in self._base.below(folder)})

    def missing(self, path: str, place: Place) -> OSError:
        """The error for nothing there, with what the program's author most likely meant."""
        if place.blocked:
            return NotADirectoryError(f"'{place.blocked}' is a file, so there is no '{path}'")
        folder = parent(path)
        while folder != "." and self.resolve(folder, follow=True).kind is not EntryKind.DIRECTORY:
            folder = parent(folder)
        names = [under(folder, name) for name in self.children(self.folder(folder), include_ignored=False)]
        few = len(path) ** 2 * len(names) <= NEAR_PAIRS
        same = [name for name in names if name.casefold() == path.casefold()]
        near = same or (difflib.get_close_matches(path, names, n=1, cutoff=NEAR) if few else [])
        meant = f", but there is '{near[0]}'" if near else ""
        shows = "list_dir()" if folder == "." else f"list_dir('{folder}')"
        return FileNotFoundError(f"no file '{path}'{meant}; {shows} shows what is there")


@dataclass(frozen=True, slots=True)
class State:
    """All that the task did below a folder, for questions about many paths at once."""

    made: dict[str, Inode]
    gone: set[str]
    pins: dict[str, Pin]

    @property
    def is_empty(self) -> bool:
        """True when the project shows as it is."""
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


def under(folder: str, name: str) -> str:
    """The path of a name in a folder."""
    return name if folder == "." else f"{folder}/{name}"


def _hops() -> Iterator[int]:
    return iter(range(MAX_LINKS))


def _outside(path: str) -> PermissionError:
    return PermissionError(f"'{path}' leads out of the project through a symlink; use only files inside the project")

"""An overlay in memory, for tests: no file, no cleverness, and the same promises as the real one."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cairn import project_disk, tree_walk
from cairn.changes import ChangeSet, Content, EntryKind
from cairn.compare_trees import compare, folders_of
from cairn.git_repository import is_repository
from cairn.overlay import FILE_BYTES, Entry, repository_stays
from cairn.project_disk import too_large
from cairn.project_path import parent, project_path


class MemoryOverlay:
    """An overlay without a file: the whole view is worked out anew at each call, slow and plain to see.

    `base` is a project's folder, or a dictionary of paths to bytes or `Content`; what changes in it later is seen like
    edits on disk. A dictionary has no ignore rules and no root folder.
    """

    def __init__(self, base: Path | Mapping[str, bytes | Content], *, file_bytes: int = FILE_BYTES) -> None:
        self.root = base if isinstance(base, Path) else Path("/nowhere")
        self._base = base
        self._limit = file_bytes
        self._seen: dict[str, Content | None] = {}
        self._changed: set[str] = set()
        self._made: dict[str, Content | None] = {}
        self._moves: dict[str, str] = {}
        self._written = 0

    # ── looking ──

    def entry(self, path: str) -> Entry | None:
        """What stands there; a link is not followed."""
        content = self._tree().get(self._resolve(path, follow=False))
        return None if content is None else Entry(path, content.kind, content.mode, len(content.data), 0.0)

    def read(self, path: str) -> bytes:
        """The content, from now on the same."""
        place = self._resolve(path, follow=True)
        content = self._tree().get(place)
        self._require_small(path, b"" if content is None else content.data)
        if content is None or content.kind is EntryKind.FILE:
            self._see(place)
        if content is None:
            raise self._missing(path)
        if content.kind is EntryKind.DIRECTORY:
            raise IsADirectoryError(f"'{path}' is a folder")
        return content.data

    def link_target(self, path: str) -> str:
        """What the link says."""
        content = self._tree().get(self._resolve(path, follow=False))
        if content is None:
            raise self._missing(path)
        if content.kind is not EntryKind.SYMLINK:
            raise ValueError(f"'{path}' is not a symlink")
        return content.data.decode()

    def leads_to(self, path: str, *, follow: bool = True) -> str:
        """The path with the links on the way followed."""
        return self._resolve(path, follow=follow)

    def list_folder(self, path: str, *, include_ignored: bool = False) -> list[Entry]:
        """A folder's entries, sorted."""
        place, tree = self._folder(path), self._tree()
        return [
            Entry(_under(path, one.rpartition("/")[2]), tree[one].kind, tree[one].mode, len(tree[one].data), 0.0)
            for one in sorted(tree)
            if parent(one) == place and one != "." and (include_ignored or self._is_listed(one, place))
        ]

    def walk(self, path: str = ".", *, include_ignored: bool = False) -> Iterator[str]:
        """All files and links below, sorted."""
        tree = self._tree()
        place = self._resolve(path, follow=True)
        if place in tree and tree[place].kind is EntryKind.FILE:
            return iter((path,))
        place = self._folder(path)
        below = [one for one in tree if one != place and (place == "." or one.startswith(f"{place}/"))]
        files = [one for one in below if tree[one].kind is not EntryKind.DIRECTORY]
        shown = sorted(one for one in files if include_ignored or self._is_listed(one, place))
        cut = 0 if place == "." else len(place) + 1
        return iter([_under(path, one[cut:]) for one in shown])

    # ── changing ──

    def write(self, path: str, data: bytes, *, mode: int | None = None) -> None:
        """The whole content of a file."""
        self._require_small(path, data)
        place = self._for_change(path, follow=True)
        old = self._tree().get(place)
        if old is not None and old.kind is EntryKind.DIRECTORY:
            raise IsADirectoryError(f"'{path}' is a folder")
        kept = 0o644 if old is None else old.mode
        self._make(place, Content(EntryKind.FILE, kept if mode is None else mode & 0o777, data))

    def make_link(self, path: str, target: str) -> None:
        """A new symlink."""
        place = self._for_change(path, follow=False)
        self._require_free(path, place)
        self._join(path, parent(place), target, 0)
        self._make(place, Content(EntryKind.SYMLINK, 0o777, target.encode()))

    def make_folder(self, path: str) -> None:
        """A folder with those above it."""
        place = self._resolve(path, follow=True)
        content = self._tree().get(place)
        if content is not None and content.kind is not EntryKind.DIRECTORY:
            raise FileExistsError(f"'{path}' is a file")
        if content is None:
            self._make(place, _FOLDER)

    def set_mode(self, path: str, mode: int) -> None:
        """A file's permission bits."""
        place = self._for_change(path, follow=True)
        content = self._tree().get(place)
        if content is None:
            raise self._missing(path)
        if content.kind is EntryKind.DIRECTORY:
            raise IsADirectoryError(f"'{path}' is a folder")
        self._make(place, Content(content.kind, mode & 0o777, content.data))

    def delete(self, path: str) -> None:
        """A file, a link, or a folder with all below it that is shown."""
        place = self._for_change(path, follow=False)
        tree = self._tree()
        if place not in tree:
            raise self._missing(path)
        with self.transaction():
            for one in self._shown_below(tree, place):
                self._require_small(one, tree[one].data)
                self._take_away(one, place)
                self._moves.pop(one, None)

    def move(self, source: str, target: str) -> None:
        """Anything under another name."""
        old, new = self._for_change(source, follow=False), self._for_change(target, follow=False)
        tree = self._tree()
        if old not in tree:
            raise self._missing(source)
        if new.startswith(f"{old}/"):
            raise ValueError(f"'{source}' cannot be moved into itself ('{target}')")
        self._require_free(target, new)
        with self.transaction():
            for one in self._shown_below(tree, old):
                self._require_small(one, tree[one].data)
                goal = new + one[len(old) :]
                if tree[one].kind is EntryKind.SYMLINK and not tree[one].data.startswith(b"/"):
                    self._join(target, parent(goal), tree[one].data.decode(), 0)
                self._take_away(one, old)
                self._make(goal, tree[one])
                seen = self._seen[one]
                own = one if seen is not None and seen.kind is tree[one].kind is not EntryKind.DIRECTORY else None
                origin = self._moves.pop(one, own)
                if origin not in {None, goal}:
                    self._moves[goal] = str(origin)

    # ── judging ──

    def changes(self) -> ChangeSet:
        """What was changed, against what was first seen."""
        before = {path: self._seen[path] for path in self._changed}
        after = {path: self._made.get(path, self._seen[path]) for path in self._changed}
        return compare(before, after, self._moves)

    def shadowed(self) -> dict[str, bytes | None]:
        """Files that differ from the base as it is now."""
        mine, now = _files(self._tree()), _files(self._live())
        return {path: mine.get(path) for path in sorted(mine.keys() | now.keys()) if mine.get(path) != now.get(path)}

    def bytes_written(self) -> int:
        """The size of all that was written."""
        return self._written

    def files_touched(self) -> int:
        """How many files were changed."""
        now = {path: self._made.get(path, self._seen[path]) for path in self._changed}
        kinds = {path: (content or self._seen[path]) for path, content in now.items()}
        files = [path for path, content in kinds.items() if content is not None and not _is_folder(content)]
        moved = [source for source in self._moves.values() if source in now and now[source] is None]
        return len(files) - len(moved)

    def left_behind(self) -> tuple[str, ...]:
        """What stays in the base in folders that are gone."""
        gone = {path for path, content in self._made.items() if content is None}
        folders = [path for path in gone if _is_folder(self._seen[path])] if isinstance(self._base, Path) else []
        return tuple(
            sorted(
                f"{folder}/{name}{'/' if is_folder else ''}"
                for folder in folders
                for name, is_folder in project_disk.all_names(self.root, folder)
                if f"{folder}/{name}" not in gone
            )
        )

    def stale(self) -> tuple[str, ...]:
        """Paths seen that are otherwise in the base now."""
        live = self._live()
        return tuple(path for path, seen in sorted(self._seen.items()) if self._differs(path, seen, live.get(path)))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Takes everything inside back when it raises."""
        kept = (dict(self._seen), set(self._changed), dict(self._made), dict(self._moves), self._written)
        try:
            yield
        except BaseException:
            self._seen, self._changed, self._made, self._moves, self._written = kept
            raise

    def close(self) -> None:
        """Does nothing."""

    # ── parts ──

    def _live(self) -> dict[str, Content]:
        """The base as it is now, whole, folders too."""
        if isinstance(self._base, Path):
            return _on_disk(self._base)
        found = {
            path: Content(EntryKind.FILE, 0o644, c) if isinstance(c, bytes) else c for path, c in self._base.items()
        }
        return {".": _FOLDER, **dict.fromkeys(folders_of(found), _FOLDER), **found}

    def _tree(self) -> dict[str, Content]:
        """The view, whole: the base now, what was seen of it, what was made and deleted."""
        tree = self._live()
        for path, content in sorted(self._seen.items()):
            _put(tree, path, content)
        for path in sorted(path for path, content in self._made.items() if content is None):
            _put(tree, path, None)
        for path, content in sorted(self._made.items()):
            if content is not None:
                _put(tree, path, content)
        return tree

    def _see(self, path: str) -> None:
        if path not in self._seen and path != ".":
            tree = self._live()
            for other, content in sorted(self._seen.items()):
                _put(tree, other, content)
            self._seen[path] = tree.get(path)

    def _make(self, path: str, content: Content | None) -> None:
        tree = self._tree()
        above = [one for one in _above(path) if one not in tree] if content is not None else []
        for one, new in [*((folder, _FOLDER) for folder in above), (path, content)]:
            self._see(one)
            self._changed.add(one)
            self._made[one] = new
            self._written += len(new.data) if new is not None and new.kind is EntryKind.FILE else 0
            if new is None and self._seen[one] is None:
                del self._made[one]

    def _take_away(self, path: str, named: str) -> None:
        """An ignored folder of the base, in which the task made something, stays on disk."""
        self._make(path, None)
        ignored = isinstance(self._base, Path) and not tree_walk.is_ignored(self.root, named, folder=True)
        if ignored and _is_folder(self._seen[path]) and tree_walk.is_ignored(self.root, path, folder=True):
            self._made.pop(path, None)

    def _for_change(self, path: str, *, follow: bool) -> str:
        place = self._resolve(path, follow=follow)
        if place == ".":
            raise PermissionError("the project's root itself cannot be changed")
        return place

    def _folder(self, path: str) -> str:
        place = self._resolve(path, follow=True)
        content = self._tree().get(place)
        if content is None:
            raise self._missing(path)
        if content.kind is not EntryKind.DIRECTORY:
            raise NotADirectoryError(f"'{path}' is a file, not a folder")
        return place

    def _require_small(self, path: str, data: bytes) -> None:
        if len(data) > self._limit:
            raise too_large(path, len(data), self._limit)

    def _require_free(self, path: str, place: str) -> None:
        if place in self._tree():
            raise FileExistsError(f"'{path}' exists already")

    def _missing(self, path: str) -> OSError:
        return FileNotFoundError(f"no file '{path}'; list_dir() shows what is there")

    def _resolve(self, path: str, *, follow: bool, depth: int = 0) -> str:
        tree, place = self._tree(), "."
        names = [name for name in path.split("/") if name != "."]
        for index, name in enumerate(names):
            content = tree.get(place)
            if content is not None and content.kind is EntryKind.FILE:
                raise NotADirectoryError(f"'{place}' is a file, so there is no '{path}'")
            place = _under(place, name)
            content = tree.get(place)
            if content is not None and content.kind is EntryKind.SYMLINK and (follow or index < len(names) - 1):
                self._see(place)
                led = self._join(path, parent(place), content.data.decode(), depth + 1)
                return self._resolve("/".join((led, *names[index + 1 :])), follow=follow, depth=depth + 1)
        return place

    def _join(self, path: str, folder: str, target: str, depth: int) -> str:
        if depth > _MAX_DEPTH:
            raise OSError(errno.ELOOP, f"'{path}' leads round in a circle of symlinks")
        outside = PermissionError(f"'{path}' leads out of the project through a symlink")
        place = folder
        if target.startswith("/"):
            if not target.startswith(f"{self.root}/"):
                raise outside
            place, target = ".", target[len(str(self.root)) :]
        for name in target.split("/"):
            if name == "..":
                place = self._resolve(place, follow=True, depth=depth + 1)
                if place == ".":
                    raise outside
                place = parent(place)
            elif name not in {"", "."}:
                place = _under(place, name)
        return project_path(place)

    def _shown_below(self, tree: Mapping[str, Content], path: str) -> list[str]:
        """What goes with a path: all below it that is listed, and no repository."""
        below = [one for one in _with_below(tree, path) if one == path or self._is_listed(one, path)]
        for one in below:
            if isinstance(self._base, Path) and is_repository(self._base / one):
                raise repository_stays(path, one)
        return [one for one in below if one == path or not self._is_husk(one, below)]

    def _is_husk(self, path: str, shown: list[str]) -> bool:
        """True for a folder of the base in which something is, but nothing that is shown."""
        if self._made.get(path) is not None or any(one.startswith(f"{path}/") for one in shown):
            return False
        if not isinstance(self._base, Path):
            return False
        deleted = {one for one, content in self._made.items() if content is None}
        names = (_under(path, name) for name, _ in project_disk.all_names(self.root, path))
        return any(name not in deleted for name in names)

    def _is_listed(self, path: str, folder: str) -> bool:
        if not isinstance(self._base, Path) or tree_walk.is_ignored(self.root, folder, folder=True):
            return True
        if any(one == path or one.startswith(f"{path}/") for one, content in self._made.items() if content is not None):
            return True
        return not tree_walk.is_ignored(self.root, path, folder=self._tree()[path].kind is EntryKind.DIRECTORY)

    def _differs(self, path: str, seen: Content | None, now: Content | None) -> bool:
        if seen is not None and seen.kind is EntryKind.DIRECTORY:
            return now is not None and now.kind is not EntryKind.DIRECTORY
        made = self._made.get(path)
        both_folders = _is_folder(now) and _is_folder(made)
        return now is not None and not both_folders if seen is None else seen != now


_FOLDER = Content(EntryKind.DIRECTORY, 0o755)
_MAX_DEPTH = 40


def _on_disk(root: Path) -> dict[str, Content]:
    found = {".": _FOLDER}
    for place, folders, files in os.walk(root):
        folder = Path(place).relative_to(root).as_posix()
        folders[:] = [name for name in folders if tree_walk.is_shown_name(name)]
        for name in (*folders, *files):
            path = _under(folder, name)
            entry = project_disk.read(root, path, limit=sys.maxsize) if tree_walk.is_shown_name(name) else None
            if entry is not None:
                found[path] = Content(entry[0].kind, entry[0].mode, entry[1])
    return found


def _put(tree: dict[str, Content], path: str, content: Content | None) -> None:
    """Sets one path of a whole tree: folders above appear, and only a folder leaves something below it."""
    if content is None or content.kind is not EntryKind.DIRECTORY:
        for one in _with_below(tree, path):
            del tree[one]
    if content is not None:
        for folder in _above(path):
            if not _is_folder(tree.get(folder)):
                tree[folder] = _FOLDER
        tree[path] = content


def _above(path: str) -> list[str]:
    folders = path.split("/")[:-1]
    return ["/".join(folders[: count + 1]) for count in range(len(folders))]


def _with_below(tree: Mapping[str, Content], path: str) -> list[str]:
    return [one for one in sorted(tree) if one == path or one.startswith(f"{path}/")]


def _files(tree: Mapping[str, Content]) -> dict[str, bytes]:
    return {path: content.data for path, content in tree.items() if content.kind is EntryKind.FILE}


def _is_folder(content: Content | None) -> bool:
    return content is not None and content.kind is EntryKind.DIRECTORY


def _under(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"

"""An overlay whose every look and change is judged first, by the path that is really meant: links are followed.

A function that takes many paths, or a link, is judged by what it does and not by what it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from cairn.changes import ChangeSet, EntryKind
from cairn.overlay import Entry, Overlay
from cairn.policy import Access, Doing


class JudgedOverlay:
    """Another overlay's content. `judge` raises for what may not be done; `hides` says what is left out of changes."""

    def __init__(self, overlay: Overlay, judge: Callable[[Access], None], hides: Callable[[str], bool]) -> None:
        self.root: Path = overlay.root
        self._overlay = overlay
        self._judge = judge
        self._hides = hides

    # ── looking ──

    def entry(self, path: str) -> Entry | None:
        """Judged as a look."""
        self._see(Doing.LOOK, path, follow=False)
        return self._overlay.entry(path)

    def read(self, path: str) -> bytes:
        """Judged by where the path leads."""
        self._see(Doing.READ, path)
        return self._overlay.read(path)

    def link_target(self, path: str) -> str:
        """Judged as a look."""
        self._see(Doing.LOOK, path, follow=False)
        return self._overlay.link_target(path)

    def leads_to(self, path: str, *, follow: bool = True) -> str:
        """Only for judging, so it is not judged."""
        return self._overlay.leads_to(path, follow=follow)

    def list_folder(self, path: str, *, include_ignored: bool = False) -> list[Entry]:
        """Judged by the folder."""
        self._see(Doing.LOOK, path)
        return self._overlay.list_folder(path, include_ignored=include_ignored)

    def walk(self, path: str = ".", *, include_ignored: bool = False) -> Iterator[str]:
        """Judged by the folder."""
        self._see(Doing.LOOK, path)
        return self._overlay.walk(path, include_ignored=include_ignored)

    def changes(self) -> ChangeSet:
        """Without those whose contents may not be read."""
        return ChangeSet(tuple(each for each in self._overlay.changes() if not any(map(self._hides, each.paths))))

    def shadowed(self) -> dict[str, bytes | None]:
        """Not judged: whoever searches leaves out what may not be read."""
        return self._overlay.shadowed()

    # ── changing ──

    def write(self, path: str, data: bytes, *, mode: int | None = None) -> None:
        """Judged by where the path leads."""
        self._see(Doing.WRITE, path)
        self._overlay.write(path, data, mode=mode)

    def make_link(self, path: str, target: str) -> None:
        """Judged by the link's own path."""
        self._see(Doing.WRITE, path, follow=False)
        self._overlay.make_link(path, target)

    def make_folder(self, path: str) -> None:
        """Judged by whether something below it may be changed."""
        self._judge(Access(Doing.WRITE, path, self._overlay.leads_to(path), folder=True))
        self._overlay.make_folder(path)

    def set_mode(self, path: str, mode: int) -> None:
        """Judged as any change."""
        self._see(Doing.WRITE, path)
        self._overlay.set_mode(path, mode)

    def delete(self, path: str) -> None:
        """Judged by every file that goes."""
        for access in self._tree(Doing.WRITE, path):
            self._judge(access)
        self._overlay.delete(path)

    def move(self, source: str, target: str) -> None:
        """Judged by every file that goes, which could be read at its new place, and every one that comes."""
        real = self._overlay.leads_to(target, follow=False)
        for access in self._tree(Doing.WRITE, source):
            self._judge(Access(Doing.READ, access.path, access.real, access.folder))
            self._judge(access)
            below = access.path.removeprefix(source)
            self._judge(Access(Doing.WRITE, f"{target}{below}", f"{real}{below}", access.folder))
        self._overlay.move(source, target)

    # ── the same ──

    def files_touched(self) -> int:
        """Not judged."""
        return self._overlay.files_touched()

    def bytes_written(self) -> int:
        """Not judged."""
        return self._overlay.bytes_written()

    def left_behind(self) -> tuple[str, ...]:
        """Not judged."""
        return self._overlay.left_behind()

    def stale(self) -> tuple[str, ...]:
        """Not judged."""
        return self._overlay.stale()

    def transaction(self) -> AbstractContextManager[None]:
        """Not judged."""
        return self._overlay.transaction()

    def close(self) -> None:
        """Ends the use of the task's storage."""
        self._overlay.close()

    def _see(self, doing: Doing, path: str, *, follow: bool = True) -> None:
        self._judge(Access(doing, path, self._overlay.leads_to(path, follow=follow)))

    def _tree(self, doing: Doing, path: str) -> Iterator[Access]:
        """What stands at a path, a link not followed, and all files below it."""
        real = self._overlay.leads_to(path, follow=False)
        there = self._overlay.entry(path)
        is_folder = there is not None and there.kind is EntryKind.DIRECTORY
        yield Access(doing, path, real, folder=is_folder)
        if is_folder and path != ".":  # the root itself cannot be changed
            for name in self._overlay.walk(path, include_ignored=True):
                below = name.removeprefix(path)
                yield Access(doing, name, f"{real}{below}")

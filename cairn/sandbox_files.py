"""Ordinary file code in a program (`open`, `pathlib`, `os`) reaches the task's overlay, through the same journaled
operations as the external functions.

The project is the program's working folder, `/project`. The sandbox resolves `..` before the host sees a path, so a
path that climbs out of the project arrives as one outside `/project`; those are refused, as are absolute paths.

A file opened for writing arrives as pieces, one a `write()`, and its closing is not announced. So the pieces are
gathered, and the file is written whole when something else could see it: a call of an external function, another
look at the same path, a rename or a listing, or the end of the program, also one that ends by an exception. A program
that is stopped by the host (a limit, a crash, a cancellation) leaves no half-written file.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from cairn.changes import EntryKind
from cairn.project_path import parent, project_path
from cairn.session_dump import KeptFile

if TYPE_CHECKING:
    from cairn.external_functions import ProgramFiles
    from cairn.overlay import Entry

ROOT = "/project"
GATHERED_BYTES = 32_000_000  # what open files may hold in the host's memory together before they are written
SCAN_ENTRIES = 100_000  # as many as the sandbox's own scans give


_HANDLED = frozenset(
    {
        *("open", "os.getenv", "os.environ", "Path.stat", "Path.resolve", "Path.absolute"),
        *("Path.read_text", "Path.read_bytes", "Path.write_text", "Path.write_bytes"),
        *("Path.append_text", "Path.append_bytes", "Path.exists", "Path.is_file", "Path.is_dir", "Path.is_symlink"),
        *("Path.iterdir", "Path.scan", "Path.mkdir", "Path.rmdir", "Path.unlink", "Path.rename"),
    }
)
_SEES_ONLY_ITS_PATH = frozenset(
    ("read_file", "write_file", "edit_file", "outline", "file_exists", "ask_llm", "ask_llm_many", "log")
)
"""External functions that look at no file but the one they are given, so that gathered files may wait."""


class NotHandled(Exception):
    """The call concerns nothing a task has, such as the system's randomness; the sandbox itself refuses it."""


@dataclass(slots=True)
class _Writing:
    """The content so far of a file that is open for writing, and whether the overlay has it yet."""

    content: bytearray = field(default_factory=bytearray)
    stored: bool = False


class SandboxFiles:
    """Answers the sandbox's file calls from one task's overlay. Errors are builtin ones that the program can catch."""

    def __init__(self, files: ProgramFiles, *, file_bytes: int) -> None:
        self._files = files
        self._file_bytes = file_bytes
        self._writing: dict[str, _Writing] = {}
        self._gathered = 0  # bytes in all of them

    def answer(self, name: str, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> object:
        """The result of one call. Raises NotHandled for what is no business of files."""
        if name not in _HANDLED:
            raise NotHandled(name)
        handler: Callable[..., object] = getattr(self, "_" + name.rpartition(".")[2])
        return handler(*arguments, **keywords)

    def before_call(self, name: str, arguments: Iterable[object]) -> None:
        """An external function is about to run: what it could see of the gathered files is written first."""
        if name not in _SEES_ONLY_ITS_PATH:
            self.store()
        elif self._writing:
            for each in arguments:
                if isinstance(each, str) and each.removeprefix("./") in self._writing:
                    self._store_one(each.removeprefix("./"))

    def store(self) -> None:
        """Everything gathered is written, so that whoever looks next sees it. Tries all, raises the first error."""
        errors: list[Exception] = []
        for path in list(self._writing):
            try:
                self._store_one(path)
            except (OSError, ValueError, RuntimeError) as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def forget(self) -> None:
        """What was gathered and not written is dropped: the program was stopped in the middle."""
        self._writing.clear()
        self._gathered = 0

    def gathered(self) -> tuple[KeptFile, ...]:
        """What is open for writing, for a program that goes on elsewhere."""
        return tuple(KeptFile(path, bytes(each.content), each.stored) for path, each in self._writing.items())

    def restore(self, files: Iterable[KeptFile]) -> None:
        """Goes on with what was gathered elsewhere."""
        self._writing = {file.path: _Writing(bytearray(file.content), file.stored) for file in files}
        self._gathered = sum(len(each.content) for each in self._writing.values())

    # ── opening, reading, writing ──

    def _open(self, path: object, mode: str = "r") -> object:
        from pydantic_monty import MontyFileHandle

        inside = _inside(path)
        if mode.startswith("r"):
            self._store_one(inside)
            if self._require(inside, "open").kind is EntryKind.DIRECTORY:
                raise IsADirectoryError(f"'{inside}' is a folder; os.listdir('{inside}') shows what is in it")
        else:
            self._start_writing(inside, keep=mode.startswith("a"))
            self._bound()
        return MontyFileHandle(f"{ROOT}/{inside}", mode)

    def _start_writing(self, path: str, *, keep: bool) -> None:
        gathered = self._writing.get(path)
        if gathered is not None and keep:
            return
        there = self._files.entry(path, as_name="open", to_write=True)
        if there is not None and there.kind is EntryKind.DIRECTORY:
            raise IsADirectoryError(f"'{path}' is a folder")
        old = b""
        if there is not None and (keep or there.kind is EntryKind.SYMLINK):
            old = self._files.read_bytes(path, as_name="open")  # a link that leads out of the project is refused here
        self._take(path)
        self._writing[path] = _Writing(bytearray(old if keep else b""), stored=keep and there is not None)
        self._gathered += len(self._writing[path].content)

    def _append(self, path: object, data: bytes) -> None:
        inside = _inside(path)
        if inside not in self._writing:  # written since it was opened, and seen by somebody
            self._start_writing(inside, keep=True)
        writing = self._writing[inside]
        if len(writing.content) + len(data) > self._file_bytes:
            raise ValueError(f"'{inside}' would be larger than {self._file_bytes:,} bytes; write less into one file")
        writing.content += data
        writing.stored = False
        self._gathered += len(data)
        self._bound()

    def _bound(self) -> None:
        if self._gathered > GATHERED_BYTES:
            self.store()

    def _append_text(self, path: object, text: str) -> int:
        self._append(path, text.encode())
        return len(text)

    def _append_bytes(self, path: object, data: bytes) -> int:
        self._append(path, data)
        return len(data)

    def _read_bytes(self, path: object, as_name: str = "Path.read_bytes") -> bytes:
        inside = _inside(path)
        self._store_one(inside)
        return self._files.read_bytes(inside, as_name=as_name)

    def _read_text(self, path: object) -> str:
        return self._read_bytes(path, "Path.read_text").decode()

    def _write_bytes(self, path: object, data: bytes, as_name: str = "Path.write_bytes") -> int:
        inside = _inside(path)
        self._take(inside)
        self._files.write_bytes(inside, data, as_name=as_name)
        return len(data)

    def _write_text(self, path: object, text: str) -> int:
        self._write_bytes(path, text.encode(), "Path.write_text")
        return len(text)

    def _store_one(self, path: str) -> None:
        writing = self._take(path)
        if writing is not None and not writing.stored:
            self._files.write_bytes(path, bytes(writing.content), as_name="open().write")

    def _take(self, path: str) -> _Writing | None:
        writing = self._writing.pop(path, None)
        self._gathered -= len(writing.content) if writing is not None else 0
        return writing

    # ── looking ──

    def _require(self, path: str, as_name: str = "Path.stat") -> Entry:
        there = self._files.entry(path, as_name=as_name)
        if there is None:
            raise FileNotFoundError(f"no file '{path}'; list_dir() and search_files() show what is there")
        return there

    def _kind(self, path: object, as_name: str = "Path.stat") -> EntryKind | None:
        """What stands there with links followed; None for nothing, and for a link that leads nowhere or outside."""
        inside = _inside(path)
        if inside in self._writing:
            return EntryKind.FILE
        there = self._files.entry(inside, as_name=as_name)
        if there is None or there.kind is not EntryKind.SYMLINK:
            return there.kind if there else None
        try:
            self._files.list_folder(inside)
        except NotADirectoryError:
            return self._linked_file(inside)
        except OSError:
            return None
        return EntryKind.DIRECTORY

    def _linked_file(self, path: str) -> EntryKind | None:
        try:
            self._files.read_bytes(path)
        except OSError:
            return None
        return EntryKind.FILE

    def _exists(self, path: object) -> bool:
        return self._kind(path, "Path.exists") is not None

    def _is_file(self, path: object) -> bool:
        return self._kind(path, "Path.is_file") is EntryKind.FILE

    def _is_dir(self, path: object) -> bool:
        return self._kind(path, "Path.is_dir") is EntryKind.DIRECTORY

    def _is_symlink(self, path: object) -> bool:
        there = self._files.entry(_inside(path), as_name="Path.is_symlink")
        return there is not None and there.kind is EntryKind.SYMLINK

    def _stat(self, path: object) -> object:
        from pydantic_monty import StatResult

        inside = _inside(path)
        self._store_one(inside)
        there = self._require(inside)
        kind = self._kind(inside) if there.kind is EntryKind.SYMLINK else there.kind
        if kind is EntryKind.DIRECTORY:
            return StatResult.dir_stat(there.mode, there.mtime)
        size = len(self._files.read_bytes(inside)) if there.kind is EntryKind.SYMLINK else there.size
        return StatResult.file_stat(size, there.mode, there.mtime)

    def _iterdir(self, path: object) -> list[PurePosixPath]:
        inside = _inside(path)
        self.store()
        return [PurePosixPath(ROOT, entry.path) for entry in self._files.list_folder(inside)]

    def _scan(self, path: object, *, max_depth: int | None = None, **_hints: object) -> list[Any]:
        """The folder itself and what is below it, for glob, walk and scandir; links to folders are not entered."""
        from pydantic_monty import ScanEntry

        inside = _inside(path)
        self.store()
        try:
            below = self._one_level(inside) if max_depth == 1 else self._all_levels(inside, max_depth)
            entries = [ScanEntry(*each) for each in islice(below, SCAN_ENTRIES + 1)]
        except NotADirectoryError:
            return [ScanEntry("", False, True, False)]
        if len(entries) > SCAN_ENTRIES:
            raise RuntimeError(f"more than {SCAN_ENTRIES:,} files; list a smaller folder, or use search_files(pattern)")
        return [ScanEntry("", True, False, False), *entries]

    def _one_level(self, path: str) -> Iterable[tuple[str, bool, bool, bool]]:
        for entry in self._files.list_folder(path, as_name="os.scandir"):
            link = entry.kind is EntryKind.SYMLINK
            kind = self._kind(PurePosixPath(ROOT, entry.path)) if link else entry.kind
            yield posixpath.basename(entry.path), kind is EntryKind.DIRECTORY, kind is EntryKind.FILE, link

    def _all_levels(self, path: str, max_depth: int | None) -> Iterable[tuple[str, bool, bool, bool]]:
        """Folders are known by what is in them, so a deep scan shows no empty folder."""
        start = 0 if path == "." else len(path) + 1
        folders: set[str] = set()
        below = self._files.walk(path, as_name="os.walk")
        if below == [path]:
            raise NotADirectoryError(path)
        for name in (whole[start:] for whole in below):
            above = [folder for folder in _folders_above(name) if folder not in folders]
            folders.update(above)
            for depth_name, is_folder in (*((folder, True) for folder in above), (name, False)):
                if max_depth is None or depth_name.count("/") < max_depth:
                    yield depth_name, is_folder, not is_folder, False

    # ── changing ──

    def _mkdir(self, path: object, *, parents: bool = False, exist_ok: bool = False) -> None:
        inside = _inside(path)
        self._store_one(inside)
        kind = self._kind(inside)
        if kind is not None:
            if exist_ok and kind is EntryKind.DIRECTORY:
                return
            raise FileExistsError(f"'{inside}' exists already")
        if not parents and self._kind(PurePosixPath(ROOT, parent(inside))) is None:
            raise FileNotFoundError(f"'{parent(inside)}' does not exist; use mkdir(parents=True) or os.makedirs()")
        self._files.make_folder(inside)

    def _unlink(self, path: object) -> None:
        inside = _inside(path)
        self._store_one(inside)
        if self._require(inside).kind is EntryKind.DIRECTORY:
            raise IsADirectoryError(f"'{inside}' is a folder; delete_file('{inside}') removes it with what is in it")
        self._files.delete(inside)

    def _rmdir(self, path: object) -> None:
        inside = _inside(path)
        self.store()
        if self._files.list_folder(inside, as_name="Path.rmdir"):
            raise OSError(
                f"the folder '{inside}' is not empty; delete_file('{inside}') removes it with all that is in it"
            )
        self._files.delete(inside)

    def _rename(self, path: object, target: object) -> None:
        """As on Linux a file at the target is replaced; its mode and history stay."""
        old, new = _inside(path), _inside(target)
        self.store()
        source, there = self._require(old), self._files.entry(new)
        if there is None:
            self._files.move(old, new)
        elif EntryKind.DIRECTORY in {source.kind, there.kind}:
            raise FileExistsError(f"'{new}' exists already; delete it first")
        elif old != new:
            self._files.write_bytes(new, self._files.read_bytes(old, as_name="os.replace"), as_name="os.replace")
            self._files.delete(old, as_name="os.replace")

    # ── names and surroundings ──

    def _absolute(self, path: object) -> str:
        inside = _inside(path)
        return ROOT if inside == "." else f"{ROOT}/{inside}"

    _resolve = _absolute

    def _getenv(self, _name: str, default: object = None) -> object:
        return default

    def _environ(self) -> dict[str, str]:
        return {}


def _inside(path: object) -> str:
    """The project path that a program's path means. PermissionError for what is outside the project."""
    text = str(getattr(path, "path", path))
    if text == ROOT:
        return "."
    if text.startswith("/"):
        if not text.startswith(f"{ROOT}/"):
            inner = text.strip("/") or "."
            raise PermissionError(f"'{text}' is outside the project; paths are relative to it, like '{inner}'")
        text = text[len(ROOT) + 1 :]
    return project_path(text)


def _folders_above(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]

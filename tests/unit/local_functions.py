"""A small pack of functions over a dict of files, for tests of the executor: real calls, no journal, no overlay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from cairn.changes import EntryKind
from cairn.overlay import Entry
from cairn.program import Submission

STUBS = """
from typing import Any
def read_file(path: str, start_line: int | None = None) -> str: ...
def write_file(path: str, content: str) -> None: ...
def search_content(pattern: str) -> list[dict[str, Any]]: ...
def submit_result(summary: str, changed_files: list[str]) -> None: ...
def ask_llm(prompt: str) -> str: ...
def pause(seconds: float) -> str: ...
def linger(seconds: float) -> str: ...
def fail(kind: str) -> str: ...
def give(kind: Any) -> Any: ...
"""


class DictFiles:
    """The file operations of a task, kept in a dict of bytes; `made` records each one that changes something."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.folders: set[str] = set()
        self.made: list[tuple[str, ...]] = []

    def read_bytes(self, path: str, *, as_name: str = "") -> bytes:
        if path not in self.files:
            raise FileNotFoundError(f"'{path}' does not exist")
        return self.files[path]

    def write_bytes(self, path: str, data: bytes, *, as_name: str = "") -> None:
        self.made.append(("write", path))
        self.files[path] = data

    def entry(self, path: str, *, as_name: str = "", to_write: bool = False) -> Entry | None:
        if path in self.files:
            return Entry(path, EntryKind.FILE, 0o644, len(self.files[path]), 1.0)
        if path == "." or path in self.folders or any(name.startswith(f"{path}/") for name in self.files):
            return Entry(path, EntryKind.DIRECTORY, 0o755, 0, 1.0)
        return None

    def list_folder(self, path: str, *, as_name: str = "") -> list[Entry]:
        start = "" if path == "." else f"{path}/"
        below = {name[len(start) :].split("/")[0] for name in {*self.files, *self.folders} if name.startswith(start)}
        return [entry for name in sorted(below) if (entry := self.entry(start + name))]

    def make_folder(self, path: str, *, as_name: str = "") -> None:
        self.made.append(("folder", path))
        self.folders.add(path)

    def delete(self, path: str, *, as_name: str = "") -> None:
        self.made.append(("delete", path))
        self.folders.discard(path)
        self.files = {
            name: data for name, data in self.files.items() if name != path and not name.startswith(f"{path}/")
        }

    def move(self, source: str, target: str, *, as_name: str = "") -> None:
        self.made.append(("move", source, target))
        self.files[target] = self.files.pop(source)

    def walk(self, path: str, *, as_name: str = "") -> list[str]:
        return sorted(name for name in self.files if path == "." or name.startswith(f"{path}/"))


class LocalFunctions:
    """Enough to drive every path of the executor; `called` has each call in order."""

    stubs = STUBS
    names = frozenset(
        ("read_file", "write_file", "search_content", "submit_result", "ask_llm", "pause", "linger", "fail", "give")
    )

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = DictFiles(files if files is not None else {"a.txt": b"one\ntwo\n", "src/app.py": b"x = 1\n"})
        self.submission: Submission | None = None
        self.called: list[tuple[str, tuple[Any, ...]]] = []
        self.failures: dict[str, BaseException] = {}
        self.gifts: dict[str, object] = {}
        self.cancelled: list[str] = []
        self.started = asyncio.Event()

    def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        self.called.append((name, (*args, *kwargs.values())))
        answer: Callable[..., object] = getattr(self, f"_{name}")
        return answer(*args, **kwargs)

    def _read_file(self, path: str, start_line: int | None = None) -> str:
        return self.files.read_bytes(path).decode()

    def _write_file(self, path: str, content: str) -> None:
        self.files.write_bytes(path, content.encode())

    def _search_content(self, pattern: str) -> list[dict[str, Any]]:
        return [{"file": name, "line": 1} for name, data in self.files.files.items() if pattern.encode() in data]

    def _submit_result(self, summary: str, changed_files: list[str]) -> None:
        self.submission = Submission(summary, tuple(changed_files))

    async def _ask_llm(self, prompt: str) -> str:
        await asyncio.sleep(0)
        return f"answer to {prompt}"

    async def _pause(self, seconds: float) -> str:
        self.started.set()
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled.append("pause")
            raise
        return "rested"

    def _linger(self, seconds: float) -> str:
        time.sleep(seconds)  # blocks the driving thread, as a long search does
        return "lingered"

    def _fail(self, kind: str) -> str:
        raise self.failures[kind]

    def _give(self, kind: str) -> object:
        return self.gifts[kind]

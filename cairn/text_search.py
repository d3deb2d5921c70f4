"""Regex search over the files as a task sees them: ripgrep on the disk, and again on what the task changed.

Run as a script by an isolated interpreter, this file is also the engine where there is no `rg`; so it imports nothing
but the standard library.
"""

from __future__ import annotations

import base64
import codecs
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from cairn.overlay import Overlay

PATTERN_CHARS = 10_000
LINE_CHARS = 1_000
SHOWN_CHARS = 100  # of a pattern in an error
ARGUMENT_BYTES = 25_000 if sys.platform == "win32" else 400_000  # file names handed to one process


@dataclass(frozen=True, slots=True)
class Hit:
    """One matching line, without its line end; `line` counts from 1. Of a long line the first 1,000 characters."""

    file: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """More hits or characters than this are an error, never a silent cut; larger files are skipped."""

    hits: int = 10_000
    characters: int = 1_000_000
    seconds: float = 8.0
    file_bytes: int = 10_000_000


def search(
    overlay: Overlay,
    pattern: str,
    path: str = ".",
    *,
    include_ignored: bool = False,
    limits: SearchLimits | None = None,
    engine: Sequence[str] | None = None,
) -> list[Hit]:
    """Every matching line, sorted by file and line. Binary files and symlinks are skipped, hidden files are not.

    `path` is a folder or a file; a file named that way is searched even if it is ignored. Raises ValueError for a
    pattern that does not compile and for more hits than `limits` allows, FileNotFoundError, and TimeoutError.
    """
    limits = limits or SearchLimits()
    _require_line_pattern(pattern)
    run = _Run(tuple(engine or _engine()), pattern, limits)
    on_disk, changed = _places(overlay, path, limits, include_ignored=include_ignored)
    hits = _really_inside(overlay.root, run.over(overlay.root, on_disk), limits)
    if changed:
        with tempfile.TemporaryDirectory(prefix="cairn-search-") as folder:
            _lay_out(Path(folder), changed)
            hits += run.over(Path(folder), list(changed))
    run.require_room(hits)
    return sorted(hits, key=lambda hit: (hit.file, hit.line))


def _require_line_pattern(pattern: str) -> None:
    if not pattern:
        raise ValueError("the pattern is empty, so it would match every line")
    if len(pattern) > PATTERN_CHARS:
        raise ValueError(f"the pattern is longer than {PATTERN_CHARS:,} characters; search for a part of it")
    if "\0" in pattern:
        raise ValueError("the pattern contains a NUL character")
    outside_classes = re.sub(r"\[\^(?:\\.|[^\]\\])*\]", "", pattern)
    if "\n" in pattern or re.search(r"(?<!\\)(?:\\\\)*\\n", outside_classes):
        raise ValueError(
            "the search goes line by line, so a pattern cannot contain a line end; search for one line of it"
        )


def _places(
    overlay: Overlay, path: str, limits: SearchLimits, *, include_ignored: bool
) -> tuple[list[str], dict[str, bytes]]:
    """The files to search on the disk, and those whose content for the task is another, with that content."""
    entry = overlay.entry(path)
    if entry is None:
        raise FileNotFoundError(f"there is no file or folder '{path}'")
    if entry.kind == "symlink":
        return [], {path: overlay.read(path)}
    names = overlay.walk(path, include_ignored=include_ignored) if entry.kind == "directory" else [path]
    shadowed = overlay.shadowed()
    on_disk: list[str] = []
    changed: dict[str, bytes] = {}
    for name in names:
        if name not in shadowed:
            if _is_searchable(f"{overlay.root}/{name}", limits):
                on_disk.append(name)
        elif (data := shadowed[name]) is not None and _is_file(overlay, name) and len(data) <= limits.file_bytes:
            changed[name] = data
    return on_disk, changed


def _really_inside(root: Path, hits: Sequence[Hit], limits: SearchLimits) -> list[Hit]:
    """The hits whose line a file of the project has: the engine follows a folder that meanwhile became a link."""
    from cairn import project_disk  # not at the top: as a script this file has only the standard library

    found: list[Hit] = []
    for name, of_file in groupby(hits, key=attrgetter("file")):
        try:
            read = project_disk.read(root, name, limit=limits.file_bytes)
        except (OSError, ValueError):
            continue
        if read is not None and read[0].kind == "file":
            lines = _lines(read[1])
            found += [
                hit for hit in of_file if hit.line <= len(lines) and _shown(_decoded(lines[hit.line - 1])) == hit.text
            ]
    return found


def _lines(data: bytes) -> list[bytes]:
    """As ripgrep counts them; text in UTF-16 is searched as if it were UTF-8."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data.decode("utf-16", "replace").encode()
    return data.removeprefix(codecs.BOM_UTF8).split(b"\n")


def _decoded(line: bytes) -> str:
    return line.decode("utf-8", "replace")


def _is_file(overlay: Overlay, name: str) -> bool:
    entry = overlay.entry(name)
    return entry is not None and entry.kind == "file"


def _is_searchable(file: str, limits: SearchLimits) -> bool:
    """Links are not followed: one may lead outside, and a target inside is found under its own name."""
    try:
        found = os.lstat(file)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size <= limits.file_bytes


def _lay_out(folder: Path, contents: Mapping[str, bytes]) -> None:
    for name, data in contents.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


@cache
def ripgrep() -> str | None:
    """The path of `rg`: the one beside this interpreter, else the one on PATH; None where there is none."""
    places = (Path(sys.executable).parent, Path(sysconfig.get_path("scripts")))
    return next((rg for place in places if (rg := shutil.which("rg", path=str(place)))), None) or shutil.which("rg")


PYTHON_ENGINE = (sys.executable, "-I", __file__)


def _engine() -> tuple[str, ...]:
    """The command that searches, without pattern and names."""
    found = ripgrep()
    if found is None:
        return PYTHON_ENGINE
    # auto: Rust's regex, and PCRE2 for what only that has, such as look-behind and back-references.
    # A pattern that needs more room than this would take half a gigabyte and its eight seconds.
    bounds = ["--regex-size-limit=20M"]
    shown = ["--no-config", "--no-ignore", "--hidden", "--no-messages"]
    return (found, "--json", *shown, "--engine=auto", "--crlf", *bounds)


_NARROWER = "make the pattern more exact, or give a folder or file as path"


@dataclass(frozen=True, slots=True)
class _Run:
    """One pattern, asked of one engine."""

    command: tuple[str, ...]
    pattern: str
    limits: SearchLimits

    def over(self, folder: Path, names: Sequence[str]) -> list[Hit]:
        hits: list[Hit] = []
        for portion in _portions(names):
            hits += self._portion(folder, portion)
            self.require_count(hits)
        return hits

    def require_room(self, hits: Sequence[Hit]) -> None:
        self.require_count(hits)
        if sum(len(hit.text) for hit in hits) > self.limits.characters:
            raise ValueError(f"the matching lines have over {self.limits.characters:,} characters; {_NARROWER}")

    def require_count(self, hits: Sequence[Hit]) -> None:
        if len(hits) > self.limits.hits:
            raise ValueError(f"more than {self.limits.hits:,} lines match; {_NARROWER}")

    def _portion(self, folder: Path, names: Sequence[str]) -> list[Hit]:
        with tempfile.TemporaryFile() as errors, self._started(folder, names, errors) as (output, expired):
            hits = self._hits(output)
            if expired.is_set():
                raise TimeoutError(f"the search took longer than {self.limits.seconds:g} s; {_NARROWER}")
            if hits is None:
                errors.seek(0)
                raise ValueError(_what_is_wrong(self.pattern, errors.read().decode(errors="replace")))
            return hits

    @contextmanager
    def _started(
        self, folder: Path, names: Sequence[str], errors: IO[bytes]
    ) -> Iterator[tuple[IO[bytes], threading.Event]]:
        """The engine's output, and a flag that says whether it was killed at the deadline."""
        expired = threading.Event()
        process = subprocess.Popen(
            [*self.command, "--regexp", self.pattern, "--", *names],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        )

        def expire() -> None:
            expired.set()
            process.kill()

        timer = threading.Timer(self.limits.seconds, expire)
        timer.start()
        try:
            yield cast("IO[bytes]", process.stdout), expired
        finally:
            timer.cancel()
            process.kill()
            process.communicate()

    def _hits(self, output: IO[bytes]) -> list[Hit] | None:
        """The hits of all files that are text; None when the engine did not get to its summary."""
        hits: list[Hit] = []
        of_file: list[Hit] = []
        for line in output:
            if not line.endswith(b"\n"):
                return None  # killed in the middle of a line
            event = json.loads(line)
            kind, data = event["type"], event["data"]
            if kind == "match" and len(of_file) <= self.limits.hits:
                of_file.append(Hit(_text(data["path"]), data["line_number"], _shown(_text(data["lines"]))))
            elif kind == "end":
                hits += of_file if data["binary_offset"] is None else []
                of_file = []
                self.require_count(hits)
            elif kind == "summary":
                return hits
        return None


def _portions(names: Sequence[str]) -> Iterator[list[str]]:
    """Names in groups that fit a command line; one group at least, so that the pattern is always judged."""
    portion: list[str] = []
    size = 0
    for name in names:
        size += len(name.encode()) + 9  # the pointer and the end mark that each argument costs
        if size > ARGUMENT_BYTES and portion:
            yield portion
            portion, size = [], len(name.encode()) + 9
        portion.append(name)
    yield portion or [os.devnull]


def _text(value: Mapping[str, str]) -> str:
    """What is not UTF-8 comes as base64."""
    if "text" in value:
        return value["text"]
    return base64.b64decode(value["bytes"]).decode(errors="replace")


def _shown(line: str) -> str:
    line = line.removesuffix("\n").removesuffix("\r")
    return line if len(line) <= LINE_CHARS else line[:LINE_CHARS] + "…"


def _what_is_wrong(pattern: str, message: str) -> str:
    reasons = [reason for line in message.splitlines() if (reason := _reason(line))]
    why = "; ".join(dict.fromkeys(reasons)) or message.strip()[-300:] or "the search engine gave no answer"
    shown = pattern if len(pattern) <= SHOWN_CHARS else pattern[:SHOWN_CHARS] + "…"
    escapes = "put a backslash before ( ) [ ] { } . * + ? | ^ $ that stand for themselves"
    return f"the pattern {shown!r} does not compile: {why}; {escapes}"


def _reason(line: str) -> str:
    found = re.match(r"(?:error|PCRE2|re): (.*)", line) or re.match(r"(compiled regex exceeds size limit.*)", line)
    return re.sub(r"^error compiling pattern ", "", found[1]) if found else ""


# ── the engine where there is no rg ──


def _search_by_python(arguments: Sequence[str]) -> int:
    """Takes what `rg` is given and writes what `rg --json` would, as far as `_Run` reads it."""
    _flag, pattern, _end, *names = arguments
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        sys.stderr.write(f"re: {error}\n")
        return 2
    for name in names:
        for event in _events(compiled, name):
            sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.write(json.dumps({"type": "summary", "data": {}}) + "\n")
    return 0


def _events(compiled: re.Pattern[str], name: str) -> Iterator[dict[str, object]]:
    try:
        data = Path(name).read_bytes()
    except OSError:
        return
    if b"\0" in data:
        return
    text = data.decode("utf-8-sig", "replace")
    for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
        if text and compiled.search(line.removesuffix("\r")):
            yield {"type": "match", "data": {"path": {"text": name}, "lines": {"text": line}, "line_number": number}}
    yield {"type": "end", "data": {"path": {"text": name}, "binary_offset": None}}


if __name__ == "__main__":
    sys.exit(_search_by_python(sys.argv[1:]))

"""What a runtime and its host on another machine say to each other: numbered frames, a line of JSON and bytes after it.

Only the standard library and plain values of Cairn's are used here: both sides read this file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import IO

from cairn.changes import Content, EntryKind
from cairn.runtime import Layer

GREETING = b"cairn-runtime-1\n"
PART = 1 << 20
TOO_LARGE = "too large"  # an answer to CONTENT, with the size
_LINE = 64 << 20
_DATA = 64 << 20


class Kind(StrEnum):
    """What a frame asks for, and how it is answered."""

    HAS = "has"  # (digest) -> (whether the host has these files)
    PART = "part"  # more of an archive; no answer
    BASE = "base"  # (digest) -> (); the parts are whole
    LAYER = "layer"  # (digest, paths and entries) with the contents -> (sandbox, layer)
    EXECUTE = "execute"  # (command, timeout) -> (result, sandbox, layer)
    CANCEL = "cancel"  # ends the request of the same number
    WRITTEN = "written"  # () -> (paths)
    CONTENT = "content"  # (path) -> (entry or nothing) with the content
    DONE = "done"
    FAILED = "failed"  # (what, why, fix lines ...)
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Frame:
    """One of them; `about` numbers the request that it is, or that it answers. `told` holds values of JSON."""

    kind: Kind
    about: int
    told: tuple[object, ...] = ()
    data: bytes = b""

    def written(self) -> bytes:
        """As it is sent."""
        return json.dumps([self.kind, self.about, self.told, len(self.data)]).encode() + b"\n" + self.data


def read_frame(stream: IO[bytes]) -> Frame | None:
    """The next one; None at the end of the stream, ValueError for what is no frame."""
    line = stream.readline(_LINE)
    if not line.endswith(b"\n"):
        return None
    kind, about, told, size = json.loads(line)
    if not 0 <= size <= _DATA:
        raise ValueError(f"a frame of {size} bytes")
    data = stream.read(size)
    return Frame(Kind(kind), int(about), tuple(told), data) if len(data) == size else None


# ── files in frames ──


def entry_of(content: Content | None) -> list[object] | None:
    """What a frame says of a path, but its bytes."""
    return None if content is None else [str(content.kind), content.mode, len(content.data)]


def content_from(entry: object, data: bytes) -> Content | None:
    """The other way round."""
    if not isinstance(entry, list):
        return None
    kind, mode, _ = entry
    return Content(EntryKind(kind), int(mode), data)


def layer_entries(layer: Layer) -> tuple[list[object], bytes]:
    """Paths with their entries, and all contents one after the other."""
    entries: list[object] = [[path, entry_of(content)] for path, content in layer.files.items()]
    return entries, b"".join(content.data for content in layer.files.values() if content is not None)


def layer_from(entries: object, data: bytes) -> Layer:
    """The other way round."""
    return Layer(dict(_contents(entries, data)))


def _contents(entries: object, data: bytes) -> Iterator[tuple[str, Content | None]]:
    at = 0
    for path, entry in entries if isinstance(entries, list) else ():
        size = int(entry[2]) if entry else 0
        yield str(path), content_from(entry, data[at : at + size])
        at += size

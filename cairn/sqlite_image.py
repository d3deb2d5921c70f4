"""What a SQLite database holds at one moment, read without SQLite: nothing is written, locked or made beside it.

For a disk that is full, or that may not be written: SQLite itself needs a file for shared memory there, even to read.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LOG = "-wal"
_ATTEMPTS = 5
_CHUNK = 1 << 20
_MAGIC = 0x377F0682  # the lowest bit says in which order the checksums read their words
_HEADER = struct.Struct(">8I")  # magic, format, page bytes, checkpoints, two salts, two checksums
_FRAME = struct.Struct(">6I")  # page, pages after a commit or 0, two salts, two checksums
_ONE_FILE = b"\x01\x01"  # at byte 18: no log, which a database in memory has not got
_LOGGED = b"\x02\x02"


def image_of(path: Path) -> bytes | None:
    """All that was committed, as a database that can be opened in memory. Raises OSError.

    None where that cannot be told: it is changed all the time, or an interrupted change has to be taken back first.
    """
    for _ in range(_ATTEMPTS):
        database, log = path.read_bytes(), _content(_beside(path))
        # Both are the same afterwards, so they were at the moment between: a log is emptied only after what is in it
        # came into the database, and then begins with other salts.
        if _is(path, database) and _is(_beside(path), log):
            break
    else:
        return None
    if database[18:20] != _LOGGED and _content(path.with_name(path.name + "-journal")):
        return None
    image = with_log(database, log)
    image[18:20] = _ONE_FILE
    return bytes(image)


def with_log(database: bytes, log: bytes) -> bytearray:
    """The database with each page as the last commit in its write-ahead log has it (sqlite.org/fileformat2.html)."""
    image = bytearray(database)
    changes: list[_Page] = []
    for page in _pages(log):
        changes.append(page)
        if not page.commits:
            continue
        size = page.commits * len(page.data)
        del image[size:]
        image.extend(bytes(size - len(image)))
        for each in changes:
            place = (each.number - 1) * len(each.data)
            if place < size:
                image[place : place + len(each.data)] = each.data
        changes.clear()
    return image


@dataclass(frozen=True, slots=True)
class _Page:
    """One page in a log. `commits`: how many pages the database has from here on, 0 within a transaction."""

    number: int
    commits: int
    data: bytes


def _pages(log: bytes) -> Iterator[_Page]:
    """Those that are whole and of the log's present round, in order."""
    if len(log) < _HEADER.size:
        return
    magic, _, size, _, *rest = _HEADER.unpack_from(log)
    salts, sums = rest[:2], (rest[2], rest[3])
    order = ">" if magic & 1 else "<"
    if magic & ~1 != _MAGIC or _checksum(log[:24], (0, 0), order) != sums:
        return
    for place in range(_HEADER.size, len(log) - _FRAME.size - size + 1, _FRAME.size + size):
        number, commits, *rest = _FRAME.unpack_from(log, place)
        data = log[place + _FRAME.size : place + _FRAME.size + size]
        sums = _checksum(log[place : place + 8] + data, sums, order)
        if rest != [*salts, *sums] or number == 0:
            return
        yield _Page(number, commits, data)


def _checksum(data: bytes, before: tuple[int, int], order: str) -> tuple[int, int]:
    first, second = before
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for at in range(0, len(words), 2):
        first = (first + words[at] + second) & 0xFFFFFFFF
        second = (second + words[at + 1] + first) & 0xFFFFFFFF
    return first, second


def _beside(path: Path) -> Path:
    return path.with_name(path.name + LOG)


def _content(path: Path) -> bytes:
    """Nothing where there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _is(path: Path, content: bytes) -> bool:
    """Read again, in pieces: a large file is not held twice."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != len(content):
                return False
            digest = hashlib.blake2b()
            while piece := file.read(_CHUNK):
                digest.update(piece)
    except FileNotFoundError:
        return not content
    return digest.digest() == hashlib.blake2b(content).digest()

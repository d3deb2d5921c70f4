"""Contents in little room: deflated (RFC 1951 in RFC 1950's wrapping), or as what makes them out of another content."""

from __future__ import annotations

import zlib

LARGEST = 65_536  # bytes; beyond this, time is worth more than room
SMALLEST = 64
_LEVEL = 1  # higher ones take twice the time for a twentieth less


def packed(data: bytes, like: bytes = b"") -> bytes | None:
    """A shorter form from which `unpacked` makes the same bytes with the same `like`; None where it is not worth it."""
    if not SMALLEST <= len(data) <= LARGEST or len(like) > LARGEST:
        return None
    deflating = zlib.compressobj(_LEVEL, zdict=like) if like else zlib.compressobj(_LEVEL)
    short = deflating.compress(data) + deflating.flush()
    return short if len(short) < len(data) else None


def unpacked(short: bytes, size: int, like: bytes = b"") -> bytes:
    """The reverse of `packed`, of `size` bytes. ValueError for anything that did not come from it."""
    try:
        inflating = zlib.decompressobj(zdict=like) if like else zlib.decompressobj()
        data = inflating.decompress(short, size + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(data) != size or not inflating.eof:
        raise ValueError(f"it makes {len(data)} bytes, not {size}")
    return data

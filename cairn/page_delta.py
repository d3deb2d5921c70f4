"""What changed from one image of a database to its next, page by page, in little room."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

LARGEST = 2**31  # bytes of an image
_FAST = 1  # zlib's level: the higher ones take twice the time for a twentieth less
_STRIDE = 65_536  # bytes compared at once; of equal ones that is all the work
_HEADER = struct.Struct(">IQI")  # bytes of a page, bytes of the new image, how many pages follow
_PAGE_SIZE = struct.Struct(">H")


def packed_image(image: bytes) -> bytes:
    """A whole image, in a form for `restored`."""
    return zlib.compress(image, _FAST)


def page_delta(old: bytes, new: bytes) -> bytes:
    """What `restored` makes the new image of, after the old one: the pages that differ."""
    page = _page_bytes(new)
    places = [
        place
        for start in range(0, len(new), _STRIDE)
        if old[start : start + _STRIDE] != new[start : start + _STRIDE]
        for place in range(start, min(start + _STRIDE, len(new)), page)
        if old[place : place + page] != new[place : place + page]
    ]
    numbers = struct.pack(f">{len(places)}I", *(place // page for place in places))
    pages = b"".join(new[place : place + page] for place in places)
    return zlib.compress(_HEADER.pack(page, len(new), len(places)) + numbers + pages, _FAST)


def restored(packed: bytes, deltas: Iterable[bytes]) -> bytes:
    """The image that was packed, with the deltas that were made since. ValueError for what does not fit together."""
    image = bytearray(_inflated(packed))
    for delta in deltas:
        _patch(image, _inflated(delta))
    return bytes(image)


def _patch(image: bytearray, delta: bytes) -> None:
    try:
        page, size, count = _HEADER.unpack_from(delta)
        numbers = struct.unpack_from(f">{count}I", delta, _HEADER.size)
    except struct.error as error:
        raise ValueError(f"it is no delta: {error}") from None
    start = _HEADER.size + 4 * count
    if size > LARGEST or not page or len(delta) != start + page * count:
        raise ValueError("it is no delta: its parts do not fit together")
    del image[size:]
    image.extend(bytes(size - len(image)))
    for index, number in enumerate(numbers):
        place = number * page
        if place + page > size:
            raise ValueError(f"it has a page {number}, which is not in the image")
        image[place : place + page] = delta[start + index * page : start + (index + 1) * page]


def _page_bytes(image: bytes) -> int:
    """As the header of an SQLite database says it (file format, 1.3.2): 1 stands for 65,536."""
    (size,) = _PAGE_SIZE.unpack_from(image, 16)
    return 65_536 if size == 1 else int(size)


def _inflated(data: bytes) -> bytes:
    try:
        inflating = zlib.decompressobj()
        plain = inflating.decompress(data, LARGEST)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not inflating.eof:
        raise ValueError("it is cut off, or larger than a task's file may be")
    return plain

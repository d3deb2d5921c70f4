"""Packed contents: the same bytes come back, and nothing else passes for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.packed_bytes import LARGEST, packed, unpacked

TEXT = b"".join(b"%x\n" % (number**9 % 10**15 + number) for number in range(300))


@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(1, 40))
def test_the_same_bytes_come_back(data, like, times):
    data = data * times
    short = packed(data, like)

    assert short is None or (len(short) < len(data) and unpacked(short, len(data), like) == data)


def test_a_small_change_of_a_text_takes_next_to_nothing():
    changed = TEXT.replace(b"\n", b"another\n", 1)

    assert len(packed(changed, TEXT) or changed) * 10 < len(packed(changed) or changed)


@pytest.mark.parametrize(
    "data", [b"", b"short", bytes(LARGEST + 1), bytes(range(256))], ids=["empty", "short", "large", "random"]
)
def test_what_would_not_be_shorter_or_soon_done_stays_as_it_is(data):
    assert packed(data) is None


def test_anything_else_is_refused():
    short = packed(TEXT, b"like") or b""

    for wrong, size, like in (
        (short, len(TEXT) - 1, b"like"),
        (short, len(TEXT) + 1, b"like"),
        (short, len(TEXT), b"unlike"),
        (short, len(TEXT), b""),
        (short[:-1], len(TEXT), b"like"),
        (b"x" + short, len(TEXT), b"like"),
    ):
        with pytest.raises(ValueError, match=r"."):
            unpacked(wrong, size, like)

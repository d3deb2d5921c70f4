"""Images of real databases, packed and restored by what changed."""

from __future__ import annotations

import sqlite3
import struct
import zlib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cairn.page_delta import packed_image, page_delta, restored

PAGES = st.sampled_from([512, 1024, 4096, 65_536])
STATEMENTS = st.lists(
    st.one_of(
        st.tuples(st.just("INSERT INTO data VALUES (?1, zeroblob(?2))"), st.integers(0, 50), st.integers(0, 90_000)),
        st.tuples(st.just("DELETE FROM data WHERE n % ?1 = ?2"), st.integers(1, 9), st.integers(0, 1)),
        st.tuples(
            st.just("UPDATE data SET bytes = randomblob(?2) WHERE n = ?1"), st.integers(0, 50), st.integers(1, 9)
        ),
    ),
    max_size=12,
)


def images(page, statements):
    """The database after each statement, vacuumed in the middle so that it shrinks too."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute(f"PRAGMA page_size = {page}")
    connection.execute("CREATE TABLE data (n, bytes)")
    yield connection.serialize()
    for number, (statement, *values) in enumerate(statements):
        connection.execute(statement, values)
        if number % 5 == 4:
            connection.execute("VACUUM")
        yield connection.serialize()
    connection.close()


@settings(deadline=None, max_examples=60)
@given(PAGES, STATEMENTS)
def test_a_whole_and_its_deltas_make_every_image_again(page, statements):
    first, *later = images(page, statements)
    whole, deltas = packed_image(first), []
    assert restored(whole, []) == first
    old = first
    for image in later:
        deltas.append(page_delta(old, image))
        assert restored(whole, deltas) == image
        old = image


def test_a_small_change_of_a_large_file_is_small():
    connection = sqlite3.connect(":memory:")
    connection.executescript("PRAGMA page_size = 1024; CREATE TABLE data (bytes)")
    connection.execute("INSERT INTO data VALUES (randomblob(5000000))")
    old = connection.serialize()
    connection.execute("INSERT INTO data VALUES ('one more')")
    new = connection.serialize()

    assert len(page_delta(old, new)) < 3000 < len(old) // 1000
    connection.close()


@settings(deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_bytes_of_anybody_make_an_image_or_a_value_error(whole, delta):
    for packed, deltas in ((whole, []), (packed_image(b"x" * 2000), [delta]), (packed_image(whole), [])):
        with suppress(ValueError):
            assert isinstance(restored(packed, deltas), bytes)


@pytest.mark.parametrize("cut", [0, 1, 10, -1])
def test_what_was_cut_off_is_told(cut):
    old, new = list(images(1024, [("INSERT INTO data VALUES (?1, randomblob(?2))", 1, 9000)]))
    delta = page_delta(old, new)

    with pytest.raises(ValueError, match=r"cut off|incomplete"):
        restored(packed_image(old)[:cut], [])
    with pytest.raises(ValueError, match=r"cut off|incomplete"):
        restored(packed_image(old), [delta[:cut]])


def test_a_delta_of_another_image_is_refused():
    """Its pages lie where that one has none."""
    *_, new = images(1024, [("INSERT INTO data VALUES (?1, randomblob(?2))", 1, 90_000)])
    header = struct.pack(">IQI", 1024, 2048, 1)
    beyond = zlib.compress(header + struct.pack(">I", 2) + new[:1024])
    short = zlib.compress(header + struct.pack(">I", 1) + new[:1000])
    with pytest.raises(ValueError, match="not in the image"):
        restored(packed_image(new), [beyond])
    with pytest.raises(ValueError, match="do not fit"):
        restored(packed_image(new), [short])

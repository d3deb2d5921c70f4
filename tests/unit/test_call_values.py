from __future__ import annotations

import hashlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.call_values import TAG, arguments_text, pack, result_text, shortened, shortened_arguments, unpack


class Blobs:
    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self.kept[digest] = data
        return digest


_plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
_keys = st.text() | st.integers() | st.just(TAG) | st.tuples(st.text(), st.integers())
_values = st.recursive(
    _plain,
    lambda inner: st.lists(inner) | st.dictionaries(_keys, inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(_values)
def test_every_value_that_can_cross_comes_back_equal_and_of_the_same_type(value: object) -> None:
    blobs = Blobs()

    back = unpack(pack(value, blobs.put), blobs.kept.__getitem__)

    assert (back, repr(back)) == (value, repr(value))


def test_a_long_text_is_kept_once_as_the_bytes_of_the_file_it_may_come_from() -> None:
    blobs = Blobs()
    content = "é" * 2_000

    packed = pack({"path": "a.py", "content": content}, blobs.put)

    assert list(blobs.kept.values()) == [content.encode()]
    assert len(packed) < 200
    assert unpack(packed, blobs.kept.__getitem__) == {"path": "a.py", "content": content}


def test_a_long_list_is_one_blob() -> None:
    blobs = Blobs()
    hits = [{"file": f"src/{number}.py", "line": number, "text": "x"} for number in range(500)]

    assert unpack(pack(hits, blobs.put), blobs.kept.__getitem__) == hits
    assert len(blobs.kept) == 1


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinities_survive(value: float) -> None:
    assert unpack(pack(value, Blobs().put), {}.__getitem__) == value


def test_what_cannot_be_written_exactly_is_named_instead() -> None:
    nested: list[object] = []
    for _ in range(5_000):
        nested = [nested]

    packed = [unpack(pack(value, Blobs().put), {}.__getitem__) for value in (nested, 10**5_000, {1, 2}, ValueError)]

    assert packed == [
        "<a list that cannot be written down>",
        "<a int that cannot be written down>",
        "{1, 2}",
        "<class 'ValueError'>",
    ]


def test_lone_surrogates_do_not_break_the_record() -> None:
    blobs = Blobs()
    text = "\ud800" * 2_000

    assert unpack(pack([text, "\udfff"], blobs.put), blobs.kept.__getitem__) == [text, "\udfff"]


def test_short_forms_say_what_they_leave_out() -> None:
    arguments = {
        "path": "a.py",
        "content": "x" * 3_000,
        "data": b"12345",
        "many": list(range(8)),
        "nested": [[[[[1]]]]],
        "mapping": {1: (2, 3)},
        "big": 10**5_000,
        "odd": {1},
        "nan": math.nan,
        "flag": True,
    }

    assert shortened_arguments(arguments) == {
        "path": "a.py",
        "content": "x" * 120 + "… (3,000 characters)",
        "data": "5 bytes",
        "many": [0, 1, 2, 3, 4, "… 3 more"],
        "nested": [[[["…"]]]],
        "mapping": {"1": [2, 3]},
        "big": "a number of 16,610 bits",
        "odd": "{1}",
        "nan": "nan",
        "flag": True,
    }


def test_a_call_reads_like_a_call() -> None:
    shown = shortened_arguments({"path": "a.py", "start_line": 3})

    assert (arguments_text(shown), result_text(shortened(["a"])), result_text(None)) == (
        "'a.py', start_line=3",
        "['a']",
        "",
    )

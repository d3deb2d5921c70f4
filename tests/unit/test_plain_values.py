from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from cairn.plain_values import unfit_argument, unfit_result


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        5,
        2.5,
        "text",
        b"\x00",
        [1, [2]],
        (1,),
        {1, 2},
        frozenset({1}),
        {"a": {"b": [None]}},
        nested(199),
        "<function>",
    ],
)
def test_plain_values_cross(value):
    assert (unfit_argument(value), unfit_result(value)) == ("", "")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("<coroutine object main>", "object's name"),
        (["ok", {"k": "<function 'f' at 0xc>"}], "object's name"),
        ("<list_iterator object>", "object's name"),
        ("<module 'json'>", "object's name"),
        (PurePosixPath("src/a.py"), "pass str(path), here 'src/a.py'"),
        (int, "function or a class"),
        (object(), "a object cannot be passed"),
        ("\ud800", "not valid Unicode"),
        (nested(201), "more than 200 levels"),
        (b"x" * 64_000_001, "larger than 64 MB"),
        ([b"x" * 40_000_000] * 2, "larger than 64 MB"),
    ],
)
def test_what_only_looks_like_a_value_does_not(value, words):
    assert words in unfit_argument(value)


def test_text_from_a_file_may_look_like_anything():
    assert unfit_result("<coroutine object main>") == ""


def test_text_that_merely_contains_such_a_name_is_text():
    assert unfit_argument("got <coroutine object main> instead") == ""
    assert unfit_argument("<function f>\nand more>") == ""

from __future__ import annotations

import time

import pytest

from cairn.text_edit import replaced_once

TEXT = """\
import os


def greet(name):
    print("Hello,", name)


def leave(name):
    print("Goodbye,", name)
"""


def test_the_only_place_is_replaced() -> None:
    assert replaced_once("a.py", TEXT, 'print("Hello,", name)', "pass") == TEXT.replace('print("Hello,", name)', "pass")


def test_windows_line_ends_in_old_and_new_are_those_of_the_text() -> None:
    assert replaced_once("a.txt", "a\nb\nc\n", "a\r\nb", "x\r\ny") == "x\ny\nc\n"
    assert replaced_once("a.txt", "a\r\nb\nc\n", "a\r\nb", "x") == "x\nc\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("", "x", "old is empty; give the text to replace, with enough around it that it stands only once"),
        ("name", "name", "old and new are equal, so there is nothing to edit"),
        (
            "name",
            "x",
            (
                "old stands 4 times in 'a.py' (lines 4, 5, 8, 9); add lines around it until it stands once, or use "
                "read_file, replace and write_file to change them all; nothing was written"
            ),
        ),
        (
            'def greet(name):\n  print("Hello,", name)\n',
            "x",
            (
                "'a.py' does not contain old; it is there with other blanks: line 4: 'def greet(name):'; "
                "read_file('a.py', 4, 6) shows the text as it is; nothing was written"
            ),
        ),
        (
            'def greet(who):\n    print("Hello,", who)',
            "x",
            (
                "'a.py' does not contain old; nearest is line 5: '    print(\"Hello,\", name)'; "
                "read_file('a.py', 4, 5) shows the text as it is; nothing was written"
            ),
        ),
        (
            "%%%%",
            "x",
            (
                "'a.py' does not contain old, nor anything like it; read_file('a.py') shows what it contains; nothing "
                "was written"
            ),
        ),
    ],
)
def test_what_cannot_be_replaced_says_where_to_look(old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the whole message is compared
        replaced_once("a.py", TEXT, old, new)

    assert str(raised.value) == message


def test_places_that_overlap_are_more_than_one() -> None:
    with pytest.raises(ValueError, match=r"^old stands 2 times in 'a.txt' \(lines 1, 1\)"):
        replaced_once("a.txt", "aaa", "aa", "b")


def test_many_places_are_counted_but_not_all_named() -> None:
    with pytest.raises(
        ValueError, match=r"^old stands 100,000 times in 'a.txt' \(lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ...\)"
    ):
        replaced_once("a.txt", "a\n" * 100_000, "a", "b")


@pytest.mark.parametrize("line", ["ab" * 5_000, "a" * 150 + "b" * 50])
def test_the_nearest_place_is_found_in_bounded_time(line: str) -> None:
    started = time.perf_counter()

    with pytest.raises(ValueError, match="does not contain old"):
        replaced_once("a.txt", "\n".join(f"{line}{number}" for number in range(2_000)), "ba" * 100 + "c", "x")

    assert time.perf_counter() - started < 3


REPEATING = {
    "the same line": ("x\n" * 1_000_000, " x\n" * 100_000 + "z"),
    "a long run of blank lines": ("x\n" * 1_000_000, "\n" * 500_000 + " x\n" * 1_000 + "z"),
    "a period": (("x\n" * 1_000 + "y\n") * 500, " x\n" * 1_000 + "y\ny"),
}


@pytest.mark.parametrize("name", REPEATING)
def test_looking_for_other_blanks_takes_no_product_of_both_lengths(name: str) -> None:
    text, old = REPEATING[name]
    started = time.perf_counter()

    with pytest.raises(ValueError, match="does not contain old"):
        replaced_once("a.txt", text, old, "x")

    assert time.perf_counter() - started < 3

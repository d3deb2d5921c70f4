from __future__ import annotations

import ast
import re
import time
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.text_edit import renames_safely, replaced_everywhere, replaced_once, search_pattern

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


@pytest.mark.parametrize(
    ("text", "old", "new", "word", "expected"),
    [
        ("cat category cat", "cat", "dog", True, ("dog category dog", 2)),
        ("cat category cat", "cat", "dog", False, ("dog dogegory dog", 3)),
        ("a.b xa.b a.bc a.b", "a.b", "c", True, ("c xa.b a.bc c", 2)),
        ("(x) ((x))", "(x)", "y", True, ("y (y)", 2)),
        ("x", "x", "\\1\\g<0>", True, ("\\1\\g<0>", 1)),
        ("a\nb\nc", "a\r\nb", "d\r\ne", True, ("d\ne\nc", 1)),
        ("é éa", "é", "e", True, ("e éa", 1)),
        ("none", "x", "y", True, ("none", 0)),
    ],
)
def test_a_text_is_replaced_everywhere(text: str, old: str, new: str, word: bool, expected: tuple[str, int]) -> None:
    assert replaced_everywhere(text, old, new, word=word) == expected


@pytest.mark.parametrize(
    ("text", "old", "new", "safe"),
    [
        ("Callable[[int], str]", "Callable", "Kallable", True),
        ("x = rb'a'", "rb", "xx", False),
        ('x = "\\n"', "n", "x", False),
        ("match x:", "match", "fit", False),
        ("x = None", "None", "x", False),
        ("x = y", "y", "lambda", False),
        ("a.b", "a.b", "c", False),
        ("f(x)", "f", "g h", False),
    ],
)
def test_only_a_name_for_a_name_is_known_to_leave_python_sound(text: str, old: str, new: str, safe: bool) -> None:
    assert renames_safely(text, old, new) is safe


@given(st.text(alphabet="ab_'\"\\\n (){}:=.frux0159", max_size=60), st.text("abfrux", min_size=1, max_size=3))
def test_a_rename_that_is_called_safe_never_spoils_python(text: str, old: str) -> None:
    def parses(source: str) -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                ast.parse(source)
            except (SyntaxError, ValueError):
                return False
        return True

    if renames_safely(text, old, "new") and parses(text):
        assert parses(replaced_everywhere(text, old, "new", word=True)[0])


@given(st.text(max_size=30), st.text(max_size=10), st.text(max_size=10))
def test_the_pattern_for_a_search_is_in_one_line_of_every_text_that_has_it(old: str, above: str, below: str) -> None:
    text = f"{above}{old}{below}"

    assert re.search(search_pattern(old), text)

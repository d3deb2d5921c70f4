from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cairn.file_text import MARK, decoded, encoded, lines_of

_texts = st.lists(st.sampled_from(["a", "é", "\n", "\r\n", "\r", "\ufeff", "\f", "\u2028"]), max_size=12).map("".join)


@given(_texts)
@example("\ufeff\ufeffa\r\n")
@example("a\r\r\nb\r\n")
def test_a_file_that_is_read_and_written_unchanged_keeps_every_byte(content: str) -> None:
    data = content.encode()

    assert encoded(decoded("a.txt", data), data) == data


def test_mark_and_windows_line_ends_are_hidden_and_come_back() -> None:
    data = MARK + b"one\r\ntwo\r\n"
    text = decoded("a.txt", data)

    assert text == "one\ntwo\n"
    assert encoded(text + "three\n", data) == MARK + b"one\r\ntwo\r\nthree\r\n"


def test_mixed_line_ends_are_shown_as_they_are() -> None:
    data = b"one\r\ntwo\n"

    assert decoded("a.txt", data) == "one\r\ntwo\n"
    assert encoded("one\ntwo\n", data) == b"one\ntwo\n"


def test_text_with_its_own_carriage_returns_is_written_as_it_is() -> None:
    assert encoded("a\nb\r\n", b"x\r\n") == b"a\nb\r\n"


def test_a_new_file_is_plain_utf_8() -> None:
    assert encoded("é\n", None) == "é\n".encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\0b", "'a.bin' is binary, not text; leave it alone, or take its bytes with Path('a.bin').read_bytes()"),
        (
            b"caf\xe9",
            "'a.bin' is not UTF-8 text (byte 3); leave it alone, or take its bytes with Path('a.bin').read_bytes()",
        ),
    ],
)
def test_what_is_no_text_says_what_to_do(data: bytes, message: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the whole message is compared
        decoded("a.bin", data)

    assert str(raised.value) == message


@given(_texts)
def test_lines_joined_are_the_text(text: str) -> None:
    lines = lines_of(text)

    assert "".join(lines) == text
    assert all(line.endswith("\n") for line in lines[:-1])

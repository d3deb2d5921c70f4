from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cairn.program_output import BoundedOutput


def output_of(pieces, limit):
    output = BoundedOutput(limit)
    for piece in pieces:
        output.add(piece)
    return output


def test_what_fits_is_kept_whole():
    output = output_of(["one\n", "two\n"], 8)

    assert (output.text, output.dropped) == ("one\ntwo\n", 0)


def test_what_does_not_fit_is_left_out_of_the_middle():
    output = output_of(["abcde", "fghij", "klmno"], 6)

    assert (output.text, output.dropped) == ("abc\n[... 9 characters left out ...]\nmno", 9)


@given(st.lists(st.text(max_size=20)), st.integers(0, 40))
def test_any_output_keeps_its_two_ends_and_counts_the_rest(pieces, limit):
    whole = "".join(pieces)
    output = output_of(pieces, limit)
    head, tail = whole[: limit - limit // 2], whole[max(len(whole) - limit // 2, 0) :] if limit // 2 else ""

    assert output.total == len(whole)
    assert output.dropped == max(len(whole) - limit, 0)
    if output.dropped:
        assert output.text == f"{head}\n[... {output.dropped:,} characters left out ...]\n{tail}"
    else:
        assert output.text == whole


def test_a_flood_of_small_pieces_keeps_little_in_memory():
    output = output_of(("x" for _ in range(100_000)), 100)

    assert len(output._tail) <= 51
    assert output.dropped == 99_900

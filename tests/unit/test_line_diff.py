from __future__ import annotations

import random
from difflib import SequenceMatcher
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cairn import line_diff
from cairn.line_diff import Span, differing, split_lines

LINES = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\n", b"\n", b"  d\n"]), max_size=30)


def rebuilt(old: list[bytes], new: list[bytes]) -> list[bytes]:
    """The new text from the old one and the spans, which also shows that what lies between spans is equal."""
    lines: list[bytes] = []
    at = 0
    for span in differing(old, new):
        lines += old[at : span.old_start]
        assert len(lines) == span.new_start
        lines += new[span.new_start : span.new_end]
        at = span.old_end
    return lines + old[at:]


@given(LINES, LINES)
def test_the_spans_lead_from_the_old_text_to_the_new(old, new):
    assert rebuilt(old, new) == new


@given(LINES, LINES)
def test_spans_never_touch_and_never_are_empty(old, new):
    spans = differing(old, new)

    assert all(span.old_end > span.old_start or span.new_end > span.new_start for span in spans)
    assert all(after.old_start > before.old_end for before, after in pairwise(spans))


@given(LINES, LINES)
def test_no_more_lines_differ_than_difflib_says(old, new):
    ours = sum(span.old_end - span.old_start + span.new_end - span.new_start for span in differing(old, new))
    matched = sum(block.size for block in SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks())

    assert ours <= len(old) + len(new) - 2 * matched


def test_texts_too_different_for_the_shortest_script_still_lead_to_the_new_one(monkeypatch):
    monkeypatch.setattr(line_diff, "EDITS", 2)
    monkeypatch.setattr(line_diff, "PART_EDITS", 2)
    rng = random.Random(5)
    for _ in range(300):
        old = [b"%d\n" % rng.randrange(60) for _ in range(rng.randrange(40))]
        new = [line for line in old if rng.random() > 0.3] + [b"%d\n" % rng.randrange(60) for _ in range(5)]
        rng.shuffle(new[10:20])

        assert rebuilt(old, new) == new


def test_equal_texts_have_no_spans():
    assert differing([b"a\n"], [b"a\n"]) == []


def test_an_insertion_begins_at_the_block_that_was_added():
    old = [b"def a():\n", b"    pass\n", b"\n", b"def c():\n", b"    pass\n"]
    new = [*old[:3], b"def b():\n", b"    pass\n", b"\n", *old[3:]]

    assert differing(old, new) == [Span(3, 3, 3, 6)]


def test_lines_end_at_line_feeds_only():
    assert split_lines(b"a\r\nb\rc\n\nd") == [b"a\r\n", b"b\rc\n", b"\n", b"d"]
    assert split_lines(b"") == []

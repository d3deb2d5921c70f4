"""The recipe replace_text: exactly the text as written, once."""

from __future__ import annotations

import pytest

from tests.recipes.python_files import changed, click_works, sources


async def test_every_text_file_is_searched(workshop):
    workshop.write(a_py="colour = 'colour'\n", docs__b_md="A colour.\n", c_bin=b"colour\0")
    outcome = await workshop.recipe("replace_text", old="colour", new="color")
    assert (workshop.text("a.py"), workshop.text("docs/b.md")) == ("color = 'color'\n", "A color.\n")
    assert (workshop.root / "c.bin").read_bytes() == b"colour\0"
    assert outcome.summary == "Replaced 'colour' by 'color' 3 times in 2 files."
    again = await workshop.recipe("replace_text", old="colour", new="color")
    assert again.summary == "Nothing to do: 'colour' is in none of the text files."
    assert again.submission.changed_files == ()


@pytest.mark.parametrize(
    ("before", "old", "new", "after"),
    [
        ("a.b a+b a.b", "a.b", "x", "x a+b x"),
        ('say "hi" \\d{2} $1', '"hi" \\d{2} $1', "\\1", "say \\1"),
        ("v1 v1.0 v1", "v1", "v1.0", "v1.0 v1.0 v1.0"),
        ("aaaa b", "aa", "a", "a b"),
        ("one\ntwo\nthree", "one\ntwo", "1\n2", "1\n2\nthree"),
        ("keep me", "me", "", "keep "),
        ("ab ab", "ab", "ba", "ba ba"),
        ("éé ü", "é", "e", "ee ü"),
        ("a  b", "  ", " ", "a b"),
        ("x" * 3000 + "needle", "needle", "pin", "x" * 3000 + "pin"),
    ],
)
async def test_text_is_text_and_a_second_run_changes_nothing(workshop, before, old, new, after):
    workshop.write(a_txt=before)
    await workshop.recipe("replace_text", old=old, new=new)
    assert workshop.text("a.txt") == after
    again = await workshop.recipe("replace_text", old=old, new=new)
    assert again.submission.changed_files == ()


async def test_line_ends_and_the_mark_are_kept(workshop):
    workshop.put("a.txt", b"\xef\xbb\xbfone\r\ntwo\r\n")
    await workshop.recipe("replace_text", old="one\ntwo", new="1\n2")
    assert (workshop.root / "a.txt").read_bytes() == b"\xef\xbb\xbf1\r\n2\r\n"


async def test_a_place_and_a_language_narrow_it(workshop):
    workshop.write(a_md="x\n", docs__b_md="x\n", docs__c_py="x\n")
    outcome = await workshop.recipe("replace_text", old="x", new="y", path="docs", language="Markdown")
    assert outcome.submission.changed_files == ("docs/b.md",)
    outcome = await workshop.recipe("replace_text", old="x", new="y", language="COBOL")
    assert outcome.summary == "Nothing was done: no file endings are known for COBOL."


async def test_a_file_it_would_break_is_left_and_reported(workshop):
    workshop.write(a_py="print(1)\n", b_txt="print(1)\n")
    outcome = await workshop.recipe("replace_text", old="print(", new="print((")
    assert outcome.submission.changed_files == ("b.txt",)
    assert (
        "Replaced 'print(' by 'print((' 1 time in 1 file. Could not change 1 file: a.py (not written, "
        in outcome.summary
    )
    assert workshop.text("a.py") == "print(1)\n"


@pytest.mark.parametrize(("old", "new"), [("same", "same"), ("", "x")])
async def test_nothing_is_done_for_texts_that_make_no_replacement(workshop, old, new):
    workshop.write(a_txt="same")
    outcome = await workshop.recipe("replace_text", old=old, new=new)
    assert outcome.summary == "Nothing to do: the two texts are the same or the first one is empty."


async def test_a_place_that_is_not_there_is_named(workshop):
    outcome = await workshop.recipe("replace_text", old="a", new="b", path="nowhere")
    assert outcome.summary == "Nothing was done: there is no file or folder 'nowhere'."


async def test_click_still_works_with_another_word_in_its_messages(click_copy):
    before = sources(click_copy.root)
    outcome = await click_copy.recipe("replace_text", old="Show this message and exit.", new="Tell this and exit.")
    assert changed(before, sources(click_copy.root)) == sorted(outcome.submission.changed_files) != []
    assert click_works(click_copy.root)

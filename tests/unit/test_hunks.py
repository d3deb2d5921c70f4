"""Pieces of changes: all of them make the task's result, none the base, and any of them apply cleanly, in any order."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cairn import git_diff
from cairn.changes import Change, ChangeSet
from cairn.hunks import (
    NONE,
    WHOLE,
    Aspect,
    Edited,
    Part,
    Selection,
    bound_together,
    chosen,
    clash,
    fits,
    left,
    pieces_of,
    remaining,
    rest,
    simplest,
    step,
    under,
    with_what_they_need,
)
from cairn.line_diff import Span
from tests.content_trees import TREES, Tree, between, edited, folder, link, text, write
from tests.content_trees import snapshot as tree_on_disk
from tests.length import examples

OLD = text("1\n2\n3\n4\n5\n6\n7\n8\n9\n")
NEW = text("one\n2\n3\n4\n5\n6\n7\n8\n9\nten\n", 0o755)
MOVED = Change("new.py", OLD, NEW, renamed_from="old.py")
FIRST, LAST = Span(0, 1, 0, 1), Span(9, 9, 9, 10)


def applied(tree: Tree, changes: ChangeSet) -> Tree:
    """What a change set makes of a tree, each `before` being what it finds."""
    made = dict(tree)
    for change in changes:
        found = made.pop(change.renamed_from or change.path, None)
        assert found == change.before
    for change in changes:
        if change.after is not None:
            made[change.path] = change.after
    return made


@st.composite
def tasks(draw):
    before = draw(TREES)
    after, moves = draw(edited(before))
    return before, after, between(before, after, moves)


@st.composite
def selections(draw, changes: ChangeSet) -> Selection:
    return Selection.joined(
        Part(change.path, frozenset(draw(st.sets(st.sampled_from(pieces_of(change)))))) for change in changes
    )


def without_clashes(changes: ChangeSet, selection: Selection) -> Selection:
    """A file cannot come where a folder still is, and no folder where a file is: what must go first is selected too."""
    while True:
        picked = ChangeSet(tuple(change for change in changes if change.path in selection.paths))
        more = [
            Part(change.path, WHOLE)
            for change in with_what_they_need(picked, changes)
            if change.path not in selection.paths
            or (change.renamed_from and not selection.by_path()[change.path] & {Aspect.NAME, Aspect.WHOLE})
        ]
        if not more:
            return selection
        selection = Selection.joined([*selection.parts, *more])


def test_a_change_is_made_of_its_name_its_mode_and_its_spans():
    assert pieces_of(MOVED) == (Aspect.NAME, Aspect.MODE, FIRST, LAST)
    assert pieces_of(Change("a", None, OLD)) == pieces_of(Change("a", OLD, None)) == (Aspect.WHOLE,)
    assert pieces_of(Change("a", OLD, link("b"))) == pieces_of(Change("a", folder(), folder(0o700))) == (Aspect.WHOLE,)
    assert pieces_of(Change("a", text(b"\0a"), text(b"\0b"))) == (Aspect.CONTENT,)


def test_pieces_of_a_renamed_file_are_taken_one_by_one():
    one = text("one\n2\n3\n4\n5\n6\n7\n8\n9\n")

    assert step(MOVED, NONE, frozenset({FIRST})) == Change("old.py", OLD, one)
    assert step(MOVED, frozenset({FIRST}), frozenset({Aspect.NAME})) == Change("new.py", one, one, "old.py")
    assert step(MOVED, frozenset({FIRST, Aspect.NAME}), WHOLE) == Change("new.py", one, NEW)
    assert step(MOVED, frozenset({FIRST}), frozenset({FIRST})) is None
    assert step(MOVED, NONE, WHOLE) == MOVED
    assert left(MOVED, frozenset({FIRST, LAST})) == {Aspect.NAME, Aspect.MODE}
    assert (left(MOVED, NONE), left(MOVED, WHOLE)) == (WHOLE, NONE)


@given(st.data())
@settings(max_examples=examples(100, 1000), deadline=None)
def test_any_pieces_and_then_the_rest_make_the_tasks_result(data):
    before, after, changes = data.draw(tasks())
    first = data.draw(selections(changes))
    left_over = rest(changes, first)

    assert rest(changes, Selection()) == changes
    assert not rest(changes, Selection.whole(changes))
    assert not rest(changes, Selection(everything=True))
    assert chosen(changes, Selection(), Selection.whole(changes)) == changes
    assert rest(changes, Selection.joined([*first.parts, *remaining(changes, first).parts])) == ChangeSet()
    half = applied(before, chosen(changes, Selection(), first))
    assert applied(half, left_over) == after
    assert chosen(changes, first, remaining(changes, first)) == left_over
    assert fits(changes, first, remaining(changes, first))


@given(st.data())
@settings(max_examples=examples(70, 1000), deadline=None)
def test_pieces_can_be_taken_and_taken_back_in_any_order(data):
    before, _, changes = data.draw(tasks())
    first = data.draw(selections(changes))
    second = Selection()
    for part in remaining(changes, first).parts:
        change = next(each for each in changes if each.path == part.path)
        there = [piece for piece in pieces_of(change) if piece not in first.by_path().get(part.path, NONE)]
        picked = frozenset(data.draw(st.sets(st.sampled_from(there))))
        second = Selection.joined([*second.parts, Part(part.path, picked)])
    both = Selection.joined([*first.parts, *second.parts])

    one_way = applied(applied(before, chosen(changes, Selection(), first)), chosen(changes, first, second))
    other_way = applied(applied(before, chosen(changes, Selection(), second)), chosen(changes, second, first))

    assert fits(changes, first, second)
    assert one_way == other_way == applied(before, chosen(changes, Selection(), both))


@pytest.mark.slow
@given(st.data())
@settings(max_examples=examples(60, 1000), deadline=None)
def test_git_applies_any_pieces_and_then_the_rest(data):
    before, after, changes = data.draw(tasks())
    selection = without_clashes(changes, data.draw(selections(changes)))
    with tempfile.TemporaryDirectory() as name:
        root = write(Path(name, "tree"), before)
        for patch in map(git_diff.render, (chosen(changes, Selection(), selection), rest(changes, selection))):
            if patch:
                command = ["git", "apply", "--whitespace=nowarn", "-"]
                done = subprocess.run(command, cwd=root, input=patch, capture_output=True, check=False)
                assert (done.returncode, done.stderr) == (0, b""), patch.decode(errors="replace")
        assert tree_on_disk(root) == after


def test_lines_that_were_edited_by_hand_stand_in_place_of_their_spans():
    both = frozenset({FIRST, LAST})
    edit = Edited(0, 2, b"eins\nzwei\n")

    assert step(MOVED, NONE, both | {edit}) == Change("old.py", OLD, text("eins\nzwei\n3\n4\n5\n6\n7\n8\n9\nten\n"))
    edited_whole = text("eins\nzwei\n3\n4\n5\n6\n7\n8\n9\nten\n", 0o755)
    assert step(MOVED, frozenset({FIRST, edit}), WHOLE).after == edited_whole
    assert left(MOVED, frozenset({FIRST, edit})) == {Aspect.NAME, Aspect.MODE, LAST}
    assert step(MOVED, frozenset({*pieces_of(MOVED), edit}), WHOLE) is None
    assert (simplest(MOVED, frozenset(pieces_of(MOVED))), simplest(MOVED, both)) == (WHOLE, both)
    assert simplest(MOVED, frozenset({*pieces_of(MOVED), edit})) != WHOLE


def test_an_edit_fits_beside_its_own_spans_and_a_line_from_others():
    changes = ChangeSet((MOVED,))

    def fitting(*pieces, taken=NONE):
        given = Selection((Part("new.py", frozenset(pieces)),))
        return fits(changes, Selection.joined([Part("new.py", frozenset(taken))]), given)

    assert fitting(FIRST, Edited(0, 8, b"x\n"))
    assert not fitting(FIRST, Edited(0, 9, b"x\n"))
    assert not fitting(Edited(0, 1, b"x\n"))
    assert fitting(FIRST, LAST, Edited(0, 9, b"x\n"))
    assert not fitting(LAST, Edited(2, 9, b"x\n"), taken=[FIRST, Edited(0, 2, b"x\n")])
    assert fitting(LAST, Edited(3, 9, b"x\n"), taken=[FIRST, Edited(0, 2, b"x\n")])


def test_changes_that_need_each_other_are_found_together():
    changes = between(
        {"a": OLD, "b/x": OLD, "b/y": link("x"), "m": OLD, "old": OLD},
        {"a/1": NEW, "a/2/3": text("z\n"), "b": NEW, "n": OLD, "old/o": text("o\n")},
        {"n": "old"},
    )

    found = [tuple(change.path for change in group) for group in bound_together(changes)]

    assert found == [("a", "a/1", "a/2/3"), ("b", "b/x", "b/y"), ("m",), ("n", "old/o")]
    for group in bound_together(changes):
        assert with_what_they_need(ChangeSet(group), changes) == ChangeSet(group)


def test_paths_are_found_by_either_name_and_by_their_folder():
    changes = between(
        {"a/x": OLD, "a/y": OLD, "ab": OLD}, {"b/x": text("x\n"), "ab": text("y\n"), "c": NEW}, {"b/x": "a/x"}
    )

    assert [change.path for change in under(changes, "a")] == ["a/y", "b/x"]
    assert [change.path for change in under(changes, "a/x")] == ["b/x"]
    assert [change.path for change in under(changes, "ab")] == ["ab"]
    assert under(changes, ".") == changes
    assert not under(changes, "d")


def test_a_file_goes_when_files_below_its_name_come():
    changes = between({"a": OLD, "b": OLD}, {"a/x": NEW, "c/d": text("z\n"), "b": NEW})
    renamed = between({"a": OLD}, {"a/x": text("z\n"), "b/c": OLD}, {"b/c": "a"})

    assert with_what_they_need(under(changes, "a/x"), changes).paths == ("a", "a/x")
    assert with_what_they_need(under(changes, "b"), changes).paths == ("b",)
    assert with_what_they_need(under(renamed, "a/x"), renamed) == renamed
    reverse = between({"a/x": OLD, "a/y": link("x")}, {"a": NEW})
    assert with_what_they_need(ChangeSet(reverse.changes[:1]), reverse) == reverse


def test_what_is_taken_or_not_there_does_not_fit():
    changes, taken = ChangeSet((MOVED,)), Selection((Part("new.py", frozenset({FIRST})),))

    assert fits(changes, taken, Selection((Part("new.py", frozenset({LAST})),)))
    assert not fits(changes, taken, taken)
    assert not fits(changes, taken, Selection((Part("new.py", WHOLE),)))
    assert not fits(changes, Selection.whole(changes), taken)
    assert not fits(changes, Selection(), Selection((Part("old.py", WHOLE),)))


def test_two_parts_clash_when_both_have_a_piece_or_an_edit_is_too_near():
    def part(*pieces, path="a"):
        return Selection((Part(path, frozenset(pieces)),))

    everything, edit = Selection(everything=True), Edited(0, 3, b"x\n")

    assert not clash(part(FIRST), part(LAST))
    assert not clash(part(FIRST), part(FIRST, path="b"))
    assert clash(part(FIRST, Aspect.NAME), part(LAST, Aspect.NAME))
    assert clash(part(*WHOLE), part(LAST))
    assert clash(everything, part(LAST))
    assert not clash(everything, Selection())
    assert clash(part(FIRST, edit), part(Span(3, 4, 3, 3)))
    assert not clash(part(FIRST, edit), part(Span(4, 5, 4, 4)))

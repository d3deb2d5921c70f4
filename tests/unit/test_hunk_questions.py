"""Questions about hunks: whatever is answered, what is taken and what is left make the task's result together."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cairn.changes import Change, ChangeSet
from cairn.hunk_questions import Answers, questions
from cairn.hunks import (
    WHOLE,
    Aspect,
    Edited,
    Part,
    Selection,
    Undecided,
    chosen,
    edits_in,
    fits,
    pieces_of,
    remaining,
    rest,
    step,
)
from cairn.line_diff import Span, split_lines
from tests.content_trees import between, folder, link, text
from tests.length import examples
from tests.unit.test_hunks import applied, selections, tasks

LINES = [f"{number}\n" for number in range(1, 31)]


def numbered(changed: dict[int, str]) -> str:
    """Thirty numbered lines, some of them another text."""
    return "".join(changed.get(number, line) for number, line in enumerate(LINES, 1))


HAS_Z = b"@@ -0,0 +1 @@\n+z\n\\ No newline at end of file\n"


def undecided(*changes: Change, taken: Selection | None = None) -> Undecided:
    every, accepted = ChangeSet(changes), taken or Selection()
    return Undecided(every, accepted, remaining(every, accepted))


def of_text(old: str | bytes, new: str | bytes, *, taken: Selection | None = None) -> Answers:
    return Answers(undecided(Change("a", text(old), text(new)), taken=taken))


THREE = of_text(numbered({}), numbered({3: "three\n", 6: "six\n", 25: "25\nmore\n"}))


def asked(answers: Answers) -> list[tuple[str, str, bytes]]:
    return [(question.path, question.what, question.patch) for question in answers.questions]


def test_hunks_are_gits_own():
    assert [question.patch.decode() for question in THREE.questions] == [
        "@@ -1,9 +1,9 @@\n 1\n 2\n-3\n+three\n 4\n 5\n-6\n+six\n 7\n 8\n 9\n",
        "@@ -23,6 +23,7 @@\n 23\n 24\n 25\n+more\n 26\n 27\n 28\n",
    ]


def test_a_split_hunk_has_one_question_for_each_span_and_no_line_of_its_neighbour():
    answers = of_text(numbered({}), numbered({3: "three\n", 6: "six\n"}))

    assert (answers.keys, answers.split(), answers.keys) == ("ynqadse?", 2, "ynqadjJg/e?")
    assert [question.patch.decode() for question in answers.questions] == [
        "@@ -1,5 +1,5 @@\n 1\n 2\n-3\n+three\n 4\n 5\n",
        "@@ -4,6 +4,6 @@\n 4\n 5\n-6\n+six\n 7\n 8\n 9\n",
    ]
    answers.leave()
    answers.take()
    assert answers.done
    assert answers.selection() == Selection((Part("a", frozenset({Span(5, 6, 5, 6)})),))


def test_everything_that_has_no_lines_is_asked_as_a_whole():
    changes = between(
        {"a": text("x\n"), "b": text(b"\0b"), "c": text("c\n"), "e": link("x"), "f": text("f\n")},
        {"a2": text("y\n", 0o755), "b": text(b"\0bb"), "d": text("d\n"), "e": link("y"), "f": link("z"), "h": folder()},
        {"a2": "a"},
    )  # fmt: skip

    assert asked(Answers(undecided(*changes, Change("z", folder(), folder(0o700))))) == [
        ("a2", "this rename", b"rename from a\nrename to a2\n"),
        ("a2", "this mode change", b"old mode 0644\nnew mode 0755\n"),
        ("a2", "this hunk", b"@@ -1 +1 @@\n-x\n+y\n"),
        ("b", "this binary change", b"Binary file, 2 bytes -> 3 bytes\n"),
        ("c", "this deletion", b"@@ -1 +0,0 @@\n-c\n"),
        ("d", "this new file", b"@@ -0,0 +1 @@\n+d\n"),
        ("e", "this symlink", b"@@ -1 +1 @@\n-x\n\\ No newline at end of file\n+y\n\\ No newline at end of file\n"),
        (
            "f",
            "this symlink in its place",
            b"@@ -1 +0,0 @@\n-f\ndiff --git a/f b/f\nnew file mode 120000\n--- /dev/null\n+++ b/f\n" + HAS_Z,
        ),
        ("h", "this new folder", b"new folder 0755\n"),
        ("z", "this mode change", b"old folder 0755\nnew folder 0700\n"),
    ]


def test_dangerous_paths_come_first_and_what_cannot_be_taken_apart_is_one_question():
    changes = between({"a": text("x\n"), "m": text("m\n")}, {"a/b": text("y\n"), "m": text("n\n"), "z": text("z\n")})

    found = questions(undecided(*changes), first=["z"])

    assert [(question.path, question.what) for question in found] == [
        ("z", "this new file"),
        ("a", "these 2 together"),
        ("m", "this hunk"),
    ]
    assert found[1].parts == (Part("a", WHOLE), Part("a/b", WHOLE))
    assert found[1].patch.count(b"diff --git") == 2


def test_answers_go_on_to_the_next_open_question_and_begin_again_at_the_first():
    answers = Answers(undecided(*between({}, {name: text(name) for name in "abcd"})))

    answers.move(+1, to_open=True)
    answers.take()
    answers.move(+1, to_open=False)
    assert (answers.at, answers.keys, answers.taken(1)) == (3, "ynqadkKg/?", True)
    answers.leave()
    assert answers.at == 0
    answers.move(+1, to_open=True)
    assert answers.at == 2
    answers.move(-1, to_open=False)
    assert (answers.at, answers.taken(1)) == (1, True)
    answers.stop()
    assert (answers.done, answers.count, answers.selection().paths) == (True, 1, ("b",))


def test_a_and_d_answer_for_the_rest_of_the_file_alone():
    old, new = numbered({}), numbered({1: "one\n", 15: "15\n15\n", 29: "x\n"})
    answers = Answers(undecided(*between({"a": text(old), "b": text(old)}, {"a": text(new), "b": text(new)})))

    answers.leave()
    answers.take_file()
    assert (answers.current.path, answers.count) == ("b", 2)
    answers.leave_file()
    assert (answers.done, answers.selection().paths) == (True, ("a",))


def test_what_is_taken_of_a_change_whole_is_named_whole():
    answers = of_text(numbered({}), numbered({3: "x\n", 25: "y\n"}))
    answers.take()
    answers.take()

    assert answers.selection() == Selection((Part("a", WHOLE),))


def test_lines_that_were_accepted_before_are_as_they_are_now():
    old, new = numbered({}), numbered({2: "", 5: "five\nfive\n", 8: "eight\n"})
    taken = Selection((Part("a", frozenset({Span(4, 5, 3, 5)})),))

    answers = of_text(old, new, taken=taken)

    assert [question.patch.decode() for question in answers.questions] == [
        "@@ -1,5 +1,4 @@\n 1\n-2\n 3\n 4\n five\n",
        "@@ -6,7 +5,7 @@ five\n five\n 6\n 7\n-8\n+eight\n 9\n 10\n 11\n",
    ]
    assert [question.hunk.pieces for question in answers.questions] == [{Span(1, 2, 1, 1)}, {Span(7, 8, 7, 8)}]


@given(st.data())
@settings(max_examples=examples(60, 1000), deadline=None)
def test_any_answers_and_then_the_rest_make_the_tasks_result(data):
    before, after, changes = data.draw(tasks())
    first = data.draw(selections(changes))
    left = Undecided(changes, first, remaining(changes, first))
    answers = Answers(left)
    acts = {
        "y": answers.take, "n": answers.leave, "a": answers.take_file, "d": answers.leave_file, "s": answers.split,
        "j": lambda: answers.move(1, to_open=True), "K": lambda: answers.move(-1, to_open=False), "q": answers.stop,
    }  # fmt: skip
    while not answers.done:
        acts[data.draw(st.sampled_from([key for key in answers.keys if key in acts]))]()
    selection = answers.selection()

    assert fits(changes, first, selection)
    half = applied(applied(before, chosen(changes, Selection(), first)), chosen(changes, first, selection))
    both = Selection.joined([*first.parts, *selection.parts])
    assert rest(changes, both) == Undecided(changes, first, selection).left_afterwards()
    assert applied(half, rest(changes, both)) == after


@given(st.data())
@settings(max_examples=examples(60, 1000), deadline=None)
def test_all_hunks_of_a_file_show_all_of_its_differences_and_no_more(data):
    old = data.draw(st.lists(st.sampled_from("abcdef\n"), max_size=30).map("\n".join))
    new = data.draw(st.lists(st.sampled_from("abcdef\n"), max_size=30).map("\n".join))
    change = Change("a", text(old), text(new))
    spans = [piece for piece in pieces_of(change) if isinstance(piece, Span)]
    taken = Selection.joined([Part("a", frozenset(data.draw(st.sets(st.sampled_from(spans or [None]))) - {None}))])
    answers = Answers(undecided(change, taken=taken))
    number = data.draw(st.integers(0, len(answers.questions)))
    if number < len(answers.questions):
        answers.at = number
        answers.split()

    there, expected = {"-": b"", "+": b""}, {"-": b"", "+": b""}
    for span in spans:
        if span not in taken.by_path().get("a", ()):
            expected["-"] += b"".join(split_lines(old.encode())[span.old_start : span.old_end])
            expected["+"] += b"".join(split_lines(new.encode())[span.new_start : span.new_end])
    for question in answers.questions:
        for shown in question.hunk.spans:
            there["-"] += b"".join(question.hunk.file.old[shown.at.old_start : shown.at.old_end])
            there["+"] += b"".join(question.hunk.file.new[shown.at.new_start : shown.at.new_end])
    assert there == expected
    assert sum(question.patch.count(b"\n@@") + 1 for question in answers.questions) == len(answers.questions)


# -- editing -----------------------------------------------------------------------------------------------------------


def edit(answers: Answers, *replaced: tuple[str, str]):
    """The pieces that the current hunk takes when its patch is edited so."""
    patch = answers.current.patch.decode()
    for old, new in replaced:
        assert old in patch, patch
        patch = patch.replace(old, new)
    return answers.edited(f"# a comment\n{patch}# another\n".encode())


def written(pieces, old: str, new: str) -> str:
    made = step(Change("a", text(old), text(new)), frozenset(), pieces)
    return made.after.data.decode()


OLD, NEW = numbered({}), numbered({3: "three\n", 6: "six\n", 25: "25\nmore\n"})


def test_an_edited_hunk_is_taken_whole_and_written_as_edited():
    pieces = edit(of_text(OLD, NEW), ("+three\n", "+drei\n+3\n"), ("-6\n+six\n", " 6\n"))

    assert pieces == {Span(2, 3, 2, 3), Span(5, 6, 5, 6), Edited(2, 6, b"drei\n3\n4\n5\n6\n")}
    assert written(pieces, OLD, NEW) == numbered({3: "drei\n3\n"})
    left = step(Change("a", text(OLD), text(NEW)), pieces, WHOLE)
    assert left.before.data.decode() == numbered({3: "drei\n3\n"})
    assert left.after.data.decode() == numbered({3: "drei\n3\n", 25: "25\nmore\n"})


def test_an_edit_may_remove_and_add_lines_around():
    pieces = edit(of_text(OLD, NEW), (" 2\n", "-2\n+two\n"), (" 9\n", " 9\n+9.5\n"))

    assert written(pieces, OLD, NEW) == numbered({2: "two\n", 3: "three\n", 6: "six\n", 9: "9\n9.5\n"})


def test_an_edit_that_changes_nothing_takes_the_hunk_as_it_is():
    assert edit(of_text(OLD, NEW)) == {Span(2, 3, 2, 3), Span(5, 6, 5, 6)}


def test_lines_at_the_ends_may_be_missing_and_empty_ones_are_empty():
    old, new = OLD.replace("4\n", "\n"), NEW.replace("4\n", "\n")

    pieces = edit(of_text(old, new), (" 1\n 2\n", ""), (" \n", "\n"), ("+three\n", "+drei\n"))

    assert written(pieces, old, new) == numbered({3: "drei\n", 6: "six\n"}).replace("4\n", "\n")


def test_all_lines_removed_is_no_edit():
    answers = of_text(OLD, NEW)

    assert answers.edited(b"# nothing\n") is None
    assert answers.edited(b"") is None


@pytest.mark.parametrize(
    ("replaced", "why"),
    [
        ((" 4\n", " four\n"), "are not those of the file"),
        (("-3\n", ""), "are not those of the file"),
        ((" 4\n", "4\n"), "line 7 begins with none of"),
        (("-3\n+three\n 4\n 5\n-6\n+six\n", " 3\n 4\n 5\n 6\n"), "leaves every line as it is"),
        (("+three\n", "+three\n\\ No newline at end of file\n"), "a line follows the one without a line end"),
    ],
)
def test_an_edit_that_does_not_fit_says_why(replaced, why):
    with pytest.raises(ValueError, match=why):
        edit(of_text(OLD, NEW), replaced)


def test_an_edit_keeps_one_line_between_itself_and_other_hunks():
    answers = of_text(OLD, numbered({3: "three\n", 6: "six\n"}))
    answers.split()
    with pytest.raises(ValueError, match="reaches the lines of another hunk"):
        edit(answers, (" 5\n", "-5\n"))
    first = edit(answers, (" 4\n", "-4\n"))
    answers.take(first)
    with pytest.raises(ValueError, match="reaches the lines of another hunk"):
        edit(answers, (" 5\n", "-5\n"))
    answers.take(edit(answers, ("+six\n", "+sechs\n")))

    assert written(answers.selection().by_path()["a"], OLD, numbered({3: "three\n", 6: "six\n"})) == numbered(
        {3: "three\n", 4: "", 6: "sechs\n"}
    )


def test_an_edit_reaches_no_line_that_was_accepted_before():
    new = numbered({3: "3a\n3b\n3c\n3d\n3e\n3f\n", 6: "six\n"})
    taken = Selection((Part("a", frozenset({Span(2, 3, 2, 8)})),))
    answers = of_text(OLD, new, taken=taken)

    assert answers.current.patch.decode() == "@@ -8,7 +8,7 @@ 2\n 3f\n 4\n 5\n-6\n+six\n 7\n 8\n 9\n".replace(
        " 2\n", "\n"
    )
    for near in (("-6\n", "-6\n"), (" 5\n", "-5\n")):
        assert edit(answers, near) is not None
    for line in (" 4\n", " 3f\n"):
        with pytest.raises(ValueError, match="reaches the lines of another hunk"):
            edit(answers, (line, line.replace(" ", "-")))


def test_the_last_line_may_lose_or_get_its_end_at_the_end_of_the_file_alone():
    old, new = "1\n2\n3", "1\n2\nthree"
    marked = "+three\n\\ No newline at end of file\n"

    assert written(edit(of_text(old, new), (marked, "+drei\n")), old, new) == "1\n2\ndrei\n"
    assert written(edit(of_text(old, new), ("+three", "+drei")), old, new) == "1\n2\ndrei"
    with pytest.raises(ValueError, match="has no line end, and other lines follow"):
        of_text("1\n2\n3\n4\n5\n6\n7\n8\n", "one\n2\n3\n4\n5\n6\n7\n8\n").edited(
            b"-1\n+eins\n-2\n-3\n-4\n+four\n\\ No newline at end of file\n"
        )


def test_other_encodings_and_line_ends_stay():
    old, new = b"caf\xe9\r\n2\r\n", b"caf\xe9\r\nzwei\r\n"
    answers = of_text(old, new)
    pieces = answers.edited(answers.current.patch.replace(b"+zwei", b"+deux \xe0"))

    assert step(Change("a", text(old), text(new)), frozenset(), pieces).after.data == b"caf\xe9\r\ndeux \xe0\r\n"


@st.composite
def edits_of(draw, patch: bytes) -> bytes:
    """The patch of a hunk after somebody edited it: lines kept, dropped, removed and added."""
    head, *lines = split_lines(patch)
    made = [head]
    for line in lines:
        what = draw(st.sampled_from(("as it is", "as it is", "other", "add")))
        if what == "other" and line[:1] == b"+":
            continue
        made.append({b"-": b" ", b" ": b"-"}.get(line[:1], line[:1]) + line[1:] if what == "other" else line)
        if what == "add" and line.endswith(b"\n") and not line.startswith(b"\\"):
            made.append(b"+added\n")
    return b"".join(made)


@pytest.mark.slow
@given(st.data())
@settings(max_examples=examples(150, 2000), deadline=None)
def test_git_applies_what_was_edited_to_the_same_result(data):
    old = "".join(f"{line}\n" for line in data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=12)))
    new = "".join(f"{line}\n" for line in data.draw(st.lists(st.integers(0, 9), max_size=12)))
    change = Change("a", text(old), text(new))
    assume(old != new and new)
    answers = Answers(undecided(change))
    answers.at = data.draw(st.integers(0, len(answers.questions) - 1))
    patch = data.draw(edits_of(answers.current.patch))
    assume(b"\n+" in patch or b"\n-" in patch)
    try:
        pieces = answers.edited(patch)
    except ValueError:
        return
    made = step(change, frozenset(), pieces)
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, "a")
        file.write_text(old)
        given = b"--- a/a\n+++ b/a\n" + patch
        command = ["git", "apply", "--recount", "--unidiff-zero", "-"]
        done = subprocess.run(command, cwd=name, input=given, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert file.read_bytes() == made.after.data


@given(st.data())
@settings(max_examples=examples(60, 1000), deadline=None)
def test_edited_and_other_pieces_are_taken_and_taken_back_in_any_order(data):
    size = data.draw(st.integers(3, 30))
    old = [f"{number}\n" for number in range(size)]
    new = list(old)
    for at in data.draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=6)):
        new[at] = data.draw(st.sampled_from((f"new {at}\n", "", f"{at}\nand {at}\n")))
    change = Change("a", text("".join(old)), text("".join(new)))
    assume(change.before != change.after and change.after.data)
    answers = Answers(undecided(change))
    for _ in range(data.draw(st.integers(0, 3))):
        answers.at = data.draw(st.integers(0, len(answers.questions) - 1))
        if "s" in answers.keys:
            answers.split()
    answers.at = 0
    parts = []
    for number in range(len(answers.questions)):
        answers.at = number
        try:
            pieces = answers.edited(data.draw(edits_of(answers.current.patch)))
        except ValueError:
            pieces = answers.current.parts[0].pieces
        answers.take(pieces)
        parts.append(pieces)
    every = frozenset().union(*parts)
    some = frozenset().union(*data.draw(st.lists(st.sampled_from(parts), max_size=4)))
    changes = ChangeSet((change,))

    assert fits(changes, Selection(), Selection((Part("a", every),)))
    assert Aspect.WHOLE not in every
    whole = step(change, frozenset(), every)
    first, second = step(change, frozenset(), some), step(change, some, every)
    base = change.before if first is None else first.after
    assert (base if second is None else second.after) == (change.before if whole is None else whole.after)
    assert not rest(changes, Selection((Part("a", every),)))
    assert fits(changes, Selection.joined([Part("a", some)]), Selection.joined([Part("a", every - some)])) or not some
    assert len(edits_in(every)) <= len(parts)

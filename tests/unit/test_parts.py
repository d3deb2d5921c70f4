"""Parts of a task's changes in a real project: taken in any order, edited or not, and taken back in any order."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cairn.changes import Change, ChangeSet
from cairn.errors import Conflict
from cairn.hunk_questions import Answers
from cairn.hunks import NONE, WHOLE, Part, Pieces, Selection, Undecided, chosen, remaining, rest, step
from cairn.project import Project
from tests.content_trees import Tree, link, snapshot, text, write
from tests.length import examples
from tests.unit.test_hunk_questions import edits_of

SIZE = 24
OTHERS: Tree = {
    "gone": text("g\n"),
    "link": link("x"),
    "old": text("".join(f"{at}\n" for at in range(9))),
    "run": text("r\n"),
}
MADE = {
    "gone": Change("gone", OTHERS["gone"], None),
    "link": Change("link", OTHERS["link"], link("y")),
    "made": Change("made", None, text("m\n")),
    "new": Change("new", OTHERS["old"], text("".join(f"{at}\n" for at in range(8)) + "8\nnine\n", 0o755), "old"),
    "run": Change("run", OTHERS["run"], text("r\n", 0o755)),
}  # fmt: skip


@st.composite
def texts(draw) -> Change:
    """A changed text of which each line is unlike every other, so that a merge has one outcome only."""
    old = [f"line {number}\n" for number in range(SIZE)]
    new = list(old)
    for at in draw(st.sets(st.integers(0, SIZE - 1), min_size=2, max_size=7)):
        new[at] = draw(st.sampled_from((f"new {at}\n", "", f"line {at}\nand {at}\n")))
    assume("".join(new) not in {"", "".join(old)})
    return Change("text", text("".join(old)), text("".join(new)))


def answered(draw, undecided: Undecided) -> Selection:
    """Any answers to all questions, hunks edited now and then."""
    answers = Answers(undecided)
    while not answers.done:
        key = draw(st.sampled_from([key for key in answers.keys if key in "ynsad"] + ["e"] * ("e" in answers.keys)))
        if key == "s":
            answers.split()
        elif key == "e":
            try:
                answers.take(answers.edited(draw(edits_of(answers.current.patch))))
            except ValueError:
                answers.leave()
        else:
            {"y": answers.take, "n": answers.leave, "a": answers.take_file, "d": answers.leave_file}[key]()
    return answers.selection()


def stands(changes: ChangeSet, taken: Selection) -> Tree:
    """The files when these pieces are accepted and nobody else did anything."""
    tree = dict(OTHERS)
    pieces = taken.by_path()
    for change in changes:
        now = step(change, NONE, pieces.get(change.path, NONE))
        if now is None:
            tree |= {change.renamed_from or change.path: change.before} if change.before else {}
            continue
        tree.pop(now.renamed_from or now.path, None)
        tree |= {now.path: now.after} if now.after is not None else {}
    return tree


@given(st.data())
@settings(max_examples=examples(15, 200), deadline=None)
def test_parts_are_taken_and_taken_back_in_any_order(data):
    changes = ChangeSet(tuple(sorted([data.draw(texts()), *MADE.values()], key=lambda change: change.path)))
    with tempfile.TemporaryDirectory() as name:
        root = write(Path(name, "tree"), stands(changes, Selection()))
        project = Project(root)
        parts: dict[int, Selection] = {}
        for _ in range(3):
            taken = project.accepted("task")
            part = answered(data.draw, Undecided(changes, taken, remaining(changes, taken)))
            accepting = chosen(changes, taken, part)
            if part:
                parts[project.apply("task", accepting, part=part).operation.id] = part
        everything = project.accepted("task")
        assert everything == Selection.joined(part for each in parts.values() for part in each.parts)
        assert snapshot(root) == stands(changes, everything)

        for number in data.draw(st.permutations(list(parts))):
            project.undo(number)
            taken = project.accepted("task")
            assert snapshot(root) == stands(changes, taken)
            del parts[number]
            assert taken == Selection.joined(part for each in parts.values() for part in each.parts)
        project.apply("task", rest(changes, project.accepted("task")))
        assert snapshot(root) == stands(changes, Selection.whole(changes))


@given(st.data())
@settings(max_examples=examples(15, 200), deadline=None)
def test_the_users_own_edits_stay_whatever_is_taken_or_taken_back(data):
    change = data.draw(texts())
    changes = ChangeSet((change,))
    mine = b"mine, above everything\n\n\n"
    with tempfile.TemporaryDirectory() as name:
        root = write(Path(name, "tree"), {"text": text(mine + change.before.data)})
        project = Project(root)
        numbers = []
        for _ in range(2):
            taken = project.accepted("task")
            part = answered(data.draw, Undecided(changes, taken, remaining(changes, taken)))
            accepting = chosen(changes, taken, part)
            if not part or project.preview(accepting).conflicts:
                continue
            numbers.append(project.apply("task", accepting, part=part).operation.id)
            assert (root / "text").read_bytes().startswith(mine)
        for number in data.draw(st.permutations(numbers)):
            project.undo(number)
        assert (root / "text").read_bytes() == mine + change.before.data


def test_pieces_of_one_file_in_one_accept_are_one_part(tmp_path):
    root = write(tmp_path / "tree", OTHERS)
    project = Project(root)
    changes = ChangeSet((MADE["new"],))
    pieces: Pieces = frozenset(piece for piece in Answers(everything(changes)).questions[0].parts[0].pieces)

    project.apply("task", chosen(changes, Selection(), only(pieces)), part=only(pieces))

    assert snapshot(root).keys() == {"gone", "link", "new", "run"}
    assert rest(changes, project.accepted("task")).paths == ("new",)
    assert rest(changes, only(WHOLE)) == ChangeSet()


def renamed(name: str) -> Tree:
    return {path: content for path, content in OTHERS.items() if path != "old"} | {name: OTHERS["old"]}


def test_what_a_later_accept_renamed_is_taken_back_under_its_new_name(tmp_path):
    root = write(tmp_path / "tree", OTHERS)
    project = Project(root)
    longer = text(OTHERS["old"].data + b"more\n")
    lines = project.apply("one", ChangeSet((Change("old", OTHERS["old"], longer),))).operation
    first = project.apply("two", ChangeSet((Change("d/mid", longer, longer, "old"),))).operation
    project.apply("three", ChangeSet((Change("new", longer, longer, "d/mid"),)))

    undone = project.undo(lines.id)
    assert (snapshot(root), undone.paths) == (renamed("new"), ("new",))
    project.undo(undone.undo_id)
    assert snapshot(root) == renamed("new") | {"new": longer}
    with pytest.raises(Conflict, match="deleted or moved away"):
        project.undo(first.id)
    for _ in range(3):
        project.undo()
    assert snapshot(root) == OTHERS


def test_a_rename_that_was_taken_back_is_not_followed(tmp_path):
    root = write(tmp_path / "tree", OTHERS)
    project = Project(root)
    longer = text(OTHERS["old"].data + b"more\n")
    lines = project.apply("one", ChangeSet((Change("old", OTHERS["old"], longer),))).operation
    project.apply("two", ChangeSet((Change("new", longer, longer, "old"),)))
    back = project.undo()

    assert snapshot(root) == renamed("old") | {"old": longer}
    project.undo(lines.id)
    project.undo(back.undo_id)

    assert snapshot(root) == renamed("new")


def test_a_file_that_was_moved_back_by_hand_is_found_where_it_is(tmp_path):
    root = write(tmp_path / "tree", OTHERS)
    project = Project(root)
    longer = text(OTHERS["old"].data + b"more\n")
    lines = project.apply("one", ChangeSet((Change("old", OTHERS["old"], longer),))).operation
    project.apply("two", ChangeSet((Change("new", longer, longer, "old"),)))
    (root / "new").rename(root / "old")

    project.undo(lines.id)

    assert snapshot(root) == OTHERS


def only(pieces: Pieces) -> Selection:
    return Selection((Part("new", pieces),))


def everything(changes: ChangeSet) -> Undecided:
    return Undecided(changes, Selection(), remaining(changes, Selection()))

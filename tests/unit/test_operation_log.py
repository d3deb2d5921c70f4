"""Which operations are past undoing, and what is left of the log when they are dropped."""

from __future__ import annotations

import pytest

from cairn.changes import Content, EntryKind
from cairn.errors import DamagedFile, StorageProblem
from cairn.hunks import WHOLE, Aspect, Edited, Part, Selection
from cairn.line_diff import Span
from cairn.operation_log import VERSION, Operation, OperationLog, OperationState, expired
from cairn.project_files import Edit, Owner

OLD = Content(EntryKind.FILE, 0o644, b"old")
APPLIED, UNDONE = OperationState.APPLIED, OperationState.UNDONE


def op(number, age, *, undoes=None, state=APPLIED, task="bcdfgh", recorded=True, partial=False):
    return Operation(
        number, "0" * 16, task, undoes, state, recorded, started_at=-age, finished_at=-age, partial=partial
    )


def gone(*every, newest=0, open_tasks=()):
    return [each.id for each in expired(every, before=-30, newest=newest, open_tasks=open_tasks)]


def test_what_is_older_goes_and_what_is_as_old_stays():
    assert gone(op(1, 31), op(2, 30), op(3, 1)) == [1]


def test_the_newest_stay_however_old_they_are():
    assert gone(op(1, 99), op(2, 98), op(3, 97), newest=2) == [1]
    assert gone(op(1, 99), newest=5) == []
    assert gone(newest=5) == []


def test_an_accept_and_its_undos_stay_or_go_together():
    chain = (op(1, 99, state=UNDONE), op(2, 98, undoes=1, state=UNDONE), op(3, 5, undoes=2))

    assert gone(*chain, op(4, 99)) == [4]
    assert gone(*chain[:2], op(3, 50, undoes=2)) == [1, 2, 3]


def test_parts_of_the_same_task_stay_or_go_together():
    parts = (op(1, 99, partial=True), op(2, 98, undoes=1), op(3, 97, task="other", partial=True))

    assert gone(*parts, op(4, 5, partial=True)) == [3]
    assert gone(*parts, op(4, 50, partial=True)) == [1, 2, 3, 4]


def test_a_task_that_is_open_keeps_its_operations():
    assert gone(op(1, 99, task="open"), op(2, 99)) == [1, 2]
    assert gone(op(1, 99, task="open"), op(2, 99), open_tasks={"open"}) == [2]


def test_what_is_under_way_or_not_yet_in_the_ledger_stays():
    assert gone(op(1, 99, state=OperationState.APPLYING), op(2, 99, recorded=False)) == []
    assert gone(op(1, 99, state=OperationState.UNDOING), op(2, 99, undoes=1, state=OperationState.APPLYING)) == []


def test_dropped_operations_give_their_room_back_and_never_their_numbers(tmp_path):
    path = tmp_path / "operations.db"
    edit = Edit("a", Content(EntryKind.FILE, 0o644, b"x" * 500_000), Content(EntryKind.FILE, 0o644, b"y" * 300_000))
    with OperationLog.opened(path) as log:
        first, second = (log.finish(log.begin("t", [edit], undoes=None, now=1.0), now=2.0) for _ in range(2))
        assert (log.stored_bytes(first.id), log.stored_bytes(99)) == (800_000, 0)

        log.drop([first.id])
        log.compact()

        assert log.every() == (second,)
        assert log.edits(second.id) == (edit,)
        log.drop([second.id])
        assert log.begin("t", [], undoes=None, now=3.0).id == 3
    assert path.stat().st_size < 1_000_000


def test_a_log_that_another_process_reads_is_dropped_from_without_giving_room_back(tmp_path):
    path = tmp_path / "operations.db"
    edit = Edit("a", Content(EntryKind.FILE, 0o644, b"x"), None)
    with OperationLog.opened(path) as log, OperationLog.opened(path) as reader:
        made = log.finish(log.begin("t", [edit], undoes=None, now=1.0), now=2.0)
        reader._db.execute("BEGIN")
        assert len(reader.every()) == 1
        log.drop([made.id])
        log._db.execute("PRAGMA busy_timeout = 10")
        log.compact()
        reader._db.execute("COMMIT")
        assert reader.every() == ()


TEXT = b"".join(b"%x\n" % (number**9 % 10**15 + number) for number in range(300))


@pytest.mark.parametrize("files", [1, 300])
def test_contents_are_kept_in_little_room_and_come_back_byte_for_byte(tmp_path, files):
    """A change costs what changed; a content by itself is packed only where there are few."""
    before = Content(EntryKind.FILE, 0o644, TEXT)
    after = Content(EntryKind.FILE, 0o644, TEXT.replace(b"\n", b"another\n", 1))
    link = Edit("l", Content(EntryKind.SYMLINK, 0o777, b"a"), Content(EntryKind.SYMLINK, 0o777, b"b"))
    edits = tuple(Edit(f"{number}", before, after) for number in range(files))
    edits += (Edit("new", None, after), Edit("gone", before, None), link)
    with OperationLog.opened(tmp_path / "operations.db") as log:
        made = log.begin("t", edits, undoes=None, now=1.0)

        assert log.edits(made.id) == edits
        stored = log.stored_bytes(made.id)
    alone = 2 if files == 1 else files + 2
    assert stored < alone * len(TEXT) + 400 * files


def test_a_content_that_does_not_unpack_is_damage(tmp_path):
    edit = Edit("a", Content(EntryKind.FILE, 0o644, TEXT), None)
    with OperationLog.opened(tmp_path / "operations.db") as log:
        made = log.begin("t", [edit], undoes=None, now=1.0)
        log._db.execute("UPDATE edit SET before_size = before_size + 1")

        with pytest.raises(
            DamagedFile, match=rf"A content in it cannot be read: it makes {len(TEXT)} bytes, not {len(TEXT) + 1}\."
        ):
            log.edits(made.id)


def accepting(log, part=None, *, undoes=None, task="t"):
    return log.finish(log.begin(task, [], undoes=undoes, now=1.0, part=part), now=2.0)


def test_what_is_accepted_is_what_the_accepts_in_effect_took(tmp_path):
    lines = Selection((Part("a", frozenset({Span(0, 1, 0, 2), Aspect.MODE})),))
    more = Selection((Part("a", frozenset({Span(5, 5, 6, 7)})), Part("b", WHOLE)))
    with OperationLog.opened(tmp_path / "operations.db") as log:
        assert log.accepted("t") == Selection()
        first, second = accepting(log, lines), accepting(log, more)
        accepting(log, more, task="other")

        assert log.accepted("t") == Selection.joined([*lines.parts, *more.parts])
        assert (first.partial, log.get(first.id)) == (True, first)
        undo = accepting(log, undoes=first.id)
        assert (undo.partial, log.accepted("t")) == (False, more)
        accepting(log, undoes=undo.id)
        assert log.accepted("t") == Selection.joined([*lines.parts, *more.parts])
        log.drop([first.id, second.id])
        assert log.accepted("t") == Selection()
        log.forget(log.begin("t", [], undoes=None, now=3.0, part=lines))
        whole = accepting(log)
        assert (whole.partial, log.accepted("t")) == (False, Selection(everything=True))


def test_whose_a_file_was_and_its_attributes_are_kept_byte_for_byte(tmp_path):
    owner = Owner(1, 2, (("system.posix_acl_access", b"\2\0\xff"), ("user.caf\u00e9", b"")))
    edits = (Edit("a", OLD, None, owner), Edit("b", OLD, None, Owner(3, 4)), Edit("c", None, OLD))
    with OperationLog.opened(tmp_path / "operations.db") as log:
        made = log.begin("t", edits, undoes=None, now=1.0)

        assert log.edits(made.id) == edits


def test_attributes_that_no_person_sets_are_not_taken_from_a_log(tmp_path):
    edits = (Edit("a", OLD, None, Owner(1, 2, (("user.a", b"1"),))),)
    with OperationLog.opened(tmp_path / "operations.db") as log:
        made = log.begin("t", edits, undoes=None, now=1.0)
        log._db.execute("""UPDATE edit SET attributes = '{"security.capability": "AAAA", "user.a": "MQ=="}'""")
        assert log.edits(made.id) == edits
        for nonsense in ("nonsense", '["user.a"]', '{"user.a": 1}', '{"user.a": "not base64"}'):
            log._db.execute("UPDATE edit SET attributes = ?", (nonsense,))
            with pytest.raises(DamagedFile, match=r"operations\.db"):
                log.edits(made.id)


def test_what_was_edited_by_hand_is_kept_byte_for_byte(tmp_path):
    edited = Edited(2, 5, b'caf\xe9 \xff\r\n"\\\x00\xed\xa0\x80 \xc3\xa9\n')
    part = Selection((Part("a", frozenset({Span(3, 4, 3, 3), edited, Edited(9, 9, b"")})),))
    with OperationLog.opened(tmp_path / "operations.db") as log:
        accepting(log, part)

        assert log.accepted("t") == part


def age(log, layout):
    """Makes a log what an older Cairn left."""
    for column in (*(("before_size", "after_size") if layout < 4 else ()), "attributes"):
        log._db.execute(f"ALTER TABLE edit DROP COLUMN {column}")
    log._db.execute(f"PRAGMA user_version = {layout}")


@pytest.mark.parametrize("layout", [2, 3, 4])
def test_a_log_of_a_former_layout_keeps_what_it_has(tmp_path, layout):
    path = tmp_path / "operations.db"
    part = Selection((Part("a", WHOLE),))
    edit = Edit("a", OLD, Content(EntryKind.FILE, 0o644, b"new" * (layout // 4)))
    with OperationLog.opened(path) as log:
        made = log.finish(log.begin("t", [edit], undoes=None, now=1.0, part=part), now=2.0)
        age(log, layout)

    with OperationLog.opened(path) as log:
        assert log.edits(made.id) == (edit,)
        assert log.accepted("t") == part
        assert log._db.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_a_log_of_the_first_layout_gets_the_table_of_parts_and_keeps_what_it_has(tmp_path):
    path = tmp_path / "operations.db"
    with OperationLog.opened(path) as log:
        made = accepting(log)
        log._db.execute("DROP TABLE part")
        age(log, 1)

    with OperationLog.opened(path) as log:
        assert log.every() == (made,)
        assert log.accepted("t").everything
        log._db.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(StorageProblem, match="newer Cairn"), OperationLog.opened(path):
        pass


@pytest.mark.parametrize(
    "pieces",
    [
        "nonsense",
        '["nonsense"]',
        "[[1, 2]]",
        "5",
        '[["a", 1, 2, 3]]',
        "[null]",
        '[[1, "2", "x"]]',
        '[[1, 2, "\\ud800"]]',
    ],
)
def test_pieces_that_cannot_be_are_damage(tmp_path, pieces):
    with OperationLog.opened(tmp_path / "operations.db") as log:
        made = accepting(log, Selection((Part("a", WHOLE),)))
        log._db.execute("UPDATE part SET pieces = ? WHERE operation = ?", (pieces, made.id))
        with pytest.raises(DamagedFile):
            log.accepted("t")

"""`cairn op log` and `cairn undo --op`: what changed the project, and taking back any of it."""

from __future__ import annotations

import json

import pytest
from inline_snapshot import snapshot

from tests.cli.test_screens import GOOD, LIAR, cairn_json
from tests.conftest import Screen, tree

BYTES = """\
write_file("crlf.txt", "a\\r\\nb")
write_file("empty.txt", "")
move_file("src/tool.py", "lib/tool é.py")
delete_file("README.md")
submit_result("Moved.", ["crlf.txt", "empty.txt", "src/tool.py", "lib/tool é.py", "README.md"])
"""


def statuses():
    return [task["status"] for task in json.loads(cairn_json("list"))["tasks"]]


@pytest.mark.slow
def test_the_log_has_every_accept_and_undo_newest_first(project, cairn):
    assert cairn("op", "log") == snapshot(Screen(code=0, out="", err="cairn: nothing was accepted yet.\n"))
    cairn("run", "--code", "-", stdin=GOOD)
    cairn("accept")
    cairn("run", "--code", "-", stdin=LIAR)
    cairn("accept")
    cairn("undo")

    assert cairn("op", "log") == snapshot(
        Screen(
            code=0,
            out="""\
OP  WHEN                 WHAT       TASK    STATE      PATHS
3   DATE CLOCK  undo of 2  TASK2  in effect  a.txt
2   DATE CLOCK  accept     TASK2  undone     a.txt
1   DATE CLOCK  accept     TASK1  in effect  src/app.py
""",
            err="",
        )
    )
    assert cairn("op", "log", "-n", "1").out.count("\n") == 2


def test_the_log_as_json(project, cairn):
    cairn("run", "--code", "-", stdin=GOOD)
    cairn("accept")
    cairn("undo")

    operations = json.loads(cairn_json("op", "log"))["operations"]

    task = json.loads(cairn_json("list"))["tasks"][0]["id"]
    assert all(isinstance(each.pop("at"), float) for each in operations)
    common = {"task": task, "paths": ["src/app.py"]}
    assert operations == [
        {"number": 2, "kind": "undo", "undoes": 1, "state": "applied", "in_effect": True, **common},
        {"number": 1, "kind": "accept", "undoes": None, "state": "undone", "in_effect": False, **common},
    ]


def test_an_undo_is_undone_by_its_number_and_that_again_byte_for_byte(project, cairn):
    (project / "src/app.py").write_bytes(b"latin \xe9\r\nno end")
    (project / "src/tool.py").chmod(0o755)
    before = tree(project)
    cairn("run", "--code", "-", stdin=BYTES)
    cairn("accept")
    after = tree(project)
    assert after.keys() == {"src/app.py", "crlf.txt", "empty.txt", "lib/tool é.py"}

    assert cairn("undo", "--op", "1").code == 0
    assert (tree(project), statuses()) == (before, ["in review"])
    assert cairn("undo", "--op", "2") == snapshot(
        Screen(
            code=0,
            out="Took back operation 2, an undo of TASK1: 4 files restored.\n",
            err="It is accepted again:  cairn undo TASK1   takes it back.\n",
        )
    )
    assert (tree(project), statuses()) == (after, ["accepted"])
    assert cairn("undo", "--op", "3") == snapshot(
        Screen(
            code=0,
            out="Took back operation 3, an undo of TASK1: 4 files restored.\n",
            err="It is in review again:  cairn accept TASK1   or   cairn reject TASK1\n",
        )
    )
    assert (tree(project), statuses()) == (before, ["in review"])
    assert cairn("accept").code == 0
    assert (tree(project), statuses()) == (after, ["accepted"])


def test_an_earlier_accept_is_undone_alone_by_its_number(project, cairn):
    cairn("run", "--code", "-", stdin=GOOD)
    cairn("accept")
    before = tree(project)
    cairn("run", "--code", "-", stdin=LIAR)
    cairn("accept")

    cairn("undo", "--op", "1")

    assert tree(project)["src/app.py"][1] == b'def greet(name):\n    return "hello " + name\n'
    assert tree(project).keys() == {*before, "a.txt"}
    assert statuses() == ["accepted", "in review"]


def test_a_rejected_tasks_accept_can_be_brought_back_by_its_undo(project, cairn):
    cairn("run", "--code", "-", stdin=GOOD)
    cairn("accept")
    after = tree(project)
    cairn("undo")
    cairn("reject")

    cairn("undo", "--op", "2")

    assert (tree(project), statuses()) == (after, ["accepted"])
    assert cairn("list").code == 0


@pytest.mark.slow
def test_what_cannot_be_undone_by_number_says_so_and_writes_nothing(project, cairn):
    cairn("run", "--code", "-", stdin=GOOD)
    cairn("accept")
    cairn("undo")
    cairn("accept")
    before = tree(project)

    assert cairn("undo", "--op", "1").err == snapshot("""\
cairn: Operation 1 is taken back already.
  cairn op log   shows which are in effect.
""")
    assert cairn("undo", "--op", "2").err == snapshot("""\
cairn: Operation 2 is out of date: task TASK1 was accepted again since.
  Operation 3 did that.
  cairn undo --op 3   takes that back first.
""")
    assert cairn("undo", "--op", "7") == snapshot(
        Screen(
            code=3,
            out="",
            err="""\
cairn: There is no operation 7.
  cairn op log   shows which there are.
""",
        )
    )
    assert cairn("undo", "bcdfgh", "--op", "3") == snapshot(
        Screen(
            code=2,
            out="",
            err="""\
cairn: An ID and --op name two things to take back.
  cairn undo --op 3
""",
        )
    )
    assert cairn("undo", "--op", "0").code == 2
    assert tree(project) == before


def test_a_later_edit_survives_the_undo_of_an_undo(project, cairn):
    (project / "src/app.py").write_text("# top\n\n\n" + (project / "src/app.py").read_text())
    cairn("run", "--code", "-", stdin=GOOD)
    cairn("accept")
    cairn("undo")
    mine = (project / "src/app.py").read_text().replace("# top", "# mine")
    (project / "src/app.py").write_text(mine)

    assert cairn("undo", "--op", "2").code == 0

    assert (project / "src/app.py").read_text() == mine.replace("hello", "good day")

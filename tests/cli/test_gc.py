"""`cairn gc` and what `cairn doctor` says of the disk, as a person sees them."""

from __future__ import annotations

import json
import os
import re

import pytest
from inline_snapshot import snapshot

from cairn.workspace import Workspace
from tests.cli.test_screens import GOOD, cairn_json
from tests.conftest import Screen, tree


def sizes(screen: Screen) -> Screen:
    """The same with every size the same."""
    same = re.compile(r"\b\d[\d.]* (bytes?|KB|MB)\b")
    return Screen(screen.code, same.sub("SIZE", screen.out), same.sub("SIZE", screen.err))


def test_with_nothing_past_its_time_nothing_goes(project, cairn):
    cairn("run", "--code", "-", stdin=GOOD)
    cairn("reject")

    assert cairn("gc") == snapshot(
        Screen(
            code=0,
            out="Nothing to delete: nothing that ended is older than 30 days and past undoing.\n",
            err="",
        )
    )
    assert len(json.loads(cairn_json("list"))["tasks"]) == 1


@pytest.mark.slow
def test_a_dry_run_says_what_goes_and_then_it_goes(project, cairn, monkeypatch):
    monkeypatch.setenv("CAIRN_KEEP_OPERATIONS", "0")
    cairn("run", "--code", "-", stdin=GOOD)
    cairn("reject")
    cairn("run", "--code", "-", stdin=GOOD)
    cairn("accept")
    cairn("run", "--code", "-", stdin=GOOD.replace("good", "fine").replace("hello", "good"))
    after = tree(project)
    half = project / ".cairn/tasks/.bcdfgh.db.1.2"
    aside = project / ".cairn/cairn.db.damaged-20260131-154500"
    for path in (half, aside):
        path.write_text("four")
        os.utime(path, (1, 1))

    told = cairn("gc", "--days", "0", "--dry-run")
    assert sizes(told) == snapshot(
        Screen(
            code=0,
            out="""\
task       TASK1  rejected  run the program from standard input
task       TASK2  accepted  run the program from standard input
operation  1  accept  TASK2
left over  .cairn/tasks/.TASK4.db.1.2
Would delete 2 tasks, 1 operation and 1 leftover file: about SIZE.
""",
            err="cairn: kept .cairn/cairn.db.damaged-20260131-154500 (SIZE); delete it when you need it no more\n",
        )
    )
    assert half.exists()
    assert len(json.loads(cairn_json("list"))["tasks"]) == 3
    assert sizes(cairn("gc", "--days", "0")) == snapshot(
        Screen(
            code=0,
            out="""\
task       TASK1  rejected  run the program from standard input
task       TASK2  accepted  run the program from standard input
operation  1  accept  TASK2
left over  .cairn/tasks/.TASK4.db.1.2
Deleted 2 tasks, 1 operation and 1 leftover file: SIZE freed.
""",
            err="cairn: kept .cairn/cairn.db.damaged-20260131-154500 (SIZE); delete it when you need it no more\n",
        )
    )

    assert (half.exists(), aside.exists(), tree(project)) == (False, True, after)
    assert [task["status"] for task in json.loads(cairn_json("list"))["tasks"]] == ["in review"]
    assert cairn("op", "log").err == "cairn: nothing was accepted yet.\n"
    assert json.loads(cairn_json("gc", "--days", "0")) == snapshot(
        {
            "dry_run": False,
            "tasks": [],
            "operations": [],
            "left_over": [],
            "workspaces": [],
            "copies": [],
            "bytes": 0,
            "kept": [".cairn/cairn.db.damaged-20260131-154500"],
        }
    )


@pytest.mark.slow
def test_the_settings_say_how_long(project, cairn):
    (project / "cairn.toml").write_text("[keep]\ndays = 0\n")
    cairn("run", "--code", "-", stdin=GOOD)
    cairn("reject")

    assert "Deleted 1 task: " in cairn("gc").out
    (project / "cairn.toml").write_text("[keep]\ndays = -1\n")
    assert (cairn("gc").code, "keep.days" in cairn("gc").err) == (2, True)


@pytest.mark.slow
def test_doctor_says_what_takes_room_and_what_was_left(project, cairn):
    cairn("run", "--code", "-", stdin=GOOD)
    cairn("accept")
    for name in ("tasks/.bcdfgh.db.1.2", "cairn.db.damaged-20260131-154500"):
        (project / ".cairn" / name).write_text("four")
        os.utime(project / ".cairn" / name, (1, 1))

    shown = sizes(cairn("doctor")).out.partition("  disk ")[2]

    assert shown == snapshot("""\
     .cairn has SIZE: tasks SIZE, accepts and undos SIZE, ledger SIZE, set aside SIZE, left over SIZE, other SIZE
note    files     1 left by killed commands, SIZE: .cairn/tasks/.TASK2.db.1.2
                  cairn gc   deletes them.
note    files     1 set aside: .cairn/cairn.db.damaged-20260131-154500
                  Delete them yourself when you need nothing in them any more.
ok      budget    today 0 tokens, money 0, 0 tasks running
""")


def test_workspaces_of_killed_checks_are_named_before_they_go(project, cairn, tmp_path, monkeypatch):
    """Those that a living process holds are not touched, and so not named."""
    environ = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    monkeypatch.setenv("XDG_CACHE_HOME", environ["XDG_CACHE_HOME"])
    cairn("list")
    killed, used = Workspace.make(project, environ), Workspace.make(project, environ)
    (killed.upper / "made").write_bytes(b"x" * 5000)
    os.close(killed._lock)
    told = cairn("gc", "--dry-run")
    assert told.out == f"workspace  {killed.folder}\nWould delete 1 leftover workspace: about 5.0 KB.\n"
    assert killed.folder.exists()
    assert json.loads(cairn("gc", "--dry-run", "--json").out)["workspaces"] == [str(killed.folder)]
    assert cairn("gc").out == f"workspace  {killed.folder}\nDeleted 1 leftover workspace: 5.0 KB freed.\n"
    assert (killed.folder.exists(), used.folder.exists()) == (False, True)
    assert cairn("gc").out.startswith("Nothing to delete")
    used.remove()

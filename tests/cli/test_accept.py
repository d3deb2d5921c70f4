"""`cairn accept` with care: dangerous paths named, some paths or hunks taken, and what would happen said first."""

from __future__ import annotations

import json

from inline_snapshot import snapshot

from tests.cli.test_screens import cairn_json
from tests.conftest import Screen, tree

DANGEROUS = """\
write_file("conftest.py", "import os\\n")
write_file("a.txt", "a\\n")
write_file(".github/workflows/ci.yml", "on: push\\n")
submit_result("Tests.", ["conftest.py", "a.txt", ".github/workflows/ci.yml"])
"""


def test_a_review_names_dangerous_paths_first(project, cairn):
    assert cairn("run", "--code", "-", stdin=DANGEROUS).out == snapshot("""\
TASK1  in review  program from standard input

Dangerous paths, look at these first:
  .github/workflows/ci.yml: runs in CI, with its secrets
  conftest.py: runs before any test does

Tests.

 .github/workflows/ci.yml | 1 +
 a.txt                    | 1 +
 conftest.py              | 1 +
 3 files changed, 3 insertions(+)

Claimed and changed agree (3 files).

Next:
  cairn diff TASK1     read the changes
  cairn accept TASK1 --allow .github/workflows/ci.yml --allow conftest.py   take them into the project
  cairn reject TASK1   drop them
""")
    assert cairn("show", "--no-code").out == snapshot("""\
TASK1  in review  program from standard input
Task:     run the program from standard input
Created:  DATE CLOCK
Used:     1 of 12 steps, 4 of 20,000 calls, N ms of 1,N s

Dangerous paths, look at these first:
  .github/workflows/ci.yml: runs in CI, with its secrets
  conftest.py: runs before any test does

Step 1  from standard input: submitted (4 calls, N ms)
  calls: write_file 3x, submit_result

Summary:
  Tests.

 .github/workflows/ci.yml | 1 +
 a.txt                    | 1 +
 conftest.py              | 1 +
 3 files changed, 3 insertions(+)

Claimed and changed agree (3 files).

Next:
  cairn diff TASK1     read the changes
  cairn accept TASK1 --allow .github/workflows/ci.yml --allow conftest.py   take them into the project
  cairn reject TASK1   drop them
""")
    assert json.loads(cairn_json("show"))["dangers"] == snapshot(
        [
            {
                "path": ".github/workflows/ci.yml",
                "why": "runs in CI, with its secrets",
                "allowed": False,
                "never": False,
            },
            {
                "path": "conftest.py",
                "why": "runs before any test does",
                "allowed": False,
                "never": False,
            },
        ]
    )


def test_dangerous_paths_stop_an_accept_until_each_is_named(project, cairn):
    cairn("run", "--code", "-", stdin=DANGEROUS)
    before = tree(project)

    assert cairn("accept") == snapshot(
        Screen(
            code=4,
            out="",
            err="""\
cairn: Task TASK1 changes 2 dangerous paths that nobody allowed. Nothing was written.
  .github/workflows/ci.yml: runs in CI, with its secrets.
  conftest.py: runs before any test does.
  cairn diff TASK1   shows them.
  cairn accept TASK1 --allow .github/workflows/ci.yml --allow conftest.py   accepts them too.
  [accept] allow = [...]   in cairn.toml allows paths for good.
""",
        )
    )
    assert cairn("accept", "--allow", "conftest.py").err == snapshot("""\
cairn: Task TASK1 changes 1 dangerous path that nobody allowed. Nothing was written.
  .github/workflows/ci.yml: runs in CI, with its secrets.
  cairn diff TASK1   shows them.
  cairn accept TASK1 --allow conftest.py --allow .github/workflows/ci.yml   accepts them too.
  [accept] allow = [...]   in cairn.toml allows paths for good.
""")
    assert json.loads(cairn_json("accept"))["error"]["paths"] == [".github/workflows/ci.yml", "conftest.py"]
    assert cairn("accept", "--allow", "../x").code == 2
    assert tree(project) == before
    assert cairn("accept", "--allow", "conftest.py", "--allow", ".github/**") == snapshot(
        Screen(
            code=0,
            out="Accepted TASK1: 3 files changed.\n",
            err="cairn undo TASK1   takes it back.\n",
        )
    )
    assert tree(project).keys() == {*before, "conftest.py", "a.txt", ".github/workflows/ci.yml"}
    assert cairn("show", "--no-code").out.count("angerous") == 0


def test_the_settings_allow_paths_for_good_and_the_review_says_so(project, cairn):
    (project / "cairn.toml").write_text('[accept]\nallow = ["**/conftest.py", ".github/"]\n')

    assert (
        "  conftest.py: runs before any test does (allowed by the settings)\n"
        in cairn("run", "--code", "-", stdin=DANGEROUS).out
    )
    assert cairn("accept").code == 0


def test_run_with_accept_obeys_the_same_rule_and_leaves_the_task_in_review(project, cairn):
    before = tree(project)

    assert cairn("run", "--accept", "--code", "-", stdin=DANGEROUS) == snapshot(
        Screen(
            code=4,
            out="""\
TASK1  in review  program from standard input

Dangerous paths, look at these first:
  .github/workflows/ci.yml: runs in CI, with its secrets
  conftest.py: runs before any test does

Tests.

 .github/workflows/ci.yml | 1 +
 a.txt                    | 1 +
 conftest.py              | 1 +
 3 files changed, 3 insertions(+)

Claimed and changed agree (3 files).

Next:
  cairn diff TASK1     read the changes
  cairn accept TASK1 --allow .github/workflows/ci.yml --allow conftest.py   take them into the project
  cairn reject TASK1   drop them
""",
            err="""\
cairn: task TASK1: run the program from standard input
program
  checking the program
  running
  write_file('conftest.py', content='import os\\n')  N ms
  write_file('a.txt', content='a\\n')  N ms
  write_file('.github/workflows/ci.yml', content='on: push\\n')  N ms
  submit_result('Tests.', changed_files=['conftest.py', 'a.txt', '.github/workflows/ci.yml'])  N ms
  submitted (4 calls, N ms)
cairn: Task TASK1 changes 2 dangerous paths that nobody allowed. Nothing was written.
  .github/workflows/ci.yml: runs in CI, with its secrets.
  conftest.py: runs before any test does.
  cairn diff TASK1   shows them.
  cairn accept TASK1 --allow .github/workflows/ci.yml --allow conftest.py   accepts them too.
  [accept] allow = [...]   in cairn.toml allows paths for good.
""",
        )
    )
    assert (tree(project), json.loads(cairn_json("list"))["tasks"][0]["status"]) == (before, "in review")
    refused = cairn("run", "--accept", "--json", "--code", "-", stdin=DANGEROUS)
    told = json.loads(refused.out)
    assert (refused.code, told["task"]["status"], told["error"]["exit_code"]) == (4, "in review", 4)


def test_a_task_cannot_allow_itself(project, cairn):
    program = """\
write_file("cairn.toml", '[accept]\\nallow = ["**"]\\n')
write_file("conftest.py", "")
submit_result("x", ["cairn.toml", "conftest.py"])
"""
    assert cairn("run", "--accept", "--code", "-", stdin=program).code == 4
    assert not (project / "cairn.toml").exists()

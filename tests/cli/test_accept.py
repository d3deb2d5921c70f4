"""`cairn accept` with care: dangerous paths named, some paths or hunks taken, and what would happen said first."""

from __future__ import annotations

import json
import subprocess

import pytest
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


THREE = """\
text = read_file("src/app.py")
write_file("src/app.py", text.replace("hello", "good day"))
move_file("src/tool.py", "lib/tool.py")
write_file("lib/new.py", "NEW = 1\\n")
submit_result("Three.", ["src/app.py", "src/tool.py", "lib/tool.py", "lib/new.py"])
"""


def test_some_paths_are_accepted_and_the_rest_stays_in_review(project, cairn):
    cairn("run", "--code", "-", stdin=THREE)
    (task,) = json.loads(cairn_json("list"))["tasks"]
    before = tree(project)

    assert cairn("accept", task["id"], "src/app.py") == snapshot(
        Screen(
            code=0,
            out="Accepted part of TASK1: 1 file changed.\n",
            err="""\
2 files left in review:  cairn diff TASK1   shows the rest.
cairn undo TASK1   takes that part back.
""",
        )
    )
    assert tree(project) == {**before, "src/app.py": (0o644, b'def greet(name):\n    return "good day " + name\n')}
    assert cairn("diff", "--stat").out == snapshot("""\
 lib/new.py           | 1 +
 {src => lib}/tool.py | 0
 2 files changed, 1 insertion(+)
""")
    assert cairn("show", "--no-code").out.partition("Summary")[2] == snapshot("""\
:
  Three.

 lib/new.py           | 1 +
 {src => lib}/tool.py | 0
 2 files changed, 1 insertion(+)

Accepted before, wholly or in part: src/app.py

Claimed and changed agree (4 files).

Next:
  cairn diff TASK1     read the changes
  cairn accept TASK1   take them into the project
  cairn reject TASK1   drop them
  cairn undo TASK1     take the last accepted part back
""")
    assert cairn("accept", task["id"], "src") == snapshot(
        Screen(
            code=0,
            out="Accepted part of TASK1: 1 file changed.\n",
            err="""\
1 file left in review:  cairn diff TASK1   shows the rest.
cairn undo TASK1   takes that part back.
""",
        )
    )
    assert json.loads(cairn_json("show"))["accepted"] == ["lib/tool.py", "src/app.py"]
    assert cairn("accept") == snapshot(
        Screen(
            code=0,
            out="Accepted TASK1: 1 file changed.\n",
            err="cairn undo TASK1   takes that part back.\n",
        )
    )
    after = tree(project)
    assert after.keys() == {"README.md", "src/app.py", "lib/tool.py", "lib/new.py"}
    assert json.loads(cairn_json("show"))["task"]["status"] == "accepted"
    assert cairn("diff", "--name-only").out == "lib/new.py\nlib/tool.py\nsrc/app.py\n"


@pytest.mark.slow
def test_undo_takes_back_the_last_part_and_then_the_one_before(project, cairn):
    cairn("run", "--code", "-", stdin=THREE)
    (task,) = json.loads(cairn_json("list"))["tasks"]
    trees = [tree(project)]
    for names in (["src/app.py"], ["lib/tool.py"], []):
        cairn("accept", task["id"], *names)
        trees.append(tree(project))

    assert cairn("undo") == snapshot(
        Screen(
            code=0,
            out="Took back TASK1: 1 file restored.\n",
            err="It is in review again:  cairn accept TASK1   or   cairn reject TASK1\n",
        )
    )
    assert tree(project) == trees[2]
    assert cairn("diff", "--name-only").out == "lib/new.py\n"
    assert cairn("undo", task["id"]).code == 0
    assert tree(project) == trees[1]
    assert cairn("diff", "--name-only").out == "lib/new.py\nlib/tool.py\n"
    assert cairn("undo").code == 0
    assert tree(project) == trees[0]
    assert cairn("accept").code == 0
    assert tree(project) == trees[3]


@pytest.mark.slow
def test_parts_are_taken_back_by_number_in_any_order(project, cairn):
    cairn("run", "--code", "-", stdin=THREE)
    (task,) = json.loads(cairn_json("list"))["tasks"]
    cairn("accept", task["id"], "src/app.py")
    cairn("accept")
    after = tree(project)

    assert cairn("undo", "--op", "1").code == 0
    assert cairn("diff", "--name-only").out == "src/app.py\n"
    assert cairn("list").out.count("in review") == 1
    assert cairn("undo", "--op", "3").code == 0
    assert (tree(project), json.loads(cairn_json("list"))["tasks"][0]["status"]) == (after, "accepted")


@pytest.mark.slow
def test_paths_that_name_no_change_are_not_found_and_nothing_is_written(project, cairn):
    cairn("run", "--code", "-", stdin=THREE)
    (task,) = json.loads(cairn_json("list"))["tasks"]
    before = tree(project)

    assert cairn("accept", task["id"], "lib", "README.md") == snapshot(
        Screen(
            code=3,
            out="",
            err="""\
cairn: Task TASK1 has no change to accept at README.md.
  cairn diff TASK1 --name-only   shows what is left to accept.
""",
        )
    )
    for name in ("nowhere", "/etc/passwd", "../other", ".git/config", ""):
        assert cairn("accept", task["id"], name).code == 3, name
    assert tree(project) == before


def test_a_path_is_read_from_the_folder_one_stands_in_too(project, cairn):
    cairn("run", "--code", "-", stdin=THREE.replace("lib/new.py", "app.py"))
    (task,) = json.loads(cairn_json("list"))["tasks"]
    here = ("-C", "src")
    (project / ".git").mkdir()
    (project / ".git/HEAD").write_text("ref: refs/heads/main\n")

    assert cairn(*here, "accept", task["id"], "app.py") == snapshot(
        Screen(
            code=2,
            out="",
            err="""\
cairn: app.py could be src/app.py or app.py, and both changed.
  ./app.py   is the one in this folder; in the project's own folder it is the other one.
""",
        )
    )
    assert cairn(*here, "accept", task["id"], "./app.py", "--json").code == 0
    assert cairn(*here, "accept", task["id"], str(project / "lib")).code == 0
    assert cairn("diff", "--name-only").out == "app.py\n"


def test_a_part_obeys_the_rules_of_dangerous_paths_and_conflicts_of_that_part_alone(project, cairn):
    cairn("run", "--code", "-", stdin=DANGEROUS)
    (task,) = json.loads(cairn_json("list"))["tasks"]

    assert cairn("accept", task["id"], "a.txt").code == 0
    assert cairn("accept", task["id"], "conftest.py").code == 4
    (project / "conftest.py").write_text("mine\n")
    assert cairn("accept", task["id"], ".github", "--allow", ".github").code == 0
    assert cairn("accept", "--allow", "conftest.py").code == 4
    assert cairn("show", "--no-code").out.partition("changed,")[2] == snapshot("""\
 1 insertion(+)

Accepted before, wholly or in part: .github/workflows/ci.yml, a.txt

Claimed and changed agree (3 files).

Accept would stop at these conflicts with your files:
  conftest.py: made on both sides, differently

Next:
  cairn diff TASK1     read the changes
  cairn retry TASK1    do it again from today's files
  cairn reject TASK1   drop them
""")
    told = json.loads(cairn_json("accept", task["id"], "--allow", "conftest.py"))
    assert told["error"]["paths"] == ["conftest.py"]


def test_a_part_as_json_says_what_is_left(project, cairn):
    cairn("run", "--code", "-", stdin=THREE)
    (task,) = json.loads(cairn_json("list"))["tasks"]

    told = json.loads(cairn_json("accept", task["id"], "src/app.py"))

    assert told == {
        "id": task["id"], "status": "in review", "operation": 1, "paths": ["src/app.py"],
        "left": ["lib/new.py", "lib/tool.py"], "kept": [],
    }  # fmt: skip


def test_a_commit_of_a_part_has_that_part_alone(repository, cairn):
    cairn("run", "--code", "-", stdin=THREE)
    (task,) = json.loads(cairn_json("list"))["tasks"]
    (repository / "lib").mkdir()

    assert cairn("accept", task["id"], "src/tool.py", "--commit").code == 0
    command = ["git", "show", "--name-status", "--format=", "--no-renames"]
    assert (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout == "A\tlib/tool.py\nD\tsrc/tool.py\n"
    )

"""The screens of checks: proposed, run, shown, refused."""

from __future__ import annotations

import json

import pytest
from inline_snapshot import snapshot

from cairn.local_runtime import namespaces_work
from tests.cli.test_screens import cairn_json
from tests.conftest import Screen

pytestmark = pytest.mark.skipif(not namespaces_work(), reason="this machine has no user namespaces")

BREAKS = """\
edit_file("src/app.py", "hello ", "hi ")
delete_file("tests/test_app.sh")
submit_result("Shorter.", ["src/app.py", "tests/test_app.sh"])
"""


@pytest.fixture
def checked(project):
    (project / "tests").mkdir()
    (project / "tests/test_app.sh").write_text("true\n")
    (project / "Makefile").write_text("test:\n\t@grep -q hello src/app.py && echo fine\n")
    (project / "cairn.toml").write_text(
        '[checks]\ntests = "grep -c hello src/app.py"\nlint = {command = "echo neat; touch made.txt", required = false}\n'
    )
    return project


def test_init_proposes_checks(project, cairn):
    (project / "Makefile").write_text("test:\n\ttrue\nlint: test\n\ttrue\n")
    assert cairn("init").out.partition("\n")[2] == snapshot("""\
Proposed a check: tests = make test (from Makefile)
Proposed a check: lint = make lint (from Makefile)
""")
    assert (
        (project / "cairn.toml")
        .read_text()
        .endswith('[checks]\ntests = "make test"  # from Makefile\nlint = "make lint"  # from Makefile\n')
    )


def test_a_failed_check_is_seen_wherever_one_looks_and_keeps_accept_from_it(checked, cairn):
    assert cairn("run", "--code", "-", stdin=BREAKS).out == snapshot("""\
TASK1  in review  program from standard input

Shorter.

 src/app.py        | 2 +-
 tests/test_app.sh | 1 -
 2 files changed, 1 insertion(+), 2 deletions(-)

Checks:
  tests: failed (exit code 1): the task broke it in N ms, over b73147037d7a
  lint (not required): not run

These changes weaken tests or checks; look before you believe them:
  tests/test_app.sh: a file of tests is deleted

Claimed and changed agree (2 files).

Next:
  cairn diff TASK1     read the changes
  cairn accept TASK1 --force   take them into the project
  cairn reject TASK1   drop them
""")
    assert cairn("list").out == snapshot("""\
ID      STATUS     CHANGES                       AGE  TASK
TASK1  in review  2 files +1 -2, checks failed  N s  run the program from standard input
""")
    assert cairn("diff", "--name-only") == snapshot(
        Screen(
            code=0,
            out="""\
src/app.py
tests/test_app.sh
""",
            err="""\
cairn: checks: tests failed, lint not run
cairn: weakens a test or check: tests/test_app.sh: a file of tests is deleted
""",
        )
    )
    assert cairn("accept") == snapshot(
        Screen(
            code=1,
            out="",
            err="""\
cairn: Task TASK1 did not pass a required check; nothing was written.
  tests failed (exit code 1): the task broke it.
  cairn check TASK1   runs its checks again.
  cairn accept TASK1 --force   takes it all the same.
""",
        )
    )
    assert cairn("check") == snapshot(
        Screen(
            code=1,
            out="""\
tests: failed (exit code 1): the task broke it in N ms, in a sandbox (namespaces), files by overlayfs
  $ grep -c hello src/app.py
  0
lint: passed in N ms, in a sandbox (namespaces), files by overlayfs
  wrote, and were thrown away: made.txt
""",
            err="""\
  running the check tests: grep -c hello src/app.py
  check tests failed (exit code 1): the task broke it after N ms
  running the check lint: echo neat; touch made.txt
  check lint passed after N ms
""",
        )
    )
    (tests, lint) = json.loads(cairn_json("show"))["checks"]
    assert (tests["verdict"], tests["result"]["before"], lint["verdict"]) == ("failed", "passed", "passed")
    assert cairn("accept", "--force") == snapshot(
        Screen(
            code=0,
            out="Accepted TASK1: 2 files changed.\n",
            err="cairn undo TASK1   takes it back.\n",
        )
    )


def test_checks_that_pass_are_told_briefly(checked, cairn):
    cairn("run", "--code", "-", stdin='write_file("a.txt", "a")\nsubmit_result("Done.", ["a.txt"])\n')
    assert cairn("check", "-v") == snapshot(
        Screen(
            code=0,
            out="""\
tests: passed in N ms, in a sandbox (namespaces), files by overlayfs
  $ grep -c hello src/app.py
  1
lint: passed in N ms, in a sandbox (namespaces), files by overlayfs
  wrote, and were thrown away: made.txt
  $ echo neat; touch made.txt
  neat
""",
            err="""\
  running the check tests: grep -c hello src/app.py
  check tests passed after N ms
  running the check lint: echo neat; touch made.txt
  check lint passed after N ms
""",
        )
    )
    assert cairn("show", "--no-code").out == snapshot("""\
TASK1  in review  program from standard input
Task:     run the program from standard input
Created:  DATE CLOCK
Used:     1 of 12 steps, 2 of 20,000 calls, N ms of 1,N s

Step 1  from standard input: submitted (2 calls, N ms)
  calls: write_file, submit_result

Summary:
  Done.

 a.txt | 1 +
 1 file changed, 1 insertion(+)

Checks:
  tests: passed in N ms, over 846418923da0
  lint (not required): passed in N ms, over 846418923da0

Claimed and changed agree (1 file).

Next:
  cairn diff TASK1     read the changes
  cairn accept TASK1   take them into the project
  cairn reject TASK1   drop them
""")


def test_wrong_words_are_told(checked, cairn):
    cairn("run", "--code", "-", stdin='write_file("a.txt", "a")\nsubmit_result("Done.", ["a.txt"])\n')
    task = json.loads(cairn_json("list"))["tasks"][0]["id"]
    assert cairn("check", task, "types") == snapshot(
        Screen(
            code=3,
            out="",
            err="""\
cairn: There is no check 'types'.
  The project has: tests, lint.
  Name one of these.
""",
        )
    )
    (checked / "cairn.toml").unlink()
    assert cairn("check") == snapshot(
        Screen(
            code=3,
            out="",
            err="""\
cairn: The project has no checks.
  None stands in cairn.toml under [checks].
  [checks]
  tests = "pytest -q"   in cairn.toml adds one; cairn init   proposes some.
""",
        )
    )
    (checked / "cairn.toml").write_text("[runtime]\nunsandboxed = true\n")
    refused = cairn("show")
    assert (refused.code, "is not a project's to set" in refused.err) == (2, True)


def test_edits_after_a_check_are_told_wherever_one_looks(checked, cairn):
    program = 'edit_file("src/tool.py", "return 1", "return 2")\nwrite_file("new.txt", "x")\n'
    cairn("run", "--code", "-", stdin=program + 'submit_result("Two.", ["src/tool.py", "new.txt"])\n')
    (checked / "README.md").write_text("# Mine\n")
    assert "\n  tests: passed, before later edits in N ms, over " in cairn("show").out
    assert cairn("list").out == snapshot("""\
ID      STATUS     CHANGES                                           AGE  TASK
TASK1  in review  2 files +2 -1, checks passed, before later edits  N s  run the program from standard input
""")
    assert cairn("diff", "--name-only").err == snapshot(
        "cairn: checks: tests passed, before later edits, lint not run\n"
    )
    shown = json.loads(cairn("show", "--json").out)["checks"]
    assert [(each["name"], each["verdict"], each["outdated"]) for each in shown] == [
        ("tests", "passed", True),
        ("lint", "not run", False),
    ]
    assert cairn("accept", cairn.ids[0], "new.txt", "--dry-run").err == snapshot("""\
cairn: it would be accepted on checks that passed before later edits of the project: tests
cairn: it would be accepted in part; these checks ran on all that the task changed: tests
1 file would be left in review.
This was a dry run.
""")
    assert cairn("accept", cairn.ids[0], "new.txt").err == snapshot("""\
cairn: accepted on checks that passed before later edits of the project: tests
cairn: accepted in part; these checks ran on all that the task changed: tests
1 file left in review:  cairn diff TASK1   shows the rest.
cairn undo TASK1   takes that part back.
""")
    cairn("check")
    assert cairn("show").out.partition("Accepted before")[2] == snapshot("""\
, wholly or in part: new.txt

Checks, over all that the task changed:
  tests: passed in N ms, over 7b35b046fbff
  lint (not required): passed in N ms, over 7b35b046fbff

Claimed and changed agree (2 files).

Next:
  cairn diff TASK1     read the changes
  cairn accept TASK1   take them into the project
  cairn reject TASK1   drop them
  cairn undo TASK1     take the last accepted part back
""")


def test_a_dry_run_foretells_the_refusal(checked, cairn):
    cairn("run", "--code", "-", stdin=BREAKS)
    assert (cairn("accept", "--dry-run").code, cairn("accept", "--dry-run", "--force").code) == (1, 0)

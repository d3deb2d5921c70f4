"""What a person sees of a task that asks, without a terminal."""

from __future__ import annotations

import pytest
from inline_snapshot import snapshot

PROGRAM = 'write_file("README.md", "# New\\n")\nsubmit_result("Done.", ["README.md"])\n'


@pytest.fixture
def waiting(project, cairn):
    """A project whose only task waits, and the screen of its run."""
    (project / "cairn.toml").write_text('[policy]\nask = ["write(*.md)"]\n')
    (project / "p.py").write_text(PROGRAM)
    return cairn("run", "--code", "p.py")


def test_the_end_of_a_run_that_asks(waiting):
    assert waiting.code == 0
    assert waiting.out == snapshot("""\
TASK1  waiting (asks: write_file('README.md', content='# New\\n'))  program p.py

No files changed.

It asks: may it call write_file at README.md?
  write_file('README.md', content='# New\\n')
  (the policy's rule write(*.md) asks)
diff --git a/README.md b/README.md
index cadf716e6b6c58bc062fe4e20462efcc61e37bca..e65f941eafc191b1242e9ef5170ab3426ef3c42b 100644
--- a/README.md
+++ b/README.md
@@ -1,3 +1 @@
-# Sample
-
-TODO: say more.
+# New

Next:
  cairn answer TASK1   answer it; --yes, --no and --always do so at once
  cairn cancel TASK1   end it here
""")
    assert waiting.err == snapshot("""\
cairn: task TASK1: run the program p.py
program
  checking the program
  running
  waits for an answer: write_file('README.md', content='# New\\n') (1 call, N ms)
""")


def test_the_list_says_what_is_asked(waiting, cairn):
    assert cairn("list").out == snapshot("""\
ID      STATUS   CHANGES  AGE  TASK
TASK1  waiting  -        N s  run the program p.py: asks: write_file('README.md', content='# New\\n')
""")


def test_nobody_to_be_asked_is_told_what_to_type(waiting, cairn):
    screen = cairn("answer")
    assert (screen.code, screen.err) == (
        2,
        snapshot("""\
cairn: Nobody can be asked here: this is no terminal, or --json was given.
  cairn answer TASK1 --yes
  cairn answer TASK1 --no --because "..."
"""),
    )


def test_a_task_that_asks_nothing(waiting, cairn):
    cairn("answer", "--no")
    assert [
        (screen.code, screen.err) for screen in (cairn("answer"), cairn("answer", cairn.ids[0], "--yes"))
    ] == snapshot(
        [
            (
                3,
                """\
cairn: There is no task to answer.
  cairn run "..."   starts one; cairn list   shows all.
""",
            ),
            (
                3,
                """\
cairn: Task TASK1 asks nothing.
  cairn show TASK1
""",
            ),
        ]
    )


def test_options_that_do_not_go_together(waiting, cairn):
    screen = cairn("answer", "--yes", "--because", "x")
    assert (screen.code, screen.err) == (
        2,
        snapshot("""\
cairn: These options do not go together.
  cairn answer ID --yes, or --always, or --no --because "..."
"""),
    )

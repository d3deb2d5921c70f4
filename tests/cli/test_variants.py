"""Variants as screens: the table, what differs, and what an accept does to the others."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from inline_snapshot import snapshot

from cairn.queue import TaskQueue
from cairn.task import CodeOrigin, Terms
from tests.cli.here import Here

SMALL = "write_file('a.txt', 'one\\n')\nsubmit_result('small', ['a.txt'])\n"
SAME = "write_file('a.txt', 'none\\n')\nwrite_file('a.txt', 'one\\n')\nsubmit_result('the same', ['a.txt'])\n"
LARGE = """write_file('a.txt', 'two\\n')
write_file('README.md', read_file('README.md') + 'More.\\n')
submit_result('large', ['a.txt', 'README.md'])
"""
BROKEN = "print(1 / 0)\n"


@pytest.fixture
def here(project, capfd, monkeypatch):
    return Here(capfd, monkeypatch)


@pytest.fixture
def group(here, project):
    """Four variants that ran: two with the same result, a larger one and a failed one, in the order of their ids."""
    here("list")
    (project / ".cairn").mkdir(exist_ok=True)
    with TaskQueue(project / ".cairn/cairn.db") as queue:
        programs = {"large": LARGE, "small": SMALL, "same": SAME, "broken": BROKEN}
        every = [CodeOrigin("file", name, text) for name, text in programs.items()]
        first = queue.draft("make it", every[0])
        terms = Terms(group=first.id)
        others = [queue.draft("make it", origin, terms=terms) for origin in every[1:]]
        ids = [task.id for task in queue.put([replace(first, terms=terms), *others])]
    here.ids += ids
    for task in ids:
        here("resume", task)
    return ids


def test_variants_are_compared_accepted_and_taken_back(here, project, group):
    large, small, same, broken = group

    assert here("compare").out == snapshot("""\
RANK  ID      STATUS     MODEL   CHECKS  FILES  LINES  TOKENS  MONEY  TIME   NOTE
1     TASK2  in review  small   -       1      +1 -0  0       0      N s
1     TASK3  in review  same    -       1      +1 -0  0       0      N s  same as TASK2
2     TASK1  in review  large   -       2      +2 -0  0       0      N s
-     TASK4  failed     broken  -       0      +0 -0  0       0      N s  The program broken never calls submit_result, so it was not run. A task ends with a submission: what it did, and which files it changed.

Next:
  cairn diff TASK2                    read the changes
  cairn compare TASK2 TASK1 --diff   what the next one does otherwise
  cairn accept TASK2                  take it; the others are rejected
""")
    assert here("compare", large, small, "--diff").out == snapshot("""\
RANK  ID      STATUS     MODEL  CHECKS  FILES  LINES  TOKENS  MONEY  TIME   NOTE
1     TASK2  in review  small  -       1      +1 -0  0       0      N s
2     TASK1  in review  large  -       2      +2 -0  0       0      N s

FILE       TASK1   TASK2
README.md  a +1 -0  -
a.txt      a +1 -0  b +1 -0

diff --git a/README.md b/README.md
index 444ff164dfd82a165cf65f008795d15a8178e95e..cadf716e6b6c58bc062fe4e20462efcc61e37bca 100644
--- a/README.md
+++ b/README.md
@@ -1,4 +1,3 @@
 # Sample
 \n\
 TODO: say more.
-More.
diff --git a/a.txt b/a.txt
index f719efd430d52bcfc8566a43b2eb655688d38871..5626abf0f72e58d7a153368ba57db4c673c0e171 100644
--- a/a.txt
+++ b/a.txt
@@ -1 +1 @@
-two
+one
""")
    assert here("compare", broken[:4], "--diff").out == snapshot("""\
RANK  ID      STATUS     MODEL   CHECKS  FILES  LINES  TOKENS  MONEY  TIME   NOTE
1     TASK2  in review  small   -       1      +1 -0  0       0      N s
1     TASK3  in review  same    -       1      +1 -0  0       0      N s  same as TASK2
2     TASK1  in review  large   -       2      +2 -0  0       0      N s
-     TASK4  failed     broken  -       0      +0 -0  0       0      N s  The program broken never calls submit_result, so it was not run. A task ends with a submission: what it did, and which files it changed.

FILE       TASK2   TASK3   TASK1
README.md  -        -        a +1 -0
a.txt      a +1 -0  a +1 -0  b +1 -0
""")
    assert here("list", "--group", same).out == snapshot("""\
ID      STATUS     CHANGES        AGE  TASK
TASK4  failed     -              N s  [TASK1] make it: The program broken never calls submit_result, so it was not run. A task ends with a submission: what it did, and which files it changed.
TASK3  in review  1 file +1 -0   N s  [TASK1] make it
TASK2  in review  1 file +1 -0   N s  [TASK1] make it
TASK1  in review  2 files +2 -0  N s  [TASK1] make it
""")
    assert "Terms:    variant in group TASK1\n" in here("show", small).out

    accepted = here("accept", large)
    assert (accepted.code, accepted.out, accepted.err) == snapshot(
        (
            0,
            "Accepted TASK1: 2 files changed.\n",
            """\
cairn: rejected, as variants of it: TASK2, TASK3
cairn undo TASK1   takes it back.
""",
        )
    )
    assert here("compare").out == snapshot("""\
RANK  ID      STATUS    MODEL   CHECKS  FILES  LINES  TOKENS  MONEY  TIME   NOTE
1     TASK2  rejected  small   -       1      +1 -0  0       0      N s  TASK1 was accepted instead
1     TASK3  rejected  same    -       1      +1 -0  0       0      N s  same as TASK2; TASK1 was accepted instead
2     TASK1  accepted  large   -       2      +2 -0  0       0      N s
-     TASK4  failed    broken  -       0      +0 -0  0       0      N s  The program broken never calls submit_result, so it was not run. A task ends with a submission: what it did, and which files it changed.
""")
    undone = here("undo")
    assert (undone.code, undone.out, undone.err) == snapshot(
        (
            0,
            "Took back TASK1: 2 files restored.\n",
            "It is in review again:  cairn accept TASK1   or   cairn reject TASK1\n",
        )
    )
    assert "in review" in here("show", small).out

    here("reject", same, "-r", "no")
    taken = here("undo", same)
    assert (taken.code, taken.out, taken.err) == snapshot(
        (
            0,
            "Took back the rejection of TASK3; nothing in your project changed.\n",
            "It is in review again:  cairn accept TASK3   or   cairn reject TASK3\n",
        )
    )


def test_a_comparison_for_other_programs(here, group):
    large, small, same, broken = group
    told = here.json("compare", "--diff")

    assert [(each["id"], each["rank"], each["same_as"], each["status"]) for each in told["variants"]] == [
        (small, 1, None, "in review"),
        (same, 1, small, "in review"),
        (large, 2, None, "in review"),
        (broken, None, None, "failed"),
    ]
    assert (told["group"], told["unlike"], "patch" in told) == (large, [], False)
    assert {each["path"]: each["versions"][large] for each in told["files"]} == {
        "README.md": {"version": "a", "added": 1, "removed": 0},
        "a.txt": {"version": "b", "added": 1, "removed": 0},
    }
    assert here.json("compare", small, same, "--diff")["patch"] == ""
    assert "+one" in json.loads(here.plain("compare", large, small, "--diff", "--json")[1])["patch"]


def test_variants_that_did_not_see_the_same_are_told_apart(here, project, group):
    (project / "README.md").write_text("# Other\n")
    again = here.json("retry", group[0])["task"]["id"]

    err = here("compare", group[0], again).err
    assert err == snapshot("cairn: not all of them saw the same: README.md\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compare"], "There are no variants to compare."),
        (["run", "x", "--variants", "1"], "1 is no number of variants."),
        (["run", "x", "--variants", "17"], "17 is no number of variants."),
        (["run", "x", "--models", "a"], "1 is no number of variants."),
        (["run", "x", "--models", "a,,b"], "--models 'a,,b' names no model somewhere."),
        (["run", "x", "--variants", "2", "--models", "a,b,c"], "3 models cannot write 2 variants."),
        (["run", "x", "--models", "a,b", "-m", "c"], "-m and --models both name who writes the programs."),
        (["run", "x", "--variants", "2", "--accept"], "--accept is for one task, and --variants makes several."),
        (["add", "x", "--variants", "2", "--key", "k"], "--key is for one task, and --variants makes several."),
        (["run", "--variants", "2", "--recipe", "add_header", "text=x"], "the recipe add_header would all be alike."),
        (["add", "--variants", "2", "--code", "README.md"], "the program README.md would all be alike."),
    ],
)
def test_what_makes_no_variants_is_refused_before_anything_is_queued(here, arguments, said):
    screen = here(*arguments)

    assert screen.code in {2, 3}
    assert said in screen.err
    assert here("list").err == 'cairn: no tasks yet. Start one:  cairn run "add docstrings"\n'


def test_a_task_that_is_no_variant_is_not_compared_alone(here):
    here("add", "add docstrings")

    screen = here("compare", here.ids[0])
    assert screen.code == 3
    assert screen.err == snapshot("""\
cairn: Task TASK1 is no variant of another one.
  cairn run --variants 3 "..."   makes three.
""")

"""The screens of the commands, whole: stdout, stderr and exit code, as a person sees them without a terminal."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from inline_snapshot import snapshot

from tests.command_server import COMMANDS
from tests.conftest import Screen, tree

GOOD = """\
text = read_file("src/app.py")
write_file("src/app.py", text.replace("hello", "good day"))
print("looked at", len(text), "characters")
submit_result("Greets politely.", ["src/app.py"])
"""
LIAR = 'write_file("a.txt", "a\\n")\nsubmit_result("Did a lot.", ["src/app.py"])\n'
RAISES = 'write_file("a.txt", "a\\n")\nread_file("missing.py")\nsubmit_result("x", [])\n'


def test_a_run_ends_with_its_summary_its_changes_its_claims_and_the_next_commands(project, cairn):
    assert cairn("run", "--code", "-", stdin=GOOD) == snapshot(
        Screen(
            code=0,
            out="""\
TASK1  in review  program from standard input

Greets politely.

 src/app.py | 2 +-
 1 file changed, 1 insertion(+), 1 deletion(-)

Claimed and changed agree (1 file).

Next:
  cairn diff TASK1     read the changes
  cairn accept TASK1   take them into the project
  cairn reject TASK1   drop them
""",
            err="""\
cairn: task TASK1: run the program from standard input
program
  checking the program
  running
  read_file('src/app.py') 'def greet(name):\\n return "hello " + name\\n'  N ms
  write_file('src/app.py', content='def greet(name):\\n return "good day " + name\\n')  N ms
  submit_result('Greets politely.', changed_files=['src/app.py'])  N ms
  submitted (3 calls, N ms)
""",
        )
    )


def test_a_submission_that_claims_what_it_did_not_do_is_told(project, cairn):
    assert cairn("run", "--code", "-", stdin=LIAR).out == snapshot("""\
TASK1  in review  program from standard input

Did a lot.

 a.txt | 1 +
 1 file changed, 1 insertion(+)

The submission and the changes disagree:
  claimed, not changed: src/app.py
  changed, not claimed: a.txt

Next:
  cairn diff TASK1     read the changes
  cairn accept TASK1   take them into the project
  cairn reject TASK1   drop them
""")


def test_a_program_that_raises_keeps_its_work_and_says_where(project, cairn):
    assert cairn("run", "--code", "-", stdin=RAISES) == snapshot(
        Screen(
            code=1,
            out="""\
TASK1  failed (the program failed in line 2: FileNotFoundError: no file 'missing.py'; list_dir() shows what is there)  program from standard input

 a.txt | 1 +
 1 file changed, 1 insertion(+)

Nothing was submitted, so nothing is claimed.

Next:
  cairn show TASK1     its programs and errors
  cairn retry TASK1    do it again from today's files
""",
            err="""\
cairn: task TASK1: run the program from standard input
program
  checking the program
  running
  write_file('a.txt', content='a\\n')  N ms
  read_file('missing.py') failed: FileNotFoundError: no file 'missing.py'; list_dir() shows what is there  N ms
  failed: no file 'missing.py'; list_dir() shows what is there (FileNotFoundError, line 2; 2 calls, N ms)
cairn: Task TASK1 failed: the program failed in line 2: FileNotFoundError: no file 'missing.py'; list_dir() shows what is there.
  Its work is kept: 1 file changed.
""",
        )
    )


def test_show_has_everything_a_reviewer_wants(project, cairn):
    cairn("run", "--code", "-", stdin=GOOD)

    assert cairn("show") == snapshot(
        Screen(
            code=0,
            out="""\
TASK1  in review  program from standard input
Task:     run the program from standard input
Created:  DATE CLOCK
Used:     1 of 12 steps, 3 of 20,000 calls, N ms of 1,N s

Step 1  from standard input: submitted (3 calls, N ms)
text = read_file("src/app.py")
write_file("src/app.py", text.replace("hello", "good day"))
print("looked at", len(text), "characters")
submit_result("Greets politely.", ["src/app.py"])
  calls: read_file, write_file, submit_result
  output:
    looked at 44 characters

Summary:
  Greets politely.

 src/app.py | 2 +-
 1 file changed, 1 insertion(+), 1 deletion(-)

Claimed and changed agree (1 file).

Next:
  cairn diff TASK1     read the changes
  cairn accept TASK1   take them into the project
  cairn reject TASK1   drop them
""",
            err="",
        )
    )


def test_show_of_a_failed_task_has_its_traceback(project, cairn):
    cairn("run", "--code", "-", stdin=RAISES)
    (task,) = json.loads(cairn_json("list"))["tasks"]

    assert cairn("show", task["id"]).out == snapshot("""\
TASK1  failed (the program failed in line 2: FileNotFoundError: no file 'missing.py'; list_dir() shows what is there)  program from standard input
Task:     run the program from standard input
Created:  DATE CLOCK
Used:     1 of 12 steps, 2 of 20,000 calls, N ms of 1,N s

Step 1  from standard input: failed: no file 'missing.py'; list_dir() shows what is there (FileNotFoundError, line 2; 2 calls, N ms)
write_file("a.txt", "a\\n")
read_file("missing.py")
submit_result("x", [])
  calls: write_file, read_file
    failed: read_file('missing.py'): FileNotFoundError: no file 'missing.py'; list_dir() shows what is there
  error:
    Traceback (most recent call last):
      File "program", line 2, in <module>
        read_file("missing.py")
    FileNotFoundError: no file 'missing.py'; list_dir() shows what is there

 a.txt | 1 +
 1 file changed, 1 insertion(+)

Nothing was submitted, so nothing is claimed.

Next:
  cairn show TASK1     its programs and errors
  cairn retry TASK1    do it again from today's files
""")


def test_the_diff_in_its_four_forms(project, cairn):
    cairn("run", "--code", "-", stdin=GOOD)

    assert cairn("diff").out == snapshot("""\
diff --git a/src/app.py b/src/app.py
index 748e188cb6dd98f945793e00257d212f692e0f06..d04bb2133ea0f98d362df3732ffef6dd92dfa404 100644
--- a/src/app.py
+++ b/src/app.py
@@ -1,2 +1,2 @@
 def greet(name):
-    return "hello " + name
+    return "good day " + name
""")
    assert cairn("diff", "--stat").out == snapshot("""\
 src/app.py | 2 +-
 1 file changed, 1 insertion(+), 1 deletion(-)
""")
    assert cairn("diff", "--name-only").out == "src/app.py\n"
    assert json.loads(cairn_json("diff"))["changes"] == snapshot(
        [
            {
                "path": "src/app.py",
                "kind": "modified",
                "renamed_from": None,
                "added": 1,
                "removed": 1,
                "binary": False,
            }
        ]
    )


def test_the_log_has_every_move_and_every_call(project, cairn):
    cairn("run", "--code", "-", stdin=GOOD)

    assert cairn("log").out == snapshot("""\
CLOCK  queued
CLOCK  running
CLOCK  in review
CLOCK  1.1    read_file('src/app.py')  'def greet(name):\\n return "hello " + name\\n'  N ms
CLOCK  1.2    write_file('src/app.py', content='def greet(name):\\n return "good day " + name\\n')    N ms
CLOCK  1.3    submit_result('Greets politely.', changed_files=['src/app.py'])    N ms
""")


def test_accept_undo_and_accept_again(project, cairn):
    before = tree(project)
    cairn("run", "--code", "-", stdin=GOOD)

    assert cairn("accept") == snapshot(
        Screen(
            code=0,
            out="Accepted TASK1: 1 file changed.\n",
            err="cairn undo TASK1   takes it back.\n",
        )
    )
    assert (project / "src/app.py").read_text() == 'def greet(name):\n    return "good day " + name\n'
    assert cairn("undo") == snapshot(
        Screen(
            code=0,
            out="Took back TASK1: 1 file restored.\n",
            err="It is in review again:  cairn accept TASK1   or   cairn reject TASK1\n",
        )
    )
    assert tree(project) == before
    assert cairn("accept").code == 0
    assert cairn("list").out == snapshot("""\
ID      STATUS    CHANGES       AGE  TASK
TASK1  accepted  1 file +1 -1  N s  run the program from standard input
""")


def test_reject_and_retry(project, cairn):
    cairn("run", "--code", "-", stdin=GOOD)

    assert cairn("reject", "-r", "too polite") == snapshot(
        Screen(
            code=0,
            out="Rejected TASK1. Nothing in your project changed.\n",
            err="""\
cairn undo TASK1   puts it back in review.
cairn retry TASK1   runs it again from today's files.
""",
        )
    )
    assert cairn("list").out == snapshot("""\
ID      STATUS    CHANGES       AGE  TASK
TASK1  rejected  1 file +1 -1  N s  run the program from standard input: too polite
""")
    task = json.loads(cairn_json("list"))["tasks"][0]
    assert cairn("retry", task["id"]).code == 0
    assert [each["status"] for each in json.loads(cairn_json("list"))["tasks"]] == ["in review", "rejected"]


def test_an_edit_beside_the_tasks_change_is_merged_and_kept(project, cairn):
    (project / "src/app.py").write_text("# top\n\n\n" + (project / "src/app.py").read_text())
    cairn("run", "--code", "-", stdin=GOOD)
    mine = (project / "src/app.py").read_text().replace("# top", "# my edit")
    (project / "src/app.py").write_text(mine)

    assert cairn("show").out.partition("Claimed")[2] == snapshot("""\
 and changed agree (1 file).

You changed these since the task read them:
  src/app.py: the task changed it too; accept keeps both

Next:
  cairn diff TASK1     read the changes
  cairn accept TASK1   take them into the project
  cairn reject TASK1   drop them
""")
    assert cairn("accept") == snapshot(
        Screen(
            code=0,
            out="Accepted TASK1: 1 file changed, 1 merged with your edits.\n",
            err="cairn undo TASK1   takes it back.\n",
        )
    )
    assert (project / "src/app.py").read_text() == mine.replace("hello", "good day")
    assert cairn("undo").code == 0
    assert (project / "src/app.py").read_text() == mine


def test_files_that_the_task_only_read_and_that_changed_since_are_named_beside_conflicts(project, cairn):
    reads = 'read_file("README.md")\nlist_dir("src")\nread_file("src/tool.py")\n'
    cairn("run", "--code", "-", stdin=reads + GOOD)
    (project / "README.md").write_text("new\n")
    (project / "src/tool.py").unlink()
    (project / "src/app.py").write_text('def greet(name):\n    return "hi " + name\n')

    assert cairn("show").out.partition("Claimed")[2] == snapshot("""\
 and changed agree (1 file).

Accept would stop at these conflicts with your files:
  src/app.py: the same lines changed on both sides: line 2 (yours) against line 2 (the task's)

You changed these since the task read them:
  README.md: the task only read it, and went by what it said then
  src/tool.py: the task only read it, and went by what it said then

Next:
  cairn diff TASK1     read the changes
  cairn retry TASK1    do it again from today's files
  cairn reject TASK1   drop them
""")


def test_an_edit_of_the_same_line_is_a_conflict_and_nothing_is_written(project, cairn):
    cairn("run", "--code", "-", stdin=GOOD)
    (project / "src/app.py").write_text('def greet(name):\n    return "hi " + name\n')
    before = tree(project)

    assert cairn("accept") == snapshot(
        Screen(
            code=4,
            out="",
            err="""\
cairn: Task TASK1 cannot be accepted: 1 path in conflict. Nothing was written.
  src/app.py: the same lines changed on both sides: line 2 (yours) against line 2 (the task's).
  cairn diff TASK1   shows its changes
  cairn retry TASK1   does it again from today's files
""",
        )
    )
    assert json.loads(cairn("accept", "--json").out)["error"]["paths"] == ["src/app.py"]
    assert tree(project) == before


def test_ids_that_fit_none_and_ids_left_out(project, cairn):
    assert cairn("accept") == snapshot(
        Screen(
            code=3,
            out="",
            err="""\
cairn: There is no task to accept.
  cairn run "..."   starts one; cairn list   shows all.
""",
        )
    )
    cairn("run", "--code", "-", stdin=GOOD)
    assert cairn("accept", "aeiou") == snapshot(
        Screen(
            code=3,
            out="",
            err="""\
cairn: No task has an id that starts with 'aeiou'.
  cairn list   shows the tasks there are.
""",
        )
    )
    cairn("run", "--code", "-", stdin=LIAR)
    assert cairn("accept").code == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("run",), 2),
        (("run", "  "), 2),
        (("run", "--code", "missing.py"), 2),
        (("run", "--code", "src"), 2),
        (("run", "--limit", "seconds"), 2),
        (("run", "x", "--limit", "seconds=never"), 2),
        (("run", "x", "-m", "no-such-model"), 1),
        (("undo",), 3),
        (("show", "zzzz"), 3),
        (("accept", ""), 2),
        (("run", "--code", "/dev/zero"), 2),
        (("bogus",), 2),
        (("list", "--bogus"), 2),
        (("-C", "no/such/folder", "list"), 3),
        (("-C", "README.md", "list"), 2),
        (("list", "-n", "0"), 2),
    ],
)
def test_bad_input_is_told_in_cairns_form_with_its_exit_code(project, cairn, arguments, code):
    screen = cairn(*arguments)

    assert (screen.code, screen.out) == (code, "")
    assert screen.err.startswith("cairn: ")
    assert screen.err.count("\n") >= 2, "an error says what to do, too"
    assert "Traceback" not in screen.err


def test_with_no_model_and_no_recipe_the_error_says_what_to_set_up(project, cairn):
    before = tree(project)

    assert cairn("run", "fix the login bug") == snapshot(
        Screen(
            code=1,
            out="",
            err="""\
cairn: no language model can do this task.
  Asked for: gpt-5.6-luna (llm's default; no --model, CAIRN_MODEL or LLM_MODEL set).
  It needs a key: OPENAI_API_KEY is not set and llm has no stored "openai" key.
  The built-in recipes (no AI) do not cover: "fix the login bug". They cover: add_docstrings, add_header, fix_todos, remove_unused_imports, rename_symbol, replace_text (cairn recipes)
  Do one of:
    llm keys set openai                                  then run this again
    pip install llm-anthropic && llm keys set anthropic  then cairn run -m MODEL "..."   (llm models lists them)
    a local server: extra-openai-models.yaml, or pip install llm-ollama
  Nothing was changed in this repository.
""",
        )
    )
    assert tree(project) == before


@pytest.mark.slow
def test_every_command_prints_one_json_object(project, cairn):
    program = Path(project, "program.py")
    program.write_text(GOOD)
    for arguments in (
        ["run", "--code", "program.py"], ["list"], ["show"], ["diff"], ["log"], ["accept"], ["undo"], ["reject"],
        ["recipes"], ["doctor"], ["init"], ["local", "status"], ["accept", "zzz"], ["bogus"], ["run"],
    ):  # fmt: skip
        assert isinstance(json.loads(cairn_json(*arguments)), dict), arguments


def test_control_characters_of_a_program_never_reach_the_screen(project, cairn):
    program = 'print("\\x1b[31mred\\x07")\nsubmit_result("\\x1b]0;title\\x07done", [])\n'

    screen = cairn("run", "--code", "-", stdin=program)

    assert "\x1b" not in screen.out + screen.err
    assert "\\x1b]0;title\\x07done" in screen.out


@pytest.mark.parametrize("group", ["op", "local"])
def test_a_group_alone_shows_its_help_as_a_usage_error(project, cairn, group):
    screen = cairn(group)

    assert (screen.code, screen.err) == (2, "")
    assert screen.out.startswith(f"Usage: cairn {group} ")


def test_cairn_alone_shows_its_help(project, cairn):
    screen = cairn()

    assert (screen.code, screen.err) == (0, "")
    assert screen.out.startswith("Usage: cairn ")


def test_init_writes_a_file_once(project, cairn):
    assert cairn("init").code == 0
    written = (project / "cairn.toml").read_text()
    assert cairn("init").code == 2
    assert (project / "cairn.toml").read_text() == written
    assert cairn("list").code == 0


def test_a_folder_inside_a_repository_means_the_repository_and_here_means_the_folder(repository, cairn, monkeypatch):
    monkeypatch.chdir(repository / "src")
    submit = 'submit_result("files", [])\nlog(str(search_files("**/*.py")))\n'
    program = 'print(search_files("**/*.py"))\n' + submit

    assert "'src/app.py'" in _printed(cairn("run", "--code", "-", "--json", stdin=program))
    assert "'app.py'" in _printed(cairn("--here", "run", "--code", "-", "--json", stdin=program))
    assert (repository / "src/.cairn").is_dir()


def _printed(screen: Screen) -> str:
    return json.loads(screen.out)["steps"][0]["output"]


def cairn_json(*arguments: str) -> str:
    """The exact stdout of a command with --json; ids are not renamed in it."""
    return COMMANDS.run([*arguments, "--json"], stdin="", cwd=None, env=os.environ).stdout

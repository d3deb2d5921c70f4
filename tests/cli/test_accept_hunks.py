"""`cairn accept --hunks`: every question, every answer, an editor, a terminal, and an end in the middle."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time

import pytest
from inline_snapshot import snapshot

from tests.cli.here import Here
from tests.cli.test_accept import DANGEROUS, THREE
from tests.conftest import Screen, tree

APP = "".join(f"line {number}\n" for number in range(1, 31))
TASK = """\
text = read_file("src/app.py")
for old, new in [("line 3\\n", "LINE 3\\n"), ("line 6\\n", "LINE 6\\nnew\\n"), ("line 25\\n", "")]:
    text = text.replace(old, new)
write_file("src/app.py", text)
delete_file("README.md")
move_file("src/tool.py", "lib/tool.py")
edit_file("lib/tool.py", "return 1", "return 2")
write_file("lib/new.py", "NEW = 1\\n")
submit_result("Much.", ["src/app.py", "README.md", "src/tool.py", "lib/tool.py", "lib/new.py"])
"""


@pytest.fixture
def cairn(capfd, monkeypatch):
    return Here(capfd, monkeypatch)


@pytest.fixture
def reviewed(project, cairn):
    """A task in review; gives its id and the project as it was before."""
    (project / "src/app.py").write_text(APP)
    cairn("run", "--code", "-", stdin=TASK)
    return cairn.json("list")["tasks"][0]["id"], tree(project)


def answers(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


def editor(tmp_path, *lines: str) -> dict[str, str]:
    """An environment whose editor is a program of these Python lines."""
    script = tmp_path / "editor"
    begin = f"#!{sys.executable}\nimport pathlib, sys\npath = pathlib.Path(sys.argv[1])\ntext = path.read_text()\n"
    script.write_text(begin + "\n".join(lines))
    script.chmod(0o755)
    return {"EDITOR": str(script), "VISUAL": ""}


def test_each_hunk_is_asked_and_what_is_left_stays_in_review(reviewed, project, cairn):
    task, before = reviewed

    assert cairn("accept", "--hunks", stdin=answers("n", "y", "n", "y", "s", "y", "n", "y")) == snapshot(
        Screen(
            code=0,
            out="Accepted part of TASK1: 3 files changed.\n",
            err="""\
diff --git a/README.md b/README.md
deleted file mode 100644
--- a/README.md
+++ /dev/null
@@ -1,3 +0,0 @@
-# Sample
-
-TODO: say more.
(1/6) Take this deletion [y,n,q,a,d,j,J,g,/,?]? n
diff --git a/lib/new.py b/lib/new.py
new file mode 100644
--- /dev/null
+++ b/lib/new.py
@@ -0,0 +1 @@
+NEW = 1
(2/6) Take this new file [y,n,q,a,d,K,j,J,g,/,?]? y
diff --git a/src/tool.py b/lib/tool.py
rename from src/tool.py
rename to lib/tool.py
(3/6) Take this rename [y,n,q,a,d,K,j,J,g,/,?]? n
@@ -1,3 +1,3 @@
 # TODO: speed
 def run():
-    return 1
+    return 2
(4/6) Take this hunk [y,n,q,a,d,K,j,J,g,/,e,?]? y
diff --git a/src/app.py b/src/app.py
--- a/src/app.py
+++ b/src/app.py
@@ -1,9 +1,10 @@
 line 1
 line 2
-line 3
+LINE 3
 line 4
 line 5
-line 6
+LINE 6
+new
 line 7
 line 8
 line 9
(5/6) Take this hunk [y,n,q,a,d,K,j,J,g,/,s,e,?]? s
Split into 2 hunks.
@@ -1,5 +1,5 @@
 line 1
 line 2
-line 3
+LINE 3
 line 4
 line 5
(5/7) Take this hunk [y,n,q,a,d,K,j,J,g,/,e,?]? y
@@ -4,6 +4,7 @@ line 3
 line 4
 line 5
-line 6
+LINE 6
+new
 line 7
 line 8
 line 9
(6/7) Take this hunk [y,n,q,a,d,K,j,J,g,/,e,?]? n
@@ -22,7 +23,6 @@ line 21
 line 22
 line 23
 line 24
-line 25
 line 26
 line 27
 line 28
(7/7) Take this hunk [y,n,q,a,d,K,g,/,e,?]? y

Taking 4 of 7:
 lib/new.py  | 1 +
 src/app.py  | 3 +--
 src/tool.py | 2 +-
 3 files changed, 3 insertions(+), 3 deletions(-)

3 files left in review:  cairn diff TASK1   shows the rest.
cairn undo TASK1   takes that part back.
""",
        )
    )
    lines = {"line 3\n": "LINE 3\n", "line 25\n": ""}
    made = APP
    for old, new in lines.items():
        made = made.replace(old, new)
    expected = {**before, "src/app.py": (0o644, made.encode()), "lib/new.py": (0o644, b"NEW = 1\n")}
    expected["src/tool.py"] = (0o644, b"# TODO: speed\ndef run():\n    return 2\n")
    assert tree(project) == expected
    assert cairn("diff").out == snapshot("""\
diff --git a/README.md b/README.md
deleted file mode 100644
index cadf716e6b6c58bc062fe4e20462efcc61e37bca..0000000000000000000000000000000000000000
--- a/README.md
+++ /dev/null
@@ -1,3 +0,0 @@
-# Sample
-
-TODO: say more.
diff --git a/src/tool.py b/lib/tool.py
similarity index 100%
rename from src/tool.py
rename to lib/tool.py
diff --git a/src/app.py b/src/app.py
index b237d7310fef5a5e8dae4c2d09374630f6503fd0..fa264e7e5f28371e90f756fa361fc0a531ebb707 100644
--- a/src/app.py
+++ b/src/app.py
@@ -3,7 +3,8 @@ line 2
 LINE 3
 line 4
 line 5
-line 6
+LINE 6
+new
 line 7
 line 8
 line 9
""")
    assert cairn("accept").code == 0
    after = tree(project)
    assert cairn("undo").code == 0
    assert (tree(project), cairn("undo").code, tree(project)) == (expected, 0, before)
    assert (cairn("accept", task).code, tree(project)) == (0, after)


def test_q_takes_what_was_answered_and_an_end_of_the_answers_takes_nothing(reviewed, project, cairn):
    _, before = reviewed

    assert cairn("accept", "--hunks", stdin=answers("y", "y")) == snapshot(
        Screen(
            code=1,
            out="",
            err="""\
diff --git a/README.md b/README.md
deleted file mode 100644
--- a/README.md
+++ /dev/null
@@ -1,3 +0,0 @@
-# Sample
-
-TODO: say more.
(1/6) Take this deletion [y,n,q,a,d,j,J,g,/,?]? y
diff --git a/lib/new.py b/lib/new.py
new file mode 100644
--- /dev/null
+++ b/lib/new.py
@@ -0,0 +1 @@
+NEW = 1
(2/6) Take this new file [y,n,q,a,d,K,j,J,g,/,?]? y
diff --git a/src/tool.py b/lib/tool.py
rename from src/tool.py
rename to lib/tool.py
(3/6) Take this rename [y,n,q,a,d,K,j,J,g,/,?]? \n\
cairn: The answers ended at question 3 of 6. Nothing was written.
  q   as the last answer takes what was answered with y before it.
""",
        )
    )
    assert tree(project) == before
    assert cairn("accept", "--hunks", stdin="").code == 1
    assert cairn("accept", "--hunks", stdin=answers("y", "q")).code == 0
    assert tree(project) == {path: side for path, side in before.items() if path != "README.md"}


def test_nothing_taken_is_no_accept(reviewed, project, cairn):
    _, before = reviewed

    screen = cairn("accept", "--hunks", stdin=answers("q"))

    assert (screen.code, screen.out, screen.err.splitlines()[-1]) == (
        0,
        "",
        "Nothing was taken; all of it stays in review.",
    )
    assert json.loads(cairn("accept", "--hunks", "--json", stdin=answers("q")).out) == snapshot(
        {
            "id": "TASK1",
            "status": "in review",
            "operation": None,
            "paths": [],
            "left": ["README.md", "lib/new.py", "lib/tool.py", "src/app.py"],
            "kept": [],
        }
    )
    assert tree(project) == before
    assert cairn("op", "log").out == snapshot("")


def test_everything_taken_is_an_accept_of_all(reviewed, project, cairn):
    screen = cairn("accept", "--hunks", "--json", stdin=answers(*["a"] * 4))

    assert json.loads(screen.out) == snapshot(
        {
            "id": "TASK1",
            "status": "accepted",
            "operation": 1,
            "paths": ["README.md", "lib/new.py", "lib/tool.py", "src/app.py"],
            "left": [],
            "kept": [],
        }
    )
    assert cairn.json("show")["task"]["status"] == "accepted"


def test_only_the_paths_that_are_named_are_asked(reviewed, project, cairn):
    task, _ = reviewed

    assert cairn("accept", task, "README.md", "--hunks", stdin=answers("y")) == snapshot(
        Screen(
            code=0,
            out="Accepted part of TASK1: 1 file changed.\n",
            err="""\
diff --git a/README.md b/README.md
deleted file mode 100644
--- a/README.md
+++ /dev/null
@@ -1,3 +0,0 @@
-# Sample
-
-TODO: say more.
(1/1) Take this deletion [y,n,q,a,d,?]? y

Taking 1 of 1:
 README.md | 3 ---
 1 file changed, 3 deletions(-)

3 files left in review:  cairn diff TASK1   shows the rest.
cairn undo TASK1   takes that part back.
""",
        )
    )


def test_answers_that_are_none_and_moving_about(reviewed, project, cairn):
    moves = ["?", "x", "yes", "", "k", "s", "e", "g9", "g", "5", "/tool", "/nowhere", "/(", "J", "K", "j", "k"]
    moves += ["y", "K", "n", "K", "q"]

    assert cairn("accept", "--hunks", stdin=answers(*moves)).err == snapshot("""\
diff --git a/README.md b/README.md
deleted file mode 100644
--- a/README.md
+++ /dev/null
@@ -1,3 +0,0 @@
-# Sample
-
-TODO: say more.
(1/6) Take this deletion [y,n,q,a,d,j,J,g,/,?]? ?
y - take it
n - leave it in review
q - quit; leave it and all that is not decided yet in review
a - take it and everything later in the same file
d - leave it and everything later in the same file in review
j - leave it undecided, go to the next undecided one
J - leave it undecided, go to the next one
g - go to one by its number
/ - go to one that has a text, given as a regular expression
? - print this help
(1/6) Take this deletion [y,n,q,a,d,j,J,g,/,?]? x
There is no answer 'x'; ? explains those there are.
(1/6) Take this deletion [y,n,q,a,d,j,J,g,/,?]? yes
Only one letter is an answer, and this is 'yes'.
(1/6) Take this deletion [y,n,q,a,d,j,J,g,/,?]? \n\
(1/6) Take this deletion [y,n,q,a,d,j,J,g,/,?]? k
There is no other one to go to.
(1/6) Take this deletion [y,n,q,a,d,j,J,g,/,?]? s
This cannot be split.
(1/6) Take this deletion [y,n,q,a,d,j,J,g,/,?]? e
This has no lines to edit.
(1/6) Take this deletion [y,n,q,a,d,j,J,g,/,?]? g9
There are the numbers 1 to 6.
(1/6) Take this deletion [y,n,q,a,d,j,J,g,/,?]? g
    1: README.md: -# Sample
    2: lib/new.py: +NEW = 1
    3: lib/tool.py: this rename
    4: lib/tool.py: -    return 1
    5: src/app.py: -line 3
    6: src/app.py: -line 25
Which one? 5
diff --git a/src/app.py b/src/app.py
--- a/src/app.py
+++ b/src/app.py
@@ -1,9 +1,10 @@
 line 1
 line 2
-line 3
+LINE 3
 line 4
 line 5
-line 6
+LINE 6
+new
 line 7
 line 8
 line 9
(5/6) Take this hunk [y,n,q,a,d,k,K,j,J,g,/,s,e,?]? /tool
diff --git a/src/tool.py b/lib/tool.py
rename from src/tool.py
rename to lib/tool.py
(3/6) Take this rename [y,n,q,a,d,k,K,j,J,g,/,?]? /nowhere
Nothing has that.
(3/6) Take this rename [y,n,q,a,d,k,K,j,J,g,/,?]? /(
That is no regular expression: missing ), unterminated subpattern at position 0.
(3/6) Take this rename [y,n,q,a,d,k,K,j,J,g,/,?]? J
@@ -1,3 +1,3 @@
 # TODO: speed
 def run():
-    return 1
+    return 2
(4/6) Take this hunk [y,n,q,a,d,k,K,j,J,g,/,e,?]? K
rename from src/tool.py
rename to lib/tool.py
(3/6) Take this rename [y,n,q,a,d,k,K,j,J,g,/,?]? j
@@ -1,3 +1,3 @@
 # TODO: speed
 def run():
-    return 1
+    return 2
(4/6) Take this hunk [y,n,q,a,d,k,K,j,J,g,/,e,?]? k
rename from src/tool.py
rename to lib/tool.py
(3/6) Take this rename [y,n,q,a,d,k,K,j,J,g,/,?]? y
@@ -1,3 +1,3 @@
 # TODO: speed
 def run():
-    return 1
+    return 2
(4/6) Take this hunk [y,n,q,a,d,k,K,j,J,g,/,e,?]? K
rename from src/tool.py
rename to lib/tool.py
(3/6) Take this rename (taken so far) [y,n,q,a,d,k,K,j,J,g,/,?]? n
@@ -1,3 +1,3 @@
 # TODO: speed
 def run():
-    return 1
+    return 2
(4/6) Take this hunk [y,n,q,a,d,k,K,j,J,g,/,e,?]? K
rename from src/tool.py
rename to lib/tool.py
(3/6) Take this rename (left so far) [y,n,q,a,d,k,K,j,J,g,/,?]? q
Nothing was taken; all of it stays in review.
""")


def test_an_edited_hunk_is_written_as_edited_and_counts_as_taken(reviewed, project, cairn, tmp_path):
    task, before = reviewed
    env = editor(tmp_path, 'path.write_text(text.replace("+LINE 3\\n", "+Line three\\n").replace("+new\\n", ""))')

    screen = cairn("accept", task, "src/app.py", "--hunks", stdin=answers("e", "n"), env=env)

    made = APP.replace("line 3\n", "Line three\n").replace("line 6\n", "LINE 6\n")
    assert screen == snapshot(
        Screen(
            code=0,
            out="Accepted part of TASK1: 1 file changed.\n",
            err="""\
diff --git a/src/app.py b/src/app.py
--- a/src/app.py
+++ b/src/app.py
@@ -1,9 +1,10 @@
 line 1
 line 2
-line 3
+LINE 3
 line 4
 line 5
-line 6
+LINE 6
+new
 line 7
 line 8
 line 9
(1/2) Take this hunk [y,n,q,a,d,j,J,g,/,s,e,?]? e
@@ -22,7 +23,6 @@ line 21
 line 22
 line 23
 line 24
-line 25
 line 26
 line 27
 line 28
(2/2) Take this hunk [y,n,q,a,d,K,g,/,e,?]? n

Taking 1 of 2:
 src/app.py | 4 ++--
 1 file changed, 2 insertions(+), 2 deletions(-)

4 files left in review:  cairn diff TASK1   shows the rest.
cairn undo TASK1   takes that part back.
""",
        )
    )
    assert tree(project) == {**before, "src/app.py": (0o644, made.encode())}
    assert cairn("accept").code == 0
    assert (project / "src/app.py").read_text() == made.replace("line 25\n", "")
    assert cairn.json("show")["task"]["status"] == "accepted"
    for _ in range(2):
        assert cairn("undo").code == 0
    assert tree(project) == before
    assert cairn("accept").code == 0
    assert (project / "src/app.py").read_text().startswith("line 1\nline 2\nLINE 3\n")


def test_an_edit_that_does_not_fit_can_be_edited_again_or_forgotten(reviewed, project, cairn, tmp_path):
    task, before = reviewed
    env = editor(tmp_path, 'path.write_text(text.replace(" line 4\\n", " line four\\n"))')

    screen = cairn("accept", task, "src/app.py", "--hunks", stdin=answers("e", "y", "n", "e", "n", "q"), env=env)

    assert screen.err.partition("?]? ")[2] == snapshot("""\
e
Your edited hunk does not fit: its lines that begin with a space or - are not those of the file.
Edit it again (n forgets the edit) [y/n]? y
Your edited hunk does not fit: its lines that begin with a space or - are not those of the file.
Edit it again (n forgets the edit) [y/n]? n
(1/2) Take this hunk [y,n,q,a,d,j,J,g,/,s,e,?]? e
Your edited hunk does not fit: its lines that begin with a space or - are not those of the file.
Edit it again (n forgets the edit) [y/n]? n
(1/2) Take this hunk [y,n,q,a,d,j,J,g,/,s,e,?]? q
Nothing was taken; all of it stays in review.
""")
    assert tree(project) == before


def test_an_editor_that_fails_or_removes_everything_leaves_the_hunk_as_it_was(reviewed, project, cairn, tmp_path):
    task, before = reviewed
    again = ("accept", task, "src/app.py", "--hunks")

    removed = cairn(*again, stdin=answers("e", "q"), env=editor(tmp_path, 'path.write_text("# nothing")'))
    failed = cairn(*again, stdin=answers("e", "q"), env={"EDITOR": "false", "VISUAL": ""})
    missing = cairn(*again, stdin=answers("e", "q"), env={"GIT_EDITOR": "no-such-editor --wait"})
    dumb = cairn(*again, stdin=answers("e", "q"), env={"EDITOR": "", "VISUAL": "", "TERM": "dumb"})

    said = [screen.err.splitlines()[-3] for screen in (removed, failed, missing)]
    assert said == snapshot(
        [
            "All lines were removed; the hunk is as it was.",
            "The editor 'false' ended with exit code 1.",
            "The editor 'no-such-editor --wait' ended with exit code 127.",
        ]
    )
    assert "dumb" in dumb.err
    assert tree(project) == before


def test_a_dangerous_path_comes_first_and_is_named_on_the_way(project, cairn):
    cairn("run", "--code", "-", stdin=DANGEROUS)

    wrong = cairn("accept", "--hunks", stdin=answers("y", "no", "n", "y", "conftest.py", "n"))

    assert wrong == snapshot(
        Screen(
            code=0,
            out="Accepted part of TASK1: 1 file changed.\n",
            err="""\
Dangerous: .github/workflows/ci.yml: runs in CI, with its secrets
diff --git a/.github/workflows/ci.yml b/.github/workflows/ci.yml
new file mode 100644
--- /dev/null
+++ b/.github/workflows/ci.yml
@@ -0,0 +1 @@
+on: push
(1/3) Take this new file [y,n,q,a,d,j,J,g,/,?]? y
.github/workflows/ci.yml: runs in CI, with its secrets.
Type its path to take it all the same: no
Not taken.
(1/3) Take this new file [y,n,q,a,d,j,J,g,/,?]? n
Dangerous: conftest.py: runs before any test does
diff --git a/conftest.py b/conftest.py
new file mode 100644
--- /dev/null
+++ b/conftest.py
@@ -0,0 +1 @@
+import os
(2/3) Take this new file [y,n,q,a,d,K,j,J,g,/,?]? y
conftest.py: runs before any test does.
Type its path to take it all the same: conftest.py
diff --git a/a.txt b/a.txt
new file mode 100644
--- /dev/null
+++ b/a.txt
@@ -0,0 +1 @@
+a
(3/3) Take this new file [y,n,q,a,d,K,g,/,?]? n

Taking 1 of 3:
 conftest.py | 1 +
 1 file changed, 1 insertion(+)

2 files left in review:  cairn diff TASK1   shows the rest.
cairn undo TASK1   takes that part back.
""",
        )
    )
    assert (project / "conftest.py").exists()
    allowed = cairn("accept", "--hunks", "--allow", ".github/**", stdin=answers("y", "n"))
    assert (allowed.code, allowed.err.count("Type its path")) == (0, 0)
    assert cairn.json("show")["dangers"] == []


def test_a_conflict_is_said_before_the_question_and_stops_the_accept(reviewed, project, cairn):
    task, _ = reviewed
    (project / "src/app.py").write_text(APP.replace("line 3\n", "mine\n"))
    before = tree(project)

    screen = cairn("accept", task, "src/app.py", "--hunks", stdin=answers("s", "y", "q"))

    assert (screen.code, tree(project)) == (4, before)
    assert screen.err.splitlines()[0] == snapshot(
        "Conflict with your files: src/app.py: the same lines changed on both sides: line 3 (yours) against line 3 (the task's)"
    )
    assert cairn("accept", task, "src/app.py", "--hunks", stdin=answers("s", "n", "y", "y")).code == 0
    assert "mine\n" in (project / "src/app.py").read_text()


def test_hunks_and_a_commit_of_what_was_taken(repository, cairn):
    cairn("run", "--code", "-", stdin=THREE)

    screen = cairn("accept", "--hunks", "--commit", "-m", "Some", stdin=answers("y", "n", "n"))

    assert screen.out.splitlines()[0] == "Accepted part of TASK1: 1 file changed."
    names = subprocess.run(["git", "show", "--format=%s", "--name-only"], capture_output=True, text=True, check=True)
    assert names.stdout == "Some\n\nlib/new.py\n"


def test_a_part_is_not_put_back_beside_another_accept_of_the_same_lines(reviewed, project, cairn):
    task, before = reviewed
    part = ("accept", task, "lib/tool.py")
    cairn(*part, "--hunks", stdin=answers("n", "y"))
    cairn(*part, "--hunks", stdin=answers("y"))
    changed = tree(project)
    assert cairn("undo", "--op", "1").code == 0
    assert tree(project)["lib/tool.py"] == before["src/tool.py"]
    cairn(*part)
    assert tree(project) == changed

    assert cairn("undo", "--op", "3") == snapshot(
        Screen(
            code=1,
            out="",
            err="""\
cairn: Operation 3 is out of date: task TASK1 was accepted again since.
  Operation 4 did that.
  cairn undo --op 4   takes that back first.
""",
        )
    )
    assert cairn("undo", "--op", "4").code == 0
    assert cairn("undo", "--op", "3").code == 0
    assert tree(project) == changed


def test_a_task_that_is_not_in_review_is_not_asked_about(reviewed, cairn):
    task, _ = reviewed
    cairn("accept")

    screen = cairn("accept", task, "--hunks")

    assert screen.code == 1
    assert "Take" not in screen.err


def on_a_terminal(arguments, script, env=None):
    """What a terminal shows when a person types; `script` is pairs of a text to wait for and keys to type then."""
    pid, handle = pty.fork()
    if pid == 0:
        environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
        os.execve(  # noqa: S606
            sys.executable, [sys.executable, "-m", "cairn", *arguments], {**environment, "TERM": "xterm", **(env or {})}
        )
    shown, at, deadline = b"", 0, time.monotonic() + 30
    for text, keys in script:
        while text.encode() not in shown[at:]:
            assert time.monotonic() < deadline, shown
            if select.select([handle], [], [], 1)[0]:
                shown += os.read(handle, 4096)
        at = len(shown)
        os.write(handle, keys)
    while True:
        assert select.select([handle], [], [], 30)[0], shown
        try:
            shown += os.read(handle, 4096)
        except OSError:  # Linux says so when the last process on a terminal has ended
            break
    os.close(handle)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode().replace("\r\n", "\n")


def test_on_a_terminal_hunks_are_coloured_and_ctrl_c_writes_nothing(reviewed, project, cairn):
    _, before = reviewed

    code, shown = on_a_terminal(["accept", "--hunks"], [("?]?", b"y\n"), ("?]?", b"\x03")])

    assert (code, tree(project)) == (130, before)
    assert cairn._same(shown) == snapshot("""\
\x1b[1mdiff --git a/README.md b/README.md\x1b[0m
\x1b[1mdeleted file mode 100644\x1b[0m
\x1b[1m--- a/README.md\x1b[0m
\x1b[1m+++ /dev/null\x1b[0m
\x1b[36m@@ -1,3 +0,0 @@\x1b[0m
\x1b[31m-# Sample\x1b[0m
\x1b[31m-\x1b[0m
\x1b[31m-TODO: say more.\x1b[0m
\x1b[1;34m(1/6) Take this deletion [y,n,q,a,d,j,J,g,/,?]?\x1b[0m y
\x1b[1mdiff --git a/lib/new.py b/lib/new.py\x1b[0m
\x1b[1mnew file mode 100644\x1b[0m
\x1b[1m--- /dev/null\x1b[0m
\x1b[1m+++ b/lib/new.py\x1b[0m
\x1b[36m@@ -0,0 +1 @@\x1b[0m
\x1b[32m+NEW = 1\x1b[0m
\x1b[1;34m(2/6) Take this new file [y,n,q,a,d,K,j,J,g,/,?]?\x1b[0m ^C
\x1b[1;31mcairn:\x1b[0m Stopped before all was answered. Nothing was written.
""")


def test_on_a_terminal_ctrl_d_writes_nothing_and_an_editor_has_the_terminal(reviewed, project, cairn, tmp_path):
    task, before = reviewed
    env = editor(tmp_path, "assert sys.stdin.isatty()", "assert sys.stdout.isatty()", "path.write_text(text)")

    code, _ = on_a_terminal(["accept", "--hunks"], [("?]?", b"y\n"), ("?]?", b"\x04")])
    assert (code, tree(project)) == (1, before)
    asked = ["accept", task, "src/app.py", "--hunks"]
    code, shown = on_a_terminal(asked, [("?]?", b"e\n"), ("?]?", b"n\n")], env)

    assert (code, "Accepted part of" in shown) == (0, True)
    assert (project / "src/app.py").read_text() == APP.replace("line 3\n", "LINE 3\n").replace(
        "line 6\n", "LINE 6\nnew\n"
    )


def test_ctrl_c_in_the_editor_is_the_editors(reviewed, project, cairn, tmp_path):
    task, before = reviewed
    waits = "try:\n    print('edit' + 'ing', flush=True)\n    sys.stdin.readline()\nexcept KeyboardInterrupt:\n    pass"
    env = editor(tmp_path, waits)

    asked = ["accept", task, "src/app.py", "--hunks"]
    code, _ = on_a_terminal(asked, [("?]?", b"e\n"), ("editing", b"\x03"), ("?]?", b"n\n")], env)

    assert code == 0
    assert (project / "src/app.py").read_text().count("LINE") == 2
    assert tree(project) != before

"""`cairn accept --dry-run`: it writes nothing, and its word is what the real accept then does."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from inline_snapshot import snapshot

from tests.cli.here import Here
from tests.cli.test_accept import DANGEROUS, THREE
from tests.cli.test_screens import GOOD
from tests.conftest import Screen, tree
from tests.unit.test_git_commit import git

MUCH = """\
text = read_file("src/app.py")
write_file("src/app.py", text.replace("line 3\\n", "LINE 3\\n").replace("line 25\\n", ""))
delete_file("README.md")
move_file("src/tool.py", "lib/tool.py")
edit_file("lib/tool.py", "return 1", "return 2")
write_file("same.txt", "same\\n")
submit_result("Much.", ["src/app.py", "README.md", "src/tool.py", "lib/tool.py", "same.txt"])
"""
APP = "".join(f"line {number}\n" for number in range(1, 31))


@pytest.fixture
def cairn(capfd, monkeypatch):
    return Here(capfd, monkeypatch)


@pytest.fixture
def much(project):
    (project / "src/app.py").write_text(APP)
    return project


def everything(root):
    """Every file with its bytes, mode and time, Cairn's and git's own too."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes()) for path in files}


def test_each_path_and_what_stays_in_review(much, cairn):
    cairn("run", "--code", "-", stdin=MUCH)
    (much / "src/app.py").write_text(APP.replace("line 10\n", "mine\n"))
    (much / "same.txt").write_text("same\n")
    before = everything(much)

    assert cairn("accept", "--dry-run") == snapshot(
        Screen(
            code=0,
            out="""\
  delete      README.md
  create      lib/
  rename      src/tool.py -> lib/tool.py, changed
  already so  same.txt
  merge       src/app.py, with your own edits

Would accept TASK1: 3 files changed, 1 merged with your edits, 1 already so.
""",
            err="This was a dry run.\n",
        )
    )
    assert everything(much) == before
    (task,) = cairn.json("list")["tasks"]
    assert cairn("accept", task["id"], "src", "--dry-run") == snapshot(
        Screen(
            code=0,
            out="""\
  create      lib/
  rename      src/tool.py -> lib/tool.py, changed
  merge       src/app.py, with your own edits

Would accept part of TASK1: 2 files changed, 1 merged with your edits.
""",
            err="""\
2 files would be left in review.
This was a dry run.
""",
        )
    )
    assert json.loads(cairn("accept", "--dry-run", "--json").out) == snapshot(
        {
            "id": "TASK1",
            "status": "accepted",
            "dry_run": True,
            "would": [
                {"path": "README.md", "do": "delete", "merged": False, "folder": False},
                {"path": "lib", "do": "create", "merged": False, "folder": True},
                {
                    "path": "lib/tool.py",
                    "do": "rename",
                    "merged": False,
                    "folder": False,
                    "renamed_from": "src/tool.py",
                    "changed": True,
                },
                {"path": "same.txt", "do": "already so", "merged": False, "folder": False},
                {"path": "src/app.py", "do": "merge", "merged": True, "folder": False},
            ],
            "dangers": [],
            "left": [],
            "exit_code": 0,
        }
    )


def test_a_conflict_shows_its_lines_and_ends_as_the_accept_would(much, cairn):
    cairn("run", "--code", "-", stdin=MUCH)
    (much / "src/app.py").write_text(APP.replace("line 3\n", "mine\nand more\n"))
    before = everything(much)

    foretold = cairn("accept", "--dry-run")

    assert foretold == snapshot(
        Screen(
            code=4,
            out="""\
Nothing would be written. But for what stands in the way it would be:

  conflict    src/app.py: the same lines changed on both sides: lines 3-4 (yours) against line 3 (the task's)
    yours, lines 3-4:
      | mine
      | and more
    what the task saw:
      | line 3
    what the task made, line 3:
      | LINE 3
  delete      README.md
  rename      src/tool.py -> lib/tool.py, changed
  create      same.txt
""",
            err="""\
cairn: Task TASK1 cannot be accepted: 1 path in conflict. Nothing was written.
  src/app.py: the same lines changed on both sides: lines 3-4 (yours) against line 3 (the task's).
  cairn diff TASK1   shows its changes
  cairn retry TASK1   does it again from today's files
This was a dry run.
""",
        )
    )
    assert everything(much) == before
    real = cairn("accept")
    assert (real.code, real.err + "This was a dry run.\n") == (foretold.code, foretold.err)
    (conflict,) = json.loads(cairn("accept", "--json").out)["error"]["conflicts"]
    (region,) = conflict["regions"]
    assert (conflict["path"], conflict["kind"], region["yours_lines"], region["made_lines"]) == (
        "src/app.py", "content", [3, 4], [3, 3],
    )  # fmt: skip
    assert json.loads(cairn("accept", "--dry-run", "--json").out)["would"][-1] == snapshot(
        {
            "path": "src/app.py",
            "do": "conflict",
            "merged": False,
            "folder": False,
            "reason": "the same lines changed on both sides: lines 3-4 (yours) against line 3 (the task's)",
            "kind": "content",
            "regions": [
                {
                    "first_line": 3,
                    "yours_lines": [3, 4],
                    "made_lines": [3, 3],
                    "yours": """\
mine
and more
""",
                    "seen": "line 3\n",
                    "made": "LINE 3\n",
                }
            ],
        }
    )
    assert tree(much)["src/app.py"][1].startswith(b"line 1\nline 2\nmine\n")


def test_dangerous_paths_are_named_until_they_are_allowed(project, cairn):
    cairn("run", "--code", "-", stdin=DANGEROUS)

    assert cairn("accept", "--dry-run", "--allow", "conftest.py") == snapshot(
        Screen(
            code=4,
            out="""\
Dangerous paths that nobody allowed:
  .github/workflows/ci.yml: runs in CI, with its secrets

Nothing would be written. But for what stands in the way it would be:

  create      .github/
  create      .github/workflows/
  create      .github/workflows/ci.yml
  create      a.txt
  create      conftest.py
""",
            err="""\
cairn: Task TASK1 changes 1 dangerous path that nobody allowed. Nothing was written.
  .github/workflows/ci.yml: runs in CI, with its secrets.
  cairn diff TASK1   shows them.
  cairn accept TASK1 --allow conftest.py --allow .github/workflows/ci.yml   accepts them too.
  [accept] allow = [...]   in cairn.toml allows paths for good.
This was a dry run.
""",
        )
    )
    assert cairn("accept", "--dry-run", "--allow", "conftest.py", "--allow", ".github/").code == 0


def test_the_commit_is_foretold_with_its_files(repository, cairn):
    cairn("run", "--code", "-", stdin=THREE)
    before = everything(repository)

    assert cairn("accept", "--dry-run", "--commit", "-m", "A message\n\nwith a body") == snapshot(
        Screen(
            code=0,
            out="""\
  create      lib/
  create      lib/new.py
  rename      src/tool.py -> lib/tool.py
  overwrite   src/app.py

Would commit 4 files, unless a hook refuses: A message
  lib/new.py
  lib/tool.py
  src/app.py
  src/tool.py

Would accept TASK1: 3 files changed.
""",
            err="This was a dry run.\n",
        )
    )
    assert everything(repository) == before


def test_hunks_are_asked_and_only_then_foretold(much, cairn):
    cairn("run", "--code", "-", stdin=MUCH)
    before = everything(much)

    screen = cairn("accept", "--hunks", "--dry-run", stdin="n\nn\ny\nn\ny\nn\n")

    assert (screen.code, screen.out) == snapshot(
        (
            0,
            """\
  overwrite   src/app.py
  overwrite   src/tool.py

Would accept part of TASK1: 2 files changed.
""",
        )
    )
    assert everything(much) == before


def test_nothing_is_made_where_nothing_is(project, cairn):
    assert cairn("accept", "--dry-run") == snapshot(
        Screen(
            code=3,
            out="",
            err="""\
cairn: There is no task here.
  cairn run "..."   starts one.
""",
        )
    )
    assert list(project.glob(".cairn")) == []


def test_what_a_killed_command_left_comes_first(project, cairn):
    cairn("run", "--code", "-", stdin=GOOD)
    (task,) = cairn.json("list")["tasks"]
    (project / ".cairn/cairn.db").rename(project / "ledger")

    assert cairn("accept", "--dry-run") == snapshot(
        Screen(
            code=1,
            out="",
            err="""\
cairn: A killed command left something here that has to be put right first. Nothing was written.
  cairn list   does that, as any other command; then try again.
""",
        )
    )
    assert not (project / ".cairn/cairn.db").exists()
    cairn("list")
    assert cairn("accept", task["id"], "--dry-run").code == 0


# -- the same as the real one ------------------------------------------------------------------------------------------


def changed(before, after):
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def written(told) -> set[str]:
    """The files that a dry run says would be written or deleted."""
    found = set()
    for each in told["would"]:
        if each["do"] not in {"already so", "conflict"} and not each["folder"]:
            found |= {each["path"], *([each["renamed_from"]] if "renamed_from" in each else [])}
    return found


def edits(root):
    path = root / "src/app.py"
    path.write_text(path.read_text().replace("def", "# mine\n\n\ndef"))


def conflicts(root):
    (root / "src/app.py").write_text("other\n")


def has_it_already(root):
    path = root / "src/app.py"
    path.write_text(path.read_text().replace("hello", "good day"))


def stages(root):
    edits(root)
    git(root, "add", "src/app.py")


def committed_it_already(root):
    has_it_already(root)
    git(root, "commit", "-qam", "mine")


def merges(root):
    (root / ".git/MERGE_HEAD").write_text(git(root, "rev-parse", "HEAD"))


def ends_lines_by_itself(root):
    git(root, "config", "core.autocrlf", "true")


def a_file_of_its_own(root):
    (root / "lib").mkdir()
    (root / "lib/new.py").write_text("MINE = 1\n")


CRLF = (
    'write_file("src/app.py", read_file("src/app.py").replace("\\n", "\\r\\n"))\nsubmit_result("x", ["src/app.py"])\n'
)


@pytest.mark.parametrize("edit", [lambda _: None, edits, conflicts, has_it_already])
@pytest.mark.parametrize(
    ("program", "options", "stdin"),
    [
        (GOOD, [], ""),
        (THREE, [], ""),
        (THREE, ["src"], ""),
        (THREE, ["--hunks"], "y\nn\nq\n"),
        (DANGEROUS, [], ""),
        (DANGEROUS, ["--allow", "**"], ""),
        (GOOD, ["nowhere"], ""),
    ],
)
def test_the_real_accept_does_what_was_foretold(project, cairn, program, options, stdin, edit):
    cairn("run", "--code", "-", stdin=program)
    edit(project)
    foretold(project, cairn, options, stdin)


@pytest.mark.parametrize(
    "edit",
    [
        lambda _: None, edits, conflicts, has_it_already, committed_it_already, stages, merges, ends_lines_by_itself,
        a_file_of_its_own,
    ],
)  # fmt: skip
@pytest.mark.parametrize("program", [GOOD, THREE, CRLF])
def test_the_real_commit_is_the_one_that_was_foretold(repository, cairn, program, edit):
    cairn("run", "--code", "-", stdin=program)
    edit(repository)
    head = git(repository, "rev-parse", "HEAD")

    told = foretold(repository, cairn, ["--commit"], "")

    made = git(repository, "rev-parse", "HEAD") != head
    assert made == bool(told["exit_code"] == 0 and told["commit"]["paths"])
    if made:
        names = git(repository, "show", "--format=", "--name-only", "--no-renames", "-z").split("\0")
        assert sorted(name for name in names if name) == told["commit"]["paths"]
        assert git(repository, "log", "-1", "--format=%s").strip() == told["commit"]["subject"]


def foretold(root, cairn, options, stdin):
    """Compares a dry run, in words and as JSON, with the accept that follows it."""
    task = cairn.json("list")["tasks"][0]["id"]
    arguments = ["accept", task, *options]
    before, all_before = tree(root), everything(root)
    words = cairn(*arguments, "--dry-run", stdin=stdin)
    told = cairn.json(*arguments, "--dry-run", stdin=stdin)
    assert everything(root) == all_before
    real = cairn(*arguments, stdin=stdin)
    after = tree(root)
    left = cairn.json("diff", task)["changes"]

    code = told["error"]["exit_code"] if "error" in told else 0
    assert (real.code, told.get("exit_code", code), words.code) == (code, code, code)
    if code:
        assert words.err == real.err + "This was a dry run.\n" * ("would" in told)
        assert after == before
        return told
    assert written(told) == changed(before, after)
    assert words.out.splitlines()[-1].replace("Would accept", "Accepted") == real.out.splitlines()[0]
    status = cairn.json("list")["tasks"][0]["status"]
    assert told["status"] == status
    assert status == "accepted" or told["left"] == [change["path"] for change in left]
    return told


def test_an_interrupted_accept_is_put_right_before_anything_is_foretold(project, cairn):
    cairn("run", "--code", "-", stdin=GOOD)
    cairn("accept")
    with closing(sqlite3.connect(project / ".cairn/operations.db", isolation_level=None)) as log:
        log.execute("UPDATE operation SET state = 'applying'")

    assert cairn("accept", "--dry-run").err.startswith("cairn: A killed command left something")
    assert "interrupted" in cairn("list").err

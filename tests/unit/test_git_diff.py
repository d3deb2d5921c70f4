from __future__ import annotations

import os
import random
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cairn import git_diff
from cairn.changes import Change, ChangeKind, ChangeSet
from cairn.git_diff import DiffStat, FileStat
from tests.content_trees import TREES, Tree, between, edited, folder, link, snapshot, text, write
from tests.length import examples

CASES: dict[str, tuple[Tree, Tree]] = {
    "new": ({}, {"src/a.py": text("a\nb\n")}),
    "new and empty": ({}, {"empty": text(""), "with space": text("")}),
    "new and executable": ({}, {"run": text("#!/bin/sh\n", 0o755)}),
    "deleted": ({"a": text("a\nb\n"), "b": text("")}, {}),
    "modified": ({"a": text("1\n2\n3\n4\n5\n6\n7\n8\n9\n")}, {"a": text("1\n2\n3\n4\nfive\n6\n7\n8\n9\n")}),
    "emptied": ({"a": text("1\n2\n")}, {"a": text("")}),
    "filled": ({"a": text("")}, {"a": text("1\n2\n")}),
    "two hunks": ({"a": text("x\n" * 30)}, {"a": text("y\n" + "x\n" * 30 + "z\n")}),
    "no newline at the end": ({"a": text("1\n2")}, {"a": text("1\n3")}),
    "newline gained": ({"a": text("1\n2")}, {"a": text("1\n2\n")}),
    "newline lost": ({"a": text("1\n2\n")}, {"a": text("1\n2")}),
    "carriage returns": ({"a": text("1\r\n2\r\n3\r\n")}, {"a": text("1\r\n2\r\nthree\r\n")}),
    "lone carriage returns": ({"a": text(b"1\r2\r3")}, {"a": text(b"1\r2\r4")}),
    "latin-1": ({"a": text(b"caf\xe9\n")}, {"a": text(b"caf\xe9s\n\xff\xfe\n")}),
    "mode": ({"a": text("1\n")}, {"a": text("1\n", 0o755)}),
    "mode and content": ({"a": text("1\n", 0o755)}, {"a": text("2\n")}),
    "binary new": ({}, {"a": text(bytes(range(256)) * 20)}),
    "binary deleted": ({"a": text(b"\0\1\2")}, {}),
    "binary modified": ({"a": text(b"\0" + b"x" * 5000)}, {"a": text(b"\0" + b"y" * 6000, 0o755)}),
    "binary becomes text": ({"a": text(b"\0\1\2")}, {"a": text("text\n")}),
    "symlink new": ({}, {"a": link("b")}),
    "symlink modified": ({"a": link("b")}, {"a": link("c/d")}),
    "symlink deleted": ({"a": link("nowhere")}, {}),
    "file becomes symlink": ({"a": text("1\n")}, {"a": link("b")}),
    "symlink becomes file": ({"a": link("b")}, {"a": text("1\n", 0o755)}),
    "file becomes folder": ({"a": text("1\n")}, {"a/b": text("2\n")}),
    "folder becomes file": ({"a/b": text("1\n"), "a/c/d": text("2\n")}, {"a": text("3\n")}),
    "symlink becomes folder": ({"a": link("b")}, {"a/b": text("2\n")}),
    "names": (
        {
            'qu"ote': text("1\n"),
            "tab\t": text("1\n"),
            "new\nline": text("1\n"),
            "café ü": text("1\n"),
            " ": text("1\n"),
        },
        {
            'qu"ote': text("2\n"),
            "tab\t": text("2\n"),
            "new\nline": text("2\n"),
            "café ü": text("2\n"),
            " ": text("2\n"),
        },
    ),
    "long name": ({}, {"n" * 255: text("1\n"), "é" * 127: text("1\n")}),
    "lines that look like a patch": (
        {"a": text("-- a\n++ b\n@@ -1 +1 @@\ndiff --git a/a b/a\n")},
        {"a": text("--- a\n+++ b\n@@ -1 +1 @@\ndiff --git a/a b/a\n\\ No newline at end of file\n")},
    ),
}


def applied(tmp_path: Path, before: Tree, patch: bytes, *options: str) -> Tree:
    root = write(tmp_path / "base", before)
    for more in (["--check"], []):
        done = subprocess.run(
            ["git", "apply", "--binary", "--whitespace=nowarn", *more, *options, "-"],
            cwd=root, input=patch, capture_output=True, check=False,
            env={**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path)},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, b""), patch.decode(errors="replace")
    return snapshot(root)


@pytest.mark.parametrize("name", CASES)
def test_git_apply_makes_the_tree_that_the_task_made(tmp_path, name):
    before, after = CASES[name]

    assert applied(tmp_path, before, git_diff.render(between(before, after))) == after


@pytest.mark.parametrize("name", CASES)
def test_git_apply_reverse_makes_the_tree_that_the_task_saw(tmp_path, name):
    before, after = CASES[name]

    assert applied(tmp_path, after, git_diff.render(between(before, after)), "--reverse") == before


def test_a_rename_with_edits_and_a_mode_applies(tmp_path):
    before = {"old name.py": text("1\n2\n3\n4\n5\n"), "keep": text("k\n")}
    after = {"new/näme.py": text("1\n2\nthree\n4\n5\n", 0o755), "keep": text("k\n")}

    patch = git_diff.render(between(before, after, {"new/näme.py": "old name.py"}))

    assert patch.decode().splitlines()[:6] == [
        'diff --git a/old name.py "b/new/n\\303\\244me.py"',
        "old mode 100644",
        "new mode 100755",
        "similarity index 57%",
        "rename from old name.py",
        'rename to "new/n\\303\\244me.py"',
    ]
    assert applied(tmp_path, before, patch) == after


def test_a_moved_symlink_goes_and_comes_anew(tmp_path):
    before, after = {"a": link("nowhere"), "b": link("elsewhere")}, {"a/a": link("nowhere"), "c": link("elsewhere")}
    changes = between(before, after, {"a/a": "a", "c": "b"})

    assert [change.kind for change in changes] == [ChangeKind.RENAMED, ChangeKind.RENAMED]
    assert applied(tmp_path, before, git_diff.render(changes)) == after


def test_names_can_be_swapped_and_reused(tmp_path):
    before = {"a": text("alpha\n" * 5), "b": text("beta\n" * 5), "c": text("gamma\n")}
    after = {"a": text("beta\n" * 5), "b": text("alpha\n" * 5), "d": text("gamma\n"), "c": text("new\n")}
    changes = ChangeSet(
        (
            Change("a", before["b"], after["a"], renamed_from="b"),
            Change("b", before["a"], after["b"], renamed_from="a"),
            Change("c", None, after["c"]),
            Change("d", before["c"], after["d"], renamed_from="c"),
        )
    )

    assert applied(tmp_path, before, git_diff.render(changes)) == after


def test_a_patch_reads_as_git_writes_it():
    old = "import os\n\n\ndef greet(name):\n    a = 1\n    b = 2\n    c = 3\n    return name\n"
    change = Change("src/a b.py", text(old), text(old.replace("return name", "return 'hello ' + name")))

    assert git_diff.render_change(change).decode() == (
        "diff --git a/src/a b.py b/src/a b.py\n"
        "index ee3a60f4cfd2280dfb5ee86d491760ed64f43a97..a8fbe05ff851d0a7dcf5a7e894701cd64d529811 100644\n"
        "--- a/src/a b.py\t\n"
        "+++ b/src/a b.py\t\n"
        "@@ -5,4 +5,4 @@ def greet(name):\n"
        "     a = 1\n"
        "     b = 2\n"
        "     c = 3\n"
        "-    return name\n"
        "+    return 'hello ' + name\n"
    )


def test_an_added_function_is_shown_whole():
    old = "def a():\n    pass\n\n\ndef c():\n    pass\n"
    new = "def a():\n    pass\n\n\ndef b():\n    pass\n\n\ndef c():\n    pass\n"
    added = [
        line
        for line in git_diff.render_change(Change("x.py", text(old), text(new))).decode().splitlines()[4:]
        if line.startswith("+")
    ]

    assert added == ["+def b():", "+    pass", "+", "+"]


def test_what_git_cannot_say_is_left_out_of_the_patch():
    changes = ChangeSet(
        (
            Change("empty", None, folder()),
            Change("gone", folder(), None),
            Change("secret", text("1\n", 0o644), text("1\n", 0o600)),
        )
    )

    assert git_diff.render(changes) == b""
    assert git_diff.names(changes) == ("empty", "gone", "secret")
    assert git_diff.stat(changes) == DiffStat(
        (
            FileStat("empty", ChangeKind.ADDED, folder=True),
            FileStat("gone", ChangeKind.DELETED, folder=True),
            FileStat("secret", ChangeKind.MODE),
        )
    )
    assert git_diff.render_stat(git_diff.stat(changes)) == (
        " empty/ | - folder added\n"
        " gone/  | - folder deleted\n"
        " secret | 0\n"
        " 3 files changed, 0 insertions(+), 0 deletions(-)\n"
    )


def test_a_folder_that_stands_for_a_file_leaves_the_file_in_the_patch(tmp_path):
    changes = ChangeSet((Change("a", text("1\n"), folder()), Change("b", folder(), text("2\n"))))

    assert applied(tmp_path, {"a": text("1\n")}, git_diff.render(changes)) == {"b": text("2\n")}


def test_no_change_has_no_patch_and_no_table():
    assert git_diff.render(ChangeSet()) == b""
    assert git_diff.render_stat(git_diff.stat(ChangeSet())) == ""


def test_the_figures_of_each_kind():
    before = {"bin": text(b"\0one"), "del": text("1\n2"), "mod": text("1\n2\n3\n"), "old": text("x\ny\n")}
    after = {"bin": text(b"\0three"), "mod": text("1\ntwo\n3\n4\n"), "new": text("x\ny\n"), "add": text("1\n")}

    assert git_diff.stat(between(before, after)) == DiffStat(
        (
            FileStat("add", ChangeKind.ADDED, added=1),
            FileStat("bin", ChangeKind.MODIFIED, binary=True, size_before=4, size_after=6),
            FileStat("del", ChangeKind.DELETED, removed=2),
            FileStat("mod", ChangeKind.MODIFIED, added=2, removed=1),
            FileStat("new", ChangeKind.RENAMED, renamed_from="old"),
        )
    )


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True)
    return done.stdout.decode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": text("1\n")}, {"a": text("2\n"), "b/c": text("x\n")}),
        ({"a": text("1\n" * 3)}, {"a": text("2\n" * 400), "b/c": text("x\n"), "d": text(b"\0abc")}),
        ({"bin": text(b"\0" * 9)}, {"bin": text(b"\0" * 100_000)}),
        (
            {"a": text("1\n" * 900), "b": text("1\n")},
            {"a": text("2\n" * 300), "b": text("2\n"), "c": text("x\n" * 500)},
        ),
        ({"only": text(b"\0" * 9)}, {"only": text(b"\0" * 9, 0o755)}),
        ({"x": text("")}, {"x": text("", 0o755), "l": link("x"), "e": text("")}),
        ({"src/app.py": text("1\n2\n3\n4\n")}, {"src/deep/app.py": text("1\n2\n3\n4\n")}),
        ({"app.py": text("1\n2\n3\n4\n")}, {"deep/app.py": text("1\n2\n3\n4\n")}),
        ({"deep/app.py": text("1\n2\n3\n4\n")}, {"app.py": text("1\n2\n3\n4\n")}),
        ({"a/b/c/d.py": text("1\n2\n3\n4\n")}, {"a/x/y/c/d.py": text("1\n2\n3\n4\n")}),
        ({"a/b/one.py": text("1\n2\n3\n4\n")}, {"a/c/two.py": text("1\n2\n3\n4\n")}),
        ({}, {"folder/" * 12 + "a_rather_long_name.py": text("1\n" * 70), "b": text("1\n" * 7)}),
        ({}, {"n" * 120: text("1\n" * 700), 'quo"te': text("1\n"), "café": text("1\n"), "tab\t": text("1\n")}),
        ({"m": text("a\n" * 1000)}, {"m": text("a\n" * 999 + "b\n"), "n": text("x\n" * 2)}),
    ],
)
def test_the_table_is_the_one_git_prints(tmp_path, before, after):
    root = write(tmp_path / "repository", before)
    git(root, "init", "-q")
    git(root, "add", "-A")
    for path in snapshot(root):
        (root / path).unlink()
    git(root, "commit", "-q", "--allow-empty", "-m", "before")
    write(root, after)
    git(root, "add", "-A")
    theirs = git(root, "-c", "core.quotePath=false", "diff", "--cached", "--stat", "-M", "HEAD")

    assert git_diff.render_stat(git_diff.stat(between(before, after))) == theirs


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_git_apply_takes_any_patch(data):
    before = data.draw(TREES)
    after, moves = data.draw(edited(before))
    patch = git_diff.render(between(before, after, moves))
    if not patch:
        assert before == after
        return

    with tempfile.TemporaryDirectory() as folder_name:
        assert applied(Path(folder_name), before, patch) == after


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=examples(400, 1500), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.timeout(600)
def test_git_apply_takes_very_many_patches(data):
    before = data.draw(TREES)
    after, moves = data.draw(edited(before))
    patch = git_diff.render(between(before, after, moves))
    if patch:
        with tempfile.TemporaryDirectory() as folder_name:
            assert applied(Path(folder_name), before, patch) == after


def _large(name: str) -> tuple[bytes, bytes]:
    rng = random.Random(7)
    distinct = [b"line %d\n" % number for number in range(10_000)]
    few = [b"    }\n", b"\n", b"    return 0;\n", *(b"x%d = 1\n" % number for number in range(97))]
    shuffled = distinct.copy()
    rng.shuffle(shuffled)
    scattered = [b"changed\n" if number % 17 == 0 else line for number, line in enumerate(distinct)]
    return {
        "one line in the middle": (distinct, [*distinct[:5000], b"new\n", *distinct[5000:]]),
        "both ends": (distinct, [b"new\n", *distinct[1:-1], b"new\n"]),
        "every 17th line": (distinct, scattered),
        "shuffled": (distinct, shuffled),
        "unrelated": (distinct, [b"other %d\n" % number for number in range(10_000)]),
        "few distinct lines": ([rng.choice(few) for _ in range(10_000)], [rng.choice(few) for _ in range(10_000)]),
        "one line repeated": ([b"same\n"] * 10_000, [b"same\n", b"other\n"] * 5_000),
    }[name]  # type: ignore[return-value]


@pytest.mark.parametrize(
    "name",
    ["one line in the middle", "both ends", "every 17th line", "shuffled", "unrelated", "few distinct lines", "one line repeated"],
)  # fmt: skip
def test_ten_thousand_lines_take_bounded_time(tmp_path, name):
    old, new = (b"".join(lines) for lines in _large(name))
    started = time.process_time()
    patch = git_diff.render_change(Change("big", text(old), text(new)))

    assert time.process_time() - started < 3
    assert applied(tmp_path, {"big": text(old)}, patch) == {"big": text(new)}


def test_a_sparse_change_of_a_large_file_stays_small():
    old, new = (b"".join(lines) for lines in _large("every 17th line"))

    assert git_diff.stat(ChangeSet((Change("big", text(old), text(new)),))).files == (
        FileStat("big", ChangeKind.MODIFIED, added=589, removed=589),
    )


@pytest.mark.slow
def test_a_ten_megabyte_binary_goes_through(tmp_path):
    data = random.Random(3).randbytes(10_000_000) + b"\0"

    patch = git_diff.render_change(Change("big", None, text(data)))

    assert applied(tmp_path, {}, patch) == {"big": text(data)}

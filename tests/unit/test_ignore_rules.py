from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cairn.ignore_rules import IgnoreRules
from tests.length import examples


def verdicts(text, *names, folder=False):
    return [IgnoreRules(text).verdict(name, folder=folder) for name in names]


@pytest.mark.parametrize(
    ("line", "taken", "left"),
    [
        (b"a", [b"a", b"d/a"], [b"ab", b"a/b"]),
        (b"/a", [b"a"], [b"d/a"]),
        (b"d/a", [b"d/a"], [b"e/d/a", b"a"]),
        (b"*.py", [b"x.py", b"d/.py"], [b"x.pyc"]),
        (b"d/*", [b"d/a"], [b"d/e/a", b"d"]),
        (b"**/a", [b"a", b"x/y/a"], [b"xa"]),
        (b"d/**", [b"d/a", b"d/e/a"], [b"d"]),
        (b"d/**/a", [b"d/a", b"d/x/y/a"], [b"da"]),
        (b"d**/a", [b"dx/a"], [b"d/x/a"]),
        (b"[ab]", [b"a", b"b"], [b"c", b"[ab]"]),
        (b"[!a-c]", [b"d"], [b"b"]),
        (b"[]-]", [b"]", b"-"], [b"a"]),
        (b"[[:digit:]x]", [b"7", b"x"], [b"d", b"[7x]"]),
        (b"[[:no:]]", [], [b"n", b":"]),
        (b"[a", [], [b"a", b"[a"]),
        (b"a\\*", [b"a*"], [b"ab"]),
        (b"a\\", [], [b"a", b"a\\"]),
        (b"\\#a", [b"#a"], [b"a"]),
        (b"\\!a", [b"!a"], [b"a"]),
        (b"#a", [], [b"#a", b"a"]),
        (b"a  ", [b"a"], [b"a  "]),
        (b"a\\ ", [b"a "], [b"a"]),
        (b"a\r", [b"a"], [b"a\r"]),
        (b"\xef\xbb\xbfa", [b"a"], []),
        ("\u00e9".encode(), ["\u00e9".encode()], [b"e"]),
        (b"?", [b"x"], ["\u00e9".encode(), b"xy"]),
        (b"", [], [b"a"]),
        (b"/", [], [b"a"]),
    ],
)
def test_a_line_matches_what_git_says(line, taken, left):
    assert verdicts(line, *taken) == [True] * len(taken)
    assert verdicts(line, *left) == [None] * len(left)


def test_the_last_line_that_matches_decides():
    assert verdicts(b"*\n!a\n!b\nb", b"a", b"b", b"c") == [False, True, True]


def test_a_line_for_folders_says_nothing_of_files():
    assert (verdicts(b"a/", b"a"), verdicts(b"a/", b"a", b"d/a", folder=True)) == ([None], [True, True])


def test_rules_of_a_folder_are_against_paths_below_it():
    below = IgnoreRules(b"/a\nx/y", base="d/e")
    assert [below.verdict(path, folder=False) for path in (b"d/e/a", b"d/e/f/a", b"d/e/x/y")] == [True, None, True]
    above = IgnoreRules(b"/p/a", prefix="p/")
    assert [above.verdict(path, folder=False) for path in (b"a", b"p/a")] == [True, None]


def test_lines_that_can_never_match_leave_nothing_to_do():
    assert IgnoreRules(b"# only\n\n[\n\\\n").is_empty


SIGNS = "ab]-[!^\\ \u00e9*?:"
NAMES = st.sets(st.text(alphabet=SIGNS, min_size=1, max_size=3), max_size=12)
LINES = st.text(alphabet=SIGNS, min_size=1, max_size=8) | st.sampled_from(
    ["[[:alpha:]]", "[[:punct:]]*", "[a-\\]]", "[^]a]"]
)
QUICK = settings(
    max_examples=50, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True
)


def check_same_as_git(line, names):
    root = Path(tempfile.mkdtemp())
    try:
        for name in names:
            (root / name).touch()
        (root / ".gitignore").write_text(line + "\n")
        subprocess.run(["git", "init", "-q"], cwd=root, check=True)
        listed = subprocess.run(
            ["git", "ls-files", "-o", "--exclude-standard", "-z"], cwd=root, capture_output=True, check=True
        )
        kept = set(listed.stdout.decode().split("\0")) & names
        rules = IgnoreRules((line + "\n").encode())
        assert {name for name in names if not rules.verdict(name.encode(), folder=False)} == kept
    finally:
        shutil.rmtree(root)


@QUICK
@given(line=LINES, names=NAMES)
def test_any_line_gives_what_git_gives(line, names):
    check_same_as_git(line, names)


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(QUICK, max_examples=examples(700, 3000), derandomize=False)
@given(line=LINES, names=NAMES)
def test_any_line_gives_what_git_gives_many_times(line, names):
    check_same_as_git(line, names)

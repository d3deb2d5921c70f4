from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cairn.text_merge import Clash, ClashKind, Merged, Region, merge

BASE = b"1\n2\n3\n4\n5\n6\n7\n"


def test_changes_of_both_sides_meet_in_one_text():
    assert merge(BASE, BASE.replace(b"1", b"one"), BASE.replace(b"7", b"seven")) == Merged(
        b"one\n2\n3\n4\n5\n6\nseven\n"
    )


def test_carriage_returns_and_foreign_bytes_survive():
    base = b"caf\xe9\r\n2\r\n3\r\n4\r\n5\r\n6"

    assert merge(base, base + b"\r\n7", base.replace(b"caf\xe9", b"th\xe9")) == Merged(
        b"th\xe9\r\n2\r\n3\r\n4\r\n5\r\n6\r\n7"
    )


def test_a_missing_last_newline_stays_missing():
    assert merge(b"1\n2\n3\n4", b"one\n2\n3\n4", b"1\n2\n3\nfour") == Merged(b"one\n2\n3\nfour")


def test_a_clash_names_the_lines_of_the_project():
    clash = merge(BASE, b"0\n" + BASE.replace(b"4", b"vier"), BASE.replace(b"4", b"quatre"))

    assert clash == Clash(
        "the same lines changed on both sides: line 5 (yours) against line 4 (the task's)",
        (Region(5, b"vier\n", b"4\n", b"quatre\n", 4),),
        kind=ClashKind.CONTENT,
    )


def test_each_region_counts_lines_of_the_project_alone():
    base = b"a\n" * 3 + BASE + b"z\n" * 9 + BASE
    project = base.replace(b"2\n3\n", b"zwei\n") + b"end\n"
    task = base.replace(b"2\n3\n", b"deux\ntrois\nextra\n")

    assert merge(base, project, task) == Clash(
        "the same lines changed on both sides: line 5 (yours) against lines 5-7 (the task's); "
        "line 20 (yours) against lines 22-24 (the task's)",
        (Region(5, b"zwei\n", b"2\n3\n", b"deux\ntrois\nextra\n", 5), Region(20, b"zwei\n", b"2\n3\n", b"deux\ntrois\nextra\n", 22)),
        kind=ClashKind.CONTENT,
    )  # fmt: skip


def test_text_about_conflicts_is_not_taken_for_one():
    marks = b"<<<<<<< ours\n=======\n>>>>>>> theirs\n" + b"<" * 16 + b" a\n" + b"=" * 16 + b"\n"

    assert merge(b"x\n" + marks, b"y\n" + marks, b"z\n" + marks) == Clash(
        "the same lines changed on both sides: line 1 (yours) against line 1 (the task's)",
        (Region(1, b"y\n", b"x\n", b"z\n", 1),),
        kind=ClashKind.CONTENT,
    )


@pytest.mark.parametrize(
    ("project", "task", "where"),
    [
        (b"1\n5\n", b"1\ntwo\n3\n4\n5\n", "nothing after line 1 (yours) against lines 2-4 (the task's)"),
        (b"two\n", b"", "line 1 (yours) against nothing at the start (the task's)"),
        (b"1\nA\nB\n3\n4\n5", b"1\nC\n3\n4\n5\n", "lines 2-3 (yours) against line 2 (the task's)"),
    ],
)
def test_a_region_names_the_lines_of_both_sides_even_where_one_has_none(project, task, where):
    clash = merge(b"1\n2\n3\n4\n5\n", project, task)

    assert clash.reason == f"the same lines changed on both sides: {where}"


def test_of_many_regions_a_few_are_named_and_the_others_counted():
    kept = b"same\n" * 5
    base, project, task = (
        b"".join(b"%s %d\n" % (side, number) + kept for number in range(9)) for side in (b"a", b"b", b"c")
    )

    clash = merge(base, project, task)

    assert [region.first_line for region in clash.regions] == list(range(1, 54, 6))
    assert clash.reason.endswith("line 25 (yours) against line 25 (the task's); and 4 more")


def test_binary_content_never_merges():
    assert merge(b"1\n\0", b"2\n\0", b"1\n\0\n3") == Clash("binary file changed on both sides", kind=ClashKind.BINARY)
    assert merge(b"1\n", b"2\n", b"9" * 9000 + b"\0") == Clash(
        "binary file changed on both sides", kind=ClashKind.BINARY
    )


def test_without_git_it_is_a_conflict_that_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    assert merge(b"1\n", b"2\n", b"3\n") == Clash(
        "changed on both sides, and merging needs git, which is not installed"
    )


def test_a_git_that_fails_is_a_conflict(monkeypatch, tmp_path):
    git = tmp_path / "git"
    git.write_text("#!/bin/sh\nexit 255\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    assert merge(b"1\n", b"2\n", b"3\n") == Clash("changed on both sides, and git could not merge it")


def test_a_persons_git_settings_have_no_say(monkeypatch, nobodys_home):
    (nobodys_home / "gitconfig").write_text("[merge]\n conflictStyle = zdiff3\n")
    monkeypatch.setenv("GIT_DIR", "/nowhere")

    assert merge(BASE, BASE.replace(b"1", b"one"), BASE.replace(b"7", b"seven")) == Merged(
        b"one\n2\n3\n4\n5\n6\nseven\n"
    )


_TEXTS = st.tuples(
    st.lists(st.sampled_from((b"a", b"b", b"c", b"", b"dd")), max_size=8), st.sampled_from((b"\n", b"\r\n")), st.booleans()
).map(lambda made: made[1].join(made[0]) + (made[1] if made[2] and made[0] else b""))  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(600)
@given(base=_TEXTS, project=_TEXTS, task=_TEXTS)
@settings(max_examples=1000, deadline=None)
def test_it_is_what_git_merge_file_says(tmp_path_factory, base, project, task):
    folder = tmp_path_factory.mktemp("merge")
    for name, data in (("project", project), ("base", base), ("task", task)):
        (folder / name).write_bytes(data)
    done = subprocess.run(
        ["git", "merge-file", "-p", "-q", "project", "base", "task"], cwd=folder, capture_output=True, check=False
    )
    merged = merge(base, project, task)

    if done.returncode == 0:
        assert merged == Merged(done.stdout)
    else:
        assert isinstance(merged, Clash)
        assert len(merged.regions) >= 1
        for region in merged.regions:
            at = b"\n".join(project.split(b"\n")[region.first_line - 1 :])
            assert at.startswith(region.project.rstrip(b"\r\n"))  # git ends each line it shows

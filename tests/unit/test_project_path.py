"""One spelling for each path, and a refusal that says what to write instead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.project_path import parent, project_path


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("src/app.py", "src/app.py"),
        ("./src//app.py", "src/app.py"),
        ("src/./", "src"),
        (".", "."),
        ("./", "."),
        ("a b/ü.py", "a b/ü.py"),
        ("...", "..."),
        (".gitignore", ".gitignore"),
        (".github/workflows/ci.yml", ".github/workflows/ci.yml"),
        ("a\nb", "a\nb"),
        ("a\\b", "a\\b"),
    ],
)
def test_a_path_has_one_spelling(written, meant):
    assert project_path(written) == meant


@pytest.mark.parametrize(
    ("written", "error", "says"),
    [
        ("../x", PermissionError, "'../x' contains '..'; paths start at the project's root and stay inside it"),
        ("a/../b", PermissionError, "'a/../b' contains '..'; paths start at the project's root and stay inside it"),
        (
            "/etc/passwd",
            PermissionError,
            "'/etc/passwd' is absolute; paths are relative to the project, like 'etc/passwd'",
        ),
        ("/", PermissionError, "'/' is absolute; paths are relative to the project, like '.'"),
        ("C:\\x", PermissionError, "'C:\\x' is absolute; paths are relative to the project and use '/'"),
        (".git/config", PermissionError, "'.git/config' is inside .git/, which programs may not touch"),
        (".GIT/config", PermissionError, "'.GIT/config' is inside .GIT/, which programs may not touch"),
        (
            "sub/.git/hooks/x",
            PermissionError,
            "'sub/.git/hooks/x' is inside .git/, which programs may not touch",
        ),
        ("sub/.Cairn/x", PermissionError, "'sub/.Cairn/x' is inside .Cairn/, which programs may not touch"),
        (".cairn/cairn.db", PermissionError, "'.cairn/cairn.db' is inside .cairn/, which programs may not touch"),
        ("", ValueError, "the path is empty; the project's root is '.'"),
        ("a\0b", ValueError, "the path contains a NUL character"),
        ("\ud800", ValueError, "the path is not valid Unicode text"),
        ("x" * 256, ValueError, f"a name in the path is longer than 255 bytes: '{'x' * 40}...'"),
        ("ü/" * 2000, ValueError, "the path is longer than 4096 bytes"),
        (None, TypeError, "a path is a string like 'src/app.py', not NoneType"),
        (b"x", TypeError, "a path is a string like 'src/app.py', not bytes"),
    ],
)
def test_a_refused_path_says_why(written, error, says):
    with pytest.raises(error) as refused:
        project_path(written)

    assert str(refused.value) == says


@given(st.text(alphabet="ab./\\ \0\nü:~", max_size=12))
def test_what_is_let_through_stays_inside_and_is_its_own_spelling(text):
    try:
        path = project_path(text)
    except (ValueError, PermissionError):
        return

    assert project_path(path) == path
    assert ".." not in path.split("/")
    assert not path.startswith("/")
    assert "\0" not in path


def test_the_parent_of_a_name_at_the_root_is_the_root():
    assert [parent("a/b/c.py"), parent("c.py")] == ["a/b", "."]

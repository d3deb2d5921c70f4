from __future__ import annotations

import time
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.glob_pattern import glob_pattern

PATHS = (
    "a.py", "b.txt", ".env", "src/a.py", "src/b.js", "src/deep/a.py", "src/deep/er/a.tsx", "docs/a.md", "src/[x].py",
    "a b/c.py",
)  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "folder", "found"),
    [
        ("*.py", ".", ["a.py"]),
        ("*", ".", ["a.py", "b.txt", ".env"]),
        ("**/*.py", ".", ["a.py", "src/a.py", "src/deep/a.py", "src/[x].py", "a b/c.py"]),
        ("**", ".", list(PATHS)),
        ("src/**", "src", ["src/a.py", "src/b.js", "src/deep/a.py", "src/deep/er/a.tsx", "src/[x].py"]),
        ("src/", "src", ["src/a.py", "src/b.js", "src/deep/a.py", "src/deep/er/a.tsx", "src/[x].py"]),
        ("./src//*.py", "src", ["src/a.py", "src/[x].py"]),
        ("src/**/a.*", "src", ["src/a.py", "src/deep/a.py", "src/deep/er/a.tsx"]),
        ("**/deep/**/*.{ts,tsx}", ".", ["src/deep/er/a.tsx"]),
        ("{src,docs}/*.{md,js}", ".", ["src/b.js", "docs/a.md"]),
        ("{docs/a.md,b.txt}", ".", ["b.txt", "docs/a.md"]),
        ("src/[[]x].py", "src", ["src/[x].py"]),
        ("[!a].txt", ".", ["b.txt"]),
        ("[^a].txt", ".", ["b.txt"]),
        ("?.py", ".", ["a.py"]),
        ("a b/*", "a b", ["a b/c.py"]),
        ("src[/]a.py", ".", []),
        ("SRC/*.py", "SRC", []),
        (".", ".", list(PATHS)),
    ],
)
def test_patterns(pattern: str, folder: str, found: list[str]) -> None:
    made = glob_pattern(pattern)

    assert (made.folder, [path for path in PATHS if made.matches(path)]) == (folder, found)


def test_a_pattern_without_wildcards_is_known_as_one_path() -> None:
    assert [glob_pattern(pattern).literal for pattern in ("./src/a.py", "src/*.py")] == ["src/a.py", None]


_parts = st.text(alphabet="ab*?", min_size=1, max_size=5).filter(lambda part: "**" not in part)
_patterns = st.lists(_parts | st.just("**"), min_size=1, max_size=5)
_names = st.lists(st.text(alphabet="ab", min_size=1, max_size=5), min_size=1, max_size=5)


def _fits(pattern: list[str], names: list[str]) -> bool:
    """The meaning of a pattern, without any cleverness."""
    if not pattern:
        return not names
    if pattern[0] == "**":
        if len(pattern) == 1:
            return bool(names)
        return any(_fits(pattern[1:], names[skipped:]) for skipped in range(len(names) + 1))
    return bool(names) and PurePosixPath(names[0]).match(pattern[0]) and _fits(pattern[1:], names[1:])


@given(_patterns, _names)
def test_a_pattern_fits_exactly_what_its_meaning_says(pattern: list[str], names: list[str]) -> None:
    assert glob_pattern("/".join(pattern)).matches("/".join(names)) is _fits(pattern, names)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 100 + "b", "a" * 255),
        ("**/a/" * 100 + "b", "a/" * 2_000 + "c"),
        ("**/*a*a*a*/" * 20 + "b", ("a" * 200 + "/") * 20 + "c"),
    ],
)
def test_no_pattern_takes_long(pattern: str, path: str) -> None:
    started = time.perf_counter()

    assert not glob_pattern(pattern).matches(path)
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    ("pattern", "error"),
    [
        ("", ValueError("a pattern has 1 to 1,000 characters, like 'src/**/*.py'")),
        (
            "/etc/*",
            PermissionError("'/etc/*' leads out of the project; patterns are relative to its root and have no '..'"),
        ),
        (
            "../*",
            PermissionError("'../*' leads out of the project; patterns are relative to its root and have no '..'"),
        ),
        ("src/**.py", ValueError("in 'src/**.py', ** must stand alone between slashes, like 'src/**/*.py'")),
        ("{a,b}" * 8, ValueError(f"the braces in '{'{a,b}' * 8}' stand for more than 100 patterns; ask in parts")),
        ("[z-a]", ValueError("'[z-a]' is no set of characters; write one like [a-z] or [!0-9]")),
    ],
)
def test_what_is_no_pattern_says_how_to_write_one(pattern: str, error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        glob_pattern(pattern)

    assert str(raised.value) == str(error)

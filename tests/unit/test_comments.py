"""Comments of real and of odd source, in every language that is known."""

from __future__ import annotations

import ast
import sysconfig
from pathlib import Path

import click
import pytest

from cairn.comments import Comment, comments
from cairn.parser_process import commented

PYTHON = b'''\
#!/usr/bin/env python
"""# no comment"""
x = "# none"  # one: \xc3\xa9
def f():
    # two
    # three
    return 1
'''


def test_python_comments_are_told_with_their_lines_and_whether_code_is_before_them() -> None:
    assert comments("a.py", PYTHON) == [
        Comment(1, 1, "#!/usr/bin/env python", alone=True),
        Comment(3, 3, "# one: é", alone=False),
        Comment(5, 5, "# two", alone=True),
        Comment(6, 6, "# three", alone=True),
    ]


def test_a_mark_and_windows_line_ends_change_nothing() -> None:
    assert comments("a.py", b"\xef\xbb\xbf" + PYTHON.replace(b"\n", b"\r\n")) == comments("a.py", PYTHON)


@pytest.mark.parametrize(
    ("name", "source", "found"),
    [
        ("a.js", "// a\nlet s = '// no'; /* b\n c */\n", [(1, 1, "// a", True), (2, 3, "/* b\n c */", False)]),
        ("a.tsx", "const a = <b>{/* c */}</b>;\n", [(1, 1, "/* c */", False)]),
        ("a.go", "package a // x\n", [(1, 1, "// x", False)]),
        ("a.rs", "/// Doc.\nfn f() {}\n/* b */\n", [(1, 1, "/// Doc.", True), (3, 3, "/* b */", True)]),
        ("a.java", "/** D */\nclass A {}\n", [(1, 1, "/** D */", True)]),
        ("a.c", '#define X 1\nchar *s = "/* no */"; // y\n', [(2, 2, "// y", False)]),
        ("a.rb", "x = 1 # one\n=begin\nb\n=end\n", [(1, 1, "# one", False), (2, 4, "=begin\nb\n=end", True)]),
        ("run", "#!/bin/sh\necho '# no' # yes\n", [(1, 1, "#!/bin/sh", True), (2, 2, "# yes", False)]),
    ],
)
def test_other_languages_are_told_by_their_grammars(
    name: str, source: str, found: list[tuple[int, int, str, bool]]
) -> None:
    assert comments(name, source.encode()) == [
        Comment(line, end, text, alone=alone) for line, end, text, alone in found
    ]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.xyz", b"# x", "comments knows no language for 'a.xyz'; it knows .bash, .c, .cc,"),
        ("a.py", b"# \xff", "'a.py' is not UTF-8 text (byte 2), so its comments cannot be told"),
        ("a.py", b"# a\nf(\n", "'a.py' line 3: EOF in multi-line statement, so its comments cannot be told"),
        ("a.py", b"if x:\n    a\n  b # c\n", "'a.py' line 3: unindent does not match any outer indentation level"),
        ("a.py", b"# \0", "'a.py' contains NUL characters"),
    ],
)
def test_what_has_no_comments_to_tell_says_why(name: str, data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=r"'a\.") as raised:
        comments(name, data)

    assert str(raised.value).startswith(message)


def _nothing_but_comments_goes(source: Path) -> None:
    """Cut out, all the comments leave the same program; and no line keeps a "#" that is no part of a text."""
    text = source.read_text(encoding="utf-8")
    lines = text.split("\n")
    for comment in comments(source.name, text.encode()):
        line = lines[comment.line - 1]
        assert line.endswith(comment.text)
        lines[comment.line - 1] = line.removesuffix(comment.text)
        assert comment.alone == (not lines[comment.line - 1].strip())
    bare = "\n".join(lines)

    assert ast.dump(ast.parse(bare)) == ast.dump(ast.parse(text))
    assert comments(source.name, bare.encode()) == []


@pytest.mark.parametrize("source", sorted(Path(click.__file__).parent.glob("*.py")), ids=lambda source: source.name)
def test_a_real_package_without_its_comments_is_the_same_program(source: Path) -> None:
    _nothing_but_comments_goes(source)


@pytest.mark.slow
def test_the_standard_library_without_its_comments_is_the_same() -> None:
    for source in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        _nothing_but_comments_goes(source)


def test_large_files_and_other_languages_are_told_by_the_process_that_is_bounded() -> None:
    large = b"x = 1  # one\n" * 10_000

    assert commented("large.py", large) == [Comment(n, n, "# one", alone=False) for n in range(1, 10_001)]
    assert commented("a.go", b"// x\npackage a\n") == [Comment(1, 1, "// x", alone=True)]
    with pytest.raises(ValueError, match=r"^comments knows no language for 'a.xyz'; it knows "):
        commented("a.xyz", b"")

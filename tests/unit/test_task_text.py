"""Task files: what a front matter can say, and what is said when it is wrong."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.task_text import FILE_BYTES, FRONT_CHARS, BadTaskText, TaskText, parse_task_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Add docstrings.\n", TaskText("Add docstrings.")),
        ("\ufeffAdd docstrings.\r\n\r\n- to all\r\n", TaskText("Add docstrings.\n\n- to all")),
        ("a\n---\nb\n", TaskText("a\n---\nb")),
        ("---\n---\nDo it.\n", TaskText("Do it.")),
        ("---  \n# nothing\n...\nDo it.\n", TaskText("Do it.")),
        (
            (
                "---\nmodel: gpt-5-mini\npriority: 5\nonly: [src/**, 'docs/*.md']\ntags: nightly\n"
                "budget: {output_tokens: 20000, seconds: 2.5}\naccept: true\n---\n\n# Docstrings\n\nAdd them.\n"
            ),
            TaskText(
                "# Docstrings\n\nAdd them.",
                model="gpt-5-mini",
                priority=5,
                only=("src/**", "docs/*.md"),
                budget={"output_tokens": "20000", "seconds": "2.5"},
                tags=("nightly",),
                accepts=True,
            ),
        ),
        (
            "---\nrecipe: rename_symbol\nwith: {old: load_cfg, new: load_config, docs: true}\n---\n",
            TaskText(
                "recipe rename_symbol old=load_cfg new=load_config docs=true",
                recipe="rename_symbol",
                parameters={"old": "load_cfg", "new": "load_config", "docs": "true"},
            ),
        ),
        ("---\nmodel: 2024-01-01\ntags: [1, two]\n---\nx", TaskText("x", model="2024-01-01", tags=("1", "two"))),
    ],
)
def test_a_file_says_what_is_to_be_done_and_how(text, expected):
    assert parse_task_text(text.encode()) == expected


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "It says nothing that is to be done."),
        (b"---\nmodel: x\n---\n  \n", "It says nothing that is to be done."),
        (b"---\nmodel: x\nAdd docstrings.\n", "Its front matter has no end."),
        (b"\xff\xfe", "It is not UTF-8 text."),
        (b"a\0b", "It holds NUL, which no text does."),
        (b"x" * (FILE_BYTES + 1), "It has more than 256,000 bytes."),
        (b"---\n" + b"a" * (FRONT_CHARS + 1) + b"\n---\nx", "Its front matter has more than 16,000 characters."),
        (b"---\n- a\n---\nx", "Its front matter has no names."),
        (b"---\nmodell: x\n---\nx", "'modell' is nothing that a front matter can say."),
        (b"---\npriority: high\n---\nx", "priority: 'high' is no whole number."),
        (b"---\npriority: true\n---\nx", "priority: True is no whole number."),
        (b"---\nmodel: [a]\n---\nx", "model: list is no text."),
        (b"---\ntags: ['a b']\n---\nx", "'a b' is no tag."),
        (b"---\naccept: maybe\n---\nx", "accept: 'maybe' is neither true nor false."),
        (b"---\nbudget: 5\n---\nx", "budget: 5 has no names."),
        (b"---\nwith: {a: b}\n---\nx", "with: gives parameters, but no recipe is named."),
        (b"---\nonly: *.py\n---\nx", "Its front matter is no YAML."),
        (b"---\na: !!python/object/apply:os.system ['true']\n---\nx", "Its front matter is no YAML."),
        (b"---\n" + b"[" * 10_000 + b"\n---\nx", "Its front matter is no YAML."),
        (b"---\nonly:\n" + b" - a\n" * 101 + b"---\nx", "only: has 101 entries; 100 are allowed."),
        (b"---\na: &a [x]\nb: &b [*a, *a]\nonly: [*b, *b]\n---\nx", "'a' is nothing that a front matter can say."),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(data, said):
    with pytest.raises(BadTaskText) as bad:
        parse_task_text(data)

    assert (bad.value.what, bool(bad.value.why or bad.value.fix)) == (said, True)


def test_a_wrong_line_and_a_near_name_are_told():
    with pytest.raises(BadTaskText) as unquoted:
        parse_task_text(b"---\nmodel: x\nonly: *.py\n---\nx")
    with pytest.raises(BadTaskText) as misspelt:
        parse_task_text(b"---\nprioritee: 1\n---\nx")

    assert unquoted.value.fix[0].startswith("Line 3: expected alphabetic or numeric character")
    assert misspelt.value.fix[0].endswith("Did you mean priority?")


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: f"---\n{text}\n---\nx".encode()))
def test_any_bytes_are_a_task_or_refused(data):
    with contextlib.suppress(BadTaskText):
        assert parse_task_text(data).request

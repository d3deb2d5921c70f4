from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.program_in_answer import mentions, program_in

CODE = "import re\nprint(re.escape('a'))\n"
FENCED = f"```python\n{CODE}```"


@pytest.mark.parametrize(
    "answer",
    [
        FENCED,
        f"```\n{CODE}```",
        f"```py\n{CODE}```",
        f'```Python title="a.py"\n{CODE}```',
        f"```{{.python}}\n{CODE}```",
        f"~~~python\n{CODE}~~~",
        f"````python\n{CODE}````",
        f"I will look first.\n\n{FENCED}\n\nThen I will edit.",
        f"\ufeff{FENCED}",
        FENCED.replace("\n", "\r\n"),
        FENCED.replace("\n", "\r"),
        f"```python\n{CODE}",
        f"1. Look:\n   ```python\n   {CODE.replace(chr(10), chr(10) + '   ')}```",
        f"<think>Shall I ```python\nprint('no')\n``` ?</think>\n{FENCED}",
        f"<think>a</think><think>b</think>{FENCED}",
        f"first I think ```python\nno()\n```\n</think>\n\n{FENCED}",
        f"{FENCED}\nOUTPUT: done\n```python\nsubmit_result('x', [])\n```",
        f'```json\n{{"plan": 1}}\n```\n{FENCED}',
        f"```\nOUTPUT: 3 files\n```\n{FENCED}",
        f"```bash\nls\n```\n```\n{CODE}```",
        CODE,
        f"\n\n{CODE}\n",
        f"Here is the program:\n\n{CODE}",
    ],
)  # fmt: skip
def test_the_program_is_found_in_every_wrapping(answer: str) -> None:
    found = program_in(answer)

    assert found is not None
    assert found.strip() == CODE.strip()


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "   \n",
        "Done",
        "done.",
        "The task is already finished, there is nothing to do.",
        "note: yes",
        "pass",
        "42",
        '```json\n{"tool": "read_file"}\n```',
        "```bash\nsed -i s/a/b/ x\n```",
        "```\nOUTPUT is fine\n```",
        "```python\n```",
        "<think>I would write ```python\nprint(1)\n```",
        "I would call\nread_file('a')\nand then think about it.",
    ],
)  # fmt: skip
def test_what_holds_no_program_is_none(answer: str) -> None:
    assert program_in(answer) is None


def test_a_program_may_write_fences_itself() -> None:
    code = 'write_file("README.md", """# Use\n```\npip install x\n```\nand\n```python\nx()\n```\n""")\n'

    assert program_in(f"```python\n{code}```\nThat is all.") == code


def test_a_program_that_does_not_parse_is_found_too_for_its_check_says_why() -> None:
    assert program_in("```python\nfor x in\n```\ntext\n```python\nprint(1)\n```") == "for x in\n"


def test_plain_code_keeps_its_first_line_of_comment() -> None:
    assert program_in("# count\nx = len(search_files('*'))\nx\n") == "# count\nx = len(search_files('*'))\nx\n"


@given(st.text(alphabet="ab`~\n\"'# ", max_size=60))
def test_any_string_a_program_writes_survives_the_fence(text: str) -> None:
    code = f"write_file('a', {text!r})\nb = '''{text.replace(chr(39), '')}x'''\n"

    assert program_in(f"Plan.\n```python\n{code}```\n") == code


@given(st.text(max_size=200))
def test_no_answer_breaks_it(text: str) -> None:
    found = program_in(text)

    assert found is None or isinstance(found, str)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("submit_result('x', [])", True),
        ("done = submit_result\ndone('x', [])", True),
        ("# submit_result comes later", False),
        ("print('submit_result')", False),
        ("for x in\nsubmit_result('x')", True),
        ("for x in\nresubmit_results()", False),
    ],
)
def test_a_mention_is_a_use_of_the_name(code: str, expected: bool) -> None:
    assert mentions("submit_result", code) is expected


def test_deep_nesting_is_no_crash() -> None:
    code = "x = " + "(" * 5000 + ")" * 5000 + "\n"
    with pytest.raises((SyntaxError, MemoryError, RecursionError)):
        ast.parse(code)

    assert program_in(f"```python\n{code}```") == code

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn import prompts
from cairn.executor import AgentExecutor
from cairn.external_functions import create_external_functions, function_reference
from cairn.journal import Journal
from cairn.program import (
    Cancelled,
    CodeFailed,
    Crashed,
    ExecutionResult,
    Finished,
    LimitReached,
    Limits,
    Problem,
    Program,
    Run,
    Step,
    Submission,
)
from cairn.program_output import BoundedOutput
from cairn.task_file import TaskFile
from cairn.testing import Asked, MemoryOverlay, Script

LIMITS = Limits(steps=3, output_chars=40)


def told(result: ExecutionResult, *, number: int = 1, changed: tuple[str, ...] | None = (), room: int = 40) -> str:
    limits = Limits(steps=3, output_chars=room)
    return prompts.observation(Step(number, Program("x", "m"), result), limits, changed=changed, calls_left=1000)


TAIL = "Program 1 of 3 ran; 2 left, 1,000 function calls left. submit_result was not called yet."


def test_the_system_prompt_states_the_limits_and_holds_the_reference() -> None:
    text = prompts.system_prompt("read_file(path: str) -> str\n    Braces {stay}.\n", Limits(steps=7, llm_calls=9))

    assert "read_file(path: str) -> str\n    Braces {stay}.\n\n# The world" in text
    assert "A task has 7 programs, 20,000 function calls (9 of them to ask_llm), 100 MB, and 60 s" in text


def test_where_there_are_checks_they_are_the_way_to_run_tests() -> None:
    without, beside = (prompts.system_prompt(f"f()\n{more}", Limits()) for more in ("", "run_check(name: str) -> dict"))

    assert ("project's code or tests.\n" in without, "project's code or tests but run_check.\n" in beside) == (
        True,
        True,
    )


def test_the_system_prompt_is_under_2500_tokens() -> None:
    """At four characters a token, which is what English and code come to."""
    assert 1_800 < len(prompts.system_prompt(function_reference(), Limits())) / 4 < 2_500


def test_the_version_is_another_one_when_any_word_of_the_rules_is() -> None:
    assert re.fullmatch("[0-9a-f]{8}", prompts.version("f()"))
    assert prompts.version("f()") != prompts.version("f(x)")
    assert prompts.version("f()") == prompts.version("f()")


def says(asked: Asked) -> str:
    return f"This says {asked.prompt.split('def ')[1].split('(')[0]}."


async def test_the_examples_in_the_system_prompt_do_what_they_promise(tmp_path: Path) -> None:
    """They run in the real sandbox on a real overlay, as a model would learn from them."""
    spdx, document = re.findall(r"```python\n(.*?)```", prompts.system_prompt("", Limits()), re.DOTALL)
    tree = {
        "lib/a.py": "import re\n",
        "lib/sub/run.py": "#!/usr/bin/env python\nx = 1\n",
        "lib/c.py": "# SPDX-License-Identifier: MIT\n",
        "app/core.py": (
            "def load(x):\n    def inner():\n        pass\n\n    return x\n\n\ndef short(): return 1\n\n\n"
            "class A:\n    def _b(self):\n        pass\n\n    def c(\n        self,\n    ):\n        pass\n\n\n"
            "class _P:\n    def d(self):\n        pass\n"
        ),
    }
    for name, text in tree.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    overlay = MemoryOverlay(tmp_path)
    for task, programs in {"first": (spdx,), "second": (document,)}.items():
        with TaskFile.create(tmp_path / f"{task}.db", base=tmp_path) as file:
            functions = create_external_functions(overlay, Journal(file), Script(says).model(), Limits())
            async with AgentExecutor(Limits()).session(functions) as session:
                for number, program in enumerate(programs, 1):
                    assert await session.check(program) == ()
                    result = await session.execute(program, step=number)
                    assert isinstance(result, Finished), result

    assert {path: overlay.read(path).decode() for path in overlay.changes().paths} == {
        "lib/a.py": "# SPDX-License-Identifier: MIT\nimport re\n",
        "lib/sub/run.py": "#!/usr/bin/env python\n# SPDX-License-Identifier: MIT\nx = 1\n",
        "app/core.py": (
            'def load(x):\n    """This says load."""\n    def inner():\n        pass\n\n    return x\n\n\n'
            "def short(): return 1\n\n\nclass A:\n    def _b(self):\n        pass\n\n"
            '    def c(\n        self,\n    ):\n        """This says c."""\n        pass\n\n\n'
            "class _P:\n    def d(self):\n        pass\n"
        ),
    }
    assert functions.submission == Submission(
        "Added 2 docstrings; one-line functions left: ['short'].", ("app/core.py",)
    )


def test_the_task_stands_between_fences() -> None:
    assert prompts.task_message("add docstrings\n") == (
        "The task, in the person's words:\n~~~~\nadd docstrings\n~~~~\nWrite the first program."
    )


def test_output_and_value_are_shown_as_data() -> None:
    assert told(Finished(Run("3 files\n"), value="[1, 2]"), changed=("a.py", "b.py")) == (
        "OUTPUT:\n~~~~\n3 files\n~~~~\nVALUE:\n~~~~\n[1, 2]\n~~~~\n\nFiles changed so far: a.py, b.py.\n" + TAIL
    )


def test_a_program_that_printed_nothing_is_told_so() -> None:
    assert told(Finished(Run(), value="None")) == (
        "OUTPUT: nothing was printed.\n\nFiles changed so far: none.\n" + TAIL
    )


def test_older_observations_do_not_name_files_so_that_they_never_change() -> None:
    assert told(Finished(Run("x")), changed=None) == "OUTPUT:\n~~~~\nx\n~~~~\n\n" + TAIL


def test_an_error_comes_with_what_was_printed_before_and_its_hint() -> None:
    failed = CodeFailed(Run("looking"), "KeyError", "'a'", 3, "Traceback\nKeyError: 'a'", "use .get")

    assert told(failed, changed=None) == (
        "OUTPUT:\n~~~~\nlooking\n~~~~\nERROR:\n~~~~\nTraceback\nKeyError: 'a'\n~~~~\nHint: use .get\n\n" + TAIL
    )


def test_an_error_without_a_traceback_is_named() -> None:
    assert told(CodeFailed(Run(), "KeyError", "'a'"), changed=None).startswith("ERROR:\n~~~~\nKeyError: 'a'\n~~~~\n")


KEPT = "Writes are kept; variables and imports are lost. Do the rest in smaller parts."


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (
            LimitReached(Run(), "calls", 9.0),
            f"ERROR: the host stopped the program: its limit calls = 9 is used up.\n{KEPT}\n",
        ),
        (
            Crashed(Run(), "signal 9"),
            "ERROR: the sandbox died. signal 9\nWrites are kept; variables and imports are lost.\n",
        ),
        (Cancelled(Run()), "ERROR: the program was stopped.\n"),
    ],
)
def test_what_the_host_ended_is_told_with_what_is_kept(result: ExecutionResult, said: str) -> None:
    assert told(result, changed=None) == said + "\n" + TAIL


def test_the_last_program_is_announced() -> None:
    assert told(Finished(Run("x")), number=2).endswith(
        "Program 2 of 3 ran; 1 left, 1,000 function calls left. submit_result was not called yet.\n"
        "The next program is the last: it must call submit_result, whatever is done by then."
    )


def test_many_files_are_counted() -> None:
    assert "f18, f19 and 5 more." in told(Finished(Run()), changed=tuple(f"f{n:02}" for n in range(25)))


def test_long_output_keeps_head_and_tail_and_says_what_is_lost() -> None:
    text = "".join(f"line {n:03}\n" for n in range(100))

    assert prompts.shortened(text, 40) == (
        "line 000\nline 001\n"
        "[... lines 3 to 99 (873 characters) are not shown; print a slice if you need them ...]\n"
        "line 099"
    )


def test_one_long_line_is_cut_by_characters() -> None:
    assert prompts.shortened("a" * 100, 30) == (
        f"{'a' * 20}\n[... 70 characters are not shown; print a slice if you need them ...]\n{'a' * 10}"
    )


def test_what_the_host_dropped_is_told_too() -> None:
    output = BoundedOutput(60)
    for n in range(100):
        output.add(f"line {n:03}\n")

    assert output.dropped == 840
    assert prompts.shortened(output.text, 60, lost_before=output.dropped) == (
        "line 000\nline 001\nline 002\n"
        "[... 846 characters after line 3 are not shown; print a slice if you need them ...]\n"
        "line 097\nline 098\nline 099"
    )
    assert prompts.shortened(output.text, 30, lost_before=output.dropped) == (
        "line 000\nline 001\n"
        "[... 873 characters after line 2 are not shown; print a slice if you need them ...]\n"
        "line 099"
    )


def test_one_long_line_of_which_the_host_dropped_the_middle_is_cut_by_characters() -> None:
    output = BoundedOutput(10)
    output.add("abcdefghij" * 10)

    assert prompts.shortened(output.text, 10, lost_before=output.dropped) == (
        "abcde\n[... 90 characters are not shown; print a slice if you need them ...]\nfghij"
    )


@given(st.text(), st.integers(30, 200), st.integers(30, 200))
def test_shortened_text_is_never_much_longer_than_its_room(text: str, room: int, kept: int) -> None:
    output = BoundedOutput(kept)
    output.add(text)

    assert len(prompts.shortened(text, room)) <= room + 150
    assert len(prompts.shortened(output.text, room, lost_before=output.dropped)) <= room + 150


@given(st.text(alphabet="~\na", max_size=80))
def test_no_text_can_end_its_fence(text: str) -> None:
    fence, *inside, last = prompts.fenced(text).split("\n")

    assert "\n".join(inside) == text
    assert fence == last
    assert fence not in text


def test_a_refusal_lists_the_problems_and_says_that_nothing_ran() -> None:
    problems = (Problem(3, 1, "no module named ast", "use outline()"), Problem(0, 0, "too long"))

    assert prompts.refused(problems, 2) == (
        "The program was checked and NOT run, so nothing of it happened. Mend this:\n"
        "- line 3: no module named ast. Hint: use outline()\n- too long\n"
        "Answer with the whole mended program in one ```python block. Answers left for this program: 2."
    )

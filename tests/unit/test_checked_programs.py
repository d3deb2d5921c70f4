"""What a process remembers of checks: each program's own verdict, of a fresh sandbox, and nothing a program can forge."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import cairn
from cairn.checked_programs import CheckedPrograms, CheckOf
from cairn.executor import AgentExecutor
from cairn.external_functions import type_stubs
from cairn.program import Limits
from cairn.program_check import Conversation
from cairn.program_rewrite import Rewritten
from tests.unit.local_functions import LocalFunctions

LIMITS = Limits(seconds=5)
CLEAN = "def double(x: int) -> int:\n    return 2 * x\n\nprint(double(4))\n"
REFUSED = "print(undefined_thing)\n"


@pytest.fixture
def verdicts():
    return CheckedPrograms()


@pytest.fixture
def checks(monkeypatch):
    """The feeds behind a gate, as they are made: "whole", or "compiled" for one without the type checker."""
    seen = []
    gated = Conversation._gated

    def noted(self, worker, code, *, skip_type_check):
        seen.append("compiled" if skip_type_check else "whole")
        return gated(self, worker, code, skip_type_check=skip_type_check)

    monkeypatch.setattr(Conversation, "_gated", noted)
    return seen


@asynccontextmanager
async def opened(verdicts, limits=LIMITS, functions=None):
    executor = AgentExecutor(limits, verdicts=verdicts)
    async with executor.session(functions or LocalFunctions(), will_be_new=False) as session:
        yield session


async def checked(verdicts, code, limits=LIMITS, functions=None):
    async with opened(verdicts, limits, functions) as session:
        return await session.check(code)


async def executed(verdicts, *programs):
    async with opened(verdicts) as session:
        results = [await session.execute(code) for code in programs]
        return [replace(result, run=replace(result.run, seconds=0.0)) for result in results]


# ── what is remembered ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_program_is_checked_once_and_compiled_each_time(verdicts, checks):
    outputs = [(await executed(verdicts, CLEAN))[0].run.output for _ in range(3)]

    assert outputs == ["8\n"] * 3
    assert checks == ["whole", "compiled", "compiled"]


async def test_a_refused_program_is_checked_and_refused_each_time(verdicts, checks):
    found = [await checked(verdicts, REFUSED) for _ in range(2)]

    assert found[0] == found[1] != ()
    assert (checks.count("whole"), len(verdicts)) == (2, 0)


async def test_a_program_that_needs_an_earlier_ones_names_is_not_clean_for_others(verdicts):
    async with opened(verdicts) as session:
        await session.execute("undefined_thing = 1")

        assert await session.check(REFUSED) == ()
    assert "undefined_thing" in str(await checked(verdicts, REFUSED))


async def test_a_known_program_is_checked_whole_behind_another_one(verdicts, checks):
    await checked(verdicts, CLEAN)
    await executed(verdicts, "kept = 1\n", CLEAN)

    assert checks == ["whole", "whole", "whole"]


async def test_a_program_in_other_words_is_run_in_them_each_time(verdicts, checks):
    code = "xs = [1, 2]\ndel xs[0]\nprint(xs)\n"
    results = [await executed(verdicts, code) for _ in range(2)]

    assert results[0] == results[1]
    assert (results[0][0].run.output, len(results[0][0].run.notes)) == ("[2]\n", 1)
    assert checks == ["whole", "compiled"]


# ── what decides ────────────────────────────────────────────────────────────────────────────────────────────────────


class OtherFunctions(LocalFunctions):
    """The same functions, of which one wants other arguments."""

    def __init__(self):
        super().__init__()
        self.stubs = self.stubs.replace("def read_file(path: str,", "def read_file(path: int,")


async def test_functions_declared_otherwise_have_a_verdict_of_their_own(verdicts):
    code = "print(read_file('a.txt'))\n"

    assert await checked(verdicts, code) == ()
    assert "Expected 'int'" in (await checked(verdicts, code, functions=OtherFunctions()))[0].message


async def test_lower_limits_have_a_verdict_of_their_own(verdicts):
    code = "if True:\n    if True:\n        print(1)\n"

    assert await checked(verdicts, code) == ()
    assert "nested" in str(await checked(verdicts, code, replace(LIMITS, nesting=1)))
    assert "characters" in str(await checked(verdicts, code, replace(LIMITS, program_chars=10)))


@pytest.mark.parametrize(
    ("code", "functions", "stubs", "limits"),
    [
        ("b", frozenset({"f"}), "s", LIMITS),
        ("a", frozenset({"f", "g"}), "s", LIMITS),
        ("a", frozenset({"f"}), "s2", LIMITS),
        *(
            ("a", frozenset({"f"}), "s", replace(LIMITS, **{name: 1}))
            for name in ("seconds", "memory_mb", "recursion", "calls", "program_chars", "nesting")
        ),
    ],
)
def test_each_thing_that_decides_tells_two_checks_apart(verdicts, code, functions, stubs, limits):
    verdicts.keep(CheckOf.of("a", frozenset({"f"}), "s", LIMITS), Rewritten("a"))

    assert verdicts.find(CheckOf.of("a", frozenset({"f"}), "s", replace(LIMITS, output_chars=1))) == Rewritten("a")
    assert verdicts.find(CheckOf.of(code, functions, stubs, limits)) is None


# ── the same as a check ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "second",
    ["print(count, double(3))\n", "count = 'other'\nprint(count)\n", "print(undefined_thing)\n", "1 / 0\n"],
)
async def test_programs_behind_a_known_one_come_to_the_same_end(second):
    first = "count = 1\n" + CLEAN
    known = CheckedPrograms()
    await checked(known, first)

    assert await executed(known, first, second) == await executed(CheckedPrograms(), first, second)


@pytest.mark.parametrize(
    "code",
    [
        "class A: pass\ndef f(): pass\nx = [1]\nprint(id(x), id(A()), id(f), repr(A()), repr(f), hash('a'), {'b', 'a'})\n",
        "def f():\n    return 1 / 0\n\nf()\n",
        "import re, random\nprint(random.random(), re.findall('a', 'banana'))\n",
    ],
)
async def test_a_known_program_sees_and_tells_the_same(code):
    """Also its objects' numbers and its traceback: a program that runs again is compared with its journal."""
    known = CheckedPrograms()
    first, second = await executed(known, code), await executed(known, code)

    assert (len(known), second) == (1, first)


async def test_recipes_are_known_from_their_second_task_on(verdicts, checks):
    code = "PARAMETERS = {'old': 'a', 'new': 'b'}\n" + Path(cairn.__file__).with_name("recipes").joinpath(
        "replace_text.py"
    ).read_text(encoding="utf-8")
    executor = AgentExecutor(verdicts=verdicts)

    assert [await executor.validate(code, type_stubs()) for _ in range(2)] == [(), ()]
    assert checks == ["whole", "compiled"]


# ── how much ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_only_the_last_used_are_remembered():
    verdicts = CheckedPrograms(chars=10)
    kept = {text: CheckOf.of(text, frozenset(), "", LIMITS) for text in ("aa", "bb", "cc", "long" * 5)}
    for text in ("aa", "bb"):
        verdicts.keep(kept[text], Rewritten(text))
    verdicts.find(kept["aa"])
    verdicts.keep(kept["cc"], Rewritten("cc"))

    assert [text for text, check in kept.items() if verdicts.find(check)] == ["aa", "cc"]
    verdicts.keep(kept["long" * 5], Rewritten("long" * 5))
    assert len(verdicts) == 0

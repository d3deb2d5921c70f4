"""Programs and values nobody thought of. Whatever they are: the host lives, no worker stays, nothing outside changes."""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
import math
import tempfile
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cairn.executor import AgentExecutor
from cairn.function_signatures import declared, signature
from cairn.plain_values import unfit_argument, unfit_result
from cairn.program import Cancelled, CodeFailed, Crashed, Finished, LimitReached
from cairn.program_errors import FOR_PROGRAMS
from cairn.task_functions import TaskFunctions
from tests.fuzz.targets import one_input
from tests.hostile import attacks
from tests.hostile.attacks import SECRET, prints, workers
from tests.hostile.programs import PATHS, Writer
from tests.length import examples

LIMITS = prints("", "").with_limits(seconds=0.5, calls=120).limits


@pytest.fixture(scope="module")
def place():
    """One project for all examples: what earlier ones did to the task is there for later ones."""
    with tempfile.TemporaryDirectory() as folder, attacks.room(Path(folder), LIMITS) as made:
        yield made


# ── programs ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Drawn:
    """Choices made by Hypothesis."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def pick(self, options: Sequence[object]) -> object:
        return options[self._data.draw(st.integers(0, len(options) - 1))]

    def text(self) -> str:
        return self._data.draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))


async def survives(place, programs: list[str]) -> None:
    """Runs them one after the other in one session, as a task's steps."""
    before = place.snapshot()
    async with AgentExecutor(LIMITS).session(place.functions(LIMITS)) as session:
        for step, program in enumerate(programs, start=1):
            result = await session.execute(program, step=step)
            assert isinstance(result, Finished | CodeFailed | LimitReached), result
            assert SECRET not in repr(result)
            if isinstance(result, Finished) and result.submission is not None:
                break
    assert workers() == set()
    assert place.snapshot() == before


def check_programs(place, data) -> None:
    writer = Writer(Drawn(data))
    programs = [writer.program() for _ in range(data.draw(st.integers(1, 3)))]
    asyncio.run(survives(place, programs))


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_generated_program_harms_the_host(place, data):
    check_programs(place, data)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=examples(200, 1_000), deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_generated_program_harms_the_host_many(place, data):
    check_programs(place, data)
    assert place.file.rows("PRAGMA quick_check") == [("ok",)]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=examples(100, 500), deadline=None, suppress_health_check=list(HealthCheck))
@given(text=st.text(max_size=400))
def test_no_text_at_all_harms_the_host(place, text):
    asyncio.run(survives(place, [text]))


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────────

TEXTS = st.one_of(
    st.sampled_from(PATHS),
    st.text(max_size=40),
    st.text(st.characters(), max_size=5).map(lambda text: text * 500),
    st.sampled_from(["\ud800", "<coroutine object f>", "*" * 500, "{a,b}" * 60, "(" * 300, "x" * 20_000, "\0"]),
)
REPEATED = 2_000  # characters
NUMBERS = st.one_of(
    st.integers(), st.floats(), st.sampled_from([10**400, -(10**4000), 2**63, math.nan, True, None, -1, 0])
)
OBJECTS = st.sampled_from(
    [
        *(
            PurePosixPath("a.txt"),
            PurePosixPath("/project/a.txt"),
            PurePosixPath("/etc/passwd"),
            Decimal(1),
            1j,
            b"x",
            ...,
        ),
        *(dt.date(2020, 1, 1), dt.timedelta(1), ValueError("x"), frozenset({"a"}), {"a", "b"}, int, len),
    ]
)
VALUES = st.recursive(
    st.one_of(TEXTS, NUMBERS, OBJECTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(max_size=5), inner, max_size=4),
        st.tuples(inner, inner),
        # A hundred times a hundred times a hundred of them took a minute, once in many runs.
        st.lists(inner, max_size=2).map(lambda items: [items] * 100 if len(repr(items)) < REPEATED else items),
    ),
    max_leaves=8,
)
OF_TYPE = {
    str: TEXTS,
    list[str]: st.lists(TEXTS, max_size=5),
    bool: st.booleans(),
    int: st.integers(),
    int | None: st.one_of(st.none(), st.integers()),
    str | None: st.one_of(st.none(), TEXTS),
}


@st.composite
def calls(draw, name):
    """Arguments by place and by name: mostly of the right type, some of any, some too many, some under other names."""
    args, kwargs = [], {}
    for parameter in signature(declared(TaskFunctions)[name]).parameters.values():
        value = draw(st.one_of(OF_TYPE[parameter.annotation], OF_TYPE[parameter.annotation], VALUES))
        if draw(st.booleans()) and not kwargs:
            args.append(value)
        elif draw(st.sampled_from([True, True, True, False])):
            kwargs[parameter.name] = value
    if draw(st.sampled_from([False, False, False, True])):
        args.append(draw(VALUES))
    if draw(st.sampled_from([False, False, False, True])):
        kwargs[draw(st.sampled_from(["self", "", "path", "args", "\0", "x" * 300]))] = draw(VALUES)
    return tuple(args), kwargs


async def called(functions, name, args, kwargs):
    value = functions.call(name, args, kwargs)
    return await value if inspect.isawaitable(value) else value


def check_call(place, name, data) -> None:
    args, kwargs = data.draw(calls(name))
    if unfit_argument((args, kwargs)):  # refused before any function sees it
        return
    before = place.snapshot()
    try:
        value = asyncio.run(called(place.functions(), name, args, kwargs))
    except FOR_PROGRAMS as error:
        value = str(error).encode(errors="replace").decode()
    assert (unfit_result(value), SECRET in repr(value)) == ("", False)
    assert place.snapshot() == before


@pytest.mark.parametrize("name", declared(TaskFunctions))
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_a_function_is_given_it_answers_or_raises_what_a_program_can_catch(place, name, data):
    check_call(place, name, data)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", declared(TaskFunctions))
@settings(max_examples=examples(60, 300), deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_a_function_is_given_many(place, name, data):
    check_call(place, name, data)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=VALUES.filter(lambda value: "object at" not in repr(value)))
def test_whatever_value_comes_back_a_program_gets_it_or_an_error(place, value):
    """From the host's side: an answer that the sandbox cannot hold is an error of the program, never a lost worker."""

    class Answering:
        def __init__(self, functions) -> None:
            self._functions = functions

        def __getattr__(self, name):
            return getattr(self._functions, name)

        def call(self, name, args, kwargs):
            return value

    async def go():
        async with AgentExecutor(LIMITS).session(Answering(place.functions())) as session:
            return await session.execute(
                "try:\n    x = read_file('a.txt')\n    print('got it')\nexcept (TypeError, ValueError):\n    print('refused')"
            )

    result = asyncio.run(go())
    assert not isinstance(result, Crashed | Cancelled)
    assert (type(result), result.run.output) in {(Finished, "got it\n"), (Finished, "refused\n")}, result
    assert workers() == set()


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=200))
def test_what_the_fuzzer_is_given_is_harmless(place, data):
    one_input(place, data)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=examples(200, 1_000), deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=600))
def test_what_the_fuzzer_is_given_is_harmless_many(place, data):
    one_input(place, data)

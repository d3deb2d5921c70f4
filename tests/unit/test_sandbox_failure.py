from __future__ import annotations

import pydantic_monty
import pytest
from pydantic_monty import MontyError

from cairn.parsed_program import parse
from cairn.program import CodeFailed, Crashed, LimitReached, Limits, Run
from cairn.sandbox_failure import _TRANSLATIONS, Evidence, Source, outcome

RUN = Run()


def all_below(kind):
    return {each for below in kind.__subclasses__() for each in {below, *all_below(below)}}


def test_every_error_of_the_sandbox_has_a_meaning():
    assert {kind.__name__ for kind in all_below(MontyError)} == set(_TRANSLATIONS)


def test_an_error_nobody_foresaw_is_a_crash():
    assert outcome(OSError("pipe"), RUN, Evidence(Limits())) == Crashed(
        RUN,
        "an unknown failure: OSError: pipe. The variables of the task's programs are gone; the next program starts "
        "afresh.",
    )


def test_a_value_that_cannot_be_handed_over_is_the_programs_fault():
    assert type(outcome(ValueError("4300 digits"), RUN, Evidence(Limits()))) is CodeFailed


@pytest.fixture(scope="module")
def monty():
    with pydantic_monty.Monty(max_processes=1) as pool:
        yield pool


def error_of(pool, code, **limits):
    with pool.checkout(limits=limits) as session, pytest.raises(MontyError) as caught:
        session.feed_run(code)
    return caught.value


TIME_LIMIT = "while True: pass"


def test_the_hosts_clock_decides_about_the_time_limit(monty):
    error = error_of(monty, TIME_LIMIT, max_feed_duration_secs=0.1)
    limits = Limits(seconds=0.1)

    assert type(outcome(error, RUN, Evidence(limits, seconds=0.1))) is LimitReached
    assert type(outcome(error, RUN, Evidence(limits, seconds=0.09))) is CodeFailed


@pytest.mark.parametrize(("growth", "kind"), [(40, LimitReached), (10, CodeFailed)])
def test_the_memory_really_used_decides_about_code_given_to_exec(monty, growth, kind):
    code = "exec('raise MemoryError(\"memory limit exceeded: 9 bytes > 8 bytes\")')"
    error = error_of(monty, code)
    evidence = Evidence(
        Limits(memory_mb=64), memory_growth=growth * 2**20, sources={"<python-input-0>": Source(1, parse(code))}
    )

    assert type(outcome(error, RUN, evidence)) is kind


def test_a_long_traceback_is_shown_by_its_ends(monty):
    error = error_of(monty, "def f(n):\n    return f(n + 1)\nf(0)\n")
    result = outcome(error, RUN, Evidence(Limits(), step=1, sources={"<python-input-0>": Source(1, None)}))

    assert (type(result), result.line, result.traceback.count("\n") < 40) == (CodeFailed, 2, True)
    assert "  ... 989 more calls ..." in result.traceback


def test_text_given_to_exec_is_named_as_such(monty):
    error = error_of(monty, "exec('x = 1\\nraise ValueError(\"inner\")')")
    result = outcome(error, RUN, Evidence(Limits(), step=1, sources={"<python-input-0>": Source(1, None)}))

    assert (result.line, result.traceback.split("\n")[3]) == (
        1,
        '  File "text given to exec or eval", line 2, in <module>',
    )

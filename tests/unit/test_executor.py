from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import UTC, datetime

import pytest

from cairn.errors import DiskFull
from cairn.executor import AgentExecutor
from cairn.program import (
    Cancelled,
    CodeFailed,
    Crashed,
    Finished,
    LimitReached,
    Limits,
    Problem,
    Run,
    Submission,
)
from tests.unit.local_functions import STUBS, LocalFunctions

LIMITS = Limits(seconds=0.4, memory_mb=32, recursion=300, calls=200, output_chars=400)


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def functions():
    return LocalFunctions()


@pytest.fixture
async def session(functions):
    async with AgentExecutor(LIMITS).session(functions) as session:
        yield session


async def pid_of(session):
    return (await session._ready()).pid


# ── the ordinary way ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_program_calls_functions_prints_and_ends(session, functions):
    result = await session.execute("text = read_file('a.txt')\nprint(text)\nprint(ask_llm(prompt='why'))\nlen(text)\n")

    assert result == Finished(
        Run("one\ntwo\n\nanswer to why\n", 0, result.run.seconds, calls=2), submission=None, value="8"
    )
    assert functions.called == [("read_file", ("a.txt",)), ("ask_llm", ("why",))]
    assert 0 < result.run.seconds < 5


async def test_nothing_runs_after_the_submission(session, functions):
    result = await session.execute(
        "try:\n    submit_result('did it', ['a.txt'])\n    print('still here')\nfinally:\n    write_file('b.txt', 'x')\n"
    )

    assert result == Finished(Run("", 0, result.run.seconds, calls=1), Submission("did it", ("a.txt",)))
    assert "b.txt" not in functions.files.files


async def test_a_step_that_works_and_submits_last_is_judged_only_if_it_had_no_error(session, functions):
    work = "write_file('b.txt', 'x')\n{middle}\nsubmit_result('did it', ['b.txt'])"
    failed = await session.execute(work.format(middle="1 / 0"), step=1)
    refused = await session.execute(work.format(middle="read_file('nothing')"), step=2)

    assert [type(each) for each in (failed, refused)] == [CodeFailed, CodeFailed]
    assert functions.submission is None
    assert functions.files.files["b.txt"] == b"x"

    done = await session.execute(work.format(middle="assert read_file('b.txt') == 'x'"), step=3)

    assert done == Finished(Run("", 0, done.run.seconds, calls=3), Submission("did it", ("b.txt",)))


async def test_variables_functions_and_imports_stay_from_program_to_program(session):
    first = await session.execute("import json\ncount = 0\ndef double(x):\n    return 2 * x\n", step=1)
    second = await session.execute("count = 'five'\nprint(json.dumps(double(4)), count)\n", step=2)

    assert (type(first), second.run.output) == (Finished, "8 five\n")


async def test_what_a_failed_program_assigned_stays_too(session):
    failed = await session.execute("count = 1\nraise ValueError('no')\n", step=1)
    after = await session.execute("count = count + 1\nprint(count)\n", step=2)

    assert (failed.error_type, after.run.output) == ("ValueError", "2\n")


async def test_functions_can_be_passed_around_as_values(session):
    result = await session.execute("get = read_file\nprint(get('a.txt') == [f('a.txt') for f in [read_file]][0])\n")

    assert result.run.output == "True\n"


async def test_clock_and_chance_are_the_same_in_every_run(functions):
    code = (
        "import random, time, datetime\nprint(time.time(), random.random(), datetime.datetime.now(), hash('a'), "
        "{'x', 'y', 'z'})\ntime.sleep(3600)\n"
    )
    outputs = []
    for _ in range(2):
        async with AgentExecutor(LIMITS).session(functions, now=datetime(2020, 2, 2, tzinfo=UTC), seed=7) as session:
            outputs.append((await session.execute(code)).run.output)

    assert outputs[0] == outputs[1]
    assert outputs[0].startswith("1580601600.0 ")


async def test_the_value_of_the_last_expression_is_shown_shortened(session):
    result = await session.execute("[list(range(1000)), 'x' * 10_000, None]\n")

    assert result.value.startswith("[[0, 1, 2")
    assert len(result.value) <= 2_000


async def test_a_value_only_the_sandbox_can_hold_ends_no_program(session):
    result = await session.execute("class A:\n    pass\n{A(): 1}\n")

    assert isinstance(result, Finished)


# ── checking ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_checking_runs_nothing(session, functions):
    problems = await session.check("print('x')\nwrite_file('b.txt', 'x')\nwhile True:\n    pass\n")

    assert (problems, functions.called) == ((), [])


async def test_checking_finds_every_kind_of_problem_at_its_line(session):
    problems = await session.check(
        "import subprocess\ntext = raed_file('a.txt')\nread_file(5)\nread_file('a', start='b')\n"
        "class A(B):\n    pass\nprint('ok')\n'a'.foo()\n"
    )

    assert [(problem.line, problem.column, problem.message) for problem in problems] == [
        (1, 1, "there is no module subprocess"),
        (2, 8, "Name 'raed_file' used when not defined"),
        (3, 11, "Argument to function 'read_file' is incorrect: Expected 'str', found 'Literal[5]'"),
        (4, 16, "Argument 'start' does not match any known parameter of function 'read_file'"),
        (5, 1, "class A inherits; inheritance is not supported"),
        (8, 1, "Object of type 'Literal[\"a\"]' has no attribute 'foo'"),
    ]
    assert problems[1].hint == "did you mean read_file?"


async def test_a_syntax_error_is_at_its_line(session):
    assert await session.check("x = 1\nif x\n    pass\n") == (Problem(2, 5, "Expected ':', found newline"),)


SOUND = {
    "the same name with another type": "x = 1\nx = 'a'\nx = [x]\n",
    "a hint that is wrong": "def f(name: str = None) -> int:\n    return 'a'\nf(None)\nf(3)\n",
    "a hint that is unknown": "def f(rows: List[str]) -> Optional[int]:\n    return None\nf([])\n",
    "a match that may be None": "import re\nm = re.search('a', 'abc')\nprint(m.group(0))\n",
    "a dict of mixed values": "info = {'n': 0, 'items': []}\ninfo['n'] += 1\ninfo['items'].append('a')\nfor x in info['items']:\n    print(x)\n",
    "an optional import": "try:\n    import yaml\nexcept ImportError:\n    yaml = None\n",
    "future annotations": "from __future__ import annotations\nx: int = 1\n",
    "a docstring first": '"""What it does."""\nx = 1\n',
    "file errors": "try:\n    open('no')\nexcept (FileNotFoundError, PermissionError, UnicodeDecodeError):\n    pass\n",
    "built-in names": "list(map(lambda x: x + 1, [1]))\nlist(filter(None, [1]))\nformat(3, 'd')\ngetattr('a', 'upper', 1)\nhasattr(1, 'x')\n",
    "walking": "import os\nfor top, folders, files in os.walk('.'):\n    for name in sorted(files):\n        os.path.join(top, name)\n",
    "returning at the top": "x = 1\nif x:\n    print('done')\n    return\n",
    "an attribute set later": "class A:\n    pass\na = A()\na.x = 1\nprint(a.x)\n",
    "main": "def main():\n    print(read_file('a.txt'))\nif __name__ == '__main__':\n    main()\n",
    "async main": "import asyncio\nasync def main():\n    return 1\nprint(asyncio.run(main()))\n",
    "rows": "for hit in search_content('x'):\n    text = read_file(hit['file'])\n    print(hit['line'] + 1, text.split())\n",
    "a global that starts as None": "best = None\nfor n in [1, 2]:\n    if best is None or n > best:\n        best = n\nprint(best + 1)\n",
    "a dataclass": "from dataclasses import dataclass, field\n@dataclass\nclass P:\n    n: int\n    xs: list[str] = field(default_factory=list)\nP('a').xs.append('b')\n",
    "an odd escape": "import re\nprint(re.findall('\\d+', 'a1'))\n",
    "sorting rows": "rows = [{'n': 'b', 'k': 2}, {'n': 'a', 'k': 1}]\nprint(sorted(rows, key=lambda r: (r['n'], r['k'])))\n",
}


@pytest.mark.parametrize("name", SOUND)
async def test_what_works_passes_the_check_and_works(session, name):
    assert await session.check(SOUND[name]) == ()
    assert isinstance(await session.execute(SOUND[name]), Finished)


async def test_a_program_that_does_not_pass_its_check_is_not_run(session, functions):
    result = await session.execute("write_file('b.txt', 'x')\nnope()\n")

    assert result == CodeFailed(
        Run(),
        "CheckFailed",
        "Name 'nope' used when not defined",
        line=2,
        traceback="line 2: Name 'nope' used when not defined",
    )
    assert functions.called == []


async def test_no_program_can_get_through_the_gate(session, functions):
    """The gate's name is another one in each conversation; a program that defines a likely one gains nothing."""
    await session.execute("def cairn_gate():\n    write_file('b.txt', 'x')\n")
    await session.check("print(1)\n")

    assert functions.called == []


async def test_validate_judges_a_program_by_itself():
    executor = AgentExecutor(LIMITS)

    assert await executor.validate("print(read_file('a'))\n", STUBS) == ()
    assert [problem.message for problem in await executor.validate("print(read_file('a'))\n")] == [
        "Name 'read_file' used when not defined"
    ]


# ── errors of the program ───────────────────────────────────────────────────────────────────────────────────────────


async def test_a_traceback_has_the_programs_own_lines(session):
    await session.execute("def shout(text):\n    return text.upper() + 1\n", step=1)
    result = await session.execute("print('a')\n\ndef go():\n    return shout('b')\n\ngo()\n", step=2)

    assert result == CodeFailed(
        Run("a\n", 0, result.run.seconds, 0),
        error_type="TypeError",
        message='can only concatenate str (not "int") to str',
        line=4,
        traceback=(
            "Traceback (most recent call last):\n"
            '  File "program", line 6, in <module>\n    go()\n'
            "  File \"program\", line 4, in go\n    return shout('b')\n"
            '  File "program of step 1", line 2, in shout\n    return text.upper() + 1\n'
            'TypeError: can only concatenate str (not "int") to str'
        ),
    )


HINTED = {
    "def kinds():\n    return [read_file]\nlist(map(kinds()[0], ['a.txt']))\n": "list comprehension",
    "name = 'yaml'\nexec('import ' + name)\n": "line by line",
    "f = read_file('a.txt').upper\n": "lambda",
    "def fail(x):\n    raise ValueError(x)\nfail(3)\n": "takes one string",
    "xs = (x for x in [1])\nnext(xs)\n": "for loop",
    "import json\noptions = json.loads('{\"default\": 1}')\njson.dumps({}, **options)\n": "json.dumps(value)",
    "def f(n):\n    return f(n + 1)\nf(0)\n": "use a loop",
    "exec('class A(object): pass')\n": "plain class",
    "give('coroutine').upper()\n": "",
}


@pytest.mark.parametrize("code", HINTED)
async def test_an_error_at_run_time_says_what_to_do_instead(session, functions, code):
    functions.gifts["coroutine"] = 5
    result = await session.execute(code)

    assert isinstance(result, CodeFailed), result
    assert HINTED[code] in result.hint
    assert bool(HINTED[code]) == bool(result.hint)


async def test_leaving_by_system_exit_is_an_end_like_any_other(session):
    assert isinstance(await session.execute("raise SystemExit\n"), Finished)
    assert (await session.execute("raise SystemExit('gave up')\n")).error_type == "SystemExit"


async def test_each_error_of_a_function_reaches_the_program_as_a_builtin_one(session, functions):
    class Missing(FileNotFoundError):
        pass

    class Odd(ValueError):
        pass

    functions.failures = {
        "missing": Missing("no 'x.txt'"),
        "odd": Odd("strange"),
        "surrogate": ValueError("bad \ud800 text"),
        "long": PermissionError("x" * 100_000),
        "slow": TimeoutError("too slow"),
        "nested": RecursionError("too deep"),
    }
    result = await session.execute(
        "for kind in ['missing', 'odd', 'surrogate', 'long', 'slow', 'nested']:\n"
        "    try:\n        fail(kind)\n"
        "    except Exception as e:\n        print(type(e).__name__, len(str(e)), str(e)[:20])\n"
    )

    assert result.run.output == (
        "FileNotFoundError 10 no 'x.txt'\n"
        "ValueError 7 strange\n"
        "ValueError 10 bad ? text\n"
        "PermissionError 4000 xxxxxxxxxxxxxxxxxxxx\n"
        "TimeoutError 8 too slow\n"
        "RecursionError 8 too deep\n"
    )


@pytest.mark.parametrize(
    "value", ["print", "A", "A()", "(lambda: 1)", "waiting()", "iter([1])", "json", "[waiting()]", "deep"]
)
async def test_only_plain_values_reach_a_function(session, functions, value):
    result = await session.execute(
        "import json\nclass A:\n    pass\nasync def waiting():\n    return 1\ndeep = []\n"
        f"for i in range(300):\n    deep = [deep]\nargument = [{value}][0]\n"
        "try:\n    give(argument)\nexcept (TypeError, ValueError) as e:\n    print('refused', e)\n"
    )

    assert (result.run.output[:8], functions.called) == ("refused ", []), result


async def test_a_number_too_long_to_hand_over_is_the_programs_error(session):
    result = await session.execute("give(10 ** 5000)")

    assert (type(result), result.error_type) == (CodeFailed, "ValueError")
    assert "cannot be handed over" in result.message
    assert (await session.execute("print('alive')")).run.output == "alive\n"


@pytest.mark.parametrize(
    "value", [object(), {"a": {1: object()}}, "\ud800", b"x" * 70_000_000, {1: "\ud800"}, range(3)]
)
async def test_a_function_that_answers_with_something_odd_fails_in_the_program(session, functions, value):
    functions.gifts["it"] = value
    result = await session.execute("try:\n    give('it')\nexcept ValueError as e:\n    print('refused', e)\n")

    assert result.run.output.startswith("refused give() has a result that cannot be handed over: ")


async def test_plain_values_cross_unchanged_both_ways(session, functions):
    value = [None, True, 1, 2.5, "ä€", b"\x00", (1, (2,)), {"k": [1]}, {1, 2}, {(1, 2): "t"}]
    functions.gifts["it"] = value
    result = await session.execute("x = give('it')\nwrite_file('b.txt', str(x))\n")

    assert isinstance(result, Finished)
    assert functions.files.files["b.txt"].decode() == str(value)


# ── limits ──────────────────────────────────────────────────────────────────────────────────────────────────────────

SPINNING = {
    "a loop": "while True: pass",
    "a loop that catches everything": "while True:\n    try:\n        while True: pass\n    except:\n        pass",
    "a loop that goes on in finally": "try:\n    while True: pass\nfinally:\n    while True: pass",
    "one long operation": "sum(range(10 ** 10))",
    "waiting for a frozen clock": "import time\nend = time.time() + 1\nwhile time.time() < end: pass",
    "an endless map": "import itertools\nfor x in itertools.count(): pass",
}


@pytest.mark.parametrize("name", SPINNING)
async def test_time_is_limited(session, name):
    pid = await pid_of(session)
    began = time.monotonic()
    result = await session.execute(SPINNING[name])

    assert (type(result), getattr(result, "limit", result)) == (LimitReached, "seconds")
    assert time.monotonic() - began < 3
    assert not exists(pid)


GREEDY = {
    "a list": "xs = []\nwhile True: xs.append('x' * 1000)",
    "text": "s = 'x'\nwhile True: s += s",
    "one big operation": "'x' * 10 ** 10",
    "a big operation in a function": "def f():\n    return [0] * 10 ** 9\nf()",
    "caught": "xs = []\nwhile True:\n    try:\n        while True: xs.append('x' * 1000)\n    except:\n        pass",
    "a range": "list(range(10 ** 9))",
    "in exec": "exec(\"xs = []\\nwhile True: xs.append('x' * 1000)\")",
}


@pytest.mark.parametrize("name", GREEDY)
async def test_memory_is_limited(session, name):
    pid = await pid_of(session)
    result = await session.execute(GREEDY[name])

    assert (type(result), getattr(result, "limit", result), result.allowed) == (LimitReached, "memory_mb", 32)
    assert not exists(pid)


async def test_a_burst_that_kills_the_worker_is_the_memory_limit(session, functions):
    functions.gifts["it"] = "x" * 50_000_000
    pid = await pid_of(session)
    result = await session.execute("give('it')")

    assert (type(result), result.limit) == (LimitReached, "memory_mb")
    assert not exists(pid)


async def test_recursion_is_an_error_the_program_can_mend(session):
    pid = await pid_of(session)
    result = await session.execute("def f(n):\n    return f(n + 1)\nf(0)\n")
    after = await session.execute("print('alive')")

    assert (result.error_type, result.line) == ("RecursionError", 2)
    assert "more calls" in result.traceback
    assert (after.run.output, exists(pid)) == ("alive\n", True)


async def test_a_limit_takes_the_variables_and_says_so(session):
    await session.execute("kept = 1")
    result = await session.execute("while True: pass")
    problems = await session.check("print(kept)")

    assert "variables" in result.detail
    assert problems == (
        Problem(
            1,
            7,
            "Name 'kept' used when not defined",
            "earlier programs' variables are gone: the sandbox was started anew.",
        ),
    )
    assert (await session.execute("kept = 2\nprint(kept)")).run.output == "2\n"


FORGED = {
    "time": ("raise TimeoutError('feed time limit exceeded: 1.0s > 0.4s')", "TimeoutError"),
    "time in exec": ("exec('raise TimeoutError(\"feed time limit exceeded: 1.0s > 0.4s\")')", "TimeoutError"),
    "memory": ("raise MemoryError('memory limit exceeded: 67152415 bytes > 33554432 bytes')", "MemoryError"),
    "memory in exec": ("exec('raise MemoryError(\"memory limit exceeded: 5 bytes > 3 bytes\")')", "MemoryError"),
    "memory over lines": (
        "e = MemoryError('memory limit exceeded: 5 bytes > 3 bytes')\nraise (\n    e\n)",
        "MemoryError",
    ),
    "memory raised again": (
        "try:\n    raise MemoryError('memory limit exceeded: 5 bytes > 3 bytes')\nexcept MemoryError:\n    raise",
        "MemoryError",
    ),
    "death": ("raise MemoryError('the worker exceeded its memory limit and was terminated')", "MemoryError"),
    "calls": ("raise RuntimeError('suspension limit 3000 exceeded')", "RuntimeError"),
}


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_limit_is_the_programs_own_error(session, name):
    code, error_type = FORGED[name]
    result = await session.execute(code)

    assert (type(result), getattr(result, "error_type", result)) == (CodeFailed, error_type)
    assert (await session.execute("print('alive')")).run.output == "alive\n"


async def test_calls_are_counted_over_the_whole_session(session, functions):
    first = await session.execute("for i in range(150):\n    read_file('a.txt')\n")
    second = await session.execute(
        "for i in range(150):\n    try:\n        read_file('a.txt')\n    except:\n        pass\n"
    )

    assert first == Finished(Run("", 0, first.run.seconds, calls=150))
    assert (type(second), second.limit, second.allowed, second.run.calls) == (LimitReached, "calls", 200, 50)
    assert len(functions.called) == 200


async def test_a_flood_of_suspensions_that_are_no_calls_is_limited_too(functions):
    async with AgentExecutor(Limits(seconds=5, calls=5)).session(functions) as session:
        result = await session.execute("while True:\n    exec('try:\\n  nope()\\nexcept NameError: pass')")

    assert (type(result), result.limit) == (LimitReached, "calls")


async def test_output_is_kept_at_both_ends(session):
    result = await session.execute("print('start')\nfor i in range(1000):\n    print('middle')\nprint('end')\n")

    assert result.run.output.startswith("start\nmiddle\n")
    assert result.run.output.endswith("middle\nend\n")
    assert f"[... {result.run.output_dropped:,} characters left out ...]" in result.run.output
    assert result.run.output_dropped == 10 + 7_000 - 400


async def test_a_flood_of_output_is_stopped(functions):
    async with AgentExecutor(Limits(seconds=30, output_chars=400)).session(functions) as session:
        pid = await pid_of(session)
        result = await session.execute("while True:\n    try:\n        print('x' * 1000)\n    except:\n        pass\n")

    assert (type(result), result.limit, result.allowed) == (LimitReached, "output_chars", 5_000_000)
    assert result.run.seconds < 5
    assert len(result.run.output) < 600
    assert not exists(pid)


async def test_time_in_functions_is_not_the_programs(session):
    result = await session.execute("print(pause(0.6))\n")

    assert (result.run.output, result.run.seconds > 0.6) == ("rested\n", True)


async def test_wall_time_is_limited_and_the_call_in_flight_is_cancelled(functions):
    async with AgentExecutor(Limits(wall_seconds=0.5)).session(functions) as session:
        pid = await pid_of(session)
        result = await session.execute("try:\n    pause(60)\nexcept:\n    pause(60)\n")

    assert (type(result), result.limit, result.allowed) == (LimitReached, "wall_seconds", 0.5)
    assert (functions.cancelled, exists(pid)) == (["pause"], False)


# ── bombs ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def nested_functions(depth):
    return "".join("  " * level + f"def f{level}():\n" for level in range(depth)) + "  " * depth + "pass\n"


async def test_a_compile_bomb_never_reaches_the_compiler(session):
    began = time.monotonic()
    problems = await session.check(nested_functions(40))

    assert [problem.message for problem in problems] == [
        "the program is nested too deeply (functions in functions: at most 8)"
    ]
    assert time.monotonic() - began < 0.5


async def test_a_compile_bomb_in_exec_is_stopped(session):
    pid = await pid_of(session)
    result = await session.execute(
        "text = ''\nfor i in range(30):\n    text += '  ' * i + f'def f{i}():\\n'\nexec(text + '  ' * 30 + 'pass')\n"
    )

    assert (type(result), result.limit) == (LimitReached, "seconds")
    assert not exists(pid)


async def test_a_bomb_that_only_the_compiler_reads_is_stopped(functions, monkeypatch):
    """Source this Python cannot parse is not linted; then the check's own deadline ends it."""
    monkeypatch.setattr("cairn.executor.CHECK_SECONDS", 0.3)
    async with AgentExecutor(Limits(seconds=30)).session(functions) as session:
        await session.check("print(1)")
        problems = await session.check("def first[T](x: T): ...\nprint(f'{'a'}')\n" + nested_functions(30))
        after = await session.execute("print('alive')")

    assert problems[0].message in {
        "the program could not be compiled in time",
        "the program is nested too deeply (functions in functions: at most 8)",  # Python 3.12 and later
    }
    assert after.run.output == "alive\n"


async def test_a_check_whose_worker_is_killed_is_made_again_by_another_one(session):
    """It is not the program's fault: nothing is said against it."""
    await session.check("print(1)")
    pid = await pid_of(session)
    os.kill(pid, signal.SIGSTOP)  # so that the check is under way when the kill comes
    checking = asyncio.create_task(session.check("x = 1\nprint(x)\n"))
    await asyncio.sleep(0)
    os.kill(pid, signal.SIGKILL)

    assert await checking == ()
    assert await pid_of(session) != pid


@pytest.mark.parametrize("value", ["list(range(10 ** 6))", "'x' * 10_000_000", "{i: str(i) for i in range(100_000)}"])
async def test_a_huge_value_at_the_end_does_no_harm(session, value):
    result = await session.execute(value)

    assert isinstance(result, Finished | LimitReached | Crashed)
    assert (await session.execute("print('alive')")).run.output == "alive\n"


async def test_deep_values_do_no_harm(session):
    result = await session.execute("x = []\nfor i in range(5000):\n    x = [x]\nx\n")

    assert isinstance(result, Finished)


# ── being stopped ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "code",
    ["while True: pass", "while True:\n    try:\n        pause(60)\n    except:\n        pass", "xs = [1]\npause(60)"],
)
async def test_cancelling_the_task_stops_the_program_at_once(functions, code):
    async with AgentExecutor(Limits(seconds=60)).session(functions) as session:
        pid = await pid_of(session)
        running = asyncio.create_task(session.execute(f"print('begun')\n{code}"))
        await (functions.started.wait() if "pause" in code else asyncio.sleep(0.1))
        began = time.monotonic()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

        assert time.monotonic() - began < 1
        assert not exists(pid)
        assert functions.cancelled == (["pause"] if "pause" in code else [])
        assert (await session.execute("print('alive')")).run.output == "alive\n"


async def test_cancelling_twice_changes_nothing(functions):
    async with AgentExecutor(Limits(seconds=60)).session(functions) as session:
        pid = await pid_of(session)
        running = asyncio.create_task(session.execute("pause(60)"))
        await functions.started.wait()
        for _ in range(3):
            running.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await running

        assert not exists(pid)


async def test_a_cancellation_after_the_wall_time_is_not_swallowed(functions):
    """The second wait, for a program that is being stopped, passes a cancellation on as well."""
    async with AgentExecutor(Limits(wall_seconds=0.2)).session(functions) as session:
        running = asyncio.create_task(session.execute("linger(0.6)"))
        await asyncio.sleep(0.4)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_a_deadline_of_the_caller_works(functions):
    async with AgentExecutor(Limits(seconds=60)).session(functions) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await session.execute("while True: pass")


async def test_a_worker_that_died_after_the_check_does_not_run_a_program_unchecked(session):
    await session.execute("kept = 1")
    assert await session.check("print(kept)") == ()
    os.kill(await pid_of(session), 9)
    while session._held.worker.alive:  # noqa: ASYNC110 - the system tells nobody
        await asyncio.sleep(0.01)
    result = await session.execute("print(kept)")

    assert (result.error_type, "started anew" in result.hint) == ("CheckFailed", True)


async def test_cancelling_while_the_sandbox_starts_leaves_no_worker(functions):
    executor = AgentExecutor(LIMITS)

    async def open_and_check():
        async with executor.session(functions) as session:
            sessions.append(session)
            await session.check("x = 1")

    sessions = []
    for delay in (0, 0.001, 0.003, 0.01):
        running = asyncio.create_task(open_and_check())
        await asyncio.sleep(delay)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    assert [session._held.worker for session in sessions] == [None] * len(sessions)


@pytest.mark.parametrize("error", [KeyboardInterrupt("ctrl-c"), SystemExit(3), GeneratorExit()])
async def test_an_interruption_in_a_function_is_not_the_programs_to_swallow(functions, error):
    functions.failures["it"] = error
    async with AgentExecutor(LIMITS).session(functions) as session:
        worker = await session._ready()
        run = session._run(worker, "while True:\n    try:\n        fail('it')\n    except:\n        pass\n", 1)
        with pytest.raises(type(error)):
            await _in_a_coroutine(run)

        assert not exists(worker.pid)


async def _in_a_coroutine(coroutine):
    """Awaits so that a KeyboardInterrupt is caught here, and does not end the event loop as it does in a task."""
    return await coroutine


async def test_a_function_that_was_cancelled_cancels_the_program(session, functions):
    functions.failures["it"] = asyncio.CancelledError()
    pid = await pid_of(session)
    result = await session.execute("try:\n    fail('it')\nexcept:\n    print('swallowed')\n")

    assert (type(result), result.run.output, exists(pid)) == (Cancelled, "", False)


@pytest.mark.parametrize(
    "error", [DiskFull("The disk is full."), KeyError("bug"), StopIteration(), AttributeError("bug")]
)
async def test_a_fault_of_the_host_stops_the_program_and_reaches_the_caller(session, functions, error):
    functions.failures["it"] = error
    pid = await pid_of(session)
    with pytest.raises(RuntimeError if isinstance(error, StopIteration) else type(error)):
        await session.execute("try:\n    fail('it')\nexcept:\n    write_file('b.txt', 'x')\n")

    assert (exists(pid), "b.txt" in functions.files.files) == (False, False)
    assert (await session.execute("print('alive')")).run.output == "alive\n"


async def test_a_worker_that_is_killed_is_a_crash(session):
    pid = await pid_of(session)
    running = asyncio.create_task(session.execute("while True: pass"))
    await asyncio.sleep(0.1)
    os.kill(pid, 9)
    result = await running

    assert (type(result), "SIGKILL" in result.detail) == (Crashed, True)
    assert (await session.execute("print('alive')")).run.output == "alive\n"


async def test_a_worker_that_died_between_programs_is_replaced(session):
    await session.execute("x = 1")
    pid = await pid_of(session)
    os.kill(pid, 9)
    while session._held.worker.alive:  # noqa: ASYNC110 - the system tells nobody
        await asyncio.sleep(0.01)

    assert (await session.execute("x = 2\nprint(x)")).run.output == "2\n"


async def test_ctrl_c_that_reaches_the_worker_first_is_no_crash(session):
    pid = await pid_of(session)
    running = asyncio.create_task(session.execute("while True: pass"))
    await asyncio.sleep(0.1)
    os.kill(pid, 2)

    assert isinstance(await running, Cancelled)


async def test_leaving_the_session_ends_the_worker(functions):
    async with AgentExecutor(LIMITS).session(functions) as session:
        pid = await pid_of(session)

        assert exists(pid)
    assert not exists(pid)


async def test_many_sessions_wait_at_once():
    async def one(number):
        async with AgentExecutor(Limits()).session(LocalFunctions()) as session:
            return (await session.execute(f"print(pause(0.3), {number})")).run.output

    began = time.monotonic()
    outputs = await asyncio.gather(*(one(number) for number in range(20)))

    assert outputs == [f"rested {number}\n" for number in range(20)]
    assert time.monotonic() - began < 5

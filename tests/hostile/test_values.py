"""Values that do not belong across the boundary: deep, huge, broken, or only looking like text."""

from __future__ import annotations

import pytest

from cairn.function_signatures import declared
from cairn.program import CodeFailed, Finished, LimitReached
from cairn.task_functions import TaskFunctions
from tests.hostile.attacks import attacks, fails, prints, stopped, unchecked

DEEP = "deep = []\nfor n in range({levels}): deep = {wrapped}\n"


def deep(levels: int, wrapped: str, then: str) -> str:
    return unchecked(DEEP.format(levels=levels, wrapped=wrapped) + then)


def tried(call: str) -> str:
    return unchecked(TRIED.format(call=call))


TRIED = "try:\n    {call}\nexcept (TypeError, ValueError) as e:\n    print('refused')\n"

DEPTHS = {
    "lists as an argument": prints("refused\n", deep(1000, "[deep]", TRIED.format(call="log(deep)"))),
    "dicts as an argument": prints("refused\n", deep(1000, "{'k': deep}", TRIED.format(call="log(deep)"))),
    "tuples as an argument": prints("refused\n", deep(1000, "(deep,)", TRIED.format(call="log(deep)"))),
    "lists in a list of names": prints(
        "refused\n", deep(1000, "[deep]", TRIED.format(call="submit_result('x', deep)"))
    ),
    "lists by keyword": prints("refused\n", deep(250, "[deep]", TRIED.format(call="log(message=deep)"))),
    "lists as the last value": prints("", deep(1000, "[deep]", "deep")),
    "dicts as the last value": prints("", deep(1000, "{'k': deep}", "deep")),
    "a list in itself as an argument": prints("refused\n", "xs = []\nxs.append(xs)\n" + tried("log(xs)")),
    "a list in itself as the last value": prints("", "xs = []\nxs.append(xs)\nxs"),
    "a dict in itself as the last value": prints("", "d = {}\nd['d'] = d\nd"),
    "an instance in itself": prints("", "class A:\n    pass\na = A()\na.a = a\na"),
    "lists as a message": fails("ValueError", deep(250, "[deep]", "raise ValueError(str(deep))")),
}

LARGE = {
    "100 MB of text": stopped("memory_mb", "log('x' * 100_000_000)").with_limits(seconds=3.0),
    "30 MB of text": prints("refused\n", tried("log('x' * 30_000_000)")).with_limits(seconds=3.0),
    "30 MB of text as a path": prints("refused\n", tried("read_file('x' * 30_000_000)")).with_limits(seconds=3.0),
    "30 MB of text as content": prints("refused\n", tried("write_file('b.txt', 'x' * 30_000_000)")).with_limits(
        seconds=3.0
    ),
    "a million numbers": prints("refused\n", tried("log([0] * 1_000_000)"), slow=True).with_limits(
        seconds=5.0, memory_mb=200
    ),
    "a million names": prints("refused\n", tried("submit_result('x', ['a'] * 1_000_000)"), slow=True).with_limits(
        seconds=5.0, memory_mb=200
    ),
    "a million prompts": prints("refused\n", tried("ask_llm_many(['a'] * 1_000_000)"), slow=True).with_limits(
        seconds=5.0, memory_mb=200
    ),
    "a long number as an argument": prints("refused\n", tried("log(10 ** 5000)")),
    "a long number as a line": prints("''\n", "print(repr(read_file('a.txt', 10 ** 5000)))"),
    "a number beyond 64 bits as a line": prints("''\n", "print(repr(read_file('a.txt', 10 ** 30)))"),
    "a number far below zero as a line": prints("refused\n", tried("read_file('a.txt', -(10 ** 30))")),
    "a long number as the last value": fails("ValueError", "10 ** 5000", kept=False),
    "30 MB as the last value": prints("", "'x' * 30_000_000").with_limits(seconds=3.0),
    "a million numbers as the last value": stopped("memory_mb", "list(range(1_000_000))").with_limits(seconds=3.0),
    "a message of 30 MB": fails("ValueError", "raise ValueError('x' * 30_000_000)").with_limits(seconds=3.0),
    "a name of 30 MB": stopped("memory_mb", "exec('x' * 30_000_000)").with_limits(seconds=3.0),
    "many arguments": fails("SyntaxError", "exec('log(' + '1,' * 5000 + ')')"),
    "many keywords": prints("refused\n", TRIED.format(call="exec('log(**{str(n): n for n in range(5000)})')")),
}

BROKEN = {
    "a lone surrogate": prints("", "exec(\"log('\\\\ud800')\")"),
    "a surrogate from chr": fails("ValueError", "log(chr(0xD800))"),
    "a surrogate from bytes": fails("UnicodeDecodeError", "log(b'\\xed\\xa0\\x80'.decode())"),
    "a surrogate let through": fails("NotImplementedError", "log(b'\\xff'.decode('utf-8', 'surrogateescape'))"),
    "a surrogate from json": prints("", "import json\nlog(json.loads('\"\\\\\\\\ud800\"'))"),
    "nul in a message": prints("", "log('a\\0b')"),
    "nul in content": prints("3\n", "write_file('b.txt', 'a\\0b')\nprint(len(open('b.txt', 'rb').read()))"),
    "not a number": prints("refused\n", TRIED.format(call="exec(\"read_file('a.txt', float('nan'))\")")),
    "endless": prints("refused\n", TRIED.format(call="exec(\"read_file('a.txt', float('inf'))\")")),
    "a keyword that is no name": prints("refused\n", TRIED.format(call="exec(\"log(**{'': 1})\")")),
    "a keyword that is self": prints("refused\n", TRIED.format(call="exec(\"log(**{'self': 1, 'message': 'x'})\")")),
    "a keyword with nul": prints("refused\n", TRIED.format(call="exec(\"log(**{'a\\\\0b': 1})\")")),
    "a keyword that is no text": fails("TypeError", "exec('log(**{1: 1})')"),
    "an argument given twice": prints("refused\n", TRIED.format(call="exec(\"log('x', message='y')\")")),
}


@attacks(DEPTHS)
async def test_deep_values_are_refused_or_shown_short(room, attack):
    await room.suffer(attack)


@attacks(LARGE)
async def test_large_values_are_refused_or_end_the_program(room, attack):
    await room.suffer(attack)


@attacks(BROKEN)
async def test_broken_values_are_errors_of_the_program(room, attack):
    await room.suffer(attack)


REPRS = [
    "<coroutine object f>",
    "<coroutine external_future(0)>",
    "<function f>",
    "<function <lambda> at 0x7f00>",
    "<bound method A.f>",
    "<module 'json'>",
    "<class 'int'>",
    "<generator object g>",
    "<list_iterator object at 0x7f00>",
    "<dict_keyiterator object>",
    "<itertools.count object>",
    "<functools._lru_cache_wrapper object at 0x37>",
    "<sha256 _hashlib.HASH object @ 0x690>",
    "<bound method>",
    "<built-in function print>",
    "<re.Match object; span=(0, 1), match='a'>",
]


@pytest.mark.parametrize("text", REPRS)
async def test_text_that_is_an_objects_name_reaches_no_function(room, text):
    """It is what a call that was forgotten, or not awaited, looks like from the host."""
    printed = await room.printed(
        TRIED.format(call=f"write_file('b.txt', {text!r})") + TRIED.format(call=f"submit_result({text!r}, [])")
    )

    assert (printed, room.overlay.entry("b.txt")) == ("refused\nrefused\n", None)


@pytest.mark.parametrize(
    "text", ["<module>", '<module name="a">', '<class id="a">', "<function>", "<object>", "range(0, 3)", "<stdin>"]
)
async def test_text_that_only_resembles_one_is_text(room, text):
    await room.printed(f"write_file('b.txt', {text!r})")

    assert room.overlay.read("b.txt").decode() == text


OBJECTS = {
    "a function": "print",
    "a class": "A",
    "an instance": "A()",
    "a method": "A().f",
    "a lambda": "lambda: 1",
    "a coroutine": "c()",
    "an iterator": "iter([1])",
    "a module": "json",
    "a match": "re.match('a', 'a')",
    "a date": "datetime.date(2020, 1, 1)",
    "a decimal": "Decimal(1)",
    "a complex number": "1j",
    "an exception": "ValueError('x')",
    "an ellipsis": "...",
    "bytes": "b'x'",
    "a number": "1",
    "nothing": "None",
    "a truth": "True",
    "a set": "{1}",
    "a dict": "{'a': 1}",
}


@pytest.mark.parametrize("value", OBJECTS.values(), ids=OBJECTS)
async def test_what_is_no_text_is_refused_where_text_is_wanted(room, value):
    printed = await room.printed(
        "import json, re, datetime\nfrom decimal import Decimal\nclass A:\n    def f(self):\n        pass\n"
        f"async def c():\n    pass\nvalue = [{value}][0]\n"
        + tried("write_file('b.txt', value)")
        + tried("read_file(value)")
    )

    assert (printed, room.overlay.entry("b.txt")) == ("refused\nrefused\n", None)


TEXTS = {"nul": "'\\0'", "control characters": "''.join(chr(n) for n in range(32))", "empty": "''", "blanks": "' ' * 5000",
         "line ends": "'\\n' * 5000", "emoji": "'\\U0001F600' * 500", "right to left": "'\\u202e' * 50",
         "noncharacters": "'\\ufffe\\uffff\\U0010ffff'", "combining": "'e' + '\\u0301' * 3000", "5,000 letters": "'x' * 5000",
         "a template": "'%s%s%s{0}{1}${x}$(id)`id`'", "sql": "\"'; DROP TABLE cairn_call; --\"", "an option": "'--help'"}  # fmt: skip


@pytest.mark.parametrize("name", declared(TaskFunctions))
async def test_odd_texts_in_every_parameter_break_nothing(room, name):
    """Each text for each parameter; whatever comes back is a value or a built-in error, and the program goes on."""
    program = (
        f"texts = [{', '.join(TEXTS.values())}]\nends = 0\n"
        f"for text in texts:\n    for args in ([text], [text, text], [text, [text]], [[text]], [text, text, text]):\n"
        f"        try:\n            exec('{name}(*args)')\n"
        "        except (OSError, ValueError, TypeError, RuntimeError):\n            pass\n        ends += 1\nprint(ends)\n"
    )
    before = room.snapshot()
    result = await room.run(program, attacks_limits())

    if name == "submit_result":
        assert isinstance(result, Finished)
        assert result.submission is not None
    else:
        assert (type(result), result.run.output) == (Finished, f"{5 * len(TEXTS)}\n"), result
    assert room.snapshot() == before
    assert room.file.rows("PRAGMA integrity_check") == [("ok",)]


def attacks_limits():
    return prints("", "").with_limits(seconds=5.0, calls=2_000).limits


async def test_results_too_are_bounded(room):
    (room.root / "big.txt").write_text("x" * 900_000)
    (room.root / "lines.txt").write_text("y\n" * 20_000)
    result = await room.run(
        "xs = []\nwhile True: xs.append(read_file('big.txt') + str(len(xs)))\n",
        stopped("", "").with_limits(seconds=5.0).limits,
    )
    refused = await room.run("search_content('y')")

    assert (type(result), getattr(result, "limit", result)) == (LimitReached, "memory_mb")
    assert (type(refused), refused.error_type) == (CodeFailed, "ValueError")

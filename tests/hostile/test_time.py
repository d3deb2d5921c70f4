"""Programs that want to compute for ever: in loops, inside one operation, with numbers, patterns, and the compiler."""

from __future__ import annotations

from tests.hostile.attacks import attacks, fails, prints, refused, stopped

LOOPS = {
    "an endless loop": stopped("seconds", "while True: pass"),
    "a loop that catches everything": stopped(
        "seconds", "while True:\n    try:\n        while True: pass\n    except:\n        pass"
    ),
    "a loop that goes on in finally": stopped("seconds", "try:\n    while True: pass\nfinally:\n    while True: pass"),
    "waiting for the frozen clock": stopped(
        "seconds", "import time\nend = time.time() + 9\nwhile time.time() < end: time.sleep(1)", slow=True
    ),
    "an endless iterator": stopped("seconds", "import itertools\nfor x in itertools.cycle([1]): pass", slow=True),
    "two functions that call each other and catch": stopped(
        "seconds",
        "def f(n):\n    try:\n        g(n)\n    except RecursionError:\n        while True: pass\n"
        "def g(n):\n    f(n + 1)\nf(0)",
    ),
    "recursion that branches": stopped("seconds", "def f(n):\n    return f(n - 1) + f(n - 1) if n else 1\nf(200)"),
    "an endless coroutine": stopped(
        "seconds",
        "import asyncio\nasync def f():\n    while True:\n        await asyncio.sleep(0)\nasyncio.run(f())",
        slow=True,
    ),
    "a loop in a comprehension": stopped("seconds", "[1 for x in range(10 ** 9) if x < 0]"),
    "a loop in a class body": refused("class A:\n    while True: pass"),
    "a loop in a decorator": stopped("seconds", "def d(f):\n    while True: pass\n@d\ndef g(): pass", slow=True),
    "a loop in a default": stopped("seconds", "def f(x=sum(range(10 ** 10))): pass", slow=True),
    "a loop in __repr__": stopped(
        "seconds", "class A:\n    def __repr__(self):\n        while True: pass\nprint(A())", slow=True
    ),
    "a loop in __eq__ of a search": stopped(
        "seconds", "class A:\n    def __eq__(self, o):\n        while True: pass\nA() in [1]", slow=True
    ),
    "a loop in eval": stopped("seconds", "eval('[1 for x in range(10 ** 9) if x < 0]')", slow=True),
    "a loop in exec": stopped("seconds", "exec('while True: pass')"),
    "a loop in exec in exec": stopped("seconds", "exec('exec(\"while True: pass\")')", slow=True),
}

NATIVES = {
    "sum of a long range": stopped("seconds", "sum(range(10 ** 10))"),
    "max of a long range": stopped("seconds", "max(range(10 ** 10))", slow=True),
    "a search through a long range": prints("False\n", "print(0.5 in range(10 ** 10))"),
    "sorting by a slow key": stopped("seconds", "sorted(range(1000), key=lambda x: sum(range(10 ** 6)))"),
    "a slow key of max": stopped("seconds", "max([1, 2], key=lambda x: sum(range(10 ** 10)))", slow=True),
    "map": stopped("seconds", "list(map(lambda x: sum(range(10 ** 8)), range(100)))", slow=True),
    "reduce": stopped("seconds", "from functools import reduce\nreduce(lambda a, b: b, range(10 ** 9))", slow=True),
    "permutations": stopped("seconds", "import itertools\nfor p in itertools.permutations(range(30)): pass"),
    "a product": stopped(
        "seconds", "import itertools\nfor p in itertools.product(range(99), repeat=9): pass", slow=True
    ),
    "combinations that are never right": stopped(
        "seconds", "import itertools\nany(False for p in itertools.combinations(range(60), 9))", slow=True
    ),
    "hashing": stopped("seconds", "import hashlib\nwhile True: hashlib.sha256(b'x' * 1000000).hexdigest()"),
    "many rounds of a password hash": stopped(
        "seconds", "import hashlib\nhashlib.pbkdf2_hmac('sha512', b'a', b'b', 10 ** 9)", slow=True
    ),
    "json": stopped("seconds", "import json\nxs = list(range(10000))\nwhile True: json.loads(json.dumps(xs))"),
    "searching text in text": stopped(
        "seconds", "t = 'a' * 5_000_000\nwhile True: t.count('a' * 2_000_000 + 'b')", slow=True
    ),
    "replacing": stopped("seconds", "t = 'ab' * 100000\nwhile True: t.replace('a', 'c')", slow=True),
    "splitting": stopped("seconds", "t = 'a ' * 100000\nwhile True: t.split()", slow=True),
    "encoding": stopped("seconds", "import base64\nb = b'x' * 1000000\nwhile True: base64.b85encode(b)", slow=True),
    "comparing big lists": stopped("seconds", "a = [0] * 100000\nb = [0] * 100000\nwhile True: a == b", slow=True),
    "copying": stopped(
        "seconds", "import copy\na = [[0] for i in range(10000)]\nwhile True: copy.deepcopy(a)", slow=True
    ),
    "normalising": stopped(
        "seconds",
        "import unicodedata\nt = '\\ufdfa' * 20000\nwhile True: unicodedata.normalize('NFKD', t)",
        slow=True,
    ),
    "dates": stopped(
        "seconds",
        "import datetime\nd = datetime.date(1, 1, 1)\nwhile True: d.isoformat()",
        slow=True,
    ),
    "random": stopped("seconds", "import random\nwhile True: random.shuffle(list(range(1000)))", slow=True),
    "toml": stopped(
        "seconds", "import tomllib\nt = 'a = [' + '1,' * 20000 + ']'\nwhile True: tomllib.loads(t)", slow=True
    ),
}

NUMBERS = {
    "squaring": stopped("seconds", "x = 3\nwhile True: x = x * x\n", within=4.0, slow=True),
    "a factorial": stopped("seconds", "import math\nmath.factorial(10 ** 6)", slow=True),
    "binomials": stopped("seconds", "import math\nmath.comb(10 ** 7, 5 * 10 ** 6)", slow=True),
    "a power that does not fit": stopped("memory_mb", "10 ** (10 ** 8)").with_limits(seconds=3.0),
    "a power of powers": fails("OverflowError", "2 ** 2 ** 2 ** 2 ** 2 ** 2"),
    "a shift that does not fit": stopped("memory_mb", "1 << 10 ** 11").with_limits(seconds=3.0),
    "a power modulo": stopped("seconds", "n = 3 ** 20000\nwhile True: pow(n, n, n + 2)", slow=True),
    "a long product": stopped("seconds", "n = 7 ** 200000\nwhile True: n * n % 10", slow=True),
    "a long division": stopped("seconds", "n = 7 ** 200000\nwhile True: n // (n - 1)", slow=True),
    "a long number as text": fails("ValueError", "str(7 ** 100000)"),
    "text as a long number": fails("ValueError", "int('7' * 100000)"),
    "fibonacci": stopped("seconds", "a, b = 0, 1\nwhile True: a, b = b, a + b"),
    "endless decimals": stopped(
        "seconds", "from decimal import Decimal\nx = Decimal(2)\nwhile True: x = (x + 2 / x) / 2", slow=True
    ),
    "a wide format": stopped("memory_mb", "'%1000000000d' % 1").with_limits(seconds=3.0),
    "a wide f-string": stopped("memory_mb", "f'{1:1000000000d}'").with_limits(seconds=3.0),
}

PATTERNS = {
    "nested repeats": prints("None\n", "import re\nprint(re.match('(a+)+$', 'a' * 50000 + '!'))"),
    "alternatives that overlap": prints("None\n", "import re\nprint(re.match('(a|aa)+$', 'a' * 50000 + '!'))"),
    "back-references": fails("re.PatternError", "import re\nre.match('(a*)*\\\\1b', 'a' * 5000)"),
    "look-ahead": prints("", "import re\nre.match('(?=(a+))a*b\\\\1(a+)+$', 'a' * 5000)", slow=True),
    "huge repeats": fails("re.PatternError", "import re\nre.compile('((a{1,1000}){1,1000}){1,1000}')"),
    "a long pattern": fails("re.PatternError", "import re\nre.compile('(' * 5000 + ')' * 5000)", slow=True),
    "again and again": stopped("seconds", "import re\nt = 'ab' * 100000\nwhile True: re.sub('a', 'c', t)", slow=True),
}


def nested(depth: int) -> str:
    """A function in a function in a function: compiling takes twice as long for each level."""
    return "".join("    " * level + f"def f{level}():\n" for level in range(depth)) + "    " * depth + "pass\n"


COMPILER = {
    "functions in functions": refused(nested(17)),
    "lambdas in lambdas": prints("", "x = " + "lambda: " * 60 + "1"),
    "functions in functions given to exec": stopped("seconds", f"exec({nested(20)!r})"),
    "lambdas in lambdas given to eval": prints("", "eval('lambda: ' * 60 + '1')"),
    "a megabyte of source": refused("x = 1\n" * 170_000),
    "a megabyte of source given to exec": stopped("memory_mb", "exec('x = 1\\n' * 500_000)").with_limits(seconds=3.0),
    "brackets": refused("x = " + "(" * 5000 + ")" * 5000),
    "lists in lists": refused("x = " + "[" * 190 + "]" * 190, kept=False, slow=True),
    "a long sum": refused("x = " + "+".join(["a"] * 30_000)),
    "a long chain of comparisons": refused("x = " + " < ".join(["1"] * 9000)),
    "many branches": refused("if 1: pass\n" + "elif 1: pass\n" * 5000),
    "unary operators": refused("x = " + "not " * 15_000 + "1"),
    "attributes": refused("x = a" + ".b" * 20_000),
    "subscripts": refused("x = a" + "[0]" * 20_000),
    "blocks in blocks": refused("".join(" " * n + "if 1:\n" for n in range(90)) + " " * 90 + "pass\n"),
    "fewer of them": prints("", "".join(" " * n + "if 1:\n" for n in range(20)) + " " * 20 + "pass\n"),
    "f-strings in f-strings": refused("x = " + "f'{" * 90 + "}'" * 90),
    "one name of 65,000 letters": refused("a" * 65_000),
    "one number of 65,000 digits": refused("x = " + "9" * 65_000),
    "types that grow": refused(
        "a = (1, 2)\n" + "".join(f"a{n} = (*a{n - 1 if n else ''}, *a{n - 1 if n else ''})\n" for n in range(40)),
        kept=False,
    ),
    "generic calls in generic calls": refused(
        "def f[T](x: T) -> tuple[T, T]:\n    return (x, x)\nx = " + "f(" * 60 + "1" + ")" * 60,
        kept=False,
        slow=True,
    ),
    "functions that call one another in a row": prints(
        "", "".join(f"def f{n}(): f{n + 1}()\n" for n in range(2000)) + "def f2000(): log('a')\n", within=8.0
    ),
    "imports before a handler of many names": refused(
        "try:\n" + " import os\n" * 3000 + "except (" + ",".join(["A"] * 10_000) + "): pass\n", slow=True
    ),
    "callbacks in callbacks": refused("map(lambda: " * 90 + "[" + "log('x')," * 5000 + "]" + ")" * 90, within=8.0),
    "nul": refused("x = 1\0"),
    "a lone surrogate": refused("x = '\ud800'"),
    "a byte order mark": refused("\ufeffx = 1"),
    "nothing": prints("", ""),
    "only a comment": prints("", "# nothing"),
    "only line ends": prints("", "\r\n" * 30_000),
    "another encoding": prints("ok\n", "# -*- coding: rot13 -*-\nprint('ok')"),
}


@attacks(LOOPS)
async def test_a_loop_is_stopped_at_the_limit_of_seconds(room, attack):
    await room.suffer(attack)


@attacks(NATIVES)
async def test_one_long_operation_is_stopped_too(room, attack):
    await room.suffer(attack)


@attacks(NUMBERS)
async def test_large_numbers_cost_no_more_than_the_limits(room, attack):
    await room.suffer(attack)


@attacks(PATTERNS)
async def test_no_regular_expression_runs_for_ever(room, attack):
    await room.suffer(attack)


@attacks(COMPILER)
async def test_the_compiler_and_the_checker_are_no_way_around_the_limits(room, attack):
    await room.suffer(attack)

"""Programs that want all memory: in every container, in closures and caches, bit by bit and at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.hostile.attacks import LIMITS, attacks, stopped, workers


def filled(body: str, *, slow: bool = False):
    # The loop is a second slower on a loaded machine; what counts here is which limit ends it.
    return stopped("memory_mb", body, within=6.0, slow=slow).with_limits(seconds=3.0)


BIT_BY_BIT = {
    "a list": filled("xs = []\nwhile True: xs.append('x' * 1000)"),
    "a list of numbers": filled("xs = []\nwhile True: xs.extend(range(10000))"),
    "a dict": filled("d = {}\nn = 0\nwhile True:\n    d[n] = 'x' * 1000\n    n += 1"),
    "a dict of long keys": filled("d = {}\nn = 0\nwhile True:\n    d['k' * 1000 + str(n)] = 1\n    n += 1", slow=True),
    "text": filled("s = 'x'\nwhile True: s += s"),
    "bytes": filled("b = b'x' * 1000\nwhile True: b += b"),
    "a set": filled("s = set()\nn = 0\nwhile True:\n    s.add('x' * 1000 + str(n))\n    n += 1", slow=True),
    "a frozenset": filled(
        "s = frozenset()\nwhile True: s = s | {str(n) * 100 for n in range(len(s) + 10000)}", slow=True
    ),
    "a tuple": filled("t = (1,)\nwhile True: t = t + t", slow=True),
    "a deque": filled("from collections import deque\nd = deque()\nwhile True: d.append('x' * 1000)"),
    "a Counter": filled(
        "from collections import Counter\nc = Counter()\nwhile True: c.update([str(len(c)) * 100])", slow=True
    ),
    "a defaultdict": filled(
        "from collections import defaultdict\nd = defaultdict(list)\nwhile True: d[len(d)].append('x' * 1000)",
        slow=True,
    ),
    "a namedtuple": filled(
        "from collections import namedtuple\nP = namedtuple('P', 'a b')\nxs = []\nwhile True: xs.append(P('x' * 1000, xs))",
        slow=True,
    ),
    "lists in lists": filled("xs = []\nwhile True: xs = [xs, 'x' * 1000]"),
    "dicts in dicts": filled("d = {}\nwhile True: d = {'k': d, 'v': 'x' * 1000}", slow=True),
    "a list in itself": filled("xs = []\nxs.append(xs)\nwhile True: xs.append(xs[:])", slow=True),
    "instances": filled(
        "class A:\n    def __init__(self, n):\n        self.text = 'x' * 1000 + str(n)\nxs = []\nwhile True: xs.append(A(len(xs)))",
        slow=True,
    ),
    "closures": filled(
        "def hold(text):\n    def held():\n        return text\n    return held\nxs = []\nwhile True: xs.append(hold('x' * 1000 + str(len(xs))))",
        slow=True,
    ),
    "a cache": filled(
        "from functools import lru_cache\n@lru_cache(maxsize=None)\ndef f(n):\n    return 'x' * 1000 + str(n)\nn = 0\nwhile True:\n    f(n)\n    n += 1"
    ),
    "partials": filled(
        "from functools import partial\nxs = []\nwhile True: xs.append(partial(print, 'x' * 1000 + str(len(xs))))",
        slow=True,
    ),
    "exceptions": filled(
        "xs = []\nwhile True:\n    try:\n        raise ValueError('x' * 1000 + str(len(xs)))\n    except ValueError as e:\n        xs.append(e)",
        slow=True,
    ),
    "coroutines": filled(
        "async def f(text):\n    pass\nxs = []\nwhile True: xs.append(f('x' * 1000 + str(len(xs))))", slow=True
    ),
    "global names": filled("n = 0\nwhile True:\n    exec(f\"v{n} = 'x' * 1000\")\n    n += 1", slow=True),
    "whatever is caught": filled(
        "xs = []\nwhile True:\n    try:\n        while True: xs.append('x' * 1000)\n    except:\n        pass"
    ),
    "in finally": filled("xs = []\ntry:\n    1 / 0\nfinally:\n    while True: xs.append('x' * 1000)", slow=True),
    "in exec": filled("exec(\"xs = []\\nwhile True: xs.append('x' * 1000)\")"),
}

AT_ONCE = {
    "long text": filled("'x' * 10 ** 10"),
    "long bytes": filled("b'x' * 10 ** 10"),
    "a long list": filled("[0] * 10 ** 9"),
    "a long tuple": filled("(0,) * 10 ** 9"),
    "a list of a range": filled("list(range(10 ** 9))"),
    "a set of a range": filled("set(range(10 ** 9))", slow=True),
    "a sorted range": filled("sorted(range(10 ** 9))", slow=True),
    "a comprehension": filled("[x for x in range(10 ** 9)]", slow=True),
    "a generator, which is a list here": filled("(x for x in range(10 ** 9))", slow=True),
    "comprehensions in comprehensions": filled("[[0 for x in range(10 ** 6)] for y in range(10 ** 6)]", slow=True),
    "joined text": filled("','.join(['x' * 1000] * 10 ** 6)"),
    "replaced text": filled("('a' * 10 ** 6).replace('a', 'b' * 10 ** 6)"),
    "padded text": filled("'x'.ljust(10 ** 10)"),
    "expanded tabs": filled("('\\t' * 10 ** 5).expandtabs(10 ** 6)"),
    "split text": filled("('a ' * 10 ** 7).split()"),
    "doubled again and again": filled("import itertools\nlist(itertools.repeat('x', 10 ** 9))", slow=True),
    "a product": filled("import itertools\nlist(itertools.product(range(100), repeat=6))", slow=True),
    "random bytes": filled("import random\nrandom.randbytes(10 ** 9)"),
    "numbered text": filled("'{:>1000000000}'.format('x')"),
    "a copy of a copy": filled(
        "import copy\nx = ['x' * 10 ** 6]\nfor n in range(99): x = [copy.deepcopy(x), x, str(x)]", slow=True
    ),
    "text of a big value": filled("x = [1]\nfor n in range(40): x = [x, x]\nrepr(x)", slow=True),
    "json of a big value": filled("import json\nx = [1]\nfor n in range(40): x = [x, x]\njson.dumps(x)", slow=True),
    "json that grows": filled("import json\nx = json.loads('[' + '[],' * 3000000 + '[]]')", slow=True),
    "base64": filled("import base64\nb = b'x' * 1000\nwhile True: b = base64.b16encode(b)", slow=True),
    "normalised text": filled("import unicodedata\nunicodedata.normalize('NFKD', '\\ufdfa' * 10 ** 7)"),
    "many coroutines at once": filled(
        "import asyncio\nasync def f():\n    await asyncio.sleep(0)\nasync def main():\n    await asyncio.gather(*[f() for n in range(10 ** 6)])\nasyncio.run(main())",
        slow=True,
    ),
}


@attacks(BIT_BY_BIT)
async def test_memory_that_grows_ends_at_the_limit(room, attack):
    await room.suffer(attack)


@attacks(AT_ONCE)
async def test_one_operation_gets_no_more_than_the_limit(room, attack):
    await room.suffer(attack)


async def test_the_worker_never_holds_much_more_than_its_limit(room):
    """What the system counts: the limit, and what a worker needs for itself."""
    peak = 0

    async def watch():
        nonlocal peak
        while True:
            peak = max([peak, *map(memory_of, workers())])
            await asyncio.sleep(0.001)

    watching = asyncio.create_task(watch())
    await room.run("xs = []\nwhile True: xs.append('x' * 1000)")
    watching.cancel()

    assert 0 < peak < (LIMITS.memory_mb + 40) * 2**20


def memory_of(pid):
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int(next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")), "0")) * 1024

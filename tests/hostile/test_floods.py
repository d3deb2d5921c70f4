"""Programs that want to drown the host: in output, in calls, in files, in waiting."""

from __future__ import annotations

import inspect

import pytest

from cairn.function_signatures import declared
from cairn.program import CodeFailed, Finished, LimitReached
from cairn.task_functions import TaskFunctions
from tests.hostile.attacks import attacks, prints, stopped

OUTPUT = {
    "one line for ever": stopped("output_chars", "while True: print('x' * 1000)").with_limits(seconds=5.0),
    "one line for ever, whatever is caught": stopped(
        "output_chars", "while True:\n    try:\n        print('x' * 1000)\n    except:\n        pass"
    ).with_limits(seconds=5.0),
    "one huge line": stopped("output_chars", "print('x' * 20_000_000)"),
    "many values at once": stopped("output_chars", "print(*['x' * 1000] * 20000)"),
    "single letters": stopped("seconds", "while True: print('x', end='')"),
    "nothing at all": stopped("seconds", "while True: print(end='')"),
    "empty lines": stopped("seconds", "while True: print()", slow=True),
    "to the other stream": stopped(
        "output_chars", "import sys\nwhile True: print('x' * 1000, file=sys.stderr)"
    ).with_limits(seconds=5.0),
    "in finally": stopped(
        "output_chars", "try:\n    1 / 0\nfinally:\n    while True: print('x' * 1000)", slow=True
    ).with_limits(seconds=5.0),
    "while the value is made": stopped(
        "output_chars", "class A:\n    def __repr__(self):\n        while True: print('x' * 1000)\nrepr(A())", slow=True
    ).with_limits(seconds=5.0),
}


def in_a_loop(call: str) -> str:
    return f"while True:\n    try:\n        {call}\n    except Exception:\n        pass\n"


CALLS = {
    "read_file": "read_file('a.txt')",
    "read_file of what is refused": "read_file('../x')",
    "write_file": "write_file('b.txt', 'x')",
    "edit_file": "edit_file('a.txt', 'one', 'one')",
    "file_exists": "file_exists('a.txt')",
    "ask_llm": "ask_llm('x')",
    "log": "log('x')",
    "submit_result that is refused": "submit_result('', [])",
    "open": "open('a.txt')",
    "Path.exists": "from pathlib import Path; Path('a.txt').exists()",
    "in a comprehension": "[read_file('a.txt') for n in range(10 ** 6)]",
}
SLOW_CALLS = {
    "read_file of nothing": "read_file('nothing.txt')",
    "delete_file": "delete_file('nothing.txt')",
    "move_file": "move_file('a.txt', 'a.txt')",
    "list_dir": "list_dir()",
    "search_files": "search_files('**/*')",
    "outline": "outline('src/app.py')",
    "ask_llm_many": "ask_llm_many(['x'])",
    "replace_all": "replace_all('one', 'two', '**/*.txt')",
    "comments": "comments('src/app.py')",
    "diff": "diff()",
    "history": "history()",
    "read_recipe": "read_recipe('x')",
    "run_check": "run_check('x')",
    "os.stat": "import os; os.stat('a.txt')",
    "a function as a value": "f = read_file; f('a.txt')",
    "in exec": "exec(\"read_file('a.txt')\")",
    "search_content": "search_content('one')",
    "os.walk": "import os; list(os.walk('.'))",
}


@attacks(OUTPUT)
async def test_output_is_counted_kept_short_and_stopped(room, attack):
    await room.suffer(attack)


@pytest.mark.parametrize(
    "call", [*CALLS.values(), *(pytest.param(call, marks=pytest.mark.slow) for call in SLOW_CALLS.values())]
)
async def test_calls_are_counted_whatever_they_are_and_come_to(room, call):
    """Just as many as are allowed are made, failed ones and file calls included; then the host ends the program."""
    await room.suffer(stopped("calls", in_a_loop(call), within=8.0).with_limits(seconds=5.0, calls=40))

    assert len(room.journal.calls()) in {40, 41}  # a file opened for reading is looked at twice, in one call


def test_the_table_names_every_function():
    named = " ".join([*CALLS.values(), *SLOW_CALLS.values()])

    assert [name for name in declared(TaskFunctions) if f"{name}(" not in named and name != "submit_result"] == []


@pytest.mark.parametrize("name", declared(TaskFunctions))
async def test_a_call_without_arguments_is_an_error_or_no_more_than_it_says(room, name):
    """In exec, where the checker does not look."""
    function = declared(TaskFunctions)[name]
    needs = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty and p.name != "self"]
    result = await room.run(f"exec('print({name}())')\n")

    expected = (CodeFailed, "TypeError") if needs else (Finished, "")
    if name == "history":  # the room is no repository
        expected = (CodeFailed, "RuntimeError")
    assert (type(result), getattr(result, "error_type", "")) == expected


SUSPENSIONS = {
    "names that are not there": "while True:\n    exec('try:\\n  nope()\\nexcept NameError: pass')",
    "a file written in pieces": "f = open('b.txt', 'w')\nwhile True: f.write('x')",
    "names of functions": "while True: read_file",
    "imports of nothing": "while True:\n    try:\n        import nothing\n    except ImportError:\n        pass",
}


@pytest.mark.slow
@pytest.mark.parametrize("program", SUSPENSIONS.values(), ids=SUSPENSIONS)
async def test_waiting_for_the_host_without_a_call_is_counted_too(room, program):
    result = await room.run(program, stopped("calls", "").with_limits(seconds=1.0, calls=20).limits)

    assert (type(result), result.limit) in {(LimitReached, "calls"), (LimitReached, "seconds")}


async def test_sleep_is_free_and_no_time_passes(room):
    program = "import time\nbegan = time.time()\nfor n in range(20): time.sleep(10 ** 6)\nprint(time.time() - began)"

    assert await room.printed(program) == "0.0\n"


FILES = {
    "many small files": prints("300\n", "n = 0\nfor n in range(300): write_file(f'd/{n}.txt', 'x')\nprint(n + 1)"),
    "many files open at once": prints(
        "", "fs = [open(f'{n}.txt', 'w') for n in range(300)]\nfor n in range(5):\n    for f in fs: f.write('x')"
    ),
    "folders in folders": prints("", "import os\nos.makedirs('/'.join(['d'] * 500))\n"),
    "a file that is too large": prints(
        "ValueError\n", "try:\n    write_file('b.txt', 'x' * 1_000_001)\nexcept ValueError:\n    print('ValueError')"
    ),
    "a file that grows too large": prints(
        "ValueError\n",
        "f = open('b.txt', 'w')\ntry:\n    for n in range(99): f.write('x' * 100_000)\nexcept ValueError:\n    print('ValueError')",
    ),
    "a file that grows by editing": prints(
        "ValueError\n",
        "write_file('b.txt', 'a')\ntry:\n    for n in range(99): edit_file('b.txt', 'a', 'a' + 'x' * 100_000)\nexcept ValueError:\n    print('ValueError')",
    ),
    "the largest file, many times": prints("", "for n in range(20): write_file(f'{n}.txt', 'x' * 1_000_000)"),
    "other bytes, for ever": stopped(
        "bytes_written",
        "n = 0\nwhile True:\n    n += 1\n    try:\n        write_file('b.txt', 'x' * 100_000 + str(n))\n    except:\n        pass",
    ).with_limits(seconds=3.0, bytes_written=2_000_000),
    "other bytes by open(), for ever": stopped(
        "bytes_written",
        "n = 0\nwhile True:\n    n += 1\n    try:\n        open(f'{n}.txt', 'w').write('x' * 100_000)\n        list_dir()\n    except:\n        pass",
    ).with_limits(seconds=3.0, bytes_written=2_000_000),
    "other files, for ever": stopped(
        "files_changed",
        "n = 0\nwhile True:\n    n += 1\n    try:\n        write_file(f'd/{n}', '')\n    finally:\n        continue",
    ).with_limits(seconds=3.0, files_changed=20),
}


@attacks(FILES)
async def test_files_stay_in_the_overlay_however_many_there_are(room, attack):
    await room.suffer(attack)


async def test_what_was_refused_fills_no_disk(room):
    """Of a call that failed the journal keeps digests, not the texts."""
    program = (
        "for n in range(30):\n"
        "    for call in ('log', 'read_file', 'ask_llm', 'outline', 'search_files'):\n"
        "        try:\n            exec(f\"{call}('x' * 900_000 + '{n}')\")\n"
        "        except (ValueError, OSError, RuntimeError):\n            pass\n"
    )
    await room.printed(program, prints("", "").with_limits(seconds=10.0).limits)

    assert len(room.journal.calls()) == 150
    assert room.file.rows("SELECT coalesce(sum(size), 0) FROM cairn_blob") == [(0,)]

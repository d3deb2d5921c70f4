"""What a program makes the host do for it: parse, search, compare, look for what was meant. None of it takes for ever."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from cairn import parser_process
from tests.hostile.attacks import Room, prints

LIMITS = (
    prints("", "")
    .with_limits(seconds=10.0, memory_mb=200, calls=20_000, file_bytes=10_000_000, output_chars=10_000)
    .limits
)


@pytest.fixture
def wide(tmp_path):
    """A room with the file sizes of a real project."""
    made = Room(tmp_path, LIMITS)
    yield made
    made.file.close()
    parser_process._end()


def peak_of_this_process() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


def tried(*calls: str) -> str:
    return "".join(
        f"try:\n    {call}\n    print('done')\nexcept (ValueError, OSError, RuntimeError) as e:\n    print(type(e).__name__)\n"
        for call in calls
    )


def outline_of(ending: str, text: str) -> str:
    return f"t = ({text})[:1_900_000]\nwrite_file('b.{ending}', t)\n" + tried(f"outline('b.{ending}')")


BRACKETS = {
    "java": "'a<' * 950_000", "cpp": "'a<' * 950_000", "ts": "'a<' * 950_000", "tsx": "'<a>' * 600_000", "js": "'/[' * 950_000",
    "rs": "'m!{' * 600_000", "go": "'func(' * 400_000", "c": "'a b ( [ < { ; :: * & ' * 90_000", "rb": "'<<A,' * 480_000",
    "sh": "'<<A ' * 480_000", "py": "'a;' * 950_000",
}  # fmt: skip

# What is asked of the host, in seconds until it is done, and how much of the host's own memory that may take.
WORK = {
    **{
        f"an outline of brackets: {ending}": pytest.param(
            outline_of(ending, text), 10.0, id=f"outline-{ending}", marks=[] if ending == "java" else [pytest.mark.slow]
        )
        for ending, text in BRACKETS.items()
    },
    "python": pytest.param(
        "t = 'x=1\\n' * 2_000_000\nwrite_file('b.py', t)\n" + tried("write_file('b.py', t + 'y=2\\n')"),
        20.0, id="python-of-8-MB", marks=pytest.mark.slow,
    ),
    "deep python": pytest.param(
        "write_file('b.py', 'x=1')\n"
        + tried(*(f"write_file('b.py', {text})" for text in ("'-' * 900_000 + '1'", "'(' * 900_000", "'a' + '.a' * 900_000", "'lambda:' * 90_000"))),
        10.0, id="python-nested-deeply",
    ),
    "edit": pytest.param(
        "write_file('b.txt', 'x\\n' * 4_900_000)\n" + tried("edit_file('b.txt', ' x\\n' * 900_000 + 'z', 'q')", "edit_file('b.txt', '\\n' * 900_000 + 'z', 'q')"),
        15.0, id="edit-of-the-same-line-everywhere", marks=pytest.mark.slow,
    ),
    "near": pytest.param(
        "for n in range(2_000): write_file('d/' + 'a' * 200 + str(n), '')\n" + tried(*["read_file('d/' + 'a' * 199 + 'b')"] * 5),
        15.0, id="a-name-like-thousands-of-others", marks=pytest.mark.slow,
    ),
    "glob": pytest.param(
        "for n in range(50): write_file('d/' + 'a' * 240 + str(n), '')\n"
        + tried(*(f"search_files({pattern!r})" for pattern in ("**/" + "*a" * 400 + "b", "*a*a*a*a*a*b", "**/**/**/*a*a*a*a/**/*b", "d/" + "[a-z]*" * 100 + "!", "{a,b}" * 100))),
        5.0, id="globs-that-fit-in-many-ways",
    ),
    "search": pytest.param(
        "write_file('d.txt', 'a' * 100_000 + '!')\n"
        + tried("search_content('(' * 5000)", *(f"search_content({pattern!r})" for pattern in ("(a+)+$", "(a|aa)+b$", "(a+)+\\1$", "a{1000000}", "(?R)"))),
        10.0, id="patterns-that-fit-in-many-ways",
    ),
    "slow search": pytest.param(
        "write_file('d.txt', 'a' * 100_000 + '!')\n" + tried("search_content('(?=a)(a+)+$')", "search_content('((a{1,100}){1,100}){1,100}')"),
        20.0, id="a-search-that-takes-its-eight-seconds", marks=pytest.mark.slow,
    ),
    "files": pytest.param(
        "for n in range(3_000): write_file(f'd/{n % 50}/f{n}.txt', 'x' * 100)\nprint(len(search_files('**/*.txt')))\n",
        30.0, id="thousands-of-files", marks=pytest.mark.slow,
    ),
    "open files": pytest.param(
        "fs = [open(f'g{n}.txt', 'w') for n in range(3_000)]\nfor n in range(5):\n    for f in fs: f.write('b')\n",
        30.0, id="thousands-of-open-files", marks=pytest.mark.slow,
    ),
    "moves": pytest.param(
        "for n in range(300): write_file(f'd/{n}', 'x')\nfor n in range(60): move_file('d' if n % 2 == 0 else 'e', 'e' if n % 2 == 0 else 'd')\n",
        30.0, id="a-folder-moved-to-and-fro", marks=pytest.mark.slow,
    ),
    "links": pytest.param(tried(*["read_file('round/' * 600 + 'x')"] * 10), 8.0, id="a-path-of-links-in-a-circle", marks=pytest.mark.slow),
}  # fmt: skip


@pytest.mark.parametrize(("program", "seconds"), WORK.values())
async def test_the_host_is_done_in_time_and_keeps_its_memory(wide, program, seconds):
    before, began = peak_of_this_process(), time.monotonic()
    await wide.printed(program, LIMITS)

    assert time.monotonic() - began < seconds
    assert peak_of_this_process() - before < 300_000_000


async def test_no_process_of_the_host_is_left(wide):
    await wide.printed(outline_of("js", "'function f() {}'"), LIMITS)
    (process,) = parser_process._running
    parser_process._end()

    assert process.poll() is not None

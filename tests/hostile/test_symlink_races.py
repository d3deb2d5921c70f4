"""A folder of the project is swapped for a link that leads out, over and over, while a program reads and writes in it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager

import pytest

from cairn.program import CodeFailed, Finished
from tests.hostile.attacks import SECRET, prints, tree

NAMES = 300
LIMITS = prints("", "").with_limits(seconds=10.0, calls=20_000, output_chars=2_000_000).limits

# Renaming is one step for whoever looks: at each moment `swap` is a folder, a link to one outside, or not there.
SWAPPING = """
import os, sys
root, outside = sys.argv[1:]
os.chdir(root)
print('ready', flush=True)
while True:
    os.symlink(outside, 'link')
    os.rename('swap', 'kept')
    os.rename('link', 'swap')
    os.rename('swap', 'link')
    os.rename('kept', 'swap')
    os.unlink('link')
"""
SWAPPING_FILES = """
import os, sys
root, outside = sys.argv[1:]
os.chdir(root + '/swap')
print('ready', flush=True)
while True:
    for n in range(0, 300, 10):
        os.symlink(f'{outside}/f{n}.py', 'link')
        os.rename(f'f{n}.py', 'kept')
        os.rename('link', f'f{n}.py')
        os.rename('kept', f'f{n}.py')
"""


@pytest.fixture
def race(room):
    """Both folders have the same names; what is in the one outside is secret, and it has one name more."""
    for folder, text in ((room.root / "swap", "inside"), (room.outside, SECRET)):
        folder.mkdir(exist_ok=True)
        (folder / "sub").mkdir()
        for number in range(NAMES):
            (folder / f"f{number}.py").write_text(f"# {text}\ndef f(): pass\n")
            (folder / f"sub/g{number}.txt").write_text(f"{text}\n")
    (room.outside / "only-outside.txt").write_text(SECRET * 100)
    (room.outside / ".gitignore").write_text("f1*.py\n")
    return room


@contextmanager
def swapping(room, how: str):
    process = subprocess.Popen([sys.executable, "-c", how, room.root, room.outside], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


ATTEMPT = """
def attempt(n):
    path, below, target = f'swap/f{n}.py', f'swap/sub/g{n}.txt', f'swap/n{n}.txt'
    print(CALL)
for n in range(COUNT):
    try:
        attempt(n)
    except (OSError, ValueError, RuntimeError) as e:
        print('error:', e)
"""
READING = {
    "read_file": ("read_file(path)", NAMES),
    "read_file deeper": ("read_file(below)", NAMES),
    "outline": ("outline(path)", NAMES),
    "file_exists": ("file_exists('swap/only-outside.txt') and 'only-outside'", NAMES),
    "list_dir": ("list_dir('swap')", 60),
    "search_files": ("search_files('swap/**/*')", 60),
    "search_content": ("search_content('beside-the-project')", 15),
    "open": ("open(path).read()", NAMES),
    "stat": ("os.stat('swap/only-outside.txt').st_size and 'only-outside'", NAMES),
    "walk": ("list(os.walk('swap'))", 60),
    "glob": ("[str(p) for p in Path('swap').glob('*')]", 60),
    "the error that names what is near": ("read_file('swap/only-outside.tx')", NAMES),
}
WRITING = {
    "write_file": ("write_file(target, 'x')", NAMES),
    "write_file over": ("write_file(path, 'x')", NAMES),
    "edit_file": ("edit_file(path, 'inside', 'changed')", NAMES),
    "delete_file": ("delete_file(path)", NAMES),
    "move_file": ("move_file(path, target)", NAMES),
    "move_file of the folder": ("move_file('swap', f'moved{n}')", 40),
    "open to write": ("open(target, 'w').write('x')", NAMES),
    "makedirs": ("os.makedirs(f'swap/d{n}/e')", NAMES),
}


async def attempted(room, call: str, count: int) -> str:
    program = ATTEMPT.replace("CALL", call).replace("COUNT", str(count))
    result = await room.run(f"import os\nfrom pathlib import Path\n{program}", LIMITS)
    # What `open` wrote is stored at the program's end at the latest, where no `except` of the program's stands.
    assert isinstance(result, Finished) or (isinstance(result, CodeFailed) and LED_OUT in result.message), result
    return result.run.output


LED_OUT = "leads out of the project through a symlink"
IN_THE_DEFAULT_RUN = {"read_file", "stat", "walk", "search_content", "write_file", "move_file of the folder"}


def each(table: dict[str, tuple[str, int]]) -> pytest.MarkDecorator:
    rows = [
        pytest.param(*row, id=name, marks=[] if name in IN_THE_DEFAULT_RUN else [pytest.mark.slow])
        for name, row in table.items()
    ]
    return pytest.mark.parametrize(("call", "count"), rows)


@each(READING)
async def test_nothing_outside_is_read_while_a_folder_is_swapped_for_a_link(race, call, count):
    with swapping(race, SWAPPING):
        printed = await attempted(race, call, count)

    # An error may repeat the name that was asked for; that it is there may be in nothing.
    answers = [line for line in printed.splitlines() if not line.startswith("error: ")]
    assert (SECRET in printed, "but there is 'swap/only" in printed) == (False, False)
    assert [line for line in answers if "only-outside" in line] == []
    assert [blob for _, blob in race.file.blobs() if SECRET.encode() in blob] == []


@each(WRITING)
async def test_nothing_outside_is_written_or_taken_in_while_a_folder_is_swapped_for_a_link(race, call, count):
    before = tree(race.outside)
    with swapping(race, SWAPPING):
        await attempted(race, call, count)

    assert tree(race.outside) == before
    assert [blob for _, blob in race.file.blobs() if SECRET.encode() in blob] == []
    assert SECRET not in repr(race.overlay.changes())


@pytest.mark.slow
@pytest.mark.parametrize("call", ["read_file", "open", "outline", "search_content"])
async def test_nothing_outside_is_read_while_files_are_swapped_for_links(race, call):
    with swapping(race, SWAPPING_FILES):
        printed = await attempted(race, *READING[call])

    assert SECRET not in printed
    assert [blob for _, blob in race.file.blobs() if SECRET.encode() in blob] == []

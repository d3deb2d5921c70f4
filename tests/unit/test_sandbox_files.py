from __future__ import annotations

import pytest

from cairn import sandbox_files
from cairn.executor import AgentExecutor
from cairn.external_functions import create_external_functions
from cairn.journal import Journal
from cairn.overlay import AgentFSOverlay
from cairn.program import CodeFailed, Finished, LimitReached, Limits, Program
from cairn.sandbox_files import SandboxFiles
from cairn.task_file import TaskFile

LIMITS = Limits(seconds=2.0, memory_mb=64, calls=2_000, file_bytes=1_000_000)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    (root / "src/deep").mkdir(parents=True)
    (root / "a.txt").write_text("one\ntwo\nthree\n")
    (root / "src/app.py").write_text("x = 1\n")
    (root / "src/deep/b.py").write_text("y = 2\n")
    (root / "data.bin").write_bytes(b"\xff\x00\x01")
    (tmp_path / "secret.txt").write_text("secret")
    (root / "inside.txt").symlink_to("a.txt")
    (root / "folder").symlink_to("src")
    (root / "outside.txt").symlink_to(tmp_path / "secret.txt")
    (root / ".git").mkdir()
    (root / ".git/config").write_text("[core]\n")
    return root


@pytest.fixture
def file(root, tmp_path):
    with TaskFile.create(tmp_path / "task.db", base=root) as file:
        yield file


@pytest.fixture
def overlay(root, file):
    return AgentFSOverlay(file, root, file_bytes=1_000_000)


@pytest.fixture
def journal(file):
    journal = Journal(file)
    journal.begin_step(1, Program("", "test"))
    return journal


@pytest.fixture
def run(overlay, journal):
    """Runs one program over the overlay and gives what it printed; a failure is shown as it is."""

    async def run(code, *, limits=LIMITS):
        functions = create_external_functions(overlay, journal, None, limits)
        async with AgentExecutor(limits).session(functions) as session:
            result = await session.execute(code)
        return result.run.output if isinstance(result, Finished) else result

    return run


def calls(journal):
    return [(call.name, call.arguments.split(",")[0]) for call in journal.calls()]


READING = {
    "print(open('a.txt').read(), end='')": "one\ntwo\nthree\n",
    "with open('a.txt') as f:\n    print([line.strip() for line in f])": "['one', 'two', 'three']\n",
    "f = open('a.txt')\nprint(f.readline(), f.read(3), f.tell(), f.readlines())": "one\n two 7 ['\\n', 'three\\n']\n",
    "print(open('data.bin', 'rb').read())": "b'\\xff\\x00\\x01'\n",
    "from pathlib import Path\nprint(Path('src/app.py').read_text(), end='')": "x = 1\n",
    "from pathlib import Path\nprint(Path('data.bin').read_bytes())": "b'\\xff\\x00\\x01'\n",
    "from pathlib import Path\nprint(sorted(str(p) for p in Path('.').rglob('*.py')))": "['src/app.py', 'src/deep/b.py']\n",
    "from pathlib import Path\nprint(sorted(str(p) for p in Path('src').glob('*')))": "['src/app.py', 'src/deep']\n",
    "from pathlib import Path\nprint(sorted(str(p) for p in Path().glob('src/*/*.py')))": "['src/deep/b.py']\n",
    "from pathlib import Path\nprint(sorted(p.name for p in Path('src').iterdir()))": "['app.py', 'deep']\n",
    "import os\nprint(sorted(os.listdir('src')))": "['app.py', 'deep']\n",
    "import os\nprint([(top, sorted(folders), files) for top, folders, files in os.walk('src')])": (
        "[('src', ['deep'], ['app.py']), ('src/deep', [], ['b.py'])]\n"
    ),
    "import os\nprint(sorted((e.name, e.is_dir()) for e in os.scandir('src')))": "[('app.py', False), ('deep', True)]\n",
    "import os\nprint(os.path.exists('a.txt'), os.path.isfile('src'), os.path.isdir('src'), os.path.exists('no'))": (
        "True False True False\n"
    ),
    "import os\nprint(os.path.getsize('a.txt'), os.path.islink('inside.txt'), os.path.islink('a.txt'))": "14 True False\n",
    "from pathlib import Path\nprint(Path('folder').is_dir(), Path('inside.txt').is_file())": "True True\n",
    "import os\nos.chdir('src')\nprint(open('app.py').read(), os.getcwd())": "x = 1\n /project/src\n",
    "from pathlib import Path\nprint(Path('src/../a.txt').exists(), Path('/project/a.txt').exists())": "True True\n",
    "import os\nprint(os.path.exists('outside.txt'), 'outside.txt' in os.listdir())": "False True\n",
    "import os\nprint(os.environ.get('HOME'), os.getenv('PATH', 'none'))": "None none\n",
    "import json\nprint(json.loads('[1]'), open('inside.txt').readline())": "[1] one\n\n",
}


@pytest.mark.parametrize("code", READING)
async def test_ordinary_code_reads_the_project(run, code):
    assert await run(code) == READING[code]


async def test_what_is_written_lands_in_the_overlay_and_not_in_the_project(run, overlay, root):
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != "outside.txt"}

    output = await run(
        "import os, json\nfrom pathlib import Path\n"
        "with open('new.txt', 'w') as f:\n    f.write('a')\n    f.write('b')\n"
        "with open('a.txt', 'a') as f:\n    f.write('four\\n')\n"
        "open('bytes.bin', 'wb').write(b'\\x00')\n"
        "Path('src/app.py').write_text('x = 2\\n')\n"
        "json.dump({'a': 1}, open('made/by/json.json', 'w'))\n"
        "os.remove('data.bin')\n"
        "os.rename('src/deep/b.py', 'src/c.py')\n"
        "print(open('new.txt').read())\n"
    )

    assert output == "ab\n"
    assert [(change.path, change.after.data if change.after else None) for change in overlay.changes()] == [
        ("a.txt", b"one\ntwo\nthree\nfour\n"),
        ("bytes.bin", b"\x00"),
        ("data.bin", None),
        ("made/by/json.json", b'{"a": 1}'),
        ("new.txt", b"ab"),
        ("src/app.py", b"x = 2\n"),
        ("src/c.py", b"y = 2\n"),
    ]
    assert before == {path: path.read_bytes() for path in before}


async def test_a_file_written_in_many_pieces_is_one_write(run, journal):
    await run("with open('new.txt', 'w') as f:\n    for i in range(500):\n        f.write('line\\n')\n")

    assert calls(journal) == [("open", "'new.txt'"), ("open().write", "'new.txt'")]


async def test_files_written_side_by_side_are_one_write_each(run, overlay, journal):
    await run(
        "a = open('1.txt', 'w')\nb = open('2.txt', 'w')\n"
        "for i in range(100):\n    a.write('a')\n    b.write(open('a.txt').read())\n    log('x')\n"
    )

    assert [call for call in calls(journal) if "write" in call[0]] == [
        ("open().write", "'1.txt'"),
        ("open().write", "'2.txt'"),
    ]
    assert (len(overlay.read("1.txt")), len(overlay.read("2.txt"))) == (100, 1_400)


async def test_whatever_looks_sees_what_was_written_before(run):
    output = await run(
        "import os\nfrom pathlib import Path\nf = open('new.txt', 'w')\nf.write('one')\n"
        "print(read_file('new.txt'), 'new.txt' in os.listdir(), len(list(Path('.').glob('new*'))))\n"
        "f.write(' two')\nprint(open('new.txt').read(), os.path.getsize('new.txt'))\n"
    )

    assert output == "one True 1\none two 7\n"


async def test_a_file_never_grows_beyond_the_limit(run, overlay):
    result = await run("f = open('big.txt', 'w')\nfor i in range(30):\n    f.write('x' * 50_000)")

    assert (result.error_type, result.message) == (
        "ValueError",
        "'big.txt' would be larger than 1,000,000 bytes; write less into one file",
    )
    assert len(overlay.read("big.txt")) == 1_000_000


async def test_an_empty_file_can_be_made(run, overlay):
    await run("open('empty.txt', 'w').close()\nopen('also.txt', 'a').close()\n")

    assert (overlay.read("empty.txt"), overlay.read("also.txt")) == (b"", b"")


async def test_opening_for_appending_alone_changes_nothing(run, journal):
    await run("open('a.txt', 'a').close()\n")

    assert calls(journal) == [("open", "'a.txt'"), ("open", "'a.txt'")]


async def test_what_a_failing_program_wrote_is_stored_as_if_its_files_were_closed(run, overlay):
    result = await run("f = open('new.txt', 'w')\nf.write('half')\nraise ValueError('x')\n")

    assert isinstance(result, CodeFailed)
    assert overlay.read("new.txt") == b"half"


async def test_a_program_that_is_stopped_leaves_no_half_written_file(run, overlay):
    result = await run("f = open('new.txt', 'w')\nf.write('half')\nwhile True: pass\n", limits=Limits(seconds=0.3))

    assert isinstance(result, LimitReached)
    assert overlay.entry("new.txt") is None


async def test_replacing_a_file_by_another_is_a_change_of_that_file(run, overlay, root):
    (root / "src/app.py").chmod(0o755)

    await run("import os\nopen('t.tmp', 'w').write('new\\n')\nos.replace('t.tmp', 'src/app.py')\n")

    assert [(change.path, change.kind, change.after.mode) for change in overlay.changes()] == [
        ("src/app.py", "modified", 0o755)
    ]


REFUSED = {
    "open('no.txt')": ("FileNotFoundError", "no file 'no.txt'"),
    "open('src')": ("IsADirectoryError", "'src' is a folder"),
    "open('src', 'w')": ("IsADirectoryError", "'src' is a folder"),
    "open('../secret.txt')": ("PermissionError", "outside the project"),
    "open('../new.txt', 'w')": ("PermissionError", "outside the project"),
    "open('src/../../secret.txt')": ("PermissionError", "outside the project"),
    "open('/etc/passwd')": ("PermissionError", "'/etc/passwd' is outside the project; paths are relative to it"),
    "open('/projects/x')": ("PermissionError", "outside the project"),
    "open('.git/config')": ("PermissionError", "programs may not touch"),
    "open('.git/hooks/pre-commit', 'w')": ("PermissionError", "programs may not touch"),
    "open('.cairn/cairn.db', 'rb')": ("PermissionError", "programs may not touch"),
    "open('outside.txt').read()": ("PermissionError", ""),
    "open('outside.txt', 'w').write('x')": ("PermissionError", ""),
    "open('data.bin').read()": ("UnicodeDecodeError", "codec can't decode"),
    "import os\nos.listdir('no')": ("FileNotFoundError", "no file 'no'"),
    "import os\nos.listdir('a.txt')": ("NotADirectoryError", "is a file"),
    "import os\nos.mkdir('src')": ("FileExistsError", "'src' exists already"),
    "import os\nos.mkdir('no/such')": ("FileNotFoundError", "os.makedirs"),
    "import os\nos.remove('src')": ("IsADirectoryError", "delete_file('src')"),
    "import os\nos.remove('no.txt')": ("FileNotFoundError", "no file 'no.txt'"),
    "import os\nos.rmdir('src')": ("OSError", "'src' is not empty"),
    "import os\nos.rename('a.txt', 'src')": ("FileExistsError", "'src' exists already"),
    "import os\nos.rename('no.txt', 'b.txt')": ("FileNotFoundError", "no file 'no.txt'"),
    "import os\nos.urandom(4)": ("RuntimeError", ""),
}


@pytest.mark.parametrize("code", REFUSED)
async def test_what_is_refused_is_an_error_that_the_program_can_catch(run, overlay, code):
    error_type, words = REFUSED[code]
    result = await run(code)
    body = "".join(f"    {line}\n" for line in code.split("\n"))
    caught = await run(f"try:\n{body}except Exception as e:\n    print(type(e).__name__)\n")

    assert (result.error_type, caught) == (error_type, f"{error_type}\n")
    assert words in result.message
    assert not overlay.changes()


async def test_folders_are_made_and_removed(run, overlay):
    output = await run(
        "import os\nfrom pathlib import Path\nos.makedirs('a/b', exist_ok=True)\nPath('a').mkdir(exist_ok=True)\n"
        "print(os.path.isdir('a/b'))\nos.rmdir('a/b')\nprint(os.path.isdir('a/b'), Path('x').unlink(missing_ok=True))\n"
    )

    assert output == "True\nFalse None\n"


async def test_pieces_of_a_file_do_not_use_up_the_calls(run):
    output = await run(
        "with open('n.txt', 'w') as f:\n    for i in range(60):\n        f.write('x')\nprint('done')\n",
        limits=Limits(seconds=2.0, calls=5),
    )

    assert output == "done\n"


ONE_RECORD = {
    "open('a.txt').read()": ["open", "Path.read_text"],
    "from pathlib import Path\nPath('a.txt').read_text()": ["Path.read_text"],
    "from pathlib import Path\nPath('a.txt').write_text('x')": ["Path.write_text"],
    "from pathlib import Path\nPath('a.txt').exists()": ["Path.exists"],
    "import os\nos.listdir('src')": ["Path.iterdir"],
    "import os\nlist(os.walk('.'))": ["os.walk"],
    "from pathlib import Path\nlist(Path('.').rglob('*.py'))": ["os.walk"],
    "import os\nos.path.getsize('a.txt')": ["Path.stat"],
}


@pytest.mark.parametrize("code", ONE_RECORD)
async def test_what_ordinary_code_does_is_in_the_journal_once(run, journal, code):
    await run(code)

    assert [call.name for call in journal.calls()] == ONE_RECORD[code]


async def test_a_python_file_that_would_not_parse_is_not_stored(run, overlay):
    """The error comes when the file is stored, here at the end of the program."""
    result = await run("with open('src/app.py', 'w') as f:\n    f.write('def broken(:\\n')\n")

    assert (type(result), result.error_type, "src/app.py" in result.message) == (CodeFailed, "ValueError", True)
    assert overlay.read("src/app.py") == b"x = 1\n"


async def test_files_that_are_open_for_appending_take_no_more_of_the_hosts_memory_than_is_gathered(
    run, root, overlay, monkeypatch
):
    monkeypatch.setattr(sandbox_files, "GATHERED_BYTES", 250_000)
    held = []
    kept = SandboxFiles._start_writing

    def watched(self, path, *, keep):
        kept(self, path, keep=keep)
        held.append((self._gathered, sum(len(each.content) for each in self._writing.values())))

    monkeypatch.setattr(SandboxFiles, "_start_writing", watched)
    for number in range(20):
        (root / f"large{number}.txt").write_bytes(b"x" * 100_000)
    await run("fs = [open(f'large{n}.txt', 'a') for n in range(20)]\nfor f in fs: f.write('y')\n")

    assert all(counted == really <= 350_000 for counted, really in held)
    assert [overlay.read(f"large{n}.txt")[-2:] for n in range(20)] == [b"xy"] * 20

"""Commands that only show something do so where nothing can be written, and leave a folder without tasks as it is."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from cairn.cli import VERBS

SUBMIT = "write_file('new.txt', 'new\\n')\nsubmit_result('made it', ['new.txt'])\n"
SHOWS = ("list", "show", "diff", "log", "op log", "compare", "recipes", "engine status", "accept --dry-run")
needs_mounts = pytest.mark.skipif(
    os.geteuid() != 0 or sys.platform != "linux", reason="a disk of its own is mounted, which takes root"
)


class Disk:
    """A small file system; files and SQLite's shared memory fail on it as on any other."""

    def __init__(self, path):
        self.path = path

    def remount(self, options):
        subprocess.run(["mount", "-o", f"remount,{options}", self.path], check=True)

    def fill(self):
        with (self.path / "ballast").open("wb", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while file.write(bytes(size)):
                        pass
                except OSError:
                    pass
        assert os.statvfs(self.path).f_bavail == 0

    def state(self):
        """Each file of Cairn's, with its content; what SQLite tried to make beside it has none."""
        found = {path: path.read_bytes() for path in (self.path / ".cairn").rglob("*") if path.is_file()}
        return {path: content for path, content in found.items() if not path.name.endswith(("-wal", "-shm"))}


@pytest.fixture
def disk(tmp_path, cairn):
    """With one task that was accepted, and one in review."""
    path = tmp_path / "disk"
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", path], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        assert cairn("-C", str(path), "run", "--accept", "--code", "-", stdin=SUBMIT).code == 0
        assert cairn("-C", str(path), "run", "--code", "-", stdin=SUBMIT.replace("new", "other")).code == 0
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def shown(cairn, path):
    return {each: cairn("-C", str(path), *each.split()) for each in SHOWS}


def ageless(text):
    """Tasks get older from one command to the next."""
    return re.sub(r" +(N s|\d+ min) +", "  AGE  ", text)


@needs_mounts
@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", ["read-only", "full"])
def test_what_only_shows_something_works_on_a_disk_that_takes_nothing(disk, cairn, tmp_path, how):
    before, export = shown(cairn, disk.path), tmp_path / "task.cairn"
    state = disk.state()
    disk.remount("ro") if how == "read-only" else disk.fill()

    screens = shown(cairn, disk.path)
    exported = cairn("-C", str(disk.path), "export", cairn.ids[-1], str(export))
    doctor = cairn("-C", str(disk.path), "doctor")

    for command, screen in screens.items():
        assert (screen.code, ageless(screen.out)) == (before[command].code, ageless(before[command].out)), command
    told = f"cairn: {disk.path}/.cairn/cairn.db cannot be opened for writing. Shown as it stands.\n"
    if how == "full":
        told = f"cairn: The disk is full; {disk.path}/.cairn/cairn.db could not be written. Shown as it stands.\n"
    assert screens["list"].err == told
    assert screens["show"].err == told
    assert screens["op log"].err == told
    assert exported.code == 0
    assert export.stat().st_size > 10_000
    assert doctor.code == 1
    assert ("cannot be written" if how == "read-only" else "is full") in doctor.out
    assert "Traceback" not in doctor.err
    assert "damaged" not in doctor.out
    assert disk.state() == state
    assert cairn("-C", str(disk.path), "reject", cairn.ids[-1]).code == 1  # it would write


@needs_mounts
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_a_killed_command_left_is_said_where_it_cannot_be_put_right(disk, cairn):
    import sqlite3

    state = disk.path / ".cairn"
    with sqlite3.connect(state / "operations.db") as log:
        log.execute("UPDATE operation SET recorded = 0")
    log.close()
    ledger = sqlite3.connect(state / "cairn.db")
    ledger.execute("DROP TRIGGER task_moves_legally")
    ledger.execute("UPDATE task SET status = 'running', lease_until = 1, owner = 'gone:1:1' WHERE status = 'in review'")
    ledger.commit()
    ledger.close()
    disk.remount("ro")

    screen = cairn("-C", str(disk.path), "list")

    assert screen.code == 0
    assert screen.err == (
        f"cairn: {disk.path}/.cairn/cairn.db cannot be opened for writing. Shown as it stands: an accept or undo that"
        " a killed command left is not put right; of TASK2, shown as running, the process is gone.\n"
    )


@needs_mounts
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_a_running_command_has_not_written_back_yet_is_shown_too(disk, cairn):
    """A log of SQLite's that a killed process left, without its shared memory."""
    state = disk.path / ".cairn"
    holds = (
        "import os, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1]); db.execute(\"UPDATE task SET request = 'asked later'\"); db.commit()\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", holds, state / "cairn.db"], check=True)
    (state / "cairn.db-shm").unlink()
    assert (state / "cairn.db-wal").stat().st_size > 0
    disk.remount("ro")

    screen = cairn("-C", str(disk.path), "list")

    assert screen.code == 0
    assert screen.out.count("asked later") == 2


WRONG = {
    "run": (["-f", "missing.txt", "-m", "nobody/knows", "do it"], ["--recipe", "nosuch"], ["--code", "missing.py"],
            ["--limit", "nosuch=1", "do it"], ["--recipe", "add_header", "nosuch=1"], ["-m", "nobody/knows", "do it"]),
    "add": (["--recipe", "nosuch"], ["--after", "bcdfgh", "add docstrings"], ["--delay", "never", "add docstrings"],
            ["--key", "k", "add docstrings", "fix todos"], ["--variants", "99", "add docstrings"],
            ["-m", "nobody/knows", "do it"]),
    "work": (["-j", "0"],),
    "watch": (["missing"], ["."], ["--done", "a/b"], ["/"]),
    "list": (["--since", "never"], ["--watch", "--since", "never"], ["--before", "bcdfgh"], ["--watch", "--group", "x"]),
    "show": (["bcdfgh"],),
    "diff": (["bcdfgh"],),
    "compare": (["bcdfgh"],),
    "check": (["bcdfgh"],),
    "log": (["bcdfgh"],),
    "accept": (["bcdfgh"], ["--dry-run", "bcdfgh"]),
    "reject": (["bcdfgh"],),
    "undo": (["bcdfgh"], ["--op", "7"]),
    "op": (["nosuch"],),
    "resume": (["bcdfgh"],),
    "answer": (["bcdfgh", "yes"],),
    "cancel": (["bcdfgh"],),
    "retry": (["bcdfgh"],),
    "replay": (["bcdfgh"],),
    "export": (["bcdfgh", "out.cairn"],),
    "import": (["missing.cairn"], ["README.md"], ["src"]),
    "recipes": (["show", "nosuch"], ["new", "name", "--from", "bcdfgh"]),
    "gc": (["--days", "never"],),
    "engine": (["nosuch"],),
    "init": (["extra"],),
    "doctor": (["extra"],),
    "local": (["nosuch"],),
}  # fmt: skip


def test_each_command_has_its_wrong_arguments():
    assert set(WRONG) == set(VERBS)


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [pytest.param(verb, each, id=" ".join((verb, *each))) for verb in WRONG for each in WRONG[verb]],
)
def test_a_command_that_fails_on_its_arguments_makes_nothing(repository, cairn, verb, arguments):
    before = sorted(path for path in repository.rglob("*"))

    screen = cairn(verb, *arguments)

    assert screen.code in {1, 2, 3}, screen
    assert "Traceback" not in screen.err
    assert sorted(path for path in repository.rglob("*")) == before

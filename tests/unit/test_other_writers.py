from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from cairn.other_writers import InUse, require_unlocked, unwritten

HOLDING = """
import fcntl, sys
file = open(sys.argv[1], sys.argv[2])
if sys.argv[3] != "none":
    getattr(fcntl, sys.argv[3])(file, getattr(fcntl, sys.argv[4]))
print("holding", flush=True)
sys.stdin.readline()
"""


@contextmanager
def another_process(path, mode: str, lock: str = "none", kind: str = ""):
    """Has the file open, and locked, until the block ends."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(path), mode, lock, kind],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout.readline() == "holding\n"
    try:
        yield child
    finally:
        child.stdin.close()
        child.wait()
        child.stdout.close()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_text("x\n")
    return path


@pytest.fixture
def handle(file):
    opened = os.open(file, os.O_RDONLY)
    yield opened
    os.close(opened)


@pytest.mark.parametrize("mode", ["r+", "a", "w"])
def test_whoever_has_it_open_for_writing_is_noticed(file, handle, mode):
    with another_process(file, mode), pytest.raises(InUse) as caught, unwritten(handle, patience=0.05):
        pass
    with unwritten(handle, patience=0) as require_undisturbed:
        require_undisturbed()

    assert caught.value.how == "open for writing in another program"


def test_a_map_of_its_memory_is_noticed_when_its_descriptor_is_closed(file, handle):
    import mmap

    writing = os.open(file, os.O_RDWR)
    mapped = mmap.mmap(writing, 0)
    os.close(writing)
    with pytest.raises(InUse), unwritten(handle, patience=0.05):
        pass
    mapped.close()
    with unwritten(handle, patience=0):
        pass


def test_readers_do_not_matter(file, handle):
    with another_process(file, "r"), unwritten(handle, patience=0) as require_undisturbed:
        require_undisturbed()


def test_an_editor_that_is_just_saving_is_waited_for(file, handle):
    with another_process(file, "r+") as child:
        ending = threading.Timer(0.1, child.stdin.close)
        ending.start()
        with unwritten(handle, patience=10):
            pass
        ending.join()


def test_whoever_opens_it_meanwhile_waits_and_is_noticed(file, handle):
    """And the signal that the kernel sends does not end this process."""
    program = "import os, sys; os.open(sys.argv[1], os.O_WRONLY | os.O_NONBLOCK)"
    with unwritten(handle) as require_undisturbed:
        child = subprocess.run([sys.executable, "-c", program, str(file)], stderr=subprocess.PIPE, check=False)
        assert b"BlockingIOError" in child.stderr
        with pytest.raises(InUse, match="being opened for writing"):
            require_undisturbed()
    with file.open("r+") as again:  # the lease is given back
        again.write("y")


def test_where_no_lease_is_granted_nothing_is_known(file, handle, monkeypatch):
    call = fcntl.fcntl

    def refuse(handle, command, *arguments):
        if command == fcntl.F_SETLEASE:
            raise PermissionError(13, "Permission denied")
        return call(handle, command, *arguments)

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    with another_process(file, "r+"), unwritten(handle, patience=0) as require_undisturbed:
        require_undisturbed()


def test_other_systems_have_no_leases(file, handle, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with another_process(file, "r+"), unwritten(handle, patience=0) as require_undisturbed:
        require_undisturbed()


@pytest.mark.parametrize("lock", ["flock", "lockf"])
def test_an_exclusive_lock_of_either_kind_is_noticed(file, handle, lock):
    with another_process(file, "r+", lock, "LOCK_EX"):
        with pytest.raises(InUse) as caught:
            require_unlocked(handle, patience=0.05)
        assert caught.value.how == "locked by another program"
    require_unlocked(handle, patience=0)


@pytest.mark.parametrize("lock", ["flock", "lockf"])
def test_a_shared_lock_is_a_readers(file, handle, lock):
    with another_process(file, "r", lock, "LOCK_SH"):
        require_unlocked(handle, patience=0)


def test_the_question_leaves_no_lock_behind(file, handle):
    require_unlocked(handle)
    program = "import fcntl, sys; f = open(sys.argv[1], 'r+'); [c(f, fcntl.LOCK_EX | fcntl.LOCK_NB) for c in (fcntl.flock, fcntl.lockf)]"
    subprocess.run([sys.executable, "-c", program, str(file)], check=True)


def test_a_file_system_without_locks_has_none(handle, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(fcntl, "lockf", refuse)
    require_unlocked(handle, patience=0)

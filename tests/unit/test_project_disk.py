from __future__ import annotations

import os
import socket

import pytest

from cairn import project_disk
from cairn.changes import EntryKind


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "p"
    (root / "d").mkdir(parents=True)
    (root / "d/a").write_bytes(b"123")
    (root / "d/a").chmod(0o640)
    return root


def read(root, path, limit=100):
    found = project_disk.read(root, path, limit=limit)
    return None if found is None else (found[0].kind, found[0].mode, found[1])


def test_files_links_and_folders_are_read_as_what_they_are(root):
    (root / "link").symlink_to("d/a")
    (root / "bad").symlink_to(os.fsdecode(b"\xff"))
    assert read(root, "d/a") == (EntryKind.FILE, 0o640, b"123")
    assert read(root, "link") == (EntryKind.SYMLINK, 0o777, b"d/a")
    assert read(root, "bad") == (EntryKind.SYMLINK, 0o777, b"\xff")
    assert read(root, "d") == (EntryKind.DIRECTORY, 0o755, b"")
    assert read(root, "no") is read(root, "no/x") is read(root, "d/a/x") is None


def test_a_link_above_is_never_followed(root, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/a").write_bytes(b"secret")
    (root / "e").symlink_to(tmp_path / "outside")
    assert read(root, "e/a") is None
    assert project_disk.look(root, "e/a") is None


def test_pipes_sockets_and_devices_do_not_exist_and_never_block(root, monkeypatch):
    os.mkfifo(root / "pipe")
    monkeypatch.chdir(root)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("sock")
    listener.close()
    assert read(root, "pipe") is read(root, "sock") is None
    assert project_disk.look(root, "pipe") is None


def test_a_file_over_the_limit_is_refused_with_figures(root):
    (root / "big").write_bytes(b"x" * 101)
    with pytest.raises(ValueError, match="'big' has 101 bytes, more than the 100"):
        project_disk.read(root, "big", limit=100)


def test_a_file_that_grows_while_it_is_read_is_read_again(root, monkeypatch):
    """The first reading ends at the old size; what is given back is one whole state."""
    real, edits = os.read, iter([b"4" * 5000, b"5" * 50])

    def read_then_edit(handle, size):
        data = real(handle, size)
        edit = next(edits, None)
        if edit is not None:
            (root / "d/a").write_bytes(edit)
        return data

    monkeypatch.setattr(project_disk.os, "read", read_then_edit)
    assert read(root, "d/a", limit=9000) == (EntryKind.FILE, 0o640, b"5" * 50)


def test_a_file_that_grows_over_the_limit_is_refused(root, monkeypatch):
    real = os.read

    def grow(handle, size):
        with (root / "d/a").open("ab") as more:
            more.write(b"x" * 60)
        return real(handle, size)

    monkeypatch.setattr(project_disk.os, "read", grow)
    with pytest.raises(ValueError, match="more than the 100"):
        project_disk.read(root, "d/a", limit=100)


def test_a_path_longer_than_the_system_takes_does_not_exist(root):
    path = "/".join(["x" * 250] * 20)
    assert read(root, path) is None
    assert project_disk.look(root, path) is None


def test_errors_name_the_path_as_the_program_knows_it(root):
    error = project_disk.refused("d/a", PermissionError(13, "Permission denied"))
    assert (type(error), str(error)) == (
        PermissionError,
        "'d/a' cannot be read: its permissions on disk forbid it; leave it out",
    )
    assert "Input/output error" in str(project_disk.refused("d/a", OSError(5, "x")))

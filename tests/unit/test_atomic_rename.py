from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cairn import atomic_rename
from cairn.atomic_rename import exchange, take_free_name


@pytest.fixture
def folder(tmp_path):
    handle = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    (tmp_path / "a").write_text("a\n")
    (tmp_path / "b").write_text("b\n")
    yield handle
    os.close(handle)


def tree(root: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(root.iterdir())}


@pytest.fixture(params=[errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP])
def unsupported(request, monkeypatch):
    def refuse(*_):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(atomic_rename, "renameat2", refuse)


def test_two_names_change_places(folder, tmp_path):
    inodes = [(tmp_path / name).stat().st_ino for name in "ab"]

    assert exchange("a", folder, "b", folder) is True
    assert tree(tmp_path) == {"a": "b\n", "b": "a\n"}
    assert [(tmp_path / name).stat().st_ino for name in "ba"] == inodes


def test_a_file_changes_places_with_a_folder_and_with_a_link(folder, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to("nowhere")

    assert exchange("a", folder, "sub", folder)
    assert exchange("b", folder, "link", folder)
    assert ((tmp_path / "a").is_dir(), (tmp_path / "sub").read_text()) == (True, "a\n")
    assert ((tmp_path / "b").is_symlink(), (tmp_path / "link").read_text()) == (True, "b\n")


def test_names_of_any_bytes_are_taken(folder, tmp_path):
    name = os.fsdecode(b"caf\xe9\n\xff")
    (tmp_path / name).write_text("odd\n")

    assert exchange(name, folder, "a", folder)
    assert (tmp_path / "a").read_text() == "odd\n"


def test_where_the_system_cannot_exchange_nothing_is_done(folder, tmp_path, unsupported):
    assert exchange("a", folder, "b", folder) is False
    assert tree(tmp_path) == {"a": "a\n", "b": "b\n"}


def test_a_missing_name_is_an_error(folder):
    with pytest.raises(FileNotFoundError) as caught:
        exchange("a", folder, "gone", folder)

    assert (caught.value.filename, caught.value.filename2) == ("gone", "a") or (
        caught.value.filename, caught.value.filename2
    ) == ("a", "gone")  # fmt: skip


def test_a_free_name_is_taken(folder, tmp_path):
    take_free_name("a", folder, "new", folder)

    assert tree(tmp_path) == {"b": "b\n", "new": "a\n"}


def test_a_name_that_is_not_free_is_left_alone(folder, tmp_path):
    with pytest.raises(FileExistsError):
        take_free_name("a", folder, "b", folder)

    assert tree(tmp_path) == {"a": "a\n", "b": "b\n"}


def test_without_the_call_a_hard_link_does_the_same(folder, tmp_path, unsupported):
    take_free_name("a", folder, "new", folder)
    with pytest.raises(FileExistsError):
        take_free_name("new", folder, "b", folder)

    assert tree(tmp_path) == {"b": "b\n", "new": "a\n"}


def test_without_hard_links_it_is_a_plain_rename(folder, tmp_path, unsupported, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    take_free_name("a", folder, "new", folder)

    assert tree(tmp_path) == {"b": "b\n", "new": "a\n"}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_any_other_failure_is_told(folder, tmp_path, monkeypatch, code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic_rename, "renameat2", fail)
    for act in (exchange, take_free_name):
        with pytest.raises(OSError, match=os.strerror(code)):
            act("a", folder, "b", folder)

    assert tree(tmp_path) == {"a": "a\n", "b": "b\n"}


def test_a_library_without_the_call_is_a_system_without_it(folder, monkeypatch):
    import ctypes

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    atomic_rename._from_library.cache_clear()
    try:
        assert exchange("a", folder, "b", folder) is False
    finally:
        atomic_rename._from_library.cache_clear()

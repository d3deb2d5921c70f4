from __future__ import annotations

import errno
import os
import struct

import pytest

from cairn.file_attributes import attributes_of, give_attributes


def access_list(user: int) -> bytes:
    """An access list as the kernel keeps it: the owner rw, one more user rw, group and mask rw, others nothing."""
    anybody = 0xFFFFFFFF
    entries = [(0x01, 6, anybody), (0x02, 6, user), (0x04, 4, anybody), (0x10, 6, anybody), (0x20, 0, anybody)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


LISTED = ("system.posix_acl_access", access_list(4711))


@pytest.fixture
def opened(tmp_path):
    """Gives descriptors of new files; skips where the file system keeps no attributes."""
    handles = []

    def make(name: str, attributes: dict[str, bytes]) -> int:
        path = tmp_path / name
        path.touch()
        for key, value in attributes.items():
            try:
                os.setxattr(path, key, value)
            except OSError as error:
                pytest.skip(f"no {key} here: {error}")
        handles.append(os.open(path, os.O_RDWR))
        return handles[-1]

    yield make
    for handle in handles:
        os.close(handle)


def test_a_persons_attributes_and_access_lists_are_read_sorted(opened):
    handle = opened("a", {"user.b": b"2", "user.a": b"\0\xff", LISTED[0]: LISTED[1]})

    assert attributes_of(handle) == (LISTED, ("user.a", b"\0\xff"), ("user.b", b"2"))


def test_what_the_system_sets_for_itself_is_left_out(opened, monkeypatch):
    handle = opened("a", {"user.a": b"1"})
    monkeypatch.setattr(os, "listxattr", lambda _: ["security.capability", "security.selinux", "trusted.x", "user.a"])

    assert attributes_of(handle) == (("user.a", b"1"),)


def test_a_file_gets_exactly_those_given(opened):
    handle = opened("a", {"user.old": b"1", "user.both": b"1", LISTED[0]: LISTED[1]})
    give_attributes(handle, (("user.both", b"2"), ("user.new", b"3")))

    assert attributes_of(handle) == (("user.both", b"2"), ("user.new", b"3"))


def test_an_inherited_access_list_goes_where_the_replaced_file_had_none(opened, tmp_path):
    sub = tmp_path / "sub"
    sub.mkdir()
    opened("probe", {LISTED[0]: LISTED[1]})
    os.setxattr(sub, "system.posix_acl_default", LISTED[1])
    handle = os.open(sub / "new", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        assert [name for name, _ in attributes_of(handle)] == ["system.posix_acl_access"]
        give_attributes(handle, ())
        assert attributes_of(handle) == ()
    finally:
        os.close(handle)


def test_what_is_not_permitted_is_left_out(opened, monkeypatch):
    handle = opened("a", {"user.old": b"1"})

    def refuse(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    for name in ("setxattr", "removexattr", "getxattr"):
        monkeypatch.setattr(os, name, refuse)
    give_attributes(handle, (("user.new", b"3"),))
    assert attributes_of(handle) == ()
    monkeypatch.setattr(os, "listxattr", refuse)
    give_attributes(handle, (("user.new", b"3"),))
    assert attributes_of(handle) == ()


def test_a_system_without_attributes_has_none(opened, monkeypatch):
    handle = opened("a", {"user.old": b"1"})
    monkeypatch.delattr(os, "listxattr")
    give_attributes(handle, ())

    assert attributes_of(handle) == ()

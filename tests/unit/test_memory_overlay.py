"""What only the overlay in memory can do; its promises are in tests/contract."""

from __future__ import annotations

from cairn.changes import Change, ChangeSet, Content, EntryKind
from cairn.overlay import Overlay
from cairn.testing import MemoryOverlay


def file(data):
    return Content(EntryKind.FILE, 0o644, data)


def test_a_dictionary_is_a_project_and_stays_as_it_was():
    base = {
        "src/a.py": b"1",
        "run": Content(EntryKind.FILE, 0o755, b"#!"),
        "link": Content(EntryKind.SYMLINK, 0o777, b"run"),
    }
    kept = dict(base)
    overlay: Overlay = MemoryOverlay(base)
    overlay.write("link", b"#!/bin/sh")
    overlay.delete("src")
    assert overlay.changes() == ChangeSet(
        (
            Change("run", base["run"], Content(EntryKind.FILE, 0o755, b"#!/bin/sh")),
            Change("src/a.py", file(b"1"), None),
        )
    )
    assert base == kept
    assert list(overlay.walk()) == ["link", "run"]


def test_edits_of_the_dictionary_are_edits_on_disk():
    base = {"a": b"1", "b": b"2"}
    overlay = MemoryOverlay(base)
    overlay.read("a")
    base |= {"a": b"edited", "b": b"edited"}
    assert (overlay.read("a"), overlay.read("b"), overlay.stale()) == (b"1", b"edited", ("a",))

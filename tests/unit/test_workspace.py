"""Workspaces: where they lie, what is left of them, and that all of one can be deleted."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from cairn.errors import StorageProblem
from cairn.workspace import Workspace, homes, left_over, remove_left_over, remove_tree

NOBODY = 65534


def as_nobody(act) -> int:
    """The exit code of a process without root's rights."""
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            act()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_what_its_owner_may_not_enter_is_deleted_too():
    top = Path(tempfile.mkdtemp())
    try:
        top.chmod(0o777)

        def make_and_remove() -> None:
            volatile = top.joinpath("place", "work", "incompat", "volatile")  # overlayfs's own, with modes of its own
            volatile.mkdir(parents=True)
            (volatile / "dirty").touch()
            (top / "place/closed").mkdir()
            (top / "place/closed/link").symlink_to(top)
            for folder in ("work/incompat/volatile", "work/incompat", "work", "closed"):
                (top / "place" / folder).chmod(0)
            remove_tree(top / "place")

        assert as_nobody(make_and_remove) == 0
        assert list(top.iterdir()) == []
    finally:
        shutil.rmtree(top)


def test_a_workspace_lies_outside_of_the_project(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environ = {"XDG_CACHE_HOME": str(tmp_path / "project/cache")}
    (tmp_path / "project").mkdir()
    place = Workspace.make(tmp_path / "project", environ)
    assert place.folder.parent == homes(environ)[1]
    place.remove()
    with pytest.raises(StorageProblem, match="no place to run"):
        Workspace.make(Path("/"), environ)


def test_only_what_nobody_holds_is_left_over(tmp_path):
    environ = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    (tmp_path / "project").mkdir()
    held, dropped = (Workspace.make(tmp_path / "project", environ) for _ in range(2))
    os.close(dropped._lock)  # as the kernel does for a process that was killed
    assert left_over(environ) == (dropped.folder,)
    assert remove_left_over(environ) == (dropped.folder,)
    assert [place.name for place in homes(environ)[0].iterdir()] == [held.folder.name]
    held.remove()
    held.remove()
    assert list(homes(environ)[0].iterdir()) == []

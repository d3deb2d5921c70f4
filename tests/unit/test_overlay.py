"""What the contract does not say of the overlay in an AgentFS file; its promises are in tests/contract."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from cairn import project_disk
from cairn.changes import ChangeSet
from cairn.errors import DiskFull, StorageProblem
from cairn.overlay import AgentFSOverlay, Overlay
from cairn.overlay_contract import lay_out
from cairn.task_file import TaskFile

NOBODY = 65534


@pytest.fixture
def root(tmp_path):
    return lay_out(tmp_path / "project", {"src/app.py": b"app", "src/lib.py": b"lib", "README": b"read me"})


@pytest.fixture
def overlay(tmp_path, root):
    with TaskFile.create(tmp_path / "task.db", base=root) as file:
        yield AgentFSOverlay(file, root, clock=lambda: 1_700_000_000.25)


def rows(overlay, statement):
    return overlay._file.rows(statement)


def test_it_is_an_overlay(overlay):
    checked: Overlay = overlay
    assert checked.root.name == "project"


# ── what a program's author is told ──


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda o: o.read("src/ap.py"), "no file 'src/ap.py', but there is 'src/app.py'; list_dir('src') shows what is there"),
        (lambda o: o.read("zzz"), "no file 'zzz'; list_dir() shows what is there"),
        (lambda o: o.delete("no/such/file"), "no file 'no/such/file'; list_dir() shows what is there"),
        (lambda o: o.list_folder("srcs"), "no file 'srcs', but there is 'src'; list_dir() shows what is there"),
        (lambda o: o.read("src"), "'src' is a folder; list_dir('src') shows what is in it"),
        (lambda o: o.write("src", b""), "'src' is a folder; write to a file in it, or delete it first"),
        (lambda o: o.list_folder("README"), "'README' is a file, not a folder; read it with read_file('README')"),
        (lambda o: o.read("README/x"), "'README' is a file, so there is no 'README/x'"),
        (lambda o: o.make_folder("README/x"), "'README' is a file, so there is no 'README/x'"),
        (lambda o: o.make_folder("README"), "'README' is a file; choose another name, or delete it first"),
        (lambda o: o.move("README", "src/app.py"), "'src/app.py' exists already; delete it first, or choose another name"),
        (lambda o: o.move("src", "src/deep/er"), "'src' cannot be moved into itself ('src/deep/er')"),
        (lambda o: o.make_link("l", "../../etc"), "'l' leads out of the project through a symlink; use only files inside the project"),
        (lambda o: o.make_link("l", ""), "a link's target is a path; it cannot be empty or contain NUL"),
        (lambda o: o.link_target("README"), "'README' is a file, not a symlink"),
        (lambda o: o.set_mode("src", 0o755), "'src' is a folder; only a file's mode can be set"),
        (lambda o: o.delete("."), "the project's root itself cannot be changed; name something in it"),
        (lambda o: o.write("b", b"x" * 10_000_001),
         "'b' has 10,000,001 bytes, more than the 10,000,000 a program may read or write; leave it as it is, or work on smaller files"),
    ],
)  # fmt: skip
def test_errors_say_what_to_do_instead(overlay, call, message):
    with pytest.raises((OSError, ValueError)) as caught:
        call(overlay)
    assert str(caught.value) == message
    assert not overlay.changes()


# ── what is kept ──


def test_the_first_touch_captures_content_mode_and_identity(root, overlay):
    (root / "src/app.py").chmod(0o755)
    os.utime(root / "src/app.py", ns=(5, 1_600_000_000_000_000_007))
    overlay.read("src/app.py")
    inode = (root / "src/app.py").stat().st_ino
    assert rows(overlay, "SELECT path, kind, mode, mtime_ns, size, inode, reason FROM cairn_base") == [
        ("src/app.py", "file", 0o755, 1_600_000_000_000_000_007, 3, inode, "read")
    ]
    overlay.write("src/app.py", b"mine")
    overlay.write("new", b"")
    overlay.delete("README")
    assert rows(overlay, "SELECT path, kind, reason FROM cairn_base ORDER BY path") == [
        ("README", "file", "changed"),
        ("new", "absent", "changed"),
        ("src", "directory", "changed"),
        ("src/app.py", "file", "changed"),
    ]
    assert rows(overlay, "SELECT path, parent_path FROM fs_whiteout") == [("/README", "/")]
    assert rows(overlay, "SELECT count(*) FROM fs_origin") == [(0,)]


def test_a_folder_deleted_whites_out_every_descendant(root, overlay):
    overlay.read("src/lib.py")
    (root / "src/lib.py").unlink()
    overlay.delete("src")
    assert rows(overlay, "SELECT path FROM fs_whiteout ORDER BY path") == [
        ("/src",),
        ("/src/app.py",),
        ("/src/lib.py",),
    ]


def test_times_come_from_the_clock_for_what_is_made_and_from_the_disk_for_the_rest(root, overlay):
    os.utime(root / "README", (7, 7.5))
    overlay.write("new", b"")
    overlay.move("README", "moved")
    assert [(entry.path, entry.mtime) for entry in overlay.list_folder(".")][:2] == [
        ("moved", 7.5),
        ("new", 1_700_000_000.25),
    ]


def test_an_edit_of_the_same_size_within_one_tick_is_stale(root, overlay):
    """Content decides while the file's time is too young to tell."""
    before = (root / "README").stat()
    overlay.read("README")
    (root / "README").write_bytes(b"READ ME")
    os.utime(root / "README", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert overlay.stale() == ("README",)
    assert overlay.shadowed() == {"README": b"read me"}


def test_a_file_touched_or_rewritten_with_the_same_bytes_is_not_stale(root, overlay):
    overlay.read("README")
    (root / "README").unlink()
    (root / "README").write_bytes(b"read me")
    assert overlay.stale() == ()


def test_a_mode_changed_on_disk_is_stale(root, overlay):
    overlay.read("README")
    (root / "README").chmod(0o600)
    assert overlay.stale() == ("README",)


def test_a_link_that_is_turned_elsewhere_keeps_leading_where_it_did(root, overlay):
    (root / "way").symlink_to("src")
    lay_out(root, {"other/app.py": b"other"})
    assert overlay.read("way/app.py") == b"app"
    (root / "way").unlink()
    (root / "way").symlink_to("other")
    assert overlay.read("way/lib.py") == b"lib"
    assert overlay.stale() == ("way",)


def test_a_file_swapped_for_a_link_between_looking_and_opening_is_not_followed(tmp_path, root, overlay, monkeypatch):
    (tmp_path / "secret").write_bytes(b"secret")
    real = project_disk.read

    def swap_then_read(base, path, *, limit):
        if not (root / "README").is_symlink():
            (root / "README").unlink()
            (root / "README").symlink_to(tmp_path / "secret")
        return real(base, path, limit=limit)

    monkeypatch.setattr(project_disk, "read", swap_then_read)
    with pytest.raises(PermissionError):
        overlay.read("README")


def test_a_folder_swapped_for_a_link_between_looking_and_opening_is_not_followed(tmp_path, root, overlay, monkeypatch):
    lay_out(tmp_path / "outside", {"app.py": b"secret"})
    real = project_disk.read

    def swap_then_read(base, path, *, limit):
        if not (root / "src").is_symlink():
            shutil.rmtree(root / "src")
            (root / "src").symlink_to(tmp_path / "outside")
        return real(base, path, limit=limit)

    monkeypatch.setattr(project_disk, "read", swap_then_read)
    with pytest.raises(PermissionError):
        overlay.read("src/app.py")


def test_special_bits_of_a_base_file_are_kept_but_none_can_be_set(root, overlay):
    (root / "README").chmod(0o4755)
    overlay.write("README", b"new")
    overlay.write("mine", b"", mode=0o6777)
    overlay.set_mode("src/app.py", 0o4711)
    assert [change.after.mode for change in overlay.changes()] == [0o4755, 0o777, 0o711]


# ── where it is kept ──


def test_a_second_overlay_on_the_same_file_sees_everything(tmp_path, root, overlay):
    overlay.move("src", "lib")
    overlay.write("lib/app.py", b"new")
    with TaskFile.open(tmp_path / "task.db", read_only=True) as file:
        reader = AgentFSOverlay(file, root)
        assert reader.changes() == overlay.changes()
        assert reader.read("README") == b"read me"
        assert list(reader.walk()) == ["README", "lib/app.py", "lib/lib.py"]
        with pytest.raises(StorageProblem):
            reader.write("x", b"")
    assert rows(overlay, "SELECT count(*) FROM cairn_base WHERE path = 'README'") == [(0,)]


def test_changes_do_not_need_the_project_any_more(tmp_path, root, overlay):
    overlay.move("README", "src/README")
    overlay.write("src/app.py", b"new")
    before = overlay.changes()
    shutil.rmtree(root)
    assert overlay.changes() == before
    assert overlay.stale() == ("README", "src/app.py")


def test_what_another_agentfs_tool_wrote_counts_as_changed(overlay):
    """Tools know nothing of captures; the disk is the base then."""
    overlay._file.run("INSERT INTO fs_whiteout (path, created_at) VALUES ('/README', 1)")
    overlay._file.run(
        "INSERT INTO fs_inode (ino, mode, nlink, size, atime, mtime, ctime) VALUES (9, 33188, 1, 2, 0, 0, 0)"
    )
    overlay._file.run("INSERT INTO fs_dentry (name, parent_ino, ino) VALUES ('made', 1, 9)")
    overlay._file.run("INSERT INTO fs_data (ino, chunk_index, data) VALUES (9, 0, x'6869')")
    assert [(change.path, change.kind.value) for change in overlay.changes()] == [
        ("README", "deleted"),
        ("made", "added"),
    ]
    assert overlay.read("made") == b"hi"
    assert overlay.entry("README") is None


def test_a_full_disk_loses_only_the_write_that_met_it(root, overlay):
    overlay.write("kept", b"1")
    pages = rows(overlay, "PRAGMA page_count")[0][0]
    overlay._file.rows(f"PRAGMA max_page_count = {pages + 3}")
    with pytest.raises(DiskFull):
        overlay.write("README", b"x" * 1_000_000)
    overlay._file.rows("PRAGMA max_page_count = 1000000")
    assert (overlay.read("kept"), overlay.read("README")) == (b"1", b"read me")
    assert overlay.changes().paths == ("kept",)


def test_a_killed_process_leaves_whole_operations(tmp_path, root):
    """Everything that was acknowledged is there, and nothing half."""
    code = """
import os, sys
from pathlib import Path
from cairn.overlay import AgentFSOverlay
from cairn.task_file import TaskFile
overlay = AgentFSOverlay(TaskFile.create(Path(sys.argv[2]), base=Path(sys.argv[1])), Path(sys.argv[1]))
overlay.move("src", "lib")
for number in range(10_000):
    overlay.write(f"d{number % 7}/f{number}", b"%d" % number * 3000)
    print(number, flush=True)
"""
    path = tmp_path / "killed.db"
    process = subprocess.Popen([sys.executable, "-c", code, str(root), str(path)], stdout=subprocess.PIPE, text=True)
    said = [process.stdout.readline() for _ in range(50)]
    process.kill()
    said += process.stdout.read().splitlines()
    process.wait()
    process.stdout.close()
    with TaskFile.open(path) as file:
        overlay = AgentFSOverlay(file, root)
        assert file.rows("PRAGMA integrity_check") == [("ok",)]
        found = [name for name in overlay.walk() if name.startswith("d")]
        numbers = {int(name.partition("/f")[2]) for name in found}
        assert {int(line) for line in said if line.strip().isdigit()} - numbers <= {int(said[-1])}
        assert all(overlay.read(f"d{number % 7}/f{number}") == b"%d" % number * 3000 for number in numbers)
        assert {"lib/app.py", "lib/lib.py"} <= set(overlay.walk())


def test_a_task_file_held_by_another_writer_is_told_as_such(tmp_path, root, monkeypatch):
    monkeypatch.setattr("cairn.sqlite_file.BUSY_MS", 1)
    with TaskFile.create(tmp_path / "busy.db", base=root) as first, TaskFile.open(tmp_path / "busy.db") as second:
        overlay = AgentFSOverlay(second, root)
        with first.transaction(), pytest.raises(StorageProblem) as caught:
            overlay.write("a", b"")
        overlay.write("a", b"later")
        assert "in use by another process" in caught.value.what
        assert overlay.read("a") == b"later"


def test_a_file_that_grew_over_the_limit_after_it_was_read_is_shadowed_and_stale(tmp_path, root):
    with TaskFile.create(tmp_path / "small.db", base=root) as file:
        overlay = AgentFSOverlay(file, root, file_bytes=10)
        overlay.read("README")
        (root / "README").write_bytes(b"x" * 11)
        assert (overlay.shadowed(), overlay.stale()) == ({"README": b"read me"}, ("README",))


def test_a_link_to_a_name_that_is_not_text_is_refused(root, overlay):
    (root / "odd").symlink_to(os.fsdecode(b"\xff"))
    with pytest.raises(ValueError, match="not valid UTF-8"):
        overlay.read("odd")
    assert [entry.path for entry in overlay.list_folder(".")] == ["README", "odd", "src"]
    overlay.delete("odd")
    assert [change.before.data for change in overlay.changes()] == [b"\xff"]


@pytest.mark.slow
def test_paths_as_deep_as_they_may_be_are_written_listed_and_deleted(overlay):
    path = "/".join(["d"] * 500)
    overlay.write(f"{path}/f", b"deep")
    assert (overlay.read(f"{path}/f"), list(overlay.walk("d"))) == (b"deep", [f"{path}/f"])
    overlay.delete("d")
    assert not overlay.changes()


# ── permissions of the system; these run as root, so they step down for a moment ──


@contextmanager
def somebody_else():
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def guarded():
    """A project where one file and one folder are closed, outside pytest's own folders, which are closed too."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    root = lay_out(
        place / "project", {"open": b"1", "closed": b"2", "folder/x": b"3", "d/closed": b"4", "d/open": b"5"}
    )
    for path in ("closed", "folder", "d/closed"):
        (root / path).chmod(0)
    with TaskFile.create(place / "task.db", base=root) as file:
        yield AgentFSOverlay(file, root)
    (root / "folder").chmod(0o755)
    shutil.rmtree(place)


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (lambda o: o.read("closed"), "closed"),
        (lambda o: o.write("closed", b""), "closed"),
        (lambda o: o.move("closed", "new"), "closed"),
        (lambda o: o.read("folder/x"), "folder/x"),
        (lambda o: o.list_folder("folder"), "folder"),
        (lambda o: o.delete("folder"), "folder"),
        (lambda o: o.delete("d"), "d/closed"),
    ],
)
def test_what_may_not_be_read_is_refused_by_name_and_nothing_is_half_done(guarded, call, path):
    with somebody_else():
        with pytest.raises(PermissionError) as caught:
            call(guarded)
        assert str(caught.value) == f"'{path}' cannot be read: its permissions on disk forbid it; leave it out"
        assert guarded.changes() == ChangeSet()
        assert list(guarded.walk()) == ["closed", "d/closed", "d/open", "open"]

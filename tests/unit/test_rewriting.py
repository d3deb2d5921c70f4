"""Somebody else writes in the very instant in which a file is swapped: between the last look and the rename, and later."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cairn import atomic_rename, other_writers
from cairn.changes import Change, ChangeSet
from cairn.errors import Conflict, StorageProblem
from cairn.project import Project
from cairn.rewriting import Rewriting
from cairn.waiting_files import WaitingFiles
from tests.content_trees import Tree, between, folder, link, snapshot, text, write
from tests.unit.test_other_writers import another_process

BEFORE: Tree = {"a": text("a\n"), "b/gone": text("gone\n"), "c": text("c\n"), "link": link("a")}
AFTER: Tree = {"a": text("A\n"), "c": text("C\n"), "link": link("c"), "d/new": text("new\n")}
CHANGES = between(BEFORE, AFTER)
MINE = text("typed this instant\n")


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "tree", BEFORE)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(other_writers, "PATIENCE", 0.05)


class Swaps:
    """Does something right before or after the kernel's rename number `count` of a path, in its very instant."""

    def __init__(self, monkeypatch, root: Path, path: str) -> None:
        self.root, self.name = root, os.fsencode(Path(path).name)
        self.before: dict[int, Callable[[], object]] = {}
        self.after: dict[int, Callable[[], object]] = {}
        self.count = 0
        self.renameat2 = atomic_rename.renameat2
        self.rename = os.rename
        monkeypatch.setattr(atomic_rename, "renameat2", self.watched)
        monkeypatch.setattr(os, "rename", self.watched_rename)

    def watched(self, old_folder, old, new_folder, new, flags):
        if self.name not in {old, new}:
            self.renameat2(old_folder, old, new_folder, new, flags)
            return
        self.around(lambda: self.renameat2(old_folder, old, new_folder, new, flags))

    def watched_rename(self, old, new, **options):
        if os.fsencode(old) != self.name:
            self.rename(old, new, **options)
            return
        self.around(lambda: self.rename(old, new, **options))

    def around(self, call):
        self.count += 1
        self.before.get(self.count, lambda: None)()
        call()
        self.after.get(self.count, lambda: None)()


def saved(root: Path, path: str, content: str) -> Callable[[], object]:
    """As vim and VS Code save: a file beside it, renamed over it."""

    def save() -> None:
        beside = root / f"{path}.saving"
        beside.write_text(content)
        beside.replace(root / path)

    return save


def refused(root: Path) -> Conflict:
    with pytest.raises(Conflict) as caught:
        Project(root).apply("abc", CHANGES)
    assert not [path for path in root.rglob(".cairn-*") if ".cairn/" not in str(path)]
    assert (Project(root).operations(), Project(root).recover()) == ((), None)
    return caught.value


EDITS: dict[str, tuple[Callable[[Path, str], object], object]] = {
    "saved by a rename": (lambda root, path: saved(root, path, MINE.data.decode())(), MINE),
    "written in place": (lambda root, path: (root / path).write_bytes(MINE.data), MINE),
    "a folder now": (lambda root, path: ((root / path).unlink(), (root / path).mkdir()), folder()),
    "a link now": (lambda root, path: ((root / path).unlink(), (root / path).symlink_to("x")), link("x")),
    "of another mode": (lambda root, path: (root / path).chmod(0o640), "mode"),
    "deleted": (lambda root, path: (root / path).unlink(), None),
}


@pytest.mark.parametrize("path", ["a", "b/gone"])
@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_between_the_last_look_and_the_rename_is_not_lost(root, monkeypatch, path, edit):
    act, left = EDITS[edit]
    left = text(BEFORE[path].data, 0o640) if left == "mode" else left
    Swaps(monkeypatch, root, path).before[1] = lambda: act(root, path)
    if (path, edit) == ("b/gone", "deleted"):  # what the task wants too
        Project(root).apply("abc", CHANGES)
        assert snapshot(root) == AFTER
        return

    conflict = refused(root)

    expected = {name: content for name, content in (BEFORE | {path: left}).items() if content is not None}
    assert snapshot(root, folders=True) == expected | {"b": folder()}
    assert conflict.paths == (path,)
    assert conflict.what == f"{path} was changed while the accept was being written."


def test_a_pipe_put_there_in_that_instant_is_put_back(root, monkeypatch):
    Swaps(monkeypatch, root, "a").before[1] = lambda: ((root / "a").unlink(), os.mkfifo(root / "a"))

    assert refused(root).paths == ("a",)
    assert (root / "a").is_fifo()


def test_a_new_name_taken_in_that_instant_is_left_alone(root, monkeypatch):
    Swaps(monkeypatch, root, "d/new").before[1] = lambda: (root / "d/new").write_bytes(MINE.data)

    assert refused(root).paths == ("d/new",)
    assert snapshot(root) == BEFORE | {"d/new": MINE}


def test_of_saves_that_follow_each_other_the_newest_stands_and_the_others_are_set_aside(root, monkeypatch):
    swaps = Swaps(monkeypatch, root, "a")
    for number in range(1, 4):
        swaps.before[number] = saved(root, "a", f"save {number}\n")

    conflict = refused(root)

    assert snapshot(root) == BEFORE | {"a": text("save 3\n")}
    aside = root / ".cairn/kept/1/a.edited"
    assert conflict.why == (
        "Everything written until then was taken back. Edited since and left as they are: a."
        f" Their earlier content is in {root / '.cairn/kept/1'}. Another edit of yours was set aside: {aside}."
    )
    assert ((root / ".cairn/kept/1/a").read_text(), aside.read_text()) == ("a\n", "save 2\n")


def test_a_file_made_anew_while_a_deletion_goes_back_stands_and_the_older_edit_is_set_aside(root, monkeypatch):
    swaps = Swaps(monkeypatch, root, "b/gone")
    swaps.before[1] = saved(root, "b/gone", "first\n")
    swaps.after[1] = saved(root, "b/gone", "second\n")

    refused(root)

    assert snapshot(root) == BEFORE | {"b/gone": text("second\n")}
    assert (root / ".cairn/kept/1/b/gone.edited").read_text() == "first\n"


@pytest.mark.parametrize("path", ["a", "b/gone"])
def test_what_is_written_to_a_file_that_was_opened_before_the_swap_is_not_lost(root, monkeypatch, path):
    """The writer still has the old file, and knows nothing of its new name."""
    inode = (root / path).stat().st_ino

    def write_to_the_old_one() -> None:
        with opened[0] as file:
            file.write("and more\n")

    opened = []
    swaps = Swaps(monkeypatch, root, path)
    swaps.before[1] = lambda: opened.append((root / path).open("a"))
    swaps.after[1] = write_to_the_old_one
    conflict = refused(root)

    more = text(BEFORE[path].data + b"and more\n")
    assert snapshot(root) == BEFORE | {path: more}
    assert (conflict.paths, (root / path).stat().st_ino) == ((path,), inode)


@pytest.mark.parametrize("path", ["a", "b/gone"])
def test_what_is_written_at_the_end_of_all_is_not_lost(root, monkeypatch, path):
    """By a writer who opened the file before the swap, and closes it when all the other files are swapped."""
    opened = []
    Swaps(monkeypatch, root, path).before[1] = lambda: opened.append((root / path).open("a"))
    drop = WaitingFiles.drop_displaced

    def late(self):
        with opened[0] as file:
            file.write("and more\n")
        drop(self)

    monkeypatch.setattr(WaitingFiles, "drop_displaced", late)
    conflict = refused(root)

    assert snapshot(root) == BEFORE | {path: text(BEFORE[path].data + b"and more\n")}
    assert conflict.what == f"{path} was changed while the accept was being written."


@pytest.mark.parametrize("path", ["a", "b/gone"])
def test_a_file_that_a_program_has_open_for_writing_is_a_conflict(root, path):
    with another_process(root / path, "a"):
        conflict = refused(root)

    assert snapshot(root) == BEFORE
    assert str(conflict) == (
        f"{path} is open for writing in another program.\n"
        "What is written there would be lost. Everything written until then was taken back.\n"
        "Close it there, then try again."
    )
    Project(root).apply("abc", CHANGES)
    assert snapshot(root) == AFTER


@pytest.mark.parametrize("path", ["a", "b/gone"])
def test_a_file_that_a_program_opens_in_that_instant_and_keeps_open_is_a_conflict(root, monkeypatch, path):
    opened = []
    Swaps(monkeypatch, root, path).before[1] = lambda: opened.append((root / path).open("a"))

    conflict = refused(root)
    with opened[0] as file:
        file.write("and more\n")

    assert conflict.what == f"{path} is open for writing in another program."
    assert snapshot(root) == BEFORE | {path: text(BEFORE[path].data + b"and more\n")}


@pytest.mark.parametrize("lock", ["flock", "lockf"])
def test_a_file_that_a_program_has_locked_is_a_conflict(root, lock):
    mode = "r+" if lock == "lockf" else "r"
    with another_process(root / "a", mode, lock, "LOCK_EX"):
        conflict = refused(root)

    assert (conflict.what, snapshot(root)) == ("a is locked by another program.", BEFORE)


def test_an_undo_is_as_careful(root, monkeypatch):
    Project(root).apply("abc", CHANGES)
    Swaps(monkeypatch, root, "a").before[1] = saved(root, "a", "typed\n")
    with pytest.raises(Conflict) as caught:
        Project(root).undo()

    assert caught.value.what == "a was changed while the undo was being written."
    assert snapshot(root) == AFTER | {"a": text("typed\n")}
    assert [str(each.state) for each in Project(root).operations()] == ["applied"]


def test_a_mode_is_not_set_on_a_file_that_took_the_place_of_the_one_looked_at(root, monkeypatch):
    fchmod = os.fchmod

    def saving(handle, mode):
        saved(root, "a", MINE.data.decode())()
        fchmod(handle, mode)

    monkeypatch.setattr(os, "fchmod", saving)
    with pytest.raises(Conflict) as caught:
        Project(root).apply("abc", ChangeSet((Change("a", BEFORE["a"], text("a\n", 0o755)),)))

    assert (caught.value.paths, snapshot(root)) == (("a",), BEFORE | {"a": MINE})


# -- the way back ------------------------------------------------------------------------------------------------------


def failing_at_the_end(monkeypatch) -> None:
    def fail(self):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Rewriting, "_sync_folders", fail)


def test_what_goes_back_is_the_very_file_that_stood_there(root, monkeypatch):
    """With its hard links, which a copy would lose."""
    os.link(root / "a", root / "other name of a")
    inodes = {path: (root / path).lstat().st_ino for path in BEFORE}

    def fail(self):
        monkeypatch.undo()
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(WaitingFiles, "drop_displaced", fail)
    with pytest.raises(OSError, match="Input/output error"):
        Project(root).apply("abc", CHANGES)

    assert {path: (root / path).lstat().st_ino for path in BEFORE} == inodes
    assert (root / "a").stat().st_nlink == 2


def killed_before_the_end(monkeypatch, root: Path) -> None:
    """An accept whose process died when every file was swapped, and none of the displaced ones deleted."""

    class Killed(BaseException):
        pass

    def die(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(WaitingFiles, "drop_displaced", die)
        patch.setattr(Rewriting, "take_back", die)
        with pytest.raises(Killed):
            Project(root).apply("abc", CHANGES)


def displaced(root: Path, content: bytes) -> Path:
    (found,) = [path for path in root.rglob(".cairn-*.tmp") if path.is_file() and path.read_bytes() == content]
    return found


def test_a_killed_accept_that_swapped_all_is_finished(root, monkeypatch):
    killed_before_the_end(monkeypatch, root)
    recovered = Project(root).recover()

    assert (recovered.finished, recovered.set_aside, snapshot(root)) == (True, (), AFTER)


def test_after_a_kill_what_was_written_to_a_displaced_file_stands_again(root, monkeypatch):
    killed_before_the_end(monkeypatch, root)
    with displaced(root, b"a\n").open("a") as file:
        file.write("and more\n")
    recovered = Project(root).recover()

    assert snapshot(root) == BEFORE | {"a": text("a\nand more\n")}
    assert (recovered.finished, recovered.kept) == (False, ("a",))
    assert recovered.message == (
        "An accept of task abc was interrupted; it was taken back, your files are as they were."
        f" Edited since and left as they are: a. Their earlier content is in {root / '.cairn/kept/1'}."
    )


def test_after_a_kill_two_edits_of_one_file_are_both_there(root, monkeypatch):
    """One in the displaced file, by a program that had it open; a later one at the path."""
    killed_before_the_end(monkeypatch, root)
    with displaced(root, b"gone\n").open("a") as file:
        file.write("and more\n")
    write(root, {"b/gone": MINE})
    recovered = Project(root).recover()

    assert snapshot(root) == BEFORE | {"b/gone": MINE}
    assert (recovered.kept, recovered.set_aside) == (("b/gone",), (root / ".cairn/kept/1/b/gone.edited",))
    assert recovered.set_aside[0].read_text() == "gone\nand more\n"
    assert recovered.message.endswith(f" Another edit of yours was set aside: {recovered.set_aside[0]}.")


def test_after_a_kill_a_displaced_file_that_is_still_open_goes_back_to_its_writer(root, monkeypatch):
    killed_before_the_end(monkeypatch, root)
    with displaced(root, b"a\n").open("a") as file:
        recovered = Project(root).recover()
        file.write("and more\n")

    assert (recovered.finished, recovered.kept) == (False, ("a",))
    assert snapshot(root) == BEFORE | {"a": text("a\nand more\n")}


def test_what_is_taken_back_is_new_again_for_builds(root, monkeypatch):
    for number, path in enumerate(("c", "a")):
        os.utime(root / path, (1_000 + number, 1_000 + number))
    killed_before_the_end(monkeypatch, root)
    Project(root).recover()  # finished
    assert 2_000 < (root / "c").stat().st_mtime <= (root / "a").stat().st_mtime

    for number, path in enumerate(("a", "c")):
        os.utime(root / path, (1_000 + number, 1_000 + number))
    failing_at_the_end(monkeypatch)
    with pytest.raises(OSError, match="Input/output"):
        Project(root).undo()
    monkeypatch.undo()
    Project(root).recover()
    assert 2_000 < (root / "a").stat().st_mtime <= (root / "c").stat().st_mtime


# -- where the system can do less --------------------------------------------------------------------------------------


@pytest.fixture(params=[errno.ENOSYS, errno.EINVAL, errno.EPERM])
def _no_exchange(request, monkeypatch):
    def refuse(*_):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(atomic_rename, "renameat2", refuse)


@pytest.mark.usefixtures("_no_exchange")
def test_without_exchange_files_are_replaced_after_the_last_look(root):
    Project(root).apply("abc", CHANGES)
    made = snapshot(root)
    Project(root).undo()

    assert (made, snapshot(root)) == (AFTER, BEFORE)
    assert not list(root.rglob("*.tmp"))


@pytest.mark.usefixtures("_no_exchange")
def test_without_exchange_all_is_taken_back_too(root, monkeypatch):
    (root / "c").unlink()
    os.mkfifo(root / "c")
    with pytest.raises(Conflict):
        Project(root).apply("abc", CHANGES)
    (root / "c").unlink()
    write(root, {"c": BEFORE["c"]})
    monkeypatch.setattr(WaitingFiles, "drop_displaced", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "EIO")))
    with pytest.raises(OSError, match="EIO"):
        Project(root).apply("abc", CHANGES)

    assert snapshot(root) == BEFORE


# -- what files have beside content and mode ---------------------------------------------------------------------------


def marked(path: Path, value: bytes) -> None:
    try:
        os.setxattr(path, "user.mark", value)
    except OSError as error:
        pytest.skip(f"no attributes on this file system: {error}")


def marks(root: Path, *paths: str) -> list[bytes | None]:
    return [dict.fromkeys(os.listxattr(root / path)) and os.getxattr(root / path, "user.mark") for path in paths]


def test_attributes_are_kept_by_accept_and_undo(root):
    changes = between(BEFORE, {**AFTER, "moved/gone": BEFORE["b/gone"]}, {"moved/gone": "b/gone"})
    for number, path in enumerate(("a", "b/gone", "b")):
        marked(root / path, b"mark %d" % number)
    Project(root).apply("abc", changes)
    assert marks(root, "a", "moved/gone") == [b"mark 0", b"mark 1"]

    marked(root / "a", b"mine since")
    Project(root).undo()
    assert snapshot(root) == BEFORE
    assert marks(root, "a", "b/gone", "b") == [b"mine since", b"mark 1", b"mark 2"]


def test_files_are_as_new_as_the_accept_and_in_the_order_they_had(root):
    """So that a build sees them changed, and what was made from another file stays newer than that."""
    for number, path in enumerate(("c", "a")):
        os.utime(root / path, (1_000 + number, 1_000 + number))
    Project(root).apply("abc", CHANGES)
    times = [(root / path).stat().st_mtime_ns for path in ("c", "a", "d/new")]
    Project(root).undo()
    back = [(root / path).stat().st_mtime_ns for path in ("c", "a")]

    assert times == sorted(times)
    assert times[0] > 2_000 * 10**9
    assert times[-1] <= back[0] <= back[1]


def test_make_builds_after_an_accept_and_after_its_undo(root):
    if shutil.which("make") is None:
        pytest.skip("needs make")
    (root / "Makefile").write_text("out: a\n\tcat a > out\n")

    def built() -> str:
        subprocess.run(["make", "-s"], cwd=root, check=True)
        return (root / "out").read_text()

    seen = [built()]
    Project(root).apply("abc", CHANGES)
    seen.append(built())
    Project(root).undo()
    seen.append(built())

    assert seen == ["a\n", "A\n", "a\n"]


# -- when the system refuses -------------------------------------------------------------------------------------------


def test_a_file_that_may_not_be_replaced_stops_all(root):
    """Marked as immutable, which binds root too."""
    if subprocess.run(["chattr", "+i", "c"], cwd=root, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root, and a file system that knows the mark")
    try:
        with pytest.raises(StorageProblem) as caught:
            Project(root).apply("abc", CHANGES)
    finally:
        subprocess.run(["chattr", "-i", "c"], cwd=root, check=True)

    assert str(caught.value) == (
        "c cannot be written.\n"
        "The system says: Operation not permitted. Everything written until then was taken back.\n"
        "Check the permissions of the file and its folder."
    )
    assert snapshot(root) == BEFORE


REALLY_FULL = """
import os, shutil, subprocess, sys
from pathlib import Path
from cairn.changes import Change, ChangeSet, Content, EntryKind
from cairn.errors import StorageProblem
from cairn.project import Project
from cairn.rewriting import Rewriting
place = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], check=True)
contents = {name: os.urandom(200_000) for name in ("a", "b", "c")}
for name, data in contents.items():
    (place / name).write_bytes(data)
old = [Content(EntryKind.FILE, 0o644, data) for data in contents.values()]
new = [Content(EntryKind.FILE, 0o644, data[::-1]) for data in contents.values()]
changes = ChangeSet(tuple(Change(name, *sides) for name, *sides in zip(contents, old, new)))
told = []

def fill(left):
    free = os.statvfs(place).f_bavail * os.statvfs(place).f_bsize
    (place / "ballast").write_bytes(bytes(max(0, free - left)))

def attempt():
    try:
        Project(place).apply("abc", changes)
    except StorageProblem as full:  # a full disk, and perhaps no room to say that it was taken back
        told.append(full.what.replace(str(place), "PLACE"))
        assert {name: (place / name).read_bytes() for name in contents} == contents
    assert not list(place.glob(".cairn-*"))
    (place / "ballast").unlink()
    Project(place).recover()

for left in range(100_000, 1_700_000, 200_000):  # room for less than the journal
    shutil.rmtree(place / ".cairn", ignore_errors=True)
    fill(left)
    attempt()
carry_out = Rewriting.carry_out
for left in range(100_000, 700_000, 200_000):  # somebody else fills it right after that
    Rewriting.carry_out = lambda self: (fill(left), carry_out(self))
    attempt()
Rewriting.carry_out = carry_out
assert Project(place).operations() == ()
Project(place).apply("abc", changes)
assert all((place / name).read_bytes() == data[::-1] for name, data in contents.items())
print(*dict.fromkeys(told), sep="\\n")
"""


def test_a_disk_that_is_really_full_is_told_and_survived(tmp_path):
    """A memory disk of eight megabytes in a mount namespace of its own."""
    command = ["unshare", "--mount", sys.executable, "-c", REALLY_FULL, str(tmp_path)]
    uncounted = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    try:
        probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]
        if subprocess.run(probe, capture_output=True, check=False).returncode != 0:
            pytest.skip("needs the right to mount")
    except FileNotFoundError:
        pytest.skip("needs unshare")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=uncounted)

    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "The disk is full; PLACE/.cairn/operations.db could not be written.",
        "The disk is full; a could not be written.",
        "The disk is full; b could not be written.",
        "The disk is full; c could not be written.",
    ]

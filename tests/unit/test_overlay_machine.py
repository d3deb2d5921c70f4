"""Random operations on an overlay and on a plain copy of the project must come to the same."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from cairn.changes import Content, EntryKind
from cairn.overlay import AgentFSOverlay
from cairn.task_file import TaskFile
from tests.length import examples

PATHS = [
    "a",
    "b",
    "d",
    "d/a",
    "d/b",
    "d/e",
    "d/e/a",
    "x y",
    "x y/\u00fc'",
    "x y/\u00fc'/z",
    "link",
    "way",
    "way/a",
    "link/q",
]
CONTENTS = [b"", b"1", b"22", b"\r\n\0\xff", b"33"]
SMALL = settings(max_examples=30, stateful_step_count=20)
LARGE = settings(max_examples=examples(100, 400), stateful_step_count=50)

paths = st.sampled_from(PATHS)
contents = st.sampled_from(CONTENTS)
targets = st.sampled_from(["a", "d", "d/e", "nowhere", "../d", "./b", "e/../a"])


def lay_out(root: Path) -> None:
    (root / "d/e").mkdir(parents=True)
    (root / "hollow").mkdir()
    for path, data in {"a": b"base a", "d/a": b"base d/a", "d/b": b"1", "d/e/a": b"base d/e/a", "tool": b"#!"}.items():
        (root / path).write_bytes(data)
        (root / path).chmod(0o755 if path == "tool" else 0o644)
    (root / "link").symlink_to("d/a")
    (root / "way").symlink_to("d")


def files_of(root: Path) -> dict[str, Content]:
    """Files and links by path; folders are told apart by `folders_of`."""
    found = {}
    for place, folders, names in os.walk(root):
        for name in [*folders, *names]:
            path = Path(place, name)
            relative = path.relative_to(root).as_posix()
            if path.is_symlink():
                found[relative] = Content(EntryKind.SYMLINK, 0o777, target_of(path))
            elif path.is_file():
                found[relative] = Content(EntryKind.FILE, path.stat().st_mode & 0o7777, path.read_bytes())
    return found


def target_of(link: Path) -> bytes:
    """As it stands; pathlib would tidy it."""
    return os.readlink(os.fsencode(link))  # noqa: PTH115


def folders_of(root: Path) -> set[str]:
    return {
        Path(place, name).relative_to(root).as_posix()
        for place, folders, _ in os.walk(root)
        for name in folders
        if not Path(place, name).is_symlink()
    }


class OverlayMachine(RuleBasedStateMachine):
    """`copy` is what the task should see; `seen` what each path held when the task first touched it."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp())
        self.project, self.copy = self.place / "project", self.place / "copy"
        lay_out(self.project)
        shutil.copytree(self.project, self.copy, symlinks=True)
        self.overlay = AgentFSOverlay(TaskFile.create(self.place / "task.db", base=self.project), self.project)
        self.seen: dict[str, Content | None] = {}

    def teardown(self) -> None:
        rows = self.overlay._file.rows("PRAGMA integrity_check")
        orphans = self.overlay._file.rows(
            "SELECT ino FROM fs_data WHERE ino NOT IN (SELECT ino FROM fs_dentry) UNION ALL"
            " SELECT ino FROM fs_inode WHERE ino != 1 AND ino NOT IN (SELECT ino FROM fs_dentry)"
        )
        self.overlay.close()
        shutil.rmtree(self.place)
        assert (rows, orphans) == ([("ok",)], [])

    # ── the task's operations ──

    @rule(path=paths)
    def read(self, path):
        mine = self.outcome(self.overlay.read, path)
        self.touch(self.real(path))
        assert mine == self.outcome(lambda: self.at(path).read_bytes())

    @rule(path=paths, data=contents, mode=st.sampled_from([None, 0o755]))
    def write(self, path, data, mode):
        def expected():
            place = self.at(path)
            if place.is_dir():
                raise IsADirectoryError
            kept = place.stat().st_mode & 0o7777 if place.exists() else 0o644
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            place.chmod(kept if mode is None else mode)

        self.both(lambda: self.overlay.write(path, data, mode=mode), expected, [self.real(path)])

    @rule(path=paths, leads_to=targets)
    def make_link(self, path, leads_to):
        def expected():
            place = self.at_itself(path)
            if os.path.lexists(place):
                raise FileExistsError
            self.require_inside(place, leads_to)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(leads_to)

        self.both(lambda: self.overlay.make_link(path, leads_to), expected, [self.itself(path)])

    @rule(path=paths)
    def make_folder(self, path):
        def expected():
            self.at(path).mkdir(parents=True, exist_ok=True)

        self.both(lambda: self.overlay.make_folder(path), expected, [])

    @rule(path=paths, mode=st.sampled_from([0o600, 0o644, 0o755]))
    def set_mode(self, path, mode):
        def expected():
            place = self.at(path)
            if place.is_dir():
                raise IsADirectoryError
            place.chmod(mode)

        self.both(lambda: self.overlay.set_mode(path, mode), expected, [self.real(path)])

    @rule(path=paths)
    def delete(self, path):
        def expected():
            place = self.at_itself(path)
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            else:
                place.unlink()

        self.both(lambda: self.overlay.delete(path), expected, self.tree(path))

    @rule(source=paths, goal=paths)
    def move(self, source, goal):
        def expected():
            old, new = self.at_itself(source), self.at_itself(goal)
            old.lstat()
            if os.path.lexists(new):
                raise FileExistsError
            if new.is_relative_to(old):
                raise ValueError
            for one in moved:
                if (self.copy / one).is_symlink():
                    self.require_inside(
                        new / os.path.relpath(self.copy / one, old), target_of(self.copy / one).decode()
                    )
            new.parent.mkdir(parents=True, exist_ok=True)
            old.rename(new)

        moved = self.tree(source)
        old, new = self.itself(source), self.itself(goal)
        self.both(
            lambda: self.overlay.move(source, goal), expected, [*moved, *(new + one[len(old) :] for one in moved)]
        )

    @rule(path=st.sampled_from(["a", "d", "d/e"]))
    def fail_in_a_transaction(self, path):
        """What was done is taken back; the base seen in it is seen anew."""

        def fail():
            with self.overlay.transaction():
                self.outcome(self.overlay.delete, path)
                self.outcome(self.overlay.write, path, b"never")
                raise KeyError

        with pytest.raises(KeyError):
            fail()

    @rule()
    def reopen(self):
        self.overlay.close()
        self.overlay = AgentFSOverlay(TaskFile.open(self.place / "task.db"), self.project)

    # ── the user's edits ──

    @rule(path=st.sampled_from(["a", "d/a", "d/b", "d/e/a"]), data=st.sampled_from([b"edit", b"1", b"base a"]))
    def user_edits(self, path, data):
        """Seen by the task only where it touched nothing before."""
        (self.project / path).write_bytes(data)
        if path not in self.seen:
            (self.copy / path).write_bytes(data)

    # ── what must hold ──

    @invariant()
    def the_view_is_the_copy(self):
        mine = AgentFSOverlay(TaskFile.open(self.place / "task.db", read_only=True), self.project)
        try:
            view = {path: self.content(mine, path) for path in mine.walk(include_ignored=True)}
            folders = self.list_all(mine, ".")
        finally:
            mine.close()
        assert view == files_of(self.copy)
        assert folders == folders_of(self.copy)

    @invariant()
    def changes_lead_from_what_was_seen_to_the_copy(self):
        project, copy = files_of(self.project), files_of(self.copy)
        before = {
            path: self.seen.get(path, project.get(path)) for path in project.keys() | copy.keys() | self.seen.keys()
        }
        expected = {path: (old, copy.get(path)) for path, old in before.items() if old != copy.get(path)}
        found = {}
        for change in self.overlay.changes():
            if change.renamed_from is not None:
                found[change.renamed_from] = (change.before, None)
            found[change.path] = (None if change.renamed_from is not None else change.before, change.after)
        assert {
            path: tuple(map(no_folder, sides)) for path, sides in found.items() if any(map(no_folder, sides))
        } == expected

    @invariant()
    def shadowed_is_what_differs_from_the_disk(self):
        project, copy = plain(files_of(self.project)), plain(files_of(self.copy))
        names = project.keys() | copy.keys()
        expected = {path: copy.get(path) for path in names if copy.get(path) != project.get(path)}
        assert self.overlay.shadowed() == expected

    @invariant()
    def stale_is_what_the_user_edited_later(self):
        project = files_of(self.project)
        expected = sorted(path for path, seen in self.seen.items() if seen != project.get(path))
        assert list(self.overlay.stale()) == expected

    # ── parts ──

    def both(self, mine, expected, touched):
        seen = {path: self.now(path) for path in touched if path is not None}
        got, wanted = self.outcome(mine), self.outcome(expected)
        if isinstance(wanted, type) and isinstance(got, type):
            return
        assert got == wanted
        for path, content in seen.items():
            self.seen.setdefault(path, content)

    def outcome(self, call, *arguments):
        """The value, or the kind of the error."""
        try:
            return call(*arguments)
        except FileExistsError:
            return FileExistsError
        except PermissionError:
            return PermissionError
        except ValueError:
            return ValueError
        except (NotADirectoryError, FileNotFoundError, IsADirectoryError) as error:
            return type(error)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            return OSError

    def touch(self, path):
        if path is not None and path not in folders_of(self.copy):
            self.seen.setdefault(path, self.now(path))

    def now(self, path):
        return files_of(self.project).get(path)

    def real(self, path):
        """The path with its links followed, relative; None where that is impossible or a file is in the way."""
        try:
            place = self.at(path)
        except OSError:
            return None
        above = place.parent
        while above != self.copy:
            if above.is_file():
                return None
            above = above.parent
        return place.relative_to(self.copy).as_posix()

    def itself(self, path):
        above, _, name = path.rpartition("/")
        folder = self.real(above) if above else "."
        return path if folder is None else os.path.normpath(f"{folder}/{name}")

    def at(self, path):
        try:
            (self.copy / path).stat()
        except OSError as error:
            if error.errno == errno.ELOOP:  # realpath would go on with the names alone
                raise
        place = Path(os.path.realpath(self.copy / path))
        if not place.is_relative_to(self.copy):
            raise PermissionError
        if place.is_symlink():  # it goes round through a folder that is not there
            raise OSError(errno.ELOOP, "it leads to itself")
        return place

    def at_itself(self, path):
        above, _, name = path.rpartition("/")
        return self.at(above or ".") / name

    def require_inside(self, link, target):
        if not Path(os.path.realpath(link.parent / target)).is_relative_to(self.copy):
            raise PermissionError

    def tree(self, path):
        top = self.itself(path)
        return [one for one in files_of(self.copy) if one == top or one.startswith(f"{top}/")] or [top]

    def content(self, overlay, path):
        entry = overlay.entry(path)
        if entry.kind is EntryKind.SYMLINK:
            return Content(entry.kind, entry.mode, overlay.link_target(path).encode())
        return Content(entry.kind, entry.mode, overlay.read(path))

    def list_all(self, overlay, folder):
        entries = overlay.list_folder(folder, include_ignored=True)
        below = {entry.path for entry in entries if entry.kind is EntryKind.DIRECTORY}
        return below.union(*(self.list_all(overlay, one) for one in below))


def plain(files):
    return {path: content.data for path, content in files.items() if content.kind is EntryKind.FILE}


def no_folder(content):
    return None if content is None or content.kind is EntryKind.DIRECTORY else content


COMMON = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


def test_an_overlay_behaves_as_a_copy_of_the_project():
    run_state_machine_as_test(OverlayMachine, settings=settings(SMALL, **COMMON, derandomize=True))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_an_overlay_behaves_as_a_copy_of_the_project_over_many_histories():
    run_state_machine_as_test(OverlayMachine, settings=settings(LARGE, **COMMON))

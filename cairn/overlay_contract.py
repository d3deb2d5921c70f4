"""What every overlay must do, as tests that any implementation can inherit."""

# ruff: noqa: S101, D102, PLR2004 - these are tests: they assert, their names are sentences, expected values stand plain

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from cairn.changes import Change, ChangeSet, Content, EntryKind
from cairn.overlay import Overlay


def refusal(kind: type[BaseException], call: Callable[..., object], *arguments: object, **options: object) -> str:
    """The message of the error a call must end with."""
    try:
        call(*arguments, **options)
    except kind as error:
        if type(error) is kind:
            return str(error)
        raise
    raise AssertionError(f"no {kind.__name__}")


def lay_out(root: Path, files: Mapping[str, bytes]) -> Path:
    """Makes a project's folder with files in it."""
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    root.mkdir(parents=True, exist_ok=True)
    return root


class OverlayContract:
    """What every overlay must do. A test class of yours inherits from it and says how to open one.

    class TestMyOverlay(OverlayContract):
        def open(self, root): return MyOverlay(root)
    """

    def open(self, root: Path) -> Overlay:
        """An overlay over a project's folder, refusing files over 1,000,000 bytes."""
        raise NotImplementedError

    def start(self, tmp_path: Path, **files: bytes) -> tuple[Path, Overlay]:
        """A project with `src_app` as src/app, and an overlay over it."""
        root = lay_out(tmp_path / "project", {name.replace("__", "/"): data for name, data in files.items()})
        return root, self.open(root)

    # ── reading ──

    def test_a_path_leads_where_its_links_lead_also_to_what_is_not_there_yet(self, tmp_path: Path) -> None:
        root, overlay = self.start(tmp_path, src__a=b"")
        (root / "door").symlink_to("src")
        (root / "src/back").symlink_to("../src/a")
        (root / "out").symlink_to(tmp_path)
        assert [overlay.leads_to(path) for path in ("src/a", "door/new/b", "door/back", "door")] == [
            *("src/a", "src/new/b", "src/a", "src")
        ]
        assert [overlay.leads_to(path, follow=False) for path in ("door", "door/back")] == ["door", "src/back"]
        assert refusal(PermissionError, overlay.leads_to, "out/x")

    def test_reads_what_the_project_has_byte_for_byte(self, tmp_path: Path) -> None:
        contents = {
            "bin": bytes(range(256)) * 300,
            "empty": b"",
            "crlf": b"a\r\nb\r\n",
            "latin": b"caf\xe9",
            "nul": b"\0",
        }
        _, overlay = self.start(tmp_path, **contents)
        assert {name: overlay.read(name) for name in contents} == contents

    def test_an_edit_on_disk_before_the_first_read_is_seen(self, tmp_path: Path) -> None:
        root, overlay = self.start(tmp_path, a=b"old")
        (root / "a").write_bytes(b"new")
        assert overlay.read("a") == b"new"

    def test_a_second_read_repeats_the_first_whatever_happens_on_disk(self, tmp_path: Path) -> None:
        root, overlay = self.start(tmp_path, src__a=b"first", src__b=b"gone later")
        overlay.read("src/a"), overlay.read("src/b")
        (root / "src/a").write_bytes(b"edited by the user")
        (root / "src/b").unlink()
        assert (overlay.read("src/a"), overlay.read("src/b")) == (b"first", b"gone later")
        assert overlay.stale() == ("src/a", "src/b")
        assert overlay.shadowed() == {"src/a": b"first", "src/b": b"gone later"}
        assert list(overlay.walk()) == ["src/a", "src/b"]

    def test_a_folder_that_goes_away_on_disk_stays_for_what_was_read_in_it(self, tmp_path: Path) -> None:
        root, overlay = self.start(tmp_path, src__a=b"read", src__b=b"not read")
        overlay.read("src/a")
        shutil.rmtree(root / "src")
        (root / "src").write_bytes(b"a file now")
        assert [entry.path for entry in overlay.list_folder(".")] == ["src"]
        assert [entry.path for entry in overlay.list_folder("src")] == ["src/a"]
        assert overlay.read("src/a") == b"read"
        overlay.write("src/c", b"new")
        assert list(overlay.walk()) == ["src/a", "src/c"]

    def test_a_file_once_missing_stays_missing(self, tmp_path: Path) -> None:
        root, overlay = self.start(tmp_path, src__app_py=b"")
        refusal(FileNotFoundError, overlay.read, "src/late")
        (root / "src/late").write_bytes(b"made by the user")
        refusal(FileNotFoundError, overlay.read, "src/late")
        assert overlay.entry("src/late") is None
        assert list(overlay.walk()) == ["src/app_py"]
        assert overlay.stale() == ("src/late",)
        assert not overlay.changes()

    def test_a_missing_file_is_refused_with_what_to_do(self, tmp_path: Path) -> None:
        _, overlay = self.start(tmp_path, src__app=b"")
        assert "no file 'src/ap'" in refusal(FileNotFoundError, overlay.read, "src/ap")
        assert "list_dir(" in refusal(FileNotFoundError, overlay.delete, "nowhere")

    def test_a_folder_is_not_read_and_a_file_is_not_listed(self, tmp_path: Path) -> None:
        _, overlay = self.start(tmp_path, src__app=b"")
        assert "folder" in refusal(IsADirectoryError, overlay.read, "src")
        assert "is a file" in refusal(NotADirectoryError, overlay.list_folder, "src/app")
        assert "'src/app' is a file" in refusal(NotADirectoryError, overlay.read, "src/app/x")
        assert "'src/app' is a file" in refusal(NotADirectoryError, overlay.write, "src/app/x", b"")

    def test_entry_tells_kind_mode_and_size(self, tmp_path: Path) -> None:
        root, overlay = self.start(tmp_path, src__run=b"#!/bin/sh\n")
        (root / "src/run").chmod(0o750)
        found = overlay.entry("src/run")
        assert found is not None
        assert (found.path, found.kind, found.mode, found.size) == ("src/run", EntryKind.FILE, 0o750, 10)
        folder = overlay.entry("src")
        assert folder is not None
        assert folder.kind is EntryKind.DIRECTORY
        assert overlay.entry("no") is None

    # ── writing ──

    def test_what_is_written_is_read_and_the_project_stays_as_it_was(self, tmp_path: Path) -> None:
        root, overlay = self.start(tmp_path, a=b"old")
        overlay.write("a", b"\0new\xff\r\n")
        overlay.write("deep/er/b", b"")
        assert (overlay.read("a"), overlay.read("deep/er/b")) == (b"\0new\xff\r\n", b"")
        assert {path.name: path.read_bytes() for path in root.iterdir()} == {"a": b"old"}
        assert overlay.shadowed() == {"a": b"\0new\xff\r\n", "deep/er/b": b""}
        assert overlay.changes() == ChangeSet(
            (
                Change("a", _file(b"old"), _file(b"\0new\xff\r\n")),
                Change("deep/er/b", None, _file(b"")),
            )
        )

    def test_writing_the_same_content_back_is_no_change(self, tmp_path: Path) -> None:
        _, overlay = self.start(tmp_path, a=b"old")
        overlay.write("a", b"new")
        overlay.write("a", b"old")
        assert not overlay.changes()
        assert overlay.shadowed() == {}

    def test_a_file_made_and_deleted_again_is_no_change(self, tmp_path: Path) -> None:
        _, overlay = self.start(tmp_path, a=b"")
        overlay.write("new", b"x")
        overlay.delete("new")
        assert not overlay.changes()
        assert overlay.entry("new") is None

    def test_the_mode_of_a_file_is_kept_unless_said(self, tmp_path: Path) -> None:
        root, overlay = self.start(tmp_path, run=b"old", plain=b"same")
        (root / "run").chmod(0o755)
        overlay.write("run", b"new")
        overlay.set_mode("plain", 0o755)
        overlay.write("tool", b"x", mode=0o700)
        assert overlay.changes() == ChangeSet(
            (
                Change("plain", _file(b"same"), _file(b"same", 0o755)),
                Change("run", _file(b"old", 0o755), _file(b"new", 0o755)),
                Change("tool", None, _file(b"x", 0o700)),
            )
        )
        assert [change.kind.value for change in overlay.changes()] == ["mode changed", "modified", "added"]

    def test_the_users_edit_after_the_first_write_is_stale_and_not_the_base(self, tmp_path: Path) -> None:
        root, overlay = self.start(tmp_path, a=b"base")
        overlay.write("a", b"mine")
        (root / "a").write_bytes(b"theirs")
        overlay.write("a", b"mine again")
        assert overlay.changes() == ChangeSet((Change("a", _file(b"base"), _file(b"mine again")),))
        assert overlay.stale() == ("a",)

    def test_files_over_the_limit_are_refused_both_ways_with_the_figures(self, tmp_path: Path) -> None:
        _, overlay = self.start(tmp_path, big=b"x" * 1_000_001, fits=b"x" * 1_000_000)
        assert len(overlay.read("fits")) == 1_000_000
        for call, rest in ((overlay.read, ()), (overlay.write, (b"y" * 1_000_001,)), (overlay.delete, ())):
            message = refusal(ValueError, call, "big", *rest)
            assert "1,000,001" in message
            assert "1,000,000" in message
        refusal(ValueError, overlay.move, "big", "other")
        assert not overlay.changes()

    def test_strange_names_are_kept_exactly(self, tmp_path: Path) -> None:
        names = [
            "with space",
            "quote'\"`$",
            "line\nbreak",
            "\u540d\u524d/\u00e9t\u00e9",
            "e\u0301",
            "x" * 255,
            "%_",
            "-rf",
        ]
        root, overlay = self.start(tmp_path)
        lay_out(root, {name: name.encode() for name in names})
        assert sorted(overlay.walk()) == sorted(names)
        for name in names:
            overlay.write(name, overlay.read(name) + b"!")
            overlay.write(f"new/{name}", b"")
        assert set(overlay.changes().paths) == {*names, *(f"new/{name}" for name in names)}
        for name in names:
            overlay.delete(name)
        assert list(overlay.walk("new")) == sorted(f"new/{name}" for name in names)

    def test_names_on_disk_that_are_not_text_are_skipped(self, tmp_path: Path) -> None:
        root, overlay = self.start(tmp_path, d__ok=b"")
        Path(os.fsdecode(os.fsencode(root) + b"/d/bad\xff")).write_bytes(b"")
        assert list(overlay.walk()) == ["d/ok"]
        assert [entry.path for entry in overlay.list_folder("d")] == ["d/ok"]
        overlay.delete("d")
        assert overlay.changes().paths == ("d/ok",)

    # ── deleting and replacing ──

    def test_a_deleted_folder_is_gone_with_all_below_it(self, tmp_path: Path) -> None:
        root, overlay = self.start(tmp_path, d__a=b"1", d__e__b=b"2", keep=b"3")
        overlay.write("d/new", b"4")
        overlay.delete("d")
        assert (overlay.entry("d"), overlay.entry("d/e/b")) == (None, None)
        assert list(overlay.walk()) == ["keep"]
        assert overlay.changes() == ChangeSet((Change("d/a", _file(b"1"), None), Change("d/e/b", _file(b"2"), None)))
        assert overlay.shadowed() == {"d/a": None, "d/e/b": None}
        (root / "d/late").write_bytes(b"made by the user after")
        assert list(overlay.walk()) == ["keep"]
        assert overlay.shadowed() == {"d/a": None, "d/e/b": None, "d/late": None}

    def test_a_folder_made_again_does_not_bring_its_old_files_back(self, tmp_path: Path) -> None:
        _, overlay = self.start(tmp_path, d__a=b"1", d__e__b=b"2")
        overlay.delete("d")
        overlay.write("d/fresh", b"3")
        assert list(overlay.walk()) == ["d/fresh"]
        assert [entry.path for entry in overlay.list_folder("d")] == ["d/fresh"]
        refusal(FileNotFoundError, overlay.read, "d/e/b")
        overlay.make_folder("d/e")
        assert overlay.list_folder("d/e") == []

    def test_a_file_becomes_a_folder_and_a_file_again(self, tmp_path: Path) -> None:
        _, overlay = self.start(tmp_path, f=b"1")
        overlay.delete("f")
        overlay.write("f/x", b"2")
        assert overlay.changes() == ChangeSet((Change("f", _file(b"1"), None), Change("f/x", None, _file(b"2"))))
        overlay.delete("f")
        overlay.write("f", b"1")
        assert not overlay.changes()
        assert list(overlay.walk()) == ["f"]

    def test_a_folder_becomes_a_file_and_a_folder_again(self, tmp_path: Path) -> None:
        root, overlay = self.start(tmp_path, d__a=b"1")
        overlay.delete("d")
        overlay.write("d", b"2")
        assert overlay.changes() == ChangeSet((Change("d", None, _file(b"2")), Change("d/a", _file(b"1"), None)))
        (root / "d/late").write_bytes(b"")
        assert overlay.shadowed() == {"d": b"2", "d/a": None, "d/late": None}
        overlay.delete("d")
        overlay.write("d/a", b"1")
        assert not overlay.changes()

    def test_empty_folders_are_changes_of_their_own(self, tmp_path: Path) -> None:
        root, overlay = self.start(tmp_path, f=b"1", d__a=b"2")
        (root / "hollow").mkdir()
        overlay.delete("hollow")
        overlay.make_folder("made/inner")
        overlay.delete("d/a")
        overlay.make_folder("d")
        folder = Content(EntryKind.DIRECTORY, 0o755)
        changes = {change.path: (change.before, change.after) for change in overlay.changes()}
        assert changes == {"d/a": (_file(b"2"), None), "hollow": (folder, None), "made/inner": (None, folder)}
        refusal(FileExistsError, overlay.make_folder, "f")

    def test_ignored_files_stay_when_their_folder_is_deleted_or_moved(self, tmp_path: Path) -> None:
        _, overlay = self.start(tmp_path, d__a=b"1", d__e__b=b"2", d__cache__x=b"3", d__husk__log=b"4", d__e__log=b"5")
        (overlay.root / ".gitignore").write_text("cache/\nlog\n")
        (overlay.root / "d/hollow").mkdir()
        overlay.write("d/cache/mine", b"6")
        overlay.move("d", "moved")
        moved = ["moved/a", "moved/cache/mine", "moved/e/b"]
        assert list(overlay.walk(include_ignored=True)) == [".gitignore", *moved]
        assert [entry.path for entry in overlay.list_folder("moved")] == [
            "moved/a",
            "moved/cache",
            "moved/e",
            "moved/hollow",
        ]
        assert overlay.left_behind() == ("d/cache/", "d/e/log", "d/husk/")
        assert overlay.changes().paths == (
            "d/a",
            "d/e/b",
            "d/hollow",
            "moved/a",
            "moved/cache/mine",
            "moved/e/b",
            "moved/hollow",
        )
        overlay.write("d/e/again", b"")
        assert list(overlay.walk("d", include_ignored=True)) == ["d/cache/x", "d/e/again", "d/e/log", "d/husk/log"]
        assert overlay.left_behind() == ()
        overlay.delete("d")
        assert overlay.left_behind() == ("d/cache/", "d/e/log", "d/husk/")

    def test_a_folder_emptied_before_goes_with_the_one_above_it(self, tmp_path: Path) -> None:
        _, overlay = self.start(tmp_path, d__a=b"1", d__e__b=b"2")
        overlay.delete("d/e/b")
        overlay.delete("d")
        overlay.make_link("d/link", "a")
        assert [entry.path for entry in overlay.list_folder("d", include_ignored=True)] == ["d/link"]
        assert (overlay.stale(), overlay.left_behind()) == ((), ())

    def test_an_ignored_folder_that_is_named_goes_whole(self, tmp_path: Path) -> None:
        _, overlay = self.start(tmp_path, build__x=b"1", build__y__z=b"2", a=b"3")
        (overlay.root / ".gitignore").write_text("build\n")
        overlay.delete("build/y")
        overlay.move("build", "a2")
        assert overlay.changes().paths == ("a2/x", "build/x", "build/y/z")
        assert overlay.left_behind() == ()

    def test_what_is_no_text_or_file_stays_when_its_folder_goes(self, tmp_path: Path) -> None:
        root, overlay = self.start(tmp_path, d__ok=b"1", d__e__ok=b"2")
        os.mkfifo(root / "d/e/pipe")
        Path(os.fsdecode(os.fsencode(root) + b"/d/bad\xff")).write_bytes(b"")
        lay_out(root, {"d/e/.cairn/x": b""})
        overlay.delete("d")
        assert overlay.left_behind() == ("d/bad\udcff", "d/e/.cairn/", "d/e/pipe")

    def test_a_repository_inside_can_be_neither_moved_nor_deleted(self, tmp_path: Path) -> None:
        root, overlay = self.start(tmp_path, libs__one__a=b"1", libs__b=b"2")
        lay_out(root, {"libs/one/.git/HEAD": b"ref: refs/heads/main"})
        inside = (
            "'libs' holds 'libs/one', a git repository of its own, which can be neither moved nor deleted; "
            "name single files in it, or leave 'libs' as it is"
        )
        assert refusal(PermissionError, overlay.delete, "libs") == inside
        assert refusal(PermissionError, overlay.move, "libs", "other") == inside
        assert refusal(PermissionError, overlay.delete, "libs/one").startswith("'libs/one' is a git repository")
        assert not overlay.changes()
        overlay.delete("libs/one/a")
        overlay.move("libs/b", "libs/one/b")
        assert overlay.changes().paths == ("libs/b", "libs/one/a", "libs/one/b")

    def test_the_root_cannot_be_changed(self, tmp_path: Path) -> None:
        _, overlay = self.start(tmp_path, a=b"")
        refusal(PermissionError, overlay.delete, ".")
        refusal(PermissionError, overlay.write, ".", b"")
        refusal(PermissionError, overlay.move, ".", "b")

    # ── moving ──

    def test_a_moved_file_is_a_rename_with_its_edits(self, tmp_path: Path) -> None:
        root, overlay = self.start(tmp_path, a=b"1\n2\n")
        (root / "a").chmod(0o755)
        overlay.move("a", "lib/b")
        overlay.write("lib/b", b"1\n2\n3\n")
        assert overlay.changes() == ChangeSet(
            (Change("lib/b", _file(b"1\n2\n", 0o755), _file(b"1\n2\n3\n", 0o755), renamed_from="a"),)
        )
        assert overlay.shadowed() == {"a": None, "lib/b": b"1\n2\n3\n"}

    def test_moves_after_one_another_are_one_rename_and_back_again_is_none(self, tmp_path: Path) -> None:
        _, overlay = self.start(tmp_path, a=b"1")
        overlay.move("a", "b")
        overlay.move("b", "c")
        assert [(change.renamed_from, change.path) for change in overlay.changes()] == [("a", "c")]
        overlay.move("c", "a")
        assert not overlay.changes()

    def test_a_moved_folder_takes_all_below_it_along(self, tmp_path: Path) -> None:
        _, overlay = self.start(tmp_path, d__a=b"1", d__e__b=b"2", other=b"")
        overlay.write("d/e/new", b"3")
        overlay.write("d/a", b"edited")
        overlay.move("d", "x/y")
        assert list(overlay.walk()) == ["other", "x/y/a", "x/y/e/b", "x/y/e/new"]
        assert (overlay.read("x/y/a"), overlay.read("x/y/e/b")) == (b"edited", b"2")
        assert overlay.entry("d") is None
        assert [(c.renamed_from, c.path, c.kind.value) for c in overlay.changes()] == [
            ("d/a", "x/y/a", "renamed"),
            ("d/e/b", "x/y/e/b", "renamed"),
            (None, "x/y/e/new", "added"),
        ]

    def test_a_move_over_something_or_into_itself_is_refused(self, tmp_path: Path) -> None:
        _, overlay = self.start(tmp_path, a=b"1", b=b"2", d__x=b"3")
        assert "'b' exists" in refusal(FileExistsError, overlay.move, "a", "b")
        assert "into itself" in refusal(ValueError, overlay.move, "d", "d/e")
        refusal(NotADirectoryError, overlay.move, "a", "b/c")
        refusal(FileNotFoundError, overlay.move, "no", "c")
        assert not overlay.changes()

    def test_a_file_moved_to_where_one_was_deleted_is_no_rename(self, tmp_path: Path) -> None:
        """The old file at the new path is what the merge must compare with."""
        _, overlay = self.start(tmp_path, a=b"1", b=b"2")
        overlay.delete("b")
        overlay.move("a", "b")
        assert overlay.changes() == ChangeSet(
            (Change("a", _file(b"1"), None), Change("b", _file(b"2"), _file(b"1"))),
        )

    def test_a_file_written_anew_with_the_bytes_of_a_deleted_one_is_a_rename(self, tmp_path: Path) -> None:
        _, overlay = self.start(tmp_path, d__a=b"same", empty=b"")
        overlay.write("e/a", overlay.read("d/a"))
        overlay.delete("d/a")
        overlay.delete("empty")
        overlay.write("void", b"")
        assert [(change.renamed_from, change.path) for change in overlay.changes()] == [
            ("d/a", "e/a"),
            (None, "empty"),
            (None, "void"),
        ]

    # ── listing ──

    def test_ignored_files_are_listed_only_when_asked_for(self, tmp_path: Path) -> None:
        root, overlay = self.start(tmp_path, a__py=b"", a__log=b"", build__x=b"", _hidden=b"")
        (root / ".gitignore").write_text("log\nbuild/\n")
        assert list(overlay.walk()) == [".gitignore", "_hidden", "a/py"]
        assert list(overlay.walk(include_ignored=True)) == [".gitignore", "_hidden", "a/log", "a/py", "build/x"]
        assert [entry.path for entry in overlay.list_folder(".")] == [".gitignore", "_hidden", "a"]
        assert [entry.path for entry in overlay.list_folder("build")] == ["build/x"]
        overlay.read("a/log")
        assert [entry.path for entry in overlay.list_folder("a")] == ["a/py"]
        overlay.write("a/log", b"mine")
        overlay.write("build/out", b"mine too")
        assert [entry.path for entry in overlay.list_folder("a")] == ["a/log", "a/py"]
        assert list(overlay.walk()) == [".gitignore", "_hidden", "a/log", "a/py", "build/out"]

    def test_git_and_cairns_own_folders_are_never_shown(self, tmp_path: Path) -> None:
        root, overlay = self.start(tmp_path, a=b"", sub__b=b"")
        lay_out(root, {".git/config": b"", ".cairn/cairn.db": b"", "sub/.git/HEAD": b"", "sub/.cairn/x": b""})
        assert list(overlay.walk(include_ignored=True)) == ["a", "sub/b"]
        assert [entry.path for entry in overlay.list_folder(".", include_ignored=True)] == ["a", "sub"]

    def test_a_folder_lists_what_the_view_has_in_it(self, tmp_path: Path) -> None:
        root, overlay = self.start(tmp_path, d__kept=b"1", d__gone=b"2", d__sub__x=b"3")
        overlay.delete("d/gone")
        overlay.write("d/new", b"four")
        overlay.make_link("d/link", "kept")
        (root / "d/late").write_bytes(b"made by the user")
        found = [(entry.path, entry.kind.value, entry.size) for entry in overlay.list_folder("d")]
        assert [one[:2] for one in found] == [
            ("d/kept", "file"),
            ("d/late", "file"),
            ("d/link", "symlink"),
            ("d/new", "file"),
            ("d/sub", "directory"),
        ]
        assert [size for _, kind, size in found if kind == "file"] == [1, 16, 4]

    # ── symlinks ──

    def test_links_inside_the_project_are_followed(self, tmp_path: Path) -> None:
        root, overlay = self.start(tmp_path, src__a=b"1", src__deep__b=b"2")
        (root / "lib").symlink_to("src")
        (root / "src/deep/up").symlink_to("../a")
        (root / "abs").symlink_to(root / "src")
        assert (overlay.read("lib/a"), overlay.read("src/deep/up"), overlay.read("abs/deep/b")) == (b"1", b"1", b"2")
        assert [entry.path for entry in overlay.list_folder("lib")] == ["lib/a", "lib/deep"]
        assert list(overlay.walk("lib/deep")) == ["lib/deep/b", "lib/deep/up"]
        assert list(overlay.walk()) == ["abs", "lib", "src/a", "src/deep/b", "src/deep/up"]
        assert overlay.link_target("lib") == "src"
        overlay.write("lib/deep/up", b"through two links")
        overlay.write("lib/new", b"3")
        assert overlay.changes().paths == ("src/a", "src/new")
        assert overlay.read("src/a") == b"through two links"

    def test_links_that_lead_outside_are_refused_every_way(self, tmp_path: Path) -> None:
        lay_out(tmp_path / "outside", {"secret": b"no"})
        root, overlay = self.start(tmp_path, a=b"", d__x=b"")
        (root / "file").symlink_to("../outside/secret")
        (root / "folder").symlink_to(tmp_path / "outside")
        (root / "d/indirect").symlink_to("../folder/secret")
        (root / "round").symlink_to("d/../../outside")
        for path in ("file", "folder/secret", "d/indirect", "round/secret"):
            assert "leads out of the project" in refusal(PermissionError, overlay.read, path)
            refusal(PermissionError, overlay.write, path, b"x")
        for call in (overlay.list_folder, overlay.walk):
            refusal(PermissionError, call, "folder")
        refusal(PermissionError, overlay.move, "a", "folder/a")
        refusal(PermissionError, overlay.delete, "folder/secret")
        refusal(PermissionError, overlay.make_link, "mine", "../outside/secret")
        refusal(PermissionError, overlay.make_link, "mine", "/etc/passwd")
        assert list(overlay.walk()) == ["a", "d/indirect", "d/x", "file", "folder", "round"]
        assert (tmp_path / "outside/secret").read_bytes() == b"no"

    def test_links_into_git_are_refused(self, tmp_path: Path) -> None:
        root, overlay = self.start(tmp_path, a=b"")
        lay_out(root, {".git/config": b"secret"})
        (root / "link").symlink_to(".git")
        refusal(PermissionError, overlay.read, "link/config")
        refusal(PermissionError, overlay.make_link, "mine", ".git/hooks")

    def test_links_in_a_circle_end(self, tmp_path: Path) -> None:
        root, overlay = self.start(tmp_path, a=b"")
        (root / "x").symlink_to("y")
        (root / "y").symlink_to("x")
        (root / "self").symlink_to("self/../self/a")
        for path in ("x", "y/z", "self"):
            assert "symlinks" in refusal(OSError, overlay.read, path)
        assert overlay.entry("x") is not None

    def test_links_are_made_moved_and_deleted_as_links(self, tmp_path: Path) -> None:
        root, overlay = self.start(tmp_path, a=b"1", d__x=b"2")
        (root / "old").symlink_to("a")
        overlay.make_link("d/new", "../a")
        assert overlay.read("d/new") == b"1"
        overlay.move("old", "older")
        overlay.make_link("dangling", "nowhere")
        overlay.write("dangling", b"made through it")
        assert (overlay.read("older"), overlay.read("nowhere")) == (b"1", b"made through it")
        link = Content(EntryKind.SYMLINK, 0o777, b"a")
        changes = {change.path: (change.before, change.after, change.renamed_from) for change in overlay.changes()}
        assert changes == {
            "d/new": (None, replace(link, data=b"../a"), None),
            "dangling": (None, replace(link, data=b"nowhere"), None),
            "nowhere": (None, _file(b"made through it"), None),
            "older": (link, link, "old"),
        }
        overlay.delete("older")
        assert overlay.read("a") == b"1"

    def test_a_link_cannot_be_moved_to_where_it_would_lead_outside(self, tmp_path: Path) -> None:
        _, overlay = self.start(tmp_path, a=b"1", d__e__x=b"2")
        overlay.make_link("d/e/link", "../../a")
        refusal(PermissionError, overlay.move, "d/e/link", "link")
        refusal(PermissionError, overlay.move, "d/e", "e")
        assert overlay.read("d/e/link") == b"1"

    def test_a_file_replaced_by_a_link_is_a_change_of_type(self, tmp_path: Path) -> None:
        _, overlay = self.start(tmp_path, a=b"1", b=b"1")
        overlay.delete("a")
        overlay.make_link("a", "b")
        assert [(change.path, change.kind.value) for change in overlay.changes()] == [("a", "type changed")]
        assert overlay.shadowed() == {"a": None}

    # ── figures ──

    def test_files_touched_count_once_and_bytes_written_each_time(self, tmp_path: Path) -> None:
        _, overlay = self.start(tmp_path, a=b"1", d__b=b"22", d__c=b"333")
        assert (overlay.files_touched(), overlay.bytes_written()) == (0, 0)
        overlay.write("new", b"4444")
        overlay.write("new", b"55555")
        assert (overlay.files_touched(), overlay.bytes_written()) == (1, 9)
        overlay.move("d", "e")
        assert (overlay.files_touched(), overlay.bytes_written()) == (3, 14)
        overlay.delete("a")
        overlay.delete("new")
        overlay.read("e/b")
        assert (overlay.files_touched(), overlay.bytes_written()) == (3, 14)

    def test_what_is_taken_back_was_neither_touched_nor_written(self, tmp_path: Path) -> None:
        _, overlay = self.start(tmp_path, a=b"1")

        def fail() -> None:
            with overlay.transaction():
                overlay.write("a", b"22")
                raise KeyboardInterrupt

        refusal(KeyboardInterrupt, fail)
        assert (overlay.files_touched(), overlay.bytes_written()) == (0, 0)

    # ── transactions ──

    def test_a_transaction_that_fails_leaves_nothing(self, tmp_path: Path) -> None:
        _, overlay = self.start(tmp_path, a=b"1", d__b=b"2")

        def fail() -> None:
            with overlay.transaction():
                overlay.write("a", b"new")
                overlay.move("d", "e")
                raise KeyboardInterrupt

        refusal(KeyboardInterrupt, fail)
        assert not overlay.changes()
        assert (overlay.read("a"), overlay.read("d/b")) == (b"1", b"2")

    def test_a_failed_operation_inside_a_transaction_takes_back_only_itself(self, tmp_path: Path) -> None:
        _, overlay = self.start(tmp_path, d__a=b"1", d__big=b"x" * 1_000_001)
        with overlay.transaction():
            overlay.write("kept", b"1")
            refusal(ValueError, overlay.move, "d", "e")
        assert [change.path for change in overlay.changes()] == ["kept"]
        assert (overlay.read("d/a"), overlay.entry("e")) == (b"1", None)


def _file(data: bytes, mode: int = 0o644) -> Content:
    return Content(EntryKind.FILE, mode, data)

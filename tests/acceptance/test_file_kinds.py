"""Every kind of file through every operation: a task's view, its patch, accept and undo, byte for byte and bit for bit.

Each scenario says what the project has, what a task does, and what must stand there then. The task's file is read by
AgentFS's own SDK afterwards, in a process of its own.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cairn.changes import Content, EntryKind
from cairn.git_diff import render
from cairn.overlay import AgentFSOverlay
from cairn.project import Project
from cairn.task_file import TaskFile
from tests.content_trees import Tree, folder, link, snapshot, text, write

BESIDE: Tree = {"beside": text("untouched\n"), "folder": folder(), "folder/also": text("untouched too\n")}


@dataclass(frozen=True)
class Scenario:
    """`after` is the whole tree, as `before` is."""

    before: Tree
    does: Callable[[AgentFSOverlay], None]
    after: Tree


# -- one file or link: its name, what it holds, what an edit makes of it ------------------------------------------------

BIG = bytes(range(256)) * 39_000
CONTENTS: dict[str, tuple[Content, Content]] = {
    "text": (text("one\ntwo\n"), text("one\n2\n")),
    "empty": (text(""), text("filled\n")),
    "emptied": (text("full\n"), text("")),
    "binary": (text(b"\0\1\2\xff\n"), text(b"\0\1\3\xff\n")),
    "CRLF": (text("one\r\ntwo\r\n"), text("one\r\n2\r\n")),
    "both line ends": (text("one\r\ntwo\nthree\r"), text("one\ntwo\r\nthree\r")),
    "no final newline": (text("one\ntwo"), text("one\n2")),
    "a final newline more": (text("one"), text("one\n")),
    "latin-1": (text("caf\xe9\n".encode("latin-1")), text("th\xe9\n".encode("latin-1"))),
    "UTF-16": (text("caf\xe9\r\n".encode("utf-16")), text("th\xe9\r\n".encode("utf-16"))),
    "byte order mark": (text("\ufeffone\n"), text("\ufefftwo\n")),
    "executable": (text("#!/bin/sh\n", 0o755), text("#!/bin/sh\n:\n", 0o755)),
    "becomes executable": (text("#!/bin/sh\n"), text("#!/bin/sh\n", 0o755)),
    "is executable no more": (text("#!/bin/sh\n", 0o755), text("#!/bin/sh\n:\n")),
    "private": (text("s\n", 0o600), text("t\n", 0o600)),
    "read-only": (text("r\n", 0o444), text("w\n", 0o444)),
    "odd mode": (text("o\n", 0o711), text("p\n", 0o711)),
    "ten megabytes": (text(BIG), text(BIG[:-1] + b"!")),
    "link inside": (link("beside"), link("folder/also")),
    "link to a folder": (link("folder"), link("folder/also")),
    "dangling link": (link("nowhere at\nall"), link("no/where")),
    "link to itself": (link("link to itself"), link("beside")),
}  # fmt: skip
NAMES: dict[str, str] = {
    "space": " a b ",
    "quotes": 'it\'s "quoted" `$HOME`',
    "newline": "line\nbreak",
    "tab and bell": "tab\tbell\a",
    "backslash": "back\\slash\\n",
    "leading dash": "-rf",
    "glob": "[a]*?{b}!",
    "colon": ":(top)x",
    "dots": "...",
    "hidden": ".hidden",
    "trailing dot": "dot.",
    "percent": "%41%",
    "NFC": "caf\u00e9",
    "NFD": "cafe\u0301",
    "other alphabets": "名前 имя 🐦",
    "255 bytes": "x" * 255,
    "255 bytes of three": "語" * 85,
    "deep": "/".join("d" * 20 for _ in range(40)),
}


def put(overlay: AgentFSOverlay, path: str, content: Content) -> None:
    if content.kind is EntryKind.SYMLINK:
        if overlay.entry(path) is not None:
            overlay.delete(path)
        overlay.make_link(path, content.data.decode())
        return
    overlay.write(path, content.data)
    entry = overlay.entry(path)
    if entry is None or entry.mode != content.mode:
        overlay.set_mode(path, content.mode)


def edited(path: str, old: Content, new: Content) -> Scenario:
    return Scenario({**BESIDE, path: old}, lambda task: put(task, path, new), {**BESIDE, path: new})


def made(path: str, old: Content, _new: Content) -> Scenario:
    return Scenario(BESIDE, lambda task: put(task, path, old), {**BESIDE, path: old})


def deleted(path: str, old: Content, _new: Content) -> Scenario:
    return Scenario({**BESIDE, path: old}, lambda task: task.delete(path), BESIDE)


def renamed(path: str, old: Content, _new: Content) -> Scenario:
    target = f"moved/{path}"
    return Scenario({**BESIDE, path: old}, lambda task: task.move(path, target), {**BESIDE, target: old})


def renamed_and_edited(path: str, old: Content, new: Content) -> Scenario:
    target = f"moved/{path}"

    def does(task: AgentFSOverlay) -> None:
        task.move(path, target)
        put(task, target, new)

    return Scenario({**BESIDE, path: old}, does, {**BESIDE, target: new})


def made_anew_as_it_was(path: str, old: Content, new: Content) -> Scenario:
    def does(task: AgentFSOverlay) -> None:
        put(task, path, new)
        task.delete(path)
        put(task, path, old)

    return Scenario({**BESIDE, path: old}, does, {**BESIDE, path: old})


OPERATIONS = (edited, made, deleted, renamed, renamed_and_edited, made_anew_as_it_was)


def together(scenarios: list[Scenario]) -> Scenario:
    """One task that does all of it."""

    def does(task: AgentFSOverlay) -> None:
        for scenario in scenarios:
            scenario.does(task)

    return Scenario(
        {path: content for scenario in scenarios for path, content in scenario.before.items()},
        does,
        {path: content for scenario in scenarios for path, content in scenario.after.items()},
    )


# -- trees ---------------------------------------------------------------------------------------------------------------

DEEP: Tree = {"d": folder(), "d/a": text("a\n"), "d/e": folder(0o750), "d/e/b": text("b\n", 0o755), "d/e/l": link("b")}
HOLLOW: Tree = {"h": folder(), "h/i": folder()}


def moved(tree: Tree, old: str, new: str) -> Tree:
    return {
        new + path[len(old) :] if path == old or path.startswith(f"{old}/") else path: c for path, c in tree.items()
    }


def swap(path: str, new: Content | None) -> Callable[[AgentFSOverlay], None]:
    """Another kind of entry where one stood; None for a folder with a file in it."""

    def does(task: AgentFSOverlay) -> None:
        task.delete(path)
        if new is None:
            task.write(f"{path}/inside", b"i\n")
        elif new.kind is EntryKind.DIRECTORY:
            task.make_folder(path)
        else:
            put(task, path, new)

    return does


TREES: dict[str, Scenario] = {
    "a folder deleted": Scenario({**BESIDE, **DEEP}, lambda task: task.delete("d"), BESIDE),
    "a folder moved": Scenario({**BESIDE, **DEEP}, lambda task: task.move("d", "x"), {**BESIDE, **moved(DEEP, "d", "x")}),
    "a folder moved below a new one": Scenario(
        {**BESIDE, **DEEP}, lambda task: task.move("d", "n/x"), {**BESIDE, "n": folder(), **moved(DEEP, "d", "n/x")}
    ),
    "a file becomes a folder": Scenario(
        {**BESIDE, "it": text("f\n")}, swap("it", None), {**BESIDE, "it": folder(), "it/inside": text("i\n")}
    ),
    "a file becomes an empty folder": Scenario(
        {**BESIDE, "it": text("f\n")}, swap("it", folder()), {**BESIDE, "it": folder()}
    ),
    "a folder becomes a file": Scenario({**BESIDE, **DEEP}, swap("d", text("f\n")), {**BESIDE, "d": text("f\n")}),
    "a folder becomes a link": Scenario({**BESIDE, **DEEP}, swap("d", link("folder")), {**BESIDE, "d": link("folder")}),
    "a link becomes a folder": Scenario(
        {**BESIDE, "it": link("folder")}, swap("it", None), {**BESIDE, "it": folder(), "it/inside": text("i\n")}
    ),
    "a file becomes a link": Scenario({**BESIDE, "it": text("f\n")}, swap("it", link("beside")), {**BESIDE, "it": link("beside")}),
    "a link becomes a file": Scenario({**BESIDE, "it": link("beside")}, swap("it", text("f\n")), {**BESIDE, "it": text("f\n")}),
    "an empty folder made": Scenario(BESIDE, lambda task: task.make_folder("h/i"), {**BESIDE, **HOLLOW}),
    "an empty folder deleted": Scenario({**BESIDE, **HOLLOW}, lambda task: task.delete("h"), BESIDE),
    "an empty folder moved": Scenario({**BESIDE, **HOLLOW}, lambda task: task.move("h", "j"), {**BESIDE, "j": folder(), "j/i": folder()}),
    "the last file of a folder deleted": Scenario({**BESIDE, "g": folder(), "g/f": text("f")}, lambda task: task.delete("g/f"), BESIDE),
}  # fmt: skip


def everything_of(overlay: AgentFSOverlay) -> Tree:
    """The task's whole view, folders too."""
    found: Tree = {}
    waiting = ["."]
    while waiting:
        for entry in overlay.list_folder(waiting.pop(), include_ignored=True):
            data = b""
            if entry.kind is EntryKind.DIRECTORY:
                waiting.append(entry.path)
            else:
                data = (
                    overlay.link_target(entry.path).encode()
                    if entry.kind is EntryKind.SYMLINK
                    else overlay.read(entry.path)
                )
            found[entry.path] = Content(entry.kind, entry.mode, data)
    return found


def in_git(tree: Tree) -> dict[str, tuple[str, bytes]]:
    """What git keeps of a tree."""
    files = {path: content for path, content in tree.items() if content.kind is not EntryKind.DIRECTORY}
    return {path: (content.kind + "x" * content.executable, content.data) for path, content in files.items()}


def whole(tree: Tree) -> Tree:
    """With the folders that its paths imply."""
    above = {str(place) for path in tree for place in Path(path).parents if str(place) != "."}
    return {**dict.fromkeys(above, folder()), **tree}


# -- AgentFS's own reader --------------------------------------------------------------------------------------------------

SDK = """
import asyncio, base64, json, sys
from agentfs_sdk import AgentFS, AgentFSOptions

async def files_of(path):
    agent = await AgentFS.open(AgentFSOptions(path=path))
    found, waiting = {}, ["/"]
    while waiting:
        above = waiting.pop()
        for name in await agent.fs.readdir(above):
            below = above.rstrip("/") + "/" + name
            stats = await agent.fs.stat(below)
            if stats.is_directory():
                waiting.append(below)
            elif stats.is_file():
                data = await agent.fs.read_file(below, encoding=None)
                found[below[1:]] = [stats.mode & 0o7777, base64.b64encode(data).decode()]
    await agent.close()
    return found

async def main():
    for line in sys.stdin:
        print(json.dumps(await files_of(json.loads(line))), flush=True)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def sdk() -> Iterator[Callable[[Path], Tree]]:
    """The files in a task's file as the SDK reads them."""
    with subprocess.Popen(
        [sys.executable, "-c", SDK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def files_of(path: Path) -> Tree:
            stdin.write(json.dumps(str(path)) + "\n")
            stdin.flush()
            found = json.loads(stdout.readline())
            return {name: text(base64.b64decode(data), mode) for name, (mode, data) in found.items()}

        yield files_of
        stdin.close()


# -- the test ----------------------------------------------------------------------------------------------------------------


def check(scenario: Scenario, place: Path, sdk: Callable[[Path], Tree]) -> None:
    before, after = whole(scenario.before), whole(scenario.after)
    root = write(place / "project", before)
    shutil.copytree(root, place / "patched", symlinks=True)
    task_file = place / "task.db"
    with TaskFile.create(task_file, base=root) as file:
        overlay = AgentFSOverlay(file, root)
        scenario.does(overlay)
        seen = everything_of(overlay)
        husks = {
            path for path in before.keys() & seen.keys() - after.keys() if before[path].kind is EntryKind.DIRECTORY
        }
        # As in git a folder goes with its last file, but only by accept.
        assert {path: content for path, content in seen.items() if path not in husks} == after
    assert snapshot(root, folders=True) == before

    with TaskFile.open(task_file) as file:
        overlay = AgentFSOverlay(file, root)
        assert everything_of(overlay) == seen
        changes = overlay.changes()
        stored = {
            path: Content(inode.kind, inode.mode, overlay.read(path))
            for path, inode in overlay._delta.everything().items()
            if inode.kind is EntryKind.FILE
        }
        assert file.rows("PRAGMA integrity_check") == [("ok",)]
    assert bool(changes) is (before != after)

    if patch := render(changes):
        subprocess.run(["git", "apply", "-"], input=patch, cwd=place / "patched", check=True, capture_output=True)
    assert in_git(snapshot(place / "patched")) == in_git(after)

    if changes:
        Project(root).apply("task", changes)
        assert snapshot(root, folders=True) == after
        Project(root).undo("task")
        assert snapshot(root, folders=True) == before

    # A copy, because AgentFS's engine keeps its locks for as long as its process lives.
    for file_of_it in place.glob("task.db*"):
        shutil.copyfile(file_of_it, place / f"copy{file_of_it.name[4:]}")
    assert sdk(place / "copy.db") == stored


@pytest.mark.parametrize("how", OPERATIONS, ids=lambda how: how.__name__)
def test_every_content_is_kept(how, tmp_path, sdk):
    check(together([how(kind, *sides) for kind, sides in CONTENTS.items()]), tmp_path, sdk)


@pytest.mark.parametrize("how", OPERATIONS, ids=lambda how: how.__name__)
def test_every_name_is_kept(how, tmp_path, sdk):
    check(together([how(name, text(f"1{name}\n"), text(f"2{name}\n")) for name in NAMES.values()]), tmp_path, sdk)


@pytest.mark.parametrize("what", TREES)
def test_folders_and_changes_of_kind(what, tmp_path, sdk):
    check(TREES[what], tmp_path, sdk)


# -- links that lead outside, and many of them ------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/etc/hostname", "../../elsewhere", "folder/../../elsewhere", ".git/config"])
def test_a_link_that_leads_outside_is_seen_and_deleted_and_no_more(target, tmp_path):
    root = write(tmp_path / "project", whole({**BESIDE, "out": link(target)}))
    before = snapshot(root, folders=True)
    with TaskFile.create(tmp_path / "task.db", base=root) as file:
        overlay = AgentFSOverlay(file, root)
        assert overlay.link_target("out") == target
        for refused in (
            lambda: overlay.read("out"),
            lambda: overlay.write("out", b""),
            lambda: overlay.make_link("x", target),
        ):
            with pytest.raises(PermissionError):
                refused()
        overlay.delete("out")
        changes = overlay.changes()
    Project(root).apply("task", changes)
    assert snapshot(root, folders=True) == whole(BESIDE)
    Project(root).undo("task")
    assert snapshot(root, folders=True) == before


MANY = {f"many/n{number:05}": text(f"{number}\n") for number in range(10_000)}
MOST = {**whole(BESIDE), "many": folder()}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("does", "after"),
    [
        (lambda task: task.delete("many"), whole(BESIDE)),
        (lambda task: task.move("many", "more"), whole({**BESIDE, **moved(MANY, "many", "more")})),
        (lambda task: task.write("many/n00000", b"x\n"), {**MOST, **MANY, "many/n00000": text("x\n")}),
    ],
    ids=["deleted", "moved", "one edited"],
)
def test_a_folder_of_ten_thousand_entries(does, after, tmp_path, sdk):
    check(Scenario({**MOST, **MANY}, does, after), tmp_path, sdk)

"""An editor saves a file in a loop while tasks that change the same file are accepted and undone: no edit is lost."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from cairn.changes import Change, ChangeSet, Content, EntryKind
from cairn.errors import CairnError, Conflict
from cairn.project import Project

EDITOR = """
import os, sys, time
path, way, pause, stop = sys.argv[1:]
number = 0
while not os.path.exists(stop):
    line = f"edit {number}\\n"
    if way == "append":
        with open(path, "a") as file:
            file.write(line)
    else:
        with open(path) as file:
            text = file.read() + line
        if way == "rename":  # as editors save: beside, then in its place
            with open(path + ".saving", "w") as file:
                file.write(text)
            os.replace(path + ".saving", path)
        else:
            with open(path, "w") as file:
                file.write(text)
    number += 1
    time.sleep(float(pause))
print(number)
"""


def accept_and_undo(project, path, number):
    """One task's change of the first line, from what stands there now; None when it was not to be seen whole."""
    seen = path.read_bytes()
    if not seen.startswith(b"version "):  # the editor is in the middle of a save
        return None
    wanted = b"version %d\n" % number + seen.partition(b"\n")[2]
    change = Change(path.name, Content(EntryKind.FILE, 0o644, seen), Content(EntryKind.FILE, 0o644, wanted))
    try:
        applied = project.apply("bcdfgh", ChangeSet((change,)))
        if number % 3 == 0:
            project.undo(applied.operation.id)
    except (Conflict, CairnError):
        return False
    return True


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("pause", [0.001, 0.1])
@pytest.mark.parametrize("way", ["append", "rename"])
def test_every_line_that_an_editor_saved_is_in_the_file_or_in_a_kept_one(tmp_path, way, pause):
    root = tmp_path / "project"
    root.mkdir()
    path, stop = root / "notes.txt", tmp_path / "stop"
    path.write_bytes(b"version 0\nsecond\nthird\nfourth\n")
    path.chmod(0o644)
    project = Project.find(root, exact=True)
    project.prepare()
    editor = subprocess.Popen(
        [sys.executable, "-c", EDITOR, path, way, str(pause), stop], stdout=subprocess.PIPE, text=True
    )
    tried, accepted, began = 0, 0, time.monotonic()
    for number in range(1, 10_000):
        outcome = accept_and_undo(project, path, number)
        tried, accepted = tried + (outcome is not None), accepted + bool(outcome)
        if time.monotonic() - began > 6:
            break
    stop.touch()
    saved = int(editor.communicate(timeout=30)[0])

    kept = "".join(
        each.read_text(errors="replace")
        for each in (root / ".cairn").rglob("*")
        if "kept" in str(each) and each.is_file()
    )
    there = set((path.read_text() + kept).splitlines())
    assert [number for number in range(saved) if f"edit {number}" not in there] == []
    assert saved > 0.2 * 6 / max(pause, 0.01)
    if pause == 0.1:  # ten saves a second starve nobody; those without a pause leave no time to write in
        assert accepted > 0.9 * tried > 10

"""Kills a process at every write, rename, sync and SQL statement of an accept, an undo or a recovery, each point once.

Run as a process of its own, `python -m tests.crash_points SCENE FOLDER`: it has one thread, so that it can fork a child
for each point. The child kills itself with SIGKILL at its point; the parent recovers as the next command would, and
says what it found. A point in the middle of a write leaves half of it.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cairn import atomic_rename
from cairn.changes import ChangeSet
from cairn.project import Project

CALLS = (
    "write", "pwrite", "fsync", "replace", "rename", "link", "unlink", "symlink", "mkdir", "rmdir",
    "fchmod", "fchown", "chown", "ftruncate", "open", "utime", "setxattr", "removexattr",
)  # fmt: skip


class Points:
    """Counts the points that a process passes; kills it at number `fatal`, counted from 1."""

    def __init__(self, fatal: int) -> None:
        self.fatal = fatal
        self.count = 0
        self.names: list[str] = []

    def passing(self, name: str) -> bool:
        self.count += 1
        self.names.append(name)
        return self.count == self.fatal

    def watch(self) -> None:
        for name in CALLS:
            setattr(os, name, self._watched(name, getattr(os, name)))
        atomic_rename.renameat2 = self._watched("renameat2", atomic_rename.renameat2)  # type: ignore[assignment]
        connect = sqlite3.connect

        def watched_connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
            connection = connect(*arguments, **options)
            connection.set_trace_callback(self._statement)
            return connection

        sqlite3.connect = watched_connect  # type: ignore[assignment]

    def _watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            if name == "open" and not arguments[1] & os.O_CREAT:
                return call(*arguments, **options)
            if self.passing(name):
                if name == "write":
                    call(arguments[0], arguments[1][: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return watched

    def _statement(self, statement: str) -> None:
        if self.passing(statement.partition(" ")[0]):
            os.kill(os.getpid(), signal.SIGKILL)


def in_child(work: Callable[[], None], fatal: int) -> int | None:
    """How many points the work has, when it came to its end; None when it was killed."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read_end)
            points = Points(fatal)
            write = os.write
            points.watch()
            work()
            write(write_end, str(points.count).encode())
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent must see it
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(1)
    os.close(write_end)
    with os.fdopen(read_end) as told:
        counted = told.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return None
    assert os.waitstatus_to_exitcode(status) == 0
    return int(counted)


def main(scene: str, folder: Path) -> None:
    """Prints one JSON line for each point: what the tree is afterwards, and what the recovery said."""
    changes: ChangeSet = pickle.loads((folder / "changes").read_bytes())  # noqa: S301 - written by the test
    work = folder / "work"
    for outer in outer_points(scene, folder, work, changes):
        fatal = 0
        while True:
            fatal += 1
            fresh(folder, work)
            prepared(scene, work, changes, outer)
            ended = in_child(lambda: act(scene, work, changes), fatal)
            if ended is not None:
                break
            recovered = Project(work).recover()
            said = None if recovered is None else recovered.finished
            again = Project(work).recover()
            keep = folder / f"after-{outer}-{fatal}"
            shutil.rmtree(work / ".cairn" / "tasks", ignore_errors=True)
            work.rename(keep)
            states = [str(operation.state) for operation in Project(keep).operations()]
            print(json.dumps({"tree": keep.name, "said": said, "again": again is not None, "states": states}))


def fresh(folder: Path, work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(folder / "base", work, symlinks=True)


def prepared(scene: str, work: Path, changes: ChangeSet, outer: int) -> None:
    if scene == "undo":
        Project(work).apply("task", changes)
    if scene == "recover":
        assert in_child(lambda: act("apply", work, changes), outer) is None


def act(scene: str, work: Path, changes: ChangeSet) -> None:
    if scene == "apply":
        Project(work).apply("task", changes)
    elif scene == "undo":
        Project(work).undo()
    else:
        Project(work).recover()


def outer_points(scene: str, folder: Path, work: Path, changes: ChangeSet) -> range:
    """For a recovery: where the accept was killed before. Every seventh point, or the test would take for ever."""
    if scene != "recover":
        return range(1)
    fresh(folder, work)
    count = in_child(lambda: act("apply", work, changes), 0)
    assert count is not None
    return range(count // 2, count, 7)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

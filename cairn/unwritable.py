"""Looking at tasks where nothing can be written: as they stand, and in one line what that leaves out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

from cairn.errors import StorageProblem
from cairn.orchestrator import Orchestrator
from cairn.project import Project
from cairn.project_name import FILE
from cairn.sqlite_file import LITTLE_ROOM


def shown_as_it_stands(orchestrator: Orchestrator, problem: StorageProblem) -> str:
    """Why nothing is written, and what another command would put right before it shows anything."""
    gaps = []
    if orchestrator.project.unsettled():
        gaps.append("an accept or undo that a killed command left is not put right")
    if dead := orchestrator.queue.abandoned():
        gaps.append(f"of {', '.join(task.id for task in dead)}, shown as running, the process is gone")
    if not orchestrator.queue.tasks(limit=1) and (lost := orchestrator.store.every()):
        gaps.append(f"the ledger has no task, and there are files of {len(lost)}")
    return f"{problem.what} Shown as it stands{': ' if gaps else ''}{'; '.join(gaps)}."


def refusal(project: Project) -> str:
    """What keeps files from being made in the project's state folder, as far as that can be told beforehand."""
    folder = project.state if os.path.lexists(project.state) else project.root
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"{folder} cannot be written."
    disk = os.statvfs(folder)
    free = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail
    return f"The disk of {folder} is full." if free * disk.f_frsize < LITTLE_ROOM else ""


@contextmanager
def with_copies_elsewhere(project: Project) -> Iterator[Project]:
    """For the time of one look, what a server sends is kept in a temporary folder."""
    with TemporaryDirectory(prefix="cairn-look-") as state:
        with suppress(OSError):
            copyfile(project.state / FILE, Path(state, FILE))
        yield Project(project.root, state=Path(state))

"""Where a project is: its root, found from a folder upwards, and whether a killed command left something there.

Apart from `project`, which loads all that changes files: commands that only list tasks do without.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cairn.errors import CairnError, NotFound, StorageProblem, UsageProblem
from cairn.git_repository import is_git_folder, is_repository
from cairn.sqlite_file import connect, translate_errors

STATE = ".cairn"
OPERATIONS = "operations.db"  # its name in there


def find_root(start: Path, *, exact: bool = False) -> Path:
    """The nearest folder from `start` upwards that is a git repository, or a project of Cairn's already.

    `start` itself when there is none, or when `exact` is given. Raises UsageProblem in a bare repository.
    """
    folder = _usable_folder(start)
    for place in (folder, *folder.parents):
        if is_git_folder(place) and (exact or place.name != ".git"):
            raise _no_working_tree(place)
        if is_repository(place) or (not exact and _is_project(place, start=folder)):
            return folder if exact else place
    return folder


def is_settled(operations: Path) -> bool:
    """True when every operation came to its end and is in the ledger; False too where that cannot be told."""
    if not operations.exists():
        return True
    try:
        with translate_errors(operations):
            connection = connect(operations, create=False, read_only=True)
            try:
                open_ones = "SELECT 1 FROM operation WHERE state = 'applying' OR NOT recorded LIMIT 1"
                return connection.execute(open_ones).fetchone() is None
            finally:
                connection.close()
    except CairnError:
        return False


def _usable_folder(start: Path) -> Path:
    try:
        folder = start.resolve(strict=True)
        if not folder.is_dir():
            raise UsageProblem(f"{start} is a file, not a folder.", fix=f"Give its folder: {start.parent}")
        os.scandir(folder).close()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"There is no folder {start}.", fix="Name an existing one: cairn -C DIR ...") from None
    except (OSError, RuntimeError) as error:
        told = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
        why = f"The system says: {told}."
        raise StorageProblem(f"{start} cannot be read.", why, "Check its permissions.") from error
    return folder


def _is_project(folder: Path, *, start: Path) -> bool:
    """True for a folder with a `.cairn` that this user made; the home folder and / count only for who is in them."""
    try:
        found = (folder / STATE).lstat()
        own_only = folder in {Path.home(), folder.parent}  # a folder that is its own parent is /
        counts = (not own_only or folder == start) and (folder / STATE / "tasks").is_dir()
    except (OSError, RuntimeError):
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and counts


def _no_working_tree(folder: Path) -> UsageProblem:
    return UsageProblem(
        f"{folder} is git's own folder or a bare repository: there are no files to work on.",
        fix="git worktree add DIR   or   git clone   makes a working tree; call cairn there.",
    )

"""What a folder of task files asks for: decided from what stands there and which tasks came of it before.

It looks at the whole folder each time, never at single events, so that a burst of them, an editor's temporary files
or a restart make no difference. A task carries the name and digest of its file in its key; that is the only memory.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cairn.task import TaskStatus
from cairn.task_text import BadTaskText, TaskText

RESULT = ".result.md"
PREFIX = "file:"
_BEGUN = frozenset({TaskStatus.RUNNING, TaskStatus.WAITING})
_ENDED_FOR_FILES = frozenset({TaskStatus.ACCEPTED, TaskStatus.REJECTED, TaskStatus.FAILED, TaskStatus.CANCELLED})
_TEMPORARY = re.compile(r"~$|^#.*#$|^\.|\.(sw[a-px]|tmp|part|crdownload|bak|orig)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TaskFileSeen:
    """A task file that holds still. `digest` is that of its bytes; `text` is what is wrong where it cannot be read."""

    name: str
    digest: str
    text: TaskText | BadTaskText


@dataclass(frozen=True, slots=True)
class FileTask:
    """A task that came of a file, by what its key says."""

    task_id: str
    name: str
    digest: str
    status: TaskStatus


@dataclass(frozen=True, slots=True)
class Add:
    """A new task for a file."""

    file: TaskFileSeen


@dataclass(frozen=True, slots=True)
class Update:
    """The task has not begun, and its file says something else now."""

    task_id: str
    file: TaskFileSeen


@dataclass(frozen=True, slots=True)
class Cancel:
    """The task has not begun, and its file is gone or cannot be read any more."""

    task_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Release:
    """The task's file is gone: a file of the same name and words is a new wish from now on."""

    task_id: str


Action = Add | Update | Cancel | Release


def is_task_file(name: str) -> bool:
    """True for Markdown that is neither a result, nor an editor's temporary or hidden file, nor a README."""
    lower = name.lower()
    if _TEMPORARY.search(name) or lower.endswith(RESULT) or lower.startswith("readme."):
        return False
    return lower.endswith((".md", ".markdown"))


def result_name(name: str) -> str:
    """The name of the file that says what came of a task file: `a.md` has `a.result.md`."""
    return f"{name.rpartition('.')[0]}{RESULT}"


def digest(data: bytes) -> str:
    """Enough of it that two versions of one file never share it by chance."""
    return hashlib.sha256(data).hexdigest()[:20]


def key_of(folder: str, name: str, digest: str) -> str:
    """The key of the task that a file asks for; `folder` is as the project knows it."""
    return f"{PREFIX}{folder}/{name}#{digest}"


def parse_key(folder: str, key: str) -> tuple[str, str] | None:
    """The name and digest in a key; None for another folder's, or one that no file gave."""
    start = f"{PREFIX}{folder}/"
    name, mark, found = key.removeprefix(start).rpartition("#")
    return (name, found) if key.startswith(start) and mark and "/" not in name else None


def decide(files: Mapping[str, TaskFileSeen], unsettled: frozenset[str], tasks: Sequence[FileTask]) -> list[Action]:
    """What to do so that each file has its task. Files that do not hold still yet are left for the next look.

    An edit of a file whose task is under way makes a new task, but not before that one has stopped running.
    """
    actions: list[Action] = []
    of_file: dict[str, list[FileTask]] = {}
    for task in tasks:
        of_file.setdefault(task.name, []).append(task)
    for name in sorted(files.keys() | of_file.keys()):
        if name not in unsettled:
            actions += _for_one(files.get(name), of_file.get(name, []))
    return actions


def _for_one(file: TaskFileSeen | None, tasks: Sequence[FileTask]) -> list[Action]:
    queued = [task for task in tasks if task.status is TaskStatus.QUEUED]
    if file is None:
        gone: list[Action] = [Cancel(task.task_id, "its task file was removed") for task in queued]
        return gone + [Release(task.task_id) for task in tasks if task.status in _ENDED_FOR_FILES]
    outdated = [task for task in queued if task.digest != file.digest]
    if isinstance(file.text, BadTaskText):
        return [Cancel(task.task_id, "its task file cannot be read any more") for task in outdated]
    if any(task.digest == file.digest for task in tasks):
        return [Cancel(task.task_id, "its task file says something else") for task in outdated]
    if outdated:
        first, *others = outdated
        return [
            Update(first.task_id, file),
            *(Cancel(task.task_id, "its task file says something else") for task in others),
        ]
    return [] if any(task.status in _BEGUN for task in tasks) else [Add(file)]

"""Which state of the project a task works on: the live tree on one machine, a git commit where many work together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cairn.project import Project

if TYPE_CHECKING:
    from cairn.base_checkouts import BaseCheckouts
    from cairn.git_process import Halt
    from cairn.kept_bases import KeptBases
    from cairn.settings import Settings


class Bases(Protocol):
    """The states of the project that tasks work on."""

    def now(self) -> str:
        """What a task that is asked for now works on; "" for the live tree. CairnError where it cannot be told."""
        ...

    def keep(self, base: str) -> None:
        """For a further task on what one works on; Conflict when it is being deleted."""
        ...

    def placed(self, base: str, halt: Halt) -> AbstractContextManager[tuple[Project, Settings]]:
        """That state as a project that nobody changes, with the settings that stand in it. CairnError without it.

        It may take minutes until then; `halt` ends them.
        """
        ...


class LiveTree:
    """One machine: every task works on the project's own files."""

    def __init__(self, project: Project, settings: Settings) -> None:
        self._here = project, settings

    def now(self) -> str:
        """Nothing: the files as each is when the task first touches it."""
        return ""

    def keep(self, base: str) -> None:
        """The files are there."""

    @contextmanager
    def placed(self, base: str, halt: Halt) -> Iterator[tuple[Project, Settings]]:  # noqa: ARG002
        """The project itself; a base of another time, when the engine was a server, is not there any more."""
        yield self._here


class SharedBases:
    """Many machines: a task's base is a git commit, which its worker fetches from a remote that all of them reach."""

    def __init__(self, project: Project, remote: str, cache: Path, kept: KeptBases) -> None:
        self._project = project
        self._kept = kept
        self._remote = remote
        self._cache = cache
        self._checkouts: BaseCheckouts | None = None

    def now(self) -> str:
        """The tree as it is, uncommitted work included, where workers can fetch it."""
        from cairn.base_remote import publish
        from cairn.git_snapshot import snapshot

        root = self._project.root
        base = next(each for turn in count() if self._kept.want(each := snapshot(root, turn)))
        publish(root, base, self._remote)
        return str(base)

    def keep(self, base: str) -> None:
        """In the remote, where the task that has it had it pushed."""
        from cairn.task_base import Base

        if base:
            self._kept.require(Base.parse(base))

    @contextmanager
    def placed(self, base: str, halt: Halt) -> Iterator[tuple[Project, Settings]]:
        """A read-only checkout, shared by all tasks of that base on this machine."""
        from cairn.base_checkouts import BaseCheckouts
        from cairn.base_remote import remote_address
        from cairn.settings import Settings
        from cairn.task_base import Base

        if self._checkouts is None:  # kept, because it looks at each tree once
            self._checkouts = BaseCheckouts(self._cache, remote_address(self._project.root, self._remote))
        with self._checkouts.held(Base.parse(base), halt) as root:
            yield Project(root, state=self._project.state), Settings.load(root, os.environ)

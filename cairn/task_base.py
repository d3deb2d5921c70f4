"""What a task on other machines works on: a git commit, and which folder of it is the project."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Self

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Base:
    """A commit by its full name; `subfolder` is "" where the whole repository is the project. Raises ValueError."""

    commit: str
    subfolder: str = ""

    def __post_init__(self) -> None:
        if not _COMMIT.fullmatch(self.commit):
            raise ValueError(f"{self.commit!r} is no full name of a commit")
        if self.subfolder and ({"", ".", "..", ".git"} & set(self.subfolder.split("/")) or "\0" in self.subfolder):
            raise ValueError(f"{self.subfolder!r} is no folder inside a repository")

    def __str__(self) -> str:
        return f"{self.commit}:{self.subfolder}" if self.subfolder else self.commit

    @classmethod
    def parse(cls, text: str) -> Self:
        """What `str` made of one: git's own way to name a folder of a commit."""
        commit, _, subfolder = text.partition(":")
        return cls(commit, subfolder)

    @property
    def ref(self) -> str:
        """Where its commit is kept, here and in the remote, so that no branch need have it.

        Each project of a repository has refs of its own, for it knows only of its own tasks when it lets go of one.
        """
        if not self.subfolder:
            return f"{REFS}/{self.commit}"
        return f"{REFS}/{self.commit}-{hashlib.sha256(self.subfolder.encode()).hexdigest()[:8]}"


REFS = "refs/cairn/base"

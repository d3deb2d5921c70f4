"""Where git keeps what belongs to a working tree, and which paths it tracks there.

Only looks. git itself is run for one question, the names in its index: there are four formats, some split, some sparse.
"""

from __future__ import annotations

import os
import subprocess
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

# Variables that a hook which runs cairn has, and that would point git elsewhere (git rev-parse --local-env-vars).
_ELSEWHERE = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_OBJECT_DIRECTORY", "GIT_DIR", "GIT_WORK_TREE",
        "GIT_IMPLICIT_WORK_TREE", "GIT_GRAFT_FILE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_SHALLOW_FILE",
        "GIT_COMMON_DIR", "GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS",
    }
)  # fmt: skip
_SECONDS = 30


def is_repository(folder: Path) -> bool:
    """A `.git` that git would take: a folder with a HEAD, or a worktree's or submodule's file."""
    git = folder / ".git"
    try:
        return (git / "HEAD").is_file() or (git.is_file() and git.read_bytes()[:8] == b"gitdir: ")
    except OSError:
        return False


def is_git_folder(folder: Path) -> bool:
    """A folder that is git's own and no working tree: a bare repository, or what is usually named `.git`."""
    try:
        return (folder / "HEAD").is_file() and (folder / "objects").is_dir() and (folder / "refs").is_dir()
    except OSError:
        return False


def own_folder(top: Path) -> Path:
    """Where HEAD and the index are: `.git`, or for a worktree or submodule the folder that its `.git` file names."""
    git = top / ".git"
    if git.is_dir():
        return git
    try:
        named = os.fsdecode(git.read_bytes()).removeprefix("gitdir:").strip()
    except OSError:
        return git
    return top / named


def common_folder(top: Path) -> Path:
    """Where info/exclude is: the same, but for a worktree its repository's."""
    private = own_folder(top)
    try:
        return private / os.fsdecode((private / "commondir").read_bytes()).strip()
    except OSError:
        return private


@dataclass(frozen=True)
class Tracked:
    """What a repository's index holds below one folder; nothing is read before the first question.

    `folder` is where git is asked, in the working tree whose top is `top`; `prefix` leads there from the project's
    root: "" or a path that ends with "/". Paths in questions begin at the project's root.
    """

    top: Path
    folder: Path
    prefix: str = ""

    def has(self, path: bytes) -> bool:
        """True for a tracked file or link, and for the top of a submodule."""
        name = self._below_prefix(path)
        at = bisect_left(self._names, name)
        return at < len(self._names) and self._names[at] == name

    def has_below(self, folder: bytes) -> bool:
        """True when anything below the folder is tracked."""
        name = self._below_prefix(folder) + b"/"
        at = bisect_left(self._names, name)
        return at < len(self._names) and self._names[at].startswith(name)

    def names_in(self, folder: bytes) -> list[bytes]:
        """The first names below a folder that lead to something tracked, sorted."""
        name = self._below_prefix(folder) + b"/"
        first, last = bisect_left(self._names, name), bisect_left(self._names, name[:-1] + b"0")  # "0" follows "/"
        return sorted({each[len(name) :].partition(b"/")[0] for each in self._names[first:last]})

    @cached_property
    def _names(self) -> Sequence[bytes]:
        try:
            found = (own_folder(self.top) / "index").stat()
        except OSError:
            return ()
        return _listed(self.folder, (found.st_mtime_ns, found.st_size, found.st_ino))

    def _below_prefix(self, path: bytes) -> bytes:
        return path[len(os.fsencode(self.prefix)) :]


def git_environment() -> dict[str, str]:
    """This process's variables without those that make git look at another repository."""
    return {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}


@lru_cache(maxsize=64)
def _listed(folder: Path, _stamp: tuple[int, int, int]) -> Sequence[bytes]:
    """The index's names below a folder, in the order of their bytes; none where git cannot tell."""
    command = ["git", "-c", "core.fsmonitor=false", "ls-files", "--cached", "-z"]  # fsmonitor could be any program
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**git_environment(), "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(done.stdout.split(b"\0")[:-1]) if done.returncode == 0 else ()

"""How Cairn runs git it for itself: nobody is asked, no hook is run, and its time ends.

What it works on may come from anywhere. Of a repository's settings those that start programs are overruled, except
the filters that decide what git would commit, and the ways to reach a remote.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cairn.errors import CairnError, DiskFull
from cairn.git_repository import git_environment
from cairn.lifeline import Lifeline

LOCAL_SECONDS = 300.0
_LOOK_SECONDS = 0.2
_TOLD_LINES = 12
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.askPass=",
    "core.logAllRefUpdates=false",
    "core.filesRefLockTimeout=5000",
    "core.quotePath=false",
    "core.safecrlf=false",
    "core.splitIndex=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "i18n.commitEncoding=UTF-8",
    "protocol.ext.allow=never",
    "submodule.recurse=false",
)
_QUIET = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_REPLACE_OBJECTS": "1", "LC_ALL": "C"}
# Neither the machine's settings nor a person's: no filters, no line ends of their own, the same files everywhere.
ALONE: Mapping[str, str] = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "HOME": "/nonexistent",
    "XDG_CONFIG_HOME": "/nonexistent",
}


class GitRefused(Exception):
    """git ended with an error; `told` is the end of what it said."""

    def __init__(self, told: str, code: int) -> None:
        super().__init__(told)
        self.told = told
        self.code = code

    @property
    def disk_full(self) -> bool:
        """True where git found no room."""
        return "No space left on device" in self.told or "Disk quota exceeded" in self.told


class GitLate(GitRefused):
    """It took longer than it may, and was ended."""


class GitHalted(GitRefused):
    """Nobody wants it any more, and it was ended."""

    def __init__(self) -> None:
        super().__init__("it was stopped", -1)


class Halt:
    """The word of one thread that what another one waits for git, or for a lock, is not wanted any more."""

    def __init__(self) -> None:
        self._called = threading.Event()

    def call(self) -> None:
        """The wait ends within a moment, by GitHalted."""
        self._called.set()

    def heed(self) -> None:
        """Raises GitHalted once it was called."""
        if self._called.is_set():
            raise GitHalted


def git(
    folder: Path,
    *arguments: str,
    given: bytes = b"",
    variables: Mapping[str, str] | None = None,
    settings: Sequence[str] = (),
    seconds: float = LOCAL_SECONDS,
    holding: Sequence[int] = (),
    mask: int = -1,
    halt: Halt | None = None,
) -> bytes:
    """What git says on its output. It dies with this process; descriptors in `holding` stay open as long as it lives.

    `mask` is its umask; `halt` ends it. Raises GitRefused, and CairnError where there is no git.
    """
    words = [word for setting in (*_SETTINGS, *settings) for word in ("-c", setting)]
    environment = {**git_environment(), **_QUIET, **(variables or {})}
    for name in ("GIT_ASKPASS", "SSH_ASKPASS"):
        environment.pop(name, None)
    with Lifeline() as lifeline:
        try:
            process = subprocess.Popen(
                ["git", *words, *arguments],
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # no terminal to ask at, and one group to end
                pass_fds=[*holding, *lifeline.inherited],
                umask=mask,
            )
        except FileNotFoundError as error:
            raise _missing(folder, error) from None
        try:
            lifeline.tie(process.pid)
            output, errors = _heard(process, given, seconds, halt)
        except subprocess.TimeoutExpired:
            raise GitLate(f"git {arguments[0]} did not end within {seconds:g} s", -1) from None
        finally:
            _end(process)
    if process.returncode:
        told = errors.decode("utf-8", "replace").strip().splitlines()
        raise GitRefused("\n".join(told[-_TOLD_LINES:]), process.returncode)
    return output


def _heard(process: subprocess.Popen[bytes], given: bytes, seconds: float, halt: Halt | None) -> tuple[bytes, bytes]:
    if halt is None:
        return process.communicate(given, timeout=seconds)
    end, input_once = time.monotonic() + seconds, given or None
    while True:
        halt.heed()
        try:
            return process.communicate(input_once, timeout=max(0.0, min(_LOOK_SECONDS, end - time.monotonic())))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= end:
                raise
        input_once = None  # what is left of it is sent all the same


def line(output: bytes) -> str:
    """An output of one line, without its end."""
    return os.fsdecode(output).removesuffix("\n")


def records(output: bytes) -> list[bytes]:
    """An output that was asked for with -z."""
    return output.split(b"\0")[:-1]


def problem(what: str, refused: GitRefused, fix: str | tuple[str, ...] = ()) -> CairnError:
    """What to raise for a refusal: a full disk is one, whatever was tried."""
    if refused.disk_full:
        return DiskFull(what, f"git said: {refused.told}", "Make room, then try again.")
    return CairnError(what, f"git said: {refused.told}" if refused.told else "git did not say why.", fix)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _missing(folder: Path, error: OSError) -> CairnError:
    if not folder.is_dir():
        return CairnError(f"There is no folder {folder}.")
    return CairnError("git could not be run.", f"{error.strerror}.", "Install git, then try again.")

"""Where a project's own commands run over a task's files: a protocol, and what a command came to.

A package adds a runtime with an entry point in the group `cairn.runtimes`: a callable that takes the project's root and
the `RuntimeSettings` and returns a `Runtime`. `runtime_contract.py` is what each must pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from cairn.changes import Content

DEFAULT_TIMEOUT = 120.0
TIMED_OUT = 124  # as `timeout` of the GNU tools ends
NOT_STARTED = 125
HEAD_CHARS, TAIL_CHARS = 20_000, 80_000


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command came to. `exit_code` is 124 after a timeout, 128 + N after signal N, 125 when it never started.

    `stdout` and `stderr` keep the head and the tail of what is too long; `stopped` says which bound ended the command,
    or what kept it from starting.
    """

    exit_code: int
    stdout: str = ""
    stderr: str = ""
    duration: float = 0.0
    timed_out: bool = False
    stopped: str = ""

    @property
    def succeeded(self) -> bool:
        """True for a command that ended by itself with 0."""
        return self.exit_code == 0 and not self.timed_out


@dataclass(frozen=True, slots=True)
class Layer:
    """What a task's files are beside the project's: the whole of a path's new content, or None where nothing is.

    A folder that is None is gone only if nothing that the layer leaves alone is in it.
    """

    files: dict[str, Content | None] = field(default_factory=dict)


class Sandbox(StrEnum):
    """What stands between a command and the machine."""

    BUBBLEWRAP = "bubblewrap"
    NAMESPACES = "namespaces"
    LANDLOCK = "landlock"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Ground:
    """What a command runs in: its sandbox, and how the files got there, in a word."""

    sandbox: Sandbox
    layer: str

    @property
    def in_words(self) -> str:
        """For people: what held the command."""
        held = "without a sandbox" if self.sandbox is Sandbox.NONE else f"in a sandbox ({self.sandbox})"
        return f"{held}, files by {self.layer}"


class Runtime(Protocol):
    """One place with one task's files, in which commands run one after the other.

    Whatever a command does, it comes back as a `CommandResult`; what is raised is a CairnError about the place itself.
    """

    @property
    def ground(self) -> Ground:
        """What commands run in; known once `initialize` is done."""
        ...

    async def initialize(self, layer: Layer) -> None:
        """Makes the place: the project's files with the layer's over them."""
        ...

    async def execute(self, command: str, timeout: float = DEFAULT_TIMEOUT) -> CommandResult:  # noqa: ASYNC109
        """Runs a shell command in the project's folder there. All that it started is gone when this returns."""
        ...

    def written(self) -> tuple[str, ...]:
        """The paths that commands wrote or deleted since `initialize`, sorted. Nothing of it is the user's."""
        ...

    def content(self, path: str) -> Content | None:
        """What stands at a path that a command wrote; None for nothing, or what is neither file, link nor folder.

        Raises TooLargeToKeep for a file over 10 MB.
        """
        ...

    async def terminate(self) -> None:
        """Ends and deletes the place; may be called twice, and without `initialize`."""
        ...


class TooLargeToKeep(Exception):
    """A file that a command wrote is larger than what is taken out of a runtime."""

    def __init__(self, path: str, size: int) -> None:
        super().__init__(f"'{path}' has {size:,} bytes, more than is taken")
        self.size = size


class BoundedText:
    """The head and the tail of a stream of bytes, in bounded memory."""

    def __init__(self, head: int = HEAD_CHARS, tail: int = TAIL_CHARS) -> None:
        self._head, self._tail = bytearray(), bytearray()
        self._head_most, self._tail_most = head, tail
        self._dropped = 0

    def add(self, data: bytes) -> None:
        """More of the stream."""
        room = self._head_most - len(self._head)
        self._head += data[:room]
        self._tail += data[max(room, 0) :]
        if len(self._tail) > 2 * self._tail_most:
            self._cut()

    def _cut(self) -> None:
        over = len(self._tail) - self._tail_most
        if over > 0:
            del self._tail[:over]
            self._dropped += over

    def text(self) -> str:
        """What is kept; a line in the middle says how much is not."""
        self._cut()
        if not self._dropped:
            return (self._head + self._tail).decode("utf-8", "replace")
        head, tail = (bytes(part).decode("utf-8", "replace") for part in (self._head, self._tail))
        return f"{head}\n[... {self._dropped:,} bytes left out ...]\n{tail}"

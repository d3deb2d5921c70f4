"""A session as bytes: what the sandbox holds, what Cairn knows about it, and a seal that nobody else can make.

A dump stands for a session whose worker was given back, in this process or a later one. It is used only by a Cairn and
a Monty of the same version, under the same functions, limits, clock and seed, and only if the seal is this user's:
Monty trusts what it loads, and a project's `.cairn` folder may come from anywhere. One that does not fit is no loss,
because the journal can answer the same programs again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
import time
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Protocol

from cairn.program import Limits
from cairn.program_output import KeptOutput

LAYOUT = 2  # raised when the header changes
MAGIC = b"MONTY\0"  # how Monty's own dumps begin; the number of their format follows
FAST = 1  # zlib's level: 94 KB become 21, for a tenth of the time of the best


class DumpRefused(Exception):
    """A dump that cannot be used; the text says why. The journal serves instead."""


# ── what Cairn knows ──


@dataclass(frozen=True, slots=True)
class KeptSource:
    """A program as it was fed: Monty's name for it, its step and its text."""

    name: str
    step: int
    text: str


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file that is open for writing, as far as it was written, and whether the overlay has it so."""

    path: str
    content: bytes
    stored: bool


@dataclass(frozen=True, slots=True)
class KeptRun:
    """A program that waits for a call of `function`, and what it used until then."""

    step: int
    function: str
    calls: int
    seconds: float
    sandbox_seconds: float
    output: KeptOutput = field(default_factory=KeptOutput)
    files: tuple[KeptFile, ...] = ()


@dataclass(frozen=True, slots=True)
class KeptSession:
    """All that a session must know beside the sandbox's own state. `run` is None between programs."""

    gate: str
    checked: str
    names: tuple[str, ...]
    sources: tuple[KeptSource, ...]
    feeds: int
    calls_left: int
    suspensions_left: int
    seconds_left: float
    run: KeptRun | None = None


@dataclass(frozen=True, slots=True)
class Conditions:
    """What must be the same for a dump to be used again."""

    stubs: str
    limits: Limits
    now: datetime
    seed: int

    def version(self, image: bytes) -> str:
        """One line that two dumps share exactly if one can stand for the other's session."""
        from pydantic_monty import __version__

        if not image.startswith(MAGIC):
            raise DumpRefused("it is no dump of the sandbox")
        rest = json.dumps([self.stubs, repr(self.limits), self.now.isoformat(), self.seed])
        digest = hashlib.blake2b(rest.encode(), digest_size=12).hexdigest()
        return f"cairn {LAYOUT}, monty {__version__}, format {image[len(MAGIC)]}, {digest}"


# ── the seal ──


@dataclass(frozen=True, slots=True)
class SealedDump:
    """A dump as it is stored. `step` and `call` say where the task's journal stood."""

    step: int
    call: int
    version: str
    mac: str
    data: bytes = field(repr=False)
    created_at: float = 0.0


class DumpStore(Protocol):
    """Keeps one task's dump beside its journal; called on the event loop. Raises CairnError when it cannot."""

    def last_call(self) -> int:
        """The number of the journal's last external call, which the waiting program waits for."""
        ...

    def put(self, dump: SealedDump) -> int:
        """Stores the dump in place of any earlier one, and says its key."""
        ...

    def get(self, key: int) -> SealedDump | None:
        """The dump, or None if it is not there."""
        ...

    def delete(self, key: int) -> None:
        """Nothing happens if it is gone."""
        ...


class MemoryDumps:
    """For sessions without a task's file, such as a replay's: the dump goes with the process."""

    def __init__(self) -> None:
        self._dump: SealedDump | None = None

    def last_call(self) -> int:
        """There is no journal."""
        return 0

    def put(self, dump: SealedDump) -> int:
        """There is one at a time."""
        self._dump = dump
        return 1

    def get(self, key: int) -> SealedDump | None:  # noqa: ARG002 - there is one
        """The last one."""
        return self._dump

    def delete(self, key: int) -> None:  # noqa: ARG002
        """Forgets it."""
        self._dump = None


def seal(session: KeptSession, image: bytes, conditions: Conditions, key: bytes, *, step: int, call: int) -> SealedDump:
    """Packs and signs; takes about a millisecond for each 100 KB of the sandbox's state."""
    header = json.dumps(asdict(session), default=_as_text, separators=(",", ":")).encode()
    data = zlib.compress(struct.pack(">I", len(header)) + header + image, FAST)
    version = conditions.version(image)
    return SealedDump(step, call, version, _mac(key, version, step, call, data), data, time.time())


def unseal(dump: SealedDump, conditions: Conditions, key: bytes) -> tuple[KeptSession, bytes]:
    """The session and Monty's image of it. Raises DumpRefused before anything of it is read that is not sealed."""
    expected = _mac(key, dump.version, dump.step, dump.call, dump.data)
    if not hmac.compare_digest(expected.encode(), dump.mac.encode()):
        raise DumpRefused("it was altered, or made by somebody else")
    packed = zlib.decompress(dump.data)
    (size,) = struct.unpack_from(">I", packed)
    image = packed[4 + size :]
    if dump.version != conditions.version(image):
        raise DumpRefused("it was made by another version, or under other limits or functions")
    return _session(json.loads(packed[4 : 4 + size])), image


def _mac(key: bytes, version: str, step: int, call: int, data: bytes) -> str:
    signed = hmac.new(key, f"{version}\0{step}\0{call}\0".encode(), hashlib.sha256)
    signed.update(data)
    return signed.hexdigest()


def _as_text(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} has no place in a dump")


def _session(plain: Mapping[str, Any]) -> KeptSession:
    fields = dict(plain)
    run = fields.pop("run")
    sources = tuple(KeptSource(**source) for source in fields.pop("sources"))
    names = tuple(fields.pop("names"))
    return KeptSession(names=names, sources=sources, run=None if run is None else _run(run), **fields)


def _run(plain: Mapping[str, Any]) -> KeptRun:
    fields = dict(plain)
    output = KeptOutput(**fields.pop("output"))
    files = tuple(
        KeptFile(each["path"], base64.b64decode(each["content"]), each["stored"]) for each in fields.pop("files")
    )
    return KeptRun(output=output, files=files, **fields)

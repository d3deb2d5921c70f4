"""What checks come to over the project without any task, so that tasks side by side do not each run them there again.

One file for each check and state of the project, locked while somebody finds out; whoever comes meanwhile waits for it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cairn.checks import Before

FOLDER = "checks"  # in `.cairn`
KEPT_SECONDS = 900.0  # what ignore rules leave out, such as an environment, may change and nobody notices
_TICK = 0.05


@dataclass(frozen=True, slots=True)
class BaseVerdicts:
    """Below one folder. Where it cannot be written, each asks for himself."""

    folder: Path

    async def known(self, key: str, find: Callable[[], Awaitable[Before]], *, anew: bool = False) -> Before:
        """What somebody found lately under this key, else what `find` comes to; `anew`: that in any case."""
        try:
            self.folder.mkdir(exist_ok=True)
            kept = os.open(self.folder / key, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            return await find()
        try:
            await _locked(kept)
            verdict = Before.UNKNOWN if anew else _young(kept)
            if verdict is Before.UNKNOWN:
                verdict = await find()
                os.ftruncate(kept, 0)
                os.pwrite(kept, verdict.encode(), 0)
            return verdict
        finally:
            os.close(kept)
            self._forget_old()

    def _forget_old(self) -> None:
        with suppress(OSError), os.scandir(self.folder) as entries:
            for each in entries:
                if time.time() - each.stat(follow_symlinks=False).st_mtime > KEPT_SECONDS:
                    Path(each.path).unlink()


async def _locked(kept: int) -> None:
    """Waits without a thread, so that a cancelled task waits no longer; a killed holder lets go."""
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(kept, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        await asyncio.sleep(_TICK)


def _young(kept: int) -> Before:
    if time.time() - os.fstat(kept).st_mtime > KEPT_SECONDS:
        return Before.UNKNOWN
    with suppress(ValueError):
        return Before(os.pread(kept, 16, 0).decode("ascii", "replace"))
    return Before.UNKNOWN

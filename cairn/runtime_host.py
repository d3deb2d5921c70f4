"""The other machine's side of a runtime over SSH: keeps projects' files there, and runs commands over them.

It is sent there with the modules that it needs, started as `python3 -I -S`, and ends with its standard input: whoever
asked is gone then, so what runs is killed and its folder deleted. Only the standard library is used here.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import IO, Any

from cairn.command_bounds import Bounds
from cairn.errors import CairnError
from cairn.local_runtime import LocalRuntime, Surroundings, best_sandbox
from cairn.runtime import Sandbox, TooLargeToKeep
from cairn.runtime_frames import GREETING, TOO_LARGE, Frame, Kind, entry_of, layer_from, read_frame
from cairn.workspace import remove_left_over, remove_tree

MOST_BASES = 8
_YOUNG = 60.0  # seconds in which a folder may still have no lock
_NEW = "new-"
_CODE_KEPT = 30 * 86_400.0  # seconds that modules which nobody uses are kept


class Bases:
    """Projects' files by the digest of their archive, in a folder of the host's; the least used go first."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._held: int | None = None

    def take(self, digest: str) -> Path | None:
        """The folder with these files, held until this process ends or takes another; None: nobody sent them."""
        self.release()
        folder = self._home / digest
        with suppress(OSError):
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(held, fcntl.LOCK_SH)
            if os.path.lexists(folder) and folder.stat().st_ino == os.fstat(held).st_ino:
                self._held = held
                _note_use(folder)
                return folder
            os.close(held)
        return None

    def release(self) -> None:
        """Lets others delete what was taken."""
        held, self._held = self._held, None
        if held is not None:
            os.close(held)

    def add(self, archive: IO[bytes], digest: str) -> Path:
        """Unpacks an archive, whole or not at all, and takes it."""
        archive.seek(0)
        if hashlib.file_digest(archive, "sha256").hexdigest() != digest:  # type: ignore[arg-type]  # IO is enough
            raise CairnError("The project's files did not arrive as they were sent.")
        archive.seek(0)
        made = Path(tempfile.mkdtemp(prefix=_NEW, dir=self._home))
        lock = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_SH)
        try:
            with tarfile.open(fileobj=archive, mode="r:") as packed:
                packed.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
                packed.extractall(made)  # noqa: S202 - packed by the same person's Cairn
            made.chmod(0o755)
            _note_use(made)
            with suppress(OSError):  # somebody else was faster
                made.rename(self._home / digest)
        finally:
            os.close(lock)
            if os.path.lexists(made):
                remove_tree(made)
        found = self.take(digest)
        if found is None:
            raise CairnError("The project's files were deleted on the host while they were put there.")
        return found

    def clean_up(self) -> None:
        """Deletes what killed uploads left, and bases beyond the cap that nobody uses."""
        folders = sorted(self._home.iterdir(), key=_used, reverse=True)
        unfinished = [each for each in folders if each.name.startswith(_NEW) and time.time() - _used(each) > _YOUNG]
        bases = [each for each in folders if not each.name.startswith(_NEW)]
        for each in (*unfinished, *bases[MOST_BASES:]):
            _remove_unused(each)


def _note_use(folder: Path) -> None:
    with suppress(OSError):
        os.utime(folder)


def _used(folder: Path) -> float:
    with suppress(OSError):
        return os.lstat(folder).st_mtime
    return 0.0


def _remove_unused(folder: Path) -> None:
    with suppress(OSError):
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_tree(folder)
        finally:
            os.close(lock)


class Host:
    """Answers the requests of one runtime, several at a time."""

    def __init__(self, cache: Path, answers: IO[bytes]) -> None:
        self._environ = {**os.environ, "XDG_CACHE_HOME": str(cache)}
        self._home = cache / "cairn"
        (self._home / "bases").mkdir(mode=0o700, parents=True, exist_ok=True)
        self._bases = Bases(self._home / "bases")
        self._archive: IO[bytes] = tempfile.TemporaryFile(dir=self._home)  # noqa: SIM115 - as long as the host
        self._answers = answers
        self._runtime: LocalRuntime | None = None
        self._running: dict[int, asyncio.Task[None]] = {}

    async def serve(self, frames: asyncio.Queue[Frame | None]) -> None:
        """Until the other side is gone; then nothing of it is left but the files that a next one can use."""
        remove_left_over(self._environ)
        self._bases.clean_up()
        for code in (self._home / "code").glob("*"):
            if time.time() - _used(code) > _CODE_KEPT:
                remove_tree(code)
        while frame := await frames.get():
            if frame.kind is Kind.PART:
                self._archive.write(frame.data)
            elif frame.kind is Kind.CANCEL:
                if frame.about in self._running:
                    self._running[frame.about].cancel()
            else:
                task = asyncio.ensure_future(self._answered(frame))
                self._running[frame.about] = task
                await asyncio.sleep(0)  # it has begun before it can be cancelled, so it is always answered
        for each in tuple(self._running.values()):
            each.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        if self._runtime is not None:
            await self._runtime.terminate()

    async def _answered(self, frame: Frame) -> None:
        try:
            told, data = await self._done(frame)
            answer = Frame(Kind.DONE, frame.about, told, data)
        except asyncio.CancelledError:
            answer = Frame(Kind.CANCELLED, frame.about)
        except CairnError as error:
            answer = Frame(Kind.FAILED, frame.about, (error.what, error.why, *error.fix))
        except Exception as error:  # noqa: BLE001 - whatever it is, the other side waits for an answer
            answer = Frame(Kind.FAILED, frame.about, ("The host cannot do that.", f"{type(error).__name__}: {error}"))
        self._running.pop(frame.about, None)
        with suppress(OSError):  # nobody listens any more
            self._answers.write(answer.written())
            self._answers.flush()

    async def _done(self, frame: Frame) -> tuple[tuple[object, ...], bytes]:
        told: Any = frame.told
        if frame.kind is Kind.HAS:
            return (self._bases.take(told[0]) is not None,), b""
        if frame.kind is Kind.BASE:
            await asyncio.to_thread(self._bases.add, self._archive, told[0])
            self._archive.truncate(0)
            return (), b""
        if frame.kind is Kind.LAYER:
            return await self._laid(frame), b""
        place = self._runtime
        if place is None:
            raise CairnError("The runtime was not initialized, so nothing can run in it.")
        if frame.kind is Kind.EXECUTE:
            result = await place.execute(told[0], told[1])
            return (astuple(result), *_ground(place)), b""
        if frame.kind is Kind.WRITTEN:
            return (place.written(),), b""
        try:
            content = place.content(told[0])
        except TooLargeToKeep as large:
            return (TOO_LARGE, large.size), b""
        return (entry_of(content),), b"" if content is None else content.data

    async def _laid(self, frame: Frame) -> tuple[object, ...]:
        told: Any = frame.told
        digest, unsandboxed, visible, environment, bounds, entries = told
        base = self._bases.take(digest)
        if base is None:
            raise CairnError("The project's files are not on the host any more.", "Another check's cleaning took them.")
        sandbox = best_sandbox()
        if sandbox is Sandbox.NONE and not unsandboxed:
            raise CairnError(
                "No sandbox can be had on the host, so the project's commands do not run there.",
                "A check runs what a program wrote; that machine gives no user namespaces to hold it.",
                "cairn check ID --unsandboxed   runs it with all your rights there.",
            )
        chosen = Sandbox.NONE if unsandboxed else sandbox
        around = Surroundings(chosen, tuple(visible), tuple(environment), Bounds(*bounds))
        self._runtime = LocalRuntime(base, around, self._environ)
        await self._runtime.initialize(layer_from(entries, frame.data))
        return _ground(self._runtime)


def _ground(place: LocalRuntime) -> tuple[object, ...]:
    return str(place.ground.sandbox), place.ground.layer


def _frames(stream: IO[bytes]) -> Iterator[Frame | None]:
    with suppress(OSError, ValueError):
        while frame := read_frame(stream):
            yield frame
    yield None


async def _served(cache: Path) -> None:
    loop = asyncio.get_running_loop()
    frames: asyncio.Queue[Frame | None] = asyncio.Queue(16)

    def listen() -> None:
        for frame in _frames(sys.stdin.buffer):
            asyncio.run_coroutine_threadsafe(frames.put(frame), loop).result()

    host = Host(cache, sys.stdout.buffer)
    sys.stdout.buffer.write(GREETING)
    sys.stdout.buffer.flush()
    threading.Thread(target=listen, daemon=True).start()
    await host.serve(frames)


def main(cache: str) -> None:
    """Serves one runtime over standard input and output."""
    os.umask(0o022)
    asyncio.run(_served(Path(cache)))

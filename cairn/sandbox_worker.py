"""One worker process of the sandbox, started in milliseconds and ended for certain, and the threads that talk to it.

The synchronous Monty is used, in threads of our own: the asynchronous one aborts the host process at exit in about
one run of five (measured, pydantic-monty 1.4.0), and asyncio's shared threads would run out when many tasks wait.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import os
import select
import signal
import sysconfig
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cairn.errors import CairnError
from cairn.lifeline import Lifeline
from cairn.program import Limits

if TYPE_CHECKING:
    from pydantic_monty import Monty, MontySession

T = TypeVar("T")

MEGABYTE = 2**20
GRACE_SECONDS = 1.0  # after the time limit the sandbox gets this long to stop by itself
SUSPENSIONS_PER_CALL = 10  # writing a file in pieces, looking a function up: each suspends without being a call
START_SECONDS = 30.0
EXIT_SECONDS = 2.0


class SandboxWorker:
    """A process that holds one conversation's variables. `kill` may be called from any thread, at any time, twice."""

    def __init__(self, pool: Monty, session: MontySession, pid: int, lifeline: Lifeline) -> None:
        self._pool = pool
        self._lifeline = lifeline
        self.session = session
        self.pid = pid
        # A pidfd names this very process, so that a late kill never hits another one that got its number.
        self._pidfd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
        self._watcher: asyncio.AbstractEventLoop | None = None
        self._ended = False
        self._turn = threading.Lock()
        _LIVE.add(self)

    @classmethod
    def start(cls, limits: Limits, stubs: str, *, now: datetime, seed: int) -> SandboxWorker:
        """Blocks for about 3 ms. Raises CairnError when the sandbox cannot be started on this machine."""
        _end_workers_at_exit()
        lifeline = Lifeline()
        try:
            pool, session, pid = _entered(limits, stubs, now=now, seed=seed)
            lifeline.tie(pid)
        except BaseException:
            lifeline.let_go()
            raise
        return cls(pool, session, pid, lifeline)

    def warm(self) -> None:
        """Loads the type checker's tables (4 to 20 ms), so that the first check need not wait for them."""
        with suppress(Exception):  # a worker that died meanwhile is found by whoever uses it next
            self.session.feed_run("None")

    def watch(self, ended: Callable[[], None]) -> None:
        """Calls `ended` on the running loop once the process has ended; not where the system does not say so."""
        if self._pidfd is not None:
            self._watcher = asyncio.get_running_loop()
            self._watcher.add_reader(self._pidfd, ended)

    def unwatch(self) -> None:
        """Before it is closed; nothing happens if nobody watches."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None and self._pidfd is not None:
            with suppress(RuntimeError):  # the loop is closed: it watches nothing any more
                watcher.remove_reader(self._pidfd)

    @property
    def alive(self) -> bool:
        """False once the process has ended, whoever ended it."""
        with self._turn:
            if self._ended or self._pidfd is None:
                return not self._ended
            ended = select.poll()  # select() itself takes no descriptor above 1,023
            ended.register(self._pidfd, select.POLLIN)
            return not ended.poll(0)

    def memory_peak(self) -> int:
        """The most memory the process ever had, in bytes; 0 where the system does not say, or it has ended."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        except OSError:
            return 0
        line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "")
        return int(line.split()[1]) * 1024 if line else 0

    def kill(self) -> None:
        """Ends the process at once; a turn in flight on another thread fails within about a millisecond."""
        with self._turn:
            if self._ended:
                return
            self._ended = True
            with suppress(ProcessLookupError):
                if self._pidfd is not None:
                    signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
                else:  # not Linux; the pool reaps the process only in a turn or at close, both of which we know of
                    os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Ends the process and frees what it held; call it when no turn is in flight."""
        self.kill()
        with suppress(Exception):  # its process is gone; whatever the pool says about that is no news
            self.session.__exit__(None, None, None)
        with suppress(Exception):
            self._pool.__exit__(None, None, None)
        self._lifeline.let_go()
        with self._turn:
            if self._pidfd is not None:
                os.close(self._pidfd)
                self._pidfd = None
        _LIVE.discard(self)


def _pool(limits: Limits) -> Monty:
    from pydantic_monty import Monty

    return Monty(
        binary_path=_binary(),
        max_processes=1,
        checkout_timeout=START_SECONDS,
        request_timeout=limits.seconds + 5 * GRACE_SECONDS,
        feed_duration_limit_grace=GRACE_SECONDS,
    )


def _entered(limits: Limits, stubs: str, *, now: datetime, seed: int) -> tuple[Monty, MontySession, int]:
    try:
        from pydantic_monty import MontyError

        pool = _pool(limits)
    except ImportError as error:
        raise _cannot_start(str(error)) from error
    try:
        pool.__enter__()
        session = pool.checkout(
            limits={
                "max_feed_duration_secs": limits.seconds,
                "max_memory": limits.memory_mb * MEGABYTE,
                "max_recursion_depth": limits.recursion,
                "max_suspensions": 2 * suspensions_allowed(limits),
            },
            # A frozen clock and a seed make a second run of the program the same as the first.
            os_policy={"datetime": now, "timezone": "utc", "sleep": "zero", "random_start": {"seed": seed}},
            type_check=True,
            type_check_stubs=stubs,
            type_check_format="json",
        ).__enter__()
    except (OSError, RuntimeError, MontyError) as error:
        pool.__exit__(None, None, None)
        raise _cannot_start(str(error)) from error
    if session.worker_pid is None:
        raise _cannot_start("the worker has no process id")
    return pool, session, session.worker_pid


def suspensions_allowed(limits: Limits) -> int:
    """How often a conversation's programs may make the sandbox wait for the host, calls included."""
    return SUSPENSIONS_PER_CALL * limits.calls + 1_000


def _binary() -> str | None:
    """The binary installed beside this Python, so that no variable or PATH of the user's decides what runs."""
    path = Path(sysconfig.get_path("scripts")) / "monty"
    return str(path) if path.is_file() else None  # None: installed elsewhere, for example with --user; Monty looks


def _cannot_start(why: str) -> CairnError:
    return CairnError(
        "The sandbox cannot be started, so no program can run.",
        f"{why}.",
        "pip install 'pydantic-monty==1.4.0'   installs it anew; cairn doctor   looks for other causes.",
    )


# ── nothing outlives this process ───────────────────────────────────────────────────────────────────────────────────

_LIVE: weakref.WeakSet[SandboxWorker] = weakref.WeakSet()
_THREADS: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
_registered = threading.Event()


def _end_workers_at_exit() -> None:
    if not _registered.is_set():
        _registered.set()
        atexit.register(_end_workers)


def _end_workers() -> None:
    for worker in list(_LIVE):
        worker.kill()
    for thread in list(_THREADS):  # one that returns from Monty while Python shuts down would abort the process
        thread.join(EXIT_SECONDS)


def in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """Runs in a thread of its own, which never keeps the process from ending; the future has its result or error."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: T | None = None
        caught: BaseException | None = None
        try:
            result = context.run(work)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the one who waits
            caught = RuntimeError(repr(error)) if isinstance(error, StopIteration) else error  # no future takes it
        with suppress(RuntimeError):  # the loop was closed: nobody waits
            loop.call_soon_threadsafe(settle, result, caught)

    context = contextvars.copy_context()
    thread = threading.Thread(target=run, name="cairn-sandbox", daemon=True)
    _THREADS.add(thread)
    thread.start()
    return done

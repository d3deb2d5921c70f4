"""The engine of many machines: dispatch by DBOS Transact on Postgres, in a process of its own beside the crew.

The process is what DBOS needs: threads that wait for a lost database without end, a singleton for each process, and a
second of imports, which one prepared process makes for all that follow each other. The crew sees two pipes and can end
it at any time.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from selectors import EVENT_READ, BaseSelector
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from cairn.engines.dbos_messages import (
    SCHEMA,
    Done,
    Message,
    Offered,
    Ready,
    Setup,
    Trouble,
    Up,
    Wanted,
    from_line,
)
from cairn.errors import CairnError
from cairn.message_lines import to_line
from cairn.prepared_process import PipedProcess, PipedProcesses
from cairn.queue import TaskQueue
from cairn.task import Task
from cairn.task_owner import Owner

PATIENCE_SECONDS = 90.0  # so long it may be without its process before the crew gives up
REPEAT_SECONDS = 1.0  # what should be dispatched is said again, for what got lost meanwhile
IDLE_SECONDS = 5.0  # instead, while nothing should be
_FALSE_STARTS = 4  # of its process before it was ever there
_PAUSES = (0.2, 1.0, 3.0, 5.0)  # before each further start of the process
_END_SECONDS = 6.0
_READ_BYTES = 65_536
_MIDDLE = 1 << 30  # DBOS ranks from 1 up to twice this


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Where tasks of one project are dispatched, and how many and how fast by all crews together."""

    url: str
    queue: str
    at_once: int | None = None
    starts_per_minute: int | None = None


class DbosEngine:
    """Offers of DBOS become claims in the ledger; an offer that the ledger does not confirm is handed back.

    `living` gives the executors of all crews that are there.
    """

    name = "dbos"
    brings_later = True

    def __init__(self, queue: TaskQueue, dispatch: Dispatch, size: int, living: Callable[[], tuple[str, ...]]) -> None:
        self._queue = queue
        self._dispatch = dispatch
        self._size = size
        self._living = living
        self._selector: BaseSelector | None = None
        self._processes = _processes()
        self._process: PipedProcess | None = None
        self._heard = b""
        self._up = self._was_up = self._stopped = False
        self._offers: deque[Offered] = deque()
        self._held: dict[tuple[str, int], Offered] = {}  # by the task and its attempt: an earlier one may end late
        self._said: tuple[float, Wanted | None] = (0.0, None)
        self._counted = float("-inf")  # when it was last asked who lives
        self._starts, self._start_at, self._down_since = 0, 0.0, 0.0
        self._trouble = ""
        self.executor = ""

    def open(self, selector: BaseSelector) -> None:
        """Starts its process, which takes a second to be there."""
        self._selector = selector
        self._start()

    def tend(self, idle: int, without: Sequence[str] = ()) -> None:
        """Says what should be dispatched: as many as its workers could take now and next."""
        if self._process is None and not self._stopped:
            self._restart()
        if not self._up or self._stopped:
            return
        now, (said_at, said) = time.monotonic(), self._said
        ready = self._ready(idle, without)
        room = len(self._held) + (idle if ready else 0)  # where nothing can come, nobody need look for it
        wanted = Wanted(ready, room, said.executors if said is not None else (), tuple(without))
        self._hand_back(len(self._offers) - idle)
        if wanted != said or now - said_at >= (REPEAT_SECONDS if ready else IDLE_SECONDS):
            if now - self._counted >= REPEAT_SECONDS:
                wanted, self._counted = replace(wanted, executors=self._living()), now
            self._said = now, wanted
            self._say(wanted)

    def _hand_back(self, surplus: int) -> None:
        """Offers that no worker here is free for are for others, not for whoever here is free next."""
        for _ in range(surplus):
            offer = self._offers.pop()
            self._say(Done(offer.task, offer.attempt))

    def claim(self, owner: Owner, without: Sequence[str] = ()) -> Task | None:
        """The first of those that DBOS offered which the ledger lets start."""
        while self._offers:
            offer = self._offers.popleft()
            task = None if self._stopped else self._claimed(owner, offer.task, without)
            if task is not None:
                self._held[task.id, task.attempt] = offer
                return task
            self._say(Done(offer.task, offer.attempt))
        return None

    def _claimed(self, owner: Owner, task_id: str, without: Sequence[str]) -> Task | None:
        at_once = self._dispatch.at_once
        return self._queue.claim(owner, task_id, at_once=at_once, if_ready=True, without=without)

    def let_go(self, task: Task) -> None:
        """Its dispatch ends."""
        offer = self._held.pop((task.id, task.attempt), None)
        if offer is not None:
            self._say(Done(offer.task, offer.attempt))

    def stop(self) -> None:
        """What was offered and not claimed is for other crews."""
        if not self._stopped:
            self._stopped = True
            self._say(Wanted((), 0, ()))
            for offer in self._offers:
                self._say(Done(offer.task, offer.attempt))
            self._offers.clear()

    def close(self) -> None:
        """Its process ends within seconds, or is killed."""
        self.stop()
        if self._process is not None:
            self._process.hang_up()
            if not self._process.ends_within(_END_SECONDS):
                self._process.kill()
            self._bury()
        self._processes.close()

    def _ready(self, idle: int, without: Sequence[str]) -> tuple[Ready, ...]:
        most = idle + self._size
        if self._dispatch.at_once is not None:
            most = min(most, self._dispatch.at_once - self._queue.count_running())
        tasks = self._queue.ready(most, without) if most > 0 else ()
        return tuple(Ready(task.id, task.attempt, _rank(task.terms.priority), task.models) for task in tasks)

    # ── its process ──

    def _start(self) -> None:
        self._starts += 1
        self.executor = f"{Owner.this_process()}:{uuid4().hex[:8]}"
        self._process, self._heard, self._said = self._processes.start(), b"", (0.0, None)
        self._counted = float("-inf")
        os.set_blocking(self._process.answers, False)
        if self._selector is not None:
            self._selector.register(self._process.answers, EVENT_READ, self._hear)
        to = self._dispatch
        self._say(Setup(to.url, to.queue, self.executor, to.at_once, to.starts_per_minute))

    def _restart(self) -> None:
        now = time.monotonic()
        if rights := rights_needed(self._trouble, self._dispatch.url):
            raise CairnError("This role may not use what hands out tasks.", f"{self._trouble.rstrip('.')}.", rights)
        if self._starts >= _FALSE_STARTS if not self._was_up else now - self._down_since > PATIENCE_SECONDS:
            raise CairnError(
                "The engine does not run: DBOS gives up each time.",
                self._trouble or "It said nothing.",
                ("cairn doctor   looks for the cause.", "cairn work   tries it again."),
            )
        if now >= self._start_at:
            self._start()

    def _say(self, message: Message) -> None:
        if self._process is not None:
            self._process.say(to_line(message))  # if it died, its answers end, which tells

    def _hear(self) -> None:
        if self._process is None:
            return
        try:
            data = os.read(self._process.answers, _READ_BYTES)
        except BlockingIOError:
            return
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            self._take(from_line(line))
        if not data:
            self._bury()

    def _take(self, message: Message) -> None:
        match message:
            case Up():
                self._up, self._was_up, self._starts, self._trouble = True, True, 0, ""
            case Offered(task=task, attempt=attempt) if self._stopped:
                self._say(Done(task, attempt))
            case Offered():
                self._offers.append(message)
            case Trouble(why=why):
                self._trouble = why
            case _:
                pass

    def _bury(self) -> None:
        """What it had offered is offered again by the next one; what runs needs it no more."""
        process, self._process = self._process, None
        if process is None:
            return
        if self._selector is not None:
            self._selector.unregister(process.answers)
        process.bury()
        now = time.monotonic()
        self._down_since = now if self._up else self._down_since
        self._start_at = now + _PAUSES[min(self._starts, len(_PAUSES) - 1)]
        self._up = False
        self.executor = ""
        self._offers.clear()
        self._held.clear()


def rights_needed(why: str, url: str) -> tuple[str, ...]:
    """What to grant the URL's role where that is what keeps the engine from running; else nothing."""
    if not why.startswith("permission denied for"):
        return ()
    try:
        parts = urlsplit(url)
        role, database = unquote(parts.username or "") or "ROLE", unquote(parts.path[1:]) or "DATABASE"
    except ValueError:
        role, database = "ROLE", "DATABASE"
    tables = f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA}"
    return (
        f'GRANT USAGE ON SCHEMA {SCHEMA} TO "{role}"; {tables} TO "{role}";   is what a worker needs.',
        f'GRANT CREATE ON DATABASE "{database}" TO "{role}";   too, where no worker has made that schema yet.',
    )


def trial(dispatch: Dispatch, seconds: float) -> str:
    """What keeps the engine from running here, found by starting it once; nothing if nothing does."""
    with closing(_processes(forks=False)) as processes:
        process = processes.start()
        try:
            setup = Setup(dispatch.url, dispatch.queue, "trial", dispatch.at_once, dispatch.starts_per_minute)
            process.say(to_line(setup))
            line = process.hear_line(seconds)
            match from_line(line) if line else None:
                case Up():
                    return ""
                case Trouble(why=why):
                    return why
                case _:
                    return "it does not answer"
        finally:
            process.kill()
            process.bury()


def _processes(*, forks: bool | None = None) -> PipedProcesses:
    return PipedProcesses("cairn.engines.dbos_process", quiet=True, forks=forks)


def _rank(priority: int) -> int:
    return max(1, min(_MIDDLE - priority, 2 * _MIDDLE - 1))

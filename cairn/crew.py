"""The worker processes of `cairn work`: gives them tasks, hears from them, replaces those that die, ends them all.

One process watches the ledger for all, so that waiting costs next to nothing however many workers there are. Which task
comes next is the engine's to say.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from cairn import __version__
from cairn.crew_messages import Has, Lacks, Message, Ready, RunTask, StopNow, TaskEnded, Told, from_line
from cairn.engines.chosen import chosen_engine
from cairn.errors import CairnError, IllegalMove, Interrupted, StorageProblem
from cairn.fleet import BEAT_SECONDS, Fleet, SeenCrew
from cairn.lacks import Lack, Wants
from cairn.language_model import settings_mark
from cairn.ledger_watch import LedgerWatch
from cairn.message_lines import to_line
from cairn.model_lacks import CrewLacks
from cairn.prepared_process import PipedProcess, PipedProcesses
from cairn.task import Task, TaskStatus
from cairn.task_holds import at
from cairn.task_owner import Owner
from cairn.wanted_tasks import Variants, Wanted

if TYPE_CHECKING:
    from cairn.orchestrator import Orchestrator

TICK_SECONDS = 1.0  # how often it looks for dead workers of others, and for deadlines
JUMP_SECONDS = 2.0  # by which the clock may be off after a tick before it has jumped
AWAY_SECONDS = 10.0  # between two looks at the ledger: it was out of reach, perhaps for others too
SETTLE_SECONDS = 5.0  # after a jump only a process that has ended is taken for dead
PATIENCE_SECONDS = 31.0  # a task that starts by itself within this time is waited for
STUCK_SECONDS = 2.0  # in one look at the ledger, which takes milliseconds where there is one
STOP_SECONDS = 15.0  # a worker that was told to stop has so long to give its task back
FALSE_STARTS = 3  # workers in a row that end before they are ready
_READ_BYTES = 65_536
_DONE = frozenset({TaskStatus.IN_REVIEW, TaskStatus.ACCEPTED, TaskStatus.REJECTED, TaskStatus.WAITING})


@dataclass(slots=True, eq=False)
class _Member:
    process: PipedProcess
    owner: Owner = field(init=False)  # from when it is ready
    ready: bool = False
    task: Task | None = None
    tries: frozenset[str] = frozenset()  # what its task needs and was lacking
    leaves: bool = False  # with its task: what it has loaded of llm knows no more
    heard: bytes = b""

    @property
    def idle(self) -> bool:
        return self.ready and self.task is None and not self.leaves


@dataclass(slots=True)
class Tally:
    """What a crew did: each task's last end, in order."""

    ended: dict[str, TaskEnded] = field(default_factory=dict)
    stopped: bool = False

    def count(self, status: TaskStatus) -> int:
        """How many ended so."""
        return sum(each.status == status and not each.lost for each in self.ended.values())


class Crew:
    """Up to `size` worker processes. `tell` gets a task's id and a line about it, for people.

    With `variants` it runs these alone, and a first signal stops them.
    """

    def __init__(
        self,
        orchestrator: Orchestrator,
        size: int,
        tell: Callable[[str, str], None],
        *,
        verbose: bool = False,
        variants: Variants | None = None,
    ) -> None:
        self._orchestrator = orchestrator
        self._queue = orchestrator.queue
        self._size = size
        self._tell = tell
        self._variants = variants
        self._at_once = orchestrator.settings.budget.tasks_at_once
        self._fleet = Fleet(self._queue.place)
        self._engine = chosen_engine(self._queue, orchestrator.settings, size, self._fleet, variants)
        self._id, self._started = f"{Owner.this_process()}:{os.urandom(4).hex()}", self._fleet.now()
        pause_seconds = orchestrator.settings.retry.pause_seconds
        self._lacks = CrewLacks(self._id, self._queue.database, self._queue.clock, pause_seconds, settings_mark)
        self._said: tuple[float, SeenCrew | None] = (0.0, None)
        self._signals_to_stop = 1 if variants else 2
        self._processes = PipedProcesses("cairn.crew_member", str(orchestrator.project.root), str(int(verbose)))
        self._members: list[_Member] = []
        self._false_starts: set[int | None] = set()
        self._signals = 0
        self._looked = time.monotonic()  # when the ledger was last looked after, and what the clock said then
        self._clock = time.time()
        self._jumped = -SETTLE_SECONDS
        self._asking_since: float | None = None  # it looks after its work, and may wait for a ledger that is away
        self._ledger_is_away = False
        self.tally = Tally()

    def work(self, *, forever: bool = False) -> Tally:
        """Until no task can start and none runs; `forever`: until it is told to end.

        A first SIGTERM, SIGINT or SIGHUP lets running tasks come to their end and claims no other; a second one stops
        them, and they are queued again.
        """
        with (
            LedgerWatch(self._queue.place) as watch,
            closing(self._fleet),
            closing(self._processes),
            self._hearing_signals(watch),
            closing(self._engine),
        ):
            try:
                self._engine.open(watch.selector)
                if self._variants is None:
                    self._lacks.open(self._fleet.living())
                while not self._step(watch, forever=forever):
                    patience = self._patience()
                    self._asking_since = None
                    keys = watch.wait(patience)
                    self._asking_since = time.monotonic()
                    self._hear(watch, keys)
            except StorageProblem:
                self._ledger_is_away = True
                raise
            finally:
                self._end(watch)
                if not self._ledger_is_away:
                    self._fleet.leave(self._id)
        return self.tally

    def _step(self, watch: LedgerWatch, *, forever: bool) -> bool:
        """Everything that is to do now; True when nothing is left to wait for."""
        self._look_after_the_ledger()
        self._show()
        running = [member for member in self._members if member.task is not None]
        if self._signals:
            self._engine.stop()
            self.tally.stopped = self._signals >= self._signals_to_stop
            return self.tally.stopped or not running
        started = self._hand_out(watch, forever=forever)
        starting = any(not member.ready for member in self._members)
        return not (forever or running or started or starting or self._starts_soon() or self._is_waited_for())

    def _is_waited_for(self) -> bool:
        """Tasks could start, but others run as many as the budget allows, or the engine has yet to bring them."""
        return (self._at_once is not None or self._engine.brings_later) and self._ready(1) > 0

    def _ready(self, most: int) -> int:
        return self._queue.count_ready(most, self._variants, self._without())

    def _without(self) -> tuple[str, ...]:
        """The models whose tasks it leaves to others now."""
        if not self._lacks:
            return ()
        return self._lacks.shut({name for member in self._members if member.task for name in member.task.models})

    def _look_after_the_ledger(self) -> None:
        if time.monotonic() - self._looked < TICK_SECONDS:
            return
        self._queue.expire()  # which may wait for a server that is away
        now, clock = time.monotonic(), time.time()
        since = now - self._looked
        if abs((clock - self._clock) - since) > JUMP_SECONDS or since > AWAY_SECONDS:
            self._jumped = now  # a laptop woke up, or nobody reached the ledger: the living have yet to renew leases
        self._looked, self._clock = now, clock
        self._lacks.look()
        for task in self._orchestrator.recovery.recover_abandoned(by_lease=now - self._jumped > SETTLE_SECONDS):
            self._tell(task.id, f"{task.status}: {task.reason}")

    def _show(self) -> None:
        """Says that the crew is there: every few seconds, and at once when something about it changed."""
        said_at, said = self._said
        now = SeenCrew(
            self._id, Owner.this_process(), __version__, self._engine.name, self._engine.executor, self._size,
            tuple(member.owner for member in self._members if member.ready), bool(self._signals), self._started,
        )  # fmt: skip
        if now != said or time.monotonic() - said_at >= BEAT_SECONDS:
            self._fleet.beat(now)
            self._said = time.monotonic(), now

    def _hand_out(self, watch: LedgerWatch, *, forever: bool) -> bool:
        """Gives tasks to idle workers, and starts further workers for what is left; True if there was something."""
        found = False
        idle = [member for member in self._members if member.idle]
        self._engine.tend(len(idle), self._without())
        for member in idle:
            task = self._engine.claim(member.owner, self._without())
            if task is None:
                break
            found = True
            member.task, member.tries = task, frozenset(self._lacks.tries(task.models))
            self._tell(task.id, f"started: {task.request}")
            self._send(member, RunTask(task.id, task.attempt, tuple(member.tries)))
        waiting = sum(not member.ready or member.idle for member in self._members)
        missing = self._size - len(self._members)
        if missing > 0:
            wanted = missing if forever else min(missing, self._ready(self._size) - waiting)
            for _ in range(wanted):
                self._members.append(self._start(watch))
        return found

    def _starts_soon(self) -> bool:
        due = self._queue.due_at(self._variants, self._without())
        if due is not None and due - self._queue.clock() < PATIENCE_SECONDS:
            return True
        later = self._lacks.shut(ahead=PATIENCE_SECONDS)
        return bool(self._lacks) and self._queue.count_ready(1, self._variants, later) > 0

    def _patience(self) -> float:
        due = self._queue.due_at(self._variants, self._without())
        return TICK_SECONDS if due is None else min(TICK_SECONDS, max(0.0, due - self._queue.clock()))

    # ── the processes ──

    def _start(self, watch: LedgerWatch) -> _Member:
        member = _Member(self._processes.start())
        watch.selector.register(member.process.answers, 1, member)
        return member

    def _send(self, member: _Member, message: Message) -> None:
        member.process.say(to_line(message))  # if it died, what it had is taken from it when its answers end

    def _hear(self, watch: LedgerWatch, keys: list[selectors.SelectorKey]) -> None:
        for key in keys:
            if not isinstance(key.data, _Member):
                key.data()
                continue
            member = key.data
            data = os.read(member.process.answers, _READ_BYTES)
            *lines, member.heard = (member.heard + data).split(b"\n")
            for line in lines:
                self._heard(member, from_line(line))
            if not data:
                self._bury(watch, member)

    def _heard(self, member: _Member, message: Message) -> None:
        match message:
            case Ready(pid=pid):
                member.owner, member.ready = Owner.of(pid), True
                self._false_starts.clear()
            case Told(task=task, text=text):
                self._tell(task, text)
            case Lacks():
                self._lacking(member, message)
            case Has(model=model):
                self._lacks.end(model)
            case TaskEnded(status=status):
                if status in _DONE:  # it may have needed no answer
                    for model in member.tries:
                        self._lacks.end(model)
                self._is_free(member)
                self._ended(message)

    def _lacking(self, member: _Member, said: Lacks) -> None:
        """Its task goes back to the queue; this crew takes none of that model for a while."""
        task, lack = member.task, Lack(said.model, Wants(said.wants), said.why, said.fix)
        if task is None:
            return
        is_news = lack.model not in self._lacks.shut()
        until = self._lacks.begin(lack, "" if task.waits_for == task.model else task.waits_for)
        member.tries -= {lack.model}
        member.leaves = lack.wants is Wants.MODEL
        if is_news:
            when = at(until, self._queue.clock())
            self._tell("", f"{lack.model} cannot be asked here; until {when} its tasks are left to other workers")

    def _is_free(self, member: _Member) -> None:
        if member.task is not None:
            self._engine.let_go(member.task)
        member.task = None
        if member.leaves:
            self._send(member, StopNow())

    def _ended(self, end: TaskEnded) -> None:
        self.tally.ended.pop(end.task, None)
        self.tally.ended[end.task] = end
        if end.lost:
            self._tell(end.task, "another worker has it now")
            return
        changes = f": {end.changes}" if end.changes else ""
        reason = f" ({end.reason})" if end.reason else ""
        self._tell(end.task, f"{end.status}{changes}{reason}, {end.seconds:.1f} s")

    def _bury(self, watch: LedgerWatch, member: _Member) -> None:
        """A worker ended. What it ran goes on elsewhere, unless it ended its worker too often."""
        watch.selector.unregister(member.process.answers)
        self._members.remove(member)
        code = member.process.bury()
        if member.task is not None:
            self._take_back(member.task, _cause(code))
            self._is_free(member)
        elif not member.ready and not self._signals:
            self._false_starts.add(member.process.blamed)
            if len(self._false_starts) >= FALSE_STARTS:
                raise CairnError(
                    f"The worker processes do not start: {_cause(code)}.",
                    "What they said stands above.",
                    "cairn doctor   looks for the cause.",
                )

    def _take_back(self, task: Task, how: str) -> None:
        if self._ledger_is_away:
            return
        with suppress(IllegalMove):  # it had given it back, or another process was faster
            moved = self._orchestrator.recovery.take_from_the_dead(task, how)
            end = TaskEnded(task.id, moved.status, moved.reason)
            self.tally.ended[task.id] = end
            self._tell(task.id, f"{moved.status}: {moved.reason}")

    def _end(self, watch: LedgerWatch) -> None:
        """No process of the crew is left, and every task that one had is queued again."""
        self._asking_since = None
        self._engine.stop()
        for member in self._members:
            self._send(member, StopNow())
            member.process.hang_up()
        deadline = time.monotonic() + STOP_SECONDS
        while self._members:
            left = deadline - time.monotonic()
            if left <= 0 or self._signals > self._signals_to_stop:  # whoever says it once more waits for nothing
                for member in self._members:
                    member.process.kill()
            try:
                self._hear(watch, self._woken(watch, max(0.05, min(left, TICK_SECONDS))))
            except CairnError:  # what they had goes on once somebody notices
                self._ledger_is_away = True

    def _woken(self, watch: LedgerWatch, seconds: float) -> list[selectors.SelectorKey]:
        """By anything; also when the ledger cannot be watched any more."""
        if not self._ledger_is_away:
            return watch.wait(seconds)
        time.sleep(0.05)
        return [key for key, _ in watch.selector.select(0) if callable(key.data) or isinstance(key.data, _Member)]

    # ── signals ──

    @contextmanager
    def _hearing_signals(self, watch: LedgerWatch) -> Iterator[None]:
        heard, rings = os.pipe()
        for end in (heard, rings):
            os.set_blocking(end, False)
        watch.selector.register(heard, 1, partial(os.read, heard, _READ_BYTES))  # its handler has counted it
        kinds = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {kind: signal.signal(kind, self._signalled) for kind in kinds}
        ringing = signal.set_wakeup_fd(rings)  # so that a signal ends the waiting at once
        try:
            yield
        finally:
            signal.set_wakeup_fd(ringing)
            for kind, handler in before.items():
                signal.signal(kind, handler)
            watch.selector.unregister(heard)
            os.close(heard)
            os.close(rings)

    def _signalled(self, _number: int, _frame: object) -> None:
        self._signals += 1
        running = sum(member.task is not None for member in self._members)
        if self._signals < self._signals_to_stop and running:
            tasks = "1 task" if running == 1 else f"{running} tasks"
            self._tell("", f"finishing {tasks}, claiming no other; once more stops now")
        if self._signals >= self._signals_to_stop and self._is_stuck():
            self._ledger_is_away = True
            raise Interrupted(
                "Stopped while the ledger did not answer.",
                "What ran is queued again as soon as it does.",
                "cairn work   goes on where it stopped.",
            )

    def _is_stuck(self) -> bool:
        return self._asking_since is not None and time.monotonic() - self._asking_since > STUCK_SECONDS


def _cause(code: int | None) -> str:
    if code is None:
        return "its worker ended, and nobody saw how"
    if code < 0:
        with suppress(ValueError):
            return f"its worker was ended by {signal.Signals(-code).name}"
    return f"its worker ended with exit code {code}"


def left_over(orchestrator: Orchestrator, *, shown: int) -> tuple[tuple[tuple[Task, str], ...], int]:
    """Queued tasks that did not start, each with what keeps it from it, and how many more there are."""
    tasks, more = orchestrator.queue.listed(Wanted((TaskStatus.QUEUED,)), limit=shown)
    holds = orchestrator.queue.holds(tasks)
    return tuple((task, holds.get(task.id, task.reason)) for task in tasks), more

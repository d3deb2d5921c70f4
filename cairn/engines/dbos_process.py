"""DBOS Transact as Cairn uses it: `python -m cairn.engines.dbos_process`, for `cairn.engines.dbos` alone.

A workflow is one dispatch: it says to the crew that a task is its own, and ends when that is over. It has no step and
no result, for the ledger keeps all that counts; a workflow that is lost or made twice costs nothing but a moment.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NoReturn

from dbos import DBOS, DBOSClient, Queue, Serializer, WorkflowStatus
from sqlalchemy import ColumnElement, Engine, event, or_
from sqlalchemy.exc import ProgrammingError

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
from cairn.message_lines import to_line
from cairn.prepared_process import answering

APPLICATION = "cairn"
VERSION = "cairn-wf-1"  # only to be raised when dispatches of before must not be taken any more
WORKFLOW = "run_task"
POLL_SECONDS = 0.02  # between looks for work, where there is a free worker, and a task that others dispatch
CALM_SECONDS = 0.1  # instead, once it has asked in vain for a while
VAIN_SECONDS = 1.0
_AT_ONCE_SECONDS = 0.001  # DBOS waits before each look; here it is awaited whether there is one to make
_NEVER_SECONDS = 86_400.0
_LISTENING_SECONDS = 3.0  # DBOS looks for queues each second, and only then is this process up
_COMING_SECONDS = 5.0  # from a dispatch's row to its thread
CLEAN_SECONDS = 10.0
KEPT_SECONDS = 120.0  # longer than the minute in which starts are counted
_CONNECTIONS = 3
_AT_ONCE = 500
_ENDING_SECONDS = 2.0
_WRITING_SECONDS = 0.1  # between the end of a dispatch here and its end in the database
_LIVE = frozenset({"ENQUEUED", "PENDING", "DELAYED"})
_ENDED = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]


class _Json(Serializer):
    """Instead of pickle, with which whoever can write the database could run code here."""

    def serialize(self, data: Any) -> str:
        return json.dumps(data, default=str)

    def deserialize(self, serialized_data: str) -> Any:
        return json.loads(serialized_data)

    def name(self) -> str:
        return "cairn_json"


class _Hands:
    """The dispatches that wait in this process, each in a thread of DBOS."""

    def __init__(self, tell: Callable[[Message], None]) -> None:
        self._tell = tell
        self._turn = threading.Condition()
        self._waiting: dict[tuple[str, int], threading.Event] = {}
        self._coming: dict[str, float] = {}  # workflows whose row is this process's, and whose thread is not there yet
        self.answers = threading.Event()  # the database does; what ends while it does not would be stuck
        self.room = 0
        self.without: tuple[str, ...] = ()
        self.stopped = False
        self._is_stirred = False
        self._stirred = self._looked = 0.0  # when something last came, or was expected to; when it was looked for

    def wait(self, workflow: str, task: str, attempt: int) -> None:
        over = threading.Event()
        with self._turn:
            self._coming.pop(workflow, None)
            if (task, attempt) in self._waiting or self.stopped:
                return
            self._waiting[task, attempt] = over
            self._stirred = time.monotonic()
        self._tell(Offered(task, attempt))
        over.wait()
        self.answers.wait()
        with self._turn:
            del self._waiting[task, attempt]

    def end(self, task: str, attempt: int) -> None:
        """Its place is free at once: DBOS writes its end while the next one comes."""
        with self._turn:
            over = self._waiting.get((task, attempt))
            if over is not None:
                over.set()
                self._stir()

    def want(self, wanted: Wanted) -> None:
        """As the crew says it, from now on."""
        with self._turn:
            more = wanted.room > self.room
            self.without, self.room, self.stopped = wanted.without, wanted.room, not wanted.executors
            if more:
                self._stir()

    def stir(self) -> None:
        """There is something to look for now."""
        with self._turn:
            self._stir()

    def _stir(self) -> None:
        self._is_stirred, self._stirred = True, time.monotonic()
        self._turn.notify_all()

    def await_look(self) -> None:
        """Returns when there may be a dispatch for a worker that is free; of idle workers it asks nothing at all."""
        with self._turn:
            while True:
                left = self._until_look()
                if left <= 0.0:
                    break
                self._turn.wait(left)
            self._is_stirred, self._looked = False, time.monotonic()

    def _until_look(self) -> float:
        if self.room <= self._count():
            return _NEVER_SECONDS
        now = time.monotonic()
        patience = POLL_SECONDS if now - self._stirred < VAIN_SECONDS else CALM_SECONDS
        return 0.0 if self._is_stirred else self._looked + patience - now

    def comes(self, workflows: Iterable[str]) -> None:
        """Their rows are this process's."""
        with self._turn:
            self._coming |= dict.fromkeys(workflows, time.monotonic())

    @property
    def count(self) -> int:
        """The places that are taken."""
        with self._turn:
            return self._count()

    def _count(self) -> int:
        since = time.monotonic() - _COMING_SECONDS
        self._coming = {each: at for each, at in self._coming.items() if at > since}
        return len(self._coming) + sum(not over.is_set() for over in self._waiting.values())

    def has(self, workflow: str) -> bool:
        """True for a dispatch that waits here, or comes."""
        task, _, attempt = workflow.rpartition(":")
        with self._turn:
            return workflow in self._coming or (task.rpartition(":")[2], int(attempt)) in self._waiting

    def end_all(self) -> None:
        with self._turn:
            self.room, self.stopped = 0, True
            events = list(self._waiting.values())
        self.answers.set()
        for over in events:
            over.set()

    @property
    def are_empty(self) -> bool:
        with self._turn:
            return not self._waiting


class _Sweeper:
    """Sees to it that each wanted task has a dispatch, and that those of dead crews and of the past are gone."""

    def __init__(self, setup: Setup, hands: _Hands) -> None:
        self._queue = setup.queue
        self._executor = setup.executor
        self._hands = hands
        self._client = DBOSClient(
            system_database_url=_address(setup.url),
            dbos_system_schema=SCHEMA,
            serializer=_Json(),
            system_database_pool_size=1,
            application_name=APPLICATION,
            retry_connection_errors=False,
            lazy=True,
        )
        self._change = threading.Condition()
        self._wanted: Wanted | None = None
        self._cleaned = time.monotonic()

    def want(self, wanted: Wanted) -> None:
        with self._change:
            self._wanted = wanted
            self._change.notify()

    def run(self) -> None:
        """Until the process ends."""
        while True:
            with self._change:
                if self._wanted is None:
                    self._change.wait()
                wanted, self._wanted = self._wanted, None
            if wanted is None or not wanted.executors:  # the crew comes to its end
                continue
            living = frozenset({*wanted.executors, self._executor})
            try:
                self._dispatch(wanted.ready, living)
                self._clean(living)
            except ProgrammingError as error:  # somebody deleted its tables: a new process makes new ones
                _give_up(error)
            except Exception:  # noqa: BLE001 - the database is away for a while; what is wanted is said again
                self._hands.answers.clear()
                time.sleep(CALM_SECONDS)
            else:
                self._hands.answers.set()

    def _dispatch(self, ready: Iterable[Ready], living: frozenset[str]) -> None:
        ids = {f"{self._queue}:{each.task}:{each.attempt}": each for each in ready}
        if not ids:
            return
        found = self._list(workflow_ids=list(ids))
        live = {each.workflow_id for each in found if _is_live(each, living) and _says(each, ids[each.workflow_id])}
        self._delete([each for each in found if each.workflow_id not in live])
        for workflow, each in ids.items():  # in the ledger's order, which DBOS keeps among equals
            if workflow not in live:
                self._enqueue(workflow, each)
                self._hands.stir()

    def _enqueue(self, workflow: str, ready: Ready) -> None:
        self._client.enqueue(
            {
                "workflow_name": WORKFLOW,
                "queue_name": self._queue,
                "workflow_id": workflow,
                "app_version": VERSION,
                "priority": ready.rank,
                "queue_partition_key": _needs(ready.models),  # the queue has no partitions: only for `_left_to_others`
            },
            ready.task,
            ready.attempt,
        )

    def _clean(self, living: frozenset[str]) -> None:
        now = time.monotonic()
        if now - self._cleaned < CLEAN_SECONDS:
            return
        self._cleaned = now
        before = datetime.fromtimestamp(time.time() - KEPT_SECONDS, UTC).isoformat()
        self._delete(self._list(queue_name=self._queue, status=_ENDED, completed_before=before, limit=_AT_ONCE))
        begun = self._list(queue_name=self._queue, status="PENDING")
        self._delete([each for each in begun if not _is_live(each, living) or self._is_lost(each)])

    def _is_lost(self, workflow: WorkflowStatus) -> bool:
        """One that ended here, and a server that broke down forgot it."""
        since = (time.time() - CLEAN_SECONDS) * 1000
        mine = workflow.executor_id == self._executor and (workflow.updated_at or 0) < since
        return mine and not self._hands.has(workflow.workflow_id)

    def _list(self, **which: Any) -> list[WorkflowStatus]:
        return self._client.list_workflows(load_input=False, load_output=False, **which)

    def _delete(self, workflows: list[WorkflowStatus]) -> None:
        ids = [each.workflow_id for each in workflows]
        if begun := [each.workflow_id for each in workflows if each.status in _LIVE]:
            self._client.cancel_workflows(begun)
        if ids:
            self._client.delete_workflows(ids)


def _is_live(workflow: WorkflowStatus, living: frozenset[str]) -> bool:
    return workflow.status in _LIVE and (workflow.status != "PENDING" or workflow.executor_id in living)


def _says(workflow: WorkflowStatus, ready: Ready) -> bool:
    """Whether one that waits still has the task's models and rank, which may change before its next attempt."""
    said = (workflow.queue_partition_key or "", workflow.priority)
    return workflow.status != "ENQUEUED" or said == (_needs(ready.models), ready.rank)


def _address(url: str) -> str:
    """SQLAlchemy does not know the shorter name of the scheme, which Postgres' own tools take."""
    return "postgresql" + url.removeprefix("postgres") if url.startswith("postgres://") else url


def _launch(setup: Setup, hands: _Hands) -> None:
    """Connects, makes the tables that are missing, and listens to the project's queue alone."""
    instance = DBOS(
        config={
            "name": APPLICATION,
            "system_database_url": _address(setup.url),
            "dbos_system_schema": SCHEMA,
            "sys_db_pool_size": _CONNECTIONS,
            "application_version": VERSION,
            "executor_id": setup.executor,
            "serializer": _Json(),
            "use_listen_notify": False,
            "scheduler_polling_interval_sec": 3600.0,
            "notification_listener_polling_interval_sec": 3600.0,
        }
    )

    @DBOS.workflow(name=WORKFLOW)
    def _run_task(task: str, attempt: int) -> None:
        hands.wait(f"{setup.queue}:{task}:{attempt}", task, attempt)

    DBOS.listen_queues([setup.queue])
    instance._registry.get_internal_queue()._polling_interval_sec = _NEVER_SECONDS  # noqa: SLF001 - nothing is in it
    DBOS.launch()
    instance._background_jobs_stop_event.set()  # noqa: SLF001 - for delays and time limits, which the ledger has
    starts = setup.starts_per_minute
    queue = DBOS.register_queue(
        setup.queue,
        worker_concurrency=1,
        global_concurrency=setup.at_once,
        limiter=None if starts is None else {"limit": starts, "period": 60.0},
        polling_interval_sec=CALM_SECONDS,
        on_conflict="always_update",
    )
    _bound_by_room(instance, queue, hands)
    _left_to_others(instance, hands)
    end = time.monotonic() + _LISTENING_SECONDS
    while not any(each.name == f"queue-worker-{queue.name}" for each in threading.enumerate()):
        if time.monotonic() > end:
            break  # then it is called something else in this DBOS
        time.sleep(0.01)


def _bound_by_room(instance: DBOS, queue: Queue, hands: _Hands) -> None:
    """DBOS keeps one `worker_concurrency` for all processes of a queue; each crew has workers of its own number.

    It reads the queue anew before each look for work. This reading is answered here, with the room there is and without
    asking the database, and not before there is something to look for. So a crew whose workers are busy, or which the
    ledger has no task for, asks nothing at all. What runs is counted here too: a dispatch that has ended, and whose end
    is being written, takes no place any more, and one that is about to come does.
    """
    database, claims = instance._sys_db, instance._sys_db.start_queued_workflows  # noqa: SLF001

    def get_queue(name: str, **_how: object) -> Queue | None:
        if name != queue.name:
            return None
        hands.await_look()
        queue._worker_concurrency, queue._polling_interval_sec = hands.room, _AT_ONCE_SECONDS  # noqa: SLF001
        return queue

    def start_queued_workflows(*which: Any, **how: Any) -> Any:
        found = claims(*which, **how)
        hands.comes(found[0])
        return found

    database.get_queue = get_queue  # type: ignore[method-assign]
    database.list_queues = lambda **_how: [queue]  # type: ignore[method-assign]
    database.start_queued_workflows = start_queued_workflows  # type: ignore[method-assign]
    instance._active_workflows_set.count_for_queue = lambda queue_name: hands.count  # type: ignore  # noqa: SLF001, ARG005, PGH003


def _left_to_others(instance: DBOS, hands: _Hands) -> None:
    """DBOS hands a queue's next dispatch to whichever process asks first. One that lacks its model does not see it.

    Handed back, it would come again, for as long as those who could run it are busy.
    """
    key = instance._sys_db.tables.workflow_status.c.queue_partition_key  # noqa: SLF001

    def claim_gate(_queue: str, _partition: str | None) -> list[ColumnElement[bool]]:
        return [or_(key.is_(None), ~key.contains(_needs([model]), autoescape=True)) for model in hands.without]

    instance._sys_db._claim_gate = claim_gate  # type: ignore[assignment,method-assign]  # noqa: SLF001


def _needs(models: Iterable[str]) -> str:
    """Each name between the same marks, so that it is found whole."""
    return "".join(f"\n{model}\n" for model in models)


def _spare_the_disk(connection: Any, _record: object) -> None:
    """Commits here do not wait for it. A server that breaks down loses the last dispatches; they are made anew."""
    cursor = connection.cursor()
    cursor.execute("SET synchronous_commit TO off")
    cursor.close()
    connection.commit()


def _silence() -> None:
    """DBOS says on stderr what its caller is told in another way, and much that nobody wants to know."""
    log = logging.getLogger("dbos")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    log.setLevel(logging.CRITICAL + 1)


_turn = threading.Lock()


def _tell(message: Message) -> None:
    line = to_line(message)
    with _turn:
        try:
            while line:
                line = line[os.write(1, line) :]
        except OSError:
            os._exit(1)


def _give_up(error: Exception) -> NoReturn:
    said = re.sub(r"^\([\w.]+\) ", "", str(error).partition("\n")[0]).strip()
    _tell(Trouble(said or type(error).__name__))
    os._exit(1)  # threads of DBOS that wait for the database would keep the process


def _end(hands: _Hands) -> NoReturn:
    """Not by `DBOS.destroy`, which waits for each of its threads; what is left undone the sweeps of others do."""
    hands.end_all()
    deadline = time.monotonic() + _ENDING_SECONDS
    while not hands.are_empty and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(_WRITING_SECONDS)
    os._exit(0)


def main() -> None:
    """Until its input ends: then the crew is gone, or wants it to go."""
    os.dup2(answering(lambda: None), 1)
    commands = sys.stdin.buffer
    setup = from_line(commands.readline())
    if not isinstance(setup, Setup):
        return
    _silence()
    event.listen(Engine, "connect", _spare_the_disk)
    hands = _Hands(_tell)
    try:
        _launch(setup, hands)
        sweeper = _Sweeper(setup, hands)
    except Exception as error:  # noqa: BLE001 - whatever it is, the crew decides what to do
        _give_up(error)
    hands.answers.set()
    threading.Thread(target=sweeper.run, daemon=True).start()
    _tell(Up())
    for line in commands:
        match from_line(line):
            case Wanted() as wanted:
                hands.want(wanted)
                sweeper.want(wanted)
            case Done(task=task, attempt=attempt):
                hands.end(task, attempt)
            case _:
                pass
    _end(hands)


if __name__ == "__main__":
    main()

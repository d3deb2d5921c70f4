"""The ledger of tasks: one per project, one statement per move, illegal moves refused by the database."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from cairn.acceptances import HeldElsewhere, holding
from cairn.claim_choice import ORDER, ClaimChoice, choice_values, whose
from cairn.errors import Conflict, IllegalMove, NotFound, UsageProblem
from cairn.lacks import Lack, Wants
from cairn.ledger_answer import Answer, Order, Values
from cairn.ledger_database import LedgerDatabase, opened, over_before
from cairn.ledger_place import LedgerFile, LedgerPlace
from cairn.task import OPEN, CodeOrigin, Outcome, PutOff, Task, TaskStatus, Terms, new_id, require_move
from cairn.task_holds import MISSING, PAUSES, SILENT_SECONDS, Pause, hold_in_words
from cairn.task_owner import Owner
from cairn.task_rows import COLUMNS, OF_ITS_LIFE, figures_of, row_of, task_of
from cairn.wanted_tasks import Variants, Wanted

LEASE_SECONDS = 30.0
DRAFT_SECONDS = 43_200.0  # within these a draft that works on a commit is queued, or the commit may be gone
RESERVED_SECONDS = 3600.0  # for a process that this machine cannot see
_ALL = 1 << 62
LEDGER = "cairn.db"  # its name in a project's .cairn folder

LATE = "its deadline passed before it ran"


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """One move of a task: `was` is None at its birth. `at` is seconds since the epoch."""

    at: float
    was: TaskStatus | None
    became: TaskStatus
    reason: str


class TaskQueue:
    """Durable tasks of one project; safe for many processes, and with a server many machines, at once.

    Every method raises StorageProblem (DamagedFile, DiskFull) when the ledger cannot serve it. `clock` is the one that
    leases, delays and deadlines go by: the ledger's own, unless one is given.
    """

    def __init__(
        self,
        ledger: Path | LedgerPlace,
        *,
        clock: Callable[[], float] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._db = opened(ledger)
        self.place = self._db.place
        self.clock = clock or self._db.now
        self._rng = rng or random.Random(os.urandom(16))
        self._found = f"{COLUMNS}, {self._db.dialect.needs}"
        self._choice = ClaimChoice.of(self._db.dialect)

    @property
    def database(self) -> LedgerDatabase:
        """The ledger's own connection, for what has to move together with a task."""
        return self._db

    def close(self) -> None:
        """Releases the ledger; further calls fail."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def found(self) -> None:
        """From now on the ledger is there for other processes, also while it has no task."""
        if isinstance(self.place, LedgerFile):
            self._db.write(lambda: None)

    def add(
        self,
        request: str,
        origin: CodeOrigin,
        *,
        retry_of: str | None = None,
        options: Mapping[str, str] | None = None,
        terms: Terms | None = None,
    ) -> Task:
        """A new queued task under an id that no other task of the project has."""
        return self.put([self.draft(request, origin, retry_of=retry_of, options=options, terms=terms)])[0]

    def draft(
        self,
        request: str,
        origin: CodeOrigin,
        *,
        retry_of: str | None = None,
        options: Mapping[str, str] | None = None,
        terms: Terms | None = None,
        model: str | None = None,
        base: str = "",
    ) -> Task:
        """A task under a free id that the ledger does not have yet; `put` puts it there.

        `model` is the exact name of the one that writes its programs, where the origin has an alias.
        `base` is the commit it works on, "" for the files on disk.
        """
        return Task(
            self._free_id(),
            request,
            origin,
            created_at=self.clock(),
            retry_of=retry_of,
            options=dict(options or {}),
            terms=terms or Terms(),
            model=model if model is not None else origin.name if origin.source == "model" else "",
            base=base,
        )

    def put(self, drafts: Sequence[Task], *, held_by: Owner | None = None) -> tuple[Task, ...]:
        """All of them are queued, or none; under another id where a draft's was taken meanwhile.

        For a key that an unfinished task has, that one is given back instead. Those `held_by` a process are for it
        alone, as long as it lives. Raises NotFound for one to come after that is not there.
        """
        # What a key or a task to come after says must not change meanwhile; else new rows disturb nobody.
        order = Order.ALONE if any(task.terms.key or task.terms.after for task in drafts) else Order.BESIDE
        return self._db.write(
            lambda: tuple(self.unfinished(task.terms.key) or self._put(task, held_by) for task in drafts), order=order
        )

    def _put(self, task: Task, held_by: Owner | None) -> Task:
        for needed in task.terms.after:
            if not self._has(needed):
                raise NotFound(
                    f"There is no task {needed} to come after.", fix="cairn list   shows the tasks there are."
                )
        self._require_fresh(task.base, task.created_at)
        while not self._insert(task, held_by):
            task = replace(task, id=self._free_id())  # of ten thousand drafts every second time two have one id
        return task

    def _require_fresh(self, base: str, since: float) -> None:
        """Inside a transaction, where the clock is right also after this machine slept (see KeptBases)."""
        if base and self.clock() - since > DRAFT_SECONDS:
            raise Conflict(
                "The task was not added: it works on a commit that may be gone by now.",
                f"It was drafted more than {DRAFT_SECONDS / 3600:.0f} hours ago.",
                "Give the command again.",
            )

    def unfinished(self, key: str | None) -> Task | None:
        """The task of that key which is queued, runs, waits or is in review; None for none, and without a key."""
        if key is None:
            return None
        marks = ",".join("?" * len(OPEN))
        found = self._select(f"WHERE key = ? AND status IN ({marks}) ORDER BY created_at LIMIT 1", (key, *OPEN))
        return found[0] if found else None

    def restore(self, task: Task, events: Sequence[TaskEvent] = ()) -> bool:
        """Puts a task here as it is, with the moves it made elsewhere; False when its id is here already."""
        moves = [(task.id, event.at, event.was, event.became, event.reason) for event in events]

        def put() -> bool:
            if self._has(task.id):
                return False
            self._db.executemany("INSERT INTO event (task, at, was, became, reason) VALUES (?, ?, ?, ?, ?)", moves)
            return self._insert(task)

        return self._db.write(put)

    def with_keys(self, prefix: str) -> tuple[Task, ...]:
        """Every task whose key begins so, the oldest first."""
        return tuple(self._select("WHERE key >= ? AND key < ? ORDER BY rowid", (prefix, f"{prefix}\U0010ffff")))

    def group(self, group: str) -> tuple[Task, ...]:
        """The variants of that name, the oldest first; none for another name."""
        return tuple(self._select("WHERE variant_group = ? ORDER BY rowid", (group,)))

    def group_of(self, name: str) -> str:
        """The group that a task's id, a group's name, or the beginning of one, stands for. NotFound for none."""
        try:
            task = self.get(name)
        except NotFound:
            if self.group(name.strip().lower()):
                return name.strip().lower()  # its first variant was deleted
            raise
        if task.terms.group is None:
            raise NotFound(
                f"Task {task.id} is no variant of another one.", fix='cairn run --variants 3 "..."   makes three.'
            )
        return task.terms.group

    def newest_group(self) -> str | None:
        """The group of the variant that was asked for last."""
        found = self._select("WHERE variant_group IS NOT NULL ORDER BY created_at DESC, rowid DESC LIMIT 1", ())
        return found[0].terms.group if found else None

    def release_key(self, task_id: str) -> None:
        """The task has no key any more: another one may come for the same thing."""
        self._change("UPDATE task SET key = NULL WHERE id = ?", (task_id,))

    def rewrite(self, task: Task, draft: Task) -> Task:
        """A task that never began asks for what the draft does, under its own id. IllegalMove when it has begun."""
        values = dict(zip(COLUMNS.split(", "), row_of(draft), strict=True))
        names = [name for name in values if name not in OF_ITS_LIFE]
        row = self._change(
            f"UPDATE task SET {', '.join(f'{name} = ?' for name in names)}"
            f" WHERE id = ? AND status = ? AND attempt = 0 AND owner IS NULL RETURNING {self._found}",
            (*(values[name] for name in names), task.id, TaskStatus.QUEUED),
        ).first()
        if row is None:
            raise IllegalMove(f"Task {task.id} has begun already.", fix=f"cairn show {task.id}")
        return task_of(row)

    def _insert(self, task: Task, held_by: Owner | None = None) -> bool:
        """Inside a transaction; False, and nothing done, when the id is taken."""
        now = self.clock()
        values = (*row_of(task), now, *_reservation(held_by, now))
        marks = ", ".join("?" for _ in values)
        put = self._db.execute(
            f"INSERT INTO task ({COLUMNS}, changed_at, owner, lease_until) VALUES ({marks})"
            " ON CONFLICT (id) DO NOTHING",
            values,
        )
        if put.count == 1 and task.terms.after:
            needs = [(task.id, needed) for needed in task.terms.after]
            self._db.executemany("INSERT INTO need VALUES (?, ?) ON CONFLICT DO NOTHING", needs)
            unmet = "SELECT count(*) FROM need WHERE need.task = ? AND NOT EXISTS"
            unmet += " (SELECT 1 FROM task WHERE id = needs AND status = 'accepted')"
            self._db.execute(f"UPDATE task SET unmet = ({unmet}) WHERE id = ?", (task.id, task.id))
        return put.count == 1

    def _has(self, task_id: str) -> bool:
        return bool(self._db.execute("SELECT 1 FROM task WHERE id = ?", (task_id,)).rows)

    def _free_id(self) -> str:
        while self._has(task_id := new_id(self._rng)):
            pass
        return task_id

    def get(self, prefix: str) -> Task:
        """The one task whose id starts with `prefix`. Raises NotFound for none, UsageProblem for several."""
        wanted = prefix.strip().lower()
        # An id has letters only, so that "~" sorts behind every continuation of the prefix.
        found = self._select("WHERE id >= ? AND id < ? ORDER BY id LIMIT 6", (wanted, wanted + "~")) if wanted else []
        if len(found) == 1:
            return found[0]
        if not wanted:
            raise UsageProblem("The task's id is empty.", fix="cairn list   shows the ids there are.")
        if not found:
            raise NotFound(
                f"No task has an id that starts with '{prefix[:80]}'.", fix="cairn list   shows the tasks there are."
            )
        names = ", ".join(task.id for task in found)
        raise UsageProblem(f"'{prefix}' fits more than one task: {names}.", fix="Type more letters of the id.")

    def tasks(self, statuses: Iterable[TaskStatus] = (), *, limit: int | None = None) -> tuple[Task, ...]:
        """Newest first; all statuses when none is named."""
        wanted = tuple(statuses)
        where = f"WHERE status IN ({','.join('?' * len(wanted))}) " if wanted else ""
        size = _ALL if limit is None else limit
        return tuple(self._select(f"{where}ORDER BY created_at DESC, rowid DESC LIMIT ?", (*wanted, size)))

    def listed(self, wanted: Wanted, *, limit: int) -> tuple[tuple[Task, ...], int]:
        """The newest of those that are wanted, and how many more there are."""
        where, values = wanted.clause(self._db.dialect)
        found = self._select(f"{where}ORDER BY created_at DESC, rowid DESC LIMIT ?", (*values, limit))
        if len(found) < limit:
            return tuple(found), 0
        (every,) = self._db.execute(f"SELECT count(*) FROM task {where}", values).rows[0]
        return tuple(found), int(every) - len(found)

    def holds(self, tasks: Iterable[Task]) -> Mapping[str, str]:
        """What keeps each of the queued tasks among these from starting, in words, by their ids."""
        queued = [task for task in tasks if task.status is TaskStatus.QUEUED]
        now = self.clock()
        pauses = {pause.model: pause for pause in self.pauses()}
        needs = {task.id: self._needs(task) for task in queued if task.terms.after}
        missing = self.missing()
        found = {task.id: hold_in_words(task, needs.get(task.id, {}), pauses, missing, now) for task in queued}
        return {task_id: words for task_id, words in found.items() if words}

    def pauses(self) -> tuple[Pause, ...]:
        """The models that are not asked now, and those that one task is about to try."""
        return tuple(Pause(*row) for row in self._db.execute(PAUSES).rows)

    def missing(self) -> Mapping[str, Lack]:
        """The models that no crew which is there can ask, and why the last one could not, by their names."""
        rows = self._db.execute(MISSING, {"heard": self.clock() - SILENT_SECONDS}).rows
        found = [Lack(model, Wants(wants), why, tuple(fix.splitlines())) for model, wants, why, fix in rows]
        return {lack.model: lack for lack in reversed(found)}

    def _needs(self, task: Task) -> dict[str, TaskStatus | None]:
        query = "SELECT needs, (SELECT status FROM task WHERE id = needs) FROM need WHERE task = ? ORDER BY needs"
        found = self._db.execute(query, (task.id,)).rows
        return {needed: TaskStatus(status) if status else None for needed, status in found}

    def begun(self, request: str, origin: CodeOrigin) -> Task | None:
        """The newest task for just this that has run before, and is queued or waits; no variant."""
        tail = (
            "WHERE status IN ('queued', 'waiting') AND attempt > 0 AND request = ? AND variant_group IS NULL"
            " ORDER BY created_at DESC, rowid DESC"
        )
        return next((task for task in self._select(tail, (request,)) if task.origin == origin), None)

    def events(self, task_id: str) -> tuple[TaskEvent, ...]:
        """Every move of the task, oldest first."""
        query = "SELECT at, was, became, reason FROM event WHERE task = ? ORDER BY number"
        rows = self._db.execute(query, (task_id,)).rows
        return tuple(TaskEvent(at, TaskStatus(was) if was else None, TaskStatus(to), why) for at, was, to, why in rows)

    def last_move(self) -> int:
        """The number of the newest move of any task; one with a smaller number may be about to be committed."""
        return int(self._db.execute("SELECT coalesce(max(number), 0) FROM event").rows[0][0])

    def moves_since(self, number: int, wanted: Wanted) -> tuple[tuple[int, Task, TaskEvent], ...]:
        """The moves after that one, oldest first, of tasks that are wanted now, each with its number."""
        rows = self._events_after(number)
        if any(row[0] != number + place for place, row in enumerate(rows, 1)):  # a missing one may come yet
            rows = self._db.write(lambda: self._events_after(number))
        where, values = wanted.clause(self._db.dialect)
        narrowed = f"{where}AND id = ?" if where else "WHERE id = ?"
        found = {task_id: self._select(narrowed, (*values, task_id)) for task_id in {row[1] for row in rows}}
        return tuple(
            (moved, task, TaskEvent(at, TaskStatus(was) if was else None, TaskStatus(to), why))
            for moved, task_id, at, was, to, why in rows
            for task in found[task_id]
        )

    def _events_after(self, number: int) -> list[Any]:
        query = "SELECT number, task, at, was, became, reason FROM event WHERE number > ? ORDER BY number"
        return self._db.execute(query, (number,)).rows

    def claim(
        self,
        owner: Owner,
        task_id: str | None = None,
        *,
        at_once: int | None = None,
        variants: Variants | None = None,
        if_ready: bool = False,
        without: Sequence[str] = (),
    ) -> Task | None:
        """The next queued task (or the named one) is running and held by `owner`; None when none may start.

        Next is the one of highest priority, of these the oldest, that may start now: not delayed, not after others, not
        of a paused model, not held by another process. A named one starts whatever its terms say, unless `if_ready`.
        None, too, when `at_once` tasks run already, by their leases. `variants`: only of these. `without`: none of
        these models, unless it is named. One statement, so that no two processes get the same task. The lease must be
        renewed by `heartbeat`.
        """
        choice, given = self._choice, choice_values(variants, without)
        named = task_id is not None
        chosen = choice.named(without, if_ready=if_ready) if named else choice.next_one(variants, without)
        full = "(SELECT count(*) FROM task AS other WHERE other.status = :running AND other.lease_until >= :over)"
        values = {"running": TaskStatus.RUNNING, "owner": str(owner), "id": task_id, "most": at_once, **given}
        statement = f"""UPDATE task SET status = :running, reason = '', owner = :owner, lease_until = :until,
                            started_at = :now, changed_at = :now, attempt = attempt + 1, cancel_asked_at = NULL
                        WHERE id = ({chosen}) {"" if at_once is None else f"AND {full} < :most"}
                        RETURNING {self._found}"""

        def take() -> Answer:
            if at_once is not None or self._db.execute("SELECT 1 FROM pause LIMIT 1").first() is not None:
                self._db.turn("claims")  # how many run, and who tries a paused model, is judged by other tasks' rows
            now = self.clock()
            over = {} if at_once is None else {"over": over_before(self._db, now)}
            until = now + LEASE_SECONDS
            return self._db.execute(statement, {**values, **over, "now": now, "until": until})

        row = self._db.write(take, order=Order.BESIDE).first()
        return task_of(row) if row else None

    def count_ready(self, most: int, variants: Variants | None = None, without: Sequence[str] = ()) -> int:
        """How many tasks may start now, counted up to `most`; none of the models `without`."""
        query = f"SELECT count(*) FROM ({self._choice.ready(variants, without)} LIMIT :most) AS ready"
        values = {"now": self.clock(), "most": most, **choice_values(variants, without)}
        return int(self._db.execute(query, values).rows[0][0])

    def ready(self, most: int, without: Sequence[str] = ()) -> tuple[Task, ...]:
        """The tasks that may start now, up to `most`, in the order in which they are claimed; none of these models."""
        tail = f"WHERE id IN ({self._choice.ready(None, without)} {ORDER} LIMIT :most) {ORDER}"
        return tuple(self._select(tail, {"now": self.clock(), "most": most, **choice_values(None, without)}))

    def count_running(self) -> int:
        """How many tasks run, by their leases, as `claim` counts them."""
        query = "SELECT count(*) FROM task WHERE status = ? AND lease_until >= ?"
        over = over_before(self._db, self.clock())
        return int(self._db.execute(query, (TaskStatus.RUNNING, over)).rows[0][0])

    def counts(self) -> Mapping[TaskStatus, int]:
        """How many tasks are in each status; those with none are left out."""
        rows = self._db.execute("SELECT status, count(*) FROM task GROUP BY status").rows
        return {TaskStatus(status): int(count) for status, count in rows}

    def holders(self) -> Mapping[str, Owner]:
        """Who holds each running task, by the tasks' ids."""
        query = "SELECT id, owner FROM task WHERE status = ? AND owner IS NOT NULL ORDER BY started_at, id"
        rows = self._db.execute(query, (TaskStatus.RUNNING,)).rows
        return {str(task_id): Owner.parse(owner) for task_id, owner in rows}

    def due_at(self, variants: Variants | None = None, without: Sequence[str] = ()) -> float | None:
        """When the next task that only time holds back may start: a delayed one, or one of a paused model.

        None of the models `without`.
        """
        free = whose(variants, without)
        query = f"""SELECT min(at) FROM (
            SELECT min(not_before) AS at FROM task WHERE status = 'queued' AND unmet = 0 AND {free}
                AND not_before > :now
            UNION ALL SELECT min(until) FROM pause WHERE until > :now AND EXISTS (SELECT 1 FROM task
                WHERE status = 'queued' AND unmet = 0 AND {free} AND pause.model IN (model, waits_for))) AS due"""
        (at,) = self._db.execute(query, {"now": self.clock(), **choice_values(variants, without)}).rows[0]
        return None if at is None else float(at)

    def expire(self) -> tuple[Task, ...]:
        """Queued tasks whose deadline has passed are failed."""
        now = self.clock()
        late = self._db.execute("SELECT id FROM task WHERE status = 'queued' AND deadline <= ?", (now,)).rows
        statement = f"""UPDATE task SET status = :failed, reason = :reason, changed_at = :now, finished_at = :now,
                            owner = NULL WHERE id = :id AND status = :queued AND deadline <= :now
                        RETURNING {self._found}"""
        values = {"failed": TaskStatus.FAILED, "reason": LATE, "now": now, "queued": TaskStatus.QUEUED}

        def fail() -> list[Any]:
            return [self._db.execute(statement, {**values, "id": task_id}).first() for (task_id,) in late]

        return tuple(task_of(row) for row in (self._db.write(fail) if late else []) if row)

    def let_go(self) -> None:
        """What ended processes had reserved for themselves is anybody's.

        Whether another machine's process ended cannot be told, so that what it reserved is its own for an hour. A
        file is on one machine, whose processes all ended when it was started anew.
        """
        is_file, now = isinstance(self.place, LedgerFile), self.clock()
        ends = f"coalesce(lease_until, changed_at + {RESERVED_SECONDS})"  # an earlier Cairn did not say until when
        query = f"SELECT owner, min({ends}) FROM task WHERE owner IS NOT NULL AND status = 'queued' GROUP BY owner"
        for text, until in self._db.execute(query).rows:
            owner = Owner.parse(text)
            free = "UPDATE task SET owner = NULL, lease_until = NULL WHERE owner = ? AND status = 'queued'"
            if owner.is_gone() or (is_file and owner.is_of_an_earlier_start()):
                self._db.execute(free, (text,))
            elif not owner.is_here() and until < now:
                self._db.execute(f"{free} AND {ends} < ?", (text, now))  # not what it reserved meanwhile

    def heartbeat(self, task: Task, owner: Owner) -> bool:
        """The lease runs for another `LEASE_SECONDS`; False when the task is no longer the owner's."""

        def beat() -> Answer:
            return self._db.execute(
                "UPDATE task SET lease_until = ? WHERE id = ? AND attempt = ? AND owner = ? AND status = ?",
                (self.clock() + LEASE_SECONDS, task.id, task.attempt, str(owner), TaskStatus.RUNNING),
            )

        # The last half second of leases is all that a server which breaks down could lose of it, and they run for
        # thirty; whoever comes back is not judged by them at first (`abandoned`). A claim is never stored so.
        return self._db.write(beat, order=Order.NONE_AND_MAY_BE_LOST).count == 1

    def note_checks(self, task: Task, word: str) -> Task:
        """What the task's checks say together now; no move."""
        noted = replace(self.get(task.id), outcome=replace(self.get(task.id).outcome, checks=word))
        self._change("UPDATE task SET outcome = ? WHERE id = ?", (figures_of(noted.outcome), task.id))
        return noted

    def finish(
        self, task: Task, status: TaskStatus, *, reason: str = "", outcome: Outcome, at: float | None = None
    ) -> Task:
        """A running task ends in `status`, now or a moment ago; IllegalMove when another attempt has begun since."""
        require_move(task.id, TaskStatus.RUNNING, status)
        now, result = self.clock() if at is None else at, figures_of(outcome)
        row = self._change(
            f"""UPDATE task SET status = ?, reason = ?, finished_at = ?, changed_at = ?, outcome = ?,
                                waits_for = '', owner = NULL, lease_until = NULL
                WHERE id = ? AND attempt = ? AND status = ? RETURNING {self._found}""",
            (status, reason, now, now, result, task.id, task.attempt, TaskStatus.RUNNING),
        ).first()
        return self._moved(row, task.id, status)

    def move(self, task: Task, status: TaskStatus, *, reason: str = "") -> Task:
        """A compare-and-swap from the status that `task` has to another one; IllegalMove when it lost the race.

        HeldElsewhere while an accept or undo of the task is being written.
        """
        require_move(task.id, task.status, status)
        row = self._change(
            f"""UPDATE task SET status = ?, reason = ?, changed_at = ?, owner = NULL, lease_until = NULL
                WHERE id = ? AND status = ? AND NOT EXISTS (SELECT 1 FROM acceptance WHERE acceptance.task = task.id)
                RETURNING {self._found}""",
            (status, reason, self.clock(), task.id, task.status),
        ).first()
        return self._moved(row, task.id, status)

    def requeue(
        self,
        task: Task,
        *,
        reason: str = "",
        options: Mapping[str, str] | None = None,
        held_by: Owner | None = None,
    ) -> Task:
        """Waits to be run again, and goes on from its journal; `options` are added to those it has.

        A running task's holder loses it: whatever that still does is refused. IllegalMove when it moved meanwhile.
        """
        return self._requeued(task, PutOff(reason), {**task.options, **(options or {})}, held_by)

    def put_off(self, task: Task, until: PutOff) -> Task:
        """A running task waits to be run again, and goes on from its journal. IllegalMove when it moved meanwhile."""
        return self._requeued(task, until, dict(task.options), None)

    def _requeued(self, task: Task, until: PutOff, options: dict[str, str], held_by: Owner | None) -> Task:
        require_move(task.id, task.status, TaskStatus.QUEUED)
        now = self.clock()
        holder, lease = _reservation(held_by, now)
        values = {
            "queued": TaskStatus.QUEUED, "reason": until.reason, "now": now, "options": json.dumps(options),
            "not_before": until.not_before, "in_vain": until.in_vain, "waits_for": until.waits_for,
            "holder": holder, "lease": lease, "id": task.id, "was": task.status,
            "attempt": task.attempt, "running": TaskStatus.RUNNING,
        }  # fmt: skip
        # A deadline that ended the task does not end it again when a person resumes it.
        row = self._change(
            f"""UPDATE task SET status = :queued, reason = :reason, changed_at = :now, options = :options,
                                not_before = :not_before, in_vain = :in_vain, waits_for = :waits_for,
                                owner = :holder, lease_until = :lease,
                                deadline = CASE WHEN :was <> :running AND deadline <= :now THEN NULL
                                                ELSE deadline END
                WHERE id = :id AND status = :was AND attempt = :attempt RETURNING {self._found}""",
            values,
        ).first()
        return self._moved(row, task.id, TaskStatus.QUEUED)

    def give_options(self, task: Task, options: Mapping[str, str], *, held_by: Owner | None = None) -> Task:
        """Adds settings to a task that is queued, and reserves it; IllegalMove when it moved meanwhile."""
        held = _reservation(held_by, self.clock())
        row = self._change(
            f"UPDATE task SET options = ?, owner = ?, lease_until = ? WHERE id = ? AND status = ?"
            f" RETURNING {self._found}",
            (json.dumps({**task.options, **options}), *held, task.id, TaskStatus.QUEUED),
        ).first()
        return self._moved(row, task.id, TaskStatus.QUEUED)

    def ask_to_cancel(self, task: Task) -> bool:
        """Whoever runs the task hears of it within moments; False when nobody runs it any more."""
        asked = self._change(
            "UPDATE task SET cancel_asked_at = ? WHERE id = ? AND attempt = ? AND status = ?",
            (self.clock(), task.id, task.attempt, TaskStatus.RUNNING),
        )
        return asked.count == 1

    def is_to_be_cancelled(self, task: Task) -> bool:
        """True once somebody asked for it, and when the task is no longer this attempt's."""
        query = "SELECT 1 FROM task WHERE id = ? AND attempt = ? AND status = ? AND cancel_asked_at IS NULL"
        row = self._db.execute(query, (task.id, task.attempt, TaskStatus.RUNNING)).first()
        return row is None

    def was_to_be_cancelled(self, task: Task) -> bool:
        """True when somebody asked for it while the task ran last, whether it heard of it or not."""
        query = "SELECT 1 FROM task WHERE id = ? AND cancel_asked_at IS NOT NULL"
        return bool(self._db.execute(query, (task.id,)).rows)

    def abandoned(self, *, by_lease: bool = True) -> tuple[Task, ...]:
        """Running tasks whose process ended, or whose lease ran out; the latter only if `by_lease`.

        A lease that ran out while the server was down is no sign of anything until its holder could renew it.
        """
        query = f"SELECT owner, lease_until, {self._found} FROM task WHERE status = ?"
        rows = self._db.execute(query, (TaskStatus.RUNNING,)).rows
        over = over_before(self._db, self.clock())
        late = {task_id for _, until, task_id, *_ in rows if by_lease and until < over}
        return tuple(task_of(row) for owner, _, *row in rows if row[0] in late or Owner.parse(owner).is_gone())

    def ended(self, before: float) -> tuple[Task, ...]:
        """Tasks that nobody runs, waits for or reviews, and that last moved before then; the oldest first."""
        marks = ",".join("?" * len(OPEN))
        tail = f"WHERE status NOT IN ({marks}) AND changed_at < ? ORDER BY changed_at, rowid"
        return tuple(self._select(tail, (*OPEN, before)))

    def work_after(self, needed: Task, base: Callable[[], str]) -> int:
        """Those that come after that task and never began work on `base()` from now on, which is asked only for some.

        How many they are.
        """
        waiting = "status = 'queued' AND attempt = 0 AND base <> '' AND id IN (SELECT task FROM need WHERE needs = ?)"
        if self._db.execute(f"SELECT 1 FROM task WHERE {waiting} LIMIT 1", (needed.id,)).first() is None:
            return 0
        asked, now = self.clock(), base()

        def follow() -> int:
            self._require_fresh(now, asked)
            return self._db.execute(f"UPDATE task SET base = ? WHERE {waiting}", (now, needed.id)).count

        return self._db.write(follow)

    def bases(self) -> dict[str, str]:
        """The git commit of each task that works on one, by the task's id."""
        found = self._db.execute("SELECT id, base FROM task WHERE base != ''").rows
        return {str(task): str(base) for task, base in found}

    def forget(self, task: Task, remove: Callable[[], None]) -> bool:
        """Deletes the task and its moves in one transaction with whatever `remove` deletes; False if it moved since."""

        def delete() -> bool:
            gone = self._db.execute("DELETE FROM task WHERE id = ? AND status = ?", (task.id, task.status)).count == 1
            if gone:
                self._db.execute("DELETE FROM event WHERE task = ?", (task.id,))
                self._db.execute("DELETE FROM need WHERE task = ?", (task.id,))
                # Who was not told yet needs its row, to know that what it did is not counted.
                self._db.execute("DELETE FROM overruled WHERE task = ? AND told = 1", (task.id,))
                remove()
            return gone

        return self._db.write(delete)

    def _moved(self, row: tuple[object, ...] | None, task_id: str, status: TaskStatus) -> Task:
        if row is None:
            now = self.get(task_id).status
            require_move(task_id, now, status)
            if (held := holding(self._db, task_id)) is not None:
                raise HeldElsewhere(held)
            raise IllegalMove(f"Task {task_id} was taken over by another process.", fix=f"cairn show {task_id}")
        return task_of(row)

    def _change(self, statement: str, values: Values) -> Answer:
        """Of one task, judged by its own row alone: beside other tasks' changes."""
        return self._db.write(lambda: self._db.execute(statement, values), order=Order.BESIDE)

    def _select(self, tail: str, values: tuple[object, ...] | Mapping[str, object]) -> list[Task]:
        return [task_of(row) for row in self._db.execute(f"SELECT {self._found} FROM task {tail}", values).rows]


def _reservation(holder: Owner | None, now: float) -> tuple[str | None, float | None]:
    """Whose a queued task is, and until when where nobody can tell whether that process lives."""
    return (None, None) if holder is None else (str(holder), now + RESERVED_SECONDS)

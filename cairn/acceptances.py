"""Which clone is accepting a task now, or taking its accept back: one at a time, whoever else has the same ledger.

A row is taken before the first file is written, and goes in the same transaction in which the task moves. One that a
killed command left belongs to its clone, whose next command settles it; another clone has to overrule it by name.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import socket
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cairn.errors import Conflict
from cairn.ledger_database import LedgerDatabase
from cairn.task import TaskStatus, require_move

ACCEPT, UNDO = "accept", "undo"
MARK = "clone"  # the name of the file with a clone's mark
_LONGEST_MARKS = 65_536
_MACHINE_IDS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


@dataclass(frozen=True, slots=True)
class Acceptance:
    """An accept or undo (`kind`) of a task that a clone is about. `token` is its operation's, `holder` the clone."""

    task_id: str
    token: str
    holder: str
    kind: str
    at: float

    def in_words(self) -> str:
        """What is going on, and where."""
        doing = "being accepted" if self.kind == ACCEPT else "being taken back"
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.at))
        return f"Task {self.task_id} is {doing} in {self.holder}, since {since}."


@dataclass(frozen=True, slots=True)
class Overruled:
    """An acceptance that another clone (`by`) took away from its holder."""

    task_id: str
    token: str
    kind: str
    at: float
    by: str


class HeldElsewhere(Conflict):
    """Another clone is accepting the task, or taking its accept back; nothing was written."""

    def __init__(self, held: Acceptance) -> None:
        super().__init__(
            held.in_words(),
            "If that command was killed, the next cairn command in that folder finishes or ends it.",
            (
                f"cairn show {held.task_id}   shows what became of it.",
                f"cairn {held.kind} {held.task_id} --overrule   takes it from there, if that folder is gone for good.",
            ),
        )
        self.held = held


def this_clone(root: Path, state: Path | None) -> str:
    """The name of a project's folder on this machine, and a mark: two machines may have one name and one path.

    The mark is made at the first call, and kept in `state`; without that, or where nothing can be kept, there is none.
    """
    mark = "" if state is None else _mark(state / MARK)
    shown = os.fsencode(root).decode("utf-8", "backslashreplace")  # a ledger keeps text
    return f"{socket.gethostname()}:{shown}" + (f"#{mark}" if mark else "")


def _mark(path: Path) -> str:
    """That of the first of several commands. A copy of the file, and another machine, get marks of their own in it."""
    for mode in ("rb", "a+b"):
        with suppress(OSError), open(path, mode, opener=_opened) as kept:
            if mode != "rb":
                fcntl.flock(kept, fcntl.LOCK_EX)
                kept.seek(0)
            mark = _own_mark(kept, may_add=mode != "rb")
            if mark:
                return mark
    return ""


def _opened(path: str, flags: int) -> int:
    """What came from elsewhere with the folder may be a link, or wait for a writer."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)


def _own_mark(kept: BinaryIO, *, may_add: bool) -> str:
    found = os.fstat(kept.fileno())
    if not stat.S_ISREG(found.st_mode):
        return ""
    # A copy is another file. Its device has another number after a restart on some disks, so that it is left out.
    witness = hashlib.sha256(f"{_machine()}:{found.st_ino}".encode()).hexdigest()[:12]
    lines = kept.read(_LONGEST_MARKS).decode("ascii", "replace").splitlines()
    marks = dict(line.split() for line in lines if re.fullmatch("[0-9a-f]{12} [0-9a-f]{6}", line))
    if witness in marks or not may_add:
        return marks.get(witness, "")
    earlier = next((line for line in lines if re.fullmatch("[0-9a-f]{6}", line)), "")  # of a Cairn that had one alone
    mark = earlier if earlier and not marks else secrets.token_hex(3)
    kept.write(f"\n{witness} {mark}\n".encode())
    return mark


def _machine() -> str:
    """The number that an installed system has, and copies of it should not; "" where there is none."""
    for path in _MACHINE_IDS:
        with suppress(OSError, ValueError):
            return path.read_text(encoding="ascii").strip()
    return ""


def holding(database: LedgerDatabase, task_id: str) -> Acceptance | None:
    """Who is at the task now."""
    row = database.execute("SELECT task, token, holder, kind, at FROM acceptance WHERE task = ?", (task_id,)).first()
    return None if row is None else Acceptance(*row)


class Acceptances:
    """Those of one ledger, as the clone `holder` sees them."""

    def __init__(self, database: LedgerDatabase, holder: str) -> None:
        self._db = database
        self.holder = holder

    def take(self, task_id: str, token: str, kind: str, *, overrule: bool = False) -> None:
        """From now on no other clone may; the caller holds its clone's lock. Raises HeldElsewhere, IllegalMove.

        With `overrule` a task that another clone holds is taken from it, and that clone will be told.
        """

        def take() -> None:
            held = holding(self._db, task_id)
            if held is not None and held.holder != self.holder:
                if not overrule:
                    raise HeldElsewhere(held)
                self._overrule(held)
            if kind == ACCEPT:
                for variant in self._variants_held(task_id):
                    if not overrule:
                        raise HeldElsewhere(variant)
                    self._overrule(variant)
                row = self._db.execute("SELECT status FROM task WHERE id = ?", (task_id,)).first()
                if row is not None:
                    require_move(task_id, TaskStatus(row[0]), TaskStatus.ACCEPTED)
            self._db.execute("DELETE FROM acceptance WHERE task = ?", (task_id,))
            self._db.execute(
                "INSERT INTO acceptance (task, token, holder, kind, at) VALUES (?, ?, ?, ?, ?)",
                (task_id, token, self.holder, kind, self._db.now()),
            )

        self._db.write(take)

    def _variants_held(self, task_id: str) -> tuple[Acceptance, ...]:
        """Other variants of the task that other clones are accepting: of a group one is taken, the others rejected."""
        rows = self._db.execute(
            "SELECT held.task, held.token, held.holder, held.kind, held.at FROM acceptance AS held"
            " JOIN task AS other ON other.id = held.task JOIN task ON task.variant_group = other.variant_group"
            " WHERE task.id = ? AND other.id <> task.id AND held.holder <> ? AND held.kind = ?",
            (task_id, self.holder, ACCEPT),
        ).rows
        return tuple(Acceptance(*row) for row in rows)

    def take_from_others(self, task_id: str) -> None:
        """Whoever else holds the task does so no more, and will be told."""

        def take() -> None:
            held = holding(self._db, task_id)
            if held is not None and held.holder != self.holder:
                self._overrule(held)

        self._db.write(take)

    def _overrule(self, held: Acceptance) -> None:
        self._db.execute("DELETE FROM acceptance WHERE task = ?", (held.task_id,))
        self._db.execute(
            "INSERT INTO overruled (token, task, holder, kind, at, overruled_by, told) VALUES (?, ?, ?, ?, ?, ?, 0)",
            (held.token, held.task_id, held.holder, held.kind, self._db.now(), self.holder),
        )

    def release(self, token: str) -> None:
        """Others may have the task again."""
        self._db.execute("DELETE FROM acceptance WHERE token = ? AND holder = ?", (token, self.holder))

    def mine(self) -> tuple[Acceptance, ...]:
        """What this clone holds: what a command of it is doing now, or was killed at."""
        rows = self._db.execute(
            "SELECT task, token, holder, kind, at FROM acceptance WHERE holder = ? ORDER BY at", (self.holder,)
        ).rows
        return tuple(Acceptance(*row) for row in rows)

    def overruled(self, token: str) -> Overruled | None:
        """Who took that operation's task away, if anybody did."""
        query = "SELECT task, token, kind, at, overruled_by FROM overruled WHERE token = ?"
        row = self._db.execute(query, (token,)).first()
        return None if row is None else Overruled(*row)

    def to_tell(self) -> tuple[Overruled, ...]:
        """What was taken away from this clone, and it was not told yet."""
        query = "SELECT task, token, kind, at, overruled_by FROM overruled WHERE holder = ? AND told = 0 ORDER BY at"
        return tuple(Overruled(*row) for row in self._db.execute(query, (self.holder,)).rows)

    def told(self, overruled: Overruled) -> None:
        """It was; the row goes with its task."""

        def tell() -> None:
            self._db.execute("UPDATE overruled SET told = 1 WHERE token = ?", (overruled.token,))
            self._db.execute(
                "DELETE FROM overruled WHERE token = ? AND NOT EXISTS (SELECT 1 FROM task WHERE id = overruled.task)",
                (overruled.token,),
            )

        self._db.write(tell)

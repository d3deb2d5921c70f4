"""A task's dump, kept in the task's own file beside its journal: one row, replaced by each new one."""

from __future__ import annotations

from cairn.journal import Journal
from cairn.session_dump import SealedDump
from cairn.task_file import TaskFile


class TaskDumps:
    """`DumpStore` over `cairn_dump`. Another process that took the task over is not disturbed: TakenOver is raised."""

    def __init__(self, file: TaskFile, journal: Journal) -> None:
        self._file = file
        self._journal = journal

    def last_call(self) -> int:
        """The number of the journal's last external call; 0 for none."""
        ((number,),) = self._file.rows("SELECT coalesce(max(number), 0) FROM cairn_call")
        return number if isinstance(number, int) else 0

    def put(self, dump: SealedDump) -> int:
        """Stores the dump in place of any earlier one, and says its key."""
        with self._file.transaction():
            self._journal.require_held()
            self._file.run("DELETE FROM cairn_dump")
            return self._file.run(
                "INSERT INTO cairn_dump (step, call, version, mac, data, created_at) VALUES (?, ?, ?, ?, ?, ?)",
                dump.step,
                dump.call,
                dump.version,
                dump.mac,
                dump.data,
                dump.created_at,
            )

    def get(self, key: int) -> SealedDump | None:
        """None for one that is not there, or is no dump at all."""
        rows = self._file.rows("SELECT step, call, version, mac, data, created_at FROM cairn_dump WHERE id = ?", key)
        if not rows:
            return None
        step, call, version, mac, data, created_at = rows[0]
        if not (isinstance(step, int) and isinstance(call, int) and isinstance(data, bytes)):
            return None  # SQLite keeps whatever type a hand put there
        at = created_at if isinstance(created_at, float) else 0.0
        return SealedDump(step, call, str(version), str(mac), data, at)

    def newest(self) -> tuple[int, SealedDump] | None:
        """The dump that an ended process left, with its key."""
        rows = self._file.rows("SELECT id FROM cairn_dump ORDER BY id DESC LIMIT 1")
        key = rows[0][0] if rows else None
        dump = self.get(key) if isinstance(key, int) else None
        return (key, dump) if isinstance(key, int) and dump is not None else None

    def delete(self, key: int) -> None:
        """Nothing happens if it is gone."""
        self._file.run("DELETE FROM cairn_dump WHERE id = ?", key)

"""What a task made, as AgentFS keeps it: inodes, names, contents, link targets, and whiteouts for what it deleted.

Knows nothing of the project below. Paths are normalised and lead through real folders; "." is the root. Every method
that changes something runs inside the caller's transaction.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cairn.changes import EntryKind
from cairn.project_path import parent
from cairn.task_file import CHUNK_BYTES, Cell, TaskFile

_TYPE_BITS = {
    EntryKind.FILE: stat.S_IFREG,
    EntryKind.DIRECTORY: stat.S_IFDIR,
    EntryKind.SYMLINK: stat.S_IFLNK,
}
_KINDS = {bits: kind for kind, bits in _TYPE_BITS.items()}
_ALL_TYPES = stat.S_IFMT(0xFFFF)
_COLUMNS = "i.ino, i.mode, i.size, i.mtime + i.mtime_nsec / 1e9"


@dataclass(frozen=True, slots=True)
class Inode:
    """One entry the task made. `mode` is the permission bits only."""

    number: int
    kind: EntryKind
    mode: int
    size: int
    mtime: float


WRITTEN_KEY = "cairn.bytes_written"
ROOT_INODE = Inode(1, EntryKind.DIRECTORY, 0o755, 0, 0.0)


class DeltaTree:
    """The file tree inside one task file."""

    def __init__(self, file: TaskFile, clock: Callable[[], float]) -> None:
        self._file = file
        self._clock = clock

    # ── reading ──

    def child(self, folder: Inode, name: str) -> Inode | None:
        """The task's own entry of one name in a folder."""
        rows = self._file.rows(
            f"SELECT {_COLUMNS} FROM fs_dentry d JOIN fs_inode i ON i.ino = d.ino"  # noqa: S608
            " WHERE d.parent_ino = ? AND d.name = ?",
            folder.number,
            name,
        )
        return _inode(rows[0]) if rows else None

    def chain(self, parts: list[str]) -> list[Inode]:
        """The entries along a path, from the first name on, as far as the task made them."""
        found: list[Inode] = []
        above = ROOT_INODE
        for name in parts:
            entry = self.child(above, name)
            if entry is None:
                break
            found.append(entry)
            above = entry
        return found

    def children(self, folder: Inode) -> list[tuple[str, Inode]]:
        """The task's own entries in one folder."""
        rows = self._file.rows(
            f"SELECT d.name, {_COLUMNS} FROM fs_dentry d JOIN fs_inode i ON i.ino = d.ino WHERE d.parent_ino = ?",  # noqa: S608
            folder.number,
        )
        return [(str(name), _inode(rest)) for name, *rest in rows]

    def everything(self) -> dict[str, Inode]:
        """All of the task's own entries by path, the root left out."""
        below: dict[int, list[tuple[str, Inode]]] = {}
        for above, name, *rest in self._file.rows(
            f"SELECT d.parent_ino, d.name, {_COLUMNS} FROM fs_dentry d JOIN fs_inode i ON i.ino = d.ino",  # noqa: S608
        ):
            below.setdefault(_number(above), []).append((str(name), _inode(rest)))
        found: dict[str, Inode] = {}
        waiting = [("", ROOT_INODE.number)]
        while waiting:
            prefix, number = waiting.pop()
            for name, entry in below.get(number, ()):
                found[prefix + name] = entry
                waiting.append((f"{prefix}{name}/", entry.number))
        return found

    def data(self, entry: Inode) -> bytes:
        """A file's bytes, or a symlink's target as bytes."""
        if entry.kind is EntryKind.SYMLINK:
            rows = self._file.rows("SELECT target FROM fs_symlink WHERE ino = ?", entry.number)
            return str(rows[0][0]).encode()
        rows = self._file.rows("SELECT data FROM fs_data WHERE ino = ? ORDER BY chunk_index", entry.number)
        if len(rows) == 1 and isinstance(rows[0][0], bytes):
            return rows[0][0]
        return b"".join(chunk for (chunk,) in rows if isinstance(chunk, bytes))

    def all_data(self) -> dict[int, bytes]:
        """What `data` says, of every file and symlink by the inode's number; an empty file has none."""
        found = {
            _number(number): str(target).encode()
            for number, target in self._file.rows("SELECT ino, target FROM fs_symlink")
        }
        for number, chunk in self._file.rows("SELECT ino, data FROM fs_data ORDER BY ino, chunk_index"):
            if isinstance(chunk, bytes):
                found[_number(number)] = found[_number(number)] + chunk if _number(number) in found else chunk
        return found

    # ── figures ──

    def bytes_written(self) -> int:
        """The size of all contents that were ever put here."""
        value = self._file.kv_get(WRITTEN_KEY)
        return value if isinstance(value, int) else 0

    def files_touched(self) -> int:
        """Files and links that were made, replaced or deleted; a moved one counts once."""
        ((count,),) = self._file.rows(
            f"SELECT (SELECT count(*) FROM fs_inode WHERE mode & {_ALL_TYPES} != {stat.S_IFDIR})"  # noqa: S608 - numbers
            " + (SELECT count(*) FROM fs_whiteout w JOIN cairn_base b ON b.path = substr(w.path, 2)"
            "    WHERE b.kind != 'directory')"
            " - (SELECT count(*) FROM cairn_move m JOIN fs_whiteout w ON w.path = '/' || m.source)"
        )
        return _number(count)

    # ── changing ──

    def make(
        self, above: Inode, path: str, kind: EntryKind, mode: int, data: bytes = b"", *, mtime: float | None = None
    ) -> Inode:
        """A new entry in a folder that has none of that name."""
        when = self._clock() if mtime is None else mtime
        seconds, nanoseconds = _split(when)
        number = self._file.run(
            "INSERT INTO fs_inode"
            " (mode, nlink, size, atime, mtime, ctime, atime_nsec, mtime_nsec, ctime_nsec)"
            " VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?)",
            _TYPE_BITS[kind] | mode,
            len(data),
            *(seconds,) * 3,
            *(nanoseconds,) * 3,
        )
        self._file.run(
            "INSERT INTO fs_dentry (name, parent_ino, ino) VALUES (?, ?, ?)", _name(path), above.number, number
        )
        if kind is EntryKind.SYMLINK:
            self._file.run("INSERT INTO fs_symlink (ino, target) VALUES (?, ?)", number, data.decode())
        else:
            self._put_chunks(number, data)
        return Inode(number, kind, mode, len(data), when)

    def replace(self, entry: Inode, data: bytes) -> None:
        """New bytes for a file; its mode stays."""
        seconds, nanoseconds = _split(self._clock())
        self._file.run("DELETE FROM fs_data WHERE ino = ?", entry.number)
        self._put_chunks(entry.number, data)
        self._file.run(
            "UPDATE fs_inode SET size = ?, mtime = ?, mtime_nsec = ?, ctime = ?, ctime_nsec = ? WHERE ino = ?",
            len(data),
            *(seconds, nanoseconds) * 2,
            entry.number,
        )

    def set_mode(self, entry: Inode, mode: int) -> None:
        """New permission bits."""
        seconds, nanoseconds = _split(self._clock())
        self._file.run(
            "UPDATE fs_inode SET mode = ?, ctime = ?, ctime_nsec = ? WHERE ino = ?",
            _TYPE_BITS[entry.kind] | mode,
            seconds,
            nanoseconds,
            entry.number,
        )

    def relink(self, above: Inode, path: str, entry: Inode) -> None:
        """The same entry under another name, in a folder that has none of that name."""
        self._file.run(
            "UPDATE fs_dentry SET parent_ino = ?, name = ? WHERE ino = ?", above.number, _name(path), entry.number
        )

    def remove(self, entry: Inode) -> None:
        """Drops an entry with its content; a folder must be empty by then."""
        for table in ("fs_dentry", "fs_inode", "fs_data", "fs_symlink"):
            self._file.run(f"DELETE FROM {table} WHERE ino = ?", entry.number)  # noqa: S608

    # ── whiteouts ──

    def whiteouts_among(self, paths: Iterable[str]) -> set[str]:
        """Those of the paths that the task deleted and did not make again."""
        wanted = [f"/{path}" for path in paths]
        marks = ", ".join("?" * len(wanted))
        rows = self._file.rows(f"SELECT path FROM fs_whiteout WHERE path IN ({marks})", *wanted)  # noqa: S608
        return {str(path)[1:] for (path,) in rows}

    def whiteouts_in(self, folder: str) -> set[str]:
        """The names deleted directly in one folder."""
        above = "/" if folder == "." else f"/{folder}"
        rows = self._file.rows("SELECT path FROM fs_whiteout WHERE parent_path = ?", above)
        return {str(path).rpartition("/")[2] for (path,) in rows}

    def whiteouts(self) -> set[str]:
        """Every path the task deleted and did not make again."""
        return {str(path)[1:] for (path,) in self._file.rows("SELECT path FROM fs_whiteout")}

    def add_whiteout(self, path: str) -> None:
        """Hides the project's entry at a path."""
        above = parent(path)
        self._file.run(
            "INSERT OR REPLACE INTO fs_whiteout (path, parent_path, created_at) VALUES (?, ?, ?)",
            f"/{path}",
            "/" if above == "." else f"/{above}",
            int(self._clock()),
        )

    def drop_whiteout(self, path: str) -> None:
        """Called when something is made at a path again."""
        self._file.run("DELETE FROM fs_whiteout WHERE path = ?", f"/{path}")

    # ── parts ──

    def _put_chunks(self, number: int, data: bytes) -> None:
        self._file.run(
            "INSERT INTO kv_store (key, value) VALUES (?1, ?2)"
            " ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + ?2",
            WRITTEN_KEY,
            len(data),
        )
        for index, start in enumerate(range(0, len(data), CHUNK_BYTES)):
            chunk = data if len(data) <= CHUNK_BYTES else data[start : start + CHUNK_BYTES]
            self._file.run("INSERT INTO fs_data (ino, chunk_index, data) VALUES (?, ?, ?)", number, index, chunk)


def _inode(row: Iterable[Cell]) -> Inode:
    number, mode, size, mtime = row
    bits = _number(mode)
    return Inode(_number(number), _KINDS[stat.S_IFMT(bits)], stat.S_IMODE(bits), _number(size), float(mtime or 0))


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _number(cell: Cell) -> int:
    return cell if isinstance(cell, int) else 0


def _split(moment: float) -> tuple[int, int]:
    seconds = int(moment // 1)
    return seconds, int((moment - seconds) * 1e9)

"""Changes as git writes them: a patch that `git apply` takes, the table of `git diff --stat`, and the names.

A patch knows files and symlinks and of their modes only the executable bit. Empty folders and other permission bits
are therefore missing from it, though not from `stat` and `names`.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from base64 import b85encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from cairn.changes import Change, ChangeKind, ChangeSet, Content, EntryKind
from cairn.line_diff import Span, differing, split_lines

CONTEXT = 3  # equal lines shown around a change
BINARY_LINE = 52  # bytes in one line of a binary patch
SECTION_CHARS = 80

# git quotes the bytes; the folder whose name ends with a space is ours, for `git apply` cannot read that unquoted.
_UNSAFE = re.compile(rb'[\x00-\x1f"\\\x7f-\xff]| /')
_ESCAPES = {7: rb"\a", 8: rb"\b", 9: rb"\t", 10: rb"\n", 11: rb"\v", 12: rb"\f", 13: rb"\r", 34: rb"\"", 92: rb"\\"}
_NO_BLOB = b"0" * 40
_NO_NEWLINE = b"\n\\ No newline at end of file\n"


def render(changes: ChangeSet) -> bytes:
    """A patch for the tree the task saw; empty when git has no words for any of the changes."""
    return b"".join(render_change(change) for change in changes)


def render_change(change: Change) -> bytes:
    """One path's part of the patch; a file that became a symlink, or the reverse, goes and comes anew, as in git.

    So does a moved symlink: a pure rename tells no mode, and `git apply` then takes the old link for one that stays.
    """
    before, after = _in_git(change.before), _in_git(change.after)
    old_path = change.renamed_from or change.path
    if before is not None and after is not None:
        moved_link = before.kind is EntryKind.SYMLINK and old_path != change.path
        if moved_link or before.kind is not after.kind:
            return _patch(old_path, old_path, before, None) + _patch(change.path, change.path, None, after)
    return _patch(old_path, change.path, before, after)


def header(change: Change) -> bytes:
    """The lines of a change's patch above what changed in the content."""
    lines = render_change(change).split(b"\n")
    body = next((at for at, line in enumerate(lines) if line.startswith((b"@@ ", b"GIT binary patch"))), len(lines))
    return b"".join(line + b"\n" for line in lines[:body] if line)


def is_binary(*contents: Content | None) -> bool:
    """True when a NUL byte says that one of them is no text. git looks at the first 8,000 bytes only."""
    return any(content is not None and b"\0" in content.data for content in contents)


def names(changes: ChangeSet) -> tuple[str, ...]:
    """The paths as they are after the task, folders included; of a rename only the new name."""
    return tuple(change.path for change in changes)


# -- figures -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileStat:
    """One path's figures. `added` and `removed` are lines; of a binary file the sizes in bytes tell instead.

    The sizes are 0 for text, and where the content is the same on both sides.
    """

    path: str
    kind: ChangeKind
    added: int = 0
    removed: int = 0
    binary: bool = False
    renamed_from: str | None = None
    folder: bool = False
    size_before: int = 0
    size_after: int = 0


@dataclass(frozen=True, slots=True)
class DiffStat:
    """Figures of all changed paths, in the order of the changes."""

    files: tuple[FileStat, ...] = ()

    @property
    def added(self) -> int:
        """Lines added in all text files."""
        return sum(file.added for file in self.files)

    @property
    def removed(self) -> int:
        """Lines removed from all text files."""
        return sum(file.removed for file in self.files)


def stat(changes: ChangeSet) -> DiffStat:
    """Counts lines as the patch shows them."""
    return DiffStat(tuple(_file_stat(change) for change in changes))


def _file_stat(change: Change) -> FileStat:
    before, after = _in_git(change.before), _in_git(change.after)
    binary = is_binary(before, after)
    same = before is not None and after is not None and before.data == after.data
    spans = [] if binary or same else differing(_lines(before), _lines(after))
    return FileStat(
        change.path,
        change.kind,
        added=sum(span.new_end - span.new_start for span in spans),
        removed=sum(span.old_end - span.old_start for span in spans),
        binary=binary,
        renamed_from=change.renamed_from,
        folder=before is None and after is None,
        size_before=len(before.data) if binary and not same and before is not None else 0,
        size_after=len(after.data) if binary and not same and after is not None else 0,
    )


def render_stat(figures: DiffStat, *, width: int = 80) -> str:
    """The table of `git diff --stat` as plain text, folders and other than git's modes in words; "" for no change."""
    if not figures.files:
        return ""
    names_shown = [_shown_name(file) for file in figures.files]
    table = _Table.fitting(figures, max(len(name) for name in names_shown), width)
    rows = [
        f" {table.name(name)} | {table.figures(file)}" for name, file in zip(names_shown, figures.files, strict=True)
    ]
    return "\n".join([*rows, _total(figures)]) + "\n"


@dataclass(frozen=True, slots=True)
class _Table:
    """Column widths, found the way git finds them."""

    names: int
    number: int
    graph: int
    largest: int

    @classmethod
    def fitting(cls, figures: DiffStat, longest: int, width: int) -> _Table:
        largest = max(file.added + file.removed for file in figures.files)
        binary = max((len(_sizes(file)) + 4 for file in figures.files if file.binary), default=0)
        number = max(len(str(largest)), 3 if binary else 0)
        width = max(width, 16 + 6 + number)
        graph = largest if largest + 4 > binary else binary - 4
        names_width = longest
        if names_width + number + 6 + graph > width:
            graph = min(graph, max(width * 3 // 8 - number - 6, 6))
            names_width = min(names_width, width - number - 6 - graph)
            graph = width - number - 6 - names_width
        return cls(names_width, number, graph, largest)

    def name(self, name: str) -> str:
        """Cut at the front, at a folder if one begins there."""
        if len(name) > self.names:
            rest = name[len(name) - self.names + 3 :]
            slash = rest.find("/")
            name = "..." + (rest[slash:] if slash >= 0 else rest)
        return name.ljust(self.names)

    def figures(self, file: FileStat) -> str:
        """The count and the bar of plus and minus signs, or the words for what has no lines."""
        if file.folder:
            return f"{'-':>{self.number}} {_FOLDER_WORDS[file.kind]}"
        if file.binary:
            return "Bin".rjust(self.number) + (f" {_sizes(file)}" if file.size_before or file.size_after else "")
        count = f"{file.added + file.removed:>{self.number}}"
        added, removed = self._scaled(file.added, file.removed)
        return f"{count} {'+' * added}{'-' * removed}".rstrip()

    def _scaled(self, added: int, removed: int) -> tuple[int, int]:
        if self.graph > self.largest:
            return added, removed
        total = self._scale(added + removed)
        if total < 2 and added and removed:  # noqa: PLR2004 - one sign for each side
            total = 2
        if added < removed:
            added = self._scale(added)
            return added, total - added
        removed = self._scale(removed)
        return total - removed, removed

    def _scale(self, count: int) -> int:
        return 1 + count * (self.graph - 1) // self.largest if count else 0


_FOLDER_WORDS = {
    ChangeKind.ADDED: "folder added",
    ChangeKind.DELETED: "folder deleted",
    ChangeKind.MODE: "folder mode changed",
    ChangeKind.RENAMED: "folder renamed",
}


def _sizes(file: FileStat) -> str:
    return f"{file.size_before} -> {file.size_after} bytes"


def _total(figures: DiffStat) -> str:
    count, added, removed = len(figures.files), figures.added, figures.removed
    parts = [f" {count} file{'' if count == 1 else 's'} changed"]
    if added or not removed:
        parts.append(f"{added} insertion{'' if added == 1 else 's'}(+)")
    if removed or not added:
        parts.append(f"{removed} deletion{'' if removed == 1 else 's'}(-)")
    return ", ".join(parts)


def _shown_name(file: FileStat) -> str:
    name = file.path if file.renamed_from is None else _shortened_rename(file.renamed_from, file.path)
    return _quoted_for_reading(name + "/" if file.folder else name)


def _shortened_rename(old: str, new: str) -> str:
    """`src/{old => new}/app.py`: what both names share stands once, whole folders only."""
    parts_old, parts_new = old.split("/"), new.split("/")
    most = min(len(parts_old), len(parts_new)) - 1
    head = next((i for i in range(most) if parts_old[i] != parts_new[i]), most)
    most = min(len(parts_old), len(parts_new)) - (head or 1)
    tail = next((i for i in range(most) if parts_old[-1 - i] != parts_new[-1 - i]), most)
    if not head and not tail:
        return f"{old} => {new}"
    middle_old = "/".join(parts_old[head : len(parts_old) - tail])
    middle_new = "/".join(parts_new[head : len(parts_new) - tail])
    start = "".join(f"{part}/" for part in parts_old[:head])
    end = "".join(f"/{part}" for part in parts_old[len(parts_old) - tail :])
    return f"{start}{{{middle_old} => {middle_new}}}{end}"


def _quoted_for_reading(name: str) -> str:
    """Control characters and quotes escaped as git does; letters of every alphabet stay readable."""
    if name.isprintable() and '"' not in name and "\\" not in name:
        return name
    escaped = (_escaped(byte) if byte < 0x7F else bytes([byte]) for byte in os_bytes(name))  # noqa: PLR2004 - ASCII
    return '"' + b"".join(escaped).decode(errors="replace") + '"'


# -- the patch ---------------------------------------------------------------------------------------------------------


def _in_git(content: Content | None) -> Content | None:
    return None if content is None or content.kind is EntryKind.DIRECTORY else content


def _patch(old_path: str, new_path: str, before: Content | None, after: Content | None) -> bytes:
    if before is None and after is None:
        return b""
    header = [*_modes(before, after), *_rename(old_path, new_path, before, after)]
    body = b""
    if before is None or after is None or before.data != after.data:
        header.append(_index(before, after))
        body = _binary(before, after) if is_binary(before, after) else _text(old_path, new_path, before, after)
    if not header:
        return b""
    first = b"diff --git " + quoted("a/" + old_path) + b" " + quoted("b/" + new_path)
    return b"".join(line + b"\n" for line in (first, *header)) + body


def _modes(before: Content | None, after: Content | None) -> list[bytes]:
    if before is None and after is not None:
        return [b"new file mode " + _mode(after)]
    if before is not None and after is None:
        return [b"deleted file mode " + _mode(before)]
    if before is not None and after is not None and _mode(before) != _mode(after):
        return [b"old mode " + _mode(before), b"new mode " + _mode(after)]
    return []


def _mode(content: Content) -> bytes:
    if content.kind is EntryKind.SYMLINK:
        return b"120000"
    return b"100755" if content.executable else b"100644"


def _rename(old_path: str, new_path: str, before: Content | None, after: Content | None) -> list[bytes]:
    if old_path == new_path or before is None or after is None:
        return []
    alike = f"similarity index {_similarity(before.data, after.data)}%".encode()
    return [alike, b"rename from " + quoted(old_path), b"rename to " + quoted(new_path)]


def _similarity(old: bytes, new: bytes) -> int:
    """Percent of the larger side's bytes that stand in lines both have; 100 only for equal bytes."""
    if old == new:
        return 100
    lines = split_lines(old)
    gone = sum(
        len(line) for span in differing(lines, split_lines(new)) for line in lines[span.old_start : span.old_end]
    )
    return min(99, (len(old) - gone) * 100 // max(len(old), len(new)))


def _index(before: Content | None, after: Content | None) -> bytes:
    """Whole object names: `git apply` wants them for binary files, and with `--3way` for all."""
    mode = b" " + _mode(after) if before is not None and after is not None and _mode(before) == _mode(after) else b""
    return b"index " + _blob(before) + b".." + _blob(after) + mode


def _blob(content: Content | None) -> bytes:
    if content is None:
        return _NO_BLOB
    return hashlib.sha1(b"blob %d\0" % len(content.data) + content.data, usedforsecurity=False).hexdigest().encode()


def _binary(before: Content | None, after: Content | None) -> bytes:
    """Both directions in full, so that `git apply --reverse` works as well."""
    return b"GIT binary patch\n" + _literal(after) + _literal(before)


def _literal(content: Content | None) -> bytes:
    data = content.data if content is not None else b""
    packed = zlib.compress(data)
    lines = [b"literal %d\n" % len(data)]
    for start in range(0, len(packed), BINARY_LINE):
        piece = packed[start : start + BINARY_LINE]
        length = len(piece) + (64 if len(piece) <= 26 else 70)  # noqa: PLR2004 - A-Z stand for 1-26, a-z for 27-52
        lines.append(bytes([length]) + b85encode(piece, pad=True) + b"\n")
    return b"".join(lines) + b"\n"


def _text(old_path: str, new_path: str, before: Content | None, after: Content | None) -> bytes:
    old, new = _lines(before), _lines(after)
    hunks = [hunk(group, old, new) for group in _groups(differing(old, new))]
    if not hunks:
        return b""
    names_shown = (
        b"--- " + (_file_name("a/" + old_path) if before is not None else b"/dev/null"),
        b"+++ " + (_file_name("b/" + new_path) if after is not None else b"/dev/null"),
    )
    return b"".join(line + b"\n" for line in names_shown) + b"".join(hunks)


def _lines(content: Content | None) -> list[bytes]:
    return split_lines(content.data) if content is not None else []


def _groups(spans: Sequence[Span]) -> Iterator[list[Span]]:
    """Spans that share context lines form one hunk."""
    group: list[Span] = list(spans[:1])
    for span, following in pairwise(spans):
        if following.old_start - span.old_end > 2 * CONTEXT:
            yield group
            group = []
        group.append(following)
    if group:
        yield group


def hunk(
    group: Sequence[Span], old: Sequence[bytes], new: Sequence[bytes], *, floor: int = 0, ceiling: int | None = None
) -> bytes:
    """Neighbouring spans with the lines around them, none of those above old line `floor` or from `ceiling` on."""
    lead = min(CONTEXT, group[0].old_start - floor)
    trail = min(CONTEXT, (len(old) if ceiling is None else ceiling) - group[-1].old_end)
    whole = Span(
        group[0].old_start - lead, group[-1].old_end + trail, group[0].new_start - lead, group[-1].new_end + trail
    )
    ranges = b"@@ -%s +%s @@" % (_range(whole.old_start, whole.old_end), _range(whole.new_start, whole.new_end))
    parts = [ranges + _section(old, whole.old_start) + b"\n"]
    at = whole.old_start
    for span in group:
        parts.append(_signed(b" ", old[at : span.old_start]))
        parts.append(_signed(b"-", old[span.old_start : span.old_end]))
        parts.append(_signed(b"+", new[span.new_start : span.new_end]))
        at = span.old_end
    parts.append(_signed(b" ", old[at : whole.old_end]))
    return b"".join(parts)


def _range(start: int, end: int) -> bytes:
    count = end - start
    first = start + 1 if count else start
    return b"%d" % first if count == 1 else b"%d,%d" % (first, count)


def _section(old: Sequence[bytes], start: int) -> bytes:
    """The last line above that begins in the first column with a letter, "_" or "$": usually what the hunk is in."""
    for line in reversed(old[max(0, start - 2000) : start]):
        if line[:1].isalpha() or line[:1] in {b"_", b"$"}:
            return b" " + line.rstrip()[:SECTION_CHARS]
    return b""


def _signed(sign: bytes, lines: Sequence[bytes]) -> bytes:
    """Each line behind the sign; only a file's last one can be without a line feed."""
    if not lines:
        return b""
    return sign + sign.join(lines) + (b"" if lines[-1].endswith(b"\n") else _NO_NEWLINE)


def _file_name(name: str) -> bytes:
    """A name that has a space ends with a tab, as in git, so that no tool takes the rest for a date."""
    return quoted(name) + (b"\t" if " " in name else b"")


def quoted(name: str) -> bytes:
    """A name as it stands in a patch."""
    data = os_bytes(name)
    if not _UNSAFE.search(data):
        return data
    return b'"' + b"".join(_escaped(byte) for byte in data) + b'"'


def os_bytes(name: str) -> bytes:
    """A name as it stands on disk, also one that is no valid Unicode."""
    return name.encode("utf-8", "surrogateescape")


def _escaped(byte: int) -> bytes:
    if byte in _ESCAPES:
        return _ESCAPES[byte]
    return bytes([byte]) if 0x20 <= byte < 0x7F else b"\\%03o" % byte  # noqa: PLR2004 - printable ASCII

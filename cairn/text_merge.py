"""Merges three versions of a file's content by `git merge-file`; the one place that runs it.

Bytes go in and come out as they are: line endings, encodings and a missing last newline survive.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

from cairn.line_diff import Span, differing, split_lines

SECONDS = 60
MARKER = 16  # longer than git's own 7, so that a file about conflicts is not taken for one
_REGIONS_NAMED = 5
_MOST_CONFLICTS = 127  # larger exit codes of merge-file are errors


@dataclass(frozen=True, slots=True)
class Region:
    """Lines that both sides changed differently. The first lines count from 1, each in its side's version."""

    first_line: int
    project: bytes
    base: bytes
    task: bytes
    task_line: int

    @property
    def project_lines(self) -> tuple[int, int] | None:
        """The first and the last line of the project's side; None where that side has none."""
        return _line_range(self.first_line, self.project)

    @property
    def task_lines(self) -> tuple[int, int] | None:
        """The first and the last line of the task's side; None where that side has none."""
        return _line_range(self.task_line, self.task)

    def in_words(self) -> str:
        """Where it is on both sides."""
        mine = lines_in_words(self.first_line, self.project_lines)
        return f"{mine} (yours) against {lines_in_words(self.task_line, self.task_lines)} (the task's)"


@dataclass(frozen=True, slots=True)
class Merged:
    """Both sides' changes in one content."""

    data: bytes


class ClashKind(StrEnum):
    """What sort of conflict it is, for programs."""

    CONTENT = "content"  # both sides changed the same lines
    BINARY = "binary"
    UNMERGED = "unmerged"  # both changed it, and git was not there or could not merge it
    MODE = "mode"
    SYMLINK = "symlink"
    ADDED = "added"  # made on both sides, differently
    DELETED = "deleted"  # gone in the project, changed by the other side
    CHANGED = "changed"  # changed in the project, gone on the other side
    TYPE = "type"  # a file on one side, a folder or link on the other
    NAME_TAKEN = "name taken"
    UNUSABLE = "unusable"  # a path that is none, or that cannot be read or replaced


@dataclass(frozen=True, slots=True)
class Clash:
    """No merge, and why; `regions` are known for texts that git could compare."""

    reason: str
    regions: tuple[Region, ...] = ()
    kind: ClashKind = ClashKind.UNMERGED


def lines_in_words(first: int, lines: tuple[int, int] | None) -> str:
    """A range as a person names it; where there are no lines, the place at which they are missing."""
    if lines is None:
        return f"nothing after line {first - 1}" if first > 1 else "nothing at the start"
    return f"line {first}" if lines[0] == lines[1] else f"lines {lines[0]}-{lines[1]}"


def _line_range(first: int, data: bytes) -> tuple[int, int] | None:
    count = len(split_lines(data))
    return (first, first + count - 1) if count else None


def merge(base: bytes, project: bytes, task: bytes) -> Merged | Clash:
    """What `git merge-file` makes of them. Binary content never merges; without git nothing does."""
    if b"\0" in base or b"\0" in project or b"\0" in task:
        return Clash("binary file changed on both sides", kind=ClashKind.BINARY)
    if shutil.which("git") is None:
        return Clash("changed on both sides, and merging needs git, which is not installed")
    try:
        with TemporaryDirectory(prefix="cairn-merge-") as folder:
            for name, data in (("project", project), ("base", base), ("task", task)):
                Path(folder, name).write_bytes(data)
            code, merged = _merge_file(folder)
            if code == 0:
                return Merged(merged)
            if code <= _MOST_CONFLICTS:
                return _clash(folder, _marker_size(base, project, task), project, task)
            return Clash("changed on both sides, and git could not merge it")
    except (OSError, subprocess.TimeoutExpired) as error:
        return Clash(f"changed on both sides, and git could not be run to merge it: {error}")


def _merge_file(folder: str, *options: str) -> tuple[int, bytes]:
    # Settings of a person's git, and the variables of a hook that may run us, have no say in a merge.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CEILING_DIRECTORIES": folder}
    done = subprocess.run(
        ["git", "merge-file", "-p", "-q", *options, "project", "base", "task"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    return done.returncode & 0xFF, done.stdout


def _marker_size(*contents: bytes) -> int:
    size = MARKER
    while any(sign * size in content for content in contents for sign in (b"<", b"|", b"=", b">")):
        size *= 2
    return size


def _clash(folder: str, size: int, project: bytes, task: bytes) -> Clash:
    code, marked = _merge_file(folder, "--diff3", f"--marker-size={size}", "-L", "a", "-L", "b", "-L", "c")
    regions = _regions(marked, size, project, task) if code <= _MOST_CONFLICTS else ()
    places = [region.in_words() for region in regions[:_REGIONS_NAMED]]
    places += [f"and {len(regions) - _REGIONS_NAMED} more"] if len(regions) > _REGIONS_NAMED else []
    where = f": {'; '.join(places)}" if places else ""
    return Clash(f"the same lines changed on both sides{where}", regions, ClashKind.CONTENT)


def _regions(marked: bytes, size: int, project: bytes, task: bytes) -> tuple[Region, ...]:
    """Reads the marked text. Around the regions it has both sides' lines, so each side's own have to be found."""
    common, parts = _parts(marked, size)
    mine, theirs = _first_lines(project, common, parts, b"<"), _first_lines(task, common, parts, b"=")
    return tuple(
        Region(first, _side(part, b"<"), _side(part, b"|"), _side(part, b"="), other)
        for first, part, other in zip(mine, parts, theirs, strict=True)
    )


def _side(part: dict[bytes, list[bytes]], sign: bytes) -> bytes:
    return b"".join(part.get(sign, []))


def _parts(marked: bytes, size: int) -> tuple[list[list[bytes]], list[dict[bytes, list[bytes]]]]:
    """The lines before, between and after the regions, and of each region the three sides' by their signs."""
    marker = re.compile(rb"^(?:<{%d} a|\|{%d} b|={%d}|>{%d} c)\r?\n?$" % ((size,) * 4))
    common: list[list[bytes]] = [[]]
    found: list[dict[bytes, list[bytes]]] = []
    part = b""
    for line in split_lines(marked):
        if marker.match(line):
            part = line[:1] if line[:1] != b">" else b""
            if part == b"<":
                found.append({})
            elif not part:
                common.append([])
        elif part:
            found[-1].setdefault(part, []).append(line)
        else:
            common[-1].append(line)
    return common, found


def _first_lines(
    side: bytes, common: Sequence[Sequence[bytes]], parts: Sequence[dict[bytes, list[bytes]]], sign: bytes
) -> list[int]:
    """Where each region begins in one side's version, counted from 1."""
    merged, places = list(common[0]), []  # the marked text with this side's part of each region
    for part, after in zip(parts, common[1:], strict=True):
        places.append(len(merged))
        merged += [*part.get(sign, []), *after]
    lines = split_lines(side)
    spans = differing(lines, merged)
    return [
        1 + _nearest(lines, part.get(sign, []), _translated(spans, at)) for at, part in zip(places, parts, strict=True)
    ]


def _translated(spans: Sequence[Span], line: int) -> int:
    """The old line that stands where a new one does."""
    before = [span for span in spans if span.new_end <= line]
    return line + (before[-1].old_end - before[-1].new_end if before else 0)


def _nearest(lines: Sequence[bytes], part: Sequence[bytes], guess: int) -> int:
    """Where the part stands nearest to the guess. git ends a last line that has no end, so ends do not count."""
    plain, wanted = [line.rstrip(b"\r\n") for line in lines], [line.rstrip(b"\r\n") for line in part]
    places = [at for at in range(len(plain) - len(wanted) + 1) if plain[at : at + len(wanted)] == wanted]
    return min(places, key=lambda at: abs(at - guess), default=guess)

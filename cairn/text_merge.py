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
from pathlib import Path
from tempfile import TemporaryDirectory

from cairn.line_diff import Span, differing, split_lines

SECONDS = 60
MARKER = 16  # longer than git's own 7, so that a file about conflicts is not taken for one
_LINES_SHOWN = 5
_MOST_CONFLICTS = 127  # larger exit codes of merge-file are errors


@dataclass(frozen=True, slots=True)
class Region:
    """Lines that both sides changed differently. `first_line` counts from 1 in the project's version."""

    first_line: int
    project: bytes
    base: bytes
    task: bytes


@dataclass(frozen=True, slots=True)
class Merged:
    """Both sides' changes in one content."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Clash:
    """No merge, and why; `regions` are known for texts that git could compare."""

    reason: str
    regions: tuple[Region, ...] = ()


def merge(base: bytes, project: bytes, task: bytes) -> Merged | Clash:
    """What `git merge-file` makes of them. Binary content never merges; without git nothing does."""
    if b"\0" in base or b"\0" in project or b"\0" in task:
        return Clash("binary file changed on both sides")
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
                return _clash(folder, _marker_size(base, project, task), project)
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


def _clash(folder: str, size: int, project: bytes) -> Clash:
    code, marked = _merge_file(folder, "--diff3", f"--marker-size={size}", "-L", "a", "-L", "b", "-L", "c")
    regions = _regions(marked, size, project) if code <= _MOST_CONFLICTS else ()
    lines = ", ".join(str(region.first_line) for region in regions[:_LINES_SHOWN])
    lines += ", ..." if len(regions) > _LINES_SHOWN else ""
    where = f" (line{'' if len(regions) == 1 else 's'} {lines})" if regions else ""
    return Clash(f"the same lines changed on both sides{where}", regions)


def _regions(marked: bytes, size: int, project: bytes) -> tuple[Region, ...]:
    """Reads the marked text. Around the regions it has the task's lines too, so the project's have to be found."""
    marker = re.compile(rb"^(?:<{%d} a|\|{%d} b|={%d}|>{%d} c)\r?\n?$" % ((size,) * 4))
    merged: list[bytes] = []  # the marked text with the project's side of each region
    found: list[tuple[int, dict[bytes, list[bytes]]]] = []
    part = b""
    for line in split_lines(marked):
        if marker.match(line):
            part = line[:1] if line[:1] != b">" else b""
            if part == b"<":
                found.append((len(merged), {}))
        elif part:
            found[-1][1].setdefault(part, []).append(line)
        if not marker.match(line) and part in {b"", b"<"}:
            merged.append(line)
    lines = split_lines(project)
    spans = differing(lines, merged)
    return tuple(
        Region(
            1 + _nearest(lines, parts.get(b"<", []), _translated(spans, at)),
            *(b"".join(parts.get(sign, [])) for sign in (b"<", b"|", b"=")),
        )
        for at, parts in found
    )


def _translated(spans: Sequence[Span], line: int) -> int:
    """The old line that stands where a new one does."""
    before = [span for span in spans if span.new_end <= line]
    return line + (before[-1].old_end - before[-1].new_end if before else 0)


def _nearest(lines: Sequence[bytes], part: Sequence[bytes], guess: int) -> int:
    """Where the part stands nearest to the guess. git ends a last line that has no end, so ends do not count."""
    plain, wanted = [line.rstrip(b"\r\n") for line in lines], [line.rstrip(b"\r\n") for line in part]
    places = [at for at in range(len(plain) - len(wanted) + 1) if plain[at : at + len(wanted)] == wanted]
    return min(places, key=lambda at: abs(at - guess), default=guess)

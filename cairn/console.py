"""The only place that prints: data on stdout, everything else on stderr, plain where nobody looks at a terminal."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import IO, Any

from cairn.errors import CairnError
from cairn.line_diff import split_lines

# C0 and C1 controls except tab and newline, and the bidirectional overrides that make code read otherwise than it
# runs (CVE-2021-42574): text from models, programs and files never moves a person's cursor.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}


def printable(text: str) -> str:
    """The text with each control character shown as an escape, safe to print on a terminal."""
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(text: str, width: int) -> str:
    """The text on one printable line, cut with "..." at `width` characters."""
    if len(text) <= width and text.isprintable() and "  " not in text and text == text.strip():
        return text  # of a long list nearly every cell
    flat = printable(" ".join(text.split()))
    return flat if len(flat) <= width else flat[: width - 3] + "..."


def wants_colour(stream: IO[Any], environ: os._Environ[str] | dict[str, str]) -> bool:
    """True on a terminal, unless NO_COLOR (no-color.org) or TERM=dumb says otherwise; FORCE_COLOR overrules."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return bool(getattr(stream, "isatty", lambda: False)()) and environ.get("TERM") != "dumb"


@dataclass(frozen=True, slots=True)
class Styled:
    """A cell of a table and how it is drawn where there is colour."""

    text: str
    style: str = ""


class Console:
    """Writes for one command. With `as_json` people's text on stdout is left out; one JSON object stands there."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.colour = wants_colour(sys.stdout, os.environ)
        self._error_colour = wants_colour(sys.stderr, os.environ)

    def style(self, text: str, *styles: str, on_stderr: bool = False) -> str:
        """`text` in colour where the stream shows colour."""
        if not (self._error_colour if on_stderr else self.colour) or not styles:
            return text
        return f"\x1b[{';'.join(_STYLES[style] for style in styles)}m{text}\x1b[0m"

    def write(self, text: str = "") -> None:
        """One piece of data on stdout; nothing with --json."""
        if not self.as_json:
            print(text)

    def json(self, value: object) -> None:
        """The one JSON object of a --json command; what could move a cursor stands in it as an escape."""
        text = json.dumps(value, ensure_ascii=False, indent=2)
        print(_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text))

    def json_line(self, value: object) -> None:
        """One JSON object on a line of its own, of a command that goes on."""
        text = json.dumps(value, ensure_ascii=False)
        print(_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text))

    def note(self, text: str) -> None:
        """A line for the person, on stderr; what nobody reads, as after `2>&1 | head`, ends no command."""
        with suppress(OSError):
            print(text, file=sys.stderr)

    def error(self, error: CairnError) -> None:
        """What happened, why, and what to do, on stderr."""
        label = self.style("cairn:", "bold", "red", on_stderr=True)
        lines = [f"{label} {printable(error.what)}"]
        lines += [f"  {line}" for line in printable(error.why).splitlines()]
        lines += [
            f"  {self.style(line, 'bold', on_stderr=True)}" for fix in error.fix for line in printable(fix).splitlines()
        ]
        self.note("\n".join(lines))

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str | Styled]]) -> None:
        """Columns as wide as their widest cell; the last one is cut at the terminal's width."""
        lines = [tuple(row) for row in rows]
        texts = [tuple(cell if isinstance(cell, str) else cell.text for cell in line) for line in lines]
        widths = [max(map(len, column)) for column in zip(header, *texts, strict=True)]
        room = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
        widths[-1] = max(20, min(widths[-1], room - sum(widths[:-1]) - 2 * (len(widths) - 1)))
        last = len(widths) - 1

        @cache  # of ten thousand rows many cells are the same
        def drawn(place: int, cell: str | Styled) -> str:
            text, style = (cell, "") if isinstance(cell, str) else (cell.text, cell.style)
            shown = one_line(text, widths[place])
            return self.style(shown if place == last else shown.ljust(widths[place]), *filter(None, [style]))

        titles = tuple(Styled(name, "dim") for name in header)
        places = range(len(widths))
        self.write("\n".join("  ".join(map(drawn, places, line)).rstrip() for line in [titles, *lines]))

    def python(self, code: str) -> None:
        """A program, with syntax colour on a terminal."""
        text = printable(code.rstrip("\n"))
        if not self.colour:
            self.write(text)
            return
        from pygments import highlight
        from pygments.formatters import TerminalFormatter
        from pygments.lexers import PythonLexer

        self.write(highlight(text, PythonLexer(), TerminalFormatter()).rstrip("\n"))

    def patch(self, patch: bytes) -> None:
        """A diff: exact bytes into a pipe or file; coloured, made safe and paged on a terminal."""
        if not sys.stdout.isatty() and not self.colour:
            sys.stdout.flush()
            sys.stdout.buffer.write(patch)
            sys.stdout.buffer.flush()
            return
        text = "\n".join(self._patch_line(line) for line in patch.decode("utf-8", "replace").split("\n"))
        if not (sys.stdout.isatty() and _page(text)):
            sys.stdout.write(text)

    def shown_patch(self, head: bytes, body: bytes) -> None:
        """Part of a diff for the person who is asked about it, on stderr: coloured, made safe, never paged."""
        lines = [self.style(printable(_text(line)), "bold", on_stderr=True) for line in split_lines(head)]
        lines += [self._patch_line(_text(line), on_stderr=True) for line in split_lines(body)]
        if lines:
            self.note("\n".join(lines))

    def ask(self, prompt: str) -> None:
        """A question at the end of stderr's last line; the answer is read by whoever asked."""
        sys.stdout.flush()
        sys.stderr.write(self.style(prompt, "bold", "blue", on_stderr=True) + " ")
        sys.stderr.flush()

    def _patch_line(self, line: str, *, on_stderr: bool = False) -> str:
        safe = printable(line)
        if line.startswith(("diff ", "index ", "+++", "---", "new ", "deleted ", "old ", "rename ", "similarity ")):
            return self.style(safe, "bold", on_stderr=on_stderr)
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        return self.style(safe, style, on_stderr=on_stderr) if style else safe


def _text(line: bytes) -> str:
    return line.removesuffix(b"\n").decode("utf-8", "replace")


def _page(text: str) -> bool:
    """Shows text in the pager that git would use; False when there is none, and nothing was shown."""
    command = os.environ.get("CAIRN_PAGER") or _git_pager() or os.environ.get("PAGER") or "less"
    if command in {"cat", ""}:
        return False
    environment = {"LESS": "FRX", "LV": "-c", **os.environ}
    try:
        pager = subprocess.Popen(shlex.split(command), stdin=subprocess.PIPE, env=environment)
    except (OSError, ValueError):
        return False
    try:
        pager.communicate(text.encode("utf-8", "replace"))
    except (BrokenPipeError, KeyboardInterrupt):
        pager.wait()
    return True


def _git_pager() -> str:
    try:
        asked = subprocess.run(["git", "var", "GIT_PAGER"], capture_output=True, text=True, check=False, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip()

"""Opens a person's editor on a piece of text, chosen by git's rules; the only file that runs an editor."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FOR_A_SHELL = re.compile(r"""[|&;<>()$`\\"' \t\n*?\[#~=%]""")  # git's own list


def edited(text: bytes, folder: Path, *, suffix: str = ".diff") -> bytes:
    """What the person left in the file when the editor ended.

    `folder` is the project, whose git settings count. Raises OSError, or ValueError with a sentence, when the editor
    cannot be run or says by its exit code that it failed.
    """
    handle, name = tempfile.mkstemp(prefix="cairn-", suffix=suffix)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
        _run(command(folder), name)
        return Path(name).read_bytes()
    finally:
        Path(name).unlink(missing_ok=True)


def command(folder: Path) -> str:
    """The editor as a shell would start it: GIT_EDITOR, core.editor, VISUAL, EDITOR, else what git was built with."""
    try:
        asked = subprocess.run(
            ["git", "var", "GIT_EDITOR"], cwd=folder, capture_output=True, text=True, check=False, timeout=5
        )
        if asked.returncode == 0 and asked.stdout.strip():
            return asked.stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        pass
    terminal = os.environ.get("TERM", "dumb") != "dumb"
    chosen = os.environ.get("GIT_EDITOR") or (os.environ.get("VISUAL") if terminal else "") or os.environ.get("EDITOR")
    if not chosen and not terminal:
        raise ValueError("The terminal is dumb, and neither GIT_EDITOR nor EDITOR names an editor.")
    return chosen or "vi"


def _run(editor: str, name: str) -> None:
    # The words of a setting like "code --wait" are the shell's to split. One without is started by itself, as by git:
    # a shell beside it would die of the Ctrl-C that the editor takes for its own.
    words = ["/bin/sh", "-c", f'{editor} "$@"', editor, name] if _FOR_A_SHELL.search(editor) else [editor, name]
    with _interrupts_ignored():
        done = subprocess.run(
            words,
            # Answers that come from a pipe or file are not for the editor to read.
            stdin=None if sys.stdin is not None and sys.stdin.isatty() else subprocess.DEVNULL,
            stdout=None if sys.stdout.isatty() else sys.stderr.fileno(),
            check=False,
        )
    if done.returncode != 0:
        raise ValueError(f"The editor '{editor}' ended with exit code {done.returncode}.")


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ctrl-C in an editor is the editor's. A handler, for SIG_IGN would reach the editor too."""
    former = [(number, signal.signal(number, lambda *_: None)) for number in (signal.SIGINT, signal.SIGQUIT)]
    try:
        yield
    finally:
        for number, handler in former:
            signal.signal(number, handler)

"""What git knows of how a path came to be: its last commits, and what the newest of them changed in it.

Only looks, and only at what is in the repository already. No program that its settings name is started, nothing is
fetched, and neither time nor output is without a bound.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, cast

from cairn.git_repository import git_environment

COMMITS = 100  # told at most
PATCH_CHARS = 20_000
OUTPUT_BYTES = 1_000_000
SECONDS = 10.0

_LOOKS_ONLY = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
}
_SETTINGS = ("core.fsmonitor=false", "log.showSignature=false", "core.quotePath=false", "protocol.allow=never")
_PLAIN_PATCH = ("--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=all", "--relative")
_LINE = "--format=%h %as %an: %s"


def history(root: Path, path: str, n: int) -> str:
    """The `n` newest commits of a path, each on a line, and the newest one's patch of it.

    Raises RuntimeError where git has nothing to say: none installed, no repository, no commit of the path.
    """
    if not 1 <= n <= COMMITS:
        raise ValueError(f"n is {n}; 1 to {COMMITS} commits can be told")
    listed = _git(root, "log", f"--max-count={n}", "--no-show-signature", "--no-color", _LINE, "--", path)
    if not listed.strip():
        raise RuntimeError(f"no commit has '{path}'; it is new, or was never committed")
    newest = listed.partition(" ")[0]
    # Against the first parent, so that a merge too shows what it brought.
    how = ("--format=", "--patch", "--first-parent", "-m", "--no-show-signature", *_PLAIN_PATCH)
    patch = _git(root, "show", *how, newest, "--", path)
    return f"{listed.rstrip()}\n\nWhat {newest} changed here:\n{_shortened(patch, newest)}"


def _shortened(patch: str, commit: str) -> str:
    if len(patch) <= PATCH_CHARS:
        return patch
    cut = patch[:PATCH_CHARS].rpartition("\n")[0] or patch[:PATCH_CHARS]
    return f"{cut}\n... (the patch of {commit} goes on; name one file to see its part)\n"


def _git(root: Path, *arguments: str) -> str:
    """What git says. Raises RuntimeError with its reason; TimeoutError when it is late."""
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    try:
        process = subprocess.Popen(
            ["git", "--no-pager", *settings, *arguments],
            cwd=root,
            env={**git_environment(), **_LOOKS_ONLY},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError:
        raise RuntimeError("git is not installed here, so there is no history to tell") from None
    late = threading.Event()

    def give_up() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(SECONDS, give_up)
    timer.start()
    try:
        output = cast("IO[bytes]", process.stdout).read(OUTPUT_BYTES)
        cut = len(output) == OUTPUT_BYTES
        if cut:
            process.kill()
        _rest, errors = process.communicate()
    finally:
        timer.cancel()
    if late.is_set():
        raise TimeoutError(f"git took longer than {SECONDS:g} s; ask for fewer commits, or for one file")
    if process.returncode and not cut:
        raise RuntimeError(_reason(errors.decode(errors="replace").strip().splitlines()))
    return output.decode(errors="replace")


def _reason(lines: Sequence[str]) -> str:
    said = next((line for line in lines if line.startswith("fatal: ")), lines[-1] if lines else "it failed")
    if "not a git repository" in said:
        return "the project is not in a git repository, so there is no history to tell"
    if "does not have any commits yet" in said or "unknown revision" in said or "bad default revision" in said:
        return "the repository has no commit yet, so there is no history to tell"
    return f"git cannot tell the history: {said.removeprefix('fatal: ')[:200]}"

"""What a hostile program is expected to come to, written as a table, and the room it is let loose in."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cairn.executor import AgentExecutor, ExecutionSession
from cairn.external_functions import BoundFunctions, create_external_functions
from cairn.journal import Journal
from cairn.overlay import AgentFSOverlay
from cairn.program import CodeFailed, ExecutionResult, Finished, LimitReached, Limits, Program
from cairn.task_file import TaskFile

# Short, so that the suite is; the figures of docs/security.md are the same with these in place of the defaults.
LIMITS = Limits(
    seconds=0.3, wall_seconds=60.0, memory_mb=64, recursion=300, calls=300, output_chars=400, file_bytes=1_000_000
)
SECRET = "the-secret-beside-the-project"  # it stands in files and variables that no program may see


@dataclass(frozen=True, slots=True)
class Attack:
    """One program with all that must come of it.

    `outcome` and `what`: LimitReached with the limit's name, CodeFailed with the error's type, Finished with all that
    was printed. `within` seconds it has ended. `kept`: the next program finds its variables; else its worker is gone.
    """

    program: str
    outcome: type[ExecutionResult]
    what: str
    kept: bool
    within: float
    slow: bool = False
    limits: Limits = LIMITS

    def with_limits(self, **figures: float) -> Attack:
        return replace(self, limits=replace(self.limits, **figures))


# A loop stops at its limit. A wedged operation is killed one second later. The rest is for a machine under load.
IN_TIME = LIMITS.seconds + 1.0 + 3.0


def stopped(limit: str, program: str, *, within: float = IN_TIME, slow: bool = False) -> Attack:
    """The host ends it at this limit, and its worker with it."""
    return Attack(program, LimitReached, limit, kept=False, within=within, slow=slow)


def fails(error: str, program: str, *, kept: bool = True, within: float = IN_TIME, slow: bool = False) -> Attack:
    """It is the program's own error, like any other."""
    return Attack(program, CodeFailed, error, kept=kept, within=within, slow=slow)


def refused(program: str, *, kept: bool = True, within: float = IN_TIME, slow: bool = False) -> Attack:
    """Nothing of it runs. Not `kept`: the check itself was stopped."""
    return Attack(program, CodeFailed, "CheckFailed", kept=kept, within=within, slow=slow)


def prints(text: str, program: str, *, within: float = IN_TIME, slow: bool = False) -> Attack:
    """It runs to its end and achieves this much."""
    return Attack(program, Finished, text, kept=True, within=within, slow=slow)


def unchecked(program: str) -> str:
    """The program as text that another one runs: neither the lint nor the type checker looks into it."""
    return f"exec({program!r})\n"


def attacks(table: Mapping[str, Attack]) -> pytest.MarkDecorator:
    """A test for each row, under its name."""
    rows = [
        pytest.param(attack, id=name, marks=[pytest.mark.slow] if attack.slow else []) for name, attack in table.items()
    ]
    return pytest.mark.parametrize("attack", rows)


class Room:
    """A project with a task of its own, and a folder beside it that no program may see or touch."""

    def __init__(self, folder: Path, limits: Limits = LIMITS) -> None:
        self.root, self.outside = folder / "project", folder / "outside"
        _furnish(self.root, self.outside)
        self.file = TaskFile.create(folder / "task.db", base=self.root)
        self.journal = Journal(self.file)
        self.journal.begin_step(1, Program("", "hostile"))
        self.overlay = AgentFSOverlay(self.file, self.root, file_bytes=limits.file_bytes)
        self.limits = limits

    def functions(self, limits: Limits | None = None) -> BoundFunctions:
        return create_external_functions(self.overlay, self.journal, None, limits or self.limits)

    async def run(self, program: str, limits: Limits | None = None) -> ExecutionResult:
        """The outcome of one program by itself."""
        limits = limits or self.limits
        async with AgentExecutor(limits).session(self.functions(limits)) as session:
            return await session.execute(program)

    async def printed(self, program: str, limits: Limits | None = None) -> str:
        """The whole output of a program that must run to its end."""
        result = await self.run(program, limits or replace(self.limits, output_chars=100_000))
        assert isinstance(result, Finished), result
        return result.run.output

    async def suffer(self, attack: Attack) -> None:
        """Lets the attack loose, and compares everything that came of it."""
        before = self.snapshot()
        async with AgentExecutor(attack.limits).session(self.functions(attack.limits)) as session:
            await session.execute("mark = 'kept'")
            pids = workers()
            began = time.monotonic()
            result = await session.execute(attack.program, step=2)
            seconds = time.monotonic() - began
            what, kept = _what(result), await _is_kept(session)
            gone = kept or await _all_gone(pids)

        assert (type(result), what) == (attack.outcome, attack.what), result
        assert seconds < attack.within
        assert (kept, gone) == (attack.kept, True)
        assert await _all_gone(workers())
        assert self.snapshot() == before

    def snapshot(self) -> dict[str, tuple[int, int, bytes]]:
        """Every file of the project and beside it: mode, time of change, bytes."""
        return {**tree(self.root), **tree(self.outside)}


def tree(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every name below a folder with its mode, time of change, and bytes or where the link leads."""
    found: dict[str, tuple[int, int, bytes]] = {}
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(top, name)
            seen = path.lstat()
            content = (
                str(path.readlink()).encode() if path.is_symlink() else b"" if path.is_dir() else path.read_bytes()
            )
            found[str(path)] = (seen.st_mode, seen.st_mtime_ns, content)
    return found


def _furnish(root: Path, outside: Path) -> None:
    (root / "src/deep").mkdir(parents=True)
    (root / ".git/hooks").mkdir(parents=True)
    (root / ".cairn/tasks").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.txt").write_text(SECRET)
    (root / "a.txt").write_text("one\ntwo\n")
    (root / "src/app.py").write_text("def greet(name):\n    return 'hello ' + name\n")
    (root / "src/deep/b.py").write_text("y = 2\n")
    (root / "data.bin").write_bytes(b"\xff\x00\x01")
    (root / ".git/config").write_text(f"[core]\n# {SECRET}\n")
    (root / ".cairn/cairn.db").write_text(SECRET)
    (root / "inside").symlink_to("src")
    (root / "out").symlink_to(outside)
    (root / "up").symlink_to("../outside/secret.txt")
    (root / "into-git").symlink_to(".git")
    (root / "round").symlink_to("round")


@contextmanager
def room(folder: Path, limits: Limits = LIMITS) -> Iterator[Room]:
    made = Room(folder, limits)
    try:
        yield made
    finally:
        made.file.close()


def _what(result: ExecutionResult) -> str:
    match result:
        case LimitReached(limit=limit):
            return limit
        case CodeFailed(error_type=kind):
            return kind
        case _:
            return result.run.output


async def _is_kept(session: ExecutionSession) -> bool:
    """True when the session's variables are there for the next program; one that submitted has none."""
    after = await session.execute("print(mark)", step=3)
    return isinstance(after, Finished) and after.run.output == "kept\n"


# ── processes ───────────────────────────────────────────────────────────────────────────────────────────────────────


def workers() -> set[int]:
    """The sandbox's processes that this one started and that have not ended."""
    return {pid for pid in _children() if _name(pid) == "monty"}


def _children() -> Iterator[int]:
    for thread in Path("/proc/self/task").iterdir():
        try:
            found = (thread / "children").read_text(encoding="ascii")
        except OSError:  # the thread has ended
            continue
        yield from (pid for pid in map(int, found.split()) if _state(pid) not in {"", "Z"})


def _state(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[0]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


async def _all_gone(pids: set[int]) -> bool:
    return await _becomes_true(lambda: not pids & workers())


async def _becomes_true(condition: Callable[[], bool], seconds: float = 3.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:  # noqa: ASYNC110 - the system tells nobody
        await asyncio.sleep(0.01)
    return condition()

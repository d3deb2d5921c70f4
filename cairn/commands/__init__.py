"""What the verbs share: the chosen project, the options that mean the same everywhere, and the recovery notice."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cairn.console import Console, printable
from cairn.errors import DamagedFile, StorageProblem
from cairn.task import TaskStatus

if TYPE_CHECKING:
    from cairn.orchestrator import Orchestrator
    from cairn.project import Project
    from cairn.queue import TaskQueue
    from cairn.saved_meanwhile import KeptCopy
    from cairn.settings import Settings
    from cairn.task import Task

F = TypeVar("F", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
only_paths = click.option(
    "--only", "only", metavar="GLOB", multiple=True, help="Refuse changes outside of these paths; repeatable."
)
ask_at_limits = click.option(
    "--ask", "ask", is_flag=True, help="At a limit, wait and ask whether to raise it, instead of failing."
)
variants_option = click.option(
    "--variants", "variants", type=int, metavar="N", help="Make N independent attempts and rank them."
)
models_option = click.option(
    "--models",
    "models",
    metavar="A,B",
    help="The models that write the variants, in turn; one each without --variants.",
)
overrule_option = click.option(
    "--overrule",
    "overrule",
    is_flag=True,
    help="Take the task from another clone that began this and is gone.",
)
task_argument = click.argument("task_id", metavar="[ID]", required=False)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The project as the command line names it."""

    folder: str | None
    here: bool

    @property
    def path(self) -> Path:
        """The folder to start from; its repository's root is the project."""
        return Path(self.folder) if self.folder is not None else Path.cwd()

    def settings(self, root: Path, overrides: dict[str, object] | None = None) -> Settings:
        """The project's settings with the command line's last word."""
        from cairn.settings import Settings

        return Settings.load(root, os.environ, overrides)


@contextmanager
def opened(
    chosen: Chosen,
    console: Console,
    overrides: dict[str, object] | None = None,
    *,
    looking: bool = False,
    showing: bool = False,
    founding: bool = False,
) -> Iterator[Orchestrator]:
    """The project's orchestrator; first finishes or takes back what an earlier command left, and says so.

    `looking` writes nothing at all, and refuses where something has to be finished or taken back first; `showing` does
    without where nothing can be written. Only what is `founding` makes a project of a folder, with the first thing that
    it keeps: a look at one without tasks leaves it, and the folders below it, as it is.
    """
    from cairn.orchestrator import Orchestrator
    from cairn.project import Project
    from cairn.unwritable import refusal, shown_as_it_stands, with_copies_elsewhere

    project = Project.find(chosen.path, exact=chosen.here)
    settings = chosen.settings(project.root, overrides)
    is_new = not os.path.lexists(project.state)
    with ExitStack() as stack:
        if looking:
            yield stack.enter_context(_looked_at_only(project, settings, console))
            return
        if showing and settings.engine.url is not None and (why := refusal(project)):
            project = stack.enter_context(with_copies_elsewhere(project))
            console.note(f"cairn: {printable(why)} Shown as the server has it.")
        elif not founding and settings.engine.url is None and is_new:
            project = stack.enter_context(_without_tasks(project))
        try:
            with ExitStack() as trying:
                orchestrator = trying.enter_context(Orchestrator.open(project, settings))
                notices = () if founding and is_new else orchestrator.recovery.recover()
                stack.push(trying.pop_all())
        except DamagedFile:
            raise
        except StorageProblem as problem:
            if not showing or settings.engine.url is not None:
                raise
            orchestrator, notices = stack.enter_context(Orchestrator.open_to_show(project, settings)), ()
            console.note(f"cairn: {printable(shown_as_it_stands(orchestrator, problem))}")
        for notice in notices:
            console.note(f"cairn: {printable(notice)}")
        yield orchestrator


def _looked_at_only(project: Project, settings: Settings, console: Console) -> Orchestrator:
    """Raises StorageProblem where something has to be put right first."""
    from cairn.orchestrator import Orchestrator
    from cairn.queue import LEDGER
    from cairn.unwritable import shown_as_it_stands

    try:
        return Orchestrator.open_as_it_is(project, settings)
    except DamagedFile:
        raise
    except StorageProblem as problem:
        if settings.engine.url is not None or project.unsettled() or not (project.state / LEDGER).exists():
            raise
        orchestrator = Orchestrator.open_to_show(project, settings)
        console.note(f"cairn: {printable(shown_as_it_stands(orchestrator, problem))}")
        return orchestrator


@contextmanager
def _without_tasks(project: Project) -> Iterator[Project]:
    """The project with an empty state elsewhere, for the time of one look."""
    from tempfile import TemporaryDirectory

    from cairn.project import Project

    with TemporaryDirectory(prefix="cairn-look-") as state:
        yield Project(project.root, state=Path(state))


@contextmanager
def tasks_of(chosen: Chosen, console: Console, *, founding: bool = False) -> Iterator[TaskQueue]:
    """The ledger, for verbs that only list tasks; what puts things right is loaded only where something is not."""
    queue = _settled_queue(chosen)
    if queue is not None:
        with queue:
            yield queue
        return
    with opened(chosen, console, founding=founding, showing=not founding) as orchestrator:
        yield orchestrator.queue


def _settled_queue(chosen: Chosen) -> TaskQueue | None:
    """None where something has to be put right first, or the ledger cannot be opened; `opened` says then what it is."""
    from cairn.project_place import OPERATIONS, STATE, find_root, is_settled
    from cairn.queue import LEDGER, TaskQueue

    root = find_root(chosen.path, exact=chosen.here)
    state = root / STATE
    on_disk = (state / LEDGER).exists() and is_settled(state / OPERATIONS)
    if not on_disk or chosen.settings(root).engine.url is not None:
        return None
    with suppress(StorageProblem), ExitStack() as stack:
        queue = stack.enter_context(TaskQueue(state / LEDGER))
        if not queue.abandoned():
            stack.pop_all()
            return queue
    return None


def tell_of_kept(copies: Sequence[KeptCopy], console: Console) -> None:
    """Says of files that were saved while they were written where the version before that save is."""
    for each in copies:
        earlier = (
            f"{printable(each.path)} was saved meanwhile; what it held before that is in {printable(str(each.copy))}"
        )
        console.note(f"cairn: {earlier}")


def named_task(orchestrator: Orchestrator, task_id: str | None, statuses: tuple[TaskStatus, ...], verb: str) -> Task:
    """The task an id or its prefix names; without an id the only one in `statuses`. An empty id is no id left out."""
    return orchestrator.only_task(statuses, verb) if task_id is None else orchestrator.task(task_id)


def looked_at(orchestrator: Orchestrator, task_id: str | None, verb: str) -> Task:
    """As `named_task`, for verbs that only look: without an id the newest in review, else the newest of all."""
    if task_id is not None:
        return orchestrator.task(task_id)
    newest = orchestrator.queue.tasks([TaskStatus.IN_REVIEW], limit=1) or orchestrator.queue.tasks(limit=1)
    return newest[0] if newest else orchestrator.only_task((), verb)

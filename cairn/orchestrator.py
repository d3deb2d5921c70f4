"""All that can be done with the tasks of one project: the parts that do it, opened together over the same ledger."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Self

from cairn.acceptable_changes import AcceptableChanges
from cairn.decisions import Decisions
from cairn.errors import NotFound, StorageProblem, UsageProblem
from cairn.ledger_place import LedgerFile, LedgerServer
from cairn.model_use import ModelUse
from cairn.new_tasks import NewTasks
from cairn.operations import Operations
from cairn.postponing import Postponing
from cairn.project import Project
from cairn.queue import LEDGER, TaskQueue
from cairn.recording import Recording
from cairn.recovery import Recovery
from cairn.reviews import Reviews
from cairn.run_endings import RunEndings
from cairn.run_parts import Parts
from cairn.runs import Runs
from cairn.shared_bases import Bases, LiveTree
from cairn.stopped_tasks import StoppedTasks
from cairn.task import Task, TaskStatus
from cairn.task_checks import TaskChecks
from cairn.task_conversation import TaskConversations
from cairn.task_moves import TaskMoves
from cairn.task_store import LocalTasks, TaskStore
from cairn.task_work import KeptWork
from cairn.tasks_again import TasksAgain
from cairn.variant_groups import VariantGroups

if TYPE_CHECKING:
    from cairn.object_store import ObjectStore
    from cairn.settings import Settings


class Orchestrator:
    """The parts, in the order of a task's way. `Orchestrator.open` picks what they are made of."""

    def __init__(
        self,
        project: Project,
        queue: TaskQueue,
        settings: Settings,
        parts: Parts,
        *,
        store: TaskStore | None = None,
        bases: Bases | None = None,
        clock: Callable[[], float] = time.time,
        shared: bool | None = None,
    ) -> None:
        """`shared`: other clones have the same ledger. Not given, they have if it is a server's."""
        self.project = project
        self.queue = queue
        local = LocalTasks(project.state / "tasks", prepare=project.prepare)
        self.store: TaskStore = local if store is None else store
        self.settings = settings
        self._parts = parts
        self._bases: Bases = LiveTree(project, settings) if bases is None else bases
        self._clock = clock
        self._ledger_is_new = False
        self._is_shared = isinstance(queue.place, LedgerServer) if shared is None else shared
        self._closing = queue.close

    @classmethod
    def open(cls, project: Project, settings: Settings) -> Self:
        """Where there is no `.cairn/` yet, the first thing that is to be kept makes it."""
        from cairn.plugins import code_source, text_model

        is_new = not os.path.lexists(project.state)
        if not is_new or settings.engine.url is not None:
            project.prepare()
        if settings.engine.url is not None:
            return cls._shared(project, settings)
        ledger = LedgerFile(project.state / LEDGER, prepare=project.prepare if is_new else None)
        new = not ledger.path.exists()
        found = cls(project, TaskQueue(ledger), settings, Parts(code_source, text_model))
        found._ledger_is_new = new
        return found

    @classmethod
    def open_to_show(cls, project: Project, settings: Settings) -> Self:
        """What is there at this moment, where nothing can be written; nothing that was left is put right first."""
        from cairn.plugins import code_source, text_model

        ledger = LedgerFile(project.state / LEDGER, as_it_is=True)
        return cls(project, TaskQueue(ledger), settings, Parts(code_source, text_model))

    @classmethod
    def _shared(cls, project: Project, settings: Settings) -> Self:
        """On a server's ledger, and by its clock."""
        from cairn.plugins import code_source, text_model
        from cairn.shared_project import SharedProject

        shared = SharedProject.open(project, settings)
        parts = Parts(code_source, text_model)
        clock = shared.queue.clock
        found = cls(project, shared.queue, settings, parts, store=shared.store, bases=shared.bases, clock=clock)
        found._closing = shared.close
        return found

    @classmethod
    def open_as_it_is(cls, project: Project, settings: Settings) -> Self:
        """For a look that writes nothing. Raises NotFound without a ledger, StorageProblem before a recovery."""
        from cairn.plugins import code_source, text_model

        shared = settings.engine.url is not None
        ledger = project.state / LEDGER
        if not shared and not ledger.exists() and not any((project.state / "tasks").glob("*.db")):
            raise NotFound("There is no task here.", fix='cairn run "..."   starts one.')
        if not (shared or ledger.exists()) or project.unsettled():
            raise StorageProblem(
                "A killed command left something here that has to be put right first. Nothing was written.",
                fix="cairn list   does that, as any other command; then try again.",
            )
        if shared:
            return cls._shared(project, settings)
        return cls(project, TaskQueue(ledger), settings, Parts(code_source, text_model))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Releases the ledger."""
        self._closing()

    # -- finding tasks ----------------------------------------------------------------------------------------------

    def task(self, prefix: str) -> Task:
        """The one task whose id starts with `prefix`. Raises NotFound or UsageProblem."""
        return self.queue.get(prefix)

    def only_task(self, statuses: Sequence[TaskStatus], verb: str) -> Task:
        """The one task in these statuses, so that its id may be left out."""
        found = self.queue.tasks(statuses, limit=6)
        if len(found) == 1:
            return found[0]
        if not found:
            raise NotFound(f"There is no task to {verb}.", fix='cairn run "..."   starts one; cairn list   shows all.')
        names = ", ".join(task.id for task in found)
        raise UsageProblem(f"More than one task could be meant: {names}.", fix=f"cairn {verb} {found[0].id}")

    # -- asking and running -----------------------------------------------------------------------------------------

    @cached_property
    def new_tasks(self) -> NewTasks:
        """Submit, one or many."""
        return NewTasks(
            self.project.root,
            self.queue,
            self.store,
            self.settings,
            self._parts,
            self._bases,
            is_shared=self._is_shared,
        )

    @cached_property
    def stopped_tasks(self) -> StoppedTasks:
        """Resume, answer."""
        return StoppedTasks(self.queue, self.store, self.settings, self._parts, self.work, self.moves, self._clock)

    @cached_property
    def again(self) -> TasksAgain:
        """Retry, fork, replay."""
        return TasksAgain(
            self.project.root, self.queue, self.store, self.settings, self.work, self.moves, self.new_tasks
        )

    @cached_property
    def runs(self) -> Runs:
        """Run."""
        conversations = TaskConversations(
            self.project, self.settings, self._parts, self.work, self.checks, self.model_use, self._clock
        )
        endings = RunEndings(
            self.queue,
            self.store,
            self.settings,
            self.work,
            self.reviews,
            self.variants,
            self.moves,
            self._clock,
        )
        postponing = Postponing(self.settings, self._parts, self._clock)
        return Runs(
            self.queue,
            self._bases,
            conversations,
            self.reviews,
            endings,
            postponing,
            self.moves,
            self._runs_over,
        )

    def _runs_over(self, project: Project, settings: Settings) -> Runs:
        """Runs of the same tasks over other files."""
        return Orchestrator(project, self.queue, settings, self._parts, store=self.store, clock=self._clock).runs

    @cached_property
    def model_use(self) -> ModelUse:
        """What tasks may ask of models."""
        return ModelUse(self.queue.place, self.settings, self._clock)

    # -- judging ----------------------------------------------------------------------------------------------------

    @cached_property
    def work(self) -> KeptWork:
        """What tasks did."""
        return KeptWork(self.project.root, self.store, self.settings, self._clock)

    @cached_property
    def checks(self) -> TaskChecks:
        """Check, and the evidence for an accept."""
        return TaskChecks(self.project, self.queue, self.settings, self._parts, self.work, self._clock)

    @cached_property
    def acceptable(self) -> AcceptableChanges:
        """Diff, and what can be picked of it."""
        return AcceptableChanges(self.project.root, self.operations, self.work)

    @cached_property
    def reviews(self) -> Reviews:
        """Review."""
        return Reviews(self.project, self.settings, self.work, self.checks, self.acceptable)

    # -- deciding ---------------------------------------------------------------------------------------------------

    @cached_property
    def decisions(self) -> Decisions:
        """Accept, reject, undo."""
        return Decisions(
            self.project,
            self.queue,
            self.settings,
            self.operations,
            self._recording,
            self.acceptable,
            self.checks,
            self.moves,
        )

    @cached_property
    def operations(self) -> Operations:
        """Every accept and undo."""
        return Operations(self.project, self.queue.database, shared=self._is_shared, objects=self._objects)

    def _objects(self) -> ObjectStore | None:
        from cairn.object_store import open_objects

        return open_objects(self.settings.engine.objects)

    @cached_property
    def moves(self) -> TaskMoves:
        """Cancel, put off."""
        return TaskMoves(self.queue, self.store)

    @cached_property
    def variants(self) -> VariantGroups:
        """Of which one is accepted."""
        return VariantGroups(self.queue, self.store, self.moves)

    # -- after a crash ----------------------------------------------------------------------------------------------

    @cached_property
    def recovery(self) -> Recovery:
        """Recover."""
        return Recovery(
            self.project,
            self.queue,
            self.store,
            self.operations,
            self._recording,
            self.work,
            ledger_is_new=self._ledger_is_new,
        )

    @cached_property
    def _recording(self) -> Recording:
        return Recording(self.project, self.queue, self.store, self.operations, self.work, self.variants, self._bases)

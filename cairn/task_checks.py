"""Runs the project's checks over a task's files, and says what they and the task's changes are evidence of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from cairn.changes import ChangeSet
from cairn.check_ground import today
from cairn.check_record import check_results
from cairn.checks import CheckResult, Evidence, Verdict, standings, summary
from cairn.errors import CheckNotPassed, IllegalMove, NotFound
from cairn.permission import is_hidden
from cairn.progress import Observer, unobserved
from cairn.project import Project
from cairn.queue import TaskQueue
from cairn.run_parts import Parts
from cairn.task import Task, TaskStatus
from cairn.task_record import keep_task
from cairn.task_work import KeptWork, Work, unless_it_moved
from cairn.weakened_checks import weakenings

if TYPE_CHECKING:
    from cairn.check_runs import CheckRuns, ProgramChecks
    from cairn.settings import Settings


class TaskChecks:
    """A task's own options may change the project's checks."""

    def __init__(
        self,
        project: Project,
        queue: TaskQueue,
        settings: Settings,
        parts: Parts,
        work: KeptWork,
        clock: Callable[[], float],
    ) -> None:
        self._project = project
        self._queue = queue
        self._settings = settings
        self._parts = parts
        self._work = work
        self._clock = clock

    async def run(
        self, task: Task, names: Sequence[str] = (), observe: Observer = unobserved, *, unsandboxed: bool = False
    ) -> tuple[CheckResult, ...]:
        """Runs these checks, or all that are about the task's changes, over its files as they are now.

        Raises NotFound for an unknown check, IllegalMove for a task that runs, CairnError where nothing can run.
        """
        settings = self._settings.with_options(task.options)
        _require_checks(settings, names)
        if task.status in {TaskStatus.RUNNING, TaskStatus.QUEUED, TaskStatus.WAITING}:
            raise IllegalMove(f"Task {task.id} is {task.status}; it has not ended yet.", fix=f"cairn show {task.id}")
        self._work.require(task)
        with unless_it_moved(task), self._work.opened(task, to_write=True) as work:
            deciding = task.status is TaskStatus.IN_REVIEW
            runs = self.over(work, settings, observe, unsandboxed=unsandboxed, deciding=deciding)
            found = sorted(runs.standings(), key=lambda each: not each.check.keep_writes)
            wanted = [each.check.name for each in found if names or each.verdict is not Verdict.NOT_NEEDED]
            results = [await runs.run(name) for name in wanted if not names or name in names]
            task = self._queue.note_checks(task, summary(runs.standings()))
            keep_task(work.file, task)
        return tuple(results)

    def over(
        self,
        work: Work,
        settings: Settings,
        observe: Observer = unobserved,
        *,
        unsandboxed: bool = False,
        deciding: bool = False,
    ) -> CheckRuns:
        """The project's checks over a task's files. No program's command sees what its policy hides."""
        from cairn.base_verdicts import FOLDER, BaseVerdicts
        from cairn.check_runs import CheckRuns

        policy = settings.policy.policy()
        return CheckRuns(
            work.overlay,
            work.file,
            settings.checks,
            lambda: self._parts.runtime(self._project.root, settings, unsandboxed),
            self._clock,
            observe,
            partial(is_hidden, policy, work.overlay, "read_file") if policy.hides_some else None,
            settings.limits.limits(),
            BaseVerdicts(self._project.state / FOLDER),
            deciding,
        )

    def for_programs(
        self, work: Work, settings: Settings, observe: Observer, *, may_refuse: Callable[[], bool]
    ) -> ProgramChecks | None:
        """Those that a task's programs may run; None where the project has none."""
        from cairn.check_runs import ProgramChecks

        if not settings.checks:
            return None
        used = work.journal.completed("run_check")
        return ProgramChecks(self.over(work, settings, observe), settings.runtime.runs, may_refuse, used=used)

    def evidence(self, task: Task) -> Evidence:
        """What the checks say of the task's changes, and what of them weakens checks."""
        if not self._work.exists(task):
            return Evidence()
        with self._work.opened(task) as work:
            return self.evidence_in(work, task, work.overlay.changes())

    def evidence_in(self, work: Work, task: Task, changes: ChangeSet) -> Evidence:
        """The same of a file that is open, and of these changes of it."""
        checks, results = self._settings.with_options(task.options).checks, check_results(work.file)
        deciding = task.status is TaskStatus.IN_REVIEW and any(name in checks for name in results)
        project = today(self._project.root, changes) if deciding else ""
        found = standings(checks, results, changes.digest, changes.paths, project)
        return Evidence(found, weakenings(changes))

    def require_passed(self, task: Task) -> None:
        """Raises CheckNotPassed for a required check that failed on the task's files as they are."""
        failed = self.evidence(task).failed if self._settings.with_options(task.options).checks else ()
        if failed:
            told = "; ".join(f"{each.check.name} {each.result.in_words}" for each in failed if each.result)
            raise CheckNotPassed(
                f"Task {task.id} did not pass a required check; nothing was written.",
                f"{told}.",
                (
                    f"cairn check {task.id}   runs its checks again.",
                    f"cairn accept {task.id} --force   takes it all the same.",
                ),
            )


def _require_checks(settings: Settings, names: Sequence[str]) -> None:
    if not settings.checks:
        raise NotFound(
            "The project has no checks.",
            "None stands in cairn.toml under [checks].",
            ("[checks]", 'tests = "pytest -q"   in cairn.toml adds one; cairn init   proposes some.'),
        )
    for name in names:
        if name not in settings.checks:
            known = ", ".join(settings.checks)
            raise NotFound(f"There is no check '{name}'.", f"The project has: {known}.", "Name one of these.")

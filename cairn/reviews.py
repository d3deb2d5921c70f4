"""Reviews of tasks: what each one's file tells, compared with the project as it is now."""

from __future__ import annotations

from dataclasses import replace

from cairn.acceptable_changes import AcceptableChanges
from cairn.changes import ChangeSet
from cairn.dangerous_paths import dangers
from cairn.hunks import Selection, rest
from cairn.project import Decision, Plan, Project
from cairn.review import Review, StepCost
from cairn.settings import Settings
from cairn.task import Task, TaskStatus
from cairn.task_checks import TaskChecks
from cairn.task_questions import open_question
from cairn.task_spending import spending_by_step, task_spending
from cairn.task_work import KeptWork, Work

DRAFTS = "cairn.drafts"  # how many answers of ask_llm were a draft model's
_MAY_ASK = frozenset({TaskStatus.WAITING, TaskStatus.QUEUED, TaskStatus.CANCELLED})


class Reviews:
    """Read from the tasks' files each time they are asked for."""

    def __init__(
        self,
        project: Project,
        settings: Settings,
        work: KeptWork,
        checks: TaskChecks,
        acceptable: AcceptableChanges,
    ) -> None:
        self._project = project
        self._settings = settings
        self._work = work
        self._checks = checks
        self._acceptable = acceptable

    def of(self, task: Task) -> Review:
        """The review of a task, whatever became of it; nothing is written."""
        if not self._work.exists(task):
            return Review(task, None, ChangeSet())
        settings = self._settings.with_options(task.options)
        with self._work.opened(task) as work:
            whole = work.overlay.changes()
            taken = self._acceptable.taken(task)
            changes = rest(whole, taken)
            in_review = task.status is TaskStatus.IN_REVIEW
            planned = self._project.preview(self._acceptable.in_tree(task, changes)) if in_review else Plan()
            return Review(
                task=task,
                submission=work.journal.submission(),
                changes=changes,
                steps=work.journal.steps(),
                calls=work.journal.calls(),
                stale=_stale(work.overlay.stale(), whole, taken, planned),
                conflicts=planned.conflicts,
                left_behind=work.overlay.left_behind() if task.status is TaskStatus.IN_REVIEW else (),
                dangers=dangers(changes, self._settings.accept.allow),
                whole=whole,
                accepted=taken.paths,
                drafts=_count(work.file.kv_get(DRAFTS)),
                limits=settings.limits.limits(),
                policy=settings.policy.policy(),
                question=open_question(work.file) if task.status in _MAY_ASK else None,
                spent=task_spending(work.file),
                costs=_costs(work),
                evidence=self._checks.evidence_in(work, task, whole),
            )

    def moved(self, review: Review, task: Task) -> Review:
        """The review of a task as it is since the ledger moved it; read again where a person would see more of it."""
        sees_more = task.status in _MAY_ASK or task.status is TaskStatus.IN_REVIEW or review.accepted
        return self.of(task) if sees_more or review.whole is None else replace(review, task=task)


def _costs(work: Work) -> dict[int, StepCost]:
    spent, seconds = spending_by_step(work.file), work.journal.writing_seconds()
    return {step: StepCost(each, seconds.get(step, 0.0)) for step, each in spent.items()}


def _stale(changed: tuple[str, ...], whole: ChangeSet, taken: Selection, planned: Plan) -> tuple[str, ...]:
    """Without the paths that differ from what the task saw only because part of them was accepted."""
    accepted = {path for change in whole if change.path in taken.paths for path in change.paths}
    edited = set(planned.decided(Decision.MERGE, Decision.CONFLICT))
    return tuple(path for path in changed if path not in accepted or path in edited)


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0

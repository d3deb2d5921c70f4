"""How a run of a task ends: in review, waiting, failed or cancelled with its figures, or queued again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from cairn.checks import summary
from cairn.errors import in_one_line
from cairn.git_diff import stat
from cairn.ledger_answer import Order
from cairn.policy import AtLimitSetting
from cairn.program import ExecutionResult, LimitReached
from cairn.queue import TaskQueue
from cairn.review import Review
from cairn.reviews import Reviews
from cairn.settings import Settings
from cairn.task import Outcome, PutOff, Task, TaskStatus
from cairn.task_moves import TaskMoves
from cairn.task_questions import OF_LIMIT, PersonQuestion, keep_question
from cairn.task_run import can_be_raised, figure, verdict
from cairn.task_store import TaskStore
from cairn.task_work import KeptWork
from cairn.variant_groups import VariantGroups

NOTHING_TO_CHANGE = "nothing to change"
RELEASED = "its worker was stopped"  # why a run is cancelled whose task is to go on elsewhere


class RunEndings:
    """Each gives the ledger its word on a run, and then the task's file."""

    def __init__(
        self,
        queue: TaskQueue,
        store: TaskStore,
        settings: Settings,
        work: KeptWork,
        reviews: Reviews,
        variants: VariantGroups,
        moves: TaskMoves,
        clock: Callable[[], float],
    ) -> None:
        self._queue = queue
        self._store = store
        self._settings = settings
        self._work = work
        self._reviews = reviews
        self._variants = variants
        self._moves = moves
        self._clock = clock

    def judge(self, task: Task, result: ExecutionResult, seconds: float) -> Review:
        """As `finish`, with what the result means for the task; a limit may be a question to its person."""
        status, reason = self._asking_at_limit(task, result) or verdict(result)
        return self.finish(task, status, reason, seconds)

    def fail(self, task: Task, error: Exception, seconds: float) -> Review:
        """As `finish`, of a run that an error ended."""
        return self.finish(task, TaskStatus.FAILED, in_one_line(error), seconds)

    def finish(self, task: Task, status: TaskStatus, reason: str, seconds: float) -> Review:
        """The ledger gets the status and the figures a list shows; a task that changed nothing is closed at once.

        Before, the task's file has them and is on the disk, so that no power cut leaves a review without its changes.
        """
        review = self._reviews.of(task)
        figures = stat(review.changes)
        outcome = Outcome(
            summary=review.submission.summary if review.submission else "",
            files_changed=len(review.changes),
            lines_added=figures.added,
            lines_removed=figures.removed,
            steps=len(review.steps),
            calls=len(review.calls),
            input_tokens=review.input_tokens,
            output_tokens=review.output_tokens,
            seconds=task.outcome.seconds + seconds,
            money=review.spent.money,
            estimated=review.spent.estimated,
            checks=summary(review.evidence.standings),
        )
        closed = status is TaskStatus.IN_REVIEW and not review.changes and review.claims.agree
        after, why = (TaskStatus.ACCEPTED, NOTHING_TO_CHANGE) if closed else (status, reason)
        now = self._queue.clock()
        ended = replace(task, status=after, reason=why, outcome=outcome, finished_at=now, waits_for="")
        self._store.note(ended)
        move = partial(self._moved_to_end, task, status, reason, ended)
        finished = self._queue.database.write(move, order=Order.BESIDE)
        if status is TaskStatus.IN_REVIEW and not closed and self._queue.was_to_be_cancelled(task):
            instead = self._variants.accepted_instead_of(task)  # it ended before it heard of that
            finished = self._queue.move(finished, TaskStatus.REJECTED, reason=instead) if instead else finished
        if (finished.status, finished.reason) != (ended.status, ended.reason):
            self._store.note(finished)
        return self._reviews.moved(review, finished)

    def _moved_to_end(self, task: Task, status: TaskStatus, reason: str, ended: Task) -> Task:
        """Inside a transaction: the ledger has it as the file has, by way of what its program came to."""
        finished = self._queue.finish(task, status, reason=reason, outcome=ended.outcome, at=ended.finished_at)
        return finished if ended.status is status else self._queue.move(finished, ended.status, reason=ended.reason)

    def stopped(self, task: Task, stop: BaseException, seconds: float) -> None:
        """It is cancelled, or queued again where only its worker was to stop."""
        reason = str(stop.args[0]) if stop.args else "stopped by the person who ran it"
        if reason == RELEASED:
            self._moves.put_off(task, PutOff(RELEASED, in_vain=task.in_vain))
        else:
            self.finish(task, TaskStatus.CANCELLED, reason, seconds)

    def _asking_at_limit(self, task: Task, result: ExecutionResult) -> tuple[TaskStatus, str] | None:
        """Where the task is to ask at limits, one that can be raised is a question; None for anything else."""
        asks = self._settings.with_options(task.options).policy.at_limit is AtLimitSetting.ASK
        if not isinstance(result, LimitReached) or not asks or not can_be_raised(result.limit):
            return None
        with self._work.opened(task, to_write=True) as work, work.file.transaction():
            work.journal.require_held()
            step = work.journal.step
            allowed = figure(result.allowed)
            keep_question(work.file, PersonQuestion(OF_LIMIT, step, result.limit, allowed, asked_at=self._clock()))
        return TaskStatus.WAITING, f"asks: go on beyond {result.limit} = {allowed}?"

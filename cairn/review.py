"""What a person judges: a task, its programs, its submission, and what it really changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cairn.changes import ChangeKind, ChangeSet
from cairn.checks import Evidence
from cairn.dangerous_paths import Danger
from cairn.metering import Spent
from cairn.policy import Policy
from cairn.program import CallRecord, LimitReached, Limits, Step, Submission
from cairn.task import Task
from cairn.task_questions import PersonQuestion


@dataclass(frozen=True, slots=True)
class Claims:
    """What a submission said it changed against what did change; both sorted."""

    confirmed: tuple[str, ...] = ()
    claimed_only: tuple[str, ...] = ()
    unclaimed: tuple[str, ...] = ()

    @classmethod
    def compare(cls, submission: Submission | None, changes: ChangeSet) -> Claims:
        """A folder claims every change below it; a rename may be claimed by either name."""
        claimed = {name.removeprefix("./") for name in (submission.changed_files if submission else ())}
        real = set(changes.paths)
        folders = tuple(f"{name.rstrip('/')}/" for name in claimed - real)
        aliases = {change.path: change.renamed_from for change in changes if change.renamed_from is not None}
        covered = {path for path in real if path in claimed or path.startswith(folders or ("\0",))}
        covered |= {new for new, old in aliases.items() if {new, old} & covered}
        covered |= {old for new, old in aliases.items() if new in covered}
        idle = {name for name in claimed - real if not any(p.startswith(f"{name.rstrip('/')}/") for p in real)}
        return cls(tuple(sorted(covered)), tuple(sorted(idle)), tuple(sorted(real - covered)))

    @property
    def agree(self) -> bool:
        """True when the submission named each changed path and no other."""
        return not self.claimed_only and not self.unclaimed


@dataclass(frozen=True, slots=True)
class StepCost:
    """What models took for one step: all their calls, and the seconds in which they wrote its programs."""

    spent: Spent = field(default_factory=Spent)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Review:
    """Everything `cairn show` can tell of a task.

    `changes` are still to be decided on. `whole` are all of them, where some, leading to the paths `accepted`, are in
    the project already. `stale` are paths that the user changed after the task first read or changed them.
    `conflicts` says for each path that cannot be merged why, as accept would; empty means that accept would go through
    now. `left_behind` stays on disk in folders that the task deleted or moved. `dangers` are the changed paths that
    accept wants named. `limits` are the task's, by today's settings. `drafts` counts the answers of
    ask_llm that a draft model wrote. `spent` is what all calls of models took, `costs` what those of each step did, by
    its number. `policy` is the task's, by today's settings, and `question` what it asks and nobody has answered.
    `evidence` is what checks say.
    """

    task: Task
    submission: Submission | None
    changes: ChangeSet
    steps: tuple[Step, ...] = ()
    calls: tuple[CallRecord, ...] = ()
    stale: tuple[str, ...] = ()
    conflicts: tuple[tuple[str, str], ...] = ()
    left_behind: tuple[str, ...] = ()
    dangers: tuple[Danger, ...] = ()
    whole: ChangeSet | None = None
    accepted: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    drafts: int = 0
    spent: Spent = field(default_factory=Spent)
    costs: Mapping[int, StepCost] = field(default_factory=dict)
    evidence: Evidence = field(default_factory=Evidence)
    policy: Policy = field(default_factory=Policy)
    question: PersonQuestion | None = None

    @property
    def claims(self) -> Claims:
        """The submission judged by all of the changes."""
        return Claims.compare(self.submission, self.changes if self.whole is None else self.whole)

    @property
    def input_tokens(self) -> int:
        """Tokens sent to models, by the programs' author and by ask_llm."""
        return self.spent.input_tokens

    @property
    def output_tokens(self) -> int:
        """Tokens that models wrote."""
        return self.spent.output_tokens

    @property
    def limit(self) -> LimitReached | None:
        """The limit that ended the last step, if one did."""
        last = self.steps[-1].result if self.steps else None
        return last if isinstance(last, LimitReached) else None

    def count(self, kind: ChangeKind) -> int:
        """How many changes are of that kind."""
        return sum(change.kind is kind for change in self.changes)

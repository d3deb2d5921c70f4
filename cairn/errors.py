"""What can go wrong, as a person reads it: what happened, why, and what to do.

CairnError                      exit 1
├── UsageProblem                exit 2   a flag, id, setting or program file that cannot be used as given
├── NotFound                    exit 3   no such task, project, recipe or file
├── Conflict                    exit 4   the project and the task disagree; nothing was written
│   └── NotAllowed              exit 4   dangerous paths were not named; nothing was written
├── CheckNotPassed              exit 1   a required check failed on the task; nothing was written
├── TaskFailed                  exit 1   the task ended without a submission
├── BudgetReached               exit 1   the project's budget allows no further task now
├── IllegalMove                 exit 1   a task cannot go from its state to the one asked for
├── StorageProblem              exit 1   a file of Cairn's own is locked, damaged or cannot be written
│   ├── DamagedFile                      its bytes are not what Cairn wrote
│   └── DiskFull
├── ModelProblem                exit 1   a language model cannot be used or gave no usable answer
│   ├── ModelUnavailable                 unknown, broken plug-in, key missing or refused
│   │   ├── KeyMissing                   the key is not here; another machine may have it
│   │   └── KeyRefused                   the key that is here may not use it; another machine's may
│   └── ModelCallFailed                  one call failed; says whether a retry may help
│       └── ConversationTooLong          more was sent than the model can read
└── Interrupted                 exit 130
"""

from __future__ import annotations


class CairnError(Exception):
    """Carries three sentences: what happened, why, and what to do next.

    `fix` lines are shown as they are, one a line; commands in them can be pasted.
    """

    exit_code = 1

    def __init__(self, what: str, why: str = "", fix: str | tuple[str, ...] = ()) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix: tuple[str, ...] = (fix,) if isinstance(fix, str) else tuple(fix)

    def __str__(self) -> str:
        return "\n".join(part for part in (self.what, self.why, *self.fix) if part)


class UsageProblem(CairnError):
    """The command cannot be carried out as it was typed."""

    exit_code = 2


class NotFound(CairnError):
    """What was named does not exist."""

    exit_code = 3


class Conflict(CairnError):
    """The project changed under a task; nothing was written. `paths` names each conflict."""

    exit_code = 4

    def __init__(
        self, what: str, why: str = "", fix: str | tuple[str, ...] = (), *, paths: tuple[str, ...] = ()
    ) -> None:
        super().__init__(what, why, fix)
        self.paths = paths


class NotAllowed(Conflict):
    """Some of the changes could run something by themselves, and nobody named their paths; nothing was written."""


class CheckNotPassed(CairnError):
    """A required check failed on the task's files as they are; nothing was written."""


class TaskFailed(CairnError):
    """A task ended without a submission; its work is kept."""


class BudgetReached(CairnError):
    """As many tasks run as may run at once; the task stays queued."""


class IllegalMove(CairnError):
    """A task's state does not allow what was asked."""


class StorageProblem(CairnError):
    """A file that Cairn owns cannot be read or written now."""


class DamagedFile(StorageProblem):
    """A file that Cairn owns does not hold what Cairn wrote; it was kept, never rebuilt over."""


class DiskFull(StorageProblem):
    """The disk has no room; what was there before is still there."""


class ModelProblem(CairnError):
    """A language model cannot do what was asked of it."""


class ModelUnavailable(ModelProblem):
    """No call was made: the model is unknown, broken, or its key is missing or refused."""


class KeyMissing(ModelUnavailable):
    """The model is known here and its key is not: another machine may have it."""


class KeyRefused(ModelUnavailable):
    """The provider refuses the key that is here: another machine may have one that it takes."""


class ModelCallFailed(ModelProblem):
    """One call to a model failed. `retryable` says whether the same call may succeed later.

    `no_quota`: the account has nothing left, so no call would do better.
    """

    def __init__(
        self,
        what: str,
        why: str = "",
        fix: str | tuple[str, ...] = (),
        *,
        retryable: bool = False,
        retry_after: float | None = None,
        status: int | None = None,
        no_quota: bool = False,
    ) -> None:
        super().__init__(what, why, fix)
        self.retryable = retryable
        self.retry_after = retry_after
        self.status = status
        self.no_quota = no_quota


class ConversationTooLong(ModelCallFailed):
    """More was sent than the model can read; less of it may pass."""


class Interrupted(CairnError):
    """The person stopped the command; what was done until then is kept."""

    exit_code = 130


def in_one_line(error: Exception) -> str:
    """What `cairn list` shows of an error that ended a task."""
    if isinstance(error, CairnError):
        return " ".join([error.what, *error.why.splitlines()[:1]])
    return f"a bug in Cairn: {type(error).__name__}: {error}"

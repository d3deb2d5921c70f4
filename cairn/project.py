"""The user's files: a task's changes reach them whole or not at all, and leave them the same way.

Apply and undo plan every path first, journal what stands there now and what shall stand there, and only then write.
Whatever ends them in the middle, the files are taken back or finished: at once, or by the next command.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cairn.changes import ChangeSet, EntryKind
from cairn.errors import CairnError, Conflict, IllegalMove, Interrupted, StorageProblem
from cairn.hunks import Selection
from cairn.merge_plan import Decision, PathPlan, PathsInConflict, Plan, plan
from cairn.operation_log import Operation, OperationLog, OperationState
from cairn.project_files import Edit, ProjectFiles, naming
from cairn.project_lock import LOCK_SECONDS, Busy, ProjectLock
from cairn.project_place import OPERATIONS, STATE, find_root, is_settled
from cairn.rewriting import Rewriting
from cairn.saved_meanwhile import KeptCopy, SavedMeanwhile, again_after_saves, some_of
from cairn.sqlite_file import translate_errors
from cairn.undo_plan import inverse, last_applied, require_here, undoable, where_they_are_now
from cairn.waiting_files import Changed

__all__ = [
    "Applied",
    "Decision",
    "Operation",
    "OperationState",
    "PathPlan",
    "PathsInConflict",
    "Plan",
    "Project",
    "Recovered",
    "Undone",
]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What became of an operation that was interrupted. `kept` are files somebody edited since; they were left alone.

    `saved` is the folder with what stood at the kept paths before the operation. `set_aside` are files with edits that
    could not go back to their names.
    """

    operation: Operation
    finished: bool
    kept: tuple[str, ...] = ()
    saved: Path | None = None
    set_aside: tuple[Path, ...] = ()

    @property
    def message(self) -> str:
        """One sentence, and one more when files were kept."""
        what = f"An {self.operation.kind} of task {self.operation.task_id}"
        if self.finished:
            done = f"{what} was interrupted when all was written; it is finished now."
        else:
            done = f"{what} was interrupted; it was taken back, your files are as they were."
        return done + _kept_in_words(self.kept, self.saved, self.set_aside)


@dataclass(frozen=True, slots=True)
class Applied:
    """What an accept did. `merged` are those of `paths` where the user's own edits were kept beside the task's.

    `kept` are earlier versions of files that were saved meanwhile, before it was planned anew.
    """

    operation: Operation
    paths: tuple[str, ...]
    merged: tuple[str, ...] = ()
    already: tuple[str, ...] = ()
    recovered: Recovered | None = None
    kept: tuple[KeptCopy, ...] = ()

    def in_words(self) -> str:
        """Figures for a sentence."""
        return _in_words("changed", self.paths, self.merged, self.already)


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo did. `operation` is the one taken back; `undo_id` the undo's own, which can be undone in turn."""

    operation: Operation
    undo_id: int
    paths: tuple[str, ...]
    merged: tuple[str, ...] = ()
    already: tuple[str, ...] = ()
    recovered: Recovered | None = None
    kept: tuple[KeptCopy, ...] = ()

    def in_words(self) -> str:
        """Figures for a sentence."""
        return _in_words("restored", self.paths, self.merged, self.already)


class Project:
    """One folder and everything Cairn does to the files in it.

    With a `state` folder elsewhere the files are only read, as on a worker that has a commit of them and no clone.
    """

    def __init__(
        self,
        root: Path,
        *,
        state: Path | None = None,
        clock: Callable[[], float] = time.time,
        lock_seconds: float = LOCK_SECONDS,
    ) -> None:
        self.root = root
        self.state = root / STATE if state is None else state
        self._clock = clock
        self._lock = ProjectLock(self.state / "lock", lock_seconds)

    @classmethod
    def find(cls, start: Path, *, exact: bool = False) -> Project:
        """The project that a folder is in; see `find_root`."""
        return cls(find_root(start, exact=exact))

    def prepare(self) -> None:
        """Makes the state folder, which git ignores by its own .gitignore. Does nothing when it is there."""
        with naming(str(self.state)):
            new = not self.state.is_dir()
            if self.state.is_symlink() or (new and self.state.exists()):
                raise StorageProblem(
                    f"{self.state} is not a folder.", "Cairn keeps its files there.", "Move it away, then try again."
                )
            (self.state / "tasks").mkdir(parents=True, exist_ok=True)
            ignore = self.state / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
            if new:
                _sync_folder(self.state.parent)

    # -- apply and undo ------------------------------------------------------------------------------------------------

    def preview(self, changes: ChangeSet) -> Plan:
        """What `apply` would do now; writes nothing."""
        with ProjectFiles(self.root) as files, files.holding():
            return plan(changes, files)

    def apply(
        self, task_id: str, changes: ChangeSet, *, part: Selection | None = None, token: str | None = None
    ) -> Applied:
        """All of the changes, merged with the user's own, or none. Raises Conflict with nothing written.

        `part` says, for `accepted`, what they are of the task's changes; None for all of them.
        """
        self._require_own_files()
        with self.locked(), self._log() as log, ProjectFiles(self.root) as files:
            recovered = self._recover(log, files)

            def planned_now() -> Plan:
                with files.holding():
                    planned = plan(changes, files)
                require_acceptable(task_id, planned)
                return planned

            def written(planned: Plan) -> Operation:
                return self._carry_out(log, files, task_id, planned.edits, None, part, token)

            planned, operation, kept = again_after_saves(planned_now, written)
            return Applied(operation, *_figures(planned, folders=True), recovered, kept)

    def undo(
        self, which: int | str | None = None, *, token: str | None = None, foreign: Operation | None = None
    ) -> Undone:
        """Takes back an operation by its id, the last accept of a task by the task's, or the last accept of all.

        Merges three ways like `apply`: what the user edited since stays. `foreign` is what it is where it was done, if
        that was not here: then it must have come here meanwhile. Raises NotFound, IllegalMove, Conflict.
        """
        self._require_own_files()
        with self.locked(), self._log() as log, ProjectFiles(self.root) as files:
            recovered = self._recover(log, files)
            target = undoable(log.every(), which)

            def planned_now() -> Plan:
                planned = self._planned_undo(log, files, target)
                if foreign is not None:
                    require_here(foreign, planned)
                return planned

            def written(planned: Plan) -> Operation:
                return self._carry_out(log, files, target.task_id, planned.edits, target.id, token=token)

            planned, undo, kept = again_after_saves(planned_now, written)
            return Undone(log.get(target.id), undo.id, *_figures(planned, folders=False), recovered, kept)

    @staticmethod
    def _planned_undo(log: OperationLog, files: ProjectFiles, target: Operation) -> Plan:
        with files.holding():
            edits = where_they_are_now(log.edits(target.id), log.moves_since(target.id), files)
            owners = {edit.path: edit.owner for edit in edits if edit.owner is not None}
            planned = plan(inverse(edits), files, tidy=False, owners=owners)
        _require_clean(
            planned,
            f"The {target.kind} of task {target.task_id} cannot be taken back",
            ("Put your own edits of these files aside, then try again.",),
        )
        return planned

    def recover(self) -> Recovered | None:
        """Finishes or takes back what a killed command left. None when there is nothing, or its process still lives."""
        if not self._log_path.exists():
            return None
        with OperationLog.reading(self._log_path) as log:
            if log.interrupted() is None:
                return None
        try:
            with self.locked(wait=False), self._log() as log, ProjectFiles(self.root) as files:
                return self._recover(log, files)
        except Busy:
            return None

    # -- the operations ------------------------------------------------------------------------------------------------

    def operations(self) -> tuple[Operation, ...]:
        """Every accept and undo, the oldest first."""
        if not self._log_path.exists():
            return ()
        with OperationLog.reading(self._log_path) as log:
            return log.every()

    def last_applied(self, task_id: str | None = None) -> Operation | None:
        """The latest accept that is in effect, of one task or of all: what `undo` would take back."""
        return last_applied(self.operations(), task_id)

    def accepted(self, task_id: str) -> Selection:
        """What the task's accepts that are in effect took of its changes."""
        if not self._log_path.exists():
            return Selection()
        with OperationLog.reading(self._log_path) as log:
            return log.accepted(task_id)

    def part(self, operation_id: int) -> Selection:
        """What an accept took of its task's changes, in effect or not."""
        with OperationLog.reading(self._log_path) as log:
            return log.part(operation_id)

    def every_edit(self, operation_id: int) -> tuple[Edit, ...]:
        """What an operation did, contents included."""
        with OperationLog.reading(self._log_path) as log:
            return log.edits(operation_id)

    def adopt(
        self, foreign: Operation, contents: Callable[[], tuple[Sequence[Edit], Selection | None]], undoes: int | None
    ) -> int:
        """The number here of another clone's operation, which is in the log from now on with the state it has there.

        Only where it is not yet, its `contents` are asked for, and what it took of its task's changes.
        """
        with self.locked(), self._log() as log:
            known = any(each.token == foreign.token for each in log.every())
            edits, part = ((), None) if known else contents()
            return log.adopt(foreign, edits, undoes=undoes, part=part)

    def disown(self, tokens: Collection[str]) -> None:
        """Adopted operations leave the log again."""
        with self.locked(), self._log() as log:
            log.drop([each.id for each in log.every() if each.token in tokens])

    def unrecorded(self) -> tuple[Operation, ...]:
        """Accepts whose present state the task ledger has not followed yet; `in_effect` says which it is."""
        if is_settled(self._log_path):
            return ()
        settled = {OperationState.APPLIED, OperationState.UNDONE}
        return tuple(each for each in self.operations() if not each.recorded and each.state in settled)

    def unsettled(self) -> bool:
        """True when a killed command left an operation to finish or take back, or one that the ledger knows not of."""
        return not is_settled(self._log_path)

    def mark_recorded(self, operation_id: int) -> None:
        """The task ledger says now what the operation's state says."""
        with self._log() as log:
            log.mark_recorded(operation_id)

    # -- the lock ------------------------------------------------------------------------------------------------------

    @contextmanager
    def locked(self, *, wait: bool = True) -> Iterator[None]:
        """One command at a time changes the project. Re-entrant; dies with its process. Raises StorageProblem."""
        with self._lock.held(self.prepare, wait=wait):
            yield

    # -- carrying out --------------------------------------------------------------------------------------------------

    def _require_own_files(self) -> None:
        if self.state != self.root / STATE:
            raise IllegalMove(
                f"{self.root} is a commit that tasks read, not somebody's files: nothing is written there.",
                fix="cairn accept ID   or   cairn undo ID   in a clone writes its files.",
            )

    @property
    def _log_path(self) -> Path:
        return self.state / OPERATIONS

    def _log(self) -> AbstractContextManager[OperationLog]:
        return OperationLog.opened(self._log_path)

    def _carry_out(
        self,
        log: OperationLog,
        files: ProjectFiles,
        task_id: str,
        edits: Sequence[Edit],
        undoes: int | None,
        part: Selection | None = None,
        token: str | None = None,
    ) -> Operation:
        operation = log.begin(task_id, edits, undoes=undoes, now=self._clock(), part=part, token=token)
        rewriting = Rewriting(files, operation.token, edits, _aside(operation))
        try:
            rewriting.carry_out()
            return log.finish(operation, now=self._clock())
        except BaseException as error:
            told = self._take_back(log, files, operation, rewriting, error)
            if told is error:
                raise
            raise told from error

    def _take_back(
        self,
        log: OperationLog,
        files: ProjectFiles,
        operation: Operation,
        rewriting: Rewriting,
        error: BaseException,
    ) -> BaseException:
        """Gives the error to raise, with what became of the files."""
        if log.get(operation.id).in_effect:
            return error  # interrupted after the last step: everything is done and marked so
        try:
            kept = rewriting.take_back(only_touched=True)
            saved = self._save(files, operation, rewriting.edits, kept)
            with translate_errors(self._log_path):
                log.forget(operation)
        except CairnError as second:
            return _stuck(error, second)
        set_aside = self._full(rewriting.set_aside)
        back = "Everything written until then was taken back." + _kept_in_words(kept, saved, set_aside)
        if isinstance(error, Changed):
            if not set_aside and set(kept) <= {error.path} and error.how == "changed":
                copies = tuple(KeptCopy(path, saved / path) for path in kept if saved and (saved / path).exists())
                return SavedMeanwhile(operation.kind, operation.task_id, error.path, back, copies)
            return _interfered(operation, error, back, kept)
        if isinstance(error, StorageProblem):
            return type(error)(error.what, f"{error.why} {back}".strip(), error.fix)
        if isinstance(error, KeyboardInterrupt):
            return Interrupted(f"The {operation.kind} of task {operation.task_id} was stopped.", back)
        return error

    def _recover(self, log: OperationLog, files: ProjectFiles) -> Recovered | None:
        """The caller holds the lock, so whoever began the operation is gone."""
        operation = log.interrupted()
        if operation is None:
            return None
        rewriting = Rewriting(files, operation.token, log.edits(operation.id), _aside(operation))
        if rewriting.finished():
            rewriting.clean_up()
            finished = log.finish(operation, now=self._clock())
            return Recovered(finished, finished=True, set_aside=self._full(rewriting.set_aside))
        kept = rewriting.take_back(only_touched=False)
        saved = self._save(files, operation, rewriting.edits, kept)
        log.forget(operation)
        return Recovered(operation, finished=False, kept=kept, saved=saved, set_aside=self._full(rewriting.set_aside))

    def _save(
        self, files: ProjectFiles, operation: Operation, edits: Sequence[Edit], kept: Sequence[str]
    ) -> Path | None:
        """What stood at the kept paths before, as files a person can look at: the log will not have it any more."""
        contents = [(edit.path, edit.before) for edit in edits if edit.path in kept and edit.before is not None]
        contents = [(path, content) for path, content in contents if content.kind is not EntryKind.DIRECTORY]
        for path, content in contents:
            target = f"{_aside(operation)}/{path}"
            with naming(str(self.root / target)):
                files.write_new(target, content.data)
        return self.root / _aside(operation) if contents else None

    def _full(self, paths: Sequence[str]) -> tuple[Path, ...]:
        return tuple(self.root / path for path in paths)


# -- plans and figures -------------------------------------------------------------------------------------------------


def require_acceptable(task_id: str, planned: Plan) -> None:
    """Raises Conflict, as `apply` does, unless the plan is free of conflicts."""
    _require_clean(
        planned,
        f"Task {task_id} cannot be accepted",
        (f"cairn diff {task_id}   shows its changes", f"cairn retry {task_id}   does it again from today's files"),
    )


def foreseen_in_words(planned: Plan) -> str:
    """The figures that `Applied.in_words` will give."""
    return _in_words("changed", *_figures(planned, folders=True))


def _require_clean(planned: Plan, what: str, fix: tuple[str, ...]) -> None:
    conflicts = tuple(path for path in planned.paths if path.decision is Decision.CONFLICT)
    if conflicts:
        count = f"{len(conflicts)} path{'' if len(conflicts) == 1 else 's'} in conflict"
        raise PathsInConflict(f"{what}: {count}. Nothing was written.", fix, conflicts)


def _figures(planned: Plan, *, folders: bool) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Paths changed, merged and left alone; without `folders` only files, unless there are none."""
    shown = planned if folders or all(path.folder for path in planned.paths) else planned.without_folders()
    return (
        shown.decided(Decision.TAKE, Decision.MERGE),
        shown.decided(Decision.MERGE),
        shown.decided(Decision.ALREADY),
    )


def _in_words(verb: str, paths: Sequence[str], merged: Sequence[str], already: Sequence[str]) -> str:
    words = [f"{len(paths)} file{'' if len(paths) == 1 else 's'} {verb}"]
    words += [f"{len(merged)} merged with your edits"] if merged else []
    words += [f"{len(already)} already so"] if already else []
    return ", ".join(words)


def _aside(operation: Operation) -> str:
    """The folder of the project for what an operation neither may delete nor can put back."""
    return f".cairn/kept/{operation.id}"


def _interfered(operation: Operation, changed: Changed, back: str, kept: Sequence[str]) -> Conflict:
    paths = tuple(dict.fromkeys((changed.path, *kept)))
    if changed.how == "changed":
        what = f"{changed.path} was changed while the {operation.kind} was being written."
        return Conflict(what, back, "Try again.", paths=paths)
    why = f"What is written there would be lost. {back}"
    return Conflict(f"{changed.path} is {changed.how}.", why, "Close it there, then try again.", paths=paths)


def _kept_in_words(kept: Sequence[str], saved: Path | None, set_aside: Sequence[Path]) -> str:
    words = ""
    if kept:
        words += f" Edited since and left as they are: {some_of(kept)}."
        words += f" Their earlier content is in {saved}." if saved else ""
    if set_aside:
        words += f" Another edit of yours was set aside: {some_of([str(path) for path in set_aside])}."
    return words


def _stuck(error: BaseException, second: CairnError) -> StorageProblem:
    first = error.what if isinstance(error, CairnError) else f"Interrupted by {type(error).__name__}."
    return StorageProblem(
        first,
        f"What was written could not be taken back yet: {second.what} {second.why}".strip(),
        (*second.fix, "Then run any cairn command in this project: it takes back or finishes the rest first."),
    )


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

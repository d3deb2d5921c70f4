"""The user's files: a task's changes reach them whole or not at all, and leave them the same way.

Apply and undo plan every path first, journal what stands there now and what shall stand there, and only then write.
Whatever ends them in the middle, the files are taken back or finished: at once, or by the next command.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from cairn.changes import Change, ChangeSet, EntryKind
from cairn.errors import CairnError, Conflict, IllegalMove, Interrupted, NotFound, StorageProblem
from cairn.hunks import Selection
from cairn.merge_plan import Decision, PathPlan, PathsInConflict, Plan, plan
from cairn.operation_log import Operation, OperationLog, OperationState
from cairn.project_files import Edit, ProjectFiles, Unusual, naming
from cairn.project_place import OPERATIONS, STATE, find_root, is_settled
from cairn.rewriting import Rewriting
from cairn.sqlite_file import translate_errors
from cairn.waiting_files import Changed

__all__ = [
    "Applied",
    "Decision",
    "KeptCopy",
    "Operation",
    "OperationState",
    "PathPlan",
    "PathsInConflict",
    "Plan",
    "Project",
    "Recovered",
    "Undone",
    "undoable",
]

LOCK_SECONDS = 10.0
_POLL_SECONDS = 0.05
_ATTEMPTS = 5  # of writing what somebody else's saves come in between
_NAMES_SHOWN = 8


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
class KeptCopy:
    """An earlier version of a file that somebody saved over while it was being written; `copy` is the file it is in."""

    path: str
    copy: Path


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
        self._lock_seconds = lock_seconds
        self._mutex = threading.RLock()
        self._holds_lock = False

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

            planned, operation, kept = _again_after_saves(planned_now, written)
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
                    _require_here(foreign, planned)
                return planned

            def written(planned: Plan) -> Operation:
                return self._carry_out(log, files, target.task_id, planned.edits, target.id, token=token)

            planned, undo, kept = _again_after_saves(planned_now, written)
            return Undone(log.get(target.id), undo.id, *_figures(planned, folders=False), recovered, kept)

    @staticmethod
    def _planned_undo(log: OperationLog, files: ProjectFiles, target: Operation) -> Plan:
        with files.holding():
            edits = _where_they_are_now(log.edits(target.id), log.moves_since(target.id), files)
            owners = {edit.path: edit.owner for edit in edits if edit.owner is not None}
            planned = plan(_inverse(edits), files, tidy=False, owners=owners)
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
        except _Busy:
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
        return _last_applied(self.operations(), task_id)

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
        seconds = self._lock_seconds if wait else 0.0
        if not self._mutex.acquire(timeout=seconds):
            raise _busy("another part of this process")
        try:
            if self._holds_lock:
                yield
                return
            self.prepare()
            with _file_lock(self.state / "lock", seconds):
                self._holds_lock = True
                try:
                    yield
                finally:
                    self._holds_lock = False
        finally:
            self._mutex.release()

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
                return _SavedMeanwhile(operation.kind, operation.task_id, error.path, back, copies)
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


# -- again, after an editor saved --------------------------------------------------------------------------------------


class _SavedMeanwhile(Conflict):
    """Somebody saved a file in the instant of its swap, and nothing but that file stands otherwise than before."""

    def __init__(self, kind: str, task_id: str, path: str, back: str, copies: tuple[KeptCopy, ...]) -> None:
        super().__init__(f"{path} was changed while the {kind} was being written.", back, "Try again.", paths=(path,))
        self.kind, self.task_id, self.copies = kind, task_id, copies


def _again_after_saves(
    planned_now: Callable[[], Plan], written: Callable[[Plan], Operation]
) -> tuple[Plan, Operation, tuple[KeptCopy, ...]]:
    """Plans anew after each save that came in between, a few times: an editor that saves often must not starve it.

    Gives also the earlier versions that were kept on the way.
    """
    saves: list[_SavedMeanwhile] = []
    planned = planned_now()
    while True:
        try:
            operation = written(planned)
        except _SavedMeanwhile as saved:
            saves.append(saved)
            if len(saves) == _ATTEMPTS:
                raise _saved_too_often(saves) from None
            try:
                planned = planned_now()
            except Conflict:
                raise saved from None  # it tells of both: that somebody saves, and that nothing was written
        else:
            return planned, operation, tuple(copy for saved in saves for copy in saved.copies)


def _saved_too_often(saves: Sequence[_SavedMeanwhile]) -> Conflict:
    """What to do about a program that saves the same files faster than they can be merged."""
    last = saves[-1]
    paths = tuple(dict.fromkeys(path for saved in saves for path in saved.paths))
    copies = [str(copy.copy) for saved in saves[:-1] for copy in saved.copies]
    kept = f" Earlier versions of it are in {_some(copies)}." if copies else ""
    return Conflict(
        f"{_some(paths)} was changed while the {last.kind} was being written, {len(saves)} times in a row.",
        f"A program saves it faster than its changes can be merged. {last.why}{kept}",
        (
            "Stop that program, or let it rest for a second: a watcher, an automatic save, a build or a log.",
            f"cairn {last.kind} {last.task_id}   then tries again.",
        ),
        paths=paths,
    )


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


def _where_they_are_now(
    edits: Sequence[Edit], moves: Sequence[Mapping[str, str]], files: ProjectFiles
) -> tuple[Edit, ...]:
    """The edits with the names that later operations gave to files which are not under their own any more."""
    return tuple(
        replace(edit, path=path)
        if (path := _name_now(edit, moves)) != edit.path and _is_gone(edit.path, files)
        else edit
        for edit in edits
    )


def _name_now(edit: Edit, moves: Sequence[Mapping[str, str]]) -> str:
    path = edit.path
    # What the operation renamed itself has to be where that left it, or its old name and the new ones make a knot.
    if edit.moved_from is None and edit.after is not None and edit.after.kind is not EntryKind.DIRECTORY:
        for each in moves:
            path = each.get(path, path)
    return path


def _is_gone(path: str, files: ProjectFiles) -> bool:
    try:
        return files.look(path) is None
    except Unusual:
        return False


def _inverse(edits: Sequence[Edit]) -> Iterator[Change]:
    """The changes that lead back; what was moved is moved back, so that later edits move with it."""
    by_path = {edit.path: edit for edit in edits}
    moved = {edit.path: edit.moved_from for edit in edits if edit.moved_from and edit.before is None}
    moved = {new: old for new, old in moved.items() if old in by_path and by_path[old].after is None}
    for edit in edits:
        if edit.path in moved:
            old = by_path[moved[edit.path]]
            yield Change(old.path, edit.after, old.before, renamed_from=edit.path)
        elif edit.path not in moved.values():
            yield Change(edit.path, edit.after, edit.before)


def undoable(every: Sequence[Operation], which: int | str | None) -> Operation:
    """The operation of that number, or the last accept of a task or of all. Raises NotFound, IllegalMove."""
    if isinstance(which, int):
        target = next((each for each in every if each.id == which), None)
        if target is None:
            raise NotFound(f"There is no operation {which}.", fix="cairn op log   shows which there are.")
        if not target.in_effect:
            raise IllegalMove(
                f"Operation {which} is taken back already.", fix="cairn op log   shows which are in effect."
            )
        return target
    target = _last_applied(every, which)
    if target is None:
        what = "There is no accept to take back." if which is None else f"Task {which} has no accept to take back."
        raise NotFound(what, fix="cairn list   shows which tasks are accepted.")
    return target


def _require_here(foreign: Operation, planned: Plan) -> None:
    """Raises Conflict where nothing is to be taken back: then the change never came to this folder."""
    if foreign.paths and not planned.edits:
        raise Conflict(
            f"This folder does not have what operation {foreign.id}, an {foreign.kind} of task {foreign.task_id}, did.",
            f"It was done in {foreign.where}. Nothing was written here.",
            (
                "git pull   brings it, once it is committed and pushed there.",
                f"cairn undo --op {foreign.id}   then works.",
            ),
            paths=foreign.paths,
        )


def _last_applied(every: Sequence[Operation], task_id: str | None) -> Operation | None:
    accepts = [each for each in every if each.undoes is None and each.in_effect and task_id in {None, each.task_id}]
    return max(accepts, key=lambda each: each.id, default=None)


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
        words += f" Edited since and left as they are: {_some(kept)}."
        words += f" Their earlier content is in {saved}." if saved else ""
    if set_aside:
        words += f" Another edit of yours was set aside: {_some([str(path) for path in set_aside])}."
    return words


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMES_SHOWN]) + (
        f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    )


def _stuck(error: BaseException, second: CairnError) -> StorageProblem:
    first = error.what if isinstance(error, CairnError) else f"Interrupted by {type(error).__name__}."
    return StorageProblem(
        first,
        f"What was written could not be taken back yet: {second.what} {second.why}".strip(),
        (*second.fix, "Then run any cairn command in this project: it takes back or finishes the rest first."),
    )


# -- finding and locking -----------------------------------------------------------------------------------------------


class _Busy(StorageProblem):
    """Another process holds the project's lock."""


def _busy(holder: str) -> _Busy:
    return _Busy(
        "Another cairn command is changing this project.",
        f"It is {holder}.",
        "Wait for it to end, then try again.",
    )


@contextmanager
def _file_lock(path: Path, seconds: float) -> Iterator[None]:
    with naming(str(path)):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        _lock(handle, seconds)
        with suppress(OSError):  # for the message of whoever waits
            os.ftruncate(handle, 0)
            os.pwrite(handle, b"process %d" % os.getpid(), 0)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise _busy(os.pread(handle, 100, 0).decode(errors="replace") or "another process") from None
            time.sleep(_POLL_SECONDS)
        else:
            return


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""File-watching mode: task files become tasks, results are written beside them, reviews that go stale are told.

The folder and the ledger are looked at as a whole whenever something woke the watcher; nothing hangs on single events.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cairn.console import printable
from cairn.errors import CairnError, IllegalMove, NotFound
from cairn.notices import Cursor, Messenger, Notice
from cairn.queue import TaskEvent
from cairn.task import Task, TaskStatus
from cairn.task_files import (
    PREFIX,
    Action,
    Add,
    Cancel,
    FileTask,
    Release,
    TaskFileSeen,
    Update,
    decide,
    key_of,
    parse_key,
)
from cairn.task_results import problem_text, result_head, result_text, waiting_text
from cairn.task_text import BadTaskText, TaskText
from cairn.wanted_tasks import Wanted

if TYPE_CHECKING:
    from cairn.orchestrator import Orchestrator
    from cairn.watched_folder import Look, WatchedFolder

SETTLE_SECONDS = 0.3  # a file that is the same after it is finished
RESCAN_SECONDS = 30.0  # where the system loses events, as network file systems do
LEDGER_SECONDS = 0.1
FIRST_NEWS_MS = 500
FOLDERS_WATCHED = 4_000
NAMES_SHOWN = 3
AT_A_TIME = 50  # new tasks between two looks at everything else
NEWS = frozenset({TaskStatus.IN_REVIEW, TaskStatus.FAILED, TaskStatus.WAITING})
_ENDED = frozenset({TaskStatus.ACCEPTED, TaskStatus.REJECTED, TaskStatus.CANCELLED, TaskStatus.FAILED})

Submit = Callable[[TaskText, str, Task | None], Task]
Describe = Callable[[Task], str]


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """`done` and `failed` are folders below the watched one that files of ended tasks move to; "" leaves them in place.

    `tells_moves`: whoever runs the tasks does not say how they end.
    """

    done: str = ""
    failed: str = ""
    rerun_stale: bool = False
    tells_moves: bool = True


@dataclass
class _Seen:
    """What the watcher said and found last, so that it says it once and looks only where something changed.

    `read` are the paths that each task in review read or changed, `stale` those of them that are other ones now.
    """

    read: dict[str, frozenset[str]] = field(default_factory=dict)
    stale: dict[str, tuple[str, ...]] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    refused: dict[str, tuple[str, CairnError]] = field(default_factory=dict)
    reported: dict[str, tuple[object, ...]] = field(default_factory=dict)


class Watcher:
    """One folder of task files in one project. `tell` gets each line that a person should read.

    `submit` makes or replaces the task of a file's text under a key; `describe` says how a task ended.
    """

    def __init__(
        self,
        orchestrator: Orchestrator,
        folder: WatchedFolder,
        label: str,
        options: WatchOptions,
        *,
        submit: Submit,
        describe: Describe,
        tell: Callable[[str], None],
        messenger: Messenger | None = None,
    ) -> None:
        self._orchestrator = orchestrator
        self._folder = folder
        self._label = label
        self._options = options
        self._submit = submit
        self._describe = describe
        self._tell = tell
        self._messenger = messenger
        self._seen = _Seen()
        self.empty: frozenset[str] = frozenset()  # files without a word in them, at the last look
        self._woken = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()
        orchestrator.project.prepare()  # how far it has told is kept there, also before the first task
        self._cursor = Cursor(orchestrator.project.state / "notified")
        self._told = self._cursor.read(orchestrator.queue.last_move())

    # ── the loop ──

    async def run(self) -> None:
        """Until it is cancelled. Raises NotFound when the folder is gone."""
        beside = [asyncio.create_task(self._heed_files()), asyncio.create_task(self._heed_ledger())]
        try:
            while True:
                again = self.look_once()
                for each in beside:
                    if each.done():
                        each.result()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RESCAN_SECONDS if again is None else again):
                        await self._woken.wait()
                if again is not None and self._woken.is_set():
                    await asyncio.sleep(again)
                self._woken.clear()
        finally:
            for each in (*beside, *self._sending):
                each.cancel()
            await asyncio.gather(*beside, *self._sending, return_exceptions=True)

    async def told(self) -> None:
        """Every notice was sent, or given up."""
        await asyncio.gather(*self._sending, return_exceptions=True)

    def look_once(self) -> float | None:
        """Does what there is to do now; the seconds after which to look again, None for when something happens."""
        try:
            look = self._folder.look()
        except (FileNotFoundError, NotADirectoryError):
            where = self._folder.path
            raise NotFound(
                f"The folder {where} is gone.", "Tasks that are queued stay so.", f"mkdir {where} && cairn watch"
            ) from None
        asked = decide(look.files, look.unsettled, [known for known, _ in self._of_files()])
        actions = [action for action in asked if not self._is_refused(action)]
        for action in actions[:AT_A_TIME]:
            self._carry_out(action)
        self._mind_reviews()
        self._report(look)
        self._notify()
        if len(actions) > AT_A_TIME:
            return 0.0
        self.empty = look.empty
        return SETTLE_SECONDS if look.unsettled - look.empty else None

    async def _heed_files(self) -> None:
        from watchfiles import awatch

        root = f"{self._orchestrator.project.root}/"
        while True:
            folders = self._folders()
            others = asyncio.Event()
            watching = awatch(
                *filter(os.path.isdir, folders), recursive=False, watch_filter=None, debounce=100, step=20,
                stop_event=others, rust_timeout=FIRST_NEWS_MS, yield_on_timeout=True, raise_interrupt=False,
                ignore_permission_denied=True,
            )  # fmt: skip
            turn = asyncio.create_task(self._tell_of_other_folders(folders, others))
            armed = False
            try:
                async for changes in watching:
                    self._seen.touched.update(path.removeprefix(root) for _, path in changes)
                    if not armed:  # an edit before the folders were watched was heard by nobody
                        self._seen.touched.update(*self._seen.read.values())
                    if changes or not armed:
                        self._woken.set()
                    armed = True
            finally:
                turn.cancel()

    async def _tell_of_other_folders(self, folders: tuple[str, ...], others: asyncio.Event) -> None:
        while self._folders() == folders:  # noqa: ASYNC110 - reviews come and go by the loop beside
            await asyncio.sleep(LEDGER_SECONDS)
        others.set()

    async def _heed_ledger(self) -> None:
        """Moves of tasks, by whatever process."""
        newest = self._orchestrator.queue.last_move()
        while True:
            await asyncio.sleep(LEDGER_SECONDS)
            now = self._orchestrator.queue.last_move()
            if now != newest:
                newest = now
                self._woken.set()

    def _folders(self) -> tuple[str, ...]:
        """The watched folder, and those of all that tasks in review read or changed; no other costs anything."""
        root = self._orchestrator.project.root
        below = {path.rpartition("/")[0] for paths in self._seen.read.values() for path in paths}
        return (str(self._folder.path), *sorted(str(root / folder) for folder in below)[:FOLDERS_WATCHED])

    # ── files become tasks ──

    def _of_files(self) -> list[tuple[FileTask, Task]]:
        """The tasks that came of files in this folder, the oldest first."""
        found = []
        for task in self._orchestrator.queue.with_keys(f"{PREFIX}{self._label}/"):
            named = parse_key(self._label, task.terms.key or "")
            if named is not None:
                found.append((FileTask(task.id, *named, task.status), task))
        return found

    def _carry_out(self, action: Action) -> None:
        match action:
            case Add(file):
                self._add(file, None)
            case Update(task_id, file):
                self._add(file, self._orchestrator.task(task_id))
            case Cancel(task_id, reason):
                with contextlib.suppress(IllegalMove):  # it has begun this instant
                    self._orchestrator.moves.cancel(self._orchestrator.task(task_id), reason=reason)
                    self._tell(f"{task_id} cancelled: {reason}")
                self._orchestrator.queue.release_key(task_id)
            case Release(task_id):
                self._orchestrator.queue.release_key(task_id)

    def _is_refused(self, action: Action) -> bool:
        """True for a file that cannot be a task, as long as it says the same."""
        if not isinstance(action, Add | Update):
            return False
        known = self._seen.refused.get(action.file.name)
        return isinstance(action.file.text, BadTaskText) or (known is not None and known[0] == action.file.digest)

    def _add(self, file: TaskFileSeen, instead_of: Task | None) -> None:
        if isinstance(file.text, BadTaskText):
            return
        try:
            task = self._submit(file.text, key_of(self._label, file.name, file.digest), instead_of)
        except (
            IllegalMove
        ):  # the task that was to be replaced has begun: the file's words are a task of their own later
            return
        except CairnError as error:
            self._seen.refused[file.name] = (file.digest, error)
            self._tell(f"{printable(file.name)}: {printable(error.what)}")
            return
        self._seen.refused.pop(file.name, None)
        verb = "queued" if instead_of is None else "changed"
        self._tell(f"{printable(file.name)}: task {task.id} {verb}")

    # ── results ──

    def _report(self, look: Look) -> None:
        newest = {known.name: task for known, task in self._of_files()}
        for name, file in look.files.items():
            if name not in look.unsettled:
                with contextlib.suppress(OSError):  # a folder that nobody may write to still has its tasks done
                    self._report_one(file, newest.get(name))

    def _report_one(self, file: TaskFileSeen, task: Task | None) -> None:
        refused = self._seen.refused.get(file.name)
        problem = file.text if isinstance(file.text, BadTaskText) else refused[1] if refused else None
        if problem is not None:
            if self._folder.write_result(file.name, problem_text(problem)) and problem is file.text:
                self._tell(f"{printable(file.name)}: {printable(problem.what)}")
        elif task is not None:
            stale = len(self._seen.stale.get(task.id, ()))
            state = (task.id, task.status, task.attempt, stale)
            if self._seen.reported.get(file.name) != state:
                if not (self._folder.result(file.name) or "").startswith(result_head(task, stale)):
                    self._folder.write_result(file.name, self._result(task, stale))
                self._seen.reported[file.name] = state
            self._move_processed(file, task)

    def _result(self, task: Task, stale: int) -> str:
        if task.status in {TaskStatus.QUEUED, TaskStatus.RUNNING}:
            return waiting_text(task, task.reason)
        return result_text(task, self._describe(task), stale)

    def _move_processed(self, file: TaskFileSeen, task: Task) -> None:
        goal = self._options.failed if task.status is TaskStatus.FAILED else self._options.done
        if not goal or task.status not in _ENDED:
            return
        self._folder.move(file.name, goal)
        self._orchestrator.queue.release_key(task.id)

    # ── reviews ──

    def _mind_reviews(self) -> None:
        """Says which tasks in review went stale, and which are clean again; looks at those that something touched."""
        touched, self._seen.touched = self._seen.touched, set()
        waiting = {task.id: task for task in self._orchestrator.queue.tasks([TaskStatus.IN_REVIEW])}
        for task_id in self._seen.read.keys() - waiting.keys():
            del self._seen.read[task_id]
            self._seen.stale.pop(task_id, None)
        for task_id, task in waiting.items():
            if task_id not in self._seen.read:
                self._seen.read[task_id] = frozenset(self._orchestrator.work.seen_by(task))
            elif not touched & self._seen.read[task_id]:
                continue
            self._mind(task)

    def _mind(self, task: Task) -> None:
        before, stale = self._seen.stale.get(task.id, ()), self._orchestrator.reviews.of(task).stale
        self._seen.stale[task.id] = stale
        if stale and stale != before:
            self._tell(f"{task.id} is stale: {_some(stale)} changed since it was read")
            self._rerun(task)
        elif before and not stale:
            self._tell(f"{task.id} is clean again")

    def _rerun(self, task: Task) -> None:
        if not self._options.rerun_stale:
            return
        try:
            again = self._orchestrator.again.retry(task, because="files that it read were changed meanwhile")
        except CairnError as error:
            self._tell(f"{task.id} cannot be done again: {printable(error.what)}")
        else:
            self._tell(f"{task.id} is done again from today's files: task {again.id}")

    # ── news ──

    def _notify(self) -> None:
        for number, task, move in self._orchestrator.queue.moves_since(self._told, Wanted()):
            self._told = number
            if move.became not in NEWS:
                continue
            if self._options.tells_moves:
                self._tell(f"{task.id} {move.became}{f': {printable(move.reason)}' if move.reason else ''}")
            if self._messenger is not None:
                sending = asyncio.get_running_loop().create_task(self._messenger.send(_notice(task, move, self._label)))
                self._sending.add(sending)
                sending.add_done_callback(self._sending.discard)
        self._cursor.write(self._told)


def _notice(task: Task, move: TaskEvent, label: str) -> Notice:
    from cairn.json_output import task_json

    named = parse_key(label, task.terms.key or "")
    body = {**task_json(task), "status": str(move.became), "reason": move.reason}
    return Notice(task.id, str(move.became), move.reason, task.request, named[0] if named else "", body)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(printable(name) for name in names[:NAMES_SHOWN])
    return shown if len(names) <= NAMES_SHOWN else f"{shown} and {len(names) - NAMES_SHOWN} more"

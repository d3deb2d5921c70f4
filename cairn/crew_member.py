"""One worker process of `cairn work`: runs the tasks it is handed, one at a time, and tells what becomes of them.

It is a process of its own so that a task which ends its worker ends no other task's. When the crew is gone, however it
went, its end of the pipe closes; the worker then gives its task back and ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from cairn.crew_messages import Has, Lacks, Message, Ready, RunTask, TaskEnded, Told, from_line
from cairn.errors import CairnError, IllegalMove, in_one_line
from cairn.journal import TakenOver
from cairn.message_lines import to_line
from cairn.orchestrator import Orchestrator
from cairn.prepared_process import answering, end_now
from cairn.progress import CanAsk, CannotAsk, Event
from cairn.progress_lines import ProgressLines
from cairn.project import Project
from cairn.review import Review
from cairn.run_endings import RELEASED
from cairn.settings import Settings
from cairn.task import Task, TaskStatus
from cairn.worker import Worker


class CrewMember:
    """Hears from the crew on one pipe and answers on the other."""

    def __init__(self, orchestrator: Orchestrator, answers: int, *, verbose: bool) -> None:
        self._orchestrator = orchestrator
        self._answers = answers
        self._verbose = verbose
        self._turn = threading.Lock()  # progress comes from the sandbox's threads too
        self._work: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None

    def tell(self, message: Message) -> None:
        """Says it to the crew; nothing happens when that is gone."""
        line = to_line(message)
        with self._turn, suppress(OSError):
            while line:
                line = line[os.write(self._answers, line) :]

    async def serve(self, commands: asyncio.StreamReader) -> None:
        """Until it is told to stop, or nobody is there to tell it anything."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, commands.feed_eof)
        self.tell(Ready(os.getpid()))
        while line := await commands.readline():
            message = from_line(line)
            if not isinstance(message, RunTask):
                break
            self._work = asyncio.create_task(self._run(message))
            self._work.add_done_callback(partial(self._require_whole, commands))
        if self._work is not None and not self._work.done():
            self._work.cancel(RELEASED)
            await asyncio.wait({self._work})
        if self._broken is not None:
            raise self._broken

    def _require_whole(self, commands: asyncio.StreamReader, work: asyncio.Task[None]) -> None:
        """A worker that cannot even say what became of its task ends, and another one takes its place."""
        self._broken = None if work.cancelled() else work.exception()
        if self._broken is not None:
            commands.feed_eof()

    async def _run(self, told: RunTask) -> None:
        started = time.monotonic()
        task = self._orchestrator.task(told.task)
        lost, note = False, ""
        if (task.status, task.attempt) != (TaskStatus.RUNNING, told.attempt):
            self.tell(TaskEnded(task.id, task.status, task.reason, lost=True))
            return
        lines = ProgressLines(verbose=self._verbose, write=lambda text: self.tell(Told(task.id, text)))
        try:
            review = await Worker(self._orchestrator).run_claimed(
                task, partial(self._observe, told, lines), patient=True
            )
            note = self._accepted(review)
        except asyncio.CancelledError:
            note = ""
        except (TakenOver, IllegalMove):
            lost = True
        except CairnError as error:  # the ledger has it as the task's reason
            note = " ".join(error.fix[:1])
        except Exception as error:  # noqa: BLE001 - a bug ends one task, told as its reason, and no other
            note = f"{type(error).__name__}: {error}"
        self.tell(self._end_of(self._orchestrator.task(task.id), note, time.monotonic() - started, lost=lost))

    def _observe(self, told: RunTask, lines: ProgressLines, event: Event) -> None:
        match event:
            case CannotAsk(lack=lack):
                self.tell(Lacks(lack.model, str(lack.wants), lack.why, lack.fix))
            case CanAsk(model=model) if model in told.tries:
                self.tell(Has(model))
            case _:
                lines(event)

    def _accepted(self, review: Review) -> str:
        """Takes the changes into the project if the task was added so; why not, if not."""
        task = review.task
        if not task.terms.accepts or task.status is not TaskStatus.IN_REVIEW:
            return ""
        try:
            self._orchestrator.decisions.accept(task)
        except CairnError as error:  # it stays in review, where a person sees it
            return error.what
        return ""

    def _end_of(self, task: Task, note: str, seconds: float, *, lost: bool) -> TaskEnded:
        made = task.outcome
        files = f"{made.files_changed} file{'' if made.files_changed == 1 else 's'}"
        changes = f"{files} +{made.lines_added} -{made.lines_removed}" if made.files_changed else ""
        reason = "; ".join(dict.fromkeys(part for part in (task.reason, note) if part))
        return TaskEnded(task.id, task.status, reason, changes, seconds, lost)


def _load_what_tasks_need(root: Path) -> None:
    """What any task needs, once for all workers. Models are loaded by the first task that needs one."""
    import cairn.base_verdicts
    import cairn.check_runs
    import cairn.code_generator
    import cairn.docstring_draft
    import cairn.executor
    import cairn.external_functions
    import cairn.local_model
    import cairn.metered_model
    import cairn.plugins
    import cairn.recipe_library
    import cairn.recipe_source
    import cairn.task_dumps

    with suppress(ImportError):  # the task that needs it says so
        import click  # noqa: F401
        import pydantic_monty  # noqa: F401
    with suppress(CairnError):  # the worker says so
        if Settings.load(root, os.environ).engine.url:
            import cairn.changes_in_tree
            import cairn.postgres
            import cairn.shared_project  # noqa: F401


async def _serve(root: Path, answers: int, *, verbose: bool) -> None:
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    with Orchestrator.open(Project.find(root, exact=True), Settings.load(root, os.environ)) as orchestrator:
        await CrewMember(orchestrator, answers, verbose=verbose).serve(commands)


def main() -> None:
    """`python -m cairn.crew_member ROOT VERBOSE`, and what `answering` takes: for `cairn work` alone."""
    root, verbose = Path(sys.argv[1]), sys.argv[2] == "1"
    answers = answering(partial(_load_what_tasks_need, root))
    try:
        asyncio.run(_serve(root, answers, verbose=verbose))
    except CairnError as error:  # the crew starts another one, and gives up after some
        sys.stderr.write(f"A worker ended: {in_one_line(error)}\n")
        end_now(1)
    end_now()


if __name__ == "__main__":
    main()

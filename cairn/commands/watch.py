"""`cairn watch`: task files dropped in a folder become tasks; what came of each stands beside it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cairn.commands import Chosen, opened
from cairn.console import Console, printable
from cairn.errors import Interrupted, NotFound, UsageProblem
from cairn.task import CodeOrigin, Task, Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from cairn.notices import Receivers
    from cairn.orchestrator import Orchestrator
    from cairn.task_text import TaskText
    from cairn.watcher import Watcher, WatchOptions

FOLDER = "tasks"


@click.command("watch")
@click.argument("folder", metavar="[DIR]", required=False)
@click.option("-j", "--jobs", type=click.IntRange(0, 256), default=1, show_default=True, metavar="N",
              help="Tasks at once; 0 only queues them, for cairn work elsewhere.")  # fmt: skip
@click.option("--done", metavar="NAME", default="", help="Move files whose task ended to this folder below DIR.")
@click.option("--failed", metavar="NAME", default="", help="Move files whose task failed to this folder below DIR.")
@click.option("--rerun-stale", is_flag=True, help="Do a task in review again when files that it read are edited.")
@click.option(
    "--exec", "command_line", metavar="CMD", default="",
    help="Run this when a task reaches review, fails or asks; which one is in CAIRN_TASK and, as JSON, on stdin.",
)  # fmt: skip
@click.option("--webhook", metavar="URL", default="", help="POST the same JSON there.")
@click.option("--once", is_flag=True, help="Take what stands in DIR now, run it to its end, and end.")
@click.pass_obj
def command(
    chosen: Chosen,
    folder: str | None,
    jobs: int,
    done: str,
    failed: str,
    rerun_stale: bool,
    command_line: str,
    webhook: str,
    once: bool,
) -> int:
    """Turn task files into tasks, run them, and write what came of each beside it.

    DIR is `tasks` in the project, if not said. A task file is Markdown; a front matter may say model, priority, only,
    recipe and with, budget, tags, accept. Edits before the start change the task, removing the file cancels it. Nothing
    in your project changes until you accept.

    \b
      mkdir tasks && cairn watch
      echo "Add docstrings to src/app.py" > tasks/docstrings.md
    """
    from cairn.notices import Receivers
    from cairn.watcher import WatchOptions

    console = Console(as_json=False)
    options = WatchOptions(_name(done, "--done"), _name(failed, "--failed"), rerun_stale, tells_moves=not jobs)
    watch = _Watch(chosen, console, options, Receivers(command_line, webhook), folder)
    with opened(chosen, console, founding=True) as orchestrator:
        place = watch.place(orchestrator)
        orchestrator.queue.found()
        console.note(f"cairn: watching {printable(place.label)}/ for task files{'' if once else '; Ctrl-C ends it'}")
        if once:
            return watch.once(orchestrator, jobs)
        return watch.forever(orchestrator, jobs)


def _name(name: str, option: str) -> str:
    if name in {".", ".."} or "/" in name or "\0" in name or (name and not name.isprintable()):
        raise UsageProblem(f"{option} {name!r} is no name of a folder.", fix=f"{option} done")
    return name


@dataclass(frozen=True)
class _Place:
    """The watched folder; `label` is its path in the project, which tasks are known by."""

    path: Path
    label: str


@dataclass(frozen=True)
class _Watch:
    """One call of the command, before anything is opened."""

    chosen: Chosen
    console: Console
    options: WatchOptions
    receivers: Receivers
    folder: str | None

    def tell(self, text: str) -> None:
        """A line for whoever watches."""
        self.console.note(f"cairn: {text}")

    def place(self, orchestrator: Orchestrator) -> _Place:
        """Raises NotFound where there is no such folder, UsageProblem for the project itself or one out of it."""
        root = orchestrator.project.root
        path = root / FOLDER if self.folder is None else self.chosen.path / self.folder
        real = path.resolve()
        if real.exists() and not real.is_dir():
            raise UsageProblem(f"{path} is not a folder.", fix="cairn watch DIR   watches a folder of task files.")
        if not real.is_dir():
            raise NotFound(
                f"There is no folder {path}.", fix=(f"mkdir {path}", "cairn watch DIR   watches another one.")
            )
        label = os.path.relpath(real, root).replace(os.sep, "/")
        if label == "." or label.startswith(".."):
            raise UsageProblem(
                f"{path} is not a folder in the project {root}.", fix=f"cairn watch   watches {FOLDER}/."
            )
        return _Place(real, label)

    def once(self, orchestrator: Orchestrator, jobs: int) -> int:
        """What stands there now becomes tasks, and they run to their end. 1 if one failed."""
        from cairn.crew import Crew
        from cairn.interruption import run_interruptibly
        from cairn.task import TaskStatus

        for name in sorted(run_interruptibly(self._settled(orchestrator))):
            self.tell(f"{printable(name)}: It is empty, so it was left alone.")
        if jobs:
            tally = Crew(orchestrator, jobs, partial(_task_line, self.tell)).work()
            run_interruptibly(self._settled(orchestrator))
            if tally.stopped:
                raise Interrupted("Stopped; what ran is queued again.", fix="cairn work   goes on where it stopped.")
            return int(tally.count(TaskStatus.FAILED) > 0)
        return 0

    async def _settled(self, orchestrator: Orchestrator) -> frozenset[str]:
        """The files without a word in them."""
        watcher = self._watcher(orchestrator)
        while (again := watcher.look_once()) is not None:  # noqa: ASYNC110 - the time tells whether files settled
            await asyncio.sleep(again)
        await watcher.told()
        return watcher.empty

    def forever(self, orchestrator: Orchestrator, jobs: int) -> int:
        """Until a signal: a first one lets running tasks end, a second one stops them."""
        from cairn.crew import Crew
        from cairn.interruption import run_interruptibly

        if not jobs:
            try:
                run_interruptibly(self._watcher(orchestrator).run())
            except KeyboardInterrupt:
                self.tell("ended; what is queued waits for cairn work")
            return 0
        with self._beside(orchestrator) as problem:
            tally = Crew(orchestrator, jobs, partial(_task_line, self.tell)).work(forever=True)
        if problem:
            raise problem[0]
        if tally.stopped:
            raise Interrupted("Stopped; what ran is queued again.", fix="cairn watch   goes on where it stopped.")
        self.tell("ended; what is queued waits for the next cairn watch or cairn work")
        return 0

    @contextmanager
    def _beside(self, orchestrator: Orchestrator) -> Iterator[list[BaseException]]:
        """The watcher in a thread, with connections of its own: the crew hears the signals in the main one."""
        problem: list[BaseException] = []
        ending = threading.Event()

        def watch() -> None:
            try:
                with type(orchestrator).open(orchestrator.project, orchestrator.settings) as own:
                    asyncio.run(_until(ending, self._watcher(own).run()))
            except BaseException as error:  # noqa: BLE001 - told in the main thread, which ends by the signal
                problem.append(error)
                while signal.getsignal(signal.SIGTERM) is _end_at_once and not ending.is_set():
                    time.sleep(0.02)  # the crew does not hear signals yet
                if not ending.is_set():
                    os.kill(os.getpid(), signal.SIGTERM)

        before = signal.signal(signal.SIGTERM, _end_at_once)
        thread = threading.Thread(target=watch, name="cairn-watch")
        thread.start()
        try:
            yield problem
        finally:
            ending.set()
            thread.join()
            signal.signal(signal.SIGTERM, before)

    def _watcher(self, orchestrator: Orchestrator) -> Watcher:
        from cairn.notices import Messenger
        from cairn.review_text import ending
        from cairn.watched_folder import WatchedFolder
        from cairn.watcher import Watcher

        place = self.place(orchestrator)
        messenger = Messenger(self.receivers, orchestrator.project.root, self.tell) if self.receivers else None
        plain = Console()
        plain.colour = False
        return Watcher(
            orchestrator,
            WatchedFolder(place.path),
            place.label,
            self.options,
            submit=partial(submit, orchestrator),
            describe=lambda task: ending(orchestrator.reviews.of(task), plain),
            tell=self.tell,
            messenger=messenger,
        )


def _end_at_once(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _task_line(tell: Callable[[str], None], task_id: str, text: str) -> None:
    for line in printable(text).splitlines():
        tell(f"{task_id}  {line}" if task_id else line)


async def _until(ending: threading.Event, work: Coroutine[object, object, None]) -> None:
    running = asyncio.ensure_future(work)
    while not ending.is_set() and not running.done():  # noqa: ASYNC110 - the event is another thread's
        await asyncio.sleep(0.1)
    if running.done():
        running.result()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def submit(orchestrator: Orchestrator, text: TaskText, key: str, instead_of: Task | None) -> Task:
    """The task of a file's text, new or in place of one that did not begin. Raises CairnError for what it cannot be."""
    from cairn.task_context import Asked

    request, origin = _origin(orchestrator, text)
    options = {f"limits.{name}": value for name, value in text.budget.items()}
    if text.only:
        options["policy.only"] = "".join(f"{glob}\n" for glob in text.only)
    terms = Terms(priority=text.priority, key=key, tags=text.tags, accepts=text.accepts)
    if instead_of is not None:
        return orchestrator.new_tasks.rewrite(instead_of, request, origin, options=options, asked=Asked(), terms=terms)
    return orchestrator.new_tasks.submit(request, origin, options=options, terms=terms)


def _origin(orchestrator: Orchestrator, text: TaskText) -> tuple[str, CodeOrigin]:
    from cairn.plugins import origin_for, recipe_origin
    from cairn.recipe_library import library

    known = library(orchestrator.project.state)
    if text.recipe:
        recipe = known.named(text.recipe)
        recipe.values(dict(text.parameters))
        return text.request, recipe_origin(recipe, dict(text.parameters))
    settings = orchestrator.settings.with_options({"model": text.model} if text.model else {})
    return text.request, origin_for(text.request, settings, os.environ, known)

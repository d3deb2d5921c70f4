"""Runs the checks of one task: over its files, compared with the project without them, and kept in the task's file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from cairn import tree_walk
from cairn.changes import ChangeSet, Content, EntryKind
from cairn.check_record import add_kept_writes, check_results, keep_check_result
from cairn.checks import Before, Check, CheckResult, Standing, Verdict, middle_cut, standings
from cairn.errors import CairnError
from cairn.overlay import Overlay
from cairn.progress import CheckEnded, CheckStarted, Observer, unobserved
from cairn.runtime import CommandResult, Layer, Runtime, Sandbox
from cairn.task_file import TaskFile

WROTE_SHOWN = 200
TOLD_CHARS = 6_000  # of a failed check's output that a program's author is told


@dataclass(frozen=True, slots=True)
class CheckRuns:
    """The checks of one task. `hides` is true of paths that no command of it may see."""

    overlay: Overlay
    file: TaskFile
    checks: Mapping[str, Check]
    new_runtime: Callable[[], Runtime]
    clock: Callable[[], float]
    observe: Observer = unobserved
    hides: Callable[[str], bool] | None = None

    def standings(self) -> tuple[Standing, ...]:
        """What is known of each check for the task's files as they are."""
        changes = self.overlay.changes()
        return standings(self.checks, check_results(self.file), changes.digest, changes.paths)

    async def run(self, name: str) -> CheckResult:
        """Runs one check now, whatever is known of it; one that fails is run without the task's changes too."""
        check = self.checks[name]
        self.observe(CheckStarted(name, check.command))
        result = await self._over_task(check)
        if not result.passed and result.exit_code != _NEVER_STARTED:
            result = replace(result, before=await self._before(check))
        keep_check_result(self.file, result)
        self.observe(CheckEnded(result))
        return result

    async def run_required(self) -> tuple[CheckResult, ...]:
        """The required checks that are about the changes; one that passed on just this content is not run again.

        Those that may change the task's files come first.
        """
        found = []
        for each in sorted(self.standings(), key=lambda standing: not standing.check.keep_writes):
            if not each.check.required or each.verdict is Verdict.NOT_NEEDED:
                continue
            known = each.verdict is Verdict.PASSED and each.result is not None
            found.append(each.result if known and each.result else await self.run(each.check.name))
        return tuple(found)

    async def _over_task(self, check: Check) -> CheckResult:
        changes, at = self.overlay.changes(), self.clock()
        runtime = self.new_runtime()
        try:
            await runtime.initialize(self._layer(changes))
            done = await runtime.execute(check.command, check.timeout)
            wrote = self._worth_keeping(runtime.written())
            content, kept = changes.digest, False
            if check.keep_writes and done.succeeded and wrote:
                kept = self._keep(runtime, wrote)
                content = self.overlay.changes().digest
        finally:
            await runtime.terminate()
        return CheckResult(
            name=check.name,
            command=check.command,
            content=content,
            exit_code=done.exit_code,
            seconds=done.duration,
            at=at,
            ground=runtime.ground.in_words,
            sandboxed=runtime.ground.sandbox is not Sandbox.NONE,
            timed_out=done.timed_out,
            stopped=done.stopped,
            output=middle_cut(_output(done)),
            wrote=wrote[:WROTE_SHOWN],
            kept=kept,
        )

    async def _before(self, check: Check) -> Before:
        """What the check comes to over the project alone: a failure that was there is not the task's."""
        runtime = self.new_runtime()
        try:
            await runtime.initialize(Layer(dict.fromkeys(self._hidden())))
            done = await runtime.execute(check.command, check.timeout)
        finally:
            await runtime.terminate()
        return Before.PASSED if done.succeeded else Before.FAILED

    # ── files ──

    def _layer(self, changes: ChangeSet) -> Layer:
        """All that the task's files differ in from the disk: its changes, and what it saw that is otherwise now."""
        files: dict[str, Content | None] = {}
        for path, data in self.overlay.shadowed().items():
            entry = self.overlay.entry(path)
            mode = entry.mode if entry is not None else 0o644
            files[path] = None if data is None else Content(EntryKind.FILE, mode, data)
        for change in changes:
            files |= dict.fromkeys(change.paths)
            files[change.path] = change.after
        return Layer({**files, **dict.fromkeys(self._hidden())})

    def _hidden(self) -> list[str]:
        if self.hides is None:
            return []
        return [path for path in self.overlay.walk(".", include_ignored=True) if self.hides(path)]

    def _worth_keeping(self, written: tuple[str, ...]) -> tuple[str, ...]:
        """Without what ignore rules leave out, such as caches and build outputs."""
        root = self.overlay.root
        return tuple(
            path
            for path in written
            if not _CACHES.intersection(path.split("/")) and not tree_walk.is_ignored(root, path, folder=False)
        )

    def _keep(self, runtime: Runtime, wrote: tuple[str, ...]) -> bool:
        """Takes what a check wrote into the task, all or nothing; files only, since folders come with them."""
        found = {path: runtime.content(path) for path in wrote}
        files = {path: each for path, each in found.items() if each is None or each.kind is EntryKind.FILE}
        kept = []
        with self.overlay.transaction():
            for path, content in files.items():
                if self._take(path, content):
                    kept.append(path)
            add_kept_writes(self.file, tuple(kept))
        return bool(kept)

    def _take(self, path: str, content: Content | None) -> bool:
        there = self.overlay.entry(path)
        if content is not None:
            self.overlay.write(path, content.data, mode=content.mode)
            return True
        if there is not None and there.kind is not EntryKind.DIRECTORY:
            self.overlay.delete(path)
            return True
        return False


_NEVER_STARTED = 125
_CACHES = frozenset({"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".coverage"})


class ProgramChecks:
    """`CheckRunner` for a task's programs: bounded in number, and with errors that a program's author can act on."""

    def __init__(self, runs: CheckRuns, most: int, may_refuse: Callable[[], bool], *, used: int = 0) -> None:
        self._runs = runs
        self._most = most
        self._may_refuse = may_refuse
        self._used = used

    async def run(self, name: str) -> CheckResult:
        """One check, unless as many were run as may be."""
        if name not in self._runs.checks:
            known = ", ".join(self._runs.checks) or "none; do without, and say so when you submit"
            raise ValueError(f"there is no check '{name}'; the project has: {known}")
        self._take_one()
        try:
            return await self._runs.run(name)
        except CairnError as error:
            raise RuntimeError(f"the check cannot run here: {error.what} Do without, and say so.") from error

    async def refusal(self) -> str:
        """What failed, unless the program's author has no program left to mend it with.

        Where checks cannot run, a submission needs none; the review says that they did not run.
        """
        try:
            results = await self._runs.run_required()
        except CairnError:
            return ""
        broken = [each for each in results if _is_the_task_s(each)]
        if not broken or not self._may_refuse() or self._used >= self._most:
            return ""
        self._used += 1
        told = "\n\n".join(f"$ {each.command}\n{middle_cut(each.output, TOLD_CHARS)}" for each in broken)
        names = ", ".join(f"'{each.name}' {each.in_words}" for each in broken)
        return f"not submitted, because the project's checks were run: {names}. Mend that and submit again.\n{told}"

    def _take_one(self) -> None:
        if self._used >= self._most:
            raise RuntimeError(
                f"checks were run {self._used} times, as often as they may be; submit what is done, and say so"
            )
        self._used += 1


def _is_the_task_s(result: CheckResult) -> bool:
    """A failure that is worth a program's while: not one that was there before, nor one of this machine."""
    return not result.passed and result.before is not Before.FAILED and result.exit_code != _NEVER_STARTED


def _output(done: CommandResult) -> str:
    streams = [done.stdout.rstrip("\n"), done.stderr.rstrip("\n"), f"cairn: {done.stopped}" if done.stopped else ""]
    return "\n".join(each for each in streams if each)

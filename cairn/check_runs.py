"""Runs the checks of one task: over its files, compared with the project without them, and kept in the task's file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from cairn import tree_walk
from cairn.base_verdicts import BaseVerdicts
from cairn.changes import ChangeSet, Content, EntryKind
from cairn.check_ground import Met, as_accepted, as_seen, met
from cairn.check_record import add_kept_writes, check_results, keep_check_result
from cairn.checks import Before, Check, CheckResult, Standing, Verdict, middle_cut, standings
from cairn.errors import CairnError
from cairn.overlay import Overlay
from cairn.program import Limits
from cairn.progress import CheckEnded, CheckStarted, Observer, unobserved
from cairn.project_state import ProjectState, project_state
from cairn.runtime import NOT_STARTED, CommandResult, Layer, Runtime, Sandbox, TooLargeToKeep
from cairn.task_file import TaskFile

WROTE_SHOWN = 200
TOLD_CHARS = 6_000  # of a failed check's output that a program's author is told


class _TooMuch(Exception):
    """Keeping what a check wrote would pass a limit of the task."""


@dataclass(frozen=True, slots=True)
class _Ground:
    """The files that a command runs over: the layer, what the task changed in it, and the rest as a short text."""

    layer: Layer
    content: str
    project: str


@dataclass(frozen=True, slots=True)
class CheckRuns:
    """The checks of one task. `hides` is true of paths that no command of it may see.

    `deciding`: they run over the project as an accept would leave it now, for a person who decides; else over what
    the task sees, whose reads repeat. `limits` bound what a check may add to the task.
    """

    overlay: Overlay
    file: TaskFile
    checks: Mapping[str, Check]
    new_runtime: Callable[[], Runtime]
    clock: Callable[[], float]
    observe: Observer = unobserved
    hides: Callable[[str], bool] | None = None
    limits: Limits = field(default_factory=Limits)
    base: BaseVerdicts | None = None
    deciding: bool = False

    def standings(self) -> tuple[Standing, ...]:
        """What is known of each check for the task's files as they are."""
        changes, results = self.overlay.changes(), check_results(self.file)
        project = self._ground(changes, project_state(self.overlay.root)).project if results else ""
        return standings(self.checks, results, changes.digest, changes.paths, project)

    async def run(self, name: str) -> CheckResult:
        """Runs one check now, whatever is known of it; one that fails is run without the task's changes too."""
        check = self.checks[name]
        self.observe(CheckStarted(name, check.command))
        result = await self._over_task(check)
        if not result.passed and result.exit_code != NOT_STARTED:
            result = replace(result, before=await self._before(check, result.ground))
        keep_check_result(self.file, result)
        self.observe(CheckEnded(result))
        return result

    async def run_required(self) -> tuple[CheckResult, ...]:
        """The required checks that are about the changes; one that passed on just these files is not run again.

        Those that may change the task's files come first.
        """
        found = []
        for each in sorted(self.standings(), key=lambda standing: not standing.check.keep_writes):
            if not each.check.required or each.verdict is Verdict.NOT_NEEDED:
                continue
            known = each.verdict is Verdict.PASSED and not each.outdated
            found.append(each.result if known and each.result else await self.run(each.check.name))
        return tuple(found)

    async def _over_task(self, check: Check) -> CheckResult:
        at, state = self.clock(), project_state(self.overlay.root)
        ground = self._ground(self.overlay.changes(), state, keep=check.keep_writes)
        kept, refused = False, ""
        runtime = self.new_runtime()
        try:
            await runtime.initialize(ground.layer)
            done = await runtime.execute(check.command, check.timeout)
            wrote = self._worth_keeping(runtime.written())
            if check.keep_writes and done.succeeded and wrote:
                kept, refused = self._kept(runtime, wrote)
                if kept:
                    ground = self._ground(self.overlay.changes(), state, keep=True)
        finally:
            await runtime.terminate()
        return CheckResult(
            name=check.name,
            command=check.command,
            content=ground.content,
            project=ground.project,
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
            refused=refused,
        )

    async def _before(self, check: Check, ground: str) -> Before:
        """What the check comes to over the project alone: a failure that was there is not the task's.

        For a person it is found anew; programs, variants side by side above all, take what one of them found lately.
        """
        hidden = self._hidden()

        async def find() -> Before:
            runtime = self.new_runtime()
            try:
                await runtime.initialize(Layer(dict.fromkeys(hidden)))
                done = await runtime.execute(check.command, check.timeout)
            finally:
                await runtime.terminate()
            if done.exit_code == NOT_STARTED:
                return Before.UNKNOWN
            return Before.PASSED if done.succeeded else Before.FAILED

        if self.base is None:
            return await find()
        project = project_state(self.overlay.root).fingerprint()
        told = "\0".join([project, check.command, str(check.timeout), ground, *hidden])
        key = hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()
        return await self.base.known(key, find, anew=self.deciding)

    # ── files ──

    def _ground(self, changes: ChangeSet, state: ProjectState, *, keep: bool = False) -> _Ground:
        """What one may become part of the task runs over what the task sees: nobody's edits are to be taken for its."""
        found = met(self.overlay.root, changes) if self.deciding else Met()
        if self.deciding and not found.conflicts and not (keep and found):
            project = as_accepted(state, changes, found)
            return _Ground(self._layer(changes, found.merged), changes.digest, project)
        shadowed = self.overlay.shadowed()
        seen: dict[str, Content | None] = {}
        for path, data in shadowed.items():
            entry = self.overlay.entry(path)
            mode = entry.mode if entry is not None else 0o644
            seen[path] = None if data is None else Content(EntryKind.FILE, mode, data)
        return _Ground(self._layer(changes, {}, seen), changes.digest, as_seen(state, changes, shadowed))

    def _layer(
        self, changes: ChangeSet, over: Mapping[str, Content | None], under: Mapping[str, Content | None] | None = None
    ) -> Layer:
        """The task's changes, with others below and above them, and without what is hidden."""
        files = dict(under or {})
        for change in changes:
            files |= dict.fromkeys(change.paths)
            files[change.path] = change.after
        return Layer({**files, **over, **dict.fromkeys(self._hidden())})

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

    def _kept(self, runtime: Runtime, wrote: tuple[str, ...]) -> tuple[bool, str]:
        """Takes what a check wrote into the task, all or nothing: whether anything was, and why not."""
        try:
            self._require(len(wrote), "files_changed", self.limits.files_changed)  # before anything is fetched
            return self._keep(runtime, wrote), ""
        except (_TooMuch, TooLargeToKeep) as error:
            return False, str(error)
        except ValueError as error:  # of the overlay: one file is too large
            return False, str(error).partition(";")[0]

    def _keep(self, runtime: Runtime, wrote: tuple[str, ...]) -> bool:
        """Files only, since folders come with them; counted in the task's limits as what its programs write."""
        kept = []
        with self.overlay.transaction():
            for path in wrote:
                content = runtime.content(path)
                if (content is None or content.kind is EntryKind.FILE) and self._take(path, content):
                    kept.append(path)
                    self._require(self.overlay.bytes_written(), "bytes_written", self.limits.bytes_written)
            self._require(self.overlay.files_touched(), "files_changed", self.limits.files_changed)
            add_kept_writes(self.file, tuple(kept))
        return bool(kept)

    def _require(self, used: int, name: str, most: int) -> None:
        """The transaction that it ends takes all back."""
        if used > most:
            raise _TooMuch(f"the limit {name} = {most:,} would be passed")

    def _take(self, path: str, content: Content | None) -> bool:
        there = self.overlay.entry(path)
        if content is not None:
            self.overlay.write(path, content.data, mode=content.mode)
            return True
        if there is not None and there.kind is not EntryKind.DIRECTORY:
            self.overlay.delete(path)
            return True
        return False


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
    return not result.passed and result.before is not Before.FAILED and result.exit_code != NOT_STARTED


def _output(done: CommandResult) -> str:
    streams = [done.stdout.rstrip("\n"), done.stderr.rstrip("\n"), f"cairn: {done.stopped}" if done.stopped else ""]
    return "\n".join(each for each in streams if each)

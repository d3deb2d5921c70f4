"""Whether a call may be made: the policy applied to what the call really does, while it does it.

Whatever is refused is a PermissionError that the program can catch. Where a person has to be asked the call is carried
out as far as it goes, to say what it would change, and the transaction that it is in takes all of it back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from cairn import policy
from cairn.changes import Change, ChangeSet, Content, EntryKind
from cairn.judged_overlay import JudgedOverlay
from cairn.overlay import Overlay
from cairn.policy import CALLS, Access, Action, Doing, Policy, Verdict
from cairn.program_errors import FOR_PROGRAMS, Denied
from cairn.project_path import project_path
from cairn.task_questions import PersonAnswer

T = TypeVar("T")

DIFF_CHARS = 20_000  # of what a question shows
DIFF_FILES = 20


class NeedsAnswer(Exception):
    """A person has to be asked about a call; `rule` says so, "" for the policy's default."""

    def __init__(self, rule: str, paths: tuple[str, ...] = (), diff: str = "", more_files: int = 0) -> None:
        super().__init__(rule, paths)
        self.rule = rule
        self.paths = paths
        self.diff = diff
        self.more_files = more_files


class _Trial:
    """One call while it is carried out: what of it has to be asked, and what stood where it writes."""

    def __init__(self, name: str, *, answered: bool) -> None:
        self.name = name
        self.answered = answered
        self.rules: dict[str, bool] = {}  # those that ask, and whether what they ask about was to be read
        self.asked: list[str] = []
        self.before: dict[str, Content | None] = {}
        self.written: set[str] = set()


class Permission:
    """One task's policy at work. `overlay` is what its calls are to use: all that they do there is judged.

    `grants` are the rules, or functions where no rule asks, that a person wants not to be asked about again.
    """

    def __init__(self, rules: Policy, overlay: Overlay, grants: frozenset[str] = frozenset()) -> None:
        self._policy = rules
        self._bare = overlay
        self._grants = grants
        self._trial: _Trial | None = None
        self.overlay: Overlay = overlay if rules.is_open else JudgedOverlay(overlay, self._judge, self._hides)

    def carried_out(
        self, name: str, arguments: Mapping[str, object], effect: Callable[[], T], answer: PersonAnswer | None = None
    ) -> T:
        """What the call comes to. Raises Denied, a PermissionError, for what may not be; NeedsAnswer to be taken back.

        `answer` is what a person said about this very call.
        """
        _require_yes(name, answer)
        if self._policy.is_open:
            return effect()
        trial = self._trial = _Trial(name, answered=answer is not None)
        try:
            self._settle(name, "", self._policy.on_call(name), reads=Doing.READ in CALLS.get(name, ()))
            if trial.rules and not CALLS.get(name):
                raise self._needs(trial)
            if name == "history":
                self._require_one_readable_file(name, arguments.get("path"))
            result = self._tried(trial, effect)
        finally:
            self._trial = None
        return self._shown(result) if name == "search_content" else result

    def _tried(self, trial: _Trial, effect: Callable[[], T]) -> T:
        try:
            result = effect()
        except Denied:
            raise
        except FOR_PROGRAMS:
            if any(trial.rules.values()):  # the error could tell what was to be asked about
                raise self._needs(trial) from None
            raise
        if trial.rules:
            raise self._needs(trial)
        return result

    def require_call(self, name: str, answer: PersonAnswer | None = None) -> None:
        """For a call without paths: raises Denied for one that is refused, NeedsAnswer for one to be asked about."""
        _require_yes(name, answer)
        verdict = self._policy.on_call(name)
        if verdict.action is Action.DENY:
            raise Denied(policy.denied(name, "", verdict.rule))
        if answer is None and self._asks(name, verdict):
            raise NeedsAnswer(verdict.rule)

    def require_writable(self, path: str) -> None:
        """Raises Denied when a file that is opened now could not be stored later. It is asked about when it is."""
        access = Access(Doing.WRITE, path, self._bare.leads_to(path))
        self._require_within(access)
        verdict = self._policy.on_access("open().write", access)
        if verdict.action is Action.DENY:
            raise Denied(policy.denied("open().write", path, verdict.rule))

    # ── judging ──

    def _judge(self, access: Access) -> None:
        if self._trial is not None:
            self._judge_as(self._trial.name, access)

    def _judge_as(self, name: str, access: Access) -> None:
        self._require_within(access)
        if name != "search_content":  # of which single lines are left out
            verdict = self._policy.on_access(name, access)
            self._settle(name, access.path, verdict, reads=access.doing is Doing.READ)
        if access.doing is Doing.WRITE:
            self._remember(access)

    def _require_within(self, access: Access) -> None:
        if not self._policy.may_change(access):
            raise Denied(policy.outside_only(access.path, self._policy.only or ()))

    def _settle(self, name: str, path: str, verdict: Verdict, *, reads: bool) -> None:
        if verdict.action is Action.DENY:
            raise Denied(policy.denied(name, path, verdict.rule))
        trial = self._trial
        if trial is None or trial.answered or not self._asks(name, verdict):
            return
        trial.rules[verdict.rule] = trial.rules.get(verdict.rule, False) or reads
        if path and path not in trial.asked and len(trial.asked) < DIFF_FILES:
            trial.asked.append(path)

    def _asks(self, name: str, verdict: Verdict) -> bool:
        return verdict.action is Action.ASK and (verdict.rule or name) not in self._grants

    # ── what may not be read ──

    def _hides(self, path: str) -> bool:
        return self._trial is not None and self._is_hidden(self._trial.name, path)

    def _is_hidden(self, name: str, path: str) -> bool:
        return is_hidden(self._policy, self._bare, name, path, self._grants)

    def _shown(self, hits: Any) -> Any:
        hidden = {path for path in {hit["file"] for hit in hits} if self._is_hidden("search_content", path)}
        return [hit for hit in hits if hit["file"] not in hidden]

    def _require_one_readable_file(self, name: str, path: object) -> None:
        """What git remembers of other files is not told apart, so where some may not be read it takes one that may."""
        if not self._policy.hides_some:
            return
        place = project_path(path) if path is not None else "."
        there = self._bare.entry(place)
        if there is not None and there.kind is EntryKind.DIRECTORY:
            raise Denied(f"the person's policy lets {name} show single files only; name one file")
        self._judge_as(name, Access(Doing.READ, place, place))

    # ── what a person is shown ──

    def _remember(self, access: Access) -> None:
        """What stands at a path before the call changes it."""
        trial = self._trial
        if trial is None or trial.answered or not (self._policy.ask or self._policy.default is Action.ASK):
            return
        trial.written.add(access.real)
        if len(trial.before) < DIFF_FILES and access.real not in trial.before:
            trial.before[access.real] = self._content(access.real)

    def _needs(self, trial: _Trial) -> NeedsAnswer:
        from cairn.git_diff import render

        after = {path: self._content(path) for path in trial.before}
        changed = [Change(path, old, after[path]) for path, old in sorted(trial.before.items()) if old != after[path]]
        shown = tuple(each for each in changed if EntryKind.DIRECTORY not in _kinds(each))
        text = render(ChangeSet(shown)).decode("utf-8", "replace")
        if len(text) > DIFF_CHARS:
            text = f"{text[:DIFF_CHARS].rpartition(chr(10))[0]}\n({len(text) - DIFF_CHARS:,} more characters)\n"
        more = len(trial.written) - len(trial.before)
        return NeedsAnswer(max(trial.rules), tuple(trial.asked), text, more)

    def _content(self, path: str) -> Content | None:
        try:
            there = self._bare.entry(path)
            if there is None or there.kind is EntryKind.DIRECTORY:
                return None if there is None else Content(there.kind, there.mode)
            link = there.kind is EntryKind.SYMLINK
            data = self._bare.link_target(path).encode() if link else self._bare.read(path)
        except (OSError, ValueError):
            return None
        return Content(there.kind, there.mode, data)


def _kinds(change: Change) -> set[EntryKind]:
    return {side.kind for side in (change.before, change.after) if side is not None}


def _require_yes(name: str, answer: PersonAnswer | None) -> None:
    if answer is not None and not answer.yes:
        raise Denied(policy.refused_by_person(name, answer.because))


def is_hidden(rules: Policy, overlay: Overlay, name: str, path: str, grants: frozenset[str] = frozenset()) -> bool:
    """True when the call could not be shown what is in the file without being refused or asked."""
    if rules.is_open:
        return False
    try:
        real = overlay.leads_to(path)
    except OSError:
        return True
    verdict = rules.on_access(name, Access(Doing.READ, path, real))
    granted = verdict.action is Action.ASK and (verdict.rule or name) in grants
    return verdict.action is not Action.ALLOW and not granted

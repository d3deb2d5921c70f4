"""Whether a call may be made: the policy applied to what the call really does, while it does it.

Whatever is refused is a PermissionError that the program can catch; the transaction that the call is in leaves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from cairn import policy
from cairn.changes import EntryKind
from cairn.judged_overlay import JudgedOverlay
from cairn.overlay import Overlay
from cairn.policy import Access, Action, Doing, Policy, Verdict
from cairn.program_errors import Denied
from cairn.project_path import project_path

T = TypeVar("T")


class Permission:
    """One task's policy at work. `overlay` is what its calls are to use: all that they do there is judged."""

    def __init__(self, rules: Policy, overlay: Overlay) -> None:
        self._policy = rules
        self._bare = overlay
        self._name: str | None = None
        self.overlay: Overlay = overlay if rules.is_open else JudgedOverlay(overlay, self._judge, self._hides)

    def carried_out(self, name: str, arguments: Mapping[str, object], effect: Callable[[], T]) -> T:
        """What the call comes to. Raises Denied, a PermissionError, for what may not be."""
        if self._policy.is_open:
            return effect()
        self.require_call(name)
        if name == "history":
            self._require_one_readable_file(name, arguments.get("path"))
        self._name = name
        try:
            result = effect()
        finally:
            self._name = None
        return self._shown(result) if name == "search_content" else result

    def require_call(self, name: str) -> None:
        """Raises Denied for a call that is refused wherever it goes."""
        self._settle(name, "", self._policy.on_call(name))

    def require_writable(self, path: str) -> None:
        """Raises Denied when a file that is opened now could not be stored later."""
        self._judge_as("open().write", Access(Doing.WRITE, path, self._bare.leads_to(path)))

    def _judge(self, access: Access) -> None:
        if self._name is not None:
            self._judge_as(self._name, access)

    def _judge_as(self, name: str, access: Access) -> None:
        rules = self._policy
        if not rules.may_change(access):
            raise Denied(policy.outside_only(access.path, rules.only or ()))
        if name != "search_content":  # of which single lines are left out
            self._settle(name, access.path, rules.on_access(name, access))

    def _settle(self, name: str, path: str, verdict: Verdict) -> None:
        if verdict.action is not Action.ALLOW:
            raise Denied(policy.denied(name, path, verdict.rule))

    def _hides(self, path: str) -> bool:
        return self._name is not None and self._is_hidden(self._name, path)

    def _is_hidden(self, name: str, path: str) -> bool:
        return is_hidden(self._policy, self._bare, name, path)

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


def is_hidden(rules: Policy, overlay: Overlay, name: str, path: str) -> bool:
    """True when the call could not be shown what is in the file without being refused or asked."""
    if rules.is_open:
        return False
    try:
        real = overlay.leads_to(path)
    except OSError:
        return True
    return rules.on_access(name, Access(Doing.READ, path, real)).action is not Action.ALLOW

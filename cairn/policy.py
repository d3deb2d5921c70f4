"""What a task may do without being asked, what it has to ask for, and what it may not do: rules, and the decision.

Pure: names, paths and rules in, a verdict out. A path is judged as the program names it and as it really is, with the
links on the way followed. `deny` wins over `ask`, `ask` over `allow`, and the order of rules says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from cairn.glob_pattern import GlobPattern, glob_pattern


class Doing(StrEnum):
    """What a call does at a path; the value is also the name under which rules have all such calls."""

    LOOK = "look"  # names, kinds and sizes
    READ = "read"  # contents
    WRITE = "write"  # any change


class Action(StrEnum):
    """What becomes of a call."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


_LOOKS, _READS, _WRITES = (frozenset({doing}) for doing in Doing)
_NOTHING: frozenset[Doing] = frozenset()

# What each call does at the paths it is about. `same_as` below: ordinary file code obeys the rules of a function.
CALLS: Mapping[str, frozenset[Doing]] = {
    "read_file": _READS,
    "write_file": _WRITES,
    "edit_file": _READS | _WRITES,  # an error of it shows the text that is nearest
    "replace_all": _READS | _WRITES,
    "delete_file": _WRITES,
    "move_file": _READS | _WRITES,  # what was moved could be read at its new place
    "list_dir": _LOOKS,
    "file_exists": _LOOKS,
    "search_files": _LOOKS,
    "search_content": _READS,
    "outline": _READS,
    "comments": _READS,
    "diff": _READS,
    "history": _READS,
    "read_recipe": _NOTHING,
    "ask_llm": _NOTHING,
    "ask_llm_many": _NOTHING,
    "run_check": _NOTHING,
    "log": _NOTHING,
    "submit_result": _NOTHING,
    "open": _LOOKS,
    "open().write": _WRITES,
    "os.replace": _READS | _WRITES,
    "os.scandir": _LOOKS,
    "os.walk": _LOOKS,
    "Path.exists": _LOOKS,
    "Path.is_dir": _LOOKS,
    "Path.is_file": _LOOKS,
    "Path.is_symlink": _LOOKS,
    "Path.iterdir": _LOOKS,
    "Path.mkdir": _WRITES,
    "Path.read_bytes": _READS,
    "Path.read_text": _READS,
    "Path.rename": _READS | _WRITES,
    "Path.rmdir": _LOOKS,
    "Path.stat": _LOOKS,
    "Path.unlink": _WRITES,
    "Path.walk": _LOOKS,
    "Path.write_bytes": _WRITES,
    "Path.write_text": _WRITES,
}
_SAME_AS: Mapping[str, str] = {
    "open": "file_exists",
    "open().write": "write_file",
    "os.replace": "move_file",
    "os.scandir": "list_dir",
    "os.walk": "search_files",
    "Path.exists": "file_exists",
    "Path.is_dir": "file_exists",
    "Path.is_file": "file_exists",
    "Path.is_symlink": "file_exists",
    "Path.iterdir": "list_dir",
    "Path.mkdir": "write_file",
    "Path.read_bytes": "read_file",
    "Path.read_text": "read_file",
    "Path.rename": "move_file",
    "Path.rmdir": "list_dir",
    "Path.stat": "file_exists",
    "Path.unlink": "delete_file",
    "Path.walk": "search_files",
    "Path.write_bytes": "write_file",
    "Path.write_text": "write_file",
}
FREE = frozenset({"log", "submit_result"})  # a task needs them to end and to explain itself: only their names rule them
EVERYTHING = "*"
RULE_NAMES = (EVERYTHING, *Doing, *CALLS)
_RULE = re.compile(r"(?P<name>open\(\)\.write|[^(]+)(\((?P<glob>.+)\))?", re.DOTALL)


class AtLimitSetting(StrEnum):
    """What a task does at a limit."""

    STOP = "stop"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class Access:
    """One thing that a call does. `real` is the path with links followed; `folder`: it only makes or holds others."""

    doing: Doing
    path: str
    real: str
    folder: bool = False


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """A call's name, or a group of them, and the paths it holds for; without a glob, all of them."""

    name: str
    glob: str = ""

    def __str__(self) -> str:
        return f"{self.name}({self.glob})" if self.glob else self.name

    def covers_call(self, name: str) -> bool:
        """True when every such call is meant, wherever it goes."""
        return not self.glob and self._names(name, CALLS.get(name, _NOTHING))

    def covers(self, name: str, access: Access, *, really: bool = False) -> bool:
        """True when this access of the call is meant. `really`: by the path that it really is, not as it is spelled."""
        if not self._names(name, frozenset({access.doing})):
            return False
        if not self.glob:
            return True
        pattern = glob_pattern(self.glob)
        if really:
            return pattern.matches(access.real) or (access.folder and pattern.may_hold(access.real))
        return any(self._matches(pattern, path) for path in {access.path, access.real})

    def _matches(self, pattern: GlobPattern, path: str) -> bool:
        """`secrets/**` means the folder too."""
        return pattern.matches(path) or (self.glob.endswith("/**") and pattern.matches(f"{path}/-"))

    def _names(self, name: str, doings: frozenset[Doing]) -> bool:
        if self.name in {name, _SAME_AS.get(name)}:
            return True
        return name not in FREE and (self.name == EVERYTHING or self.name in doings)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a call, and the rule that says so; "" for the default."""

    action: Action
    rule: str = ""


ALLOWED = Verdict(Action.ALLOW)


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one task. `only` are globs of the paths it may change; None: all that the rules allow."""

    deny: tuple[PolicyRule, ...] = ()
    ask: tuple[PolicyRule, ...] = ()
    allow: tuple[PolicyRule, ...] = ()
    default: Action = Action.ALLOW
    only: tuple[str, ...] | None = None

    @property
    def is_open(self) -> bool:
        """True when it allows everything."""
        return not self.deny and not self.ask and self.default is Action.ALLOW and self.only is None

    def on_call(self, name: str) -> Verdict:
        """The verdict that needs no path: by rules without a glob; the default for a call that is about no path."""
        for action, rules in ((Action.DENY, self.deny), (Action.ASK, self.ask)):
            if rule := next((rule for rule in rules if rule.covers_call(name)), None):
                return Verdict(action, str(rule))
        if name in FREE or CALLS.get(name, _NOTHING) or any(rule.covers_call(name) for rule in self.allow):
            return ALLOWED
        return Verdict(self.default)

    def on_access(self, name: str, access: Access) -> Verdict:
        """The verdict on one thing that an allowed call does; always ALLOWED for what the call is not about."""
        if access.doing not in CALLS.get(name, _NOTHING):
            return ALLOWED
        for action, rules in ((Action.DENY, self.deny), (Action.ASK, self.ask)):
            if rule := next((rule for rule in rules if rule.covers(name, access)), None):
                return Verdict(action, str(rule))
        if any(rule.covers(name, access, really=True) for rule in self.allow):
            return ALLOWED
        return Verdict(self.default)

    def may_change(self, access: Access) -> bool:
        """False for a change outside of `only`."""
        if self.only is None or access.doing is not Doing.WRITE:
            return True
        patterns = [glob_pattern(glob) for glob in self.only]
        return any(each.matches(access.real) or (access.folder and each.may_hold(access.real)) for each in patterns)

    @property
    def hides_some(self) -> bool:
        """True when there are files that not every call can be shown."""
        return self.default is not Action.ALLOW or any(rule.glob for rule in (*self.deny, *self.ask))


def rule_of(text: str) -> PolicyRule:
    """`NAME` or `NAME(GLOB)`. Raises ValueError, which says what is wrong, for what would never hold."""
    found = _RULE.fullmatch(text.strip())
    if text.strip() in CALLS:
        return PolicyRule(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no rule; write NAME or NAME(GLOB), such as write(secrets/**)")
    name, glob = found["name"].strip(), (found["glob"] or "").strip()
    if name not in RULE_NAMES:
        raise ValueError(f"there is no function '{name}'{meant(name, RULE_NAMES)}")
    if glob and name in CALLS and not CALLS[name]:
        raise ValueError(f"{name} is about no path, so it has none in brackets")
    if glob:
        try:
            glob_pattern(glob)
        except PermissionError as outside:
            raise ValueError(str(outside)) from None
    return PolicyRule(name, glob)


def meant(name: str, known: Iterable[str]) -> str:
    """A half sentence that offers the nearest name; "" if none is near."""
    from difflib import get_close_matches

    by_small = {each.lower(): each for each in known}
    near = get_close_matches(name.lower(), by_small, n=1)
    return f"; did you mean {by_small[near[0]]}?" if near else f"; there are {', '.join(by_small.values())}"


# ── what programs, models and people are told ──


def outside_only(path: str, only: Iterable[str]) -> str:
    """The message of the error that a program gets."""
    return (
        f"'{path}' is not among the paths that this task may change: {', '.join(only)}. Nothing was written. Reading "
        "is free. Change only those, or submit what can be done within them and say what is left"
    )


def denied(name: str, path: str, rule: str) -> str:
    """The message of the error that a program gets."""
    what = f"{name} at '{path}'" if path else name
    why = f"({rule})" if rule else "(what is not allowed by name is denied)"
    return (
        f"the person's policy denies {what} {why}. Nothing was done. Go on without it, or submit what can be done and "
        "say what was denied"
    )


def refused_by_person(name: str, because: str) -> str:
    """The message of the error that a program gets."""
    why = f", because: {because}" if because else ""
    return (
        f"the person was asked about this {name} and refused it{why}. Nothing was done. Go on without it, or submit "
        "what can be done and say what was refused"
    )


def in_words(policy: Policy) -> list[tuple[str, str]]:
    """Headings and texts for a model, so that it does not try in vain."""
    told = []
    if policy.only is not None:
        heading = "This task may change only these paths; a change elsewhere is refused. Reading is free:"
        told.append((heading, "\n".join(policy.only)))
    rules = [*(f"denied: {rule}" for rule in policy.deny), *(f"a person is asked first: {rule}" for rule in policy.ask)]
    if policy.default is not Action.ALLOW:
        rules += [f"allowed: {rule}" for rule in policy.allow]
        rules.append("all else: " + ("denied" if policy.default is Action.DENY else "a person is asked first"))
    if rules:
        told.append(("The person's policy for calls, as function(glob of paths):", "\n".join(rules)))
    return told

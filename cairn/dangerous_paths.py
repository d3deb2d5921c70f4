"""Which changes can run something that nobody typed, and why: such paths have to be named before they are accepted.

A path is dangerous when it takes effect as a side effect of something else: entering or opening the folder, a commit,
a push, an install, a test run, the start of an interpreter or of a coding agent. Sources, tests, Makefiles and the like
run only where a person runs them, so they are not: a list of everything would be read by nobody.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from cairn.changes import Change, Content, EntryKind
from cairn.errors import NotAllowed, UsageProblem
from cairn.glob_pattern import glob_pattern
from cairn.project_path import is_reserved

_NAMED = 3  # in a command that is shown
_SPECIAL_BITS = 0o6000
_HOOK = "a git hook, or says which hooks run at a commit or push"
_CI = "runs in CI, with its secrets"
_ENVIRONMENT = "runs when a shell enters the folder"
_EDITOR = "editor settings, which can run commands when the folder is opened"
_AGENT = "tells coding agents what to do, or what they may run unasked"
_SHELL = "runs when a shell or a session starts"
_DEBUGGER = "runs when a debugger starts"
_ACCESS = "says who gets in, or where ssh leads"
_PACKAGES = "says where packages come from, or what their tool runs"
_BUILD = "runs at install or build"
_PYTHON = "runs whenever Python starts"
_TESTS = "runs before any test does"
_GIT = "says which filters git runs, or where submodules and large files come from"
_SETTINGS = "Cairn's own settings: limits, and what accept lets through"

# Patterns as `glob_pattern` knows them, in lower case; each fits at any depth, for any folder can be opened as a
# project. A folder's pattern ends with a slash.
_PATTERNS: Mapping[str, str] = {
    _HOOK: ".husky/ .githooks/ .git-hooks/ .pre-commit-config.{yaml,yml} .pre-commit-hooks.{yaml,yml}"
    " {,.}lefthook{,-local}.{yml,yaml,toml,json} .huskyrc* .lintstagedrc* lint-staged.config.* .overcommit.yml"
    " captainhook.json .simple-git-hooks.*",
    _CI: ".github/workflows/ .github/actions/ .gitea/workflows/ .forgejo/workflows/ .gitlab/ci/ *.gitlab-ci.{yml,yaml}"
    " .circleci/ .buildkite/ .woodpecker/ .woodpecker.{yml,yaml} .semaphore/ .teamcity/ .ci/ .azure-pipelines/"
    " azure-pipelines*.{yml,yaml} jenkinsfile{,.*} .travis.yml {,.}appveyor.yml .drone.yml .cirrus.{yml,star}"
    " bitbucket-pipelines.yml cloudbuild.{yml,yaml,json} buildspec.{yml,yaml} codefresh.yml",
    _ENVIRONMENT: ".envrc .direnv/ {,.}mise{,.local}.toml .mise/ .autoenv.zsh",
    _EDITOR: ".vscode/ .idea/ .vs/ .fleet/ .zed/ .devcontainer/ .devcontainer.json *.code-workspace .exrc .nvimrc"
    " .nvim.lua .vimrc .lvimrc .local.vimrc .dir-locals{,-2}.el .emacs .emacs.d/ *.sublime-project",
    _AGENT: ".claude/ .cursor/ .codex/ .gemini/ .continue/ .windsurf/ .roo/ .kiro/ .aider* {,.}mcp.json .cursorrules"
    " .windsurfrules .clinerules{,/**} .goosehints agents.md claude{,.local}.md gemini.md copilot-instructions.md"
    " .github/{agents,chatmodes,instructions,prompts}/",
    _SHELL: ".{bash_profile,bash_login,bash_logout,bash_aliases,bashrc,profile,login,logout}"
    " .z{shrc,shenv,profile,login,logout} .{k,c,tc,mk}shrc .{xprofile,xinitrc,xsession,xsessionrc,inputrc,screenrc}"
    " .tmux.conf .config/fish/ .config/autostart/ .config/systemd/",
    _DEBUGGER: ".gdbinit .lldbinit .pdbrc{,.py}",
    _ACCESS: ".ssh/ .netrc",
    _PACKAGES: ".npmrc .yarnrc{,.yml} .yarn/ .pnpmfile.cjs .pypirc pip.conf pip.ini .cargo/config{,.toml} .bazelrc"
    " gradle/wrapper/ .mvn/ bunfig.toml",
    _BUILD: "setup.py build.rs binding.gyp",
    _PYTHON: "{site,user}customize.py *.pth .pythonrc{,.py} .pystartup",
    _TESTS: "conftest.py",
    _GIT: ".gitattributes .gitmodules .lfsconfig .gitconfig",
    _SETTINGS: "cairn.toml",
}
_NPM_SCRIPTS = ("preinstall", "install", "postinstall", "prepare", "prepublish", "prepublishOnly", "dependencies")
_NPM_HOOKS = ("husky", "lint-staged", "simple-git-hooks", "pre-commit", "gitHooks")


@dataclass(frozen=True, slots=True)
class Danger:
    """One path that has to be named, and why. `allowed` says that it is; one that is `never` allowed cannot be."""

    path: str
    why: str
    allowed: bool = False
    never: bool = False


def dangers(changes: Iterable[Change], allow: Iterable[str] = ()) -> tuple[Danger, ...]:
    """Every dangerous path of the changes, sorted; `allow` are paths and globs, as `is_allowed` takes them."""
    patterns = tuple(allow)
    found: dict[str, list[str]] = {}
    for change in changes:
        for path, reason in _reasons(change):
            if reason not in found.setdefault(path, []):
                found[path].append(reason)
    return tuple(_danger(path, tuple(reasons), patterns) for path, reasons in sorted(found.items()))


def not_allowed(found: Iterable[Danger]) -> tuple[Danger, ...]:
    """Those that still have to be named."""
    return tuple(danger for danger in found if not danger.allowed)


def is_allowed(path: str, allow: Iterable[str]) -> bool:
    """True when one of them is the path itself, a folder above it, or a glob for it.

    Raises ValueError or PermissionError for what can be neither.
    """
    for one in allow:
        name = one.removeprefix("./").rstrip("/")
        if path == name or (name and path.startswith(f"{name}/")) or glob_pattern(one).matches(path):
            return True
    return False


def require_allowed(
    task_id: str, changes: Iterable[Change], standing: Iterable[str], named: Iterable[str] = ()
) -> None:
    """Raises NotAllowed, with each dangerous path and why it is one, that neither the settings' `standing` rules cover
    nor the command `named`.
    """
    given = tuple(named)
    missing = not_allowed(dangers(changes, (*standing, *given)))
    if not missing:
        return
    count = f"{len(missing)} dangerous path{'' if len(missing) == 1 else 's'}"
    raise NotAllowed(
        f"Task {task_id} changes {count} that nobody allowed. Nothing was written.",
        "\n".join(f"{danger.path}: {danger.why}." for danger in missing),
        _ways_out(task_id, missing, given),
        paths=tuple(danger.path for danger in missing),
    )


def naming(missing: Iterable[Danger], given: Iterable[str] = ()) -> str:
    """The options that allow these paths beside the given ones, as a shell takes them; the first few of many."""
    paths = [*given, *(danger.path for danger in missing if not danger.never)]
    named = " ".join(f"--allow {shlex.quote(path)}" for path in paths[:_NAMED])
    return f"{named} --allow ..." if len(paths) > _NAMED else named


def require_patterns(allow: Iterable[str]) -> None:
    """Raises UsageProblem for what `--allow` cannot take."""
    for one in allow:
        try:
            glob_pattern(one)
        except (ValueError, PermissionError) as error:
            raise UsageProblem(f"--allow cannot take '{one}'.", f"{error}.", "Name a path or a glob.") from None


def _ways_out(task_id: str, missing: tuple[Danger, ...], given: tuple[str, ...]) -> tuple[str, ...]:
    look = f"cairn diff {task_id}   shows them."
    if any(danger.never for danger in missing):
        return (look, f"cairn reject {task_id}   drops the task's changes.")
    return (
        look,
        f"cairn accept {task_id} {naming(missing, given)}   accepts them too.",
        "[accept] allow = [...]   in cairn.toml allows paths for good.",
    )


def _danger(path: str, reasons: tuple[str, ...], allow: tuple[str, ...]) -> Danger:
    never = _is_reserved(path)
    return Danger(path, "; ".join(reasons), allowed=not never and is_allowed(path, allow), never=never)


def _reasons(change: Change) -> Iterator[tuple[str, str]]:
    """Pairs of a path and a reason; a folder that comes or goes does nothing by itself."""
    before, after = change.before, change.after
    if not all(side is None or side.kind is EntryKind.DIRECTORY for side in (before, after)):
        for path in change.paths:
            yield from ((path, reason) for reason in _reasons_of_name(path))
    elif any(map(_is_reserved, change.paths)):
        yield change.path, _NEVER
    if after is None:
        return
    if after.kind is EntryKind.SYMLINK and _here(change) != after:
        yield change.path, f"a symlink, to {os.fsdecode(after.data)}"
    if after.kind is EntryKind.FILE:
        if after.executable and not (before is not None and before.executable):
            yield change.path, "becomes executable"
        if after.mode & _SPECIAL_BITS & ~(before.mode if before is not None else 0):
            yield change.path, "runs with its owner's or group's rights (setuid, setgid)"
    yield from ((change.path, reason) for reason in _reasons_of_content(change))


# -- names -------------------------------------------------------------------------------------------------------------

_NEVER = "git's or Cairn's own folder, which no task may change"


def _here(change: Change) -> Content | None:
    """What stood at the new path itself: nothing, where something is moved to it."""
    return change.before if change.renamed_from is None else None


def _is_reserved(path: str) -> bool:
    return any(map(is_reserved, path.split("/")))


def _reasons_of_name(path: str) -> Iterator[str]:
    if _is_reserved(path):
        yield _NEVER
    lower = path.lower()  # disks that fold case would run .ENVRC as well
    for reason, expression in _expressions():
        if expression.fullmatch(lower):
            yield reason


@cache
def _expressions() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple(
        (
            reason,
            re.compile("|".join(glob_pattern(f"**/{one}").expression.pattern for one in patterns.split()), re.DOTALL),
        )
        for reason, patterns in _PATTERNS.items()
    )


# -- contents: files that everybody edits, of which a part runs by itself ----------------------------------------------


def _reasons_of_content(change: Change) -> Iterator[str]:
    name = change.path.rpartition("/")[2].lower()
    if name == "pyproject.toml":
        if _differs(change, _build_system):
            yield f"[build-system]: {_BUILD}"
        if _differs(change, _cairn_table):
            yield f"[tool.cairn]: {_SETTINGS}"
    elif name == "package.json" and _differs(change, _npm_hooks):
        yield f"scripts that npm or git run by themselves: {_BUILD}"


def _differs(change: Change, part: Callable[[bytes], object]) -> bool:
    return _part(_here(change), part) != _part(change.after, part)


def _part(content: Content | None, part: Callable[[bytes], object]) -> object:
    """None where the part is missing. What cannot be read counts as a part of its own: only the same bytes equal it."""
    if content is None or content.kind is not EntryKind.FILE:
        return None
    try:
        return part(content.data) or None
    except (ValueError, RecursionError):
        return content.data


def _toml(data: bytes) -> dict[str, Any]:
    return tomllib.loads(data.decode())


def _build_system(data: bytes) -> object:
    return _toml(data).get("build-system")


def _cairn_table(data: bytes) -> object:
    tool = _toml(data).get("tool")
    return tool.get("cairn") if isinstance(tool, dict) else tool


def _npm_hooks(data: bytes) -> object:
    package = json.loads(data)
    if not isinstance(package, dict):
        return package
    scripts = package.get("scripts")
    known = scripts if isinstance(scripts, dict) else {"scripts": scripts} if scripts else {}
    named = {name: script for name, script in known.items() if name in {*_NPM_SCRIPTS, "scripts"}}
    return named | {name: package[name] for name in _NPM_HOOKS if package.get(name)}

"""What decides whether a program is shown the names in a folder: ignore rules, and what git tracks nevertheless.

Rules are read as git reads them, also where there is no repository: the user's excludes, the repository's, each
folder's `.gitignore`, the deeper one wins. Lines of a `.cairnignore` come after those of the same folder. A file that
git tracks is shown although git's rules ignore it, but not against a `.cairnignore`. A repository below the project has
rules of its own; it is shown when the repository around it tracks it (a submodule), or when there is none around it.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import lru_cache
from pathlib import Path

from cairn.git_repository import Tracked, common_folder, is_repository
from cairn.ignore_rules import IgnoreRules

GIT_RULES, CAIRN_RULES = ".gitignore", ".cairnignore"


class Verdict(Enum):
    """What becomes of a name. ONLY_TRACKED: an ignored folder with something in it that git tracks."""

    SHOWN = auto()
    HIDDEN = auto()
    ONLY_TRACKED = auto()


@dataclass(frozen=True, slots=True)
class Scope:
    """What holds inside one folder. `tracked` is None where no repository is; `only_tracked`: the folder is ignored."""

    rules: tuple[IgnoreRules, ...]
    tracked: Tracked | None = None
    only_tracked: bool = False

    def verdict(self, path: str, *, folder: bool) -> Verdict:
        """On a name in this folder; git's index is read only for one that a rule ignores."""
        encoded = path.encode()
        if not self.only_tracked and not _ignored(self.rules, encoded, folder=folder):
            return Verdict.SHOWN
        if self.tracked is None or _ignored(self._cairns(), encoded, folder=folder):
            return Verdict.HIDDEN
        if self.tracked.has(encoded):
            return Verdict.SHOWN
        return Verdict.ONLY_TRACKED if folder and self.tracked.has_below(encoded) else Verdict.HIDDEN

    def hides_repository(self, root: Path, folder: str, names: frozenset[str]) -> bool:
        """True for a folder of this one that is a repository which the one around it does not track."""
        if ".git" not in names or self.tracked is None or not is_repository(root / folder):
            return False
        encoded = folder.encode()
        return not self.tracked.has(encoded) and not self.tracked.has_below(encoded)

    def entered(self, verdict: Verdict) -> Scope:
        """The same for what is in a folder with this verdict."""
        only = verdict is Verdict.ONLY_TRACKED
        return self if only == self.only_tracked else replace(self, only_tracked=only)

    def inside(self, root: Path, folder: str, names: frozenset[str]) -> Scope:
        """What holds in a folder of this one; `names` are those in it that could change that."""
        scope = self
        if ".git" in names and is_repository(root / folder):
            scope = self._in_repository(root / folder, folder)
        own = _own_rules(root, folder, names)
        return replace(scope, rules=(*scope.rules, *own)) if own else scope

    def _in_repository(self, top: Path, folder: str) -> Scope:
        """Git's rules from outside end here; those of Cairn hold."""
        files = (_users_excludes(), f"{common_folder(top)}/info/exclude")
        found = (_rules_of(file, folder) for file in files if file is not None)
        rules = (*self._cairns(), *(one for one in found if one is not None))
        return Scope(rules, Tracked(top, top, f"{folder}/"))

    def _cairns(self) -> tuple[IgnoreRules, ...]:
        return tuple(one for one in self.rules if not one.by_git)


DECIDING = frozenset({".git", GIT_RULES, CAIRN_RULES})


def scope_of_root(root: Path) -> Scope:
    """The rules for the names in the project's root: the user's, the repository's, folders between it and here."""
    repository = next((place for place in (root, *root.parents) if is_repository(place)), None)
    files: list[tuple[str, str]] = []
    prefix = "" if repository in {None, root} else f"{root.relative_to(str(repository)).as_posix()}/"
    users = _users_excludes()
    if users is not None:
        files.append((users, prefix))
    if repository is not None:
        files.append((f"{common_folder(repository)}/info/exclude", prefix))
        between = [place for place in reversed(root.parents) if place.is_relative_to(repository)]
        files += [(f"{place}/{GIT_RULES}", f"{root.relative_to(place).as_posix()}/") for place in between]
    found = (_rules_of(file, "", before) for file, before in files)
    tracked = None if repository is None else Tracked(repository, root)
    outside = tuple(rules for rules in found if rules is not None)
    return Scope((*outside, *_own_rules(root, ".", DECIDING)), tracked)


def _ignored(rules: tuple[IgnoreRules, ...], path: bytes, *, folder: bool) -> bool:
    for one in reversed(rules):
        verdict = one.verdict(path, folder=folder)
        if verdict is not None:
            return verdict
    return False


# ── rule files ──


def _own_rules(root: Path, folder: str, names: frozenset[str]) -> list[IgnoreRules]:
    place = os.fspath(root) if folder == "." else f"{os.fspath(root)}/{folder}"
    base = "" if folder == "." else folder
    found = (_rules_of(f"{place}/{name}", base) for name in (GIT_RULES, CAIRN_RULES) if name in names)
    return [rules for rules in found if rules is not None]


def _rules_of(file: str, base: str, prefix: str = "") -> IgnoreRules | None:
    stamp = _stamp(file, follow=not file.endswith((GIT_RULES, CAIRN_RULES)))
    rules = None if stamp is None else _compiled(stamp, base, prefix)
    return None if rules is None or rules.is_empty else rules


def _stamp(file: str, *, follow: bool) -> tuple[str, int, int, int] | None:
    """What tells one version of a rule file from the next; None where there is no such regular file.

    A .gitignore that is a symlink does not count, as in git; a person's own files often are links and do.
    """
    try:
        found = Path(file).stat(follow_symlinks=follow)
    except OSError:
        return None
    return (file, found.st_mtime_ns, found.st_size, found.st_ino) if stat.S_ISREG(found.st_mode) else None


@lru_cache(maxsize=4096)
def _compiled(stamp: tuple[str, int, int, int], base: str, prefix: str) -> IgnoreRules:
    try:
        text = Path(stamp[0]).read_bytes()
    except OSError:
        text = b""
    return IgnoreRules(text, base, prefix, by_git=not stamp[0].endswith(f"/{CAIRN_RULES}"))


def _users_excludes() -> str | None:
    """The file git's core.excludesFile names, or its default; read without starting git."""
    home = os.environ.get("HOME", "")
    settings = os.environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    chosen: str | None = f"{settings}/git/ignore" if settings else None
    config = os.environ.get("GIT_CONFIG_GLOBAL")
    for file in [config] if config is not None else [f"{settings}/git/config", f"{home}/.gitconfig"]:
        stamp = _stamp(file, follow=True)
        named = _excludes_file(stamp) if stamp is not None else None
        if named:
            chosen = named.replace("~", home, 1) if named.startswith("~/") else named
    return chosen


@lru_cache(maxsize=16)
def _excludes_file(stamp: tuple[str, int, int, int]) -> str | None:
    section, named = "", None
    for raw in Path(stamp[0]).read_text(encoding="utf-8", errors="replace").splitlines():
        line = raw.strip()
        if line.startswith("["):
            section = line.lower()
        key, equals, value = line.partition("=")
        if section == "[core]" and equals and key.strip().lower() == "excludesfile":
            named = value.strip().strip('"')
    return named

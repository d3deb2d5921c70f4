"""Which of a task's changes make tests and checks say less: tests deleted or skipped, settings of checks edited.

Pure, and by names and words only: it tells a person where to look, and cannot tell whether the change is right.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from cairn.changes import Change, ChangeSet, EntryKind
from cairn.checks import Weakening

_TEST_FILE = re.compile(
    r"(^|/)(test_[^/]*\.py|[^/]*_tests?\.(py|go|rb|exs?|c|cc|cpp|rs)|[^/]*[._-](test|spec)\.[cm]?[jt]sx?|"
    r"[^/]*_spec\.rb|[^/]*Tests?\.(java|kt|cs|swift|scala|php))$"
)
_TEST_FOLDER = re.compile(r"(^|/)(tests?|specs?|__tests__)/")
_CODE = re.compile(r"\.(py|go|rb|exs?|[cm]?[jt]sx?|java|kt|cs|swift|scala|php|rs|c|cc|cpp|sh|bats)$")
_SETTINGS = frozenset(
    {
        "cairn.toml", "conftest.py", "pytest.ini", ".pytest.ini", "tox.ini", "noxfile.py", "setup.cfg", ".coveragerc",
        "Makefile", "justfile", "Justfile", "package.json", "jest.config.js", "jest.config.ts", "vitest.config.ts",
        "vitest.config.js", "karma.conf.js", ".mocharc.json", ".mocharc.yml", "playwright.config.ts", "phpunit.xml",
        "Cargo.toml", "mypy.ini", ".mypy.ini", "ruff.toml", ".ruff.toml", ".flake8", ".eslintrc.json", "build.gradle",
        "build.gradle.kts", "pom.xml", "Rakefile", ".rspec",
    }
)  # fmt: skip
_TABLES = re.compile(r"^\[+\s*(tool\.(cairn|pytest|coverage|mypy|ruff|tox|hatch\.envs)[^\]]*)\]+", re.MULTILINE)
_NAMED_TEST = re.compile(
    r"""^\s*(?:async\s+)?def\s+(test\w*)|^func\s+(Test\w+)|\b(?:it|test)\(\s*["'`]([^"'`]+)|#\[test\]\s*\n\s*fn\s+(\w+)""",
    re.MULTILINE,
)
_ASSERTION = re.compile(
    r"^\s*assert\b|\bself\.assert\w*\(|\bexpect\(|\bassert(?:_eq|_ne)?!\(|\bt\.(?:Error|Fatal)f?\(|\bassert\.\w+\(",
    re.MULTILINE,
)
_SKIP = re.compile(
    r"mark\.(?:skip|xfail)\w*|unittest\.skip\w*|@skip\w*|pytest\.skip\(|\b(?:it|test|describe)\.(?:skip|todo)\b|\bx(?:it|"
    r"describe)\(|\bt\.Skip\w*\(|#\[ignore|\|\|\s*true\b|# (?:pragma: no cover|type: ignore|noqa)|pass_with_no_tests"
)
_NAMES_SHOWN = 3


def weakenings(changes: ChangeSet) -> tuple[Weakening, ...]:
    """Every change that a person should look at before believing a check that passed, sorted by path."""
    made_elsewhere = Counter(name for change in changes for name in _tests(_text(change, after=True)))
    before = Counter(name for change in changes for name in _tests(_text(change, after=False)))
    gone = before - made_elsewhere
    found = [Weakening(change.paths[0], why) for change in changes for why in _reasons(change, gone)]
    return tuple(sorted(found, key=lambda each: (each.path, each.why)))


def is_test(path: str) -> bool:
    """True for a file that tests are in, by its name."""
    return bool(_TEST_FILE.search(path) or (_TEST_FOLDER.search(path) and _CODE.search(path)))


def _reasons(change: Change, gone: Counter[str]) -> Iterator[str]:
    old, new = change.paths[0], change.path
    if change.before is not None and _decides_on_checks(change):
        yield "the settings of a check are changed"
    if not is_test(old) or change.before is None or change.before.kind is EntryKind.DIRECTORY:
        return
    if change.after is None:
        yield "a file of tests is deleted"
        return
    if not is_test(new):
        yield f"a file of tests is moved to {new}, where it may not be run"
    lost = [name for name in dict.fromkeys(_tests(_text(change, after=False))) if gone[name]]
    if lost:
        more = f" and {len(lost) - _NAMES_SHOWN} more" if len(lost) > _NAMES_SHOWN else ""
        yield f"tests are gone: {', '.join(lost[:_NAMES_SHOWN])}{more}"
    before, after = _text(change, after=False), _text(change, after=True)
    fewer = len(_ASSERTION.findall(before)) - len(_ASSERTION.findall(after))
    if fewer > 0 and not lost:
        yield f"{fewer} assertion{'' if fewer == 1 else 's'} fewer"
    skips = len(_SKIP.findall(after)) - len(_SKIP.findall(before))
    if skips > 0:
        yield f"{skips} more mark{'' if skips == 1 else 's'} that skip or excuse something"


def _decides_on_checks(change: Change) -> bool:
    names = {path.rpartition("/")[2] for path in change.paths}
    if names & _SETTINGS:
        return True
    return "pyproject.toml" in names and _tables(change, after=False) != _tables(change, after=True)


def _tables(change: Change, *, after: bool) -> list[str]:
    """The tables of a pyproject.toml that tell tools how to check, as they stand."""
    text = _text(change, after=after)
    parts = re.split(r"^(?=\[)", text, flags=re.MULTILINE)
    return [part.strip() for part in parts if _TABLES.match(part)]


def _tests(text: str) -> list[str]:
    return [next(name for name in found.groups() if name) for found in _NAMED_TEST.finditer(text)]


def _text(change: Change, *, after: bool) -> str:
    side = change.after if after else change.before
    if side is None or side.kind is not EntryKind.FILE or not (is_test(change.path) or _is_settings(change)):
        return ""
    return side.data.decode("utf-8", "replace")


def _is_settings(change: Change) -> bool:
    return is_test(change.paths[0]) or any(path.endswith("pyproject.toml") for path in change.paths)

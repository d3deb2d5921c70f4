"""Which checks `cairn init` proposes: what the project's own files say that it is tested with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TARGETS = ("test", "check", "lint")
_NOTHING_TO_RUN = "no test specified"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A check and the file that speaks for it."""

    name: str
    command: str
    because: str


def proposals(root: Path) -> tuple[Proposal, ...]:
    """At most one check of each name, the likeliest first; nothing is run to find them."""
    found: dict[str, Proposal] = {}
    for each in _candidates(root):
        found.setdefault(each.name, each)
    return tuple(found.values())


def as_toml(found: tuple[Proposal, ...]) -> str:
    """The table of a settings file."""
    lines = [f"{each.name} = {json.dumps(each.command, ensure_ascii=False)}  # from {each.because}" for each in found]
    head = "# Commands that judge each task before you do; docs/checks.md. They run in a sandbox over its files."
    return "\n".join(["", head, "[checks]", *lines]) + "\n"


def _candidates(root: Path) -> Iterator[Proposal]:
    yield from _python(root)
    yield from _node(root)
    for file, name, command in (
        ("Cargo.toml", "tests", "cargo test --offline"),
        ("go.mod", "tests", "go test ./..."),
        ("mix.exs", "tests", "mix test"),
        ("pom.xml", "tests", "mvn -o -q test"),
        ("gradlew", "tests", "./gradlew --offline test"),
        ("Rakefile", "tests", "rake test"),
        (".rspec", "tests", "rspec"),
    ):
        if (root / file).is_file():
            yield Proposal(name, command, file)
    yield from _targets(root)


def _python(root: Path) -> Iterator[Proposal]:
    project = _text(root / "pyproject.toml")
    setup = _text(root / "setup.cfg")
    for file, said in (
        ("pytest.ini", "[pytest]" in _text(root / "pytest.ini")),
        ("pyproject.toml", "[tool.pytest" in project or re.search(r"""["']pytest\b""", project) is not None),
        ("setup.cfg", "[tool:pytest]" in setup),
    ):
        if said:
            yield Proposal("tests", "pytest -q", file)
    if (root / "tox.ini").is_file():
        yield Proposal("tests", "tox -q", "tox.ini")
    if (root / "noxfile.py").is_file():
        yield Proposal("tests", "nox", "noxfile.py")
    for folder in ("tests", "test"):
        if any((root / folder).glob("test_*.py")):
            yield Proposal("tests", "pytest -q", f"{folder}/")
    if "[tool.ruff" in project or (root / "ruff.toml").is_file():
        yield Proposal("lint", "ruff check .", "pyproject.toml" if "[tool.ruff" in project else "ruff.toml")
    if "[tool.mypy" in project or (root / "mypy.ini").is_file():
        yield Proposal("types", "mypy", "pyproject.toml" if "[tool.mypy" in project else "mypy.ini")


def _node(root: Path) -> Iterator[Proposal]:
    told: object = None
    with suppress(ValueError):
        told = json.loads(_text(root / "package.json") or "{}")
    scripts = told.get("scripts") if isinstance(told, dict) else None
    if not isinstance(scripts, dict):
        return
    for name, check in (("test", "tests"), ("lint", "lint"), ("typecheck", "types")):
        if isinstance(scripts.get(name), str) and _NOTHING_TO_RUN not in scripts[name]:
            yield Proposal(check, f"npm run --silent {name}", "package.json")


def _targets(root: Path) -> Iterator[Proposal]:
    for file, tool in (("Makefile", "make"), ("justfile", "just"), ("Justfile", "just")):
        text = _text(root / file)
        for target in _TARGETS:
            if re.search(rf"^{target}\b[^\n=]*:(?!=)", text, re.MULTILINE):
                yield Proposal({"test": "tests"}.get(target, target), f"{tool} {target}", file)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

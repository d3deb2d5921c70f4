"""What must hold of Python files that a program changed: they parse, they import, and only what was meant differs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path


def sources(root: Path) -> dict[str, bytes]:
    """Every file below a folder by its path."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def changed(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def tree_without_docstrings(source: bytes) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def tree_without_top_imports(source: bytes) -> str:
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    return ast.dump(tree)


def imported(root: Path, statement: str) -> str:
    """What the statement prints, run by a fresh interpreter that finds packages in `root` first."""
    done = subprocess.run(
        [sys.executable, "-c", statement],
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


CLICK_WORKS = (
    "import click, click.testing as t\n"
    "@click.command()\n"
    "@click.option('--name', default='you', help='Whom to greet.')\n"
    "def hello(name): click.echo('hello ' + name)\n"
    "print(click.__file__.startswith({root!r}), t.CliRunner().invoke(hello, ['--name', 'Ann']).output.strip())"
)


def click_works(root: Path) -> bool:
    """True when the copy of click below `root`, and not the installed one, runs a command."""
    return imported(root, CLICK_WORKS.replace("{root!r}", repr(str(root)))) == "True hello Ann"

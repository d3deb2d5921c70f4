"""The main job on a real package: a task, a diff that git applies, an accept, an undo that restores every byte."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cairn.testing import ModelServer, Streamed
from tests.conftest import tree

TYPES_PROGRAM = """
changed = []
for path in search_files("click/**/*.py"):
    text = read_file(path)
    if "make_str" in text:
        write_file(path, text.replace("make_str", "to_text"))
        changed.append(path)
left = search_content("make_str")
print(len(changed), "changed", left)
if not left:
    submit_result("Renamed make_str to to_text.", changed)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A git repository that holds a copy of click as it is installed here."""
    root = tmp_path / "work"
    shutil.copytree(Path(click.__file__).parent, root / "click", ignore=shutil.ignore_patterns("__pycache__"))
    (root / ".gitignore").write_text("__pycache__/\n")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "click"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    monkeypatch.chdir(root)
    return root


def test_a_model_over_the_llm_library_does_a_task_that_is_reviewed_accepted_and_undone(package, cairn, tmp_path):
    before = tree(package)
    prose = "I will rename it in one go.\n"
    with ModelServer(Streamed(f"{prose}```python\n{TYPES_PROGRAM}```\n")) as server:
        ran = cairn(
            "run", "rename make_str to to_text everywhere", "-m", "served", env=server.settings(tmp_path / "llm")
        )
    assert ran.code == 0, ran.err
    assert tree(package) == before, "nothing changes before accept"

    patch = subprocess.run([sys.executable, "-P", "-m", "cairn", "diff"], capture_output=True, check=True).stdout
    subprocess.run(["git", "apply", "--check", "-"], input=patch, check=True)
    assert cairn("diff", "--name-only").out == "click/core.py\nclick/utils.py\n"

    assert cairn("accept").code == 0
    after = tree(package)
    assert {path for path in after if after[path] != before[path]} == {"click/core.py", "click/utils.py"}
    subprocess.run(["git", "apply", "--check", "--reverse", "-"], input=patch, check=True)
    _require_import(package)

    assert cairn("undo").code == 0
    assert tree(package) == before


@pytest.mark.parametrize("request_", ["add docstrings", "remove unused imports", "collect all TODOs into TODO.md"])
def test_with_no_key_a_recipe_does_it_and_says_that_no_model_planned_it(package, cairn, request_):
    before = tree(package)

    ran = cairn("run", request_)

    assert ran.code == 0, ran.err
    assert "(no model planned this)" in ran.out
    assert cairn("accept").code == 0 or "nothing to change" in ran.out
    _require_same_code(package, before, imports_may_go=request_ == "remove unused imports")
    _require_import(package)
    if "nothing to change" not in ran.out:
        assert cairn("undo").code == 0
    assert tree(package) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["add_docstrings", "add_type_hints", "fix_todos"])
def test_each_example_program_runs_on_a_real_package(package, cairn, name, tmp_path):
    example = Path(__file__).parents[2] / "examples" / f"{name}.py"
    (package / "click/late.py").write_text("# TODO: go on\ndef late(one):\n    print(one)\n")
    before = tree(package)

    with ModelServer(*[Streamed("Do what it says.")] * 400) as server:
        env = server.settings(tmp_path / "llm")
        ran = cairn("run", "--code", str(example), "--text-model", "served", "--accept", "--json", env=env)

    assert ran.code == 0, ran.err
    review = json.loads(ran.out)
    assert review["task"]["status"] == "accepted"
    assert review["claims"]["agree"]
    assert review["changes"]
    _require_import(package)
    assert cairn("undo").code == 0
    assert tree(package) == before


@pytest.mark.slow
def test_the_local_model_writes_drafts_that_are_marked(package, cairn, monkeypatch, tmp_path_factory):
    pytest.importorskip("xllamacpp", reason="the local model's runtime comes with cairn[local]")
    shared = Path(tmp_path_factory.getbasetemp()).parent / "cairn-weights"
    monkeypatch.setenv("CAIRN_CACHE", str(shared))
    assert cairn("local", "install").code == 0
    before = tree(package)

    ran = cairn("run", "add docstrings in click/_winconsole.py")

    assert ran.code == 0, ran.err
    assert "draft" in ran.out
    assert cairn("accept").code == 0
    assert tree(package) != before
    _require_same_code(package, before)
    _require_import(package)
    assert cairn("undo").code == 0
    assert tree(package) == before


def _require_import(root: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", "import click, click.testing; print(click.__file__)"],
        env={"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.strip() == str(root / "click/__init__.py")


def _require_same_code(root: Path, before: dict[str, tuple[int, bytes]], *, imports_may_go: bool = False) -> None:
    """Every Python file still parses, and apart from docstrings (and imports) is the same program."""
    for path, (_mode, data) in before.items():
        if path.endswith(".py"):
            now = ast.parse((root / path).read_bytes())
            assert ast.dump(_bare(now, imports_may_go)) == ast.dump(_bare(ast.parse(data), imports_may_go)), path


def _bare(module: ast.AST, without_imports: bool) -> ast.AST:
    for node in ast.walk(module):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        if body and isinstance(body[0], ast.Expr) and isinstance(getattr(body[0].value, "value", None), str):
            body.pop(0)
        if without_imports:
            body[:] = [child for child in body if not isinstance(child, ast.Import | ast.ImportFrom)]
    return module

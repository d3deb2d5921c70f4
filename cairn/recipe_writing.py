"""A recipe made of what a task did: its programs behind a header that a person completes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cairn.errors import UsageProblem
from cairn.program import CodeFailed, Finished, Step
from cairn.recipe_source import read_recipe

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_PARAMETERS = re.compile(r"\APARAMETERS[^\n=]*= (\{[^\n]*\})\n")
_HEADER = re.compile(r"\A(?:PARAMETERS[^\n]*\n+)?(?:# /// cairn-recipe\n(?:#[^\n]*\n)+?# ///\n)?")


def recipe_text(name: str, request: str, steps: Sequence[Step]) -> str:
    """The recipe's file. Raises UsageProblem for a name that cannot be one, and for a task that submitted nothing."""
    if not _NAME.fullmatch(name):
        raise UsageProblem(f"{name!r} cannot be a recipe's name.", "Small letters, digits and _ make one.", "rename_it")
    if not steps or not isinstance(steps[-1].result, Finished) or steps[-1].result.submission is None:
        raise UsageProblem("Only what a task submitted can become a recipe.", "Its last program did not submit.")
    programs = [step for step in steps if isinstance(step.result, Finished | CodeFailed)]
    failed = [step.number for step in programs if isinstance(step.result, CodeFailed)]
    kept = [step for step in programs if isinstance(step.result, Finished)]
    body = "\n\n".join(_section(step, several=len(kept) > 1) for step in kept)
    left_out = f"# Left out, because they failed: step {', '.join(map(str, failed))}.\n" if failed else ""
    text = f"{_header(name, request, _parameters(kept))}\n{left_out}{body}\n"
    read_recipe(text, f"{name}.py")
    return text


def _section(step: Step, *, several: bool) -> str:
    text = _HEADER.sub("", step.program.text).strip()
    return f"# Step {step.number}\n{text}" if several else text


def _parameters(steps: Sequence[Step]) -> Mapping[str, str]:
    """What the recipe that the task ran was given: its program still looks for it."""
    import ast

    found = _PARAMETERS.match(steps[0].program.text)
    return ast.literal_eval(found[1]) if found else {}


def _header(name: str, request: str, parameters: Mapping[str, str]) -> str:
    sentence = " ".join(request.split())
    description = (sentence[:1].upper() + sentence[1:]).rstrip(".") + "."
    lines = [
        f"name = {_toml(name)}",
        f"description = {_toml(description[:200])}",
        f"examples = [{_toml(sentence[:200])}]",
        "# Sentences that lead here by themselves, as regular expressions that fit them whole:",
        f"patterns = [{_toml(_pattern(sentence))}]",
    ]
    for each, value in parameters.items():
        lines += ["[[parameters]]", f"name = {_toml(each)}"]
        lines += [f"description = {_toml(f'{each}, as the program uses it')}", f"default = {_toml(value)}"]
    if not parameters:
        lines += [
            '# A value that may differ from run to run; the program finds it in PARAMETERS["path"]:',
            "# [[parameters]]",
            '# name = "path"',
            '# description = "the file or folder to work in"',
            '# kind = "path"',
            '# default = "."',
        ]
    return "\n".join(["# /// cairn-recipe", *(f"# {line}" for line in lines), "# ///"])


def _pattern(sentence: str) -> str:
    """Fits just this sentence; blanks stay single spaces, which fit any run of them."""
    return re.escape(sentence[:200].rstrip(".! ")).replace("\\ ", " ").replace("@", "\\x40")


def _toml(text: str) -> str:
    """A basic string of TOML 1.0: JSON's form has the same escapes for what can stand in one line."""
    import json

    return json.dumps(text)


def write_recipe(folder: Path, name: str, text: str) -> Path:
    """The new file. Raises UsageProblem when there is one already."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.py"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageProblem(f"{path} exists already; it was left as it is.", fix="Choose another name.") from None
    return path

"""The table of modules in docs/architecture.md: the layers of pyproject.toml, each module with its docstring's first sentence.

`python -m tests.docs.module_table` writes it anew.
"""

from __future__ import annotations

import ast
import re
import tomllib

from tests.docs.generated_blocks import DOCS, ROOT, rewrite

PAGE = DOCS / "architecture.md"


def layers() -> list[list[str]]:
    """The modules of each layer, the highest layer first, as import-linter enforces them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = [each for each in settings["tool"]["importlinter"]["contracts"] if each["type"] == "layers"]
    return [re.split(r" *[|:] *", layer) for layer in contract["layers"]]


def purpose(module: str) -> str:
    """The first sentence of a module's docstring."""
    folder = ROOT / "cairn" / module
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    sentence = re.split(r"(?<=\.)\s", " ".join(text.partition("\n\n")[0].split()), maxsplit=1)[0]
    return sentence.replace("|", "\\|")


def table() -> str:
    """One row for each module; the number is its layer's, counted from the top."""
    rows = ["| layer | module | what it is about |", "|---|---|---|"]
    for number, modules in enumerate(layers(), 1):
        rows += [f"| {number} | `{module}` | {purpose(module)} |" for module in modules]
    return "\n".join(rows)


if __name__ == "__main__":
    rewrite(PAGE, {"modules": table()})

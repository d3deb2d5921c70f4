"""The parts of docs/programs.md that come from the code: functions, modules, limits.

`python -m tests.docs.function_reference` writes them anew.
"""

from __future__ import annotations

import textwrap

from cairn.external_functions import function_reference
from cairn.program_hints import MODULES
from cairn.settings import LimitSettings, default_of, described
from tests.docs.generated_blocks import DOCS, rewrite

PAGE = DOCS / "programs.md"


def parts() -> dict[str, str]:
    """Each part's name and text."""
    return {"functions": _functions(), "modules": _modules(), "limits": _limits()}


def _functions() -> str:
    lines = function_reference(("tests", "lint")).replace("  The checks here: tests, lint.\n", "").strip().splitlines()
    wrapped = (line if not line.startswith(" ") else _wrapped(line) for line in lines)
    return "\n".join(["```text", *wrapped, "```"])


def _wrapped(text: str) -> str:
    return textwrap.fill(
        text.strip(),
        116,
        initial_indent="    ",
        subsequent_indent="    ",
        break_on_hyphens=False,
        break_long_words=False,
    )


def _modules() -> str:
    return ", ".join(f"`{name}`" for name in sorted(MODULES - {"__future__"})) + "."


def _limits() -> str:
    rows = ["| limit | default | what it bounds |", "|---|---|---|"]
    for name, field in described(LimitSettings).items():
        rows.append(f"| `{name}` | {_figure(default_of(field))} | {field.metadata['description']} |")
    return "\n".join(rows)


def _figure(number: object) -> str:
    if not isinstance(number, int | float):
        return "none"
    return f"{number:,}" if isinstance(number, int) else f"{number:,g}"


if __name__ == "__main__":
    rewrite(PAGE, parts())

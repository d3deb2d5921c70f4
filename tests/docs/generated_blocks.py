"""Parts of a page that are made from the code: between two marker comments, compared by tests, rewritten by hand.

A part stands between `<!-- generated: NAME -->` and `<!-- end: NAME -->`; everything around it is written by people.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def rewritten(page: str, parts: Mapping[str, str]) -> str:
    """The page with each part put in anew. Raises ValueError unless the page has exactly these parts."""
    there = re.findall(r"<!-- generated: (\w+) -->", page)
    if sorted(there) != sorted(parts):
        raise ValueError(f"the page has the parts {sorted(there)}, and made were {sorted(parts)}")
    for name, text in parts.items():
        begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
        before, _, rest = page.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"the part {name} has no end")
        page = f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}"
    return page


def rewrite(path: Path, parts: Mapping[str, str]) -> None:
    """Puts the parts into the file, and says so."""
    path.write_text(rewritten(path.read_text(encoding="utf-8"), parts), encoding="utf-8")
    print(f"wrote {path.relative_to(ROOT)}")

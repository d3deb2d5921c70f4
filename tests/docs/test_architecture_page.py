"""docs/architecture.md: its modules are those of the layers that import-linter enforces, its names are in the code."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter

from tests.docs.generated_blocks import DOCS, ROOT, rewritten
from tests.docs.module_table import PAGE, layers, table

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_table_of_modules_is_that_of_the_layers():
    """`python -m tests.docs.module_table` writes it anew."""
    assert rewritten(TEXT, {"modules": table()}) == TEXT


def test_every_module_has_one_row_and_a_purpose():
    files = {path.stem for path in (ROOT / "cairn").glob("*.py")} - {"__init__", "__main__"}
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (\S.*) \|$", TEXT, re.MULTILINE)

    assert Counter(module for _, module, _ in rows) == Counter({*files, "commands", "engines"})
    assert [(int(number), module) for number, module, _ in rows] == [
        (number, module) for number, layer in enumerate(layers(), 1) for module in layer
    ]


def test_what_the_page_names_is_in_the_code():
    """Files and classes, methods included, of the pages about how Cairn is made."""
    code = [*(ROOT / "cairn").rglob("*.py")]
    everything = "\n".join(path.read_text(encoding="utf-8") for path in code)
    for page in (PAGE, *sorted((DOCS / "design").glob("*.md"))):
        named = set(re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8")))
        files = {name.rpartition("/")[2] for name in named if re.fullmatch(r"(commands/)?\w+\.py", name)}
        members = {name for name in named if re.fullmatch(r"[A-Z][a-z]\w+(\.\w+)?", name)}

        assert files - {path.name for path in code} == set()
        assert [name for name in sorted(members) if not _is_in(name, everything)] == []


def _is_in(name, code):
    owner, _, member = name.partition(".")
    found = re.search(rf"^(?:class {owner}\b|{owner} = )(.*?)(?=^\S|\Z)", code, re.MULTILINE | re.DOTALL)
    return found is not None and (not member or bool(re.search(rf"\b(def )?{member}\b", found[1])))


def test_the_picture_is_whole_and_says_in_words_what_it_shows():
    root = ET.parse(DOCS / "images/architecture.svg").getroot()  # noqa: S314 - our own file
    words = " ".join(root.itertext())

    assert root.attrib["viewBox"] == "0 0 1000 570"
    assert [
        word
        for word in ("request", "task", "code source", "check", "sandbox", "overlay", "journal", "review")
        if word not in words
    ] == []

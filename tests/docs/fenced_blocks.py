"""The fenced blocks of a Markdown page, each with what stands before it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^(?P<fence>```+)(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One block: its language, its title if it has one, the heading above it, and the line it opens in."""

    language: str
    title: str
    heading: str
    text: str
    line: int


def blocks(path: Path) -> Iterator[Block]:
    """Every block of a page, in order."""
    page = path.read_text(encoding="utf-8")
    for found in _FENCE.finditer(page):
        before = page[: found.start()]
        info = found["info"].strip()
        title = re.search(r'title="([^"]*)"', info)
        headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", before), re.MULTILINE)
        yield Block(
            language=info.partition(" ")[0],
            title=title[1] if title else "",
            heading=headings[-1] if headings else "",
            text=found["text"],
            line=before.count("\n") + 1,
        )

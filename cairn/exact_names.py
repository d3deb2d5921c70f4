"""Names on a disk that takes one name for another of other case, as macOS does unless it is told not to.

There `README.md` is found also as `Readme.md`. Cairn tells the two apart everywhere, or a rename that only changes the
case would look like a file that is there already.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from unicodedata import normalize


@lru_cache(maxsize=64)
def ignores_case(folder: Path) -> bool:
    """True when the disk that a folder is on ignores case: a name in it is found by a spelling that is not listed."""
    try:
        swapped = (each.name.swapcase() for each in folder.iterdir() if each.name.swapcase() != each.name)
        other = next(swapped, None)
        # Numbers of inodes would say nothing: some file systems have one for each spelling.
        return other is not None and os.path.lexists(folder / other) and folder / other not in folder.iterdir()
    except OSError:
        return False


def listed_as(folder: int | str, name: str) -> str | None:
    """The spelling in which a folder has a name, whatever its case; None where it has none of that name.

    Letters composed in another way are the same name: some disks compose them anew.
    """
    wanted = normalize("NFC", name)
    names = {normalize("NFC", each): each for each in os.listdir(folder)}  # noqa: PTH208 - it may be a descriptor
    if wanted in names:
        return name
    folded = wanted.casefold()
    return next((each for composed, each in names.items() if composed.casefold() == folded), None)


def is_spelled_so(root: Path, path: str) -> bool:
    """True when every name of a path is listed in that very spelling; looked at only where the disk ignores case."""
    if path == "." or not ignores_case(root):
        return True
    folder = str(root)
    for name in path.split("/"):
        try:
            if listed_as(folder, name) != name:
                return False
        except OSError:
            return False
        folder = f"{folder}/{name}"
    return True

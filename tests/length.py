"""How far slow tests search: enough for the gate, or, with CAIRN_TESTS_LONG=1, for hours when nobody waits."""

from __future__ import annotations

import os

LONG = os.environ.get("CAIRN_TESTS_LONG", "") not in {"", "0"}


def examples(short: int, long: int) -> int:
    """The number for this run."""
    return long if LONG else short

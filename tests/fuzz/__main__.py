"""Fuzzes the boundary, led by the coverage of Cairn's own code, until it is stopped or finds something.

    pip install -e '.[dev,fuzz]'
    python -m tests.fuzz [FOLDER FOR INPUTS] [-max_total_time=600] [-runs=N]

What it finds is written to a file `crash-...`, which `python -m tests.fuzz FILE` runs again.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["cairn"]):
    from tests.fuzz.targets import LIMITS, one_input
    from tests.hostile import attacks


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, attacks.room(Path(folder), LIMITS) as room:
        atheris.Setup(sys.argv, lambda data: one_input(room, data))
        atheris.Fuzz()


if __name__ == "__main__":
    main()

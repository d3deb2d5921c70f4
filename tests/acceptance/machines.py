"""Machines of a team, as far as one computer can show them: a folder, a home and a cache each; killed as if unplugged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Machine:
    """A folder in which somebody types `cairn`, with a home and a cache of its own."""

    folder: Path
    home: Path
    env: dict[str, str]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "cairn", *arguments], cwd=self.folder, env={**os.environ, **self.env},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def cairn(self, *arguments: str, stdin: str = "", code: int = 0) -> str:
        process = self.start(*arguments)
        out, err = process.communicate(stdin, timeout=60)
        assert process.returncode == code, out + err
        assert "Traceback" not in err
        return out + err

    def json(self, *arguments: str, stdin: str = "") -> dict:
        process = self.start(*arguments, "--json")
        out, err = process.communicate(stdin, timeout=60)
        assert process.returncode == 0, out + err
        return json.loads(out)

    def processes(self) -> list[int]:
        """All that run in its folder, whoever started them."""
        found = []
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                try:
                    here = (process / "cwd").resolve(strict=True)
                except OSError:
                    continue
                if here == self.folder:
                    found.append(int(process.name))
        return found

    def unplug(self) -> None:
        """Every process of it is killed at once."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def wait_for(condition: Callable[[], object], seconds: float = 40.0) -> None:
    """Until it is true; fails when it does not become so."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.02)

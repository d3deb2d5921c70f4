"""The `cairn` command in the test's own process: as many screens in a tenth of the time."""

from __future__ import annotations

import io
import json
import sys

from cairn.cli import run
from tests.conftest import CairnCommand, Screen


class Here(CairnCommand):
    """Like the fixture `cairn`, of which it is a double; what needs a process of its own needs that one."""

    def __init__(self, capfd, monkeypatch):
        super().__init__()
        self._capfd = capfd
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments, stdin="", cwd=None, env=None):
        code, out, err = self.plain(*arguments, stdin=stdin, cwd=cwd, env=env)
        return Screen(code, self._same(out), self._same(err))

    def plain(self, *arguments, stdin="", cwd=None, env=None) -> tuple[int, str, str]:
        """The exit code and what was written, ids and times as they are."""
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            if cwd is not None:
                patch.chdir(cwd)
            code = run(list(arguments))
        out, err = self._capfd.readouterr()
        return code, out, err

    def json(self, *arguments, stdin="", env=None):
        """What a command says with --json, ids as they are."""
        return json.loads(self.plain(*arguments, "--json", stdin=stdin, env=env)[1])

"""The nouns of the tests: a home that is nobody's, a project, and the `cairn` command as a screen."""

from __future__ import annotations

import compileall
import gc
import itertools
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command_server import COMMANDS, CommandServer

_schemas = itertools.count(1)
_DURATION = re.compile(r"\d[\d,]*\.\d+ (ms|s)\b")
_AGE = re.compile(r"\b\d+ s\b")
_CLOCK = re.compile(r"\b\d\d:\d\d:\d\d\b")
_DATE = re.compile(r"\b\d{4}-\d\d-\d\d\b")
_ID = re.compile(r"\b[bcdfghjklmnpqrstvwxz]{6}\b")
_NO_PYTHON_OF_ITS_OWN = re.compile(r"/(recipes|shims)/")

# Whatever PYTHONDONTWRITEBYTECODE says: rewriting the assertions of all tests takes 10 s of each process of the run.
sys.dont_write_bytecode = False


def pytest_sessionstart(session) -> None:
    """Cairn is compiled once, and not in each of the many processes that the tests start."""
    if not hasattr(session.config, "workerinput"):
        compileall.compile_dir(Path(__file__).parents[1] / "cairn", quiet=2, rx=_NO_PYTHON_OF_ITS_OWN)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What is imported and collected stays: no search for garbage goes through it, then or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_configure() -> None:
    """Processes that tests start heed signals, though the run may be in the background, where they are ignored."""
    for ending, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(ending) is signal.SIG_IGN:
            signal.signal(ending, handler)


class Homes:
    """A home for each test: that of the test before, as long as nobody has written there."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._home = folders.mktemp("home")
        self._as_made = _furnish(self._home)

    def untouched(self) -> Path:
        if _seen(self._home) != self._as_made:
            self._home = self._folders.mktemp("home")
            self._as_made = _furnish(self._home)
        return self._home


def _furnish(home: Path) -> tuple[int, ...]:
    (home / "gitconfig").write_text(
        "[user]\n name = Tester\n email = tester@example.org\n[init]\n defaultBranch = main\n"
    )
    return _seen(home)


def _seen(home: Path) -> tuple[int, ...]:
    """Differs once a name came or went, or the file was written."""
    try:
        folder, file = home.stat(), (home / "gitconfig").stat()
    except OSError:
        return ()
    return folder.st_mtime_ns, folder.st_ctime_ns, file.st_ctime_ns, file.st_size


@pytest.fixture(scope="session")
def homes(tmp_path_factory):
    """The homes of this test process."""
    return Homes(tmp_path_factory)


@pytest.fixture(autouse=True)
def nobodys_home(homes, monkeypatch):
    """No test sees the developer's keys, plug-ins, settings or caches, or writes there."""
    home = homes.untouched()
    for name in [*os.environ]:
        if name.startswith(("CAIRN_", "LLM_", "GIT_", "XDG_")) or name.endswith(("_API_KEY", "_KEY")):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("LLM_USER_PATH", str(home / "llm"))
    monkeypatch.setenv("LLM_LOAD_PLUGINS", "")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / "gitconfig"))
    monkeypatch.setenv("NO_COLOR", "1")
    return home


@pytest.fixture(scope="session")
def postgres():
    """A real Postgres server of this test process, started by the first test that wants one."""
    from tests.postgres_server import PostgresServer

    server = PostgresServer()
    yield server
    server.remove()


@pytest.fixture
def database_url(postgres):
    """An empty Postgres database for one test."""
    url = postgres.new_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture(scope="session")
def shared_database_url(postgres):
    """A Postgres database for tests that have a schema of their own in it."""
    return postgres.new_database()


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_place(request, tmp_path):
    """Where a test's ledger is: in a file, and then on a server."""
    from cairn.ledger_place import LedgerFile, LedgerServer

    if request.param == "sqlite":
        return LedgerFile(tmp_path / "cairn.db")
    return LedgerServer(request.getfixturevalue("shared_database_url"), f"test-{next(_schemas)}")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small project that is no repository, and the folder the test stands in."""
    root = tmp_path / "project"
    (root / "src").mkdir(parents=True)
    (root / "README.md").write_text("# Sample\n\nTODO: say more.\n")
    (root / "src/app.py").write_text('def greet(name):\n    return "hello " + name\n')
    (root / "src/tool.py").write_text("# TODO: speed\ndef run():\n    return 1\n")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def repository(project):
    """The same project as a git repository with one commit."""
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", *command], cwd=project, check=True)
    return project


@dataclass(frozen=True)
class Screen:
    """What a person saw: exit code and both streams, with ids and times made equal from run to run."""

    code: int
    out: str
    err: str


class CairnCommand:
    """Runs `cairn` in a process of its own and gives the screen; `ids` are the tasks in order of appearance."""

    def __init__(self, commands: CommandServer = COMMANDS) -> None:
        self._commands = commands
        self.ids: list[str] = []

    def __call__(self, *arguments: str, stdin: str = "", cwd: Path | None = None, env: dict[str, str] | None = None):
        done = self._commands.run(arguments, stdin=stdin, cwd=cwd, env={**os.environ, **(env or {})})
        return Screen(done.returncode, self._same(done.stdout), self._same(done.stderr))

    def _same(self, text: str) -> str:
        text = _DATE.sub("DATE", _CLOCK.sub("CLOCK", _AGE.sub("N s", _DURATION.sub(r"N \1", text))))
        return _ID.sub(self._name, text)

    def _name(self, found: re.Match[str]) -> str:
        if found[0] not in self.ids:
            self.ids.append(found[0])
        return f"TASK{self.ids.index(found[0]) + 1}"


@pytest.fixture(scope="session", autouse=True)
def commands():
    """Where the commands of this test process come from."""
    yield COMMANDS
    COMMANDS.close()


@pytest.fixture
def cairn(commands):
    """The command, as a person types it."""
    return CairnCommand(commands)


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder with its mode and bytes, Cairn's own folder left out."""
    return {
        str(path.relative_to(root)): (path.stat().st_mode & 0o7777, path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".cairn" not in path.parts and ".git" not in path.parts
    }

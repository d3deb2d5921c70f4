"""A task that asks, with real processes: on a terminal, killed while it waits, answered by another process later."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cairn.testing import ModelServer, Streamed

pytestmark = pytest.mark.slow  # seconds each: several processes

LOOK = "```python\nfound = [read_file(path) for path in search_files('src/*.py')]\nnote = ask_llm('sum it up')\n```"
WRITE = """```python
write_file("NOTES.md", note + "\\n")
try:
    write_file("README.md", note + "\\n")
except PermissionError as error:
    log(str(error))
move_file("src/tool.py", "src/tools.py")
submit_result("Noted.", ["NOTES.md", "README.md", "src/tool.py", "src/tools.py"])
```"""
REPLIES = (Streamed(LOOK), Streamed("A summary."), Streamed(WRITE))
CALLS = ["search_files", "read_file", "read_file", "ask_llm", "write_file", "write_file", "move_file", "submit_result"]


class Terminal:
    """`cairn` on a terminal of its own, in a process group of its own."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None) -> None:
        here, there = pty.openpty()
        self.shown = b""
        self._fd = here
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cairn", *arguments],
            stdin=there, stdout=there, stderr=there, env={**os.environ, "TERM": "dumb", **(env or {})},
            start_new_session=True,
        )  # fmt: skip
        os.close(there)

    def until(self, words: str) -> str:
        """What was shown up to these words; they are forgotten."""
        deadline = time.monotonic() + 30
        while words.encode() not in self.shown:
            ready, _, _ = select.select([self._fd], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"never said {words!r}: {self.shown.decode(errors='replace')}"
            self.shown += os.read(self._fd, 4096)
        before, _, self.shown = self.shown.partition(words.encode())
        return before.decode(errors="replace")

    def type(self, line: str) -> None:
        os.write(self._fd, line.encode() + b"\n")

    def end(self) -> int:
        """Its exit code; nobody reads on."""
        with contextlib.suppress(OSError):
            while select.select([self._fd], [], [], 30)[0] and (data := os.read(self._fd, 4096)):
                self.shown += data
        code = self.process.wait(timeout=30)
        os.close(self._fd)
        return code


@pytest.fixture
def asks(project):
    (project / "cairn.toml").write_text('[policy]\nask = ["write(README.md)", "move_file"]\n')
    return project


def told(*arguments: str, cwd: Path | None = None) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "cairn", *arguments, "--json"], capture_output=True, text=True, cwd=cwd, check=False
    )
    return json.loads(done.stdout)


def calls(task_id: str, cwd: Path | None = None) -> list[str]:
    return [call["name"] for call in told("log", task_id, cwd=cwd)["calls"]]


def test_killed_while_a_person_reads_the_question_and_answered_by_other_processes(asks, tmp_path, cairn):
    with ModelServer(*REPLIES) as server:
        settings = server.settings(tmp_path / "llm")
        terminal = Terminal("run", "take notes", "-m", "served", env=settings)
        shown = terminal.until("May it?")
        os.killpg(terminal.process.pid, signal.SIGKILL)
        terminal.end()
        waiting = told("list")["tasks"][0]

        second = cairn("answer", str(waiting["id"]), "--no", "--because", "it is fine", env=settings)
        third = cairn("answer", "--yes", env=settings)

    assert "It asks: may it call write_file at README.md?" in shown
    assert (waiting["status"], second.code, third.code) == ("waiting", 0, 0)
    assert "It asks: may it call move_file at src/tool.py" in second.out
    assert "refused it, because: it is fine" in second.err
    assert len(server.requests) == 3
    assert calls(str(waiting["id"])) == [*CALLS[:6], "log", *CALLS[6:]]
    assert told("list")["tasks"][0]["status"] == "in review"
    assert cairn("diff", "--name-only").out == "NOTES.md\nsrc/tools.py\n"


def test_asked_and_answered_on_the_terminal_in_one_run(asks, tmp_path):
    with ModelServer(*REPLIES) as server:
        terminal = Terminal("run", "take notes", "-m", "served", "--accept", env=server.settings(tmp_path / "llm"))
        terminal.until("May it?")
        terminal.type("n")
        terminal.until("Why?")
        terminal.type("it is fine as it is")
        terminal.until("May it?")
        terminal.type("s")
        assert 'move_file("src/tool.py", "src/tools.py")' in terminal.until("May it?")
        terminal.type("y")
        code = terminal.end()

    assert (code, len(server.requests)) == (0, 3)
    (task,) = told("list")["tasks"]
    assert calls(str(task["id"])) == [*CALLS[:6], "log", *CALLS[6:]]
    assert (asks / "src/tools.py").exists()
    assert "Sample" in (asks / "README.md").read_text()


def test_left_on_the_terminal_a_task_waits_and_ends_with_0(asks, tmp_path, cairn):
    with ModelServer(*REPLIES) as server:
        terminal = Terminal("run", "take notes", "-m", "served", env=server.settings(tmp_path / "llm"))
        terminal.until("May it?")
        terminal.process.send_signal(signal.SIGINT)
        code = terminal.end()

    assert code == 0
    assert b"cairn answer " in terminal.shown
    assert told("list")["tasks"][0]["status"] == "waiting"
    nobody = cairn("answer")
    assert (nobody.code, "Nobody can be asked here" in nobody.err) == (2, True)


def test_answered_on_another_machine_after_an_export(asks, tmp_path, cairn):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run(["git", "init", "-q", str(elsewhere)], check=True)
    with ModelServer(*REPLIES) as server:
        settings = server.settings(tmp_path / "llm")
        first = cairn("run", "take notes", "-m", "served", env=settings)
        cairn("export", cairn.ids[0].replace("TASK1", ""), str(tmp_path / "task.cairn"))
        imported = cairn("import", str(tmp_path / "task.cairn"), cwd=elsewhere)
        shown = told("show", cwd=elsewhere)
        second = cairn("answer", "--always", cwd=elsewhere, env=settings)
        (task,) = told("list", cwd=elsewhere)["tasks"]

    assert (first.code, imported.code, shown["question"]["rule"]) == (0, 0, "write(README.md)")
    assert (second.code, task["status"], len(server.requests)) == (0, "in review", 3)  # no policy asks there
    assert calls(str(task["id"]), elsewhere) == CALLS


def test_a_limit_is_asked_about_and_raised_from_the_command_line(project, cairn):
    program = project / "p.py"
    program.write_text("for n in range(5):\n    log(str(n))\nsubmit_result('Logged.', [])\n")

    first = cairn("run", "--code", "p.py", "--limit", "calls=2", "--ask")
    second = cairn("answer", "--yes")
    third = cairn("answer", "--yes", "--limit", "calls=20")

    assert [screen.code for screen in (first, second, third)] == [0, 0, 0]
    assert "It asks: may it go on beyond its limit calls = 2, up to 4?" in first.out
    assert "It asks: may it go on beyond its limit calls = 4, up to 8?" in second.out
    (task,) = told("list")["tasks"]
    assert (task["status"], task["reason"]) == ("accepted", "nothing to change")
    assert calls(str(task["id"])) == ["log"] * 5 + ["submit_result"]

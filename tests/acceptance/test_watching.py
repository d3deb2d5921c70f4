"""`cairn watch` as a process: editors save task files, people edit what a review read, signals end it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TODOS = "---\nrecipe: fix_todos\n---\n"
DOCSTRINGS = "add docstrings\n"


class Watch:
    """A running `cairn watch` and what it has said so far."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cairn", "watch", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        self.said: list[str] = []

    def until(self, words: str) -> str:
        """The next line that has these words."""
        for line in self.process.stderr:
            self.said.append(line)
            if words in line:
                return line
        raise AssertionError(f"never said {words!r}: {''.join(self.said)}")

    def ended(self) -> tuple[int, str]:
        out, err = self.process.communicate(timeout=40)
        return self.process.returncode, "".join([*self.said, err, out])


@pytest.fixture
def watch(repository):
    """Starts one in the repository's folder `tasks`; none outlives the test."""
    (repository / "tasks").mkdir()
    started = []

    def start(*arguments: str) -> Watch:
        started.append(Watch(*arguments))
        started[-1].until("watching tasks/")
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            os.killpg(each.process.pid, signal.SIGKILL)
            each.process.communicate()


def listed() -> list[tuple[str, str]]:
    done = subprocess.run([sys.executable, "-m", "cairn", "list", "--json"], capture_output=True, text=True, check=True)
    return [(task["request"], task["status"]) for task in json.loads(done.stdout)["tasks"]][::-1]


def saved_as_vim_does(path: Path, text: str) -> None:
    """With its defaults: the old file becomes the backup, a new one is written, the backup goes (`:help backup`)."""
    swap = path.with_name(f".{path.name}.swp")
    swap.write_bytes(b"b0VIM")
    backup = path.with_name(f"{path.name}~")
    if path.exists():
        path.rename(backup)
    with path.open("w") as file:
        for line in text.splitlines(keepends=True):
            file.write(line)
            file.flush()
    backup.unlink(missing_ok=True)
    swap.unlink()


def saved_as_an_atomic_rename(path: Path, text: str) -> None:
    waiting = path.with_name(f"{path.name}.tmp.4711")
    waiting.write_text(text)
    waiting.replace(path)


def appears(path: Path, words: str) -> str:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if path.exists() and words in path.read_text():
            return path.read_text()
        time.sleep(0.02)
    raise AssertionError(f"{path.name} never said {words!r}")


@pytest.mark.slow
@pytest.mark.parametrize("save", [saved_as_vim_does, saved_as_an_atomic_rename])
def test_each_save_of_an_editor_makes_one_task_that_runs_and_tells(repository, watch, save):
    running = watch("-j", "2")
    save(repository / "tasks/a.md", TODOS)
    save(repository / "tasks/a.md", TODOS)
    said = appears(repository / "tasks/a.result.md", "state: in review")

    assert "Collected 2 comments (TODO, FIXME, XXX) from 2 files into TODO.md." in said
    assert listed() == [("recipe fix_todos", "in review")]
    running.process.terminate()
    code, told = running.ended()
    assert (code, "Traceback" in told) == (0, False)


@pytest.mark.slow
def test_a_review_is_stale_at_once_when_a_person_edits_what_it_read(repository, watch):
    running = watch()
    (repository / "tasks/a.md").write_text(DOCSTRINGS)
    appears(repository / "tasks/a.result.md", "state: in review")
    before = (repository / "src/app.py").read_text()
    began = time.monotonic()
    (repository / "src/app.py").write_text(f"{before}\n# edited\n")

    assert "src/app.py changed since it was read" in running.until("is stale")
    assert time.monotonic() - began < 5
    (repository / "src/app.py").write_text(before)
    running.until("is clean again")
    running.process.send_signal(signal.SIGINT)
    assert running.ended()[0] == 0


@pytest.mark.slow
def test_after_kill_9_a_second_watch_goes_on_and_repeats_nothing(repository, watch):
    running = watch("-j", "0")
    (repository / "tasks/a.md").write_text(TODOS)
    running.until("queued")
    os.killpg(running.process.pid, signal.SIGKILL)
    running.process.communicate()

    again = watch("-j", "1")
    appears(repository / "tasks/a.result.md", "state: in review")
    again.process.terminate()

    assert again.ended()[0] == 0
    assert listed() == [("recipe fix_todos", "in review")]


@pytest.mark.slow
def test_once_does_what_stands_there_and_ends(repository, watch, cairn):
    (repository / "tasks/a.md").write_text(TODOS)
    (repository / "tasks/b.md").write_text("---\nmodell: x\n---\n")
    (repository / "tasks/empty.md").write_text("")

    told = cairn("watch", "--once")
    assert (told.code, "cairn: empty.md: It is empty, so it was left alone.\n" in told.err) == (0, True)
    assert listed() == [("recipe fix_todos", "in review")]
    assert "state: in review" in (repository / "tasks/a.result.md").read_text()
    assert "state: not a task" in (repository / "tasks/b.result.md").read_text()


def test_a_folder_that_is_not_there_or_not_in_the_project_is_refused(repository, cairn, tmp_path):
    missing = cairn("watch")
    outside = cairn("watch", str(tmp_path))
    bad = cairn("watch", ".", "--webhook", "ftp://x/")

    assert (missing.code, missing.err.splitlines()[0].startswith("cairn: There is no folder ")) == (3, True)
    assert (outside.code, " is not a folder in the project " in outside.err) == (2, True)
    assert (bad.code, bad.err.splitlines()[0]) == (2, "cairn: ftp://x/ is no address of a webhook.")


@pytest.mark.parametrize("jobs", ["0", "1"])
def test_a_folder_that_goes_away_ends_the_watch_with_a_word(repository, watch, jobs):
    running = watch("-j", jobs)
    (repository / "tasks").rmdir()
    code, told = running.ended()

    assert (code, "Traceback" in told) == (3, False)
    assert re.search(r"cairn: (There is no folder|The folder) .*/tasks( is gone)?\.\n", told)

"""File-watching mode over real parts: a folder, the ledger, the sandbox. A task file's words are the program itself."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from cairn.console import Console
from cairn.errors import UsageProblem
from cairn.notices import Messenger, Receivers
from cairn.orchestrator import Orchestrator
from cairn.project import Project
from cairn.review_text import ending
from cairn.settings import Settings
from cairn.task import CodeOrigin, TaskStatus, Terms
from cairn.task_context import Asked
from cairn.watched_folder import WatchedFolder
from cairn.watcher import Watcher, WatchOptions
from cairn.worker import Worker

READS = 'read_file("README.md")\nwrite_file("new.txt", "x\\n")\nsubmit_result("Wrote.", ["new.txt"])\n'
FAILS = 'submit_result(f"{1 / 0}", [])\n'


PLAIN, NOBODY = WatchOptions(), Receivers()


class Desk:
    """A watched folder and its project; `said` are the lines that a person reads."""

    def __init__(self, root, options=PLAIN, receivers=NOBODY):
        self.root, self.folder = root, root / "tasks"
        self.folder.mkdir(exist_ok=True)
        self.orchestrator = Orchestrator.open(Project.find(root), Settings())
        self.said = []
        messenger = Messenger(receivers, root, self.said.append) if receivers else None
        self.watcher = Watcher(
            self.orchestrator, WatchedFolder(self.folder), "tasks", options,
            submit=self.submit, describe=self.describe, tell=self.said.append, messenger=messenger,
        )  # fmt: skip

    def submit(self, text, key, instead_of):
        if text.request.startswith("refuse"):
            raise UsageProblem("Such a task there is not.", fix="Write another one.")
        origin, terms = CodeOrigin("file", "p.py", text.request), Terms(priority=text.priority, key=key, tags=text.tags)
        if instead_of is not None:
            given = {"options": {}, "asked": Asked(), "terms": terms}
            return self.orchestrator.new_tasks.rewrite(instead_of, text.request, origin, **given)
        return self.orchestrator.new_tasks.submit(text.request, origin, terms=terms)

    def describe(self, task):
        return ending(self.orchestrator.reviews.of(task), Console())

    def look(self):
        """Until nothing is left to do."""
        while self.watcher.look_once() is not None:
            pass

    def work(self):
        for task in self.orchestrator.queue.tasks([TaskStatus.QUEUED]):
            asyncio.run(Worker(self.orchestrator).run_task(task.id))

    def tasks(self):
        return [(str(task.status), task.request) for task in self.orchestrator.queue.tasks()[::-1]]

    def result(self, name="a"):
        path = self.folder / f"{name}.result.md"
        return path.read_text() if path.exists() else None

    def head(self, name="a"):
        return [line for line in (self.result(name) or "").split("---")[1].strip().split("\n") if "task:" not in line]


@pytest.fixture
def desk(project):
    opened = []

    def make(*arguments, **options):
        opened.append(Desk(project, *arguments, **options))
        return opened[-1]

    yield make
    for each in opened:
        each.orchestrator.close()


def test_a_file_becomes_a_task_and_its_result_says_what_came_of_it(desk):
    at = desk()
    (at.folder / "a.md").write_text(f"---\npriority: 3\ntags: [x]\n---\n{READS}")
    at.look()
    (task,) = at.orchestrator.queue.tasks()
    assert (task.terms.priority, task.terms.tags, task.status) == (3, ("x",), TaskStatus.QUEUED)
    assert at.result() == f"---\ntask: {task.id}\nstate: queued\n---\n\n`cairn show {task.id}` shows how far it is.\n"

    at.work()
    at.look()
    assert at.head() == ["state: in review"]
    assert "Wrote.\n\n new.txt | 1 +\n" in at.result()
    assert f"  cairn accept {task.id}   take them into the project\n" in at.result()
    at.orchestrator.decisions.accept(at.orchestrator.task(task.id))
    at.look()
    assert at.head() == ["state: accepted"]
    assert at.said == [f"a.md: task {task.id} queued", f"{task.id} in review"]


def test_an_edit_before_the_start_changes_the_task_and_one_after_it_makes_another(desk):
    at = desk()
    (at.folder / "a.md").write_text(READS.replace("Wrote", "Made"))
    at.look()
    (first,) = at.orchestrator.queue.tasks()
    (at.folder / "a.md").write_text(READS)
    at.look()
    assert [task.id for task in at.orchestrator.queue.tasks()] == [first.id]
    at.work()
    (at.folder / "a.md").write_text(FAILS)
    at.look()
    at.work()
    at.look()

    assert at.tasks() == [("in review", READS.strip()), ("failed", FAILS.strip())]
    assert at.head() == ["state: failed"]
    assert at.said[:2] == [f"a.md: task {first.id} queued", f"a.md: task {first.id} changed"]


def test_a_removed_file_cancels_its_task_and_the_same_file_again_is_a_new_wish(desk):
    at = desk()
    for _ in range(2):
        (at.folder / "a.md").write_text(READS)
        at.look()
        (at.folder / "a.md").unlink()
        at.look()

    assert at.tasks() == [("cancelled", READS.strip())] * 2
    assert at.orchestrator.queue.tasks()[0].reason == "its task file was removed"


def test_a_restart_repeats_nothing(desk, project):
    first = desk()
    for name in ("a", "b"):
        (first.folder / f"{name}.md").write_text(READS)
    first.look()
    first.work()
    (first.folder / "c.md").write_text(READS)
    first.look()
    written = first.result("a")

    second = desk()
    second.look()

    assert [status for status, _ in second.tasks()] == ["in review", "in review", "queued"]
    assert second.head("a") == ["state: in review"] != written
    assert [line for line in second.said if "queued" in line] == []


def test_what_cannot_be_a_task_is_left_alone_and_told_beside_it_once(desk):
    at = desk()
    (at.folder / "a.md").write_text("---\nmodell: x\n---\nx")
    (at.folder / "b.md").write_text("refuse this")
    at.look()
    at.look()

    assert at.tasks() == []
    assert (
        at.said == ["a.md: 'modell' is nothing that a front matter can say.", "b.md: Such a task there is not."][::-1]
    )
    assert at.result("b") == "---\nstate: not a task\n---\n\nSuch a task there is not.\n\n- Write another one.\n"
    assert "Did you mean model?" in at.result("a")
    (at.folder / "b.md").write_text(READS)
    at.look()
    assert at.head("b") == ["state: queued"]


def test_files_of_ended_tasks_move_where_they_belong(desk):
    at = desk(WatchOptions(done="done", failed="failed"))
    for name, text in {"a": READS, "b": FAILS, "c": READS.replace("new", "other")}.items():
        (at.folder / f"{name}.md").write_text(text)
    at.look()
    at.work()
    at.look()
    accepted = next(task for task in at.orchestrator.queue.tasks() if "other" in task.request)
    at.orchestrator.decisions.accept(accepted)
    at.look()

    found = sorted(str(path.relative_to(at.folder)) for path in at.folder.rglob("*.md"))
    assert found == ["a.md", "a.result.md", "done/c.md", "done/c.result.md", "failed/b.md", "failed/b.result.md"]
    assert "state: accepted" in (at.folder / "done/c.result.md").read_text()


def test_a_review_goes_stale_with_an_edit_and_is_clean_again_without_it(desk, project):
    at = desk()
    (at.folder / "a.md").write_text(READS)
    at.look()
    at.work()
    at.look()
    before = (project / "README.md").read_text()
    said = len(at.said)

    for text in ("edited", before):
        (project / "README.md").write_text(text)
        at.watcher._seen.touched.add("README.md")
        at.look()
        assert at.head() == (["state: in review", "stale: 1"] if text == "edited" else ["state: in review"])

    (task,) = at.orchestrator.queue.tasks()
    assert at.said[said:] == [f"{task.id} is stale: README.md changed since it was read", f"{task.id} is clean again"]


def test_a_stale_review_is_done_again_where_that_is_wanted(desk, project):
    at = desk(WatchOptions(rerun_stale=True))
    (at.folder / "a.md").write_text(READS)
    at.look()
    at.work()
    at.look()
    (project / "README.md").write_text("edited")
    at.watcher._seen.touched.add("README.md")
    at.look()
    at.work()

    assert [status for status, _ in at.tasks()] == ["rejected", "in review"]
    assert "is done again from today's files: task" in at.said[-1]


class Posted(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(500 if len(self.server.got) == 1 else 204)
        self.end_headers()

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def hook():
    server = HTTPServer(("127.0.0.1", 0), Posted)
    server.got = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


async def told(at):
    at.look()
    await at.watcher.told()


def test_a_command_and_a_webhook_hear_of_reviews_and_failures_also_over_a_restart(desk, hook, monkeypatch):
    monkeypatch.setattr("cairn.notices.PAUSES", (0.01, 0.01))
    line = 'echo "$CAIRN_TASK $CAIRN_STATUS $CAIRN_FILE" >> heard; cat >> bodies; echo >> bodies'
    receivers = Receivers(line, f"http://127.0.0.1:{hook.server_port}/")
    at = desk(receivers=receivers)
    (at.folder / "a.md").write_text(READS)
    asyncio.run(told(at))
    at.work()
    asyncio.run(told(at))
    (at.folder / "b.md").write_text(FAILS)
    asyncio.run(told(at))
    at.work()  # nobody watches when it ends
    asyncio.run(told(desk(receivers=receivers)))

    reviewed, failed = at.orchestrator.queue.tasks()[::-1]
    assert (at.root / "heard").read_text() == f"{reviewed.id} in review a.md\n{failed.id} failed b.md\n"
    bodies = [json.loads(body) for body in (at.root / "bodies").read_text().split("\n") if body]
    assert [(body["id"], body["status"]) for body in bodies] == [(reviewed.id, "in review"), (failed.id, "failed")]
    assert hook.got == [bodies[0], *bodies]  # the first answer was an error, so it was sent again


def test_a_command_that_fails_or_hangs_disturbs_nothing(desk, monkeypatch):
    monkeypatch.setattr("cairn.notices.COMMAND_SECONDS", 0.3)
    at = desk(receivers=Receivers('[ "$CAIRN_STATUS" = failed ] && { echo why >&2; exit 7; }; sleep 60', ""))
    for name, text in {"a": READS, "b": FAILS}.items():
        (at.folder / f"{name}.md").write_text(text)
    at.look()
    at.work()
    asyncio.run(told(at))

    by_status = {str(task.status): task.id for task in at.orchestrator.queue.tasks()}
    problems = sorted(line for line in at.said if line.startswith("--exec"))
    assert problems == sorted(
        [
            f"--exec for {by_status['in review']} ran longer than 0 s and was ended.",
            f"--exec for {by_status['failed']} ended with 7: why",
        ]
    )


def test_an_address_that_is_no_webhook_is_refused():
    for address in ("file:///etc/passwd", "localhost:80", "http://"):
        with pytest.raises(UsageProblem):
            Receivers("", address)


def test_a_hundred_files_that_are_refused_keep_nobody_busy(desk):
    at = desk()
    for number in range(100):
        (at.folder / f"t{number}.md").write_text("refuse")
    at.look()

    assert (at.tasks(), len(at.said)) == ([], 100)


@pytest.mark.slow
def test_a_thousand_files_at_once_are_a_thousand_tasks(desk):
    at = desk()
    for number in range(1000):
        (at.folder / f"t{number}.md").write_text(READS.replace("Wrote", f"{number}"))
    at.look()

    assert len({request for _, request in at.tasks()}) == len(at.tasks()) == 1000
    assert sum(path.name.endswith(".result.md") for path in at.folder.iterdir()) == 1000


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to_has_its_tasks_done_all_the_same(desk):
    at = desk()
    (at.folder / "a.md").write_text(READS)
    at.folder.chmod(0o500)
    at.look()
    at.folder.chmod(0o700)

    assert [status for status, _ in at.tasks()] == ["queued"]

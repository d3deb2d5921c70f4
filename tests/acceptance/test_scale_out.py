"""A team: two clones, workers that have none, one Postgres, one git remote; the same commands as on one machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from cairn.testing import ModelServer, Silence, Streamed
from tests.acceptance.machines import Machine, wait_for
from tests.conftest import tree

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

GREETS = """text = read_file('src/app.py')
edit_file('src/app.py', 'hello ', 'good day ')
write_file('src/new.py', 'NEW = 1\\n')
submit_result('greets politely', ['src/app.py', 'src/new.py'])
"""
READS_NOTES = """write_file('copy.md', read_file('notes.md'))
submit_result('copied', ['copy.md'])
"""
COPIES = """write_file('copy.py', read_file('src/new.py'))
submit_result('copied', ['copy.py'])
"""
ASKS = """a = ask_llm('first')
write_file('a.txt', a)
b = ask_llm('second')
write_file('b.txt', b)
submit_result('asked', ['a.txt', 'b.txt'])
"""


@dataclass
class Team:
    ours: Machine
    theirs: Machine
    worker: Machine
    url: str

    def statuses(self) -> list[tuple[str, str]]:
        return [(task["id"], task["status"]) for task in self.theirs.json("list")["tasks"]]


@pytest.fixture
def team(repository, tmp_path, database_url, nobodys_home):
    hub = tmp_path / "hub.git"
    git = ["git", "-c", "advice.detachedHead=false"]
    subprocess.run([*git, "clone", "-q", "--bare", repository, hub], check=True)
    subprocess.run([*git, "remote", "add", "origin", hub], cwd=repository, check=True)
    subprocess.run([*git, "clone", "-q", hub, tmp_path / "theirs"], check=True)
    (tmp_path / "worker").mkdir()

    def machine(folder: Path, **env: str) -> Machine:
        home = tmp_path / f"home-{folder.name}"
        home.mkdir()
        shutil.copy(nobodys_home / "gitconfig", home / "gitconfig")
        shared = {"CAIRN_ENGINE_URL": database_url, "CAIRN_ENGINE_PROJECT": "acme"}
        return Machine(folder, home, {"HOME": str(home), "GIT_CONFIG_GLOBAL": str(home / "gitconfig"), **shared, **env})

    worker = machine(tmp_path / "worker", CAIRN_ENGINE_REMOTE=str(hub))
    return Team(machine(repository), machine(tmp_path / "theirs"), worker, database_url)


def test_a_task_goes_from_one_clone_through_a_worker_without_one_to_a_review_in_another_clone(team):
    before = tree(team.ours.folder)
    team.ours.cairn("add", "--code", "-", "greet politely", stdin=GREETS)
    team.worker.cairn("work", "-j", "2")

    ((task, status),) = team.statuses()
    assert status == "in review"
    assert '+    return "good day " + name' in team.theirs.cairn("diff", task)
    assert "write_file" in team.theirs.cairn("log", task)
    assert "greets politely" in team.theirs.cairn("show", task)

    team.theirs.cairn("accept", task)

    assert tree(team.ours.folder) == before
    assert (team.theirs.folder / "src/app.py").read_text() == 'def greet(name):\n    return "good day " + name\n'
    assert (team.theirs.folder / "src/new.py").read_text() == "NEW = 1\n"
    assert team.ours.json("list")["tasks"][0]["status"] == "accepted"
    assert not (team.worker.folder / "src").exists()

    team.theirs.cairn("undo", task)
    assert tree(team.theirs.folder) == before
    assert team.statuses() == [(task, "in review")]


def test_uncommitted_work_goes_with_the_task_and_git_does_not_notice(team):
    (team.ours.folder / "notes.md").write_text("not committed, not even added\n")
    (team.ours.folder / "README.md").write_text("# Edited\n")
    subprocess.run(["git", "add", "README.md"], cwd=team.ours.folder, check=True)
    looks = [["git", "status", "--porcelain=v2", "--branch"], ["git", "stash", "list"], ["git", "branch", "-a"]]

    def git() -> list[str]:
        return [subprocess.run(look, cwd=team.ours.folder, capture_output=True, text=True).stdout for look in looks]

    before = git()
    team.ours.cairn("add", "--code", "-", "copy the notes", stdin=READS_NOTES)
    team.worker.cairn("work", "-j", "1")

    ((task, _),) = team.statuses()
    assert "+not committed, not even added" in team.theirs.cairn("diff", task)
    assert git() == before


def test_a_task_that_comes_after_another_one_works_on_what_was_accepted(team):
    first = team.ours.json("add", "--code", "-", "greet politely", stdin=GREETS)["tasks"][0]["id"]
    team.ours.cairn("add", "--code", "-", "--after", first, "copy", stdin=COPIES)
    team.worker.cairn("work", "-j", "1")
    assert dict(team.statuses())[first] == "in review"

    team.theirs.cairn("accept", first)
    team.worker.cairn("work", "-j", "1")

    (second,) = [task for task, status in team.statuses() if status == "in review"]
    assert "+NEW = 1" in team.theirs.cairn("diff", second)


def test_run_in_a_clone_takes_the_same_way(team):
    team.ours.cairn("run", "greet politely", "--code", "-", stdin=GREETS)

    ((task, status),) = team.statuses()
    assert status == "in review"
    team.ours.cairn("accept", task)
    assert (team.ours.folder / "src/new.py").exists()


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="a folder is mounted, which takes root")
def test_a_clone_that_cannot_be_written_shows_what_the_server_has(team):
    team.ours.cairn("run", "greet politely", "--code", "-", stdin=GREETS)
    ((task, _),) = team.statuses()
    clone = team.theirs.folder
    if subprocess.run(["mount", "--bind", clone, clone], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", clone], check=True)
        patch, listed = team.theirs.cairn("diff", task), team.theirs.cairn("list")
        team.theirs.cairn("accept", task, code=1)
    finally:
        subprocess.run(["umount", "--lazy", clone], check=True)

    assert '+    return "good day " + name' in patch
    told = f"cairn: {clone}/.cairn cannot be written. Shown as the server has it.\n"
    assert told in patch
    assert told in listed
    assert "in review" in listed


def test_run_accept_takes_the_changes_into_the_clone_it_was_typed_in(team):
    said = team.ours.cairn("run", "--accept", "greet politely", "--code", "-", stdin=GREETS)

    ((task, status),) = team.statuses()
    assert status == "accepted"
    assert "accepted" in said
    assert (team.ours.folder / "src/new.py").read_text() == "NEW = 1\n"
    assert (team.theirs.folder / "src/app.py").read_text() == 'def greet(name):\n    return "hello " + name\n'
    team.ours.cairn("undo", task)
    assert not (team.ours.folder / "src/new.py").exists()


def test_run_accept_exits_with_4_where_the_clone_was_edited_meanwhile(team):
    """Git takes the file for unchanged, so the task's commit does not have the edit."""
    subprocess.run(["git", "update-index", "--assume-unchanged", "src/app.py"], cwd=team.ours.folder, check=True)
    (team.ours.folder / "src/app.py").write_text('def greet(name):\n    return "hi " + name\n')
    before = tree(team.ours.folder)

    said = team.ours.cairn("run", "--accept", "greet politely", "--code", "-", stdin=GREETS, code=4)

    assert "src/app.py" in said
    assert tree(team.ours.folder) == before
    assert [status for _, status in team.statuses()] == ["in review"]


def test_a_task_that_accepts_itself_is_refused_where_workers_have_no_files_of_yours(team):
    said = team.ours.cairn("add", "--code", "-", "--accept", "greet politely", stdin=GREETS, code=2)

    assert "cairn run --accept ..." in said
    assert team.statuses() == []


def test_two_clones_that_accept_at_once_do_it_once(team):
    team.ours.cairn("add", "--code", "-", "greet politely", stdin=GREETS)
    team.worker.cairn("work", "-j", "1")
    ((task, _),) = team.statuses()

    both = [machine.start("accept", task) for machine in (team.ours, team.theirs)]
    ends = [(process.communicate(timeout=60), process.returncode) for process in both]

    assert sorted(code for _, code in ends) in ([0, 1], [0, 4]), ends  # the other came too late, or in that moment
    assert [(team.ours.folder / "src/new.py").exists(), (team.theirs.folder / "src/new.py").exists()].count(True) == 1
    assert team.statuses() == [(task, "accepted")]


def test_a_worker_that_is_gone_with_its_disk_costs_no_answer_that_was_paid(team, tmp_path):
    """The second worker has nothing of the first one's: what was asked before the kill is not asked again."""
    with ModelServer(Streamed("one"), Silence(), Streamed("two")) as server:
        env = server.settings(tmp_path / "llm")
        for machine in (team.ours, team.worker):
            machine.env |= env
        team.ours.cairn("add", "--code", "-", "--text-model", "served", "--max-attempts", "9", "ask", stdin=ASKS)
        first = team.worker.start("work", "-j", "1")
        wait_for(lambda: len(server.requests) == 2)
        team.worker.unplug()
        first.communicate()
        for gone in (team.worker.folder, team.worker.home):
            shutil.rmtree(gone)
            gone.mkdir()
        shutil.copy(team.ours.home / "gitconfig", team.worker.home / "gitconfig")

        team.worker.cairn("work", "-j", "1")

    asked = [request["messages"][-1]["content"] for request in server.requests]
    assert asked == ["first", "second", "second"]
    ((task, status),) = team.statuses()
    assert status == "in review"
    shown = team.theirs.cairn("diff", task)
    assert "+one" in shown
    assert "+two" in shown


def test_who_adds_a_models_task_needs_no_key_and_who_runs_one_does(team):
    team.ours.cairn("add", "-m", "4o-mini", "make it faster")
    team.ours.cairn("run", "--detach", "-m", "gpt-4o", "make it smaller")

    found = {task["request"]: (task["status"], task["model"]) for task in team.theirs.json("list")["tasks"]}
    assert found == {"make it faster": ("queued", "gpt-4o-mini"), "make it smaller": ("queued", "gpt-4o")}
    assert "gpt-4o needs a key" in team.ours.cairn("run", "-m", "gpt-4o", "make it better", code=1)
    assert "There is no model 'gpt-4-o'" in team.ours.cairn("add", "-m", "gpt-4-o", "make it better", code=1)
    nobody = team.ours.cairn("add", "make it better", code=1)
    assert "cairn add -m MODEL ...                               names a model whose key your workers have" in nobody


def test_a_worker_in_an_empty_folder_is_told_what_it_has_to_be_told(team):
    del team.worker.env["CAIRN_ENGINE_PROJECT"]

    assert team.worker.cairn("work", code=2) == (
        f"cairn: {team.worker.folder} is in no git repository, whose first commit would give the project its name on"
        " the server.\n"
        '  For a worker: CAIRN_ENGINE_PROJECT="name" CAIRN_ENGINE_REMOTE="URL"   are what it has to be told.\n'
        "  For a project of yours: git init   and a first commit.\n"
    )


def test_a_server_that_is_not_there_is_told_in_a_sentence_without_its_password(team):
    team.ours.env["CAIRN_ENGINE_URL"] = "postgresql://cairn:hidden@127.0.0.1:1/cairn"

    said = team.ours.cairn("list", code=1)

    assert "127.0.0.1" in said
    assert "hidden" not in said

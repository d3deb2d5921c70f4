"""`cairn run --variants` with real processes and models that answer over HTTP: ranked, stopped, killed, gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from inline_snapshot import snapshot

from cairn.testing import ModelServer, Plain, Silence, Streamed
from tests.acceptance.test_workers import all_gone, family, tasks


def writes(path: str, text: str, usage: tuple[int, int] = (100, 20)) -> Streamed:
    return Streamed(f"```python\nwrite_file({path!r}, {text!r})\nsubmit_result('made', [{path!r}])\n```", usage=usage)


class ByModel(ModelServer):
    """Answers each model with one reply of its own, for ever."""

    def __init__(self, **replies) -> None:
        super().__init__()
        self.replies = replies

    def reply_to(self, request, key):
        with self._turn:
            self.requests.append(request)
            return self.replies[request["model"]]

    def settings(self, folder, **_more):
        names = [{"model_id": name, "model_name": name, "api_base": self.url} for name in self.replies]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "extra-openai-models.yaml").write_text(json.dumps(names))
        return {"LLM_USER_PATH": str(folder), "LLM_LOAD_PLUGINS": "", "CAIRN_RETRY_FIRST_DELAY": "0"}


@pytest.fixture
def start():
    """Starts a command; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, env: dict[str, str]) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "cairn", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, env={**os.environ, **env}, start_new_session=True, **pipes))
        return started[-1]

    yield begin
    for each in started:
        if each.poll() is None:
            os.killpg(each.pid, signal.SIGKILL)
        each.communicate(timeout=20)


def until(server: ModelServer, requests: int) -> None:
    deadline = time.monotonic() + 30
    while len(server.requests) < requests:
        assert time.monotonic() < deadline, f"{len(server.requests)} of {requests} requests came"
        time.sleep(0.01)


@pytest.mark.slow
def test_attempts_of_four_models_are_ranked_by_checks_size_and_cost(project, cairn, tmp_path):
    (project / "cairn.toml").write_text('[checks]\nshort = "test $(wc -l < made.txt) -lt 4"\n')
    replies = {
        "long": writes("made.txt", "1\n2\n3\n4\n"),
        "two": writes("made.txt", "1\n2\n"),
        "cheap": writes("made.txt", "1\n2\n", usage=(10, 2)),
        "dead": Plain.error(400, "no such thing"),
    }
    with ByModel(**replies) as server:
        env = server.settings(tmp_path / "llm")
        ran = cairn(
            "run", "make it", "--models", "long,two,cheap,dead", "--limit", "steps=1", "--limit", "output_tokens=4000",
            env=env,
        )  # fmt: skip
        assert len(server.requests) == 4
        assert {request["model"] for request in server.requests} == set(replies)

    assert ran.code == 0, ran.err
    assert ran.out == snapshot("""\
RANK  ID      STATUS     MODEL  CHECKS  FILES  LINES  TOKENS  MONEY  TIME   NOTE
1     TASK1  in review  cheap  1 of 1  1      +2 -0  12      ?      N s
1     TASK2  in review  two    1 of 1  1      +2 -0  120     ?      N s  same as TASK1
2     TASK3  in review  long   0 of 1  1      +4 -0  120     ?      N s
-     TASK4  failed     dead   -       0      +0 -0  0       0      N s  dead refused the request (400). no such thing.

Next:
  cairn diff TASK1                    read the changes
  cairn compare TASK1 TASK3 --diff   what the next one does otherwise
  cairn accept TASK1                  take it; the others are rejected
""")
    assert {line.split("  ", 1)[1] for line in ran.err.splitlines() if "started" in line} == {"started: make it"}
    assert sorted(task["model"] for task in tasks()) == ["cheap", "dead", "long", "two"]
    best = json.loads(cairn("compare", "--json").out)["variants"][0]
    assert (best["model"], best["checks"]) == ("cheap", "1 of 1")
    assert cairn("accept", next(task["id"] for task in tasks() if task["model"] == "cheap")).code == 0
    assert {task["model"]: task["status"] for task in tasks()} == {
        "cheap": "accepted", "two": "rejected", "long": "rejected", "dead": "failed",
    }  # fmt: skip


@pytest.mark.slow
def test_ctrl_c_ends_all_variants_and_one_of_them_can_go_on(project, cairn, start, tmp_path):
    with ByModel(slow=Silence(), fast=writes("made.txt", "1\n")) as server:
        env = server.settings(tmp_path / "llm")
        running = start("run", "make it", "--models", "slow,slow,fast", "--variants", "3", env=env)
        for line in running.stderr:
            if "in review" in line:
                break
        until(server, 3)
        pids = family(running.pid)
        os.kill(running.pid, signal.SIGINT)
        out, err = running.communicate(timeout=40)
        assert (running.returncode, out) == (130, ""), err
        assert "were stopped; nothing in your project changed." in err
        assert "Traceback" not in err
        assert all_gone(pids)
        assert sorted((task["status"], task["reason"]) for task in tasks()) == [
            ("cancelled", "stopped by the person who ran it"),
            ("cancelled", "stopped by the person who ran it"),
            ("in review", ""),
        ]
        server.replies["slow"] = writes("made.txt", "1\n")
        stopped = next(task["id"] for task in tasks() if task["status"] == "cancelled")
        assert cairn("resume", stopped, env=env).code == 0
    assert [each["rank"] for each in json.loads(cairn("compare", "--json").out)["variants"]] == [1, 1, None]


@pytest.mark.slow
def test_variants_of_a_killed_run_are_queued_and_work_goes_on_with_them(project, cairn, start, tmp_path):
    with ByModel(slow=Silence()) as server:
        env = server.settings(tmp_path / "llm")
        running = start("run", "make it", "-m", "slow", "--variants", "2", env=env)
        until(server, 2)
        pids = family(running.pid)
        os.kill(running.pid, signal.SIGKILL)
        assert all_gone(pids)
        server.replies["slow"] = writes("made.txt", "1\n")
        worked = cairn("work", "-j", "2", env=env)
        assert worked.out == "2 tasks: 2 in review\n", worked.err
    assert [each["rank"] for each in json.loads(cairn("compare", "--json").out)["variants"]] == [1, 1]


@pytest.mark.slow
def test_a_run_takes_its_own_variants_only_and_no_result_is_a_failure(project, cairn, tmp_path):
    assert cairn("add", "--code", "-", stdin="submit_result('nothing', [])\n").code == 0
    with ByModel(dead=Plain.error(400, "no such thing")) as server:
        ran = cairn("run", "make it", "-m", "dead", "--variants", "2", "--json", env=server.settings(tmp_path / "llm"))
    assert ran.code == 1
    assert "No variant came to a result." in ran.err
    assert [each["rank"] for each in json.loads(ran.out)["variants"]] == [None, None]
    assert sorted(task["status"] for task in tasks()) == ["failed", "failed", "queued"]


@pytest.mark.slow
def test_accepting_one_ends_those_that_still_run_and_says_why(project, cairn, start, tmp_path):
    with ByModel(slow=Silence(), fast=writes("made.txt", "1\n")) as server:
        running = start("run", "make it", "--models", "slow,slow,fast", env=server.settings(tmp_path / "llm"))
        for line in running.stderr:
            if "in review" in line:
                break
        until(server, 3)
        pids = family(running.pid)
        fast = next(task["id"] for task in tasks() if task["status"] == "in review")
        accepted = cairn("accept", fast)
        assert (accepted.code, (project / "made.txt").read_text()) == (0, "1\n")
        _, err = running.communicate(timeout=40)
        assert running.returncode == 0, err
        assert all_gone(pids)
    assert "Traceback" not in err
    ended = sorted((task["status"], task["reason"]) for task in tasks())
    assert ended == [("accepted", ""), *[("cancelled", f"{fast} was accepted instead")] * 2]
    assert cairn("undo").code == 0
    assert not (project / "made.txt").exists()

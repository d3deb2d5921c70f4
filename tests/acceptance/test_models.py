"""`cairn run` against a real HTTP server that plays a good, a rude and a broken provider."""

from __future__ import annotations

import json

import pytest

from cairn.testing import ModelServer, Plain, Silence, Streamed
from tests.conftest import tree

LOOK = "```python\nfound = search_content('TODO')\nprint(len(found), 'found')\n```"
WRITE = "```python\nwrite_file('TODO.md', str(len(found)) + ' left\\n')\nsubmit_result('Counted.', ['TODO.md'])\n```"
PATIENCE = {"CAIRN_RETRY_ATTEMPTS": "2", "CAIRN_RETRY_FIRST_DELAY": "0", "CAIRN_RETRY_CALL_SECONDS": "20"}


@pytest.fixture
def ask(project, cairn, tmp_path):
    """Runs a task with a server that gives these replies; returns the screen and the number of requests."""

    def run(*replies, env=None, arguments=()):
        with ModelServer(*replies) as server:
            settings = server.settings(tmp_path / "llm") | PATIENCE | (env or {})
            screen = cairn("run", "count the todos", "-m", "served", *arguments, env=settings)
        return screen, len(server.requests)

    return run


def test_two_steps_of_one_conversation_share_their_variables(ask, project, cairn):
    screen, requests = ask(Streamed(LOOK), Streamed(WRITE))

    assert (screen.code, requests) == (0, 2)
    assert "step 2 of 12" in screen.err
    assert cairn("diff", "--name-only").out == "TODO.md\n"
    assert cairn("accept").code == 0
    assert (project / "TODO.md").read_text() == "2 left\n"


def test_what_the_model_used_is_shown_in_tokens(ask, cairn):
    screen, _requests = ask(Streamed(LOOK, usage=(1000, 50)), Streamed(WRITE, usage=(1100, 60)), arguments=["--json"])

    task = json.loads(screen.out)["task"]
    assert (task["input_tokens"], task["output_tokens"], task["steps"]) == (2100, 110, 2)


def test_tokens_seconds_and_money_are_shown_for_each_step_and_for_the_task(ask, cairn, project):
    (project / "cairn.toml").write_text("[prices]\nserved = {input = 2.0, output = 10.0}\n")
    asking = "```python\nsubmit_result(ask_llm('why'), [])\n```"
    ask(Streamed(LOOK, usage=(1000, 50)), Streamed(asking, usage=(2000, 100)), Streamed("Because.", usage=(300, 20)))

    (task,) = cairn.ids
    shown = cairn("show", task).out
    steps = json.loads(cairn("show", task, "--json").out)["steps"]

    assert [line.partition(" in N s")[0] for line in shown.splitlines() if line.startswith("Step ")] == [
        "Step 1  served, 1,000 tokens in, 50 out",
        "Step 2  served, 2,300 tokens in, 120 out",
    ]
    assert ", money 0.0025: ended without submitting" in shown
    assert ", money 0.0058: submitted" in shown
    assert "3 calls, 3,300 tokens in, 170 out, money 0.0083" in shown
    assert [round(step["spent"]["money"], 6) for step in steps] == [0.0025, 0.0058]
    assert all(step["spent"]["seconds"] > 0 for step in steps)


def test_a_program_that_fails_its_check_is_sent_back_once_with_its_problems(ask):
    screen, requests = ask(
        Streamed("```python\nimport subprocess\nsubmit_result('x', [])\n```"), Streamed(LOOK), Streamed(WRITE)
    )

    assert (screen.code, requests) == (0, 3)
    assert "check failed: line 1: there is no module subprocess" in screen.err


@pytest.mark.parametrize(
    ("replies", "says"),
    [
        ([Streamed("I cannot do that.")] * 9, "program"),
        ([Streamed("")] * 9, "served"),
        ([Streamed("```python\nprint(undefined_name)\n```")] * 9, "undefined_name"),
        ([Streamed("```python\nprint(1", finish=None)] * 9, "served"),
        ([Plain.error(401, "bad key")] * 9, "key"),
        ([Plain.error(404, "no such model")] * 9, "served"),
        ([Plain.error(500, "down")] * 9, "served"),
        ([Plain(200, "<html>hello</html>", content_type="text/html")] * 9, "served"),
    ],
    ids=["prose", "nothing", "never-passes", "cut", "wrong-key", "no-model", "down", "a-web-page"],
)
def test_a_model_that_gives_no_program_is_a_failed_task_with_a_reason(ask, project, cairn, replies, says):
    before = tree(project)

    screen, requests = ask(*replies)

    assert screen.code == 1
    assert requests < 9, "nobody is asked for ever"
    assert "Traceback" not in screen.err
    assert says in screen.err.partition("cairn: ")[2]
    assert [task["status"] for task in json.loads(cairn("list", "--json").out)["tasks"]] == ["failed"]
    assert tree(project) == before


def test_a_model_that_never_answers_is_given_up_at_the_deadline(ask):
    screen, _requests = ask(Silence(), env={"CAIRN_RETRY_ATTEMPTS": "1", "CAIRN_RETRY_CALL_SECONDS": "0.5"})

    assert screen.code == 1
    assert "Traceback" not in screen.err


@pytest.mark.slow
def test_the_wall_clock_ends_a_task_that_waits_for_a_model(ask):
    screen, _requests = ask(Silence(), arguments=["--limit", "wall_seconds=1"])

    assert screen.code == 1
    assert "limit reached: wall_seconds = 1" in screen.err
    assert "--limit wall_seconds=2" in screen.err


def test_the_step_limit_ends_a_model_that_never_submits_and_keeps_its_work(ask, cairn):
    programs = [f"```python\nwrite_file('a.txt', '{number}')\n```" for number in range(5)]

    screen, requests = ask(*map(Streamed, programs), arguments=["--limit", "steps=3"])

    assert (screen.code, requests) == (1, 3)
    assert "limit reached: steps = 3" in screen.err
    (task,) = json.loads(cairn("list", "--json").out)["tasks"]
    assert (task["status"], task["files_changed"]) == ("failed", 1)


@pytest.mark.slow
def test_verbose_shows_what_the_model_is_told_and_a_pipe_alone_does_not(ask):
    quiet, _requests = ask(Streamed(LOOK), Streamed(WRITE))
    loud, _requests = ask(Streamed(LOOK), Streamed(WRITE), arguments=["--verbose"])

    assert "told (" not in quiet.err
    assert "  told (system, " in loud.err
    assert "  | The task, in the person's words:\n  | ~~~~\n  | count the todos\n  | ~~~~\n" in loud.err
    assert "  | OUTPUT:\n  | ~~~~\n  | 2 found\n" in loud.err


def test_a_call_that_failed_in_the_end_says_how_to_go_on(ask, cairn, tmp_path):
    screen, _requests = ask(Streamed(LOOK), *[Plain.error(500, "down")] * 2)
    with ModelServer(Streamed(WRITE)) as server:
        resumed = cairn("resume", cairn.ids[0], env=server.settings(tmp_path / "llm"))

    assert screen.err.endswith("\n  cairn resume TASK1   goes on where it stopped.\n")
    assert (resumed.code, len(server.requests)) == (0, 1)

"""Workers of which one has a model's key and another has not: each takes what it can run, and people hear if none can."""

from __future__ import annotations

import json
import signal

import pytest

from cairn.ledger_place import LedgerServer
from cairn.queue import TaskQueue
from cairn.task import TaskStatus
from cairn.testing import ModelServer, Plain, Streamed
from tests.acceptance.machines import wait_for
from tests.acceptance.test_scale_out import ASKS, team  # noqa: F401 - a fixture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

LONG = 90.0
NOTHING = "submit_result('nothing', [])\n"
NEEDS = 'needs a worker with a key for acme: OPENAI_API_KEY is not set and llm has no stored "acme" key'


class Provider(ModelServer):
    """A model that refuses other keys than one, and answers questions and requests for programs alike."""

    def reply_to(self, request, key):
        self.requests.append(request)
        self.keys.append(key)
        if key != "good":
            return Plain.error(401, "Incorrect API key provided.")
        return Streamed(f"```python\n{NOTHING}```")

    def known_to(self, machine):
        """As a real plug-in's model that needs a key; no key is there."""
        folder = machine.home / "llm"
        folder.mkdir()
        entry = {"model_id": "acme", "model_name": "acme", "api_base": self.url, "api_key_name": "acme"}
        (folder / "extra-openai-models.yaml").write_text(json.dumps([entry]))
        machine.env |= {
            "LLM_USER_PATH": str(folder),
            "CAIRN_RETRY_FIRST_DELAY": "0",
            "CAIRN_RETRY_PAUSE_SECONDS": "900",
        }
        return folder


@pytest.fixture
def provider():
    with Provider() as provider:
        yield provider


@pytest.fixture
def crews():
    """Crews that work until they are told to end; none outlives the test."""
    started = []

    def start(machine, *arguments):
        started.append(machine.start("work", "--forever", *arguments))
        return started[-1]

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


class Ledger:
    """What there is at a moment, without a command for each look."""

    def __init__(self, queue):
        self.queue = queue

    def task(self, request):
        return next(task for task in self.queue.tasks() if task.request == request)

    def is_done(self, request):
        return self.task(request).status in {TaskStatus.ACCEPTED, TaskStatus.IN_REVIEW}

    def waits(self, request):
        task = self.task(request)
        return self.queue.holds([task]).get(task.id, "")


@pytest.fixture
def ledger(team):  # noqa: F811
    with TaskQueue(LedgerServer(team.url, "acme")) as queue:
        yield Ledger(queue)


def test_the_crew_with_the_key_runs_what_the_other_one_leaves_to_it(team, ledger, provider, crews):  # noqa: F811
    keyless = provider.known_to(team.worker)
    provider.known_to(team.theirs)
    provider.known_to(team.ours)
    team.ours.cairn("add", "-m", "acme", "--priority", "5", "one", "two", "three")
    team.ours.cairn("add", "--code", "-", "--text-model", "acme", "asks", stdin=ASKS)
    team.ours.cairn("add", "--code", "-", "plain", stdin=NOTHING)

    crews(team.worker, "-j", "2")
    wait_for(lambda: ledger.is_done("plain"), LONG)
    wait_for(lambda: all(ledger.waits(each) == NEEDS for each in ("one", "two", "three", "asks")), LONG)
    told = team.ours.json("engine", "status")
    assert [(each["model"], each["wants"]) for each in told["missing"]] == [("acme", "a worker with a key for")]
    assert [[lack["model"] for lack in crew["lacks"]] for crew in told["crews"]] == [["acme"]]
    assert told["paused"] == []
    assert "llm keys set acme   where a worker runs." in team.ours.cairn("show", ledger.task("two").id)
    assert NEEDS in team.ours.cairn("list")
    assert "tasks of acme wait for a worker with a key for it" in team.ours.cairn("doctor")

    team.theirs.env["OPENAI_API_KEY"] = "good"
    said = team.theirs.cairn("work", "-j", "1")
    assert "4 tasks: 1 in review, 3 accepted" in said
    assert set(provider.keys) == {"good"}
    assert {task.in_vain for task in ledger.queue.tasks()} == {0}
    assert (
        sum(task.attempt for task in ledger.queue.tasks()) <= 5 + 3
    )  # each of the other's two workers tried one, and "asks"

    (keyless / "keys.json").write_text('{"acme": "good"}')
    team.ours.cairn("add", "-m", "acme", "four")
    wait_for(lambda: ledger.is_done("four"), LONG)
    assert ledger.task("four").attempt == 1
    assert team.ours.json("engine", "status")["missing"] == []


def test_a_refused_key_is_one_machines_and_so_is_a_model_that_llm_does_not_know(team, ledger, provider, crews):  # noqa: F811
    provider.known_to(team.ours)
    refused = provider.known_to(team.worker)
    (refused / "keys.json").write_text('{"acme": "bad"}')
    unknown = provider.known_to(team.theirs)
    (unknown / "extra-openai-models.yaml").rename(unknown / "elsewhere")
    team.ours.cairn("add", "-m", "acme", "one")
    crews(team.worker, "-j", "1")
    wait_for(lambda: "The key for acme was refused" in ledger.waits("one"), LONG)
    crews(team.theirs, "-j", "1")
    wait_for(lambda: "There is no model 'acme'" in ledger.waits("one"), LONG)
    assert provider.keys == ["bad"]

    (unknown / "keys.json").write_text('{"acme": "good"}')
    (unknown / "elsewhere").rename(unknown / "extra-openai-models.yaml")

    wait_for(lambda: ledger.is_done("one"), LONG)
    assert provider.keys == ["bad", "good"]
    assert [len(crew["lacks"]) for crew in team.ours.json("engine", "status")["crews"]] == [1, 0]

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cairn.journal import (
    NOT_KEPT,
    UNFINISHED,
    ExactCall,
    Journal,
    KeptAnswer,
    MessageRecord,
    result_from_json,
    result_to_json,
)
from cairn.program import (
    CallRecord,
    Cancelled,
    CodeFailed,
    Crashed,
    ExecutionResult,
    Finished,
    LimitReached,
    Program,
    Run,
    Step,
    Submission,
)
from cairn.recalled_calls import Divergence
from cairn.task_file import TaskFile


def ticking(start: float = 1_000.0, by: float = 0.25) -> Callable[[], float]:
    """A clock that is later by a quarter of a second at each look."""
    now = start - by

    def clock() -> float:
        nonlocal now
        now += by
        return now

    return clock


@pytest.fixture
def file(tmp_path: Path) -> Iterator[TaskFile]:
    with TaskFile.create(tmp_path / "task.db", base=tmp_path) as made:
        yield made


@pytest.fixture
def journal(file: TaskFile) -> Journal:
    return Journal(file, ticking())


RUN = Run(output="hello 😀", output_dropped=3, seconds=1.25, calls=2)

OUTCOMES: list[ExecutionResult] = [
    Finished(RUN),
    Finished(RUN, Submission("Added two docstrings.", ("a.py", "b.py")), "'x'"),
    Finished(RUN, Submission("Nothing to do.")),
    CodeFailed(RUN, "ValueError", "no", line=3, traceback="Traceback ...", hint="Use yes."),
    LimitReached(RUN, "seconds", 60.0, "60.01 s"),
    LimitReached(RUN, "seconds", float("inf")),
    Crashed(RUN, "signal 9"),
    Cancelled(RUN, "Ctrl-C"),
]


@pytest.mark.parametrize("result", OUTCOMES, ids=lambda result: type(result).__name__)
def test_every_outcome_comes_back_as_the_same_value(result: ExecutionResult) -> None:
    assert result_from_json(result_to_json(result)) == result


def test_steps_come_back_with_their_programs_and_results(journal: Journal, file: TaskFile) -> None:
    first = Program("x = 1\n" * 400, "gpt-x", repairs=2, input_tokens=10, output_tokens=20)
    second = Program("submit_result('ok', [])", "fix.py")
    journal.begin_step(1, first, 5.0)
    journal.end_step(1, OUTCOMES[3])
    journal.begin_step(2, second)
    journal.end_step(2, OUTCOMES[1])

    assert Journal(file).steps() == (Step(1, first, OUTCOMES[3], 5.0), Step(2, second, OUTCOMES[1], 1_000.0))


def test_a_step_without_an_end_says_so(journal: Journal) -> None:
    journal.begin_step(1, Program("pass", "a"), 5.0)

    assert journal.steps() == (
        Step(
            1,
            Program("pass", "a"),
            Crashed(Run(), "no end was recorded: it still runs, or its process died"),
            5.0,
        ),
    )


def test_a_call_is_recorded_for_people_and_exactly(journal: Journal) -> None:
    journal.begin_step(1, Program("", ""))
    text = "line\n" * 400
    with_result = journal.record_call("read_file", {"path": "a.py", "end_line": 400}, text, started_at=1_000.0)
    failed = journal.record_call(
        "read_file", {"path": "b.py"}, error=FileNotFoundError("no 'b.py'"), started_at=1_001.0
    )
    nothing = journal.record_call("log", {"message": "hi"}, started_at=1_001.25)

    assert (with_result, failed, nothing) == (
        CallRecord(
            1,
            1,
            "read_file",
            "'a.py', end_line=400",
            repr(text[:120] + "… (2,000 characters)"),
            started_at=1_000.0,
            seconds=0.25,
        ),
        CallRecord(2, 1, "read_file", "'b.py'", error="FileNotFoundError: no 'b.py'", started_at=1_001.0, seconds=0.0),
        CallRecord(3, 1, "log", "'hi'", started_at=1_001.25, seconds=0.0),
    )
    assert journal.calls() == (with_result, failed, nothing)
    assert journal.exact_calls() == (
        ExactCall(1, 1, "read_file", {"path": "a.py", "end_line": 400}, text),
        ExactCall(2, 1, "read_file", {"path": "b.py"}, None, "FileNotFoundError: no 'b.py'"),
        ExactCall(3, 1, "log", {"message": "hi"}),
    )


def test_calls_can_be_had_for_one_step(journal: Journal) -> None:
    journal.begin_step(1, Program("", ""))
    journal.record_call("log", {"message": "one"}, started_at=0.0)
    journal.begin_step(2, Program("", ""))
    two = journal.record_call("log", {"message": "two"}, started_at=0.0)

    assert journal.calls(2) == (two,)


def test_a_call_that_waits_is_pending_until_it_ends(journal: Journal) -> None:
    number = journal.begin_call("ask_llm", {"prompt": "Why?"}, 999.0)
    pending = journal.calls()
    unanswered = journal.exact_calls()
    journal.keep_answer(KeptAnswer("digest", "Because.", input_tokens=5, output_tokens=7))
    ended = journal.end_call(number, "Because.")

    assert pending == (CallRecord(1, 0, "ask_llm", "'Why?'", error=UNFINISHED, started_at=999.0),)
    assert unanswered == (ExactCall(1, 0, "ask_llm", {"prompt": "Why?"}, None, UNFINISHED),)
    assert ended == CallRecord(1, 0, "ask_llm", "'Why?'", "'Because.'", "", 999.0, 1.0, 5, 7)
    assert journal.calls() == (ended,)


def test_a_call_that_waits_can_fail(journal: Journal) -> None:
    number = journal.begin_call("ask_llm", {"prompt": "Why?"}, 999.0)

    ended = journal.end_call(number, error=RuntimeError("no model"))

    assert ended == CallRecord(1, 0, "ask_llm", "'Why?'", "", "RuntimeError: no model", 999.0, 1.0)


def test_of_a_call_that_failed_long_texts_are_not_kept_and_it_is_known_again_all_the_same(
    journal: Journal, file: TaskFile
) -> None:
    long, other = "x" * 5_000, "y" * 5_000
    arguments: dict[str, dict[str, object]] = {
        "log": {"message": long},
        "edit_file": {"path": "a.py", "old": long, "new": "z"},
        "submit_result": {"summary": "s", "changed_files": ["name"] * 2_000},
    }
    for name, given in arguments.items():
        journal.record_call(name, given, error=ValueError("too long"), started_at=0.0)
    number = journal.begin_call("ask_llm", {"prompt": long}, 0.0)
    journal.end_call(number, error=RuntimeError("no model"), arguments={"prompt": long})

    assert file.rows("SELECT * FROM cairn_blob") == []
    assert [call.arguments for call in journal.exact_calls()] == [
        {"message": NOT_KEPT},
        {"path": "a.py", "old": NOT_KEPT, "new": "z"},
        {NOT_KEPT: NOT_KEPT},
        {"prompt": NOT_KEPT},
    ]
    journal.recall(0)
    for name, given in arguments.items():
        recalled = journal.recalled(name, given)
        assert recalled is not None
        assert repr(recalled.error) == "ValueError('too long')"
    with pytest.raises(Divergence, match=r"5,000 characters.*\n.*asked for: ask_llm\('yyy"):
        journal.recalled("ask_llm", {"prompt": other})


def test_a_long_question_is_kept_once_it_has_an_answer(journal: Journal) -> None:
    number = journal.begin_call("ask_llm", {"prompt": "x" * 5_000}, 0.0)
    waiting = journal.exact_calls()[0].arguments
    journal.end_call(number, "Because.", arguments={"prompt": "x" * 5_000})

    assert (waiting, journal.exact_calls()[0].arguments) == ({"prompt": NOT_KEPT}, {"prompt": "x" * 5_000})


def test_what_a_rolled_back_transaction_recorded_is_gone(journal: Journal, file: TaskFile) -> None:
    def record_and_fail() -> None:
        with file.transaction():
            journal.record_call("log", {"message": "x" * 5_000}, started_at=0.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        record_and_fail()

    assert journal.calls() == ()


def test_messages_and_the_submission_are_kept(journal: Journal, file: TaskFile) -> None:
    prompt = MessageRecord(1, "user", "Add docstrings.")
    answer = MessageRecord(1, "assistant", "```python\n```", "gpt-x", 2.5, 100, 20)
    journal.record_message(prompt)
    journal.record_message(answer)
    before = journal.submission()
    journal.submit(Submission("First.", ("a.py",)))
    journal.submit(Submission("Done.", ("a.py", "b.py")))

    assert (before, journal.submission()) == (None, Submission("Done.", ("a.py", "b.py")))
    assert Journal(file).messages() == (prompt, answer)


def test_a_reopened_journal_goes_on_in_its_last_step(journal: Journal, file: TaskFile) -> None:
    journal.begin_step(3, Program("", ""))

    assert Journal(file).step == 3


def test_lone_surrogates_are_replaced_where_the_file_cannot_hold_them(journal: Journal) -> None:
    journal.record_message(MessageRecord(1, "assistant", "a\ud800b"))
    journal.record_call("log", {"message": "a\ud800b"}, error=ValueError("\udfff"), started_at=0.0)

    assert journal.messages()[0].text == "a?b"
    assert journal.calls()[0].error == "ValueError: ?"
    assert journal.exact_calls()[0].arguments == {"message": "a\ud800b"}


_READ_BY_AGENTFS = """
import asyncio, json, sys
from agentfs_sdk import AgentFS, AgentFSOptions

async def main():
    agent = await AgentFS.open(AgentFSOptions(path=sys.argv[1]))
    calls = [await agent.tools.get(number) for number in (1, 2, 3)]
    stats = await agent.tools.get_stats()
    print(json.dumps({
        "calls": [[c.name, c.parameters, c.result, c.error, c.status, c.started_at, c.completed_at, c.duration_ms] for c in calls],
        "stats": sorted([s.name, s.total_calls, s.successful, s.failed] for s in stats),
        "submission": await agent.kv.get("cairn.submission"),
    }))
    await agent.close()

asyncio.run(main())
"""


def test_agentfs_reads_the_calls_and_the_submission(tmp_path: Path) -> None:
    with TaskFile.create(tmp_path / "task.db", base=tmp_path) as file:
        journal = Journal(file, ticking())
        journal.record_call("read_file", {"path": "é.py"}, "x" * 2_000, started_at=999.5)
        journal.record_call("delete_file", {"path": "b"}, error=FileNotFoundError("no b"), started_at=1_000.0)
        journal.begin_call("ask_llm", {"prompt": "?"}, 1_001.75)
        journal.submit(Submission("Done.", ("é.py",)))

    done = subprocess.run(
        [sys.executable, "-c", _READ_BY_AGENTFS, str(tmp_path / "task.db")], capture_output=True, check=False, text=True
    )

    assert done.stderr == ""
    assert json.loads(done.stdout) == {
        "calls": [
            ["read_file", {"path": "é.py"}, "x" * 120 + "… (2,000 characters)", None, "success", 999, 1000, 500],
            ["delete_file", {"path": "b"}, None, "FileNotFoundError: no b", "error", 1000, 1000, 250],
            ["ask_llm", {"prompt": "?"}, None, None, "pending", 1001, None, None],
        ],
        "stats": [["delete_file", 1, 0, 1], ["read_file", 1, 1, 0]],
        "submission": {"summary": "Done.", "changed_files": ["é.py"]},
    }

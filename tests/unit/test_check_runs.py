"""Checks as tasks meet them: at a submission, asked for by a program, before an accept, and in a replay."""

from __future__ import annotations

import asyncio

import pytest

from cairn.changes import Content, EntryKind
from cairn.checks import Before, Check, Verdict
from cairn.code_generator import CodeGenerator, FileSource
from cairn.errors import CairnError, CheckNotPassed, IllegalMove, NotFound
from cairn.external_functions import function_reference
from cairn.local_runtime import LocalRuntime, Surroundings, namespaces_work
from cairn.orchestrator import Orchestrator, Parts
from cairn.project import Project
from cairn.queue import TaskQueue
from cairn.runtime import CommandResult, Layer, Sandbox
from cairn.settings import RuntimeSettings, Settings
from cairn.task import CodeOrigin, TaskStatus
from cairn.testing import Script, ScriptedRuntime
from cairn.worker import Worker

OK, BROKEN = CommandResult(0, "2 passed\n"), CommandResult(1, "1 failed: greet\n")
TESTS = Check("tests", "pytest -q")
EDIT = 'edit_file("src/app.py", "hello ", "hi ")\n'
SUBMIT = 'submit_result("Shorter.", ["src/app.py"])\n'
APP = 'def greet(name):\n    return "{} " + name\n'


def fenced(program):
    return f"```python\n{program}```"


class Bench:
    """An orchestrator with scripted models and one scripted runtime after another."""

    def __init__(self, root, *checks, answers=(), runtimes=(), runs=20):
        self.root, self.script, self.runtimes, self.made = root, Script(*answers), list(runtimes), 0
        settings = Settings(checks={check.name: check for check in checks}, runtime=RuntimeSettings(runs=runs))
        project = Project.find(root)
        project.prepare()
        parts = Parts(self._source, lambda _o, _s: None, self._runtime)
        self.orchestrator = Orchestrator(project, TaskQueue(project.state / "cairn.db"), settings, parts)

    def _source(self, origin, settings):
        if origin.source == "file":
            return FileSource(origin.program or "", origin.name)
        return CodeGenerator(self.script.model(), function_reference(tuple(settings.checks)))

    def _runtime(self, _root, _settings, _unsandboxed):
        if not self.runtimes:
            raise CairnError("No sandbox can be had here.")
        self.made += 1
        runtime = self.runtimes.pop(0)
        return runtime(self.root) if callable(runtime) else runtime

    def run(self, program=None):
        origin = CodeOrigin("file", "p.py", program) if program else CodeOrigin("model", "scripted")
        task = self.orchestrator.submit("do it", origin)
        return asyncio.run(Worker(self.orchestrator).run_task(task.id))

    def check(self, task, *names):
        return asyncio.run(self.orchestrator.check(task, names))


@pytest.fixture
def bench(project):
    made = []

    def make(*checks, **more):
        made.append(Bench(project, *checks, **more))
        return made[-1]

    yield make
    for each in made:
        each.orchestrator.close()


def verdicts(review):
    return {each.check.name: each.verdict for each in review.evidence.standings}


def test_what_a_model_broke_goes_back_to_it_and_is_checked_again(bench, project):
    over, before, again = ScriptedRuntime(BROKEN), ScriptedRuntime(OK), ScriptedRuntime(OK)
    mends = 'edit_file("src/app.py", "hi ", "hey ")\n' + SUBMIT
    table = bench(TESTS, answers=[fenced(EDIT + SUBMIT), fenced(mends)], runtimes=[over, before, again])
    review = table.run()

    told = table.script.asked[1].prompt
    assert (
        "not submitted, because the project's checks were run: 'tests' failed (exit code 1): the task broke it" in told
    )
    assert "1 failed: greet" in told
    assert "run_check(name: str)" in table.script.asked[0].system
    assert "The checks here: tests." in table.script.asked[0].system
    assert review.task.status is TaskStatus.IN_REVIEW
    assert (len(review.steps), verdicts(review)) == (2, {"tests": Verdict.PASSED})
    layers = [runtime.layers[0].files for runtime in (over, before, again)]
    app = [Content(EntryKind.FILE, 0o644, APP.format(word).encode()) for word in ("hi", "hey")]
    assert layers == [{"src/app.py": app[0]}, {}, {"src/app.py": app[1]}]
    assert [runtime.terminated for runtime in (over, before, again)] == [1, 1, 1]
    assert review.task.outcome.checks == "passed"
    replayed = asyncio.run(table.orchestrator.replay(review.task))
    assert (replayed.complete, replayed.changes) == (True, review.changes)
    assert (project / "src/app.py").read_text() == APP.format("hello")


def test_what_failed_before_too_is_no_reason_to_send_a_model_back(bench):
    table = bench(TESTS, answers=[fenced(EDIT + SUBMIT)], runtimes=[ScriptedRuntime(BROKEN), ScriptedRuntime(BROKEN)])
    review = table.run()
    (standing,) = review.evidence.standings
    assert (len(review.steps), standing.verdict, standing.result.before) == (1, Verdict.FAILED, Before.FAILED)


def test_a_program_that_nobody_answers_is_submitted_with_what_it_broke_and_needs_force(bench, project):
    table = bench(TESTS, runtimes=[ScriptedRuntime(BROKEN), ScriptedRuntime(OK), ScriptedRuntime(OK)])
    task = table.run(EDIT + SUBMIT).task
    assert (task.status, task.outcome.checks) == (TaskStatus.IN_REVIEW, "failed")
    with pytest.raises(CheckNotPassed) as refused:
        table.orchestrator.accept(task)
    assert (refused.value.exit_code, refused.value.why) == (1, "tests failed (exit code 1): the task broke it.")
    assert (project / "src/app.py").read_text() == APP.format("hello")
    assert [each.passed for each in table.check(task)] == [True]
    assert table.orchestrator.task(task.id).outcome.checks == "passed"
    assert table.orchestrator.accept(table.orchestrator.task(task.id))[0].status is TaskStatus.ACCEPTED


def test_force_takes_what_failed(bench, project):
    table = bench(TESTS, runtimes=[ScriptedRuntime(BROKEN), ScriptedRuntime(OK)])
    table.orchestrator.accept(table.run(EDIT + SUBMIT).task, force=True)
    assert (project / "src/app.py").read_text() == APP.format("hi")


def test_where_nothing_can_run_a_submission_counts_and_the_review_says_not_run(bench):
    review = bench(TESTS).run(EDIT + SUBMIT)
    assert (review.task.status, verdicts(review)) == (TaskStatus.IN_REVIEW, {"tests": Verdict.NOT_RUN})
    assert [each.check.name for each in review.evidence.missing] == ["tests"]


def test_checks_run_that_are_about_the_changes_and_required(bench):
    docs, style = Check("docs", "make docs", paths=("docs/**",)), Check("style", "ruff", required=False)
    table = bench(docs, style, TESTS, runtimes=[ScriptedRuntime(OK)])
    found = verdicts(table.run(EDIT + SUBMIT))
    assert found == {"docs": Verdict.NOT_NEEDED, "style": Verdict.NOT_RUN, "tests": Verdict.PASSED}


def test_a_formatter_s_writes_become_part_of_the_task_and_a_replay_still_holds(bench):
    formatter = ScriptedRuntime()
    neat = Content(EntryKind.FILE, 0o644, APP.format("hi").replace('"', "'").encode())

    def formats(_command):
        formatter.files |= {"src/app.py": neat, "src/__pycache__/app.pyc": neat, "made.txt": neat}
        return OK

    formatter._results.append(formats)
    check = Check("format", "ruff format .", keep_writes=True)
    table = bench(TESTS, check, runtimes=[formatter, after := ScriptedRuntime(OK)])
    review = table.run(EDIT + SUBMIT)

    assert {change.path: change.after for change in review.changes} == {"made.txt": neat, "src/app.py": neat}
    assert after.layers[0].files == {"made.txt": neat, "src/app.py": neat}
    assert verdicts(review) == {"tests": Verdict.PASSED, "format": Verdict.PASSED}
    assert review.evidence.standings[1].result.wrote == ("made.txt", "src/app.py")
    assert asyncio.run(table.orchestrator.replay(review.task)).complete


def test_a_program_asks_for_a_check_and_goes_by_what_it_says(bench):
    program = f"""\
{EDIT}
found = run_check("tests")
print(found)
if not found["passed"]:
    edit_file("src/app.py", "hi ", "hello ")
for name in ("lint", "tests"):
    try:
        run_check(name)
    except (ValueError, RuntimeError) as error:
        print(type(error).__name__, error)
submit_result("Tried.", [])
"""
    table = bench(
        Check("tests", "pytest -q", required=False), runtimes=[ScriptedRuntime(BROKEN), ScriptedRuntime(OK)], runs=1
    )
    review = table.run(program)
    assert review.steps[0].result.run.output == (
        "{'passed': False, 'exit_code': 1, 'output': '1 failed: greet', 'before': 'passed'}\n"
        "ValueError there is no check 'lint'; the project has: tests\n"
        "RuntimeError checks were run 1 times, as often as they may be; submit what is done, and say so\n"
    )
    assert asyncio.run(table.orchestrator.replay(review.task)).complete
    assert table.made == 2


def test_a_task_that_goes_on_repeats_no_check(bench):
    """The first run ends at a limit after the check; the second answers it from the journal."""
    program = f'{EDIT}run_check("tests")\n' + "log('x')\n" * 3 + SUBMIT
    table = bench(Check("tests", "x", required=False), runtimes=[ScriptedRuntime(OK)])
    origin = CodeOrigin("file", "p.py", program)
    task = table.orchestrator.submit("do it", origin, options={"limits.calls": "3"})
    first = asyncio.run(Worker(table.orchestrator).run_task(task.id))
    table.orchestrator.resume(first.task, {"limits.calls": "100"})
    second = asyncio.run(Worker(table.orchestrator).run_task(task.id))
    assert (first.task.status, second.task.status) == (TaskStatus.FAILED, TaskStatus.IN_REVIEW)
    assert table.made == 1


def test_what_cannot_be_checked_is_told(bench):
    table = bench(TESTS, runtimes=[ScriptedRuntime(OK)])
    waiting = table.orchestrator.submit("later", CodeOrigin("file", "p.py", SUBMIT))
    with pytest.raises(IllegalMove, match="has not ended yet"):
        table.check(waiting)
    with pytest.raises(NotFound, match="There is no check 'x'"):
        table.check(waiting, "x")
    with pytest.raises(NotFound, match="The project has no checks"):
        bench().check(waiting)


@pytest.mark.skipif(not namespaces_work(), reason="this machine has no user namespaces")
def test_a_real_command_sees_the_task_and_the_project_is_untouched(bench, project):
    (project / "test.sh").write_text("grep -q hi src/app.py && echo fine && echo x > left.txt && ! ls -d .cairn\n")
    table = bench(
        Check("tests", "sh test.sh"),
        runtimes=[lambda root: LocalRuntime(root, Surroundings(Sandbox.NAMESPACES), {"PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": str(root.parent / "cache")})],
    )  # fmt: skip
    (standing,) = table.run(EDIT + SUBMIT).evidence.standings
    assert (standing.verdict, standing.result.wrote, standing.result.kept) == (Verdict.PASSED, ("left.txt",), False)
    assert standing.result.ground == "in a sandbox (namespaces), files by overlayfs"
    assert not (project / "left.txt").exists()


async def test_a_scripted_runtime_plays_its_part():
    runtime = ScriptedRuntime(lambda command: CommandResult(0, command))
    await runtime.initialize(Layer({"a": None}))
    assert [(await runtime.execute(each)).stdout for each in ("one", "two")] == ["one", "two"]
    runtime.files["b"] = neat = Content(EntryKind.FILE, 0o644, b"b")
    assert (runtime.written(), runtime.content("b"), runtime.content("a")) == (("b",), neat, None)
    assert runtime.commands == [("one", 120.0), ("two", 120.0)]

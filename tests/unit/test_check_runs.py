"""Checks as tasks meet them: at a submission, asked for by a program, before an accept, and in a replay."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from cairn.changes import Content, EntryKind
from cairn.check_ground import outdated_tasks
from cairn.checks import OUTDATED, Before, Check, Verdict
from cairn.code_generator import CodeGenerator, FileSource
from cairn.errors import CairnError, CheckNotPassed, IllegalMove, NotFound
from cairn.external_functions import function_reference
from cairn.local_runtime import LocalRuntime, Surroundings, namespaces_work
from cairn.orchestrator import Orchestrator
from cairn.project import Project
from cairn.queue import TaskQueue
from cairn.run_parts import Parts
from cairn.runtime import CommandResult, Layer, Sandbox, TooLargeToKeep
from cairn.settings import LimitSettings, RuntimeSettings, Settings
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

    def __init__(self, root, *checks, answers=(), runtimes=(), runs=20, limits=None):
        self.root, self.script, self.runtimes, self.made = root, Script(*answers), list(runtimes), 0
        settings = Settings(checks={check.name: check for check in checks}, runtime=RuntimeSettings(runs=runs))
        settings = replace(settings, limits=limits or settings.limits)
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
        task = self.orchestrator.new_tasks.submit("do it", origin)
        return asyncio.run(Worker(self.orchestrator).run_task(task.id))

    def said(self, task):
        """Of each check, and in the list."""
        known = self.orchestrator.task(task.id)
        files = self.orchestrator.project.state / "tasks"
        old = outdated_tasks(self.root, [known], lambda task_id: files / f"{task_id}.db")
        words = [each.in_words for each in self.orchestrator.checks.evidence(known).standings]
        return [*words, known.outcome.checks + (OUTDATED if old else "")]

    def check(self, task, *names):
        return asyncio.run(self.orchestrator.checks.run(task, names))


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
    replayed = asyncio.run(table.orchestrator.again.replay(review.task))
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
        table.orchestrator.decisions.accept(task)
    assert (refused.value.exit_code, refused.value.why) == (1, "tests failed (exit code 1): the task broke it.")
    assert (project / "src/app.py").read_text() == APP.format("hello")
    assert [each.passed for each in table.check(task)] == [True]
    assert table.orchestrator.task(task.id).outcome.checks == "passed"
    assert table.orchestrator.decisions.accept(table.orchestrator.task(task.id))[0].status is TaskStatus.ACCEPTED


def test_force_takes_what_failed(bench, project):
    table = bench(TESTS, runtimes=[ScriptedRuntime(BROKEN), ScriptedRuntime(OK)])
    table.orchestrator.decisions.accept(table.run(EDIT + SUBMIT).task, force=True)
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
    assert asyncio.run(table.orchestrator.again.replay(review.task)).complete


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
    assert asyncio.run(table.orchestrator.again.replay(review.task)).complete
    assert table.made == 2


def test_a_task_that_goes_on_repeats_no_check(bench):
    """The first run ends at a limit after the check; the second answers it from the journal."""
    program = f'{EDIT}run_check("tests")\n' + "log('x')\n" * 3 + SUBMIT
    table = bench(Check("tests", "x", required=False), runtimes=[ScriptedRuntime(OK)])
    origin = CodeOrigin("file", "p.py", program)
    task = table.orchestrator.new_tasks.submit("do it", origin, options={"limits.calls": "3"})
    first = asyncio.run(Worker(table.orchestrator).run_task(task.id))
    table.orchestrator.stopped_tasks.resume(first.task, {"limits.calls": "100"})
    second = asyncio.run(Worker(table.orchestrator).run_task(task.id))
    assert (first.task.status, second.task.status) == (TaskStatus.FAILED, TaskStatus.IN_REVIEW)
    assert table.made == 1


def test_what_cannot_be_checked_is_told(bench):
    table = bench(TESTS, runtimes=[ScriptedRuntime(OK)])
    waiting = table.orchestrator.new_tasks.submit("later", CodeOrigin("file", "p.py", SUBMIT))
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


# ── later edits of the project ──


def test_an_edit_elsewhere_makes_a_result_one_from_before_later_edits(bench, project):
    table = bench(TESTS, runtimes=[ScriptedRuntime(OK), ScriptedRuntime(OK)])
    task = table.run(EDIT + SUBMIT).task
    assert table.said(task) == ["passed", "passed"]
    (project / "README.md").write_text("# Mine\n")
    assert table.said(task) == ["passed, before later edits"] * 2
    assert [each.check.name for each in table.orchestrator.checks.evidence(task).outdated] == ["tests"]
    table.check(task)
    assert table.said(task) == ["passed", "passed"]
    assert table.orchestrator.decisions.accept(task)[0].status is TaskStatus.ACCEPTED


def test_a_check_that_a_person_asks_for_runs_over_what_an_accept_would_leave(bench, project):
    """The task's change merged with an edit of the same file, and today's content of a file that it only read."""
    runtimes = [ScriptedRuntime(OK) for _ in range(3)]
    table = bench(TESTS, runtimes=runtimes)
    task = table.run('read_file("README.md")\n' + EDIT + SUBMIT).task
    (project / "README.md").write_text("# Mine\n")
    (project / "src/app.py").write_text("# Mine.\n\n\n" + APP.format("hello"))
    assert table.said(task) == ["passed, before later edits"] * 2
    table.check(task)
    merged = Content(EntryKind.FILE, 0o644, ("# Mine.\n\n\n" + APP.format("hi")).encode())
    assert runtimes[1].layers[0].files == {"src/app.py": merged}
    assert table.said(task) == ["passed", "passed"]
    (project / "src/app.py").write_text("# Yours.\n\n\n" + APP.format("hello"))
    assert table.said(task) == ["passed, before later edits"] * 2
    table.orchestrator.decisions.accept(table.orchestrator.task(task.id))
    assert (project / "src/app.py").read_text() == "# Yours.\n\n\n" + APP.format("hi")


def test_what_cannot_be_merged_is_checked_as_the_task_saw_it_and_stays_outdated(bench, project):
    runtimes = [ScriptedRuntime(OK), ScriptedRuntime(OK)]
    table = bench(TESTS, runtimes=runtimes)
    task = table.run(EDIT + SUBMIT).task
    (project / "src/app.py").write_text(APP.format("hey"))
    table.check(task)
    assert runtimes[1].layers[0].files["src/app.py"].data == APP.format("hi").encode()
    assert table.said(task) == ["passed, before later edits"] * 2


def test_the_task_s_own_accepted_part_makes_nothing_outdated_and_another_task_s_does(bench, project):
    table = bench(TESTS, runtimes=[ScriptedRuntime(OK), ScriptedRuntime(OK)])
    both = 'write_file("new.txt", "new")\n' + EDIT + 'submit_result("Both.", ["src/app.py", "new.txt"])\n'
    task, other = (
        table.run(both).task,
        table.run('write_file("other.txt", "x")\nsubmit_result("x", ["other.txt"])').task,
    )
    table.orchestrator.decisions.accept(task, table.orchestrator.acceptable.picked(task, ["src/app.py"]))
    assert table.said(task) == ["passed", "passed"]
    table.orchestrator.decisions.accept(other)
    assert table.said(task) == ["passed, before later edits"] * 2
    table.orchestrator.decisions.undo(other)
    assert table.said(task)[0].startswith("passed")


def test_what_the_task_saw_before_an_edit_is_outdated_at_once_and_runs_again_only_for_a_person(bench, project):
    def edits(command):
        (project / "README.md").write_text("# Mine\n")
        return OK

    program = f'{EDIT}read_file("README.md")\nrun_check("tests")\nrun_check("slow")\n{SUBMIT}'
    slow = Check("slow", "sleep", required=False)
    table = bench(TESTS, slow, runtimes=[ScriptedRuntime(edits), ScriptedRuntime(OK), ScriptedRuntime(OK)])
    task = table.run(program).task
    assert table.made == 3  # the edit came while the first run looked, so the submission's own run is not spared
    assert table.said(task) == [
        "passed, before later edits",
        "passed, before later edits",
        "passed, before later edits",
    ]


# ── limits of what a check may add ──


def writes(**files):
    runtime = ScriptedRuntime()
    made = {name.replace("_", "."): Content(EntryKind.FILE, 0o644, data) for name, data in files.items()}
    runtime._results.append(lambda _command: runtime.files.update(made) or OK)
    return runtime


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"files_changed": 1}, "the limit files_changed = 1 would be passed"),
        ({"files_changed": 2}, "the limit files_changed = 2 would be passed"),
        ({"bytes_written": 100}, "the limit bytes_written = 100 would be passed"),
        ({"file_bytes": 80}, "'b.txt' has 90 bytes, more than the 80 a program may read or write"),
    ],
)
def test_what_a_check_writes_counts_in_the_task_s_limits_or_is_refused_whole(bench, limits, why):
    check = Check("format", "fmt", keep_writes=True)
    runtime = writes(a_txt=b"a", b_txt=b"b" * 90)
    table = bench(check, runtimes=[runtime], limits=LimitSettings(**limits))
    review = table.run(EDIT + SUBMIT)
    (standing,) = review.evidence.standings
    assert (standing.verdict, standing.result.kept, standing.result.refused) == (Verdict.PASSED, False, why)
    assert review.changes.paths == ("src/app.py",)


def test_a_file_too_large_to_take_is_told_and_not_deleted(bench):
    class Large(ScriptedRuntime):
        def content(self, path):
            raise TooLargeToKeep(path, 20_000_000)

    runtime = Large()
    runtime._results.append(lambda _c: runtime.files.update({"README.md": Content(EntryKind.FILE, 0o644, b"")}) or OK)
    review = bench(Check("format", "fmt", keep_writes=True), runtimes=[runtime]).run(EDIT + SUBMIT)
    (standing,) = review.evidence.standings
    assert standing.result.refused == "'README.md' has 20,000,000 bytes, more than is taken"
    assert review.changes.paths == ("src/app.py",)


def test_several_tasks_run_the_project_alone_once_and_a_person_anew(bench, project):
    made = [ScriptedRuntime(BROKEN) for _ in range(5)]
    table = bench(TESTS, runtimes=made)
    tasks = [table.run(EDIT + SUBMIT).task for _ in range(3)]
    assert [each.outcome.checks for each in tasks] == ["failed"] * 3
    assert table.made == 4  # each over its own files, one over the project alone
    (project / "README.md").write_text("# Mine\n")
    table.runtimes = [ScriptedRuntime(each) for each in (BROKEN, OK, BROKEN, OK)]
    table.run(EDIT + SUBMIT)
    (again,) = table.check(tasks[0])
    assert (table.made, again.before) == (8, Before.PASSED)

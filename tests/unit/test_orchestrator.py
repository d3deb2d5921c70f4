"""The use cases over real parts: the real sandbox, overlay, ledger and project; models scripted through `llm`."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from cairn.code_generator import CodeGenerator, FileSource
from cairn.errors import CairnError, Conflict, IllegalMove, ModelCallFailed, NotFound, UsageProblem
from cairn.external_functions import function_reference
from cairn.hunks import Selection
from cairn.language_model import Completion
from cairn.orchestrator import Orchestrator
from cairn.program import CodeFailed, Finished
from cairn.project import Project
from cairn.queue import TaskQueue
from cairn.run_parts import Parts
from cairn.settings import Settings
from cairn.task import CodeOrigin, TaskStatus, Terms
from cairn.task_context import Asked
from cairn.task_owner import Owner
from cairn.testing import Script
from cairn.worker import Worker

WRITES = 'write_file("new.txt", "x\\n")\nsubmit_result("Wrote.", ["new.txt"])\n'
EDITS = 'edit_file("README.md", "# Sample", "# Example")\nsubmit_result("Renamed.", ["README.md"])\n'


def fenced(program: str) -> str:
    return f"```python\n{program}```"


class Desk:
    """An orchestrator whose models say what the test scripts."""

    def __init__(self, root, *answers, text=None):
        self.script = Script(*answers)
        self.text = text
        project = Project.find(root)
        project.prepare()
        self.orchestrator = Orchestrator(
            project, TaskQueue(project.state / "cairn.db"), Settings(), Parts(self._source, lambda _o, _s: self.text)
        )

    def _source(self, origin, _settings):
        if origin.source == "file":
            return FileSource(origin.program or "", origin.name)
        return CodeGenerator(self.script.model(), function_reference())

    def run(self, program=None):
        origin = CodeOrigin("file", "p.py", program) if program else CodeOrigin("model", "scripted")
        task = self.orchestrator.new_tasks.submit("do it", origin)
        return asyncio.run(Worker(self.orchestrator).run_task(task.id))


@pytest.fixture
def desk(project):
    opened = []

    def make(*answers, text=None):
        opened.append(Desk(project, *answers, text=text))
        return opened[-1]

    yield make
    for each in opened:
        each.orchestrator.close()


def test_a_model_mends_what_it_wrote_after_seeing_the_error(desk):
    review = desk(fenced('read_file("nope")\n'), fenced(WRITES)).run()

    assert [type(step.result) for step in review.steps] == [CodeFailed, Finished]
    assert review.task.status is TaskStatus.IN_REVIEW
    assert review.changes.paths == ("new.txt",)


def test_the_model_reads_what_its_program_printed_and_what_it_changed(desk):
    made = desk(fenced('write_file("a.txt", "a")\nprint(6 * 7)\n'), fenced('submit_result("x", ["a.txt"])\n'))
    made.run()

    told = made.script.asked[1].prompt
    assert "42" in told
    assert "a.txt" in told


def test_the_answers_of_ask_llm_come_from_the_text_model_and_count_as_tokens(desk):
    text = Script("forty-two", tokens=(7, 3)).model()
    review = desk(text=text).run('write_file("a.txt", ask_llm("6 times 7?"))\nsubmit_result("x", ["a.txt"])\n')

    assert [change.after.data for change in review.changes] == [b"forty-two"]
    assert (review.input_tokens, review.output_tokens) == (7, 3)


def test_the_answers_of_a_draft_model_are_counted_for_the_reviewer(desk):
    class Drafter:
        name, draft = "drafter", True

        async def complete(self, prompt, *, system="", history=(), on_text=None):
            return Completion("A sentence.", 1, 1, 0.0, self.name)

    review = desk(text=Drafter()).run('write_file("a.txt", ask_llm("?"))\nsubmit_result("x", ["a.txt"])\n')

    assert review.drafts == 1


def test_a_task_that_changes_nothing_and_claims_nothing_needs_no_decision(desk):
    review = desk().run('submit_result("Nothing to do.", [])\n')

    assert (review.task.status, review.task.reason) == (TaskStatus.ACCEPTED, "nothing to change")


def test_a_task_that_changes_nothing_but_claims_something_is_for_a_person_to_see(desk):
    review = desk().run('submit_result("Did it.", ["README.md"])\n')

    assert review.task.status is TaskStatus.IN_REVIEW
    assert review.claims.claimed_only == ("README.md",)


def test_a_failing_model_fails_the_task_and_keeps_what_earlier_steps_wrote(desk):
    made = desk(fenced('write_file("a.txt", "a")\n'))
    with pytest.raises(ModelCallFailed):
        made.run()

    (task,) = made.orchestrator.queue.tasks()
    assert task.status is TaskStatus.FAILED
    assert task.reason
    assert task.outcome.files_changed == 1


@pytest.mark.parametrize("heard", [True, False])
def test_a_variant_that_ends_as_another_is_accepted_is_rejected_or_cancelled_for_it(desk, heard):
    """Told in time it is cancelled; what ends before it hears of the accept was done in vain, and says so too."""
    orchestrator = desk(fenced(WRITES), fenced(WRITES)).orchestrator
    origins = [CodeOrigin("model", "scripted")] * 2
    one, two = orchestrator.new_tasks.submit_variants("do it", origins, options={}, asked=Asked(), terms=Terms())
    claimed = orchestrator.queue.claim(Owner.this_process(), two.id)
    asyncio.run(Worker(orchestrator).run_task(one.id))
    orchestrator.decisions.accept(orchestrator.task(one.id))
    run = Worker(orchestrator).run_claimed(claimed) if heard else orchestrator.runs.run(claimed)
    ended = asyncio.run(run).task
    expected = TaskStatus.CANCELLED if heard else TaskStatus.REJECTED
    assert (ended.status, ended.reason) == (expected, f"{one.id} was accepted instead")
    orchestrator.decisions.undo()
    back = TaskStatus.CANCELLED if heard else TaskStatus.IN_REVIEW
    assert orchestrator.task(two.id).status is back


def test_an_accept_of_nothing_out_of_something_is_refused(desk, project):
    made = desk()
    review = made.run(WRITES)

    with pytest.raises(Conflict):
        made.orchestrator.decisions.accept(review.task, Selection())

    assert made.orchestrator.project.operations() == ()
    assert not (project / "new.txt").exists()


class Bases:
    """What a task that is asked for now works on, where `error` does not keep it from being published."""

    error = None

    def now(self):
        if self.error:
            raise self.error
        return "2e" * 20


def test_an_accept_whose_followers_cannot_have_their_commit_yet_is_recorded_once_they_can(desk, project):
    """Meanwhile every command but those that accept and take back works, and the accept is written once."""
    made = desk()
    orchestrator, queue, code = made.orchestrator, made.orchestrator.queue, CodeOrigin("file", "p.py", WRITES)
    (task,) = queue.put([queue.draft("first", code, base="1f" * 20)])
    (after,) = queue.put([queue.draft("next", code, terms=Terms(after=(task.id,)), base="1f" * 20)])
    task = asyncio.run(Worker(orchestrator).run_task(task.id)).task
    orchestrator._bases = bases = Bases()
    bases.error = CairnError("The files of this project could not be pushed to 'origin'.", "Away.")

    for act in (
        lambda: orchestrator.decisions.accept(task),
        lambda: orchestrator.decisions.accept(task),
        orchestrator.decisions.undo,
    ):
        with pytest.raises(CairnError, match="could not be pushed"):
            act()
        assert (project / "new.txt").exists()
    (said,) = orchestrator.recovery.recover()
    assert said == (
        f"Operation 1 on task {task.id} is in your files and not in the ledger yet."
        " The files of this project could not be pushed to 'origin'. Away."
    )
    assert orchestrator.task(task.id).status is TaskStatus.IN_REVIEW

    bases.error = None
    assert orchestrator.recovery.recover() == ()
    assert orchestrator.task(task.id).status is TaskStatus.ACCEPTED
    assert orchestrator.task(after.id).base == "2e" * 20
    assert len(orchestrator.project.operations()) == 1


def test_accept_that_reached_the_files_but_not_the_ledger_is_recorded_by_the_next_command(desk, project):
    made = desk()
    review = made.run(WRITES)
    made.orchestrator.project.apply(review.task.id, review.changes)

    assert made.orchestrator.recovery.recover() == ()

    assert made.orchestrator.task(review.task.id).status is TaskStatus.ACCEPTED
    assert made.orchestrator.project.unrecorded() == ()
    made.orchestrator.decisions.undo()
    assert not (project / "new.txt").exists()


def test_an_undo_that_reached_the_files_but_not_the_ledger_is_recorded_by_the_next_command(desk):
    made = desk()
    review = made.run(WRITES)
    made.orchestrator.decisions.accept(review.task)
    made.orchestrator.project.undo()

    made.orchestrator.recovery.recover()

    assert made.orchestrator.task(review.task.id).status is TaskStatus.IN_REVIEW


def test_a_task_is_accepted_once(desk):
    made = desk()
    review = made.run(WRITES)
    made.orchestrator.decisions.accept(review.task)

    for stale in (review.task, made.orchestrator.task(review.task.id)):
        with pytest.raises(IllegalMove):
            made.orchestrator.decisions.accept(stale)
    assert len(made.orchestrator.project.operations()) == 1


def test_a_conflict_leaves_the_task_in_review_and_the_files_alone(desk, project):
    made = desk()
    review = made.run(EDITS)
    (project / "README.md").write_text("# Mine\n\nTODO: say more.\n")

    with pytest.raises(Conflict) as conflict:
        made.orchestrator.decisions.accept(review.task)

    assert conflict.value.paths == ("README.md",)
    assert made.orchestrator.task(review.task.id).status is TaskStatus.IN_REVIEW
    assert (project / "README.md").read_text() == "# Mine\n\nTODO: say more.\n"
    assert [path for path, _why in made.orchestrator.reviews.of(review.task).conflicts] == ["README.md"]
    assert made.orchestrator.reviews.of(review.task).stale == ("README.md",)


def test_undo_without_a_task_takes_back_the_last_accept_and_then_the_one_before(desk, project):
    made = desk()
    first, second = made.run(WRITES), made.run(EDITS)
    made.orchestrator.decisions.accept(first.task)
    made.orchestrator.decisions.accept(second.task)

    assert [made.orchestrator.decisions.undo()[0].id, made.orchestrator.decisions.undo()[0].id] == [
        second.task.id,
        first.task.id,
    ]
    with pytest.raises(NotFound):
        made.orchestrator.decisions.undo()


BOTH = 'write_file("new.txt", "x\\n")\n' + EDITS.replace('["README.md"]', '["README.md", "new.txt"]')


def test_an_accept_of_a_part_that_reached_the_files_but_not_the_ledger_leaves_the_task_in_review(desk):
    made = desk()
    task = made.run(BOTH).task
    orchestrator = made.orchestrator
    part = orchestrator.acceptable.picked(task, ["new.txt"])
    orchestrator.project.apply(task.id, orchestrator.acceptable.to_accept(task, part), part=part)

    assert orchestrator.recovery.recover() == ()

    assert orchestrator.task(task.id).status is TaskStatus.IN_REVIEW
    assert orchestrator.acceptable.changes(task).paths == ("README.md",)
    assert orchestrator.project.unrecorded() == ()


def test_a_part_is_accepted_once(desk):
    made = desk()
    task = made.run(BOTH).task
    part = made.orchestrator.acceptable.picked(task, ["new.txt"])

    assert made.orchestrator.decisions.accept(task, part)[0] == task
    with pytest.raises(Conflict, match="accepted meanwhile"):
        made.orchestrator.decisions.accept(task, part)
    with pytest.raises(NotFound):
        made.orchestrator.acceptable.picked(task, ["new.txt"])
    assert made.orchestrator.decisions.accept(task)[0].status is TaskStatus.ACCEPTED


def test_what_a_part_wrote_is_not_stale_and_what_the_user_edits_is(desk, project):
    made = desk()
    task = made.run(BOTH).task
    made.orchestrator.decisions.accept(task, made.orchestrator.acceptable.picked(task, ["README.md"]))

    assert made.orchestrator.reviews.of(task).stale == ()
    assert made.orchestrator.reviews.of(task).claims.agree
    (project / "new.txt").write_text("mine\n")
    assert made.orchestrator.reviews.of(task).stale == ("new.txt",)


def test_a_part_taken_back_after_the_rest_was_rejected_is_in_review_again(desk, project):
    made = desk()
    task = made.run(BOTH).task
    made.orchestrator.decisions.accept(task, made.orchestrator.acceptable.picked(task, ["new.txt"]))
    rejected = made.orchestrator.decisions.reject(task)
    assert made.orchestrator.acceptable.changes(rejected).paths == ("README.md",)

    back, _ = made.orchestrator.decisions.undo(rejected)

    assert (back.status, made.orchestrator.acceptable.changes(back).paths) == (
        TaskStatus.IN_REVIEW,
        ("README.md", "new.txt"),
    )
    assert not (project / "new.txt").exists()


def test_a_retry_is_a_new_task_and_the_old_review_is_closed(desk):
    made = desk()
    old = made.run(WRITES).task

    new = made.orchestrator.again.retry(old)

    assert (new.retry_of, new.request, new.origin) == (old.id, old.request, old.origin)
    closed = made.orchestrator.task(old.id)
    assert (closed.status, closed.reason) == (TaskStatus.REJECTED, f"retried as {new.id}")
    with pytest.raises(IllegalMove):
        made.orchestrator.again.retry(new)


def test_a_program_that_cannot_be_used_leaves_no_task(desk):
    made = desk()
    with pytest.raises(UsageProblem):
        made.orchestrator.new_tasks.submit("x", CodeOrigin("file", "p.py", "print(1)"))

    assert made.orchestrator.queue.tasks() == ()


def test_a_lost_ledger_is_built_anew_with_every_status_that_a_task_had(desk, project):
    made = desk()
    accepted, rejected, open_ = made.run(WRITES), made.run(EDITS), made.run(EDITS)
    made.orchestrator.decisions.accept(accepted.task)
    made.orchestrator.decisions.reject(rejected.task, "no")
    made.orchestrator.new_tasks.submit("never ran", CodeOrigin("file", "p.py", WRITES))
    running = made.orchestrator.queue.claim(Owner.this_process())
    asyncio.run(_cancelled(made.orchestrator.runs.run(running)))
    before = {task.id: task for task in made.orchestrator.queue.tasks()}
    made.orchestrator.close()
    for path in project.glob(".cairn/cairn.db*"):
        path.unlink()

    again = desk()
    restored = again.orchestrator.recovery.rebuild_ledger()

    assert {task.id: task for task in restored} == {
        task_id: replace(task, reason=task.reason) for task_id, task in before.items()
    }
    assert again.orchestrator.decisions.accept(again.orchestrator.task(open_.task.id))[0].status is TaskStatus.ACCEPTED
    assert again.orchestrator.recovery.rebuild_ledger() == ()


async def _cancelled(running):
    task = asyncio.ensure_future(running)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

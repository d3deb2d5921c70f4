"""What every store of tasks' files must do, as tests that any implementation can inherit."""

# ruff: noqa: S101, D102, PLR2004, TRY301 - these are tests: they assert, their names are sentences, expected values stand plain

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cairn.errors import CairnError, NotFound, StorageProblem
from cairn.journal import Journal, KeptAnswer, TakenOver
from cairn.program import Finished, Program, Run
from cairn.task import CodeOrigin, Task, TaskStatus
from cairn.task_file import TaskFile
from cairn.task_store import TaskStore

TASK = Task("bcdfgh", "say hello", CodeOrigin("file", "hello.py"), TaskStatus.RUNNING, attempt=1)


def kept(store: TaskStore, task_id: str = TASK.id) -> list[str]:
    """The texts of all answers that a journal has, as anybody sees it now."""
    with store.reading(task_id) as file:
        return [answer.text for answer in Journal(file).kept_answers()]


def keep(file: TaskFile, *texts: str) -> None:
    """Keeps answers that were paid for."""
    for text in texts:
        Journal(file).keep_answer(KeptAnswer(f"question of {text}", text))


class TaskStoreContract:
    """What every task store must do. A test class of yours inherits from it and says how to open one.

    class TestMyTasks(TaskStoreContract):
        def open(self, folder): return MyTasks(folder)
    """

    def open(self, folder: Path) -> TaskStore:
        """A store of the project in this folder; opened twice, the second is as another process's, or machine's."""
        raise NotImplementedError

    def moved(self, folder: Path, task: Task) -> Task:
        """The project's ledger has the task like this from now on."""
        raise NotImplementedError

    def start(self, folder: Path) -> tuple[TaskStore, TaskStore]:
        """Two stores of one project, in which a task runs that has no file yet."""
        stores = self.open(folder), self.open(folder)
        self.moved(folder, TASK)
        return stores

    # ── being there ──

    def test_a_task_that_never_ran_has_no_file(self, tmp_path: Path) -> None:
        store, _ = self.start(tmp_path)
        assert (store.exists(TASK.id), store.path(TASK.id).exists(), store.stored_bytes(TASK.id)) == (False, False, 0)
        assert store.remembered(TASK.id) is None
        try:
            with store.reading(TASK.id):
                raise AssertionError("it was opened")
        except NotFound:
            pass
        try:
            with store.writing(TASK):
                raise AssertionError("it was opened")
        except NotFound:
            pass
        store.remove(TASK.id)
        store.note(TASK)

    def test_a_run_makes_the_file_and_everybody_has_it_then(self, tmp_path: Path) -> None:
        store, other = self.start(tmp_path)
        with store.writing(TASK, base=tmp_path) as file:
            keep(file, "one")
        assert (store.exists(TASK.id), other.exists(TASK.id)) == (True, True)
        assert (kept(store), kept(other)) == (["one"], ["one"])
        assert store.stored_bytes(TASK.id) == other.stored_bytes(TASK.id) > 0
        with TaskFile.open(other.path(TASK.id), read_only=True) as file:
            assert len(Journal(file).kept_answers()) == 1

    def test_a_drafted_task_gets_its_file_before_the_ledger_has_it(self, tmp_path: Path) -> None:
        store, other = self.open(tmp_path), self.open(tmp_path)
        with store.creating(TASK, base=tmp_path) as file:
            file.kv_set("asked", "hello")
        with other.reading(TASK.id) as file:
            assert file.kv_get("asked") == "hello"
        try:
            with other.creating(TASK, base=tmp_path) as file:
                file.kv_set("asked", "something else")
            raise AssertionError("it was made twice")
        except StorageProblem:
            pass
        with store.reading(TASK.id) as file:
            assert file.kv_get("asked") == "hello"

    def test_a_removed_file_is_gone_for_everybody(self, tmp_path: Path) -> None:
        store, other = self.start(tmp_path)
        with store.writing(TASK, base=tmp_path) as file:
            keep(file, "one")
        assert kept(other) == ["one"]
        other.remove(TASK.id)
        assert (store.exists(TASK.id), other.exists(TASK.id)) == (False, False)
        with store.writing(TASK, base=tmp_path) as file:
            assert Journal(file).kept_answers() == ()

    def test_a_file_from_elsewhere_becomes_a_task_s_once(self, tmp_path: Path) -> None:
        store, other = self.open(tmp_path), self.open(tmp_path)
        draft = store.path(TASK.id).with_name("draft.db")
        with TaskFile.create(draft, base=tmp_path) as file:
            keep(file, "from elsewhere")
        store.adopt(TASK, draft)
        assert (kept(other), draft.exists()) == (["from elsewhere"], True)
        try:
            other.adopt(TASK, draft)
            raise AssertionError("it was adopted twice")
        except FileExistsError:
            pass

    # ── what others see, and when ──

    def test_what_was_paid_for_is_everybody_s_before_the_run_goes_on(self, tmp_path: Path) -> None:
        store, other = self.start(tmp_path)
        with store.writing(TASK, base=tmp_path) as file:
            for texts in (["one"], ["one", "two"], ["one", "two", "three"]):
                keep(file, texts[-1])
                assert kept(other) == texts

    def test_a_step_that_ended_is_everybody_s(self, tmp_path: Path) -> None:
        store, other = self.start(tmp_path)
        with store.writing(TASK, base=tmp_path) as file:
            journal = Journal(file)
            journal.begin_step(1, Program("print(1)", "test"))
            journal.record_call("read_file", {"path": "a"}, "text", started_at=0.0)
            journal.end_step(1, Finished(Run(output="1\n")))
            with other.reading(TASK.id) as seen:
                theirs = Journal(seen)
                assert [step.result for step in theirs.steps()] == [Finished(Run(output="1\n"))]
                assert [call.name for call in theirs.calls()] == ["read_file"]

    def test_what_is_not_committed_is_nobody_s(self, tmp_path: Path) -> None:
        store, other = self.start(tmp_path)
        with store.writing(TASK, base=tmp_path) as file:
            keep(file, "one")
            try:
                with file.transaction():
                    file.kv_set("half", done := True)
                    raise ZeroDivisionError
            except ZeroDivisionError:
                assert done
            keep(file, "two")
        with other.reading(TASK.id) as file:
            assert file.kv_get("half") is None

    def test_what_was_done_before_an_error_is_kept(self, tmp_path: Path) -> None:
        store, other = self.start(tmp_path)
        for error in (ZeroDivisionError, KeyboardInterrupt):
            try:
                with store.writing(TASK, base=tmp_path) as file:
                    file.kv_set("last", error.__name__)
                    raise error
            except error:
                with other.reading(TASK.id) as seen:
                    assert seen.kv_get("last") == error.__name__

    def test_a_reader_that_came_earlier_reads_on(self, tmp_path: Path) -> None:
        store, other = self.start(tmp_path)
        with store.writing(TASK, base=tmp_path) as file:
            keep(file, "one")
        with other.reading(TASK.id) as early:
            with store.writing(TASK) as file:
                keep(file, "two")
            assert [answer.text for answer in Journal(early).kept_answers()][:1] == ["one"]
        assert kept(other) == ["one", "two"]

    def test_what_uses_the_file_together_sees_and_leaves_the_same(self, tmp_path: Path) -> None:
        store, other = self.start(tmp_path)
        with store.together(TASK.id):
            with store.writing(TASK, base=tmp_path) as file:
                keep(file, "one")
                with store.reading(TASK.id) as beside:
                    assert beside is not file
                    assert [answer.text for answer in Journal(beside).kept_answers()] == ["one"]
            with store.writing(TASK) as file:
                keep(file, "two")
            with store.together(TASK.id):
                assert kept(store) == ["one", "two"]
            assert kept(other) == ["one", "two"]
        assert (kept(store), kept(other)) == (["one", "two"],) * 2

    # ── by turns ──

    def test_the_next_one_goes_on_where_the_last_one_was(self, tmp_path: Path) -> None:
        store, other = self.start(tmp_path)
        with store.writing(TASK, base=tmp_path) as file:
            keep(file, "one")
        task = self.moved(tmp_path, replace(TASK, status=TaskStatus.WAITING))
        with other.writing(task) as file:
            keep(file, "two")
        task = self.moved(tmp_path, replace(TASK, attempt=2))
        with store.writing(task) as file:
            keep(file, "three")
        assert (kept(store), kept(other)) == (["one", "two", "three"],) * 2

    def test_many_contents_stay_what_they_were(self, tmp_path: Path) -> None:
        store, other = self.start(tmp_path)
        contents = [bytes([number]) * (1 << number) for number in range(20)]
        for number, content in enumerate(contents):
            with (store, other)[number % 2].writing(TASK, base=tmp_path) as file, file.transaction():
                file.put_blob(content)
                if number > 10:
                    file.run("DELETE FROM cairn_blob WHERE size = ?", 1 << (number - 5))
        with store.reading(TASK.id) as one, other.reading(TASK.id) as two:
            assert dict(one.blobs()) == dict(two.blobs())
            assert sorted(len(content) for _, content in one.blobs()) == [
                1 << number for number in range(20) if not 6 <= number <= 14
            ]

    # ── a process that was given up comes back ──

    def test_whoever_was_taken_over_changes_nothing_any_more(self, tmp_path: Path) -> None:
        store, other = self.start(tmp_path)
        with suppress(TakenOver), store.writing(TASK, base=tmp_path) as file:
            journal = Journal(file)
            journal.hold(TASK.attempt)
            journal.keep_answer(KeptAnswer("q1", "one"))
            task = self.moved(tmp_path, replace(TASK, attempt=2))
            with other.writing(task) as taken:
                later = Journal(taken)
                later.hold(task.attempt)
                later.keep_answer(KeptAnswer("q2", "two"))
            for text in ("late", "later"):
                try:
                    journal.keep_answer(KeptAnswer("q2", text))
                    raise AssertionError("it was kept")
                except TakenOver:
                    pass
                except CairnError as error:
                    raise AssertionError("it was refused for another reason") from error
            assert kept(other) == ["one", "two"]
        assert (kept(store), kept(other)) == (["one", "two"],) * 2

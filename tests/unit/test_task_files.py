"""From a folder and the tasks that came of it before to what is to be done."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from cairn.task import TaskStatus
from cairn.task_files import (
    Add,
    Cancel,
    FileTask,
    Release,
    TaskFileSeen,
    Update,
    decide,
    is_task_file,
    key_of,
    parse_key,
    result_name,
)
from cairn.task_text import BadTaskText, TaskText


def seen(name: str, version: str, *, bad: bool = False) -> TaskFileSeen:
    return TaskFileSeen(name, version, BadTaskText("no", fix="so") if bad else TaskText(version))


def task(name: str, version: str, status: TaskStatus, task_id: str = "one") -> FileTask:
    return FileTask(task_id, name, version, status)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        *((name, True) for name in ("a.md", "A.MD", "deep task.markdown", "a.b.md", "ü.md")),
        *((name, False) for name in (".a.md", "a.md~", "#a.md#", "a.md.swp", ".a.md.swx", "4913", "a.txt", "a.md.tmp")),
        *((name, False) for name in ("a.result.md", "README.md", "readme.markdown", "a.md.part", "a.md.bak", "md")),
    ],
)
def test_which_files_are_tasks(name, is_one):
    assert is_task_file(name) is is_one


def test_the_names_of_results_and_keys():
    assert [result_name(name) for name in ("a.md", "a.b.markdown")] == ["a.result.md", "a.b.result.md"]
    assert parse_key("tasks", key_of("tasks", "a#b.md", "0f")) == ("a#b.md", "0f")
    assert [
        parse_key("tasks", key) for key in ("file:other/a.md#0f", "file:tasks/a.md", "mine", "file:tasks/x/a#0")
    ] == [None] * 4


ONE, TWO = seen("a.md", "1"), seen("a.md", "2")
CHANGED, GONE = "its task file says something else", "its task file was removed"


@pytest.mark.parametrize(
    ("file", "tasks", "expected"),
    [
        (ONE, [], [Add(ONE)]),
        *((ONE, [task("a.md", "1", status)], []) for status in TaskStatus),
        (TWO, [task("a.md", "1", TaskStatus.QUEUED)], [Update("one", TWO)]),
        (TWO, [task("a.md", "1", TaskStatus.RUNNING)], []),
        (TWO, [task("a.md", "1", TaskStatus.WAITING)], []),
        (TWO, [task("a.md", "1", TaskStatus.IN_REVIEW)], [Add(TWO)]),
        (TWO, [task("a.md", "1", TaskStatus.FAILED)], [Add(TWO)]),
        (ONE, [task("a.md", "1", TaskStatus.ACCEPTED), task("a.md", "2", TaskStatus.QUEUED, "two")], [Cancel("two", CHANGED)]),
        (None, [task("a.md", "1", TaskStatus.QUEUED)], [Cancel("one", GONE)]),
        (None, [task("a.md", "1", TaskStatus.RUNNING)], []),
        (None, [task("a.md", "1", TaskStatus.IN_REVIEW)], []),
        (None, [task("a.md", "1", TaskStatus.ACCEPTED)], [Release("one")]),
        (seen("a.md", "2", bad=True), [], []),
        (seen("a.md", "2", bad=True), [task("a.md", "1", TaskStatus.QUEUED)], [Cancel("one", "its task file cannot be read any more")]),
    ],
)  # fmt: skip
def test_a_file_and_its_tasks(file, tasks, expected):
    files = {} if file is None else {file.name: file}

    assert decide(files, frozenset(), tasks) == expected
    assert decide(files, frozenset({"a.md"}), tasks) == []


class FolderMachine(RuleBasedStateMachine):
    """Files come, change and go; tasks start and end. Each version that stands still is done once."""

    NAMES = st.sampled_from(["a.md", "b.md"])

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, TaskFileSeen] = {}
        self.tasks: dict[str, FileTask] = {}
        self.begun: list[tuple[str, str]] = []
        self.wanted: set[tuple[str, str]] = set()
        self.number = 0

    @rule(name=NAMES)
    def save(self, name):
        self.number += 1
        self.files[name] = seen(name, str(self.number))

    @rule(name=NAMES)
    def remove(self, name):
        self.files.pop(name, None)

    @rule()
    def look(self):
        for action in decide(self.files, frozenset(), list(self.tasks.values())):
            match action:
                case Add(file):
                    self.number += 1
                    self.tasks[str(self.number)] = FileTask(str(self.number), file.name, file.digest, TaskStatus.QUEUED)
                case Update(task_id, file):
                    assert self.tasks[task_id].status is TaskStatus.QUEUED
                    self.tasks[task_id] = FileTask(task_id, file.name, file.digest, TaskStatus.QUEUED)
                case Cancel(task_id, _) | Release(task_id):
                    assert self.tasks.pop(task_id).status not in {TaskStatus.RUNNING, TaskStatus.IN_REVIEW}

    @rule(data=st.data())
    def move_on(self, data):
        moving = sorted(
            each for each, one in self.tasks.items() if one.status in {TaskStatus.QUEUED, TaskStatus.RUNNING}
        )
        if not moving:
            return
        one = self.tasks[data.draw(st.sampled_from(moving))]
        if one.status is TaskStatus.QUEUED:
            self.begun.append((one.name, one.digest))
        ended = st.sampled_from([TaskStatus.IN_REVIEW, TaskStatus.FAILED])
        status = TaskStatus.RUNNING if one.status is TaskStatus.QUEUED else data.draw(ended)
        self.tasks[one.task_id] = FileTask(one.task_id, one.name, one.digest, status)

    @invariant()
    def no_version_is_begun_twice_and_at_most_one_waits(self):
        assert len(self.begun) == len(set(self.begun))
        waiting = [one.name for one in self.tasks.values() if one.status is TaskStatus.QUEUED]
        assert len(waiting) == len(set(waiting))

    @invariant()
    def after_a_look_there_is_nothing_more_to_do(self):
        self.look()
        assert decide(self.files, frozenset(), list(self.tasks.values())) == []


def test_each_version_of_a_file_is_done_once_whatever_happens():
    run_state_machine_as_test(FolderMachine, settings=settings(max_examples=60, stateful_step_count=30, deadline=None))

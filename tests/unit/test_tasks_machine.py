"""Several tasks and a user on one project: accepts, partial accepts and undos in any order, judged by a plain model.

Every line of every text is unlike any other, so that each edit can be found again: what neither the task nor the
operation taken back knew of must stand in the project afterwards, whatever happened to the file around it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from cairn.changes import Change, Content, EntryKind
from cairn.errors import Conflict
from cairn.hunks import Part, Selection, Undecided, clash, left, pieces_of, remaining, rest
from cairn.operation_log import Operation
from cairn.overlay import AgentFSOverlay
from cairn.project import Project
from cairn.project_files import Edit
from cairn.task_file import TaskFile
from tests.content_trees import Tree, link, snapshot, text, write
from tests.length import examples

MOST_AT_WORK = 3
TOKEN = re.compile(rb"[a-z]+#\d+;")
NAMES = ("a", "b", "crlf", "open end", "d/a", "d/b", "d/e/a", "bin", "tool", "new", "d/new", "lib/new", "d", "b/below")
FOLDERS = ("d", "d/e", "lib")
SMALL = settings(max_examples=12, stateful_step_count=25)
LARGE = settings(max_examples=examples(80, 300), stateful_step_count=60)

seeds = st.integers(0, 2**32)
places = st.integers(0, 12)


@dataclass(eq=False)
class Tried:
    """One task. `ready` once something of it was accepted: its files change no more."""

    name: str
    overlay: AgentFSOverlay
    ready: bool = False
    folders: set[str] = field(default_factory=set)


# -- the model ----------------------------------------------------------------------------------------------------------


class Clashing(Exception):
    """By the model no accept of these changes is possible."""


def tokens(*contents: Content | None) -> set[bytes]:
    return {each for content in contents if content is not None for each in TOKEN.findall(content.data)}


def three_way(base: Content | None, now: Content | None, task: Content | None) -> Content | None:
    if task in {now, base}:
        return now
    if base == now:
        return task
    if base is None and now is not None and task is not None and now.kind is task.kind is EntryKind.FILE:
        if (now.data, now.executable) == (task.data, task.executable):
            return now
        raise Clashing
    if base is None or now is None or task is None or not base.kind is now.kind is task.kind is EntryKind.FILE:
        raise Clashing
    return Content(EntryKind.FILE, one_of(base.mode, now.mode, task.mode), merged(base.data, now.data, task.data))


def one_of(base: int, now: int, task: int) -> int:
    if now in {base, task}:
        return task
    if task != base:
        raise Clashing
    return now


def merged(base: bytes, now: bytes, task: bytes) -> bytes:
    if now in {base, task}:
        return task
    if task == base:
        return now
    if any(b"\0" in data for data in (base, now, task)):
        raise Clashing
    with tempfile.TemporaryDirectory() as place:
        for name, data in (("now", now), ("base", base), ("task", task)):
            (Path(place) / name).write_bytes(data)
        done = subprocess.run(
            ["git", "merge-file", "-p", "now", "base", "task"], cwd=place, capture_output=True, check=False
        )
    if done.returncode:
        raise Clashing
    return done.stdout


def applied(tree: Tree, changes: Iterable[Change]) -> Tree:
    """What the changes make of the files of a project. Raises Clashing."""
    result = dict(tree)
    for change in changes:
        before, after = plain(change.before), plain(change.after)
        if change.renamed_from is None:
            put(result, change.path, three_way(before, tree.get(change.path), after))
            continue
        source, taken = tree.get(change.renamed_from), tree.get(change.path)
        if source is None and taken == after:
            continue
        if source is None:
            raise Clashing
        moved = three_way(before, source, after)
        if taken is not None and taken != moved:
            raise Clashing
        result.pop(change.renamed_from, None)
        put(result, change.path, moved)
    if any(above in result for path in result for above in folders_above(path)):
        raise Clashing
    return result


def put(tree: Tree, path: str, content: Content | None) -> None:
    tree.pop(path, None)
    if content is not None:
        tree[path] = content


def plain(content: Content | None) -> Content | None:
    return None if content is None or content.kind is EntryKind.DIRECTORY else content


def folders_above(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:number]) for number in range(1, len(parts))]


def apart(changes: Iterable[Change]) -> list[Change]:
    """Renames of which a name is used twice, as changes of the single paths."""
    every = list(changes)
    used = [path for change in every for path in change.paths]
    sides: dict[str, list[Content | None]] = {}
    kept = []
    for change in every:
        if all(used.count(path) == 1 for path in change.paths):
            kept.append(change)
            continue
        old, new = change.renamed_from or change.path, change.path
        sides.setdefault(old, [None, None])[0] = change.before
        sides.setdefault(new, [None, None])[1] = change.after
    return kept + [Change(path, before, after) for path, (before, after) in sides.items() if before != after]


def inverse(edits: Iterable[Edit]) -> list[Change]:
    by_path = {edit.path: edit for edit in edits}
    moves = {
        edit.path: edit.moved_from
        for edit in by_path.values()
        if edit.moved_from in by_path and edit.before is None and by_path[edit.moved_from].after is None
    }
    back = [Change(old, by_path[new].after, by_path[old].before, renamed_from=new) for new, old in moves.items()]
    single = by_path.keys() - moves.keys() - set(moves.values())
    return [*back, *(Change(path, by_path[path].after, by_path[path].before) for path in sorted(single))]


# -- the machine --------------------------------------------------------------------------------------------------------


class TasksMachine(RuleBasedStateMachine):
    """`versions` holds what has ever stood at each path: what a task saw must be one of these."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp())
        self.root, self.numbers = self.place / "project", count()
        self.written: set[bytes] = set()
        write(self.root, self.first())
        self.project = Project(self.root)
        self.project.prepare()
        self.tasks: list[Tried] = []
        self.versions: dict[str, set[Content | None]] = {}
        self.remember()

    def first(self) -> Tree:
        return {
            "a": self.lines(12),
            "b": self.lines(4),
            "crlf": self.lines(6, b"\r\n"),
            "open end": text(self.lines(5).data[:-1]),
            "d/a": self.lines(9),
            "d/b": self.lines(2),
            "d/e/a": self.lines(7),
            "bin": text(b"\0" + self.line(b"base")),
            "tool": text(self.lines(5).data, 0o755),
            "link": link("a"),
        }

    def teardown(self) -> None:
        for task in self.tasks:
            task.overlay.close()
        shutil.rmtree(self.place)

    # -- tasks --

    @precondition(lambda self: sum(not task.ready for task in self.tasks) < MOST_AT_WORK)
    @rule()
    def start(self):
        name = f"task{len(self.tasks)}"
        file = TaskFile.create(self.project.state / f"tasks/{name}.db", base=self.root)
        self.tasks.append(Tried(name, AgentFSOverlay(file, self.root)))

    @rule(seed=seeds)
    def a_task_works(self, seed):
        chance = Random(seed)
        at_work = [task for task in self.tasks if not task.ready]
        for _ in range(chance.randrange(1, 7) if at_work else 0):
            with suppress(OSError, ValueError):  # what an overlay refuses is judged elsewhere
                self.one_step_of(chance.choice(at_work), chance)

    def one_step_of(self, task: Tried, chance: Random) -> None:
        overlay, path = task.overlay, chance.choice(NAMES)
        match chance.choice(("edit", "edit", "edit", "write", "read", "mode", "delete", "move", "make folder")):
            case "edit":
                overlay.write(path, self.edited(overlay.read(path), chance, b"task"))
            case "write":
                mode = chance.choice((None, 0o755))
                overlay.write(path, self.lines(chance.randrange(6), who=b"task").data, mode=mode)
            case "read":
                overlay.read(path)
            case "mode":
                overlay.set_mode(chance.choice(("d/a", "tool", "link", "bin")), chance.choice((0o644, 0o755)))
            case "delete":
                path = chance.choice((*NAMES, *FOLDERS, "link"))
                overlay.delete(path)
                clear(overlay, path)
            case "move":
                path = chance.choice((*NAMES, *FOLDERS))
                overlay.move(path, chance.choice((*NAMES, "lib", "far/off")))
                clear(overlay, path)
            case "make folder":
                task.folders.add(f"hollow/{next(self.numbers)}")
                overlay.make_folder(max(task.folders, key=lambda each: int(each.partition("/")[2])))

    # -- the user --

    @rule(seed=seeds)
    def the_user_works(self, seed):
        chance = Random(seed)
        for _ in range(chance.randrange(1, 5)):
            self.one_step_of_the_user(chance)
            self.remember()

    def one_step_of_the_user(self, chance: Random) -> None:
        file, goal = self.root / chance.choice(NAMES), self.root / chance.choice((*NAMES, "my/own"))
        what = chance.choice(("edit", "edit", "edit", "edit", "mode", "delete", "move", "make"))
        if what == "make" and free(self.root, goal):
            goal.parent.mkdir(parents=True, exist_ok=True)
            goal.write_bytes(self.lines(chance.randrange(1, 5), who=b"user").data)
        if not file.is_file():
            return
        match what:
            case "edit":
                file.write_bytes(self.edited(file.read_bytes(), chance, b"user"))
            case "mode":
                file.chmod(chance.choice((0o644, 0o755, 0o600)))
            case "delete":
                file.unlink()
            case "move" if free(self.root, goal):
                goal.parent.mkdir(parents=True, exist_ok=True)
                file.rename(goal)

    # -- accept and undo --

    @precondition(lambda self: self.tasks)
    @rule(which=places, seed=seeds, choose=st.sampled_from(("all", "all", "files", "hunks")))
    def accept(self, which, seed, choose):
        task = self.tasks[-1 - which % len(self.tasks)]
        changes, taken = task.overlay.changes(), self.project.accepted(task.name)
        whole = Undecided(changes, taken, remaining(changes, taken))
        asked = CHOICES[choose](whole, Random(seed))
        if taken.everything or not asked:
            return
        task.ready = True
        chosen = Undecided(changes, taken, asked).accepting()
        part = None if not taken and asked == whole.asked else asked
        if self.carry_out(lambda: self.project.apply(task.name, chosen, part=part), chosen) and choose == "all":
            assert not rest(changes, self.project.accepted(task.name))
            assert all((self.root / path).is_dir() for path in task.folders)

    @precondition(lambda self: self.project.operations())
    @rule(which=places)
    def undo(self, which):
        in_effect = [each for each in self.project.operations() if each.in_effect and not self.accepted_since(each)]
        if not in_effect:
            return
        target = in_effect[-1 - which % len(in_effect)]
        with self.project._log() as log:
            changes, moved = inverse(log.edits(target.id)), any(log.moves_since(target.id))
        self.carry_out(lambda: self.project.undo(target.id), changes, exact=not moved)

    @precondition(lambda self: self.project.operations())
    @rule()
    def undo_and_undo_that(self):
        """With nothing between them they lead back to the last bit."""
        accept = self.project.last_applied()
        before = snapshot(self.root)
        if accept is None:
            return
        try:
            undone = self.project.undo(accept.id)
        except Conflict:
            assert snapshot(self.root) == before
            return
        self.remember()
        self.project.undo(undone.undo_id)
        assert snapshot(self.root) == before

    # -- what must hold --

    @invariant()
    def what_a_task_saw_once_stood_there(self):
        for task in self.tasks:
            for change in task.overlay.changes():
                assert plain(change.before) in self.versions.get(change.renamed_from or change.path, {None}), change

    @invariant()
    def what_a_task_made_of_a_file_stays_so(self):
        for task in self.tasks:
            for change in task.overlay.changes():
                if change.after is not None and change.after.kind is EntryKind.FILE:
                    assert task.overlay.read(change.path) == change.after.data

    # -- parts --

    def carry_out(self, act: Callable[[], object], changes: Iterable[Change], *, exact: bool = True) -> bool:
        """True when it was done, and not refused."""
        changes = apart(changes)
        before = snapshot(self.root)
        try:
            expected = applied(before, changes)
        except Clashing:
            expected = None
        whole = snapshot(self.root, folders=True)
        try:
            act()
        except Conflict:
            assert snapshot(self.root, folders=True) == whole
            if exact and expected is not None:
                raise
            return False
        now = snapshot(self.root)
        nothing_is_lost(before, now, changes)
        if exact:
            assert now == expected
        self.remember()
        return True

    def accepted_since(self, operation: Operation) -> bool:
        """As the command refuses it: the same pieces must not be in effect twice."""
        every = {each.id: each for each in self.project.operations()}
        accept = operation
        while accept.undoes is not None:
            accept = every[accept.undoes]
        others = [each for each in every.values() if each.undoes is None and each.in_effect and each != accept]
        mine = self.project.part(accept.id)
        return not accept.in_effect and any(
            each.task_id == accept.task_id and clash(mine, self.project.part(each.id)) for each in others
        )

    def line(self, who: bytes) -> bytes:
        return b"%s#%d;" % (who, next(self.numbers))

    def lines(self, size: int, end: bytes = b"\n", who: bytes = b"base") -> Content:
        return text(b"".join(self.line(who) + end for _ in range(size)))

    def edited(self, data: bytes, chance: Random, who: bytes) -> bytes:
        end = b"\r\n" if b"\r\n" in data else b"\n"
        lines = data.splitlines(keepends=True)
        at = chance.randrange(len(lines) + 1)
        match chance.choice(("insert", "insert", "replace", "cut")):
            case "replace" if at < len(lines):
                lines[at] = self.line(who) + end
            case "cut" if at < len(lines):
                del lines[at]
            case _:
                lines.insert(at, self.line(who) + end)
        return b"".join(lines)

    def remember(self) -> None:
        clear_disk(self.root)
        tree = snapshot(self.root)
        for path in {*tree, *self.versions}:
            self.versions.setdefault(path, {None}).add(tree.get(path))


def nothing_is_lost(before: Tree, now: Tree, changes: Iterable[Change]) -> None:
    """Only what a change took away is gone, and only what it brought is new."""
    removed, added = set(), set()
    for change in changes:
        removed |= tokens(change.before) - tokens(change.after)
        added |= tokens(change.after) - tokens(change.before)
    old, new = tokens(*before.values()), tokens(*now.values())
    assert (old - removed) | added <= new <= old | added


def free(root: Path, goal: Path) -> bool:
    return not goal.exists() and not any(
        (root / above).is_file() for above in folders_above(str(goal.relative_to(root)))
    )


def clear(overlay: AgentFSOverlay, path: str) -> None:
    """Folders that this emptied go, as in git."""
    for above in reversed(folders_above(path)):
        if overlay.list_folder(above, include_ignored=True):
            return
        overlay.delete(above)


def clear_disk(root: Path) -> None:
    for folder in sorted((each for each in root.rglob("*") if each.is_dir() and not each.is_symlink()), reverse=True):
        if folder.relative_to(root).parts[0] not in {".cairn", "hollow"} and not any(folder.iterdir()):
            folder.rmdir()


def some_files(undecided: Undecided, chance: Random) -> Selection:
    parts = [part for part in undecided.asked.parts if chance.random() < 0.5]
    return Selection.joined(parts)


def some_pieces(undecided: Undecided, chance: Random) -> Selection:
    taken = undecided.taken.by_path()
    parts = []
    for change in undecided.changes:
        there = left(change, taken.get(change.path, frozenset()))
        if there and len(pieces_of(change)) > 1:
            there = frozenset(pieces_of(change)) - taken.get(change.path, frozenset())
            parts.append(Part(change.path, frozenset(each for each in there if chance.random() < 0.5)))
    return Selection.joined(parts)


CHOICES = {"all": lambda whole, _chance: whole.asked, "files": some_files, "hunks": some_pieces}
COMMON = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


def test_tasks_and_a_user_lose_nothing_to_each_other():
    run_state_machine_as_test(TasksMachine, settings=settings(SMALL, **COMMON, derandomize=True))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_tasks_and_a_user_lose_nothing_to_each_other_over_many_histories():
    run_state_machine_as_test(TasksMachine, settings=settings(LARGE, **COMMON))

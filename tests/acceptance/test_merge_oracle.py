"""Accepts of random edits on both sides, judged by `git merge-file`: what merges, what conflicts, and every byte."""

from __future__ import annotations

import random
import subprocess

import pytest

from cairn.changes import Change, ChangeSet, Content, EntryKind
from cairn.errors import Conflict
from cairn.project import Project

FILES, ROUNDS = 40, 50  # 2,000 triples
ENDS = (b"\n", b"\n", b"\r\n")


def text(chance):
    if chance.random() < 0.05:
        return chance.choice([b"", b"\n", b"\0binary\n", b"one line"])
    end = chance.choice(ENDS)
    lines = [
        b"line %d" % chance.randrange(8) + (b" caf\xe9" if chance.random() < 0.1 else b"")
        for _ in range(chance.randrange(1, 14))
    ]
    return end.join(lines) + (end if chance.random() < 0.8 else b"")


def edited(chance, data):
    lines = data.splitlines(keepends=True)
    for _ in range(chance.choice([0, 1, 1, 2, 3])):
        at = chance.randrange(len(lines) + 1)
        match chance.randrange(3):
            case 0:
                lines.insert(at, b"new %d\n" % chance.randrange(3))
            case 1 if lines:
                lines.pop(min(at, len(lines) - 1))
            case 2 if lines:
                lines[min(at, len(lines) - 1)] = b"other %d\n" % chance.randrange(3)
    return b"".join(lines)


def oracle(folder, base, project, task):
    """The merged bytes, None for a conflict."""
    if project == base:
        return task
    if task in (base, project):
        return project
    if any(b"\0" in data for data in (base, project, task)):
        return None
    for name, data in (("p", project), ("b", base), ("t", task)):
        (folder / name).write_bytes(data)
    done = subprocess.run(["git", "merge-file", "-p", "p", "b", "t"], cwd=folder, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def change(name, base, task):
    return Change(name, Content(EntryKind.FILE, 0o644, base), Content(EntryKind.FILE, 0o644, task))


def accept(project, triples):
    changes = [change(name, base, task) for name, (base, _now, task) in sorted(triples.items()) if base != task]
    project.apply("bcdfgh", ChangeSet(tuple(changes)))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_thousand_random_triples_come_out_as_git_merges_them(tmp_path):
    chance, scratch = random.Random(20), tmp_path / "scratch"
    scratch.mkdir()
    merged = conflicts = 0
    for number in range(ROUNDS):
        root = tmp_path / f"project{number}"
        root.mkdir()
        project = Project.find(root, exact=True)
        project.prepare()
        triples, wanted = {}, {}
        for each in range(FILES):
            base = text(chance)
            triples[f"f{each}"] = base, edited(chance, base), edited(chance, base)
            wanted[f"f{each}"] = oracle(scratch, *triples[f"f{each}"])
            (root / f"f{each}").write_bytes(triples[f"f{each}"][1])
        clashing = {name for name, data in wanted.items() if data is None}

        if clashing:
            before = {path.name: path.read_bytes() for path in root.glob("f*")}
            with pytest.raises(Conflict) as conflict:
                accept(project, triples)
            assert {path.partition(":")[0] for path in conflict.value.paths} == clashing
            assert {path.name: path.read_bytes() for path in root.glob("f*")} == before
        accept(project, {name: triple for name, triple in triples.items() if name not in clashing})

        found = {path.name: path.read_bytes() for path in root.glob("f*")}
        assert {name: found[name] for name in wanted.keys() - clashing} == {
            name: data for name, data in wanted.items() if name not in clashing
        }
        merged += len(wanted) - len(clashing)
        conflicts += len(clashing)
    assert merged + conflicts == FILES * ROUNDS
    assert min(merged, conflicts) > 100

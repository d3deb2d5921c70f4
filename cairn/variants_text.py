"""Variants in words: the table that ranks them, and which of them changes which file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cairn import git_diff
from cairn.console import Console, Styled, printable
from cairn.task import Task, TaskStatus
from cairn.variants import FileRow, Ranked, Standing, attempt_of, between, by_file, rank, unlike, whole

if TYPE_CHECKING:
    from cairn.orchestrator import Orchestrator

HEADER = ("RANK", "ID", "STATUS", "MODEL", "CHECKS", "FILES", "LINES", "TOKENS", "MONEY", "TIME", "NOTE")
UNLIKE_SHOWN = 5
PAIR = 2
_COLOURS = {TaskStatus.IN_REVIEW: "yellow", TaskStatus.ACCEPTED: "green", TaskStatus.FAILED: "red"}


def show(orchestrator: Orchestrator, tasks: Sequence[Task], console: Console, *, diff: bool = False) -> None:
    """The table, and with `diff` which of them changes which file and what lies between two."""
    ranked = rank(attempt_of(orchestrator.reviews.of(task)) for task in tasks)
    differing = unlike([orchestrator.work.base_of(task) for task in tasks])
    groups = {task.terms.group for task in tasks}
    told = ranking_json(groups.pop() if len(groups) == 1 else None, ranked, differing)
    table(ranked, console)
    if note := base_note(differing):
        console.note(note)
    if diff:
        told |= _differences(orchestrator, list(tasks) if len(tasks) == PAIR else _of(ranked, tasks), console)
    elif words := next_words(ranked):
        console.write(f"\n{words}")
    if console.as_json:
        console.json(told)


def _of(ranked: Sequence[Ranked], tasks: Sequence[Task]) -> list[Task]:
    """The tasks in the order of their ranks, those that failed left out."""
    known = {task.id: task for task in tasks}
    return [known[each.attempt.id] for each in ranked if each.rank is not None]


def _differences(orchestrator: Orchestrator, tasks: Sequence[Task], console: Console) -> dict[str, object]:
    ids = [task.id for task in tasks]
    every = [whole(orchestrator.reviews.of(task)) for task in tasks]
    rows = by_file(every)
    console.write()
    files_table(ids, rows, console)
    told: dict[str, object] = {"files": files_json(ids, rows)}
    if len(tasks) != PAIR:
        return told
    patch = git_diff.render(between(*every))
    console.write()
    if not patch:
        console.write(f"{ids[0]} and {ids[1]} make the same of the project.")
    elif not console.as_json:
        console.patch(patch)
    return told | {"patch": patch.decode("utf-8", "replace")}


def table(ranked: Sequence[Ranked], console: Console) -> None:
    """The attempts, the best first, in the figures that rank them."""
    console.table(HEADER, [_row(each) for each in ranked])


def _row(ranked: Ranked) -> list[str | Styled]:
    each = ranked.attempt
    colour = {0: "green"}.get(each.failed, "red") if each.checks else ""
    note = f"same as {ranked.same_as}" if ranked.same_as else ""
    why = "" if each.status is TaskStatus.IN_REVIEW else each.reason
    note += ("; " if note and why else "") + why
    return [
        "-" if ranked.rank is None else str(ranked.rank),
        each.id,
        Styled(str(each.status), _COLOURS.get(each.status, "")),
        printable(each.model),
        Styled(each.checks or "-", colour),
        str(each.files),
        f"+{each.added} -{each.removed}",
        f"{each.tokens:,}",
        "?" if each.money is None else f"{each.money:.4g}",
        f"{each.seconds:,.1f} s",
        note,
    ]


def ranking_json(group: str | None, ranked: Sequence[Ranked], unlike: Sequence[str]) -> dict[str, Any]:
    """The table for other programs; `unlike` are paths that not all attempts saw in the same state."""
    rows = [
        {**asdict(each.attempt), "status": str(each.attempt.status), "rank": each.rank, "same_as": each.same_as}
        for each in ranked
    ]
    return {"group": group, "variants": rows, "unlike": list(unlike)}


def files_table(ids: Sequence[str], rows: Sequence[FileRow], console: Console) -> None:
    """A line for each file, a column for each variant; the same letter is the same version of the file."""
    console.table(("FILE", *ids), [[printable(row.path), *_cells(row)] for row in rows])


def _cells(row: FileRow) -> list[str]:
    pairs = zip(row.versions, row.lines, strict=True)
    return [f"{_letter(version)} +{added} -{removed}" if version else "-" for version, (added, removed) in pairs]


def _letter(version: int) -> str:
    """The letters of the alphabet, then numbers."""
    return chr(ord("a") + version - 1) if version <= 26 else str(version)  # noqa: PLR2004 - letters there are


def files_json(ids: Sequence[str], rows: Sequence[FileRow]) -> list[dict[str, Any]]:
    """Each file with the version that each variant made of it; null for none."""
    return [
        {
            "path": row.path,
            "versions": {
                task: {"version": _letter(version), "added": added, "removed": removed} if version else None
                for task, version, (added, removed) in zip(ids, row.versions, row.lines, strict=True)
            },
        }
        for row in rows
    ]


def base_note(unlike: Sequence[str]) -> str:
    """That the project changed while they ran, so that they do not answer quite the same question; or nothing."""
    if not unlike:
        return ""
    more = f" and {len(unlike) - UNLIKE_SHOWN:,} more" if len(unlike) > UNLIKE_SHOWN else ""
    return f"cairn: not all of them saw the same: {printable(', '.join(unlike[:UNLIKE_SHOWN]))}{more}"


def next_words(ranked: Sequence[Ranked]) -> str:
    """What to type next; nothing when none can be accepted."""
    ready = [each.attempt.id for each in ranked if each.attempt.status is TaskStatus.IN_REVIEW and not each.same_as]
    if not ready:
        return ""
    best = ready[0]
    steps = [(f"cairn diff {best}", "read the changes")]
    if len(ready) > 1:
        steps.append((f"cairn compare {best} {ready[1]} --diff", "what the next one does otherwise"))
    others = sum(each.attempt.standing is not Standing.FAILED for each in ranked) > 1
    steps.append((f"cairn accept {best}", "take it" + ("; the others are rejected" if others else "")))
    width = max(len(command) for command, _ in steps)
    return "Next:\n" + "\n".join(f"  {command:<{width}}   {why}" for command, why in steps)

"""Files that somebody saves in the instant in which they are written: tried anew, a few times, and no version lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cairn.errors import Conflict
from cairn.merge_plan import Plan
from cairn.operation_log import Operation

_ATTEMPTS = 5  # of writing what somebody else's saves come in between
_NAMES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class KeptCopy:
    """An earlier version of a file that somebody saved over while it was being written; `copy` is the file it is in."""

    path: str
    copy: Path


class SavedMeanwhile(Conflict):
    """Somebody saved a file in the instant of its swap, and nothing but that file stands otherwise than before."""

    def __init__(self, kind: str, task_id: str, path: str, back: str, copies: tuple[KeptCopy, ...]) -> None:
        super().__init__(f"{path} was changed while the {kind} was being written.", back, "Try again.", paths=(path,))
        self.kind, self.task_id, self.copies = kind, task_id, copies


def again_after_saves(
    planned_now: Callable[[], Plan], written: Callable[[Plan], Operation]
) -> tuple[Plan, Operation, tuple[KeptCopy, ...]]:
    """Plans anew after each save that came in between, a few times: an editor that saves often must not starve it.

    Gives also the earlier versions that were kept on the way.
    """
    saves: list[SavedMeanwhile] = []
    planned = planned_now()
    while True:
        try:
            operation = written(planned)
        except SavedMeanwhile as saved:
            saves.append(saved)
            if len(saves) == _ATTEMPTS:
                raise _saved_too_often(saves) from None
            try:
                planned = planned_now()
            except Conflict:
                raise saved from None  # it tells of both: that somebody saves, and that nothing was written
        else:
            return planned, operation, tuple(copy for saved in saves for copy in saved.copies)


def _saved_too_often(saves: Sequence[SavedMeanwhile]) -> Conflict:
    """What to do about a program that saves the same files faster than they can be merged."""
    last = saves[-1]
    paths = tuple(dict.fromkeys(path for saved in saves for path in saved.paths))
    copies = [str(copy.copy) for saved in saves[:-1] for copy in saved.copies]
    kept = f" Earlier versions of it are in {some_of(copies)}." if copies else ""
    return Conflict(
        f"{some_of(paths)} was changed while the {last.kind} was being written, {len(saves)} times in a row.",
        f"A program saves it faster than its changes can be merged. {last.why}{kept}",
        (
            "Stop that program, or let it rest for a second: a watcher, an automatic save, a build or a log.",
            f"cairn {last.kind} {last.task_id}   then tries again.",
        ),
        paths=paths,
    )


def some_of(names: Sequence[str]) -> str:
    """A few of the names, and how many more there are."""
    return ", ".join(names[:_NAMES_SHOWN]) + (
        f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    )

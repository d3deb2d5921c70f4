"""A dry run in words: what `accept` would do at each path, what it would commit, and what would stay in review."""

from __future__ import annotations

from collections.abc import Iterator

from cairn.console import Console, printable
from cairn.dangerous_paths import Danger, not_allowed
from cairn.forecast import Doing, Forecast, ForeseenPath
from cairn.line_diff import split_lines
from cairn.project import foreseen_in_words
from cairn.text_merge import Region, lines_in_words

_REGION_LINES = 8  # of each side of a conflict
_COLOURS = {
    Doing.CREATE: "green",
    Doing.DELETE: "red",
    Doing.CONFLICT: "red",
    Doing.MERGE: "yellow",
    Doing.ALREADY: "dim",
}
_WIDTH = max(map(len, Doing))


def in_words(forecast: Forecast, task_id: str, console: Console) -> str:
    """Everything but the refusal, which is told like any error."""
    conflicts_first = sorted(forecast.paths, key=lambda path: path.doing is not Doing.CONFLICT)
    parts = [
        "\n".join(_dangers(forecast.dangers, console)),
        "Nothing would be written. But for what stands in the way it would be:" if forecast.refusal else "",
        "\n".join(line for path in conflicts_first for line in _path(path, console)),
        "\n".join(_commit(forecast)),
    ]
    if forecast.refusal is None:
        part = "part of " if forecast.left else ""
        parts.append(f"Would accept {part}{task_id}: {foreseen_in_words(forecast.plan)}.")
    return "\n\n".join(part for part in parts if part)


def _dangers(found: tuple[Danger, ...], console: Console) -> Iterator[str]:
    missing = not_allowed(found)
    if missing:
        yield console.style("Dangerous paths that nobody allowed:", "bold", "red")
        yield from (f"  {printable(danger.path)}: {printable(danger.why)}" for danger in missing)


def _path(path: ForeseenPath, console: Console) -> Iterator[str]:
    name = printable(path.path) + ("/" if path.folder and path.doing is not Doing.REPLACE else "")
    old = f"{printable(path.renamed_from)} -> " if path.renamed_from is not None else ""
    about = [f"{old}{name}"]
    about += ["changed"] if path.changed and not path.merged else []
    about += ["with your own edits"] if path.merged else []
    about += [f"mode {path.modes[0]:04o} -> {path.modes[1]:04o}"] if path.modes else []
    why = f": {printable(path.reason)}" if path.reason else ""
    word = path.doing.ljust(_WIDTH)
    colour = _COLOURS.get(path.doing)
    yield f"  {console.style(word, colour) if colour else word}  {', '.join(about)}{why}"
    for region in path.regions:
        yield from (f"    {line}" for line in _region(region))


def _region(region: Region) -> Iterator[str]:
    sides = (
        (f"yours, {lines_in_words(region.first_line, region.project_lines)}", region.project),
        ("what the task saw", region.base),
        (f"what the task made, {lines_in_words(region.task_line, region.task_lines)}", region.task),
    )
    for title, data in sides:
        lines = split_lines(data)
        yield f"{title}:" if lines else title if "nothing" in title else f"{title}: nothing"
        yield from (f"  | {printable(line.decode('utf-8', 'replace').rstrip())}" for line in lines[:_REGION_LINES])
        if len(lines) > _REGION_LINES:
            yield f"  | ... and {len(lines) - _REGION_LINES} more"


def _commit(forecast: Forecast) -> Iterator[str]:
    commit = forecast.commit
    if commit is None or forecast.refusal is not None:
        return
    if not commit.paths:
        yield "Would make no commit: git has these files so already."
        return
    count = f"{len(commit.paths)} file{'' if len(commit.paths) == 1 else 's'}"
    yield f"Would commit {count}, unless a hook refuses: {printable(commit.subject)}"
    yield from (f"  {printable(path)}" for path in commit.paths)

"""What a task file says: what is to be done, in Markdown, behind an optional front matter in YAML that says how.

---
model: gpt-5-mini
priority: 5
only: ["src/**", "docs/*.md"]
tags: [nightly]
budget: {output_tokens: 20000}
---
Add a docstring to each public function.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cairn.errors import UsageProblem

FILE_BYTES = 256_000
FRONT_CHARS = 16_000
ENTRIES = 100  # of a list or table in it
MOST = 1000  # of a priority, either way
SHOWN_CHARS = 60
_FENCE = re.compile(r"(?:---|\.\.\.)[ \t]*")
_TAG = re.compile(r"[\w.:/-]{1,50}")


class BadTaskText(UsageProblem):
    """A task file that Cairn cannot read as its author meant it."""


@dataclass(frozen=True, slots=True)
class TaskText:
    """A task as its file has it. `budget` is limits of the task by their names; `parameters` are those of `recipe`."""

    request: str
    model: str = ""
    priority: int = 0
    only: tuple[str, ...] = ()
    recipe: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    budget: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    accepts: bool = False


def parse_task_text(data: bytes) -> TaskText:
    """Raises BadTaskText for bytes that are no text, for no request at all, and for a front matter with any mistake."""
    front, body = _apart(_decoded(data))
    given = _mapping(front)
    text = TaskText(body.strip())
    for key, value in given.items():
        if key not in _KEYS:
            raise _bad(
                f"{key!r} is nothing that a front matter can say.", f"It can say: {', '.join(_KEYS)}.{_near(key)}"
            )
        name, read = _KEYS[key]
        text = replace(text, **{name: read(key, value)})
    if text.parameters and not text.recipe:
        raise _bad("with: gives parameters, but no recipe is named.", "Name it with recipe: NAME.")
    if not text.request and not text.recipe:
        raise _bad("It says nothing that is to be done.", "Write the task below the front matter, in your own words.")
    return text if text.request else replace(text, request=_in_words(text))


def _in_words(text: TaskText) -> str:
    return " ".join([f"recipe {text.recipe}", *(f"{name}={value}" for name, value in text.parameters.items())])


def _decoded(data: bytes) -> str:
    if len(data) > FILE_BYTES:
        raise _bad(
            f"It has more than {FILE_BYTES:,} bytes.", "Put large texts into files of the project and name them."
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _bad("It is not UTF-8 text.", "Save it as UTF-8.") from None
    if "\0" in text:
        raise _bad("It holds NUL, which no text does.", "Save it as plain text.")
    return text.replace("\r\n", "\n")


def _apart(text: str) -> tuple[str, str]:
    """The front matter and what is below it. A first line of `---` begins one, the next such line ends it."""
    lines = text.split("\n")
    if lines[0].rstrip() != "---":
        return "", text
    for number, line in enumerate(lines[1:], 1):
        if _FENCE.fullmatch(line):
            return "\n".join(lines[1:number]), "\n".join(lines[number + 1 :])
    raise _bad("Its front matter has no end.", "End it with a line of --- before the task.")


def _mapping(front: str) -> Mapping[str, object]:
    if len(front) > FRONT_CHARS:
        raise _bad(f"Its front matter has more than {FRONT_CHARS:,} characters.", "Put the task below the line of ---.")
    if not front.strip():
        return {}
    import yaml

    try:
        found = yaml.safe_load(front)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _bad(
            "Its front matter is no YAML.", f"{_where(error)}Texts that begin with * or & need quotes."
        ) from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _bad("Its front matter has no names.", "Write it as NAME: VALUE, one a line.")
    return {str(key): value for key, value in found.items()}


def _where(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None)
    return f"Line {mark.line + 2}: {problem}. " if mark is not None and problem else ""


# ── one value ──


def _text(key: str, value: object) -> str:
    if isinstance(value, bool | list | dict) or value is None or not str(value).strip():
        raise _bad(f"{key}: {_shown(value)} is no text.", f"Write it as {key}: NAME.")
    return str(value).strip()


def _whole(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MOST:
        raise _bad(f"{key}: {_shown(value)} is no whole number.", f"Write it as {key}: 5.")
    return value


def _yes(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _bad(f"{key}: {_shown(value)} is neither true nor false.", f"Write it as {key}: true.")
    return value


def _texts(key: str, value: object) -> tuple[str, ...]:
    items = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if len(items) > ENTRIES:
        raise _bad(f"{key}: has {len(items):,} entries; {ENTRIES} are allowed.", "Name fewer.")
    return tuple(_text(key, item) for item in items)


def _tags(key: str, value: object) -> tuple[str, ...]:
    tags = _texts(key, value)
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise _bad(f"{tag!r} is no tag.", "A tag has letters, digits and . : / - _, 50 at most.")
    return tags


def _table(key: str, value: object) -> dict[str, str]:
    if not isinstance(value, Mapping) or len(value) > ENTRIES:
        raise _bad(f"{key}: {_shown(value)} has no names.", f"Write it as {key}: {{NAME: VALUE}}.")
    return {str(name): _plain(f"{key}.{name}", item) for name, item in value.items()}


def _plain(key: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return _text(key, value)


_KEYS: dict[str, tuple[str, Callable[[str, object], Any]]] = {
    "model": ("model", _text),
    "priority": ("priority", _whole),
    "only": ("only", _texts),
    "recipe": ("recipe", _text),
    "with": ("parameters", _table),
    "budget": ("budget", _table),
    "tags": ("tags", _tags),
    "accept": ("accepts", _yes),
}


def _shown(value: object) -> str:
    text = (
        repr(value)
        if isinstance(value, str)
        else type(value).__name__
        if isinstance(value, list | dict)
        else str(value)
    )
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 3]}..."


def _near(key: str) -> str:
    close = difflib.get_close_matches(key, _KEYS, n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _bad(what: str, fix: str) -> BadTaskText:
    return BadTaskText(what, fix=fix)

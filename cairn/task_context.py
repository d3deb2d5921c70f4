"""What a model is told of the project before its first program: guidance, a map, attachments, what went wrong before.

All of it within a budget of characters, made once per task and kept with it, so that a resumed task tells the same.
Text of the project stands between fences that it cannot close. Ignored folders are not walked.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cairn import project_disk, text_search
from cairn.changes import EntryKind
from cairn.file_text import decoded
from cairn.outline import OutlineItem, outline
from cairn.overlay import Overlay
from cairn.prompts import name_in_prose
from cairn.task_file import JSON, TaskFile

GUIDANCE = "AGENTS.md"
GUIDANCE_CHARS = 6_000
MAP_CHARS = 6_000
ATTACHMENT_CHARS = 20_000
ATTACHMENTS_CHARS = 60_000
LISTED_FILES = 60  # up to this many, all are listed, with what they define
FOLDERS_SHOWN = 24
OUTLINED_FILES = 12
OUTLINE_BYTES = 200_000
NAMES_OF_A_FILE = 14
NAMES_IN_SMALL = 40  # of each file of a small project
CUT = "..."
RECIPES_CHARS = 2_000
RECIPE_CHARS = 200  # of one
WORDS_SEARCHED = 6
WHOLE_FILES = 12  # a project of so many files, short together, is shown whole
WHOLE_CHARS = 8_000  # of all files that are

Hides = Callable[[str], bool]

ASKED_KEY = "cairn.asked"
CONTEXT_KEY = "cairn.context"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that the person handed over with the task; `text` is None for one to be read from the project."""

    name: str
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What belongs to a request beside its sentence.

    `folder` is where in the project it was asked ("." is the root). `feedback` says why an earlier attempt was not
    accepted.
    """

    folder: str = "."
    attachments: tuple[Attachment, ...] = ()
    feedback: str = ""

    def __bool__(self) -> bool:
        return self != Asked()


def keep_asked(file: TaskFile, asked: Asked) -> None:
    """Kept in the task's file before it runs."""
    attachments: list[JSON] = [[each.name, each.text] for each in asked.attachments]
    value: dict[str, JSON] = {"folder": asked.folder, "attachments": attachments, "feedback": asked.feedback}
    file.kv_set(ASKED_KEY, value)


def kept_asked(file: TaskFile) -> Asked:
    """What `keep_asked` was given; nothing for a task that was asked for by its sentence alone."""
    kept: Any = file.kv_get(ASKED_KEY)
    if not isinstance(kept, dict):
        return Asked()
    attachments = tuple(Attachment(str(name), text) for name, text in kept.get("attachments", ()))
    return Asked(str(kept.get("folder", ".")), attachments, str(kept.get("feedback", "")))


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the context: a heading in plain words, and text that comes from files or people."""

    heading: str
    text: str


def opening(
    file: TaskFile,
    overlay: Overlay,
    request: str,
    recipes: Sequence[tuple[str, str]] = (),
    *,
    hides: Hides = lambda _: False,
) -> tuple[Section, ...]:
    """What a task's model is told before the task; made the first time, and the same from then on."""
    kept: Any = file.kv_get(CONTEXT_KEY)
    if isinstance(kept, list):
        return tuple(Section(str(heading), str(text)) for heading, text in kept)
    found = sections(overlay, request, kept_asked(file), recipes, hides=hides)
    told: list[JSON] = [[section.heading, section.text] for section in found]
    file.kv_set(CONTEXT_KEY, told)
    return found


def sections(
    overlay: Overlay,
    request: str,
    asked: Asked,
    recipes: Sequence[tuple[str, str]] = (),
    *,
    hides: Hides = lambda _: False,
) -> tuple[Section, ...]:
    """The parts in the order a model reads them; each is left out where there is nothing to say.

    `recipes` are names with descriptions. Of a file that `hides` is true of, only the name is shown, unless a person
    attached it.
    """
    files = [path for path in overlay.walk(".") if _is_worth_naming(path)]
    shown = [path for path in files if not hides(path)]
    found = [*_feedback(asked), *_attachments(overlay, asked.attachments), *_guidance(overlay, shown, asked.folder)]
    ranked = _ranked(overlay, shown, request, asked.folder)
    sight = _Sight(overlay, hides)
    found.append(Section(_map_heading(len(files)), _map(sight, files, ranked)))
    found += _whole_files(overlay, sight, shown, request, {each.name for each in asked.attachments})
    found.append(Section(_RECIPES, _recipe_list(recipes)))
    return tuple(section for section in found if section.text.strip())


def _is_worth_naming(path: str) -> bool:
    return "__pycache__/" not in path and not path.endswith(_NO_TEXT)


_NO_TEXT = (
    ".pyc",
    ".pyo",
    ".so",
    ".o",
    ".a",
    ".class",
    ".png",
    ".jpg",
    ".gif",
    ".ico",
    ".woff2",
    ".zip",
    ".gz",
    ".whl",
)


# ── what people say ─────────────────────────────────────────────────────────────────────────────────────────────────


def _feedback(asked: Asked) -> Iterable[Section]:
    if asked.feedback:
        yield Section("An earlier attempt at this task was not accepted. The person said why:", asked.feedback)


def _attachments(overlay: Overlay, attachments: Sequence[Attachment]) -> Iterable[Section]:
    left = ATTACHMENTS_CHARS
    for each in attachments:
        text = each.text if each.text is not None else _text(overlay, each.name)
        if text is None:
            continue
        room = min(ATTACHMENT_CHARS, left)
        shown = _head(
            text, room, f'read_file("{each.name}") shows the rest' if each.text is None else "the rest is left out"
        )
        left -= len(shown)
        yield Section(f"Attached by the person: {name_in_prose(each.name)}", shown)


def _guidance(overlay: Overlay, files: Sequence[str], folder: str) -> Iterable[Section]:
    """The nearest AGENTS.md at or above the folder the task was asked in; those below are named."""
    known = {path for path in files if posixpath.basename(path) == GUIDANCE}
    above = folder
    while True:
        path = GUIDANCE if above == "." else f"{above}/{GUIDANCE}"
        text = _text(overlay, path) if path in known else None
        if text is not None:
            shown = _head(text.strip(), GUIDANCE_CHARS, f'read_file("{path}") shows the rest')
            others = sorted(known - {path})
            more = f"\n(More guidance for other folders: {', '.join(others[:8])})" if others else ""
            yield Section(
                f"How this project wants to be worked on ({name_in_prose(path)}); follow it where it bears on this.",
                shown + more,
            )
            return
        if above == ".":
            return
        above = posixpath.dirname(above) or "."


# ── recipes ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_RECIPES = (
    "Recipes, tested programs for common tasks, with their parameters. Where one fits the whole task, run it:"
    ' PARAMETERS = {"path": "src"}; exec(read_recipe(name))'
)


def _recipe_list(recipes: Sequence[tuple[str, str]]) -> str:
    told = [f"{name}: {' '.join(description.split())}"[:RECIPE_CHARS] for name, description in recipes]
    return "\n".join(_fitting(told, RECIPES_CHARS))


# ── the map ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _map_heading(count: int) -> str:
    files = "file" if count == 1 else f"{count:,} files"
    return f"A map of the project's {files} (ignored ones left out), likely ones first, names with their lines:"


def _map(sight: _Sight, files: Sequence[str], ranked: Sequence[str]) -> str:
    """Every file of a small project, else the likely ones and below them the folders; what they define in both."""
    if len(files) <= LISTED_FILES:
        others = sorted(set(files).difference(ranked), key=lambda path: (not path.endswith(_SOURCES), path))
        return "\n".join(_with_names(sight, [*ranked, *others], MAP_CHARS, NAMES_IN_SMALL))
    lines = _with_names(sight, ranked[:OUTLINED_FILES], MAP_CHARS * 3 // 4, NAMES_OF_A_FILE)
    room = MAP_CHARS - sum(len(line) + 1 for line in lines)
    below = list(_fitting(_folders(files), room))
    return "\n".join([*lines, "", *below] if lines else below)


def _with_names(sight: _Sight, paths: Sequence[str], room: int, most: int) -> list[str]:
    """A line for each file; the first ones say what they define, as far as the room goes."""
    bare = list(_fitting([f"{path}{sight.size(path)}" for path in paths], room))
    left = room - sum(len(line) + 1 for line in bare)
    lines: list[str] = []
    for line, path in zip(bare, paths, strict=False):
        names = sight.names(path, most) if left > 0 and line != CUT else ""
        fits = bool(names) and len(names) + 2 <= left
        lines.append(f"{line}: {names}" if fits else line)
        left -= len(names) + 2 if fits else 0
    return lines


def _fitting(lines: Sequence[str], room: int) -> Iterator[str]:
    """The lines that have room, and a mark where some have none."""
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            yield CUT
            return
        yield line


def _whole_files(
    overlay: Overlay, sight: _Sight, shown: Sequence[str], request: str, attached: set[str]
) -> Iterable[Section]:
    """The texts of the files that the request names, and of all files where they are few and short.

    What is shown whole counts as read: a program may rest on it, so what the project held then is captured.
    """
    named = [path for path in shown if _is_named(path, request)]
    sizes = {path: sight.characters(path) for path in {*named, *(shown if len(shown) <= WHOLE_FILES else ())}}
    is_small = len(shown) <= WHOLE_FILES and sum(sizes.values()) <= WHOLE_CHARS
    left = WHOLE_CHARS
    for path in dict.fromkeys([*named, *(shown if is_small else ())]):
        size = sizes[path]
        if not size or size > left or path in attached or posixpath.basename(path) == GUIDANCE:
            continue
        text = _text(overlay, path)
        if text is not None:
            left -= size
            yield Section(f"The whole text of {name_in_prose(path)}:", text)


def _is_named(path: str, request: str) -> bool:
    name = posixpath.basename(path)
    alone = rf"(?<![\w./-]){re.escape(name)}(?![\w-])"
    return path in request or ("." in name and re.search(alone, request) is not None)


class _Sight:
    """The project's files as the task sees them now, looked at without being captured: the map is no reading."""

    def __init__(self, overlay: Overlay, hides: Hides) -> None:
        self._root = overlay.root
        self._hides = hides
        self._changed = overlay.shadowed()

    def size(self, path: str) -> str:
        """How many lines the file has; "" for what is no text, or too large to be counted here."""
        data = self._data(path)
        if data is None or b"\0" in data:
            return ""
        lines = data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
        return f" ({lines:,} {'line' if lines == 1 else 'lines'})"

    def characters(self, path: str) -> int:
        """About how long the text is; 0 for what is no text, more than could be shown for what is not looked at."""
        data = self._data(path)
        return WHOLE_CHARS + 1 if data is None else 0 if b"\0" in data else len(data)

    def names(self, path: str, most: int) -> str:
        """What a source file defines and where, in its order."""
        items: list[OutlineItem] = []
        with suppress(ValueError, RuntimeError):
            items = outline(path, self._data(path) or b"")
        names = [
            f"{item.name} {item.start}-{item.end}"
            for item in items
            if not item.name.rpartition(".")[2].startswith("__")
        ]
        more = f", and {len(names) - most} more" if len(names) > most else ""
        return ", ".join(names[:most]) + more

    def _data(self, path: str) -> bytes | None:
        if self._hides(path):
            return None
        if path in self._changed:
            data = self._changed[path]
            return data if data is not None and len(data) <= OUTLINE_BYTES else None
        try:
            found = project_disk.read(self._root, path, limit=OUTLINE_BYTES)
        except (OSError, ValueError):
            return None
        return found[1] if found is not None and found[0].kind is EntryKind.FILE else None


def _folders(files: Sequence[str]) -> list[str]:
    """Each folder of the first two levels with what kinds of files are below it."""
    below: dict[str, Counter[str]] = {}
    for path in files:
        parts = path.split("/")
        folder = "/".join(parts[:-1][:2]) or "."
        below.setdefault(folder, Counter())[posixpath.splitext(path)[1] or "no ending"] += 1
    largest = sorted(below, key=lambda name: (-below[name].total(), name))
    shown = sorted(largest[:FOLDERS_SHOWN])
    lines = [f"{name}/  {_kinds(below[name])}" for name in shown]
    return lines if len(largest) <= FOLDERS_SHOWN else [*lines, f"and {len(largest) - FOLDERS_SHOWN:,} more folders"]


def _kinds(kinds: Counter[str]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(3))


# ── which files matter ──────────────────────────────────────────────────────────────────────────────────────────────

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{2,}")
_PLAIN_WORDS = """
the and for all with from into that this add make use new old every each file files code test tests function functions
class classes method methods please should would could not but its are has have when where which rename replace remove
change update write python project
"""
_PLAIN = frozenset(_PLAIN_WORDS.split())
_ALWAYS = ("README.md", "README.rst", "pyproject.toml", "package.json", "setup.py", "Cargo.toml", "go.mod")
_SOURCES = (".py", ".pyi", ".js", ".ts", ".tsx", ".jsx", ".go", ".rs", ".java", ".c", ".h", ".cpp", ".rb", ".sh")


def words_of(request: str) -> tuple[str, ...]:
    """The words of a request that could be names in the project, in their order, without repetition."""
    return tuple(dict.fromkeys(word for word in _WORD.findall(request) if word.lower() not in _PLAIN))


def _ranked(overlay: Overlay, files: Sequence[str], request: str, folder: str) -> list[str]:
    words = words_of(request)
    scores: Counter[str] = Counter()
    lowered = [word.lower() for word in words]
    for path in files:
        low = path.lower()
        parts = {posixpath.splitext(part)[0] for part in low.split("/")}
        scores[path] += 6 * (path in request) + sum(3 + 4 * (word in parts) for word in lowered if word in low)
        scores[path] += (path in _ALWAYS) + (folder != "." and path.startswith(f"{folder}/"))
    for path, hits in _mentions(overlay, words).items():
        scores[path] += 2 + min(hits, 6)
    sources = [path for path in files if scores[path] > 0]
    return sorted(sources, key=lambda path: (-scores[path], not path.endswith(_SOURCES), path.count("/"), path))


def _mentions(overlay: Overlay, words: Sequence[str]) -> Counter[str]:
    """How often each file has one of the words that look like names."""
    names = [word for word in words if "_" in word or not word.islower()][:WORDS_SEARCHED] or list(
        words[:WORDS_SEARCHED]
    )
    if not names:
        return Counter()
    pattern = rf"\b({'|'.join(names)})\b"
    with suppress(OSError, ValueError, RuntimeError):
        return Counter(hit.file for hit in text_search.search(overlay, pattern))
    return Counter()


# ── texts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _text(overlay: Overlay, path: str) -> str | None:
    try:
        return decoded(path, overlay.read(path))
    except (OSError, ValueError):
        return None


def _head(text: str, room: int, rest: str) -> str:
    """Whole lines from the beginning, and how much is missing."""
    if len(text) <= room:
        return text
    cut = text[: max(room, 0)].rpartition("\n")[0] or text[: max(room, 0)]
    return f"{cut}\n... ({len(text) - len(cut):,} more characters; {rest})"

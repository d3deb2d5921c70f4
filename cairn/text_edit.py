"""Replacing text by text: in one place, where an error says where to look if none or several fit, or in all places."""

from __future__ import annotations

import difflib
import keyword
import re

SHOWN_PLACES = 10
SHOWN_CHARS = 200
LIKE = 0.5  # below this a line is not worth naming
COMPARED_LINES = 4_000  # ruling a line out costs some microseconds
COMPARED_CHARS = 120
COMPARISONS = 100  # comparing a line in full costs up to some milliseconds


def replaced_once(path: str, text: str, old: str, new: str) -> str:
    """The text with its only occurrence of `old` replaced. Raises ValueError when there is none, or more than one."""
    if not old:
        raise ValueError("old is empty; give the text to replace, with enough around it that it stands only once")
    if "\r\n" not in text:  # as read_file shows the file
        old, new = old.replace("\r\n", "\n"), new.replace("\r\n", "\n")
    if old == new:
        raise ValueError("old and new are equal, so there is nothing to edit")
    places = _places(text, old)
    if not places:
        raise ValueError(f"'{path}' does not contain old{_nearest(path, text, old)}; nothing was written")
    if len(places) > 1:
        times = max(text.count(old), len(places))
        lines = ", ".join(str(text.count("\n", 0, place) + 1) for place in places[:SHOWN_PLACES])
        more = ", ..." if len(places) > SHOWN_PLACES else ""
        raise ValueError(
            f"old stands {times:,} times in '{path}' (lines {lines}{more}); add lines around it until it stands once, "
            "or use read_file, replace and write_file to change them all; nothing was written"
        )
    return text.replace(old, new)


def replaced_everywhere(text: str, old: str, new: str, *, word: bool) -> tuple[str, int]:
    """The text with every `old` replaced, and how many there were; `word`: none that is a part of a longer name."""
    if "\r\n" not in text:  # as read_file shows the file
        old, new = old.replace("\r\n", "\n"), new.replace("\r\n", "\n")
    before = r"(?<!\w)" if word and re.match(r"\w", old) else ""
    after = r"(?!\w)" if word and re.search(r"\w\Z", old) else ""
    return re.subn(f"{before}{re.escape(old)}{after}", lambda _match: new, text)


def require_replaceable(old: str, new: str) -> None:
    """Raises ValueError for an `old` that no line holds, and for one that would become itself."""
    if not old.strip("\r\n"):
        raise ValueError("old is empty; give the text to replace")
    if old == new:
        raise ValueError("old and new are equal, so there is nothing to replace")


def renames_safely(text: str, old: str, new: str) -> bool:
    """True when one name in place of the other, as a whole word, surely leaves Python as sound as it is.

    That spares a parser. Not where a word may be more than a name: a keyword, a string's prefix, part of an escape.
    """
    names = old.isidentifier() and new.isidentifier()
    plain = names and not any(map(keyword.iskeyword, (old, new))) and not any(map(keyword.issoftkeyword, (old, new)))
    return plain and f"\\{old}" not in text and not re.search(rf"\b{re.escape(old)}['\"]", text)


def search_pattern(old: str) -> str:
    """A regular expression that fits a line of every text that has `old`, in any of the engines' syntaxes."""
    longest = max(re.split(r"\r?\n", old), key=len)
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", longest)


def _places(text: str, old: str) -> list[int]:
    """Where `old` begins, overlapping ones too, one more than are shown at most."""
    places: list[int] = []
    at = text.find(old)
    while at >= 0 and len(places) <= SHOWN_PLACES:
        places.append(at)
        at = text.find(old, at + 1)
    return places


def _nearest(path: str, text: str, old: str) -> str:
    """Where the text is most like `old`: the same words with other blanks, else the line most like its longest."""
    lines = text.split("\n")
    place = _other_blanks(lines, old.split("\n"))
    count = old.count("\n") + 1
    if place is not None:
        return f"; it is there with other blanks: {_shown(path, lines, place, count)}"
    longest = max(old.split("\n"), key=lambda line: len(line.strip()))
    near = _most_like(lines, longest)
    if near is None:
        return f", nor anything like it; read_file('{path}') shows what it contains"
    before = old.split("\n").index(longest)
    return f"; nearest is {_shown(path, lines, near, count, from_line=max(near - before, 0))}"


def _other_blanks(lines: list[str], wanted: list[str]) -> int | None:
    bare = "\n".join("".join(line.split()) for line in wanted).strip("\n")
    # One search in one text: comparing lists of lines at every place takes the product of both lengths.
    have = "\n".join(["", *("".join(line.split()) for line in lines), ""])
    at = have.find(f"\n{bare}\n") if bare else -1
    return have.count("\n", 0, at) if at >= 0 else None


def _most_like(lines: list[str], wanted: str) -> int | None:
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted.strip()[:COMPARED_CHARS])
    best, place, comparisons = LIKE, None, 0
    for number, line in enumerate(lines[:COMPARED_LINES]):
        matcher.set_seq1(line.strip()[:COMPARED_CHARS])
        if matcher.real_quick_ratio() <= best or matcher.quick_ratio() <= best:
            continue
        if (ratio := matcher.ratio()) > best:
            best, place = ratio, number
        comparisons += 1
        if comparisons == COMPARISONS:
            break
    return place


def _shown(path: str, lines: list[str], place: int, count: int, from_line: int | None = None) -> str:
    line = lines[place] if len(lines[place]) <= SHOWN_CHARS else lines[place][:SHOWN_CHARS] + "…"
    first = place if from_line is None else from_line
    return f"line {place + 1}: {line!r}; read_file('{path}', {first + 1}, {first + count}) shows the text as it is"

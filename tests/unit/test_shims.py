"""The modules that programs get though the sandbox lacks them: they say what Python's own say."""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
import heapq
import io
import operator
import pprint
import re
import statistics
import string
import textwrap

import pydantic_monty
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from cairn.program_rewrite import FOLDER, SHIMS, shim

TEXT = st.text(alphabet="ab -\t\nXé.", max_size=60)
WORDS = st.text(alphabet="abcd", max_size=8)
LINES = st.lists(st.sampled_from(["a\n", "b\n", "c\n", "d e\n"]), max_size=12)
NUMBERS = st.lists(st.integers(-50, 50), min_size=2, max_size=20)


def module(name):
    """The shim, run by this Python: it is the same text that the sandbox runs."""
    names: dict[str, object] = {}
    exec(compile(shim(name), name, "exec"), names)  # noqa: S102 - our own file
    return names[name if name.startswith("cairn_") else f"cairn_{name}"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_a_shim_runs_in_the_sandbox_and_says_what_it_has(path):
    text = path.read_text(encoding="utf-8")
    with pydantic_monty.Monty(max_processes=1) as pool, pool.checkout() as session:
        session.feed_run(text)

    assert text.startswith('"""')
    assert path.stem in SHIMS | {"cairn_re", "cairn_text"}


@given(TEXT)
@example(" a\n\n  b\n\tc")
def test_dedent_and_indent(text):
    assert module("textwrap").dedent(text) == textwrap.dedent(text)
    assert module("textwrap").indent(text, "> ") == textwrap.indent(text, "> ")


@given(TEXT, st.integers(1, 30), st.booleans(), st.booleans())
@example("well-known things are well-known", 12, True, True)
@example("averyveryverylongword and more", 7, True, True)
def test_wrap_fill_and_shorten(text, width, breaks_words, breaks_hyphens):
    assume("--" not in text and not re.search(r"-[ .é]|[ .é]-|^-|-$|\.-|-\.", text))
    options = {"break_long_words": breaks_words, "break_on_hyphens": breaks_hyphens, "subsequent_indent": " "}
    assume(width > 1)

    assert module("textwrap").wrap(text, width, **options) == textwrap.wrap(text, width, **options)


@given(st.lists(st.text(alphabet="abc", min_size=1, max_size=6), max_size=10), st.integers(8, 40))
def test_shorten_is_one_line_with_a_mark(words, width):
    text = "  ".join(words)
    assert module("textwrap").shorten(text, width) == textwrap.shorten(text, width)
    assert module("textwrap").fill(text, width) == textwrap.fill(text, width)


def test_the_constants_of_string():
    ours = module("string")
    names = ("ascii_letters", "ascii_lowercase", "ascii_uppercase", "digits", "hexdigits", "octdigits", "punctuation")
    assert [getattr(ours, name) for name in names] == [getattr(string, name) for name in names]
    assert set(ours.printable) == set(string.printable)
    assert ours.capwords("the  quick fox") == string.capwords("the  quick fox")


@given(st.text(alphabet="abc.x/", max_size=8), st.text(alphabet="ab*?[]!.x-^", max_size=6))
@example("a]", "[]]")
@example("^", "[^a]")
def test_fnmatch(name, pattern):
    assume("[" not in pattern or pattern.count("[") == pattern.count("]") == 1)
    assume("-" not in pattern)
    assume(not re.search(r"\[!?\]$|\[\]|\[!\]", pattern))

    assert module("fnmatch").fnmatch(name, pattern) == fnmatch.fnmatchcase(name, pattern)
    assert module("fnmatch").filter([name, "x"], pattern) == [n for n in (name, "x") if fnmatch.fnmatchcase(n, pattern)]


@given(st.lists(st.integers(-9, 9), max_size=30), st.integers(-1, 5))
def test_heapq(items, count):
    ours, heap, other = module("heapq"), [], []
    for item in items:
        ours.heappush(heap, item)
        heapq.heappush(other, item)
        assert heap[0] == other[0]
    assert [ours.heappop(heap) for _ in items] == sorted(items)
    heapified = list(items)
    ours.heapify(heapified)
    assert all(heapified[(n - 1) // 2] <= heapified[n] for n in range(1, len(heapified)))
    assert ours.nlargest(count, items) == heapq.nlargest(count, items)
    assert ours.nsmallest(count, items, key=abs) == heapq.nsmallest(count, items, key=abs)


@given(NUMBERS)
def test_statistics(values):
    ours = module("statistics")
    for name in ("mean", "fmean", "median", "median_low", "median_high", "mode", "stdev", "pstdev", "variance"):
        assert getattr(ours, name)(values) == pytest.approx(getattr(statistics, name)(values)), name
    assert ours.multimode(values) == statistics.multimode(values)


@given(LINES, LINES, st.integers(0, 4))
def test_unified_diffs(old, new, context):
    ours = module("difflib").unified_diff(old, new, "a", "b", n=context)
    assert list(ours) == list(difflib.unified_diff(old, new, "a", "b", n=context))


@given(WORDS, WORDS)
def test_the_matcher(one, other):
    ours, theirs = module("difflib").SequenceMatcher(None, one, other), difflib.SequenceMatcher(None, one, other)
    assert ours.ratio() == theirs.ratio()
    assert ours.get_opcodes() == theirs.get_opcodes()
    assert ours.get_matching_blocks() == [tuple(block) for block in theirs.get_matching_blocks()]


@given(WORDS, st.lists(WORDS, max_size=8))
def test_close_matches(word, words):
    assert module("difflib").get_close_matches(word, words) == difflib.get_close_matches(word, words)


def test_a_long_sequence_with_popular_items_is_matched_as_python_does():
    old = [f"line {n % 7}\n" for n in range(300)]
    new = [*old[:100], "new\n", *old[120:]]
    assert list(module("difflib").unified_diff(old, new)) == list(difflib.unified_diff(old, new))


def test_contextlib_suppresses_only_what_is_named():
    ours = module("contextlib")
    with ours.suppress(KeyError, ValueError):
        raise ValueError("gone")
    with pytest.raises(TypeError), ours.suppress(KeyError):
        raise TypeError("stays")
    with ours.nullcontext(5) as five:
        assert five == 5
    buffer = io.StringIO()
    with contextlib.suppress(ValueError), ours.closing(buffer):
        pass
    assert buffer.closed


def test_operator():
    ours, item = module("operator"), {"a": 1, "b": [2, 3]}
    assert ours.itemgetter("a")(item) == operator.itemgetter("a")(item)
    assert ours.itemgetter("a", "b")(item) == operator.itemgetter("a", "b")(item)
    assert ours.attrgetter("real", "imag")(3) == operator.attrgetter("real", "imag")(3)
    assert (ours.add(1, 2), ours.or_(1, 2), ours.contains([1], 1)) == (3, 3, True)


@given(st.lists(st.sampled_from(["a\n", "bc", "\n", ""]), max_size=8))
def test_text_in_memory(pieces):
    ours, theirs = module("io").StringIO("x\n"), io.StringIO("x\n")
    for each in (ours, theirs):
        each.seek(0, 2)
        for piece in pieces:
            each.write(piece)
    assert ours.getvalue() == theirs.getvalue()
    for each in (ours, theirs):
        each.seek(0)
    assert [ours.readline(), ours.read(2), ours.readlines(), ours.tell()] == [
        *(theirs.readline(), theirs.read(2), theirs.readlines(), theirs.tell())
    ]


@given(st.text(alphabet="abc", max_size=20), st.integers(0, 3))
def test_a_function_as_the_replacement(text, count):
    ours = module("cairn_re")
    double = lambda match: match.group(0) * 2  # noqa: E731
    assert ours.sub("a+", double, text, count=count) == re.sub("a+", double, text, count=count)
    assert ours.subn("[ab]", "x", text) == re.subn("[ab]", "x", text)
    assert ours.sub(re.compile("b"), double, text) == re.compile("b").sub(double, text)


@given(st.text(max_size=20))
def test_translation_of_letters(text):
    ours = module("cairn_text")
    for arguments in (("abc", "xyz"), ("ab", "xy", "z"), ({"a": "one", "b": None, ord("c"): 100},)):
        assert ours.translate(text, ours.maketrans(*arguments)) == text.translate(str.maketrans(*arguments))


@given(st.lists(st.integers(0, 255)))
def test_bytes_of_numbers(numbers):
    assert module("cairn_text").bytes(numbers) == bytes(numbers)


def test_printing_to_something_that_writes():
    ours, theirs = io.StringIO(), io.StringIO()
    module("cairn_text").print(1, "a", None, sep="-", end="!", file=ours)
    print(1, "a", None, sep="-", end="!", file=theirs)
    assert ours.getvalue() == theirs.getvalue()


def test_pretty_printing_breaks_only_what_is_too_wide():
    ours = module("pprint")
    small = {"a": [1, 2]}
    wide = {"name": ["x" * 30, "y" * 30, "z" * 30], "n": 1}
    assert ours.pformat(small) == pprint.pformat(small)
    assert ours.pformat(wide) == pprint.pformat(wide, sort_dicts=False)

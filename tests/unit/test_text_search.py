from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from cairn import text_search
from cairn.overlay import AgentFSOverlay, Overlay
from cairn.task_file import TaskFile
from cairn.text_search import PYTHON_ENGINE, Hit, SearchLimits, ripgrep, search

FILES = {
    "a.py": b"import os\nprint('needle')\n",
    "b.txt": b"needle one\r\nNeedle two\r\n",
    ".github/ci.yml": b"run: needle\n",
    "src/deep/c.py": b"\n\n  needle = 1",
    "ignored.log": b"needle\n",
    ".gitignore": b"*.log\nbuild/\n",
    "build/out.py": b"needle\n",
    "binary.bin": b"needle\n\x00\nneedle\n",
    "latin.txt": b"caf\xe9 needle\n",
    "mark.txt": b"\xef\xbb\xbfneedle\n",
    "odd name\n.txt": b"needle\n",
    "--files": b"needle\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (tmp_path / "secret.txt").write_bytes(b"needle\n")
    (folder / "out.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "in.txt").symlink_to("a.py")
    return folder


@pytest.fixture
def overlay(tmp_path: Path, root: Path) -> Iterator[Overlay]:
    made = AgentFSOverlay(TaskFile.create(tmp_path / "task.db", base=root), root)
    yield made
    made.close()


def _engines() -> list[object]:
    return [pytest.param(None, id="ripgrep"), pytest.param(PYTHON_ENGINE, id="python")]


@pytest.mark.parametrize("engine", _engines())
def test_every_text_file_is_searched_and_hits_are_sorted(overlay: Overlay, engine: tuple[str, ...] | None) -> None:
    assert search(overlay, "needle", engine=engine) == [
        Hit("--files", 1, "needle"),
        Hit(".github/ci.yml", 1, "run: needle"),
        Hit("a.py", 2, "print('needle')"),
        Hit("b.txt", 1, "needle one"),
        Hit("latin.txt", 1, "caf\ufffd needle"),
        Hit("mark.txt", 1, "needle"),
        Hit("odd name\n.txt", 1, "needle"),
        Hit("src/deep/c.py", 3, "  needle = 1"),
    ]


@pytest.mark.parametrize("engine", _engines())
def test_what_the_task_changed_is_searched_as_the_task_sees_it(
    overlay: Overlay, root: Path, engine: tuple[str, ...] | None
) -> None:
    overlay.write("a.py", b"nothing\n")
    overlay.write("new/d.py", b"one\nneedle d\n")
    overlay.delete("b.txt")
    overlay.move("src/deep/c.py", "moved.py")
    overlay.read("mark.txt")
    (root / "mark.txt").write_bytes(b"changed by the user\n")
    overlay.read(".github/ci.yml")
    (root / ".github/ci.yml").unlink()
    (root / "late.txt").write_bytes(b"needle late\n")

    assert search(overlay, "needle", engine=engine) == [
        Hit("--files", 1, "needle"),
        Hit(".github/ci.yml", 1, "run: needle"),
        Hit("late.txt", 1, "needle late"),
        Hit("latin.txt", 1, "caf\ufffd needle"),
        Hit("mark.txt", 1, "needle"),
        Hit("moved.py", 3, "  needle = 1"),
        Hit("new/d.py", 2, "needle d"),
        Hit("odd name\n.txt", 1, "needle"),
    ]


def test_a_folder_or_a_file_narrows_the_search(overlay: Overlay) -> None:
    overlay.write("src/new.py", b"needle")

    found = [[hit.file for hit in search(overlay, "needle", path)] for path in ("src", "a.py", "ignored.log", "build")]

    assert found == [["src/deep/c.py", "src/new.py"], ["a.py"], ["ignored.log"], ["build/out.py"]]


def test_ignored_files_are_searched_on_request(overlay: Overlay) -> None:
    everything = {hit.file for hit in search(overlay, "needle", include_ignored=True)}

    assert everything - {hit.file for hit in search(overlay, "needle")} == {"ignored.log", "build/out.py"}


def test_a_link_is_searched_only_when_it_is_named(overlay: Overlay) -> None:
    assert search(overlay, "needle", "in.txt") == [Hit("in.txt", 2, "print('needle')")]


def test_a_link_that_leads_outside_is_refused(overlay: Overlay) -> None:
    with pytest.raises(PermissionError):
        search(overlay, "needle", "out.txt")


def test_a_link_the_task_made_is_not_followed_either(overlay: Overlay) -> None:
    overlay.make_link("new-link.txt", "a.py")

    assert "new-link.txt" not in {hit.file for hit in search(overlay, "needle")}


def test_what_does_not_exist_is_named(overlay: Overlay) -> None:
    with pytest.raises(FileNotFoundError, match=r"^there is no file or folder 'none'$"):
        search(overlay, "needle", "none")


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        (r"^needle$", ["--files", "mark.txt", "odd name\n.txt"]),
        (r"(?i)NEEDLE two$", ["b.txt"]),
        (r"(?<=')needle(?=')", ["a.py"]),
        (r"(o)ne.*|(\w)\2dle t", ["b.txt", "b.txt"]),
        (r"needle[^\n]*\d", ["src/deep/c.py"]),
        (r"--files", []),
        (r"-needle", []),
        (r"(?P<word>nee)dle one", ["b.txt"]),
        (r"caf. needle", []),
        (r"^\s+needle", ["src/deep/c.py"]),
    ],
)
def test_patterns_mean_what_python_writers_expect(overlay: Overlay, pattern: str, files: list[str]) -> None:
    assert [hit.file for hit in search(overlay, pattern)] == files


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("", "the pattern is empty, so it would match every line"),
        ("a\nb", "the search goes line by line, so a pattern cannot contain a line end; search for one line of it"),
        (r"a\nb", "the search goes line by line, so a pattern cannot contain a line end; search for one line of it"),
        ("a\0", "the pattern contains a NUL character"),
        ("x" * 10_001, "the pattern is longer than 10,000 characters; search for a part of it"),
        (
            "foo(",
            (
                "the pattern 'foo(' does not compile: unclosed group; at offset 8: missing closing parenthesis; put a "
                "backslash before ( ) [ ] { } . * + ? | ^ $ that stand for themselves"
            ),
        ),
        (
            "x{100000}{1000}",
            (
                "the pattern 'x{100000}{1000}' does not compile: compiled regex exceeds size limit of 20971520; at "
                "offset 11: number too big in {} quantifier; put a backslash before ( ) [ ] { } . * + ? | ^ $ that stand "
                "for themselves"
            ),
        ),
    ],
)
def test_a_bad_pattern_says_what_is_wrong_with_it(overlay: Overlay, pattern: str, message: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the whole message is compared
        search(overlay, pattern)

    assert str(raised.value) == message


def test_a_bad_pattern_is_refused_where_there_is_nothing_to_search(overlay: Overlay) -> None:
    overlay.make_folder("empty")

    with pytest.raises(ValueError, match="unclosed group"):
        search(overlay, "foo(", "empty")


def test_the_python_engine_names_a_bad_pattern_too(overlay: Overlay) -> None:
    with pytest.raises(ValueError, match=r"^the pattern 'foo\(' does not compile: missing \), unterminated subpattern"):
        search(overlay, "foo(", engine=PYTHON_ENGINE)


def test_too_many_hits_are_an_error_that_says_how_to_narrow(overlay: Overlay) -> None:
    overlay.write("many.txt", b"needle\n" * 50)

    with pytest.raises(ValueError) as many:  # noqa: PT011 - the whole message is compared
        search(overlay, "needle", limits=SearchLimits(hits=40))
    with pytest.raises(ValueError) as long:  # noqa: PT011
        search(overlay, "needle", limits=SearchLimits(characters=40))

    assert [str(many.value), str(long.value)] == [
        "more than 40 lines match; make the pattern more exact, or give a folder or file as path",
        "the matching lines have over 40 characters; make the pattern more exact, or give a folder or file as path",
    ]


def test_a_binary_file_full_of_hits_does_not_count(overlay: Overlay) -> None:
    overlay.write("many.bin", b"needle\n" * 5_000 + b"\0")

    assert len(search(overlay, "needle", limits=SearchLimits(hits=40))) == 8


def test_a_long_line_is_cut(overlay: Overlay) -> None:
    overlay.write("long.txt", b"needle" + b"x" * 5_000)

    assert search(overlay, "needle", "long.txt") == [Hit("long.txt", 1, "needle" + "x" * 994 + "…")]


def test_larger_files_are_skipped(overlay: Overlay, root: Path) -> None:
    (root / "large.txt").write_bytes(b"needle\n" * 100)
    overlay.write("large2.txt", b"needle\n" * 100)

    assert [hit.file for hit in search(overlay, "needle", limits=SearchLimits(file_bytes=500))][-1] == "src/deep/c.py"


def test_a_search_past_its_deadline_is_killed(overlay: Overlay) -> None:
    overlay.write("slow.txt", b"a" * 60)

    with pytest.raises(TimeoutError, match=r"^the search took longer than 0\.5 s; make the pattern more exact"):
        search(overlay, "(a+)+$b", "slow.txt", limits=SearchLimits(seconds=0.5), engine=PYTHON_ENGINE)


def test_more_names_than_fit_a_command_line_are_searched_in_portions(
    overlay: Overlay, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in random.Random(1).sample(range(100), 100):
        (root / f"{number:03}.txt").write_bytes(b"haystack\n")
    monkeypatch.setattr(text_search, "ARGUMENT_BYTES", 200)

    assert [hit.file for hit in search(overlay, "haystack")] == [f"{number:03}.txt" for number in range(100)]


def test_a_rule_file_of_the_user_does_not_change_what_is_found(
    overlay: Overlay, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / ".ignore").write_text("*\n")
    (root / "rc").write_text("--ignore-case\n--max-count=0\n")
    monkeypatch.setenv("RIPGREP_CONFIG_PATH", str(root / "rc"))

    assert len(search(overlay, "needle")) == 8


def test_without_ripgrep_the_search_still_works(overlay: Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_search, "ripgrep", lambda: None)

    assert len(search(overlay, "needle")) == 8


def test_ripgrep_is_found() -> None:
    found = ripgrep()

    assert found is not None
    assert os.access(found, os.X_OK)


def test_an_unreadable_file_is_skipped(overlay: Overlay, root: Path) -> None:
    (root / "gone.txt").symlink_to("nowhere")
    (root / "locked.txt").write_bytes(b"needle")
    (root / "locked.txt").chmod(0)

    assert len(search(overlay, "needle")) in {8, 9}  # root may read it


def test_the_engine_without_ripgrep_writes_what_ripgrep_would(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    names = ["b.txt", "binary.bin", "none.txt"]

    ended = [text_search._search_by_python(["--regexp", pattern, "--", *names]) for pattern in ("two$", "(")]

    written = capsys.readouterr()
    assert ended == [0, 2]
    assert [json.loads(line) for line in written.out.splitlines()] == [
        {"type": "match", "data": {"path": {"text": "b.txt"}, "lines": {"text": "Needle two\r"}, "line_number": 2}},
        {"type": "end", "data": {"path": {"text": "b.txt"}, "binary_offset": None}},
        {"type": "summary", "data": {}},
    ]
    assert written.err == "re: missing ), unterminated subpattern at position 0\n"


def test_a_folder_that_became_a_link_right_before_the_engine_looked_gives_nothing(
    overlay: Overlay, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere/deep").mkdir(parents=True)
    (tmp_path / "elsewhere/deep/c.py").write_text("\n\n  needle = 2 # of somebody else\n")
    swap = (
        f"mv src kept && ln -s ../elsewhere src && exec {ripgrep()} --json --no-config --no-ignore --hidden" + ' "$@"'
    )

    hits = search(overlay, "needle", engine=("sh", "-c", swap, "rg"))

    assert (root / "src").is_symlink()
    assert [hit.file for hit in hits if hit.file.startswith("src/")] == []
    assert Hit("a.py", 2, "print('needle')") in hits


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("\ufeffneedle\nx".encode("utf-16-le"), "needle"),
        ("\ufeffx\nneedle ä".encode("utf-16-be"), "needle ä"),
        (b"\xff needle \xc3\r\n", "� needle �"),
        (b"a\rneedle\n", "a\rneedle"),
        (b"needle" + b"x" * 2_000 + b"\n", "needle" + "x" * 994 + "…"),
    ],
)
def test_a_line_that_was_found_is_known_again_however_it_is_written(
    overlay: Overlay, root: Path, data: bytes, line: str
) -> None:
    (root / "new.txt").write_bytes(data)

    assert [hit.text for hit in search(overlay, "needle", "new.txt")] == [line]

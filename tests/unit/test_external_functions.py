from __future__ import annotations

import ast
import asyncio
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from cairn.errors import DiskFull, ModelCallFailed
from cairn.executor import AgentExecutor
from cairn.external_functions import (
    BoundFunctions,
    ExternalFunctions,
    ProgramFiles,
    create_external_functions,
    function_reference,
    type_stubs,
)
from cairn.journal import UNFINISHED, ExactCall, Journal
from cairn.language_model import Completion, Message, TextModel
from cairn.overlay import AgentFSOverlay, Entry
from cairn.program import AtLimit, CallRecord, Finished, Limits, Submission
from cairn.progress import CallMade, Event
from cairn.recipe_library import library
from cairn.sandbox_files import SandboxFiles
from cairn.task_file import TaskFile
from cairn.testing import Asked, Script

SHOP = b"import os\n\n\ndef price(item):\n    return 1\n"

FILES = {
    "shop.py": SHOP,
    "src/app.js": b"function main() {}\n",
    "src/style.css": b"a { b: c }\n",
    ".github/ci.yml": b"run: x\n",
    ".gitignore": b"*.log\n",
    "debug.log": b"price\n",
    "logo.png": b"\x89PNG\0\0",
    "latin.txt": b"caf\xe9",
    "windows.txt": b"\xef\xbb\xbfone\r\ntwo\r\n",
    "broken.py": b"def (:\n",
    "empty.txt": b"",
}


@dataclass
class Table:
    """One task's functions over a real overlay and a real task file."""

    root: Path
    file: TaskFile
    overlay: AgentFSOverlay
    journal: Journal
    functions: BoundFunctions
    events: list[Event] = field(default_factory=list)

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self.functions.call(name, args, kwargs)

    def error(self, name: str, *args: Any, **kwargs: Any) -> Exception:
        with pytest.raises((OSError, ValueError, TypeError, RuntimeError)) as raised:
            self.functions.call(name, args, kwargs)
        return raised.value


MakeTable = Callable[..., Table]


@pytest.fixture
def make_table(tmp_path: Path) -> Iterator[MakeTable]:
    root = tmp_path / "project"
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (root / "out.txt").symlink_to(tmp_path / "secret.txt")
    file = TaskFile.create(tmp_path / "task.db", base=root)

    def make(model: TextModel | None = None, **limits: Any) -> Table:
        overlay, journal, events = AgentFSOverlay(file, root), Journal(file), list[Event]()
        functions = create_external_functions(overlay, journal, model, Limits(**limits), events.append)
        return Table(root, file, overlay, journal, functions, events)

    yield make
    file.close()


@pytest.fixture
def table(make_table: MakeTable) -> Table:
    return make_table()


def _same(error: Exception, other: Exception) -> bool:
    return (type(error), str(error)) == (type(other), str(other))


# ── reading ──


def test_a_file_is_read_whole_or_by_lines(table: Table) -> None:
    assert table("read_file", "shop.py") == SHOP.decode()
    assert table("read_file", "./shop.py", 4) == "def price(item):\n    return 1\n"
    assert table("read_file", "shop.py", start_line=1, end_line=1) == "import os\n"
    assert table("read_file", "shop.py", end_line=3) == "import os\n\n\n"
    assert table("read_file", "shop.py", 5, 99) == "    return 1\n"
    assert table("read_file", "shop.py", 6) == ""
    assert table("read_file", "empty.txt", 1, 10) == ""


def test_slices_one_after_the_other_are_the_file(table: Table) -> None:
    slices = [table("read_file", "shop.py", start, start + 1) for start in (1, 3, 5, 7)]

    assert "".join(slices) == SHOP.decode()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("shop.py", 0), ValueError("start_line is 0, but lines count from 1")),
        (("shop.py", 3, 1), ValueError("end_line 1 is before start_line 3")),
        (("shp.py",), FileNotFoundError("no file 'shp.py', but there is 'shop.py'; list_dir() shows what is there")),
        (("src",), IsADirectoryError("'src' is a folder; list_dir('src') shows what is in it")),
        (
            ("logo.png",),
            ValueError(
                "'logo.png' is binary, not text; leave it alone, or take its bytes with Path('logo.png').read_bytes()"
            ),
        ),
        (
            ("latin.txt",),
            ValueError(
                "'latin.txt' is not UTF-8 text (byte 3); leave it alone, or take its bytes with "
                "Path('latin.txt').read_bytes()"
            ),
        ),
        (
            ("out.txt",),
            PermissionError(
                "'out.txt' leads out of the project through a symlink; use only files inside the project"
            ),
        ),
        (("../x",), PermissionError("'../x' contains '..'; paths start at the project's root and stay inside it")),
        (("/etc/passwd",), PermissionError("'/etc/passwd' is absolute; paths are relative to the project, like 'etc/passwd'")),
        ((".git/config",), PermissionError("'.git/config' is inside .git/, which programs may not touch")),
        ((".cairn/x",), PermissionError("'.cairn/x' is inside .cairn/, which programs may not touch")),
        (("a\0b",), ValueError("the path contains a NUL character")),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_what_to_do_instead(
    table: Table, arguments: tuple[Any, ...], error: Exception
) -> None:
    assert _same(table.error("read_file", *arguments), error)


def test_a_long_text_is_read_in_parts(table: Table) -> None:
    (table.root / "long.txt").write_bytes(b"0123456789\n" * 100_000)

    assert str(table.error("read_file", "long.txt")) == (
        "this is 1,100,000 characters in 100,001 lines, and at most 1,000,000 can be read at once; read 'long.txt' in "
        "parts with start_line and end_line"
    )
    assert len(table("read_file", "long.txt", 1, 50_000)) == 550_000


def test_a_file_over_the_limit_is_refused_both_ways(table: Table) -> None:
    (table.root / "huge.txt").write_bytes(b"x" * 10_000_001)

    assert "'huge.txt'" in str(table.error("read_file", "huge.txt"))
    assert isinstance(table.error("write_file", "new.txt", "x" * 10_000_001), ValueError)
    assert not table("file_exists", "new.txt")


def test_the_first_read_is_what_the_task_sees_from_then_on(table: Table) -> None:
    first = table("read_file", "shop.py")
    missing = table.error("read_file", "later.txt")
    (table.root / "shop.py").write_bytes(b"changed")
    (table.root / "later.txt").write_bytes(b"made later")

    assert table("read_file", "shop.py") == first
    assert isinstance(missing, FileNotFoundError)
    assert isinstance(table.error("read_file", "later.txt"), FileNotFoundError)


# ── writing ──


def test_a_file_is_written_with_its_folders(table: Table) -> None:
    table("write_file", "new/deep/a.txt", "é\n")

    assert table("read_file", "new/deep/a.txt") == "é\n"
    assert table.overlay.read("new/deep/a.txt") == "é\n".encode()
    assert not (table.root / "new").exists()


def test_mark_and_line_ends_survive_reading_and_writing(table: Table) -> None:
    text = table("read_file", "windows.txt")
    table("write_file", "windows.txt", text)
    unchanged = table.overlay.read("windows.txt")
    table("edit_file", "windows.txt", "one\ntwo\n", "one\nthree\n")

    assert text == "one\ntwo\n"
    assert unchanged == FILES["windows.txt"]
    assert table.overlay.read("windows.txt") == b"\xef\xbb\xbfone\r\nthree\r\n"


def test_writing_through_a_link_makes_the_file_it_names(table: Table) -> None:
    table.overlay.make_link("link.txt", "new.txt")
    table("write_file", "link.txt", "x")

    assert (table("read_file", "new.txt"), table("read_file", "link.txt")) == ("x", "x")


def test_a_folder_is_not_written(table: Table) -> None:
    assert _same(
        table.error("write_file", "src", "x"),
        IsADirectoryError("'src' is a folder; write to a file in it, or delete it first"),
    )


def test_an_edit_replaces_the_one_place(table: Table) -> None:
    table("edit_file", "shop.py", "return 1", "return 2")

    assert table("read_file", "shop.py") == SHOP.decode().replace("return 1", "return 2")


def test_an_edit_that_does_not_fit_writes_nothing(table: Table) -> None:
    assert str(table.error("edit_file", "shop.py", "return 1\n\n", "x")) == (
        "'shop.py' does not contain old; it is there with other blanks: line 5: '    return 1'; "
        "read_file('shop.py', 5, 7) shows the text as it is; nothing was written"
    )
    assert str(table.error("edit_file", "shop.py", "i", "x")).startswith("old stands 3 times in 'shop.py' (lines 1, ")
    assert not table.overlay.changes()


def test_python_that_would_no_longer_parse_is_refused(table: Table) -> None:
    errors = [
        table.error("write_file", "shop.py", "import os\ndef price(:\n    pass\n"),
        table.error("edit_file", "shop.py", "    return 1", "return 1"),
        table.error("write_file", "shop.py", "x = '\0'"),
    ]

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert str(errors[0]) == (
        f"not written, because 'shop.py' parsed before and would not any more (Python {version}): line 2: invalid syntax "
        "in 'def price(:'. Mend the text and write it again"
    )
    assert "line 5: expected an indented block after function definition on line 4 in 'return 1'" in str(errors[1])
    assert "contains NUL characters" in str(errors[2])
    assert not table.overlay.changes()


def test_python_that_did_not_parse_before_and_new_files_may_be_anything(table: Table) -> None:
    table("write_file", "broken.py", "def (((:\n")
    table("write_file", "new.py", "{% template %}")
    table("write_file", "new.py", "{% another %}")
    table("write_file", "src/app.js", "((")

    assert len(table.overlay.changes()) == 3


def test_the_guard_looks_at_what_the_task_itself_wrote(table: Table) -> None:
    table("write_file", "broken.py", "x = 1\n")

    assert isinstance(table.error("write_file", "broken.py", "def (:\n"), ValueError)


def test_a_text_is_replaced_in_every_file_that_fits_and_nowhere_else(table: Table) -> None:
    table.root.joinpath("windows.txt").write_bytes(b"\xef\xbb\xbfthe price\r\nprices, price.\r\n")
    table.root.joinpath("latin.txt").write_bytes(b"price caf\xe9")
    table.root.joinpath("logo.png").write_bytes(b"price\0")
    table.root.joinpath("link.py").symlink_to("shop.py")
    table("write_file", "src/new.txt", "price price_list")

    assert table("replace_all", "price", "cost$1\\1", "**/*.txt") == [
        {"file": "src/new.txt", "count": 1}, {"file": "windows.txt", "count": 2}
    ]  # fmt: skip
    assert table.overlay.read("windows.txt") == b"\xef\xbb\xbfthe cost$1\\1\r\nprices, cost$1\\1.\r\n"
    assert table("read_file", "src/new.txt") == "cost$1\\1 price_list"
    assert table("replace_all", "price", "cost", "**/*") == [{"file": "shop.py", "count": 1}]
    assert set(table.overlay.changes().paths) == {"shop.py", "src/new.txt", "windows.txt"}
    assert table("replace_all", "price", "cost", "**/*") == []
    assert table("replace_all", "price", "cost", "src/*", word=False) == [{"file": "src/new.txt", "count": 1}]
    assert table("replace_all", "price", "cost", "debug.log") == [{"file": "debug.log", "count": 1}]


def test_replacing_spans_lines_and_takes_signs_as_they_are(table: Table) -> None:
    table("write_file", "a.txt", "a.b(\n  c) a-b(\n  c) xa.b(\n  c)")

    assert table("replace_all", "a.b(\n  c)", "D", "*.txt") == [{"file": "a.txt", "count": 1}]
    assert table("replace_all", ".b(\r\n  c)", "", "*.txt", word=True) == [{"file": "a.txt", "count": 1}]
    assert table("read_file", "a.txt") == "D a-b(\n  c) xa"


def test_replacing_is_whole_or_not_at_all(table: Table) -> None:
    table("write_file", "a.py", "f(price)\n")

    error = table.error("replace_all", "price", "1 +", "**/*")

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert str(error) == (
        f"nothing was replaced, because 'a.py' parsed before and would not any more (Python {version}): line 1: "
        "invalid syntax in 'f(1 +)'. Edit that file by itself, or leave it out"
    )
    assert (table("read_file", "a.py"), table("read_file", "shop.py")) == ("f(price)\n", SHOP.decode())
    assert str(table.error("replace_all", "\n", "x", "**/*")) == "old is empty; give the text to replace"
    assert str(table.error("replace_all", "x", "x", "*")) == "old and new are equal, so there is nothing to replace"
    assert isinstance(table.error("replace_all", "x", "y", "../*"), PermissionError)
    assert table("replace_all", "x", "y", "nothing/*") == table("replace_all", "x", "y", "nothing.txt") == []


def test_more_than_can_be_parsed_is_replaced_in_parts(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cairn.task_functions.PARSED_BYTES", 20)

    assert str(table.error("replace_all", "price(", "cost(", "**/*.py")) == (
        "nothing was replaced: 41 bytes of Python would have to be parsed, and at most 20 are in one call; "
        "replace in one folder after the other"
    )
    assert table("replace_all", "price", "cost", "**/*.py") == [{"file": "shop.py", "count": 1}]


def test_a_limit_takes_the_whole_replacement_back(make_table: MakeTable) -> None:
    table = make_table(files_changed=1)
    table("write_file", "a.txt", "price")

    with pytest.raises(AtLimit, match="files_changed"):
        table("replace_all", "price", "cost", "**/*")

    assert (table("read_file", "a.txt"), table.overlay.changes().paths) == ("price", ("a.txt",))


def test_a_name_of_a_real_package_is_renamed_and_back_again(tmp_path: Path) -> None:
    import click

    root = tmp_path / "root"
    shutil.copytree(Path(click.__file__).parent, root / "click", ignore=shutil.ignore_patterns("__pycache__"))
    before = {path: path.read_bytes() for path in root.rglob("*.py")}
    with TaskFile.create(tmp_path / "task.db", base=root) as file:
        overlay = AgentFSOverlay(file, root)
        functions = create_external_functions(overlay, Journal(file), None, Limits())
        there = functions.call("replace_all", ("Context", "Surroundings", "click/**/*.py"), {})
        counted = sum(len(re.findall(rb"(?<!\w)Context(?!\w)", data)) for data in before.values())
        left = functions.call("search_content", (r"\bContext\b",), {})
        for change in overlay.changes():
            ast.parse(overlay.read(change.path))
        patch = functions.call("diff", (), {})
        back = functions.call("replace_all", ("Surroundings", "Context", "**/*.py"), {})

        assert (sum(each["count"] for each in there), left, back) == (counted, [], there)  # type: ignore[attr-defined]
        assert overlay.changes().paths == ()
    git = ["git", "apply", "--numstat", "-"]
    told = subprocess.run(git, cwd=root, input=str(patch).encode(), capture_output=True, check=True).stdout
    assert len(told.splitlines()) == len(there)  # type: ignore[arg-type]


def test_files_and_folders_are_deleted_and_moved(table: Table) -> None:
    table("delete_file", "shop.py")
    table("move_file", "src", "lib/js")
    table("move_file", "empty.txt", "full.txt")

    assert table("list_dir") == [
        ".github/", ".gitignore", "broken.py", "full.txt", "latin.txt", "lib/", "logo.png", "out.txt", "windows.txt",
    ]  # fmt: skip
    assert table("search_files", "lib/**") == ["lib/js/app.js", "lib/js/style.css"]
    assert _same(
        table.error("move_file", "latin.txt", "full.txt"),
        FileExistsError("'full.txt' exists already; delete it first, or choose another name"),
    )
    assert isinstance(table.error("delete_file", "shop.py"), FileNotFoundError)
    assert isinstance(table.error("delete_file", "."), PermissionError)


# ── listing and searching ──


def test_a_folder_is_listed_with_hidden_names_and_without_ignored_ones(table: Table) -> None:
    assert table("list_dir", "src/") == ["app.js", "style.css"]
    assert ".github/" in table("list_dir")
    assert "debug.log" not in table("list_dir")
    assert "debug.log" in table("list_dir", ".", include_ignored=True)
    assert isinstance(table.error("list_dir", "shop.py"), NotADirectoryError)
    assert isinstance(table.error("list_dir", "none"), FileNotFoundError)


def test_a_folder_too_full_to_list_says_how_to_list_a_part(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cairn.task_functions.NAMES", 1)

    assert str(table.error("list_dir", "src")) == "'src' has over 1 names; search_files('src/a*') lists a part of them"
    assert str(table.error("search_files", "src/**")) == (
        "2 files fit 'src/**', more than 1; name a folder, or an ending"
    )


def test_existence_is_told_for_files_and_folders(table: Table) -> None:
    assert [table("file_exists", path) for path in ("shop.py", "src", ".", "none", "debug.log")] == [
        True, True, True, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.py", ["broken.py", "shop.py"]),
        ("**/*.{js,css}", ["src/app.js", "src/style.css"]),
        ("src/*", ["src/app.js", "src/style.css"]),
        ("src/", ["src/app.js", "src/style.css"]),
        ("/project/src/*.js", ["src/app.js"]),
        (".github/**", [".github/ci.yml"]),
        ("shop.py", ["shop.py"]),
        ("shop.py/*", []),
        ("none/*", []),
        ("none", []),
        ("*.log", []),
    ],
)
def test_files_are_found_by_glob(table: Table, pattern: str, found: list[str]) -> None:
    assert table("search_files", pattern) == found


def test_a_glob_that_is_a_folder_says_how_to_write_it(table: Table) -> None:
    assert _same(table.error("search_files", "src"), ValueError("'src' is a folder; 'src/**' fits the files below it"))
    assert isinstance(table.error("search_files", ".git/*"), PermissionError)


def test_content_is_found_as_dictionaries(table: Table) -> None:
    table("write_file", "src/new.js", "price()\n")

    assert table("search_content", r"price\b") == [
        {"file": "shop.py", "line": 4, "text": "def price(item):"},
        {"file": "src/new.js", "line": 1, "text": "price()"},
    ]
    assert table("search_content", "price", "src") == [{"file": "src/new.js", "line": 1, "text": "price()"}]
    assert [hit["file"] for hit in table("search_content", "price", include_ignored=True)] == [
        "debug.log", "shop.py", "src/new.js",
    ]  # fmt: skip


def test_an_outline_has_all_its_keys(table: Table) -> None:
    assert table("outline", "shop.py") == [
        {
            "name": "price", "kind": "function", "start": 4, "end": 5, "signature": "def price(item)",
            "has_docstring": False, "signature_end": 4, "body_line": 5, "docstring_start": 0, "docstring_end": 0,
            "indent": "    ", "one_line": False,
        }
    ]  # fmt: skip
    assert all(f'"{key}"' in function_reference() for key in table("outline", "shop.py")[0])


def test_a_file_too_large_to_outline_is_refused(table: Table) -> None:
    table("write_file", "large.py", "x = 1\n" * 400_000)

    for name in ("outline", "comments"):
        assert str(table.error(name, "large.py")) == "'large.py' has 2,400,000 bytes; files are parsed up to 2,000,000"


def test_a_file_with_too_many_definitions_is_refused(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cairn.task_functions.NAMES", 1)
    table("write_file", "two.sh", "f() { :; }\ng() { :; }\n")

    assert str(table.error("outline", "two.sh")) == ("'two.sh' has 2 entries, more than 1; search its text instead")


# ── calls that do not fit ──


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "message"),
    [
        (
            "read_file", (), {},
            (
                "read_file(): missing a required argument: 'path'; it is read_file(path: str, start_line: int | None = "
                "None, end_line: int | None = None) -> str"
            ),
        ),
        (
            "write_file", ("a", "b"), {"encoding": "utf-8"},
            "write_file(): got an unexpected keyword argument 'encoding'; it is write_file(path: str, content: str) -> None",
        ),
        ("read_file", (5,), {}, "read_file(): path must be str, not int"),
        ("read_file", ("a", "1"), {}, "read_file(): start_line must be int | None, not str"),
        ("read_file", ("a", True), {}, "read_file(): start_line must be int | None, not bool"),
        (
            "write_file", ("a", ["x"]), {},
            "write_file(): content must be str, not list; '\\n'.join(lines) makes one text of lines",
        ),
        (
            "write_file", ("a", b"x"), {},
            (
                "write_file(): content must be str, not bytes; value.decode() makes text of it, "
                "Path(path).write_bytes(value) writes it"
            ),
        ),
        ("list_dir", (".",), {"include_ignored": 1}, "list_dir(): include_ignored must be bool, not int"),
        (
            "submit_result", ("Done.", "a.py"), {},
            "submit_result(): changed_files must be list[str], not str; put it in brackets",
        ),
        ("submit_result", ("Done.", [1]), {}, "submit_result(): changed_files[0] must be str, not int"),
        (
            "log", ("<coroutine object f>",), {},
            "log(): message is a coroutine; put await before the call of your async function",
        ),
        ("ask_llm", (), {}, "ask_llm(): missing a required argument: 'prompt'; it is ask_llm(prompt: str, context: str = '') -> str"),
    ],
)  # fmt: skip
def test_a_call_that_does_not_fit_names_the_function_and_its_signature(
    table: Table, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    assert _same(table.error(name, *args, **kwargs), TypeError(message))
    assert [(call.name, call.error) for call in table.journal.calls()] == [(name, f"TypeError: {message}")]


def test_an_unknown_function_is_a_name_error(table: Table) -> None:
    with pytest.raises(NameError, match=r"^there is no function 'reed'; there are read_file, write_file, "):
        table("reed")


def test_paths_may_be_path_objects_and_begin_with_the_sandboxs_folder(table: Table) -> None:
    assert table("read_file", PurePosixPath("/project/shop.py")) == SHOP.decode()
    assert table("list_dir", "/project") == table("list_dir")


# ── the record ──


def test_each_call_is_journaled_and_then_reported(table: Table) -> None:
    table("read_file", "shop.py", end_line=1)
    table.error("read_file", "none.py")
    table("log", "half done")
    records = table.journal.calls()

    assert [(r.number, r.name, r.arguments, r.result, r.error) for r in records] == [
        (1, "read_file", "'shop.py', end_line=1", "'import os\\n'", ""),
        (2, "read_file", "'none.py'", "", "FileNotFoundError: no file 'none.py'; list_dir() shows what is there"),
        (3, "log", "'half done'", "", ""),
    ]
    assert table.events == [CallMade(record) for record in records]
    assert table.journal.exact_calls("read_file")[0] == ExactCall(
        1, 0, "read_file", {"path": "shop.py", "end_line": 1}, "import os\n"
    )


def test_a_record_that_cannot_be_kept_takes_the_effect_back(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_kwargs: object) -> CallRecord:
        raise DiskFull("The disk is full.")

    monkeypatch.setattr(table.journal, "record_call", full)
    with pytest.raises(DiskFull):
        table("write_file", "new.txt", "x")

    assert table.overlay.entry("new.txt") is None
    assert table.journal.calls() == ()
    assert table.events == []


def test_a_failed_write_leaves_its_record_and_no_effect(table: Table) -> None:
    table("write_file", "a.txt", "x")
    table.error("write_file", "a.txt/b.txt", "x")

    assert [bool(call.error) for call in table.journal.calls()] == [False, True]
    assert table.overlay.changes().paths == ("a.txt",)


def test_a_content_is_stored_once_for_overlay_and_journal(table: Table) -> None:
    (table.root / "long.txt").write_bytes(b"0123456789\n" * 1_000)
    for _ in range(3):
        table("read_file", "long.txt")

    assert table.file.rows("SELECT size FROM cairn_blob WHERE size > 1024") == [(11_000,)]


# ── submitting ──


def test_a_submission_is_kept_as_it_was_claimed(table: Table) -> None:
    before = table.functions.submission
    table("submit_result", " Done.\n", ["./b.py", "/project/a.py", "b.py"])

    assert (before, table.functions.submission) == (None, Submission("Done.", ("b.py", "a.py")))
    assert table.journal.submission() == table.functions.submission


@pytest.mark.parametrize(
    ("summary", "files", "error"),
    [
        (" ", [], ValueError("the summary is empty; say in 1 to 5 lines what was done and what was left")),
        ("x" * 10_001, [], ValueError("the summary has 10,001 characters; say it in less than 10,000")),
        ("ok", ["../x"], PermissionError("'../x' contains '..'; paths start at the project's root and stay inside it")),
    ],
)
def test_a_submission_that_is_refused_does_not_end_the_task(
    table: Table, summary: str, files: list[str], error: Exception
) -> None:
    assert _same(table.error("submit_result", summary, files), error)
    assert (table.functions.submission, table.journal.submission()) == (None, None)


def test_a_long_message_is_not_logged(table: Table) -> None:
    assert str(table.error("log", "x" * 10_001)) == "the message has 10,001 characters; log at most 10,000"


# ── asking ──


async def test_an_answer_is_journaled_with_its_tokens(make_table: MakeTable) -> None:
    table = make_table(Script("Adds.", tokens=(30, 4)).model())

    assert await table("ask_llm", "What?", context="x + y") == "Adds."
    (record,) = table.journal.calls()
    assert (record.arguments, record.result, record.input_tokens, record.output_tokens) == (
        "'What?', context='x + y'", "'Adds.'", 30, 4,
    )  # fmt: skip
    assert table.events == [CallMade(record)]


async def test_an_answer_beyond_bounds_is_an_error(make_table: MakeTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cairn.task_functions.TEXT_CHARS", 10)
    table = make_table(Script("x" * 11).model())

    with pytest.raises(RuntimeError, match=r"^the answer has 11 characters; ask for a shorter one$"):
        await table("ask_llm", "What?")


async def test_many_answers_come_in_order(make_table: MakeTable) -> None:
    table = make_table(Script(lambda asked: asked.prompt.upper()).model())

    assert await table("ask_llm_many", ["a", "b", "c"]) == ["A", "B", "C"]
    (record,) = table.journal.calls()
    assert (record.input_tokens, record.output_tokens) == (300, 60)


async def test_a_question_that_fails_is_an_error_the_program_can_catch(make_table: MakeTable) -> None:
    def answer(_asked: Asked) -> str:
        raise ModelCallFailed("No.", "Never.")

    table = make_table(Script(answer).model())

    with pytest.raises(RuntimeError, match="gave no answer"):
        await table("ask_llm", "What?")
    assert table.journal.calls()[0].error.startswith("RuntimeError: the language model gave no answer")


async def test_without_a_model_asking_fails_and_is_journaled(table: Table) -> None:
    with pytest.raises(RuntimeError, match=r"^no language model is set up"):
        await table("ask_llm", "What?")
    assert len(table.events) == len(table.journal.calls()) == 1


async def test_too_many_prompts_at_once_are_refused(table: Table) -> None:
    with pytest.raises(ValueError, match=r"^1,001 prompts at once; at most 1,000 are taken, so ask in parts$"):
        await table("ask_llm_many", ["x"] * 1_001)


async def test_the_question_limit_is_the_hosts_and_counts_over_restarts(make_table: MakeTable) -> None:
    script = Script(lambda _asked: "yes")
    first = make_table(script.model(), llm_calls=4)
    await first("ask_llm", "a")
    await first("ask_llm_many", ["b", "c"])
    second = make_table(script.model(), llm_calls=4)
    before = second.functions.questions_used_up
    await second("ask_llm", "d")

    with pytest.raises(RuntimeError, match="4 questions and 0 are left"):
        await second("ask_llm", "e")
    assert (before, second.functions.questions_used_up, len(script.asked)) == (False, True, 4)


@dataclass
class Draft:
    """A model for drafts that never answers until told."""

    name: str = "draft"
    draft: bool = True
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    told: asyncio.Event = field(default_factory=asyncio.Event)

    async def complete(
        self,
        prompt: str,
        *,
        system: str = "",
        history: Sequence[Message] = (),
        on_text: Callable[[int], None] | None = None,
    ) -> Completion:
        self.asked.set()
        await self.told.wait()
        return Completion("Sells.", 0, 0, 0.0, self.name)


async def test_a_question_is_pending_in_the_journal_until_it_is_answered(make_table: MakeTable) -> None:
    model = Draft()
    table = make_table(model)
    asking = asyncio.ensure_future(table("ask_llm", "What?"))
    await model.asked.wait()
    pending = table.journal.calls()[0].error
    reported = list(table.events)
    model.told.set()
    await asking

    assert (pending, reported) == (UNFINISHED, [])
    assert (table.journal.calls()[0].error, table.functions.drafts) == ("", 1)


async def test_a_cancelled_question_stays_unfinished(make_table: MakeTable) -> None:
    model = Draft()
    table = make_table(model)
    asking = asyncio.ensure_future(table("ask_llm", "What?"))
    await model.asked.wait()
    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking
    assert table.journal.calls()[0].error == UNFINISHED


# ── files for ordinary file code ──


def test_file_operations_are_journaled_under_the_callers_name(table: Table) -> None:
    files = table.functions.files
    files.make_folder("made", as_name="os.makedirs")
    files.write_bytes("made/a.bin", b"\0\1", as_name="open")
    files.move("made/a.bin", "made/b.bin")
    files.delete("empty.txt")
    entries = files.list_folder("made")

    assert files.read_bytes("made/b.bin") == b"\0\1"
    assert files.entry("none") is None
    assert files.walk("src", as_name="os.walk") == ["src/app.js", "src/style.css"]
    assert [type(entry) for entry in entries] == [Entry]
    assert [(call.name, call.arguments) for call in table.journal.calls()] == [
        ("os.makedirs", "'made'"),
        ("open", "'made/a.bin', data='2 bytes'"),
        ("Path.rename", "'made/a.bin', target='made/b.bin'"),
        ("Path.unlink", "'empty.txt'"),
        ("Path.iterdir", "'made'"),
        ("Path.read_bytes", "'made/b.bin'"),
        ("Path.stat", "'none'"),
        ("os.walk", "'src'"),
    ]
    exact = table.journal.exact_calls()
    assert exact[1].arguments == {"path": "made/a.bin", "data": b"\0\1"}
    assert exact[4].result == [["made/b.bin", "file", 0o644, 2, entries[0].mtime]]
    assert exact[5].result == b"\0\1"


def test_file_operations_keep_python_parsing_too(table: Table) -> None:
    with pytest.raises(ValueError, match="parsed before and would not any more"):
        table.functions.files.write_bytes("shop.py", b"def (:\n")
    with pytest.raises(ValueError, match="it is not UTF-8 text"):
        table.functions.files.write_bytes("shop.py", b"x = '\xff'\n")
    table.functions.files.write_bytes("shop.py", b"x = 1\n")
    table.functions.files.write_bytes("broken.py", b"def (\n")
    table.functions.files.write_bytes("new.py", b"def (\n")


def test_a_failed_file_operation_is_journaled(table: Table) -> None:
    with pytest.raises(FileNotFoundError):
        table.functions.files.read_bytes("none")

    assert table.journal.calls()[0].error.startswith("FileNotFoundError: no file 'none'")


def test_the_parts_fit_those_who_use_them(table: Table) -> None:
    functions: ExternalFunctions = table.functions
    files: ProgramFiles = functions.files
    sandbox = SandboxFiles(files, file_bytes=1_000)

    assert sandbox.answer("Path.read_text", ("/project/shop.py",), {}) == SHOP.decode()


# ── comments, the task's own changes, git's and the recipes ──


def test_comments_are_found_as_dictionaries(table: Table) -> None:
    table("write_file", "a.py", "x = 1  # one\n")

    assert table("comments", "a.py") == [{"line": 1, "end": 1, "text": "# one", "alone": False}]
    assert str(table.error("comments", "empty.txt")).startswith("comments knows no language for 'empty.txt'; it knows ")


def test_the_task_s_own_changes_are_a_patch(table: Table) -> None:
    assert table("diff") == ""
    table("edit_file", "shop.py", "return 1", "return 2")
    table("write_file", "src/new/a.txt", "x")

    whole = table("diff")
    folder = table("diff", path="src")

    assert whole.startswith("diff --git a/shop.py b/shop.py\n")
    assert "\n-    return 1\n+    return 2\n" in whole
    assert (folder.startswith("diff --git a/src/new/a.txt b/src/new/a.txt\nnew file"), folder in whole) == (True, True)
    assert table("diff", "empty.txt") == table("diff", "nothing") == ""


def test_a_patch_too_long_to_read_is_asked_for_in_parts(table: Table) -> None:
    table("write_file", "a.txt", "x" * 999_999)

    assert str(table.error("diff")).endswith("characters, over 1,000,000; ask for one file or folder")


def test_git_s_history_is_told_and_without_git_that(table: Table) -> None:
    assert str(table.error("history")) == "the project is not in a git repository, so there is no history to tell"
    for command in (["init", "-q"], ["add", "shop.py"], ["commit", "-q", "-m", "All of it"]):
        subprocess.run(["git", *command], cwd=table.root, check=True)

    assert "Tester: All of it\n\nWhat " in table("history", "shop.py", n=3)
    assert table("history", None).endswith("+def price(item):\n+    return 1\n")
    assert str(table.error("history", "src/app.js")).startswith("no commit has 'src/app.js'")


def test_a_recipe_is_read_by_its_name(table: Table) -> None:
    known = library(None)
    functions = create_external_functions(table.overlay, table.journal, None, Limits(), recipe=known.text_of)

    assert functions.call("read_recipe", ("fix_todos",), {}) == known.named("fix_todos").for_programs()
    assert [name for name, _description in known.offered] == [recipe.name for recipe in known.recipes]
    with pytest.raises(
        ValueError, match=r"^no recipe is called 'x'; there are add_docstrings, add_header, fix_todos, "
    ):
        functions.call("read_recipe", ("x",), {})
    assert str(table.error("read_recipe", "x")) == "no recipe is called 'x'; there are none"


# ── what models and the checker are told ──


def test_stubs_and_reference_say_the_same_of_every_function(table: Table) -> None:
    names = [
        "read_file", "write_file", "edit_file", "replace_all", "delete_file", "move_file", "list_dir", "file_exists",
        "search_files", "search_content", "outline", "comments", "diff", "history", "read_recipe",
        "ask_llm", "ask_llm_many", "run_check", "submit_result", "log",
    ]  # fmt: skip
    declared = [line for line in type_stubs().splitlines() if line.startswith("def ")]
    described = [line for line in function_reference(("tests",)).splitlines() if not line.startswith(" ")]

    assert [f"def {line}:" for line in described] == declared
    assert [line.partition("(")[0] for line in described] == names
    assert table.functions.names == set(names)
    assert "run_check" not in function_reference()


def test_the_stubs_are_python_and_carry_the_texts() -> None:
    scope: dict[str, Any] = {}
    exec(compile(type_stubs(), "stubs", "exec", dont_inherit=True), scope)  # noqa: S102 - our own text

    assert inspect.getdoc(scope["file_exists"]) == "True if there is a file or folder at the path."
    assert inspect.signature(scope["ask_llm"]).return_annotation is str


def test_asking_gives_an_awaitable_and_all_else_a_value(table: Table) -> None:
    asking = table("ask_llm", "x")

    assert isinstance(asking, Awaitable)
    asking.close()
    assert table.journal.calls() == ()


# ── with the real sandbox ──


def _checked_by_monty(code: str) -> str:
    """What the sandbox's type checker says; nothing is bound, so nothing but the check can be meant."""
    from pydantic_monty import Monty, MontyTypingError

    with (
        Monty() as pool,
        pool.checkout(type_check=True, type_check_stubs=type_stubs(), type_check_format="concise") as session,
    ):
        try:
            session.feed_start(f"def program():\n    {code}\n")
        except MontyTypingError as error:
            return error.display().strip()
    return ""


@pytest.mark.parametrize(
    "code",
    [
        "text: str = read_file('a.py', 1, end_line=20)",
        "lines = [line.strip() for path in search_files('**/*.py') for line in read_file(path).split('\\n')]",
        "hits: list[dict] = search_content('x', 'src', include_ignored=True); n: int = hits[0]['line'] + 1",
        "names = sorted({hit['file'].upper() for hit in search_content('x')})",
        "todo = [f for f in outline('a.py') if not f['has_docstring']]; k = todo[0]['start'] - 1",
        "texts = [t.upper() for t in ask_llm_many(['a'], context='b')]; one = ask_llm('q').strip()",
        "n: int = replace_all('a', 'b', '**/*.py', word=False)[0]['count']; s: str = comments('a.py')[0]['text']",
        "s: str = diff() + diff('a') + history() + history('a', n=3) + read_recipe('x')",
        "write_file('a', 'b'); edit_file('a', 'b', 'c'); move_file('a', 'b'); delete_file('b'); log('x')",
        "submit_result('Done.', ['a'] if file_exists('a') else []); names = list_dir() + list_dir('src')",
    ],
)
def test_the_sandboxs_checker_accepts_right_calls(code: str) -> None:
    assert _checked_by_monty(code) == ""


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("read_file(5)", "invalid-argument-type"),
        ("read_file('a').foo", "unresolved-attribute"),
        ("write_file('a')", "missing-argument"),
        ("write_file('a', 'b', encoding='utf-8')", "unknown-argument"),
        ("submit_result('Done.', 'a.py')", "invalid-argument-type"),
        ("await ask_llm('x')", "await"),
        ("history(5)", "invalid-argument-type"),
        ("history(n=None)", "invalid-argument-type"),
        ("search_content('x')[0].line", "unresolved-attribute"),
    ],
)
def test_the_sandboxs_checker_refuses_wrong_calls(code: str, rule: str) -> None:
    assert rule in _checked_by_monty(code)


async def test_a_program_works_with_every_function(make_table: MakeTable) -> None:
    table = make_table(Script(lambda asked: f"About {asked.prompt}.").model())
    program = """
for path in search_files("**/*.py"):
    try:
        todo = [f for f in outline(path) if not f["has_docstring"]]
    except ValueError as error:
        log(str(error))
        continue
    lines = read_file(path).split("\\n")
    for f, text in reversed(list(zip(todo, ask_llm_many([f["name"] for f in todo])))):
        lines.insert(f["signature_end"], f["indent"] + '\"\"\"' + text + '\"\"\"')
    write_file(path, "\\n".join(lines))
try:
    edit_file("shop.py", "def prices(items):", "x")
except ValueError as error:
    print(error)
move_file("src", "web")
with open("notes.txt", "w") as notes:
    notes.write("".join(list_dir("web")))
delete_file("empty.txt")
print(search_content("price"), file_exists("src"), ask_llm("all"))
submit_result("Documented.", ["shop.py"])
"""
    async with AgentExecutor(Limits()).session(table.functions) as session:
        problems = await session.check(program)
        result = await session.execute(program)

    assert problems == ()
    assert isinstance(result, Finished), result
    assert result.submission == Submission("Documented.", ("shop.py",))
    assert result.run.output == (
        "'shop.py' does not contain old; nearest is line 4: 'def price(item):'; read_file('shop.py', 4, 4) shows the text "
        "as it is; nothing was written\n"
        "[{'file': 'shop.py', 'line': 4, 'text': 'def price(item):'}, "
        "{'file': 'shop.py', 'line': 5, 'text': '    \"\"\"About price.\"\"\"'}] False About all.\n"
    )
    assert table.overlay.read("shop.py") == SHOP.replace(b":\n", b':\n    """About price."""\n')
    assert table.overlay.changes().paths == (
        "empty.txt", "notes.txt", "shop.py", "src/app.js", "src/style.css", "web/app.js", "web/style.css",
    )  # fmt: skip
    assert [call.name for call in table.journal.calls() if call.error] == ["outline", "edit_file"]

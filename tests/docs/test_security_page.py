"""docs/security.md: what it says of paths, ignored files, modes and terminals, tried."""

from __future__ import annotations

import re

import pytest

from cairn.external_functions import create_external_functions
from cairn.journal import Journal
from cairn.overlay import AgentFSOverlay
from cairn.program import Limits
from cairn.task_file import TaskFile
from tests.docs.generated_blocks import DOCS, ROOT

PAGE = (DOCS / "security.md").read_text(encoding="utf-8")
REFUSED = re.findall(r"^\| `([^`]+)` \| [^|]* \|$", PAGE.split("These paths, for example,")[1], re.MULTILINE)
HOSTILE = "\x1b[2J \x1b]0;title\x07 \x9b31m \u202e \x7f \r"
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def functions(tmp_path):
    root = tmp_path / "project"
    (root / ".git").mkdir(parents=True)
    (root / ".git/config").write_text("[core]\n")
    (root / ".gitignore").write_text(".env\n")
    (root / ".env").write_text("TOKEN=1\n")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    with TaskFile.create(tmp_path / "task.db", base=root) as file:
        yield create_external_functions(AgentFSOverlay(file, root), Journal(file), None, Limits())


@pytest.mark.parametrize("path", REFUSED)
def test_a_path_that_the_page_calls_refused_is_refused_for_reading_and_writing(functions, path):
    for call in (("read_file", (path,)), ("write_file", (path, "x")), ("delete_file", (path,))):
        with pytest.raises(PermissionError):
            functions.call(*call, {})


def test_an_ignored_file_is_not_listed_but_can_be_read_by_its_name(functions):
    listed = functions.call("list_dir", (), {})

    assert (listed, functions.call("read_file", (".env",), {})) == ([".gitignore", "run.sh"], "TOKEN=1\n")


def test_a_written_file_is_not_executable_and_an_executable_one_keeps_its_mode(functions):
    functions.call("write_file", ("new.sh", "#!/bin/sh\n"), {})
    functions.call("write_file", ("run.sh", "#!/bin/sh\necho\n"), {})

    modes = {path: functions.files.entry(path).mode for path in ("new.sh", "run.sh")}
    assert modes == {"new.sh": 0o644, "run.sh": 0o755}


def test_a_program_has_no_function_for_modes_and_links(functions):
    assert [name for name in functions.names if re.search("mode|chmod|link", name)] == []


def test_no_text_of_a_program_moves_a_persons_cursor(project, cairn):
    """Names, outputs, log lines, summaries and programs, on every screen that shows them to people."""
    name = HOSTILE.replace("\r", "") + ".txt"
    program = f"# {HOSTILE}\nwrite_file({name!r}, 'x')\nprint({HOSTILE!r})\nlog({HOSTILE!r})\n"
    failing = f"submit_result\nraise ValueError({HOSTILE!r})\n"
    submitting = f"{program}submit_result({HOSTILE!r}, [{name!r}])\n"

    screens = [cairn("run", "--code", "-", "-v", stdin=text) for text in (submitting, failing)]
    screens += [cairn(*words.split()) for words in ("show", "log", "list", "accept", "undo", "reject", "list")]

    assert [screen.code for screen in screens] == [0, 1, 0, 0, 0, 0, 0, 0, 0]
    shown = [screen.out + screen.err for screen in screens]
    assert [CONTROLS.findall(text) for text in shown] == [[]] * len(shown)


def test_every_module_and_test_that_the_page_names_is_there():
    rows = re.findall(r"^\| \w+ \|.*\| (`[^|]*`) \| \[", PAGE, re.MULTILINE)
    modules = [name for row in rows for name in re.findall(r"`(\w+)`", row)]

    assert modules
    assert [name for name in modules if not (ROOT / f"cairn/{name}.py").exists()] == []


def rows_of_attacks():
    table = PAGE.split("## What happens to an attack")[1].split("## What is not promised")[0]
    return [
        [cell.strip() for cell in row.strip("|").split(" | ")] for row in re.findall(r"^\| .* \|$", table, re.MULTILINE)
    ][1:]


def test_every_attack_names_the_layers_that_stop_it():
    layers = set(re.findall(r"^\| (\w+) \|.*\| `[^|]*` \| \[", PAGE, re.MULTILINE))
    named = {layer for row in rows_of_attacks() for layer in row[1].split(", ")}

    assert named - layers == {"all of them"}


def test_every_table_of_hostile_programs_is_on_the_page():
    there = {path.name for path in (ROOT / "tests/hostile").glob("test_*.py")}
    named = {name for row in rows_of_attacks() for name in re.findall(r"tests/hostile/(\w+\.py)", row[3])}

    assert named == there

"""What a stranger types, leaves empty, closes or deletes: refused in words, and nothing is changed by it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.here import Here

ADDS = "write_file('new.txt', 'x\\n')\nsubmit_result('Added new.txt.', ['new.txt'])\n"
NO_TEXT = os.fsdecode(b"\xff\xfe")
FULL = Path("/dev/full")


@pytest.fixture
def cairn(capfd, monkeypatch):
    return Here(capfd, monkeypatch)


def in_review(cairn) -> str:
    return cairn.json("run", "--code", "-", stdin=ADDS)["task"]["id"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["list"], 0), (["show"], 3), (["diff"], 3), (["log"], 3), (["accept"], 3), (["undo"], 3), (["reject"], 3),
        (["resume"], 3), (["op", "log"], 0), (["gc"], 0), (["work"], 0), (["compare"], 3), (["replay", "abc"], 3), (["recipes"], 0),
    ],
)  # fmt: skip
def test_a_look_at_a_folder_without_tasks_makes_no_project_of_it(cairn, tmp_path, monkeypatch, arguments, code):
    folder = tmp_path / "plain" / "below"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder.parent)

    told = cairn(*arguments)

    assert (told.code, list(folder.parent.iterdir())) == (code, [folder])


def test_what_a_command_asks_for_makes_one(cairn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cairn("add", "--code", "-", "x", stdin=ADDS).code == 0
    assert (tmp_path / ".cairn").is_dir()


def test_the_root_of_the_disk_is_a_project_only_for_who_is_in_it(tmp_path, monkeypatch):
    from cairn import project_place

    monkeypatch.setattr(Path, "lstat", lambda _path: os.lstat(tmp_path))
    monkeypatch.setattr(Path, "is_dir", lambda _path: True)
    monkeypatch.setattr(project_place.os, "geteuid", lambda: os.lstat(tmp_path).st_uid)
    found = [project_place._is_project(Path("/"), start=start) for start in (Path("/"), Path("/srv"))]
    assert found == [True, False]


def test_an_empty_id_is_no_id_left_out(cairn, project):
    task = in_review(cairn)
    cairn("accept", task)

    told = cairn("undo", "")

    assert (told.code, told.err) == (2, "cairn: The task's id is empty.\n  cairn list   shows the ids there are.\n")
    assert (project / "new.txt").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", NO_TEXT], ["undo", NO_TEXT], ["list", "--tag", NO_TEXT], ["list", "--before", NO_TEXT],
        ["run", "x", "--only", NO_TEXT], ["accept", "abc", NO_TEXT], ["export", NO_TEXT, "file"],
    ],
)  # fmt: skip
def test_bytes_that_are_no_text_are_refused_before_anything_is_done(cairn, project, arguments):
    told = cairn(*arguments)
    verb = arguments[0]
    assert told.code == 2
    assert told.err == (
        "cairn: '\\udcff\\udcfe' is not text.\n  It has bytes that are no UTF-8.\n"
        f"  cairn {verb} --help   says what it takes.\n"
    )
    assert not (project / ".cairn").exists()


def test_a_program_may_have_a_name_that_is_no_text(cairn, project, tmp_path):
    program = tmp_path / os.fsdecode(b"\xff.py")
    program.write_text(ADDS)
    assert cairn("run", "--code", str(program)).code == 0


def test_a_program_may_come_through_a_pipe_with_a_name(cairn, project, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["sh", "-c", f"printf %s \"$0\" > '{tmp_path}/pipe'", ADDS]):
        assert cairn("run", "--code", str(tmp_path / "pipe")).code == 0


def test_an_only_that_names_nothing_is_refused(cairn, project):
    told = cairn("run", "--code", "-", "--only", "", stdin=ADDS)
    assert (told.code, told.err) == (
        2,
        'cairn: --only names no path, so that nothing would be refused.\n  --only "src/**"\n',
    )


@pytest.mark.parametrize(
    ("verb", "code"), [("show", 3), ("diff", 3), ("accept", 3), ("replay", 3), ("reject", 0), ("list", 0)]
)
def test_a_task_whose_file_is_gone_is_not_said_to_have_changed_nothing(cairn, project, verb, code):
    task = in_review(cairn)
    for file in (project / ".cairn" / "tasks").iterdir():
        file.unlink()

    told = cairn(verb, *([] if verb == "list" else [task]))

    assert told.code == code
    if code:
        assert "cairn: The file of task TASK1 is gone, and with it what the task did.\n" in told.err
        assert "cairn retry TASK1   does it again; cairn reject TASK1   lets it be." in told.err


def test_resume_without_an_id_starts_nothing_that_waits_for_another_task(cairn, project):
    task = in_review(cairn)
    cairn("reject", task)
    added = cairn("add", "--code", "-", "later", "--after", task, stdin=ADDS)

    told = cairn("resume")

    assert added.err == "cairn: 1 queued; none can start yet.\n"

    assert (told.code, told.err.splitlines()[0]) == (3, "cairn: No task was interrupted.")
    assert [each["status"] for each in cairn.json("list")["tasks"]] == ["queued", "rejected"]


def test_what_nobody_would_heed_is_refused(cairn, project):
    task = in_review(cairn)
    told = cairn("replay", task, "--fork", "0", "--then", "but leave the tests alone")
    assert told.code == 2
    assert told.err == (
        "cairn: No model writes the programs of task TASK1, so nobody would heed --then.\n"
        '  cairn replay TASK1 --fork 0 --then "..." -m MODEL\n'
    )


def test_a_path_in_the_place_of_an_id_is_named_as_one(cairn, project):
    told = cairn("accept", "src/app.py")
    assert (told.code, told.err) == (
        2,
        "cairn: src/app.py is no id of a task; paths stand behind one.\n  cairn accept ID src/app.py\n",
    )


def test_a_recipe_made_of_a_recipes_task_runs(cairn, project):
    (project / "a.txt").write_text("colour\n")
    task = cairn.json("run", "replace 'colour' with 'color'")["task"]["id"]
    made = cairn.json("recipes", "new", "mine", "--from", task)

    told = cairn("run", "--recipe", "mine", "new=hue", "--accept")

    assert made == {"recipe": "mine", "file": str(project / ".cairn" / "recipes" / "mine.py")}
    assert (told.code, (project / "a.txt").read_text()) == (0, "hue\n")


def test_a_state_that_is_no_folder_is_found_by_the_doctor(cairn, project):
    (project / ".cairn").write_text("")
    told = cairn("doctor")
    assert f"broken  project   {project}/.cairn is not a folder" in told.out


@pytest.mark.skipif(not FULL.exists(), reason="Linux has it")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("arguments", [["list", "--json"], ["show", "abc", "--json"], ["show", "abc"]])
def test_a_stream_that_takes_nothing_is_no_traceback(project, stream, arguments):
    with FULL.open("w") as full:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: full}
        done = subprocess.run([sys.executable, "-m", "cairn", *arguments], **streams, text=True, check=False)
    assert "Traceback" not in (done.stderr or "") + (done.stdout or "")
    assert done.returncode in {0, 1, 3}
    assert stream == "stderr" or done.returncode != 0


def test_a_closed_stdin_is_an_empty_one(project):
    command = f"{sys.executable} -m cairn run --code - --json <&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["error"]["exit_code"]) == (2, 2)


def test_the_end_of_a_command_leaves_the_local_models_threads_alone(project):
    program = """
import atexit, sys, types
class Torn:
    def __del__(self):
        print("torn down", flush=True)
sys.modules["xllamacpp"] = types.ModuleType("xllamacpp")
sys.modules["xllamacpp"].model = Torn()
atexit.register(print, "in good order", flush=True)
from cairn.cli import main
main(["list", "--status", "failed"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "in good order\n", "cairn: no such task.\n")

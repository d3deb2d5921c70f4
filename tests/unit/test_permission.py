"""A policy at work: real programs over real files; what is refused is not done, whichever way it is tried."""

from __future__ import annotations

import asyncio

import pytest

from cairn.program import CodeFailed
from cairn.settings import Settings
from cairn.task import CodeOrigin, TaskStatus
from tests.unit.test_resume import Answers, Desk

TRIES = """\
def tried(what):
    try:
        print(what())
    except Exception as error:
        print(type(error).__name__, error)

{body}
submit_result("Done.", [])
"""


@pytest.fixture
def desk(project):
    opened = []

    def make(*answers, text=None, **options):
        given = {f"policy.{name}": value for name, value in options.items()}
        opened.append(Desk(project, *answers, text=text, settings=Settings().with_options(given)))
        return opened[-1]

    yield make
    for each in opened:
        each.orchestrator.close()


def output(desk, *lines):
    """What a program prints that tries each of these, and the paths that it changed."""
    body = "\n".join(f"tried(lambda: {line})" for line in lines)
    review = desk.run(desk.add(TRIES.format(body=body)))
    return review.steps[0].result.run.output.splitlines(), review.changes.paths


OUTSIDE = (
    "PermissionError '{path}' is not among the paths that this task may change: {only}. Nothing was written. Reading is "
    "free. Change only those, or submit what can be done within them and say what is left"
)


def test_changes_outside_of_the_named_paths_are_refused_in_every_way_and_reading_is_free(desk, project):
    (project / "src/to_docs.md").symlink_to("../README.md")
    here = desk(only="src/**\ndocs/*.md\n")
    ways = {
        'write_file("a.txt", "x")': "a.txt",
        'edit_file("README.md", "Sample", "x")': "README.md",
        'delete_file("README.md")': "README.md",
        'move_file("README.md", "src/README.md")': "README.md",
        'move_file("src/app.py", "app.py")': "app.py",
        'move_file("src", "lib")': "lib",
        'Path("a.txt").write_text("x")': "a.txt",
        'Path("a.txt").write_bytes(b"x")': "a.txt",
        'open("a.txt", "w")': "a.txt",
        'open("README.md", "a")': "README.md",
        'Path("README.md").unlink()': "README.md",
        'Path("README.md").rename("src/R")': "README.md",
        'os.makedirs("lib/x")': "lib/x",
        'write_file("src/to_docs.md", "through a link")': "src/to_docs.md",
        'replace_all("TODO", "DONE", "**/*")': "README.md",
    }

    said, changed = output(here, 'read_file("README.md")[:8]', 'open("README.md").read()[:8]', *ways)

    assert said[:2] == ["# Sample", "# Sample"]
    assert said[2:] == [OUTSIDE.format(path=path, only="src/**, docs/*.md") for path in ways.values()]
    assert changed == ()


def test_changes_within_the_named_paths_go_through(desk):
    here = desk(only="src/**\ndocs/*.md\n")

    said, changed = output(
        here,
        'write_file("src/new/a.py", "x = 1\\n")',
        'os.makedirs("src/other/deep")',
        'os.makedirs("docs")',
        'Path("docs/b.md").write_text("b")',
        'move_file("src/app.py", "src/main.py")',
        'delete_file("src/tool.py")',
    )

    assert said == ["None", "None", "None", "1", "None", "None"]
    assert {"src/new/a.py", "docs/b.md", "src/main.py", "src/app.py", "src/tool.py"} <= set(changed)


def test_a_folder_goes_only_if_all_that_is_in_it_may(desk):
    said, changed = output(desk(only="src/*.py\n"), 'write_file("src/a.txt", "")', 'delete_file("src")')

    assert [line.partition(":")[0] for line in said] == [
        f"PermissionError '{path}' is not among the paths that this task may change" for path in ("src/a.txt",)
    ] + ["None"]
    assert set(changed) == {"src/app.py", "src/tool.py"}


def test_a_file_that_may_not_be_read_is_read_in_no_way(desk, project):
    (project / "secrets").mkdir()
    (project / "secrets/key.py").write_text("TOKEN = 'hunter2'\n")
    (project / "link.py").symlink_to("secrets/key.py")
    (project / "door").symlink_to("secrets")
    here = desk(deny="read(secrets/**)")
    ways = [
        'read_file("secrets/key.py")',
        'read_file("link.py")',
        'read_file("door/key.py")',
        'outline("secrets/key.py")',
        'edit_file("secrets/key.py", "TOKEN = ", "x")',
        'move_file("secrets/key.py", "k.py")',
        'move_file("secrets", "open_now")',
        'open("secrets/key.py").read()',
        'Path("link.py").read_text()',
        'Path("secrets/key.py").rename("k.py")',
        'os.replace("secrets/key.py", "README.md")',
        'comments("secrets/key.py")',
        'history("secrets/key.py")',
        'replace_all("TOKEN", "X", "secrets/*.py")',
    ]

    said, changed = output(
        here,
        *ways,
        'search_content("hunter2|Sample")',
        'search_content("hunter2", "link.py")',
        'search_content("hunter2", "secrets/key.py")',
        'list_dir("secrets")',
    )

    assert [line[:43] for line in said[: len(ways)]] == ["PermissionError the person's policy denies "] * len(ways)
    assert said[len(ways) :] == [
        "[{'file': 'README.md', 'line': 1, 'text': '# Sample'}]",
        "[]",
        "[]",
        "['key.py']",
    ]
    assert (changed, "hunter2" in "".join(said)) == ((), False)


def test_of_its_own_changes_a_task_is_shown_what_it_may_read(desk, project):
    (project / "keys.py").write_text("TOKEN = 'hunter2'\n")
    here = desk(deny="read(keys.py)")

    said, changed = output(
        here, 'write_file("keys.py", "")', 'write_file("a.txt", "x\\n")', 'diff().count("hunter2")', "history()"
    )

    assert said[:3] == ["None", "None", "0"]
    assert said[3] == "PermissionError the person's policy lets history show single files only; name one file"
    assert changed == ("a.txt", "keys.py")


def test_a_denied_function_says_by_which_rule_and_the_next_thing_goes_on(desk):
    model = Answers()
    here = desk(deny="ask_llm_many write_file(*.md)", text=model)

    said, changed = output(
        here,
        'ask_llm_many(["a"])',
        'ask_llm("b")',
        'write_file("README.md", "")',
        'edit_file("README.md", "Sample", "Example")',
    )

    told = "Nothing was done. Go on without it, or submit what can be done and say what was denied"
    assert said == [
        f"PermissionError the person's policy denies ask_llm_many (ask_llm_many). {told}",
        "answer to b",
        f"PermissionError the person's policy denies write_file at 'README.md' (write_file(*.md)). {told}",
        "None",
    ]
    assert (model.asked, changed) == (["b"], ("README.md",))


def test_where_the_default_is_deny_only_what_is_allowed_is_done(desk):
    here = desk(default="deny", allow="look read(src/**) write(src/**)")

    said, changed = output(
        here,
        "list_dir()",
        'read_file("src/app.py")[:3]',
        'edit_file("src/app.py", "hello", "hi")',
        'write_file("src/a.py", "")',
        'read_file("README.md")',
        'write_file("a.py", "")',
        'search_content("TODO")',
        'ask_llm("x")',
    )

    refused = "(what is not allowed by name is denied). Nothing was done."
    assert [refused in line for line in said] == [False, False, False, False, True, True, False, True]
    assert (said[6], changed) == (
        "[{'file': 'src/tool.py', 'line': 1, 'text': '# TODO: speed'}]",
        ("src/a.py", "src/app.py"),
    )


def test_a_file_still_open_at_the_end_is_judged_too(desk):
    here = desk(only="src/**")
    program = 'handle = open("{path}", "w")\nhandle.write("x")\nif False:\n    submit_result("", [])\n'

    within, outside = (here.run(here.add(program.format(path=path))) for path in ("src/a.txt", "a.txt"))

    assert within.changes.paths == ("src/a.txt",)
    assert isinstance(outside.steps[0].result, CodeFailed)
    assert (outside.task.status, outside.changes.paths) == (TaskStatus.FAILED, ())


def test_a_refused_call_is_refused_again_in_a_replay_whatever_the_settings_say_then(desk, project):
    here = desk(deny="write_file(*.md)", only="*.md\nsrc/**\n")
    body = 'tried(lambda: write_file("README.md", ""))\ntried(lambda: open("a.txt", "w"))\nwrite_file("src/b.py", "")'
    review = here.run(here.add(TRIES.format(body=body)))
    open_again = desk()

    again = asyncio.run(open_again.orchestrator.again.replay(review.task))

    assert (again.complete, again.changes.paths) == (True, ("src/b.py",))


def test_of_a_file_that_may_not_be_read_a_model_is_told_the_name_only(desk, project):
    (project / "src/keys.py").write_text("def hunter2():\n    pass\n")
    here = desk("```python\nsubmit_result('Nothing.', [])\n```", deny="read(src/keys.py)")

    here.run(here.orchestrator.new_tasks.submit("look at keys hunter2 greet", CodeOrigin("model", "scripted")))

    told = here.script.asked[0].prompt
    assert (
        "src/keys.py" in told,
        "src/app.py (2 lines): greet" in told,
        "hunter2" in told.replace("keys hunter2 greet", ""),
    ) == (
        True,
        True,
        False,
    )


def test_the_bounds_of_a_task_are_kept_with_it_and_told_to_its_model(desk):
    here = desk("```python\nsubmit_result('Nothing.', [])\n```")
    task = here.orchestrator.new_tasks.submit(
        "do it", CodeOrigin("model", "scripted"), options={"policy.only": "my docs/**\nsrc/**\n"}
    )

    review = here.run(task)

    assert review.task.options["policy.only"] == "my docs/**\nsrc/**\n"
    assert (
        "may change only these paths; a change elsewhere is refused. Reading is free:\n~~~~\nmy docs/**\nsrc/**\n"
        in (here.script.asked[0].prompt)
    )

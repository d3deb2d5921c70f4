"""The recipe fix_todos: what counts as a marked comment, and the file it makes."""

from __future__ import annotations

import pytest

from tests.recipes.python_files import changed, click_works, sources


async def test_marked_comments_are_listed_by_file_and_line(workshop):
    workshop.write(
        src__app_py="x = 1  # TODO: name it\n\n\ndef f():\n    # FIXME(ann) broken for 0\n    return 0\n",
        src__web_js="/* XXX slow */\n// later: TODO(bob): split\n",
        a_sql="-- TODO index\n",
    )
    outcome = await workshop.recipe("fix_todos")
    assert workshop.text("TODO.md") == (
        "<!-- todo comments: begin -->\n"
        "# To do\n"
        "\n"
        "5 comments in 3 files.\n"
        "\n"
        "## a.sql\n"
        "\n"
        "- [a.sql:1](a.sql#L1) TODO index\n"
        "\n"
        "## src/app.py\n"
        "\n"
        "- [src/app.py:1](src/app.py#L1) TODO: name it\n"
        "- [src/app.py:5](src/app.py#L5) FIXME(ann) broken for 0\n"
        "\n"
        "## src/web.js\n"
        "\n"
        "- [src/web.js:1](src/web.js#L1) XXX slow\n"
        "- [src/web.js:2](src/web.js#L2) TODO(bob): split\n"
        "<!-- todo comments: end -->\n"
    )
    assert outcome.summary == "Collected 5 comments (TODO, FIXME, XXX) from 3 files into TODO.md."
    assert outcome.submission.changed_files == ("TODO.md",)


@pytest.mark.parametrize(
    ("name", "line", "text"),
    [
        ("a.py", "# TODO", "TODO"),
        ("a.py", "#TODO x", "TODO x"),
        ("a.py", "    #: TODO: x", "TODO: x"),
        ("a.py", "f()  # not now, TODO: x", "TODO: x"),
        ("a.py", "    TODO: in a docstring", "TODO: in a docstring"),
        ("a.py", '"""TODO: x"""', None),
        ("a.py", "print('TODO: x')", None),
        ("a.py", "TODO = 1", None),
        ("a.py", "# see the TODO list", None),
        ("a.py", "# TODOs are bad", None),
        ("a.py", "# todo: lower case is prose", None),
        ("a.py", "url = 'http://x/#TODO'", None),
        ("a.js", "x('http://TODO: x')", None),
        ("a.js", " * TODO: x */", "TODO: x"),
        ("a.html", "<p>TODO</p> <!-- TODO: x -->", "TODO: x"),
        ("a.md", "# TODO: a heading", None),
        ("a.md", "<!-- FIXME -->", "FIXME"),
        ("Makefile", "# TODO x", "TODO x"),
        ("a.txt", "# TODO x", None),
        ("a.csv", "TODO: x", None),
        ("a.c", "// TODO: a <b> [c](d)", "TODO: a \\<b> \\[c](d)"),
        ("a.yaml", "key: value  # XXX: x", "XXX: x"),
    ],
)
async def test_what_counts_as_a_marked_comment(workshop, name, line, text):
    workshop.put(name, f"{line}\n")
    outcome = await workshop.recipe("fix_todos")
    if text is None:
        assert outcome.summary == "Nothing to do: no comment in . is marked TODO or FIXME or XXX."
        assert outcome.submission.changed_files == ()
    else:
        assert f"- [{name}:1]({name}#L1) {text}\n" in workshop.text("TODO.md")


async def test_a_second_run_has_nothing_to_do(workshop):
    workshop.write(a_py="# TODO x\n")
    await workshop.recipe("fix_todos")
    outcome = await workshop.recipe("fix_todos")
    assert outcome.summary == "Nothing to do: TODO.md is up to date with 1 comment."
    assert outcome.submission.changed_files == ()


async def test_what_people_wrote_in_the_file_stays(workshop):
    workshop.put("TODO.md", "# Plans\r\n\r\nTODO: buy milk.\r\n")
    workshop.write(a_py="# TODO x\n")
    await workshop.recipe("fix_todos")
    first = workshop.text("TODO.md")
    assert first.startswith("# Plans\r\n\r\nTODO: buy milk.\r\n\r\n<!-- todo comments: begin -->\r\n# To do\r\n")
    workshop.put("TODO.md", first + "\r\nMore plans.\r\n")
    workshop.write(a_py="pass\n")
    outcome = await workshop.recipe("fix_todos")
    assert outcome.submission.changed_files == ("TODO.md",)
    assert workshop.text("TODO.md").startswith("# Plans\r\n\r\nTODO: buy milk.\r\n\r\n<!-- todo comments: begin -->")
    assert "0 comments in 0 files." in workshop.text("TODO.md")
    assert workshop.text("TODO.md").endswith("\r\nMore plans.\r\n")


async def test_links_lead_from_the_file_s_own_folder(workshop):
    workshop.put("docs/guide/a b.py", "# TODO x\n")
    workshop.put("src/(x).py", "# TODO y\n")
    await workshop.recipe("fix_todos", output="docs/TODO.md")
    text = workshop.text("docs/TODO.md")
    assert "- [docs/guide/a b.py:1](guide/a%20b.py#L1) TODO x\n" in text
    assert "- [src/(x).py:1](../src/%28x%29.py#L1) TODO y\n" in text


async def test_a_place_and_marks_can_be_chosen(workshop):
    workshop.write(a_py="# TODO x\n", src__b_py="# TODO x\n# FIXME y\n")
    outcome = await workshop.recipe("fix_todos", path="src", marks="FIXMEs")
    assert outcome.summary == "Collected 1 comment (FIXME) from 1 file into TODO.md."


async def test_ignored_and_binary_files_are_not_looked_into(workshop):
    (workshop.root / ".git").mkdir()
    workshop.put(".gitignore", "build/\n")
    workshop.put("build/a.py", "# TODO x\n")
    workshop.put("b.py", b"# TODO x\n\0\n")
    outcome = await workshop.recipe("fix_todos")
    assert outcome.submission.changed_files == ()


async def test_a_folder_that_is_not_there_is_named(workshop):
    outcome = await workshop.recipe("fix_todos", path="nowhere")
    assert outcome.summary == "Nothing was done: there is no file or folder 'nowhere'."


async def test_click_s_comments_are_found_and_nothing_else_changes(click_copy):
    click_copy.put("click/extra.py", "# FIXME: remove\n")
    before = sources(click_copy.root)
    outcome = await click_copy.recipe("fix_todos")
    assert changed(before, sources(click_copy.root)) == ["TODO.md"] == list(outcome.submission.changed_files)
    assert "- [click/extra.py:1](click/extra.py#L1) FIXME: remove\n" in click_copy.text("TODO.md")
    assert click_works(click_copy.root)
    assert (await click_copy.recipe("fix_todos")).submission.changed_files == ()

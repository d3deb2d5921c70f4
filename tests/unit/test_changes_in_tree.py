"""What a task made of a commit, applied to working trees that git writes in their own way."""

from __future__ import annotations

import subprocess

import pytest

from cairn.changes import Change, ChangeSet, Content, EntryKind
from cairn.changes_in_tree import changes_in_tree
from cairn.project import Project


def git(where, *arguments):
    return subprocess.run(["git", *arguments], cwd=where, capture_output=True, check=True).stdout.decode().strip()


def text(data, mode=0o644):
    return Content(EntryKind.FILE, mode, data)


BEFORE = {"README.md": b"# Sample\n\nTODO: say more.\n", "src/tool.py": b"# TODO: speed\ndef run():\n    return 1\n"}
AFTER = b"# Sample\n\nIt says more.\n"
CHANGES = ChangeSet(
    (
        Change("README.md", text(BEFORE["README.md"]), text(AFTER)),
        Change("new.txt", None, text(b"new\n")),
        Change("src/tool.py", text(BEFORE["src/tool.py"]), None),
    )
)


@pytest.fixture
def windows(repository):
    """The repository as a user with core.autocrlf has it."""
    git(repository, "config", "core.autocrlf", "true")
    git(repository, "rm", "-q", "--cached", "-r", ".")
    git(repository, "reset", "-q", "--hard")
    assert (repository / "README.md").read_bytes() == b"# Sample\r\n\r\nTODO: say more.\r\n"
    return repository


def test_a_tree_with_the_commits_own_bytes_gets_the_changes_as_they_are(repository):
    assert changes_in_tree(CHANGES, repository) == CHANGES


def test_in_a_tree_with_crlf_a_file_keeps_its_line_ends_and_the_users_edits(windows):
    (windows / "README.md").write_bytes(b"Mine.\r\n\r\n# Sample\r\n\r\nTODO: say more.\r\n")

    assert Project(windows).preview(CHANGES).conflicts != ()
    Project(windows).apply("abc", changes_in_tree(CHANGES, windows))

    assert (windows / "README.md").read_bytes() == b"Mine.\r\n\r\n# Sample\r\n\r\nIt says more.\r\n"
    assert (windows / "new.txt").read_bytes() == b"new\n"
    assert not (windows / "src/tool.py").exists()
    assert git(windows, "diff", "--stat", "--", "README.md").startswith("README.md | 4 +++-")


def test_modes_that_git_does_not_know_are_the_trees_own(repository):
    (repository / "src/app.py").chmod(0o700)
    (repository / "src/tool.py").chmod(0o664)
    (repository / "README.md").chmod(0o640)
    app = (repository / "src/app.py").read_bytes()
    changes = ChangeSet(
        (
            Change("README.md", text(BEFORE["README.md"]), text(AFTER, 0o755)),
            Change("src/app.py", text(app, 0o755), text(app, 0o644)),
            Change("src/tool.py", text(BEFORE["src/tool.py"]), None),
        )
    )

    Project(repository).apply("abc", changes_in_tree(changes, repository))

    assert (repository / "README.md").stat().st_mode & 0o777 == 0o750
    assert (repository / "src/app.py").stat().st_mode & 0o777 == 0o600
    assert not (repository / "src/tool.py").exists()


def test_what_a_filter_made_of_a_pointer_moves_and_changes_with_it(repository):
    git(repository, "config", "filter.loud.clean", "tr A-Z a-z")
    git(repository, "config", "filter.loud.smudge", "tr a-z A-Z")
    (repository / ".gitattributes").write_text("*.loud filter=loud\n")
    for name in ("one.loud", "two.loud"):
        (repository / name).write_bytes(b"HELLO\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "loud")
    changes = ChangeSet(
        (
            Change("moved.txt", text(b"hello\n"), text(b"hello\n"), renamed_from="two.loud"),
            Change("one.loud", text(b"hello\n"), text(b"hello you\n")),
        )
    )

    Project(repository).apply("abc", changes_in_tree(changes, repository))

    assert (repository / "one.loud").read_bytes() == b"HELLO YOU\n"
    assert (repository / "moved.txt").read_bytes() == b"HELLO\n"


def test_a_project_in_a_folder_and_an_edit_that_is_no_matter_of_line_ends(windows):
    before = b"# TODO: speed\ndef run():\n    return 1\n"
    (windows / "src/tool.py").write_bytes(b"# mine\r\n" + before.replace(b"\n", b"\r\n"))
    changes = ChangeSet((Change("tool.py", text(before), text(before.replace(b"1", b"2"))),))

    Project(windows / "src").apply("abc", changes_in_tree(changes, windows / "src"))

    assert (windows / "src/tool.py").read_bytes() == b"# mine\r\n# TODO: speed\r\ndef run():\r\n    return 2\r\n"


def test_many_files_are_asked_for_at_once_and_links_folders_and_missing_files_stay(windows):
    contents = {f"many/{number}.txt": b"line %d\n\nblob\n" % number for number in range(300)}
    (windows / "many").mkdir()
    for path, data in contents.items():
        (windows / path).write_bytes(data.replace(b"\n", b"\r\n"))
    git(windows, "add", "-A")
    git(windows, "commit", "-q", "-m", "many")
    others = (
        Change("gone.txt", text(b"x\n"), text(b"y\n")),
        Change("link", None, Content(EntryKind.SYMLINK, 0o777, b"src")),
    )
    many = tuple(Change(path, text(data), text(data + b"more\n")) for path, data in sorted(contents.items()))

    found = changes_in_tree(ChangeSet((*others, *many)), windows).changes

    assert found[:2] == others
    assert [change.after.data for change in found[2:]] == [
        (data + b"more\n").replace(b"\n", b"\r\n") for _, data in sorted(contents.items())
    ]


def test_without_a_repository_only_modes_are_the_trees_own(project):
    (project / "README.md").write_bytes(b"changed by the user\n")
    (project / "README.md").chmod(0o600)

    found = changes_in_tree(CHANGES, project).changes[0]

    assert found == Change("README.md", text(BEFORE["README.md"], 0o600), text(AFTER, 0o600))

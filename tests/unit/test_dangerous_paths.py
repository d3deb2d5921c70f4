"""Which changes have to be named before they are accepted, and what names them."""

from __future__ import annotations

import pytest

from cairn.changes import Change, Content
from cairn.dangerous_paths import Danger, dangers, is_allowed, naming, not_allowed, require_allowed, require_patterns
from cairn.errors import NotAllowed, UsageProblem
from tests.content_trees import folder, link, text

PLAIN = text("x\n")


def why(path: str, before: Content | None = None, after: Content | None = PLAIN, old: str | None = None):
    return [(danger.path, danger.why) for danger in dangers([Change(path, before, after, renamed_from=old)])]


@pytest.mark.parametrize(
    ("reason", "paths"),
    [
        ("git hook", ".husky/pre-commit .githooks/post-merge .pre-commit-config.yaml lefthook.yml .lintstagedrc.json"),
        ("in CI", ".github/workflows/ci.yml .github/actions/a/action.yml .gitlab-ci.yml sub.gitlab-ci.yml Jenkinsfile"),
        (
            "in CI",
            ".circleci/config.yml azure-pipelines.yml azure-pipelines-2.yaml .travis.yml .ci/run Jenkinsfile.dev",
        ),
        ("shell enters", ".envrc sub/.envrc .ENVRC .mise.toml"),
        ("editor settings", ".vscode/tasks.json .idea/workspace.xml a.code-workspace .devcontainer/x .dir-locals.el"),
        ("coding agents", ".claude/settings.json .cursor/rules/a.mdc .mcp.json AGENTS.md lib/CLAUDE.md .clinerules"),
        ("session starts", ".bashrc .profile .zshenv .zprofile .bash_aliases .xinitrc .config/fish/config.fish"),
        ("debugger", ".gdbinit .pdbrc"),
        ("who gets in", ".ssh/authorized_keys"),
        ("packages come from", ".npmrc pip.conf .cargo/config.toml"),
        ("install or build", "setup.py lib/setup.py build.rs"),
        ("Python starts", "sitecustomize.py usercustomize.py src/evil.pth"),
        ("before any test", "conftest.py tests/unit/conftest.py"),
        ("filters git runs", ".gitattributes docs/.gitattributes .gitmodules .lfsconfig"),
        ("Cairn's own settings", "cairn.toml"),
    ],
)
def test_paths_that_take_effect_by_themselves_are_dangerous_at_any_depth(reason, paths):
    for path in paths.split():
        ((named, told),) = why(path)
        assert (named, reason in told) == (path, True), (path, told)


@pytest.mark.parametrize(
    "path",
    [
        *("src/app.py", "Makefile", "noxfile.py", "tests/test_a.py", "my_conftest.py", "conftest.pyi", "setup.cfg"),
        *("github/workflows/ci.yml", "docs/husky/a", "vscode/a", "README.md", ".gitignore", ".github/CODEOWNERS"),
    ],
)
def test_what_runs_only_where_a_person_runs_it_is_not_dangerous(path):
    assert why(path) == why(path, PLAIN, None) == why(path, PLAIN, text("y\n")) == []


def test_deletions_count_and_both_names_of_a_rename(tmp_path):
    assert why(".envrc", PLAIN, None) == [(".envrc", "runs when a shell enters the folder")]
    assert why("a/conftest.py", PLAIN, PLAIN, "b/conftest.py") == [
        ("a/conftest.py", "runs before any test does"),
        ("b/conftest.py", "runs before any test does"),
    ]
    assert why("old.txt", PLAIN, PLAIN, ".envrc") == [(".envrc", "runs when a shell enters the folder")]


def test_what_becomes_executable_and_what_gets_its_owners_rights():
    executable, special = text("x\n", 0o755), text("x\n", 0o4755)

    assert why("run", None, executable) == why("run", PLAIN, executable) == [("run", "becomes executable")]
    assert why("run", executable, text("y\n", 0o755)) == why("new", executable, executable, "run") == []
    assert why("run", executable, PLAIN) == []
    assert why("run", executable, special) == [("run", "runs with its owner's or group's rights (setuid, setgid)")]
    assert why("run", link("x"), executable) == [("run", "becomes executable")]


def test_symlinks_made_retargeted_or_moved_say_where_they_lead():
    assert why("a", None, link("/etc/passwd")) == why("a", PLAIN, link("/etc/passwd"))
    assert why("a", None, link("/etc/passwd")) == [("a", "a symlink, to /etc/passwd")]
    assert why("a", link("b"), link("c")) == [("a", "a symlink, to c")]
    assert why("d/a", link("b"), link("b"), "a") == [("d/a", "a symlink, to b")]
    assert why("a", link("b"), None) == why("a", link("b"), PLAIN) == []


def test_several_reasons_stand_together_and_folders_alone_do_nothing():
    assert why("setup.py", None, text("x", 0o755)) == [("setup.py", "runs at install or build; becomes executable")]
    assert why(".vscode", None, folder()) == why(".husky/_", folder(), None) == []


PYPROJECT = '[project]\nname = "a"\n[build-system]\nrequires = ["x"]\n[tool.cairn]\nmodel = "m"\n'


@pytest.mark.parametrize(
    ("after", "reasons"),
    [
        (PYPROJECT.replace('"a"', '"b"'), []),
        (PYPROJECT.replace('["x"]', '["y"]'), ["[build-system]"]),
        (PYPROJECT.replace('"m"', '"n"'), ["[tool.cairn]"]),
        (PYPROJECT + "[", ["[build-system]", "[tool.cairn]"]),
        ("\udcff".encode("utf-8", "surrogateescape"), ["[build-system]", "[tool.cairn]"]),
        ("tool = 1\n", ["[build-system]", "[tool.cairn]"]),
    ],
)
def test_of_pyproject_only_the_parts_that_run_or_that_set_cairn(after, reasons):
    found = why("pyproject.toml", text(PYPROJECT), text(after))

    assert [reason.partition(":")[0] for _, told in found for reason in told.split("; ")] == reasons


PACKAGE = '{"version": "1", "scripts": {"test": "a", "postinstall": "b"}, "husky": {"hooks": {}}}'


@pytest.mark.parametrize(
    ("before", "after", "dangerous"),
    [
        (PACKAGE, PACKAGE.replace('"1"', '"2"').replace('"a"', '"c"'), False),
        (PACKAGE, PACKAGE.replace('"b"', '"c"'), True),
        (PACKAGE, PACKAGE.replace("{}", "[]"), True),
        (PACKAGE, "{}", True),
        ('{"scripts": {"test": "a"}}', '{"scripts": {"test": "b"}}', False),
        ('{"scripts": {"test": "a"}}', '{"scripts": ["x"]}', True),
        ("{}", "[" * 100_000, True),
        ("{}", "[1]", True),
        ("{}", "", True),
    ],
)
def test_of_package_json_only_what_npm_or_git_run_by_themselves(before, after, dangerous):
    assert bool(why("web/package.json", text(before), text(after))) is dangerous


def test_a_file_moved_into_place_is_judged_as_new():
    assert why("package.json", text(PACKAGE), text(PACKAGE), "template/package.json") != []
    assert why("package.json", None, text("{}")) == why("package.json", text(PACKAGE), link("x"))[1:] == []


def test_gits_and_cairns_own_folders_are_never_allowed():
    for path in (".git/hooks/pre-commit", "vendor/.GIT/config", ".cairn/cairn.db", ".git"):
        (danger,) = dangers([Change(path, None, PLAIN)], ["**", path])
        assert (danger.path, danger.never, danger.allowed) == (path, True, False)
    assert dangers([Change(".git/x", None, folder())])[0].never


def test_allowed_by_its_path_its_folder_or_a_glob():
    for allow in ("tests/conftest.py", "./tests/conftest.py", "tests", "tests/", "**/conftest.py", "tests/*.py", "**"):
        assert is_allowed("tests/conftest.py", [allow]), allow
    for allow in ("conftest.py", "test", "tests/conftest", "*.py", "tests/conftest.py/x"):
        assert not is_allowed("tests/conftest.py", [allow]), allow
    assert is_allowed("odd[1]/.envrc", ["odd[1]/.envrc"])
    assert not is_allowed("a", [])


def test_what_is_allowed_is_still_listed():
    change = Change("conftest.py", None, PLAIN)

    assert dangers([change], ["conftest.py"]) == (Danger("conftest.py", "runs before any test does", allowed=True),)
    assert not_allowed(dangers([change], ["conftest.py"])) == ()
    require_allowed("bcdfgh", [change], ["conftest.py"])


def test_the_error_names_each_path_its_reason_and_the_ways_out():
    changes = [
        Change("a b/conftest.py", None, PLAIN),
        Change("run", None, text("", 0o755)),
        Change("x.py", None, PLAIN),
    ]

    with pytest.raises(NotAllowed) as error:
        require_allowed("bcdfgh", changes, [])

    assert (error.value.paths, error.value.exit_code) == (("a b/conftest.py", "run"), 4)
    assert str(error.value).splitlines() == [
        "Task bcdfgh changes 2 dangerous paths that nobody allowed. Nothing was written.",
        "a b/conftest.py: runs before any test does.",
        "run: becomes executable.",
        "cairn diff bcdfgh   shows them.",
        "cairn accept bcdfgh --allow 'a b/conftest.py' --allow run   accepts them too.",
        "[accept] allow = [...]   in cairn.toml allows paths for good.",
    ]
    with pytest.raises(NotAllowed) as error:
        require_allowed("bcdfgh", changes, [], ["run"])
    assert "cairn accept bcdfgh --allow run --allow 'a b/conftest.py'   accepts them too." in error.value.fix
    with pytest.raises(NotAllowed, match="1 dangerous path ") as error:
        require_allowed("bcdfgh", [Change(".git/config", None, PLAIN)], ["**"])
    assert error.value.fix[-1] == "cairn reject bcdfgh   drops the task's changes."


def test_many_paths_are_named_by_the_first_few():
    many = dangers(Change(f"{name}/.envrc", None, PLAIN) for name in "abcde")

    assert naming(many) == "--allow a/.envrc --allow b/.envrc --allow c/.envrc --allow ..."
    assert naming(()) == ""


@pytest.mark.parametrize("bad", ["", "/etc", "../x", "a/**b", "[z-a]"])
def test_what_allow_cannot_take_is_a_usage_problem(bad):
    with pytest.raises(UsageProblem, match="--allow cannot take"):
        require_patterns([bad])

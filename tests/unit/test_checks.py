"""What checks say of a task: verdicts by content, what weakens them, what `init` proposes."""

from __future__ import annotations

import pytest

from cairn.changes import Change, ChangeSet, Content, EntryKind
from cairn.check_proposals import as_toml, proposals
from cairn.checks import Before, Check, CheckResult, Evidence, Standing, Verdict, middle_cut, standings, summary
from cairn.errors import UsageProblem
from cairn.settings import Settings
from cairn.weakened_checks import Weakening, is_test, weakenings

TESTS, LINT = Check("tests", "pytest -q"), Check("lint", "ruff check .", required=False, paths=("**/*.py",))


def result(check=TESTS, *, content="c", code=0, **more):
    return CheckResult(check.name, check.command, content, code, 1.0, 0.0, "in a sandbox", **more)


def file(text, mode=0o644):
    return None if text is None else Content(EntryKind.FILE, mode, text.encode())


def changed(path, before, after, *, was=None):
    return Change(path, file(before), file(after), was)


def why(*changes):
    return [(each.path, each.why) for each in weakenings(ChangeSet(tuple(changes)))]


def test_a_result_counts_for_its_content_and_command_only():
    checks = {"tests": TESTS, "lint": LINT}
    known = {"tests": result(), "lint": result(LINT, content="other", code=1)}
    assert standings(checks, known, "c", ["a.py"]) == (
        Standing(TESTS, Verdict.PASSED, known["tests"]),
        Standing(LINT, Verdict.NOT_RUN, known["lint"]),
    )
    renamed = {"tests": Check("tests", "pytest -q --no-tests")}
    assert [each.verdict for each in standings(renamed, known, "c", ["a.py"])] == [Verdict.NOT_RUN]
    assert [each.verdict for each in standings(checks, {}, "c", ["README.md"])] == [Verdict.NOT_RUN, Verdict.NOT_NEEDED]
    assert [each.verdict for each in standings(checks, {}, "c", [])] == [Verdict.NOT_NEEDED, Verdict.NOT_NEEDED]


@pytest.mark.parametrize(
    ("verdicts", "word"),
    [
        ([], ""),
        ([(TESTS, Verdict.PASSED), (LINT, Verdict.FAILED)], "passed"),
        ([(TESTS, Verdict.NOT_RUN), (Check("more", "x"), Verdict.FAILED)], "failed"),
        ([(TESTS, Verdict.NOT_NEEDED), (LINT, Verdict.FAILED)], "failed"),
        ([(TESTS, Verdict.NOT_RUN), (LINT, Verdict.PASSED)], "not run"),
        ([(TESTS, Verdict.NOT_NEEDED)], ""),
    ],
)
def test_one_word_says_the_worst_of_the_required_checks(verdicts, word):
    assert summary(Standing(check, verdict) for check, verdict in verdicts) == word


def test_evidence_names_what_failed_and_what_is_missing():
    failed, missing = Standing(TESTS, Verdict.FAILED, result(code=1)), Standing(Check("types", "mypy"), Verdict.NOT_RUN)
    evidence = Evidence((failed, missing, Standing(LINT, Verdict.FAILED, result(LINT, code=1))))
    assert (evidence.failed, evidence.missing) == ((failed,), (missing,))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "passed"),
        ({"code": 2}, "failed (exit code 2)"),
        ({"code": 1, "before": Before.PASSED}, "failed (exit code 1): the task broke it"),
        ({"code": 1, "before": Before.FAILED}, "failed (exit code 1): it failed before the task too"),
        ({"code": 124, "timed_out": True}, "failed (timed out)"),
        ({"code": 137, "stopped": "it had more than 64 processes"}, "failed (it had more than 64 processes)"),
    ],
)
def test_a_result_in_words(given, words):
    assert result(**given).in_words == words


def test_a_long_output_loses_its_middle():
    cut = middle_cut("a" * 100 + "b" * 1_000 + "c" * 300, 400)
    assert cut == "a" * 100 + "\n[... 1,000 characters left out ...]\n" + "c" * 300


# ── weakening ──


@pytest.mark.parametrize(
    ("path", "yes"),
    [
        ("tests/test_a.py", True), ("a_test.go", True), ("web/a.test.tsx", True), ("spec/a_spec.rb", True),
        ("src/test/FooTest.java", True), ("tests/helpers.py", True), ("tests/data.json", False), ("testing.py", False),
        ("contest.py", False), ("latest/a.py", False),
    ],
)  # fmt: skip
def test_tests_are_known_by_their_names(path, yes):
    assert is_test(path) is yes


TWO = "def test_one():\n    assert one() == 1\n\ndef test_two():\n    assert two() == 2\n    assert two()\n"


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        (changed("tests/test_a.py", TWO, None), ["a file of tests is deleted"]),
        (changed("tests/test_a.py", TWO, TWO.split("\n\n", maxsplit=1)[0]), ["tests are gone: test_two"]),
        (changed("tests/test_a.py", TWO, TWO.replace("test_two", "check_two")), ["tests are gone: test_two"]),
        (changed("tests/test_a.py", TWO, TWO.replace("    assert two()\n", "")), ["1 assertion fewer"]),
        (
            changed("tests/test_a.py", TWO, TWO.replace("def test_two", "@pytest.mark.skip\ndef test_two")),
            ["1 more mark that skip or excuse something"],
        ),
        (changed("tests/test_a.py", TWO, "def test_one(): pass\n" + TWO[TWO.index("def test_two") :]), ["1 assertion fewer"]),
        (changed("tests/old_a.py", TWO, TWO, was="tests/test_a.py"), []),
        (changed("old_a.py", TWO, TWO, was="tests/test_a.py"), ["a file of tests is moved to old_a.py, where it may not be run"]),
        (changed("a.test.js", "it('works', () => expect(1))", "it.skip('works', () => expect(1))"), ["tests are gone: works", "1 more mark that skip or excuse something"]),
        (changed("a_test.go", "func TestA(t *testing.T) { t.Error() }", "func TestA(t *testing.T) { t.Skip() }"), ["1 assertion fewer", "1 more mark that skip or excuse something"]),
        (changed("cairn.toml", "[checks]\ntests = 'pytest'\n", "[checks]\n"), ["the settings of a check are changed"]),
        (changed("web/package.json", "{}", "{ }"), ["the settings of a check are changed"]),
        (changed("tests/conftest.py", "x = 1", None), ["a file of tests is deleted", "the settings of a check are changed"]),
        (changed("pyproject.toml", "[tool.pytest.ini_options]\naddopts='-x'\n", "[tool.pytest.ini_options]\n"), ["the settings of a check are changed"]),
        (changed("pyproject.toml", "[project]\nname='a'\n", "[project]\nname='b'\n"), []),
        (changed("tests/test_b.py", None, TWO), []),
        (changed("tests/test_a.py", TWO, TWO + "\ndef test_three():\n    assert 3\n"), []),
        (changed("a.py", "assert x\n", ""), []),
    ],
)  # fmt: skip
def test_a_change_that_weakens_tests_or_checks_is_told(change, reasons):
    assert sorted(reason for _, reason in why(change)) == sorted(reasons)


def test_a_test_that_moves_to_another_file_is_not_gone():
    moved = [changed("tests/test_a.py", TWO, ""), changed("tests/test_b.py", "", TWO)]
    assert why(*moved) == [("tests/test_a.py", "3 assertions fewer")]
    assert weakenings(ChangeSet((changed("tests/test_a.py", TWO, None),))) == (
        Weakening("tests/test_a.py", "a file of tests is deleted"),
    )


# ── proposals and settings ──

PROJECTS = {
    "pytest": ({"pyproject.toml": "[tool.pytest.ini_options]\n[tool.ruff]\n[tool.mypy]\n"}, "tests=pytest -q lint=ruff check . types=mypy"),
    "a folder of tests": ({"tests/test_a.py": ""}, "tests=pytest -q"),
    "tox": ({"tox.ini": "[tox]\n"}, "tests=tox -q"),
    "nox": ({"noxfile.py": ""}, "tests=nox"),
    "npm": ({"package.json": '{"scripts": {"test": "vitest", "lint": "eslint ."}}'}, "tests=npm run --silent test lint=npm run --silent lint"),
    "npm's own placeholder": ({"package.json": '{"scripts": {"test": "echo \\"Error: no test specified\\" && exit 1"}}'}, ""),
    "a broken package.json": ({"package.json": "{"}, ""),
    "cargo": ({"Cargo.toml": ""}, "tests=cargo test --offline"),
    "go": ({"go.mod": ""}, "tests=go test ./..."),
    "make": ({"Makefile": "CHECK := 1\ntest: all\n\trun\nlint:\n"}, "tests=make test lint=make lint"),
    "nothing": ({"README.md": "test:"}, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", PROJECTS)
def test_checks_are_proposed_from_what_a_project_has(tmp_path, name):
    files, expected = PROJECTS[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    found = proposals(tmp_path)
    assert " ".join(f"{each.name}={each.command}" for each in found) == expected
    if found:
        (tmp_path / "cairn.toml").write_text(as_toml(found))
        loaded = Settings.load(tmp_path, {"HOME": str(tmp_path)}).checks
        assert {name: check.command for name, check in loaded.items()} == {each.name: each.command for each in found}


def test_a_check_is_a_command_or_a_table(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.cairn.checks]\ntests = "pytest -q"\n')
    (tmp_path / "cairn.toml").write_text(
        '[checks]\nformat = {command = "ruff format .", keep_writes = true, required = false, timeout = 30, paths = ["**/*.py"]}\n'
    )
    assert Settings.load(tmp_path, {"HOME": str(tmp_path)}).checks == {
        "tests": Check("tests", "pytest -q"),
        "format": Check("format", "ruff format .", 30.0, ("**/*.py",), required=False, keep_writes=True),
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("checks = 3", 'It should be a table such as {tests = "pytest -q"}.'),
        ("checks.tests = 3", "It should be a command in quotes, or a table with one, for each check."),
        ('checks."../x" = "y"', "It should be named with letters, digits, - and _."),
        ("checks.tests = {timeout = 3}", "It should be a table with a command in quotes."),
        ('checks.tests = {command = "x", patience = 3}', "It should be made of command, timeout, paths, required, keep_writes."),
        ('checks.tests = {command = "x", timeout = 0}', "It should be a number above 0 and at most 86,400."),
        ("runtime.unsandboxed = true", "It decides what a check may reach on this machine, and a project may come from anywhere."),
        ('runtime.visible = ["/"]', "It decides what a check may reach on this machine, and a project may come from anywhere."),
        ('runtime.environment = ["TOKEN"]', "It decides what a check may reach on this machine, and a project may come from anywhere."),
    ],
)  # fmt: skip
def test_wrong_settings_of_checks_are_told(tmp_path, text, says):
    for name in ("cairn.toml", "pyproject.toml"):
        (tmp_path / name).write_text(text if name == "cairn.toml" else f"[tool.cairn]\n{text}")
        with pytest.raises(UsageProblem) as refused:
            Settings.load(tmp_path, {"HOME": str(tmp_path)})
        assert refused.value.why == says
        (tmp_path / name).unlink()


def test_a_person_may_let_checks_out_of_the_sandbox(tmp_path):
    (tmp_path / ".config/cairn").mkdir(parents=True)
    (tmp_path / ".config/cairn/settings.toml").write_text('[runtime]\nunsandboxed = true\nvisible = ["~/sdk"]\n')
    loaded = Settings.load(tmp_path, {"HOME": str(tmp_path), "CAIRN_RUNTIME_ENVIRONMENT": "A B"}).runtime
    assert (loaded.unsandboxed, loaded.visible, loaded.environment) == (True, ("~/sdk",), ("A", "B"))

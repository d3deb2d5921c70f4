"""What models are measured by: tasks over real packages and small projects, each with a checker of the accepted tree.

A checker reads what is there after the accept, and says what is wrong with it, "" for nothing. None of them asks for a
wording: they look at what code does, and at what must be gone or present.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SITE = Path(sysconfig.get_paths()["purelib"])
Checker = Callable[[Path, Mapping[str, bytes]], str]


@dataclass(frozen=True)
class EvalTask:
    """`setup` fills a folder; `check` gets it after the accept, with what every file held before."""

    name: str
    request: str
    setup: Callable[[Path], None]
    check: Checker
    package: str = ""  # whose version a recording belongs to


def package(name: str) -> Callable[[Path], None]:
    def copy(folder: Path) -> None:
        shutil.copytree(SITE / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))

    return copy


def files(**contents: str) -> Callable[[Path], None]:
    """Files by name, "__" standing for "/" and "_dot_" for a dot."""

    def write(folder: Path) -> None:
        for name, text in contents.items():
            path = folder / "__init__".join(
                part.replace("__", "/") for part in name.replace("_dot_", ".").split("__init__")
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(textwrap.dedent(text).lstrip("\n").encode())

    return write


# ── what checkers share ──


def python_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if ".cairn" not in path.parts and ".git" not in path.parts)


def text(folder: Path, name: str) -> str:
    path = folder / name
    return path.read_bytes().decode() if path.is_file() else ""


def passes(folder: Path, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-B", "-c", textwrap.dedent(code)], cwd=folder, capture_output=True, text=True, timeout=60
    )
    return "" if done.returncode == 0 else f"does not run: {done.stderr.strip().splitlines()[-1:]}"


def changed(folder: Path, before: Mapping[str, bytes]) -> set[str]:
    now = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
        and ".cairn" not in path.parts
        and ".git" not in path.parts
        and "__pycache__" not in path.parts
    }
    return {name for name in now.keys() | before.keys() if now.get(name) != before.get(name)}


def only(folder: Path, before: Mapping[str, bytes], *allowed: str) -> str:
    others = sorted(name for name in changed(folder, before) if not any(re.fullmatch(each, name) for each in allowed))
    return f"changed what it was not asked to: {', '.join(others[:5])}" if others else ""


def first(*problems: str) -> str:
    return next((problem for problem in problems if problem), "")


def parses(folder: Path) -> str:
    for path in python_files(folder):
        try:
            ast.parse(path.read_text())
        except SyntaxError as error:
            return f"{path.name} does not parse: {error}"
    return ""


def without_docstrings(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def nothing_changed(folder: Path, before: Mapping[str, bytes]) -> str:
    return only(folder, before)


# ── docstrings, types ──


def public_functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Those of the module and of its classes; what is inside a function is nobody's to call."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(ast.Module(node.body, []))
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node


def has_docstrings(folder: Path, before: Mapping[str, bytes]) -> str:
    missing = []
    for path in python_files(folder):
        name = str(path.relative_to(folder))
        if without_docstrings(path.read_text()) != without_docstrings(before[name].decode()):
            return f"{name}: code changed beside docstrings"
        missing += [
            f"{name}:{node.name}"
            for node in public_functions(ast.parse(path.read_text()))
            if not ast.get_docstring(node) and "overload" not in ast.dump(ast.Module(node.decorator_list, []))
        ]
    return f"without docstring: {', '.join(missing[:5])}" if missing else ""


GEOMETRY = files(
    geometry_dot_py="""
    def area(width, height):
        return width * height


    def names(points):
        return [point["name"] for point in points]


    def nearest(points, x, default=None):
        found = default
        best = float("inf")
        for point in points:
            if abs(point["x"] - x) < best:
                best = abs(point["x"] - x)
                found = point
        return found


    def describe(point, *, digits=2):
        return f"{point['name']} at {round(point['x'], digits)}"
    """
)


def has_types(folder: Path, before: Mapping[str, bytes]) -> str:
    source = text(folder, "geometry.py")
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    bare = [
        node.name
        for node in functions
        if node.returns is None or any(each.annotation is None for each in [*node.args.args, *node.args.kwonlyargs])
    ]
    run = """
        from geometry import area, names, nearest, describe
        points = [{"name": "a", "x": 1.234}, {"name": "b", "x": 5}]
        assert area(2, 3) == 6 and names(points) == ["a", "b"]
        assert nearest(points, 4)["name"] == "b" and nearest([], 1) is None
        assert describe(points[0]) == "a at 1.23"
    """
    return first(
        f"not annotated: {bare}" if bare or len(functions) < 4 else "",
        passes(folder, run),
        only(folder, before, "geometry.py"),
    )


# ── renames, moves ──


def pluggy_renamed(folder: Path, before: Mapping[str, bytes]) -> str:
    left = [path.name for path in python_files(folder) if re.search(r"\bvarnames\b", path.read_text())]
    run = "import pluggy\nfrom pluggy._hooks import argument_names\nassert argument_names(lambda x, y: 0) == (('x', 'y'), ())"
    docs = (
        ""
        if "argument_names" in text(folder, "README.md") and "varnames" not in text(folder, "README.md")
        else "README.md was left"
    )
    return first(f"varnames is left in {left}" if left else "", docs, passes(folder, run))


def with_pluggy_readme(folder: Path) -> None:
    package("pluggy")(folder)
    (folder / "README.md").write_text("# pluggy\n\n`varnames(func)` returns the names of a hook's arguments.\n")


SHOP = files(
    shop__main_dot_py="""
    from shop.prices import load_prices, parse_price


    def total(path):
        return sum(load_prices(path).values())


    def show(text):
        return f"{parse_price(text):.2f}"
    """,
    shop__prices_dot_py="""
    def parse_price(text):
        return float(text.strip().lstrip("$"))


    def load_prices(path):
        with open(path) as file:
            return {name: parse_price(value) for name, value in (line.split("=") for line in file)}
    """,
    shop____init___dot_py="",
    tests__test_prices_dot_py="""
    from shop.prices import parse_price


    def test_price():
        assert parse_price(" $1.50") == 1.5
    """,
)


def moved(folder: Path, before: Mapping[str, bytes]) -> str:
    run = """
        from shop.parsing import parse_price
        from shop.main import show, total
        assert show("$2") == "2.00" and parse_price(" $1.50") == 1.5
        open("p.txt", "w").write("a=$1\\nb=2\\n")
        assert total("p.txt") == 3
    """
    still = "def parse_price" in text(folder, "shop/prices.py")
    test = "shop.parsing" in text(folder, "tests/test_prices.py")
    return first(
        "parse_price is still defined in prices.py" if still else "",
        "" if test else "the test imports it from where it was",
        passes(folder, run),
    )


# ── bugs, features, tests ──

STATS = files(
    stats_dot_py="""
    def median(values):
        ordered = sorted(values)
        middle = len(ordered) // 2
        if len(ordered) % 2:
            return ordered[middle]
        return (ordered[middle] + ordered[middle + 1]) / 2


    def running_mean(values, window):
        return [sum(values[i : i + window]) / window for i in range(len(values) - window)]
    """,
    tests__test_stats_dot_py="""
    import unittest

    from stats import median, running_mean


    class Stats(unittest.TestCase):
        def test_median_of_an_even_number(self):
            self.assertEqual(median([1, 2, 3, 4]), 2.5)

        def test_running_mean_has_a_value_for_each_window(self):
            self.assertEqual(running_mean([1, 2, 3, 4], 2), [1.5, 2.5, 3.5])
    """,
    tests____init___dot_py="",
)


def bugs_gone(folder: Path, before: Mapping[str, bytes]) -> str:
    run = """
        from stats import median, running_mean
        assert median([1, 2, 3, 4]) == 2.5 and median([3, 1, 2]) == 2 and median([5, 1]) == 3
        assert running_mean([1, 2, 3, 4], 2) == [1.5, 2.5, 3.5] and running_mean([1, 2], 2) == [1.5]
    """
    return first(passes(folder, run), only(folder, before, "stats.py"))


def with_a_bug_in_iniconfig(folder: Path) -> None:
    package("iniconfig")(folder)
    path = folder / "iniconfig" / "_parse.py"
    source = path.read_text()
    broken = source.replace('COMMENTCHARS = "#;"', 'COMMENTCHARS = "#"')
    assert broken != source
    path.write_text(broken)
    (folder / "test_comments.py").write_text(
        "import iniconfig\n\n\ndef test_both_kinds_of_comments(tmp_path):\n    path = tmp_path / 'a.ini'\n"
        "    path.write_text('[one]\\n; a comment\\nx=1\\n# another\\n')\n"
        "    assert dict(iniconfig.IniConfig(str(path))['one'].items()) == {'x': '1'}\n"
    )


def iniconfig_mended(folder: Path, before: Mapping[str, bytes]) -> str:
    run = """
        import iniconfig
        open("a.ini", "w").write("[one]\\n; a comment\\nx=1\\n# another\\n")
        assert dict(iniconfig.IniConfig("a.ini")["one"].items()) == {"x": "1"}
    """
    return first(passes(folder, run), only(folder, before, r"iniconfig/.*\.py", "a.ini"))


TEXTS = files(
    texts_dot_py="""
    def words(text):
        return text.split()


    def initials(text):
        return "".join(word[0].upper() for word in words(text))
    """,
    tests__test_texts_dot_py="""
    from texts import words


    def test_words():
        assert words("a b") == ["a", "b"]
    """,
)


def slugs(folder: Path, before: Mapping[str, bytes]) -> str:
    run = """
        from texts import slugify, words
        assert slugify("Hello, World!") == "hello-world" and slugify("  a  b ") == "a-b" and slugify("") == ""
        assert slugify("C++ & Rust") in ("c-rust", "c-and-rust")
    """
    tested = "slugify" in "".join(path.read_text() for path in python_files(folder / "tests"))
    return first(passes(folder, run), "" if tested else "there is no test of slugify", run_tests(folder))


def run_tests(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), "-c", "/dev/null"],
        cwd=folder, capture_output=True, text=True, timeout=120, env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    return "" if done.returncode == 0 else f"its tests fail: {done.stdout.strip().splitlines()[-1:]}"


def tests_written(folder: Path, before: Mapping[str, bytes]) -> str:
    tests = "".join(path.read_text() for path in folder.rglob("test_*.py"))
    cases = len(re.findall(r"def test_", tests))
    return first(
        f"only {cases} tests" if cases < 4 or "initials" not in tests else "",
        run_tests(folder),
        only(folder, before, r"tests/.*\.py", r"test_.*\.py"),
    )


# ── clean-ups ──


def todo_table(folder: Path, before: Mapping[str, bytes]) -> str:
    wanted = [
        (name, number)
        for name, data in before.items()
        if name.endswith(".py")
        for number, line in enumerate(data.decode().splitlines(), 1)
        if re.search(r"#.*\b(TODO|FIXME|XXX)\b", line)
    ]
    table = text(folder, "TODO.md")
    missing = [
        f"{name}:{number}"
        for name, number in wanted
        if Path(name).name not in table or not re.search(rf"\b{number}\b", table)
    ]
    return first(
        "" if table else "there is no TODO.md",
        f"missing: {missing[:5]}" if missing else "",
        only(folder, before, "TODO.md"),
    )


NOTES = files(
    app__a_dot_py="x = 1  # TODO: name it\n\n\ndef f():\n    # FIXME: slow\n    return 'TODO in a string'\n",
    app__b_dot_py="# nothing to do here\ny = 2\n# XXX remove in 2.0\n",
)

OLD = files(
    report_dot_py="""
    import os
    import sys
    import json, re
    from collections import OrderedDict, defaultdict


    def line(name, value):
        return "%s: %d" % (name, value)


    def table(rows):
        found = defaultdict(int)
        for name, value in rows:
            found[name] += value
        return "\\n".join("{} = {:.1f}".format(name, value) for name, value in found.items())


    def path(*parts):
        return os.path.join(*parts)
    """
)


def imports_gone(folder: Path, before: Mapping[str, bytes]) -> str:
    source = text(folder, "report.py")
    left = [name for name in ("sys", "json", "re", "OrderedDict") if re.search(rf"\b(import|,).*\b{name}\b", source)]
    run = "from report import line, table, path\nassert line('a', 2) == 'a: 2' and table([('a', 1)]) == 'a = 1.0' and path('a', 'b') == 'a/b'"
    return first(f"left: {left}" if left else "", passes(folder, run), only(folder, before, "report.py"))


def f_strings(folder: Path, before: Mapping[str, bytes]) -> str:
    source = text(folder, "report.py")
    tree = ast.parse(source)
    old = [
        node
        for node in ast.walk(tree)
        if (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod) and isinstance(node.left, ast.Constant))
        or (isinstance(node, ast.Attribute) and node.attr == "format")
    ]
    run = "from report import line, table\nassert line('a', 2) == 'a: 2' and table([('a', 1), ('a', 2)]) == 'a = 3.0'"
    return first("old formatting is left" if old else "", passes(folder, run), only(folder, before, "report.py"))


MESSY = files(
    work_dot_py="""
    def area(w, h):
        # old = w * h * 2
        # return old
        return w * h  # both in metres


    # def perimeter(w, h):
    #     return 2 * (w + h)


    def label(n):
        # Names longer than ten letters do not fit the badge.
        return n[:10]
    """
)


def dead_code_gone(folder: Path, before: Mapping[str, bytes]) -> str:
    source = text(folder, "work.py")
    left = [piece for piece in ("old = w", "return old", "perimeter") if piece in source]
    kept = "both in metres" in source and "do not fit the badge" in source
    return first(
        f"left: {left}" if left else "",
        "" if kept else "a comment in words is gone",
        passes(
            folder, "from work import area, label\nassert area(2, 3) == 6 and label('abcdefghijklm') == 'abcdefghij'"
        ),
        only(folder, before, "work.py"),
    )


TIMES = files(
    times_dot_py="""
    def days(seconds):
        return seconds / 86400


    def week(start):
        return start + 7 * 86400


    def label(seconds):
        return f"{seconds // 86400} days of 86400 seconds"
    """
)


def constant(folder: Path, before: Mapping[str, bytes]) -> str:
    source = text(folder, "times.py")
    numbers = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant) and node.value == 86400]
    run = "from times import days, week, label, SECONDS_PER_DAY\nassert (days(86400), week(0), SECONDS_PER_DAY) == (1, 604800, 86400)\nassert label(86400) == '1 days of 86400 seconds'"
    return first(
        "the number stands more than once" if len(numbers) > 1 else "",
        passes(folder, run),
        only(folder, before, "times.py"),
    )


PRINTS = files(
    job_dot_py="""
    def run(items):
        print("starting", len(items))
        for item in items:
            if not item:
                print("empty item skipped")
                continue
            print(f"done {item}")
        return len(items)


    def main():
        print(run(["a", ""]))
    """
)


def logs(folder: Path, before: Mapping[str, bytes]) -> str:
    source = text(folder, "job.py")
    tree = ast.parse(source)
    run_body = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run")
    prints = [node for node in ast.walk(run_body) if isinstance(node, ast.Name) and node.id == "print"]
    run = """
        import logging
        logging.basicConfig(level=logging.DEBUG)
        import job
        assert job.run(["a", ""]) == 2
    """
    kept = "print(run(" in source
    return first("print is left in run" if prints else "", "" if kept else "main no longer prints", passes(folder, run))


# ── documents and settings ──

README = files(
    README_dot_md="""
    # Tool

    A tool.

    ## Install

    Run `pip install tool`.

    ## Use

    ### From Python

    ```python
    # Not a heading
    import tool
    ```

    ### From the shell

    ## Licence

    MIT
    """
)


def contents(folder: Path, before: Mapping[str, bytes]) -> str:
    source = text(folder, "README.md")
    links = re.findall(r"\[([^\]]+)\]\(#([^)]+)\)", source)
    wanted = [
        ("Install", "install"),
        ("Use", "use"),
        ("From Python", "from-python"),
        ("From the shell", "from-the-shell"),
        ("Licence", "licence"),
    ]
    missing = [name for name, anchor in wanted if (name, anchor) not in [(a.strip("`"), b) for a, b in links]]
    kept = [line for line in before["README.md"].decode().splitlines() if line and line not in source]
    return first(
        f"not linked: {missing}" if missing else "",
        "a code comment was taken for a heading" if "not-a-heading" in source else "",
        f"lines are gone: {kept[:3]}" if kept else "",
        only(folder, before, "README.md"),
    )


TOML = files(
    pyproject_dot_toml="""
    [project]
    name = "tool"            # keep
    version = "1.2.3"
    requires-python = ">=3.8"
    dependencies = ["click>=7"]

    [tool.other]
    key = "value"
    """
)


def toml_edited(folder: Path, before: Mapping[str, bytes]) -> str:
    source = text(folder, "pyproject.toml")
    found = tomllib.loads(source)
    right = (
        found["project"].get("requires-python") == ">=3.11"
        and found["project"].get("version") == "2.0.0"
        and any(re.fullmatch(r"click\s*>=\s*8(\.0)*", each) for each in found["project"]["dependencies"])
        and found["tool"]["other"] == {"key": "value"}
    )
    return first("" if right else f"is {found['project']}", "" if "# keep" in source else "a comment is gone")


def crlf(folder: Path) -> None:
    (folder / "version.txt").write_bytes(b"name: tool\r\nversion: 1.0\r\nnote: version 1.0 was first\r\n")
    (folder / "setup.cfg").write_bytes(b"[metadata]\nversion = 1.0\n")


def crlf_kept(folder: Path, before: Mapping[str, bytes]) -> str:
    data = (folder / "version.txt").read_bytes()
    right = data.startswith(b"name: tool\r\nversion: 1.1\r\n") and data.count(b"\r\n") == 3 and data.count(b"\n") == 3
    return first(
        "" if right else f"version.txt is {data!r}",
        "" if "version = 1.1" in text(folder, "setup.cfg") else "setup.cfg was left",
    )


LINKS = files(
    docs__install_dot_md="# Install\n\nSee [use](use.md).\n",
    docs__use_dot_md="# Use\n\nBack to [install](install.md#install).\n",
    README_dot_md="[Install](docs/install.md) and [use](docs/use.md)\n",
)


def renamed_page(folder: Path, before: Mapping[str, bytes]) -> str:
    there = (folder / "docs/getting-started.md").is_file() and not (folder / "docs/install.md").exists()
    links = "docs/getting-started.md" in text(folder, "README.md") and "getting-started.md#install" in text(
        folder, "docs/use.md"
    )
    return first("" if there else "the file has not its new name", "" if links else "a link leads nowhere")


DATA = files(
    data_dot_json='{\n  "b": 2,\n  "a": {"z": 1, "y": [3, 1]},\n  "c": null\n}\n',
    users_dot_py="""
    class User:
        def __init__(self, name, age=0, tags=None):
            self.name = name
            self.age = age
            self.tags = tags if tags is not None else []

        def __repr__(self):
            return f"User(name={self.name!r}, age={self.age!r}, tags={self.tags!r})"

        def __eq__(self, other):
            return (self.name, self.age, self.tags) == (other.name, other.age, other.tags)

        def greet(self):
            return f"Hello {self.name}"
    """,
)


def json_sorted(folder: Path, before: Mapping[str, bytes]) -> str:
    found = json.loads(text(folder, "data.json"))
    same = found == json.loads(before["data.json"])
    order = list(found) == ["a", "b", "c"] and list(found["a"]) == ["y", "z"] and found["a"]["y"] == [3, 1]
    return first(
        "" if same else "its values changed",
        "" if order else "its keys are not sorted",
        only(folder, before, "data.json"),
    )


def dataclassed(folder: Path, before: Mapping[str, bytes]) -> str:
    source = text(folder, "users.py")
    run = """
        import dataclasses
        from users import User
        assert dataclasses.is_dataclass(User) and User("a") == User("a", 0, []) and User("a").greet() == "Hello a"
        assert User("a").tags is not User("b").tags and repr(User("a", 1)) == "User(name='a', age=1, tags=[])"
    """
    return first(
        passes(folder, run), "__init__ is left" if "__init__" in source else "", only(folder, before, "users.py")
    )


def headers(folder: Path, before: Mapping[str, bytes]) -> str:
    line = "# SPDX-License-Identifier: MIT"
    wrong = []
    for path in python_files(folder / "iniconfig"):
        lines = path.read_text().splitlines()
        if lines[:2].count(line) != 1 or path.read_text().count(line) != 1:
            wrong.append(path.name)
    return first(
        f"not once on top: {wrong}" if wrong else "",
        passes(folder, "import iniconfig"),
        only(folder, before, r"iniconfig/.*\.py"),
    )


TASKS: tuple[EvalTask, ...] = (
    EvalTask("docstrings", "Give every public function and method that has no docstring a one-line docstring. Change nothing else.", package("iniconfig"), has_docstrings, "iniconfig"),
    EvalTask("types", "Annotate all parameters and return values of geometry.py with types.", GEOMETRY, has_types),
    EvalTask("rename", "Rename the function varnames to argument_names in the whole project, in documents too.", with_pluggy_readme, pluggy_renamed, "pluggy"),
    EvalTask("move", "Move parse_price from shop/prices.py into a new module shop/parsing.py and let everything import it from there.", SHOP, moved),
    EvalTask("bug", "tests/test_stats.py fails. Find out why and mend stats.py.", STATS, bugs_gone),
    EvalTask("bug-in-package", "test_comments.py fails: a comment line that starts with a semicolon is taken for a value. Mend the package.", with_a_bug_in_iniconfig, iniconfig_mended, "iniconfig"),
    EvalTask("feature", "Add a function slugify(text) to texts.py: lower case, every run of what is no letter or digit becomes one hyphen, none at the ends. Add tests for it.", TEXTS, slugs),
    EvalTask("tests", "Write tests for all functions of texts.py, edge cases too, at least four test functions in all. Do not change texts.py.", TEXTS, tests_written),
    EvalTask("todo-table", "Write TODO.md: a table of all TODO, FIXME and XXX comments in the code with file, line and text.", NOTES, todo_table),
    EvalTask("todo-table-package", "Write TODO.md: a table of all TODO, FIXME and XXX comments in the package with file, line and text.", package("click"), todo_table, "click"),
    EvalTask("unused-imports", "Remove the unused imports from report.py.", OLD, imports_gone),
    EvalTask("f-strings", "Use f-strings instead of % and .format in report.py.", OLD, f_strings),
    EvalTask("dead-code", "Delete the commented-out code in work.py; comments in words stay.", MESSY, dead_code_gone),
    EvalTask("constant", "Introduce a constant SECONDS_PER_DAY in times.py and use it wherever the number is used in a calculation.", TIMES, constant),
    EvalTask("logging", "In job.py the function run should use the logging module instead of print. main keeps its print.", PRINTS, logs),
    EvalTask("contents", "Add a table of contents with links to README.md, below its first paragraph, for all headings of level 2 and 3.", README, contents),
    EvalTask("toml", "In pyproject.toml set the version to 2.0.0, require Python 3.11 or newer and click 8 or newer.", TOML, toml_edited),
    EvalTask("crlf", "Set the version to 1.1 in version.txt and setup.cfg.", crlf, crlf_kept),
    EvalTask("rename-page", "Rename docs/install.md to docs/getting-started.md and mend the links to it.", LINKS, renamed_page),
    EvalTask("json", "Sort the keys of data.json, nested ones too. Lists stay as they are.", DATA, json_sorted),
    EvalTask("dataclass", "Make User in users.py a dataclass that behaves as before.", DATA, dataclassed),
    EvalTask("header", 'Put the line "# SPDX-License-Identifier: MIT" on top of every Python file of the package, once.', package("iniconfig"), headers, "iniconfig"),
    EvalTask("nothing-to-do", "Replace every use of the deprecated function os.popen by subprocess.run.", GEOMETRY, nothing_changed),
    EvalTask("cannot-be-done", "Bring the German translation in locale/de.po up to date.", TEXTS, nothing_changed),
)  # fmt: skip

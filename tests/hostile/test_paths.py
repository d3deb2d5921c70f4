"""Programs that want out of the project, into `.git` or `.cairn`, or to leave names that mean more than they say."""

from __future__ import annotations

import pytest

from cairn.function_signatures import declared
from cairn.project_path import project_path
from cairn.task_functions import TaskFunctions
from tests.hostile.attacks import SECRET, prints

# What may stand in the place of a path, and leads where no program may go.
OUTSIDE = [
    *("../outside/secret.txt", "../../etc/passwd", "src/../../outside/secret.txt", "./../outside/secret.txt"),
    *("src/./../../outside/secret.txt", "..", "../", "src/..", "a.txt/../../outside/secret.txt", ".../../../outside"),
    *("/etc/passwd", "//etc/passwd", "///etc/passwd", "/", "/../etc/passwd", "/project/../etc/passwd", "/root/x"),
    *("/proc/self/environ", "/proc/self/cwd/a.txt", "/dev/zero", "/dev/stdin", "/dev/full", "/sys/power/state"),
    *("C:\\Windows\\win.ini", "c:/../x/..", "\\\\server\\share\\..\\x/../..", "file:///etc/passwd/../..", "~/../../x"),
    *("out/secret.txt", "out", "out/new.txt", "up", "src/../out/secret.txt", "inside/../../outside/secret.txt"),
]
RESERVED = [
    *(".git/config", ".git", ".git/", "./.git/config", ".git//config", ".git/./config", "src/../.git/config"),
    *(".git/hooks/pre-commit", ".GIT/config", ".Git/hooks/x", "vendor/.git/config", "vendor/.giT/hooks/x", "a/b/.git"),
    *(".cairn/cairn.db", ".cairn", ".CAIRN/cairn.db", "vendor/.cairn/x", ".Cairn/tasks/x", "into-git/config"),
]
# As other systems write the same folder: Windows drops ends and has short names, macOS ignores invisible letters.
ALIASES = [
    *(".git./config", ".git /config", ".git../config", ".git . ./config", ".git::$INDEX_ALLOCATION/config", ".git:x"),
    *("git~1/config", "GIT~1/config", "GiT~2", "CAIRN~1/cairn.db", "vendor/git~1/hooks/x"),
    *(
        ".g\u200cit/config",
        "\ufeff.git/config",
        ".gi\u200dt/hooks/x",
        ".git\u200e",
        ".\u2060git",
        ".ca\u200birn/cairn.db",
    ),
    *(".cairn.", ".cairn /x", ".cairn::$DATA", ".g\u00adit/config", "\u202e.git/config"),
]
IMPOSSIBLE = ["", "a\0b", "\0", "x" * 5000, "x/" * 5000, "x" * 256, "a/" + "y" * 300, "\u00e4" * 200]


def places() -> list[str]:
    return [*OUTSIDE, *RESERVED, *ALIASES, *IMPOSSIBLE]


TRYING = """
def tried(path):
    done = []
{calls}
    return done
for path in paths:
    done = tried(path)
    if done:
        print(repr(path), done)
"""


def trying(calls: dict[str, str], paths: list[str]) -> str:
    """A program that makes each call with each path, and prints those that did anything but raise, with what came."""
    lines = "".join(
        f"    try:\n        done.append(({name!r}, {call}))\n    except (OSError, ValueError, TypeError, RuntimeError, NotImplementedError, ZeroDivisionError):\n        pass\n"
        for name, call in calls.items()
    )
    return f"from pathlib import Path\nimport os\npaths = {paths!r}\n" + TRYING.format(calls=lines)


FUNCTIONS = {
    "read_file": "read_file(path)",
    "read_file of lines": "read_file(path, 1, 1)",
    "write_file": "write_file(path, 'x')",
    "edit_file": "edit_file(path, 'e', 'x')",
    "delete_file": "delete_file(path)",
    "move_file from": "move_file(path, 'taken.txt')",
    "move_file to": "move_file('a.txt', path)",
    "search_content": "search_content('.', path)",
    "outline": "outline(path)",
    "comments": "comments(path)",
    "replace_all": "replace_all('e', 'x', path) or 1 / 0",
    "diff": "diff(path) or 1 / 0",
    "history": "history(path)",
    "submit_result": "submit_result('', [path])",
}
LOOKING = {"list_dir": "list_dir(path)", "list_dir of all": "list_dir(path, True)"}
# The sandbox resolves `..` and turns backslashes before the host is asked: these are paths of the project to file code.
PLAIN_TO_FILE_CODE = {"src/..", "file:///etc/passwd/../..", "c:/../x/..", "C:\\Windows\\win.ini", "/project/src/../.."}
FILE_CODE = {
    "open": "open(path).read()",
    "open to write": "open(path, 'w').write('x')",
    "open to append": "open(path, 'a').write('x')",
    "open bytes": "open(path, 'rb').read()",
    "read_text": "Path(path).read_text()",
    "read_bytes": "Path(path).read_bytes()",
    "write_text": "Path(path).write_text('x')",
    "write_bytes": "Path(path).write_bytes(b'x')",
    "unlink": "Path(path).unlink()",
    "rename from": "Path(path).rename('taken.txt')",
    "rename to": "Path('a.txt').rename(path)",
    "os.remove": "os.remove(path)",
    "os.replace": "os.replace('a.txt', path)",
    "rmdir": "Path(path).rmdir()",
}
LIMITS = prints("", "").with_limits(seconds=10.0, calls=10_000, output_chars=100_000).limits

CHANGING_LINKS = {
    "'out'",
    "'up'",
}  # a link itself may be deleted or renamed in the overlay; where it leads, nothing may


@pytest.mark.parametrize("name", FUNCTIONS)
async def test_no_function_goes_where_no_program_may_go(room, name):
    before = room.snapshot()
    printed = await room.printed(trying({name: FUNCTIONS[name]}, places()), LIMITS)

    assert [line for line in printed.splitlines() if line.split(" [")[0] not in CHANGING_LINKS] == []
    assert SECRET not in printed
    assert room.snapshot() == before


@pytest.mark.parametrize("name", LOOKING)
async def test_no_listing_shows_what_no_program_may_see(room, name):
    printed = await room.printed(trying({name: LOOKING[name]}, places()), LIMITS)

    assert printed == ""


async def test_nothing_is_there_where_no_program_may_look(room):
    """`file_exists` says of a link that it is there, which is in the project, and never what it leads to."""
    printed = await room.printed(trying({"file_exists": "file_exists(path)"}, places()), LIMITS)

    there = [line for line in printed.splitlines() if "True" in line]
    assert there == ["'out' [('file_exists', True)]", "'up' [('file_exists', True)]"]


@pytest.mark.parametrize("name", FILE_CODE)
async def test_ordinary_file_code_goes_no_further_than_the_functions(room, name):
    before = room.snapshot()
    paths = [path for path in places() if path not in PLAIN_TO_FILE_CODE]
    printed = await room.printed(trying({name: FILE_CODE[name]}, paths), LIMITS)

    assert [line for line in printed.splitlines() if line.split(" [")[0] not in CHANGING_LINKS] == []
    assert SECRET not in printed
    assert room.snapshot() == before


async def test_looking_with_file_code_shows_nothing_either(room):
    calls = {
        "exists": "Path(path).exists() or [][1]",
        "is_file": "Path(path).is_file() or [][1]",
        "is_dir": "Path(path).is_dir() or [][1]",
        "stat": "Path(path).stat()",
        "listdir": "os.listdir(path)",
        "scandir": "list(os.scandir(path))",
        "iterdir": "list(Path(path).iterdir())",
        "walk": "list(os.walk(path))[0]",
        "glob": "list(Path(path).glob('*'))[0]",
        "rglob": "list(Path(path).rglob('*'))[0]",
    }
    calls = {name: call.replace("[][1]", "int('no')") for name, call in calls.items()}
    paths = [path for path in places() if path not in PLAIN_TO_FILE_CODE | {""}]  # the empty one is the folder itself
    program = trying(calls, paths).replace("ZeroDivisionError)", "IndexError)")
    printed = await room.printed(program, LIMITS)

    assert printed == ""


async def test_the_homes_and_surroundings_of_the_host_are_unknown(room):
    printed = await room.printed(
        "import os\nfrom pathlib import Path\n"
        "for name in ('HOME', 'PATH', 'USER', 'OPENAI_API_KEY', 'CAIRN_MODEL'):\n    print(os.getenv(name), os.environ.get(name))\n"
        "print(dict(os.environ), os.getcwd(), Path.cwd())\n"
    )

    assert printed == "None None\n" * 5 + "{} /project /project\n"


LINKS = {
    "a link out": "read_file('out/secret.txt')",
    "a link to a file outside": "read_file('up')",
    "a link into .git": "read_file('into-git/config')",
    "a link in a circle": "read_file('round')",
    "through a link in a circle": "read_file('round/x')",
    "writing through a link out": "write_file('out/new.txt', 'x')",
    "writing to a link to a file outside": "write_file('up', 'x')",
    "writing through a link into .git": "write_file('into-git/hooks/pre-commit', 'x')",
    "moving into a link out": "move_file('a.txt', 'out/a.txt')",
    "moving from a link out": "move_file('out/secret.txt', 'a2.txt')",
    "deleting through a link out": "delete_file('out/secret.txt')",
    "listing a link out": "list_dir('out')",
    "searching in a link out": "search_content('secret', 'out')",
    "searching a link to a file outside": "search_content('secret', 'up')",
    "an outline through a link out": "outline('out/x.py')",
}


@pytest.mark.parametrize("call", LINKS.values(), ids=LINKS)
async def test_a_link_that_leads_out_is_followed_by_no_function(room, call):
    before = room.snapshot()
    printed = await room.printed(f"try:\n    print('DONE', {call})\nexcept (OSError, ValueError) as e:\n    print(e)")

    assert ("DONE" in printed, SECRET in printed) == (False, False), printed
    assert room.snapshot() == before


async def test_a_link_inside_is_followed_and_one_that_was_moved_out_of_it_is_not(room):
    (room.root / "src/up").symlink_to("../a.txt")
    (room.root / "src/deep/up").symlink_to("../../a.txt")
    printed = await room.printed(
        "print(read_file('src/up'), end='')\n"
        "try:\n    move_file('src/deep/up', 'up2')\n    print(read_file('up2'))\nexcept (OSError, ValueError):\n    print('refused')"
    )

    assert printed == "one\ntwo\nrefused\n"


ODD_NAMES = ["e\u0301.txt", "\u00e9.txt", "CON", "nul.txt", "aux", "a b", " a", "a ", "a.", "-rf", "--", "$(id)", "`id`", "a;b",
             "a|b", "a\nb", "a\tb", "\x1b[2J", "\u202etxt.exe", "*", "?", "[a]", "{a,b}", "%00", "..a", "a..", "...", "~", "~root",
             "a:b", "a\\b", "\\..\\x", "x" * 255, "d/" * 100 + "x", ".gitignore", ".gitmodules", "git", ".github/x", "a.git/config",
             ".git-x", "cairn", ".cairnignore", "git~", "git~x", "#x#", ".#x", "\ufffd", "\U0001f600"]  # fmt: skip


async def test_odd_names_are_names_like_any_other(room):
    """Written, listed, found, read and moved as they are; two spellings of one letter are two names."""
    names = [name for name in ODD_NAMES if name not in {".gitignore", ".cairnignore"}]
    program = (
        f"names = {names!r}\nfor name in names: write_file(name, 'content of ' + name)\n"
        "found = search_files('**/*')\nprint(sorted(set(names) - set(found)))\n"
        "print([name for name in names if read_file(name) != 'content of ' + name])\n"
        "print([name for name in names if open(name).read() != 'content of ' + name])\n"
        "for name in names: move_file(name, 'moved/' + name)\n"
        "print([name for name in names if file_exists(name) or not file_exists('moved/' + name)])\n"
        "print(len(search_content('content of', 'moved')) >= len(names))\n"
    )
    before = room.snapshot()

    assert await room.printed(program, LIMITS) == "[]\n" * 4 + "True\n"
    assert room.snapshot() == before


@pytest.mark.parametrize("path", [*RESERVED[:-1], *ALIASES])
def test_every_spelling_of_the_reserved_folders_is_refused(path):
    with pytest.raises(PermissionError):
        project_path(path)


def test_every_function_that_takes_a_path_is_tried():
    tried = " ".join([*FUNCTIONS.values(), *LOOKING.values()])
    free = {"ask_llm", "ask_llm_many", "log", "file_exists", "search_files", "read_recipe", "run_check"}

    assert [name for name in declared(TaskFunctions) if f"{name}(" not in tried and name not in free] == []


async def test_alternatives_of_which_one_leads_out_find_what_is_inside_only(room):
    assert "secret" not in await room.printed("print(search_files('{../,}**/*', True))")


PATTERNS = ["../*", "/etc/*", "../**/*", "src/../../**", "..\\\\*", "{,..}/*", "{.,..}/{.,..}/outside/*", "out/*", "up",
            "out/**/*", "**/secret.txt", ".git/*", ".GIT/*", "**/.git/**", "{.git,x}/*", ".g*/config", "?git/*", "[.]git/config",
            ".cairn/**", "**/cairn.db", "into-git/*", "\0", "a\0*", "~/*", "//*", "/*"]  # fmt: skip


async def test_no_pattern_finds_what_no_program_may_see(room):
    calls = {"search_files": "search_files(path, True)", "glob": "[str(p) for p in Path('.').glob(path)]"}
    printed = await room.printed(trying(calls, PATTERNS), LIMITS)

    found = {line.split(" [")[0]: line for line in printed.splitlines() if "', ['" in line}
    assert found == {"'up'": "'up' [('search_files', ['up']), ('glob', [])]"}
    assert SECRET not in printed

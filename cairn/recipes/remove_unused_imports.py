# /// cairn-recipe
# name = "remove_unused_imports"
# description = "Removes imports that a Python file never uses, where nothing else can depend on them."
# examples = [
#   "remove unused imports",
#   "remove all unused imports from src/",
#   "clean up the unused imports in app/models.py",
# ]
# patterns = [
#   '@remove @all(?:unused|unneeded|unnecessary) imports?@files',
#   '@remove @all(?:Python )?imports? (?:that|which) (?:are|is) (?:not used|never used|unused)@files',
# ]
# [words]
# remove = 'remove|delete|drop|strip|clear|clean up|get rid of'
# all = '(?:(?:all|every|any|the|all the|all of the) )?'
# files = '@where| (?:in|from) (?:all|every|each|the) (?:Python )?files?@where'
# [[parameters]]
# name = "path"
# description = "the Python file or the folder to work in"
# kind = "path"
# default = "."
# ///

# Left alone on purpose: indented imports (try/except ImportError, TYPE_CHECKING, in functions), __init__.py,
# conftest.py, stubs, `from __future__`, `import x as x`, star imports, lines with a comment (as for linters), names in
# strings (`__all__`, annotations), and names that another file takes from this one. A module outside the standard
# library may be imported for what importing it does; so the last import of such a module stays, and is reported.
import re

# Importing these changes something.
WITH_EFFECTS = "antigravity this readline rlcompleter site sitecustomize usercustomize idlelib turtledemo cgitb".split()
STANDARD = """
abc aifc argparse array ast asynchat asyncio asyncore atexit audioop base64 bdb binascii bisect builtins bz2 cProfile
calendar cgi chunk cmath cmd code codecs codeop collections colorsys compileall concurrent configparser contextlib
contextvars copy copyreg crypt csv ctypes curses dataclasses datetime dbm decimal difflib dis distutils doctest email
encodings ensurepip enum errno faulthandler fcntl filecmp fileinput fnmatch formatter fractions ftplib functools gc
genericpath getopt getpass gettext glob graphlib grp gzip hashlib heapq hmac html http imaplib imghdr imp importlib
inspect io ipaddress itertools json keyword linecache locale logging lzma mailbox mailcap marshal math mimetypes mmap
modulefinder msilib msvcrt multiprocessing netrc nis nntplib ntpath nturl2path numbers opcode operator optparse os
ossaudiodev pathlib pdb pickle pickletools pipes pkgutil platform plistlib poplib posix posixpath pprint profile pstats
pty pwd py_compile pyclbr pydoc pyexpat queue quopri random re reprlib resource runpy sched secrets select selectors
shelve shlex shutil signal smtpd smtplib sndhdr socket socketserver spwd sqlite3 sre_compile sre_constants sre_parse ssl
stat statistics string stringprep struct subprocess sunau symtable sys sysconfig syslog tabnanny tarfile telnetlib
tempfile termios textwrap threading time timeit tkinter token tokenize tomllib trace traceback tracemalloc tty types
typing unicodedata unittest urllib uu uuid venv warnings wave weakref webbrowser winreg winsound wsgiref xdrlib xml
xmlrpc zipapp zipfile zipimport zlib zoneinfo
""".split()

WORD = re.compile(r"(?<![\w.])[^\W\d]\w*")  # an attribute (`response.json`) is not the imported name
ANY_WORD = re.compile(r"[^\W\d]\w*")
# Code that can reach a name without spelling it.
REFLECTION = re.compile(r"(?<![\w.])(?:(?:eval|exec)\s*\(|(?:globals|locals|vars)\s*\(\s*\))|\bsys\.modules\b")


# --- reading Python by its lines --------------------------------------------------------------------------------------


def end_of_string(line, start, quote):
    """Where the string that is open at `start` ends, behind its closing quotes; -1 when not on this line."""
    end = line.find(quote, start)
    while end >= 0:
        before = line[start:end]
        if (len(before) - len(before.rstrip("\\"))) % 2 == 0:
            return end + len(quote)
        end = line.find(quote, end + 1)
    return -1


def read_lines(lines):
    """For each line: its code, its strings, its comment, and whether a new statement begins on it.

    Strings and comments are cut out of the code. Of a docstring, only the lines of a doctest count as a string.
    """
    result = []
    quote = ""  # what closes the string that is open
    docstring = False
    depth = 0  # open brackets
    joined = False  # the line before ended in a backslash
    for line in lines:
        fresh = not quote and depth == 0 and not joined
        code = ""
        strings = []
        comment = ""
        at = 0
        while at < len(line):
            if quote:
                end = end_of_string(line, at, quote)
                text = line[at:] if end < 0 else line[at:end]
                if not docstring or text.lstrip().startswith((">>>", "...")):
                    strings.append(text)
                at += len(text)
                if end >= 0 or (len(quote) == 1 and not line.endswith("\\")):
                    quote = ""
                continue
            mark = re.search("[#\"']", line[at:])
            plain = line[at:] if mark is None else line[at : at + mark.start()]
            code += plain
            depth += sum([plain.count(b) for b in "([{"]) - sum([plain.count(b) for b in ")]}"])
            at += len(plain)
            if mark is None:
                break
            if mark.group() == "#":
                comment = line[at:]
                break
            quote = line[at : at + 3] if line[at : at + 3] in ['"""', "'''"] else line[at]
            prefix = re.search(r"(?<!\w)[A-Za-z]{1,2}$", code)
            code = code[: len(code) - len(prefix.group() if prefix else "")] + " "
            docstring = fresh and not code.strip()
            at += len(quote)
        joined = not quote and code.rstrip().endswith("\\")
        result.append((code, strings, comment, fresh))
    return result


def imports_in(read):
    """Every import statement: first line, last line, indented?, module ("" for plain `import`), [(name, as, bound)]."""
    found = []
    for first, (code, strings, comment, fresh) in enumerate(read):
        if not fresh or not re.match(r"\s*(?:import|from)\b", code):
            continue
        last = first
        while last + 1 < len(read) and not read[last + 1][3]:
            last += 1
        text = " ".join([line[0].rstrip().removesuffix("\\") for line in read[first : last + 1]]).strip()
        whole = re.match(r"(?:from\s+(?P<module>[.\w\s]+?)\s+)?import\b\s*\(?(?P<names>[^()]*)\)?$", text)
        names = []
        for part in whole.group("names").split(",") if whole else []:
            words = part.split()
            if len(words) in (1, 3):
                bound = words[-1] if len(words) == 3 or whole.group("module") else words[0].split(".")[0]
                names.append((words[0], words[2] if len(words) == 3 else "", bound))
        module = (whole.group("module") or "") if whole else ""
        found.append((first, last, code[:1].isspace(), "".join(module.split()), names))
    return found


# --- deciding ---------------------------------------------------------------------------------------------------------


def used_names(read, statements):
    """Every name that the file uses outside its own top-level import statements."""
    of_imports = set()
    for first, last, indented, module, names in statements:
        if not indented:
            of_imports.update(range(first, last + 1))
    used = set()
    for number, (code, strings, comment, fresh) in enumerate(read):
        if number not in of_imports:
            used.update(WORD.findall(code))
        for text in strings:
            used.update(ANY_WORD.findall(text))
        if "type:" in comment:
            used.update(ANY_WORD.findall(comment))
    return used


def is_standard(module):
    top = module.split(".")[0]
    return top in STANDARD and top not in WITH_EFFECTS


def may_be_submodule(module, name):
    """True when `from module import name` may load a module: it then counts as imported for its effects."""
    if module.startswith("."):
        return bool(search_files(f"**/{name}.py") or search_files(f"**/{name}/__init__.py"))
    return not name[:1].isupper()


def unused_imports(read):
    """The statements with the names that may go, and how many unused ones had to stay."""
    statements = imports_in(read)
    used = used_names(read, statements)
    plans = []
    kept = 0
    for first, last, indented, module, names in statements:
        lines = read[first : last + 1]
        plain = all([not strings and not comment and ";" not in code for code, strings, comment, fresh in lines])
        if indented or not names or not plain or module == "__future__":
            continue
        unused = [
            item
            for item in names
            if item[2] not in used and not item[2].startswith("_") and item[0] not in ("*", item[1])
        ]
        if module and not is_standard(module):
            fit = [item for item in unused if len(unused) < len(names) and not may_be_submodule(module, item[0])]
        else:
            fit = [item for item in unused if module or is_standard(item[0])]
        kept += len(unused) - len(fit)
        if fit:
            plans.append((first, last, module, names, fit))
    return plans, kept


def taken_by_others(wanted):
    """Of (module, name) pairs, those that some file of the project takes from the module: `from m import n`, `m.n`."""
    modules = {module for module, name in wanted}
    names = {name for module, name in wanted}
    taken = set()
    pairs = set()
    also_called = {module: {module} for module in modules}
    for file in search_files("**/*.py"):
        try:
            text = read_file(file)
        except (OSError, ValueError):
            continue
        mentioned = modules & set(ANY_WORD.findall(text))
        if not mentioned and not names & set(re.findall(r"\.(\w+)", text)):
            continue
        pairs.update([pair for pair in re.findall(r"(\w+)(?=\.(\w+))", text) if pair[1] in names])
        pairs.update([pair for pair in re.findall(r"(\w+)\s*,\s*[\"'](\w+)[\"']", text) if pair[1] in names])
        for first, last, indented, module, items in imports_in(read_lines(text.split("\n"))) if mentioned else []:
            for name, other, bound in items:
                taken.add((module.split(".")[-1], name))
                if name.split(".")[-1] in modules:
                    also_called[name.split(".")[-1]].add(bound)
    return {
        (module, name)
        for module, name in wanted
        if (module, name) in taken
        or (module, "*") in taken
        or any([(called, name) in pairs for called in also_called[module]])
    }


# --- editing ----------------------------------------------------------------------------------------------------------


def spelled(item):
    return f"{item[0]} as {item[1]}" if item[1] else item[0]


def rebuilt(lines, module, names, fit):
    """The lines of one statement without the names in `fit`; no line at all when none is left."""
    left = [item for item in names if item not in fit]
    if not left:
        return []
    if not module:
        return ["import " + ", ".join([spelled(item) for item in left])]
    gone = [spelled(item) for item in fit]
    inside = [" ".join(line.split()).removesuffix(",") for line in lines[1:-1]]
    if lines[0].rstrip().endswith("(") and lines[-1].strip() == ")" and not any(["," in line for line in inside]):
        return [lines[0]] + [line for line, text in zip(lines[1:-1], inside) if text not in gone] + [lines[-1]]
    one_line = f"from {module} import " + ", ".join([spelled(item) for item in left])
    if len(lines) == 1 or len(one_line) <= 88:
        return [one_line]
    return [f"from {module} import ("] + [f"    {spelled(item)}," for item in left] + [")"]


def without_imports(lines, plans):
    """The file's lines with the plans carried out, from the last statement to the first."""
    for first, last, module, names, fit in reversed(plans):
        end = "\r" if lines[first].endswith("\r") else ""
        new = [line.rstrip("\r") + end for line in rebuilt(lines[first : last + 1], module, names, fit)]
        below = lines[last + 1 :]
        if not new:
            # The blank lines above and below meet now: keep the larger gap, and none at the top of the file.
            above = 0
            while above < first and not lines[first - 1 - above].strip():
                above += 1
            gap = 0
            while gap < len(below) and not below[gap].strip():
                gap += 1
            if gap < len(below):
                below = below[gap if above == first else min(above, gap) :]
        lines = lines[:first] + new + below
    return lines


# --- the task ---------------------------------------------------------------------------------------------------------


def is_candidate(file):
    """__init__.py re-exports, conftest.py brings fixtures by importing them, and stubs are read by other tools."""
    return file.endswith(".py") and file.split("/")[-1] not in ("__init__.py", "conftest.py")


def listed(names, between):
    """The first ten, and how many more there are."""
    return between.join(names[:10]) + (f"{between}and {len(names) - 10} more" if len(names) > 10 else "")


def several(count, what):
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def main():
    path = PARAMETERS["path"]
    pattern = path if path.endswith(".py") else "**/*.py" if path == "." else path + "/**/*.py"
    where = "" if path == "." else f" in {path}"
    files = search_files(pattern)
    if not files:
        there = path == "." or file_exists(path)
        submit_result(f"Nothing to do: there is no {'Python file' + where if there else path}.", [])
        return
    found = {}
    failed = []
    kept = 0
    dynamic = 0
    for file in files:
        if not is_candidate(file):
            continue
        try:
            read = read_lines(read_file(file).split("\n"))
        except (OSError, ValueError) as error:
            failed.append(f"{file} ({error})")
            continue
        plans, stay = unused_imports(read)
        if plans and any([REFLECTION.search(code) for code, strings, comment, fresh in read]):
            dynamic += 1
            continue
        kept += stay
        if plans:
            found[file] = plans

    wanted = set()
    for file, plans in found.items():
        for first, last, module, names, fit in plans:
            wanted.update([(file.split("/")[-1].removesuffix(".py"), item[2]) for item in fit])
    taken = taken_by_others(wanted) if wanted else set()

    changed = []
    removed = 0
    for file, plans in found.items():
        stem = file.split("/")[-1].removesuffix(".py")
        free = []
        for first, last, module, names, fit in plans:
            going = [item for item in fit if (stem, item[2]) not in taken]
            kept += len(fit) - len(going)
            if going:
                free.append((first, last, module, names, going))
        if not free:
            continue
        try:
            outline(file)  # raises for a file that is no valid Python, whose lines cannot be trusted
            write_file(file, "\n".join(without_imports(read_file(file).split("\n"), free)))
        except (OSError, ValueError, SyntaxError) as error:
            failed.append(f"{file} ({error})")
            continue
        changed.append(file)
        removed += sum([len(fit) for first, last, module, names, fit in free])
        names = ", ".join([spelled(item) for plan in free for item in plan[4]])
        log(f"{file}: {names}")

    if changed:
        summary = f"Removed {several(removed, 'unused import')} from {several(len(changed), 'file')}."
    else:
        summary = f"Nothing to do: no unused import{where} can be removed safely."
    if kept:
        summary += (
            f" Left: {several(kept, 'unused import')}, because another file takes the name from there, or because the"
            " module is not of the standard library and may be imported for what importing it does."
        )
    if dynamic:
        summary += f" Left: {several(dynamic, 'file')} with eval, globals or the like."
    if failed:
        summary += f" Could not change {several(len(failed), 'file')}: " + listed(failed, "; ") + "."
    submit_result(summary, changed)


main()

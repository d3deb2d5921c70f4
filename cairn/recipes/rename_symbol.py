# /// cairn-recipe
# name = "rename_symbol"
# description = "Renames a function, class or other Python name, as a whole word, in code, comments and documents."
# examples = [
#   "rename get_user to fetch_user",
#   "rename the class HTTPClient to HttpClient in src/",
# ]
# patterns = [
#   'rename @all@what@name(old) (?:to|into|as|→|->|=>) @new@files',
#   'change the name of @what@name(old) (?:to|into) @new@files',
# ]
# [words]
# all = '(?:(?:all|every|each) (?:occurrences? of )?)?'
# what = '(?:(?:the )?@kind |(?=@like_code))(?!(?:@noun)\b)'
# like_code = '''[`'"]|\w*(?-i:[A-Z0-9_])|\w+\(\)'''
# kind = '(?:Python )?(?:function|method|class|constant|symbol|identifier|name|dataclass|exception|enum)'
# noun = 'the|a|an|this|that|it|them|all|every|each|everything|@thing|@piece|main|master|trunk'
# thing = 'files?|folders?|directory|directories|modules?|packages?|project|repo|repository|branch'
# piece = 'functions?|methods?|class|classes|variables?|parameters?|arguments?'
# new = '(?!(?:@style|something|it|master|main|trunk)\b)@name(new)'
# style = '(?:lower|upper|title)case|(?:snake|camel|pascal|kebab)[_-]?case'
# files = '@where| (?:in|across) (?:all|every|each|the) files?@where'
# [[parameters]]
# name = "old"
# description = "the name as it is now"
# kind = "name"
# [[parameters]]
# name = "new"
# description = "the name it gets"
# kind = "name"
# [[parameters]]
# name = "path"
# description = "the file or folder to work in"
# kind = "path"
# default = "."
# ///

# The name is taken as a word: every function, method or variable of that name is renamed together. Other string
# literals than annotations and `__all__` stay as they are and are reported, because a dictionary's key or a message may
# merely read the same. In prose (comments, docstrings, documents) an ordinary word such as `group` is renamed only
# where it is marked as code: `group`, group(), .group
import re

DOCUMENTS = ("md", "markdown", "rst", "txt")

# Too common: as whole words they also stand for what Python's own objects have.
COMMON = """
add append args as_posix capitalize casefold cast center cls clear close copy count date datetime decode difference
discard encode endswith exists expandtabs extend fileno find flush format fromkeys get group groups hex index insert
intersection is_dir is_file isalnum isalpha isdigit islower isspace issubset istitle isupper items join keys kwargs
ljust lower lstrip match mkdir name open parent partition pop popitem popleft put read readable readline readlines
remove replace resolve result reverse rfind rindex rjust rpartition rsplit rstrip run search seek self set setdefault
sort split splitlines start startswith stat stem stop strip sub submit suffix swapcase symmetric_difference tell title
translate truncate union unlink update upper value values wait writable write writelines zfill
abs aiter all anext any ascii bin bool breakpoint bytearray bytes callable chr classmethod compile complex delattr dict
dir divmod enumerate eval exec filter float frozenset getattr globals hasattr hash help id input int isinstance
issubclass iter len list locals map max memoryview min next object oct ord pow print property range repr reversed round
setattr slice sorted staticmethod str sum super tuple type vars zip match case Exception
""".split()


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


def fstring_pieces(text):
    """An f-string's text cut at its braces: what stands in them is code (with strings of its own)."""
    pieces = []
    depth = 0
    plain = ""
    for part in re.findall(r"\{\{|\}\}|[{}]|[^{}]+", text):
        if part == "{" or (part == "{{" and depth):
            depth += len(part)
        elif depth and part in ("}", "}}"):
            depth = max(0, depth - len(part))
        elif depth:
            pieces.append(("string", plain))
            plain = ""
            pieces += cut_lines([part])[0]
            continue
        plain += part
    return pieces + [("string", plain)]


def cut_lines(lines):
    """Each line as pieces (kind, text) that make up the line again.

    The kinds are "code", "comment", "docstring", "string" for a plain string's text, "exported" for one in `__all__`
    and "annotation" for one that is a type in quotes.
    """
    result = []
    quote = ""  # what closes the string that is open
    kind = ""
    formatted = False
    depth = 0  # open brackets
    joined = False  # the line before ended in a backslash
    statement = ""  # the code of the statement so far
    for line in lines:
        pieces = []
        if not quote and depth == 0 and not joined:
            statement = ""
        at = 0
        while at < len(line):
            if quote:
                end = end_of_string(line, at, quote)
                text = line[at:] if end < 0 else line[at:end]
                pieces += fstring_pieces(text) if formatted else [(kind, text)]
                at += len(text)
                if end >= 0 or (len(quote) == 1 and not line.rstrip("\r").endswith("\\")):
                    quote = ""
                continue
            mark = re.search("[#\"']", line[at:])
            code = line[at:] if mark is None else line[at : at + mark.start()]
            depth += sum([code.count(b) for b in "([{"]) - sum([code.count(b) for b in ")]}"])
            statement += code
            at += len(code)
            if mark is not None and mark.group() != "#":
                quote = line[at : at + 3] if line[at : at + 3] in ['"""', "'''"] else line[at]
                prefix = re.search(r"(?<!\w)[bBfFrRtTuU]{1,2}$", code)
                letters = prefix.group().lower() if prefix else ""
                formatted = "f" in letters or "t" in letters
                kind = kind_of_string(statement[: len(statement) - len(letters)], depth)
                code += quote
                at += len(quote)
            pieces.append(("code", code))
            if mark is not None and mark.group() == "#":
                pieces.append(("comment", line[at:]))
                break
        joined = not quote and line.rstrip().endswith("\\")
        result.append(pieces)
    return result


def kind_of_string(before, depth):
    """What a string is, by the code of its statement that stands before it."""
    code = before.strip()
    if not code:
        return "docstring"
    if re.match(r"__all__\s*(?:\+?=|:|\.)", code):
        return "exported"
    if code.endswith(("->", "cast(", "bound=")) or (depth == 0 and re.match(r"[\w.]+\s*:$", code)):
        return "annotation"
    in_header = re.match(r"(?:async\s+)?def\b", code) is not None
    return "annotation" if in_header and code.endswith((":", "[", "|")) and not code.endswith("Literal[") else "string"


# --- renaming ---------------------------------------------------------------------------------------------------------


def looks_like_code(name):
    return "_" in name or any([letter.isdigit() for letter in name]) or name[1:].lower() != name[1:]


def renamed_in_prose(text, old, new):
    """Prose with the name renamed. An ordinary word must be marked as code."""
    if looks_like_code(old):
        return re.sub(rf"(?<!\w){old}(?!\w)", new, text)
    text = re.sub(rf"(?<=[`.@]){old}(?!\w)", new, text)
    return re.sub(rf"(?<!\w){old}(?=\(|`)", new, text)


def renamed_python(text, old, new):
    """(new text, {kind of piece: count}, lines of strings that stay)."""
    counts = {"code": 0, "prose": 0}
    stay = []
    word = re.compile(rf"(?<!\w){old}(?!\w)")
    lines = text.split("\n")
    cut = cut_lines(lines) if word.search(text) else []
    for number, pieces in enumerate(cut):
        if old not in lines[number]:
            continue
        made = []
        for kind, piece in pieces:
            after = piece
            if kind in ("comment", "docstring"):
                doctest = piece.lstrip().startswith((">>>", "..."))
                after = word.sub(new, piece) if doctest else renamed_in_prose(piece, old, new)
            elif kind != "string":
                after = word.sub(new, piece)
            elif word.search(piece):
                stay.append(number + 1)
            if after != piece:
                counts["prose" if kind in ("comment", "docstring") else "code"] += len(word.findall(piece)) - len(
                    word.findall(after)
                )
            made.append(after)
        lines[number] = "".join(made)
    return "\n".join(lines), counts, stay


def renamed_document(text, old, new):
    """The document with the name renamed, in fenced and doctest code as in code; and the count."""
    word = re.compile(rf"(?<!\w){old}(?!\w)")
    lines = text.split("\n")
    fenced = False
    count = 0
    for number, line in enumerate(lines):
        if re.match(r"\s*(?:```|~~~)", line):
            fenced = not fenced
        code = fenced or line.lstrip().startswith(">>>")
        lines[number] = word.sub(new, line) if code else renamed_in_prose(line, old, new)
        count += len(word.findall(line)) - len(word.findall(lines[number]))
    return "\n".join(lines), count


def code_of(text):
    """Only the code of a Python file, line by line."""
    return "\n".join(
        ["".join([piece for kind, piece in pieces if kind == "code"]) for pieces in cut_lines(text.split("\n"))]
    )


def defines(code, name):
    return (
        re.search(rf"(?m)^\s*(?:(?:async\s+)?def|class)\s+{name}\b|(?:^|[\s.;]){name}\s*(?::[^=\n]*)?=(?!=)", code)
        is not None
    )


# --- the task ---------------------------------------------------------------------------------------------------------


def reason_against(old, new, python):
    """Why the whole rename would do harm; "" when nothing speaks against it."""
    if old in COMMON:
        return f"{old} is also a name of Python's own objects, so not every {old} is the one you mean"
    if search_files(f"**/{old}.py") or search_files(f"**/{old}/*.py"):
        return f"a module or package is called {old} too, and its imports would break"
    codes = {file: code_of(text) for file, text in python.items()}
    if not any([defines(code, old) for code in codes.values()]):
        return f"no Python file here defines {old}"
    for file, code in sorted(codes.items()):
        if re.search(rf"(?<!\w){new}(?!\w)", code):
            line = [re.search(rf"(?<!\w){new}(?!\w)", line) is not None for line in code.split("\n")].index(True) + 1
            return f"{new} stands in {file} already (line {line}), so the two could not be told apart"
    return ""


def listed(names, between):
    """The first ten, and how many more there are."""
    return between.join(names[:10]) + (f"{between}and {len(names) - 10} more" if len(names) > 10 else "")


def several(count, what):
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def main():
    old = PARAMETERS["old"]
    new = PARAMETERS["new"]
    path = PARAMETERS["path"]
    if old == new:
        submit_result("Nothing to do: the two names are the same.", [])
        return
    failed = []
    other = set()
    texts = {}
    word = rf"\b{old}\b"
    try:
        mentions = sorted({hit["file"] for hit in search_content(word, path)})
    except (FileNotFoundError, ValueError) as error:
        submit_result(f"Nothing was done: {error}.", [])
        return
    for file in mentions:
        ending = file.split(".")[-1].lower()
        if ending not in ("py", "pyi") and ending not in DOCUMENTS:
            other.add(file)
            continue
        try:
            texts[file] = read_file(file)
        except (OSError, ValueError) as error:
            failed.append(f"{file} ({error})")
    python = {file: text for file, text in texts.items() if file.endswith((".py", ".pyi"))}
    against = reason_against(old, new, python)
    if against:
        submit_result(f"Nothing to do: {against}.", [])
        return

    changed = []
    counts = {"code": 0, "prose": 0, "documents": 0}
    stay = []
    for file, before in texts.items():
        if file in python:
            after, found, lines = renamed_python(before, old, new)
            stay += [f"{file}:{line}" for line in lines]
        else:
            after, count = renamed_document(before, old, new)
            found = {"documents": count}
        if after == before:
            continue
        try:
            write_file(file, after)
        except (OSError, ValueError, SyntaxError) as error:
            failed.append(f"{file} ({error})")
            continue
        changed.append(file)
        for kind, count in found.items():
            counts[kind] += count

    summary = (
        f"Renamed {old} to {new} in {several(len(changed), 'file')}: {several(counts['code'], 'time')} in code,"
        f" {counts['prose']} in comments and docstrings, {counts['documents']} in documents."
    )
    if stay:
        summary += f" Strings that read {old} were left, see whether they mean it: " + listed(stay, ", ") + "."
    if other:
        summary += " Other kinds of files that mention it were left: " + listed(sorted(other), ", ") + "."
    if failed:
        summary += f" Could not change {several(len(failed), 'file')}: " + listed(failed, "; ") + "."
    submit_result(summary, changed)


main()

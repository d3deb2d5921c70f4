# /// cairn-recipe
# name = "add_docstrings"
# description = "Gives every public Python function and method without a docstring one sentence."
# examples = [
#   "add docstrings",
#   "add missing docstrings in src/",
#   "write docstrings for every public function in app/models.py",
# ]
# patterns = [
#   '@add (?:@missing )?docstrings?@to_functions@where',
#   '@add (?:@missing )?docstrings? (?:to|in|for) (?:all|every|each) (?:Python )?files?@where',
#   '@add (?:a|the|one) (?:@missing )?docstring (?:to|for) (?:all|each|every|any) (?:of the )?@functions@without@where',
#   '(?:missing )?docstrings? (?:for|in) @functions@without@where',
#   '(?:missing )?docstrings?@where',
#   'document (?:(?:all|every|each|the) )?(?:undocumented|missing) (?:public )?@kinds@where',
# ]
# [words]
# to_functions = '(?: (?:to|for|in|on) (?:(?:all|each|every|any|the|all the|all of the) )?@functions@without)?'
# add = 'add|write|generate|create|insert|put'
# missing = '(?:the |all |any |all the )?missing|the'
# functions = '(?:(?:public|undocumented|Python) )*@kinds'
# kinds = 'functions?|methods?|(?:functions?|methods?) (?:and|or) (?:functions?|methods?)'
# without = '(?: (?:without|(?:that|which) (?:lacks?|has no|have no|@not have)) (?:one|any|(?:a )?docstrings?))?'
# not = 'does not|do not|doesn.t|don.t'
# [[parameters]]
# name = "path"
# description = "the Python file or the folder to work in"
# kind = "path"
# default = "."
# ///

# The sentence comes from a language model, if there is one and its answer stands up to `usable`; else it is made from
# the code: the result of a function that is one `return`, or what the signature says. Left alone: names that begin with _, nested functions,
# overloads, setters, bodies that are only `...`, one-line functions, methods that inherit a docstring, and test files.
import re

PROMPT = (
    "Write the docstring of the Python function {name}: one sentence in plain English that begins with a verb in the "
    "imperative, such as Return or Check, and ends with a full stop. At most 80 characters. Only what the code below "
    "shows. No quotes, no parameter list."
)
SOURCE_LINES = 80  # more of a function tells a model little
LONGEST = 110  # characters of a line with a docstring
FAILURES = 3  # in a row, then the model is not asked any more
TEST_FOLDERS = ("test", "tests", "testing")

# What is known to leave a function's parameters and result as they are written.
PLAIN_DECORATORS = "staticmethod classmethod abstractmethod override final cache lru_cache wraps".split()
PROPERTIES = ("property", "cached_property")


# --- what to document -------------------------------------------------------------------------------------------------


def is_test(path):
    parts = path.split("/")
    name = parts[-1]
    in_folder = any([part in TEST_FOLDERS for part in parts[:-1]])
    return in_folder or name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py"


def decorators(item, lines):
    """The names of the decorators, without what stands before the last dot."""
    found = []
    for line in lines[item["start"] - 1 : item["signature_end"]]:
        mark = re.match(r"\s*@\s*([\w.]+)", line)
        if mark is None and re.match(r"\s*(?:async\s+)?def\b", line):
            break
        if mark is not None:
            found.append(mark.group(1))
    return found


def wants_docstring(item, lines, kinds):
    """True for a public function or method that can safely get one. `kinds` has the kind of every name in the file."""
    if item["kind"] not in ("function", "method") or item["has_docstring"] or item["one_line"]:
        return False
    parts = item["name"].split(".")
    if any([part.startswith("_") for part in parts]):
        return False
    for count in range(1, len(parts)):
        if kinds.get(".".join(parts[:count])) != "class":
            return False
    marks = decorators(item, lines)
    if any([mark.split(".")[-1] in ("overload", "setter", "getter", "deleter") for mark in marks]):
        return False
    body = [line.strip() for line in lines[item["body_line"] - 1 : item["end"]]]
    return body != ["..."]


def bases(signature):
    """The last names of a class's bases."""
    inside = re.search(r"\((.*)\)", signature)
    names = inside.group(1).split(",") if inside else []
    return [re.sub(r"\[.*", "", name).strip().split(".")[-1] for name in names if "=" not in name]


def documented_above(name, classes, documented):
    """True when a class of the project that this method's class derives from documents the method."""
    parts = name.split(".")
    if len(parts) < 2:
        return False
    seen = []
    waiting = list(classes.get(parts[-2], []))
    while waiting:
        base = waiting.pop()
        if (base, parts[-1]) in documented:
            return True
        if base not in seen:
            seen.append(base)
            waiting += classes.get(base, [])
    return False


# --- a sentence from the signature ------------------------------------------------------------------------------------


def without_strings(text):
    """The text at the same length, with each string's characters turned into underscores."""
    for string in re.finditer(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", text):
        text = text[: string.start()] + "_" * len(string.group()) + text[string.end() :]
    return text


def split_outside(text, separator):
    """The text cut at the separators that stand in no bracket and no string."""
    parts = []
    depth = 0
    start = 0
    for place, letter in enumerate(without_strings(text)):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == separator and depth == 0:
            parts.append(text[start:place].strip())
            start = place + 1
    return parts + [text[start:].strip()]


def cut_signature(signature):
    """(the parameters' text, the result's annotation), or None for a signature that is not whole."""
    opened = re.match(r"(?:async )?def \w+ ?(?:\[[^(]*\] ?)?\(", signature)
    if opened is None:
        return None
    depth = 1
    bare = without_strings(signature)
    for place in range(opened.end(), len(signature)):
        depth += (bare[place] in "([{") - (bare[place] in ")]}")
        if depth == 0:
            return signature[opened.end() : place], signature[place + 1 :].strip().removeprefix("->").strip()
    return None


def described(parameter):
    """A parameter in words: its name, and what it is when it is not given."""
    name = split_outside(parameter, ":")[0]
    halves = split_outside(parameter, "=")
    if len(halves) < 2:
        return name
    name = split_outside(halves[0], ":")[0]
    default = halves[-1]
    literal = re.match(r"(?:-?[\d.]+|True|False|None|'[^'\"\\]{1,20}'|\"[^'\"\\]{1,20}\"|\(\)|\[\]|\{\})$", default)
    return f"{name} (default {default})".replace('"', "'") if literal else f"{name} (optional)"


def parameters_in_words(text, kind, marks):
    """What the function takes, as a list of words for people."""
    taken = [part for part in split_outside(text, ",") if part and part not in ("/", "*")]
    is_static = any([mark.split(".")[-1] == "staticmethod" for mark in marks])
    if kind == "method" and not is_static and taken and not taken[0].startswith("*"):
        taken = taken[1:]  # the object or class itself
    words = [described(part) for part in taken if not part.startswith("*")]
    many = [part for part in taken if part.startswith("*") and not part.startswith("**")]
    named = [part for part in taken if part.startswith("**")]
    if many and named:
        words.append("any further arguments" if words else "any arguments")
    elif many:
        words.append("any further positional arguments" if words else "any positional arguments")
    elif named:
        words.append("any further keyword arguments" if words else "any keyword arguments")
    return words


def result_in_words(annotation):
    """The annotated result for a sentence such as "returns ...", or "" where the annotation says too little."""
    text = " ".join(annotation.replace('"', "").replace("'", "").split())
    optional = re.match(r"(?:[\w.]*\.)?Optional\[([\w.]+)\]$", text)
    if optional:
        text = optional.group(1) + " | None"
    members = split_outside(text, "|")
    if len(text) > 60 or "Literal" in text:
        return ""
    words = []
    for part in members:
        last = part.split(".")[-1]
        if re.match(r"[A-Za-z_][\w.]*$", part) is None:
            if re.match(r"[\w.]+\[[\w., \[\]|]+\]$", part) is None:
                return ""
            words.append(part)
        elif last in ("Any", "NoReturn", "Never", "Self", "LiteralString") or len(last) < 3 or last.startswith("_"):
            return ""
        elif len(members) > 1 or last in ("None", "bytes"):
            words.append(last)
        else:
            an = last[0] in "aeioAEIO" or (last[:2].isupper() and last[0] in "FHLMNRSX")
            words.append(("an " if an else "a ") + last)
    return listed(words).replace(" and ", " or ")


def listed(words):
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def sentence_from_signature(item, marks, room):
    """A sentence that is true because it says only what the signature says; "" when even that does not fit."""
    cut = cut_signature(item["signature"])
    if cut is None:
        return ""
    last_marks = [mark.split(".")[-1] for mark in marks]
    plain = all([mark in PLAIN_DECORATORS or mark in PROPERTIES for mark in last_marks])
    result = result_in_words(cut[1]) if plain else ""
    is_async = item["signature"].startswith("async ")
    if any([mark in PROPERTIES for mark in last_marks]):
        return f"A computed property that gives {result}." if result and result != "None" else "A computed property."
    ending = ""
    if last_marks and last_marks[-1] == "contextmanager" and len(marks) == 1:
        ending = "returns a context manager"
    elif result and not (is_async and "Async" in result):
        ending = f"returns {result}" + (" when awaited" if is_async else "")
    words = parameters_in_words(cut[0], item["kind"], marks)
    shapes = [words]
    short = [re.sub(r" \(.*\)$", "", word) for word in words]
    shapes.append(short)
    for count in range(min(len(short) - 2, 5), 0, -1):
        shapes.append(short[:count] + [f"{len(short) - count} more parameters"])
    for shape in shapes:
        if any(["any " in word for word in shape]) and shape is not words and shape is not short:
            break  # "more parameters" would count *args as one
        text = "Takes " + (listed(shape) if shape else "no arguments") + (f"; {ending}" if ending else "") + "."
        if len(text) <= room:
            return text
    return "Takes several arguments." if len(words) > 2 else ""


def sentence_from_return(item, lines, marks, room):
    """The result as the code has it, for a function that is one `return`; "" for any other."""
    body = lines[item["body_line"] - 1 : item["end"]]
    plain = all([mark.split(".")[-1] in PLAIN_DECORATORS + list(PROPERTIES) for mark in marks])
    if len(body) != 1 or not plain or item["signature"].startswith("async "):
        return ""
    found = re.match(r"return ([^#\\\\`]+)$", body[0].strip())
    if found is None or '"' in found.group(1) or not re.search(r"[A-Za-z_]\w*[ .(\[]", found.group(1)):
        return ""  # a bare name or number says less than the signature does
    text = f"Returns `{found.group(1).strip()}`."
    return text if len(text) <= room else ""


# --- a sentence from a model ------------------------------------------------------------------------------------------


def usable(answer, source, room):
    """The answer's first sentence, or "" when it cannot be this function's docstring."""
    lines = [line.strip().strip("`\"' ") for line in answer.strip().split("\n")]
    lines = [line for line in lines if line and line != "python"]
    if not lines:
        return ""
    text = re.sub(r"([.!?]) .*$", r"\1", " ".join(lines[0].split()))
    if text[-1:] not in (".", "!", "?"):
        text += "."
    if not text.endswith(".") or not 15 <= len(text) <= room or not text[0].isupper() or text.count(" ") < 2:
        return ""
    if re.search(r'["\\<>]|\bdef\b|\.\.|://', text) or any([not " " <= letter <= "~" for letter in text]):
        return ""
    if re.search(
        r"(?i)\b(?:sorry|as an ai|i am|i'm|i cannot|here is|the following|docstring|given function|this code)\b", text
    ):
        return ""
    known = source.lower()
    # Names and numbers it speaks of must be there, and at least one word must come from the code.
    for word in re.findall(r"`([^`]*)`|\b(\w*_\w*)\b|\b(\d+)\b", text):
        if "".join(word).strip("()").lower() not in known:
            return ""
    if not any([word[:5].lower() in known for word in re.findall(r"[A-Za-z]{4,}", text)]):
        return ""
    gives = re.search(r"\breturn\s+[^\s#]|\byield\b|->(?!\s*None\b)", source) is not None
    return "" if re.match(r"(?:Returns?|Gets?|Yields?)\b", text) and not gives else text


def sentence_from_model(item, lines, room, asking):
    """A sentence from the language model, or ""; `asking` remembers failures, and why it is not asked any more."""
    if asking["stopped"]:
        return ""
    source = "\n".join(lines[item["start"] - 1 : min(item["end"], item["start"] - 1 + SOURCE_LINES)])
    try:
        answer = ask_llm(PROMPT.format(name=item["name"]), context=source)
    except (RuntimeError, ValueError) as error:
        asking["failures"] += 1
        asking["in_a_row"] += 1
        if "no language model" in str(error):
            asking["stopped"] = "none"
        elif asking["in_a_row"] == FAILURES or "are left" in str(error):
            asking["stopped"] = str(error)
        return ""
    asking["in_a_row"] = 0
    text = usable(answer, source, room)
    asking["refused"] += not text
    return text


# --- the task ---------------------------------------------------------------------------------------------------------


def with_docstrings(items, lines, asking, counts):
    """The file's lines with the docstrings put in, from the last function to the first."""
    for item in reversed(items):
        room = max(LONGEST - len(item["indent"]) - 6, 40)
        text = sentence_from_model(item, lines, room, asking)
        source = "model"
        if not text:
            marks = decorators(item, lines)
            text = sentence_from_return(item, lines, marks, room) or sentence_from_signature(item, marks, room)
            source = "code"
        if not text:
            counts["none"] += 1
            continue
        counts[source] += 1
        end = "\r" if lines[item["signature_end"] - 1].endswith("\r") else ""
        lines = lines[: item["signature_end"]] + [f'{item["indent"]}"""{text}"""{end}'] + lines[item["signature_end"] :]
    return lines


def outlines_of(files, failed):
    """Each file's outline; what cannot be read is put into `failed`."""
    found = {}
    for file in files:
        try:
            found[file] = outline(file)
        except (OSError, ValueError) as error:
            failed.append(f"{file} ({error})")
    return found


def several(count, what):
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def summary_of(changed, counts, asking, path):
    """What happened, for the person who reviews it."""
    total = counts["model"] + counts["code"]
    where = "" if path == "." else f" in {path}"
    if not total:
        text = f"Nothing to do: every public function{where} that can get a docstring has one."
    elif counts["model"]:
        text = (
            f"Added {several(total, 'docstring')} in {several(len(changed), 'file')}: {counts['model']} written by the"
            f" language model (drafts: read each one), {counts['code']} made from the code itself."
        )
    else:
        text = (
            f"Added {several(total, 'docstring')} in {several(len(changed), 'file')}, made from the code itself."
        )
    if total and asking["stopped"] == "none":
        text += " No language model is set up; `cairn local install` fetches a small one that writes drafts."
    elif total and asking["stopped"]:
        text += f" The language model was not asked to the end: {asking['stopped']}."
    if asking["refused"]:
        text += f" For {several(asking['refused'], 'function')} the model gave no sentence that fits the code."
    if counts["inherited"]:
        text += f" Left: {several(counts['inherited'], 'method')} whose docstring is inherited."
    if counts["tests"]:
        text += f" Left out: {several(counts['tests'], 'test file')}; name their folder to include them."
    if counts["none"]:
        text += f" {several(counts['none'], 'function')} got none."
    return text


def main():
    path = PARAMETERS["path"]
    pattern = path if path.endswith(".py") else "**/*.py" if path == "." else path + "/**/*.py"
    files = search_files(pattern)
    if not files:
        there = path == "." or file_exists(path)
        where = "" if path == "." else f" in {path}"
        submit_result(f"Nothing to do: there is no {'Python file' + where if there else path}.", [])
        return
    failed = []
    asking = {"stopped": "", "failures": 0, "in_a_row": 0, "refused": 0}
    counts = {"model": 0, "code": 0, "none": 0, "inherited": 0, "tests": 0}
    if not is_test(path + "/x.py") and not is_test(path):
        counts["tests"] = len([file for file in files if is_test(file)])
        files = [file for file in files if not is_test(file)]

    outlines = outlines_of(files, failed)
    classes = {}
    documented = set()
    for items in outlines.values():
        for item in items:
            parts = item["name"].split(".")
            if item["kind"] == "class":
                classes[parts[-1]] = classes.get(parts[-1], []) + bases(item["signature"])
            elif item["has_docstring"] and len(parts) > 1:
                documented.add((parts[-2], parts[-1]))

    changed = []
    for file, items in outlines.items():
        try:
            lines = read_file(file).split("\n")
            kinds = {item["name"]: item["kind"] for item in items}
            wanted = [item for item in items if wants_docstring(item, lines, kinds)]
            inherited = [item for item in wanted if documented_above(item["name"], classes, documented)]
            wanted = [item for item in wanted if item not in inherited]
            counts["inherited"] += len(inherited)
            after = with_docstrings(wanted, lines, asking, counts)
            if after != lines:
                write_file(file, "\n".join(after))
                changed.append(file)
                log(f"{file}: {several(len(after) - len(lines), 'docstring')}")
        except (OSError, ValueError) as error:
            failed.append(f"{file} ({error})")

    summary = summary_of(changed, counts, asking, path)
    if failed:
        summary += f" Could not change {several(len(failed), 'file')}: " + "; ".join(failed[:10])
        summary += "." if len(failed) <= 10 else f"; and {len(failed) - 10} more."
    submit_result(summary, changed)


main()

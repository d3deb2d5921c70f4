# /// cairn-recipe
# name = "fix_todos"
# description = "Collects the TODO, FIXME and XXX comments into one Markdown file, each with a link to its line."
# examples = [
#   "collect all TODOs into TODO.md",
#   "gather the TODO and FIXME comments of src/ into docs/todo.md",
# ]
# patterns = [
#   '(?:collect|gather|extract) @todos@scope(?: (?:in|into|to) @file)?',
#   '(?:list|write|put|save) @todos@scope (?:in|into|to) @file',
#   '@make (?:a|the) (?:list|table|overview|summary) of @todos@scope(?: (?:in|into|to) @file)?',
#   '@make (?:a |the )?@named_file (?:with|from|of|listing|that lists) @todos@scope',
# ]
# [words]
# make = 'make|create|write|generate'
# scope = '(?:(?! \w+ (?:the )?(?:file )?\S+\.(?:md|markdown)\b)@where)?'
# todos = '(?:(?:all|every|the|all the|all of the) )?(?:TODOs?|@marks)(?: comments?| notes?)?'
# marks = '(?P<marks>@mark(?:(?:, | and | or |, and |/)(?:all )?(?:the )?@mark)*)'
# mark = '(?:TODOs?|FIXMEs?|XXXs?)'
# file = '(?:a|one|a single) (?:(?:Markdown|text) )?file|(?:the )?@named_file'
# named_file = '''(?:file )?[`'"]?(?P<output>[\w./-]+\.(?:md|markdown))[`'"]?'''
# [[parameters]]
# name = "path"
# description = "the file or folder to look in"
# kind = "path"
# default = "."
# [[parameters]]
# name = "output"
# description = "the Markdown file to write"
# kind = "path"
# default = "TODO.md"
# [[parameters]]
# name = "marks"
# description = "the words that mark a comment"
# default = "TODO, FIXME, XXX"
# ///

# "TODOs" by itself means all three marks, as people mean it; a list such as "TODO and FIXME" means just that list.
# Only what stands in a comment counts; the code, the strings and the prose of documents are left out.
import re

SLASHES = "c h cc cpp cxx hh hpp cs css dart go java js jsx mjs cjs kt php rs scala scss swift ts tsx mts cts"
HASHES = "py pyi sh bash zsh rb pl r jl yaml yml toml cfg mk cmake ex exs nix tf"
DASHES = "sql lua hs elm ada"
ANGLES = "md markdown html htm xml vue svelte"

# How a comment opens, by the ending of the file's name.
OPENERS = {}
for ending in SLASHES.split():
    OPENERS[ending] = r"//|/\*"
for ending in HASHES.split():
    OPENERS[ending] = "#"
for ending in DASHES.split():
    OPENERS[ending] = "--"
for ending in ANGLES.split():
    OPENERS[ending] = "<!--"
WITHOUT_ENDING = {"makefile": "#", "dockerfile": "#", "rakefile": "#", "gemfile": "#", "justfile": "#"}

MARKS = [mark for mark in ("TODO", "FIXME", "XXX") if mark in PARAMETERS["marks"].upper()]
MARK = r"\b(?:" + "|".join(MARKS) + r")\b"
BEGIN = "<!-- todo comments: begin -->"
END = "<!-- todo comments: end -->"


def opener(path):
    """How a comment opens in this file; "" for kinds of files that are not looked into."""
    name = path.split("/")[-1].lower()
    if name in WITHOUT_ENDING:
        return WITHOUT_ENDING[name]
    return OPENERS.get(name.split(".")[-1], "") if "." in name else ""


def comment_text(line, opens):
    """The text from the mark on, or "" when the mark is not in a comment."""
    # Right after the comment's opening, or later in it when a colon or bracket shows that the word is a mark.
    opened = r"(?:^|[\s;(){}])(?:" + opens + ")"
    found = re.search(opened + r"[\s#/*!:<-]*(" + MARK + ".*)", line)
    if found is None:
        found = re.search(opened + r"\s.*?(" + MARK + r"[:(].*)", line)
    if found is None:
        # A line of a longer comment or docstring that opens with the mark.
        found = re.match(r"[\s*]*(" + MARK + r"(?:\([^)]*\))?:.*)", line)
    if found is None:
        return ""
    text = found.group(1).strip()
    for closing in ["*/", "-->", '"""', "'''"]:
        text = text.removesuffix(closing).rstrip()
    return text


def link(path, line, output):
    """A Markdown link to the line, relative to the folder of the file that holds it."""
    here = output.split("/")[:-1]
    there = path.split("/")
    while here and len(there) > 1 and here[0] == there[0]:
        here = here[1:]
        there = there[1:]
    target = "../" * len(here) + "/".join(there)
    for character, code in [("%", "%25"), (" ", "%20"), ("(", "%28"), (")", "%29"), ("#", "%23"), ("?", "%3F")]:
        target = target.replace(character, code)
    return f"[{path}:{line}]({target}#L{line})"


def several(count, what):
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def section(found, output):
    """The part of the file that this recipe writes and rewrites."""
    files = sorted({path for path, line, text in found})
    lines = [BEGIN, "# To do", "", f"{several(len(found), 'comment')} in {several(len(files), 'file')}."]
    for file in files:
        lines += ["", "## " + file, ""]
        for path, line, text in found:
            if path == file:
                # Text that looks like HTML or a link would vanish from the page.
                shown = text.replace("<", "\\<").replace("[", "\\[")
                lines.append(f"- {link(path, line, output)} {shown}")
    return "\n".join(lines + [END])


def with_section(before, part):
    """The file's new text: what people wrote in it stays, only the section between the marks is renewed."""
    start = before.find(BEGIN)
    end = before.find(END)
    if 0 <= start < end:
        return before[:start] + part + before[end + len(END) :]
    return before.rstrip() + "\n\n" + part + "\n" if before.strip() else part + "\n"


def main():
    path = PARAMETERS["path"]
    output = PARAMETERS["output"]
    try:
        hits = search_content(MARK, path)
    except (FileNotFoundError, ValueError) as error:
        submit_result(f"Nothing was done: {error}.", [])
        return
    found = []
    for hit in hits:
        opens = opener(hit["file"])
        text = comment_text(hit["text"], opens) if opens and hit["file"] != output else ""
        if text:
            found.append((hit["file"], hit["line"], text))
    found.sort()

    try:
        before = read_file(output)
    except FileNotFoundError:
        before = ""
    if not found and BEGIN not in before:
        submit_result(f"Nothing to do: no comment in {path} is marked {' or '.join(MARKS)}.", [])
        return
    after = with_section(before, section(found, output))
    if after == before:
        submit_result(f"Nothing to do: {output} is up to date with {several(len(found), 'comment')}.", [])
        return
    write_file(output, after)
    files = len({file for file, line, text in found})
    submit_result(
        f"Collected {several(len(found), 'comment')} ({', '.join(MARKS)}) from {several(files, 'file')} into {output}.",
        [output],
    )


main()

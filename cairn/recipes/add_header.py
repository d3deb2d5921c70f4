# /// cairn-recipe
# name = "add_header"
# description = "Puts a comment at the top of each source file: a text, or a licence as an SPDX line."
# examples = [
#   'add the header "Copyright 2026 Acme Ltd." to every Python file',
#   "add an MIT licence header to all source files",
#   "add SPDX-License-Identifier: Apache-2.0 to every file in src/",
# ]
# patterns = [
#   '(?:add|put|insert) (?:(?:the|a|an|this) )?@kind?header(?: comment)?:? @quoted(text) @to',
#   '(?:add|put|insert) (?:(?:the|a|this) )?(?:comment|copyright notice) @quoted(text) @top',
#   '(?:add|put|insert) (?:the (?:line|text) )?(?=@comment)@quoted(text) @top',
#   '(?:add|put|insert) (?:(?:the|an|a) )?@licensed header(?: comment)?s?(?: @to)?',
#   '(?:add|put|insert) (?:(?:the|an|a) )?(?:SPDX )?headers? for @licensed(?: @to)?',
#   '''(?:add|put|insert) (?:(?:the|an|a) )?[`'"]?SPDX-License-Identifier: ?@id[`'"]?(?: header)?(?: @to)?''',
# ]
# [words]
# licensed = '(?:the )?(?:SPDX )?@id(?: licen[cs]e)?'
# comment = '''["'`“](?:#|//|/\*|--|<!--|copyright\b|©|\(c\)|licen[cs]ed\b|SPDX-)'''
# kind = '(?:copyright|licen[cs]e|file|source|comment) '
# top = '(?:to|at|on|in) the (?:very )?(?:top|beginning|start) of @files@where'
# to = '(?:to|in|into|on|at the top of|to the top of) @files@where'
# files = '(?:all|every|each|all the|the) (?:(?:source|code|@language)(?: source)? )?files?'
# id = '(?P<licence>Apache(?:[-\s]2(?:\.0)?)?|BSD[-\s][23][-\s]Clause|MPL[-\s]2\.0|@gnu|@short)'
# gnu = '[AL]?GPL[-\s][23](?:\.[01])?-(?:only|or-later)'
# short = 'MIT|ISC|Unlicense|0BSD|CC0-1\.0|Zlib|BSL-1\.0|EUPL-1\.2'
# [[parameters]]
# name = "text"
# description = "the header's text, without comment marks; empty when a licence is given"
# default = ""
# [[parameters]]
# name = "licence"
# description = "a licence by its SPDX name, such as Apache-2.0; empty when a text is given"
# default = ""
# [[parameters]]
# name = "path"
# description = "the file or folder to work in"
# comment = '''["'`“](?:#|//|/\*|--|<!--|copyright\b|©|\(c\)|licen[cs]ed\b|SPDX-)'''
# kind = "path"
# default = "."
# [[parameters]]
# name = "language"
# description = "the only kind of files to change, such as Python; empty for all source files"
# default = ""
# ///

import re

# What each language's files end in, and how a line of comment is written: before and after the text.
HASH = ("# ", "")
SLASHES = ("// ", "")
LANGUAGES = {
    "python": ("py pyi", HASH),
    "ruby": ("rb", HASH),
    "shell": ("sh bash zsh", HASH),
    "javascript": ("js jsx mjs cjs", SLASHES),
    "typescript": ("ts tsx mts cts", SLASHES),
    "java": ("java", SLASHES),
    "go": ("go", SLASHES),
    "rust": ("rs", SLASHES),
    "c": ("c h", SLASHES),
    "c++": ("cc cpp cxx hh hpp hxx", SLASHES),
    "css": ("css", ("/* ", " */")),
    "html": ("html htm", ("<!-- ", " -->")),
    "markdown": ("md markdown", ("<!-- ", " -->")),
    "yaml": ("yaml yml", HASH),
    "toml": ("toml", HASH),
}
# Data and documents get a header only when their language is named.
ONLY_BY_NAME = ["markdown", "yaml", "toml", "html"]

LOOKED_AT = 30  # lines at the top in which a header counts as being there


def style_of(path, language):
    """How to write a comment in this file; None for files to leave alone."""
    name = path.split("/")[-1]
    ending = name.split(".")[-1].lower() if "." in name else ""
    for known, (endings, style) in LANGUAGES.items():
        if ending in endings.split() and (known == language or (not language and known not in ONLY_BY_NAME)):
            return style
    return None


def header_lines(text, licence):
    """The header without comment marks: marks that were typed with the text are taken off."""
    if licence:
        name = re.sub(r"^apache.*", "Apache-2.0", licence, flags=re.IGNORECASE).replace(" ", "-")
        name = re.sub(r"gpl-(\d)-", r"gpl-\1.0-", name, flags=re.IGNORECASE)
        for proper in KNOWN_LICENCES:
            if proper.lower() == name.lower():
                name = proper
        return ["SPDX-License-Identifier: " + name]
    return [re.sub(r"^(?:#|//|--|;)(?:\s+|$)", "", line).rstrip() for line in text.strip().split("\n")]


KNOWN_LICENCES = (
    "MIT Apache-2.0 BSD-2-Clause BSD-3-Clause ISC MPL-2.0 GPL-2.0-only GPL-2.0-or-later GPL-3.0-only GPL-3.0-or-later "
    "LGPL-2.1-only LGPL-2.1-or-later LGPL-3.0-only LGPL-3.0-or-later AGPL-3.0-only AGPL-3.0-or-later "
    "Unlicense 0BSD CC0-1.0 Zlib BSL-1.0 EUPL-1.2"
).split()


def lines_to_keep_on_top(lines):
    """How many first lines must stay first: "#!", an encoding, an XML declaration, a doctype, a charset."""
    kept = 0
    if lines and lines[0].startswith("#!") and not lines[0].startswith("#!["):
        kept = 1
    if len(lines) > kept and re.match(r"#.*coding[:=]", lines[kept]):
        return kept + 1
    while kept < len(lines) and re.match(r"\s*<(?:\?xml|!doctype)|@charset", lines[kept].lower()):
        kept += 1
    return kept


def reason_to_skip(head, header, licence):
    """Why the file with these first lines stays as it is; "" when it gets the header."""
    bare = [re.sub(r"^\W*|[\s*/>-]*$", "", line) for line in head]
    wanted = [re.sub(r"^\W*|[\s*/>-]*$", "", line) for line in header]
    for start in range(len(bare)):
        if bare[start : start + len(wanted)] == wanted:
            return "with the header already"
    text = "\n".join(head)
    if not text.strip():
        return "empty"
    if licence and "SPDX-License-Identifier:" in text:
        return "with another licence"
    if re.search(r"(?i)do not edit|@generated", text):
        return "generated by a tool"
    if re.match(r"\s*/\*\*[\s\S]*@(?:jest-environment|flow)\b", text):
        return "with a comment that must come first"
    return ""


def with_header(text, header, style):
    """The text with the header as comment lines, and a blank line below."""
    lines = text.split("\n")
    kept = lines_to_keep_on_top(lines)
    before, after = style
    end = "\r" if lines[0].endswith("\r") else ""
    comment = [(before + line + after).rstrip() + end for line in header]
    below = lines[kept:]
    # Without the blank line, the header would become part of a comment that stands below it.
    gap = [end] if below and below[0].strip() else []
    return "\n".join(lines[:kept] + comment + gap + below)


def listed(names, between):
    """The first ten, and how many more there are."""
    return between.join(names[:10]) + (f"{between}and {len(names) - 10} more" if len(names) > 10 else "")


def several(count, what):
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def main():
    path = PARAMETERS["path"]
    language = PARAMETERS["language"].lower()
    licence = PARAMETERS["licence"]
    if not PARAMETERS["text"].strip() and not licence:
        submit_result("Nothing was done: neither a text nor a licence for the header is given.", [])
        return
    if language and language not in LANGUAGES:
        submit_result(f"Nothing was done: how {PARAMETERS['language']} writes comments is not known.", [])
        return
    header = header_lines(PARAMETERS["text"], licence)
    pattern = path if style_of(path, language) else "**/*" if path == "." else path + "/**/*"

    changed = []
    failed = []
    skipped = {}
    for file in search_files(pattern):
        style = style_of(file, language)
        if style is None:
            continue
        try:
            text = read_file(file)
            reason = reason_to_skip(text.split("\n")[:LOOKED_AT], header, licence)
            if style[1] and style[1].strip() in "\n".join(header):
                reason = "where the text would end the comment"
            if reason:
                skipped[reason] = skipped.get(reason, 0) + 1
                continue
            write_file(file, with_header(text, header, style))
            changed.append(file)
        except (OSError, ValueError) as error:
            failed.append(f"{file} ({error})")

    kinds = PARAMETERS["language"] or "source"
    summary = f"Put the header on {several(len(changed), kinds + ' file')}." if changed else "Nothing to do."
    for reason in sorted(skipped):
        summary += f" Left alone: {several(skipped[reason], 'file')}, {reason}."
    if not changed and not skipped and not failed:
        summary += f" There is no {kinds} file in {path}."
    if failed:
        summary += f" Could not change {several(len(failed), 'file')}: " + listed(failed, "; ") + "."
    submit_result(summary, changed)


main()

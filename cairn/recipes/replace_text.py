# /// cairn-recipe
# name = "replace_text"
# description = "Replaces one text by another, exactly as written, in every text file or in those named."
# examples = [
#   'replace "colour" with "color"',
#   'change every "Acme Inc." to "Acme Ltd." in docs/',
#   'replace "whitelist" with "allowlist" in all Markdown files',
# ]
# patterns = [
#   '(?:replace|substitute) @what@quoted(old) (?:with|by) (?:the (?:text|string) )?@quoted(new)@files',
#   'change @what@quoted(old) (?:to|into) (?:the (?:text|string) )?@quoted(new)@files',
#   '(?:search|look) for @quoted(old) and replace (?:it|them|each|all) (?:with|by) @quoted(new)@files',
#   'find (?:(?:all|every) )?@quoted(old) and replace (?:it|them|each|all) (?:with|by) @quoted(new)@files',
# ]
# [words]
# what = '(?:(?:all|every|each) )?(?:(?:occurrences? of|the (?:text|string)) )?(?:the (?:text|string) )?'
# files = '@where| (?:in|across) (?:all|every|each|the) (?:@language )?files?@where'
# [[parameters]]
# name = "old"
# description = "the text to look for, exactly as it stands"
# [[parameters]]
# name = "new"
# description = "the text to put in its place"
# [[parameters]]
# name = "path"
# description = "the file or folder to work in"
# kind = "path"
# default = "."
# [[parameters]]
# name = "language"
# description = "the only kind of files to change, such as Markdown; empty for all text files"
# default = ""
# ///

import re

ENDINGS = {
    "": "",
    "python": "py pyi",
    "markdown": "md markdown",
    "restructuredtext": "rst",
    "javascript": "js jsx mjs cjs",
    "typescript": "ts tsx mts cts",
    "java": "java",
    "go": "go",
    "rust": "rs",
    "c": "c h",
    "c++": "cc cpp cxx hh hpp",
    "ruby": "rb",
    "shell": "sh bash",
    "html": "html htm",
    "css": "css",
    "yaml": "yaml yml",
    "toml": "toml",
}


def replaced(text, old, new):
    """The new text and the number of replacements.

    Where the new text contains the old one ("v1" -> "v1.0"), what reads like the new text already is left alone: so a
    second run has nothing to do.
    """
    if old in new:
        parts = text.split(new)
        return new.join([part.replace(old, new) for part in parts]), sum([part.count(old) for part in parts])
    count = 0
    # Taking characters away can bring the old text about again, as in "aaaa" with "aa" -> "a".
    while old in text:
        count += text.count(old)
        text = text.replace(old, new)
        if len(new) >= len(old):
            break
    return text, count


def files_to_search(old, path):
    """The files that hold the text, or at least its first line."""
    lines = [line for line in old.split("\n") if line]
    if not lines:
        return search_files("**/*" if path == "." else path + "/**/*")
    return sorted({hit["file"] for hit in search_content(re.escape(lines[0]), path)})


def listed(names, between):
    """The first ten, and how many more there are."""
    return between.join(names[:10]) + (f"{between}and {len(names) - 10} more" if len(names) > 10 else "")


def several(count, what):
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def main():
    old = PARAMETERS["old"]
    new = PARAMETERS["new"]
    path = PARAMETERS["path"]
    language = PARAMETERS["language"]
    if not old or old == new:
        submit_result("Nothing to do: the two texts are the same or the first one is empty.", [])
        return
    if language.lower() not in ENDINGS:
        submit_result(f"Nothing was done: no file endings are known for {language}.", [])
        return
    endings = ENDINGS[language.lower()].split()
    try:
        files = files_to_search(old, path)
    except (FileNotFoundError, ValueError) as error:
        submit_result(f"Nothing was done: {error}.", [])
        return

    changed = []
    failed = []
    total = 0
    for file in files:
        if endings and file.split(".")[-1].lower() not in endings:
            continue
        try:
            before = read_file(file)
            after, count = replaced(before, old, new)
            if after != before:
                write_file(file, after)
                changed.append(file)
                total += count
                log(f"{file}: {count}")
        except (OSError, ValueError) as error:
            failed.append(f"{file} ({error})")

    where = "" if path == "." else f" in {path}"
    kind = f" of the {language} files" if language else ""
    if changed:
        summary = f"Replaced {old!r} by {new!r} {several(total, 'time')} in {several(len(changed), 'file')}{where}."
    else:
        summary = f"Nothing to do: {old!r} is in none{kind or ' of the text files'}{where}."
        if old in new:
            summary = f"Nothing to do: outside {new!r}, {old!r} is in none{kind or ' of the text files'}{where}."
    if failed:
        summary += f" Could not change {several(len(failed), 'file')}: " + listed(failed, "; ") + "."
    submit_result(summary, changed)


main()

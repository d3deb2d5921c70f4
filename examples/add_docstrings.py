# Gives every function and method without a docstring one sentence, written by the language model behind ask_llm.
#
#     cairn run --code examples/add_docstrings.py
#
# This is the short version of the built-in recipe add_docstrings. It shows how a program asks, edits and submits.
# Functions such as search_files and outline are there without an import; all else is ordinary Python.


def needs_docstring(item):
    """Only public functions whose body stands below the header: there is a line to put a docstring on."""
    public = not any([part.startswith("_") for part in item["name"].split(".")])
    return item["kind"] in ("function", "method") and public and not item["has_docstring"] and not item["one_line"]


def sentence_for(name, source):
    """One sentence from the model, or "" when there is none or what it says cannot stand in a docstring."""
    try:
        answer = ask_llm(f"Say in one short sentence what the Python function {name} does.", context=source)
    except RuntimeError as error:  # no model, or this question failed: the other functions still get theirs
        log(f"{name}: {error}")
        return ""
    sentence = answer.strip().strip("\"'` ")
    # Never trust a model's text: a quote or a backslash in it could end the docstring and become code.
    fits = sentence and len(sentence) <= 90 and "\n" not in sentence and '"' not in sentence and "\\" not in sentence
    return sentence if fits else ""


changed = []
written = 0
skipped = 0
for path in search_files("**/*.py"):
    try:
        items = outline(path)
    except ValueError as error:  # not Python of this version, or not UTF-8
        log(str(error))
        continue
    lines = read_file(path).split("\n")
    before = written
    # From the last function to the first, so that the line numbers above stay right.
    for item in reversed(items):
        if not needs_docstring(item):
            continue
        sentence = sentence_for(item["name"], "\n".join(lines[item["start"] - 1 : item["end"]]))
        if not sentence:
            skipped += 1
            continue
        lines.insert(item["signature_end"], f'{item["indent"]}"""{sentence}"""')
        written += 1
    if written > before:
        write_file(path, "\n".join(lines))
        changed.append(path)

submit_result(f"Wrote {written} docstrings in {len(changed)} files; {skipped} functions were left without.", changed)

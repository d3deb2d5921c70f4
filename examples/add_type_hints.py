# Writes the result's type behind functions where it is plain from the code: -> None, -> bool or -> str.
#
#     cairn run --code examples/add_type_hints.py
#
# No model is asked. The program only believes what it can see: a function that returns nothing, nothing but truth
# values, or nothing but strings written out. Everything else is left as it is.
import re

TRUTH = [
    r"True|False",
    r"not [\w.]+",
    r"[\w.]+ (?:is|is not|in|not in) [\w.]+",
    r"(?:isinstance|issubclass|hasattr|callable)\([\w., ]+\)",
]
TEXT = [r"[fr]?\"[^\"\\]*\"", r"[fr]?'[^'\\]*'"]


def all_match(values, patterns):
    """True when every value is, as a whole, one of the patterns."""
    return all([any([re.fullmatch(pattern, value) for pattern in patterns]) for value in values])


def result_type(item, lines):
    """ "None", "bool" or "str" where that is certain, else ""."""
    body = lines[item["body_line"] - 1 : item["end"]]
    if item["docstring_end"]:
        body = lines[item["docstring_end"] : item["end"]]
    code = [line.strip() for line in body]
    text = "\n".join(code)
    # A function without code of its own is a promise that others keep; what it returns is not to be seen here.
    real = [line for line in code if line and not line.startswith("#") and line not in ("pass", "...")]
    if not real or "NotImplementedError" in text or re.search(r"\byield\b", text) or '"""' in text or "'''" in text:
        return ""
    # Returns of a function inside this one would count as well, so those are left alone.
    if re.search(r"(?m)^(?:async )?def |\blambda\b", text):
        return ""
    returns = [line for line in code if re.search(r"\breturn\b", line)]
    endless = [line for line in body if re.match(item["indent"] + r"(?:raise|while (?:True|1))\b", line)]
    if endless:
        return ""  # it may never return at all
    if all([line == "return" for line in returns]):
        return "None"
    # The last line must return too, or the function might end without a value.
    last = [line for line in body if line.strip()][-1]
    if not last.startswith(item["indent"] + "return ") or not all([line.startswith("return ") for line in returns]):
        return ""
    values = [re.sub(r"\s+#.*", "", line.removeprefix("return ")).strip() for line in returns]
    if all_match([part for value in values for part in re.split(r" (?:and|or) ", value)], TRUTH):
        return "bool"
    return "str" if all_match(values, TEXT) else ""


changed = []
counts = {"None": 0, "bool": 0, "str": 0}
failed = []
for path in search_files("**/*.py"):
    try:
        items = outline(path)
        lines = read_file(path).split("\n")
        added = []
        for item in items:
            if item["kind"] == "class" or item["one_line"] or "->" in item["signature"]:
                continue
            name = result_type(item, lines)
            header = lines[item["signature_end"] - 1]
            end = re.match(r"(.*\))\s*:(\s*)$", header)
            if not name or end is None or "#" in header:
                continue
            lines[item["signature_end"] - 1] = f"{end.group(1)} -> {name}:{end.group(2)}"
            added.append(name)
        if added:
            write_file(path, "\n".join(lines))
            changed.append(path)
            for name in added:
                counts[name] += 1
    except (OSError, ValueError) as error:  # write_file refuses a .py file that would no longer parse
        failed.append(f"{path}: {error}")

total = sum(counts.values())
summary = f"Annotated {total} functions in {len(changed)} files: {counts}." if total else "Nothing to do."
if failed:
    summary += f" Left as they were: {'; '.join(failed[:5])}"
submit_result(summary, changed)

# Collects the TODO and FIXME comments of the project into a table in TODO.md.
#
#     cairn run --code examples/fix_todos.py
#
# Nothing is asked of a model, so this runs offline and gives the same result each time. The built-in recipe fix_todos
# knows more kinds of comments and keeps what people wrote in TODO.md themselves.
import re

rows = []
for hit in search_content(r"(#|//)\s*(TODO|FIXME)\b"):
    if hit["file"] == "TODO.md":
        continue
    found = re.search(r"(?:#|//)\s*(TODO|FIXME)\b[:\s]*(.*)", hit["text"])
    if found is not None:
        # A bar would end the table's cell.
        text = found.group(2).strip().replace("|", "\\|")
        rows.append(f"| {found.group(1)} | [{hit['file']}:{hit['line']}]({hit['file']}#L{hit['line']}) | {text} |")

table = "\n".join(["# To do", "", "| mark | where | what |", "|---|---|---|"] + rows) + "\n"

# Look before writing: a program that runs twice should change nothing the second time.
before = read_file("TODO.md") if file_exists("TODO.md") else ""
if not rows or table == before:
    submit_result(f"Nothing to do: {len(rows)} comments, and TODO.md has them all.", [])
elif before and not before.startswith("# To do\n\n| mark |"):
    submit_result("Nothing was done: there is a TODO.md that this program did not write.", [])
else:
    write_file("TODO.md", table)
    submit_result(f"Put {len(rows)} TODO and FIXME comments into TODO.md.", ["TODO.md"])

"""What `re` lacks here: a function as the replacement, and `subn`."""

import re


class cairn_re:
    def sub(pattern, repl, string, count=0, flags=0):
        return cairn_re.subn(pattern, repl, string, count, flags)[0]

    def subn(pattern, repl, string, count=0, flags=0):
        compiled = re.compile(pattern, flags) if isinstance(pattern, str) else pattern
        if isinstance(repl, str):
            found = len(list(compiled.finditer(string)))
            return compiled.sub(repl, string, count), min(found, count) if count else found
        parts, end, done = [], 0, 0
        for match in compiled.finditer(string):
            if count and done >= count:
                break
            parts.append(string[end : match.start()])
            parts.append(repl(match))
            end = match.end()
            done += 1
        return "".join(parts) + string[end:], done

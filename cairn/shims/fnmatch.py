"""`fnmatch`: shell patterns over names; on this system case counts."""

import re


class cairn_fnmatch:
    def translate(pat):
        found, place = "", 0
        while place < len(pat):
            letter = pat[place]
            place += 1
            if letter == "*":
                found += ".*"
            elif letter == "?":
                found += "."
            elif letter == "[":
                end = place + (1 if pat[place : place + 1] == "!" else 0)
                end = pat.find("]", end + 1) if pat[end : end + 1] == "]" else pat.find("]", end)
                if end < 0:
                    found += "\\["
                    continue
                inside = pat[place:end].replace("\\", "\\\\")
                place = end + 1
                inside = "^" + inside[1:] if inside.startswith("!") else inside.replace("^", "\\^") if inside[0] == "^" else inside
                found += "[" + inside.replace("[", "\\[") + "]"
            else:
                found += re.escape(letter)
        return "(?s:" + found + ")\\Z"

    def fnmatchcase(name, pat):
        return re.match(cairn_fnmatch.translate(pat), name) is not None

    def fnmatch(name, pat):
        return re.match(cairn_fnmatch.translate(pat), name) is not None

    def filter(names, pat):
        wanted = re.compile(cairn_fnmatch.translate(pat))
        return [name for name in names if wanted.match(name) is not None]

"""`difflib`: the longest common pieces of two sequences, and what follows from them.

Ratcliff and Metzener, "Pattern Matching: The Gestalt Approach", Dr. Dobb's Journal, July 1988.
"""


class cairn_SequenceMatcher:
    def __init__(self, isjunk=None, a="", b="", autojunk=True):
        self.isjunk = isjunk
        self.autojunk = autojunk
        self.a = a
        self.b = b
        self.blocks = None

    def set_seqs(self, a, b):
        self.a, self.b, self.blocks = a, b, None

    def set_seq1(self, a):
        self.a, self.blocks = a, None

    def set_seq2(self, b):
        self.b, self.blocks = b, None

    def _places(self):
        places = {}
        for place, item in enumerate(self.b):
            places.setdefault(item, []).append(place)
        if self.isjunk is not None:
            places = {item: found for item, found in places.items() if not self.isjunk(item)}
        size = len(self.b)
        if self.autojunk and size >= 200:
            places = {item: found for item, found in places.items() if len(found) <= size // 100 + 1}
        return places

    def _longest(self, places, alo, ahi, blo, bhi):
        best_a, best_b, best = alo, blo, 0
        lengths = {}
        for i in range(alo, ahi):
            now = {}
            for j in places.get(self.a[i], ()):
                if j < blo:
                    continue
                if j >= bhi:
                    break
                length = lengths.get(j - 1, 0) + 1
                now[j] = length
                if length > best:
                    best_a, best_b, best = i - length + 1, j - length + 1, length
            lengths = now
        a, b = self.a, self.b
        while best_a > alo and best_b > blo and a[best_a - 1] == b[best_b - 1]:
            best_a, best_b, best = best_a - 1, best_b - 1, best + 1
        while best_a + best < ahi and best_b + best < bhi and a[best_a + best] == b[best_b + best]:
            best += 1
        return best_a, best_b, best

    def get_matching_blocks(self):
        if self.blocks is not None:
            return self.blocks
        places, waiting, found = self._places(), [(0, len(self.a), 0, len(self.b))], []
        while waiting:
            alo, ahi, blo, bhi = waiting.pop()
            i, j, size = self._longest(places, alo, ahi, blo, bhi)
            if size:
                found.append((i, j, size))
                if alo < i and blo < j:
                    waiting.append((alo, i, blo, j))
                if i + size < ahi and j + size < bhi:
                    waiting.append((i + size, ahi, j + size, bhi))
        joined = []
        for i, j, size in sorted(found):
            if joined and joined[-1][0] + joined[-1][2] == i and joined[-1][1] + joined[-1][2] == j:
                joined[-1] = (joined[-1][0], joined[-1][1], joined[-1][2] + size)
            else:
                joined.append((i, j, size))
        self.blocks = joined + [(len(self.a), len(self.b), 0)]
        return self.blocks

    def get_opcodes(self):
        codes, i, j = [], 0, 0
        for a, b, size in self.get_matching_blocks():
            if i < a and j < b:
                codes.append(("replace", i, a, j, b))
            elif i < a:
                codes.append(("delete", i, a, j, b))
            elif j < b:
                codes.append(("insert", i, a, j, b))
            if size:
                codes.append(("equal", a, a + size, b, b + size))
            i, j = a + size, b + size
        return codes

    def get_grouped_opcodes(self, n=3):
        codes = self.get_opcodes() or [("equal", 0, 1, 0, 1)]
        if codes[0][0] == "equal":
            tag, i1, i2, j1, j2 = codes[0]
            codes[0] = (tag, max(i1, i2 - n), i2, max(j1, j2 - n), j2)
        if codes[-1][0] == "equal":
            tag, i1, i2, j1, j2 = codes[-1]
            codes[-1] = (tag, i1, min(i2, i1 + n), j1, min(j2, j1 + n))
        groups, group = [], []
        for tag, i1, i2, j1, j2 in codes:
            if tag == "equal" and i2 - i1 > 2 * n:
                group.append((tag, i1, min(i2, i1 + n), j1, min(j2, j1 + n)))
                groups.append(group)
                group = []
                i1, j1 = max(i1, i2 - n), max(j1, j2 - n)
            group.append((tag, i1, i2, j1, j2))
        if group and not (len(group) == 1 and group[0][0] == "equal"):
            groups.append(group)
        return groups

    def ratio(self):
        total = len(self.a) + len(self.b)
        same = sum([block[2] for block in self.get_matching_blocks()])
        return 2.0 * same / total if total else 1.0

    def quick_ratio(self):
        return self.ratio()

    def real_quick_ratio(self):
        return self.ratio()


class cairn_difflib:
    SequenceMatcher = cairn_SequenceMatcher

    def get_close_matches(word, possibilities, n=3, cutoff=0.6):
        if not n > 0:
            raise ValueError("n must be > 0: " + repr(n))
        if not 0.0 <= cutoff <= 1.0:
            raise ValueError("cutoff must be in [0.0, 1.0]: " + repr(cutoff))
        found = []
        for each in possibilities:
            ratio = cairn_SequenceMatcher(None, each, word).ratio()
            if ratio >= cutoff:
                found.append((ratio, each))
        return [each for _ratio, each in sorted(found, reverse=True)[:n]]

    def unified_diff(a, b, fromfile="", tofile="", fromfiledate="", tofiledate="", n=3, lineterm="\n"):
        lines = []
        for group in cairn_SequenceMatcher(None, a, b).get_grouped_opcodes(n):
            if not lines:
                lines.append("--- " + fromfile + ("\t" + fromfiledate if fromfiledate else "") + lineterm)
                lines.append("+++ " + tofile + ("\t" + tofiledate if tofiledate else "") + lineterm)
            first, last = group[0], group[-1]
            old, new = cairn_difflib._range(first[1], last[2]), cairn_difflib._range(first[3], last[4])
            lines.append("@@ -" + old + " +" + new + " @@" + lineterm)
            for tag, i1, i2, j1, j2 in group:
                if tag == "equal":
                    lines += [" " + line for line in a[i1:i2]]
                    continue
                if tag in ("replace", "delete"):
                    lines += ["-" + line for line in a[i1:i2]]
                if tag in ("replace", "insert"):
                    lines += ["+" + line for line in b[j1:j2]]
        return lines

    def ndiff(a, b):
        lines = []
        for tag, i1, i2, j1, j2 in cairn_SequenceMatcher(None, a, b).get_opcodes():
            if tag == "equal":
                lines += ["  " + line for line in a[i1:i2]]
            else:
                lines += ["- " + line for line in a[i1:i2]] + ["+ " + line for line in b[j1:j2]]
        return lines

    def _range(start, stop):
        length = stop - start
        if length == 1:
            return str(start + 1)
        return str(start + 1 if length else start) + "," + str(length)

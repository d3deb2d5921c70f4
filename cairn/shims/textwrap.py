"""`textwrap`: dedent, indent, wrap, fill, shorten, with the options that are in common use."""


class cairn_textwrap:
    def dedent(text):
        lines = ["" if not line.strip(" \t") else line for line in text.split("\n")]
        margin = None
        for line in lines:
            if not line:
                continue
            lead = line[: len(line) - len(line.lstrip(" \t"))]
            if margin is None:
                margin = lead
                continue
            same = 0
            while same < len(margin) and same < len(lead) and margin[same] == lead[same]:
                same += 1
            margin = margin[:same]
        if margin:
            lines = [line[len(margin) :] if line else line for line in lines]
        return "\n".join(lines)

    def indent(text, prefix, predicate=None):
        lines = []
        for line in text.splitlines(True):
            wanted = bool(line.strip()) if predicate is None else predicate(line)
            lines.append(prefix + line if wanted else line)
        return "".join(lines)

    def wrap(
        text,
        width=70,
        *,
        initial_indent="",
        subsequent_indent="",
        break_long_words=True,
        break_on_hyphens=True,
        max_lines=None,
        placeholder=" [...]",
    ):
        chunks = cairn_textwrap._chunks(" ".join(text.expandtabs().replace("\n", " ").split(" ")), break_on_hyphens)
        lines = []
        if width <= 0:
            raise ValueError("invalid width " + repr(width) + " (must be > 0)")
        chunks.reverse()
        while chunks:
            lead = subsequent_indent if lines else initial_indent
            room = width - len(lead)
            if lines and not chunks[-1].strip():
                chunks.pop()
            line, length = [], 0
            while chunks and length + len(chunks[-1]) <= room:
                length += len(chunks[-1])
                line.append(chunks.pop())
            if chunks and len(chunks[-1]) > room:
                length = cairn_textwrap._break(chunks, line, length, room, break_long_words, break_on_hyphens)
            if line and not line[-1].strip():
                length -= len(line.pop())
            if not line:
                continue
            last = not chunks or (len(chunks) == 1 and not chunks[0].strip())
            if max_lines is None or len(lines) + 1 < max_lines or (last and length <= room):
                lines.append(lead + "".join(line))
                continue
            cairn_textwrap._cut(lines, line, length, room, lead, width, placeholder)
            break
        return lines

    def _cut(lines, line, length, room, lead, width, placeholder):
        while line:
            if line[-1].strip() and length + len(placeholder) <= room:
                lines.append(lead + "".join(line) + placeholder)
                return
            length -= len(line.pop())
        if lines and len(lines[-1].rstrip()) + len(placeholder) <= width:
            lines[-1] = lines[-1].rstrip() + placeholder
            return
        lines.append(lead + placeholder.lstrip())

    def _break(chunks, line, length, room, break_long_words, break_on_hyphens):
        space = 1 if room < 1 else room - length
        if break_long_words:
            chunk = chunks[-1]
            end = space
            if break_on_hyphens and len(chunk) > space:
                hyphen = chunk.rfind("-", 0, space)
                if hyphen > 0 and any(c != "-" for c in chunk[:hyphen]):
                    end = hyphen + 1
            line.append(chunk[:end])
            chunks[-1] = chunk[end:]
            if not chunks[-1]:
                chunks.pop()
            return length + end
        if not line:
            length += len(chunks[-1])
            line.append(chunks.pop())
        return length

    def _chunks(text, hyphens):
        found, piece = [], ""
        for letter in text:
            if piece and (letter == " ") != (piece[-1] == " "):
                found.append(piece)
                piece = ""
            piece += letter
        if piece:
            found.append(piece)
        if not hyphens:
            return found
        split = []
        for chunk in found:
            split += cairn_textwrap._at_hyphens(chunk)
        return split

    def _at_hyphens(chunk):
        parts, start = [], 0
        for place in range(1, len(chunk) - 1):
            before, after = chunk[place - 1], chunk[place + 1]
            if chunk[place] == "-" and before.isalpha() and after.isalpha() and place + 1 - start > 2:
                parts.append(chunk[start : place + 1])
                start = place + 1
        parts.append(chunk[start:])
        return parts

    def fill(text, width=70, **options):
        return "\n".join(cairn_textwrap.wrap(text, width, **options))

    def shorten(text, width, **options):
        return cairn_textwrap.fill(" ".join(text.strip().split()), width, max_lines=1, **options)

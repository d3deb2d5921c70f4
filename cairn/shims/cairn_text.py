"""What strings, bytes and `print` lack here: `maketrans`, `translate`, bytes of numbers, and a file to print to."""


class cairn_text:
    def maketrans(x, y=None, z=None):
        if y is None:
            return {ord(key) if isinstance(key, str) else key: value for key, value in x.items()}
        table = {ord(a): ord(b) for a, b in zip(x, y)}
        for letter in z or "":
            table[ord(letter)] = None
        return table

    def translate(text, table):
        letters = []
        for letter in text:
            found = table.get(ord(letter), letter)
            if found is not None:
                letters.append(chr(found) if isinstance(found, int) else found)
        return "".join(letters)

    def bytes(numbers):
        digits = ""
        for number in numbers:
            if not 0 <= number < 256:
                raise ValueError("bytes must be in range(0, 256)")
            digits += "0123456789abcdef"[number // 16] + "0123456789abcdef"[number % 16]
        return bytes.fromhex(digits)

    def print(*values, sep=" ", end="\n", file=None, flush=False):
        file.write((" " if sep is None else sep).join([str(value) for value in values]) + ("\n" if end is None else end))

"""`io.StringIO`: text gathered in memory, read back as a whole, in parts or by lines."""


class cairn_StringIO:
    def __init__(self, initial_value="", newline=None):
        self.text = initial_value
        self.place = 0

    def write(self, s):
        self.text = self.text[: self.place] + s + self.text[self.place + len(s) :]
        self.place += len(s)
        return len(s)

    def writelines(self, lines):
        self.write("".join(lines))

    def getvalue(self):
        return self.text

    def read(self, size=-1):
        end = len(self.text) if size is None or size < 0 else self.place + size
        found = self.text[self.place : end]
        self.place += len(found)
        return found

    def readline(self):
        end = self.text.find("\n", self.place)
        found = self.text[self.place :] if end < 0 else self.text[self.place : end + 1]
        self.place += len(found)
        return found

    def readlines(self):
        return self.read().splitlines(True)

    def seek(self, position, whence=0):
        self.place = position if whence == 0 else len(self.text)
        return self.place

    def tell(self):
        return self.place

    def truncate(self, size=None):
        self.text = self.text[: self.place if size is None else size]
        return len(self.text)

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        return False

    def __iter__(self):
        return iter(self.readlines())


class cairn_io:
    StringIO = cairn_StringIO

"""A project file as text, and text as that file again: what a program is not shown is put back when it writes.

A byte order mark is hidden. So are the carriage returns of a file that ends every line with CR LF, which keeps
line-wise editing from mixing line ends. All else is exact: a file read and written unchanged keeps every byte.
"""

from __future__ import annotations

MARK = b"\xef\xbb\xbf"


def decoded(path: str, data: bytes) -> str:
    """The file's text. Raises ValueError for a binary file and for text that is not UTF-8."""
    instead = f"leave it alone, or take its bytes with Path('{path}').read_bytes()"
    if b"\0" in data:
        raise ValueError(f"'{path}' is binary, not text; {instead}")
    try:
        text = data[_mark_bytes(data) :].decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"'{path}' is not UTF-8 text (byte {error.start}); {instead}") from None
    return text.replace("\r\n", "\n") if _ends_lines_with_crlf(data) else text


def encoded(text: str, previous: bytes | None) -> bytes:
    """The bytes to write, with the mark and the line ends of the file's `previous` content.

    Text that itself has CR LF is written as it is.
    """
    if previous is None:
        return text.encode()
    if "\r\n" not in text and _ends_lines_with_crlf(previous):
        text = text.replace("\n", "\r\n")
    mark = MARK if _mark_bytes(previous) and not text.startswith("\ufeff") else b""
    return mark + text.encode()


def lines_of(text: str) -> list[str]:
    """The lines with their ends, as search tools count them: only a line feed ends one."""
    lines = text.split("\n")
    return [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _mark_bytes(data: bytes) -> int:
    """The length of the mark that is hidden; a second mark means that the first is content."""
    return len(MARK) if data.startswith(MARK) and not data.startswith(MARK + MARK) else 0


def _ends_lines_with_crlf(data: bytes) -> bool:
    pairs = data.count(b"\r\n")
    return pairs > 0 and pairs == data.count(b"\n") == data.count(b"\r")

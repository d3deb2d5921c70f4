"""The values that may cross between a program and the host: plain data, of a bounded size, and nothing that only looks
like it.

The sandbox hands functions, coroutines and iterators over as their repr, as if it were text. And it ends the program,
uncatchably, when the host answers with something it cannot convert. Both are stopped here.
"""

from __future__ import annotations

import re

RESULT_BYTES = 64_000_000  # a frame over 256 MiB would wedge the sandbox; a value needs about three times its size
DEPTH = 200  # as deep as the sandbox's own json reads

_REPR = re.compile(  # exact enough that a line of XML, such as <module name="a">, is none
    r"<(?:"
    r"coroutine [^\n]+"
    r"|(?:function|generator object) [\w.<>']+(?: at 0x[0-9a-f]+)?"
    r"|built-in (?:function|method) [^\n]+"
    r"|bound method(?: [\w.]+(?: of [^\n]+)?)?"
    r"|(?:module|class) '[^\n]+'[^\n]*"
    r"|re\.Match object; [^\n]+"
    r"|[\w.]+(?: [\w.]+)? object(?: (?:at|@) 0x[0-9a-f]+)?"
    r")>"
)
_REPR_CHARS = 300


def unfit_argument(value: object) -> str:
    """Why a program may not pass this value to a function, as a sentence for its author; "" when it may."""
    return _unfit(value, reprs=True)


def unfit_result(value: object) -> str:
    """Why a function may not answer with this value; "" when it may."""
    return _unfit(value, reprs=False)


def _unfit(value: object, *, reprs: bool) -> str:
    left = RESULT_BYTES
    stack: list[tuple[object, int]] = [(value, 0)]
    while stack:
        item, depth = stack.pop()
        if isinstance(item, str | bytes):
            left -= len(item)
            problem = _unfit_text(item, reprs=reprs) if isinstance(item, str) else ""
        elif isinstance(item, list | tuple | set | frozenset | dict):
            left -= 8 * len(item)
            problem = f"the value is nested more than {DEPTH} levels deep" if depth >= DEPTH else ""
            parts = (*item.keys(), *item.values()) if isinstance(item, dict) else item
            stack.extend((part, depth + 1) for part in parts)
        else:
            left -= 8
            problem = "" if item is None or isinstance(item, bool | int | float) else _unfit_object(item)
        if problem or left < 0:
            return problem or f"the value is larger than {RESULT_BYTES // 1_000_000} MB; pass less at a time"
    return ""


def _unfit_text(text: str, *, reprs: bool) -> str:
    if reprs and text.startswith("<") and len(text) <= _REPR_CHARS and _REPR.fullmatch(text):
        return f"{text} is not text but an object's name; call the function, or await it, and pass the result"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "the text is not valid Unicode"
    return ""


def _unfit_object(item: object) -> str:
    name = getattr(item, "name", "")
    if type(item).__name__ == "MontyClassProxy":
        return f"an instance of the class {name} cannot be passed; pass its fields, for example a dict"
    if type(item).__name__ in {"MontyStdTypeProxy", "MontyClassTypeProxy"} or isinstance(item, type):
        return f"{name or item!r} is a function or a class; call it and pass the result"
    if type(item).__name__ == "PurePosixPath":
        return f"a Path cannot be passed; pass str(path), here '{item}'"
    return f"a {type(item).__name__} cannot be passed; pass text, numbers, lists or dicts"

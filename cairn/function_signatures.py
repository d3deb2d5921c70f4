"""External functions seen from outside: what a call must look like, type stubs, and the text a model reads."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import PurePath
from typing import Any

Function = Callable[..., Any]

SANDBOX_ROOT = "/project"  # the folder programs believe to be in; a path may be written with it
_OPTIONAL_TEXT = str | None
_OPTIONAL_NUMBER = int | None
_OPTIONAL = (_OPTIONAL_NUMBER, _OPTIONAL_TEXT)
_PATHS = frozenset({"path", "source", "target", "pattern", "glob", "changed_files"})


def declared(owner: type) -> dict[str, Function]:
    """The public methods of a class by name, in the order they are written."""
    return {name: each for name, each in vars(owner).items() if inspect.isfunction(each) and not name.startswith("_")}


@cache
def signature(function: Function) -> inspect.Signature:
    """As a program sees it, without `self`."""
    found = inspect.signature(function, eval_str=True)
    return found.replace(parameters=[each for each in found.parameters.values() if each.name != "self"])


# ── a call ──


def fitted(function: Function, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by name, each of its type. Raises TypeError that shows the signature, or says how to convert."""
    name = function.__name__
    try:
        bound = signature(function).bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name}(): {error}; it is {heading(function)}") from None
    types = signature(function).parameters
    return {key: _of_type(name, key, value, types[key].annotation) for key, value in bound.arguments.items()}


def _of_type(function: str, key: str, value: Any, wanted: Any) -> Any:
    if isinstance(value, PurePath):
        value = str(value)
    if wanted is str and isinstance(value, str):  # first: there may be a million of them
        return _text(function, key, value)
    if value is None and wanted in _OPTIONAL:
        return None
    if wanted == _OPTIONAL_TEXT and isinstance(value, str):
        return _text(function, key, value)
    if wanted == list[str] and isinstance(value, list | tuple | set | frozenset):
        return [_of_type(function, f"{key}[{place}]", item, str) for place, item in enumerate(_in_order(value))]
    if wanted is bool and isinstance(value, bool):
        return value
    if type(value) is int and (wanted is int or wanted == _OPTIONAL_NUMBER):
        return value
    raise TypeError(
        f"{function}(): {key} must be {_type_text(wanted)}, not {type(value).__name__}{_instead(value, wanted)}"
    )


def _in_order(value: Iterable[Any]) -> list[Any]:
    return sorted(value, key=str) if isinstance(value, set | frozenset) else list(value)


def _text(function: str, key: str, value: str) -> str:
    if value.startswith("<coroutine "):
        raise TypeError(f"{function}(): {key} is a coroutine; put await before the call of your async function")
    if key.partition("[")[0] in _PATHS and (value == SANDBOX_ROOT or value.startswith(f"{SANDBOX_ROOT}/")):
        return value.removeprefix(SANDBOX_ROOT).lstrip("/") or "."
    return value


def _instead(value: object, wanted: Any) -> str:
    if wanted is str and isinstance(value, list):
        return "; '\\n'.join(lines) makes one text of lines"
    if wanted is str and isinstance(value, bytes):
        return "; value.decode() makes text of it, Path(path).write_bytes(value) writes it"
    if wanted == list[str] and isinstance(value, str):
        return "; put it in brackets"
    return ""


# ── a description ──


def stubs(functions: Iterable[Function]) -> str:
    """Declarations for a type checker. To a program all are plain calls, also those the host answers later."""
    bodies = (f"def {heading(each)}:\n{_indented(_quoted(_text_of(each)))}\n    ...\n" for each in functions)
    return "\n".join(bodies)


def reference(functions: Iterable[Function]) -> str:
    """Each function's heading, and below it on one line what it does, leaves out and raises."""
    return "\n".join(f"{heading(each)}\n  {' '.join(_text_of(each).split())}" for each in functions)


def heading(function: Function) -> str:
    """The name with the signature, as one reads it in a program."""
    return function.__name__ + str(signature(function)).replace("dict[str, typing.Any]", "dict")


def _type_text(wanted: Any) -> str:
    return wanted.__name__ if wanted in {str, bool, int} else str(wanted)


def _text_of(function: Function) -> str:
    return (inspect.getdoc(function) or "").replace("\n\n", "\n")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f'"""{escaped} """' if text.endswith('"') else f'"""{escaped}"""'


def _indented(text: str) -> str:
    return textwrap.indent(text, "    ")

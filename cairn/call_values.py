"""How the values that cross between a program and the host are written down: exactly, and briefly for people.

Exactly means JSON from which an equal value comes back. Texts over 1 KB and all bytes are references to blobs, so a
file's content costs nothing where the overlay keeps the same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

INLINE_CHARS = 1_024
TAG = "cairn"  # marks a JSON object that stands for something JSON lacks
SHORT_CHARS = 120  # of one text, where people read it
SHOWN_ITEMS = 5  # of one list there
SHOWN_DEPTH = 3
SHOWN_BITS = 64

PutBlob = Callable[[bytes], str]
GetBlob = Callable[[str], bytes]

# ── exactly ──


def pack(value: object, put_blob: PutBlob) -> str:
    """JSON from which `unpack` makes an equal value; what is neither JSON nor bytes is kept as its repr."""
    try:
        text = json.dumps(_to_json(value, put_blob))
    except (ValueError, RecursionError):  # a number of 5,000 digits, or lists in lists beyond reason
        return json.dumps(_tagged("repr", f"<a {type(value).__name__} that cannot be written down>"))
    if len(text) <= INLINE_CHARS:
        return text
    return json.dumps(_tagged("json", put_blob(text.encode())))


def unpack(text: str, blob: GetBlob) -> Any:
    """The value that `pack` was given."""

    def value_of(found: dict[str, Any]) -> Any:
        return _from_tagged(found[TAG], found["value"], blob) if TAG in found else found

    return json.loads(text, object_hook=value_of)


def _to_json(value: object, put_blob: PutBlob) -> Any:
    if isinstance(value, list | tuple):
        items = [_to_json(item, put_blob) for item in value]
        return items if type(value) is list else _tagged("tuple", items)
    if isinstance(value, dict):
        return _dict_to_json(value, put_blob)
    if isinstance(value, str):
        long = len(value) > INLINE_CHARS
        return _tagged("text", put_blob(value.encode("utf-8", "surrogatepass"))) if long else value
    if isinstance(value, bytes):
        return _tagged("bytes", put_blob(value))
    if isinstance(value, float) and not math.isfinite(value):
        return _tagged("float", repr(value))
    if value is None or isinstance(value, bool | int | float):
        return value
    return _tagged("repr", repr(value)[:INLINE_CHARS])


def _dict_to_json(value: dict[Any, Any], put_blob: PutBlob) -> dict[str, Any]:
    if all(type(key) is str for key in value) and TAG not in value:
        return {key: _to_json(item, put_blob) for key, item in value.items()}
    return _tagged("dict", [[_to_json(key, put_blob), _to_json(item, put_blob)] for key, item in value.items()])


def _tagged(kind: str, value: object) -> dict[str, Any]:
    return {TAG: kind, "value": value}


def _from_tagged(kind: str, value: Any, blob: GetBlob) -> Any:
    match kind:
        case "text":
            return blob(value).decode("utf-8", "surrogatepass")
        case "bytes":
            return blob(value)
        case "json":
            return unpack(blob(value).decode(), blob)
        case "float":
            return float(value)
        case "tuple":
            return tuple(value)
        case "dict":
            return dict(value)
        case _:
            return value


# ── briefly ──


def shortened_arguments(arguments: Mapping[str, object]) -> dict[str, Any]:
    """Each argument as `shortened` writes it."""
    return {key: shortened(value) for key, value in arguments.items()}


def shortened(value: object, depth: int = 0) -> Any:
    """A JSON value that a person reads at a glance: long texts and lists are cut, and say how long they were."""
    if isinstance(value, str):
        return value if len(value) <= SHORT_CHARS else f"{value[:SHORT_CHARS]}… ({len(value):,} characters)"
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, list | tuple | dict):
        return "…" if depth > SHOWN_DEPTH else _shortened_items(value, depth + 1)
    if isinstance(value, int) and value.bit_length() > SHOWN_BITS:
        return f"a number of {value.bit_length():,} bits"
    if value is None or isinstance(value, int | float):
        return value if not isinstance(value, float) or math.isfinite(value) else repr(value)
    return repr(value)[:SHORT_CHARS]


def _shortened_items(value: list[Any] | tuple[Any, ...] | dict[Any, Any], depth: int) -> Any:
    if isinstance(value, dict):
        return {str(key): shortened(item, depth) for key, item in list(value.items())[: 4 * SHOWN_ITEMS]}
    shown = [shortened(item, depth) for item in value[:SHOWN_ITEMS]]
    return shown if len(value) <= SHOWN_ITEMS else [*shown, f"… {len(value) - SHOWN_ITEMS:,} more"]


def arguments_text(shown: Mapping[str, object]) -> str:
    """As they would stand between a call's brackets, the first without its name."""
    return ", ".join(
        repr(value) if place == 0 else f"{key}={value!r}" for place, (key, value) in enumerate(shown.items())
    )


def result_text(shown: object) -> str:
    """A result's repr; "" for None."""
    return "" if shown is None else repr(shown)

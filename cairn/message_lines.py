"""Messages between processes of Cairn as lines of JSON: the name of a message's class, then its values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def to_line(message: DataclassInstance) -> bytes:
    """One line, its newline included."""
    return json.dumps([type(message).__name__, asdict(message)]).encode() + b"\n"


def parts_of(line: bytes) -> tuple[str, Mapping[str, Any]]:
    """The reverse of `to_line`, but for making the message: its class's name and its values."""
    kind, values = json.loads(line)
    return kind, values

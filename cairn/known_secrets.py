"""What must not leave this machine by accident: the keys it knows, and what looks like a private key or a token."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SHORTEST = 8  # a shorter value is a word that could stand anywhere
_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(_|$)", re.IGNORECASE)

# The forms are those that their issuers publish; see each one's documentation of its keys.
_FORMS = {
    "a private key": rb"-----BEGIN (?:[A-Z ]+ )?PRIVATE KEY-----",
    "an AWS access key": rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a GitHub token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})\b",
    "a GitLab token": rb"\bglpat-[A-Za-z0-9_-]{20,}",
    "a Slack token": rb"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "a model provider's key": rb"\bsk-[A-Za-z0-9_-]{32,}",
    "a Google key": rb"\bAIza[A-Za-z0-9_-]{35}",
}
_FORM = re.compile(b"|".join(b"(%s)" % form for form in _FORMS.values()))


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that is known to be secret, and where it is known from."""

    name: str
    value: bytes


def known_secrets(environ: Mapping[str, str], keys_file: Path | None) -> tuple[Secret, ...]:
    """The keys in the environment, by their variables' names, and those that `llm` keeps."""
    found = {value: name for name, value in environ.items() if _NAMES.search(name)}
    found |= {value: f"llm's key {name}" for name, value in _stored(keys_file)}
    return tuple(Secret(name, value.encode()) for value, name in found.items() if len(value) >= SHORTEST)


def secret_in(data: bytes, known: tuple[Secret, ...]) -> str:
    """The name of a known secret that stands in the data; "" for none."""
    return next((secret.name for secret in known if secret.value in data), "")


def looks_secret(data: bytes) -> str:
    """What the data seems to hold; "" for nothing that looks like a key."""
    match = _FORM.search(data)
    return "" if match is None else list(_FORMS)[(match.lastindex or 1) - 1]


def _stored(keys_file: Path | None) -> Iterator[tuple[str, str]]:
    try:
        stored = json.loads(keys_file.read_text(encoding="utf-8")) if keys_file else {}
    except (OSError, ValueError):
        return
    if isinstance(stored, dict):
        yield from ((name, value) for name, value in stored.items() if isinstance(value, str))

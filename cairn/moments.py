"""Times as people type them: 90s, 2h, 14:30, 2026-01-31, 2026-01-31 14:30; a clock without a zone is this machine's."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from cairn.errors import UsageProblem

_UNITS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PIECE = re.compile(r"(\d+(?:\.\d+)?)\s*(min|[smhdw])")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_LONGEST_SECONDS = 3_650 * 86_400.0


def seconds_of(text: str, option: str) -> float:
    """A length of time: 30s, 5min, 1h30min, 2d; a plain number is seconds. Raises UsageProblem."""
    seconds = _length(text)
    if seconds is None:
        raise _refused(text, option, "a length of time, such as 30s, 5min, 1h30min or 2d")
    return seconds


def moment_of(text: str, option: str, now: float, *, past: bool = False) -> float:
    """Seconds since the epoch of a clock's time, a date, or a length of time from `now` on, or before it if `past`.

    A clock's time is the next one, or the last one. Raises UsageProblem that names the option.
    """
    length = _length(text)
    if length is not None:
        return now - length if past else now + length
    here = datetime.fromtimestamp(now)  # noqa: DTZ006 - what a person types is this machine's local time
    clock = _CLOCK.fullmatch(text.strip())
    try:
        if clock is not None:
            hour, minute, second = (int(part or 0) for part in clock.groups())
            moment = here.replace(hour=hour, minute=minute, second=second, microsecond=0)
            day = timedelta(days=1)
            if past and moment > here:
                moment -= day
            if not past and moment <= here:
                moment += day
            return moment.timestamp()
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        raise _refused(text, option, "a time, such as 14:30, 2026-01-31, 2026-01-31T14:30 or 2h") from None


def _length(text: str) -> float | None:
    plain = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", plain):
        seconds = float(plain)
    else:
        pieces = _PIECE.findall(plain)
        if not pieces or _PIECE.sub("", plain).strip():
            return None
        seconds = sum(float(number) * _UNITS[unit] for number, unit in pieces)
    return seconds if seconds <= _LONGEST_SECONDS else None


def _refused(text: str, option: str, wanted: str) -> UsageProblem:
    return UsageProblem(f"{option} cannot be {text!r}.", f"It should be {wanted}.", f"Change {option}.")

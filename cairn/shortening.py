"""What is left out of a conversation that is too long for its model: the oldest outputs, then the map, then more.

Pure decisions. Who makes the conversation marks what is missing, so that the model can look at it again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

KEPT = 400  # characters of whatever is cut
TIMES = 2  # how often one question is made shorter before the model's refusal counts
SMALLEST = 2_000  # characters of a conversation that is not made shorter any more
_GUESS = 0.6  # of what was sent, where the provider does not say how much was too much
_LEAST = 0.1
_FIGURE = re.compile(r"\d[\d,]{2,}")
_ALLOWED = re.compile(
    rf"(?:maximum|limit|max)\D{{0,60}}?({_FIGURE.pattern})|({_FIGURE.pattern})\s*(?:tokens?\s*)?max", re.IGNORECASE
)
_SPARE = 0.9  # of what the provider says would fit: its figures are tokens, ours are characters


@dataclass(frozen=True, slots=True)
class Cuts:
    """How many are cut to a few lines: outputs and programs of the oldest steps, and the last of what was told first.

    `newest`: the last step's output too.
    """

    outputs: int = 0
    sections: int = 0
    programs: int = 0
    newest: bool = False

    def __bool__(self) -> bool:
        return self != Cuts()


WHOLE = Cuts()


def harder(steps: int, sections: int) -> Iterator[Cuts]:
    """Ever more cuts for a conversation after so many steps that began with so many sections; the first is none."""
    cuts = WHOLE
    yield cuts
    for count in range(1, steps):
        yield (cuts := replace(cuts, outputs=count))
    for count in range(1, sections + 1):
        yield (cuts := replace(cuts, sections=count))
    for count in range(1, steps):
        yield (cuts := replace(cuts, programs=count))
    if steps:
        yield replace(cuts, newest=True)


def share_that_fits(message: str) -> float:
    """What part of a refused conversation may fit, by the two figures that most providers name: sent, and allowed."""
    allowed = _ALLOWED.search(message)
    sent = max((_figure(text) for text in _FIGURE.findall(message)), default=0)
    most = 0 if allowed is None else _figure(allowed[1] or allowed[2])
    return max(most / sent * _SPARE, _LEAST) if 0 < most < sent else _GUESS


def _figure(text: str) -> int:
    return int(text.replace(",", ""))

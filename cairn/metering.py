"""What calls of models cost, and what is left: reserved before it is spent, settled or released after. Pure values.

Money is counted in picos, each 10**-12 of the unit that prices are in, so that sums of prices per million tokens are
exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from fnmatch import fnmatchcase
from math import ceil
from typing import TypeVar

T = TypeVar("T")

PICOS = 10**12
ANSWER_TOKENS = 4_000  # reserved for an answer at first; a longer one reserves more as it comes
CHARS_PER_TOKEN = 3  # fewer than models' own tokens have, so that an estimate errs to the safe side


def estimated_tokens(characters: int) -> int:
    """How many tokens a text may have, for want of the provider's own count."""
    return ceil(characters / CHARS_PER_TOKEN)


def picos(money: float) -> int:
    """An amount of money as it is counted."""
    return round(money * PICOS)


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens of a model cost, sent and received."""

    input: float
    output: float

    def picos(self, input_tokens: int, output_tokens: int) -> int:
        """Exact for prices with up to six decimals."""
        return input_tokens * round(self.input * 10**6) + output_tokens * round(self.output * 10**6)


FREE = Price(0, 0)


def _fitting(of: Mapping[str, T], model: str) -> T | None:
    if model in of:
        return of[model]
    fitting = [name for name in of if fnmatchcase(model, name)]
    return of[max(fitting, key=lambda name: (len(name), name))] if fitting else None


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices that are known, by the names of models, which may be globs. What fits most exactly counts."""

    of: Mapping[str, Price] = field(default_factory=dict)

    def price(self, model: str) -> Price | None:
        """None for a model whose price nobody set: it is unknown, not free."""
        return _fitting(self.of, model)


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a model may be asked, by all tasks of a project together; None: as fast as they like."""

    calls_at_once: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Rates:
    """The rates that are set, by the names of models, which may be globs. Each model has its own count."""

    of: Mapping[str, Rate] = field(default_factory=dict)

    def rate(self, model: str) -> Rate | None:
        """What fits most exactly; None where nothing does."""
        return _fitting(self.of, model)


@dataclass(frozen=True, slots=True)
class Spent:
    """What calls of models used. `unpriced` counts those whose price is unknown, `estimated` those whose tokens are an
    estimate, because their provider told none or they were stopped on the way.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    picos: int = 0
    unpriced: int = 0
    estimated: int = 0

    @classmethod
    def on(cls, price: Price | None, input_tokens: int, output_tokens: int, *, estimated: bool = False) -> Spent:
        """One call's."""
        cost = price.picos(input_tokens, output_tokens) if price else 0
        return cls(1, input_tokens, output_tokens, cost, int(price is None), int(estimated))

    @property
    def tokens(self) -> int:
        """Sent and received."""
        return self.input_tokens + self.output_tokens

    @property
    def money(self) -> float | None:
        """None when part of it is unknown."""
        return None if self.unpriced else self.picos / PICOS

    def __add__(self, other: Spent) -> Spent:
        return Spent(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Spent) -> Spent:
        return Spent(*(mine - its for mine, its in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class Ceilings:
    """How much may be spent in all; None: as much as one likes. `tokens` are those sent and received together."""

    calls: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    tokens: int | None = None
    picos: int | None = None


@dataclass(frozen=True, slots=True)
class Short:
    """Nothing was reserved, because there is no room below this ceiling, a field of `Ceilings`."""

    of: str


@dataclass(frozen=True, slots=True)
class Meter:
    """What was spent, and what is reserved for calls under way. Each method gives the meter as it is after.

    A reservation never makes reserved and spent together pass a ceiling. Only an answer that turns out larger than
    what was reserved for it can, and then nothing more is reserved.
    """

    ceilings: Ceilings
    spent: Spent = field(default_factory=Spent)
    reserved: Spent = field(default_factory=Spent)

    @property
    def total(self) -> Spent:
        """All that counts against the ceilings."""
        return self.spent + self.reserved

    def reserve(
        self, input_tokens: int, price: Price | None, wanted: int = ANSWER_TOKENS
    ) -> tuple[Meter, Spent] | Short:
        """Room for one call, its answer up to `wanted` tokens or as many as there is room for."""
        calls, sent = self.ceilings.calls, self.ceilings.input_tokens
        if calls is not None and self.total.calls >= calls:
            return Short("calls")
        if sent is not None and self.total.input_tokens + input_tokens > sent:
            return Short("input_tokens")
        name, room = self._tightest(input_tokens, price)
        if room is not None and room < 1:
            return Short(name)
        held = Spent.on(price, input_tokens, wanted if room is None else min(wanted, room))
        return replace(self, reserved=self.reserved + held), held

    def grow(self, held: Spent, price: Price | None, wanted: int) -> tuple[Meter, Spent] | Short:
        """The same call with room for a longer answer, of up to `wanted` tokens. Short when there is no more of it."""
        without = self.release(held)
        name, room = without._tightest(held.input_tokens, price)  # noqa: SLF001 - its own class
        if room is not None and room <= held.output_tokens:
            return Short(name)
        return without.reserve(held.input_tokens, price, max(wanted, held.output_tokens))

    def settle(self, held: Spent, used: Spent) -> Meter:
        """The call ended, and this is what it took."""
        return replace(self, spent=self.spent + used, reserved=self.reserved - held)

    def release(self, held: Spent) -> Meter:
        """The call took nothing."""
        return replace(self, reserved=self.reserved - held)

    def _tightest(self, input_tokens: int, price: Price | None) -> tuple[str, int | None]:
        """The ceiling that leaves least room for an answer, and how many tokens that is; None for any number."""
        total, ceilings = self.total, self.ceilings
        rooms: dict[str, int] = {}
        if ceilings.output_tokens is not None:
            rooms["output_tokens"] = ceilings.output_tokens - total.output_tokens
        if ceilings.tokens is not None:
            rooms["tokens"] = ceilings.tokens - total.tokens - input_tokens
        if ceilings.picos is not None and price is not None:
            left = ceilings.picos - total.picos - price.picos(input_tokens, 0)
            if each := price.picos(0, 1):
                rooms["picos"] = left // each
            elif left < 0:
                rooms["picos"] = 0
        if not rooms:
            return "", None
        name = min(rooms, key=lambda each: rooms[each])
        return name, rooms[name]

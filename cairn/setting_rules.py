"""What a setting takes: each rule makes a value of what a file, a variable or a flag says, or says what it wants."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Protocol

from cairn.checks import Check
from cairn.glob_pattern import glob_pattern
from cairn.metering import Price, Prices, Rate, Rates
from cairn.policy import CALLS, PolicyRule, meant, rule_of


class Refused(Exception):
    """A value that a rule does not take; `wanted` ends the sentence "It should be". `item` counts from 0 in a list."""

    def __init__(self, wanted: str, value: object, item: int | None = None) -> None:
        super().__init__(wanted)
        self.wanted = wanted
        self.value = value
        self.item = item


class Rule(Protocol):
    """How one setting is read."""

    def parse(self, value: object) -> object:
        """The value in its own type; variables and flags come as texts. Raises Refused."""
        ...


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from `least` to `most`."""

    least: int
    most: int

    def parse(self, value: object) -> int:
        """Refuses true and false, which Python takes for numbers."""
        number = _number(value)
        if number is None or number != int(number) or not self.least <= number <= self.most:
            raise Refused(f"a whole number from {self.least:,} to {self.most:,}", value)
        return int(number)


@dataclass(frozen=True, slots=True)
class Real:
    """A number up to `most`, from 0 on or, `positive`, above it."""

    most: float
    positive: bool = False

    def parse(self, value: object) -> float:
        """Refuses NaN and the infinities, which TOML can write."""
        number = _number(value)
        if number is None or not 0 <= number <= self.most or (self.positive and not number):
            lowest = "above 0 and at most" if self.positive else "from 0 to"
            raise Refused(f"a number {lowest} {self.most:,}", value)
        return float(number)


@dataclass(frozen=True, slots=True)
class OrNone:
    """What another rule takes, or an empty text for no limit."""

    rule: Rule

    def parse(self, value: object) -> object:
        """None for an empty text."""
        if value == "":
            return None
        try:
            return self.rule.parse(value)
        except Refused as refused:
            raise Refused(f'{refused.wanted}, or "" for no limit', refused.value) from None


@dataclass(frozen=True, slots=True)
class Counts:
    """A table of names with a whole number each; a text has NAME=NUMBER, apart by blanks."""

    most: int

    def parse(self, value: object) -> dict[str, int]:
        """In the order of the names, so that the same table always reads the same."""
        table = dict(word.partition("=")[::2] for word in value.split()) if isinstance(value, str) else value
        if not isinstance(table, Mapping):
            raise Refused("a table of names with a number each", value)
        if unknown := next((name for name in table if name not in CALLS), None):
            near = meant(unknown, CALLS)
            raise Refused(f"a table of functions with a number each: there is no '{unknown}'{near}", value)
        number = Whole(0, self.most)
        try:
            return {name: number.parse(table[name]) for name in sorted(table)}
        except Refused as refused:
            raise Refused(f"{refused.wanted} for each name", refused.value) from None


@dataclass(frozen=True, slots=True)
class Rules:
    """A list of calls that a policy is about; a text has them apart by blanks, or line by line."""

    def parse(self, value: object) -> tuple[PolicyRule, ...]:
        """Each once, sorted: their order says nothing."""
        items = _items(value)
        if items is None:
            raise Refused('a list of calls, such as ["ask_llm", "write(secrets/**)"]', value)
        found: set[PolicyRule] = set()
        for number, item in enumerate(items):
            if not isinstance(item, str):
                raise Refused("a text, in quotes", item, number)
            try:
                found.add(rule_of(item))
            except ValueError as error:
                raise Refused(f"NAME or NAME(GLOB): {error}", item, number) from None
        return tuple(sorted(found, key=str))


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a few words."""

    words: type[StrEnum]

    def parse(self, value: object) -> StrEnum:
        """In the words' own type."""
        try:
            return self.words(str(value))
        except ValueError:
            raise Refused(f"one of {', '.join(self.words)}", value) from None


def _items(value: object) -> Sequence[object] | None:
    """A list's items, or a text's; None for anything else."""
    if isinstance(value, str):
        return [line for line in value.splitlines() if line.strip()] if "\n" in value else value.split()
    return value if isinstance(value, Sequence) and not isinstance(value, bytes) else None


@dataclass(frozen=True, slots=True)
class PriceTable:
    """A table of models, globs too, with what a million tokens of each cost."""

    def parse(self, value: object) -> Prices:
        """Both prices of a model, or none: half a price would be taken for a whole one."""
        if not isinstance(value, Mapping):
            raise Refused('a table such as {"gpt-5*" = {input = 1.25, output = 10}}', value)
        return Prices({str(name): self._price(price) for name, price in value.items()})

    def _price(self, value: object) -> Price:
        amount = Real(1_000_000)
        if not isinstance(value, Mapping) or set(value) != {"input", "output"}:
            raise Refused("two prices for each model, such as {input = 1.25, output = 10}", value)
        return Price(amount.parse(value["input"]), amount.parse(value["output"]))


@dataclass(frozen=True, slots=True)
class RateTable:
    """A table of models, globs too, with how fast each may be asked."""

    def parse(self, value: object) -> Rates:
        """At least one figure for each model."""
        if not isinstance(value, Mapping):
            raise Refused('a table such as {"gpt-5*" = {requests_per_minute = 60}}', value)
        return Rates({str(name): self._rate(rate) for name, rate in value.items()})

    def _rate(self, value: object) -> Rate:
        names = {each.name for each in fields(Rate)}
        if not isinstance(value, Mapping) or not value or not set(value) <= names:
            raise Refused("calls_at_once, requests_per_minute or tokens_per_minute for each model", value)
        return Rate(**{name: Whole(1, 1_000_000_000).parse(figure) for name, figure in value.items()})


@dataclass(frozen=True, slots=True)
class Name:
    """A text; an empty one stands for none."""

    def parse(self, value: object) -> str | None:
        """A number is no text: a file has to quote it."""
        if not isinstance(value, str):
            raise Refused("a text, in quotes", value)
        return value or None


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """Where a Postgres database is; an empty text stands for none."""

    def parse(self, value: object) -> str | None:
        """What it refuses it does not repeat beyond its first word: a password may follow."""
        if value == "":
            return None
        if not isinstance(value, str) or not value.startswith(("postgresql://", "postgres://")):
            told = re.sub(r"(?s)([^\w-]).*", r"\1...", value) if isinstance(value, str) else value
            raise Refused('the URL of a Postgres database, such as "postgresql://user@host/cairn"', told)
        return value


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false; a text says yes or no."""

    def parse(self, value: object) -> bool:
        """The words that variables and flags use."""
        known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        found = value if isinstance(value, bool) else known.get(str(value).lower())
        if found is None:
            raise Refused("true or false", value)
        return found


@dataclass(frozen=True, slots=True)
class Texts:
    """A list of texts, none of them empty; one text has them apart by blanks."""

    def parse(self, value: object) -> tuple[str, ...]:
        """In their order."""
        items = value.split() if isinstance(value, str) else value
        if not isinstance(items, Sequence) or not all(isinstance(item, str) and item for item in items):
            raise Refused("a list of texts, in quotes", value)
        return tuple(items)


@dataclass(frozen=True, slots=True)
class CheckTable:
    """Commands by name: each a text, or a table with `command` and how it is to be run."""

    def parse(self, value: object) -> dict[str, Check]:
        """Names can be typed on a command line as they are."""
        if not isinstance(value, Mapping):
            raise Refused('a table such as {tests = "pytest -q"}', value)
        return {str(name): self._check(str(name), told) for name, told in value.items()}

    def _check(self, name: str, told: object) -> Check:
        if not _CHECK_NAME.fullmatch(name):
            raise Refused("named with letters, digits, - and _", name)
        table = {"command": told} if isinstance(told, str) else told
        if not isinstance(table, Mapping):
            raise Refused("a command in quotes, or a table with one, for each check", told)
        if unknown := set(table) - set(_CHECK_RULES):
            raise Refused(f"made of {', '.join(_CHECK_RULES)}", ", ".join(sorted(unknown)))
        command = table.get("command")
        if not isinstance(command, str) or not command.strip() or "\0" in command:
            raise Refused("a table with a command in quotes", told)
        parsed = {key: _CHECK_RULES[key].parse(each) for key, each in table.items() if key != "command"}
        return Check(name=name, command=command, **parsed)


@dataclass(frozen=True, slots=True)
class Patterns:
    """Paths and globs in a list; a text has them apart by blanks, or line by line."""

    def parse(self, value: object) -> tuple[str, ...]:
        """Each of them can be matched later on."""
        items = _items(value)
        if items is None:
            raise Refused("a list of paths or globs", value)
        for number, item in enumerate(items):
            if not isinstance(item, str):
                raise Refused("a text, in quotes", item, number)
            try:
                glob_pattern(item)
            except (ValueError, PermissionError) as error:
                raise Refused(f"a list of paths or globs: {error}", value) from None
        return tuple(str(item) for item in items)


_CHECK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_CHECK_RULES: Mapping[str, Any] = {
    "command": Name(),
    "timeout": Real(86_400, positive=True),
    "paths": Patterns(),
    "required": Flag(),
    "keep_writes": Flag(),
}


def _number(value: object) -> float | None:
    """None for what is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < float("inf") else None

"""Prices in cents: discounts, tax and how they are shown."""

import math

TAX = {"food": 7, "other": 19}


def calc_total(cart, discount: int = 0, *, kind: str = "other") -> int:
    total = sum(line.cost for line in cart.lines)
    return add_tax(reduce_price(total, discount), kind)


def reduce_price(cents: int, percent: int) -> int:
    return cents - math.floor(cents * percent / 100)


def add_tax(cents: int, kind: str) -> int:
    # TODO: other countries
    return cents + round(cents * TAX[kind] / 100)


def format_price(cents: int, currency: str = "EUR"):
    return f"{cents // 100}.{cents % 100:02d} {currency}"


def is_free(cents):
    return cents in FREE


FREE = (0,)

"""The cart: what a customer is about to buy."""

import json
import os
from dataclasses import dataclass, field


@dataclass
class Line:
    name: str
    price: int  # in cents
    count: int = 1

    @property
    def cost(self):
        return self.price * self.count


@dataclass
class Cart:
    customer: str
    lines: list[Line] = field(default_factory=list)

    def add(self, name, price, count=1):
        # TODO: refuse a negative price
        for line in self.lines:
            if line.name == name and line.price == price:
                line.count += count
                return
        self.lines.append(Line(name, price, count))

    def remove(self, name):
        self.lines = [line for line in self.lines if line.name != name]

    def has(self, name):
        for line in self.lines:
            if line.name == name:
                return True
        return False

    def is_empty(self):
        return not self.lines

    def to_json(self) -> str:
        return json.dumps({"customer": self.customer, "lines": [vars(line) for line in self.lines]})


def load_cart(path: str) -> Cart:
    # FIXME: a damaged file ends in a traceback
    with open(path, encoding="utf-8") as file:
        data = json.load(file)
    return Cart(data["customer"], [Line(**line) for line in data["lines"]])


def save_cart(cart: Cart, path: str):
    with open(path, "w", encoding="utf-8") as file:
        file.write(cart.to_json())

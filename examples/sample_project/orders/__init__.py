"""Orders of a small shop: what is in the cart, and what it costs."""

from orders.cart import Cart, Line
from orders.prices import calc_total, format_price

__all__ = ["Cart", "Line", "calc_total", "format_price"]

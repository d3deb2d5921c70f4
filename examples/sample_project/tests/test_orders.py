import tempfile
import unittest
from pathlib import Path

from orders import Cart, Line, calc_total, format_price
from orders.cart import load_cart, save_cart


class Orders(unittest.TestCase):
    def test_a_cart_counts_equal_lines_together(self):
        cart = Cart("Ann")
        cart.add("tea", 350)
        cart.add("tea", 350, 2)
        self.assertEqual(cart.lines, [Line("tea", 350, 3)])

    def test_the_total_has_discount_and_tax(self):
        cart = Cart("Ann", [Line("tea", 1000)])
        self.assertEqual(calc_total(cart, 10, kind="food"), 963)
        self.assertEqual(format_price(963), "9.63 EUR")

    def test_a_cart_comes_back_from_its_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "cart.json")
            save_cart(Cart("Ann", [Line("tea", 350)]), path)
            self.assertEqual(load_cart(path), Cart("Ann", [Line("tea", 350)]))


if __name__ == "__main__":
    unittest.main()

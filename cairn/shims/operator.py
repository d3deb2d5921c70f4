"""`operator`: getters as key functions, and the operators as functions."""


class cairn_operator:
    def itemgetter(*items):
        if len(items) == 1:
            return lambda value: value[items[0]]
        return lambda value: tuple([value[item] for item in items])

    def attrgetter(*names):
        def one(value, name):
            for part in name.split("."):
                value = getattr(value, part)
            return value

        if len(names) == 1:
            return lambda value: one(value, names[0])
        return lambda value: tuple([one(value, name) for name in names])

    def add(a, b):
        return a + b

    def sub(a, b):
        return a - b

    def mul(a, b):
        return a * b

    def truediv(a, b):
        return a / b

    def floordiv(a, b):
        return a // b

    def mod(a, b):
        return a % b

    def neg(a):
        return -a

    def or_(a, b):
        return a | b

    def and_(a, b):
        return a & b

    def xor(a, b):
        return a ^ b

    def not_(a):
        return not a

    def contains(a, b):
        return b in a

    def getitem(a, b):
        return a[b]

    def eq(a, b):
        return a == b

    def ne(a, b):
        return a != b

    def lt(a, b):
        return a < b

    def le(a, b):
        return a <= b

    def gt(a, b):
        return a > b

    def ge(a, b):
        return a >= b

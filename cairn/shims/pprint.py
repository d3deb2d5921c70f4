"""`pprint`: values over several lines where one is too short."""


class cairn_pprint:
    def pformat(object, indent=1, width=80):
        return cairn_pprint._shown(object, 0, width)

    def pprint(object, indent=1, width=80):
        print(cairn_pprint._shown(object, 0, width))

    def pp(object, width=80):
        print(cairn_pprint._shown(object, 0, width))

    def _shown(value, depth, width):
        plain = repr(value)
        if len(plain) + depth <= width or not value:
            return plain
        inner = "\n" + " " * (depth + 1)
        if isinstance(value, dict):
            items = [repr(key) + ": " + cairn_pprint._shown(item, depth + len(repr(key)) + 3, width) for key, item in value.items()]
            return "{" + ("," + inner).join(items) + "}"
        if isinstance(value, (list, tuple)):
            items = [cairn_pprint._shown(item, depth + 1, width) for item in value]
            last = "," if isinstance(value, tuple) and len(value) == 1 else ""
            start, end = ("[", "]") if isinstance(value, list) else ("(", ")")
            return start + ("," + inner).join(items) + last + end
        return plain

"""`contextlib`: suppress, nullcontext, closing."""


class cairn_suppress:
    def __init__(self, *errors):
        self.errors = errors

    def __enter__(self):
        return None

    def __exit__(self, kind, error, trace):
        return error is not None and isinstance(error, self.errors)


class cairn_nullcontext:
    def __init__(self, enter_result=None):
        self.enter_result = enter_result

    def __enter__(self):
        return self.enter_result

    def __exit__(self, kind, error, trace):
        return False


class cairn_closing:
    def __init__(self, thing):
        self.thing = thing

    def __enter__(self):
        return self.thing

    def __exit__(self, kind, error, trace):
        self.thing.close()
        return False


class cairn_contextlib:
    suppress = cairn_suppress
    nullcontext = cairn_nullcontext
    closing = cairn_closing

"""Integers as on ports with 31-bit small ints, where a larger one is an allocation."""


class Small(int):
    """An integer that asserts that its sums, quotients and shifts are 31-bit small ints."""

    def _kept(name):
        def operation(self, other):
            value = getattr(int, name)(self, other)
            assert -(2**30) <= value < 2**30, (self, name, other)
            return Small(value)

        return operation

    for _name in ("add", "sub", "mul", "floordiv", "mod", "lshift", "rshift", "or", "and"):
        for _side in ("__", "__r"):
            locals()[f"{_side}{_name}__"] = _kept(f"{_side}{_name}__")

"""Integers as they are where small ones have 31 bits: a larger one would be an allocation."""


class Small(int):
    """An integer whose sums, quotients and shifts are small where those have 31 bits."""

    def _kept(name):
        def operation(self, other):
            value = getattr(int, name)(self, other)
            assert -(2**30) <= value < 2**30, (self, name, other)
            return Small(value)

        return operation

    for _name in ("add", "sub", "mul", "floordiv", "mod", "lshift", "rshift", "or", "and"):
        for _side in ("__", "__r"):
            locals()[f"{_side}{_name}__"] = _kept(f"{_side}{_name}__")

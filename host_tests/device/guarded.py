"""Buffers between guard bytes: viper does not check bounds, so a wrong write hits what is near."""

GUARD = 60  # bytes
GUARDS = b"\xa5" * GUARD


class Guarded:
    """A buffer of `size` writable bytes at `buf[begin]`, with guards on both sides.

    With `begin` 0 there is only the guard behind them.
    """

    def __init__(self, size, begin=GUARD):
        self.begin = begin
        self.end = begin + size
        self.buf = bytearray(b"\xa5" * (begin + size + GUARD))

    def check(self):
        """Check that the guards are unchanged."""
        view = memoryview(self.buf)
        for guard in (view[: self.begin], view[self.end :]):
            assert guard == GUARDS[: len(guard)], "written outside of its room"

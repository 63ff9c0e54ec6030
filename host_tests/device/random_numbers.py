"""Random numbers that are the same on every platform."""


class Numbers:
    """Random numbers that are the same on every platform."""

    def __init__(self, seed):
        self._state = seed * 7919 % 65537

    def below(self, limit):
        """Return a number from 0 to limit - 1; limit at most 2**15."""
        # Small integers on every platform: larger ones allocate.
        self._state = (self._state * 75 + 74) % 65537
        return self._state % limit

    def bytes(self, size):
        """Return `size` random bytes."""
        return bytes([self.below(256) for _ in range(size)])

    def shuffled(self, some):
        """Return a list of the same items in random order."""
        out = list(some)
        for i in range(len(out) - 1, 0, -1):
            j = self.below(i + 1)
            out[i], out[j] = out[j], out[i]
        return out

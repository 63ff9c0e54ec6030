"""The minute: the unit of time in the sync protocol between the hub and its readers.

A clock is any callable that returns Unix seconds, so that tests can pass their own. The promises
about minutes (never backwards, no change acknowledged unseen) are proved in `store.changes`.
"""

from collections.abc import Callable

Clock = Callable[[], float]


def current_minute(clock: Clock) -> int:
    """Return the clock's minute: whole minutes since 1970 UTC, at least 1.

    Never 0: in a poll minute 0 means "everything", so a computer whose clock is not set is at
    minute 1.
    """
    return max(1, int(clock() // 60))

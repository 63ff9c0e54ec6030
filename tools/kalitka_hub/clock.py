"""The minute: the unit in which the hub and its readers speak about changes.

A clock is any callable that returns Unix seconds, so tests hand in their own. What is promised
about minutes beyond that (never backwards, no change acknowledged unseen) is in `changes`.
"""

from collections.abc import Callable

Clock = Callable[[], float]


def current_minute(clock: Clock) -> int:
    """Return the clock's minute: whole minutes since 1970 UTC, at least 1.

    Minute 0 means "everything" in a request, so a computer without a clock is in minute 1.
    """
    return max(1, int(clock() // 60))

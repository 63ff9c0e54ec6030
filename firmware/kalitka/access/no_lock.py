"""The refusal of every code, for a lock of which nobody knows how it is wired.

Takes the place of the anti-passback store; loaded in that case only.
"""

from kalitka.access import decision


class NoLock:
    """Refuses every code that the rules allow."""

    def claim(self, *_) -> int:
        """Return the reason for the refusal, NO_LOCK."""
        return decision.NO_LOCK

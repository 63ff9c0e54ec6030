"""The decision: who may pass now, and why or why not.

`judge` takes a code's rule set and a moment and gives a reason; several rules are alternatives,
and of several refusals the one is told that helps a person most. Pure; allocates nothing.
Source: protocol, "Rules".
"""

from kalitka.access import rules
from micropython import const

# The reasons. Up to ALLOWED they are what `rules.permits` says, in its order.
NO_RULE = rules.UNREADABLE
ALLOWED = rules.PERMITTED
UNKNOWN_CODE = const(7)
TABLE_DAMAGED = const(8)

# In words, by number.
WORDS = (
    "no rule understood",
    "never allowed",
    "clock not set",
    "no longer valid",
    "not yet valid",
    "outside its hours",
    "allowed",
    "unknown code",
    "table damaged",
)


def judge(
    buf: bytes | bytearray,
    at: int,
    end: int,
    unit_seconds: bool,
    minute: int,
    day_minute: int,
    weekday: int,
) -> int:
    """Return the reason for the rule set `buf[at:end]` at a moment; see `rules.permits`."""
    best = NO_RULE
    while at < end:
        verdict = rules.permits(buf, at, unit_seconds, minute, day_minute, weekday)
        if verdict == rules.PERMITTED:
            return ALLOWED
        if verdict > best:
            best = verdict
        try:
            at = rules.end_of(buf, at)
        except rules.RuleError:
            # Of a later firmware: what follows it cannot be found.
            return best
    return best

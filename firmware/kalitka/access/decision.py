"""The decision: whether a code may pass now, and for what reason.

A `Verdict` takes a code's rule set and a moment, and gives the reason, the rule that decided and,
if dates deny, the date. Rules are alternatives; if none allows, the most useful denial reason is
reported. Pure; a decision allocates nothing. VERDICTS.md explains each reason to technicians and
operators. Source: protocol, "Rules".
"""

from kalitka.access import rules
from kalitka.access.timezone import offset_if_twice
from micropython import const

# The reasons. Up to ALLOWED they are the results of `rules.evaluate`. Do not renumber: stored in
# flash and sent to servers.
NO_RULE = rules.UNREADABLE
ALLOWED = rules.PERMITTED
UNKNOWN_CODE = const(8)
TABLE_DAMAGED = const(9)
ALREADY_USED = const(10)
NOT_KEPT = const(11)
NO_LOCK = const(12)
NO_TABLE = const(13)

# In words, by number; the only place that has them.
REASONS = (
    "no rule understood",
    "never allowed",
    "no longer valid",
    "not yet valid",
    "outside its hours",
    "zone not set",
    "clock not set",
    "allowed",
    "unknown code",
    "table damaged",
    "already used",
    "passes cannot be kept",
    "lock not set up",
    "no table yet",
)


class Verdict:
    """The last decision. One object is made, and reused for every decision.

    reason: one of the reasons above.
    rule: the offset of the rule that gave the reason, -1 if none did.
    when: for "not yet valid" the first minute of that rule's dates, for "no longer valid" the
    last minute, both since 1970 UTC; otherwise 0. The hours of a RULE7 apply in addition.
    """

    def __init__(self):
        self.deny(NO_RULE)

    def deny(self, reason: int) -> None:
        """Deny for a reason that comes from no rule, such as UNKNOWN_CODE."""
        self.reason = reason
        self.rule = -1
        self.when = 0

    def decide(
        self,
        buf: bytes | bytearray,
        at: int,
        end: int,
        unit_seconds: bool,
        minute: int,
        day_minute: int,
        weekday: int,
    ) -> int:
        """Decide on the rule set `buf[at:end]` at a moment; return the reason.

        The other arguments are those of `rules.evaluate`. The first rule that permits decides. If
        none does, the rule with the highest reason decides; among equal reasons the one whose date
        is nearest to now, then the first.
        """
        self.deny(NO_RULE)
        while at < end and buf[at] in (1, 3, 7, 9):
            said = rules.evaluate(buf, at, unit_seconds, minute, day_minute, weekday)
            if said >= self.reason:
                when = rules.date_of(buf, at, said)
                if said > self.reason or abs(when - minute) < abs(self.when - minute):
                    self.reason = said
                    self.rule = at
                    self.when = when
            if said == ALLOWED:
                break
            at = rules.end_of(buf, at)
        # A rule of another kind is from a later firmware: the rule after it cannot be located.
        return self.reason


def date_text(minute: int, zone) -> str:
    """Return a minute since 1970 UTC as local date and time, such as `2026-12-01 08:00`.

    A time that the zone's clocks show twice has its offset: `2026-10-25 02:30+01:00`. zone: a
    timezone.Zone, which is updated to this minute; None for `2026-12-01 05:00 UTC`.
    """
    end = " UTC"
    if zone:
        end = offset_if_twice(minute, zone)
        minute += zone.offset
    # Years are counted from March: a leap day is the last day of its year, and of its period of
    # four and of four hundred years.
    days = minute // 1440 + 719468  # since 0000-03-01
    era = days // 146097
    days %= 146097
    year = (days - days // 1460 + days // 36524 - days // 146096) // 365
    days -= year * 365 + year // 4 - year // 100
    month = (days * 5 + 2) // 153  # 0 is March
    day = days - (month * 153 + 2) // 5 + 1
    year += era * 400 + month // 10
    minute %= 1440
    return "%04d-%02d-%02d %02d:%02d%s" % (
        year,
        (month + 2) % 12 + 1,
        day,
        minute // 60,
        minute % 60,
        end,
    )

"""The bound from which a client is answered, although its clock may be ahead of ours. Pure.

A client asks from its own clock just before the last answer that it took, cut to the second. If
its clock is right or behind, that date is no later than the time of the answer here: no change
since then is missed, and some are sent twice. If its clock is ahead, the changes made here in
between would never be sent.

So each date asked from is compared with the time of the previous answer to this client. A client
whose clock is ahead is ahead by much the same each time: three such differences within two seconds
of each other are believed, and from then on the client is answered from that much earlier. The
changes that it missed until then are sent with the third. Other dates, such as those of a person
with `curl`, are taken as they are.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from kalitka_hub.kormitel.dates import SECOND

AHEAD_MAX = 3600 * SECOND  # a clock that is ahead by more is not believed
LOOKED_BACK = 50  # past dates to look up, some of which give no difference
_ALIKE = 2 * SECOND
_BELIEVED = 3  # differences
_COUNTED = 10  # differences
_APART = 60 * SECOND  # between two answers: a client that asks sooner may be a person trying
_MARGIN = SECOND  # dates are cut to the second


class DateAsked(NamedTuple):
    """A date that a client asked from, and the time of its last answer; microseconds."""

    from_date: int
    at: int


class _Difference(NamedTuple):
    ahead: int
    after: int  # the time of the earlier of its two answers


def lower_bound(from_date: int, now: int, before: Sequence[DateAsked]) -> int:
    """Return the inclusive lower bound of the changes to send for `from_date`.

    now: the time of this answer. before: the client's earlier dates, oldest answer first. All in
    microseconds.
    """
    asked = [*(one for one in before if one.from_date != from_date), DateAsked(from_date, now)]
    found = _differences(asked)
    groups = (
        [other for other in found if 0 <= other.ahead - one.ahead <= _ALIKE] for one in found
    )
    believed = [group for group in groups if len(group) >= _BELIEVED]
    if not believed:
        return from_date
    # The largest difference: delays vary and the client's clock may have been set. Too early a
    # bound sends changes twice, too late a bound loses them.
    bound = from_date - max(one.ahead for one in found) - _MARGIN
    # With the third difference, what was missed until now is sent too.
    if max(map(len, believed)) == _BELIEVED and found[-1] in max(believed, key=len):
        return min(bound, _begin(asked, min(one.after for one in found)))
    return bound


def _begin(asked: Sequence[DateAsked], at: int) -> int:
    """Return the time of the first of the answers in quick succession up to the one at `at`.

    These answers give no difference, and may be the first that a clock ahead of ours asked for.
    """
    for one in reversed(asked):
        if 0 < at - one.at < _APART:
            at = one.at
    return at


def _differences(asked: Sequence[DateAsked]) -> list[_Difference]:
    found = [
        _Difference(this.from_date - last.at, last.at)
        for last, this in pairwise(asked)
        if this.at - last.at >= _APART
    ]
    return [one for one in found[-_COUNTED:] if 0 < one.ahead <= AHEAD_MAX]

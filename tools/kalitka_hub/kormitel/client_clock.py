"""How far a client's clock is ahead of this computer's, and so from when on to answer it. Pure.

What a client asks from is its own clock just before the last answer that it took, cut to the
second. If its clock is right or behind, that is no later than when it was answered here: nothing
that changed since is missed, some is told twice. If its clock is ahead, what changed here in
between would never be told.

So each date asked from is compared with when this client was last answered before. A client that
is ahead is so by much the same each time: three such differences within two seconds of each other
are believed, and from then on it is answered from so much earlier. What it was not told until then
it is told at the third. Other dates, such as those of a person with `curl`, are taken as they are.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from kalitka_hub.kormitel.dates import SECOND

AHEAD_MAX = 3600 * SECOND  # who is ahead by more is not believed
LOOKED_BACK = 50  # dates asked from, of which as many differences are counted as can be
_ALIKE = 2 * SECOND
_BELIEVED = 3  # differences
_COUNTED = 10  # differences
_APART = 60 * SECOND  # between two answers: who asks at once again may be somebody who tries
_MARGIN = SECOND  # the date is cut to it


class DateAsked(NamedTuple):
    """A date that a client asked from, and when it was last answered so; microseconds."""

    from_date: int
    at: int


class _Difference(NamedTuple):
    ahead: int
    after: int  # when the answer was that it is a difference from


def lower_bound(from_date: int, now: int, before: Sequence[DateAsked]) -> int:
    """Return from when on to tell changes to a client that asks from `from_date`, inclusive.

    now: of this answer. before: what it asked from until now, oldest answer first. All in
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
    # The way here takes longer at times, and the client's clock may have been set: too much is
    # told twice, too little never.
    bound = from_date - max(one.ahead for one in found) - _MARGIN
    if max(map(len, believed)) == _BELIEVED and found[-1] in max(believed, key=len):
        return min(bound, _begin(asked, min(one.after for one in found)))
    return bound


def _begin(asked: Sequence[DateAsked], at: int) -> int:
    """Return when the answers began that came shortly one after the other up to the one at `at`.

    They give no difference, and may have been the first to be asked for by a clock that is ahead.
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

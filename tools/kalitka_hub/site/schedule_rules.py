"""Translation of a schedule with holidays into the access rules of plain readers.

Readers know hours and dates (RULE1, 3, 7, 9) but no holidays. So the rules of a schedule are split
into ranges of dates around each exception (a local date on which it is closed or has other
hours), with a RULE7 for each range. Ranges cost a reader memory, so only exceptions within a
horizon are used, and the rules are recompiled every local day (`rule_compiler.refresh_horizon`).
The texts depend on the local date, not on the time of day.

Hours belong to the local date on which they begin: closing a date keeps hours that began the
evening before, and drops those that would run into the next morning. A window without hours
counts here as one from midnight to midnight of every date.

Pure: windows and dates in, texts out. A day is a number: local days since 1970-01-01.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from kalitka.access import rules
from kalitka.access.timezone import Zone

HORIZON_DAYS = 45  # how far ahead readers know holidays
FOREVER = 68_374_079  # the last minute of 2099 UTC: "no end" where a rule needs a date
MAX_OFFSET = 1500  # minutes; above every offset from UTC

_DAY = rules.DAY_MINUTES
_ALL_DAYS = 0x7F  # a mask; bit 0 is Monday
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday


class Window(NamedTuple):
    """A time window as in a rule: hours with a mask, dates, both, or neither (always).

    start, end: minutes of the local day, 0 to 1439, inclusive; start above end runs over
    midnight. mask: seven digits, Monday first. All three are set, or none. first, last: minutes
    since 1970 UTC, inclusive; None is without a bound.
    """

    start: int | None = None
    end: int | None = None
    mask: str | None = None
    first: int | None = None
    last: int | None = None


class Hours(NamedTuple):
    """Hours of one date: minutes of the local day, inclusive, as those of a Window."""

    start: int
    end: int


# By day: the hours that replace the schedule's on it; none if it is closed.
Exceptions = Mapping[int, Collection[Hours]]


class Span(NamedTuple):
    """A range of minutes since 1970 UTC, both inclusive; empty if first is above last."""

    first: int
    last: int


class _Stretch(NamedTuple):
    # A span within one local date, inclusive. A date has two if clocks are put back over midnight.
    day: int
    first: int
    last: int


def local_day(zone: Zone, minute: int) -> int:
    """Return the local day of a minute since 1970 UTC."""
    zone.update(minute)
    return (minute + zone.offset) // _DAY


def days_ahead(exceptions: Collection[int], today: int, days: int = HORIZON_DAYS) -> list[int]:
    """Return the days of `exceptions` that are in today's rules, in order.

    From yesterday, whose night may not be over, to `days` after today. Exceptions that precede or
    follow these without a gap are included: a week of holidays enters and leaves as one.
    """
    known = sorted(exceptions)
    begin = bisect_left(known, today - 1)
    end = bisect_left(known, today + days + 1)
    while 0 < begin < end and known[begin] == known[begin - 1] + 1:
        begin -= 1
    while begin < end < len(known) and known[end] == known[end - 1] + 1:
        end += 1
    return known[begin:end]


def merge_spans(spans: Sequence[Span]) -> list[Span]:
    """Return the spans in order, overlapping and adjacent ones merged, empty ones left out."""
    found: list[Span] = []
    for span in sorted(span for span in spans if span.first <= span.last):
        if found and span.first <= found[-1].last + 1:
            found[-1] = Span(found[-1].first, max(found[-1].last, span.last))
        else:
            found.append(span)
    return found


def rule_texts(
    windows: Sequence[Window],
    exceptions: Exceptions,
    first: int | None,
    last: int | None,
    zone: Zone,
    now: int,
    days: int = HORIZON_DAYS,
) -> tuple[str, ...]:
    """Return the rule texts of a granted schedule from today on, in order, each once.

    first, last: the bounds of the grant in minutes since 1970 UTC, inclusive; None is without a
    bound. now: any minute of today. days: the horizon, see `days_ahead`. Times that ended before
    today give no text. The hours of an exception ignore the masks of the windows, but hold only
    within the dates of a window.
    """
    today = local_day(zone, now)
    near = {day: exceptions[day] for day in days_ahead(exceptions, today, days)}
    stretches = _day_stretches(zone, [today, *near])
    today_at = min(stretch.first for stretch in stretches if stretch.day == today)
    spans = [_span(window, first, last) for window in windows]
    texts: set[str] = set()
    for window, span in zip(windows, spans, strict=True):
        for part, piece in _pieces(window, near, stretches):
            texts.update(_rule_text(part, _cut(piece, span), span, today_at))
    for span in merge_spans(spans):
        for hours, days_of, reach in _other_hours(near, stretches):
            for piece in reach:
                part = _Part(hours.start, hours.end, days_of)
                texts.update(_rule_text(part, _cut(piece, span), None, today_at))
    return ("9_1",) if "9_1" in texts else tuple(sorted(texts))


class _Part(NamedTuple):
    # The part of a window in force: hours (None: all day) on the weekdays of a mask, bit 0 Monday.
    start: int | None
    end: int | None
    mask: int


def _span(window: Window, first: int | None, last: int | None) -> Span:
    firsts = [bound for bound in (window.first, first) if bound is not None]
    lasts = [bound for bound in (window.last, last) if bound is not None]
    return Span(max(firsts, default=0), min(lasts, default=FOREVER))


def _cut(piece: Span, span: Span) -> Span:
    return Span(max(piece.first, span.first), min(piece.last, span.last))


def _rule_text(part: _Part, piece: Span, span: Span | None, today_at: int) -> Iterator[str]:
    """Yield the rule text of a part within a piece of time; none if the piece ended before today.

    span: the bounds of the whole window without exceptions. A piece that has begun is extended
    back to the beginning of its span: times before today do not matter, and so the text stays the
    same from day to day and is not sent to readers again.
    """
    if piece.last < max(piece.first, today_at) or not part.mask:
        return
    first = piece.first
    if span and first <= today_at:
        first = span.first
    endless = first == 0 and piece.last >= FOREVER
    if part.start is None:
        yield "9_1" if endless else f"1_{first}_{piece.last}"
        return
    mask = "".join("1" if part.mask >> weekday & 1 else "0" for weekday in range(7))
    hours = f"{part.start}_{part.end}_{mask}"
    yield f"3_{hours}" if endless else f"7_{hours}_{first}_{piece.last}"


def _pieces(
    window: Window, exceptions: Exceptions, stretches: Sequence[_Stretch]
) -> Iterator[tuple[_Part, Span]]:
    """Yield the parts of a window in force, each with its span, from minute 0 to FOREVER."""
    start, end = window.start, window.end
    if start is None or end is None or window.mask is None:
        whole = _Part(None, None, _ALL_DAYS)
        evening = morning = None
    else:
        whole = _Part(start, end, int(window.mask[::-1], 2))
        evening = morning = None
        if start > end:
            evening = _Part(start, _DAY - 1, whole.mask)
            morning = _Part(0, end, (whole.mask << 1 | whole.mask >> 6) & _ALL_DAYS)
    # An exception on a day without hours of this window closes nothing.
    shut = {day for day in exceptions if whole.mask >> _weekday(day) & 1}

    def held(day: int) -> _Part | None:
        begins = day not in shut
        if morning is None:
            return whole if begins else None
        if day - 1 not in shut:
            return whole if begins else morning
        return evening if begins else None

    part: _Part | None = whole
    since = 0
    for stretch in stretches:
        here = held(stretch.day)
        if here != part:
            if part:
                yield part, Span(since, stretch.first - 1)
            part, since = here, stretch.first
    if part != whole:
        if part:
            yield part, Span(since, stretches[-1].last)
        since = stretches[-1].last + 1
    yield whole, Span(since, FOREVER)


def _other_hours(
    exceptions: Exceptions, stretches: Sequence[_Stretch]
) -> Iterator[tuple[Hours, int, list[Span]]]:
    """Yield the hours of exceptions, each with the mask and the spans of its days.

    Consecutive days with the same hours share one rule.
    """
    for hours in sorted({hours for day in exceptions for hours in exceptions[day]}):
        left = [day for day in exceptions if hours in exceptions[day]]
        while left:
            # At most six days: with seven the mask would include the weekday before the first, and
            # so the hours of that evening, which may run over midnight into the first day.
            run = [left.pop(0)]
            while left and left[0] == run[-1] + 1 and len(run) < 6:
                run.append(left.pop(0))
            mask = sum(1 << _weekday(day) for day in run)
            end = run[-1] + (hours.start > hours.end)
            yield hours, mask, _spans_of(stretches, run[0], end)


def _spans_of(stretches: Sequence[_Stretch], first: int, last: int) -> list[Span]:
    spans = [Span(at, end) for day, at, end in stretches if first <= day <= last]
    return merge_spans(spans)


def _weekday(day: int) -> int:
    return (day + _EPOCH_WEEKDAY) % 7


def _day_stretches(zone: Zone, days: Collection[int]) -> list[_Stretch]:
    """Return the stretches of these days and of those between and beside them, in order."""
    stretches: list[_Stretch] = []
    minute = (min(days) - 1) * _DAY - MAX_OFFSET
    behind = (max(days) + 3) * _DAY + MAX_OFFSET
    while minute < behind:
        day = local_day(zone, minute)
        end = _end_of_offset(zone, minute, (day + 1) * _DAY - zone.offset)
        if stretches and stretches[-1].day == day:
            minute = stretches.pop().first
        stretches.append(_Stretch(day, minute, end - 1))
        minute = end
    return stretches


def _end_of_offset(zone: Zone, minute: int, end: int) -> int:
    """Return the first minute before `end` with another UTC offset than `minute`, or `end`.

    `end` is at most a day away. The binary search relies on this: no zone undoes a clock change
    within a day.
    """
    zone.update(minute)
    offset = zone.offset

    def differs(at: int) -> bool:
        zone.update(at)
        return zone.offset != offset

    if not differs(end - 1):
        return end
    return minute + bisect_left(range(minute, end), True, key=differs)

"""Rules from schedules with holidays, against an oracle that walks the minutes with zoneinfo."""

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalitka.access import decision, packing
from kalitka.access.timezone import Zone
from kalitka_hub.site.schedule_rules import HORIZON_DAYS, Hours, Window, days_ahead, rule_texts
from kalitka_hub.site.zone import posix_of

EXAMPLES = 80 if os.environ.get("KALITKA_EVERY_EXAMPLE") else 32

ZONES = (
    "Europe/Moscow",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
)
# A zone whose clocks are put back over midnight, so that a local date comes twice.
OVER_MIDNIGHT = "<-04>4<-03>,M3.2.0/0:01,M11.1.0/0:01"
EPOCH = date(1970, 1, 1)
# Dates around a clock change in each of the zones, and around New Year.
STARTS = tuple(
    date.fromisoformat(text)
    for text in (
        *("2026-11-22", "2026-12-30", "2026-10-29", "2027-03-11", "2027-03-26"),
        *("2027-04-01", "2027-09-30", "2027-11-04"),
    )
)


def day_of(when: date) -> int:
    return (when - EPOCH).days


def minute_of(when: str, zone: str = "Europe/Moscow") -> int:
    local = datetime.fromisoformat(when).replace(tzinfo=ZoneInfo(zone))
    return int(local.timestamp()) // 60


class Moment:
    """A minute since 1970 UTC, its local day, and its minute of that day."""

    __slots__ = ("at", "day", "minute")

    def __init__(self, at: int, zone: ZoneInfo) -> None:
        local = datetime.fromtimestamp(at * 60, zone)
        self.at = at
        self.day = day_of(local.date())
        self.minute = local.hour * 60 + local.minute

    @property
    def weekday(self) -> int:
        return (EPOCH + timedelta(days=self.day)).weekday()


@lru_cache(maxsize=64)
def moments(zone: str, now: int, days: int) -> list[Moment]:
    """Return the minutes from `now` to the end of the horizon's last local day."""
    place = ZoneInfo(zone)
    found = [Moment(now, place)]
    while found[-1].day <= found[0].day + days:
        found.append(Moment(found[-1].at + 1, place))
    return found[:-1]


def is_open(
    moment: Moment,
    windows: Sequence[Window],
    exceptions: Mapping[int, Sequence[Hours]],
    first: int | None,
    last: int | None,
) -> bool:
    """Return whether the schedule is open, as a person would read it from a wall calendar."""

    def within(since: int | None, until: int | None) -> bool:
        return (since is None or since <= moment.at) and (until is None or moment.at <= until)

    dated = [window for window in windows if within(window.first, window.last)]
    if not within(first, last) or not dated:
        return False
    for begun in (moment.day, moment.day - 1):
        minute = moment.minute + 1440 * (moment.day - begun)
        weekday = (EPOCH + timedelta(days=begun)).weekday()
        if begun in exceptions:
            hours = list(exceptions[begun])
        else:
            hours = [
                Hours(0, 1439) if window.start is None else Hours(window.start, window.end)
                for window in dated
                if window.mask is None or window.mask[weekday] == "1"
            ]
        for start, end in hours:
            if start <= minute <= (end if start <= end else end + 1440):
                return True
    return False


def judged(texts: Sequence[str], zone: Zone, when: Sequence[Moment]) -> Iterator[bool]:
    """Yield a reader's verdicts by these rules."""
    rule_set = b""
    for text in texts:
        rule_set = packing.insert(rule_set, packing.pack(text.encode()))
    verdict = decision.Verdict()
    for moment in when:
        zone.update(moment.at)
        local = zone.day_minute, zone.weekday
        said = verdict.decide(rule_set, 0, len(rule_set), False, moment.at, *local)
        yield said == decision.ALLOWED


times = st.integers(0, 1439)
hours = st.one_of(
    st.sampled_from([Hours(480, 1080), Hours(1320, 360), Hours(1080, 119), Hours(0, 1439)]),
    st.builds(Hours, times, times),
)
masks = st.one_of(st.sampled_from(["1111100", "1111111"]), st.text("01", min_size=7, max_size=7))


@st.composite
def cases(draw: st.DrawFn, longest: int):
    zone = draw(st.sampled_from(ZONES))
    today = day_of(draw(st.sampled_from(STARTS)))
    now = today * 1440 + draw(times)
    days = draw(st.integers(0, longest))
    # Minutes around midnight, give or take a clock change, and any others.
    edges = [(today + day) * 1440 - 180 for day in range(-1, longest + 2)]
    any_minute = st.integers(edges[0], edges[-1])
    # Few bounds: with many, hardly any window would ever be open.
    a_bound = st.one_of(st.sampled_from(edges), any_minute)
    bound = st.integers(0, 5).flatmap(lambda one: st.none() if one else a_bound)
    windows = []
    for _ in range(draw(st.integers(1, 3))):
        window = Window(*draw(hours), draw(masks)) if draw(st.integers(0, 4)) else Window()
        windows.append(window._replace(first=draw(bound), last=draw(bound)))
    some_hours = st.lists(hours, min_size=1, max_size=2)
    other = st.one_of(st.none(), st.just(()), st.just(tuple(draw(some_hours))), some_hours)
    near = range(today - 3, today + longest + 4)
    exceptions = {day: draw(other) for day in near if draw(st.booleans())}
    exceptions = {day: held for day, held in exceptions.items() if held is not None}
    return zone, windows, exceptions, draw(bound), draw(bound), now, days


def check(zone, windows, exceptions, first, last, now, days) -> None:
    place = Zone(posix_of(zone, datetime.fromtimestamp(now * 60, UTC)))
    texts = rule_texts(windows, exceptions, first, last, place, now, days)
    when = moments(zone, now, days)
    for moment, allowed in zip(when, judged(texts, place, when), strict=True):
        expected = is_open(moment, windows, exceptions, first, last)
        assert allowed == expected, (moment.at, moment.day, moment.minute, texts)


@settings(max_examples=EXAMPLES, deadline=None)
@given(cases(4))
def test_readers_open_in_exactly_the_minutes_of_the_schedule(case):
    check(*case)


@settings(max_examples=1, deadline=None)
@given(cases(HORIZON_DAYS))
def test_the_same_to_the_end_of_the_whole_horizon(case):
    *rest, _ = case
    check(*rest, HORIZON_DAYS)


@settings(max_examples=EXAMPLES, deadline=None)
@given(cases(4), st.integers(0, 1439))
def test_the_texts_are_those_of_the_date_and_not_of_the_time(case, later):
    zone, windows, exceptions, first, last, now, days = case
    place = Zone(posix_of(zone, datetime.fromtimestamp(now * 60, UTC)))
    when = moments(zone, now, 0)
    then = when[later % len(when)].at
    before = rule_texts(windows, exceptions, first, last, place, now, days)
    assert rule_texts(windows, exceptions, first, last, place, then, days) == before


WORK = Window(480, 1080, "1111100")
MOSCOW = Zone("MSK-3")
NOW = minute_of("2026-11-22T09:47")  # a Sunday


@pytest.mark.parametrize("closed", range(-2, 8))
@pytest.mark.parametrize("mask", ["1111111", "1010110", "0000001"])
def test_a_closed_day_takes_its_night_and_leaves_the_one_before(mask, closed):
    today = day_of(date(2026, 11, 22))
    exceptions: dict[int, tuple[Hours, ...]] = {today + closed: (), today + closed + 2: ()}
    midnight = minute_of("2026-11-22T00:00")  # hours of yesterday evening are not over yet
    check("Europe/Moscow", [Window(1320, 360, mask)], exceptions, None, None, midnight, 9)


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("Europe/Berlin", "2027-03-28"),
        ("Europe/Berlin", "2026-10-25"),
        ("America/New_York", "2027-03-14"),
        ("America/New_York", "2026-11-01"),
        ("Australia/Lord_Howe", "2027-04-04"),
        ("Australia/Lord_Howe", "2027-10-03"),
    ],
)
@pytest.mark.parametrize("closed", [-1, 0, 1])
def test_a_closed_day_is_as_long_as_the_clock_says(zone, change, closed):
    day = day_of(date.fromisoformat(change))
    windows = [Window(), Window(1320, 360, "1111111")]
    for window in windows:
        check(zone, [window], {day + closed: ()}, None, None, (day - 3) * 1440, 6)


@pytest.mark.parametrize("shift", [WORK, Window(1320, 360, "1010110"), Window()])
def test_a_fortnight_of_nights_has_each_of_them_and_no_other(shift):
    first = day_of(date(2026, 11, 24))
    nights = dict.fromkeys(range(first, first + 14), (Hours(1320, 360),))
    check("Europe/Moscow", [shift], nights, None, None, NOW, 18)


@pytest.mark.parametrize(
    ("window", "text"),
    [
        (Window(), "9_1"),
        (WORK, "3_480_1080_1111100"),
        (Window(1320, 360, "0000100"), "3_1320_360_0000100"),
        (Window(first=NOW, last=NOW + 9), f"1_{NOW}_{NOW + 9}"),
        (WORK._replace(first=NOW, last=NOW + 9), f"7_480_1080_1111100_{NOW}_{NOW + 9}"),
        (WORK._replace(last=NOW + 9), f"7_480_1080_1111100_0_{NOW + 9}"),
        (WORK._replace(first=NOW + 1), f"7_480_1080_1111100_{NOW + 1}_68374079"),
    ],
)
def test_without_holidays_a_window_is_one_rule(window, text):
    assert rule_texts([window], {}, None, None, MOSCOW, NOW) == (text,)


def test_what_is_over_gives_no_rule_from_the_next_day_on():
    window = Window(first=NOW - 2000, last=NOW - 100)
    assert rule_texts([window], {}, None, None, MOSCOW, NOW) == (f"1_{NOW - 2000}_{NOW - 100}",)
    assert rule_texts([window], {}, None, None, MOSCOW, NOW + 1440) == ()


def test_a_closed_day_splits_the_dates_around_it():
    friday = day_of(date(2026, 11, 27))
    begin = minute_of("2026-11-27T00:00")
    expected = {
        f"7_480_1080_1111100_0_{begin - 1}",
        f"7_480_1080_1111100_{begin + 1440}_68374079",
    }
    assert set(rule_texts([WORK], {friday: ()}, None, None, MOSCOW, NOW)) == expected


def test_a_closed_day_that_is_none_of_the_schedule_splits_nothing():
    saturday = day_of(date(2026, 11, 28))
    assert rule_texts([WORK], {saturday: ()}, None, None, MOSCOW, NOW) == ("3_480_1080_1111100",)


def test_a_week_of_holidays_changes_the_rules_three_times_however_long_it_is():
    start = date(2026, 1, 1)
    exceptions = dict.fromkeys(range(day_of(start), day_of(start) + 10), ())
    zone = Zone("MSK-3")
    seen = []
    for day in range(-60, 30):
        now = minute_of("2026-01-01T12:00") + day * 1440
        texts = rule_texts([Window(480, 1080, "1111111")], exceptions, None, None, zone, now)
        if not seen or seen[-1] != texts:
            seen.append(texts)
    assert [len(texts) for texts in seen] == [1, 2, 1, 1]


def test_days_with_the_same_hours_are_one_rule():
    days = range(day_of(date(2026, 12, 7)), day_of(date(2026, 12, 12)))
    exceptions = dict.fromkeys(days, (Hours(600, 900),))
    texts = rule_texts([WORK], exceptions, None, None, MOSCOW, NOW)
    first = minute_of("2026-12-07T00:00")
    assert f"7_600_900_1111100_{first}_{first + 5 * 1440 - 1}" in texts
    assert len(texts) == 3


def test_a_run_of_days_beyond_the_horizon_comes_as_one():
    assert days_ahead([8, 9, 55, 56, 57, 59], 10) == [8, 9, 55, 56, 57]
    assert days_ahead([8], 10) == []
    assert days_ahead([56], 10) == []


def test_where_a_date_comes_twice_both_of_it_are_closed():
    # On 1 November 2026 at 00:01 the clocks are put back to 23:01 on 31 October.
    zone = Zone(OVER_MIDNIGHT)
    now = day_of(date(2026, 10, 30)) * 1440 + 720
    closed = day_of(date(2026, 10, 31))
    texts = rule_texts([Window()], {closed: ()}, None, None, zone, now)
    when = [Moment(now + i, ZoneInfo("UTC")) for i in range(3 * 1440)]
    for moment, allowed in zip(when, judged(texts, zone, when), strict=True):
        zone.update(moment.at)
        assert allowed == ((moment.at + zone.offset) // 1440 != closed)
    assert len(texts) == 3

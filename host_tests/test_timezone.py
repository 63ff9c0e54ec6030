"""Local time against other people's: tzdata through zoneinfo, the C library, a walk through days.

In both runtimes, and the names of zones that the tools take. zoneinfo is wrong about `n` (a day
early, CPython 3.11) and about `J59` in leap years, and it and the C library look at the
rules of one year in UTC only: they are asked where that makes no difference.
"""

import calendar
import os
import random
import re
import shutil
import struct
import sys
import time
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.resources import files
from io import BytesIO
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import micropython_peer
from device.case_timezone import FORMS, LAST_MINUTE
from kalitka.access.timezone import Zone, ZoneError
from kalitka_build.paths import FIRMWARE
from kalitka_hub.site import zone as zones
from kalitka_hub.site import zone_signs
from kalitka_sim import wasm_board
from micropython_peer import TESTS, examples
from small_integers import Small

YEARS = range(2024, 2038)
# A beginning, a leap year at a century's turn that is none, and what zones know by rule alone.
FAR_YEARS = (1970, 1972, 2000, 2038, 2088, 2096, 2099, 2100, 2101, 2104)
NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture(scope="module", params=micropython_peer.RUNTIMES)
def runtime(request):
    yield from micropython_peer.open_runtime(request.param, "timezone_oracle")


# Times are minutes since 1970 UTC.


def minute_of(year, month=1, day=1):
    return (date(year, month, day) - date(1970, 1, 1)).days * 1440


def moment_of(minute):
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)


def week_minute(minute, zone):
    """Return the local minute of the week, from Monday 0:00, as zoneinfo says it."""
    local = moment_of(minute).astimezone(zone)
    return local.weekday() * 1440 + local.hour * 60 + local.minute


def zone_of_rule(text):
    """Return a ZoneInfo that has nothing but a POSIX TZ string: a TZif file without times."""
    head = b"TZif3" + bytes(15) + struct.pack(">6L", 0, 0, 0, 0, 1, 4)
    data = head + struct.pack(">lBB", 0, 0, 0) + b"UTC\0"
    return ZoneInfo.from_file(BytesIO(data + data + b"\n" + text.encode() + b"\n"))


def changes(zone, years):
    """Return the minutes of a ZoneInfo's transitions in some years, looked for week by week."""

    def offset(minute):
        return moment_of(minute).astimezone(zone).utcoffset()

    found = []
    for year in years:
        low = minute_of(year)
        for high in range(low + 10080, minute_of(year + 1) + 10080, 10080):
            if offset(low) != offset(high):
                found.append(_first(offset, low, high))
            low = high
    return found


def _first(offset, low, high):
    before = offset(low)
    while high - low > 1:
        middle = (low + high) // 2
        if offset(middle) == before:
            low = middle
        else:
            high = middle
    return high


def about(found, years, seed):
    """Return minutes worth asking for: those about transitions, and a random one a month."""
    chance = random.Random(seed)
    asked = {minute + step for minute in found for step in (-1, 0, 1)}
    for year in years:
        first = minute_of(year)
        asked.update(first + chance.randrange(525_600) for _ in range(12))
    return sorted(minute for minute in asked if minute >= 0)


@cache
def tzif_files():
    """Return {contents of a TZif file: the first name it has}."""
    folder = files("tzdata").joinpath("zoneinfo")
    by_data = {}
    for name in zones.names():
        by_data.setdefault(folder.joinpath(*name.split("/")).read_bytes(), name)
    return by_data


def minutes_of(data):
    """Return the minutes of the transitions that a TZif file lists."""
    return [-(-second // 60) for second in zones.transitions(data)]


@cache
def changes_of_rule(text):
    """Return the minutes of the transitions that a POSIX TZ string gives YEARS and FAR_YEARS."""
    return changes(zone_of_rule(text), (*YEARS, *FAR_YEARS))


@cache
def expected_of_rules():
    """Return {POSIX TZ string: (minutes, local minutes of the week)} of all zones."""
    expected = {}
    for data in tzif_files():
        text = data.split(b"\n")[-2].decode()
        if text not in expected:
            zone = zone_of_rule(text)
            years = (*YEARS, *FAR_YEARS)
            minutes = about(changes_of_rule(text), years, text)
            expected[text] = minutes, [week_minute(minute, zone) for minute in minutes]
    return expected


@cache
def expected_of_zones():
    """Return {name: (string, minutes, weeks, minutes in which the zone keeps another time)}."""
    expected = {}
    for data, name in tzif_files().items():
        text = data.split(b"\n")[-2].decode()
        zone = ZoneInfo.from_file(BytesIO(data))
        rule = zone_of_rule(text)
        minutes, weeks, others = [], [], []
        found = set(changes_of_rule(text)).union(minutes_of(data))
        years = (*YEARS, 2088)
        for minute in about((at for at in found if moment_of(at).year in years), years, name):
            week = week_minute(minute, zone)
            if week == week_minute(minute, rule):
                minutes.append(minute)
                weeks.append(week)
            else:
                others.append(minute)
        expected[name] = text, minutes, weeks, others
    return expected


def test_every_string_of_tzdata_means_what_zoneinfo_says(runtime):
    count = 0
    for text, (minutes, weeks) in expected_of_rules().items():
        runtime.check("check_local", text, minutes, weeks)
        count += len(minutes)
    print(f"# {len(expected_of_rules())} strings, {count} minutes")
    assert count > 25_000 and len(expected_of_rules()) > 80


def test_every_zone_of_tzdata_has_its_time_where_its_string_holds(runtime):
    count = others = 0
    for text, minutes, weeks, elsewhere in expected_of_zones().values():
        runtime.check("check_local", text, minutes, weeks)
        count += len(minutes)
        others += len(elsewhere)
    print(f"# {len(expected_of_zones())} zones, {count} minutes and {others} others")
    assert count > 50_000 and others < count / 20


# A rule is ("M", month, week, weekday), ("J", day) or ("", day), and its seconds of the day.


@cache
def day_of(form, year):
    """Return the day since 1970 of a rule in a year, found by going through the calendar."""
    if form[0] == "M":
        _, month, week, weekday = form
        length = calendar.monthrange(year, month)[1]
        month_days = [date(year, month, day) for day in range(1, length + 1)]
        such = [day for day in month_days if day.isoweekday() % 7 == weekday]
        day = such[-1] if week == 5 else such[week - 1]
    else:
        day = date(year, 1, 1)
        count = form[1] - (form[0] == "J")
        while count:
            day += timedelta(1)
            if form[0] == "" or (day.month, day.day) != (2, 29):
                count -= 1
    return (day - date(1970, 1, 1)).days


class Walked:
    """A zone with two rules, that looks through all transitions of some years about one."""

    def __init__(self, west, daylight_west, start, end):
        self.west = west
        self.daylight_west = daylight_west
        self._start = start
        self._end = end

    def starts(self, year, span=4):
        """Return the seconds since 1970 of the starts about a year."""
        return self._times(self._start, self.west, year, span)

    def ends(self, year, span=4):
        """Return the seconds since 1970 of the ends about a year."""
        return self._times(self._end, self.daylight_west, year, span)

    def _times(self, rule, west, year, span):
        form, seconds = rule
        years = range(year - span, year + span + 1)
        return [day_of(form, y) * 86400 + seconds + west for y in years]

    def week_minute(self, minute, year):
        """Return the local minute of the week, as the rules mean it."""
        second = minute * 60
        ends = self.ends(year)
        daylight = any(
            start <= second < next(end for end in ends[i:] if end > start)
            for i, start in enumerate(self.starts(year)[:-2])
        )
        local = second - (self.daylight_west if daylight else self.west)
        return (local // 60 + 3 * 1440) % 10080

    def keeps_to_its_years(self, year):
        """Tell whether each year about this one has its two transitions in the same order."""
        orders = set()
        both = zip(self.starts(year, 2), self.ends(year, 2), strict=True)
        for at, (start, end) in enumerate(both):
            first = minute_of(year - 2 + at) * 60
            last = minute_of(year - 1 + at) * 60
            if not (first <= start < last and first <= end < last):
                return False
            orders.add((start > end) - (start < end))
        return len(orders) == 1 and 0 not in orders


def clock_text(seconds):
    hours, rest = divmod(abs(seconds), 3600)
    text = f"{hours}"
    if rest:
        text += f":{rest // 60:02}"
    if rest % 60:
        text += f":{rest % 60:02}"
    return "-" + text if seconds < 0 else text


def rule_text(form, seconds):
    return f"{form[0]}{'.'.join(map(str, form[1:]))}" + (
        "" if seconds == 7200 else f"/{clock_text(seconds)}"
    )


names = st.one_of(st.text("ABCxyz", min_size=3, max_size=6), st.just("<+03>"), st.just("<-0A>"))
wests = st.one_of(
    st.integers(-14, 12).map(lambda hours: hours * 3600),
    st.integers(-1499, 1499).map(lambda minutes: minutes * 60),
    st.integers(-89999, 89999),
)
day_times = st.one_of(
    st.just(7200),
    st.integers(0, 24).map(lambda hours: hours * 3600),
    st.integers(-167, 167).map(lambda hours: hours * 3600),
    st.integers(-604_799, 604_799),
)
forms = st.one_of(
    st.tuples(st.just("M"), st.integers(1, 12), st.integers(1, 5), st.integers(0, 6)),
    st.tuples(st.just("J"), st.one_of(st.integers(1, 365), st.sampled_from([1, 59, 60, 365]))),
    st.tuples(st.just(""), st.one_of(st.integers(0, 365), st.sampled_from([0, 58, 59, 60, 365]))),
)
years = st.one_of(
    st.integers(1973, 2200),
    st.sampled_from([1971, 2000, 2023, 2024, 2025, 2028, 2096, 2099, 2100, 2101, 2400, 3997]),
)


@st.composite
def ruled(draw):
    """A POSIX TZ string with rules, and what it means."""
    west = draw(wests)
    daylight_west = draw(st.one_of(st.just(west - 3600), wests))
    start = draw(forms), draw(day_times)
    end = draw(forms), draw(day_times)
    # To stay for ever: the end meets the start of the next year, or passes it.
    if draw(st.integers(0, 9)) == 0:
        start = ("J", 1), 0
        end = ("J", 365), 86400 + west - daylight_west + draw(st.sampled_from([0, 3600]))
    text = draw(names) + clock_text(west) + draw(names)
    if daylight_west != west - 3600:
        text += clock_text(daylight_west)
    return f"{text},{rule_text(*start)},{rule_text(*end)}", Walked(west, daylight_west, start, end)


def worth_asking(walked, year, seed):
    """Return minutes about the transitions and the New Years, and random ones."""
    times = walked.starts(year, 1) + walked.ends(year, 1)
    found = [-(-second // 60) for second in times] + [minute_of(year), minute_of(year + 1)]
    asked = about(found, (year,), seed)
    return [m for m in asked if minute_of(year - 1) <= m < minute_of(year + 2)]


def apart(walked, year):
    """Tell whether no start and end are in one minute without being one moment."""
    times = set(walked.starts(year) + walked.ends(year))
    return len(times) == len({-(-second // 60) for second in times})


def test_any_rules_mean_what_a_walk_through_the_calendar_says(runtime):
    count = 0

    @examples(runtime, 2)
    @given(ruled(), years)
    def holds(zone, year):
        nonlocal count
        text, walked = zone
        assume(apart(walked, year))
        minutes = worth_asking(walked, year, text)
        weeks = [walked.week_minute(minute, year) for minute in minutes]
        runtime.check("check_local", text, minutes, weeks)
        count += len(minutes)

    holds()
    print(f"# {count} minutes of random strings by the calendar")


@pytest.fixture
def local_zone():
    """A function that sets the process's own zone; it is set back."""
    before = os.environ.get("TZ")

    def choose(text):
        if text is None:
            os.environ.pop("TZ", None)
        else:
            os.environ["TZ"] = text
        time.tzset()

    yield choose
    choose(before)


def c_week_minute(minute):
    local = time.localtime(minute * 60)
    return local.tm_wday * 1440 + local.tm_hour * 60 + local.tm_min


def zoneinfo_knows(walked, text):
    """Tell whether zoneinfo takes the string and is right about it."""
    if max(abs(walked.west), abs(walked.daylight_west)) >= 86400:
        return False
    if re.search("/-?[0-9]{3}", text) and sys.version_info < (3, 11, 4):
        return False  # refused there
    return all(rule[0] == "M" or (rule[0] == "J" and rule[:3] != "J59") for rule in _rules(text))


def _rules(text):
    return text.split(",")[1:]


def test_any_rules_mean_what_the_c_library_and_zoneinfo_say(local_zone):
    runtime = micropython_peer.InProcess("timezone_oracle")
    count = by_zoneinfo = 0

    @examples(runtime, 5)
    @given(ruled(), years)
    def holds(zone, year):
        nonlocal count, by_zoneinfo
        text, walked = zone
        assume(apart(walked, year) and walked.keeps_to_its_years(year))
        minutes = worth_asking(walked, year, text)
        local_zone(text)
        runtime.check("check_local", text, minutes, [c_week_minute(m) for m in minutes])
        count += len(minutes)
        if zoneinfo_knows(walked, text):
            rule = zone_of_rule(text)
            runtime.check("check_local", text, minutes, [week_minute(m, rule) for m in minutes])
            by_zoneinfo += len(minutes)

    holds()
    print(f"# {count} minutes by the C library, {by_zoneinfo} by zoneinfo")
    assert count > 10_000 and by_zoneinfo > 2_000


@st.composite
def spoiled(draw):
    """A good string with one letter taken out, put in or replaced, or some text."""
    text = draw(st.one_of(st.sampled_from(FORMS), ruled().map(lambda zone: zone[0])))
    where = draw(st.integers(0, len(text)))
    letter = draw(st.sampled_from(["", *"0159:,./+-<>MJAé \n\x00"]))
    return text[:where] + letter + text[where + draw(st.integers(0, 1)) :]


def test_both_runtimes_refuse_the_same_with_a_position_inside_the_text():
    peer = micropython_peer.MicropythonProcess("timezone_oracle")

    @examples(peer, 6)
    @given(st.one_of(spoiled(), st.text(max_size=12)))
    def holds(text):
        fault = None
        try:
            Zone(text)
        except ZoneError as e:
            fault = str(e)
            position = int(fault.split()[1].rstrip(":"))
            assert 1 <= position <= len(text) + 1
        peer.check("check_text", text, fault)

    holds()
    peer.close()


def test_no_number_outgrows_31_bits_on_the_way():
    with pytest.raises(AssertionError):
        Small(2**29) + 2**29
    with pytest.raises(AssertionError):
        2 * Small(2**29)
    for text in FORMS:
        zone = Zone(text)
        for year in range(1970, 4000, 19):
            for month in range(1, 13, 3):
                zone.update(Small(minute_of(year, month)))
        zone.update(Small(LAST_MINUTE))
        assert isinstance(zone.day_minute, Small) and isinstance(zone.weekday, Small)


def test_cases_pass_on_32_bits_where_telling_the_time_allocates_nothing_either(tmp_path):
    wasm_board.put_sources(FIRMWARE, tmp_path / "lib")
    shutil.copytree(TESTS / "device", tmp_path / "device")
    arguments = ["device/run_cases.py", "case_timezone"]
    (tmp_path / "run.py").write_text("import device.run_cases")
    outcome = wasm_board.run(["run.py", *arguments[1:]], tmp_path, heap="900M")
    lines = outcome.output.splitlines()
    assert "ok test_telling_the_time_allocates_nothing" in lines, outcome.output
    assert all(line.startswith("ok test_") for line in lines), outcome.output


def test_a_zones_name_becomes_the_string_of_its_present_time():
    for name, text in (
        ("Europe/Moscow", "MSK-3"),
        ("Europe/Dublin", "IST-1GMT0,M10.5.0,M3.5.0/1"),
        ("Asia/Kathmandu", "<+0545>-5:45"),
        ("America/New_York", "EST5EDT,M3.2.0,M11.1.0"),
        ("Europe/Kiev", "EET-2EEST,M3.5.0/3,M10.5.0/4"),
        ("Etc/GMT+5", "<-05>5"),
        ("UTC", "UTC0"),
    ):
        assert zones.posix_of(name, NOW) == zones.posix_or_iana(name) == text


def test_a_posix_string_is_taken_as_it_is():
    for text in FORMS:
        # Signs that mislead have tests of their own: test_zone_signs.py.
        if not zone_signs.advice(text):
            assert zones.posix_or_iana(text) == text
    assert [text for text in FORMS if zone_signs.advice(text)] == [
        *("GMT-5:45", "LMT+1:02:03", "XXX3EDT4,0/0,J365/23", "AAA12BBB,0/2,365/2"),
        "AAA-24:59:59BBB24,365/167,0/-167",
    ]


def test_what_is_both_a_name_and_a_string_means_the_same_as_either():
    both = []
    for name in zones.names():
        try:
            Zone(name)
        except ZoneError:
            continue
        both.append(name)
        one, other = Zone(name), Zone(zones.posix_of(name, NOW))
        for minute in range(minute_of(2026), minute_of(2028), 907):
            one.update(minute)
            other.update(minute)
            assert one.offset == other.offset, name
    assert "EST5EDT" in both and "GMT0" in both


def test_a_wrong_name_is_refused_with_the_nearest_ones():
    for text, meant in (
        ("Europe/Moskow", "Europe/Moscow"),
        ("europe/moscow", "Europe/Moscow"),
        ("Moscow", "Europe/Moscow"),
        ("new york", "America/New_York"),
        ("Etc/GMT+55", "Etc/GMT+5"),
    ):
        with pytest.raises(zones.UnknownZone, match="did you mean") as fault:
            zones.posix_or_iana(text)
        assert meant in str(fault.value)
    for text in ("", "Qqqqq", "../zones", "Europe", "/etc/localtime"):
        with pytest.raises(zones.UnknownZone, match="there is no such zone"):
            zones.posix_or_iana(text)


def test_a_wrong_string_is_refused_as_the_reader_refuses_it():
    for text, position in (("GMT-25", 5), ("EET-2EEST,M3.5.0/3,M13.5.0/4", 21), ("MSX 3", 4)):
        with pytest.raises(ZoneError, match=f"position {position}:"):
            zones.posix_or_iana(text)


def test_a_zone_whose_string_is_wrong_for_now_is_refused_with_the_day_it_holds_from():
    # Gaza's Ramadan, to 2086; and Moscow, where it was an hour later until 26 October 2014.
    with pytest.raises(zones.UnknownZone, match=r"before 2086-.* EET-2EEST,M3\.4\.4/50"):
        zones.posix_of("Asia/Gaza", NOW)
    with pytest.raises(zones.UnknownZone, match="before 2014-10-25"):
        zones.posix_of("Europe/Moscow", datetime(2013, 1, 1, tzinfo=UTC))
    assert zones.posix_of("Europe/Moscow", datetime(2014, 10, 26, tzinfo=UTC)) == "MSK-3"


def test_a_name_is_refused_exactly_where_its_zone_keeps_another_time_than_its_string():
    start = datetime(YEARS[0], 1, 1, tzinfo=UTC)
    for name, (_, _, _, others) in expected_of_zones().items():
        if others:
            with pytest.raises(zones.UnknownZone):
                zones.posix_of(name, start)
        else:
            zones.posix_of(name, start)

"""POSIX TZ strings: valid and invalid ones, and the local time that they mean."""

import sys

from device.raising import error_of
from device.timezone_oracle import check_local
from kalitka.access.timezone import Zone, ZoneError

MONDAY = 29_923_200  # 2026-11-23 00:00 UTC, in minutes since 1970
YEAR_2026 = 29_453_760
YEAR_2028 = YEAR_2026 + 2 * 525_600
LAST_MINUTE = 1_067_676_479  # of the year 3999; soon after it minutes exceed a small int

# One of each form that the real server was seen to send, and of the other forms of POSIX.
FORMS = (
    "UTC0",
    "MSK-3",
    "<+03>-3",
    "GMT-5:45",
    "LMT+1:02:03",
    "NST3:30NDT",
    "EET-2EEST,M3.5.0/3,M10.4.0/4",
    "EST5EDT,M3.2.0,M11.1.0",
    "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
    "IST-1GMT0,M10.5.0,M3.5.0/1",
    "CST5CDT,M3.2.0/0,M11.1.0/1",
    "<-06>6<-05>,M9.1.6/22,M4.1.6/22",
    "EET-2EEST,M4.5.5/0,M10.5.4/24",
    "EET-2EEST,M3.4.4/50,M10.4.4/50",
    "<-02>2<-01>,M3.5.0/-1,M10.5.0/0",
    "XXX3EDT4,0/0,J365/23",
    "AAA-1BBB,J59,J300/-167",
    "AAA-1BBB,J60/+1:02:03,J300/167:59:59",
    "AAA12BBB,0/2,365/2",
    "AAA-24:59:59BBB24,365/167,0/-167",
)


def offset_of(text, minute):
    """Return the offset of a zone (minutes east of UTC) at a minute since 1970 UTC."""
    zone = Zone(text)
    zone.update(minute)
    return zone.offset


def changes_of(text, year_start, days=365):
    """Return [(minute of the year in UTC, offset from then on)] of a year, hour by hour."""
    zone = Zone(text)
    zone.update(year_start - 1)
    changes = []
    for minute in range(0, days * 1440, 60):
        offset = zone.offset
        zone.update(year_start + minute)
        if zone.offset != offset:
            changes.append((minute, zone.offset))
    return changes


def at(day_of_year, hour):
    """Return the minute of the year (UTC) at an hour of a day; the first day is 0."""
    return (day_of_year * 24 + hour) * 60


def test_a_zone_knows_its_text_and_no_time_before_it_is_told():
    zone = Zone("MSK-3")
    assert (zone.text, zone.offset, zone.day_minute) == ("MSK-3", 180, -1)


def test_a_fixed_offset_counts_west_of_greenwich():
    for text, offset in (
        ("UTC0", 0),
        ("MSK-3", 180),
        ("EST5", -300),
        ("EST+5", -300),
        ("EST05", -300),
        ("GMT-5:45", 345),
        ("GMT-05:45:00", 345),
        ("<+0530>-5:30", 330),
        ("<-0930>9:30", -570),
        ("<+14>-14", 840),
        ("abcDEFghi-1", 60),
        ("AAA-24:59", 1499),
        ("AAA24:59", -1499),
    ):
        zone = Zone(text)
        assert zone.offset == offset, text
        zone.update(MONDAY)
        assert (zone.offset, zone.day_minute) == (offset, offset % 1440), text


def test_day_and_weekday_are_those_of_the_place():
    zone = Zone("MSK-3")
    for minute, weekday, day_minute in (
        (MONDAY + 390, 0, 570),
        (MONDAY - 181, 6, 1439),
        (MONDAY - 180, 0, 0),
        (MONDAY + 1259, 0, 1439),
        (MONDAY + 1260, 1, 0),
        (0, 3, 180),
    ):
        zone.update(minute)
        assert (zone.weekday, zone.day_minute) == (weekday, day_minute), minute
    zone = Zone("EST5")
    zone.update(0)  # 1969-12-31 19:00
    assert (zone.weekday, zone.day_minute) == (2, 1140)


def test_seconds_of_an_offset_are_rounded_down():
    for text, offset in (
        ("LMT0:00:01", -1),
        ("LMT0:00:59", -1),
        ("LMT-0:00:59", 0),
        ("LMT-0:01:00", 1),
        ("LMT-0:01:59", 1),
        ("LMT1:02:03", -63),
    ):
        assert offset_of(text, MONDAY) == offset, text


def test_a_change_with_seconds_holds_from_the_first_minute_behind_it():
    # The change is on 1 March 2026 at 01:00:01 UTC.
    for text in ("AAA-1BBB,J60/2:00:01,J300", "AAA-0:59:59BBB-2,J60/2,J300"):
        march = YEAR_2026 + at(59, 1)
        assert offset_of(text, march) < 61 and offset_of(text, march + 1) == 120, text


def test_daylight_saving_time_comes_and_goes_at_the_minute():
    # The changes are on 29 March and 25 October 2026 at 01:00 UTC.
    for text in ("EET-2EEST,M3.5.0/3,M10.5.0/4", "EET-2EEST-3,M3.5.0/3:00:00,M10.4.0/04:00"):
        spring = YEAR_2026 + at(87, 1)
        autumn = YEAR_2026 + at(297, 1)
        for minute, offset in (
            (spring - 1, 120),
            (spring, 180),
            (autumn - 1, 180),
            (autumn, 120),
        ):
            assert offset_of(text, minute) == offset, (text, minute)
    zone = Zone("EET-2EEST,M3.5.0/3,M10.5.0/4")
    zone.update(autumn - 1)
    assert (zone.weekday, zone.day_minute) == (6, 239)
    zone.update(autumn)
    assert (zone.weekday, zone.day_minute) == (6, 180)


def test_the_last_and_the_fourth_weekday_differ_in_a_month_of_five():
    text = "EET-2EEST,M3.5.0/3,M%d.%d.0/4"
    october = ((297, 297), (303, 296), (302, 295))  # the last and fourth Sunday, 2026, 2027, 2028
    for year, (last, fourth) in enumerate(october):
        start = YEAR_2026 + year * 525_600
        assert changes_of(text % (10, 5), start, 366)[1] == (at(last, 1), 120), year
        assert changes_of(text % (10, 4), start, 366)[1] == (at(fourth, 1), 120), year


def test_names_without_rules_have_those_of_the_usa():
    for text in ("EST5EDT", "EST5EDT4", "<EST>5<EDT>", "EST5EDT,M3.2.0,M11.1.0"):
        assert changes_of(text, YEAR_2026) == [(at(66, 7), -240), (at(304, 6), -300)], text
    ruled = changes_of("NST3:30NDT,M3.2.0,M11.1.0", YEAR_2026)
    assert changes_of("NST3:30NDT", YEAR_2026) == ruled and len(ruled) == 2


def test_south_of_the_equator_it_lasts_over_the_new_year():
    text = "AEST-10AEDT,M10.1.0,M4.1.0/3"
    assert changes_of(text, YEAR_2026) == [(at(93, 16), 600), (at(275, 16), 660)]
    assert offset_of(text, YEAR_2026 - 1) == offset_of(text, YEAR_2026) == 660


def test_it_may_be_winter_time_that_is_the_exception():
    text = "IST-1GMT0,M10.5.0,M3.5.0/1"
    assert changes_of(text, YEAR_2026) == [(at(87, 1), 60), (at(297, 1), 0)]


def test_an_offset_of_its_own_need_not_be_an_hour_more():
    text = "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0"
    assert [offset for _, offset in changes_of(text, YEAR_2026)] == [630, 660]


def test_days_with_j_never_count_29_february():
    for n, common, leap in ((1, 0, 0), (59, 58, 58), (60, 59, 60), (365, 364, 365)):
        text = "AAA0BBB-1,J%d/0,J200/1" % n
        assert (at(common, 0), 60) in changes_of(text, YEAR_2026), n
        assert (at(leap, 0), 60) in changes_of(text, YEAR_2028, 366), n


def test_days_without_j_count_from_0_and_count_29_february():
    for n in (0, 1, 58, 59, 60, 364):
        text = "AAA0BBB-1,%d/0,200/1" % n
        for start in (YEAR_2026, YEAR_2028):
            assert (at(n, 0), 60) in changes_of(text, start, 366), n
    # In a common year the 366th day is the next New Year's Day.
    assert (at(365, 5), 0) in changes_of("AAA0BBB-1,100/0,365/6", YEAR_2028, 366)
    assert (at(0, 5), 0) in changes_of("AAA0BBB-1,100/0,365/6", YEAR_2028)


def test_a_time_may_lie_days_before_or_behind_its_day():
    spring = at(87, 0)  # the last Sunday of March 2026
    for time, hour in (("-1", -1), ("-167", -167), ("24", 24), ("25", 25), ("+167", 167)):
        text = "AAA0BBB,M3.5.0/%s,M10.5.0" % time
        assert (spring + hour * 60, 60) in changes_of(text, YEAR_2026), time
    # Changes in another year than their day: 31 December 2025 and 6 January 2026.
    assert (at(364, 20), 60) in changes_of("AAA0BBB,0/-4,J200", YEAR_2026 - 525_600)
    assert offset_of("AAA0BBB,0/-4,J200", YEAR_2026) == 60
    assert offset_of("AAA0BBB,0/-4,J200", 525_600 - 240) == 60  # at the end of 1970
    assert (at(5, 22), 0) in changes_of("AAA0BBB,J200,J365/167", YEAR_2026)


def test_daylight_saving_time_for_ever_has_no_gap():
    for text in ("XXX3EDT4,0/0,J365/23", "EST5EDT,0/0,J365/25", "EST5EDT,0/0,J365/26"):
        for start in (YEAR_2026, YEAR_2028, YEAR_2028 + 366 * 1440):
            assert changes_of(text, start, 366) == [], text
        assert offset_of(text, YEAR_2026) == -240, text
    # Likewise an end at the moment of the start in the same year.
    assert offset_of("AAA0BBB,J100/1,J100/2", MONDAY) == 60


def test_centuries_are_leap_years_only_every_fourth_time():
    # 1 March 2000, 2100 and 2400, in days since 1970.
    for day in (11017, 47541, 157114):
        for text in ("AAA0BBB,J60/0,J300", "AAA0BBB,M3.1.%d/0,J300" % ((day + 4) % 7)):
            assert offset_of(text, day * 1440 - 1) == 0, (text, day)
            assert offset_of(text, day * 1440) == 60, (text, day)


def test_time_may_go_backwards():
    told = [MONDAY, YEAR_2026, YEAR_2028, MONDAY + 300_000, 0, 68_374_080, MONDAY - 1]
    for text in FORMS:
        week = []
        for minute in told:
            fresh = Zone(text)
            fresh.update(minute)
            week.append(fresh.weekday * 1440 + fresh.day_minute)
        check_local(text, told, week)


def test_a_wrong_zone_is_refused_with_the_position_and_the_reason():
    name = "position %d: a zone's name has three letters or more"
    hours = "position %d: hours expected, 0 to 24"
    times = "position %d: hours expected, 0 to 167"
    minutes = "position %d: minutes expected, 0 to 59"
    seconds = "position %d: seconds expected, 0 to 59"
    month = "position %d: month expected, 1 to 12"
    week = "position %d: week expected, 1 to 5"
    weekday = "position %d: weekday expected, 0 to 6"
    julian = "position %d: day expected, 1 to 365"
    day = "position %d: Mm.w.d, Jn or a day expected, 0 to 365"
    comma = "position %d: , expected"
    dot = "position %d: . expected"
    end = "position %d: the zone should end here"
    for text, fault, position in (
        ("", name, 1),
        ("\n", name, 1),
        (":MSK-3", name, 1),
        (" MSK-3", name, 1),
        ("3", name, 1),
        ("MS-3", name, 3),
        ("Europe/Moscow", hours, 7),
        ("\u041c\u0421\u041a-3", name, 1),
        ("MS\u041aA-3", name, 3),
        ("<+3>-3", name, 4),
        ("<>0", name, 2),
        ("<+03-3", "position %d: > expected", 7),
        ("<+0 3>-3", name, 4),
        ("<+03:30>-3", "position %d: > expected", 5),
        ("<+0\n3>0", name, 4),
        ("MSK", hours, 4),
        ("MSK-", hours, 5),
        ("MSK--3", hours, 5),
        ("MSK+-3", hours, 5),
        ("MSK 3", hours, 4),
        ("MSK-25", hours, 5),
        ("MSK-100000000000000000000", hours, 5),
        ("MSK-\u0663", hours, 5),
        ("MSK-\u00b2", hours, 5),
        ("MSK-3:", minutes, 7),
        ("MSK-3:60", minutes, 7),
        ("MSK-3:-1", minutes, 7),
        ("MSK-3:00:", seconds, 10),
        ("MSK-3:00:60", seconds, 10),
        ("MSK-3:00:00:00", name, 12),
        ("MSK-3 ", name, 6),
        ("MSK-3\n", end, 6),
        ("MSK-3\nEST", end, 6),
        ("MSK-3.5", name, 6),
        ("MSK-3,M3.5.0,M10.5.0", name, 6),
        ("MSK-3MS", name, 8),
        ("EST5EDT25", hours, 8),
        ("EST5EDT4:99", minutes, 10),
        ("EST5EDT4x", comma, 9),
        ("EST5EDT ", hours, 8),
        ("EST5EDT,", day, 9),
        ("EST5EDT\n", comma, 8),
        ("EST5EDT,M3.2.0", comma, 15),
        ("EST5EDT,M3.2.0,", day, 16),
        ("EST5EDT,M3.2.0;M11.1.0", comma, 15),
        ("EST5EDT,M3.2.0,M11.1.0,", end, 23),
        ("EST5EDT,M3.2.0,M11.1.0 ", end, 23),
        ("EST5EDT,M3.2.0,M11.1.0\n", end, 23),
        ("EST5EDT,M3.2.0,M11.1.0/2,3", end, 25),
        ("EST5EDT,M0.2.0,M11.1.0", month, 10),
        ("EST5EDT,M13.2.0,M11.1.0", month, 10),
        ("EST5EDT,M3,M11.1.0", dot, 11),
        ("EST5EDT,M3.0.0,M11.1.0", week, 12),
        ("EST5EDT,M3.6.0,M11.1.0", week, 12),
        ("EST5EDT,M3.2,M11.1.0", dot, 13),
        ("EST5EDT,M3.2.7,M11.1.0", weekday, 14),
        ("EST5EDT,M3.2.0,M11.1.", weekday, 22),
        ("EST5EDT,m3.2.0,M11.1.0", day, 9),
        ("EST5EDT,J0,J300", julian, 10),
        ("EST5EDT,J366,J300", julian, 10),
        ("EST5EDT,J,J300", julian, 10),
        ("EST5EDT,366,J300", day, 9),
        ("EST5EDT,-1,J300", day, 9),
        ("EST5EDT,J60/,J300", times, 13),
        ("EST5EDT,J60/168,J300", times, 13),
        ("EST5EDT,J60/-168,J300", times, 14),
        ("EST5EDT,J60/2:60,J300", minutes, 15),
        ("EST5EDT,J60/2:00:99,J300", seconds, 18),
        ("EST5EDT,J60/2 ,J300", comma, 14),
    ):
        expected = fault % position
        assert error_of(ZoneError, Zone, text) == expected, (text, expected)


def test_a_number_may_have_any_count_of_digits():
    assert changes_of("EST005EDT,M03.002.00/02:0:0,M11.1.0", YEAR_2026) == changes_of(
        "EST5EDT", YEAR_2026
    )


if sys.implementation.name == "micropython":
    import micropython

    def _tell_locked(zone, minute):
        micropython.heap_lock()
        try:
            zone.update(minute)
        finally:
            micropython.heap_unlock()

    def test_telling_the_time_allocates_nothing():
        # With 31-bit small ints this also shows that no integer exceeds them.
        for text in FORMS:
            zone = Zone(text)
            for minute in (0, MONDAY, YEAR_2028 - 1, YEAR_2028, 68_374_080, LAST_MINUTE):
                for _ in range(2):
                    _tell_locked(zone, minute)
            for minute in range(YEAR_2026, YEAR_2026 + 525_600 * 3, 10_007):
                _tell_locked(zone, minute)

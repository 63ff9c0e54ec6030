"""The canteen's rules: codes and windows of a badge, against an oracle that uses zoneinfo."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalitka.access import packing
from kalitka.access.timezone import Zone
from kalitka.table.rule_sets import RULE_SET_MAX
from kalitka_hub.kormitel.badge_rules import (
    Meal,
    badge_codes,
    badge_name,
    canonical_code,
    fed_windows,
    never_fed_reason,
    no_code_reason,
    not_counted_reason,
    rule_texts,
)
from kalitka_hub.site.schedule_rules import FOREVER, Span
from kalitka_hub.site.zone import posix_of

KEY = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
DIGITS = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
MOSCOW = Zone("MSK-3")
EXAMPLE = Span(29919120, 29923439)  # from kormitel.md: 2026-11-20 to 2026-11-22 in Moscow
NOW = 29921459
BREAKFAST, NIGHT = Meal("Breakfast", 480, 600), Meal("Night", 1380, 120, night=True)


def an_arrival(first="2026-11-20", last="2026-11-22", status: str | None = "ARRIVED") -> dict:
    dates = {"arrival_date": first, "departure_date": last}
    return dates if status is None else {"status": status, **dates}


def texts_for(windows, meals=(), feed=None, now=NOW) -> tuple[str, ...]:
    return rule_texts(windows, feed, meals, now, MOSCOW).texts


# Codes


@pytest.mark.parametrize("printed", [KEY, DIGITS])
def test_a_uuid_counts_without_dashes_and_is_told_with_them_too(printed):
    assert badge_codes(KEY, {}) == (DIGITS, KEY)
    assert badge_codes("7", {"qr": printed}) == (DIGITS, KEY)


def test_the_last_known_qr_counts_before_the_id():
    assert badge_codes(KEY, {"qr": "AB-12 "}) == ("AB12", "AB-12")
    assert badge_codes(KEY, {"qr": "AB,12"}) == ("AB12",)  # no reader takes a comma
    assert badge_codes(KEY, {"qr": 4711}) == ("4711",)


@pytest.mark.parametrize("empty", [None, "", " - "])
def test_fact_7_without_letters_and_digits_in_the_qr_nothing_opens(empty):
    assert badge_codes(KEY, {"qr": empty}) == ()
    assert "its qr was cleared" in no_code_reason({"qr": empty})
    assert "its qr was cleared" not in no_code_reason({"qr": "a" * 256})


def test_an_id_that_is_no_uuid():
    assert badge_codes("17", {}) == ("17",)
    assert badge_codes("--", {}) == ()


def test_letters_are_those_of_ascii():
    assert canonical_code("Ж1é²a") == "1a"


def test_a_code_longer_than_a_reader_takes_is_none():
    assert badge_codes(KEY, {"qr": "a" * 255}) == ("a" * 255,)
    assert badge_codes(KEY, {"qr": "a" * 256}) == ()


def test_capitals_are_not_those_of_a_printed_uuid():
    assert badge_codes("7", {"qr": KEY.upper()}) == (DIGITS.upper(), KEY.upper())


def test_a_badge_is_called_by_its_name_else_its_owners_else_its_id():
    names = {"first_name": "Anna", "last_name": "Ivanova"}
    assert badge_name(KEY, names | {"name": "Anya"}) == "Anya"
    assert badge_name(KEY, names | {"name": " "}) == "Anna Ivanova"
    assert badge_name(KEY, {"first_name": None, "name": "\n"}) == KEY


# Windows


@pytest.mark.parametrize("feed", ["FREE", "CHILD", None])
def test_an_arrival_feeds_from_seven_to_seven(feed):
    assert fed_windows({"feed": feed}, [an_arrival()], [], MOSCOW) == [EXAMPLE]
    assert fed_windows({}, [an_arrival()], [an_arrival("2026-12-01")], MOSCOW) == [EXAMPLE]


@pytest.mark.parametrize(
    ("status", "eats"),
    [
        *((status, True) for status in ("ARRIVED", "STARTED", "JOINED")),
        *((status, False) for status in ("PLANNED", "CANCELLED", "PENDING", "CONFIRMED")),
        *((status, False) for status in ("SKIPPED", "LEFT", "COMPLETE", None, "arrived")),
    ],
)
def test_only_who_is_there_eats(status, eats):
    arrival = an_arrival(status=status)
    assert bool(fed_windows({}, [arrival], [], MOSCOW)) is eats
    assert (not_counted_reason(arrival, paid=False) is None) is eats


@pytest.mark.parametrize("closed", [{"feed": "NO"}, {"is_blocked": True}, {"feed": "LATER"}])
def test_who_is_blocked_or_not_fed_has_no_window(closed):
    assert fed_windows(closed, [an_arrival()], [an_arrival()], MOSCOW) == []
    assert never_fed_reason(closed)


def test_of_who_pays_only_paid_arrivals_count():
    paid = {"feed": "PAID"}
    assert fed_windows(paid, [an_arrival()], [], MOSCOW) == []
    assert fed_windows(paid, [], [an_arrival(status=None)], MOSCOW) == [EXAMPLE]
    assert fed_windows(paid, [], [an_arrival()], MOSCOW) == [EXAMPLE]
    assert fed_windows(paid, [], [an_arrival(status="LEFT")], MOSCOW) == []


@pytest.mark.parametrize(
    "dates",
    [
        ("2026-11-22", "2026-11-21"),
        ("2026-11-22", "2026-11-01"),
        (None, "2026-11-22"),
        ("2026-11-22", ["2026-11-23"]),
        ("2026-06-31", "2026-07-02"),
        ("2026-11-20T08:00", "2026-11-22"),
        ("1950-01-01", "1969-12-01"),
        ("2101-01-01", "2150-01-01"),
    ],
)
def test_dates_that_are_no_time(dates):
    assert fed_windows({}, [an_arrival(*dates)], [], MOSCOW) == []


def test_a_departure_beyond_all_time_is_its_end():
    found = fed_windows({}, [an_arrival("2026-11-20", "9999-12-31")], [], MOSCOW)
    assert found == [Span(EXAMPLE.first, FOREVER)]


def test_what_overlaps_or_meets_is_merged():
    parts = [an_arrival("2026-11-21"), an_arrival("2026-11-20", "2026-11-20")]
    assert fed_windows({}, parts, [], MOSCOW) == [EXAMPLE]
    apart = [an_arrival("2026-11-25", "2026-11-25"), an_arrival()]
    assert [span.first for span in fed_windows({}, apart, [], MOSCOW)] == [
        EXAMPLE.first,
        EXAMPLE.first + 5 * 1440,
    ]


_DATES = st.dates(date(2026, 3, 20), date(2026, 4, 10)).map(str)
_ZONES = ("Europe/Moscow", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(_DATES, _DATES), max_size=3), st.sampled_from(_ZONES))
def test_the_windows_are_those_of_a_walk_by_the_local_clock(stays, name):
    found = fed_windows({}, [an_arrival(*stay) for stay in stays], [], Zone(posix_of(name)))
    place = ZoneInfo(name)
    at = datetime(2026, 3, 17, tzinfo=UTC)
    for _ in range(28 * 24 * 2):
        day = str((at.astimezone(place) - timedelta(hours=7)).date())
        fed = any(first <= day <= last for first, last in stays)
        minute = int(at.timestamp()) // 60
        assert any(first <= minute <= last for first, last in found) is fed, at
        at += timedelta(minutes=30)


def test_where_the_clocks_skip_seven_the_day_begins_behind_it():
    skipping = Zone("AAA0BBB,M11.3.5/6:30,M12.1.0/3")  # Friday, 2026-11-20, 06:30 becomes 07:30
    window = fed_windows({}, [an_arrival("2026-11-20", "2026-11-20")], [], skipping)
    half_past_six = int(datetime(2026, 11, 20, 6, 30, tzinfo=UTC).timestamp()) // 60
    assert window == [Span(half_past_six, half_past_six + 1440 - 31)]


# Texts


def test_without_meals_a_window_is_a_rule_of_its_dates():
    assert texts_for([EXAMPLE]) == ("1_29919120_29923439",)


def test_a_meal_is_its_hours_within_the_window_on_all_weekdays():
    assert texts_for([EXAMPLE], [BREAKFAST, NIGHT], "FREE") == (
        "7_480_600_1111111_29919120_29923439",
        "7_1380_120_1111111_29919120_29923439",
    )


def test_a_night_meal_is_not_for_who_pays():
    assert texts_for([EXAMPLE], [BREAKFAST, NIGHT], "PAID") == (
        "7_480_600_1111111_29919120_29923439",
    )
    assert texts_for([EXAMPLE], [NIGHT], "PAID") == ()


def test_what_was_over_before_today_is_left_out():
    midnight = (NOW + 180) // 1440 * 1440 - 180
    assert texts_for([Span(0, midnight - 1)]) == ()
    assert texts_for([Span(0, midnight)]) == (f"1_0_{midnight}",)
    assert texts_for([EXAMPLE], now=EXAMPLE.last + 17 * 60) == ("1_29919120_29923439",)
    assert texts_for([EXAMPLE], now=EXAMPLE.last + 17 * 60 + 1) == ()


@pytest.mark.parametrize("meals", [(), (BREAKFAST, NIGHT)])
def test_the_nearest_windows_come_first_and_the_others_as_those_are_over(meals):
    windows = [Span(NOW + day * 2880, NOW + day * 2880 + 1439) for day in range(150)]
    first = rule_texts(windows, None, meals, NOW, MOSCOW)
    size = sum(len(packing.pack(text.encode())) for text in first.texts)
    per_window = max(1, len(meals))
    assert RULE_SET_MAX - 16 * per_window < size <= RULE_SET_MAX
    assert first.omitted == 150 - len(first.texts) // per_window > 0
    assert first.texts[0].endswith(f"_{windows[0].first}_{windows[0].last}")
    later = rule_texts(windows, None, meals, NOW + 20 * 2880, MOSCOW)
    assert (later.omitted, later.texts[:1]) == (
        first.omitted - 20,
        first.texts[20 * per_window : 20 * per_window + 1],
    )

"""`kalitka explain`: rules in words, and the verdict at a time with its reason."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from device.rules_oracle import open_minutes
from kalitka.access import packing
from kalitka.access.timezone import Zone
from kalitka_cli import explain
from kalitka_cli.main import app
from kalitka_hub.site.local_time import minutes_of_local

UTC0 = Zone("UTC0")
MONDAY_0930 = "2026-11-23 09:30"
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def run(*arguments):
    """Run the command; return its result. It never ends in an exception."""
    done = CliRunner().invoke(app, ["explain", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def told(*arguments, status):
    """Return stdout of a run that must end with this status."""
    done = run(*arguments)
    assert done.exit_code == status, done.output
    return done.stdout


def refused(*arguments):
    """Return stderr of a run with invalid input."""
    done = run(*arguments)
    assert done.exit_code == 2 and not done.stdout, done.output
    return done.stderr


def words_of(text, seconds=False, zone=UTC0):
    return explain.describe_rule(packing.pack(text.encode()), seconds, zone)


def test_every_kind_is_said_in_words():
    for text, words in (
        (
            "1_29923200_29933279",
            "from 2026-11-23 00:00 to 2026-11-29 23:59, both minutes included",
        ),
        (
            "3_480_1200_1111100",
            "on Monday to Friday from 08:00 to 20:00, both minutes included",
        ),
        (
            "7_480_720_1010100_29923200_29933279",
            "on Monday, Wednesday and Friday from 08:00 to 12:00, both minutes included; and only "
            "from 2026-11-23 00:00 to 2026-11-29 23:59, both minutes included",
        ),
        ("9_1", "always, even while the clock is not set"),
        ("9_0", "never"),
        (
            "3_1320_360_0000011",
            "on Saturday and Sunday from 22:00 over midnight to 06:00 of the next day, both "
            "minutes included; the mask names the day on which it begins",
        ),
        ("3_0_1439_1111111", "every day, all day"),
        ("3_0_1440_1111100", "on Monday to Friday, all day"),
        ("3_7_7_0000001", "on Sunday from 00:07 to 00:07, both minutes included"),
        ("3_480_1200_0000000", "never: the mask names no day"),
        ("3_1440_1440_1111111", "never: no day has a minute 24:00"),
        ("7_480_1200_0000000_1_2", "never: the mask names no day"),
        ("3_36000_78200_1110101", "never: 78200 is not a day time in minutes (0 to 1440)"),
    ):
        assert words_of(text) == words


def test_seconds_are_told_with_the_minutes_that_they_touch():
    assert words_of("3_36000_78200_1110101", True) == (
        "on Monday to Wednesday, Friday and Sunday from 10:00 to 21:43, both minutes included "
        "(10:00:00 to 21:43:20, and every minute that this touches)"
    )
    assert words_of("3_28800_72000_1111111", True) == (
        "every day from 08:00 to 20:00, both minutes included"
    )
    assert words_of("3_0_86399_1111111", True) == "every day, all day"


def test_dates_are_local_each_in_the_offset_that_holds_then():
    berlin = Zone("CET-1CEST,M3.5.0,M10.5.0/3")
    first, last = (
        datetime(2026, 6, 30, 21, 59, tzinfo=UTC),
        datetime(2026, 12, 31, 22, 59, tzinfo=UTC),
    )
    rule = f"1_{first.timestamp() // 60:.0f}_{last.timestamp() // 60:.0f}"
    assert words_of(rule, zone=berlin) == (
        "from 2026-06-30 23:59 to 2026-12-31 23:59, both minutes included"
    )
    assert "from 20983-" in words_of("1_9999999999_9999999999", zone=berlin)


def days_of(words):
    """Return the numbers of the days that the words name."""
    if words.startswith("every day"):
        return set(range(7))
    days = set()
    for name in re.split(r", (?=\w+day)| and (?=\w+day)", words):
        first, *last = (DAYS.index(day) for day in re.findall(r"\w+day", name))
        days.update(range(first, last[0] + 1) if last else [first])
    return days


def minutes_in(words):
    """Return the minutes of the week that the words name, from Monday 0:00 on."""
    if words.startswith("never"):
        return set()
    match = re.fullmatch(
        r"(?:on )?(.*day)(?:, all day| from (\d\d):(\d\d)( over midnight)? to (\d\d):(\d\d)"
        r"( of the next day)?, both minutes included.*)",
        words,
    )
    assert match, words
    assert bool(match[4]) == bool(match[7])
    first, last = 0, 1439
    if match[2]:
        first, last = (int(match[i]) * 60 + int(match[i + 1]) for i in (2, 5))
    last += 1440 if match[4] else 0
    return {
        (day * 1440 + minute) % 10080
        for day in days_of(match[1])
        for minute in range(first, last + 1)
    }


masks = st.integers(0, 127).map("{:07b}".format)


@settings(max_examples=150, derandomize=True, database=None, deadline=None)
@given(st.integers(0, 86400), st.integers(0, 86400), masks, st.booleans())
@example(0, 1440, "1111111", False)
@example(1440, 360, "1000000", False)
@example(1440, 1439, "0000001", False)
@example(86400, 86399, "1000000", True)
@example(100, 90, "1000000", True)
@example(86400, 86400, "1000000", True)
def test_hours_in_words_are_those_of_a_walk_through_the_week(start, end, mask, seconds):
    if not seconds and max(start, end) > 1440:
        start, end = start // 60, end // 60
    week = open_minutes(start, end, mask, seconds)
    assert week is not None
    words = words_of(f"3_{start}_{end}_{mask}", seconds)
    assert minutes_in(words) == {minute for minute, one in enumerate(week) if one}, words


def test_a_rule_that_permits_ends_with_0_and_is_named():
    said = told("3_480_1200_1111100", "9_0", "--at", MONDAY_0930, status=0)
    assert "Mon 2026-11-23 09:30 (UTC): allowed, by 3_480_1200_1111100" in said
    assert "time zone: UTC; give --tz for another zone" in said


def test_a_refusal_ends_with_1_and_says_why():
    for rule, words in (
        ("3_480_560_1111100", "outside its hours"),
        ("9_0", "never allowed"),
        ("1_29930000_29940000", "not yet valid, from 2026-11-27 20:20"),
        ("7_480_1200_1111111_1_29923000", "no longer valid, until 2026-11-22 23:40"),
    ):
        said = told(rule, "--at", MONDAY_0930, "--tz", "MSK-3", status=1)
        assert f"Mon {MONDAY_0930} (UTC+03:00): denied: {words}\n" in said


def test_of_several_each_is_told():
    said = told("9_0", "1_29930000_29940000", "1_1_2", "--at", MONDAY_0930, status=1)
    assert "denied: not yet valid, from 2026-11-27 17:20\n" in said
    assert "  9_0: never allowed\n" in said
    assert "  1_1_2: no longer valid, until 1970-01-01 00:02\n" in said


def test_a_rule_may_come_as_the_seed_and_as_a_whole_line_write_it():
    plain = told("3_480_1200_1111100", "--at", MONDAY_0930, status=0)
    for text in ("/3_480_1200_1111100", "04A1B2C3_/3_480_1200_1111100"):
        assert told(text, "--at", MONDAY_0930, status=0) == plain
    said = told("A_/9_0", "A_/9_1", "--at", MONDAY_0930, status=0)
    assert "allowed, by 9_1" in said


def test_the_unit_is_found_as_a_reader_finds_it_or_set():
    both = ("3_36000_78200_1111111", "3_0_1200_1111111", "--at", "2026-11-23 00:20")
    said = told(*both, status=0)
    assert "allowed, by 3_0_1200_1111111" in said and "as seconds" in said
    assert "unless a rule of the whole table" in told(both[1], *both[2:], status=0)
    assert told(both[1], "--at", "2026-11-23 19:00", status=0)
    assert told(both[1], "--at", "2026-11-23 19:00", "--unit", "second", status=1)
    said = told(both[0], "--at", "2026-11-23 19:00", "--unit", "minute", status=1)
    assert "denied: no rule understood" in said and "Day times are minutes" in said


def test_the_zone_is_a_name_or_a_string_and_told_as_the_reader_has_it():
    said = told("3_480_1200_1111100", "--at", MONDAY_0930, "--tz", "Europe/Moscow", status=0)
    assert "time zone: Europe/Moscow, for a reader MSK-3\n" in said
    said = told("3_480_1200_1111100", "--at", MONDAY_0930, "--tz", "<+0545>-5:45", status=0)
    assert "time zone: <+0545>-5:45\n" in said and "(UTC+05:45)" in said


def test_a_law_of_the_past_that_no_reader_knows_is_told():
    arguments = ("9_1", "--tz", "Europe/Moscow", "--at")
    assert "uses today's: MSK-3." in told(*arguments, "2012-07-01 12:00", status=0)
    assert "has changed its rules" not in told(*arguments, "2015-07-01 12:00", status=0)


def test_an_hour_that_exists_twice_is_judged_for_both_moments():
    at = ("--at", "2026-10-25 02:15", "--tz", "Europe/Berlin")
    first = 29_881_455  # 00:15 UTC, in summer time
    for rule, verdicts, status in (
        ("3_120_150_1111111", ("allowed", "allowed"), 0),
        (f"1_{first}_{first}", ("allowed", "denied: no longer valid, until 2026-10-25 02:15"), 1),
        (
            f"1_{first + 60}_{first + 60}",
            ("denied: not yet valid, from 2026-10-25 02:15", "allowed"),
            1,
        ),
        ("9_0", ("denied: never allowed", "denied: never allowed"), 1),
    ):
        said = told(rule, *at, status=status)
        assert "2026-10-25 02:15 exists twice there: the clocks are put back." in said
        for offset, verdict in zip(("02:00", "01:00"), verdicts, strict=True):
            assert f"Sun 2026-10-25 02:15 (UTC+{offset}): {verdict}" in said


def test_an_hour_that_does_not_exist_is_refused_with_what_the_clock_shows():
    said = refused("9_1", "--at", "2026-03-29 02:15", "--tz", "Europe/Berlin")
    assert "there is no 2026-03-29 02:15" in said
    assert "after 2026-03-29 01:59 comes 2026-03-29 03:00" in said
    said = refused("9_1", "--at", "2027-10-03 02:29", "--tz", "Australia/Lord_Howe")
    assert "after 2027-10-03 01:59 comes 2027-10-03 02:30" in said


@pytest.mark.parametrize(
    "text",
    ["CET-1CEST,M3.5.0,M10.5.0/3", "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", "NST3:30NDT"],
)
def test_every_local_time_has_the_minutes_that_a_walk_finds(text):
    zone = Zone(text)
    start = 29_453_760  # 2026-01-01 00:00 UTC
    counts = {}
    for days in ((60, 100), (270, 310)):  # days of the year around the clock changes
        first, end = (start + day * 1440 for day in days)
        found = {}
        for minute in range(first, end):
            zone.update(minute)
            found.setdefault(minute + zone.offset, []).append(minute)
        for local in range(first + 1440, end - 1440):
            minutes = found.get(local, [])
            if len(minutes) != 1 or local % 1440 == 0:
                assert minutes_of_local(local, zone) == minutes, local
                counts[len(minutes)] = counts.get(len(minutes), 0) + 1
    assert counts[0] == counts[2] in (30, 60)


def test_without_a_time_it_is_now_and_without_a_zone_it_is_utc():
    before = datetime.now(UTC)
    said = told("9_1", status=0)
    match = re.search(r"\n\w{3} (\d{4}-\d\d-\d\d \d\d:\d\d) \(UTC\), now: allowed, by 9_1", said)
    assert match
    then = datetime.fromisoformat(match[1] + "+00:00")
    assert before - timedelta(minutes=1) <= then <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["3_480_1200_111110"], ["week mask is not seven digits 0 or 1", "3_START_END_MASK"]),
        (["1_2_1"], ["from is after to", "1_FROM_TO"]),
        (["7_1_2_1111111"], ["wrong number of fields", "7_START_END_MASK_FROM_TO"]),
        (["9_2"], ["rule 9 is neither", "9_1 (always)"]),
        (["5_1_2"], ["unknown kind of rule", "1_FROM_TO", "7_START"]),
        ([""], ["unknown kind of rule"]),
        (["[red]"], ["invalid rule '[red]'"]),
        (["A%B_/9_1"], ["invalid line CODE_/RULE 'A%B_/9_1': forbidden byte in code"]),
        (["_/9_1"], ["empty code"]),
        (["A_/9_1", "B_/9_1"], ["rules of two codes, A and B"]),
        (["9_1", "--at", "09:30"], ["invalid local time '09:30'", "2026-11-22 09:30"]),
        (["9_1", "--at", "2026-02-30 09:30"], ["invalid local time"]),
        (["9_1", "--at", "2026-11-22 24:00"], ["invalid local time"]),
        (["9_1", "--at", "2026-11-22 09:30:15"], ["invalid local time"]),
        (["9_1", "--at", "1969-12-31 23:59"], ["is before 1970"]),
        (["9_1", "--tz", "Moscow"], ["did you mean Europe/Moscow"]),
        (["9_1", "--tz", "GMT-25"], ["position 5", "Europe/Moscow"]),
        (["9_1", "--tz", ""], ["there is no such zone"]),
    ],
)
def test_what_is_wrong_is_refused_with_what_would_be_right(arguments, words):
    said = refused(*arguments)
    for part in words:
        assert part in said, said


def test_without_a_rule_or_with_another_unit_the_usage_is_shown():
    assert run().exit_code == 2
    assert run("9_1", "--unit", "hour").exit_code == 2

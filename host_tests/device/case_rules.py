"""Rules as texts, as packed bytes, and what they say about a moment."""

from device.raising import error_of
from device.rules_oracle import MONDAY, check_dates, check_rule_set, check_text, check_week
from kalitka.access import packing, rules

# Minutes later than this are behind the year 2990: not worth an exact answer.
_MINUTE_MAX = 0x1FFFFFFF


def _judged(text, minute=MONDAY + 600, day_minute=600, weekday=0, unit_seconds=False):
    return rules.evaluate(packing.pack(text), 0, unit_seconds, minute, day_minute, weekday)


def test_the_examples_of_the_seed_come_back_as_they_came():
    for text in (
        b"1_26553028_26553088",
        b"3_36000_78200_1110101",
        b"7_36000_78200_1110101_26553028_26553088",
    ):
        assert rules.text_of(packing.pack(text)) == text


def test_the_seeds_rule_1_holds_from_its_first_to_its_last_minute():
    text = b"1_26553028_26553088"
    assert _judged(text, 26553027) == rules.NOT_YET
    assert _judged(text, 26553028) == rules.PERMITTED
    assert _judged(text, 26553088) == rules.PERMITTED
    assert _judged(text, 26553089) == rules.NO_LONGER


def test_the_seeds_rule_3_is_in_seconds_and_its_mask_starts_on_monday():
    text = b"3_36000_78200_1110101"  # 10:00:00 to 21:43:20
    assert packing.needs_seconds(packing.pack(text))
    for weekday in range(7):
        for day_minute, inside in ((599, 0), (600, 1), (1303, 1), (1304, 0)):
            expected = inside and b"1110101"[weekday] == 0x31
            said = _judged(text, MONDAY, day_minute, weekday, True)
            assert said == (rules.PERMITTED if expected else rules.OUTSIDE_HOURS)


def test_the_seeds_rule_7_wants_both_its_dates_and_its_hours():
    text = b"7_36000_78200_1110101_26553028_26553088"
    assert _judged(text, 26553030, 600, 0, True) == rules.PERMITTED
    assert _judged(text, 26553030, 599, 0, True) == rules.OUTSIDE_HOURS
    assert _judged(text, 26553030, 600, 3, True) == rules.OUTSIDE_HOURS
    assert _judged(text, 26553027, 600, 0, True) == rules.NOT_YET
    assert _judged(text, 26553089, 600, 0, True) == rules.NO_LONGER


def test_texts_of_every_kind_come_back_as_they_came():
    for text in (
        "1_0_0",
        "1_0_9999999999",
        "1_9999999999_9999999999",
        "1_498_4986911",
        "3_0_0_0000000",
        "3_0_1439_1111111",
        "3_0_1440_1111111",
        "3_1320_360_0000011",
        "3_86400_86400_1000000",
        "3_127_128_0000001",
        "3_16383_16384_0100000",
        "7_480_720_1010100_29921461_29964661",
        "7_86400_0_0001111_0_9999999999",
        "7_0_0_1111111_268435455_268435456",
        "9_0",
        "9_1",
        "1_0000000010_0000000020",
        "3_0000000480_01200_0011111",
    ):
        check_text(text)


def test_leading_zeros_are_all_that_is_lost():
    assert rules.text_of(packing.pack(b"3_0008_007_0000011")) == b"3_8_7_0000011"


def test_every_malformed_text_is_refused_with_its_reason():
    for text, reason in (
        ("3_1_2_111111", "week mask is not seven digits 0 or 1"),
        ("3_1_2_11111111", "week mask is not seven digits 0 or 1"),
        ("3_1_2_1111112", "week mask is not seven digits 0 or 1"),
        ("7_1_2_111 111_1_2", "week mask is not seven digits 0 or 1"),
        ("3_1_2_", "week mask is not seven digits 0 or 1"),
        ("1_123456789012345678901234567890_2", "number of more than ten digits"),
        ("1_2_123456789012345678901234567890", "number of more than ten digits"),
        ("3_00000000001_2_1111111", "number of more than ten digits"),
        ("1_-1_2", "bad number in rule"),
        ("1_1_-2", "bad number in rule"),
        ("3_-1_2_1111111", "bad number in rule"),
        ("1_+1_2", "bad number in rule"),
        ("1_ 1_2", "bad number in rule"),
        ("1_1_2 ", "bad number in rule"),
        ("1_1.5_2", "bad number in rule"),
        ("1_0x1_2", "bad number in rule"),
        ("1_1e3_20000", "bad number in rule"),
        ("1__2", "bad number in rule"),
        ("1_1_", "bad number in rule"),
        ("3__2_1111111", "bad number in rule"),
        ("7_1_2_1111111__2", "bad number in rule"),
        ("1_\u0661_2", "bad number in rule"),
        ("1_\u00b2_3", "bad number in rule"),
        ("1_2_1", "from is after to"),
        ("7_1_2_1111111_2_1", "from is after to"),
        ("1_9999999999_0", "from is after to"),
        ("3_86401_2_1111111", "day time beyond the day"),
        ("3_1_86401_1111111", "day time beyond the day"),
        ("7_9999999999_1_1111111_1_2", "day time beyond the day"),
        ("9_2", "rule 9 is neither 9_0 nor 9_1"),
        ("9_", "rule 9 is neither 9_0 nor 9_1"),
        ("9_01", "rule 9 is neither 9_0 nor 9_1"),
        ("", "unknown kind of rule"),
        ("_", "unknown kind of rule"),
        ("2_1_2", "unknown kind of rule"),
        ("10_1_2", "unknown kind of rule"),
        ("01_1_2", "unknown kind of rule"),
        ("/1_1_2", "unknown kind of rule"),
        (" 1_1_2", "unknown kind of rule"),
        ("1", "wrong number of fields in rule"),
        ("1_2", "wrong number of fields in rule"),
        ("1_1_2_3", "wrong number of fields in rule"),
        ("1_1_2_", "wrong number of fields in rule"),
        ("3_1_2", "wrong number of fields in rule"),
        ("3_1_2_1111111_", "wrong number of fields in rule"),
        ("7_1_2_1111111", "wrong number of fields in rule"),
        ("7_1_2_1111111_1", "wrong number of fields in rule"),
        ("7_1_2_1111111_1_2_3", "wrong number of fields in rule"),
        ("9", "wrong number of fields in rule"),
        ("9_1_1", "wrong number of fields in rule"),
    ):
        assert error_of(rules.RuleError, packing.pack, text.encode()) == reason, text
        check_text(text)


def test_bytes_that_are_no_text_are_refused():
    for text in (b"\x00", b"\xff_1_2", b"1_\xff_2", b"3_1_2_\x01\x01\x01\x01\x01\x01\x01"):
        error_of(rules.RuleError, packing.pack, text)


def test_a_text_may_come_in_any_buffer():
    for text in (bytearray(b"9_1"), memoryview(b"9_1")):
        assert packing.pack(text) == packing.pack(b"9_1")


def test_what_is_no_packed_rule_is_refused():
    for kind in (0, 2, 4, 8, 10, 255):
        error_of(rules.RuleError, rules.text_of, bytes((kind, 1, 1)))
        error_of(rules.RuleError, rules.end_of, bytes((kind, 1, 1)), 0)


def test_a_rule_set_holds_each_rule_once_whatever_their_order():
    check_rule_set(["9_1", "1_1_2", "3_1_2_1111111", "1_1_2", "9_0", "7_1_2_0000001_3_4"])
    check_rule_set(["1_%d_%d" % (i * 999_999, i * 9_999_999) for i in range(40)])
    check_rule_set([])
    assert packing.insert(b"", b"") == b"" and packing.split(b"") == []


def test_dates_hold_at_their_bounds_and_not_one_minute_beyond():
    for first, last in ((10, 20), (0, 0), (1, 1), (29921461, 29921521), (0, 9999999999)):
        for bound in (first, last):
            for minute in (bound - 1, bound, bound + 1):
                if minute <= _MINUTE_MAX:
                    check_dates(first, last, minute)
        check_dates(first, last, -1)


def test_dates_of_up_to_ten_digits_are_compared_rightly():
    bounds = [1 << bits for bits in range(0, 34)] + [9, 99999, 9999999, 9999999998]
    minutes = [0, 127, 128, 16383, 2097152, 29921461, 268435455, 268435456, _MINUTE_MAX]
    for first in bounds:
        for span in (0, 1, 127, 128, 268435455, 268435456, 9999999999 - first):
            if 0 <= first + span <= 9999999999:
                for minute in minutes:
                    check_dates(first, first + span, minute)


def test_a_window_of_hours_is_open_where_a_walk_through_the_week_says_so():
    for text in (
        "3_480_1200_1111100",
        "3_1320_360_0000011",
        "3_1439_0_1000000",
        "3_0_1440_0101010",
        "3_1440_0_0010001",
        "7_480_720_1010100_29921461_29964661",
        "7_1380_60_0000001_%d_%d" % (MONDAY + 30, MONDAY + 10050),
    ):
        check_week(text, False, 7)
    for text in (
        "3_36000_78200_1110101",
        "3_79200_21600_0000011",
        "3_0_86399_0011100",
        "3_0_86400_1000000",
        "3_59_60_0000100",
        "3_86400_59_0000100",
    ):
        check_week(text, True, 7)


def test_both_bounds_of_a_window_are_inside_it():
    for day_minute, inside in ((479, 0), (480, 1), (481, 1), (1199, 1), (1200, 1), (1201, 0)):
        said = _judged(b"3_480_1200_1000000", MONDAY + day_minute, day_minute)
        assert said == (rules.PERMITTED if inside else rules.OUTSIDE_HOURS), day_minute


def test_a_window_of_one_minute_is_open_for_one_minute():
    assert [m for m in range(1440) if _judged(b"3_7_7_1000000", 1, m) == rules.PERMITTED] == [7]
    assert [m for m in range(1440) if _judged(b"3_0_0_1000000", 1, m) == rules.PERMITTED] == [0]


def test_over_midnight_the_mask_names_the_day_on_which_the_window_starts():
    friday_night = b"3_1320_360_0000100"
    for weekday, day_minute, inside in (
        (4, 1319, 0),
        (4, 1320, 1),
        (4, 1439, 1),
        (5, 0, 1),
        (5, 360, 1),
        (5, 361, 0),
        (4, 100, 0),
        (5, 1330, 0),
    ):
        said = _judged(friday_night, MONDAY, day_minute, weekday)
        assert said == (rules.PERMITTED if inside else rules.OUTSIDE_HOURS), (weekday, day_minute)
    assert _judged(b"3_1320_360_0000001", MONDAY, 5, 0) == rules.PERMITTED  # Sunday to Monday


def test_seconds_over_midnight_within_one_minute_are_a_whole_day():
    # From 0:01:40 to 0:01:30 of the next day: all but ten seconds.
    check_week("3_100_90_1000000", True, 11)


def test_a_mask_of_zeros_is_never():
    check_week("3_0_1439_0000000", False, 60)


def test_a_full_day_is_open_in_each_of_its_minutes():
    for text in (b"3_0_1439_1111111", b"3_0_1440_1111111"):
        for day_minute in (0, 1, 720, 1438, 1439):
            assert _judged(text, MONDAY, day_minute, 6) == rules.PERMITTED
    for text in (b"3_0_86399_1111111", b"3_0_86400_1111111"):
        for day_minute in (0, 1, 720, 1438, 1439):
            assert _judged(text, MONDAY, day_minute, 6, True) == rules.PERMITTED


def test_rule_9_holds_always_or_never_even_with_the_clock_not_set():
    for minute, day_minute in ((-1, -1), (0, 0), (MONDAY, 720)):
        assert _judged(b"9_1", minute, day_minute) == rules.PERMITTED
        assert _judged(b"9_0", minute, day_minute) == rules.NEVER


def test_with_the_clock_not_set_dates_and_hours_refuse_and_say_so():
    for text in (b"1_0_9999999999", b"3_0_1439_1111111", b"7_0_1439_1111111_0_9999999999"):
        assert _judged(text, -1, -1) == rules.CLOCK_NOT_SET


def test_without_a_zone_hours_refuse_and_say_so_and_dates_alone_need_none():
    for text in (b"3_0_1439_1111111", b"7_0_1439_1111111_0_9999999999"):
        assert _judged(text, MONDAY, -1) == rules.ZONE_NOT_SET
    assert _judged(b"1_0_9999999999", MONDAY, -1) == rules.PERMITTED
    assert _judged(b"9_1", MONDAY, -1) == rules.PERMITTED
    # No local time can help these.
    assert _judged(b"7_0_1439_1111111_0_9", MONDAY, -1) == rules.NO_LONGER
    assert _judged(b"7_0_1439_1111111_9999999998_9999999999", MONDAY, -1) == rules.NOT_YET


def test_a_window_over_midnight_ends_with_the_last_date_and_goes_on_at_the_first_one():
    friday = MONDAY + 4 * 1440
    saturday = friday + 1440

    def said(dates, minute):
        text = b"7_1320_360_0000100_%d_%d" % dates
        return _judged(text, minute, minute % 1440, (minute - MONDAY) // 1440)

    until_friday = (MONDAY, saturday - 1)
    assert said(until_friday, saturday - 1) == rules.PERMITTED
    assert said(until_friday, saturday) == rules.NO_LONGER
    from_saturday = (saturday, saturday + 1440)
    assert said(from_saturday, saturday - 1) == rules.NOT_YET
    assert said(from_saturday, saturday) == rules.PERMITTED
    assert said(from_saturday, saturday + 360) == rules.PERMITTED
    assert said(from_saturday, saturday + 361) == rules.OUTSIDE_HOURS


def test_a_refusal_by_dates_is_about_their_first_or_their_last_minute():
    for text, first, last in (
        (b"1_10_20", 10, 20),
        (b"7_0_1439_1111111_10_20", 10, 20),
        (b"7_36000_78200_1110101_26553028_26553088", 26553028, 26553088),
        (b"1_9999999998_9999999999", 0x3FFFFFFF, None),
    ):
        buf = b"\x09\x00" + packing.pack(text) + b"\x81"
        assert rules.date_of(buf, 2, rules.NOT_YET) == first
        if last:
            assert rules.date_of(buf, 2, rules.NO_LONGER) == last
        for said in (rules.OUTSIDE_HOURS, rules.CLOCK_NOT_SET, rules.PERMITTED, rules.UNREADABLE):
            assert rules.date_of(buf, 2, said) == 0


def test_a_day_time_that_is_none_in_the_tables_unit_is_unreadable():
    for text in (
        b"3_36000_78200_1111111",
        b"3_1441_1_1111111",
        b"3_0_1441_1111111",
        b"7_0_1441_1111111_0_9999999999",
    ):
        assert packing.needs_seconds(packing.pack(text))
        assert _judged(text) == rules.UNREADABLE
        assert _judged(text, -1, -1) == rules.UNREADABLE
        assert _judged(text, MONDAY, -1) == rules.UNREADABLE
        assert _judged(text, MONDAY, 0, 0, True) != rules.UNREADABLE


def test_only_a_day_time_above_1440_shows_that_a_server_speaks_seconds():
    for text in (
        b"3_0_1440_1111111",
        b"3_1440_0_1111111",
        b"7_1_2_1111111_36000_78200",
        b"1_36000_78200",
        b"9_1",
    ):
        assert not packing.needs_seconds(packing.pack(text))


def test_reasons_are_ordered_by_how_near_to_opening_they_are():
    order = (
        rules.UNREADABLE,
        rules.NEVER,
        rules.NO_LONGER,
        rules.NOT_YET,
        rules.OUTSIDE_HOURS,
        rules.ZONE_NOT_SET,
        rules.CLOCK_NOT_SET,
        rules.PERMITTED,
    )
    assert list(order) == sorted(set(order))

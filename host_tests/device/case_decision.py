"""The verdict on a set of rules: its reason, the rule that gave it, its date; dates as texts."""

import sys

from device.rules_oracle import MONDAY, plain, rule_set_of
from kalitka.access import decision, rules
from kalitka.access.timezone import Zone

HOURS = "3_480_1200_1111100"
NIGHTS = "3_1320_360_0000011"


def _judged(texts, minute=MONDAY + 570, day_minute=570, weekday=0, unit_seconds=False):
    """Return (reason in words, text of the rule that gave it or None, when)."""
    rule_set = rule_set_of(texts)
    # As it stands in a block: with other bytes around it.
    buf = b"\x09\x01" + rule_set + b"\x09\x01"
    verdict = decision.Verdict()
    verdict.deny(decision.TABLE_DAMAGED)
    said = verdict.decide(buf, 2, 2 + len(rule_set), unit_seconds, minute, day_minute, weekday)
    assert said == verdict.reason
    rule = rules.text_of(buf, verdict.rule).decode() if verdict.rule >= 0 else None
    return decision.REASONS[said], rule, verdict.when


def test_every_reason_has_words_of_its_own():
    assert len(decision.REASONS) == len(set(decision.REASONS)) == decision.NO_TABLE + 1
    for number, words in (
        (decision.NO_RULE, "no rule understood"),
        (rules.NEVER, "never allowed"),
        (rules.NO_LONGER, "no longer valid"),
        (rules.NOT_YET, "not yet valid"),
        (rules.OUTSIDE_HOURS, "outside its hours"),
        (rules.ZONE_NOT_SET, "zone not set"),
        (rules.CLOCK_NOT_SET, "clock not set"),
        (decision.ALLOWED, "allowed"),
        (decision.UNKNOWN_CODE, "unknown code"),
        (decision.TABLE_DAMAGED, "table damaged"),
        (decision.ALREADY_USED, "already used"),
        (decision.NOT_KEPT, "passes cannot be kept"),
        (decision.NO_LOCK, "lock not set up"),
        (decision.NO_TABLE, "no table yet"),
    ):
        assert decision.REASONS[number] == words


def test_the_seeds_rules_are_judged_with_their_dates():
    dates = "1_26553028_26553088"
    assert _judged([dates], 26553027) == ("not yet valid", dates, 26553028)
    assert _judged([dates], 26553028) == ("allowed", dates, 0)
    assert _judged([dates], 26553088) == ("allowed", dates, 0)
    assert _judged([dates], 26553089) == ("no longer valid", dates, 26553088)
    hours = "3_36000_78200_1110101"
    assert _judged([hours], day_minute=600, unit_seconds=True) == ("allowed", hours, 0)
    assert _judged([hours], day_minute=1304, unit_seconds=True)[0] == "outside its hours"
    assert _judged([hours]) == ("no rule understood", None, 0)
    both = "7_36000_78200_1110101_26553028_26553088"
    for minute, expected in (
        (26553027, ("not yet valid", both, 26553028)),
        (26553050, ("allowed", both, 0)),
        (26553089, ("no longer valid", both, 26553088)),
    ):
        assert _judged([both], minute, 600, 0, True) == expected
    assert _judged([both], 26553050, 599, 0, True) == ("outside its hours", both, 0)


def test_one_rule_that_permits_is_enough_and_is_the_one_named():
    for other in ("9_0", NIGHTS, "1_0_1", "3_36000_78200_1111111"):
        for texts in ([HOURS, other], [other, HOURS]):
            assert _judged(texts) == ("allowed", HOURS, 0), texts
    # Of several the first, in the order of the table.
    assert _judged(["9_1", HOURS, "1_0_9999999999"]) == ("allowed", "1_0_9999999999", 0)


def test_of_several_refusals_the_one_that_is_nearest_to_opening_is_told():
    weaker = [
        "3_36000_78200_1111111",  # of no meaning in minutes
        "9_0",
        "1_0_1",
        "1_%d_%d" % (MONDAY + 600, MONDAY + 601),
        NIGHTS,
    ]
    words = [
        "no rule understood",
        "never allowed",
        "no longer valid",
        "not yet valid",
        "outside its hours",
    ]
    for i in range(len(weaker)):
        for j in range(i + 1):
            assert _judged([weaker[i], weaker[j]])[0] == words[i]
            assert _judged([weaker[j], weaker[i]])[0] == words[i]


def test_what_the_reader_lacks_is_told_before_what_a_rule_refuses():
    # With the local time the hours might permit: that this person is too late may be untrue.
    assert _judged(["1_0_1", HOURS], day_minute=-1) == ("zone not set", HOURS, 0)
    assert _judged(["1_0_1", HOURS], -1, -1)[0] == "clock not set"
    assert _judged(["9_0", "1_0_1"], -1, -1) == ("clock not set", "1_0_1", 0)


def test_without_a_zone_only_hours_do_not_work():
    now = MONDAY + 570
    dates = "1_%d_%d" % (now, now)
    assert _judged([dates], now, -1) == ("allowed", dates, 0)
    assert _judged(["9_1"], now, -1) == ("allowed", "9_1", 0)
    assert _judged([HOURS], now, -1) == ("zone not set", HOURS, 0)
    both = "7_0_1439_1111111_%d_%d" % (now, now)
    assert _judged([both], now, -1) == ("zone not set", both, 0)
    # Its dates need no zone to be over.
    assert _judged([both], now + 1, -1) == ("no longer valid", both, now)
    assert _judged([both], now - 1, -1) == ("not yet valid", both, now)


def test_without_a_clock_only_rule_9_works():
    for text in ("1_0_9999999999", HOURS, "7_0_1439_1111111_0_9999999999"):
        assert _judged([text], -1, -1) == ("clock not set", text, 0)
    assert _judged(["9_1", HOURS], -1, -1) == ("allowed", "9_1", 0)
    assert _judged(["9_0"], -1, -1) == ("never allowed", "9_0", 0)


def test_a_code_without_rules_and_reasons_that_no_rule_gives_name_no_rule():
    assert _judged([]) == ("no rule understood", None, 0)
    verdict = decision.Verdict()
    for reason in (decision.UNKNOWN_CODE, decision.TABLE_DAMAGED):
        rule_set = rule_set_of(["1_10_20"])
        verdict.decide(rule_set, 0, len(rule_set), False, 5, 5, 0)
        assert (verdict.rule, verdict.when) == (0, 10)
        verdict.deny(reason)
        assert (verdict.reason, verdict.rule, verdict.when) == (reason, -1, 0)


def test_a_rule_of_a_later_firmware_ends_what_can_be_read_and_permits_nothing():
    verdict = decision.Verdict()
    later = b"\x05\x00\x09\x01"
    for before, expected in (
        (["9_0"], rules.NEVER),
        (["1_0_1"], rules.NO_LONGER),
        (["1_0_9999999999"], decision.ALLOWED),
        ([], decision.NO_RULE),
    ):
        buf = rule_set_of(before) + later
        assert verdict.decide(buf, 0, len(buf), False, MONDAY, 0, 0) == expected


def _sets_of_dates():
    # Some sets of one to four spans within 300 minutes, of rule 1 and of a rule 7 of all hours.
    number = 1
    for count in range(12):
        texts = []
        for _ in range(count % 4 + 1):
            number = number * 1103515245 % 0x7FFFFFFF
            first = MONDAY + number % 300
            last = first + number // 300 % 40
            head = "7_0_1439_1111111" if number & 0x10000 else "1"
            texts.append("%s_%d_%d" % (head, first, last))
        yield texts


def test_when_is_the_next_or_the_last_minute_at_which_a_walk_finds_the_door_open():
    compared = 0
    for texts in _sets_of_dates():
        walk = range(MONDAY - 5, MONDAY + 350)
        opened = [m for m in walk if _judged(texts, m, m % 1440, 0)[0] == "allowed"]
        for minute in walk:
            words, rule, when = _judged(texts, minute, minute % 1440, 0)
            if words == "allowed":
                assert when == 0
                continue
            later = [m for m in opened if m > minute]
            assert words == ("not yet valid" if later else "no longer valid")
            assert when == (later[0] if later else opened[-1]), (texts, minute, words, when)
            assert str(when) in rule.split("_"), (rule, when)
            compared += 1
    assert compared > 2000, compared


def test_dates_of_any_size_are_told_up_to_the_year_4011():
    for text, when in (
        ("1_1073741822_1073741823", 1073741822),
        ("1_1073741823_9999999999", 0x3FFFFFFF),
        ("1_9999999999_9999999999", 0x3FFFFFFF),
    ):
        assert _judged([text]) == ("not yet valid", text, when)
    assert _judged(["1_9999999999_9999999999", "1_30000000_9999999999"])[2] == 30000000
    assert _judged(["1_0_0"])[0] == "no longer valid"


def test_texts_of_rules_come_back_from_the_offset_of_the_verdict():
    texts = ["1_0_1", "1_5_6", "3_1_2_1000000", "7_1_2_0100000_0_9999999999", "9_0"]
    assert _judged(texts, MONDAY, 5, 0)[1] == plain("3_1_2_1000000")
    assert _judged(texts, MONDAY, 1, 1)[1] == plain("7_1_2_0100000_0_9999999999")


def _calendar(last_year):
    # Every day from 1970 on, by counting.
    day = 0
    for year in range(1970, last_year + 1):
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        for month, length in enumerate((31, 28 + leap, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)):
            for day_of_month in range(length):
                yield day, "%04d-%02d-%02d" % (year, month + 1, day_of_month + 1)
                day += 1


_EDGES = ("01", "02", "03", "12")


def test_days_of_the_calendar_have_their_dates():
    for day, text in _calendar(2101):
        # Of most years New Year, and the months' ends about February.
        if text[:4] not in ("1970", "2000", "2026", "2028", "2100") and text[5:7] not in _EDGES:
            continue
        minute = day % 1440
        assert decision.date_text(day * 1440 + minute, None) == "%s %02d:%02d UTC" % (
            text,
            minute // 60,
            minute % 60,
        )
    assert decision.date_text(0x3FFFFFFF, None).startswith("4011-")
    assert decision.date_text(9999999999, None).startswith("20983-")


def test_a_date_is_told_in_the_offset_that_the_place_has_then():
    zone = Zone("EET-2EEST,M3.5.0/3,M10.5.0/4")
    autumn = 29453760 + 297 * 1440 + 60  # 2026-10-25 01:00 UTC, when summer time ends
    for minute, text in (
        # The hour that the clocks show twice, and the minutes on both sides of it.
        (autumn - 61, "2026-10-25 02:59"),
        (autumn - 60, "2026-10-25 03:00+03:00"),
        (autumn - 1, "2026-10-25 03:59+03:00"),
        (autumn, "2026-10-25 03:00+02:00"),
        (autumn + 59, "2026-10-25 03:59+02:00"),
        (autumn + 60, "2026-10-25 04:00"),
        (autumn + 250 * 1440, "2027-07-02 04:00"),
        (MONDAY, "2026-11-23 02:00"),
    ):
        assert decision.date_text(minute, zone) == text
    assert decision.date_text(MONDAY, Zone("MSK-3")) == "2026-11-23 03:00"
    newfoundland = Zone("NST3:30NDT,M3.2.0,M11.1.0")
    assert decision.date_text(29891790, newfoundland) == "2026-11-01 01:00-03:30"
    assert decision.date_text(0, Zone("EST5")) == "1969-12-31 19:00"


if sys.implementation.name == "micropython":
    import micropython

    def _judged_with_the_heap_locked(verdict, rule_set, unit_seconds, minute, day_minute, weekday):
        micropython.heap_lock()
        try:
            verdict.decide(rule_set, 0, len(rule_set), unit_seconds, minute, day_minute, weekday)
            verdict.deny(decision.UNKNOWN_CODE)
        finally:
            micropython.heap_unlock()

    def test_judging_allocates_nothing_whatever_the_rules():
        # With integers of 31 bits this shows, too, that none grows larger than those.
        verdict = decision.Verdict()
        for texts in (
            ["9_1"],
            ["9_0", "1_0_1", "1_29923200_29923300", "1_0_9999999999"],
            ["1_9999999999_9999999999", "1_1073741822_1073741823", "1_0_0", "1_0_2"],
            [HOURS, NIGHTS, "3_36000_78200_1110101", "3_86400_0_1111111"],
            ["7_1320_360_0001000_29921461_9999999999", "7_1_2_0000001_9999999998_9999999999"],
        ):
            for rule_set in (rule_set_of(texts), rule_set_of(texts) + b"\x05\x00"):
                for unit_seconds in (False, True):
                    for minute in (-1, 0, MONDAY, MONDAY + 101, 0x3FFFFFFF):
                        for day_minute in (-1, 0, 600, 1439):
                            for weekday in (0, 6):
                                _judged_with_the_heap_locked(
                                    verdict, rule_set, unit_seconds, minute, day_minute, weekday
                                )

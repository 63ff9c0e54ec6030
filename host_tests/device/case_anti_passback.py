"""Anti-passback: the window of a rule, refusals, restarts, power cuts and a full log."""

import os
import random

from device.failing_flash import Always, FailingFlash
from device.raising import error_of
from device.scratch import MICROPYTHON, Folder, read, write
from kalitka.access import decision, packing, rules
from kalitka.access.timezone import Zone
from kalitka.journal.anti_passback import AntiPassback, window_of

SIZE = 65536
_DAY = 1440
MONDAY = 29_923_200  # 2026-11-23T00:00Z
_LUNCH = b"3_660_840_1111111"


def _window(text, zone, minute, unit_seconds=False):
    # Returns the window of a rule at a minute, -1 if the rule does not permit.
    zone.update(minute)
    buf = packing.pack(text)
    moment = (buf, 0, unit_seconds, minute, zone.day_minute, zone.weekday)
    return window_of(*moment) if rules.evaluate(*moment) == rules.PERMITTED else -1


def _local(zone, minute):
    zone.update(minute)
    return minute + zone.offset


def test_a_window_is_the_local_minute_at_which_it_began():
    for name in ("UTC0", "MSK-3", "EST5", "<+14>-14", "<-12>12", "<+0545>-5:45", "<+24>-24"):
        zone = Zone(name)
        for minute in range(MONDAY - 3000, MONDAY + 3000, 7):
            local = _local(zone, minute)
            midnight = local // _DAY * _DAY
            for text in (b"9_1", b"1_0_9999999999", b"3_0_1439_1111111", b"3_0_1440_1111111"):
                assert _window(text, zone, minute) == midnight, (name, minute, text)
            for text, seconds in ((_LUNCH, False), (b"3_39600_50400_1111111", True)):
                expected = midnight + 660 if 660 <= local % _DAY <= 840 else -1
                assert _window(text, zone, minute, seconds) == expected, (name, minute)


def test_over_midnight_a_window_belongs_to_the_day_on_which_it_began():
    zone = Zone("MSK-3")
    night = b"3_1320_360_1111111"
    for minute in range(MONDAY, MONDAY + 3 * _DAY):
        local = _local(zone, minute)
        day = local // _DAY * _DAY
        expected = -1
        if local % _DAY >= 1320:
            expected = day + 1320
        elif local % _DAY <= 360:
            expected = day - _DAY + 1320
        assert _window(night, zone, minute) == expected
    # On Friday only: the window that would begin on Saturday evening does not open.
    friday = MONDAY + 4 * _DAY
    text = b"7_1320_360_0000100_0_9999999999"
    zone = Zone("UTC0")
    assert _window(text, zone, friday + 1320) == friday + 1320
    assert _window(text, zone, friday + _DAY + 360) == friday + 1320
    assert _window(text, zone, friday + _DAY + 1320) == -1
    # All but ten seconds of a day: at 0:01 the window is today's.
    assert _window(b"3_100_90_1111111", zone, friday + 1, True) == friday + 1
    assert _window(b"3_100_90_1111111", zone, friday, True) == friday - _DAY + 1


def test_the_day_on_which_the_clock_is_put_forward_or_back_has_one_window_of_each_rule():
    zone = Zone("EET-2EEST,M3.5.0/3,M10.5.0/4")
    for change in (29_579_100, 29_881_500):  # 2026-03-29 and 2026-10-25, 1:00 UTC
        before = _local(zone, change - 1)
        assert _local(zone, change) - before in (61, -59)
        for text in (b"3_0_1439_1111111", b"3_60_600_1111111", b"9_1"):
            windows = set()
            for minute in range(change - 100, change + 100):
                windows.add(_window(text, zone, minute))
            windows.discard(-1)
            assert len(windows) == 1, (change, text, windows)
        # A window that ends in the hour that comes twice, or not at all.
        windows = {_window(b"3_1320_210_1111111", zone, change + n) for n in range(-180, 180)}
        windows.discard(-1)
        assert windows == {before // _DAY * _DAY - 120}


def test_meals_that_begin_together_are_one_and_others_are_two():
    zone = Zone("UTC0")
    noon = MONDAY + 720
    lunch = _window(_LUNCH, zone, noon)
    assert _window(b"3_660_900_1000000", zone, noon) == lunch
    assert _window(b"7_660_840_1000000_0_9999999999", zone, noon) == lunch
    assert _window(b"3_661_840_1111111", zone, noon) != lunch
    assert _window(_LUNCH, zone, noon + _DAY) == lunch + _DAY


def test_nobody_passes_twice_in_one_window_and_everybody_in_the_next():
    with Folder() as path:
        passes = AntiPassback(path, SIZE)
        window = MONDAY + 660
        for code in (b"A1", b"a1", b"x" * 255, b"1"):
            assert passes.allowed(code, window)
            passes.record(code, window)
            for again in (passes, AntiPassback(path, SIZE)):
                assert not again.allowed(code, window)
                assert again.allowed(code + b"0", window)
                for other in (window + 360, window + _DAY, window - _DAY):
                    assert again.allowed(code, other)


def _code(number):
    return b"%08X" % (number * 2654435761 & 0xFFFFFFFF)


def test_more_passes_than_the_memory_holds_are_known_before_and_after_a_restart():
    with Folder() as path:
        passes = AntiPassback(path, SIZE, 0, 64)
        for day in (0, 1):
            for meal in (660, 1080):
                window = MONDAY + day * _DAY + meal
                for number in range(150):
                    assert number % 5 or passes.allowed(_code(number), window)
                    passes.record(_code(number), window)
                    assert number % 5 or not passes.allowed(_code(number), window)
                for again in (passes, AntiPassback(path, SIZE, 0, 64), AntiPassback(path, SIZE)):
                    for number in range(0, 150, 7):
                        assert not again.allowed(_code(number), window), number
                        assert again.allowed(_code(number + 1000), window)
                        assert again.allowed(_code(number), window + 360)


def test_what_is_older_gives_way_and_today_does_not():
    with Folder() as path:
        passes = AntiPassback(path, 32768, 0, 256)
        for day in range(9):
            window = MONDAY + day * _DAY + 660
            for number in range(200):
                passes.record(_code(number), window)
            for number in range(0, 200, 13):
                assert not passes.allowed(_code(number), window)
        assert passes.log.first > 1000
        # No room is left for passes of one day: refused, and none of them is lost.
        number = 200
        try:
            while number < 2000:
                passes.record(_code(number), window)
                number += 1
        except OSError:
            pass
        assert 300 < number < 1000
        for again in (passes, AntiPassback(path, 32768, 0, 512)):
            for known in range(0, number, 29):
                assert not again.allowed(_code(known), window)
        # On the next days there is room again.
        for day in (10, 11):
            passes.record(b"A", window + day * _DAY)
            assert not passes.allowed(b"A", window + day * _DAY)


def test_passes_of_a_clock_that_was_wrong_neither_fill_the_log_nor_count():
    with Folder() as path:
        passes = AntiPassback(path, 32768, 0, 64)
        for number in range(300):
            passes.record(_code(number), MONDAY + 9_000_000)
        for number in range(800):
            window = MONDAY + number // 300 * _DAY * 2
            passes.record(_code(number), window)
            if number % 9 == 0:
                assert passes.allowed(_code(number + 1), window)
                assert not passes.allowed(_code(number), window)


def test_an_interval_ends_so_many_minutes_after_the_last_pass():
    with Folder() as path:
        passes = AntiPassback(path, SIZE, 30)
        passes.record(b"A", MONDAY)
        for again in (passes, AntiPassback(path, SIZE, 30)):
            for after, allowed in ((0, 0), (1, 0), (29, 0), (30, 1), (31, 1), (5000, 1)):
                assert again.allowed(b"A", MONDAY + after) == bool(allowed), after
                assert again.allowed(b"B", MONDAY + after)
        passes.record(b"A", MONDAY + 30)
        assert not passes.allowed(b"A", MONDAY + 59)
        assert passes.allowed(b"A", MONDAY + 60)


def test_a_clock_that_is_put_back_refuses_nobody_for_longer_than_the_interval():
    for room in (8, 256):
        with Folder() as path:
            passes = AntiPassback(path, SIZE, 30, room)
            for number in range(50):
                passes.record(_code(number), MONDAY + 1000)
            # Put back by 500 minutes: refused for 30 more.
            for after, allowed in ((0, False), (29, False), (30, True), (600, True)):
                for number in (0, 25, 49):
                    assert passes.allowed(_code(number), MONDAY + 500 + after) is allowed
            passes = AntiPassback(path, SIZE, 30, room)
            passes.record(b"new", MONDAY + 500)
            passes = AntiPassback(path, SIZE, 30, room)
            for after, allowed in ((5, False), (30, True)):
                for code in (b"new", _code(3)):
                    assert passes.allowed(code, MONDAY + 500 + after) is allowed


def test_an_interval_knows_more_passes_than_the_memory_holds():
    with Folder() as path:
        passes = AntiPassback(path, SIZE, 60, 32)
        for number in range(300):
            minute = MONDAY + number // 4
            assert passes.allowed(_code(number), minute)
            passes.record(_code(number), minute)
            for before in (1, 100, 232):
                if number > before:
                    assert not passes.allowed(_code(number - before), minute), (number, before)
            if number > 250:
                assert passes.allowed(_code(number - 250), minute)


def test_a_random_history_is_what_a_set_would_say():
    for seed in range(4):
        random.seed(seed)
        with Folder() as path:
            _live(path, 0 if seed % 2 else 45)


def _live(path, interval):
    # Some people, meals that overlap, restarts; with "once" also a clock put back by days.
    passes = AntiPassback(path, SIZE, interval, 16)
    passed = set()
    now = MONDAY
    for _ in range(400):
        now += random.randrange(20)
        code = _code(random.randrange(12))
        window = now
        if not interval:
            window = now // 360 * 360 + random.randrange(2) * 100
            if random.randrange(100) == 0:
                now -= 3 * _DAY
            expected = (code, window) not in passed
        else:
            expected = not any(c == code and now < minute + interval for c, minute in passed)
        assert passes.allowed(code, window) is expected, (code, window)
        if expected and random.randrange(3):
            passes.record(code, window)
            passed.add((code, window))
        if random.randrange(40) == 0:
            passes = AntiPassback(path, SIZE, interval, 16)


def test_passes_of_another_setting_do_not_count():
    with Folder() as path:
        AntiPassback(path, SIZE).record(b"A", MONDAY)
        passes = AntiPassback(path, SIZE, 30)
        assert passes.allowed(b"A", MONDAY)
        passes.record(b"A", MONDAY + 500)
        assert not AntiPassback(path, SIZE).allowed(b"A", MONDAY)
        assert AntiPassback(path, SIZE).allowed(b"A", MONDAY + 500)


def _claim(passes, code, rule_set, minute, zone):
    zone.update(minute)
    buf = b"\x00" + rule_set + b"\x00"
    end = 1 + len(rule_set)
    return passes.claim(code, buf, 1, end, False, minute, zone.day_minute, zone.weekday)


def test_of_several_rules_each_meal_is_taken_once():
    zone = Zone("UTC0")
    two = packing.insert(packing.pack(_LUNCH), packing.pack(b"3_420_660_1111111"))
    with Folder() as path:
        passes = AntiPassback(path, SIZE)
        at_11 = MONDAY + 660
        # Breakfast ends in the minute in which lunch begins: a person may have both.
        assert _claim(passes, b"A", two, at_11 - 60, zone) == decision.ALLOWED
        assert _claim(passes, b"A", two, at_11 - 1, zone) == decision.ALREADY_USED
        assert _claim(passes, b"A", two, at_11, zone) == decision.ALLOWED
        assert _claim(passes, b"A", two, at_11, zone) == decision.ALREADY_USED
        assert _claim(passes, b"A", two, at_11 + 100, zone) == decision.ALREADY_USED
        assert _claim(passes, b"B", two, at_11 + 100, zone) == decision.ALLOWED
        assert _claim(passes, b"A", two, at_11 + _DAY, zone) == decision.ALLOWED


def test_a_pass_is_told_before_it_is_sealed_and_a_refusal_is_not():
    zone = Zone("UTC0")
    zone.update(MONDAY + 700)
    lunch = packing.pack(_LUNCH)
    moment = (lunch, 0, len(lunch), False, MONDAY + 700, zone.day_minute, zone.weekday)
    with Folder() as path:
        for interval in (0, 30):
            passes = AntiPassback(path + "/%d" % interval, SIZE, interval)
            told = []

            def callback(passes=passes, told=told):
                log = passes.log
                told.append((log.last, log.acked))

            for count, code in enumerate((b"A", b"B", b"C")):
                # The record is there, the seal is not.
                assert passes.claim(code, *moment, callback) == decision.ALLOWED
                assert told == [(count + 1, count)]
                assert passes.log.acked == count + 1
                assert passes.claim(code, *moment, callback) == decision.ALREADY_USED
                told.clear()
            no_clock = (lunch, 0, len(lunch), False, -1, -1, 0, callback)
            assert passes.claim(b"D", *no_clock) == rules.CLOCK_NOT_SET
            assert told == []


def test_a_pass_that_cannot_be_kept_is_not_told_and_one_that_cannot_be_sealed_is_refused():
    def fail(*arguments):
        raise OSError(5, "flash")

    zone = Zone("UTC0")
    zone.update(MONDAY + 700)
    lunch = packing.pack(_LUNCH)
    moment = (lunch, 0, len(lunch), False, MONDAY + 700, zone.day_minute, zone.weekday)
    with Folder() as path:
        passes = AntiPassback(path, SIZE)
        told = []
        passes.log.append = fail
        assert passes.claim(b"A", *moment, lambda: told.append(1)) == decision.NOT_KEPT
        assert told == [] and passes.fault
        passes = AntiPassback(path, SIZE)
        passes.log.ack = fail
        assert passes.claim(b"A", *moment, lambda: told.append(1)) == decision.NOT_KEPT
        # Nobody passed.
        assert told == [1]
        assert passes.claim(b"A", *moment, lambda: told.append(2)) == decision.ALLOWED
        assert told == [1, 2] and passes.fault == ""


def test_a_pass_is_void_if_its_seal_is_there_but_nobody_can_read_it():
    zone = Zone("UTC0")
    rule = packing.pack(_LUNCH)
    with Folder() as path, FailingFlash() as flash:
        passes = AntiPassback(path, SIZE)
        assert _claim(passes, b"A", rule, MONDAY + 700, zone) == decision.ALLOWED
        # The second write is the seal; then nothing can be read.
        flash.count(writes=(2,), reads=Always(), done=True)
        assert _claim(passes, b"B", rule, MONDAY + 700, zone) == decision.NOT_KEPT
        assert flash.writes == 2
        assert _claim(passes, b"C", rule, MONDAY + 700, zone) == decision.NOT_KEPT
        flash.count()
        for _ in range(2):
            assert _claim(passes, b"A", rule, MONDAY + 700, zone) == decision.ALREADY_USED
            passes = AntiPassback(path, SIZE)
        for code in (b"B", b"C"):
            assert _claim(passes, code, rule, MONDAY + 700, zone) == decision.ALLOWED
            assert _claim(passes, code, rule, MONDAY + 700, zone) == decision.ALREADY_USED


def test_without_a_clock_nothing_is_taken():
    with Folder() as path:
        passes = AntiPassback(path, SIZE)
        always = packing.pack(b"9_1")
        assert passes.claim(b"A", always, 0, 2, False, -1, -1, 0) == rules.CLOCK_NOT_SET
        assert passes.claim(b"A", always, 0, 2, False, MONDAY, -1, 0) == rules.ZONE_NOT_SET
        assert passes.claim(b"A", always, 0, 2, False, MONDAY, 0, 0) == decision.ALLOWED
        timed = AntiPassback(path, SIZE, 30)
        assert timed.claim(b"A", always, 0, 2, False, MONDAY, -1, 0) == decision.ALLOWED


def test_where_passes_cannot_be_kept_nobody_passes_and_it_says_so():
    with Folder() as path:
        write(path + "/file", b"")
        passes = AntiPassback(path + "/file", SIZE)  # a file in the place of the folder
        assert passes.log is None and passes.fault
        zone = Zone("UTC0")
        rule = packing.pack(_LUNCH)
        assert _claim(passes, b"A", rule, MONDAY + 700, zone) == decision.NOT_KEPT
        error_of(OSError, passes.record, b"A", MONDAY)
        os.remove(path + "/file")
        assert _claim(passes, b"A", rule, MONDAY + 700, zone) == decision.ALLOWED
        assert passes.fault == ""
        assert _claim(passes, b"A", rule, MONDAY + 700, zone) == decision.ALREADY_USED


def test_of_a_damaged_log_the_rest_counts():
    with Folder() as path:
        window = MONDAY + 660
        passes = AntiPassback(path, SIZE, 0, 32)
        for number in range(200):
            passes.record(_code(number), window)
        name = path + "/old/" + os.listdir(path + "/old")[0]
        data = bytearray(read(name))
        data[70] ^= 8
        write(name, data)
        again = AntiPassback(path, SIZE, 0, 32)
        known = [number for number in range(200) if not again.allowed(_code(number), window)]
        assert 190 <= len(known) < 200 and again.log.damaged == 1
        again.record(_code(1), window)
        assert not again.allowed(_code(1), window)
        # A pass in memory is refused even if its record cannot be read any more.
        write(name, b"\xff" * len(data))
        assert not passes.allowed(_code(199), window)


if MICROPYTHON:
    from device.anti_passback_power import check_meal, check_single_failures

    def test_a_power_cut_at_the_first_meal():
        check_meal("first_meal")

    def test_a_power_cut_at_a_meal_while_files_are_written_together():
        check_meal("into_the_segment", 3)

    def test_a_power_cut_at_a_meal_while_yesterdays_passes_give_way():
        check_meal("yesterday_gives_way", 5)

    def test_who_is_refused_because_an_operation_fails_may_pass_later_and_nobody_twice():
        for meal in ("first_meal", "into_the_segment", "with_an_interval"):
            check_single_failures(meal, "once")
        check_single_failures("yesterday_gives_way", "once", 7)

    def test_the_same_if_the_operation_was_done_though_it_failed():
        for meal in ("first_meal", "into_the_segment", "with_an_interval"):
            check_single_failures(meal, "lies")
        check_single_failures("yesterday_gives_way", "lies")


def test_a_pass_that_was_never_sealed_is_none_and_later_ones_are():
    with Folder() as folder:
        passes = AntiPassback(folder, SIZE, room=8)
        for n in range(12):
            passes.record(b"%d" % n, MONDAY)
        # A power cut between the record and its seal, twice.
        for code in (b"A", b"B"):
            passes.log.append(b"\x01" + MONDAY.to_bytes(4, "little") + code)
            passes = AntiPassback(folder, SIZE, room=8)
            assert passes.allowed(code, MONDAY)
        for n in range(12):
            assert not passes.allowed(b"%d" % n, MONDAY)
        # Also when the pass is no longer held in memory, and after another start.
        for n in range(20, 40):
            passes.record(b"%d" % n, MONDAY)
        for again in (passes, AntiPassback(folder, SIZE, room=8)):
            for code in (b"A", b"B"):
                assert again.allowed(code, MONDAY)
            assert not again.allowed(b"3", MONDAY) and not again.allowed(b"25", MONDAY)
        passes.record(b"A", MONDAY)
        assert not passes.allowed(b"A", MONDAY)
        assert not AntiPassback(folder, SIZE, room=8).allowed(b"A", MONDAY)

"""The reader's uptime, beyond the wrap of the chip's ticks, in small integers."""

import sys

from device.chip_time import BEGAN, PERIOD


class Machine:
    """A stand-in for the module `machine`."""

    class RTC:
        """An RTC that is never used."""

    class WDT:
        """A watchdog that is never started."""

    class Timer:
        """A timer that never counts."""

        def __init__(self, id):
            pass


class Board:
    """A stand-in for the module `board`."""

    NAME = "none"


sys.modules["machine"] = Machine
sys.modules["board"] = Board

from kalitka.system import clock  # noqa: E402

DAY = 86400


class Hands:
    """A stand-in for `time`, with milliseconds that are moved by hand."""

    def __init__(self):
        self.millis = BEGAN * 1000 + 7
        self.seconds = 0

    def time(self):
        return self.seconds

    def ticks_ms(self):
        return self.millis % PERIOD

    def ticks_diff(self, end, start):
        return (end - start + PERIOD // 2) % PERIOD - PERIOD // 2


def with_hands(check):
    """Call check(hands) with a clock whose time is moved by hand."""
    kept = clock.time
    clock.time = hands = Hands()
    try:
        check(hands)
    finally:
        clock.time = kept


def test_the_uptime_is_right_for_ten_years():
    def check(hands):
        uptime = clock.Uptime()
        began = hands.millis
        # Steps of a running loop, of one that hangs, and the longest that are allowed.
        steps = [1000, 1001, 999, 1, 0, 16, 250, 1013, 60000, 3600000, DAY * 1000, 6 * DAY * 1000]
        while hands.millis - began < 3650 * DAY * 1000:
            for step in steps:
                hands.millis += step
                uptime.update()
                passed = hands.millis - began
                assert (uptime.seconds, uptime.millis) == (passed // 1000, passed % 1000)
                assert uptime.seconds < PERIOD

    with_hands(check)


def test_no_number_on_the_way_is_large():
    # The milliseconds of the longest allowed step, on top of the rest of the step before.
    def check(hands):
        uptime = clock.Uptime()
        for _ in range(70):
            hands.millis += PERIOD // 2 - 1
            difference = hands.ticks_diff(
                hands.ticks_ms(), (hands.millis - PERIOD // 2 + 1) % PERIOD
            )
            assert difference == PERIOD // 2 - 1
            assert uptime.millis + difference < PERIOD
            uptime.update()
        assert uptime.seconds == 70 * (PERIOD // 2 - 1) // 1000

    with_hands(check)


def test_a_line_of_the_console_has_its_millisecond_after_a_year():
    def check(hands):
        from kalitka import app

        lines = []
        app.print = lines.append
        kept = app._uptime
        app._uptime = clock.Uptime()
        try:
            app.report("ready")
            for millis, written in (
                (71, "  0.071"),
                (9929, " 10.000"),
                (4 * 3600 * 1000 + 1, "14410.001"),
                (300 * 1000, "14710.001"),
            ):
                hands.millis += millis
                app.report("x")
                assert lines[-1] == written + " x", lines[-1]
            for _ in range(80):
                hands.millis += 5 * DAY * 1000
                app.report("x")
            assert lines[-1] == "34574710.001 x", lines[-1]
            hands.millis += 999
            app.report("x")
            assert lines[-1] == "34574711.000 x", lines[-1]
        finally:
            app._uptime = kept
            del app.print
        assert lines[0] == "  0.000 ready"

    with_hands(check)


def test_6_a_time_that_the_clocks_show_twice_has_its_offset():
    def check(hands):
        berlin = clock.Clock(clock.Uptime())
        assert berlin.text() == "clock not set"
        zone = "CET-1CEST,M3.5.0,M10.5.0/3"
        for minute, text in (
            (30415679, "Sun 01:59"),
            (30415680, "Sun 02:00+02:00"),
            (30415739, "Sun 02:59+02:00"),
            (30415740, "Sun 02:00+01:00"),
            (30415799, "Sun 02:59+01:00"),
            (30415800, "Sun 03:00"),
        ):
            hands.seconds = (minute - clock._EPOCH) * 60
            berlin.set_zone(zone)
            assert berlin.text() == "%s %s" % (text, zone), (minute, berlin.text())
            # Displays leave the present moment as it is.
            assert berlin.zone.day_minute == berlin.day_minute

    with_hands(check)

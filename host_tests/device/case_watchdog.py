"""The watchdog: fed by a timer for a limited time, then only while the loops turn."""

from device.fake_machine import import_with


class Wdt:
    """The chip's watchdog, one for all."""

    timeouts = []  # noqa: RUF012
    feeds = 0

    def __init__(self, timeout):
        Wdt.timeouts.append(timeout)

    def feed(self):
        """Count."""
        Wdt.feeds += 1


class Timer:
    """A timer that counts when a test says so."""

    PERIODIC = 1

    def __init__(self, id):
        self.period = 0

    def init(self, mode, period, callback):
        """Begin."""
        assert mode == Timer.PERIODIC
        self.period = period
        self._callback = callback

    def deinit(self):
        """Stop."""
        self.period = 0

    def count(self, seconds):
        """Let time pass."""
        for _ in range(seconds * 1000 // self.period if self.period else 0):
            self._callback(self)


class Loop:
    """A loop that turned."""

    turned = True


def _fresh():
    # The module with its own state, and with a chip that counts.
    class Chip:
        WDT = Wdt

    Chip.Timer = Timer
    del Wdt.timeouts[:]
    Wdt.feeds = 0
    return import_with(Chip, "system.watchdog")


def test_a_timer_feeds_for_as_long_as_it_was_told_and_no_longer():
    watchdog = _fresh()
    assert not Wdt.timeouts
    watchdog.hold(120)
    assert Wdt.timeouts == [20000]
    watchdog._timer.count(116)
    assert Wdt.feeds == 29
    watchdog._timer.count(1000)
    assert Wdt.feeds == 30
    # Anew: as often as it is asked for, with the same watchdog.
    watchdog.hold(600)
    watchdog._timer.count(10000)
    assert Wdt.feeds == 180 and Wdt.timeouts == [20000]


def test_the_timer_stops_when_all_loops_have_turned_and_not_before():
    watchdog = _fresh()
    watchdog.hold(120)
    loops = [Loop(), Loop()]
    loops[1].turned = False
    dog = watchdog.Watchdog(loops)
    dog.look()
    assert watchdog._timer.period and not Wdt.feeds
    loops[1].turned = True
    dog.look()
    assert not watchdog._timer.period and Wdt.feeds == 1


def test_a_single_loop_that_hangs_is_enough():
    watchdog = _fresh()
    watchdog.hold(120)
    loops = [Loop() for _ in range(3)]
    dog = watchdog.Watchdog(loops)
    dog.look()
    for silent in range(3):
        for i in range(3):
            loops[i].turned = i != silent
        before = Wdt.feeds
        for _ in range(100):
            dog.look()
        assert Wdt.feeds == before
        loops[silent].turned = True
        dog.look()
        assert Wdt.feeds == before + 1
        assert not any(loop.turned for loop in loops)


def test_a_reader_that_no_boot_script_started_has_no_watchdog():
    watchdog = _fresh()
    watchdog.Watchdog([Loop()]).look()
    assert not Wdt.timeouts

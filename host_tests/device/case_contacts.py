"""Switches at pins, the lock, and the alarms of the door contact, in virtual time."""

import asyncio

from device.chip_time import Loop, Ticks
from device.fake_time import run
from kalitka.hardware import contact, door, lock
from kalitka.hardware.contact import Contact
from kalitka.hardware.lock import Lock
from kalitka.journal.entries import FORCED, HELD

_LOCK_S = 5
_HELD_S = 30


class Pin:
    """A pin with a level, which calls its handler at every edge."""

    IRQ_RISING, IRQ_FALLING = 1, 2

    def __init__(self, level):
        self._level = level
        self._handler = None

    def irq(self, handler, trigger):
        assert trigger == Pin.IRQ_RISING | Pin.IRQ_FALLING
        self._handler = handler

    def value(self, level=None):
        if level is None or level == self._level:
            return self._level
        self._level = level
        if self._handler:
            self._handler(self)
        return level

    async def bounce(self, level):
        """Go to this level as a contact does, bouncing for some milliseconds."""
        for millis in (1, 3, 2, 5, 1):
            self.value(level)
            await asyncio.sleep(millis / 1000)
            self.value(1 - level)
            await asyncio.sleep(millis / 1000)
        self.value(level)


class Timer:
    """A `machine.Timer` on which the lock does not rely: `look` alone calls its callback."""

    def __init__(self, output):
        self._output = output
        self.armed = []  # the level of the output at each `init`
        self._callback = None

    def init(self, mode, period, callback):
        """Arm it."""
        assert mode == 1 and period <= 50
        self.armed.append(self._output.value())
        self._callback = callback

    def deinit(self):
        """Stop it."""
        self._callback = None

    def look(self):
        """Call the callback, if it counts; return whether it does."""
        if self._callback:
            self._callback(self)
        return self._callback is not None


def in_time(scenario, *arguments):
    """Run the coroutine function in virtual time."""
    kept = contact.asyncio, lock.asyncio, lock.time
    contact.asyncio = lock.asyncio = Loop
    lock.time = Ticks
    try:
        return run(lambda: scenario(*arguments))
    finally:
        contact.asyncio, lock.asyncio, lock.time = kept


async def _listen(switch, told):
    while True:
        told.append(await switch.change())
        assert switch.active == told[-1]


async def _end(job):
    assert not job.done()
    job.cancel()
    await asyncio.sleep(0)


# Normally open: a closed switch pulls the level down to 0.
_POLARITIES = ((False, 0), (True, 1))


def test_a_switch_is_active_when_it_is_not_as_it_normally_is():
    async def scenario(normally_closed, active):
        assert Contact(Pin(active), normally_closed).active
        pin = Pin(1 - active)
        switch = Contact(pin, normally_closed)
        assert not switch.active
        told = []
        job = asyncio.create_task(_listen(switch, told))
        for level in (active, 1 - active) * 3:
            await asyncio.sleep(1)
            pin.value(level)
            await asyncio.sleep(0.2)
            assert told.pop() == (level == active) and not told
        await _end(job)

    for polarity in _POLARITIES:
        in_time(scenario, *polarity)


def test_a_switch_that_bounces_is_told_once():
    async def scenario(normally_closed, active):
        pin = Pin(1 - active)
        told = []
        job = asyncio.create_task(_listen(Contact(pin, normally_closed), told))
        for _ in range(20):
            await asyncio.sleep(0.5)
            await pin.bounce(active)
            await asyncio.sleep(0.5)
            await pin.bounce(1 - active)
        await asyncio.sleep(0.5)
        assert told == [True, False] * 20, told
        await _end(job)

    for polarity in _POLARITIES:
        in_time(scenario, *polarity)


def test_a_spike_is_not_told():
    async def scenario():
        pin = Pin(1)
        told = []
        job = asyncio.create_task(_listen(Contact(pin, False), told))
        for _ in range(100):
            pin.value(0)
            await asyncio.sleep(0.002)
            pin.value(1)
            await asyncio.sleep(0.2)
            pin.value(0)
            pin.value(1)
            await asyncio.sleep(0.2)
        assert told == []
        await _end(job)

    in_time(scenario)


def test_what_changes_while_nobody_waits_is_told_to_who_comes_next():
    async def scenario():
        pin = Pin(1)
        switch = Contact(pin, False)
        await pin.bounce(0)
        await asyncio.sleep(10)
        assert await switch.change() is True
        # There and back again counts as no change.
        pin.value(1)
        await asyncio.sleep(1)
        pin.value(0)
        job = asyncio.create_task(switch.change())
        await asyncio.sleep(1)
        await _end(job)

    in_time(scenario)


def test_a_change_is_not_missed_when_the_wait_for_it_ends():
    # The wait is cancelled before, within and after the time for which a level has to be steady.
    async def scenario(millis):
        pin = Pin(1)
        switch = Contact(pin, False)

        async def press():
            await asyncio.sleep(0.05)
            await pin.bounce(0)

        job = asyncio.create_task(press())
        told = []
        try:
            told.append(await asyncio.wait_for(switch.change(), millis / 1000))
        except asyncio.TimeoutError:  # noqa: UP041 - MicroPython has no other
            pass
        if not told:
            told.append(await asyncio.wait_for(switch.change(), 1))
        assert told == [True] and switch.active
        await job

    for millis in list(range(1, 130, 4)) + [200]:
        in_time(scenario, millis)


class Dog:
    """Stands for the watchdog."""

    def __init__(self):
        self.looks = 0

    def look(self):
        """Count."""
        self.looks += 1


class House:
    """A door with a contact and a lock, and the tasks that watch them."""

    def __init__(self, is_open, seconds):
        self.output = Pin(0)
        self.timer = Timer(self.output)
        self.lock = Lock(self.output, 1, _LOCK_S, self.timer)
        self.pin = Pin(int(is_open))
        self.alarms = []
        self.dog = Dog()
        self.jobs = [
            asyncio.create_task(self.lock.run(self.dog)),
            asyncio.create_task(
                door.watch(Contact(self.pin, True), self.lock, seconds, self._tell)
            ),
        ]

    def _tell(self, state, reason):
        self.alarms.append((state, reason))

    async def open(self, seconds=0):
        """Open the door, and leave it open for `seconds`."""
        await self.pin.bounce(1)
        await asyncio.sleep(seconds)

    async def shut(self, seconds=1):
        """Shut the door, and leave it shut for `seconds`."""
        await self.pin.bounce(0)
        await asyncio.sleep(seconds)


def at_door(scenario, is_open=False, seconds=_HELD_S):
    """Run `scenario(house)`; return the alarms: [(state, reason)]."""

    async def main():
        house = House(is_open, seconds)
        await asyncio.sleep(0)
        await scenario(house)
        for job in house.jobs:
            await _end(job)
        return house.alarms

    return in_time(main)


def test_the_lock_shuts_after_its_time_and_a_door_may_open_a_moment_later():
    async def scenario(house):
        assert house.output.value() == 0 and not house.lock.released
        house.lock.open()
        assert house.output.value() == 1 and house.lock.released
        await asyncio.sleep(_LOCK_S - 0.2)
        assert house.output.value() == 1 and house.lock.released
        await asyncio.sleep(0.4)
        assert house.output.value() == 0 and house.lock.released
        assert not house.timer.look()  # stopped
        await asyncio.sleep(0.4)
        assert house.lock.released
        await asyncio.sleep(0.8)
        assert not house.lock.released

    at_door(scenario)


def test_the_locks_loop_feeds_the_watchdog_whether_it_is_open_or_shut():
    async def scenario(house):
        for _ in range(2):
            before = house.dog.looks
            await asyncio.sleep(_LOCK_S - 1)
            assert house.dog.looks - before >= 2 * (_LOCK_S - 1)
            house.lock.open()

    at_door(scenario)


def test_opening_the_lock_again_begins_its_time_anew():
    async def scenario(house):
        # While the lock is open, and in the second after.
        for pause in (_LOCK_S - 1, _LOCK_S + 0.5):
            house.lock.open()
            await asyncio.sleep(pause)
            house.lock.open()
            await asyncio.sleep(_LOCK_S - 0.2)
            assert house.output.value() == 1 and house.lock.released
            await asyncio.sleep(0.6)
            assert house.output.value() == 0 and house.lock.released
            await asyncio.sleep(1)
            assert not house.lock.released

    at_door(scenario)


def test_a_timer_shuts_the_lock_whose_task_hangs():
    async def scenario(house):
        await _end(house.jobs.pop(0))
        for level in range(2):
            house.lock.open()
            # Armed while the lock was still shut, and again when it was opened again.
            assert house.timer.armed == [0] + [1] * level
            await asyncio.sleep(_LOCK_S - 0.1)
            assert house.timer.look() and house.output.value() == 1
        await asyncio.sleep(0.2)
        assert house.output.value() == 1
        # It looks on: only the lock's task stops it.
        assert house.timer.look() and house.output.value() == 0
        assert house.timer.look() and house.output.value() == 0
        house.lock.shut()
        assert not house.timer.look()

    at_door(scenario)


def test_a_timer_that_looks_while_the_lock_is_being_opened_still_shuts_it():
    async def scenario(house):
        await _end(house.jobs.pop(0))
        init = house.timer.init

        def slow(**options):
            # As long as the lock is to be open for, and the timer looks at the end of it.
            init(**options)
            Ticks.began += (_LOCK_S + 1) * 1000
            house.timer.look()

        house.timer.init = slow
        house.lock.open()
        assert house.output.value() == 1
        await asyncio.sleep(_LOCK_S + 0.1)
        assert house.timer.look() and house.output.value() == 0

    kept = Ticks.began
    try:
        at_door(scenario)
    finally:
        Ticks.began = kept


def test_a_lock_stays_shut_if_there_is_no_timer_for_it():
    def no_timer(**_):
        raise OSError(12)

    async def scenario(house):
        house.timer.init = no_timer
        try:
            house.lock.open()
            raise AssertionError
        except OSError:
            pass
        assert house.output.value() == 0 and not house.lock.released

    at_door(scenario)


def test_a_lock_whose_task_ended_while_it_was_open_is_shut_by_the_next_one():
    async def scenario():
        output = Pin(0)
        one = Lock(output, 1, _LOCK_S, Timer(output))
        job = asyncio.create_task(one.run(Dog()))
        await asyncio.sleep(0.1)
        one.open()
        await asyncio.sleep(1)
        await _end(job)
        assert output.value() == 1
        job = asyncio.create_task(one.run(Dog()))
        await asyncio.sleep(_LOCK_S - 1.2)
        assert output.value() == 1
        await asyncio.sleep(0.4)
        assert output.value() == 0
        await _end(job)

    in_time(scenario)


def test_who_was_let_through_and_shuts_the_door_causes_no_alarm():
    async def scenario(house):
        for after in (0, 2, _LOCK_S - 0.2, _LOCK_S + 0.5):
            house.lock.open()
            await asyncio.sleep(after)
            await house.open(10)
            await house.shut(20)
            assert not house.lock.released

    assert at_door(scenario) == []


def test_a_door_that_is_opened_without_leave_is_forced_until_it_is_shut():
    async def scenario(house):
        await asyncio.sleep(100)
        await house.open(1)
        assert house.alarms == [(1, FORCED)]
        await asyncio.sleep(5)
        await house.shut()
        assert house.alarms == [(1, FORCED), (0, FORCED)]
        # The door opens too late after the lock shut.
        house.lock.open()
        await asyncio.sleep(_LOCK_S + 1.5)
        await house.open(1)
        await house.shut()

    assert at_door(scenario) == [(1, FORCED), (0, FORCED)] * 2
    assert at_door(scenario, seconds=0) == [(1, FORCED), (0, FORCED)] * 2


def test_a_forced_door_that_stays_open_is_one_alarm():
    async def scenario(house):
        await house.open(10 * _HELD_S)
        # Also if the lock lets somebody through meanwhile.
        house.lock.open()
        await asyncio.sleep(10 * _HELD_S)
        assert house.alarms == [(1, FORCED)]
        await house.shut(100)

    assert at_door(scenario) == [(1, FORCED), (0, FORCED)]


def test_a_door_that_is_left_open_is_held_until_it_is_shut():
    async def scenario(house):
        for _ in range(2):
            house.lock.open()
            await house.open(_HELD_S - 1)
            assert house.alarms == []
            await asyncio.sleep(2)
            assert house.alarms == [(1, HELD)]
            await asyncio.sleep(20 * _HELD_S)
            await house.shut()
            assert house.alarms == [(1, HELD), (0, HELD)]
            house.alarms.clear()
            await asyncio.sleep(100)

    at_door(scenario)


def test_a_door_that_may_stand_open_for_ever_is_never_held():
    async def scenario(house):
        house.lock.open()
        await house.open(5000)  # longer than any setting
        await house.shut(100)
        assert house.alarms == []
        # The door is watched as before.
        await house.open(1)
        await house.shut()

    assert at_door(scenario, seconds=0) == [(1, FORCED), (0, FORCED)]


def test_a_door_that_is_open_at_the_start_was_not_forced():
    async def shut_in_time(house):
        await asyncio.sleep(_HELD_S - 5)
        await house.shut(100)

    async def left_open(house):
        await asyncio.sleep(_HELD_S + 5)
        await house.shut(100)
        await house.open(1)
        await house.shut()

    assert at_door(shut_in_time, is_open=True) == []
    assert at_door(left_open, is_open=True) == [(1, HELD), (0, HELD), (1, FORCED), (0, FORCED)]
    assert at_door(shut_in_time, is_open=True, seconds=0) == []


def test_a_door_that_is_opened_again_at_once_is_a_new_opening():
    async def scenario(house):
        house.lock.open()
        await house.open(1)
        await house.shut(0.2)
        await house.open(1)  # the lock is still open
        await house.shut(20)
        house.lock.open()
        await house.open(_LOCK_S + 5)
        await house.shut(0.2)
        await house.open(1)
        await house.shut()

    assert at_door(scenario) == [(1, FORCED), (0, FORCED)]


def test_a_door_shut_at_the_moment_it_would_be_held_is_told_in_pairs():
    # The door is shut around the end of its time, within what a contact needs to be steady.
    for millis in range(-80, 40, 10):

        async def scenario(house, millis=millis):
            house.lock.open()
            await house.open(_HELD_S + millis / 1000)
            await house.shut(5)

        assert at_door(scenario) in ([], [(1, HELD), (0, HELD)]), millis

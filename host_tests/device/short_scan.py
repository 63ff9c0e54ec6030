"""A card is held up while memory is short: a reader's loop, log, table and passes, on LittleFS.

The scanner's pulses, the gate, the lock with its timer and the tasks' supervisor are the
firmware's. Whatever the shortage does to the card, the door is at rest before memory is back, what
the log says is what happened, it has every entry or counts it as lost, and who comes next is
treated rightly. The same for a start without memory. MicroPython only.
"""

import asyncio
import sys

import vfs

from device.chip_time import Ticks
from device.fake_time import Hands
from device.ramdisk import RamDisk
from device.short_memory import Disk, check
from device.syncs import apply
from kalitka.access import decision, packing
from kalitka.access.pace import Pace
from kalitka.hardware import lock as lock_module
from kalitka.hardware import wiegand
from kalitka.journal import entries
from kalitka.journal import log as log_module
from kalitka.journal.access_log import AccessLog
from kalitka.journal.anti_passback import AntiPassback
from kalitka.table.table import Table

PLACE = "/short"
_SIZE = 32768
_BLOCKS = 40
_NOW = 1795415400  # seconds since 1970 UTC
GUEST, STRANGER, LATE = b"04A1B2C3", b"0BADC0DE", b"0000A7E5"
FRIEND, NOBODY = b"0D15EA5E", b"0DDBA115"  # those who come next
_LOCK_S = 1
USED = "used"
# Milliseconds of a life: memory is short from _TAKEN to _GIVEN.
_TAKEN, _FIRST, _GIVEN, _SECOND, _THIRD, _END = 200, 210, 2500, 3000, 5000, 7000


def _imported():
    # The modules that import the chip's own, which no test has.
    class Machine:
        WDT = None

        def Timer(number):
            return None

    Machine.RTC = None
    sys.modules["machine"] = sys.modules["board"] = Machine
    from kalitka import app, gate

    del sys.modules["machine"], sys.modules["board"]
    app.print = lambda line: None  # the console
    return app, gate


app, gate = _imported()


class Chip:
    """Time, wires and timer, in the place of asyncio's queue: nothing here takes any memory.

    plan: [(millisecond, what is called then)], in this order.
    """

    map = ("nobody waits for a socket, and yet the loop goes on",)

    def __init__(self):
        self.hands = Hands()
        self.plan = []
        self.timer = None
        self.pins = Wire(), Wire()
        self._bits = b""
        self._bit = 0

    def wait_io_event(self, millis):
        """Let time pass."""
        assert millis >= 0, "nothing would ever happen again"
        for _ in range(millis):
            self.hands.move(1)
            self._tick()

    def _tick(self):
        now = self.hands.passed
        if self._bit < len(self._bits) and not now & 1:
            self._pulse()
        if self.timer and not now % 50:
            self.timer(None)
        if self.plan and now >= self.plan[0][0]:
            self.plan.pop(0)[1]()

    def _pulse(self):
        bit = self._bits[self._bit]
        self._bit += 1
        self.pins[bit].handler(None)

    def present(self, frame):
        """Hold up a card: from now on its pulses come. frame: see `frame_of`."""
        self._bits = frame
        self._bit = 0

    # As a `machine.Timer`.

    def init(self, mode, period, callback):
        """Arm the timer."""
        self.timer = callback

    def deinit(self):
        """Stop it."""
        self.timer = None

    def remove(self, task):
        """As of asyncio's queue: nobody waits there."""


def frame_of(code):
    """Return the bits of a card, a byte for each."""
    number = int(code, 16)
    bits = [number >> i & 1 for i in range(31, -1, -1)]
    return bytes([sum(bits[:16]) & 1] + bits + [1 - sum(bits[16:]) & 1])


class Wire:
    """An input pin."""

    IRQ_FALLING = 2
    handler = None

    def irq(self, handler, trigger):
        """Keep the handler."""
        self.handler = handler


class Output:
    """The lock's output. opened: how often it went to 1."""

    def __init__(self):
        self.level = 0
        self.opened = 0

    def value(self, level):
        """Drive the output."""
        self.opened += level > self.level
        self.level = level


class Clock:
    """A clock that is set, or is not. turned: as of the firmware's."""

    zone = None
    weekday = 0

    def __init__(self, chip, is_set):
        self._chip = chip
        self.is_set = is_set
        self.minute = self.day_minute = -1
        self.turned = False
        if is_set:
            self.minute = _NOW // 60
            self.day_minute = self.minute % 1440

    def tick(self):
        """Nothing moves."""

    def uptime(self):
        """Return the seconds since the start."""
        return self._chip.hands.passed // 1000

    def seconds(self):
        """Return the seconds since 1970 UTC."""
        return _NOW + self.uptime()

    def text(self):
        """Return the local time in words."""
        return "now"

    async def run(self, callback):
        """Call it every second."""
        while True:
            callback()
            await asyncio.sleep(1)


class NoWatchdog:
    """It is not looked at."""

    def look(self):
        """Do nothing."""


class Log(AccessLog):
    """An access log that counts the entries it is given."""

    asked = 0

    def append(self, source, state, reason, code=b"", count=0):
        """Count and append."""
        self.asked += 1
        super().append(source, state, reason, code, count)


class Reader:
    """A reader on the mounted disk, plugged into `chip`. passes: see Site.

    door: its output. log: the access log.
    """

    def __init__(self, chip, passes, is_set, report):
        self.chip = chip
        self.door = Output()
        self.lock = lock_module.Lock(self.door, 1, _LOCK_S, chip)
        scanner = wiegand.Wiegand(*chip.pins)
        clock = Clock(chip, is_set)
        table = Table(PLACE + "/table")
        self.log = Log(PLACE + "/journal", _SIZE, clock, report)
        store = AntiPassback(PLACE + "/passes", _SIZE, 1, 64) if passes else None
        judge = gate.Gate(table, clock, "minute", self.log, store, Pace(0, 2), None)
        self._tasks = [
            ("clock", clock.run, (judge.tick,)),
            ("scanner", gate.serve_scanner, (scanner, judge, clock, self.lock, None, report)),
            ("lock", self.lock.run, (NoWatchdog(),)),
        ]

    def live(self, plan):
        """Live until `_END`; return whether the loop has gone on."""
        self.chip.plan = plan
        try:
            asyncio.run(self._life())
            return True
        except MemoryError:
            return False
        finally:
            self.lock.shut()  # as the application does at its end

    async def _life(self):
        tasks = [asyncio.create_task(app.supervise(*task)) for task in self._tasks]
        await asyncio.sleep_ms(_END)
        return tasks


class Site:
    """A disk with a table and a log of `count` entries; a card, `code`, is held up there.

    passes: whether each card may pass once a minute; USED: and this one has. is_set: whether the
    clock is set. starts: whether memory is short from the reader's start on, else with the card.
    """

    def __init__(self, code, count, passes=False, is_set=True, starts=False):
        self._code = code
        self._passes = passes
        self._is_set = is_set
        self._starts = starts
        self._told = []
        self._data = bytearray(_BLOCKS * RamDisk.SIZE)
        vfs.VfsLfs2.mkfs(Disk(self._data))
        self._mount()
        table = Table(PLACE + "/table")
        always = packing.pack(b"9_1")
        rules = [(GUEST, always), (FRIEND, always), (LATE, packing.pack(b"1_100_200"))]
        apply(table, True, rules, 1)
        table.close()
        reader = self._reader(Chip())
        for _ in range(count):
            reader.log.append(entries.EXIT_BUTTON, 1, 0)
        self._before = [(entries.EXIT_BUTTON, 1, 0, b"")] * count
        if passes == USED:
            present = reader.chip.present
            assert reader.live([(_FIRST, lambda: present(frame_of(code)))])
            self._before.append((entries.SCANNER, 1, decision.ALLOWED, code))
        self._unmount()
        self._image = bytes(self._data)

    def _mount(self):
        self._disk = Disk(self._data)
        vfs.mount(vfs.VfsLfs2(self._disk), PLACE)
        wiegand.time = lock_module.time = Ticks
        core = asyncio.core
        self._kept = core.ticks, core._io_queue

    def _unmount(self):
        core = asyncio.core
        core.ticks, core._io_queue = self._kept
        asyncio.new_event_loop()
        vfs.umount(PLACE)

    def _reader(self, chip):
        asyncio.new_event_loop()
        core = asyncio.core
        core.ticks, core._io_queue = chip.hands.ticks, chip
        return Reader(chip, self._passes, self._is_set, self._told.append)

    def try_in(self, shortage):
        """Hold the card up in a shortage; check what comes of it, and return it in words."""
        memoryview(self._data)[:] = self._image
        self._told = []
        self._mount()
        try:
            return self._try_in(shortage)
        except BaseException:
            shortage.end()
            print("with", shortage, self._told)
            raise
        finally:
            self._unmount()

    def _try_in(self, shortage):
        disk = self._disk
        chip, frame = Chip(), frame_of(self._code)
        reader = None
        seen = []

        def give():
            level, opened = reader.door.level, reader.door.opened
            shortage.end()
            seen.append((level, opened))

        plan = [
            (_TAKEN, lambda: shortage.begin(disk)),
            (_FIRST, lambda: chip.present(frame)),
            (_GIVEN, give),
            (_SECOND, lambda: chip.present(frame_of(FRIEND))),
            (_THIRD, lambda: chip.present(frame_of(NOBODY))),
        ]
        if self._starts:
            # It lasts until the first card has been decided on.
            plan.pop(0)
            shortage.begin(disk)
        try:
            reader = self._reader(chip)
            went_on = reader.live(plan)
        except MemoryError:
            went_on = False
        opened = asked = dropped = 0
        if reader:
            opened, asked, dropped = reader.door.opened, reader.log.asked, reader.log.dropped
            assert reader.door.level == 0
        if went_on:
            level, before = seen[0]
            assert level == 0, "the door was open before memory was back"
            assert opened == before + 1, "the next card"
            opened = before
        else:
            shortage.end()
            chip = Chip()
            reader = self._reader(chip)
            assert reader.live(
                [
                    (_SECOND, lambda: chip.present(frame_of(FRIEND))),
                    (_THIRD, lambda: chip.present(frame_of(NOBODY))),
                ]
            )
            assert reader.door.level == 0 and reader.door.opened == 1, "the next card"
            asked += reader.log.asked
            dropped += reader.log.dropped
        reasons = self._check_log(opened, asked, dropped)
        words = "let in" if opened else "denied" if reasons else "not answered"
        if dropped:
            words += " with an entry counted as lost"
        return words if went_on else words + " before a restart"

    def _check_log(self, opened, asked, dropped):
        # Returns the reasons of the card's entries.
        log = log_module.Log(PLACE + "/journal", _SIZE)
        found = []
        expected = 1
        for number, data in log.records():
            assert number == expected, (number, expected)
            expected += 1
            entry = entries.decode(data)
            if entry:
                found.append((entry[0], entry[1], entry[2], entry[4]))
        assert not log.damaged and not log.lost, (log.damaged, log.lost)
        count = len(self._before)
        assert found[:count] == self._before, found
        new = found[count:]
        assert len(new) + dropped == asked, (new, dropped, asked)
        assert new[-2:] == [
            (entries.SCANNER, 1, decision.ALLOWED, FRIEND),
            (entries.SCANNER, 0, decision.UNKNOWN_CODE, NOBODY),
        ], new
        reasons = [entry[2] for entry in new[:-2]]
        assert new[:-2] == [
            (entries.SCANNER, int(reason == decision.ALLOWED), reason, self._code)
            for reason in reasons
        ], new
        # What the log says is what happened at the door.
        if opened:
            assert self._code == GUEST and self._passes != USED, "a wrong card was let in"
            assert reasons == [decision.ALLOWED] or dropped, reasons
        elif reasons and not dropped:
            assert reasons[-1] != decision.ALLOWED, reasons
        return reasons


# The stories, by their names.


def guest():
    """A card that is let in."""
    return Site(GUEST, 5)


def guest_before_the_clock_is_set():
    """The same before the clock is set."""
    return Site(GUEST, 5, is_set=False)


def guest_whose_entry_fills_the_small_files():
    """The same when the log's small files go into the segment."""
    return Site(GUEST, 38)


def guest_who_may_pass_once():
    """A card that may pass once a minute."""
    return Site(GUEST, 5, True)


def guest_who_has_passed():
    """The same again."""
    return Site(GUEST, 5, USED)


def stranger():
    """A card that nobody knows."""
    return Site(STRANGER, 5)


def late():
    """A card that is no longer valid."""
    return Site(LATE, 5)


def start():
    """A start, and a card that is let in."""
    return Site(GUEST, 5, starts=True)


def start_before_the_clock_is_set():
    """The same before the clock is set."""
    return Site(GUEST, 38, is_set=False, starts=True)


def start_after_a_pass():
    """A start, and a card that has passed already."""
    return Site(GUEST, 5, USED, starts=True)


def check_story(name, step=1):
    """Try a story of this module in every `step`-th shortage; print what came of it."""
    check("a scan, " + name.replace("_", " "), globals()[name](), step)

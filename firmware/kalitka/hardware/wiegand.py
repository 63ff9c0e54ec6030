"""A Wiegand driver on two pins: frames of 26 and 34 bits, parity checked.

A pulse on D0 is a 0, a pulse on D1 a 1; a frame ends where the wires pause or stay quiet.
Promises: the interrupt handlers allocate nothing; a frame with a wrong parity or length, or one
that may have lost pulses, is counted and never becomes a code. Pins are handed in.

The ESP32 runs a pin's handler not in the interrupt but later, between two bytecodes, from a queue
of eight (its port has no `hard=True`); further ones are dropped silently. So while the chip stays
in C (a TLS handshake takes up to 1.5 s) the ninth pulse is lost, and while it erases a sector of
flash (30 ms and more) the interrupts themselves wait, one a pin. Both can be detected: eight
pulses are served in one go, or for a long time there is neither a pulse nor a turn of the loop,
which turns here every 10 ms. One case cannot: pulses on both wires within one write to the flash
(less than 1 ms) may come in the wrong order.

No better way was found. A second thread runs on the same core and waits for the interpreter's
lock, which a handshake keeps. The port's RMT peripheral only sends, a pulse counter (PCNT, from
1.26 on) does not know which wire came first, and a program for the ULP coprocessor, which could
do it, sees only the RTC's pins and is missing on the RISC-V chips.
"""

import asyncio
import time
from array import array

from micropython import const

_RING = const(128)  # pulses, a power of two: three cards one after the other
_MASK = const(0xFFFF)  # of the count of pulses, which wraps
_GAP_MAX = const(32767)  # microseconds between two pulses; longer gaps are stored as this
_FRAME_MAX = const(34)
_LOOK_MS = const(10)  # between two looks at the count of pulses
# Looks without a pulse that end a run. Pulses come 1 to 2 ms apart, 20 from the slowest readers.
_QUIET = const(3)
_CALM = const(200)  # looks without a pulse after which nobody seems to hold up a card
_JAM = const(400)  # looks without a quiet time after which no card is expected any more
# Looks for which `suspend` waits for such a calm, and then at most for the end of a frame.
_PATIENCE = const(800)
_PATIENCE_MAX = const(1000)
_QUEUE = const(8)  # handlers that the port can have waiting: MICROPY_SCHEDULER_DEPTH
# In microseconds:
_LATE = const(25000)  # without a pulse or a turn of the loop, after which pulses may be lost
_PERIOD_MIN = const(400)  # the shortest with which the interpreter can keep up
_PAUSE_MIN = const(8000)  # between two cards
# What may be missing of a run of pulses: nothing, its beginning, any part.
_WHOLE = const(0)
_HEADLESS = const(1)
_TORN = const(2)
_ENDLESS = const(3)  # there is no frame in it
CODE_SIZE = const(8)  # characters of the longest code: 32 bits in hexadecimal digits

_DIGITS = const(b"0123456789ABCDEF")


class FrameError(ValueError):
    """The pulses are not a valid frame; the message says why."""


class Wiegand:
    """A Wiegand scanner on the pins `d0` and `d1` (inputs with pull-up).

    reverse: whether the scanner sends the card's bytes in the other order. only: the one length
    of a frame that is taken, 26 or 34; 0 for both. A frame of 34 bits that loses eight pulses may
    look like one of 26: one in four has the right parity.
    frames, faults: how many good and bad frames came. incomplete: how many of the bad frames may
    have lost pulses. turned: set while a card is waited for, for the watchdog.
    """

    def __init__(self, d0, d1, reverse: bool = False, only: int = 0):
        # A run is a series of pulses without a quiet time between them: one or more frames.
        # The ring has for each pulse twice the microseconds since the one before, plus its bit.
        self._buf = array("H", bytes(2 * _RING))
        self._count = 0  # pulses so far; this and the next two are counts modulo _MASK + 1
        self._begun = 0  # where the incoming run begins
        self._at = self._stop = 0  # the rest of the run being decoded
        self._bits = bytearray(_FRAME_MAX)
        self._reverse = reverse
        self._only = only
        # In microseconds:
        self._pulsed = 0  # when the last pulse came
        self._alive = time.ticks_us()  # when a pulse last came or the loop last turned
        self._first_late = 0  # the time since `_alive` at the first pulse of the run
        self._late = 0  # the longest time since `_alive` at any other pulse of the run
        self._jammed = False  # the run goes on, but nothing in it is a card
        self._doing = ""  # see `suspend`
        self._cause = ""  # `_doing` at the pulse that was the latest
        self._missing = _WHOLE  # of the run being decoded
        self._period = 0  # between its pulses, in microseconds
        self._quiet = _CALM  # looks without a pulse so far
        self.frames = 0
        self.faults = 0
        self.incomplete = 0
        self.turned = False
        d0.irq(handler=self._zero, trigger=d0.IRQ_FALLING)
        d1.irq(handler=self._one, trigger=d1.IRQ_FALLING)

    async def read(self, code: bytearray) -> int:
        """Wait for a frame, put its code into `code` (bytearray) and return the code's length.

        The code is the card's bytes as upper-case hexadecimal digits. Raises FrameError.
        """
        while self._at == self._stop:
            await self._next_run()
        try:
            n = self._next(code)
        except FrameError:
            self.faults += 1
            raise
        self.frames += 1
        return n

    async def clear(self) -> None:
        """Drop all that was read but not fetched, up to the next quiet time."""
        self._at = self._stop
        await self._until_quiet()

    async def suspend(self, doing: str) -> None:
        """Wait until no card has been held up for two seconds.

        If cards keep coming, the wait ends after eight seconds, or up to two seconds later at the
        end of a frame. Until `resume` the chip counts as busy with `doing` (a name for people):
        the error for a card lost meanwhile gives that as the reason.
        """
        for look in range(_PATIENCE_MAX):
            if self._count == self._begun and (self._quiet >= _CALM or look >= _PATIENCE):
                break
            await asyncio.sleep_ms(_LOOK_MS)
        self._doing = doing

    def resume(self) -> None:
        """End the suspension; may be called more than once."""
        self._doing = ""

    def summary(self) -> str:
        """Return the counts since the start in words."""
        return "%d frames read, %d bad, %d of these incomplete" % (
            self.frames,
            self.faults,
            self.incomplete,
        )

    def _zero(self, _):
        self._pulse(0)

    def _one(self, _):
        self._pulse(1)

    def _pulse(self, bit):
        # Runs in a pin's handler, so it must not allocate: all values are small integers.
        now = time.ticks_us()
        late = time.ticks_diff(now, self._alive)
        self._alive = now
        count = self._count
        gap = 0
        if count == self._begun:
            self._first_late = late
            self._cause = self._doing
            self._late = 0
        else:
            gap = time.ticks_diff(now, self._pulsed)
            if gap > _GAP_MAX:
                gap = _GAP_MAX
            if late > self._late:
                self._late = late
                if late > self._first_late:
                    self._cause = self._doing
        self._pulsed = now
        self._buf[count & (_RING - 1)] = gap << 1 | bit
        self._count = (count + 1) & _MASK

    async def _next_run(self):
        # Waits for a run and for the quiet behind it. A run longer than the ring has overwritten
        # its own beginning; `_next` does not look for frames in it.
        if self._jammed:
            # The rest of a jam may look like a frame.
            await self._until_quiet()
        begun = self._begun
        seen = n = looks = 0
        while looks < _JAM and (not n or self._quiet < _QUIET):
            self._alive = time.ticks_us()
            self.turned = True
            await asyncio.sleep_ms(_LOOK_MS)
            n = (self._count - begun) & _MASK
            if n:
                looks += 1
            if n != seen:
                seen = n
                self._quiet = 0
            elif self._quiet < _CALM:
                self._quiet += 1
        # Pulses since the last look belong to the next run: nothing is reset, so none is lost.
        self._at = begun
        self._begun = self._stop = (begun + n) & _MASK
        self._period = self._median(begun, n)
        self._missing = _WHOLE
        if looks == _JAM:
            self._missing = _ENDLESS
            self._jammed = True
        elif self._late > max(_LATE, 2 * self._period) or self._burst(begun, n) >= _QUEUE:
            self._missing = _TORN
        elif self._first_late > _LATE:
            self._missing = _HEADLESS

    async def _until_quiet(self):
        # Drops every pulse up to the next quiet time.
        quiet = 0
        seen = self._count
        while quiet < _QUIET:
            self.turned = True
            await asyncio.sleep_ms(_LOOK_MS)
            quiet = quiet + 1 if self._count == seen else 0
            seen = self._count
        self._begun = seen
        self._jammed = False

    def _gap(self, i):
        return self._buf[i & (_RING - 1)] >> 1

    def _median(self, begun, n):
        # Returns the median time between two pulses of the run, at least _PERIOD_MIN.
        n = min(n, _RING)
        for i in range(begun + 1, begun + n):
            gap = self._gap(i)
            shorter = same = 0
            for k in range(begun + 1, begun + n):
                other = self._gap(k)
                shorter += other < gap
                same += other == gap
            if shorter <= (n - 1) // 2 < shorter + same:
                return max(gap, _PERIOD_MIN)
        return _PERIOD_MIN

    def _burst(self, begun, n):
        # Returns the largest number of pulses that were served in one go.
        most = burst = 1
        for i in range(begun + 1, begun + min(n, _RING)):
            burst = burst + 1 if self._gap(i) < self._period >> 1 else 1
            most = max(most, burst)
        return most

    def _length(self, n):
        # Returns the length of the first frame in the `n` pulses that are left.
        pause = max(_PAUSE_MIN, 6 * self._period)
        for i in range(self._at + 1, self._at + n - 1):
            # Behind a real pause pulses come at their pace; pulses served late come all at once.
            if self._gap(i) >= pause and self._gap(i + 1) >= self._period >> 1:
                return i - self._at
        return n

    def _next(self, code):
        at = self._at
        n = (self._stop - at) & _MASK
        missing = self._missing
        if missing == _ENDLESS:
            self._at = self._stop
            raise FrameError("pulses without a pause for 4 s: check the scanner and its wires")
        if missing != _TORN and n <= _RING:
            n = self._length(n)
            self._missing = _WHOLE  # the frames behind the first one have their beginning
        self._at = (at + n) & _MASK
        for i in range(min(n, _FRAME_MAX)):
            self._bits[i] = self._buf[(at + i) & (_RING - 1)] & 1
        fault = None
        size = 0
        try:
            size = decode(self._bits, n, code, self._reverse)
            if self._only and n != self._only:
                raise FrameError("frame of %d bits, not of %d" % (n, self._only))
        except FrameError as e:
            fault = e
        # The rest of a longer frame may look like a shorter one, even with the right parity.
        if missing == _TORN or (missing == _HEADLESS and (fault or n < _FRAME_MAX)):
            self.incomplete += 1
            fault = FrameError("%s: hold the card up again" % self._why())
        if fault:
            raise fault
        return size

    def _why(self):
        # Returns why pulses may be missing.
        if self._cause:
            return "a card was held up while the chip was busy with " + self._cause
        if max(self._late, self._first_late) > _LATE:
            return "a card was held up while the chip was busy"
        return "pulses came faster than they could be served"


def decode(bits: bytes | bytearray, count: int, code: bytearray, reverse: bool = False) -> int:
    """Put the code of a frame into `code` and return its length in characters.

    bits: one byte a bit, in the order received; count: how many. A frame is an even parity bit
    over the first half of the data, the data, and an odd parity bit over the second half.
    reverse: whether the bytes come in the other order. Raises FrameError.
    """
    if count not in (26, 34):
        raise FrameError("frame of %d bits, not of 26 or 34" % count)
    half = count >> 1
    first = second = 0
    for i in range(half):
        first += bits[i]
        second += bits[half + i]
    if first & 1 and not second & 1:
        # Each half has an odd number of bits.
        raise FrameError("wrong parity, and right when inverted: are D0 and D1 swapped?")
    if first & 1:
        raise FrameError("wrong parity in the first half of the frame")
    if not second & 1:
        raise FrameError("wrong parity in the second half of the frame")
    size = (count - 2) >> 3
    for i in range(size):
        at = 1 + 8 * i
        byte = 0
        for k in range(at, at + 8):
            byte = byte << 1 | bits[k]
        to = 2 * (size - 1 - i if reverse else i)
        code[to] = _DIGITS[byte >> 4]
        code[to + 1] = _DIGITS[byte & 15]
    return 2 * size

"""A Wiegand reader on two pins: frames of 26 and 34 bits, parity checked.

A pulse on D0 is a 0, one on D1 a 1; a frame ends when the wires are quiet. Promises: the
interrupt handlers allocate nothing; a frame with a wrong parity or length is counted and never
becomes a code. Pins are handed in.
"""

import asyncio

from micropython import const

_BITS_MAX = const(64)
_QUIET_MS = const(30)  # pulses come 1 to 2 ms apart, 20 ms at the slowest readers
_LOOK_MS = const(10)
CODE_SIZE = const(8)  # characters of the longest code: 32 bits as hexadecimal digits

_DIGITS = b"0123456789ABCDEF"


class FrameError(ValueError):
    """What came over the wires is no valid frame; the message says what is wrong."""


class Wiegand:
    """Reads codes from the pins `d0` and `d1` (inputs with pull-up).

    reverse: the reader sends the card's bytes in the other order.
    frames, faults: how many good and bad frames came.
    """

    def __init__(self, d0, d1, reverse: bool = False):
        self._bits = bytearray(_BITS_MAX)  # of the frame that is coming
        self._whole = bytearray(_BITS_MAX)  # of the one that is being decoded
        self._count = 0
        self._reverse = reverse
        self._flag = asyncio.ThreadSafeFlag()
        self.frames = 0
        self.faults = 0
        d0.irq(handler=self._zero, trigger=d0.IRQ_FALLING)
        d1.irq(handler=self._one, trigger=d1.IRQ_FALLING)

    async def read(self, code: bytearray) -> int:
        """Wait for a frame, put its code into `code` (bytearray) and return the code's length.

        The code is the card's bytes as upper-case hexadecimal digits. Raises FrameError.
        """
        await self._flag.wait()
        seen = 0
        quiet = 0
        while quiet < _QUIET_MS:
            await asyncio.sleep_ms(_LOOK_MS)
            quiet = quiet + _LOOK_MS if self._count == seen else 0
            seen = self._count
        # The next frame may begin while this one is decoded.
        self._bits, self._whole = self._whole, self._bits
        self._count = 0
        self._flag.clear()
        try:
            n = decode(self._whole, seen, code, self._reverse)
        except FrameError:
            self.faults += 1
            raise
        self.frames += 1
        return n

    def _zero(self, _):
        self._take(0)

    def _one(self, _):
        self._take(1)

    def _take(self, bit):
        # Runs in an interrupt.
        if self._count < _BITS_MAX:
            self._bits[self._count] = bit
        self._count += 1
        self._flag.set()


def decode(bits: bytes | bytearray, count: int, code: bytearray, reverse: bool = False) -> int:
    """Put the code of a frame into `code` and return its length in characters.

    bits: one byte a bit, the first first; count: how many. A frame is an even parity bit over
    the first half of the data, the data, and an odd parity bit over the second half.
    Raises FrameError.
    """
    if count not in (26, 34):
        raise FrameError("frame of %d bits, not of 26 or 34" % count)
    half = count >> 1
    ones = 0
    for i in range(half):
        ones += bits[i]
    if ones & 1:
        raise FrameError("wrong parity in the first half of the frame")
    for i in range(half, count):
        ones += bits[i]
    if not ones & 1:
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

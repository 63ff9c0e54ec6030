"""The Wiegand scanner in virtual time, on a chip that does not always serve its pins."""

import asyncio

from device.chip_time import PERIOD, Loop, Ticks
from device.fake_time import MICROPYTHON, run
from device.raising import error_of
from kalitka.hardware import wiegand
from kalitka.hardware.wiegand import CODE_SIZE, FrameError, Wiegand

BUSY = "a card was held up while the chip was busy: hold the card up again"
TLS = "a card was held up while the chip was busy with TLS: hold the card up again"
FAST = "pulses came faster than they could be served: hold the card up again"


class Pin:
    """An input pin. Its handler is called as the chip calls it, see Chip."""

    IRQ_FALLING = 2

    def irq(self, handler, trigger):
        assert trigger == Pin.IRQ_FALLING
        self.handler = handler


class Chip:
    """Two wires, and a queue of eight for the handlers of pins.

    While the chip stays in C, for `hold` milliseconds, nothing runs. After that all handlers that
    found a place in the queue run before the loop turns.
    """

    def __init__(self, reverse=False, only=0):
        self.pins = Pin(), Pin()
        self.scanner = Wiegand(*self.pins, reverse, only)
        self.codes = []
        self._busy = False
        self._erasing = False
        self._queue = []

    async def read(self):
        """Record every code and every fault, for ever."""
        code = bytearray(CODE_SIZE)
        while True:
            try:
                n = await self.scanner.read(code)
                self.codes.append(code[:n].decode())
            except FrameError as e:
                self.codes.append(str(e))

    def pulse(self, bit):
        """Send one pulse, on the wire of `bit`."""
        handler = self.pins[bit].handler
        if self._erasing:
            # The interrupt stays pending, at most one for each pin.
            if handler not in self._queue:
                self._queue.append(handler)
        elif not self._busy:
            handler(None)
        elif len(self._queue) < 8:
            self._queue.append(handler)

    async def send(self, bits, gap=2, busy=(), erasing=()):
        """Send bits, `gap` milliseconds apart, and then be quiet for 20 milliseconds.

        busy: the numbers of the pulses before which the chip goes into C, and comes back.
        erasing: the same for an erase of its flash.
        """
        for i, bit in enumerate(bits + " "):
            if i in busy[1:] or i in erasing[1:]:
                await self.back()
            if i in busy[:1]:
                self.leave()
            if i in erasing[:1]:
                self.leave(True)
            if bit != " ":
                self.pulse(int(bit))
                await asyncio.sleep(gap / 1000)
        await asyncio.sleep(0.02)

    def leave(self, erasing=False):
        """Go into C: until `back` neither the loop nor any handler runs."""
        self._busy = True
        self._erasing = erasing
        self.asleep = asyncio.Event()
        Held.until = self.asleep

    async def back(self):
        """Come back out of C."""
        self._busy = self._erasing = False
        for handler in self._queue:
            handler(None)
        self._queue.clear()
        Held.until = None
        self.asleep.set()
        await asyncio.sleep(0)


class Held(Loop):
    """An event loop that does not turn while the chip is in C."""

    until = None

    async def sleep_ms(ms):
        """Wait for `ms` milliseconds, and then until the chip is out of C."""
        await asyncio.sleep(ms / 1000)
        if Held.until:
            await Held.until.wait()


def frame(code, bits=None):
    """Return the bits of a code's frame."""
    if bits is None:
        bits = ""
        for char in code:
            bits += f"{int(char, 16):04b}"
    half = len(bits) // 2
    return "%d%s%d" % (bits[:half].count("1") % 2, bits, 1 - bits[half:].count("1") % 2)


def told(scenario, reverse=False, count=0, only=0):
    """Run `scenario(chip)` beside a scanner; return the codes and faults.

    count: the scanner's count of pulses at the start. only: see Wiegand.
    """

    async def main():
        chip = Chip(reverse, only)
        scanner = chip.scanner
        scanner._count = scanner._begun = scanner._at = scanner._stop = count
        job = asyncio.create_task(chip.read())
        await asyncio.sleep(0.02)
        await scenario(chip)
        await asyncio.sleep(0.1)
        job.cancel()
        await asyncio.sleep(0)
        good = [len(code) in (6, 8) for code in chip.codes].count(True)
        assert (scanner.frames, scanner.faults) == (good, len(chip.codes) - good)
        busy = [code.endswith("again") for code in chip.codes].count(True)
        assert scanner.incomplete == busy, (scanner.incomplete, chip.codes)
        assert scanner.summary() == "%d frames read, %d bad, %d of these incomplete" % (
            good,
            len(chip.codes) - good,
            busy,
        )
        return chip.codes

    kept = wiegand.asyncio, wiegand.time
    wiegand.asyncio, wiegand.time = Held, Ticks
    Held.until = None
    try:
        return run(main)
    finally:
        wiegand.asyncio, wiegand.time = kept


def sent(*frames, pause=0.1, **how):
    """Send frames one after the other; return the codes and faults."""

    async def scenario(chip):
        for bits in frames:
            await chip.send(bits, **how)
            await asyncio.sleep(pause - 0.02)

    return told(scenario)


def test_codes_are_read_at_every_pace_of_readers():
    codes = ["000000", "FFFFFF", "A5A5A5", "04A1B2C3", "00000000", "FFFFFFFF", "8000001F"]
    for gap in (1, 2, 5, 20):
        assert sent(*[frame(code) for code in codes], gap=gap) == codes


def test_the_other_order_of_bytes():
    async def scenario(chip):
        await chip.send(frame("C3B2A104"))

    assert told(scenario, True) == ["04A1B2C3"]


def test_any_wrong_bit_is_a_wrong_parity():
    for code in ("A0B1C2", "04A1B2C3"):
        bits = frame(code)
        for i in range(len(bits)):
            wrong = bits[:i] + ("0" if bits[i] == "1" else "1") + bits[i + 1 :]
            half = "first" if i < len(bits) // 2 else "second"
            assert sent(wrong) == ["wrong parity in the %s half of the frame" % half]


def test_wires_that_are_swapped_are_told_from_other_faults():
    swapped = "wrong parity, and right when inverted: are D0 and D1 swapped?"
    for code in ("A0B1C2", "04A1B2C3", "000000", "FFFFFFFF"):
        bits = frame(code).replace("0", "x").replace("1", "0").replace("x", "1")
        assert sent(bits) == [swapped]


def test_18_swapped_wires_are_told_of_any_card():
    swapped = "wrong parity, and right when inverted: are D0 and D1 swapped?"
    for size in (6, 8):
        codes = ["%0*X" % (size, 1 << bit) for bit in range(4 * size)]
        codes += [digit * size for digit in "0123456789ABCDEF"]
        frames = []
        for code in codes:
            frames.append("".join(["10"[int(bit)] for bit in frame(code)]))
        assert sent(*frames) == [swapped] * len(codes)


def test_18_two_frames_25_ms_apart_are_two_cards():
    codes = ["04A1B2C3", "A0B1C2", "000000", "FFFFFFFF", "5555AAAA", "800001"]
    for first in codes:
        for second in codes:
            for gap in (1, 2, 3, 4):
                # From the last pulse of the one frame to the first of the other.
                found = sent(frame(first), frame(second), pause=(25 - gap) / 1000, gap=gap)
                assert found == [first, second], (first, second, gap, found)


def test_another_length_is_told_and_the_next_card_read():
    card = frame("A0B1C2")
    for n in (1, 2, 7, 8, 25, 27, 33, 35, 64, 65, 100, 128, 129, 300):
        bits = ("10" * n)[:n]
        assert sent(bits, card) == ["frame of %d bits, not of 26 or 34" % n, "A0B1C2"], n


def test_cards_that_follow_each_other_at_once_are_several():
    codes = ["04A1B2C3", "DEADBEEF", "A0B1C2"]
    frames = [frame(code) for code in codes]
    for gap in (1, 2, 4):
        # Milliseconds of quiet, added to the usual time between two pulses.
        for pause in (25, 29, 31, 60, 200):
            assert sent(*frames, pause=pause / 1000, gap=gap) == codes, (gap, pause)
    # A bad frame between good ones spoils neither of them.
    bad = frames[0][:20]
    found = sent(frames[0], bad, frames[1], pause=0.025)
    assert found == ["04A1B2C3", "frame of 20 bits, not of 26 or 34", "DEADBEEF"]


def test_a_short_stay_in_c_loses_nothing():
    # Up to seven pulses in one go: the queue was not full.
    for code in ("A0B1C2", "04A1B2C3"):
        bits = frame(code)
        for first in range(1, len(bits)):
            for many in range(1, min(7, len(bits) - first)):
                assert sent(bits, busy=(first, first + many)) == [code], (first, many)


def test_what_the_queue_drops_is_never_a_code_and_always_told():
    # A long frame that lacks eight bits has the length of a short one.
    for code in ("A0B1C2", "04A1B2C3", "00000000", "5555AAAA"):
        bits = frame(code)
        for gap in (1, 2, 3):
            for first in range(0, len(bits), 3):
                for last in range(first + 9, len(bits) + 1, 5):
                    found = sent(bits, gap=gap, busy=(first, last))
                    assert found in ([BUSY], [FAST]), (code, gap, first, last, found)
                    if (last - first) * gap > 40:
                        assert found == [BUSY], (code, gap, first, last, found)


def test_a_long_stay_in_c_before_a_card_ends_in_its_middle():
    async def scenario(chip):
        for many in range(1, 35):
            chip.leave()
            await asyncio.sleep(0.7)
            await chip.send(frame("04A1B2C3"), busy=(-1, many))
            await asyncio.sleep(0.5)

    found = told(scenario)
    # A frame of the full length cannot be the rest of a longer one. (The seventh pulse comes at
    # the very moment in which six have been served.)
    assert found == ["04A1B2C3"] * 6 + [BUSY] * 28, found


def test_an_erase_of_the_flash_lets_one_pulse_a_wire_wait():
    for code in ("A0B1C2", "04A1B2C3"):
        bits = frame(code)
        for first in range(0, len(bits) - 14):
            for last in range(first + 14, len(bits) + 1, 3):
                assert sent(bits, erasing=(first, last)) == [BUSY], (code, first, last)


def test_of_two_cards_while_the_chip_is_busy_none_is_made_up():
    # Eight bits of one frame and the 26 of the other are 34.
    for second in ("A0B1C2", "A0B1C3", "A0B1C6", "F0F1CE"):

        async def scenario(chip, second=second):
            chip.leave()
            await chip.send(frame("04A1B2C3"))
            await chip.back()
            await asyncio.sleep(0.015)
            await chip.send(frame(second))

        assert told(scenario) == [BUSY]

        async def around(chip, second=second):
            # The second frame's first bits wait in the queue right behind the first frame.
            await chip.send(frame(second))
            chip.leave()
            await asyncio.sleep(0.3)
            await chip.send(frame("04A1B2C3"))
            await chip.back()
            await asyncio.sleep(0.1)

        assert told(around) == [BUSY]


def test_the_cause_is_named_where_it_is_known_and_only_then():
    async def scenario(chip):
        scanner = chip.scanner
        await scanner.suspend("TLS")
        chip.leave()
        await asyncio.sleep(0.7)
        await chip.send(frame("04A1B2C3"))
        await chip.back()
        scanner.resume()
        await asyncio.sleep(3)
        # The chip is in C for another reason.
        await chip.send(frame("04A1B2C3"), busy=(3, 30))
        await asyncio.sleep(3)
        await scanner.suspend("TLS")
        # Nothing is lost while the chip serves its pins, even if it counts as busy.
        await chip.send(frame("04A1B2C3"))
        await asyncio.sleep(0.2)
        await chip.send(frame("04A1B2C3")[:30])
        scanner.resume()

    fault = "frame of 30 bits, not of 26 or 34"
    assert told(scenario) == [TLS, BUSY, "04A1B2C3", fault]


def test_a_cause_that_is_over_is_not_named():
    async def scenario(chip):
        bits = frame("04A1B2C3")
        await chip.scanner.suspend("TLS")
        for bit in bits[:3]:
            chip.pulse(int(bit))
            await asyncio.sleep(0.002)
        chip.scanner.resume()
        await chip.send(bits[3:], busy=(0, 27))

    assert told(scenario) == [BUSY]


def test_the_count_of_pulses_goes_round_and_nothing_happens():
    async def scenario(chip):
        for code in ("04A1B2C3", "A0B1C2"):
            await chip.send(frame(code))
            await asyncio.sleep(0.1)
        await asyncio.sleep(3)
        # No frame is under way.
        began = Ticks.ticks_ms()
        await chip.scanner.suspend("TLS")
        assert Ticks.ticks_ms() == began

    for count in range(0x10000 - 70, 0x10000, 3):
        codes = told(scenario, count=count)
        assert codes == ["04A1B2C3", "A0B1C2"], (count, codes)


def test_the_chip_leaves_when_no_card_was_held_up_for_two_seconds():
    async def scenario(chip):
        begun = Ticks.ticks_ms()

        async def waited(most):
            began = Ticks.ticks_ms()
            await asyncio.wait_for(chip.scanner.suspend("TLS"), most)
            chip.scanner.resume()
            return Ticks.ticks_diff(Ticks.ticks_ms(), began)

        assert await waited(1) == 0
        job = asyncio.create_task(chip.send(frame("04A1B2C3")))
        await asyncio.sleep(0.001)
        # From the first pulse on, 53 ms before the last one.
        millis = await waited(4)
        assert 2000 <= millis <= 2300, millis
        await job
        assert Ticks.ticks_diff(Ticks.ticks_ms(), begun) < 3000

    assert told(scenario) == ["04A1B2C3"]


def test_a_stream_of_cards_keeps_the_chip_for_ten_seconds_at_most():
    async def stream(chip, pause):
        while True:
            await chip.send(frame("04A1B2C3"))
            await asyncio.sleep(pause)

    async def scenario(chip, pause):
        job = asyncio.create_task(stream(chip, pause))
        await asyncio.sleep(0.01)
        began = Ticks.ticks_ms()
        await chip.scanner.suspend("TLS")
        millis = Ticks.ticks_diff(Ticks.ticks_ms(), began)
        assert 8000 <= millis <= 10000, millis
        # Between two frames.
        assert chip.scanner._count == chip.scanner._begun
        job.cancel()

    for pause in (0.05, 0.3, 1, 1.9):
        codes = told(lambda chip, pause=pause: scenario(chip, pause))
        assert "04A1B2C3" in codes


def test_the_ticks_go_round_and_nothing_happens():
    # Ticks in microseconds wrap every 18 minutes: here before, within and after a frame.
    async def scenario(chip):
        await chip.send(frame("04A1B2C3"))

    kept = Ticks.began
    try:
        for millis in range(0, 660, 3):
            Ticks.began = kept + (PERIOD - kept * 1000 % PERIOD) // 1000 - millis
            assert told(scenario) == ["04A1B2C3"], millis
    finally:
        Ticks.began = kept


def test_the_handlers_allocate_nothing():
    if not MICROPYTHON:
        return
    import micropython

    pins = Pin(), Pin()
    Wiegand(*pins)
    zero, one = pins[0].handler, pins[1].handler
    for _ in range(3):
        micropython.heap_lock()
        try:
            for _ in range(100):
                zero(None)
                one(None)
        finally:
            micropython.heap_unlock()


def test_a_frame_of_another_length_is_refused_by_itself():
    words = error_of(FrameError, wiegand.decode, bytes(25), 25, bytearray(CODE_SIZE))
    assert words == "frame of 25 bits, not of 26 or 34"


def test_a_site_of_one_length_refuses_frames_of_the_other():
    async def scenario(chip):
        for code in ("04A1B2C3", "A1B2C3"):
            await chip.send(frame(code))
            await asyncio.sleep(0.1)

    assert told(scenario, only=34) == ["04A1B2C3", "frame of 26 bits, not of 34"]
    assert told(scenario, only=26) == ["frame of 34 bits, not of 26", "A1B2C3"]
    assert told(scenario) == ["04A1B2C3", "A1B2C3"]


def test_a_scanner_that_never_pauses_is_told_within_five_seconds_and_cards_are_read_afterwards():
    jammed = "pulses without a pause for 4 s: check the scanner and its wires"

    async def scenario(chip, gap):
        await chip.send("01" * (2250 // gap), gap)  # for four and a half seconds
        assert chip.codes == [jammed], chip.codes
        await asyncio.sleep(0.1)
        await chip.send(frame("04A1B2C3"))

    for gap in (1, 2, 9):
        assert told(lambda chip, gap=gap: scenario(chip, gap)) == [jammed, "04A1B2C3"]


def test_the_rest_of_a_jam_is_no_card_wherever_it_ends():
    jammed = "pulses without a pause for 4 s: check the scanner and its wires"

    async def scenario(chip, pulses):
        # A card's frame again and again, without a pause, ended anywhere.
        bits = frame("04A1B2C3") * (pulses // 34 + 1)
        await chip.send(bits[:pulses])
        await asyncio.sleep(0.1)

    for pulses in range(1990, 2090, 3):
        codes = told(lambda chip, pulses=pulses: scenario(chip, pulses))
        assert [code for code in codes if len(code) in (6, 8)] == [], (pulses, codes)
        assert codes == [jammed] or pulses < 2020, (pulses, codes)

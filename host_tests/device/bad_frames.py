"""Thousands of bad frames at the Wiegand scanner: none of them becomes a code.

A frame of a card is spoiled as wires, scanners and a busy chip spoil it; what a code may be is
judged here, by length and parity alone. Behind every bad frame a card is read as usual. The same
seed gives the same frames.
"""

import asyncio

from device import case_wiegand
from device.random_numbers import Numbers

_BATCH = 40
_ERASE_MS = 30  # no erase of a sector is over sooner
CARD = "C0FFEE01"


def _code_of(bits):
    # The code of a frame that is as it should be, else "".
    half = len(bits) // 2
    if len(bits) not in (26, 34):
        return ""
    if bits[:half].count("1") % 2 or not bits[half:].count("1") % 2:
        return ""
    return "%0*X" % (len(bits) // 4, int(bits[1:-1], 2))


def _text(numbers, size):
    return "".join(["01"[numbers.below(2)] for _ in range(size)])


def _flipped(numbers, bits, count):
    places = numbers.shuffled(range(len(bits)))[:count]
    return "".join(["10"[int(bit)] if i in places else bit for i, bit in enumerate(bits)])


def _flips(numbers, bits):
    return _flipped(numbers, bits, 1 + numbers.below(5))


def _loss(numbers, bits):
    # Pulses that never came: in one piece, anywhere.
    first = numbers.below(len(bits))
    return bits[:first] + bits[first + 1 + numbers.below(len(bits) - first) :]


def _doubled(numbers, bits):
    # A contact that bounces.
    first = numbers.below(len(bits))
    return bits[: first + 1] + bits[first] * (1 + numbers.below(4)) + bits[first + 1 :]


def _noise(numbers, bits):
    return _text(numbers, 1 + numbers.below(140))


def _one_wire(numbers, bits):
    # The other one is cut.
    return bits.replace("01"[numbers.below(2)], "")


def _inverted(numbers, bits):
    return _flipped(numbers, bits, len(bits))


_KINDS = (
    ("wrong bits", _flips),
    ("lost pulses", _loss),
    ("bounces", _doubled),
    ("noise", _noise),
    ("one wire", _one_wire),
    ("swapped wires", _inverted),
)


def check_frames(seed: int, count: int) -> None:
    """Send `count` bad frames of each kind, and as many while the chip is busy; print how many."""
    numbers = Numbers(seed)
    for name, spoil in _KINDS:
        lucky = sent = 0
        while sent < count:
            frames = []
            expected = []
            while len(expected) < 2 * _BATCH:
                good = case_wiegand.frame("", _text(numbers, (24, 32)[numbers.below(2)]))
                bits = spoil(numbers, good)
                if not bits:
                    continue
                sent += 1
                lucky += bool(_code_of(bits))
                frames += bits, case_wiegand.frame(CARD)
                expected += _code_of(bits), CARD
            found = case_wiegand.sent(*frames, pause=0.06)
            assert len(found) == len(expected), (name, found)
            for i, told in enumerate(found):
                bits, code = frames[i], expected[i]
                fault = "frame of" in told or "parity" in told
                assert told == code if code else fault, (bits, told)
        print(
            "# %s: %d frames, %d of them right again by chance, no wrong code"
            % (name, sent, lucky)
        )
    sent = lost = 0
    while sent < count:
        sent += _BATCH
        lost += _while_busy(numbers)
    print("# chip busy: %d frames, %d of them lost and told, no wrong code" % (sent, lost))


def _while_busy(numbers):
    # Frames during which the chip leaves for C, or erases flash: each is read right or told.
    frames = []

    async def scenario(chip):
        for _ in range(_BATCH):
            bits = case_wiegand.frame("", _text(numbers, (24, 32)[numbers.below(2)]))
            frames.append(bits)
            first = numbers.below(len(bits))
            away = first, first + 1 + numbers.below(len(bits) - first)
            gap = 1 + numbers.below(4)
            if numbers.below(2) and (away[1] - first) * gap >= _ERASE_MS:
                await chip.send(bits, gap=gap, erasing=away)
            else:
                await chip.send(bits, gap=gap, busy=away)
            await asyncio.sleep(0.1)

    found = case_wiegand.told(scenario)
    assert len(found) == _BATCH, found
    lost = 0
    for i, told in enumerate(found):
        bits = frames[i]
        if told != _code_of(bits):
            assert "frame of" in told or "parity" in told or told.endswith("again"), (bits, told)
            lost += 1
    return lost
